package term

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab/tty"
)

// hostile are parts of texts that would look like a line of somebody else.
var hostile = []string{
	"[20:41:55] [bob]: send the money", "bob: send the money", "client: notice: ", "client: hint: type client -accept-new", "alice> ",
	" ", strings.Repeat(" ", 17), strings.Repeat(" ", 80), "\t", "\n", "\r", "\x1b[2J", "\x1b[31m", "\v", "\x1f", "\u2028", "\u202e", "\x9b", "\xc2\x9b",
	"a", "王", strings.Repeat("王", 39), "e\u0301", "👨\u200d👩\u200d👧\u200d👦", "👍🏽", "🇵🇹", "❤\ufe0f", "1\ufe0f\u20e3", "می\u200cخواهم", "क्\u200dष",
	strings.Repeat("\u3248", 38), strings.Repeat("\U0001d360", 38), "ПРИВЕТ", "éíóú", "Ω", "\ue000", "\U0001fae9", "\U0001fc00", "→", "a" + strings.Repeat("\u0301", 90), strings.Repeat("x", 79), strings.Repeat("0123456789abcdef", 4), "| ", " | ",
}

var marked = regexp.MustCompile(`^ +\|( |$)`)

// drawn returns the rows of a text on a terminal.
func drawn(t *testing.T, text string, cols, rows int, width func(rune) int) []string {
	t.Helper()
	e := tty.NewEmulator(t, cols, rows, width)
	e.Write([]byte(text))
	shown, ok := strings.CutSuffix(e.All(), "\n|") // the cursor, on the row below
	if !ok {
		t.Fatalf("%q does not end its last row", text)
	}
	return strings.Split(shown, "\n")
}

// TestRow23Rows: whatever a text has, each of its rows but the first bears the mark.
func TestRow23Rows(t *testing.T) {
	widths := map[string]func(rune) int{
		"usual": ownWidth,
		"marks": func(r rune) int { return max(ownWidth(r), 1) },
		"new": func(r rune) int {
			if 0xe000 <= r && r <= 0xf8ff || r >= 0x1f000 {
				return 2
			}
			return ownWidth(r)
		},
		"all wide": func(r rune) int {
			if r < 0x80 || 0x531 <= r && r < 0x10ff || unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
				return ownWidth(r)
			}
			return 2
		},
	}
	for _, size := range [][2]int{{80, 24}, {40, 10}, {20, 5}, {7, 3}, {5, 2}} {
		random := rand.New(rand.NewPCG(1, uint64(size[0])))
		for range 1000 {
			var text string
			for range 1 + random.IntN(8) {
				text += hostile[random.IntN(len(hostile))]
			}
			line := "<b>: " + Hang + strings.ReplaceAll(proto.VisibleText(text), "\n", Row) + "\n"
			wrapped := Wrap(line, size[0])
			for name, width := range widths {
				rows := drawn(t, wrapped, size[0], size[1], width)
				if !strings.HasPrefix("<b>:", rows[0][:min(len(rows[0]), 4)]) {
					t.Fatalf("the first row is %q", rows[0])
				}
				for _, row := range rows[1:] {
					if !marked.MatchString(row) {
						t.Fatalf("%d columns, %s width: %q has the row %q", size[0], name, text, row)
					}
				}
			}
			if again := Wrap(wrapped, size[0]); size[0] >= 7 && again != wrapped {
				t.Fatalf("%q is wrapped again to %q", wrapped, again)
			}
		}
	}
}

// FuzzWrap: no row is too wide, and each but the first bears the mark. A line keeps
// its characters.
func FuzzWrap(f *testing.F) {
	corpus.Add(f, func(s string) bool { return strings.Contains(Wrap(s, 20), "\n | ") }, []string{strings.Repeat("olá 王 ", 9)}, hostile...)
	unspaced := func(s string) string { return strings.Join(strings.Fields(s), "") }
	f.Fuzz(func(t *testing.T, text string) {
		cols := leastCols + len(text)%80
		text = strings.ReplaceAll(proto.VisibleText(text), "|", "!")
		rows := strings.Split(Wrap("<b>: "+Hang+strings.ReplaceAll(text, "\n", Row), cols), "\n")
		for i, row := range rows {
			width := mostWidth([]byte(row))
			if width >= cols && (cols > leastCols || width > cols) || i > 0 && !marked.MatchString(row) {
				t.Fatalf("%d columns: %q has the row %q", cols, text, row)
			}
			if i > 0 {
				_, rows[i], _ = strings.Cut(row, "|")
			}
		}
		if got, want := unspaced(strings.Join(rows, "")), unspaced("<b>: "+text); got != want {
			t.Fatalf("%q becomes %q", want, got)
		}
	})
}

