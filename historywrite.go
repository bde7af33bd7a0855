package chatsecure

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// historySyncEvery is how often what was written is forced to the disk, while
// there is something: a sync for every message would cost more than the
// message.
const historySyncEvery = time.Second

// historyStore is what a file of the history is written through; tests put
// one that fails in its place.
type historyStore interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// historyWriter appends lines to one file of the history and holds its lock.
// One goroutine owns it; only Sync is called from another, by syncLoop.
type historyWriter struct {
	lines, head historyStore
	path        string // of lines
	tail        historyTail
	headBuf     []byte
	broken      error // set once what is in the file is not known any more

	wake    chan struct{} // capacity 1: there is something to sync
	stop    chan struct{}
	done    chan struct{}
	syncErr atomic.Pointer[error]
}

func newHistoryWriter(lines, head historyStore, path string, tail historyTail) *historyWriter {
	w := &historyWriter{
		lines: lines, head: head, path: path, tail: tail,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go w.syncLoop()
	return w
}

// append writes a line, which ends with its newline, in one write, and then
// the head. After an error the file is as it was before; where even that
// cannot be, it takes no more.
func (w *historyWriter) append(line []byte) error {
	if w.broken != nil {
		return w.broken
	}
	if err := w.syncErr.Load(); err != nil {
		w.broken = historyError(*err, "see to the disk; what was stored before is in the history", "the history cannot be stored: %s: %v", w.path, *err)
		return w.broken
	}
	if len(line) > maxHistoryLine+1 {
		return historyError(nil, "", "a line of %d bytes is longer than the history takes", len(line))
	}
	after := historyTail{size: w.tail.size + int64(len(line)), count: w.tail.count + 1, last: sha256.Sum256(line[:len(line)-1])}
	if _, err := w.lines.WriteAt(line, w.tail.size); err != nil {
		return w.undo(err)
	}
	if err := w.writeHead(&after); err != nil {
		return w.undo(err)
	}
	w.tail = after
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

func (w *historyWriter) writeHead(t *historyTail) error {
	w.headBuf = appendHistoryHead(w.headBuf[:0], t.count, &t.last)
	_, err := w.head.WriteAt(w.headBuf, 0)
	return err
}

// undo takes back a line that was not wholly written.
func (w *historyWriter) undo(cause error) error {
	hint := "make room on the disk, or name another state directory with -state"
	if errors.Is(cause, fs.ErrPermission) || errors.Is(cause, syscall.EROFS) {
		hint = "make the state directory writable, or name another with -state"
	}
	failed := historyError(cause, hint, "the history cannot be written: %s: %v", w.path, historyCause(cause))
	err := w.lines.Truncate(w.tail.size)
	if err == nil {
		if err = w.writeHead(&w.tail); err == nil {
			err = w.head.Truncate(int64(len(w.headBuf)))
		}
	}
	if err != nil {
		w.broken = failed
	}
	return failed
}

// historyCause returns the system's own reason of a file error, as the path
// is in the sentence already.
func historyCause(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

// syncLoop forces what was written to the disk, at most every
// historySyncEvery.
func (w *historyWriter) syncLoop() {
	defer close(w.done)
	for {
		select {
		case <-w.wake:
		case <-w.stop:
			return
		}
		timer := time.NewTimer(historySyncEvery)
		select {
		case <-timer.C:
		case <-w.stop:
			timer.Stop()
			return
		}
		if err := w.sync(); err != nil {
			w.syncErr.Store(&err)
			return
		}
	}
}

func (w *historyWriter) sync() error {
	err := w.lines.Sync()
	if err2 := w.head.Sync(); err == nil {
		err = err2
	}
	if err != nil {
		err = historyCause(err)
	}
	return err
}

// close forces everything to the disk and lets the slot go.
func (w *historyWriter) close() error {
	close(w.stop)
	<-w.done
	err := w.sync()
	for _, f := range [...]historyStore{w.head, w.lines} {
		if err2 := f.Close(); err == nil {
			err = err2
		}
	}
	if err != nil {
		return historyError(err, "see to the disk", "the history may not be on the disk: %s: %v", w.path, err)
	}
	return nil
}

// indexFunc is called with a line of a slot's file, without its newline, and
// where it begins. The line is only valid in the call.
type indexFunc func(slot string, line []byte, offset int64) error

// openedHistory is a slot that has been taken, with its lock held through
// lines.
type openedHistory struct {
	slot        string
	lines, head *os.File
	tail        historyTail
	notices     []string
}

func (o *openedHistory) close() {
	o.lines.Close()
	if o.head != nil {
		o.head.Close()
	}
}

// openHistorySlot takes the lowest free slot whose file is whole. A damaged one
// is left exactly as it is, and said: writing on would bury what shows it.
// A receiver's file is read and checked as a whole and index is called with
// every line; of a one-shot sender's, whose start must be quick, only the first
// line and the end: see readEnd.
func openHistorySlot(dir string, receiving bool, index indexFunc) (*openedHistory, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, historyError(err, "name a state directory that can be written with -state", "the history cannot be kept in %s: %v", dir, historyCause(err))
	}
	if err := checkHistoryDir(dir); err != nil {
		return nil, err
	}
	var notices []string
	for i := 0; i < maxHistorySlots; {
		var o *openedHistory
		err := withHistoryGate(dir, true, func() (err error) {
			o, i, err = takeHistorySlot(dir, receiving, i)
			return err
		})
		if err != nil {
			return nil, plainHistoryError(dir, err)
		}
		if o == nil {
			break
		}
		damage, err := o.prepare(dir, receiving, index)
		if err != nil {
			o.close()
			return nil, plainHistoryError(dir, err)
		}
		if damage == nil {
			o.notices = append(notices, o.notices...)
			return o, nil
		}
		notices = append(notices, fmt.Sprintf("the history file %s is damaged (%v); it is left as it is and another is written; `client history -verify` tells more", o.lines.Name(), damage))
		o.close()
		i++
	}
	return nil, historyError(nil, "close some clients, or name another state directory with -state", "all %d history files in %s are in use or damaged", maxHistorySlots, dir)
}

func plainHistoryError(dir string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return historyError(err, "make the state directory writable, or name another with -state", "the history in %s cannot be opened: %v", dir, err)
}

// takeHistorySlot locks the lowest free slot from i on; the gate is held. It
// returns nil if there is none.
func takeHistorySlot(dir string, receiving bool, i int) (*openedHistory, int, error) {
	for ; i < maxHistorySlots; i++ {
		slot := slotName(receiving, i)
		f, err := openHistoryPath(filepath.Join(dir, slot+historyExt), os.O_RDWR|os.O_CREATE)
		if err != nil {
			return nil, i, err
		}
		err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return &openedHistory{slot: slot, lines: f}, i, nil
		}
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, i, err
		}
	}
	return nil, i, nil
}

