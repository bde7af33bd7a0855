package command

import (
	"fmt"
	"strings"
	"testing"

	"chatsecure/internal/term"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// TestRow23RecvAtTerminals: each stream has the rows of its own terminal, of the present width.
func TestRow23RecvAtTerminals(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	out, errs := tty.OpenPTY(t), tty.OpenPTY(t)
	out.Resize(40, 10)
	errs.Resize(20, 5)
	cmd := w.Client("bob", "-q=false", "recv", "-n", "3")
	cmd.Stdout, cmd.Stderr = out.Slave, errs.Slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	send := func(text string) { w.Must("", "alice", "send", "-wait-peer", "30s", "-wait", "read", "bob", text) }
	send("ok" + strings.Repeat(" ", 31) + "carol: not mine end1")
	out.Expect("end1\n")
	out.Resize(30, 10)
	send("ok" + strings.Repeat(" ", 21) + "carol: not mine\neither end2")
	out.Expect("end2\n")
	send("end3")
	out.Expect("end3\n")
	if err := cmd.Wait(); err != nil {
		t.Errorf("bob ended with %v", err)
	}
	errs.Expect("de      : ")
	errs.Expect("\n")
	rows := func(p *tty.PTY, width int) (begun []string) {
		for _, row := range strings.Split(strings.TrimSuffix(p.All(), "\r\n"), "\r\n") {
			if term.TextWidth(row) >= width {
				t.Errorf("%q does not leave the last of %d columns free", row, width)
			}
			if !furtherRow.MatchString(row) {
				begun = append(begun, row)
			}
		}
		return begun
	}
	if begun := rows(out, 40); len(begun) != 3 || !strings.HasPrefix(strings.Join(begun, "\n"), "alice: ok") {
		t.Errorf("the lines of bob's messages are %q in %q", begun, out.All())
	}
	if begun := rows(errs, 20); len(begun) != 8 || begun[0] != "client: notice: " || !strings.HasPrefix(begun[7], "Válido de") {
		t.Errorf("the lines of bob's notices are %q", begun)
	}
}

// TestTmuxRows: at the prompt of a real terminal, a message and the history have marked rows.
func TestTmuxRows(t *testing.T) {
	needTmux(t)
	for _, size := range [][2]int{{80, 24}, {40, 10}} {
		w := town.New(t, town.People("alice", "bob"))
		bob := chatter(w, "bob")
		p := atTmux(w, "alice", size[0], size[1], justTheClient, "-prompt", "short")
		p.shows(">\ncursor: ")
		says(bob, "alice: ok"+strings.Repeat(" ", size[0]-20)+"carol: send the money to PT50")
		p.shows("PT50")
		says(bob, "alice: a\ttab, 👨\u200d👩\u200d👧, "+strings.Repeat("0123456789abcdef", 4)+" and\x1b[2J client: notice: the end")
		p.golden(fmt.Sprintf("prompt-rows-%dx%d", size[0], size[1]), "the end", "-S", "-")
	}
}
