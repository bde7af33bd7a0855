package command

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/internal/term"
	"chatsecure/testdata/lab/town"
)

// These tests look at the prompt in a real terminal, tmux. Their screens stand
// in testdata/*.screen; -update writes them.

// needTmux fails without tmux: an untested prompt is not known to work.
func needTmux(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err == nil {
		return
	}
	if os.Getenv("CHATSECURE_NO_TMUX") == "1" {
		fmt.Fprintf(os.Stderr, "*** %s is SKIPPED: there is no tmux, and CHATSECURE_NO_TMUX=1. The prompt is not tested in a real terminal. ***\n", t.Name())
		t.Skip("no tmux")
	}
	t.Fatal("tmux is not installed: run testdata/deps.sh, or set CHATSECURE_NO_TMUX=1 to go without these tests")
}

// pane is a terminal of a tmux server of its own.
type pane struct {
	t   testing.TB
	dir string // of the server's socket
}

// newPane starts a shell script with args in a terminal. env is added to its
// environment.
func newPane(t testing.TB, cols, rows int, env []string, script string, args ...string) *pane {
	t.Helper()
	// The path of a socket must be short, and that of t.TempDir() is not.
	dir, err := os.MkdirTemp("", "tmux-")
	if err != nil {
		t.Fatal(err)
	}
	p := &pane{t, dir}
	t.Cleanup(func() {
		p.command("kill-server").Run()
		os.RemoveAll(dir)
	})
	start := []string{"-u", "new-session", "-d", "-x", fmt.Sprint(cols), "-y", fmt.Sprint(rows)}
	for _, v := range env {
		start = append(start, "-e", v)
	}
	// The server would end with its last program, and the screen with it.
	p.tmux(append(start, append([]string{"sh", "-c", script + "\nexec sleep 600", "sh"}, args...)...)...)
	return p
}

func (p *pane) command(args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-L", "test", "-f", os.DevNull}, args...)...)
	cmd.Env = append(os.Environ(), "TMUX_TMPDIR="+p.dir, "TMUX=", "LC_ALL=C.UTF-8")
	return cmd
}

func (p *pane) tmux(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// types types text. keys presses keys by name.
func (p *pane) types(text string) { p.t.Helper(); p.tmux("send-keys", "-l", text) }

func (p *pane) keys(keys ...string) { p.t.Helper(); p.tmux(append([]string{"send-keys"}, keys...)...) }

// pastes pastes like a terminal: as a bracketed paste if the program asked for
// that.
func (p *pane) pastes(text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, "paste")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.tmux("load-buffer", file)
	p.tmux("paste-buffer", "-p")
}

// resize sets the size, and waits until the idle program has drawn for it. tmux
// shows a new size up to 250 ms before it tells the program; a drawing in
// between is for the old size.
func (p *pane) resize(cols, rows int) {
	p.t.Helper()
	written := filepath.Join(p.dir, "written")
	if err := os.WriteFile(written, nil, 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.tmux("pipe-pane", "cat >>"+written)
	p.tmux("resize-window", "-x", fmt.Sprint(cols), "-y", fmt.Sprint(rows))
	p.until(func(string) bool {
		info, err := os.Stat(written)
		return err == nil && info.Size() > 0
	}, "nothing is drawn for %d columns and %d rows", cols, rows)
	p.tmux("pipe-pane")
}

// The masks of varying text keep its width.
var masks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\[\d\d:\d\d:\d\d\]`), "[HH:MM:SS]"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "YYYY-MM-DD HH:MM:SS"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), strings.Repeat("f", 64)},
	{regexp.MustCompile(`\b[0-9a-f]{39}\n \| [0-9a-f]{25}\b`), strings.Repeat("f", 39) + "\n | " + strings.Repeat("f", 25)}, // at 40 columns
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), strings.Repeat("d", 32)},
	{regexp.MustCompile(`-[0-9a-f]{16}\b`), "-cccccccccccccccc"},
	{regexp.MustCompile(`\bBI\d{9}\b`), "BI999999999"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:NNNNN"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\.\.\.`), "iiiiiiiiiiiiiiii..."},
}

// screen is the visible text with the place of the cursor. options are of
// capture-pane.
func (p *pane) screen(options ...string) string {
	p.t.Helper()
	where := p.tmux("display-message", "-p", "#{cursor_x} #{cursor_y}")
	text := p.tmux(append([]string{"capture-pane", "-p"}, options...)...)
	for _, m := range masks {
		text = m.what.ReplaceAllString(text, m.with)
	}
	return strings.TrimRight(text, "\n") + "\ncursor: " + where
}

