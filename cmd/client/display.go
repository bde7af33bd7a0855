package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"chatsecure"
	"chatsecure/canon"
	"chatsecure/crypto"
)

// outBuffer is how much data waits for a flush: a burst of lines costs few
// system calls.
const outBuffer = 64 << 10

// display is where everything goes that the program says: data to standard
// output, what is said to a person to standard error. At the prompt both go to
// the screen. Its methods may be called from any goroutine.
type display struct {
	json, quiet, verbose bool
	now                  func() time.Time

	mu     sync.Mutex // guards what follows
	out    *bufio.Writer
	err    io.Writer
	broken error  // the first failure to write data
	sent   uint64 // messages whose id has been written
	told   *sync.Cond
	screen *screen // the prompt's, else nil
	state  string  // the status that stands on the last line of standard error, or ""
}

func newDisplay(sys system, opt options) *display {
	d := &display{
		json: opt.json, quiet: opt.quiet, verbose: opt.verbose, now: sys.now,
		out: bufio.NewWriterSize(sys.stdout, outBuffer), err: sys.stderr,
	}
	d.told = sync.NewCond(&d.mu)
	return d
}

// onScreen makes a screen the place for everything.
func (d *display) onScreen(s *screen) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.screen = s
}

// line writes one line of data, without its newline.
func (d *display) line(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.screen != nil {
		d.screen.print(s + "\n")
		return
	}
	d.out.WriteString(s)
	d.note(d.out.WriteByte('\n'))
}

// text writes data that has its newlines.
func (d *display) text(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.screen != nil {
		d.screen.print(s)
		return
	}
	_, err := d.out.WriteString(s)
	d.note(err)
}

// object writes one line of JSON and flushes it.
func (d *display) object(v any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.Write(canon.MustMarshal(v))
	d.out.WriteByte('\n')
	d.note(d.out.Flush())
}

// objectLater writes one line of JSON that a flush follows soon.
func (d *display) objectLater(v any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.Write(canon.MustMarshal(v))
	d.note(d.out.WriteByte('\n'))
}

// connected tells that the relay is there, before anything else is told.
func (d *display) connected(c *chatsecure.Client) {
	d.detail("connected as %s-%s with %s to the relay %s", crypto.Visible(c.Name()), c.Conn(), c.Suite(), c.Fingerprint())
	if d.json {
		d.object(connectedObject{d.head("connected"), c.Name(), c.Conn(), c.Fingerprint(), c.Suite()})
	}
}

// sentLater is objectLater for the id of the next message, and lets its
// receipts be written.
func (d *display) sentLater(o sentObject) {
	d.objectLater(o)
	d.mu.Lock()
	d.sent++
	d.mu.Unlock()
	d.told.Broadcast()
}

// awaitSent waits until the id of the message that is number no among the sent
// has been written: a receipt can be faster than the goroutine that sends, and
// whoever reads them would not know the id yet. That goroutine has nothing to
// wait for in between.
func (d *display) awaitSent(no uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.sent < no {
		d.told.Wait()
	}
}

// note remembers the first failure. The lock is held.
func (d *display) note(err error) {
	if d.broken == nil {
		d.broken = err
	}
}

// flush writes out all data. An error says that some of it is not there.
func (d *display) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(d.out.Flush())
	return d.broken
}

// flushEvery is how long data may lie in the buffer while its maker is busy.
const flushEvery = 100 * time.Millisecond

// flushNowAndThen flushes in the background until the function it returns is
// called.
func (d *display) flushNowAndThen() (stop func()) {
	ticker, quit, done := time.NewTicker(flushEvery), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ticker.C:
				d.flush()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(quit)
		<-done
	}
}

// say writes to the person.
func (d *display) say(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.screen != nil {
		d.screen.print(s)
		return
	}
	if d.state != "" {
		s = clearLine + s + d.state
	}
	io.WriteString(d.err, s)
}

// status draws a line on standard error that the next one replaces; "" leaves
// the last one there.
func (d *display) status(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case s != "":
		io.WriteString(d.err, clearLine+s)
	case d.state != "":
		io.WriteString(d.err, "\n")
	}
	d.state = s
}

// notice tells a person something that is not an error, in a sentence that is
// safe to show. -q silences it.
func (d *display) notice(format string, args ...any) {
	if !d.quiet {
		d.say(d.in(faint, "client: notice: "+fmt.Sprintf(format, args...)) + "\n")
	}
}

// detail is a notice for -v.
func (d *display) detail(format string, args ...any) {
	if d.verbose {
		d.notice(format, args...)
	}
}

// fail says what failed and what to do about it.
func (d *display) fail(err error) {
	e := chatsecure.AsError(err)
	var b strings.Builder
	// Sentences are made safe where they are made; this is the last place where
	// one that was not could still be stopped from acting on a terminal.
	b.WriteString(d.in(alarm, "client: error: "+crypto.Visible(oneLine(e.Message))) + "\n")
	if hint := e.Advice(); hint != "" {
		fmt.Fprintf(&b, "client: hint: %s\n", crypto.Visible(oneLine(hint)))
	}
	if d.json {
		d.object(errorObject{d.head("error"), e.Code, chatsecure.ExitStatus(err), e.Message})
	}
	d.say(b.String())
}

// oneLine keeps a sentence on its line.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// in returns a text in a style, if it is for a screen with colour.
func (d *display) in(s style, text string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.screen == nil {
		return text
	}
	return d.screen.in(s, text)
}
