package trust

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"chatsecure/proto"
)

// maxCRLFiles bounds the files of one directory. Portugal's citizen authorities have some
// hundred lists.
const maxCRLFiles = 4096

// crlFile is the last look at a file.
type crlFile struct {
	size     int64
	modified time.Time
	lists    []*crl
	problems []error // the first is told
}

// dirNames lists at most maxCRLFiles names of a directory, in order.
func dirNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(maxCRLFiles + 1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	slices.Sort(names)
	if len(names) > maxCRLFiles {
		return names[:maxCRLFiles], fmt.Errorf("%s has more than %d files; the rest is not read", dir, maxCRLFiles)
	}
	return names, nil
}

// readCRLFile reads a file of lists. With problems it returns those that could be read.
func readCRLFile(path string, info fs.FileInfo) (lists []*crl, problems []error) {
	// PEM takes 4/3 of DER, line ends and text between the blocks.
	if size := info.Size(); size > 2*MaxCRL {
		return nil, []error{fmt.Errorf("%s: a file of %d bytes is too large for a revocation list", path, size)}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, []error{err}
	}
	defer f.Close()
	lists, problems = readCRLs(f, maxCRLsInFile)
	for i, err := range problems {
		problems[i] = fmt.Errorf("%s: %w", path, err)
	}
	for _, list := range lists {
		list.came(info.ModTime())
	}
	return lists, problems
}

// maxCRLsInFile bounds the lists of one file.
const maxCRLsInFile = 4096

// readCRLs reads revocation lists: one in DER, or some in PEM (RFC 7468, section 6) with
// text between them. It does not read more than most. With problems it returns those that could
// be read: one that is damaged takes no other with it.
func readCRLs(r io.Reader, most int) (lists []*crl, problems []error) {
	in := bufio.NewReaderSize(r, 4096)
	first, err := in.Peek(1)
	if err != nil {
		if err == io.EOF {
			err = errCRLForm
		}
		return nil, []error{err}
	}
	if first[0] == derSequence {
		list, err := parseCRL(in)
		if err != nil {
			return nil, []error{err}
		}
		return []*crl{list}, nil
	}
	blocks := proto.NewPEM(in)
	for n := 0; ; n++ {
		switch err := blocks.Next(); {
		case err == io.EOF && n == 0:
			return nil, []error{errCRLForm}
		case err == io.EOF:
			return lists, problems
		case err != nil:
			if len(problems) == 0 || problems[len(problems)-1].Error() != err.Error() {
				problems = append(problems, err)
			}
			return lists, problems
		case n == most && most == 1 && len(lists) == 1:
			lists[0].flaws.add(flawMore)
			return lists, problems
		case n == most:
			return lists, append(problems, fmt.Errorf("it holds more than %d revocation lists", most))
		}
		if list, err := parseBlock(blocks); err == nil {
			lists = append(lists, list)
		} else {
			problems = append(problems, err)
		}
	}
}

// parseBlock reads a list in PEM.
func parseBlock(block *proto.PEM) (*crl, error) {
	if block.Type != "X509 CRL" {
		return nil, fmt.Errorf("line %d: it holds %s, not a revocation list", block.Line, shownText(block.Type))
	}
	list, err := parseCRL(block)
	if _, damaged := errors.AsType[*proto.PEMError](err); err != nil && !damaged {
		err = fmt.Errorf("line %d: %w", block.Line, err)
	}
	return list, err
}
