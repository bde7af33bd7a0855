package crypto

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// MaxCRL bounds a revocation list in bytes of DER. A million entries take 30
// to 50 MB.
const MaxCRL = 64 << 20

// maxElement bounds each element of a list that is held in memory at once: an
// entry, a name, the extensions. Real ones stay below 4 KiB.
const maxElement = 32 << 10

var (
	errCRLForm  = errors.New("not a revocation list in DER")
	errCRLShort = errors.New("the revocation list is cut short")
)

// crlStream reads DER from a stream through a window, and feeds what has been
// read to a hash.
type crlStream struct {
	r          io.Reader
	window     [2 * maxElement]byte
	start, end int       // window[start:end] is read and not yet taken
	pos        int64     // bytes taken
	sum        io.Writer // what takes the bytes that are taken, if any
	summed     int       // window[summed:start] is still to go there
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

// startSum sends everything taken from here on to w, stopSum ends that.
func (s *crlStream) startSum(w io.Writer) { s.sum, s.summed = w, s.start }
func (s *crlStream) stopSum()             { s.flush(); s.sum = nil }

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

// header takes a header and returns the tag and where the element ends.
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

// next takes one whole element that ends by limit. It is valid until the next
// call.
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
		return e, fmt.Errorf("an element of the revocation list has %d bytes, at most %d are allowed", size, maxElement)
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

// isNext reports whether there is an element before limit and its tag is one of
// those given.
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

// readCRLs reads a file with revocation lists: one in DER, or any number in
// PEM (RFC 7468, section 6), with text between them.
func readCRLs(r io.Reader) (lists []*crl, err error) {
	in := bufio.NewReaderSize(r, 4096)
	first, err := in.Peek(1)
	if err != nil {
		if err == io.EOF {
			err = errCRLForm
		}
		return nil, err
	}
	if first[0] == derSequence {
		list, err := parseCRL(in)
		if err != nil {
			return nil, err
		}
		return []*crl{list}, nil
	}
	for {
		found, err := nextPEM(in)
		if err != nil {
			return nil, err
		}
		if !found {
			break
		}
		body := &pemBody{in: in}
		list, err := parseCRL(base64.NewDecoder(base64.StdEncoding.Strict(), body))
		if err != nil {
			return nil, err
		}
		if !body.ended {
			return nil, errPEMEnd
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return nil, errCRLForm
	}
	return lists, nil
}

// maxPEMText bounds what may stand before a PEM block: openssl's text of a list
// can be long, but a file of something else is soon recognised.
const maxPEMText = 1 << 20

// nextPEM moves behind the line that begins the next list.
func nextPEM(in *bufio.Reader) (found bool, err error) {
	for skipped := 0; skipped < maxPEMText; {
		line, err := in.ReadSlice('\n')
		skipped += len(line)
		switch text := bytes.TrimRight(line, " \t\r\n"); {
		case bytes.Equal(text, []byte("-----BEGIN X509 CRL-----")):
			return true, nil
		case bytes.HasPrefix(text, []byte("-----BEGIN ")):
			return false, fmt.Errorf("it holds %s, not a revocation list", shownText(string(bytes.Trim(text[11:], "-"))))
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return false, err
		}
	}
	return false, errCRLForm
}

var errPEMEnd = errors.New("the PEM block does not end")

// pemBody is the text of one PEM block, up to its END line.
type pemBody struct {
	in    *bufio.Reader
	line  []byte
	ended bool
}

func (p *pemBody) Read(b []byte) (int, error) {
	for len(p.line) == 0 {
		if p.ended {
			return 0, io.EOF
		}
		line, err := p.in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return 0, err
		}
		if bytes.HasPrefix(line, []byte("-----END ")) {
			if !bytes.Equal(bytes.TrimRight(line, " \t\r\n"), []byte("-----END X509 CRL-----")) {
				return 0, errPEMEnd
			}
			p.ended = true
			continue
		}
		if len(line) == 0 {
			return 0, io.EOF
		}
		p.line = line
	}
	n := copy(b, p.line)
	p.line = p.line[n:]
	return n, nil
}
