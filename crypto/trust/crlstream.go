package trust

import (
	"bytes"
	"errors"
	"io"
)

// MaxCRL bounds a revocation list in bytes of DER. A million entries take 30 to 50 MB.
const MaxCRL = 64 << 20

// maxElement bounds in bytes an element of a list that is read whole: an entry, a name, the
// extensions. Real ones stay below 4 KiB. The rest of a longer one is passed over.
const maxElement = 32 << 10

var (
	errCRLForm  = errors.New("not a revocation list in DER")
	errCRLShort = errors.New("the revocation list is cut short")
)

// crlStream reads DER from a stream through a window, and may write the bytes taken to a
// hash.
type crlStream struct {
	r          io.Reader
	window     [2 * maxElement]byte
	start, end int       // window[start:end] is read but not taken
	pos        int64     // bytes taken
	sum        io.Writer // gets the bytes taken, unless nil
	summed     int       // window[summed:start] is not written to sum yet
}

// fill makes at least n bytes available, or as many as there are.
func (s *crlStream) fill(n int) error {
	if s.end-s.start >= n {
		return nil
	}
	if s.start+n > len(s.window) {
		s.flush()
		s.end = copy(s.window[:], s.window[s.start:s.end])
		s.start, s.summed = 0, 0
	}
	for s.end-s.start < n {
		m, err := s.r.Read(s.window[s.end:])
		s.end += m
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// startSum begins to write the bytes taken to w.
func (s *crlStream) startSum(w io.Writer) { s.sum, s.summed = w, s.start }

// stopSum ends that.
func (s *crlStream) stopSum() { s.flush(); s.sum = nil }

func (s *crlStream) flush() {
	if s.sum != nil && s.summed < s.start {
		s.sum.Write(s.window[s.summed:s.start]) // hashes do not fail
	}
	s.summed = s.start
}

// peek returns the next n bytes, fewer at the end.
func (s *crlStream) peek(n int) ([]byte, error) {
	if err := s.fill(n); err != nil {
		return nil, err
	}
	return s.window[s.start:min(s.end, s.start+n)], nil
}

func (s *crlStream) take(n int) {
	s.start += n
	s.pos += int64(n)
}

// header takes a header and returns the tag and the position of the element's end.
func (s *crlStream) header() (tag byte, end int64, err error) {
	b, err := s.peek(6)
	if err != nil {
		return 0, 0, err
	}
	header, body, need, ok := derHeader(b)
	if !ok {
		if need > len(b) {
			return 0, 0, errCRLShort
		}
		return 0, 0, errCRLForm
	}
	tag = b[0]
	s.take(header)
	return tag, s.pos + int64(body), nil
}

// open takes the header of a SEQUENCE that ends by limit.
func (s *crlStream) open(limit int64) (end int64, err error) {
	tag, end, err := s.header()
	if err == nil && (tag != derSequence || end > limit) {
		err = errCRLForm
	}
	return end, err
}

// next takes one element that ends by limit. It is valid until the next call. One that is
// longer than maxElement ends before its end: so nothing in it can be read to its end.
func (s *crlStream) next(limit int64) (e derElement, err error) {
	if s.end-s.start < 6 {
		if err := s.fill(6); err != nil {
			return e, err
		}
	}
	header, body, need, ok := derHeader(s.window[s.start:s.end])
	if !ok {
		if need > s.end-s.start {
			return e, errCRLShort
		}
		return e, errCRLForm
	}
	size := header + body
	if s.pos+int64(size) > limit {
		return e, errCRLForm
	}
	if size > maxElement {
		b, err := s.peek(maxElement + 1)
		if err != nil {
			return e, err
		}
		raw := bytes.Clone(b)
		return derElement{raw[0], raw[header:], raw}, s.skip(size)
	}
	if s.end-s.start < size {
		b, err := s.peek(size)
		if err != nil {
			return e, err
		}
		if len(b) < size {
			return e, errCRLShort
		}
	}
	raw := s.window[s.start : s.start+size]
	s.take(size)
	return derElement{raw[0], raw[header:], raw}, nil
}

// skip takes n bytes.
func (s *crlStream) skip(n int) error {
	for n > 0 {
		b, err := s.peek(min(n, maxElement))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return errCRLShort
		}
		s.take(len(b))
		n -= len(b)
	}
	return nil
}

// isNext reports whether an element begins before limit with one of these tags.
func (s *crlStream) isNext(limit int64, tags ...byte) (bool, error) {
	if s.pos >= limit {
		return false, nil
	}
	b, err := s.peek(1)
	if err != nil {
		return false, err
	}
	return len(b) == 1 && bytes.IndexByte(tags, b[0]) >= 0, nil
}

// optional takes the next element if isNext.
func (s *crlStream) optional(limit int64, tags ...byte) (e derElement, found bool, err error) {
	if found, err = s.isNext(limit, tags...); !found {
		return e, false, err
	}
	e, err = s.next(limit)
	return e, true, err
}
