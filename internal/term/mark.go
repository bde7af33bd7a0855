package term

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// mark is a row above the output that came since the person last looked. The
// zero value is none.
type mark struct {
	n     int // outputs since then
	under int // rows from the mark to the drawn block, 0 once it cannot be written anew
}

// count writes the mark for one output more, at the place where that will be.
func (m *mark) count(out *bytes.Buffer, p *painter, row func(n int) string) {
	m.n++
	text := p.paint.in(Faint, fitting(row(m.n), p.cols-1))
	switch {
	case m.n == 1:
		out.WriteString(text + "\n")
		m.under = 1
	case m.under > 0:
		fmt.Fprintf(out, "\x1b[%dA%s%s\r\x1b[%dB", m.under, text, clearRight, m.under)
	}
}

// passed adds the rows of an output below the mark. If terminals differ about
// them, the mark is left as it is: another row must not be written over.
func (m *mark) passed(text string, cols int) {
	if m.under == 0 {
		return
	}
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") || mostColumns(line) > cols {
			m.freeze()
			return
		}
		m.under++
	}
}

// below freezes a mark that the drawn block has moved off the screen.
func (m *mark) below(p *painter) {
	if m.under+max(p.height, 1) > p.rows {
		m.freeze()
	}
}

// freeze leaves the mark on the screen as it is.
func (m *mark) freeze() { m.under = 0 }

// mostColumns is the width of a line with styles on a terminal that gives each
// code point the most.
func mostColumns(line string) (width int) {
	for line != "" {
		if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
			_, line, _ = strings.Cut(rest, "m")
			continue
		}
		n := clusterLen([]byte(line))
		for _, r := range line[:n] {
			switch {
			case r == emojiSelector:
				width++
			case r < ' ' && r != '\n':
				return math.MaxInt // it moves the cursor
			case r != '\n':
				width += runeWidth(r)
			}
		}
		line = line[n:]
	}
	return width
}
