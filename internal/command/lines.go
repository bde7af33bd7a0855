package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"chatsecure/internal/fail"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// inputLine is a line of standard input, or the problem that forbids it as a
// message.
type inputLine struct {
	number  int
	text    string
	pasted  bool // a part of it came by bracketed paste
	problem *fail.Error
}

// lineSource is standard input in lines. One goroutine uses it.
type lineSource interface {
	// ready returns the lines that have arrived, or none.
	ready() ([]inputLine, error)
	// wait returns the next lines, at least one; io.EOF after the last.
	wait(ctx context.Context) ([]inputLine, error)
}

// input returns standard input as lines. At a terminal, questions and lines
// share one reader.
func (a *app) input() lineSource {
	if isTerminal(a.Stdin) {
		if t := a.person(); t != nil {
			return &typedLines{t: t}
		}
	}
	return newPipedLines(a.Stdin, '\n')
}

// lineBatch bounds the lines handed on at once.
const lineBatch = 512

// readBuffer bounds a read in bytes.
const readBuffer = 64 << 10

// pipedLines reads in a goroutine, so that a signal or a lost relay ends the
// wait.
type pipedLines struct {
	batches chan readBatch
	end     error
}

type readBatch struct {
	lines []inputLine
	err   error // comes after lines
}

func newPipedLines(r io.Reader, end byte) *pipedLines {
	p := &pipedLines{batches: make(chan readBatch)}
	go func() {
		in := lineReader{r: bufio.NewReaderSize(r, readBuffer), end: end}
		for {
			lines, err := in.batch()
			p.batches <- readBatch{lines, err}
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *pipedLines) ready() ([]inputLine, error) {
	if p.end != nil {
		return nil, p.end
	}
	select {
	case b := <-p.batches:
		return p.got(b)
	default:
		return nil, nil
	}
}

func (p *pipedLines) wait(ctx context.Context) ([]inputLine, error) {
	if p.end != nil {
		return nil, p.end
	}
	select {
	case b := <-p.batches:
		return p.got(b)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipedLines) got(b readBatch) ([]inputLine, error) {
	p.end = b.err
	if len(b.lines) > 0 {
		return b.lines, nil
	}
	return nil, b.err
}

// lineReader splits what it reads into lines of at most proto.MaxText bytes.
type lineReader struct {
	r      *bufio.Reader
	end    byte // of a line
	number int
}

// batch reads a line, and the further lines that have arrived.
func (l *lineReader) batch() (lines []inputLine, err error) {
	for len(lines) == 0 || len(lines) < lineBatch && l.buffered() {
		line, err := l.next()
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// buffered reports whether a whole line has arrived.
func (l *lineReader) buffered() bool {
	waiting, _ := l.r.Peek(l.r.Buffered())
	return bytes.IndexByte(waiting, l.end) >= 0
}

func (l *lineReader) next() (inputLine, error) {
	var long []byte
	tooLong := false
	for {
		part, err := l.r.ReadSlice(l.end)
		switch {
		case tooLong: // drop the rest
		case len(long)+len(part) > proto.MaxText+1:
			long, tooLong = nil, true
		case err != nil || len(long) > 0:
			long = append(long, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF && len(long) == 0 && !tooLong && len(part) == 0 {
			return inputLine{}, io.EOF
		}
		if err != nil && err != io.EOF {
			return inputLine{}, err
		}
		l.number++
		if len(long) > 0 {
			part = long
		}
		return checkLine(l.number, bytes.TrimSuffix(part, []byte{l.end}), tooLong), nil
	}
}

// checkLine refuses a line that cannot be a message.
func checkLine(number int, text []byte, tooLong bool) inputLine {
	line := inputLine{number: number}
	switch {
	case tooLong || len(text) > proto.MaxText:
		line.problem = &fail.Error{
			Code: proto.TooLong, Message: lineSays(number, "it is longer than the 262144 bytes of a message"),
			Hint: "divide it; client pipe carries bytes that are not lines",
		}
	case !utf8.Valid(text):
		line.problem = &fail.Error{
			Code: proto.Malformed, Message: lineSays(number, "it is not UTF-8 text"), Hint: "convert it first, with iconv for example",
		}
	default:
		line.text = string(text)
	}
	return line
}

// typedLines reads from a terminal, only when a line is wanted.
type typedLines struct {
	t      *term.Terminal
	number int
}

func (l *typedLines) ready() ([]inputLine, error) { return nil, nil }

func (l *typedLines) wait(ctx context.Context) ([]inputLine, error) {
	line, err := l.t.Prompt(ctx, func() string { return "" })
	tooLong := errors.Is(err, term.ErrLineTooLong)
	if err != nil && !tooLong {
		return nil, err
	}
	l.number++
	return []inputLine{checkLine(l.number, []byte(line.Text), tooLong)}, nil
}

// oneLineOnly is a single text as a lineSource.
type oneLineOnly struct {
	text string
	done bool
}

func (o *oneLineOnly) ready() ([]inputLine, error) {
	if o.done {
		return nil, io.EOF
	}
	o.done = true
	return []inputLine{{text: o.text}}, nil
}

func (o *oneLineOnly) wait(context.Context) ([]inputLine, error) { return o.ready() }

// lineSays names a line of standard input in an error; number 0 is the text of
// the command line.
func lineSays(number int, what string) string {
	if number == 0 {
		return "the text cannot be sent: " + what
	}
	return fmt.Sprintf("line %d is not sent: %s", number, what)
}