// shows waits until text is visible.
func (p *pane) shows(text string) {
	p.t.Helper()
	p.until(func(screen string) bool { return strings.Contains(screen, text) }, "%q does not come", text)
}

func (p *pane) until(done func(screen string) bool, complaint string, args ...any) string {
	p.t.Helper()
	for deadline := time.Now().Add(town.Patience); ; time.Sleep(20 * time.Millisecond) { // the screen is the barrier
		screen := p.screen()
		if done(screen) {
			return screen
		}
		if time.Now().After(deadline) {
			p.t.Fatalf(complaint+"; the terminal shows\n%s", append(args, screen)...)
		}
	}
}

// golden waits until the terminal shows the screen of a file. With -update it
// writes the screen that follows text.
func (p *pane) golden(name, text string, options ...string) {
	p.t.Helper()
	p.shows(text)
	path := filepath.Join("testdata", name+".screen")
	if *update {
		screen := p.screen(options...)
		for again := ""; again != screen; { // until it is stable
			again = screen
			time.Sleep(500 * time.Millisecond)
			screen = p.screen(options...)
		}
		if err := os.WriteFile(path, []byte(screen), 0o644); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	got := ""
	for deadline := time.Now().Add(town.Patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = p.screen(options...); got == string(want) {
			return
		}
	}
	p.t.Errorf("%s: the terminal shows\n%s\nwant\n%s", name, got, want)
}

// atTmux starts a person's client at the prompt in a terminal, without notices
// unless flags ask for them. script runs it as "$@".
func atTmux(w *town.Town, name string, cols, rows int, script string, flags ...string) *pane {
	w.T.Helper()
	needTmux(w.T)
	cmd := w.Client(name, append([]string{"-batch=false", "-prompt", "long"}, flags...)...)
	env := []string{"CHATSECURE_RELAY=", "CHATSECURE_NAME=", "CHATSECURE_CARD=", "CHATSECURE_STATE=", "HOME=" + w.Dir,
		"TZ=UTC", "XTERM_VERSION=", "STY=", "NO_COLOR=", "ENV=", "PS1=$ "}
	p := newPane(w.T, cols, rows, env, script, cmd.Args...)
	return p
}

const justTheClient = `"$@"`

// ready waits for alice's empty prompt.
func (p *pane) ready() { p.t.Helper(); p.shows("[HH:MM:SS] [alice-cccccccccccccccc]\ncursor: ") }

// chatter is a person at a prompt without a terminal.
func chatter(w *town.Town, name string) *town.Running {
	w.T.Helper()
	r := w.Start(name)
	says(r, "list")
	for r.Line() != "\n" { // after "User list:"
	}
	for r.Line() != "\n" {
	}
	return r
}

func says(r *town.Running, line string) {
	r.T.Helper()
	if _, err := fmt.Fprintln(r.Stdin, line); err != nil {
		r.T.Fatal(err)
	}
}

// TestTmuxFirstTime: an unknown relay and an unknown person are asked about.
func TestTmuxFirstTime(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	bob := chatter(w, "bob")
	p := atTmux(w, "alice", 80, 40, justTheClient, "-accept-new=false")
	p.shows("Confirm (y/n)?\ncursor: ")
	p.types("y\r")
	p.ready()
	p.types("list\r")
	p.shows("2. ID: bob")
	p.ready()
	p.types("bob: Bom dia!\r")
	p.shows("Is this the bob you mean? (y/n)\nwaits for your answer about bob\ncursor: ")
	p.types("y\r")
	p.golden("first", "✓ read by bob")
	says(bob, "alice: Olá!")
	p.shows("[bob]: Olá!")
	p.types("whois bob\r")
	p.until(func(screen string) bool { return strings.Count(screen, "Válido de") == 2 }, "no answer to whois comes")
	p.types("help\rhistory\r")
	p.golden("commands", "[bob]: Olá!       READ")
}

// TestTmuxQuestion: the question about somebody new, and the same after a flood of others' messages.
func TestTmuxQuestion(t *testing.T) {
	needTmux(t)
	for size, again := range map[[2]int]string{{80, 24}: "bob is new here, and proves to be:\nNome  ", {40, 10}: "Citizen's card : no\n"} {
		w := town.New(t, town.People("alice", "bob", "carol"))
		carol := chatter(w, "carol")
		chatter(w, "bob")
		p := atTmux(w, "alice", size[0], size[1], justTheClient, "-prompt", "short")
		p.shows(">\ncursor: ")
		p.types("carol: hello\r") // accepted, as everybody new
		carol.Line()
		p.types("/quit\r")
		p.until(func(string) bool { return p.pid() == "" }, "the client does not end")

		p = atTmux(w, "alice", size[0], size[1], justTheClient, "-prompt", "short", "-accept-new=false")
		p.shows(">\ncursor: ")
		p.types("bob: Bom dia!\r")
		p.golden(fmt.Sprintf("question-%dx%d", size[0], size[1]), "you mean? (y/n)")
		for n := range 30 {
			says(carol, fmt.Sprintf("alice: %d", n))
		}
		p.until(func(string) bool { // the screen after the flood: one from before it has the question, too
			flooded := strings.Contains(p.tmux("capture-pane", "-p", "-S", "-"), "[carol]: 29")
			screen := p.screen()
			return flooded && strings.Contains(screen, again) && strings.Contains(screen, "you mean? (y/n)")
		}, "the question is not shown again")
		p.types("y\r")
		p.shows("✓ read by bob")
	}
}

// TestTmuxStranger: somebody new writes. The certificate stands once, above the message; the first
// answer asks, holds up nothing else, and after a no the hint is what can be typed.
func TestTmuxStranger(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob", "carol"))
	carol := chatter(w, "carol")
	w.Must("", "alice", "list") // she knows the relay
	p := atTmux(w, "alice", 240, 60, justTheClient, "-accept-new=false", "-prompt", "short", "-q=false")
	p.shows(">\ncursor: ")
	identity := func(name string) string {
		var o whoisObject
		out := w.Must("", "carol", "-state", w.Path("asker"), "-json", "whois", name)
		for line := range strings.Lines(out) {
			if err := json.Unmarshal([]byte(line), &o); err == nil && o.Type == "whois" {
				return o.Identity
			}
		}
		t.Fatalf("whois %s: %s", name, out)
		return ""
	}
	p.types("/trust accept carol " + identity("carol") + "\r")
	p.shows("client: notice: carol is accepted")
	bob := chatter(w, "bob")
	says(bob, "alice: Bom dia!")
	p.shows("[bob, not accepted]: Bom dia!")
	p.types("bob: who are you?\r")
	p.shows("Is this the bob you mean? (y/n)")
	screen := p.screen()
	if strings.Count(screen, "Nome  ") != 1 || !strings.Contains(screen, `bob is new here, and proves to be "BOB MARIA EXEMPLO": the certificate is above.`) {
		t.Errorf("the certificate is not there once:\n%s", screen)
	}
	p.types("carol: look at this\r")
	if got := carol.Line(); !strings.HasSuffix(got, "]: look at this\n") {
		t.Errorf("carol got %q", got)
	}
	p.shows("look at this\nIs this the bob you mean? (y/n)\n")
	p.types("n\r")
	p.shows("\"who are you?\" to bob FAILED: bob is new, and nobody has accepted that it is")
	p.shows("If it is the right person: /trust accept bob")
	p.types("/trust accept bob " + identity("bob")[:8] + "\r")
	p.shows("client: notice: bob is accepted")
	p.types("bob: hello again\r")
	for line := bob.Line(); !strings.HasSuffix(line, "]: hello again\n"); line = bob.Line() {
		if strings.Contains(line, "who are you?") {
			t.Errorf("after a no bob got %q", line)
		}
	}
	p.shows("✓ read by bob")
}

// TestTmuxTyping: incoming messages leave the typed line unchanged, with wide
// characters, and after a change of size.
func TestTmuxTyping(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	bob := chatter(w, "bob")
	p := atTmux(w, "alice", 60, 24, justTheClient)
	p.ready()
	p.types("bob: olá, 王さん 😀 e\u0301")
	p.shows("😀 e\u0301\ncursor: ")
	says(bob, "alice: one")
	says(bob, "alice: \x1b[2J\x1b]0;title\x07 two 王")
	p.golden("typing", "two 王")
	p.types(" and more, so that the line goes over to a second row, and 王王 to a third one: e\u0301 |")
	p.keys("Home", "M-f", "Right", "Right")
	p.types("<here>")
	says(bob, "alice: three")
	p.golden("typing-rows", "three")

	p.resize(34, 24)
	p.golden("resize-narrow", "d one: ", "-S", "-") // with the history of tmux
	says(bob, "alice: four, in a narrow terminal, where it goes over two rows")
	p.golden("resize-narrow-more", "over two rows", "-S", "-")
	p.resize(100, 20)
	p.golden("resize-wide", "to a third", "-S", "-")
	p.resize(100, 3)
	p.golden("resize-low", "to a third", "-S", "-")
	p.resize(80, 24)
	p.types("\r")
	if got, want := bob.Line(), "bob: <here>olá, 王さん 😀 e\u0301 and more, so that the line goes over to a second row, and 王王 to a third one: e\u0301 |\n"; !strings.HasSuffix(got, strings.TrimPrefix(want, "bob: ")) {
		t.Errorf("bob got %q", got)
	}
	p.golden("typing-sent", "✓ read by bob")
	p.keys("Up", "C-w", "C-w", "C-l")
	p.golden("recalled", "third")
}

// TestTmuxCompletion: names and commands are completed.
func TestTmuxCompletion(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob", "Bonifácio", "carla"))
	for _, name := range []string{"bob", "Bonifácio", "carla"} {
		chatter(w, name)
	}
	p := atTmux(w, "alice", 60, 24, justTheClient)
	p.ready()
	// The names come in the background.
	p.until(func(screen string) bool {
		p.keys("Tab")
		return strings.Contains(screen, "Bonifácio")
	}, "there are no names")
	p.keys("C-l")
	p.ready()
	p.keys("h", "Tab")
	p.shows("help history")
	p.types("i\t")
	p.shows("history\ncursor: 44")
}

// TestTmuxPaste: 200 pasted lines are one message, which an Enter sends, and
// keys in it are text.
func TestTmuxPaste(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	bob := chatter(w, "bob")
	p := atTmux(w, "alice", 60, 24, justTheClient)
	p.ready()
	var paste strings.Builder
	for i := range 200 {
		fmt.Fprintf(&paste, "%d\tof 200, 王 \x03\x04\x15\x1a\n", i+1)
	}
	p.types("bob: ")
	p.pastes(paste.String())
	p.golden("paste-typed", "rows above, 0 below")
	p.types(", not sent yet\r")
	if got, want := bob.Line(), "]: "+term.Unwrapped(messageText(strings.TrimSuffix(paste.String(), "\n")+", not sent yet"))+"\n"; !strings.HasSuffix(got, want) {
		t.Errorf("bob got %q, want %q", got, want)
	}
	p.golden("paste", "✓ read by bob")
}

// TestTmuxInterrupt: Ctrl-C clears the line, or ends the client, and the
// terminal is restored.
func TestTmuxInterrupt(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	bob := chatter(w, "bob")
	// The shell is of the same process group and gets the signal, too.
	p := atTmux(w, "alice", 80, 24, `trap : INT; before=$(stty -g); "$@"; echo "exit status $?"; [ "$(stty -g)" = "$before" ] && echo as before`)
	p.ready()
	p.types("bob: this is")
	p.keys("C-c")
	p.ready()
	says(bob, "alice: hello")
	p.shows("hello")
	p.types("not a word")
	says(bob, "alice: again")
	p.shows("again")
	p.keys("C-c", "C-c")
	p.golden("interrupt", "as before")
	says(bob, "list")
	for line := bob.Line(); line != "\n"; line = bob.Line() {
	}
	if got := bob.Line(); !strings.HasPrefix(got, "1. ID: bob Level: 1 Since: ") {
		t.Errorf("the list begins with %q", got)
	}
}

// TestTmuxStop: Ctrl-Z gives the terminal to the shell, and fg takes it back.
func TestTmuxStop(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	bob := chatter(w, "bob")
	p := atTmux(w, "alice", 80, 24, `exec sh -i -c '"$@"; echo stopped; stty -a | grep -o "[-]*icanon"; read -r line; fg >/dev/null; echo "exit status $?"; sleep 600' sh "$@"`)
	p.ready()
	p.types("bob: half a l")
	p.keys("C-z")
	p.shows("stopped\nicanon\ncursor: ")
	says(bob, "alice: while you were away")
	p.types("go on\r")
	p.shows("while you were away")
	p.types("ine\r")
	if got := bob.Line(); !strings.HasSuffix(got, "]: half a line\n") {
		t.Errorf("bob got %q", got)
	}
	p.shows("✓ read by bob")
	p.keys("C-d")
	p.golden("stop", "exit status 0")
}

// TestTmuxLost: the loss and the return of the relay are told once, above the
// line.
func TestTmuxLost(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	p := atTmux(w, "alice", 80, 24, justTheClient, "-q=false")
	p.ready()
	p.types("bob: half a line")
	w.Stop()
	p.shows("trying again")
	w.StartRelay("relay")
	p.golden("lost", "the relay is back")
}

// TestTmuxColour: with colour, names stand out and details are faint.
func TestTmuxColour(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	bob := chatter(w, "bob")
	p := atTmux(w, "alice", 80, 24, justTheClient)
	p.ready()
	says(bob, "alice: hello")
	p.shows("hello")
	p.types("nonsense\r")
	p.shows("hint")
	p.types("bob: hi\r")
	p.golden("colour", "✓ read by bob", "-e")
	p = atTmux(w, "alice", 80, 24, `NO_COLOR=1 "$@"`)
	p.ready()
	p.types("nonsense\r")
	p.golden("no-colour", "hint", "-e")
}

// TestTmuxLetters: a message to somebody who is away is kept, and read when they come: while the
// prompt is there, and while it was not.
func TestTmuxLetters(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob", "-n", "1")
	w.Must("", "alice", "send", "-wait", "read", "bob", "hello")
	bob.End()
	const theClientAndItsEnd = `"$@"; echo "exit status $?"; sleep 600`
	read := func() { w.Must("", "bob", "recv", "-n", "1") }
	p := atTmux(w, "alice", 80, 24, theClientAndItsEnd, "-prompt", "short")
	p.shows(">\ncursor: ")
	p.types("bob: lunch?\r")
	p.shows("> bob: lunch?\n>\n… kept for bob\ncursor: 2 1")
	read()
	p.shows("> bob: lunch?\n>\n✓ read by bob\ncursor: 2 1")
	p.types("bob: at one\r")
	p.shows("\n… kept for bob\ncursor: ")
	p.types("exit\r")
	p.shows("exit status 0")
	read()
	p = atTmux(w, "alice", 80, 24, theClientAndItsEnd, "-prompt", "short")
	p.shows(">\n✓ read by bob\ncursor: 2 0")
	w.Must("at two", "bob", "send", "-wait", "sent", "alice") // a conversation: she is there
	p.shows("[bob]: at two\n>\n✓ read by bob\n")
	p.types("exit\r")
	p.shows("exit status 0")
	if r := w.Run("at three", "bob", "send", "alice"); r.Status != 9 {
		t.Errorf("to alice, who is away: %+v", r)
	}
	p = atTmux(w, "alice", 80, 24, theClientAndItsEnd, "-prompt", "short")
	p.shows("[HH:MM:SS] [bob]: at three\n>")
}

// TestTmuxLettersToSomebodyAsleep: what a prompt sends to a client that is stopped is kept, shown
// once and in order when it goes on, and never FAILED.
func TestTmuxLettersToSomebodyAsleep(t *testing.T) {
	needTmux(t)
	w := town.New(t, town.People("alice", "bob"))
	bob := chatter(w, "bob")
	p := atTmux(w, "alice", 80, 24, justTheClient, "-prompt", "short", "-timeout", "3s")
	p.shows(">\ncursor: ")
	says := func(text, status string) {
		t.Helper()
		p.types("bob: " + text + "\r")
		p.shows("> bob: " + text + "\n>\n" + status + " bob\n")
	}
	says("before", "✓ read by")
	bob.Pause()
	says("one", "… kept for")
	says("two", "… kept for")
	bob.Cmd.Process.Signal(syscall.SIGCONT)
	p.shows("✓ read by bob\n")
	says("after", "✓ read by")
	for _, want := range []string{"before", "one", "two", "after"} {
		if line := bob.Line(); !strings.HasSuffix(line, " [alice]: "+want+"\n") {
			t.Errorf("bob's prompt shows %q, want %s", line, want)
		}
	}
	p.types("history\r")
	screen := p.until(func(screen string) bool { return strings.Contains(screen, "[alice → bob]: after\n>") }, "no history comes")
	if strings.Count(screen, " READ       [alice → bob]: ") != 4 || strings.Contains(screen, "FAILED") {
		t.Errorf("the history is\n%s", screen)
	}
}
