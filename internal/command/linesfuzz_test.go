package command

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// FuzzPrompt: a typed line is one command or an error. A message has the whole
// text. In a conversation nothing but a line with a slash is a command.
func FuzzPrompt(f *testing.F) {
	alone := promptView{known: func(string) bool { return true }}
	talking := promptView{current: []string{"bob"}, known: alone.known}
	corpus.Add(f, func(line string) bool { c, err := alone.parse(line); return err == nil && c.verb != "" },
		[]string{"list", "whois john", "history", "history john", "help", "quit", "exit", "john: hello", "john,mary: a: b",
			"john, Mary:  x ", "*: hi", "all: hi", "john:", "john:  ", "/to a, b", "trust x *", "/list", "john: two\nlines"},
		"", " ", ": x", "/", "//x", "x\nlist", "0\n:", "0:\n", "whois", "whois a b", "list x", "nothing", "a b: c", "john,: x", "history \x1b")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := talking.parse(line)
		if command := promptVerbs[c.verb].most >= 0 && c.verb != "say" && c.verb != "to" && c.verb != ""; err == nil && command && !strings.HasPrefix(line, "/") {
			t.Fatalf("%q is %+v", line, c)
		}
		c, err = alone.parse(line)
		if err != nil {
			if fail.ExitStatus(err) != 2 || fail.AsError(err).Message == "" {
				t.Fatalf("%q: %v", line, err)
			}
			return
		}
		switch c.verb {
		case "say":
			to, text, _ := strings.Cut(line, ":")
			if !strings.Contains(line, "\n") && c.text != strings.TrimPrefix(text, " ") || !strings.Contains(text, c.text) || c.everyone == (len(c.names) > 0) || len(c.names) > proto.MaxRecipients {
				t.Fatalf("%q is %+v", line, c)
			}
			for _, name := range c.names {
				if proto.CheckName(name) != nil || !strings.Contains(to, name) {
					t.Fatalf("%q goes to %q", line, name)
				}
			}
			again, err := alone.parse(strings.Join(c.names, ",") + ": " + c.text)
			if !c.everyone && (err != nil || !slices.Equal(again.names, c.names) || again.text != c.text) {
				t.Fatalf("%q is %+v, and that %+v, %v", line, c, again, err)
			}
		case "":
		default:
			if _, ok := promptVerbs[c.verb]; ok && c.text == "" && (c.names == nil || c.verb == "to") &&
				!slices.ContainsFunc(c.args, func(s string) bool { return c.verb != "to" && c.verb != "trust" && proto.CheckName(s) != nil }) &&
				!strings.Contains(line, "\n") {
				return
			}
			t.Fatalf("%q is %+v", line, c)
		}
	})
}

// FuzzLines: the lines of standard input are its text cut at newlines, whatever
// the reads.
func FuzzLines(f *testing.F) {
	read := func(r io.Reader, size int) (lines []inputLine) {
		in := lineReader{r: bufio.NewReaderSize(r, size), end: '\n'}
		for {
			batch, err := in.batch()
			lines = append(lines, batch...)
			if err != nil || len(batch) > lineBatch {
				return lines
			}
		}
	}
	corpus.Add(f, func(b []byte) bool {
		lines := read(bytes.NewReader(b), 16)
		return len(lines) > 0 && lines[0].problem == nil
	},
		[][]byte{[]byte("one\ntwo\r\n\nno end"), []byte("\n\n"), bytes.Repeat([]byte("x\n"), 600), bytes.Repeat([]byte("y"), proto.MaxText)},
		nil, []byte("\xff\nok\n"), append(bytes.Repeat([]byte("z"), proto.MaxText+1), "\nnext"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		want := bytes.Split(b, []byte("\n"))
		if len(want[len(want)-1]) == 0 {
			want = want[:len(want)-1]
		}
		for how, lines := range map[string][]inputLine{
			"at once": read(bytes.NewReader(b), readBuffer), "half by half": read(iotest.HalfReader(bytes.NewReader(b)), 16),
			"small": read(bytes.NewReader(b), 16),
		} {
			if len(lines) != len(want) {
				t.Fatalf("%s: %d lines, want %d", how, len(lines), len(want))
			}
			for i, l := range lines {
				good := len(want[i]) <= proto.MaxText && utf8.Valid(want[i])
				if l.number != i+1 || good != (l.problem == nil) || good && l.text != string(want[i]) || !good && l.text != "" {
					t.Fatalf("%s: line %d is %d %.100q %v, want %.100q", how, i+1, l.number, l.text, l.problem, want[i])
				}
			}
		}
	})
}
