package term

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab/tty"
)

// bench is an editor on an emulator, with a prompt that asks for one line after
// another. All goes step by step.
type bench struct {
	*Terminal
	noDevice
	t          testing.TB
	vt         *tty.Emulator
	told       func() (cols, rows int) // the size of the terminal, as far as it has told
	show       func() string           // the prompt
	lines      []string
	err        error  // ended the prompt
	pasted     []bool // of each line
	clock      time.Time
	step       time.Duration // from a look at the clock to the next: output comes seldom
	due        func()        // of soon
	interrupts int
	suspends   int
}

func newBench(t testing.TB, cols, rows int) *bench {
	b := &bench{t: t, vt: tty.NewEmulator(t, cols, rows, ownWidth), show: fixed("> "), step: time.Second}
	b.told = func() (int, int) { return b.vt.Cols, b.vt.Rows }
	b.Terminal = editorOn(b.vt, b)
	b.now = func() time.Time { b.clock = b.clock.Add(b.step); return b.clock }
	b.soon = func(_ time.Duration, f func()) { b.due = f }
	b.interrupt = func() { b.interrupts++ }
	b.suspend = func() { b.suspends++ }
	return b
}

// editorOn is an editor that reads no keys.
func editorOn(out io.Writer, device device) *Terminal {
	t := newTerminal(strings.NewReader(""), out, device)
	t.painter.plain, t.painter.breaks, t.complete = false, true, completeWord
	return t
}

func (b *bench) size() (cols, rows int) { return b.told() }

// completeWord completes the last word before the cursor: a command, or a name
// after nothing or a comma.
func completeWord(before string) (from int, options []Option) {
	from = strings.LastIndexAny(before, ", \n") + 1
	for _, o := range []Option{
		{"exit", ""}, {"help", ""}, {"history", " "}, {"list", ""}, {"quit", ""}, {"whois", " "}, {"Ana", ": "},
		{"Bruno", ": "}, {"bruna", ": "}, {"José", ": "},
	} {
		if typed := before[from:]; len(typed) <= len(o.Word) && strings.EqualFold(o.Word[:len(typed)], typed) {
			options = append(options, o)
		}
	}
	return from, options
}

// ask asks for a line at the prompt.
func (b *bench) ask() {
	b.prompt.prompt = func() string { return b.show() }
	b.begin(&b.prompt)
}

// resized tells of a new size, and lets the time pass until that is settled.
func (b *bench) resized() {
	b.Terminal.resized()
	b.passes(settled)
}

// passes lets time pass.
func (b *bench) passes(d time.Duration) {
	b.mu.Lock()
	b.clock = b.clock.Add(d)
	due := b.due
	b.due = nil
	b.mu.Unlock()
	if due != nil {
		due()
	}
}

// press presses keys, and asks for the next line after each one.
func (b *bench) press(keys string) {
	b.feed([]byte(keys))
	b.next()
}

func (b *bench) next() {
	for {
		select {
		case got := <-b.prompt.done:
			if got.err != nil && !errors.Is(got.err, ErrLineTooLong) {
				b.err = got.err
				return
			}
			if got.err != nil {
				got.line = []byte(got.err.Error())
			}
			b.lines = append(b.lines, string(got.line))
			b.pasted = append(b.pasted, got.pasted)
			b.ask()
		default:
			return
		}
	}
}

func (b *bench) shows(want string) {
	b.t.Helper()
	if got := b.vt.All(); got != want {
		b.t.Errorf("the terminal shows\n%s\nwant\n%s", got, want)
	}
}

// The sequences of some keys.
const (
	up, down, right, left = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
	ctrlLeft, ctrlRight   = "\x1b[1;5D", "\x1b[1;5C"
)

