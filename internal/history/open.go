package history

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"chatsecure/internal/state"
	"chatsecure/proto"
)

// takenSlot is a slot that this process has taken, with its lock held through
// lines, and what its file holds.
type takenSlot struct {
	slot        string
	receiving   bool
	lines, head *os.File
	end         position
	known       *index
	unread      []byte // lines that known has not been told, of a one-shot sender
	bundles     map[[sha256.Size]byte]bool
	last        lastRun
	notices     []string // sentences for people
}

func (s *takenSlot) close() {
	s.lines.Close()
	if s.head != nil {
		s.head.Close()
	}
}

// openSlot takes the lowest free slot with a whole file. It leaves a damaged file
// exactly as it is and says so: writing on would bury the evidence.
func openSlot(dir string, receiving bool) (s *takenSlot, notices []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, failure(err, "name a state directory that can be written with -state",
			"the history cannot be kept in %s: %v", dir, state.Cause(err))
	}
	if err := checkDir(dir); err != nil {
		return nil, nil, err
	}
	for i := 0; i < MaxSlots; i++ {
		err := withGate(dir, true, func() (err error) {
			s, i, err = takeSlot(dir, receiving, i)
			return err
		})
		if err != nil {
			return nil, nil, openFailure(dir, err)
		}
		if s == nil {
			break
		}
		err = s.prepare(dir)
		if err == nil {
			return s, append(notices, s.notices...), nil
		}
		s.close()
		damage, ok := errors.AsType[*damageError](err)
		if !ok {
			return nil, nil, openFailure(dir, err)
		}
		notices = append(notices, fmt.Sprintf("the history file %s is damaged (%v); it is left as it is and another is written; "+
			"`client history -verify` tells more", s.lines.Name(), damage))
	}
	return nil, nil, failure(nil, "close some clients, or name another state directory with -state",
		"all %d history files in %s are in use or damaged", MaxSlots, dir)
}

// takeSlot locks the lowest free slot from i on, and returns nil if there is none.
// The gate is held.
func takeSlot(dir string, receiving bool, i int) (*takenSlot, int, error) {
	for ; i < MaxSlots; i++ {
		slot := slotName(receiving, i)
		f, err := openFile(filepath.Join(dir, slot+Ext), os.O_RDWR|os.O_CREATE)
		if err != nil {
			return nil, i, err
		}
		err = state.Flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return &takenSlot{slot: slot, receiving: receiving, lines: f}, i, nil
		}
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, i, err
		}
	}
	return nil, i, nil
}

// prepare reads the file, repairs the traces of a killed writer, and opens the
// head. A damaged file is a *damageError.
func (s *takenSlot) prepare(dir string) error {
	path := filepath.Join(dir, s.slot+headExt)
	head, err := readHead(path)
	if err != nil {
		return err
	}
	torn, err := s.read(head)
	if err != nil {
		return err
	}
	if torn > 0 {
		if err := s.lines.Truncate(s.end.size); err != nil {
			return err
		}
		s.notices = append(s.notices, fmt.Sprintf("the history file %s ended in the middle of a line (%d bytes), "+
			"as a killed client leaves it; that has been cut off", s.lines.Name(), torn))
	}
	if s.head, err = openFile(path, os.O_RDWR|os.O_CREATE); err != nil {
		return err
	}
	if head != nil && head.Count == s.end.count {
		return nil
	}
	if _, err := s.head.WriteAt(appendHead(nil, s.end.count, &s.end.last), 0); err != nil {
		return err
	}
	if head != nil {
		s.notices = append(s.notices, fmt.Sprintf("the head of the history file %s was behind by %d, "+
			"as a killed client leaves it; it has been set right", s.lines.Name(), s.end.count-head.Count))
		return nil
	}
	// A new head must not be lost while the lines it vouches for stay.
	if err := s.head.Sync(); err != nil {
		return err
	}
	return state.SyncDir(dir)
}

