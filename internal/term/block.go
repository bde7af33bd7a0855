package term

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

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
	text   []byte  // of all rows
	widths []int16 // of all characters, newline for the end of a line
	rows   []place // where rows begin, and where the last one ends
	col    int     // in the last row
	indent int     // of all lines but the first

	marked bool // the next character is at the cursor
	cursor spot
	at     int // the cursor's character in widths, -1 before it is there
}

// place is a place in a layout.
type place struct{ text, widths int }

const newline = -1

// lay lays out a block without its status.
func lay(b *block, cols int, paint palette) *layout {
	size := len(b.prompt) + len(b.text)
	l := &layout{cols: max(cols, 1), text: make([]byte, 0, size+size/4), widths: make([]int16, 0, size+1), at: -1}
	l.newRow()
	l.text = append(l.text, paint.start(Faint)...)
	l.addAll([]byte(b.prompt))
	l.text = append(l.text, paint.start(none)...)
	if l.indent = l.col; len(l.rows) > 1 || l.indent > l.cols/4 {
		l.indent = min(2, l.cols/4)
	}
	for at, c := range clusters(b.text) {
		l.marked = at >= b.cursor && l.at < 0
		l.put(visible(b.text[at:], len(c)))
	}
	// The end is a place for the cursor. Without a further character the terminal
	// would not go on to the next row after a full one.
	l.marked = l.at < 0
	end := ""
	if l.col == l.cols {
		end = " \r"
	}
	l.add([]byte(end), 1, 1)
	l.newRow()
	return l
}

// visible returns the first character of a text, of n bytes, in visible form:
// newlines and tabs stay, and joiners between the characters that need them.
func visible(text []byte, n int) []byte {
	if n == 1 && ' ' <= text[0] && text[0] <= '~' {
		return text[:1]
	}
	next := text[n:min(n+utf8.UTFMax, len(text))] // decides about a joiner before it
	both := proto.VisibleText(string(text[:n+len(next)]))
	return []byte(both[:len(both)-len(proto.VisibleText(string(next)))])
}

// put adds a character, which is visible, a newline or a tab.
func (l *layout) put(visible []byte) {
	switch visible[0] {
	case '\n':
		l.add([]byte("\r\n"), newline, newline)
		l.newRow()
		l.addAll(spaces(l.indent))
	case '\t':
		l.addAll(spaces(tabStop - l.col%tabStop))
	default:
		l.addAll(visible)
	}
}

// tabStop is the distance of the places that a tab goes to.
const tabStop = 8

func spaces(n int) []byte { return bytes.Repeat([]byte(" "), n) }

func (l *layout) addAll(visible []byte) {
	for _, c := range clusters(visible) {
		own, most := clusterWidth(c)
		l.add(c, own, most)
	}
}

// add adds a character. Of one about whose width terminals differ, the end is set
// explicitly, and all fits on its row.
func (l *layout) add(cluster []byte, own, most int) {
	for own != most && most <= l.cols && l.col < l.cols && l.col+most > l.cols {
		l.text, l.widths, l.col = append(l.text, ' '), append(l.widths, 1), l.col+1
	}
	width := min(own, l.cols)
	if l.col+width > l.cols {
		l.newRow()
	}
	if l.marked { // a character without width can follow a full row
		l.cursor = spot{len(l.rows) - 1, min(l.col, l.cols-1)}
		l.at, l.marked = len(l.widths), false
	}
	l.text = append(l.text, cluster...)
	l.widths = append(l.widths, int16(min(own, math.MaxInt16)))
	if l.col += width; own != most && l.col < l.cols {
		l.text = fmt.Appendf(l.text, "\x1b[%dG", l.col+1)
	}
}

func (l *layout) newRow() {
	l.rows = append(l.rows, place{len(l.text), len(l.widths)})
	l.col = 0
}

// height is the number of rows.
func (l *layout) height() int { return len(l.rows) - 1 }

// write writes rows, and stays in the last one. It returns their characters.
func (l *layout) write(out *bytes.Buffer, from, to int) []int16 {
	begin, end := l.rows[from], l.rows[to]
	out.Write(bytes.TrimSuffix(l.text[begin.text:end.text], []byte("\r\n")))
	return l.widths[begin.widths:end.widths]
}

