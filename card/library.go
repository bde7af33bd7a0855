//go:build cgo

package card

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
)

// closeWait bounds how long Close waits for a call that the card's software
// has not finished: a dialog may stay open until someone comes back.
var closeWait = 2 * time.Second // the tests wait longer

// libraries are the PKCS#11 modules in use. C_Initialize and C_Finalize count
// for a process and a module, not for a caller, so that everyone who uses a
// module shares one library, which is finalized when the last lets go.
type libraries struct {
	load func(path string) (module, error)

	mu     sync.Mutex
	open   map[string]*library // by resolved path; until its goroutine has ended
	loaded map[string]module   // by resolved path; never unloaded: a module may have started threads that would return into nothing
}

// shared are the libraries of this process.
var shared = newLibraries(loadModule)

func newLibraries(load func(string) (module, error)) *libraries {
	return &libraries{load: load, open: map[string]*library{}, loaded: map[string]module{}}
}

// library is one initialized module and the goroutine that makes all its
// calls: sessions are not safe for concurrent use, some modules keep things
// per thread, and a call that takes minutes must not hold its caller.
type library struct {
	path  string // as it was given
	key   string // the path resolved
	all   *libraries
	jobs  chan func(module) // closed when the last user lets go
	ready chan struct{}     // closed when err is set
	err   error             // why it could not be loaded or initialized
	done  chan struct{}     // closed when the goroutine has ended

	refs int // guarded by all.mu; 0 means closing
}

// acquire returns the library at path, initialized; release gives it back.
func (l *libraries) acquire(ctx context.Context, path string) (*library, error) {
	if isProxy(path) && l.others(path) {
		return nil, fail(ModuleLoad, "close the card that is open first", "the PKCS#11 module %s stands for others, one of which is in use", show(path))
	}
	lib, err := l.join(ctx, path)
	if err != nil {
		return nil, err
	}
	select {
	case <-lib.ready:
	case <-ctx.Done():
		lib.release()
		return nil, cancelled(ctx.Err())
	}
	if lib.err != nil {
		lib.leave(ctx) // what is tried next must not find this one still in use
		return nil, lib.err
	}
	return lib, nil
}

// join takes a reference to the library at path, started if it is not. One
// that is closing is waited for: its C_Finalize would end a new one's too.
func (l *libraries) join(ctx context.Context, path string) (*library, error) {
	key := resolve(path)
	for {
		l.mu.Lock()
		lib := l.open[key]
		if lib == nil {
			lib = &library{path: path, key: key, all: l, refs: 1,
				jobs: make(chan func(module)), ready: make(chan struct{}), done: make(chan struct{})}
			l.open[key] = lib
			go lib.run()
		} else if lib.refs > 0 {
			lib.refs++
		}
		joined := lib.refs > 0
		l.mu.Unlock()
		if joined {
			return lib, nil
		}
		select {
		case <-lib.done:
		case <-ctx.Done():
			return nil, fail(Cancelled, "end this program if the card's software does not answer any more",
				"the PKCS#11 module %s is still busy with an earlier call", show(path)).because(ctx.Err())
		}
	}
}

// hold takes one more reference, for whoever holds one already.
func (l *library) hold() {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.refs++
}

// release lets go of the library; the last one to do so ends it, without
// waiting for that.
func (l *library) release() (last bool) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.refs--
	if l.refs == 0 {
		close(l.jobs) // nobody sends any more: senders hold a reference
	}
	return l.refs == 0
}

// leave lets go of the library and, as the last to do so, waits until nothing
// of it is left running, as long as a person would. It reports whether that is
// so. What comes next may be another module over the same card.
func (l *library) leave(ctx context.Context) bool {
	if !l.release() {
		return true
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-l.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// others reports whether another library than that at path is in use.
func (l *libraries) others(path string) bool {
	key := resolve(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.open {
		if k != key {
			return true
		}
	}
	return false
}

// run makes the module's calls, one after the other, on one thread.
func (l *library) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m, ours, err := l.start()
	l.err = err
	close(l.ready)
	for job := range l.jobs {
		job(m)
	}
	if ours {
		m.Finalize() // nothing is left to do about an error
	}
	l.all.mu.Lock()
	delete(l.all.open, l.key)
	l.all.mu.Unlock()
	close(l.done)
}

// start loads and initializes the module. ours is false if something else in
// this process had initialized it, which then has to finalize it too.
func (l *library) start() (m module, ours bool, err error) {
	l.all.mu.Lock()
	m = l.all.loaded[l.key]
	l.all.mu.Unlock()
	if m == nil {
		if m, err = l.all.load(l.path); err != nil {
			return nil, false, err
		}
		l.all.mu.Lock()
		l.all.loaded[l.key] = m
		l.all.mu.Unlock()
	}
	err = m.Initialize()
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_CANT_LOCK)) {
		// It cannot do locking of its own, and here it needs none.
		err = m.Initialize(pkcs11.InitializeWithFlags(0))
	}
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return m, false, nil
	}
	if err != nil {
		return nil, false, fail(ModuleLoad, "is the reader's service running? (pcscd)", "the PKCS#11 module %s cannot start: %s",
			show(l.path), words(err)).because(err)
	}
	return m, true, nil
}

// call runs fn on the library's goroutine and waits for it or for ctx. When
// ctx ends first, fn goes on by itself and its result is dropped; started says
// whether fn was or will be run at all. The caller holds a reference.
func call[T any](ctx context.Context, l *library, fn func(module) (T, error)) (value T, started bool, err error) {
	if err := ctx.Err(); err != nil {
		return value, false, cancelled(err)
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1) // buffered: a result that nobody waits for must not hold the goroutine
	job := func(m module) {
		v, err := fn(m)
		done <- result{v, err}
	}
	select {
	case l.jobs <- job:
	case <-ctx.Done():
		return value, false, cancelled(ctx.Err())
	}
	select {
	case r := <-done:
		return r.value, true, r.err
	case <-ctx.Done():
		return value, true, cancelled(ctx.Err())
	}
}