// keyTable is the table of keys and their effect on a line. | is the cursor.
var keyTable = []struct{ keys, want string }{
	{"", "|"},
	{"abc", "abc|"},
	{"abc" + left, "ab|c"},
	{"abc" + left + left + "x", "ax|bc"},
	{"abc" + left + right + right + "x", "abcx|"},
	{left + "a", "a|"},
	{"abc\x01x", "x|abc"},
	{"abc\x01x\x05y", "xabcy|"},
	{"abc\x02\x02x\x06y", "axby|c"},
	{"abc\x1b[Hx\x1b[Fy", "xabcy|"},
	{"abc\x1b[1~x\x1b[4~y", "xabcy|"},
	{"abc\x1b[7~x\x1b[8~y", "xabcy|"},
	{"abc\x1bOHx\x1bOFy", "xabcy|"},
	{"abc\x1bOD\x1bODx\x1bOCy", "axby|c"},
	{"abc\x7f", "ab|"},
	{"abc\x08\x08", "a|"},
	{"\x7fa", "a|"},
	{"abc\x01\x1b[3~", "|bc"},
	{"abc\x01\x04", "|bc"},
	{"abc\x04", "abc|"},
	{"abc def\x17", "abc |"},
	{"abc def  \x17", "abc |"},
	{"bob: a.b\x17\x17", "|"},
	{"abc def" + left + left + "\x15", "|ef"},
	{"abc def" + left + left + "\x0b", "abc d|"},
	{"abc def\x17\x01\x19", "def|abc "},
	{"one two three\x17\x17\x01\x19", "two three|one "},
	{"one two three\x17\x02\x17\x05\x19", "one  two|"}, // not consecutive
	{"one two\x01\x1bd\x1bd\x19\x19", "one twoone two|"},
	{"one\x15\x19\x19", "oneone|"},
	{"\x19", "|"},
	{"one, two.three" + "\x1bb", "one, two.|three"},
	{"one, two.three" + "\x1bb\x1bb", "one, |two.three"},
	{"one, two.three" + ctrlLeft + ctrlLeft + ctrlLeft + ctrlLeft, "|one, two.three"},
	{"one, two\x01\x1bf", "one|, two"},
	{"one, two\x01" + ctrlRight + ctrlRight + ctrlRight, "one, two|"},
	{"one, two\x1b\x7f", "one, |"},
	{"one, two\x01\x1bd", "|, two"},
	// Keys act on characters, not on bytes or code points.
	{"é\x7f", "|"},
	{"e\u0301x" + left + left + "y", "y|e\u0301x"},
	{"e\u0301\x7f", "|"},
	{"王人" + left + "x", "王x|人"},
	{"👍🏽\x7f", "|"},
	{"a👨\u200d👩\u200d👧\x7f", "a|"},
	{"🇵🇹🇵🇹\x7f", "🇵🇹|"},
	{"🇵🇹🇧🇷" + left + "x", "🇵🇹x|🇧🇷"},
	{"❤\ufe0f\x7f", "|"},
	{"한\x7f", "|"},
	{"\u1112\u1161\u11ab\x7f", "|"},
	{"x\x01\u0301", "\u0301|x"}, // an accent without a letter
	{"José João\x1bb\x1bb", "|José João"},
	{"привет мир\x17", "привет |"},
	// Input without meaning changes nothing.
	{"a\x00\x07\x14\x1c\x1d\x1e\x1fb", "ab|"},
	{"a\x1b[15~\x1bOP\x1b[[A\x1b[1;2P\x1bzb", "ab|"},
	{"a\xff\xfe\xc3(b", "a(b|"},
	{"a\xed\xa0\x80b", "ab|"}, // half a surrogate pair
	{"a\u009b31mb", "a31mb|"},
	{"a\x1b\x1b[Dx", "x|a"},
	{"a\x1bé", "aé|"},
	// Recall.
	{"one\rtwo\r" + up, "two|"},
	{"one\rtwo\r" + up + up, "one|"},
	{"one\rtwo\r" + up + up + up, "one|"},
	{"one\rtwo\rnew" + up + up + down + down, "new|"},
	{"one\rtwo\rnew" + down, "new|"},
	{"one\r" + up + "x" + up + down, "|"},
	{"one\rtwo\r\x10\x10\x0e", "two|"},
	{"one\rone\r\r  \r" + up + up, "one|"},
	{"bob: a\rlist\rbob: b\rhelp\rbob\x12", "bob: b|"},
	{"bob: a\rlist\rbob: b\rhelp\rbob\x12\x12", "bob: a|"},
	{"bob: a\rlist\rbob: b\rhelp\rbob\x12\x12\x12", "bob: a|"},
	{"bob: a\rlist\rbob: b\rhelp\rbob\x12\x12" + down + down + down + down, "bob|"},
	{"list\rzzz\x12", "zzz|"},
	{"one\n\x10", "one|"},
	// Completion.
	{"li\t", "list|"},
	{"who\t", "whois |"},
	{"a\t", "Ana: |"},
	{"bru\t", "Brun|"},
	{"BRUNO\t", "Bruno: |"},
	{"ana,jo\t", "ana,José: |"},
	{"ana, jo\t", "ana, José: |"},
	{"h\t", "h|"},
	{"he\t", "help|"},
	{"zzz\t", "zzz|"},
	{"ax" + left + "\t", "Ana: |x"},
	// Ctrl-C and Ctrl-L.
	{"abc\x03", "|"},
	{"abc\x03de", "de|"},
	{"one\r" + up + "\x03" + up, "one|"},
	{"abc\x0cd", "abcd|"},
	// A text with lines.
	{"ab\x1b\rcd", "ab\ncd|"},
	{"ab\x1b\rcd\x01x", "ab\nx|cd"},
	{"ab\x1b\rcd" + up + "x\x05y", "abxy|\ncd"},
	{"ab\x1b\rcd" + up + left + "x" + down + "y", "axb\ncdy|"},
	{"abcd\x1b\re\x1b\rfghi" + up + "x" + up + "y", "aby|cd\nex\nfghi"},
	{"王a\x1b\rbcde" + left + left + up + "x", "王x|a\nbcde"},
	{"one\rab\x1b\rcd" + up + up, "one|"},
	{"one\rab\x1b\rcd" + up + up + down, "ab\ncd|"},
	{"ab\x1b\rcd\x01\x7f", "ab|cd"},
	{"ab\x1b\rcd\x15", "ab\n|"},
	{"ab\x1b\rcd" + up + "\x0b", "ab|\ncd"},
	{"ab\x1b\rcd\x03", "|"},
	{"ab\x1b\rcd\re" + "\x12", "e|"},
	{"ab\x1b\rcd\rb" + "\x12", "ab\ncd|"},
}

// TestKeys types the keys of keyTable at once and byte by byte.
func TestKeys(t *testing.T) {
	for _, test := range keyTable {
		for _, whole := range []bool{true, false} {
			b := newBench(t, 80, 24)
			b.ask()
			if whole {
				b.press(test.keys)
			} else {
				for i := range len(test.keys) {
					b.press(test.keys[i : i+1])
				}
			}
			line := &b.prompt.line
			if got := string(line.text[:line.cursor]) + "|" + string(line.text[line.cursor:]); got != test.want {
				t.Errorf("%q (whole: %v): %q, want %q", test.keys, whole, got, test.want)
			}
			if b.interrupts != 0 || b.err != nil {
				t.Errorf("%q: %d interrupts, %v", test.keys, b.interrupts, b.err)
			}
		}
	}
}

// TestEndOfLine: the results of keys that end a line.
func TestEndOfLine(t *testing.T) {
	b := newBench(t, 20, 10)
	b.ask()
	b.press("one\r\rtwo\x01\r")
	if !slices.Equal(b.lines, []string{"one", "", "two"}) {
		t.Errorf("lines %q", b.lines)
	}
	b.shows("> one\n>\n> two\n> |")
	b.press("\x03")
	if b.interrupts != 1 || b.err != nil {
		t.Errorf("Ctrl-C on an empty line: %d, %v", b.interrupts, b.err)
	}
	b.press("\x1a")
	if b.suspends != 1 {
		t.Error("Ctrl-Z does nothing")
	}
	b.press("x\x04\x01\x04\x04")
	if b.err != io.EOF {
		t.Errorf("Ctrl-D on an empty line: %v", b.err)
	}
	b.shows("> one\n>\n> two\n>\n|")
	if b.vt.Bells != 0 {
		t.Errorf("%d bells", b.vt.Bells)
	}
}

