package command

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab/town"
)

// TestTmuxDay is a day at the prompt: three friends, one with two devices and one whose machine
// sleeps for a while, a relay that restarts and once has another key, a long paste, a resize,
// Ctrl-C, and jobs that send. Nothing is lost, doubled or out of order, and no error is shown.
func TestTmuxDay(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob", "carla", "dave"))
	person := func(name, state string) *pane {
		p := atTmux(w, name, 80, 24, justTheClient, "-q=false", "-prompt", "short", "-state", w.Path("state-"+state))
		p.until(func(screen string) bool { return strings.HasPrefix(screen, ">\n") || strings.Contains(screen, "\n>\n") }, "there is no prompt")
		return p
	}
	alice, bob, bob2 := person("alice", "alice"), person("bob", "bob"), person("bob", "bob2")
	carla, dave := person("carla", "carla"), person("dave", "dave")
	everybody := []*pane{alice, bob, bob2, carla, dave}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("alice:\n%s\nbob:\n%s", alice.tmux("capture-pane", "-p", "-S", "-"), bob.tmux("capture-pane", "-p", "-S", "-"))
		}
	})

	// A current conversation, an answer of each device, and one person beside it.
	alice.types("/to bob\r")
	alice.shows("\nbob>\n")
	alice.types("good morning\r")
	bob.shows("[alice]: good morning")
	bob2.shows("[alice]: good morning")
	bob2.types("alice: from my telephone\r")
	alice.shows("from my telephone")
	alice.types("carla: and you?\r")
	carla.shows("[alice]: and you?")
	carla.types("alice: fine\r")
	alice.shows("[carla]: fine")
	dave.types("alice: going to sleep\r")
	alice.shows("[dave]: going to sleep")

	// A sleeper holds up nobody.
	dave.signal(syscall.SIGSTOP)
	alice.types("dave: are you asleep?\r")
	alice.types("dave: sleep well\r")
	alice.types("bob, he sleeps\r") // has no colon: for bob
	bob.shows("[alice]: bob, he sleeps")

	// The relay restarts, and once another answers in its place.
	w.Stop()
	alice.types("written while the relay is away\r")
	w.StartRelay("relay")
	alice.shows("✓ read by bob")
	bob.shows("written while the relay is away")
	bob2.shows("written while the relay is away")
	w.Stop()
	w.StartRelay("another")
	for _, p := range everybody[:4] {
		p.shows("does not have the key")
	}
	alice.types("not for the other relay\r")
	alice.shows("\nbob>\n")
	w.Stop()
	w.StartRelay("relay")
	bob.shows("not for the other relay")
	bob2.shows("not for the other relay")
	carla.types("alice: back again\r")
	alice.shows("back again")

	// A paste of 200 lines is one message, in which nothing is a command.
	var paste strings.Builder
	for i := range 200 {
		fmt.Fprintf(&paste, "line %d\n", i+1)
	}
	paste.WriteString("carla: not for her\n/quit")
	alice.pastes(paste.String())
	alice.shows("rows above")
	alice.keys("Enter")
	bob.shows("/quit")
	alice.shows("✓ read by bob")

	// A line that is given up, and a resize while one is typed.
	alice.types("not this")
	alice.keys("C-c")
	alice.shows("\nbob>\n")
	alice.types("typed in two widths")
	alice.resize(40, 10)
	alice.resize(80, 24)
	alice.keys("Enter")
	bob.shows("typed in two widths")

	// Jobs send, and the reader sees a line for each.
	for i := range 10 {
		w.Must("", "bob", "-state", w.Path("state-bob"), "send", "-wait", "delivered", "alice", fmt.Sprintf("job %d is done", i))
	}
	alice.shows("job 9 is done")

	// The sleeper wakes, and has all that was for him.
	dave.signal(syscall.SIGCONT)
	dave.shows("[alice]: are you asleep?")
	dave.shows("[alice]: sleep well")

	alice.types("dave: and now?\r")
	dave.shows("[alice]: and now?")
	alice.shows("✓ read by dave")

	all := alice.tmux("capture-pane", "-p", "-S", "-")
	if n := strings.Count(all, "client: error: "); n != 1 || strings.Contains(all, "FAILED") {
		t.Errorf("alice reads of %d errors besides that of the other relay, or of a failure:\n%s", n-1, all)
	}
	for i := range 10 {
		if n := strings.Count(all, fmt.Sprintf("[bob]: job %d is done", i)) + strings.Count(all, fmt.Sprintf(": job %d is done", i)); n == 0 {
			t.Errorf("job %d is not shown:\n%s", i, all)
		}
	}
	if strings.Contains(all, "bob: came") || strings.Contains(all, "bob: left") {
		t.Errorf("alice reads who comes and goes:\n%s", all)
	}
	for _, p := range everybody {
		p.types("/quit\r")
		p.until(func(string) bool { return p.pid() == "" }, "the client does not end")
	}
	for _, state := range []string{"alice", "bob", "bob2", "carla", "dave"} {
		out := w.Must("", "", "-state", w.Path("state-"+state), "history", "-verify")
		if !strings.Contains(out, "all of it holds") {
			t.Errorf("%s: %s", state, out)
		}
	}
	out := w.Must("", "", "-state", w.Path("state-alice"), "-json", "history")
	for _, wrong := range []string{`"PENDING"`, `"SENT"`, `"FAILED"`, `"DELIVERED"`} {
		if strings.Contains(out, wrong) {
			t.Errorf("a message is only %s:\n%s", wrong, out)
		}
	}
	for _, text := range []string{"good morning", "are you asleep?", "sleep well", "written while the relay is away", "not for the other relay", `/quit`, "typed in two widths"} {
		if n := strings.Count(out, text); n != 1 {
			t.Errorf("%q is there %d times:\n%s", text, n, out)
		}
	}
}

// pid is the process of the client in a pane, or "" once it has ended.
func (p *pane) pid() string {
	p.t.Helper()
	shell := strings.TrimSpace(p.tmux("display-message", "-p", "#{pane_pid}"))
	out, _ := exec.Command("pgrep", "-P", shell, "client").Output()
	return strings.TrimSpace(string(out))
}

// signal sends a signal to the client in a pane.
func (p *pane) signal(s syscall.Signal) {
	p.t.Helper()
	var pid int
	if _, err := fmt.Sscan(p.pid(), &pid); err != nil {
		p.t.Fatalf("no client runs: %v", err)
	}
	if err := syscall.Kill(pid, s); err != nil {
		p.t.Fatal(err)
	}
}
