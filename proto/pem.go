package proto

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// PEM reads the blocks of a file in PEM (RFC 7468), one after the other. encoding/pem passes
// over a damaged block in silence; here it is an error with its line. Text between the blocks,
// blanks around a line, byte order marks and a missing newline after a block are no errors.
type PEM struct {
	Type string // of the block, such as CERTIFICATE
	Line int    // where the block begins, from 1

	in     *bufio.Reader
	line   int    // the number of the last line read
	cut    bool   // the rest of that line is still to be read
	rest   []byte // what follows the end of the last block on its line
	inside bool   // the block has not ended
	quad   []byte // base64 that is not decoded yet
	padded bool   // the base64 has ended
	buf    []byte
	bytes  []byte // decoded and not read yet; in buf
}

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	// pemLine bounds a line of text, and a piece of a block without newlines, in bytes.
	pemLine = 4096
	// maxPEMText bounds the text before a block in bytes. openssl's text of a list can be
	// long.
	maxPEMText = 1 << 20
)

// NewPEM returns a reader of the file r.
func NewPEM(r io.Reader) *PEM { return &PEM{in: bufio.NewReaderSize(r, pemLine)} }

// Next goes to the next block, past the rest of the present one. At the end of the file it
// returns io.EOF. Errors but those of the file itself are *PEMError.
func (p *PEM) Next() error {
	for p.inside {
		if _, err := p.body(); err != nil {
			return err
		}
	}
	for skipped := 0; skipped <= maxPEMText; {
		line := p.rest
		if p.rest = nil; len(line) == 0 {
			read, err := p.read()
			if err != nil {
				return err
			}
			skipped += len(read)
			line = trimPEM(read)
		}
		label, rest, ok := pemLabel(line, pemBegin)
		switch {
		case ok && len(rest) == 0:
			p.Type, p.Line, p.inside, p.padded = label, p.line, true, false
			p.quad, p.bytes = p.quad[:0], nil
			return nil
		case bytes.IndexByte(line, 0) >= 0:
			return p.errorf("this is no text but bytes, as of a file in DER or UTF-16")
		case isPEMMark(line):
			return p.errorf("a block in PEM does not begin or end as it must, on a line of its own")
		case p.cut:
			return p.errorf("a line of more than %d bytes", pemLine)
		}
	}
	return p.errorf("more than %d bytes of text and no block in PEM", maxPEMText)
}

// Read reads the decoded bytes of the block, and io.EOF once it has ended whole.
func (p *PEM) Read(b []byte) (int, error) {
	for len(p.bytes) == 0 {
		if !p.inside {
			return 0, io.EOF
		}
		line, err := p.body()
		if err != nil {
			return 0, err
		}
		if !p.inside && len(p.quad) > 0 {
			return 0, p.errorf("the block that begins in line %d is not whole: its base64 is cut short", p.Line)
		}
		if err := p.decode(line); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.bytes)
	p.bytes = p.bytes[n:]
	return n, nil
}

// decode decodes the base64 in a line, and what the line before has left of it.
func (p *PEM) decode(line []byte) error {
	if p.padded && len(line) > 0 {
		return p.errorf("the block that begins in line %d goes on after its end in base64", p.Line)
	}
	p.quad = append(p.quad, line...)
	whole := len(p.quad) &^ 3
	if need := strictBase64.DecodedLen(whole); len(p.buf) < need {
		p.buf = make([]byte, need)
	}
	n, err := strictBase64.Decode(p.buf, p.quad[:whole])
	if err != nil {
		return p.errorf("the block that begins in line %d is damaged: this is not base64", p.Line)
	}
	p.padded = whole > 0 && p.quad[whole-1] == '='
	p.quad = append(p.quad[:0], p.quad[whole:]...)
	p.bytes = p.buf[:n]
	return nil
}

// body reads a line of the block, or a piece of a long one, and nil at its end.
func (p *PEM) body() ([]byte, error) {
	line, err := p.read()
	if err == io.EOF {
		return nil, p.errorf("the block that begins in line %d does not end", p.Line)
	}
	if err != nil {
		return nil, err
	}
	line = trimPEM(line)
	label, rest, ok := pemLabel(line, pemEnd)
	switch {
	case ok && label == p.Type && (len(rest) == 0 || bytes.HasPrefix(rest, []byte(pemBegin))):
		p.inside, p.rest = false, rest
		return nil, nil
	case ok || isPEMMark(line):
		return nil, p.errorf("the block that begins in line %d does not end as it must, with its own type on a line of its own", p.Line)
	}
	return line, nil
}

// read reads a line, or a piece of a long one.
func (p *PEM) read() ([]byte, error) {
	line, err := p.in.ReadSlice('\n')
	if len(line) == 0 {
		return nil, err
	}
	if !p.cut {
		p.line++
	}
	p.cut = err == bufio.ErrBufferFull
	if err == io.EOF || p.cut {
		err = nil
	}
	return line, err
}

// PEMError is a fault of a file in PEM.
type PEMError struct {
	Line   int
	Reason string
}

// Error returns the line and the reason.
func (e *PEMError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

func (p *PEM) errorf(format string, args ...any) error {
	return &PEMError{p.line, fmt.Sprintf(format, args...)}
}

// trimPEM takes the blanks and byte order marks around a line away.
func trimPEM(line []byte) []byte {
	plain := func(b byte) bool { return ' ' < b && b < utf8.RuneSelf }
	if n := len(line) - 1; n > 0 && line[n] == '\n' && plain(line[0]) && plain(line[n-1]) {
		return line[:n] // as most lines are, and bytes.Trim takes ten times as long
	}
	return bytes.Trim(line, " \t\r\n\ufeff")
}

// pemLabel returns the type in a line that begins or ends a block, and the text after it.
func pemLabel(line []byte, mark string) (label string, rest []byte, ok bool) {
	after, ok := bytes.CutPrefix(line, []byte(mark))
	if !ok {
		return "", nil, false
	}
	name, rest, ok := bytes.Cut(after, []byte("-----"))
	return string(name), trimPEM(rest), ok && len(name) > 0
}

// isPEMMark reports whether a line was meant to begin or end a block: it has such a mark
// somewhere, or begins with dashes of any kind and that word, as an editor may leave it.
func isPEMMark(line []byte) bool {
	if bytes.IndexByte(line, '-') < 0 && !slices.ContainsFunc(line, func(b byte) bool { return b >= utf8.RuneSelf }) {
		return false // nor any other dash
	}
	isDash := func(r rune) bool { return r == '-' || r > unicode.MaxASCII && unicode.Is(unicode.Pd, r) }
	if bytes.IndexFunc(line, isDash) < 0 {
		return false
	}
	text := string(line)
	word, upper := strings.TrimLeftFunc(text, isDash), strings.ToUpper(text)
	return strings.Contains(upper, "-----BEGIN") || strings.Contains(upper, "-----END") ||
		word != text && (strings.HasPrefix(word, "BEGIN ") || strings.HasPrefix(word, "END "))
}