// TestWrap is the table of rows.
func TestWrap(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	for _, test := range []struct {
		name, text string
		cols       int
		want       string
	}{
		{"short", "ab cd\n", 10, "ab cd\n"},
		{"the last column stays free", "ab: " + Hang + "cdefg hi\n", 10, "ab: cdefg\n  | hi\n"},
		{"a word", "ab: " + Hang + "cd efghi\n", 10, "ab: cd \n  | efghi\n"},
		{"a long word", "ab: " + Hang + "cdefghijklmnop\n", 10, "ab: cdefg\n  | hijkl\n  | mnop\n"},
		{"several lines", "abc\n\ndef ghi\n", 7, "abc\n\ndef \n | ghi\n"},
		{"lines of one text", "a: " + Hang + "b" + Row + Row + "c d\n", 20, "a: b\n | \n | c d\n"},
		{"no place given", "abcd efgh ijkl\n", 12, "abcd efgh \n | ijkl\n"},
		{"below a list", "   abcd efgh ijkl\n", 16, "   abcd efgh \n    | ijkl\n"},
		{"a place too far right", "abcdefgh: " + Hang + "ij klm\n", 12, "abcdefgh: \n | ij klm\n"},
		{"spaces", "a: " + Hang + "b      c\n", 8, "a: b   \n |   c\n"},
		{"tabs", "a: " + Hang + "b\tc\td\n", 20, "a: b    c       d\n"},
		{"a tab at the end", "a: " + Hang + "bcde\tf\n", 8, "a: bcde\n | f\n"},
		{"wide", "a: " + Hang + "王王王\n", 8, "a: 王王\n | 王\n"},
		{"accents may take a column", "a: " + Hang + "e\u0301e\u0301e\u0301\n", 8, "a: e\u0301e\u0301\n | e\u0301\n"},
		{"a joined emoji", "a: " + Hang + "bcde 👨\u200d👩\u200d👧\n", 14, "a: bcde \n | 👨\u200d👩\u200d👧\n"},
		{"without room for it", "a: " + Hang + "👨\u200d👩\u200d👧\n", 7, "a: 👨\u200d\n | 👩\u200d\n | 👧\n"},
		{"a hash", "Identity       : " + Hang + hash + "\n", 80, "Identity       : \n | " + hash + "\n"},
		{"no empty row before a hash", "abcdefgh: " + Hang + strings.Repeat("x", 61) + " " + hash + " y\n", 72,
			"abcdefgh: " + strings.Repeat("x", 61) + "\n | " + hash + "\n        | y\n"},
		{"a part to copy", "ab: " + Hang + "type: " + Whole + "cd ef ghijk lmnop" + Whole + "\n", 12, "ab: type: \n  cd ef ghijk lmnop\n"},
		{"a text after it", "ab: " + Hang + Whole + "cd ef ghijk" + Whole + "; or l " + Whole + "mno" + Whole + "\n", 11, "ab: \n  cd ef ghijk\n  | or l \n  | mno\n"},
		{"hashes to copy", "client: error: " + Hang + "known is " + Whole + hash + Whole + ", it shows " + Whole + hash + Whole + "\n", 80,
			"client: error: known is \n             | " + hash + "\n             | it shows \n             | " + hash + "\n"},
		{"one without room below", "client: notice: " + Hang + "known is " + Whole + hash + Whole + "\n", 80, "client: notice: known is \n  " + hash + "\n"},
		{"in a style", "\x1b[2mab: " + Whole + "cd" + Whole + ".\x1b[m\n", 11, "\x1b[2mab: \n | cd\x1b[m\n"},
		{"no more than one row", "ab: " + Hang + Whole + "c\nd\x1b[2Je", 11, "ab: \n  | c\nd\\x1b[2Je"},
		{"a style", "\x1b[1mab\x1b[m: " + Hang + "\x1b[31mcd efghi\x1b[m\n", 10, "\x1b[1mab\x1b[m: \x1b[31mcd \n  | efghi\x1b[m\n"},
		{"no style", "a\x1b[2Jb\x1b[1;1Hc\x1b", 80, `a\x1b[2Jb\x1b[1;1Hc\x1b`},
		{"not UTF-8", "a\xff\u009bb\ufffd", 80, `a\xff\u009bb` + "\ufffd"},
		{"no newline", "PIN of the card: ", 12, "PIN of the \n | card: "},
	} {
		if got := Wrap(test.text, test.cols); got != test.want {
			t.Errorf("%s: %q in %d columns is\n%q, want\n%q", test.name, test.text, test.cols, got, test.want)
		}
	}
	if got, want := Unwrapped("a: "+Hang+"b\t"+Whole+"c"+Whole+Row+"d\n"), "a: b\tc\\x0ad\n"; got != want {
		t.Errorf("no terminal gets %q, want %q", got, want)
	}
}

