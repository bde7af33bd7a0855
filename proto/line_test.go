package proto

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"chatsecure/testdata/corpus"
)

// readLines reads to the end and returns copies of the lines.
func readLines(r io.Reader, limit int) (lines []string, err error) {
	l := NewLineReader(r)
	for {
		line, err := l.ReadLine(limit)
		if err != nil {
			return lines, err
		}
		lines = append(lines, string(line))
	}
}

// Row 22: lines.
func TestRow22Lines(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		why, input string
		lines      string // joined by |
		err        error
		code       Code
	}{
		{"nothing", "", "", io.EOF, ""},
		{"lines", "a\nbc\n", "a|bc", io.EOF, ""},
		{"lines that end twice", "a\n\nbc\n\n", "a|bc", io.EOF, ""},
		{"no newline at the end", "a\nbc", "a", io.ErrUnexpectedEOF, ""},
		{"only blank lines", "\n\n\n", "", io.EOF, ""},
		{"blank lines, as many as there may be", strings.Repeat("\n", MaxBlankLines) + "a\n" + strings.Repeat("\n", MaxBlankLines), "a", io.EOF, ""},
		{"a flood of blank lines", "a\n" + strings.Repeat("\n", MaxBlankLines+1) + "b\n", "a", nil, Malformed},
		{"NUL and other bytes", "\x00\xff\r\n", "\x00\xff\r", io.EOF, ""},
		{"a carriage return is no blank line", "\r\n", "\r", io.EOF, ""},
		{"at the limit", long + "\n", long, io.EOF, ""},
		{"over the limit", "a\n" + long + "x\n", "a", nil, TooLong},
		{"over the limit without end", long + long + long, "", nil, TooLong},
	} {
		for how, r := range map[string]io.Reader{
			"at once":       strings.NewReader(c.input),
			"byte by byte":  iotest.OneByteReader(strings.NewReader(c.input)),
			"half by half":  iotest.HalfReader(strings.NewReader(c.input)),
			"data with EOF": iotest.DataErrReader(strings.NewReader(c.input)),
		} {
			lines, err := readLines(r, len(long))
			if got := strings.Join(lines, "|"); got != c.lines {
				t.Errorf("%s, %s: got %.60q, want %.60q", c.why, how, got, c.lines)
			}
			e, _ := errors.AsType[*Error](err)
			if c.code != "" && (e == nil || e.Code != c.code) || c.code == "" && err != c.err {
				t.Errorf("%s, %s: ends with %v", c.why, how, err)
			}
		}
	}
}

func TestLineReaderStopsAtErrors(t *testing.T) {
	broken := errors.New("broken")
	lines, err := readLines(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), 10)
	if len(lines) != 1 || err != broken {
		t.Errorf("%q, %v", lines, err)
	}
	if _, err := readLines(silent{}, 10); err != io.ErrNoProgress {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// An idle connection must not hold the buffer of its longest line.
func TestLineReaderLetsMemoryGo(t *testing.T) {
	var input bytes.Buffer
	input.WriteString(strings.Repeat("x", MaxLine) + "\n")
	sizes := []int{MaxLine + 1}
	for range 5 {
		input.WriteString("short\n")
		sizes = append(sizes, len("short\n"))
	}
	l := NewLineReader(&stepReader{r: &input, sizes: sizes})
	for i := range sizes {
		if _, err := l.ReadLine(MaxLine); err != nil {
			t.Fatal(err)
		}
		if i == 0 && len(l.buf) < MaxLine {
			t.Fatalf("a buffer of %d bytes held a line of %d", len(l.buf), MaxLine)
		}
	}
	if len(l.buf) != minReadBuffer { // after two more small reads
		t.Errorf("after short lines the buffer has %d bytes", len(l.buf))
	}
}

// An incomplete line of a stranger takes little more memory than its bytes.
func TestLineReaderOfAHandshake(t *testing.T) {
	for _, c := range []struct{ sent, most int }{
		{0, minReadBuffer}, {100, minReadBuffer}, {minReadBuffer, 2 * minReadBuffer}, {5000, 20 << 10}, {20_000, 72 << 10}, {MaxHandshakeLine, 72 << 10},
	} {
		l := NewLineReader(iotest.HalfReader(strings.NewReader(strings.Repeat("x", c.sent))))
		if _, err := l.ReadLine(MaxHandshakeLine); err != io.ErrUnexpectedEOF && err != io.EOF {
			t.Fatalf("%d bytes: %v", c.sent, err)
		}
		if n := len(l.buf) + len(l.own); n > c.most {
			t.Errorf("after %d bytes of a line the buffers have %d, want at most %d", c.sent, n, c.most)
		}
	}
}

// TestLineReaderGivesBack: readers of one long line each use the same buffer, one after the other.
func TestLineReaderGivesBack(t *testing.T) {
	input := strings.Repeat("x", 2*maxOwnBuffer) + "\n"
	read := func() {
		l := NewLineReader(strings.NewReader(input))
		if _, err := l.ReadLine(MaxLine); err != nil || len(l.buf) != streamReadBuffer {
			t.Fatalf("%v, in a buffer of %d bytes", err, len(l.buf))
		}
		l.Close()
	}
	read()
	const rounds = 200
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		read()
	}
	runtime.ReadMemStats(&after)
	// The pool drops some at a collection, and at random under -race.
	if n := (after.TotalAlloc - before.TotalAlloc) / rounds; n > streamReadBuffer/2 {
		t.Errorf("each reader takes %d bytes of new memory", n)
	}
}

