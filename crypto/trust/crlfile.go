package trust

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// maxCRLFiles bounds the files of one directory. Portugal's citizen authorities have some
// hundred lists.
const maxCRLFiles = 4096

// crlFile is the last look at a file.
type crlFile struct {
	size     int64
	modified time.Time
	lists    []*crl // of the last time that it was read whole
	problem  error  // of the last time that it was read
}

// dirNames lists at most maxCRLFiles names of a directory, in order.
func dirNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("revocation lists: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(maxCRLFiles + 1)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("revocation lists: %w", err)
	}
	slices.Sort(names)
	if len(names) > maxCRLFiles {
		return names[:maxCRLFiles], fmt.Errorf("revocation lists: %s has more than %d files; the rest is not read", dir, maxCRLFiles)
	}
	return names, nil
}

// readCRLFile reads a file of lists.
func readCRLFile(path string, size int64) ([]*crl, error) {
	// PEM takes 4/3 of DER, line ends and text between the blocks.
	if size > 2*MaxCRL {
		return nil, fmt.Errorf("%s: a file of %d bytes is too large for a revocation list", path, size)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lists, err := readCRLs(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lists, nil
}

// maxCRLsInFile bounds the lists of one file.
const maxCRLsInFile = 4096

// readCRLs reads a file of revocation lists.
func readCRLs(r io.Reader) ([]*crl, error) { return readSomeCRLs(r, maxCRLsInFile) }

// readSomeCRLs reads revocation lists: one in DER, or some in PEM (RFC 7468, section 6) with
// text between them. It refuses more than most without reading them.
func readSomeCRLs(r io.Reader, most int) (lists []*crl, err error) {
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
		if len(lists) == most {
			if most == 1 {
				return nil, errors.New("it holds more than one revocation list")
			}
			return nil, fmt.Errorf("it holds more than %d revocation lists", most)
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

// maxPEMText bounds the text before a PEM block in bytes. openssl's text of a list can be
// long.
const maxPEMText = 1 << 20

// nextPEM reads up to the end of the line that begins the next list.
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
