package term

import (
	"bytes"
	"fmt"

	"chatsecure/proto"
)

// block is the last rows of a terminal: a prompt, the line being typed, and a
// status below it.
type block struct {
	prompt string // visible characters only
	text   []byte
	cursor int // an offset in text
	status string
}

// spot is a place in a block. Rows and columns count from 0.
type spot struct{ row, col int }

// layout is a block in rows of the terminal's width. Within a line the terminal
// itself goes on to the next row, so that the text is copied as one line and can
// be broken anew after a resize.
type layout struct {
	cols   int
	rows   []row
	indent int    // of all lines but the first
	row    []byte // the last row, unfinished
	col    int
	cursor spot
	marked bool // the next character is at the cursor

	widths []int // of all characters, newline for the end of a line
	at     int   // the cursor's character in widths
}

// row is a row of a layout.
type row struct {
	text []byte
	last bool // of its line
	end  int  // in widths
}

const newline = -1

// lay lays out a block without its status.
func lay(b *block, cols int, paint palette) *layout {
	l := &layout{cols: max(cols, 1)}
	l.row = append(l.row, paint.start(Faint)...)
	l.putText([]byte(b.prompt))
	l.row = append(l.row, paint.end()...)
	if l.indent = l.col; len(l.rows) > 0 || l.indent > l.cols/4 {
		l.indent = min(2, l.cols/4)
	}
	seen := false
	for at := 0; at < len(b.text); {
		n := clusterLen(b.text[at:])
		if at >= b.cursor && !seen {
			seen, l.marked = true, true
		}
		l.put(b.text[at : at+n])
		at += n
	}
	if !seen {
		l.at = len(l.widths)
	}
	l.fill()
	if !seen {
		l.cursor = spot{len(l.rows), l.col}
	}
	l.endRow(true)
	return l
}

// put adds a character in visible form.
func (l *layout) put(cluster []byte) {
	switch c := cluster[0]; {
	case c == '\n':
		l.mark()
		l.widths = append(l.widths, newline)
		l.endRow(true)
		l.putText(spaces(l.indent))
	case c == '\t':
		l.putText(spaces(tabStop - l.col%tabStop))
	case len(cluster) == 1 && ' ' <= c && c <= '~':
		l.putVisible(cluster)
	default:
		l.putText([]byte(proto.Visible(string(cluster))))
	}
}

// tabStop is the distance of the places that a tab goes to.
const tabStop = 8

func spaces(n int) []byte { return bytes.Repeat([]byte(" "), n) }

// mark notes the place of the next character for the cursor, if it is there.
func (l *layout) mark() {
	if l.marked { // a character without width can follow a full row
		l.cursor, l.marked = spot{len(l.rows), min(l.col, l.cols-1)}, false
		l.at = len(l.widths)
	}
}

func (l *layout) putText(visible []byte) {
	for len(visible) > 0 {
		n := clusterLen(visible)
		l.putVisible(visible[:n])
		visible = visible[n:]
	}
}

func (l *layout) putVisible(cluster []byte) {
	own := clusterWidth(cluster)
	width := min(own, l.cols)
	if l.col+width > l.cols {
		l.endRow(false)
	}
	l.mark()
	l.row = append(l.row, cluster...)
	l.widths = append(l.widths, own)
	l.col += width
	if !plainCluster(cluster) && l.col < l.cols {
		l.row = fmt.Appendf(l.row, "\x1b[%dG", l.col+1)
	}
}

// fill makes the terminal go on to the next row after a full one. Without a
// further character it would not, and the place of its cursor would be
// undefined.
func (l *layout) fill() {
	if l.col == l.cols {
		l.endRow(false)
		l.row = append(l.row, " \r"...)
		l.widths = append(l.widths, 1)
	}
}

func (l *layout) endRow(last bool) {
	l.rows = append(l.rows, row{l.row, last, len(l.widths)})
	l.row, l.col = nil, 0
}

// write writes rows, and stays in the last one.
func (l *layout) write(out *bytes.Buffer, from, to int) {
	for i, r := range l.rows[from:to] {
		if i > 0 && l.rows[from+i-1].last {
			out.WriteString("\r\n")
		}
		out.Write(r.text)
	}
}