// stepReader gives the bytes of one step in as many reads as that takes, and never two steps in one
// read.
type stepReader struct {
	r     io.Reader
	sizes []int
}

func (s *stepReader) Read(p []byte) (int, error) {
	if len(s.sizes) == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(len(p), s.sizes[0])])
	if s.sizes[0] -= n; s.sizes[0] == 0 {
		s.sizes = s.sizes[1:]
	}
	return n, err
}

func TestLineReaderAllocatesNothing(t *testing.T) {
	line := []byte(strings.Repeat("x", 600) + "\n")
	l := NewLineReader(endless(line))
	for range 10_000 { // the buffer reaches its size
		l.ReadLine(MaxLine)
	}
	if n := testing.AllocsPerRun(1000, func() { l.ReadLine(MaxLine) }); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

// endless is a reader of the same line again and again, one in a read.
type endless []byte

func (e endless) Read(p []byte) (int, error) { return copy(p, e), nil }

// FuzzLineReader splits a stream anywhere and gets the same lines.
func FuzzLineReader(f *testing.F) {
	f.Add([]byte("a\nbc\n\n\nd"), []byte{1, 2, 3})
	f.Add([]byte(strings.Repeat("x", 3000)+"\n"+strings.Repeat("y", 100)+"\n"), []byte{255, 1})
	f.Add([]byte(strings.Repeat("\n", 100)), []byte{7})
	f.Add([]byte("no end"), []byte{})
	lines, err := readLines(strings.NewReader("a\nbc\n\n\nd\n"), 2000)
	if err != io.EOF {
		f.Fatal(err)
	}
	corpus.Check(f, len(lines))
	f.Fuzz(func(t *testing.T, input, steps []byte) {
		const limit = 2000
		var sizes []int
		for left, i := len(input), 0; left > 0; i++ {
			n := left
			if len(steps) > 0 {
				n = min(left, 1+int(steps[i%len(steps)]))
			}
			sizes = append(sizes, n)
			left -= n
		}
		got, err := readLines(&stepReader{r: bytes.NewReader(input), sizes: sizes}, limit)
		want, wantErr := naiveLines(input, limit)
		if strings.Join(got, "\n") != strings.Join(want, "\n") || len(got) != len(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		e, _ := errors.AsType[*Error](err)
		we, _ := errors.AsType[*Error](wantErr)
		if (e == nil) != (we == nil) || e == nil && err != wantErr || e != nil && e.Code != we.Code {
			t.Fatalf("ends with %v, want %v", err, wantErr)
		}
	})
}

// naiveLines does the work of a LineReader without buffers.
func naiveLines(input []byte, limit int) (lines []string, err error) {
	blank := 0
	for len(input) > 0 {
		line, rest, whole := bytes.Cut(input, []byte("\n"))
		switch {
		case len(line) > limit:
			return lines, Errorf(TooLong, "")
		case !whole:
			return lines, io.ErrUnexpectedEOF
		case len(line) == 0:
			if blank++; blank > MaxBlankLines {
				return lines, Errorf(Malformed, "")
			}
		default:
			blank = 0
			lines = append(lines, string(line))
		}
		input = rest
	}
	return lines, io.EOF
}
