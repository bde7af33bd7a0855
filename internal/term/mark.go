package term

import (
	"bytes"
	"fmt"
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

// passed adds the rows of an output below the mark, as Wrap has made them.
func (m *mark) passed(rows string, p *painter) {
	if m.under == 0 {
		return
	}
	m.under += strings.Count(rows, "\n")
	if m.under >= p.rows || p.cols < leastCols || !strings.HasSuffix(rows, "\n") {
		m.freeze()
	}
}

// below freezes a mark that the drawn block has moved off the screen.
func (m *mark) below(p *painter) {
	if m.under+max(p.height, 1) > p.rows {
		m.freeze()
	}
}

// view follows a text that is to be read. The zero value follows none.
type view struct {
	own   int    // its rows
	under int    // rows below it
	gone  func() // is called once it is not in view any more, and nil from then on
}

// below loses a text of which output has moved rows off the screen. Where the screen has no room
// for the whole, the last rows count, of half a screen.
func (v *view) below(p *painter) {
	own, height := v.own, max(p.height, 1)
	if own+height > p.rows {
		own = p.rows / 2
	}
	if v.under > 0 && own+v.under+height > p.rows {
		v.lose()
	}
}

func (v *view) lose() {
	if v.gone != nil {
		v.gone()
	}
	v.gone = nil
}

// freeze leaves the mark on the screen as it is.
func (m *mark) freeze() { m.under = 0 }
