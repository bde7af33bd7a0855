package proto

import (
	"bytes"
	"io"
	"sync"
)

// Buffer sizes of a LineReader: small while a connection is idle, because the
// relay holds thousands of those, large while lines stream in, because a read
// costs more than the bytes it brings. Readers lend each other the large ones,
// and have one only while it is in use. Lines of a handshake do not stream, and
// strangers by the thousand may leave one incomplete: their buffers are their
// own, of four times the last one's size and no longer than such a line.
const (
	minReadBuffer       = 1 << 10
	maxOwnBuffer        = 4 << 10
	handshakeReadBuffer = MaxHandshakeLine + maxOwnBuffer
	streamReadBuffer    = 128 << 10
	longReadBuffer      = MaxLine + maxOwnBuffer
)

var (
	streamBuffers = sync.Pool{New: func() any { return new([streamReadBuffer]byte) }}
	longBuffers   = sync.Pool{New: func() any { return new([longReadBuffer]byte) }}
)

// takeBuffer returns a buffer for lines up to limit that is larger than size, by
// one step.
func takeBuffer(size, limit int) []byte {
	switch {
	case size < minReadBuffer:
		return make([]byte, minReadBuffer)
	case size < maxOwnBuffer:
		return make([]byte, 2*size)
	case limit <= MaxHandshakeLine:
		return make([]byte, min(4*size, handshakeReadBuffer))
	case size < streamReadBuffer:
		return streamBuffers.Get().(*[streamReadBuffer]byte)[:]
	case size < longReadBuffer:
		return longBuffers.Get().(*[longReadBuffer]byte)[:]
	}
	return make([]byte, 2*size) // no line of the protocol's
}

func giveBuffer(b []byte) {
	switch len(b) {
	case streamReadBuffer:
		streamBuffers.Put((*[streamReadBuffer]byte)(b))
	case longReadBuffer:
		longBuffers.Put((*[longReadBuffer]byte)(b))
	}
}

// LineReader reads newline-terminated lines of bounded length. Blank lines are
// skipped. It is used by one goroutine.
type LineReader struct {
	r      io.Reader
	buf    []byte
	lo, hi int    // unread bytes are buf[lo:hi]
	own    []byte // of maxOwnBuffer, while buf is a lent one
	full   bool
	small  int // consecutive reads that used little of buf
}

// NewLineReader returns a LineReader on r.
func NewLineReader(r io.Reader) *LineReader { return &LineReader{r: r} }

// Holding returns how many bytes of memory an incomplete line takes, beyond
// the little that every reader has.
func (l *LineReader) Holding() int {
	if l.hi == l.lo || len(l.buf) <= maxOwnBuffer {
		return 0
	}
	return len(l.buf)
}

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
		if err := l.fill(limit); err != nil {
			if err == io.EOF && scanned > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// fill reads once, after making room: it takes a larger buffer when the last
// read filled this one or one line needs more, gives a large one back when the
// stream pauses, and lets a middling one go when reads have been small for a
// while.
func (l *LineReader) fill(limit int) error {
	pending := l.hi - l.lo
	size := len(l.buf)
	most := streamReadBuffer // what fills a smaller buffer gets a larger one
	if limit <= MaxHandshakeLine {
		most = handshakeReadBuffer
	}
	switch {
	case pending == size, l.full && size < most:
		l.move(takeBuffer(size, limit))
	case pending == 0 && !l.full && size > maxOwnBuffer:
		l.move(l.own)
	case pending < minReadBuffer/2 && l.small >= 2 && size > minReadBuffer && size <= maxOwnBuffer:
		l.move(make([]byte, minReadBuffer))
	case l.lo > 0:
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

// Close gives back what the reader was lent. The reader, and the lines that it
// returned, are not used after it.
func (l *LineReader) Close() {
	giveBuffer(l.buf)
	*l = LineReader{}
}

// move goes on in another buffer.
func (l *LineReader) move(buf []byte) {
	pending := copy(buf, l.buf[l.lo:l.hi])
	giveBuffer(l.buf)
	if len(l.buf) == maxOwnBuffer {
		l.own = l.buf
	}
	if len(buf) < len(l.own) {
		l.own = nil
	}
	l.buf, l.lo, l.hi, l.small = buf, 0, pending, 0
}
