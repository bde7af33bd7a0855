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

// layout is a block in rows of the terminal's width. The terminal itself goes
// on to the next row, as with any long line, so that the text is copied as one
// line and can be broken anew after a resize.
type layout struct {
	cols   int
	rows   [][]byte
	row    []byte // the last row, unfinished
	col    int
	cursor spot
	marked bool // the next character is at the cursor

	widths []int // of all characters
	ends   []int // the end of each row in widths
	at     int   // the cursor's character in widths
}

// lay lays out a block without its status.
func lay(b *block, cols int, paint palette) *layout {
	l := &layout{cols: max(cols, 1)}
	l.row = append(l.row, paint.start(Faint)...)
	l.putText([]byte(b.prompt))
	l.row = append(l.row, paint.end()...)
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
	l.endRow()
	return l
}

// put adds a character in visible form.
func (l *layout) put(cluster []byte) {
	if len(cluster) == 1 && ' ' <= cluster[0] && cluster[0] <= '~' {
		l.putVisible(cluster)
		return
	}
	l.putText([]byte(proto.Visible(string(cluster))))
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
		l.endRow()
	}
	if l.marked { // a character without width can follow a full row
		l.cursor, l.marked = spot{len(l.rows), min(l.col, l.cols-1)}, false
		l.at = len(l.widths)
	}
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
		l.endRow()
		l.row = append(l.row, " \r"...)
		l.widths = append(l.widths, 1)
	}
}

func (l *layout) endRow() {
	l.rows = append(l.rows, l.row)
	l.ends = append(l.ends, len(l.widths))
	l.row, l.col = nil, 0
}

// painter draws a block and can erase it. It writes to a buffer, so that a
// terminal gets each change in one piece.
type painter struct {
	paint      palette
	breaks     bool // the terminal breaks long lines anew after a resize
	cols, rows int  // of the terminal
	above      int  // drawn rows above the cursor's
	tall       bool // several rows are drawn

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
// taller than the screen it draws the rows around the cursor.
func (p *painter) draw(out *bytes.Buffer, b *block) {
	l := lay(b, p.cols, p.paint)
	top := max(0, l.cursor.row-p.rows+1)
	end := min(len(l.rows), top+p.rows)
	for _, row := range l.rows[top:end] {
		out.Write(row)
	}
	last := end - 1
	if b.status != "" && end-top < p.rows {
		last++
		out.WriteString("\r\n" + p.paint.in(Faint, fitting(b.status, p.cols-1)))
	}
	if up := last - l.cursor.row; up > 0 {
		fmt.Fprintf(out, "\x1b[%dA", up)
	}
	fmt.Fprintf(out, "\x1b[%dG", l.cursor.col+1)
	p.above, p.tall = l.cursor.row-top, last > top
	from := 0
	if top > 0 {
		from = l.ends[top-1]
	}
	p.drawn, p.at = l.widths[from:l.ends[end-1]], l.at-from
}

// leave draws a whole block that stays, and goes to the row below it.
func (p *painter) leave(out *bytes.Buffer, b *block) {
	l := lay(&block{prompt: b.prompt, text: b.text, cursor: len(b.text)}, p.cols, p.paint)
	for _, row := range l.rows {
		out.Write(row)
	}
	if l.cursor.col > 0 || len(l.rows) == 1 {
		out.WriteString("\r\n")
	}
	p.forget()
}

// forget makes the painter assume that nothing is drawn.
func (p *painter) forget() { p.above, p.tall, p.drawn, p.at = 0, false, nil, 0 }

// erase clears the drawn rows. It clears to the end of the screen only from the
// second row on: from the first row of the screen, some terminals save the old
// screen in their history.
func (p *painter) erase(out *bytes.Buffer) {
	out.WriteByte('\r')
	if p.above > 0 {
		fmt.Fprintf(out, "\x1b[%dA", p.above)
	}
	out.WriteString(clearRight)
	if p.tall {
		out.WriteString("\n" + clearBelow + "\x1b[1A")
	}
	p.forget()
}

// resize stores a new size. Most terminals break the drawn rows anew, which
// moves the cursor's row. The others cut rows off.
func (p *painter) resize(cols, rows int) {
	if p.breaks && cols != p.cols {
		above, last := p.anew(cols)
		p.above, p.tall = above, p.tall || last > 0
	}
	p.cols, p.rows = cols, rows
	p.above, p.tall = min(p.above, max(rows-1, 0)), p.tall && rows > 1
}

// anew counts the drawn rows above the cursor's and above the last one, for a
// terminal of a new width.
func (p *painter) anew(cols int) (above, last int) {
	col := 0
	for i, w := range p.drawn {
		width := min(int(w), cols)
		if col+width > cols {
			last, col = last+1, 0
		}
		if i == p.at {
			above = last
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
