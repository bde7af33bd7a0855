package history

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"chatsecure/internal/state"
)

// Finding is something in the history that does not hold.
type Finding struct {
	Line  uint64 // from 1; 0: the history as a whole
	What  string // a sentence, safe to print
	class class
}

// String returns the finding as one line for people.
func (f Finding) String() string {
	if f.Line == 0 {
		return f.What
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.What)
}

// snapshot is the file of lines as it was at one moment. Clients may go on writing it.
type snapshot struct {
	*os.File // nil: there are no lines
	size     int64
	still    bool // no client was in the middle of a line
	gone     bool // an index says that there were more lines
}

// openSnapshot opens the file of lines for reading. It is no error if there is none.
func openSnapshot(dir string) (s snapshot, err error) {
	before := coveredSize(dir) // clients make the lines longer, and then the index
	if err = checkDir(dir); err == nil {
		s.File, err = openFile(filepath.Join(dir, linesName), os.O_RDONLY)
	}
	if err == nil {
		err = s.measure()
	}
	s.gone = before > s.size
	return s, readError(dir, err)
}

// measure takes the size of the file while no client writes. A client holds the file for far less
// than a millisecond: one that does not let go of it is not waited for.
func (s *snapshot) measure() error {
	for range 40 {
		if err := state.Flock(s.File, syscall.LOCK_SH|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
			s.still = err == nil
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	defer state.Flock(s.File, syscall.LOCK_UN)
	info, err := s.Stat()
	if err == nil {
		s.size = info.Size()
	}
	return err
}

// each reads the lines from an offset on, and calls take with the number of each, counted from there,
// and its bytes, which are only valid in the call. torn is the length of the rest after the last
// newline. A line that does not chain on, or that is too long to be read, is told to damaged, and the
// next line follows on its bytes all the same.
func (s *snapshot) each(
	start int64, damaged func(Finding), take func(number uint64, line []byte),
) (count uint64, torn int64, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(s, start, s.size-start), int(min(MaxLine, s.size-start))+1)
	if s.gone {
		damaged(Finding{What: "lines are gone from its end: its index knows of more"})
	}
	var last [sha256.Size]byte
	for {
		line, size, hash, err := nextLine(in)
		if err == io.EOF {
			return count, size, nil
		}
		if err != nil {
			return count, 0, err
		}
		count++
		prev, ok := peekPrev(line)
		switch {
		case line == nil:
			damaged(Finding{Line: count, What: "it is longer than any line can be"})
		case !ok:
			damaged(Finding{Line: count, What: "it is not a line of the history"})
		case prev != last && (start == 0 || count > 1):
			damaged(Finding{Line: count, What: "it does not follow the line before it: " +
				"one of the two was changed, or lines are missing or in another order"})
		}
		last = hash
		if line != nil {
			take(count, line)
		}
	}
}

// nextLine reads a line. size counts its newline; line and hash are without it. A line that does not
// fit into the reader's buffer is nil. At the end of the file the error is io.EOF, and size that of
// the rest.
func nextLine(in *bufio.Reader) (line []byte, size int64, hash [sha256.Size]byte, err error) {
	part, err := in.ReadSlice('\n')
	if err == nil { // nearly always
		line = part[:len(part)-1]
		return line, int64(len(part)), sha256.Sum256(line), nil
	}
	sum := sha256.New()
	for {
		size += int64(len(part))
		sum.Write(bytes.TrimSuffix(part, []byte("\n")))
		if err != bufio.ErrBufferFull {
			return nil, size, [sha256.Size]byte(sum.Sum(nil)), err
		}
		part, err = in.ReadSlice('\n')
	}
}

const prevStart = `{"v":2,"prev":"`

// peekPrev returns the hash with which a line begins.
func peekPrev(line []byte) (prev [sha256.Size]byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(prevStart))
	if !ok || len(rest) < 2*sha256.Size+1 || rest[2*sha256.Size] != '"' {
		return prev, false
	}
	_, err := hex.Decode(prev[:], rest[:2*sha256.Size])
	return prev, err == nil
}

// readError returns no error for a missing history.
func readError(dir string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return openFailure(dir, err)
}
