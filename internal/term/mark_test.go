package term

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
)

// newRow is the row of a mark.
func newRow(n int) string { return fmt.Sprintf("-- %d new --", n) }

// TestMark: a row above the new output counts it, until the person looks.
func TestMark(t *testing.T) {
	for _, test := range []struct {
		name string
		then func(b *bench) // after two
		want string         // after a third
	}{
		{"nothing", func(*bench) {}, "old\n-- 3 new --\n1\n2\n3\n> bob|"},
		{"a status", func(b *bench) { b.SetStatus("status") }, "old\n-- 3 new --\n1\n2\n3\n> bob|\nstatus"},
		{"another output", func(b *bench) { b.Print("other\nrows\n") }, "old\n-- 3 new --\n1\n2\nother\nrows\n3\n> bob|"},
		{"styles", func(b *bench) { b.Print("\x1b[1mother\x1b[m " + strings.Repeat("x", 13) + "\n") },
			"old\n-- 3 new --\n1\n2\nother xxxxxxxxxxxxx\n3\n> bob|"},
		{"a key", func(b *bench) { b.press(",") }, "old\n-- 2 new --\n1\n2\n-- 1 new --\n3\n> bob,|"},
		{"focus", func(b *bench) { b.press("\x1b[I") }, "old\n-- 2 new --\n1\n2\n-- 1 new --\n3\n> bob|"},
		{"no focus", func(b *bench) { b.press("\x1b[O") }, "old\n-- 3 new --\n1\n2\n3\n> bob|"},
		{"a wrapped row", func(b *bench) { b.Print(strings.Repeat("x", 20) + "\n") },
			"old\n-- 3 new --\n1\n2\nxxxxxxxxxxxxxxxxxxx\n | x\n3\n> bob|"},
		{"a row of unknown width", func(b *bench) { b.Print(strings.Repeat("x", 16) + "👍🏽1\n") },
			"old\n-- 3 new --\n1\n2\nxxxxxxxxxxxxxxxx\n | 👍🏽1\n3\n> bob|"},
		// Here the mark stays as it is.
		{"no whole row", func(b *bench) { b.Print("x") }, "old\n-- 2 new --\n1\n2\n3\n> bob|"},
		{"another width", func(b *bench) { b.vt.Resize(30, 10, true) }, "old\n-- 2 new --\n1\n2\n3\n> bob|"},
		{"another height", func(b *bench) { b.vt.Resize(20, 12, true) }, "old\n-- 2 new --\n1\n2\n3\n> bob|"},
		{"too many rows", func(b *bench) { b.Print(strings.Repeat("o\n", 9)) },
			"old\n-- 2 new --\n1\n2\n" + strings.Repeat("o\n", 9) + "3\n> bob|"},
		{"just too many rows", func(b *bench) { b.Print(strings.Repeat("o\n", 7)) },
			"old\n-- 2 new --\n1\n2\n" + strings.Repeat("o\n", 7) + "3\n> bob|"},
		{"as many rows as there may be", func(b *bench) { b.Print(strings.Repeat("o\n", 6)) },
			"old\n-- 3 new --\n1\n2\n" + strings.Repeat("o\n", 6) + "3\n> bob|"},
		{"another program", func(b *bench) { b.leaveTerminal(); b.takeTerminal() }, "old\n-- 2 new --\n1\n2\n> bob\n3\n> bob|"},
		{"an answered question", func(b *bench) {
			f := newField(questionField, fixed("Sure? "), proto.MaxText)
			b.begin(f)
			b.change(func() { b.leaveOff(f, nil) })
		}, "old\n-- 2 new --\n1\n2\nSure?\n3\n> bob|"},
	} {
		b := newBench(t, 20, 10)
		b.ask()
		b.press("bob")
		b.Print("old\n")
		b.PrintMarked("1\n", newRow)
		b.PrintMarked("2\n", newRow)
		b.shows("old\n-- 2 new --\n1\n2\n> bob|")
		test.then(b)
		b.PrintMarked("3\n", newRow)
		if got := b.vt.All(); got != test.want {
			t.Errorf("%s: the terminal shows\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

// TestAwayAndBell: the person is away without the focus, or after some time
// without a key. The bell rings without the focus.
func TestAwayAndBell(t *testing.T) {
	b := newBench(t, 20, 10)
	b.clock = time.Unix(1000, 0)
	b.step, b.looked = 0, b.clock
	b.ask()
	check := func(when string, away bool, bells int) {
		t.Helper()
		before := b.vt.Bells
		b.Bell(false)
		b.Bell(false)
		if got := b.Away(time.Minute); got != away || b.vt.Bells-before != bells {
			t.Errorf("%s: away %v, %d bells; want %v, %d", when, got, b.vt.Bells-before, away, bells)
		}
		b.clock = b.clock.Add(ringEvery)
	}
	check("at first", false, 0)
	b.press("\x1b[O")
	check("without the focus", true, 1)
	b.press("\x1b[I")
	check("with it", false, 0)
	b.clock = b.clock.Add(time.Minute)
	check("a minute later", true, 0)
	b.press("x")
	check("after a key", false, 0)
	b.press("\x1b[Oy")
	check("after a key without the focus", false, 0)
	bells := b.vt.Bells
	b.Bell(true)
	if b.vt.Bells != bells+1 {
		t.Error("no bell with the focus, but always")
	}
	b.shows("> xy|")
}

// TestMarkInAFlood: of more output at once than the screen has rows, the mark
// counts what came while it was there, and no row is written over.
func TestMarkInAFlood(t *testing.T) {
	b := newBench(t, 20, 10)
	b.ask()
	b.step = 0
	b.passes(settled)
	want := "-- 9 new --\n"
	for i := range 30 {
		b.PrintMarked(fmt.Sprintf("%d\n", i), newRow)
		want += fmt.Sprintf("%d\n", i)
	}
	b.passes(drawEvery)
	b.shows(want + "> |")
	// Nor while another program writes.
	b.leaveTerminal()
	b.press("\x1b[I")
	b.PrintMarked("a\n", newRow)
	fmt.Fprint(b.vt, "$ \n")
	b.PrintMarked("b\n", newRow)
	b.shows(want + ">\n-- 1 new --\na\n$\nb\n|")
}
