package command

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// TestAtATerminal: the client asks for name, PIN, fingerprint and first
// contact, and the prompt works. The PIN is never shown.
func TestAtATerminal(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := town.New(t, town.People("alice", "bob"))
	tokens, err := w.PKI.SoftHSM(w.Path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.Env = []string{tokens.Env()}
	bob := w.Receive("bob", "-n", "1")

	p := tty.OpenPTY(t)
	cmd := w.Client("", "-card", tokens.URI("alice"), "-state", w.Path("state-alice"), "-accept-new=false", "-batch=false", "-prompt", "long")
	p.Control(cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Slave, p.Slave, p.Slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.Expect("Name: ")
	p.Types("alice")
	p.Expect(`PIN of token "alice"`)
	p.Expect(": ")
	p.Types(lab.PIN)
	p.Expect("Server cipher sha256 fingerprint is:\n")
	p.Expect("Confirm (y/n)? ")
	p.Types("y")
	p.Expect("] [alice-")
	p.Expect("] ")
	p.Types("bob: olá")
	p.Expect("bob is new here")
	p.Expect("Nome           : ")
	p.Expect("Is this the bob you mean? (y/n) ")
	p.Types("y")
	if o := bob.Object("message"); o["text"] != "olá" {
		t.Errorf("bob got %v", o)
	}
	bob.End()
	p.Expect("] [alice-")
	p.Types("quit")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v; shown was %q", err, p.All())
	}
	if strings.Contains(p.All(), lab.PIN) {
		t.Error("the PIN was shown")
	}
	if p.Modes().Lflag&syscall.ECHO == 0 {
		t.Error("the terminal is left without echo")
	}
}

// TestQuestionsWhileInputIsData go to the controlling terminal.
func TestQuestionsWhileInputIsData(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob", "-n", "2")
	p := tty.OpenPTY(t)
	cmd := w.Client("alice", "-accept-new=false", "-batch=false", "send", "-wait", "read", "bob")
	p.Control(cmd)
	done := make(chan town.Result, 1)
	go func() { done <- town.RunCommand(t, cmd, "one\ntwo\n") }()
	p.Expect("Server cipher sha256 fingerprint is:")
	p.Expect("Confirm (y/n)? ")
	p.Types("y")
	p.Expect("bob is new here")
	p.Expect("Is this the bob you mean? (y/n) ")
	p.Types("yes")
	if r := <-done; r.Status != 0 || strings.Count(r.Stdout, "\n") != 2 || r.Stderr != "" {
		t.Errorf("alice: %+v", r)
	}
	bob.End()

	// After a no, nothing is sent.
	carol := tty.OpenPTY(t)
	cmd = w.Client("alice", "-accept-new=false", "-batch=false", "-state", w.Path("state-new"), "list")
	carol.Control(cmd)
	go func() { done <- town.RunCommand(t, cmd, "") }()
	carol.Expect("Confirm (y/n)? ")
	carol.Types("n")
	town.CheckFails(t, <-done, 4, "-fingerprint")
}

// TestInterruptedAtTheTerminal: a signal at the question for the PIN restores
// the terminal, and a stop before it does not show the PIN.
func TestInterruptedAtTheTerminal(t *testing.T) {
	lab.NeedSoftHSM(t)
	hup := make(chan os.Signal, 1) // as in TestPromptEnds
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	w := town.New(t, town.People("alice"))
	tokens, err := w.PKI.SoftHSM(w.Path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.Env = []string{tokens.Env()}
	for signal, want := range map[syscall.Signal]string{
		syscall.SIGINT: "exit status 130", syscall.SIGHUP: "signal: hangup", syscall.SIGQUIT: "exit status 2",
	} {
		p := tty.OpenPTY(t)
		before := p.Modes()
		cmd := w.Client("alice", "-card", tokens.URI("alice"), "-batch=false", "list")
		p.Control(cmd)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Slave, p.Slave, p.Slave
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.Expect("PIN of ")
		shown := p.Modes()
		shown.Lflag |= syscall.ECHO
		p.SetModes(shown) // by a shell that continues the client
		cmd.Process.Signal(syscall.SIGCONT)
		for deadline := time.Now().Add(20 * time.Second); p.Modes() == shown; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a client that goes on shows the PIN")
			}
		}
		cmd.Process.Signal(signal)
		if err := cmd.Wait(); err == nil || err.Error() != want {
			t.Errorf("%v: it ended with %v; shown was %q", signal, err, p.All())
		}
		if p.Modes() != before {
			t.Errorf("%v: the modes are %+v, were %+v", signal, p.Modes(), before)
		}
	}
}