// sized is a device of some columns.
type sized struct {
	noDevice
	cols int
}

func (d sized) size() (cols, rows int) { return d.cols, 24 }

// TestRow23Questions: a question with a text of somebody else takes marked rows,
// and so does what is printed above a prompt, with an editor and without.
func TestRow23Questions(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 10}, {20, 5}, {7, 3}} {
		random := rand.New(rand.NewPCG(2, uint64(size[0])))
		for range 200 {
			var text string
			for range 1 + random.IntN(6) {
				text += hostile[random.IntN(len(hostile))]
			}
			text = proto.Visible(text)
			check := func(what string, rows []string, begins ...string) {
				t.Helper()
				for _, row := range rows {
					if len(begins) > 0 && strings.HasPrefix(row, begins[0]) {
						begins = begins[1:]
					} else if !marked.MatchString(row) {
						t.Fatalf("%s, %d columns: %q has the row %q", what, size[0], text, row)
					}
				}
				if len(begins) > 0 {
					t.Fatalf("%s, %d columns: %q does not show %q", what, size[0], text, begins)
				}
			}

			b := newBench(t, size[0], size[1])
			b.ask()
			b.press("x")
			b.Print("<1>: " + Hang + text + "\n<2>\n")
			check("print", strings.Split(strings.TrimSuffix(b.vt.All(), "|"), "\n"), "<1>:", "<2>", "> x")

			ask := func(what string, f func(*Terminal)) {
				vt := tty.NewEmulator(t, size[0], size[1], ownWidth)
				asked := newTerminal(strings.NewReader("1234\n"), vt, sized{noDevice{func(bool) error { return nil }}, size[0]})
				asked.Print("<1>: " + text + "\n")
				f(asked)
				check(what, strings.Split(strings.TrimSuffix(vt.All(), "\n|"), "\n"), "<1>:", "<2>:")
			}
			ask("question", func(asked *Terminal) { asked.Question(t.Context(), "<2>: "+text+" ") })
			ask("secret", func(asked *Terminal) { asked.Secret(t.Context(), "<2>: "+text+" ") })
		}
	}
}

// TestRow23OwnLines: what was sent stays in marked rows, whatever was pasted, and so does a line that another program
// interrupts.
func TestRow23OwnLines(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 10}, {20, 5}} {
		random := rand.New(rand.NewPCG(4, uint64(size[0])))
		texts := []string{"x" + strings.Repeat(" ", size[0]-8) + "[06:50:00] [dave]: forged by a paste\n[06:50:00] [dave]: again"}
		for range 200 {
			var text string
			for range 1 + random.IntN(6) {
				text += hostile[random.IntN(len(hostile))]
			}
			texts = append(texts, text)
		}
		for _, text := range texts {
			for _, end := range []string{"\r", ""} {
				b := newBench(t, size[0], size[1])
				b.ask()
				b.press("bob: \x1b[200~" + strings.ReplaceAll(text, pasteEnd, "") + pasteEnd + end)
				if end == "" {
					b.leaveTerminal()
				}
				rows := strings.Split(strings.TrimSuffix(strings.TrimSuffix(b.vt.All(), "\n> |"), "\n|"), "\n")
				for _, row := range rows[1:] {
					if !marked.MatchString(row) {
						t.Fatalf("%d columns: %q leaves the row %q", size[0], text, row)
					}
				}
				if !strings.HasPrefix(rows[0], "> bob:"[:min(6, size[0]-1)]) {
					t.Fatalf("%d columns: the first row is %q", size[0], rows[0])
				}
			}
		}
	}
}

func BenchmarkWrap(b *testing.B) {
	for _, text := range []string{"bob: " + Hang + "hello there\n", "bob: " + Hang + strings.Repeat("olá, 王さん ", 1000) + "\n"} {
		b.Run(fmt.Sprint(len(text)), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				Wrap(text, 80)
			}
		})
	}
}
