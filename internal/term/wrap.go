package term

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"chatsecure/proto"
)

// Marks within a line, for Wrap and Unwrapped. Text that proto.Visible or
// proto.VisibleText has made safe contains neither.
const (
	Hang = "\x1f" // the line's further rows begin below this place
	Row  = "\v"   // a newline of the text, which does not end the line
)

// A row that goes on with a line is indented and begins with a mark, so that no
// text can look like a line of somebody else.
const (
	rowMark   = "| "
	leastHang = 1 + len(rowMark)
	leastCols = leastHang + 2 // a narrower screen has no room for a wide character
)

// Wrap breaks whole lines into rows for a terminal of some columns. It never
// fills the last column, and assumes the greatest width of characters about
// which terminals differ: a terminal that broke a row itself would begin the
// next one without a mark.
func Wrap(text string, cols int) string {
	if isShort(text, cols) {
		return text
	}
	w := wrapper{limit: max(cols, leastCols) - 1}
	for line := range strings.Lines(text) {
		line, newline := strings.CutSuffix(line, "\n")
		w.line([]byte(line))
		if newline {
			w.out.WriteByte('\n')
		}
	}
	return w.out.String()
}

// isShort reports whether a text has nothing to wrap: printable ASCII on short lines.
func isShort(text string, cols int) bool {
	width := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\n':
			width = 0
		case c < ' ' || c > '~' || width >= cols-1:
			return false
		default:
			width++
		}
	}
	return true
}

// Unwrapped returns lines for a stream that is no terminal: each stays one line.
func Unwrapped(text string) string { return unwrapped.Replace(text) }

var unwrapped = strings.NewReplacer(Hang, "", Row, `\x0a`)

// Columns returns the columns of a terminal, and 0 for another file.
func Columns(f *os.File) int {
	if !IsTerminal(f.Fd()) {
		return 0
	}
	cols, _ := (&rawMode{fd: f.Fd()}).size()
	return cols
}

// wrapper breaks lines into rows.
type wrapper struct {
	out   strings.Builder
	limit int // columns of a row
	hang  int // where further rows of the line begin
	col   int

	word  []piece // not yet in out
	width int     // of word
}

// piece is a character or a style.
type piece struct {
	text  []byte
	width int
}

// line adds a line, given without its newline.
func (w *wrapper) line(s []byte) {
	lead := len(s) - len(bytes.TrimLeft(s, " "))
	w.col, w.hang = 0, leastHang+min(lead, w.limit/4)
	for len(s) > 0 {
		size := 1
		switch s[0] {
		case Hang[0]:
			w.endWord()
			if w.col <= w.limit/2 { // else there would be little room for the text
				w.hang = max(w.col, leastHang)
			}
		case Row[0]:
			w.endWord()
			w.newRow(w.hang)
		case ' ':
			w.endWord()
			w.space()
		case '\t':
			w.endWord()
			for w.space() && w.col%tabStop != 0 {
			}
		default:
			size = w.element(s)
		}
		s = s[size:]
	}
	w.endWord()
}

// element adds the character or style that s begins with to the word, and
// returns its length.
func (w *wrapper) element(s []byte) int {
	if n := styleLen(s); n > 0 {
		w.word = append(w.word, piece{s[:n], 0})
		return n
	}
	n := clusterLen(s)
	p := piece{s[:n], 0}
	if first, _ := utf8.DecodeRune(s); first == utf8.RuneError || unicode.IsControl(first) {
		p.text = []byte(proto.Visible(string(p.text))) // the last chance to keep it from acting on the terminal
	}
	for _, r := range string(p.text) {
		p.width += greatestWidth(r)
	}
	if p.width <= w.limit-w.hang {
		w.add(p)
		return n
	}
	for _, r := range string(p.text) { // no row has room for the whole character
		w.add(piece{[]byte(string(r)), greatestWidth(r)})
	}
	return n
}

func (w *wrapper) add(p piece) {
	w.word = append(w.word, p)
	w.width += p.width
}

// space adds a space. A space without room begins a new row instead, and the
// result is false.
func (w *wrapper) space() bool {
	if w.col >= w.limit {
		w.newRow(w.hang)
		return false
	}
	w.out.WriteByte(' ')
	w.col++
	return true
}

// endWord puts the word on this row, or whole on the next. A word without room
// at the line's indent gets a row with the least one, so that a hash to compare
// or to copy stays whole where it can. A still longer word is cut at the end of
// each row.
func (w *wrapper) endWord() {
	switch {
	case w.col+w.width <= w.limit:
	case w.width <= w.limit-w.hang:
		w.newRow(w.hang)
	case w.width <= w.limit-leastHang:
		w.newRow(leastHang)
	}
	for _, p := range w.word {
		if w.col+p.width > w.limit {
			w.newRow(w.hang)
		}
		w.out.Write(p.text)
		w.col += p.width
	}
	w.word, w.width = w.word[:0], 0
}

// newRow begins a further row of the line.
func (w *wrapper) newRow(hang int) {
	fmt.Fprintf(&w.out, "\n%*s", hang, rowMark)
	w.col = hang
}

// styleLen returns the length of the style that s begins with (see palette), or 0.
func styleLen(s []byte) int {
	rest, ok := bytes.CutPrefix(s, []byte("\x1b["))
	if !ok {
		return 0
	}
	for i, c := range rest {
		switch {
		case c == 'm':
			return len(s) - len(rest) + i + 1
		case c < '0' || c > '9':
			return 0
		}
	}
	return 0
}

// greatestWidth is the most columns that any terminal gives a code point.
// Terminals differ about the parts of a sequence, pictographs, private
// characters, and those that are newer than their tables.
func greatestWidth(r rune) int {
	switch {
	case r < 0x300: // before the first accent
		return 1
	case unicode.In(r, wide, unicode.So, unicode.Co, unicode.Cn):
		return 2
	}
	return 1
}
