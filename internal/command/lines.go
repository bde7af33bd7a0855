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

// lineSource returns the next lines, at least one; io.EOF after the last. One goroutine uses it.
type lineSource func(ctx context.Context) ([]inputLine, error)

// input returns standard input as lines. At a terminal, questions and lines
// share one reader.
func (a *app) input() lineSource {
	if isTerminal(a.Stdin) {
		if t := a.person(); t != nil {
			return typedLines(t)
		}
	}
	return newPipedLines(a.Stdin, '\n')
}

// lineBatch bounds the lines handed on at once.
const lineBatch = 512

// readBuffer bounds a read in bytes.
const readBuffer = 64 << 10

// newPipedLines reads in a goroutine, so that a signal or a lost relay ends the
// wait.
func newPipedLines(r io.Reader, end byte) lineSource {
	batches := make(chan []inputLine)
	var err error // of the goroutine, until batches is closed
	go func() {
		defer close(batches)
		in := lineReader{r: bufio.NewReaderSize(r, readBuffer), end: end}
		for err == nil {
			var lines []inputLine
			if lines, err = in.batch(); len(lines) > 0 {
				batches <- lines
			}
		}
	}()
	return func(ctx context.Context) ([]inputLine, error) {
		select {
		case lines, more := <-batches:
			if !more {
				return nil, err
			}
			return lines, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lineReader splits what it reads into lines of at most proto.MaxText bytes.
type lineReader struct {
	r      *bufio.Reader
	end    byte // of a line
	number int
	text   []byte // of the line, as far as it is not too long
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
	l.text = l.text[:0]
	for tooLong := false; ; {
		part, err := l.r.ReadSlice(l.end)
		if tooLong = tooLong || len(l.text)+len(part) > proto.MaxText+1; !tooLong {
			l.text = append(l.text, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && (err != io.EOF || len(l.text) == 0 && !tooLong):
			return inputLine{}, err
		}
		l.number++
		return checkLine(l.number, bytes.TrimSuffix(l.text, []byte{l.end}), tooLong), nil
	}
}

// checkLine refuses a line that cannot be a message.
func checkLine(number int, text []byte, tooLong bool) inputLine {
	line := inputLine{number: number}
	switch {
	case tooLong || len(text) > proto.MaxText:
		line.problem = fail.Errorf(proto.TooLong, "%s: it is longer than the 262144 bytes of a message",
			unsent(number)).With("divide it; client pipe carries bytes that are not lines")
	case !utf8.Valid(text):
		line.problem = fail.Errorf(proto.Malformed, "%s: it is not UTF-8 text", unsent(number)).
			With("convert it first, with iconv for example")
	default:
		line.text = string(text)
	}
	return line
}

// typedLines reads from a terminal, only when a line is wanted.
func typedLines(t *term.Terminal) lineSource {
	number := 0
	return func(ctx context.Context) ([]inputLine, error) {
		line, err := t.Prompt(ctx, func() string { return "" })
		tooLong := errors.Is(err, term.ErrLineTooLong)
		if err != nil && !tooLong {
			return nil, err
		}
		number++
		return []inputLine{checkLine(number, []byte(line.Text), tooLong)}, nil
	}
}

// onlyLine is a single text.
func onlyLine(text string) lineSource {
	left := []inputLine{{text: text}}
	return func(context.Context) (lines []inputLine, err error) {
		if lines, left = left, nil; lines == nil {
			err = io.EOF
		}
		return lines, err
	}
}

// unsent names a line of standard input in an error; number 0 is the text of
// the command line.
func unsent(number int) string {
	if number == 0 {
		return "the text cannot be sent"
	}
	return fmt.Sprintf("line %d is not sent", number)
}
