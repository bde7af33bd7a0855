package command

import (
	"fmt"
	"sync/atomic"
	"time"

	"chatsecure/internal/client"
)

// progressEvery is the time between two drawings of the line.
const progressEvery = 500 * time.Millisecond

// pipeProgress draws the progress of a pipe on one line of standard error.
type pipeProgress struct {
	out   *display
	start time.Time
	last  atomic.Pointer[client.PipeProgress] // nil before the first byte
	stop  func()                              // ends the drawing
}

// showsProgress reports whether a pipe shows its progress: standard error is a
// terminal, and no data is read from or written to a terminal.
func (a *app) showsProgress(o pipeOptions) bool {
	return isTerminal(a.Stderr) && !a.opt.quiet && a.Env("TERM") != "dumb" &&
		(o.recv || !isTerminal(a.Stdin)) && (o.send || !isTerminal(a.Stdout))
}

func newPipeProgress(out *display, start time.Time) *pipeProgress {
	p := &pipeProgress{out: out, start: start}
	p.stop = every(progressEvery, p.draw)
	return p
}

// report is the callback of client.Client.Pipe. It does not block.
func (p *pipeProgress) report(now client.PipeProgress) { p.last.Store(&now) }

// end draws the line a last time and leaves it there.
func (p *pipeProgress) end() {
	p.stop()
	p.draw()
	p.out.status("")
}

func (p *pipeProgress) draw() {
	if now := p.last.Load(); now != nil {
		p.out.status(progressLine(*now, p.out.now().Sub(p.start)))
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
	return fmt.Sprintf("sent %s, received %s, %s/s, %s", byteCount(float64(p.Sent)), byteCount(float64(p.Received)), byteCount(rate), clock)
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