// read reads and checks a receiver's whole file. Of a one-shot sender's file, whose
// start must be quick, it reads the first line and the end, if they will do.
func (s *takenSlot) read(head *Head) (torn int64, err error) {
	if !s.receiving && head != nil {
		torn, ok, err := s.readEnd(head)
		if ok || err != nil {
			return torn, err
		}
	}
	return s.readAll(head)
}

// begin forgets what has been read of the file.
func (s *takenSlot) begin() {
	s.end, s.known, s.unread, s.bundles, s.last = position{}, newIndex(), nil, make(map[[sha256.Size]byte]bool), newLastRun()
}

// bundle remembers the bundle of a line that has one.
func (s *takenSlot) bundle(line []byte) {
	if hash, ok := peekBundle(line); ok {
		s.bundles[hash] = true
	}
}

// readAll reads and checks every line.
func (s *takenSlot) readAll(head *Head) (torn int64, err error) {
	s.begin()
	torn, err = s.end.scan(s.lines, nil, func(line []byte, offset int64) error {
		if damage := checkFirstLine(s.slot, line, offset); damage != nil {
			return damage
		}
		if damage := head.passed(&s.end); damage != nil {
			return damage
		}
		s.bundle(line)
		s.known.line(s.slot, line, offset)
		s.last.line(line)
		return nil
	})
	if err != nil {
		return 0, err
	}
	if damage := head.finish(&s.end); damage != nil {
		return 0, damage
	}
	return torn, nil
}

const (
	// endSize bounds the end of a one-shot sender's file that is read and checked
	// at its start. The last line and one before it always fit, and most such files
	// as a whole. Changes before the end are for verification to find.
	endSize = 2 * MaxLine
	// maxFirstLine bounds the first line, which names the file, in bytes. Files
	// longer than endSize are longer than that.
	maxFirstLine = 512
)

// readEnd reads the first line and the end. It reports false where they do not
// suffice to write on, or show anything wrong but a torn line.
func (s *takenSlot) readEnd(head *Head) (torn int64, ok bool, err error) {
	info, err := s.lines.Stat()
	if err != nil || head.Count == 0 {
		return 0, false, err
	}
	start := max(0, info.Size()-endSize)
	end := make([]byte, info.Size()-start)
	if _, err := s.lines.ReadAt(end, start); err != nil && err != io.EOF {
		return 0, false, err
	}
	whole := bytes.LastIndexByte(end, '\n') + 1
	if whole == 0 {
		return 0, false, nil
	}
	lines := end[:whole-1]
	first, rest, _ := bytes.Cut(lines, []byte("\n"))
	s.begin()
	if start > 0 {
		lines = rest // the first may be a part of a line
		s.end.last, _ = peekPrev(lines)
		name := make([]byte, maxFirstLine)
		if _, err := s.lines.ReadAt(name, 0); err != nil {
			return 0, false, err
		}
		first, _, _ = bytes.Cut(name, []byte("\n"))
	}
	if checkFirstLine(s.slot, first, 0) != nil || !s.chain(lines) {
		return 0, false, nil
	}
	if proto.FormatHash(s.end.last) != head.Hash || start == 0 && s.end.count != head.Count {
		return 0, false, nil
	}
	s.end.size, s.end.count = start+int64(whole), head.Count
	return int64(len(end) - whole), true, nil
}

// chain takes in lines without their last newline, and reports whether they chain.
func (s *takenSlot) chain(lines []byte) bool {
	open := lines[afterRuns(lines):]
	for line := range bytes.SplitSeq(lines, []byte("\n")) {
		if s.end.chains(line) != nil {
			return false
		}
		s.end.last = sha256.Sum256(line)
		s.end.count++
		s.bundle(line)
	}
	s.unread = lines
	for line := range bytes.SplitSeq(open, []byte("\n")) {
		s.last.line(line)
	}
	return true
}