// prepare reads the file as far as it must be known, repairs what a killed
// writer leaves behind, and opens the head. A damage is not an error.
func (o *openedHistory) prepare(dir string, receiving bool, index indexFunc) (damage *historyDamage, err error) {
	headPath := filepath.Join(dir, o.slot+historyHeadExt)
	head, err := readHistoryHead(headPath)
	var torn int64
	quick := false
	if err == nil && !receiving && head != nil {
		quick, torn, err = o.readEnd(head, index)
	}
	if err == nil && !quick {
		torn, err = o.readAll(head, index)
	}
	if damage, ok := errors.AsType[*historyDamage](err); ok {
		return damage, nil
	}
	if err != nil {
		return nil, err
	}
	if torn > 0 {
		if err := o.lines.Truncate(o.tail.size); err != nil {
			return nil, err
		}
		o.notices = append(o.notices, fmt.Sprintf("the history file %s ended in the middle of a line (%d bytes), as a killed client leaves it; that has been cut off", o.lines.Name(), torn))
	}
	if o.head, err = openHistoryPath(headPath, os.O_RDWR|os.O_CREATE); err != nil {
		return nil, err
	}
	if head != nil && head.Count == o.tail.count {
		return nil, nil
	}
	if _, err := o.head.WriteAt(appendHistoryHead(nil, o.tail.count, &o.tail.last), 0); err != nil {
		return nil, err
	}
	if head != nil {
		o.notices = append(o.notices, fmt.Sprintf("the head of the history file %s was behind by %d, as a killed client leaves it; it has been set right", o.lines.Name(), o.tail.count-head.Count))
		return nil, nil
	}
	// A new head must not be lost while the lines it vouches for stay.
	if err := o.head.Sync(); err != nil {
		return nil, err
	}
	return nil, syncStateDir(dir)
}

