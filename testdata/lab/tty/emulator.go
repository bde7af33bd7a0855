package tty

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Emulator is a small terminal. It knows the control sequences of the client's
// editor, and any other fails its test. Like many terminals it gives each code
// point its own width, and accents none.
type Emulator struct {
	Cols, Rows int
	Bells      int // rung so far

	t        testing.TB
	width    func(r rune) int
	lines    []emulated // all rows so far; the last ones are the screen
	row, col int        // row is an index of lines
	wrapping bool       // the last column is full: the next character goes to the next row
}

// emulated is a row. The second cell of a wide character is empty.
type emulated struct {
	cells   []string
	wrapped bool // continued in the next row
}

// noRoom is the last cell of a row without room for a wide character. It is no
// part of the text.
const noRoom = "\x00"

// NewEmulator returns an empty terminal. width returns the columns of a code
// point.
func NewEmulator(t testing.TB, cols, rows int, width func(r rune) int) *Emulator {
	e := &Emulator{t: t, Cols: cols, Rows: rows, width: width}
	e.need(0)
	return e
}

// need adds rows up to this one.
func (e *Emulator) need(row int) {
	for len(e.lines) <= row {
		e.lines = append(e.lines, emulated{cells: blank(e.Cols)})
	}
}

func blank(n int) []string { return strings.Split(strings.Repeat(" ", n), "") }

// top is the first row of the screen.
func (e *Emulator) top() int { return max(0, len(e.lines)-e.Rows) }

