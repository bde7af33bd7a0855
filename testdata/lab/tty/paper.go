package tty

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
)

// Paper takes the output of a terminal. It knows how to clear a line, and keeps
// other control sequences as text. It is safe for concurrent use.
type Paper struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// clearLine goes to the start of the line and clears it (ECMA-48, EL).
const clearLine = "\r\x1b[K"

func (p *Paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, part := range strings.Split(string(b), clearLine) {
		if i > 0 {
			kept := p.text.Bytes()
			p.text.Truncate(bytes.LastIndexByte(kept, '\n') + 1)
		}
		p.text.WriteString(part)
	}
	return len(b), nil
}

func (p *Paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// Typist types line after line. Each Read is one line.
type Typist struct {
	Out   io.Writer // gets the echo
	Steps []Step
}

// Step is a line of a Typist.
type Step struct {
	Before func() // called before the line, unless nil
	Types  string
	Hidden bool // no echo
}

func (p *Typist) Read(b []byte) (int, error) {
	if len(p.Steps) == 0 {
		return 0, io.EOF
	}
	s := p.Steps[0]
	p.Steps = p.Steps[1:]
	if s.Before != nil {
		s.Before()
	}
	if !s.Hidden {
		io.WriteString(p.Out, s.Types+"\n")
	}
	return copy(b, s.Types+"\n"), nil
}

// Pipe returns a pipe that is closed when the test ends.
func Pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
