package trust

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// MaxCRL bounds a revocation list in bytes of DER. A million entries take 30 to 50 MB.
const MaxCRL = 64 << 20

// maxElement bounds in bytes an element of a list that is read whole: an entry, a name, the
// extensions. Real ones stay below 4 KiB. The rest of a longer one is passed over.
const maxElement = 32 << 10

var (
	errCRLForm  = errors.New("it is not a revocation list in DER")
	errCRLShort = errors.New("it is cut short")
)

// crlStream reads DER from a stream through a window, and may write the bytes taken to a
// hash. After its first error it returns empty elements, so that a reader of several asks for
// the error once.
type crlStream struct {
	r          io.Reader
	err        error // the first
	window     [2 * maxElement]byte
	start, end int       // window[start:end] is read but not taken
	pos        int64     // bytes taken
	sum        io.Writer // gets the bytes taken, unless nil
	summed     int       // window[summed:start] is not written to sum yet
}

// fail notes an error, unless there is one.
func (s *crlStream) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// flush writes the bytes taken to sum.
func (s *crlStream) flush() {
	if s.sum != nil && s.summed < s.start {
		s.sum.Write(s.window[s.summed:s.start]) // hashes do not fail
	}
	s.summed = s.start
}

// peek returns the next n bytes, fewer at the end, and none after an error.
func (s *crlStream) peek(n int) []byte {
	if s.start+n > len(s.window) {
		s.flush()
		s.end = copy(s.window[:], s.window[s.start:s.end])
		s.start, s.summed = 0, 0
	}
	for s.end-s.start < n && s.err == nil {
		m, err := s.r.Read(s.window[s.end:])
		s.end += m
		if err == io.EOF {
			break
		}
		s.err = err
	}
	if s.err != nil {
		return nil
	}
	return s.window[s.start:min(s.end, s.start+n)]
}

func (s *crlStream) take(n int) {
	s.start += n
	s.pos += int64(n)
}

// header looks at the header of the next element, which ends by limit. It returns the sizes
// of header and element, and 0 on an error.
func (s *crlStream) header(limit int64) (header, size int) {
	b := s.peek(6) // the longest
	header, body, ok := derHeader(b)
	switch {
	case !ok && len(b) < 6:
		s.fail(errCRLShort)
	case !ok || s.pos+int64(header+body) > limit:
		s.fail(errCRLForm)
	default:
		return header, header + body
	}
	return 0, 0
}

// open takes the header of a SEQUENCE that ends by limit.
func (s *crlStream) open(limit int64) (end int64) {
	header, size := s.header(limit)
	end = s.pos + int64(size)
	if size > 0 && s.window[s.start] != derSequence {
		s.fail(errCRLForm)
	}
	s.take(header)
	return end
}

// next takes one element that ends by limit. It is valid until the next call. One that is
// longer than maxElement ends before its end: so nothing in it can be read to its end.
func (s *crlStream) next(limit int64) (e derElement) {
	header, size := s.header(limit)
	whole := min(size, maxElement+1)
	raw := s.peek(whole)
	if len(raw) < whole {
		s.fail(errCRLShort)
	}
	if size == 0 || s.err != nil {
		return e
	}
	if size > maxElement {
		raw = bytes.Clone(raw) // others are in the window
	}
	s.skip(size)
	return derElement{raw[0], raw[header:], raw}
}

// skip takes n bytes.
func (s *crlStream) skip(n int) {
	for n > 0 && s.err == nil {
		b := s.peek(min(n, maxElement))
		if len(b) == 0 {
			s.fail(errCRLShort)
		}
		s.take(len(b))
		n -= len(b)
	}
}

// more reports whether elements follow before limit.
func (s *crlStream) more(limit int64) bool { return s.err == nil && s.pos < limit }

// optional takes the next element if it begins before limit with one of these tags.
func (s *crlStream) optional(limit int64, tags ...byte) (e derElement, found bool) {
	if !s.isNext(limit, tags...) {
		return e, false
	}
	return s.next(limit), true
}

// isNext reports whether an element begins before limit with one of these tags.
func (s *crlStream) isNext(limit int64, tags ...byte) bool {
	return s.more(limit) && len(s.peek(1)) > 0 && slices.Contains(tags, s.window[s.start])
}
