package history

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"chatsecure/internal/fail"
)

// damageError means that something other than this program changed a file, or that
// the file lost some of its content.
type damageError struct {
	line uint64 // from 1; 0: the file as a whole
	what string
}

func (d *damageError) Error() string {
	if d.line == 0 {
		return d.what
	}
	return fmt.Sprintf("line %d: %s", d.line, d.what)
}

// ExitStatus returns the status of a failed verification. The code for a history
// has two: one that cannot be written is an ordinary failure.
func (d *damageError) ExitStatus() int { return fail.ExitIntegrity }

// position is a place in a file of lines, with the chain up to there.
type position struct {
	size  int64 // bytes of whole lines
	count uint64
	last  [sha256.Size]byte
}

// scan reads whole lines from p on, moves p, and calls each with every line and its
// offset in the file. The line is only valid in the call. torn is the length of the
// rest after the last newline. A line that does not chain on is an error. With
// damaged it is reported there instead, and read all the same.
func (p *position) scan(r io.ReaderAt, damaged func(*damageError), each func(line []byte, offset int64) error) (torn int64, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, p.size, 1<<62), 256<<10)
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(long)+len(part) > MaxLine+1 {
			return 0, &damageError{p.count + 1, "it is longer than any line can be"}
		}
		line := part
		if len(long) > 0 || err == bufio.ErrBufferFull {
			long = append(long, part...)
			line = long
		}
		switch err {
		case nil:
		case bufio.ErrBufferFull:
			continue
		case io.EOF:
			return int64(len(line)), nil
		default:
			return 0, err
		}
		body := line[:len(line)-1]
		if damage := p.chains(body); damage != nil {
			if damaged == nil {
				return 0, damage
			}
			damaged(damage)
		}
		offset := p.size
		p.last = sha256.Sum256(body)
		p.size += int64(len(line))
		p.count++
		if err := each(body, offset); err != nil {
			return 0, err
		}
		long = long[:0]
	}
}

// chains returns the damage that a line in this place shows, or nil.
func (p *position) chains(line []byte) *damageError {
	prev, ok := peekPrev(line)
	switch {
	case !ok:
		return &damageError{p.count + 1, "it is not a line of the history"}
	case prev != p.last:
		return &damageError{p.count + 1, "it does not follow the line before it: " +
			"one of the two was changed, or lines are missing or in another order"}
	}
	return nil
}

const prevStart = `{"v":1,"prev":"`

// peekPrev returns the hash with which a line begins.
func peekPrev(line []byte) (prev [sha256.Size]byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(prevStart))
	if !ok || len(rest) < 2*sha256.Size+1 || rest[2*sha256.Size] != '"' {
		return prev, false
	}
	_, err := hex.Decode(prev[:], rest[:2*sha256.Size])
	return prev, err == nil
}

// checkFirstLine refuses the lines of another slot's file: swapped files chain as
// well as others.
func checkFirstLine(slot string, line []byte, offset int64) *damageError {
	if offset != 0 {
		return nil
	}
	l, err := parseLine(line)
	if err != nil || l.Type != lineFile {
		return &damageError{1, "it does not say which file this is"}
	}
	if l.File != slot+Ext {
		return &damageError{1, "this is the file " + l.File + ", not " + slot + Ext}
	}
	return nil
}
