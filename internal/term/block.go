package term

import (
	"bytes"
	"fmt"
	"math"
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
	text   []byte // of all rows
	rows   []row
	indent int // of all lines but the first
	col    int // in the last row, which is unfinished
	cursor spot
	marked bool // the next character is at the cursor

	widths []int16 // of all characters, newline for the end of a line
	at     int     // the cursor's character in widths
}

// row is the end of a row of a layout.
type row struct {
	text, widths int
	last         bool // of its line
}

const newline = -1

// lay lays out a block without its status.
func lay(b *block, cols int, paint palette) *layout {
	size := len(b.prompt) + len(b.text)
	l := &layout{cols: max(cols, 1), text: make([]byte, 0, size+size/4), widths: make([]int16, 0, size+1)}
	l.text = append(l.text, paint.start(Faint)...)
	l.putText([]byte(b.prompt))
	l.text = append(l.text, paint.end()...)
	if l.indent = l.col; len(l.rows) > 0 || l.indent > l.cols/4 {
		l.indent = min(2, l.cols/4)
	}
	seen := false
	for before, at := 0, 0; at < len(b.text); {
		if at >= b.cursor && !seen {
			seen, l.marked = true, true
		}
		end := at + clusterLen(b.text[at:])
		l.put(visible(b.text, before, at, end))
		before, at = at, end
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

// visible returns a character of a text in visible form: newlines and tabs stay,
// and joiners between the characters that need them, the one before among them.
func visible(text []byte, before, at, end int) []byte {
	switch cluster := text[at:end]; {
	case len(cluster) == 1 && ' ' <= cluster[0] && cluster[0] <= '~':
		return cluster
	case !bytes.ContainsAny(cluster, "\u200c\u200d"):
		return []byte(proto.VisibleText(string(cluster)))
	}
	with := []byte(proto.VisibleText(string(text[before:min(end+utf8.UTFMax, len(text))])))
	with = with[visibleLen(with, text[before:at]):]
	return with[:visibleLen(with, text[at:end])]
}

// visibleLen is the length of some characters in the visible form of a text that
// begins with them.
func visibleLen(visible, text []byte) (n int) {
	for len(text) > 0 {
		_, size := utf8.DecodeRune(text)
		switch {
		case bytes.HasPrefix(visible[n:], text[:size]):
			n += size
		case visible[n+1] == 'x':
			n += len(`\x00`)
		case visible[n+1] == 'u':
			n += len(`\u0000`)
		default:
			n += len(`\U00000000`)
		}
		text = text[size:]
	}
	return n
}

// put adds a character, which is visible, a newline or a tab.
func (l *layout) put(visible []byte) {
	switch visible[0] {
	case '\n':
		l.mark()
		l.widths = append(l.widths, newline)
		l.endRow(true)
		l.putText(spaces(l.indent))
	case '\t':
		l.putText(spaces(tabStop - l.col%tabStop))
	default:
		l.putText(visible)
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

// putVisible adds a character. Of one about whose width terminals differ, the
// end is set explicitly, and all fits on its row.
func (l *layout) putVisible(cluster []byte) {
	own, most := clusterWidth(cluster)
	width := min(own, l.cols)
	if own != most && most <= l.cols && l.col+most > l.cols {
		for ; l.col < l.cols; l.col++ {
			l.text, l.widths = append(l.text, ' '), append(l.widths, 1)
		}
	}
	if l.col+width > l.cols {
		l.endRow(false)
	}
	l.mark()
	l.text = append(l.text, cluster...)
	l.widths = append(l.widths, int16(min(own, math.MaxInt16)))
	l.col += width
	if own != most && l.col < l.cols {
		l.text = fmt.Appendf(l.text, "\x1b[%dG", l.col+1)
	}
}

// fill makes the terminal go on to the next row after a full one. Without a
// further character it would not, and the place of its cursor would be
// undefined.
func (l *layout) fill() {
	if l.col == l.cols {
		l.endRow(false)
		l.text = append(l.text, " \r"...)
		l.widths = append(l.widths, 1)
	}
}

func (l *layout) endRow(last bool) {
	l.rows = append(l.rows, row{len(l.text), len(l.widths), last})
	l.col = 0
}

// begin is the begin of a row, in the form of an end.
func (l *layout) begin(at int) row {
	if at == 0 {
		return row{}
	}
	return l.rows[at-1]
}

// write writes rows, and stays in the last one.
func (l *layout) write(out *bytes.Buffer, from, to int) {
	for i, r := range l.rows[from:to] {
		begin := l.begin(from + i)
		if i > 0 && begin.last {
			out.WriteString("\r\n")
		}
		out.Write(l.text[begin.text:r.text])
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

	drawn []int16 // widths of the drawn characters
	at    int     // the cursor's character in drawn
}

// Control sequences (ECMA-48). See ClearLine, too.
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
	l := lay(b, p.cols, p.paint)
	top, end, status := 0, len(l.rows), b.status
	if room := max(p.rows/2, min(p.rows, lowScreen)); end > room {
		shown := max(room-1, 1)
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
	from := l.begin(top).widths
	p.drawn, p.at = l.widths[from:l.rows[end-1].widths], l.at-from
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
		width := min(int(w), cols)
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
		if width += clusterColumns(b[at : at+n]); width > cols {
			break
		}
		at += n
	}
	return s[:at]
}