// atPrompt starts a client at a terminal and waits for its prompt.
func atPrompt(w *town.Town, p *tty.PTY, name, term string) *exec.Cmd {
	w.T.Helper()
	flags := []string{"-batch=false"}
	if term == "xterm" { // a dumb one has the long prompt anyway
		flags = append(flags, "-prompt", "long")
	}
	cmd := w.Client(name, flags...)
	cmd.Env = append(cmd.Env, "TERM="+term, "NO_COLOR=1")
	p.Control(cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Slave, p.Slave, p.Slave
	if err := cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	p.Expect("] [" + name + "-")
	p.Expect("] ")
	return cmd
}

// TestPromptEnds: every end restores the terminal, and has its exit status.
func TestPromptEnds(t *testing.T) {
	// Under nohup SIGHUP is ignored, which a client would inherit. Catching it
	// here restores the default there.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	w := town.New(t, town.People("alice"))
	for _, test := range []struct {
		name   string
		keys   string
		signal syscall.Signal
		exit   int            // or
		killed syscall.Signal // by it
	}{
		{name: "Ctrl-D", keys: "\x04", exit: 0},
		{name: "exit", keys: "exit\r", exit: 0},
		{name: "Ctrl-C", keys: "abc\x03\x03", exit: 130},
		{name: "SIGINT", signal: syscall.SIGINT, exit: 130},
		{name: "SIGTERM", keys: "abc", signal: syscall.SIGTERM, exit: 143},
		{name: "SIGHUP", signal: syscall.SIGHUP, killed: syscall.SIGHUP},
		{name: "SIGQUIT", signal: syscall.SIGQUIT, exit: 2}, // by the Go runtime
	} {
		t.Run(test.name, func(t *testing.T) {
			w.T = t
			p := tty.OpenPTY(t)
			before := p.Modes()
			cmd := atPrompt(w, p, "alice", "xterm")
			if raw := p.Modes(); raw.Lflag&syscall.ICANON != 0 {
				t.Error("the terminal is not raw")
			}
			p.Keys(test.keys)
			if test.signal != 0 {
				cmd.Process.Signal(test.signal)
			}
			cmd.Wait()
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if test.killed != 0 && (!status.Signaled() || status.Signal() != test.killed) || test.killed == 0 && status.ExitStatus() != test.exit {
				t.Errorf("it ended with %v; shown was %q", cmd.ProcessState, p.All())
			}
			if p.Modes() != before {
				t.Errorf("the modes are %+v, were %+v", p.Modes(), before)
			}
			p.Expect("\x1b[?1004l\x1b[?2004l") // the end of the news of the focus, and of bracketed paste
			// It has left the relay's list, if it could.
			if test.killed == 0 && test.exit != 2 {
				if got := w.Must("", "alice", "list"); strings.Count(got, "alice") != 1 { // the asker
					t.Errorf("the list is %q", got)
				}
			}
		})
	}
}

// TestStuckTerminalEnds: a terminal that takes no output keeps no client from its end, and gets its
// modes back.
func TestStuckTerminalEnds(t *testing.T) {
	hup := make(chan os.Signal, 1) // as in TestPromptEnds
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	w := town.New(t, town.People("alice"))
	for _, test := range []struct {
		signals []syscall.Signal
		want    string
	}{
		{[]syscall.Signal{syscall.SIGINT}, "exit status 130"},
		{[]syscall.Signal{syscall.SIGINT, syscall.SIGTERM}, "exit status 143"},
		{[]syscall.Signal{syscall.SIGWINCH, syscall.SIGHUP}, "signal: hangup"},
		{[]syscall.Signal{syscall.SIGQUIT}, "exit status 2"},
	} {
		t.Run(test.want, func(t *testing.T) {
			w.T = t
			p := tty.OpenPTY(t)
			before := p.Modes()
			cmd := atPrompt(w, p, "alice", "xterm")
			p.Fill(strings.Repeat("help\r", 800))
			for _, s := range test.signals {
				cmd.Process.Signal(s)
			}
			stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
			defer stuck.Stop()
			if err := cmd.Wait(); err == nil || err.Error() != test.want {
				t.Errorf("it ended with %v", err)
			}
			if p.Modes() != before {
				t.Errorf("the modes are %+v, were %+v", p.Modes(), before)
			}
		})
	}
}

// TestStuckTerminalIsInterrupted: Ctrl-C ends a client whose terminal takes no output, as it does
// where the kernel gives lines.
func TestStuckTerminalIsInterrupted(t *testing.T) {
	w := town.New(t, town.People("alice"))
	p := tty.OpenPTY(t)
	before := p.Modes()
	cmd := atPrompt(w, p, "alice", "xterm")
	p.Fill(strings.Repeat("help\r", 100))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.After(time.Minute); ; {
		p.Keys("x\x03") // a line and its end to the editor, which fills the last of the room
		select {
		case err := <-ended:
			if err == nil || err.Error() != "exit status 130" {
				t.Errorf("it ended with %v", err)
			}
			if p.Modes() != before {
				t.Errorf("the modes are %+v, were %+v", p.Modes(), before)
			}
			return
		case <-deadline:
			cmd.Process.Kill()
			t.Fatal("it does not end")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestDumbTerminalGivesLines: the kernel edits the lines, and no control
// sequences are written.
func TestDumbTerminalGivesLines(t *testing.T) {
	w := town.New(t, town.People("alice"))
	for _, term := range []string{"dumb", ""} {
		p := tty.OpenPTY(t)
		cmd := atPrompt(w, p, "alice", term)
		if modes := p.Modes(); modes.Lflag&syscall.ICANON == 0 {
			t.Error("the terminal is raw")
		}
		p.Types("help")
		p.Expect("Available commands are:")
		p.Types("quit")
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
		if strings.Contains(p.All(), "\x1b") {
			t.Errorf("TERM=%q: a control sequence in %q", term, p.All())
		}
	}
}