// painter draws a block and can erase it. It writes to a buffer, so that a
// terminal gets each change in one piece.
type painter struct {
	paint      palette
	plain      bool // no editor: the terminal itself shows what is typed, after the prompt
	dumb       bool // it knows no control sequences
	breaks     bool // the terminal breaks long lines anew after a resize
	cols, rows int  // of the terminal
	above      int  // drawn rows above the cursor's
	height     int  // drawn rows, 0 for none

	drawn []int16 // widths of the drawn characters
	at    int     // the cursor's character in drawn
}

// ClearLine goes to the start of the line and clears it (ECMA-48, EL).
const ClearLine = "\r" + clearRight

// Control sequences (ECMA-48).
const (
	clearRight  = "\x1b[K"        // from the cursor to the end of the row
	clearBelow  = "\x1b[J"        // and to the end of the screen
	clearScreen = "\x1b[H\x1b[2J" // all, and to the first row
)

// lowScreen is the number of rows of which a block may take all. Of a higher
// screen it takes half: the output above stays in view, and a width of half does
// not push the block off the screen, where nothing can be erased.
const lowScreen = 5

// draw draws a block at the start of a row with nothing below. Of a block
// that is too tall it draws the rows around the cursor, and tells in the place
// of the status how many there are beside them.
func (p *painter) draw(out *bytes.Buffer, b *block) {
	if p.plain {
		out.WriteString(Wrap(b.prompt, p.cols))
		p.height = min(len(b.prompt), 1)
		return
	}
	l := lay(b, p.cols, p.paint)
	top, end, status := 0, l.height(), b.status
	if room := max(p.rows/2, min(p.rows, lowScreen)); end > room {
		shown := max(room-1, 1)
		top = min(max(l.cursor.row-shown/2, 0), end-shown)
		status = fmt.Sprintf("%d rows above, %d below", top, end-top-shown)
		end = top + shown
	}
	p.drawn = l.write(out, top, end)
	p.at, p.height = l.at-l.rows[top].widths, end-top
	if status != "" && p.height < p.rows {
		p.height++
		out.WriteString("\r\n" + p.paint.in(Faint, fitting(status, p.cols-1)))
	}
	p.above = l.cursor.row - top
	if up := p.height - 1 - p.above; up > 0 {
		fmt.Fprintf(out, "\x1b[%dA", up)
	}
	fmt.Fprintf(out, "\x1b[%dG", l.cursor.col+1)
}

// leave writes the prompt and the text as a line that stays, in rows as of any output: a paste must
// not look like the line of somebody else.
func (p *painter) leave(out *bytes.Buffer, b *block) {
	if p.plain {
		return
	}
	text := strings.ReplaceAll(proto.VisibleText(string(b.text)), "\n", Row)
	out.WriteString(Wrap(p.paint.in(Faint, b.prompt)+Hang+text+"\n", p.cols))
	p.forget()
}

// forget makes the painter assume that nothing is drawn.
func (p *painter) forget() { p.above, p.height, p.drawn, p.at = 0, 0, nil, 0 }

// erase clears the drawn rows. It clears to the end of the screen only from the
// second row on: from the first row of the screen, some terminals save the old
// screen in their history.
func (p *painter) erase(out *bytes.Buffer) {
	if p.above > 0 {
		fmt.Fprintf(out, "\x1b[%dA", p.above)
	}
	switch {
	case p.dumb && p.height > 0:
		out.WriteByte('\n')
	case p.height > 1:
		out.WriteString(ClearLine + "\n" + clearBelow + "\x1b[1A")
	case p.height > 0:
		out.WriteString(ClearLine)
	}
	p.forget()
}

// resize stores a new size. Most terminals break the drawn rows anew, which
// moves the cursor's row. The others cut rows off.
func (p *painter) resize(cols, rows int) {
	if p.breaks && cols != p.cols && len(p.drawn) > 0 {
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
		width := min(int(w), cols)
		if col+width > cols {
			last, col = last+1, 0
		}
		if i == p.at {
			above = last
		}
		if col += width; w == newline {
			last, col = last+1, 0
		}
	}
	return above, last
}
