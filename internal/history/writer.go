package history

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
	"time"

	"chatsecure/internal/state"
)

// syncEvery is the least time between two syncs to the disk. One for every message
// would cost more than the message.
const syncEvery = time.Second

// Store is a file of the history as it is written. Tests put a failing one in its
// place.
type Store interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// writer appends lines to one file of the history and holds its lock. One
// goroutine owns it. The goroutine of syncLoop only calls sync.
type writer struct {
	lines, head Store
	path        string // of lines
	end         position
	headBuf     []byte
	broken      error // set once the content of the file is not known any more

	dirty   atomic.Bool   // something is not synced
	wake    chan struct{} // capacity 1: there is something to sync
	hurry   chan struct{} // capacity 1: it is synced at once
	stop    chan struct{}
	done    chan struct{}
	syncErr atomic.Pointer[error]
}

// newWriter goes on at the end of a file. The caller closes the writer.
func newWriter(lines, head Store, path string, end position) *writer {
	w := &writer{
		lines: lines, head: head, path: path, end: end,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	w.dirty.Store(true) // its head may have been set right
	go w.syncLoop()
	return w
}

// append writes a line, which ends with its newline, in one write, and then the
// head. After an error the file is as it was before. If even that is impossible,
// the writer takes no more.
func (w *writer) append(line []byte) error {
	if w.broken != nil {
		return w.broken
	}
	if err := w.syncErr.Load(); err != nil {
		w.broken = failure(*err, "see to the disk; what was stored before is in the history",
			"the history cannot be stored: %s: %v", w.path, *err)
		return w.broken
	}
	if len(line) > MaxLine+1 {
		return failure(nil, "", "a line of %d bytes is longer than the history takes", len(line))
	}
	after := position{size: w.end.size + int64(len(line)), count: w.end.count + 1, last: sha256.Sum256(line[:len(line)-1])}
	if _, err := w.lines.WriteAt(line, w.end.size); err != nil {
		return w.undo(err)
	}
	if err := w.writeHead(&after); err != nil {
		return w.undo(err)
	}
	w.end = after
	w.dirty.Store(true)
	poke(w.wake)
	return nil
}

// poke signals on a channel of capacity 1.
func poke(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// probe writes where the next line will stand, and takes that back.
func (w *writer) probe() error {
	if w.broken != nil {
		return w.broken
	}
	var room [4096]byte
	if _, err := w.lines.WriteAt(room[:], w.end.size); err != nil {
		return w.undo(err)
	}
	return w.lines.Truncate(w.end.size)
}

func (w *writer) writeHead(at *position) error {
	w.headBuf = appendHead(w.headBuf[:0], at.count, &at.last)
	_, err := w.head.WriteAt(w.headBuf, 0)
	return err
}

// undo takes back a half-written line. It returns the error for cause.
func (w *writer) undo(cause error) error {
	hint := "make room on the disk, or name another state directory with -state"
	if errors.Is(cause, fs.ErrPermission) || errors.Is(cause, syscall.EROFS) {
		hint = "make the state directory writable, or name another with -state"
	}
	failed := failure(cause, hint, "the history cannot be written: %s: %v", w.path, state.Cause(cause))
	w.dirty.Store(true)
	err := w.lines.Truncate(w.end.size)
	if err == nil {
		err = w.writeHead(&w.end)
	}
	if err == nil {
		err = w.head.Truncate(int64(len(w.headBuf)))
	}
	if err != nil {
		w.broken = failed
	}
	return failed
}

// syncLoop forces the file to the disk while there is something to sync.
func (w *writer) syncLoop() {
	defer close(w.done)
	for {
		select {
		case <-w.wake:
		case <-w.stop:
			return
		}
		timer := time.NewTimer(syncEvery)
		select {
		case <-timer.C:
		case <-w.hurry:
			timer.Stop()
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

func (w *writer) sync() error {
	if !w.dirty.Swap(false) {
		return nil
	}
	err := w.lines.Sync()
	if err2 := w.head.Sync(); err == nil {
		err = err2
	}
	if err != nil {
		w.dirty.Store(true)
		err = state.Cause(err)
	}
	return err
}

// close forces everything to the disk and releases the slot.
func (w *writer) close() error {
	close(w.stop)
	<-w.done
	err := w.sync()
	for _, f := range [...]Store{w.head, w.lines} {
		if err2 := f.Close(); err == nil {
			err = err2
		}
	}
	if err != nil {
		return failure(err, "see to the disk", "the history may not be on the disk: %s: %v", w.path, err)
	}
	return nil
}
