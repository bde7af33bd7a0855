package command

import (
	"fmt"
	"sync/atomic"
	"time"

	"chatsecure/internal/client"
)

// progressEvery is the time between two drawings of the line.
const progressEvery = 500 * time.Millisecond

// progress draws what is reported of a pipe on one line of standard error, if that is a terminal
// and no data is read from or written to one. end draws it a last time and leaves it there.
func (a *app) progress(o pipeOptions) (report func(client.PipeProgress), end func()) {
	if !isTerminal(a.Stderr) || a.opt.quiet || a.Env("TERM") == "dumb" ||
		!o.recv && isTerminal(a.Stdin) || !o.send && isTerminal(a.Stdout) {
		return nil, func() {}
	}
	var last atomic.Pointer[client.PipeProgress] // nil before the first byte
	start := a.Now()
	draw := func() {
		if now := last.Load(); now != nil {
			a.out.status(progressLine(*now, a.Now().Sub(start)))
		}
	}
	stop := every(progressEvery, draw)
	return func(now client.PipeProgress) { last.Store(&now) }, func() {
		stop()
		draw()
		a.out.status("")
	}
}

// progressLine is bytes, rate and time.
func progressLine(p client.PipeProgress, took time.Duration) string {
	rate := float64(p.Sent+p.Received) / max(took.Seconds(), 1e-3)
	s := int(took.Seconds())
	clock := fmt.Sprintf("%d:%02d", s/60, s%60)
	if s >= 3600 {
		clock = fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("sent %s, received %s, %s/s, %s",
		byteCount(float64(p.Sent)), byteCount(float64(p.Received)), byteCount(rate), clock)
}

// byteCount is a number of bytes in about three digits.
func byteCount(n float64) string {
	if n < 1024 {
		return fmt.Sprintf("%.0f B", n)
	}
	unit := ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n /= 1024; n < 1024 {
			break
		}
	}
	if n < 9.95 {
		return fmt.Sprintf("%.1f %s", n, unit)
	}
	return fmt.Sprintf("%.0f %s", n, unit)
}
