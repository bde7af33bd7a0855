package command

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/term"
)

// progressEvery is the time between two drawings of the line.
const progressEvery = 500 * time.Millisecond

// pipeProgress draws the progress of a pipe on one line of standard error.
type pipeProgress struct {
	out   *display
	start time.Time
	last  atomic.Pointer[client.PipeProgress] // nil before the first byte
	quit  chan struct{}
	done  chan struct{}
}

// showsProgress reports whether a pipe shows its progress: standard error is a
// terminal, and no data is read from or written to a terminal.
func (a *app) showsProgress(o pipeOptions) bool {
	terminal := func(stream any) bool {
		f, ok := stream.(*os.File)
		return ok && term.IsTerminal(f.Fd())
	}
	return terminal(a.Stderr) && !a.opt.quiet && a.Env("TERM") != "dumb" &&
		(o.recv || !terminal(a.Stdin)) && (o.send || !terminal(a.Stdout))
}

func newPipeProgress(out *display, start time.Time) *pipeProgress {
	p := &pipeProgress{out: out, start: start, quit: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

// report is the callback of client.Client.Pipe. It does not block.
func (p *pipeProgress) report(now client.PipeProgress) { p.last.Store(&now) }

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
