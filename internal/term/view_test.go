package term

import (
	"strings"
	"testing"
)

// TestView: once rows of a shown text are off the screen, that is told once, and no Enter counts as
// one of a person who sees it.
func TestView(t *testing.T) {
	const own = 5
	longText := strings.Repeat("x", 90)
	for _, test := range []struct {
		name       string
		cols, rows int
		then       func(b *bench)
		stays      bool
	}{
		{"nothing", 20, 10, func(*bench) {}, true},
		{"as many rows as there may be", 20, 10, func(b *bench) { b.Print("1\n2\n3\n4\n") }, true},
		{"a row too many", 20, 10, func(b *bench) { b.Print("1\n2\n3\n4\n"); b.Print("5\n") }, false},
		{"a wrapped row", 20, 10, func(b *bench) { b.Print(strings.Repeat("word ", 20)) }, false},
		{"a mark", 20, 10, func(b *bench) { b.PrintMarked("1\n2\n3\n4\n", newRow) }, false},
		{"lines of one's own", 20, 10, func(b *bench) { b.press("a\rb\rc\rd\re\r") }, false},
		{"a status", 20, 10, func(b *bench) { b.Print("1\n2\n3\n4\n"); b.SetStatus("s") }, false},
		{"a long line", 20, 10, func(b *bench) { b.Print("1\n"); b.press(longText) }, false},
		{"completions", 20, 8, func(b *bench) { b.Print("1\n"); b.press("h\t\t") }, false},
		{"another width", 20, 10, func(b *bench) { b.vt.Resize(30, 10, true); b.Print("1\n") }, false},
		{"a cleared screen", 20, 10, func(b *bench) { b.press("\x0c") }, false},
		{"another program", 20, 10, func(b *bench) { b.leaveTerminal(); b.takeTerminal() }, false},
		{"another stream", 20, 10, func(b *bench) { b.Above(func() {}) }, false},
		{"a low screen", 20, 5, func(*bench) {}, true},
		{"a row on a low screen", 20, 5, func(b *bench) { b.Print("1\n") }, true},
		{"rows on a low screen", 20, 5, func(b *bench) { b.Print("1\n2\n3\n") }, false},
	} {
		b := newBench(t, test.cols, test.rows)
		b.ask()
		gone := 0
		b.Print("before\n")
		b.Show(strings.Repeat("q\n", own), func() { gone++ })
		test.then(b)
		told := gone
		b.feed([]byte("\r"))
		if got := <-b.prompt.done; told > 1 || told > 0 == test.stays || got.blind == test.stays {
			t.Errorf("%s: it is told %d times, and an Enter is blind: %v", test.name, told, got.blind)
		}
	}

	// Without an editor the rows of typed lines count too.
	b := newBench(t, 20, 10)
	b.painter.plain = true
	gone := 0
	b.Show(strings.Repeat("q\n", own), func() { gone++ })
	for n := range 5 {
		if gone > 0 {
			t.Errorf("after %d lines it is told %d times", n, gone)
		}
		f := newField(promptField, fixed(""), 1)
		b.fields = []*field{f}
		b.answered(f, typed{})
	}
	if gone != 1 {
		t.Errorf("at the end it is told %d times", gone)
	}
}
