package proto

import (
	"bytes"
	"io"
)

// Buffer sizes of a LineReader: small while a connection is idle, because the
// relay holds thousands of those, large while lines stream in, because a read
// costs more than the bytes it brings.
const (
	minReadBuffer = 1 << 10
	maxReadAhead  = 256 << 10
)

// LineReader reads newline-terminated lines of bounded length. Blank lines are
// skipped. It is used by one goroutine.
type LineReader struct {
	r      io.Reader
	buf    []byte
	lo, hi int // unread bytes are buf[lo:hi]
	full   bool
	small  int // consecutive reads that used little of buf
}

// NewLineReader returns a LineReader on r.
func NewLineReader(r io.Reader) *LineReader { return &LineReader{r: r} }

// Buffered tells whether bytes are waiting that need no further read. A sender
// flushes when this is false: the other side is waiting for us.
func (l *LineReader) Buffered() bool { return l.hi > l.lo }

// ReadLine returns the next line that is not blank, without its newline. The
// slice is valid, and may be written to, until the next call. A line longer
// than limit is a TooLong error; input that ends inside a line is
// io.ErrUnexpectedEOF.
func (l *LineReader) ReadLine(limit int) ([]byte, error) {
	scanned, blank := 0, 0
	for {
		if i := bytes.IndexByte(l.buf[l.lo+scanned:l.hi], '\n'); i >= 0 {
			n := scanned + i
			line := l.buf[l.lo : l.lo+n : l.lo+n]
			l.lo += n + 1
			if n > limit {
				return nil, Errorf(TooLong, "a line of %d bytes is over the limit of %d", n, limit)
			}
			if n > 0 {
				return line, nil
			}
			scanned = 0
			if blank++; blank > MaxBlankLines {
				return nil, Errorf(Malformed, "more than %d blank lines on end", MaxBlankLines)
			}
			continue
		}
		scanned = l.hi - l.lo
		if scanned > limit {
			return nil, Errorf(TooLong, "a line is over the limit of %d bytes", limit)
		}
		if err := l.fill(); err != nil {
			if err == io.EOF && scanned > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// fill reads once, after making room: it doubles the buffer when the last read
// filled it or one line needs more, and lets a large one go when reads have
// been small for a while.
func (l *LineReader) fill() error {
	pending := l.hi - l.lo
	size := len(l.buf)
	switch {
	case size == 0:
		size = minReadBuffer
	case pending == size:
		size *= 2
	case l.full && size < maxReadAhead:
		size *= 2
	case pending < minReadBuffer/2 && l.small >= 2 && size > minReadBuffer:
		size = minReadBuffer
	}
	if size != len(l.buf) {
		buf := make([]byte, size)
		copy(buf, l.buf[l.lo:l.hi])
		l.buf = buf
		l.lo, l.hi, l.small = 0, pending, 0
	} else if l.lo > 0 {
		copy(l.buf, l.buf[l.lo:l.hi])
		l.lo, l.hi = 0, pending
	}
	for range 100 {
		n, err := l.r.Read(l.buf[l.hi:])
		l.hi += n
		l.full = l.hi == len(l.buf)
		if n > 0 {
			if n < minReadBuffer {
				l.small++
			} else {
				l.small = 0
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}