// readAll reads and checks every line.
func (o *openedHistory) readAll(head *historyHead, index indexFunc) (torn int64, err error) {
	check := headCheck{head: head}
	o.tail = historyTail{}
	torn, err = o.tail.scan(o.lines, nil, func(line []byte, offset int64) error {
		if err := checkFirstLine(o.slot, line, offset); err != nil {
			return err
		}
		if err := check.passed(&o.tail); err != nil {
			return err
		}
		return index(o.slot, line, offset)
	})
	if err != nil {
		return 0, err
	}
	return torn, check.finish(&o.tail)
}

// checkFirstLine refuses the lines of another slot's file: swapped files chain
// as well as others.
func checkFirstLine(slot string, line []byte, offset int64) error {
	if offset != 0 {
		return nil
	}
	l, err := parseHistoryLine(line)
	if err != nil || l.Type != lineFile {
		return &historyDamage{1, "it does not say which file this is"}
	}
	if l.File != slot+historyExt {
		return &historyDamage{1, "this is the file " + l.File + ", not " + slot + historyExt}
	}
	return nil
}

// endSize is how much of a one-shot sender's file is read and checked at its
// start, which must be quick: the last line and one before it fit in any case,
// and most such files as a whole. What was changed before is for verification
// to find.
const endSize = 2 * maxHistoryLine

// maxFirstLine bounds the line that says which file it is, in bytes: the file
// that it is in has more.
const maxFirstLine = 512

// readEnd reads the first line and the end, for a client that sends one message
// and ends. It reports false where that is not enough to go on, or where
// anything is not as it should be but for a torn line.
func (o *openedHistory) readEnd(head *historyHead, index indexFunc) (ok bool, torn int64, err error) {
	info, err := o.lines.Stat()
	if err != nil || head.Count == 0 {
		return false, 0, err
	}
	start := max(0, info.Size()-endSize)
	end := make([]byte, info.Size()-start)
	if _, err := o.lines.ReadAt(end, start); err != nil && err != io.EOF {
		return false, 0, err
	}
	whole := bytes.LastIndexByte(end, '\n') + 1
	if whole == 0 {
		return false, 0, nil
	}
	lines := end[:whole-1]
	first, rest, _ := bytes.Cut(lines, []byte("\n"))
	var t historyTail
	if start > 0 {
		lines = rest // the first may be a part
		t.last, _ = peekPrev(lines)
		name := make([]byte, maxFirstLine)
		if _, err := o.lines.ReadAt(name, 0); err != nil {
			return false, 0, err
		}
		first, _, _ = bytes.Cut(name, []byte("\n"))
	}
	if checkFirstLine(o.slot, first, 0) != nil {
		return false, 0, nil
	}
	for line := range bytes.SplitSeq(lines, []byte("\n")) {
		if t.chains(line) != nil {
			return false, 0, nil
		}
		t.last = sha256.Sum256(line)
		t.count++
		if err := index(o.slot, line, 0); err != nil {
			return false, 0, err
		}
	}
	if hex.EncodeToString(t.last[:]) != head.Hash || start == 0 && t.count != head.Count {
		return false, 0, nil
	}
	o.tail = historyTail{size: start + int64(whole), count: head.Count, last: t.last}
	return true, int64(len(end) - whole), nil
}