// TestScreen is the table of drawn lines.
func TestScreen(t *testing.T) {
	for _, test := range []struct {
		name, keys, want string
		cols             int
	}{
		{"short", "abc", "> abc|", 10},
		{"to the last column", "abcdefgh", "> abcdefgh\\\n|", 10},
		{"over it", "abcdefghi", "> abcdefgh\\\ni|", 10},
		{"cursor in the first row", "abcdefghi\x01", "> |abcdefgh\\\ni", 10},
		{"cursor at the last column", "abcdefghij" + left + left + left, "> abcdefg|h\\\nij", 10},
		{"cursor at the first of the next", "abcdefghij" + left + left, "> abcdefgh\\\n|ij", 10},
		{"deleted back to one row", "abcdefghij\x7f\x7f\x7f", "> abcdefg|", 10},
		{"deleted in the first row", "abcdefghij\x01\x1b[3~\x1b[3~\x1b[3~\x1b[3~", "> |efghij", 10},
		{"wide", "王人" + left, "> 王|人", 10},
		{"wide, into the last columns", "abcdef王", "> abcdef王\\\n|", 10},
		{"wide, that does not fit", "abcdefg王", "> abcdefg\\\n王|", 10},
		{"wide, that does not fit, cursor before", "abcdefg王" + left, "> abcdefg\\\n|王", 10},
		{"accents", "e\u0301e\u0301e\u0301" + left, "> e\u0301e\u0301|e\u0301", 10},
		{"accent in the last column", "abcdefge\u0301x", "> abcdefge\u0301\\\nx|", 10},
		{"skin tone, by a terminal that does not know it", "👍🏽x", "> 👍x|", 10},
		{"flag", "🇵🇹x", "> 🇵🇹x|", 10},
		{"emoji by selector", "❤\ufe0fx", "> ❤\ufe0f x|", 10},
		{"joined, by a terminal that does not know it", "👨\u200d👩xyz", "> 👨\u200dxyz|", 20},
		{"joined, over the end", "abcd👨\u200d👩xyz", "> abcd\\\n👨\u200dxyz|", 10},
		{"joined, cursor before", "abcd👨\u200d👩xy" + left + left + left, "> abcd\\\n|👨\u200dxy", 10},
		{"joined letters", "می\u200cخواهم न्\u200dद", "> می\u200cخواهم न्\u200dद|", 20},
		{"joiners without use", "a\u200db\u200c\u200c王\u200d", `> a\u200db\u200c\u200c王\u200d|`, 40},
		{"flag, over the end", "abcdef🇵🇹x", "> abcdef\\\n🇵🇹x|", 10},
		{"syllable", "\u1112\u1161\u11abx", "> \u1112\u1161\u11abx|", 10},
		{"bidi", "a\u202eb", `> a\u202eb|`, 20},
		{"bidi, written out over the end", "abcdef\u202eb", `> abcdef\u\` + "\n202eb|", 10},
		{"one column", "a王b", ">\\\n\\\na\\\n王\\\nb\\\n|", 1},
		{"lines", "ab\x1b\rcd\x1b\r", "> ab\n  cd\n  |", 10},
		{"lines, the cursor at the end of a full row", "abcdefgh\x1b\rcd" + up + "\x05", "> abcdefg|h\n  cd", 10},
		{"lines that go over", "abcdefghi\x1b\rabcdefghi", "> abcdefgh\\\ni\n  abcdefgh\\\ni|", 10},
		{"tabs", "\x1b[200~\ta\n\tb\x1b[201~", ">       a\n        b|", 20},
		{"lines in one column", "a\x1b\rb", ">\\\n\\\na\nb\\\n|", 1},
		{"two columns", "a王b", ">\\\na\\\n王\\\nb|", 2},
		{"options", "br\t\t", "Bruno bruna\n> Brun|", 20},
		{"options in rows", "\t", "exit help history\n | list quit whois\n | Ana Bruno bruna\n | José\n> |", 20},
		{"all cleared", "abc\r\x0cde", "> abc\n> de|", 10},
	} {
		for _, whole := range []bool{true, false} {
			b := newBench(t, test.cols, 24)
			b.ask()
			if whole {
				b.press(test.keys)
			} else {
				for i := range len(test.keys) {
					b.press(test.keys[i : i+1])
				}
			}
			want := test.want
			if test.name == "all cleared" {
				want = "> de|"
			}
			if got := b.vt.Screen(); got != want {
				t.Errorf("%s (whole: %v): the terminal shows\n%s\nwant\n%s", test.name, whole, got, want)
			}
		}
	}
}

// TestPrintWhileTyping: output goes above the line, wherever the cursor is and
// whatever the number of rows, and nothing is lost.
func TestPrintWhileTyping(t *testing.T) {
	line := "bob: 王e\u0301 a line that goes over several rows, 王王王王王 to here"
	for cols := 3; cols < 80; cols++ {
		for _, back := range []int{0, 1, 10, 30, 100} {
			b := newBench(t, cols, 30)
			b.ask()
			b.press(line + strings.Repeat("\x1b[D", back))
			before := b.vt.All()
			for i := range 3 {
				b.Print(fmt.Sprintf("%d\n", i))
			}
			if got, want := b.vt.All(), "0\n1\n2\n"+before; got != want {
				t.Fatalf("%d columns, %d back: the terminal shows\n%s\nwant\n%s", cols, back, got, want)
			}
			b.press("\r")
			if len(b.lines) != 1 || b.lines[0] != line {
				t.Fatalf("%d columns: the line is %q", cols, b.lines)
			}
			if got := b.vt.All(); strings.ReplaceAll(got, "\\\n", "") == "" || !strings.HasPrefix(got, "0\n1\n2\n> ") ||
				!strings.HasSuffix(got, "\n> |") && cols > 2 {
				t.Fatalf("%d columns: the terminal shows\n%s", cols, got)
			}
		}
	}
}

// TestPrintedPromptIsNew: the prompt is drawn anew with output and at the end
// of the line, not with every key.
func TestPrintedPromptIsNew(t *testing.T) {
	b := newBench(t, 40, 10)
	now := 1
	b.show = func() string { return fmt.Sprintf("[%d] ", now) }
	b.ask()
	now = 2
	b.press("a")
	b.shows("[1] a|")
	b.Print("message\n")
	b.shows("message\n[2] a|")
	now = 3
	b.press("\r")
	b.shows("message\n[3] a\n[3] |")
}

// TestTallLine: of a line taller than the terminal the part around the cursor
// is shown, with the number of the other rows, and the whole line once it ends. Nothing above it is lost.
func TestTallLine(t *testing.T) {
	b := newBench(t, 20, 4)
	b.Print("above\n")
	b.ask()
	b.press("aaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbccccccccccccccccccccddddddddddddddddddddeeee")
	if got, want := b.vt.Screen(), "cccccccccccccccccccc\\\ndddddddddddddddddddd\\\neeee|\n2 rows above, 0 bel"; got != want {
		t.Errorf("the end: the terminal shows\n%s\nwant\n%s", got, want)
	}
	b.press("\x01")
	if got, want := b.vt.Screen(), "> |aaaaaaaaaaaaaaaaaa\\\nbbbbbbbbbbbbbbbbbbbb\\\ncccccccccccccccccccc\n0 rows above, 2 bel"; got != want {
		t.Errorf("the start: the terminal shows\n%s\nwant\n%s", got, want)
	}
	b.Print("message\n")
	b.press("\r")
	b.shows("above\nmessage\n> aaaaaaaaaaaaaaaaa\n | abbbbbbbbbbbbbbb\n | bbbbbccccccccccc\n | cccccccccddddddd\n | dddddddddddddeee\n | e\n> |")
}

// TestResize: the line is drawn anew for the new size, and the text above
// stays.
func TestResize(t *testing.T) {
	line := "bob: a line that goes over 王王王王王 several rows"
	for _, breaks := range []bool{true, false} {
		for from := 8; from <= 60; from += 4 {
			for to := 8; to <= 60; to++ {
				if !breaks && to < from {
					continue // such a terminal cuts text off
				}
				for _, back := range []int{0, 7, 25} {
					b := newBench(t, from, 30)
					b.ask()
					b.Print("above\n")
					b.press(line + strings.Repeat("\x1b[D", back))
					b.painter.breaks = breaks
					b.vt.Resize(to, 28, breaks)
					b.resized()
					fresh := newBench(t, to, 28)
					fresh.ask()
					fresh.Print("above\n")
					fresh.press(line + strings.Repeat("\x1b[D", back))
					got, want := b.vt.All(), fresh.vt.All()
					if !breaks {
						// Some rows of the old line may remain above.
						if !strings.HasPrefix(got, "above\n") || !strings.HasSuffix(got, strings.TrimPrefix(want, "above\n")) {
							t.Fatalf("%d to %d: the terminal shows\n%s\nwant in the end\n%s", from, to, got, want)
						}
						continue
					}
					if got != want {
						t.Fatalf("%d to %d columns, %d back: the terminal shows\n%s\nwant\n%s", from, to, back, got, want)
					}
				}
			}
		}
	}
}

// TestResizeBeforeItsSignal: the next drawing finds the new size, and leaves
// nothing of the old drawing.
func TestResizeBeforeItsSignal(t *testing.T) {
	for what, change := range map[string]func(b *bench){
		"a message":  func(b *bench) { b.Print("message\n") },
		"a key":      func(b *bench) { b.press("x") },
		"Enter":      func(b *bench) { b.press("\r") },
		"a status":   func(b *bench) { b.SetStatus("✓ read") },
		"a question": func(b *bench) { b.begin(newField(questionField, fixed("Confirm (y/n)? "), proto.MaxText)) },
		"the end":    func(b *bench) { b.leaveTerminal() },
	} {
		for _, cols := range []int{16, 34, 100} {
			show := func(width int) *bench {
				b := newBench(t, width, 28)
				b.ask()
				b.Print("above\n")
				b.press("bob: a line that goes over 王王王王王 several rows")
				return b
			}
			b, fresh := show(60), show(cols)
			b.vt.Resize(cols, 28, true)
			change(b)
			change(fresh)
			if got, want := b.vt.All(), fresh.vt.All(); got != want {
				t.Errorf("60 to %d columns, then %s: the terminal shows\n%s\nwant\n%s", cols, what, got, want)
			}
		}
	}
}

// TestResizesInTurn: a terminal like tmux tells its sizes late. After a first
// one, nothing that comes is drawn for another width than the terminal's.
func TestResizesInTurn(t *testing.T) {
	sizes := []struct{ cols, rows int }{{60, 24}, {34, 24}, {100, 24}, {20, 24}, {100, 8}, {60, 24}, {9, 30}}
	for _, line := range []string{"bob: a line that goes over 王王王王王 several rows", "bob: first\x1b\rand second of 30 columns......"} {
		for _, back := range []int{0, 7, 25} {
			show := func(cols, rows int) *bench {
				b := newBench(t, cols, rows)
				b.ask()
				b.Print("above\n")
				b.press(line + strings.Repeat(left, back))
				b.SetStatus("status")
				b.step = 0
				return b
			}
			for first := range sizes {
				b := show(sizes[first].cols, sizes[first].rows)
				told := sizes[first]
				b.told = func() (int, int) { return told.cols, told.rows }
				b.Terminal.resized()
				want := ""
				for i, size := range sizes[first+1:] {
					b.vt.Resize(size.cols, size.rows, true)
					b.Print(fmt.Sprintf("%d\n", i))
					want += fmt.Sprintf("%d\n", i)
					b.passes(settled - 1)
					told = size
					b.Terminal.resized()
					b.SetStatus(fmt.Sprint("status ", i))
				}
				b.passes(settled)
				fresh := show(b.vt.Cols, b.vt.Rows)
				fresh.passes(settled)
				fresh.Print(want)
				fresh.passes(settled)
				fresh.SetStatus(b.status)
				fresh.passes(settled)
				if got, want := b.vt.All(), fresh.vt.All(); got != want {
					t.Fatalf("from %v, %d back: the terminal shows\n%s\nwant\n%s", sizes[first], back, got, want)
				}
			}
		}
	}
}

// TestFlood: output that comes soon after other output waits for the next
// drawing, or for a question. A key does not wait for it. What waits is bounded.
func TestFlood(t *testing.T) {
	start := func() *bench {
		b := newBench(t, 20, 10)
		b.ask()
		b.step = 0
		b.passes(settled)
		b.Print("1\n")
		b.PrintMarked("2\n", newRow)
		b.PrintMarked("3\n", newRow)
		b.SetStatus("status")
		b.shows("1\n> |")
		return b
	}
	b := start()
	b.passes(drawEvery - 1)
	b.shows("1\n> |")
	b.passes(1)
	b.shows("1\n-- 2 new --\n2\n3\n> |\nstatus")
	b.PrintMarked("4\n", newRow)
	b.shows("1\n-- 2 new --\n2\n3\n> |\nstatus")
	b.passes(drawEvery)
	b.shows("1\n-- 3 new --\n2\n3\n4\n> |\nstatus")

	b = start()
	b.press("a")
	b.shows("1\n> a|\nstatus")
	b.passes(drawEvery)
	b.shows("1\n-- 2 new --\n2\n3\n> a|\nstatus")
	b = start()
	b.begin(newField(questionField, fixed("Sure? "), proto.MaxText))
	b.shows("1\n-- 2 new --\n2\n3\nSure? |")
	b = start()
	b.leaveTerminal()
	b.shows("1\n-- 2 new --\n2\n3\n>\n|")
	b.Print("4\n")
	b.shows("1\n-- 2 new --\n2\n3\n>\n4\n|")

	// A greater flood comes in pieces, and does not fill the memory.
	b = start()
	most := 0
	b.out = writerFunc(func(drawn []byte) (int, error) {
		most = max(most, len(drawn))
		return b.vt.Write(drawn)
	})
	b.Terminal.resized()
	long, want := strings.Repeat("x", 18), "1\n-- 2 new --\n2\n3\n"
	done := make(chan struct{})
	for n := 0; n < 3*maxHeld; n += 19 {
		want += long + "\n"
	}
	go func() {
		defer close(done)
		for n := 0; n < 3*maxHeld; n += 19 {
			b.Print(long + "\n")
		}
	}()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		b.mu.Lock()
		held, waits := b.heldLen, b.waits
		b.mu.Unlock()
		if held > maxHeld+len(long) || held > 0 && !waits {
			t.Fatalf("%d bytes are held, and a drawing is to come: %v", held, waits)
		}
		b.passes(settled)
	}
	for range 3*maxHeld/maxDrawn + 1 {
		b.passes(drawEvery)
	}
	b.shows(want + "> |\nstatus")
	if most > maxDrawn+len(long)+100 { // with the prompt and the status
		t.Errorf("%d bytes are drawn at once", most)
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestResizeTallerThanTheScreen: only the drawn part of a tall line is cleared.
func TestResizeTallerThanTheScreen(t *testing.T) {
	for _, back := range []int{0, 70} {
		for cols := 8; cols <= 60; cols++ {
			b := newBench(t, 20, 3)
			b.ask()
			b.Print("one\ntwo\nthree\n")
			b.press(strings.Repeat("0123456789", 15) + strings.Repeat("\x1b[D", back))
			b.vt.Resize(cols, 40, true)
			b.resized()
			fresh := newBench(t, cols, 40)
			fresh.ask()
			fresh.Print("one\ntwo\nthree\n")
			fresh.press(strings.Repeat("0123456789", 15) + strings.Repeat("\x1b[D", back))
			if got, want := b.vt.All(), fresh.vt.All(); got != want {
				t.Fatalf("20 to %d columns, %d back: the terminal shows\n%s\nwant\n%s", cols, back, got, want)
			}
		}
	}
}

// TestResizeOfAWideCharacter: one character with hundreds of marks is wider than the
// terminal, and than a byte can count.
func TestResizeOfAWideCharacter(t *testing.T) {
	text := []byte("a" + strings.Repeat("\u0903", 300))
	b := &block{prompt: "> ", text: text, cursor: len(text)}
	p := &painter{breaks: true, cols: 400, rows: 24}
	p.draw(new(bytes.Buffer), b)
	for cols := 20; cols < 400; cols += 20 {
		want := lay(b, cols, false)
		if above, last := p.anew(cols); above != want.cursor.row || last != want.height()-1 {
			t.Errorf("%d columns: the cursor is in row %d of %d, want %d of %d", cols, above, last, want.cursor.row, want.height()-1)
		}
	}
}

// TestStatus: the status is below the line, ends with it, and gives way to it.
func TestStatus(t *testing.T) {
	b := newBench(t, 12, 3)
	b.ask()
	b.SetStatus("✓ read by bob")
	b.shows("> |\n✓ read by") // the first character may take two columns
	b.press("ab")
	b.shows("> ab|\n✓ read by")
	b.Print("message\n")
	b.shows("message\n> ab|\n✓ read by")
	b.press("cdefghijklmn")
	b.shows("message\n> abcdefghij\\\nklmn|\n✓ read by")
	b.press("opqrstuvwxyz") // no room for it
	if got, want := b.vt.Screen(), "> abcdefghij\\\nklmnopqrstuv\\\nwxyz|"; got != want {
		t.Errorf("the terminal shows\n%s\nwant\n%s", got, want)
	}
	b.press("\x03\r")
	b.shows("message\n>\n> |")
	b.SetStatus("王王王王王王王")
	b.shows("message\n>\n> |\n王王王王王")
	b.SetStatus("")
	b.shows("message\n>\n> |")
}

// TestPaste: pasted lines are one text, which an Enter sends. Keys in it are text.
func TestPaste(t *testing.T) {
	for _, newline := range []string{"\r", "\n", "\r\n"} {
		for size, n := range map[int]int{1: 10, 7: 20, 4096: 200, 1 << 20: 200} {
			var lines []string
			for i := range n {
				lines = append(lines, fmt.Sprintf("bob: line %d\twith a tab, \x03\x04\x15\x1a\x1b[A\x7f and a bell \a", i))
			}
			want := strings.Join(lines, "\n")
			b := newBench(t, 80, 24)
			b.ask()
			paste := "\x1b[200~" + strings.Join(lines, newline) + newline + pasteEnd
			for chunk := range slices.Chunk([]byte(paste), size) {
				b.press(string(chunk))
			}
			if len(b.lines) > 0 || string(b.prompt.line.text) != want {
				t.Fatalf("%q, %d bytes at once: %d lines, then %q", newline, size, len(b.lines), b.prompt.line.text)
			}
			b.press("\rli\t\r")
			if !slices.Equal(b.lines, []string{want, "list"}) || !slices.Equal(b.pasted, []bool{true, false}) || b.interrupts != 0 {
				t.Errorf("sent: %q, pasted: %v", b.lines, b.pasted)
			}
		}
	}
}

// TestPasted: a text is a pasted one as long as any of it is, also when it comes
// back.
func TestPasted(t *testing.T) {
	const paste = "\x1b[200~one" + pasteEnd
	for _, test := range []struct {
		keys, want string
		pasted     bool
	}{
		{"one\r", "one", false},
		{paste + "\r", "one", true},
		{"a" + paste + "b\r", "aoneb", true},
		{paste + "\x7f\x7f\x7ftwo\r", "two", false},
		{paste + "\x03two\r", "two", false},
		{paste + "\x17two \x19\r", "two one", true},
		{"zero\x17" + paste + "\x15two\r", "two", false},
		{paste + "\r" + up + "\r", "one", true},
		{paste + "\rtwo\r" + up + up + down + "\r", "two", false},
		{paste + "\ro\x12\r", "one", true},
		{paste + up + down + "\r", "one", true},
		{"\x1b[200~" + pasteEnd + "two\r", "two", false},
		{"\x1b[200~exit\n" + pasteEnd + "\r", "exit", true},
		{"a\x1b\rb\x1b\nc\r", "a\nb\nc", false},
		{"\x1b[200~a\n\n\nb\r\n\r" + pasteEnd + "\x1b\r\r", "a\n\n\nb\n", true},
	} {
		b := newBench(t, 80, 24)
		b.ask()
		b.press(test.keys)
		last := len(b.lines) - 1
		if last < 0 || b.lines[last] != test.want || b.pasted[last] != test.pasted {
			t.Errorf("%q: %q, pasted: %v; want %q, %v", test.keys, b.lines, b.pasted, test.want, test.pasted)
		}
	}
}

// TestAhead: keys wait for the prompt, in order, and Ctrl-C drops them.
func TestAhead(t *testing.T) {
	b := newBench(t, 20, 10)
	b.feed([]byte("one\rtwo\r\x1b[200~three\rfour" + pasteEnd + "!"))
	b.ask()
	if got := <-b.prompt.done; string(got.line) != "one" {
		t.Errorf("first came %q", got.line)
	}
	b.feed([]byte("?"))
	b.ask()
	if got := <-b.prompt.done; string(got.line) != "two" {
		t.Errorf("then came %q", got.line)
	}
	b.feed([]byte("\x03"))
	b.ask()
	if b.interrupts != 0 || len(b.prompt.line.text) != 0 {
		t.Errorf("after Ctrl-C: %q, %d interrupts", b.prompt.line.text, b.interrupts)
	}
	b.shows("> one\n> two\n> |")
	// Without waiting keys and without a prompt, Ctrl-C ends the program.
	b.press("x\r")
	b.end(io.EOF)
	b.feed([]byte("\x03"))
	if b.interrupts != 1 {
		t.Errorf("%d interrupts", b.interrupts)
	}
}

// TestInterruptedPrompt: what was typed is given back at the next prompt, and
// answers no question in between.
func TestInterruptedPrompt(t *testing.T) {
	b := newBench(t, 40, 20)
	interrupt := func() {
		b.change(func() { b.leaveOff(&b.prompt, context.Canceled) })
		if got := <-b.prompt.done; got.err != context.Canceled {
			t.Errorf("the prompt ended with %v", got.err)
		}
	}
	b.ask()
	b.press("\x1b[200~bob: hal" + pasteEnd + left)
	interrupt()
	b.shows("|")
	question := newField(questionField, fixed("Sure? "), proto.MaxText)
	b.begin(question)
	b.feed([]byte("n\rxy"))
	if got := <-question.done; string(got.line) != "n" || got.pasted {
		t.Errorf("the answer is %q, pasted: %v", got.line, got.pasted)
	}
	b.ask()
	b.shows("Sure? n\n> bob: haxy|l")
	interrupt()
	b.ask()
	b.press("\r")
	if !slices.Equal(b.lines, []string{"bob: haxyl"}) || !b.pasted[0] {
		t.Errorf("the line is %q, pasted: %v", b.lines, b.pasted)
	}
	// Ctrl-C clears it also in between.
	b.press("abc")
	interrupt()
	b.feed([]byte("\x03"))
	b.ask()
	b.shows("Sure? n\n> bob: haxyl\n> |")
	// It stays on the screen at the end.
	b.press("abc")
	interrupt()
	b.leaveTerminal()
	b.shows("Sure? n\n> bob: haxyl\n> abc\n|")
	if b.interrupts != 0 {
		t.Errorf("%d interrupts", b.interrupts)
	}
}

// TestTooMuchAhead: waiting keys are bounded, and the line that lacks some is
// refused.
func TestTooMuchAhead(t *testing.T) {
	b := newBench(t, 100, 50)
	b.feed([]byte("one\r\x1b[200~two"))
	for range 20 {
		b.feed(bytes.Repeat([]byte("x"), maxAhead/8))
	}
	if n := b.readyLen + len(b.prompt.line.text); n > maxAhead {
		t.Errorf("%d bytes wait", n)
	}
	b.feed([]byte(pasteEnd))
	b.ask()
	b.next()
	b.press("\rthree\r")
	if !slices.Equal(b.lines, []string{"one", ErrLineTooLong.Error(), "three"}) {
		t.Errorf("the lines are %.50q", b.lines)
	}
	if b.vt.Bells == 0 {
		t.Error("no bell")
	}
}

// TestTooManyLinesAhead: whole lines that wait are bounded, too. Those without room are
// refused together, and none is sent in part or joined with another.
func TestTooManyLinesAhead(t *testing.T) {
	b := newBench(t, 100, 50)
	line := strings.Repeat("x", maxAhead/8-1)
	for range 10 {
		b.feed([]byte(line + "\r"))
	}
	if b.readyLen > maxAhead {
		t.Errorf("%d bytes wait", b.readyLen)
	}
	b.ask()
	b.next()
	b.press("\rlast\r")
	want := append(slices.Repeat([]string{line}, 8), ErrLineTooLong.Error(), "last")
	if !slices.Equal(b.lines, want) || b.vt.Bells == 0 {
		t.Errorf("%d lines, %d bells; the last ones are %.20q", len(b.lines), b.vt.Bells, b.lines[max(0, len(b.lines)-3):])
	}
}

// TestLongLine: a line too long for a message is not sent in part.
func TestLongLine(t *testing.T) {
	b := newBench(t, 100, 5)
	b.ask()
	b.press(strings.Repeat("x", proto.MaxText-1))
	b.press("é") // no room
	b.press("\r")
	if len(b.lines) != 1 || b.lines[0] != strings.Repeat("x", proto.MaxText-1) {
		t.Errorf("typed: %d lines", len(b.lines))
	}
	if b.vt.Bells == 0 {
		t.Error("no bell")
	}
	b.press("\x1b[200~" + strings.Repeat("x", proto.MaxText) + "éé\rmore" + pasteEnd + "\rnext\r")
	if len(b.lines) != 3 || b.lines[1] != ErrLineTooLong.Error() || b.lines[2] != "next" {
		t.Errorf("pasted: %.100q", b.lines[1:])
	}
	b.press("\x1b[200~" + strings.Repeat("x", proto.MaxText+1) + pasteEnd + "\x03again\r")
	if len(b.lines) != 4 || b.lines[3] != "again" {
		t.Errorf("taken back: %.100q", b.lines[3:])
	}
	// The longest possible line can be edited.
	b.press("\x1b[200~" + strings.Repeat("é", proto.MaxText/2) + pasteEnd + "\x7f\x01\x1b[3~\r")
	if len(b.lines) != 5 || b.lines[4] != strings.Repeat("é", proto.MaxText/2-2) {
		t.Errorf("the longest: %d lines", len(b.lines))
	}
}

// TestQuestion: a question comes before the prompt, is not answered by its
// keys, and gives the line back unchanged.
func TestQuestion(t *testing.T) {
	b := newBench(t, 40, 20)
	b.ask()
	b.press("bob: hal\x1b[D")
	question := newField(questionField, fixed("Sure? "), proto.MaxText)
	b.Print("A question\n")
	b.begin(question)
	b.shows("A question\nSure? |")
	b.press("\x1b[Ama\tybe\x12\x7fe")
	b.Print("message\n")
	b.shows("A question\nmessage\nSure? maybe|")
	b.press("\rxy")
	if got := <-question.done; string(got.line) != "maybe" {
		t.Errorf("the answer is %q", got.line)
	}
	b.shows("A question\nmessage\nSure? maybe\n> bob: haxy|l")
	b.press("\x15\x0b\x1b[A")
	if got := string(b.prompt.line.text); got != "" {
		t.Errorf("the answer is remembered: %q", got)
	}

	// Two questions at once, each with its own end.
	one, two := newField(questionField, fixed("One? "), proto.MaxText), newField(questionField, fixed("Two? "), proto.MaxText)
	b.begin(one)
	b.begin(two)
	b.press("2\r1\r")
	if first, second := <-two.done, <-one.done; string(first.line) != "2" || string(second.line) != "1" {
		t.Errorf("answers %q and %q", first.line, second.line)
	}
	b.begin(one)
	b.begin(two)
	b.press("\x04\x04")
	if first, second := <-two.done, <-one.done; first.err != io.EOF || second.err != io.EOF {
		t.Errorf("ends %v and %v", first.err, second.err)
	}
	b.begin(one)
	b.press("n\x03\x03")
	if b.interrupts != 1 {
		t.Errorf("%d interrupts", b.interrupts)
	}
}

// TestPasteIsNoAnswer: a paste that began at the prompt does not answer a
// question that comes up meanwhile. One that began in a question goes nowhere
// else.
func TestPasteIsNoAnswer(t *testing.T) {
	b := newBench(t, 40, 20)
	b.ask()
	b.press("bob: one\r\x1b[200~bob: t")
	question := newField(questionField, fixed("Sure? "), proto.MaxText)
	b.begin(question)
	b.press("wo\ry\ry\r" + pasteEnd)
	select {
	case got := <-question.done:
		t.Fatalf("the paste answered %q", got.line)
	default:
	}
	b.press("n\r")
	if got := <-question.done; string(got.line) != "n" {
		t.Errorf("the answer is %q", got.line)
	}
	b.next()
	b.press("\r")
	if want := []string{"bob: one", "bob: two\ny\ny"}; !slices.Equal(b.lines, want) {
		t.Errorf("the prompt got %q, want %q", b.lines, want)
	}
	secret := newField(secretField, fixed("PIN: "), maxSecret)
	b.begin(secret)
	bells := b.vt.Bells
	b.press("\x1b[200~1234\r" + pasteEnd)
	if b.vt.Bells != bells {
		t.Error("a newline after a pasted secret rings")
	}
	b.press("\x1b[200~56\r78\r" + pasteEnd)
	if b.vt.Bells == bells {
		t.Error("a refused paste does not ring")
	}
	b.press("\r")
	if got := <-secret.done; string(got.line) != "123456" {
		t.Errorf("the secret is %q", got.line)
	}
	b.next()
	if len(b.lines) != 2 || len(b.prompt.line.text) != 0 || strings.Contains(b.vt.All(), "78") {
		t.Errorf("the rest of the paste is at the prompt: %q %q", b.lines, b.prompt.line.text)
	}
}

// TestPasteBelowAQuestion: a paste into a question goes on there when another question
// comes up, and is over with its own.
func TestPasteBelowAQuestion(t *testing.T) {
	b := newBench(t, 40, 20)
	b.ask()
	one, two := newField(questionField, fixed("One? "), proto.MaxText), newField(questionField, fixed("Two? "), proto.MaxText)
	b.begin(one)
	b.press("\x1b[200~ab")
	b.begin(two)
	b.press("cd" + pasteEnd + "2\r")
	if got := <-two.done; string(got.line) != "2" || got.pasted {
		t.Errorf("the second answer is %q, pasted: %v", got.line, got.pasted)
	}
	b.press("\x1b[200~ef")
	b.change(func() { b.close(one, typed{}) })
	<-one.done
	b.press("gh")
	if b.vt.Bells != 1 || string(one.line.text) != "" {
		t.Errorf("%d bells, and the answered question keeps %q", b.vt.Bells, one.line.text)
	}
	b.press("\nij" + pasteEnd)
	b.shows("Two? 2\nOne? abcdef\n> |")
	if b.Typing() {
		t.Errorf("the prompt got %q", b.prompt.line.text)
	}
}

// TestSecretInTheEditor: a secret is never shown or kept.
func TestSecretInTheEditor(t *testing.T) {
	b := newBench(t, 40, 20)
	b.ask()
	b.press("ab")
	secret := newField(secretField, fixed("PIN: "), maxSecret)
	memory := secret.line.text[:cap(secret.line.text)]
	b.begin(secret)
	b.press("99\x15")
	b.press("1235\x7f4\x1b[D\x1b[A\t\x17\x19\x12")
	b.shows("PIN: |")
	b.Print("message\n")
	b.press("\r")
	if got := <-secret.done; string(got.line) != "1234" {
		t.Errorf("the secret is %q", got.line)
	}
	b.press("\x19\x1b[A")
	b.shows("message\nPIN:\n> ab|")
	if !bytes.Equal(memory, make([]byte, len(memory))) {
		t.Error("it is still in memory")
	}
	// A secret that is too long rings the bell.
	b.begin(secret)
	bells := b.vt.Bells
	b.press(strings.Repeat("1", maxSecret+1))
	if b.vt.Bells == bells {
		t.Error("no bell")
	}
}

// TestReadEnds: a read ends with its context and with the terminal, but not
// before the lines that were typed.
func TestReadEnds(t *testing.T) {
	b := newBench(t, 40, 20)
	b.in = bufio.NewReader(strings.NewReader("one\ntwo\nthr"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got := b.read(ctx, newField(questionField, fixed("Sure? "), proto.MaxText)); got.err != context.Canceled {
		t.Errorf("cancelled: %v", got.err)
	}
	b.shows("Sure?\n|")
	b.readAll()
	for _, want := range []string{"one", "two"} {
		if got, err := b.Prompt(context.Background(), fixed("> ")); got.Text != want || err != nil {
			t.Errorf("%q %v, want %q", got.Text, err, want)
		}
	}
	for range 2 {
		if got, err := b.Prompt(context.Background(), fixed("> ")); got.Text != "" || err != io.EOF {
			t.Errorf("%q %v, want the end", got.Text, err)
		}
	}
	if got := b.read(context.Background(), newField(questionField, fixed("Sure? "), proto.MaxText)); got.err != io.EOF {
		t.Errorf("a question after the end: %v", got.err)
	}

	// The end of the terminal ends a read that waits.
	b = newBench(t, 40, 20)
	lines, typist := io.Pipe()
	b.in = bufio.NewReader(lines)
	got := make(chan error, 1)
	go func() {
		_, err := b.Prompt(context.Background(), fixed("> "))
		got <- err
	}()
	go b.readAll()
	typist.Write([]byte("half a line"))
	typist.CloseWithError(bufio.ErrTooLong)
	if err := <-got; err != bufio.ErrTooLong {
		t.Errorf("the terminal failed: %v", err)
	}
}

// TestAway: while another program has the terminal, output is shown but no line
// is drawn.
func TestAway(t *testing.T) {
	b := newBench(t, 20, 10)
	b.ask()
	b.press("ab")
	b.leaveTerminal()
	b.leaveTerminal()
	b.shows("> ab\n|")
	b.Print("message\n")
	b.SetStatus("status")
	b.shows("> ab\nmessage\n|")
	fmt.Fprint(b.vt, "$ fg\nclient")
	b.vt.Resize(30, 10, true)
	b.takeTerminal()
	b.shows("> ab\nmessage\n$ fg\n> ab|\nstatus")
	b.press("c\r")
	if !slices.Equal(b.lines, []string{"abc"}) {
		t.Errorf("lines %q", b.lines)
	}
}
