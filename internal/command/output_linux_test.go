package command

import (
	"context"
	"testing"

	"chatsecure/internal/term"
	"chatsecure/testdata/lab/tty"
)

// TestOutputAboveAQuestion: outside the prompt, notices and data have rows of their own above an
// open question, which is drawn again below them.
func TestOutputAboveAQuestion(t *testing.T) {
	p := tty.OpenPTY(t)
	a := &app{System: System{Stdin: p.Slave, Stdout: p.Slave, Stderr: p.Slave, Now: fixedNow}}
	a.out = newDisplay(a.System, a.opt)
	got := make(chan error, 1)
	go func() {
		_, err := a.person().Question(context.Background(), "Sure? ")
		got <- err
	}()
	p.Expect("Sure? ")
	a.out.notice("the relay is lost")
	p.Expect(term.ClearLine + "client: notice: the relay is lost\nSure? ")
	a.out.line("bob: hello")
	a.out.flush()
	p.Expect(term.ClearLine + "bob: hello\nSure? ")
	p.Types("yes")
	if err := <-got; err != nil {
		t.Error(err)
	}
}
