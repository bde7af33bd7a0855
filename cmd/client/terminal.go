package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"chatsecure/card"
	"chatsecure/crypto"
)

// screen is the one writer to a terminal. What is printed while somebody types
// goes above the line being typed, which is drawn again.
type screen struct {
	mu     sync.Mutex // guards what follows
	out    io.Writer
	prompt func() string
	shown  bool // the prompt stands on the last line
}

// clearLine goes to the start of the line and clears it (ECMA-48, EL).
const clearLine = "\r\x1b[K"

// print writes whole lines.
func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown {
		text = clearLine + text + s.prompt()
	}
	io.WriteString(s.out, text)
}

// ask shows a prompt; answered says that its line has ended.
func (s *screen) ask(prompt func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prompt, s.shown = prompt, true
	io.WriteString(s.out, prompt())
}

// fixed is a prompt that is the same whenever it is drawn.
func fixed(prompt string) func() string { return func() string { return prompt } }

// answered: see ask. end is what the terminal has not echoed.
func (s *screen) answered(end string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = false
	io.WriteString(s.out, end)
}

// terminal is the person at a terminal. One goroutine owns it.
type terminal struct {
	*screen
	in      *bufio.Reader
	echo    func(on bool) error // switches the echo; nil where there is none
	pending chan typed          // a read that has begun and was not waited for to the end
}

// typed is a line as it was typed, without its newline.
type typed struct {
	line []byte
	err  error
}

func newTerminal(in, out *os.File) *terminal {
	t := &terminal{screen: &screen{out: out}, in: bufio.NewReaderSize(in, maxTyped)}
	t.echo = func(on bool) error { return setEcho(in.Fd(), on) }
	return t
}

// maxTyped bounds a typed line in bytes; the kernel's own bound is 4,096.
const maxTyped = 8 << 10

// readLine returns the next line. It reads only when it is called, so that a
// client in the background is not stopped for reading.
func (t *terminal) readLine(ctx context.Context) ([]byte, error) {
	if t.pending == nil {
		t.pending = make(chan typed, 1)
		go func(to chan<- typed) {
			line, err := t.in.ReadSlice('\n')
			// A line without a newline at the end of input is a line.
			if err == nil || err == io.EOF && len(line) > 0 {
				to <- typed{line: bytes.Clone(bytes.TrimRight(line, "\r\n"))}
				clear(line)
				return
			}
			to <- typed{err: err}
		}(t.pending)
	}
	select {
	case got := <-t.pending:
		t.pending = nil
		return got.line, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// question asks for a line.
func (t *terminal) question(ctx context.Context, prompt func() string) (string, error) {
	t.ask(prompt)
	line, err := t.readLine(ctx)
	end := ""
	if err != nil {
		end = "\n"
	}
	t.answered(end)
	return string(line), err
}

// secret asks for a line that is not shown while it is typed.
func (t *terminal) secret(ctx context.Context, prompt string) ([]byte, error) {
	if err := t.echo(false); err != nil {
		return nil, fmt.Errorf("the terminal would show what is typed: %w", err)
	}
	defer t.echo(true)
	t.ask(fixed(prompt))
	line, err := t.readLine(ctx)
	t.answered("\n")
	return line, err
}

// confirmTries is how often an answer that is neither yes nor no is asked for
// again.
const confirmTries = 3

// confirm asks a question whose last line is Confirm (y/n)?, as the original
// did. Anything but a yes is a no.
func (t *terminal) confirm(ctx context.Context, text string) (bool, error) {
	t.print(text)
	for range confirmTries {
		answer, err := t.question(ctx, fixed("Confirm (y/n)? "))
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes", "s", "sim":
			return true, nil
		case "n", "no", "não", "nao":
			return false, nil
		}
	}
	return false, nil
}

// person returns the terminal of the person who can be asked, or nil: standard
// input if it is one, else the controlling terminal, since then standard input
// is data.
func (a *app) person() *terminal {
	if a.opt.batch || a.noTTY {
		return nil
	}
	if a.tty != nil {
		return a.tty
	}
	if in, ok := a.stdin.(*os.File); ok && isTerminal(in.Fd()) {
		a.tty = newTerminal(in, os.Stderr)
		if out, ok := a.stdout.(*os.File); ok && isTerminal(out.Fd()) {
			a.tty.out = out
		}
		return a.tty
	}
	tty, err := a.openTTY()
	if err != nil {
		a.noTTY = true
		return nil
	}
	a.tty = newTerminal(tty, tty)
	return a.tty
}

// asker answers the library's questions by asking the person.
type asker struct{ *app }

// ConfirmRelay asks about a relay that is not known.
func (a asker) ConfirmRelay(ctx context.Context, _, fingerprint string) (bool, error) {
	t := a.person()
	if t == nil {
		return false, nil
	}
	return t.confirm(ctx, "Server cipher sha256 fingerprint is:\n"+fingerprint+"\n")
}

// ConfirmPeer asks, before the first message to a name, who it is.
func (a asker) ConfirmPeer(ctx context.Context, name string, p *crypto.Person) (bool, error) {
	t := a.person()
	if t == nil {
		return false, nil
	}
	return t.confirm(ctx, crypto.Visible(name)+" is new here, and proves to be:\n"+crypto.CertificateText(p.Leaf))
}

// askPIN is a card.Options.PIN that asks the person.
func (t *terminal) askPIN(ctx context.Context, req card.PINRequest) ([]byte, error) {
	if w := req.Warning(); w != "" {
		t.print("client: notice: " + w + "\n")
	}
	return t.secret(ctx, "PIN of "+crypto.Visible(req.Card)+": ")
}