// painter draws a block and can erase it. It writes to a buffer, so that a
// terminal gets each change in one piece.
type painter struct {
	paint      palette
	breaks     bool // the terminal breaks long lines anew after a resize
	cols, rows int  // of the terminal
	above      int  // drawn rows above the cursor's
	height     int  // drawn rows, 0 for none

	drawn []int // widths of the drawn characters
	at    int   // the cursor's character in drawn
}

// Control sequences (ECMA-48). See ClearLine, too.
const (
	clearRight  = "\x1b[K"        // from the cursor to the end of the row
	clearBelow  = "\x1b[J"        // and to the end of the screen
	clearScreen = "\x1b[H\x1b[2J" // all, and to the first row
)

// draw draws a block at the start of a row with nothing below. Of a block
// taller than the screen it draws the rows around the cursor, and tells in the
// place of the status how many there are beside them.
func (p *painter) draw(out *bytes.Buffer, b *block) {
	l := lay(b, p.cols, p.paint)
	top, end, status := 0, len(l.rows), b.status
	if end > p.rows {
		shown := max(p.rows-1, 1)
		top = min(max(l.cursor.row-shown/2, 0), end-shown)
		status = fmt.Sprintf("%d rows above, %d below", top, end-top-shown)
		end = top + shown
	}
	l.write(out, top, end)
	p.height = end - top
	if status != "" && p.height < p.rows {
		p.height++
		out.WriteString("\r\n" + p.paint.in(Faint, fitting(status, p.cols-1)))
	}
	p.above = l.cursor.row - top
	if up := p.height - 1 - p.above; up > 0 {
		fmt.Fprintf(out, "\x1b[%dA", up)
	}
	fmt.Fprintf(out, "\x1b[%dG", l.cursor.col+1)
	from := 0
	if top > 0 {
		from = l.rows[top-1].end
	}
	p.drawn, p.at = l.widths[from:l.rows[end-1].end], l.at-from
}

// leave draws a whole block that stays, and goes to the row below it.
func (p *painter) leave(out *bytes.Buffer, b *block) {
	l := lay(&block{prompt: b.prompt, text: b.text, cursor: len(b.text)}, p.cols, p.paint)
	l.write(out, 0, len(l.rows))
	if l.cursor.col > 0 || len(l.rows) == 1 {
		out.WriteString("\r\n")
	}
	p.forget()
}

// forget makes the painter assume that nothing is drawn.
func (p *painter) forget() { p.above, p.height, p.drawn, p.at = 0, 0, nil, 0 }

// erase clears the drawn rows. It clears to the end of the screen only from the
// second row on: from the first row of the screen, some terminals save the old
// screen in their history.
func (p *painter) erase(out *bytes.Buffer) {
	out.WriteByte('\r')
	if p.above > 0 {
		fmt.Fprintf(out, "\x1b[%dA", p.above)
	}
	out.WriteString(clearRight)
	if p.height > 1 {
		out.WriteString("\n" + clearBelow + "\x1b[1A")
	}
	p.forget()
}

// resize stores a new size. Most terminals break the drawn rows anew, which
// moves the cursor's row. The others cut rows off.
func (p *painter) resize(cols, rows int) {
	if p.breaks && cols != p.cols {
		above, last := p.anew(cols)
		p.above, p.height = above, max(p.height, last+1)
	}
	p.cols, p.rows = cols, rows
	p.above, p.height = min(p.above, max(rows-1, 0)), min(p.height, rows)
}

// anew counts the drawn rows above the cursor's and above the last one, for a
// terminal of a new width.
func (p *painter) anew(cols int) (above, last int) {
	col := 0
	for i, w := range p.drawn {
		width := min(w, cols)
		if col+width > cols {
			last, col = last+1, 0
		}
		if i == p.at {
			above = last
		}
		if w == newline {
			last, col = last+1, 0
			continue
		}
		col += width
	}
	if p.at == len(p.drawn) {
		if col == cols {
			last++
		}
		above = last
	}
	return above, last
}

// fitting cuts a text to a number of columns.
func fitting(s string, cols int) string {
	b, at := []byte(s), 0
	for width := 0; at < len(b); {
		n := clusterLen(b[at:])
		if width += clusterWidth(b[at : at+n]); width > cols {
			break
		}
		at += n
	}
	return s[:at]
}
