package history

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"chatsecure/internal/state"
)

// syncEvery is the least time between two syncs to the disk. One for every message
// would cost more than the message.
const syncEvery = time.Second

// lockWait bounds the wait for another client that writes: a var, for tests. A line takes far less
// than a millisecond; an index that is made anew takes longer.
var lockWait = 5 * time.Second

// lockLook is the longest time between two looks at the lock.
const lockLook = 5 * time.Millisecond

// Store is a file of the history as it is written. Tests put a failing one in its
// place.
type Store interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// writer writes lines to the file that all clients of a state directory share. One
// goroutine owns it. The goroutine of syncLoop only calls Sync.
type writer struct {
	lines  Store
	file   *os.File // the same, for the lock; nil: nobody shares it
	opened syscall.Stat_t
	path   string
	broken error // set once the content of the file is not known any more
	held   bool  // the last wait for the lock was in vain

	dirty   atomic.Bool   // something is not synced
	wake    chan struct{} // capacity 1: there is something to sync
	hurry   chan struct{} // capacity 1: it is synced at once
	stop    chan struct{}
	done    chan struct{}
	syncErr atomic.Pointer[error]

	mu      sync.Mutex // guards the fields below
	waiting []func(error)
	failed  error // nothing is synced any more
}

// newWriter begins to sync. The caller closes the writer.
func newWriter(lines Store, file *os.File, path string) *writer {
	w := &writer{
		lines: lines, file: file, path: path,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if file != nil {
		syscall.Fstat(int(file.Fd()), &w.opened) // if that fails, so does the first look at the file
	}
	go w.syncLoop()
	return w
}

// ready tells whether anything can be written any more.
func (w *writer) ready() error {
	if err := w.syncErr.Load(); err != nil && w.broken == nil {
		w.broken = failure(*err, "see to the disk; what was stored before is in the history",
			"the history cannot be stored: %s: %v", w.path, *err)
	}
	return w.broken
}

// lock keeps all other clients from writing. It looks again and again, since a wait for flock has
// no bound: a stopped client may hold it.
func (w *writer) lock() error {
	if w.file == nil {
		return nil
	}
	begun, wait := time.Now(), 20*time.Microsecond
	for {
		err := state.Flock(w.file, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			w.held = false
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return failure(err, "", "the history cannot be locked: %s: %v", w.path, err)
		}
		if w.held || time.Since(begun) > lockWait {
			w.held = true // the next look does not wait: the client has other things to do
			return failure(err, "end the other client, or name another state directory with -state",
				"another client holds the history: %s has been locked for more than %v",
				w.path, lockWait)
		}
		time.Sleep(wait)
		wait = min(2*wait, lockLook)
	}
}

// Held tells whether nothing was written because another client holds the history for long: it may
// have been stopped. That may end at any time.
func Held(err error) bool { return errors.Is(err, syscall.EWOULDBLOCK) }

func (w *writer) unlock() {
	if w.file != nil {
		state.Flock(w.file, syscall.LOCK_UN)
	}
}

// size returns the size of the file, which other clients make longer. The file is locked.
func (w *writer) size(end int64) (int64, error) {
	if w.file == nil {
		return end, nil
	}
	var there syscall.Stat_t // each line asks, and os.Lstat makes garbage
	what := ""
	err := syscall.Lstat(w.path, &there)
	if err != nil || there.Dev != w.opened.Dev || there.Ino != w.opened.Ino {
		what = "removed, moved or replaced"
	} else if there.Size < end {
		what = "cut short"
	}
	if what != "" {
		w.broken = failure(nil, "nothing more can be stored there; start again",
			"the history %s was %s while this client was using it", w.path, what)
	}
	return there.Size, w.broken
}

// write writes a line with its newline at the end, in one write. After an error the file is as it
// was before. If even that is impossible, the writer takes no more. The file is locked.
func (w *writer) write(line []byte, end int64) error {
	if len(line) > MaxLine+1 {
		return failure(nil, "", "a line of %d bytes is longer than the history takes", len(line))
	}
	if _, err := w.lines.WriteAt(line, end); err != nil {
		return w.undo(err, end)
	}
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

// probe writes where the next line will stand, and takes that back. The file is locked.
func (w *writer) probe(end int64) error {
	var room [4096]byte
	if _, err := w.lines.WriteAt(room[:], end); err != nil {
		return w.undo(err, end)
	}
	return w.lines.Truncate(end)
}

// undo takes back a half-written line. It returns the error for cause.
func (w *writer) undo(cause error, end int64) error {
	hint := hintRoom
	if errors.Is(cause, fs.ErrPermission) || errors.Is(cause, syscall.EROFS) {
		hint = hintWritable
	}
	failed := failure(cause, hint,
		"the history cannot be written: %s: %v", w.path, state.Cause(cause))
	if err := w.lines.Truncate(end); err != nil {
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
			err = state.Cause(err)
			w.syncErr.Store(&err)
			return
		}
	}
}

// sync forces to the disk what this client has written.
func (w *writer) sync() (err error) {
	w.mu.Lock()
	waiting := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	if w.dirty.Swap(false) {
		err = w.lines.Sync()
	}
	if err != nil {
		w.dirty.Store(true)
		w.mu.Lock()
		waiting, w.waiting, w.failed = append(waiting, w.waiting...), nil, err
		w.mu.Unlock()
	}
	for _, done := range waiting {
		done(err)
	}
	return err
}

// synced calls done once all is on the disk that is in the file now. It does not wait for the next
// second. What has come meanwhile shares a sync.
func (w *writer) synced(done func(error)) {
	w.mu.Lock()
	err := w.failed
	if err == nil {
		w.waiting = append(w.waiting, done)
		w.dirty.Store(true) // another client's lines may not be there yet
	}
	w.mu.Unlock()
	if err != nil {
		done(err)
		return
	}
	poke(w.wake)
	poke(w.hurry)
}

// close forces everything to the disk that this client has written.
func (w *writer) close() (err error) {
	close(w.stop)
	<-w.done
	err = w.sync()
	if err2 := w.lines.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return failure(err, "see to the disk",
			"the history may not be on the disk: %s: %v", w.path, state.Cause(err))
	}
	return nil
}
