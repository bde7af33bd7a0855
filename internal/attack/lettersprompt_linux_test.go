package attack

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// prompt starts a client at a terminal.
func prompt(w *town.Town, name string, args ...string) (*tty.PTY, *exec.Cmd) {
	w.T.Helper()
	p := tty.OpenPTY(w.T)
	cmd := w.Client(name, append([]string{"-batch=false", "-q=false"}, args...)...)
	p.Control(cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Slave, p.Slave, p.Slave
	if err := cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	p.Expect("> ")
	return p, cmd
}

// TestLettersAtTwoPrompts: Bob's client is stopped for longer than a conversation is tried, and goes on
// before the relay has given his connection up, or after it. Nothing is FAILED, nothing comes twice, and
// the order is kept.
func TestLettersAtTwoPrompts(t *testing.T) {
	for what, away := range map[string]func(w *town.Town){
		"before the relay gives him up": func(*town.Town) {},
		"after it": func(w *town.Town) {
			if faultsAll {
				time.Sleep(proto.LostAfter + 10*time.Second)
				return
			}
			w.Kill() // as good as that, and at once
			w.StartRelay("relay")
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := town.New(t, town.People("alice", "bob"))
			his, bob := prompt(w, "bob")
			hers, alice := prompt(w, "alice", "-timeout", "3s")
			texts := []string{"before", "asleep one", "asleep two", "after"}
			hers.Types("bob: before")
			his.Expect("before")
			hers.Expect("read by bob")
			stop(bob.Process.Pid)
			for _, text := range texts[1:3] {
				hers.Types("bob: " + text)
				hers.Expect("kept for bob")
			}
			away(w)
			bob.Process.Signal(syscall.SIGCONT)
			his.Expect("asleep one")
			his.Expect("asleep two")
			hers.Types("bob: after")
			his.Expect("after")
			hers.Expect("read by bob")
			for p, cmd := range map[*tty.PTY]*exec.Cmd{his: bob, hers: alice} {
				p.Types("exit")
				if err := cmd.Wait(); err != nil {
					t.Errorf("a prompt ends with %v; shown was %q", err, p.All())
				}
			}
			for _, text := range texts {
				if n := strings.Count(his.All(), text); n != 1 {
					t.Errorf("%q is shown %d times", text, n)
				}
			}
			for _, name := range []string{"alice", "bob"} {
				verified(t, w.Run("", name, "history", "-verify"))
				at := 0
				table := w.Must("", name, "history")
				for _, text := range texts {
					next := strings.Index(table[at:], ": "+text+"\n")
					if next < 0 || strings.Contains(table, "FAILED") || strings.Count(table, ": "+text+"\n") != 1 {
						t.Fatalf("%s: %q is not once and in order in\n%s", name, text, table)
					}
					at += next
				}
			}
			for range 40 {
				if strings.Count(w.Must("", "alice", "history"), " READ ") == len(texts) {
					return
				}
				w.Must("", "alice", "recv", "-for", "200ms")
			}
			t.Errorf("not all is READ:\n%s", w.Must("", "alice", "history"))
		})
	}
}
