package proto

import (
	"bytes"
	"io"
	"slices"
	"sync"
)

// The buffer sizes of a LineReader in bytes. Buffers are small on an idle
// connection, of which the relay holds thousands, and large while lines stream
// in, when a read costs more than its bytes. Large ones are shared: a reader has
// one only while it needs it. A handshake's lines do not stream, and thousands
// of strangers may leave one incomplete, so its reader owns its buffers. Each is
// four times the last one and no longer than such a line.
const (
	minReadBuffer       = 512
	maxOwnBuffer        = 4 << 10
	handshakeReadBuffer = MaxHandshakeLine + maxOwnBuffer
	streamReadBuffer    = 128 << 10
	longReadBuffer      = MaxLine + maxOwnBuffer
)

var (
	streamBuffers = sync.Pool{New: func() any { return new([streamReadBuffer]byte) }}
	longBuffers   = sync.Pool{New: func() any { return new([longReadBuffer]byte) }}
)

// takeBuffer returns the next buffer larger than size, for lines up to limit.
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
	return make([]byte, 2*size) // only for limits beyond the protocol's
}

// giveBuffer returns a shared buffer to its pool.
func giveBuffer(b []byte) {
	switch len(b) {
	case streamReadBuffer:
		streamBuffers.Put((*[streamReadBuffer]byte)(b))
	case longReadBuffer:
		longBuffers.Put((*[longReadBuffer]byte)(b))
	}
}

// LineReader reads lines of bounded length, each ended by a newline. It skips
// blank lines. One goroutine owns it.
type LineReader struct {
	r      io.Reader
	buf    []byte
	lo, hi int    // unread bytes are buf[lo:hi]
	own    []byte // of maxOwnBuffer, while buf is a shared one
	full   bool   // the last read filled buf
	small  int    // consecutive reads that used little of buf
}

// NewLineReader returns a LineReader on r.
func NewLineReader(r io.Reader) *LineReader { return &LineReader{r: r} }

// Holding returns the bytes of memory that an incomplete line takes, beyond the
// small buffer that every reader has.
func (l *LineReader) Holding() int {
	if l.hi == l.lo || len(l.buf) <= maxOwnBuffer {
		return 0
	}
	return len(l.buf)
}

// ReadLine returns the next line that is not blank, without its newline. The
// caller may read and write the slice until the next call. A line of more than
// limit bytes is a TooLong error, too many blank lines are Malformed, and an end
// inside a line is io.ErrUnexpectedEOF.
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

// fill makes room and reads once. It takes a larger buffer if the last read
// filled this one or a line needs more, gives a large one back when the stream
// pauses, and shrinks a middle-sized one after some small reads.
func (l *LineReader) fill(limit int) error {
	pending := l.hi - l.lo
	size := len(l.buf)
	most := streamReadBuffer // a stream alone needs no larger one
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

// Close gives a shared buffer back. Neither the reader nor a line that it
// returned may be used afterwards.
func (l *LineReader) Close() {
	giveBuffer(l.buf)
	*l = LineReader{}
}

// move continues in another buffer.
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

// WriteLine writes a line and its newline, in one Write.
func WriteLine(w io.Writer, line []byte) error {
	_, err := w.Write(append(slices.Clip(line), '\n'))
	return err
}
