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
	lists    []*crl  // of the last time that it was read, and former ones that it does not replace
	former   []*crl  // those that it does, until the signatures on the others are checked
	problems []error // of the last time that it was read; the first is told
}

// maxFormer bounds the former lists of one scope that a file keeps.
const maxFormer = 4

// read reads the file again. What it says counts at once. A list of it that is false, or has a
// flaw, must not forget the people whom a former one names.
func (f *crlFile) read(path string, info fs.FileInfo) {
	f.size, f.modified = info.Size(), info.ModTime()
	before, former, kept := f.lists, f.former, []*crl{}
	f.lists, f.problems = readCRLFile(path, info.Size())
	now, whole := f.lists, len(f.problems) == 0
	hasOf := func(old *crl) bool {
		return slices.ContainsFunc(now, func(c *crl) bool { return c.folded == old.folded })
	}
	former = slices.DeleteFunc(slices.Clone(former), func(old *crl) bool { return whole && !hasOf(old) })
	for _, old := range before {
		replaces := func(c *crl) bool { return c.sameScope(old) && c.isSound(f.modified) }
		switch {
		case slices.ContainsFunc(now, old.same):
		case slices.ContainsFunc(now, replaces):
			former = append(former, old)
		case !whole || len(old.flaws) == 0 && hasOf(old):
			kept = append(kept, old)
		}
	}
	f.lists, f.former = append(now, newest(kept)...), newest(former)
}

// newest returns the newest maxFormer lists of each scope.
func newest(lists []*crl) (kept []*crl) {
	for i, old := range lists {
		newer := 0
		for j, c := range lists {
			if age := c.compareAge(old); c.sameScope(old) && (age > 0 || age == 0 && j > i) {
				newer++
			}
		}
		if newer < maxFormer {
			kept = append(kept, old)
		}
	}
	return kept
}

// prune drops the former lists that a later one by the same key replaces, and those whose
// signature did not hold where another's did. It reports whether there were any.
func (f *crlFile) prune() bool {
	n := len(f.former)
	f.former = slices.DeleteFunc(slices.Clone(f.former), func(old *crl) bool {
		key, signed := old.signer()
		return slices.ContainsFunc(f.lists, func(c *crl) bool {
			other, ok := c.signer()
			return c.same(old) || ok && c.sameScope(old) && (!signed || key == other && c.outdates(old))
		})
	})
	return len(f.former) < n
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
func readCRLFile(path string, size int64) (lists []*crl, problems []error) {
	// PEM takes 4/3 of DER, line ends and text between the blocks.
	if size > 2*MaxCRL {
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
		list.entries.finish()
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
		err := blocks.Next()
		switch {
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
		list, err := parseBlock(blocks)
		if err == nil {
			lists = append(lists, list)
			continue
		}
		problems = append(problems, err)
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
