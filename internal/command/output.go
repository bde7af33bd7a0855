package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// outBuffer is the buffer for data in bytes: a burst of lines costs few system
// calls.
const outBuffer = 64 << 10

// display takes all output: data for standard output, and words to the person
// for standard error. At the prompt both go to the terminal. Its methods may be
// called from any goroutine.
type display struct {
	json, quiet, verbose bool
	bell                 bool // with every message, see term.Terminal.Bell
	advice               func(hint string) string
	running              string // the command line without options, "" for the prompt
	about                string // the command whose help is of use, "" for that of all
	now                  func() time.Time

	outCols, errCols func() int // of a terminal at the end of out and err, now; 0: there is none

	person atomic.Pointer[term.Terminal] // who may be asked, or nil

	mu     sync.Mutex // guards the fields below
	out    *bufio.Writer
	err    io.Writer
	sent   uint64 // number of messages whose id has been written
	told   *sync.Cond
	screen *term.Terminal // of the prompt, or nil
	state  string         // the progress line at the end of standard error, or ""
}

func newDisplay(sys System, opt options) *display {
	d := &display{
		json: opt.json, quiet: opt.quiet, verbose: opt.verbose, bell: opt.bell,
		advice: opt.advice, now: sys.Now,
		out: bufio.NewWriterSize(sys.Stdout, outBuffer), err: sys.Stderr,
		outCols: columns(sys.Stdout), errCols: columns(sys.Stderr),
	}
	d.told = sync.NewCond(&d.mu)
	return d
}

// onScreen sends all output to a terminal; nil ends that.
func (d *display) onScreen(s *term.Terminal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.screen = s
}

// atPrompt returns the terminal of the prompt, or nil.
func (d *display) atPrompt() *term.Terminal {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.screen
}

// columns returns a function that asks for a stream's columns.
func columns(stream any) func() int {
	if f, ok := stream.(*os.File); ok && isTerminal(f) {
		return func() int { return term.Columns(f) }
	}
	return func() int { return 0 }
}

// rows returns lines for a stream: in rows of a terminal, or each as one line.
func rows(s string, cols int) string {
	if cols > 0 {
		return term.Wrap(s, cols)
	}
	return term.Unwrapped(s)
}

// unseen is the time without a key after which a message at the prompt is marked as new.
const unseen = 5 * time.Second

// message writes a message of somebody as data: its head, which must be safe to
// show, and its text. At the prompt it rings, and is marked for a person who does not look.
func (d *display) message(head, text string) {
	line := head + term.Hang + messageText(text) + "\n"
	screen := d.atPrompt()
	switch {
	case screen == nil:
		d.text(line)
		return
	case screen.Away(unseen):
		screen.PrintMarked(line, func(n int) string { return fmt.Sprintf("-- %d new --", n) })
	default:
		screen.Print(line)
	}
	screen.Bell(d.bell)
}

// line writes a line of data, given without its newline.
func (d *display) line(s string) { d.text(s + "\n") }

// text writes lines of data with their newlines: whatever else they have must be
// safe to show. A terminal gets them in rows: see term.Wrap.
func (d *display) text(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.screen != nil {
		d.screen.Print(s)
		return
	}
	cols := d.outCols()
	d.above(cols, func() { d.out.WriteString(rows(s, cols)) })
}

// above writes to a stream, of some columns if it is a terminal: above an open question, which
// stands on the row below.
func (d *display) above(cols int, write func()) {
	if t := d.person.Load(); t != nil && cols > 0 {
		t.Above(write)
		return
	}
	write()
}

// exact writes data to its last byte. A terminal gets it safe to show.
func (d *display) exact(s string) {
	if d.outCols() > 0 {
		d.line(messageText(s))
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.WriteString(s)
}

// object writes a line of JSON and flushes it.
func (d *display) object(v any) {
	d.objectLater(v)
	d.flush()
}

// objectLater writes a line of JSON, as all JSON is written. The caller flushes soon.
func (d *display) objectLater(v any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.WriteString(proto.VisibleJSON(string(proto.MustMarshal(v))))
	d.out.WriteByte('\n')
}

// show writes an object: with -json as a line of JSON, and else as its text.
func (d *display) show(o interface{ text() string }) {
	if d.json {
		d.object(o)
		return
	}
	d.text(o.text())
}

// connected reports the connection, before any other output.
func (d *display) connected(c *client.Client) {
	d.detail("connected as %s-%s with %s to the relay %s",
		proto.Visible(c.Name()), c.Conn(), c.Suite(), c.Fingerprint())
	if d.json {
		d.object(connectedObject{d.head("connected"), c.Name(), c.Conn(), c.Fingerprint(), c.Suite()})
	}
}

// sentLater writes the id of the next message and releases its receipts.
func (d *display) sentLater(o sentObject) {
	d.objectLater(o)
	d.wasSent()
}

// wasSent releases the receipts of the next message.
func (d *display) wasSent() {
	d.mu.Lock()
	d.sent++
	d.mu.Unlock()
	d.told.Broadcast()
}

// awaitSent waits until the id of sent message number no is known. A
// receipt can overtake the goroutine that sends, and its reader would not know
// the id. That goroutine waits for nothing in between.
func (d *display) awaitSent(no uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.sent < no {
		d.told.Wait()
	}
}

// flush writes out all data. It returns the first error of any write, which the buffer keeps.
func (d *display) flush() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cols := 0
	if d.out.Buffered() > 0 {
		cols = d.outCols()
	}
	d.above(cols, func() { err = d.out.Flush() })
	return err
}

