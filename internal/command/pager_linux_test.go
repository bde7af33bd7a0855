package command

import (
	"strings"
	"testing"

	"chatsecure/testdata/lab/tty"
)

// TestPager: a text that is longer than the screen goes through the pager; another, or one for a
// script, does not, and one whose pager cannot be started is shown.
func TestPager(t *testing.T) {
	for _, test := range []struct {
		lines, pager, term string
		batch, paged       bool
	}{
		{"one\n", "sed s/^/paged:/", "xterm", false, false},
		{strings.Repeat("many\n", 60), "sed s/^/paged:/", "xterm", false, true},
		{strings.Repeat("many\n", 60), "sed s/^/paged:/; exit 1", "xterm", false, true},
		{strings.Repeat("many\n", 60), "sed s/^/paged:/", "xterm", true, false},
		{strings.Repeat("many\n", 60), "sed s/^/paged:/", "dumb", false, false},
		{strings.Repeat("many\n", 60), "/nonexistent", "xterm", false, false},
	} {
		p := tty.OpenPTY(t)
		env := map[string]string{"PAGER": test.pager, "TERM": test.term}
		a := &app{
			System: System{Stdin: p.Slave, Stdout: p.Slave, Stderr: p.Slave, Now: fixedNow, Env: func(name string) string { return env[name] }},
			opt:    options{batch: test.batch},
		}
		a.out = newDisplay(a.System, a.opt)
		if paged := a.page(test.lines); paged != test.paged {
			t.Errorf("%+v: paged is %v", test, paged)
		}
		if test.paged {
			p.Expect("paged:many\n")
		}
	}
}

// TestPagerShowsTheNewest: less begins at the end, with the person's own options.
func TestPagerShowsTheNewest(t *testing.T) {
	for own, want := range map[string]string{"": "+G$FRX", "LESS=": "+G$", "LESS=-S -Pmine": "+G$-S -Pmine"} {
		p := tty.OpenPTY(t)
		env := map[string]string{"PAGER": `echo "LESS is <$LESS>"`, "TERM": "xterm"}
		a := &app{System: System{
			Stdin: p.Slave, Stdout: p.Slave, Stderr: p.Slave, Now: fixedNow, Environ: []string{own},
			Env: func(name string) string { return env[name] },
		}}
		a.out = newDisplay(a.System, a.opt)
		if !a.page(strings.Repeat("many\n", 60)) {
			t.Errorf("with %q nothing is paged", own)
		}
		p.Expect("LESS is <" + want + ">")
	}
}
