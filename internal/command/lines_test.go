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
		lines, err := source(context.Background())
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
	// With -0 a NUL ends what a newline ends else, and a newline is a character.
	swapped := strings.NewReplacer("\n", "\x00", "\x00", "\n")
	for _, c := range cases[:len(cases):len(cases)] {
		c.name, c.in, c.want = c.name+", with -0", swapped.Replace(c.in), slices.Clone(c.want)
		for i := range c.want {
			c.want[i] = swapped.Replace(c.want[i])
		}
		cases = append(cases, c)
	}
	for _, c := range cases {
		end := byte('\n')
		if strings.HasSuffix(c.name, "-0") {
			end = 0
		}
		for how, r := range map[string]io.Reader{
			"at once": strings.NewReader(c.in), "by halves": iotest.HalfReader(strings.NewReader(c.in)),
			"data with the end": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			var got []string
			for i, line := range allLines(t, newPipedLines(r, end)) {
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
	source := newPipedLines(io.MultiReader(strings.NewReader("a\nb\n"), iotest.ErrReader(broken)), '\n')
	var got []inputLine
	var err error
	for err == nil {
		var lines []inputLine
		lines, err = source(context.Background())
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
	source := newPipedLines(r, '\n')
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := source(ctx); err != context.Canceled {
		t.Errorf("waiting ended with %v", err)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	in := lineReader{r: bufio.NewReaderSize(strings.NewReader(strings.Repeat("a\n", 3*lineBatch)), readBuffer), end: '\n'}
	lines, err := in.batch()
	if len(lines) != lineBatch || err != nil {
		t.Errorf("a batch of %d lines %v", len(lines), err)
	}
}
