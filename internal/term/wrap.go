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
	Hang  = "\x1f" // the line's further rows begin below this place
	Row   = "\v"   // a newline of the text, which does not end the line
	Whole = "\f"   // begins and ends a part to copy, which has a row of its own
)

// wholeIndent begins the row of a part to copy that has no room below the text. Only a terminal breaks that row, which copies it
// as one line. The row bears no mark, so the part must be the program's own: a command, or a
// hash. Names and addresses in it have no blanks, so that none can look like a line.
const wholeIndent = "  "

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
	w := wrapper{limit: max(cols, leastCols) - 1}
	for line := range strings.Lines(text) {
		line, newline := strings.CutSuffix(line, "\n")
		w.line([]byte(line))
		if newline {
			w.out = append(w.out, '\n')
		}
	}
	return string(w.out)
}

// Unwrapped returns lines for a stream that is no terminal: each stays one line.
func Unwrapped(text string) string { return unwrapped.Replace(text) }

var unwrapped = strings.NewReplacer(Hang, "", Whole, "", Row, `\x0a`)

// Columns returns the columns of a terminal, and 0 for another file.
func Columns(f *os.File) int {
	if !IsTerminal(f.Fd()) {
		return 0
	}
	cols, _ := Size(f)
	return cols
}

// Size returns the columns and rows of a terminal.
func Size(f *os.File) (cols, rows int) { return (&rawMode{fd: f.Fd()}).size() }

// wrapper breaks lines into rows.
type wrapper struct {
	out   []byte
	begun int // where the present row begins in out, with the newline before it
	blank int // and its text
	limit int // columns of a row
	hang  int // where further rows of the line begin
	col   int // the next one, on the terminal with the widest characters
	own   int // and on the usual one, for what stands below
}

// line adds a line, given without its newline.
func (w *wrapper) line(s []byte) {
	lead := len(s) - len(bytes.TrimLeft(s, " "))
	w.col, w.own, w.hang, w.blank = 0, 0, leastHang+min(lead, w.limit/4), -1
	for {
		n := bytes.IndexAny(s, Hang+Row+Whole+" \t")
		if n < 0 {
			w.word(s)
			return
		}
		w.word(s[:n])
		switch s[n] {
		case Hang[0]:
			if w.col <= w.limit/2 { // else there would be little room for the text
				w.hang = max(w.own, leastHang)
			}
		case Row[0]:
			w.newRow(w.hang)
		case Whole[0]:
			part, rest, _ := bytes.Cut(s[n+1:], []byte(Whole))
			w.whole(part)
			s = bytes.TrimLeft(rest, ".,:;) ") // the next row divides as well
			continue
		case ' ':
			w.space()
		case '\t':
			for w.space() && w.own%tabStop != 0 {
			}
		}
		s = s[n+1:]
	}
}

// word puts a word on this row, or whole on the next. A word without room at the
// line's indent gets a row of its own with the least one, so that a hash to compare or to
// copy stays whole where it can. A still longer word is cut at the end of each
// row.
func (w *wrapper) word(s []byte) {
	width := 0
	w.pieces(s, func(_ []byte, cols int) { width += cols })
	switch {
	case width == 0 || w.col+width <= w.limit:
	case width <= w.limit-w.hang:
		w.newRow(w.hang)
	case width <= w.limit-leastHang:
		if w.blank == len(w.out) {
			w.out = w.out[:w.begun]
		}
		w.newRow(leastHang)
	}
	alone := width > w.limit-w.hang && w.col == leastHang && w.col+width <= w.limit
	w.pieces(s, func(piece []byte, cols int) {
		if cols > 0 && w.col+cols > w.limit {
			w.newRow(w.hang)
		}
		w.out = append(w.out, piece...)
		w.col += cols
		if cols > 0 { // no style
			w.own += TextWidth(string(piece))
		}
	})
	if alone {
		w.col = w.limit + 1
	}
}

// whole adds a part to copy on a row of its own: below the text if it is one word that has room
// there, as a hash. The text after it begins a further row.
func (w *wrapper) whole(part []byte) {
	if w.blank == len(w.out) {
		w.out = w.out[:w.begun]
	}
	if !bytes.Contains(part, []byte(" ")) && len(part) <= w.limit-w.hang {
		w.newRow(w.hang)
	} else {
		w.out = append(w.out, "\n"+wholeIndent...)
	}
	w.out = append(w.out, proto.Visible(string(part))...)
	w.col = w.limit + 1
}

// pieces passes the characters and styles of a word to do, with their columns.
func (w *wrapper) pieces(s []byte, do func(piece []byte, cols int)) {
	for n := 0; len(s) > 0; s = s[n:] {
		if s[0] == esc {
			if n = len(style().Find(s)); n > 0 {
				do(s[:n], 0)
				continue
			}
		}
		n = clusterLen(s)
		piece := s[:n]
		if first, _ := utf8.DecodeRune(s); first == utf8.RuneError || unicode.IsControl(first) {
			piece = []byte(proto.Visible(string(piece))) // the last chance to keep it from acting on the terminal
		}
		if cols := mostWidth(piece); cols <= w.limit-w.hang {
			do(piece, cols)
			continue
		}
		for _, r := range string(piece) { // no row has room for the whole character
			do([]byte(string(r)), mostWidth([]byte(string(r))))
		}
	}
}

// style is a style at the begin of a text: see palette.
var style = pattern("^\x1b\\[[0-9]*m")

// mostWidth is the most columns that any terminal gives the parts of a character.
func mostWidth(s []byte) (cols int) {
	for _, r := range string(s) {
		_, most := runeWidth(r)
		cols += most
	}
	return cols
}

// space adds a space. A space without room begins a new row instead, and the
// result is false.
func (w *wrapper) space() bool {
	if w.col >= w.limit {
		w.newRow(w.hang)
		return false
	}
	w.out = append(w.out, ' ')
	w.col++
	w.own++
	return true
}

// newRow begins a further row of the line.
func (w *wrapper) newRow(hang int) {
	w.begun = len(w.out)
	w.out = fmt.Appendf(w.out, "\n%*s", hang, rowMark)
	w.col, w.own, w.blank = hang, hang, len(w.out)
}
