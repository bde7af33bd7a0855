package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"chatsecure"
)

// progressEvery is how often the line is drawn again.
const progressEvery = 500 * time.Millisecond

// pipeProgress shows how far a pipe is, in a line on standard error that is
// drawn again and again.
type pipeProgress struct {
	out   *display
	start time.Time
	last  atomic.Pointer[chatsecure.PipeProgress] // nil before anything has crossed
	quit  chan struct{}
	done  chan struct{}
}

// showsProgress tells whether a pipe shows how far it is: where a person sees
// standard error, and neither what is typed nor what comes stands there, too.
func (a *app) showsProgress(o pipeOptions) bool {
	terminal := func(stream any) bool {
		f, ok := stream.(*os.File)
		return ok && isTerminal(f.Fd())
	}
	return terminal(a.stderr) && !a.opt.quiet && a.env("TERM") != "dumb" &&
		(o.recv || !terminal(a.stdin)) && (o.send || !terminal(a.stdout))
}

func newPipeProgress(out *display, start time.Time) *pipeProgress {
	p := &pipeProgress{out: out, start: start, quit: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

// report is the callback of chatsecure.Client.Pipe, which must not be kept waiting.
func (p *pipeProgress) report(now chatsecure.PipeProgress) { p.last.Store(&now) }

func (p *pipeProgress) run() {
	defer close(p.done)
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.draw()
		case <-p.quit:
			p.draw()
			p.out.status("")
			return
		}
	}
}

// end draws the line a last time and leaves it there.
func (p *pipeProgress) end() {
	close(p.quit)
	<-p.done
}

func (p *pipeProgress) draw() {
	if now := p.last.Load(); now != nil {
		p.out.status(progressLine(*now, p.out.now().Sub(p.start)))
	}
}

// progressLine is bytes, rate and time.
func progressLine(p chatsecure.PipeProgress, took time.Duration) string {
	rate := float64(p.Sent+p.Received) / max(took.Seconds(), 1e-3)
	s := int(took.Seconds())
	clock := fmt.Sprintf("%d:%02d", s/60, s%60)
	if s >= 3600 {
		clock = fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("sent %s, received %s, %s/s, %s", byteCount(float64(p.Sent)), byteCount(float64(p.Received)), byteCount(rate), clock)
}

// byteCount is a number of bytes in three digits or so.
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
