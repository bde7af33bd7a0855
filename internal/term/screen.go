package term

import (
	"io"
	"sync"
	"sync/atomic"
)

// screen is the only writer to a terminal. Output goes above the line being
// typed, which is drawn again. A question may interrupt a prompt, which is
// drawn again after the answer.
type screen struct {
	mu      sync.Mutex // guards the fields below
	out     io.Writer
	size    func() (cols, rows int)
	prompts []func() string // the last one is on the last line

	dumb    bool                    // it knows no control sequences
	paint   palette                 // its styles
	editing atomic.Pointer[editing] // has the terminal instead, if not nil
}

// ClearLine goes to the start of the line and clears it (ECMA-48, EL).
const ClearLine = "\r\x1b[K"

// Print writes whole lines, which it wraps.
func (s *screen) Print(text string) {
	if e := s.editing.Load(); e != nil {
		e.print(text, nil)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text = s.wrapped(text)
	if len(s.prompts) > 0 {
		text = s.clear() + text + s.wrapped(s.prompts[len(s.prompts)-1]())
	}
	io.WriteString(s.out, text)
}

// clear makes room for a line in the place of a prompt.
func (s *screen) clear() string {
	if s.dumb {
		return "\n"
	}
	return ClearLine
}

// show shows a prompt. answered ends it.
func (s *screen) show(prompt func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.wrapped(prompt())
	if len(s.prompts) > 0 {
		text = s.clear() + text
	}
	s.prompts = append(s.prompts, prompt)
	io.WriteString(s.out, text)
}

// answered ends the last prompt. end is the text that the terminal has not
// echoed.
func (s *screen) answered(end string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prompts = s.prompts[:len(s.prompts)-1]
	if len(s.prompts) > 0 {
		end += s.wrapped(s.prompts[len(s.prompts)-1]())
	}
	io.WriteString(s.out, end)
}

// wrapped returns a text in rows of the terminal's present width.
func (s *screen) wrapped(text string) string {
	cols, _ := s.size()
	return Wrap(text, cols)
}

// In returns a text in a style, if the terminal has colour.
func (s *screen) In(st Style, text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paint.in(st, text)
}

// fixed is a prompt that never changes.
func fixed(prompt string) func() string { return func() string { return prompt } }