func (e *Emulator) Write(b []byte) (int, error) {
	for s := string(b); s != ""; {
		if rest, ok := strings.CutPrefix(s, "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return '@' <= r && r <= '~' })
			if end < 0 {
				e.t.Fatalf("a sequence without an end: %q", s)
			}
			e.control(rest[:end], rest[end])
			s = rest[end+1:]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		s = s[n:]
		switch {
		case r == '\r':
			e.col, e.wrapping = 0, false
		case r == '\n': // the driver adds a carriage return
			e.row++
			e.col, e.wrapping = 0, false
			e.need(e.row)
		case r == '\a':
			e.Bells++
		case r < ' ' || 0x7f <= r && r < 0xa0 || r == utf8.RuneError:
			e.t.Fatalf("%q is not for a terminal, in %q", r, b)
		default:
			e.put(r)
		}
	}
	return len(b), nil
}

func (e *Emulator) put(r rune) {
	width := e.width(r)
	if width == 0 {
		at := max(0, e.col-1)
		if e.wrapping {
			at = e.col
		}
		for at > 0 && e.lines[e.row].cells[at] == "" {
			at--
		}
		e.lines[e.row].cells[at] += string(r)
		return
	}
	if e.wrapping || e.col+min(width, e.Cols) > e.Cols {
		if !e.wrapping {
			e.lines[e.row].cells[e.col] = noRoom
		}
		e.lines[e.row].wrapped = true
		e.row++
		e.col, e.wrapping = 0, false
		e.need(e.row)
	}
	cells := e.lines[e.row].cells
	cells[e.col] = string(r)
	if width == 2 && e.col+1 < e.Cols {
		cells[e.col+1] = ""
	}
	if e.col += min(width, e.Cols); e.col == e.Cols {
		e.col, e.wrapping = e.Cols-1, true
	}
}

func (e *Emulator) control(args string, final byte) {
	n, _ := strconv.Atoi(args)
	switch final {
	case 'A':
		e.row = max(e.top(), e.row-max(n, 1))
		e.wrapping = false
	case 'B':
		e.row = min(e.top()+e.Rows-1, e.row+max(n, 1))
		e.need(e.row)
		e.wrapping = false
	case 'G':
		if n < 1 || n > e.Cols {
			e.t.Fatalf("column %d of %d", n, e.Cols)
		}
		e.col, e.wrapping = n-1, false
	case 'J':
		if args == "2" {
			for row := e.top(); row < len(e.lines); row++ {
				e.lines[row] = emulated{cells: blank(e.Cols)}
			}
			return
		}
		if e.row == e.top() && e.col == 0 {
			e.t.Fatal("a terminal may keep what is cleared from its first place on")
		}
		for row := e.row + 1; row < len(e.lines); row++ {
			e.lines[row] = emulated{cells: blank(e.Cols)}
		}
		e.clearRow()
	case 'K':
		e.clearRow()
	case 'H':
		// Now the screen has all its rows.
		e.need(e.top() + e.Rows - 1)
		e.row, e.col, e.wrapping = e.top(), 0, false
	case 'm':
	case 'h', 'l':
		if args != "?2004" && args != "?1004" {
			e.t.Fatalf("mode %q", args)
		}
	default:
		e.t.Fatalf("a sequence ESC [ %s %c", args, final)
	}
}

func (e *Emulator) clearRow() {
	copy(e.lines[e.row].cells[e.col:], blank(e.Cols))
	e.lines[e.row].wrapped = false
}

// Resize changes the size. breaks breaks long lines anew.
func (e *Emulator) Resize(cols, rows int, breaks bool) {
	old, row, col := e.lines, e.row, e.col
	e.Cols, e.Rows, e.lines, e.row, e.wrapping = cols, rows, nil, 0, false
	if !breaks {
		for _, l := range old {
			cells := append(l.cells, blank(cols)...)[:cols]
			e.lines = append(e.lines, emulated{cells: cells})
		}
		e.row, e.col = row, min(col, cols-1)
		return
	}
	for i := 0; i < len(old); i++ {
		var long []string
		cursor := -1
		for ; ; i++ {
			cells := old[i].cells
			if i == row {
				cursor = len(long) + col
			}
			if !old[i].wrapped {
				n := len(cells)
				for n > 0 && cells[n-1] == " " && !(i == row && n <= col) {
					n--
				}
				long = append(long, cells[:n]...)
				break
			}
			if cells[len(cells)-1] == noRoom {
				cells = cells[:len(cells)-1]
			}
			long = append(long, cells...)
		}
		e.breakAnew(long, cursor)
	}
}

// breakAnew puts a long line on rows of the present width.
func (e *Emulator) breakAnew(long []string, cursor int) {
	e.lines = append(e.lines, emulated{cells: blank(e.Cols)})
	col := 0
	for i, cell := range long {
		wide := i+1 < len(long) && long[i+1] == ""
		if col == e.Cols || wide && col+1 == e.Cols {
			e.lines[len(e.lines)-1].wrapped = true
			e.lines = append(e.lines, emulated{cells: blank(e.Cols)})
			col = 0
		}
		if i == cursor {
			e.row, e.col = len(e.lines)-1, col
		}
		e.lines[len(e.lines)-1].cells[col] = cell
		col++
	}
	if cursor >= len(long) {
		if col == e.Cols {
			e.lines[len(e.lines)-1].wrapped = true
			e.lines = append(e.lines, emulated{cells: blank(e.Cols)})
			col = 0
		}
		e.row, e.col = len(e.lines)-1, col
	}
}

// All is the whole text with | at the cursor. A continued row ends in a
// backslash.
func (e *Emulator) All() string { return e.from(0) }

// Screen is the visible part of All.
func (e *Emulator) Screen() string { return e.from(e.top()) }

func (e *Emulator) from(row int) string {
	var b strings.Builder
	for ; row < len(e.lines); row++ {
		line := ""
		for col, cell := range e.lines[row].cells {
			if row == e.row && col == e.col {
				line += "|"
			}
			if cell != noRoom {
				line += cell
			}
		}
		fmt.Fprintf(&b, "%s", strings.TrimRight(line, " "))
		if e.lines[row].wrapped {
			b.WriteString(`\`)
		}
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n")
}