// flushEvery bounds the time that data lies in the buffer of a busy command.
const flushEvery = 100 * time.Millisecond

// every calls f in the background, again and again after an interval. stop ends
// that and waits for the last call.
func every(interval time.Duration, f func()) (stop func()) {
	ticker, quit, done := time.NewTicker(interval), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ticker.C:
				f()
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

// say writes lines to the person.
func (d *display) say(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.screen != nil {
		d.screen.Print(s)
		return
	}
	cols := d.errCols()
	s = rows(s, cols)
	if d.state != "" {
		s = term.ClearLine + s + d.state
	}
	d.above(cols, func() { io.WriteString(d.err, s) })
}

// status draws a progress line, of ASCII, on standard error in the place of the last one;
// "" leaves that one there.
func (d *display) status(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case s != "":
		if cols := d.errCols(); cols > 0 {
			s = s[:min(len(s), cols-1)] // it must stay on one row to be drawn over
		}
		io.WriteString(d.err, term.ClearLine+s)
	case d.state != "":
		io.WriteString(d.err, "\n")
	}
	d.state = s
}

// notice tells the person something that is no error. -q silences it.
func (d *display) notice(format string, args ...any) {
	if !d.quiet {
		d.say(d.in(term.Faint, sentence("notice", fmt.Sprintf(format, args...))) + "\n")
	}
}

// sentence is a line of the program to the person. The text has been made safe at
// its source. This is the last chance to keep one that was not from acting on a
// terminal, or from going on as a line of its own.
func sentence(kind, text string) string {
	text = oneLine(text)
	if kind == "error" { // it may quote, and has no command
		text = proto.Visible(text)
	}
	return "client: " + kind + ": " + term.Hang + shown(text)
}

// wholeHash finds hashes, and quotes, whose hashes are of somebody else.
var wholeHash = pattern(`"(?:[^"\\]|\\.)*"|\b[0-9a-f]{64}\b\)?`)

// shown is a text of the program for a terminal: a fail.Command to be copied, or a whole hash to be
// compared, gets a row of its own there.
func shown(text string) string {
	parts := strings.Split(text, fail.Mark)
	for i, part := range parts {
		if parts[i] = proto.Visible(part); i%2 == 0 {
			parts[i] = wholeHash().ReplaceAllStringFunc(parts[i], func(found string) string {
				if found[0] == '"' {
					return found
				}
				return term.Whole + found + term.Whole
			})
		}
	}
	return strings.Join(parts, term.Whole)
}

// detail is a notice for -v.
func (d *display) detail(format string, args ...any) {
	if d.verbose {
		d.notice(format, args...)
	}
}

// fail writes an error with its hint, unless that was done, and returns its exit status.
func (d *display) fail(err error) int {
	if status, ok := errors.AsType[statusError](err); ok {
		return int(status)
	}
	e, exit := fail.AsError(err), fail.ExitStatus(err)
	var b strings.Builder
	b.WriteString(d.in(term.Alarm, sentence("error", e.Message)) + "\n")
	b.WriteString(d.hint(e))
	if d.json {
		d.object(errorObject{d.head("error"), e.Code, exit, e.Message})
	}
	d.say(b.String())
	return exit
}

// hint is the line with the advice of an error, if there is any.
func (d *display) hint(e *fail.Error) string {
	advice := e.Advice()
	if e.Code == proto.Usage && e.Hint == "" && d.about != "" {
		advice = "client " + d.about + " -h shows how it is used"
	}
	rest, same := strings.CutPrefix(advice, d.running+" ")
	if same && (strings.HasPrefix(rest, "shows ") || strings.HasPrefix(rest, "tells ")) {
		_, advice, _ = strings.Cut(advice, "; ") // it would end like this one
	}
	if hint := d.words(advice); hint != "" {
		return sentence("hint", hint) + "\n"
	}
	return ""
}

// words puts advice for a command line into the words of where it is read.
func (d *display) words(advice string) string {
	if d.atPrompt() != nil {
		return promptAdvice(advice)
	}
	return d.advice(advice)
}

// in returns a text in a style, for a terminal with colour.
func (d *display) in(s term.Style, text string) string {
	if screen := d.atPrompt(); screen != nil {
		return screen.In(s, text)
	}
	return text
}
