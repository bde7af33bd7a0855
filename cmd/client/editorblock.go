package main

import (
	"bytes"
	"fmt"

	"chatsecure/crypto"
)

// block is what stands on the last rows of a terminal: a prompt, the line being
// typed behind it, and a status below, which is not part of the conversation.
type block struct {
	prompt string // characters that can be shown
	text   []byte
	cursor int // an offset in text
	status string
}

// spot is a place in a block: rows and columns from 0.
type spot struct{ row, col int }

// layout is a block in rows that are as long as the terminal's. The terminal
// goes on to the next row by itself, as it does for any long line, so that the
// text is one line to who copies it, and stays one when the window is resized.
type layout struct {
	cols   int
	rows   [][]byte
	row    []byte // the last, being made
	col    int
	cursor spot
	marked bool // the next character is the cursor's

	widths []byte // of all characters
	ends   []int  // where in widths each row ends
	at     int    // where in widths the cursor's character is
}

// lay lays a block out, its status aside.
func lay(b *block, cols int, paint palette) *layout {
	l := &layout{cols: max(cols, 1)}
	l.row = append(l.row, paint.start(faint)...)
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

// put adds a character as it is shown everywhere: what acts on a terminal, or
// shows nothing, is written out.
func (l *layout) put(cluster []byte) {
	if len(cluster) == 1 && ' ' <= cluster[0] && cluster[0] <= '~' {
		l.putVisible(cluster)
		return
	}
	l.putText([]byte(crypto.Visible(string(cluster))))
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
	if l.marked { // what has no width can stand behind a full row
		l.cursor, l.marked = spot{len(l.rows), min(l.col, l.cols-1)}, false
		l.at = len(l.widths)
	}
	l.row = append(l.row, cluster...)
	l.widths = append(l.widths, byte(own))
	l.col += width
	if !plainCluster(cluster) && l.col < l.cols {
		l.row = fmt.Appendf(l.row, "\x1b[%dG", l.col+1)
	}
}

// fill makes the terminal go on to the next row if the last is full: until
// another character comes it does not, and its cursor stands nowhere.
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

// painter draws a block and knows how to erase what it drew. What it writes
// goes to a buffer, so that a terminal gets a change in one piece.
type painter struct {
	paint      palette
	breaks     bool // the terminal breaks long lines anew when it is resized
	cols, rows int  // of the terminal
	above      int  // rows of what is drawn above the cursor's
	tall       bool // what is drawn has several rows

	drawn []byte // the widths of the characters that are drawn
	at    int    // which of them is the cursor's
}

// Control sequences (ECMA-48): see clearLine.
const (
	clearRight  = "\x1b[K"        // from the cursor to the end of the row
	clearBelow  = "\x1b[J"        // and to the end of the screen
	clearScreen = "\x1b[H\x1b[2J" // all, and to the first row
)

// draw draws a block at the start of a row, below which all is blank. One
// taller than the screen shows the rows around the cursor.
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
		out.WriteString("\r\n" + p.paint.in(faint, fitting(b.status, p.cols-1)))
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

// leave draws a block whole, to stay, and goes to the row below it.
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

// forget takes it that nothing is drawn.
func (p *painter) forget() { p.above, p.tall, p.drawn, p.at = 0, false, nil, 0 }

// erase takes away what was drawn. It clears to the end of the screen from the
// second row on: from the first row of the screen, some terminals take that for
// a new screen, and keep the old one for who scrolls back.
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

// resize takes note of a new size. Most terminals break what is drawn anew, so
// that the cursor's row is another; one that does not cuts it off.
func (p *painter) resize(cols, rows int) {
	if p.breaks && cols != p.cols {
		above, last := p.anew(cols)
		p.above, p.tall = above, p.tall || last > 0
	}
	p.cols, p.rows = cols, rows
	p.above, p.tall = min(p.above, max(rows-1, 0)), p.tall && rows > 1
}

// anew counts the rows of what is drawn above the cursor's, and above the last,
// as a terminal of that width breaks them.
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

// fitting cuts a text off where it would not fit.
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
