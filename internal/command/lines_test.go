package command

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"chatsecure/proto"
)

// allLines reads a source to its end.
func allLines(t *testing.T, source lineSource) (all []inputLine) {
	t.Helper()
	for {
		lines, err := source.ready()
		if err == nil && len(lines) == 0 {
			lines, err = source.wait(context.Background())
		}
		all = append(all, lines...)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestLinesOfInput(t *testing.T) {
	long := strings.Repeat("x", proto.MaxText)
	cases := []struct {
		name, in string
		want     []string // a text, or ! and the code of the refusal
	}{
		{"nothing", "", nil},
		{"one", "a\n", []string{"a"}},
		{"no newline at the end", "a\nb", []string{"a", "b"}},
		{"blank lines are messages", "\n\na\n", []string{"", "", "a"}},
		{"carriage returns stay", "a\r\n", []string{"a\r"}},
		{"NUL is a character", "a\x00b\n", []string{"a\x00b"}},
		{"not UTF-8", "a\n\xff\nb\n", []string{"a", "!malformed", "b"}},
		{"half a character at the end", "a\n\xc3", []string{"a", "!malformed"}},
		{"as long as can be", long + "\nb\n", []string{long, "b"}},
		{"as long as can be, no newline", long, []string{long}},
		{"too long by one", long + "x\nb\n", []string{"!too-long", "b"}},
		{"too long by one, no newline", long + "x", []string{"!too-long"}},
		{"far too long", strings.Repeat("y", 3*proto.MaxText) + "\nb\n", []string{"!too-long", "b"}},
	}
	for _, c := range cases {
		for how, r := range map[string]io.Reader{
			"at once": strings.NewReader(c.in), "by halves": iotest.HalfReader(strings.NewReader(c.in)),
			"data with the end": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			var got []string
			for i, line := range allLines(t, newPipedLines(r)) {
				if line.number != i+1 {
					t.Errorf("%s: line %d has the number %d", c.name, i+1, line.number)
				}
				if line.problem != nil {
					got = append(got, "!"+string(line.problem.Code))
					continue
				}
				got = append(got, line.text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: %.80q, want %.80q", c.name, how, got, c.want)
			}
		}
	}
}

func TestInputThatFails(t *testing.T) {
	broken := errors.New("broken")
	source := newPipedLines(io.MultiReader(strings.NewReader("a\nb\n"), iotest.ErrReader(broken)))
	var got []inputLine
	var err error
	for err == nil {
		var lines []inputLine
		lines, err = source.wait(context.Background())
		got = append(got, lines...)
	}
	if len(got) != 2 || !errors.Is(err, broken) {
		t.Errorf("%v %v", got, err)
	}
}

// TestInputWaitsForNobody: a blocked reader does not hold up the client.
func TestInputWaitsForNobody(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	source := newPipedLines(r)
	if lines, err := source.ready(); len(lines) != 0 || err != nil {
		t.Errorf("%v %v", lines, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := source.wait(ctx); err != context.Canceled {
		t.Errorf("waiting ended with %v", err)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	in := lineReader{r: bufio.NewReaderSize(strings.NewReader(strings.Repeat("a\n", 3*lineBatch)), readBuffer)}
	lines, err := in.batch()
	if len(lines) != lineBatch || err != nil {
		t.Errorf("a batch of %d lines %v", len(lines), err)
	}
}
