package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// emulator is a small terminal: what the editor writes, and no more. Like many
// terminals it knows nothing of sequences: each character has the width that
// it has by itself, and accents none.
type emulator struct {
	t          testing.TB
	cols, rows int
	lines      []emulated // all that was ever shown; the last rows of them are the screen
	row, col   int        // row is of lines
	wrapping   bool       // the last column is written, and the next character goes to the next row
	bells      int
	pasteMode  bool
}

// emulated is a row: of a wide character, the second cell is empty.
type emulated struct {
	cells   []string
	wrapped bool // the next row goes on with it
}

// noRoom is the last cell of a row that a wide character did not fit into. It
// is no part of the text.
const noRoom = "\x00"

func newEmulator(t testing.TB, cols, rows int) *emulator {
	e := &emulator{t: t, cols: cols, rows: rows}
	e.need(0)
	return e
}

// need makes rows up to this one.
func (e *emulator) need(row int) {
	for len(e.lines) <= row {
		e.lines = append(e.lines, emulated{cells: blank(e.cols)})
	}
}

func blank(n int) []string { return strings.Split(strings.Repeat(" ", n), "") }

// top is the first row of the screen.
func (e *emulator) top() int { return max(0, len(e.lines)-e.rows) }

func (e *emulator) Write(b []byte) (int, error) {
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
		case r == '\n': // with the carriage return that the driver adds
			e.row++
			e.col, e.wrapping = 0, false
			e.need(e.row)
		case r == '\a':
			e.bells++
		case r < ' ' || 0x7f <= r && r < 0xa0 || r == utf8.RuneError:
			e.t.Fatalf("%q is not for a terminal, in %q", r, b)
		default:
			e.put(r)
		}
	}
	return len(b), nil
}

func (e *emulator) put(r rune) {
	width := runeWidth(r)
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
	if e.wrapping || e.col+min(width, e.cols) > e.cols {
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
	if width == 2 && e.col+1 < e.cols {
		cells[e.col+1] = ""
	}
	if e.col += min(width, e.cols); e.col == e.cols {
		e.col, e.wrapping = e.cols-1, true
	}
}

func (e *emulator) control(args string, final byte) {
	n, _ := strconv.Atoi(args)
	switch final {
	case 'A':
		e.row = max(e.top(), e.row-max(n, 1))
		e.wrapping = false
	case 'G':
		if n < 1 || n > e.cols {
			e.t.Fatalf("column %d of %d", n, e.cols)
		}
		e.col, e.wrapping = n-1, false
	case 'J':
		if args == "2" {
			for row := e.top(); row < len(e.lines); row++ {
				e.lines[row] = emulated{cells: blank(e.cols)}
			}
			return
		}
		if e.row == e.top() && e.col == 0 {
			e.t.Fatal("a terminal may keep what is cleared from its first place on")
		}
		for row := e.row + 1; row < len(e.lines); row++ {
			e.lines[row] = emulated{cells: blank(e.cols)}
		}
		e.clearRow()
	case 'K':
		e.clearRow()
	case 'H':
		// The screen has all its rows then.
		e.need(e.top() + e.rows - 1)
		e.row, e.col, e.wrapping = e.top(), 0, false
	case 'm':
	case 'h', 'l':
		if args != "?2004" {
			e.t.Fatalf("mode %q", args)
		}
		e.pasteMode = final == 'h'
	default:
		e.t.Fatalf("a sequence ESC [ %s %c", args, final)
	}
}

func (e *emulator) clearRow() {
	copy(e.lines[e.row].cells[e.col:], blank(e.cols))
	e.lines[e.row].wrapped = false
}

// resize changes the size. Long lines are broken anew, if breaks is set.
func (e *emulator) resize(cols, rows int, breaks bool) {
	old, row, col := e.lines, e.row, e.col
	e.cols, e.rows, e.lines, e.row, e.wrapping = cols, rows, nil, 0, false
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

// breakAnew puts one long line on rows of the present width.
func (e *emulator) breakAnew(long []string, cursor int) {
	e.lines = append(e.lines, emulated{cells: blank(e.cols)})
	col := 0
	for i, cell := range long {
		wide := i+1 < len(long) && long[i+1] == ""
		if col == e.cols || wide && col+1 == e.cols {
			e.lines[len(e.lines)-1].wrapped = true
			e.lines = append(e.lines, emulated{cells: blank(e.cols)})
			col = 0
		}
		if i == cursor {
			e.row, e.col = len(e.lines)-1, col
		}
		e.lines[len(e.lines)-1].cells[col] = cell
		col++
	}
	if cursor >= len(long) {
		if col == e.cols {
			e.lines[len(e.lines)-1].wrapped = true
			e.lines = append(e.lines, emulated{cells: blank(e.cols)})
			col = 0
		}
		e.row, e.col = len(e.lines)-1, col
	}
}

// all is all that was ever shown, with | where the cursor stands. A row that
// goes on is marked with a backslash.
func (e *emulator) all() string { return e.from(0) }

// screen is what can be seen.
func (e *emulator) screen() string { return e.from(e.top()) }

func (e *emulator) from(row int) string {
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
