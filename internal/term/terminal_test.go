package term

import (
	"context"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/testdata/lab/tty"
)

// typing is a terminal on paper with a typist.
func typing(out io.Writer, steps ...tty.Step) *Terminal {
	return NewOf(&tty.Typist{Out: out, Steps: steps}, out, func(bool) error { return nil })
}

// TestConfirm: only a yes is one.
func TestConfirm(t *testing.T) {
	for typed, want := range map[string]bool{
		"y": true, "Y": true, "yes": true, " y ": true, "s": true, "sim": true,
		"n": false, "no": false, "não": false, "": false, "maybe": false, "yy": false, "1": false,
	} {
		out := new(tty.Paper)
		terminal := typing(out, tty.Step{Types: typed})
		got, err := terminal.Confirm(context.Background(), "It is new.\n", "Sure? ")
		if got != want || err != nil {
			t.Errorf("%q: %v %v, want %v", typed, got, err, want)
		}
	}
}

// TestSecretIsNotShown: the echo is off during a secret, and on after it.
func TestSecretIsNotShown(t *testing.T) {
	out := new(tty.Paper)
	var echo []bool
	terminal := typing(out, tty.Step{Types: "1234", Hidden: true})
	terminal.device = noDevice{func(on bool) error { echo = append(echo, on); return nil }}
	pin, err := terminal.Secret(context.Background(), "PIN: ")
	if err != nil || string(pin) != "1234" {
		t.Errorf("the PIN is %q %v", pin, err)
	}
	if !slices.Equal(echo, []bool{false, true}) || out.String() != "PIN: \n" {
		t.Errorf("echo was %v, shown %q", echo, out.String())
	}
	// The end of the context leaves the echo on.
	echo = nil
	ctx, cancel := context.WithCancel(context.Background())
	terminal = typing(out, tty.Step{Before: func() { cancel(); select {} }})
	terminal.device = noDevice{func(on bool) error { echo = append(echo, on); return nil }}
	if _, err := terminal.Secret(ctx, "PIN: "); err != context.Canceled || !slices.Equal(echo, []bool{false, true}) {
		t.Errorf("interrupted: %v, echo %v", err, echo)
	}
}

// TestQuestionAtThePrompt: a question during the prompt gets the next line, and
// the prompt the one after it.
func TestQuestionAtThePrompt(t *testing.T) {
	out := new(tty.Paper)
	asked := make(chan struct{})
	lines, typist := tty.Pipe(t)
	terminal := NewOf(lines, out, func(bool) error { return nil })
	type answer struct {
		line string
		err  error
	}
	prompt, question := make(chan answer), make(chan answer)
	ctx := context.Background()
	go func() {
		line, err := terminal.Question(ctx, "prompt> ")
		prompt <- answer{line, err}
	}()
	go func() {
		for !waits(terminal, 1) {
			runtime.Gosched()
		}
		close(asked)
		line, err := terminal.Secret(ctx, "PIN: ")
		question <- answer{string(line), err}
	}()
	<-asked
	for !waits(terminal, 2) {
		runtime.Gosched()
	}
	terminal.Print("a notice\n")
	typist.WriteString("1234\n")
	if got := <-question; got.line != "1234" || got.err != nil {
		t.Errorf("the question got %v", got)
	}
	typist.WriteString("list\n")
	if got := <-prompt; got.line != "list" || got.err != nil {
		t.Errorf("the prompt got %v", got)
	}
	if want := "a notice\nPIN: \nprompt> "; out.String() != want {
		t.Errorf("shown is %q, want %q", out.String(), want)
	}
}

// waits reports whether n wait for a line.
func waits(t *Terminal, n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.fields) == n
}

// TestLineAfterNobodyWaited: the line is kept for the next read.
func TestLineAfterNobodyWaited(t *testing.T) {
	lines, typist := tty.Pipe(t)
	terminal := NewOf(lines, new(tty.Paper), nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := terminal.Prompt(ctx, fixed("")); err != context.Canceled {
		t.Fatal(err)
	}
	typist.WriteString("late\n")
	if line, err := terminal.Prompt(context.Background(), fixed("")); line.Text != "late" || err != nil {
		t.Errorf("%q %v", line.Text, err)
	}
}

// TestBellWithoutAnEditor: it rings, and is no text.
func TestBellWithoutAnEditor(t *testing.T) {
	out := new(tty.Paper)
	terminal := typing(out)
	terminal.Bell(false)
	terminal.Bell(true)
	if got := out.String(); got != "\a" {
		t.Errorf("written is %q", got)
	}
	// Nothing is known of the person.
	if terminal.Away(0) || terminal.Typing() || terminal.Recalls() {
		t.Errorf("away: %v, typing: %v, recalls: %v", terminal.Away(0), terminal.Typing(), terminal.Recalls())
	}
}

// TestColours is the table of terminals with colour.
func TestColours(t *testing.T) {
	for _, test := range []struct {
		env    map[string]string
		dumb   bool
		colour palette
	}{
		{map[string]string{"TERM": "xterm"}, false, true},
		{map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false, false},
		{map[string]string{"TERM": "xterm", "NO_COLOR": ""}, false, true},
		{map[string]string{"TERM": "dumb"}, true, false},
		{nil, true, false},
	} {
		env := func(name string) string { return test.env[name] }
		if IsDumb(env) != test.dumb || colours(env) != test.colour {
			t.Errorf("%v: dumb %v, colour %v", test.env, IsDumb(env), colours(env))
		}
	}
	if got := palette(false).in(Alarm, "x"); got != "x" {
		t.Errorf("without colour: %q", got)
	}
	if got := palette(true).in(Alarm, "x"); got != "\x1b[31mx\x1b[m" {
		t.Errorf("with colour: %q", got)
	}
}

// TestDumbTerminal: no control sequences are written.
func TestDumbTerminal(t *testing.T) {
	var out strings.Builder
	lines, _ := tty.Pipe(t)
	terminal := NewOf(lines, &out, nil)
	stop := terminal.StartEditing(func(string) string { return "" }, nil)
	terminal.prompt.prompt = fixed("> ")
	terminal.begin(&terminal.prompt)
	terminal.Print("message\n")
	terminal.leaveOff(&terminal.prompt, context.Canceled)
	if got := out.String(); got != "> \nmessage\n> \n" {
		t.Errorf("shown is %q", got)
	}
	stop()
	stop()
}

// TestLineBeforeItsQuestion: a line that was read before a question goes to the prompt.
func TestLineBeforeItsQuestion(t *testing.T) {
	lines, typist := tty.Pipe(t)
	terminal := NewOf(lines, new(tty.Paper), nil)
	first := make(chan string)
	go func() {
		line, _ := terminal.Prompt(t.Context(), fixed("> "))
		first <- line.Text
	}()
	for !waits(terminal, 1) {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() {
		_, err := terminal.Question(ctx, "Sure? ")
		second <- err
	}()
	for !waits(terminal, 2) {
		runtime.Gosched()
	}
	terminal.mu.Lock()
	terminal.top().since = time.Now().Add(time.Hour) // it has just come
	terminal.mu.Unlock()
	typist.WriteString("x\ny\n")
	if got := <-first; got != "x" {
		t.Errorf("the first has %q", got)
	}
	cancel()
	if err := <-second; err != context.Canceled {
		t.Errorf("the question has the answer %v", err)
	}
	if line, err := terminal.Prompt(t.Context(), fixed("> ")); line.Text != "y" || err != nil {
		t.Errorf("the next line is %q %v", line.Text, err)
	}
}
