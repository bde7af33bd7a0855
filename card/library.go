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

// closeWait bounds the wait of Close for an unfinished call of the card's
// software: its dialog may stay open until a person returns.
var closeWait = 2 * time.Second // the tests wait longer

// libraries are the PKCS#11 modules in use. C_Initialize and C_Finalize act on a
// module within the whole process. So all users of a module share one library,
// and the last one finalizes it.
type libraries struct {
	load func(path string) (module, error)

	mu   sync.Mutex
	open map[string]*library // by resolved path, until its goroutine has ended

	// loaded has modules by resolved path. None is ever unloaded: the code of a
	// thread that the module started would vanish.
	loaded map[string]module
}

// shared are the libraries of this process.
var shared = newLibraries(loadModule)

func newLibraries(load func(string) (module, error)) *libraries {
	return &libraries{load: load, open: map[string]*library{}, loaded: map[string]module{}}
}

// library is one initialized module and the goroutine that makes all its calls.
// Sessions are not safe for concurrent use, some modules keep state per thread,
// and a call of minutes must not block its caller.
type library struct {
	path  string // as given
	key   string // the resolved path
	all   *libraries
	jobs  chan func(module) // closed by the last user
	ready chan struct{}     // closed once err is set
	err   error             // of loading or initialization
	done  chan struct{}     // closed once the goroutine has ended

	refs int // guarded by all.mu; 0 means closing
}

// acquire returns the initialized library at path; release gives it back.
func (l *libraries) acquire(ctx context.Context, path string) (*library, error) {
	if isProxy(path) && l.others(path) {
		return nil, fail(ModuleLoad, "close the open card first",
			"the PKCS#11 module %s is a proxy of other modules, one of which is in use", show(path))
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
		lib.leave(ctx) // the next module tried must not find this one in use
		return nil, lib.err
	}
	return lib, nil
}

// join takes a reference to the library at path and starts it if needed. It
// waits for the end of a closing one, whose C_Finalize would end the new one too.
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
			return nil, fail(Cancelled, "end this program if the card's software no longer answers",
				"the PKCS#11 module %s is still busy with an earlier call", show(path)).because(ctx.Err())
		}
	}
}

// hold takes one more reference; the caller holds one already.
func (l *library) hold() {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.refs++
}

// release gives up one reference. The last release starts the end of the library
// without waiting for it.
func (l *library) release() (last bool) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.refs--
	if l.refs == 0 {
		close(l.jobs) // every sender holds a reference
	}
	return l.refs == 0
}

// leave gives up one reference. The last leave waits until the library has
// ended, for closeWait at most, and reports whether it did: another module may
// follow over the same card.
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

// others reports whether a library other than the one at path is in use.
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

// run makes the module's calls one by one, on one thread.
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
		m.Finalize() // an error has no remedy
	}
	l.all.mu.Lock()
	delete(l.all.open, l.key)
	l.all.mu.Unlock()
	close(l.done)
}

// start loads and initializes the module. ours is false if another part of this
// process has initialized it, which must finalize it too.
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
		// The module cannot lock by itself. With one thread it need not.
		err = m.Initialize(pkcs11.InitializeWithFlags(0))
	}
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return m, false, nil
	}
	if err != nil {
		return nil, false, fail(ModuleLoad, readerHint, "the PKCS#11 module %s cannot start: %s", show(l.path), words(err)).because(err)
	}
	return m, true, nil
}

// call runs fn on the library's goroutine and waits for it or for ctx. If ctx
// ends first, fn runs on and its result is dropped. started says whether fn was
// handed over at all. The caller holds a reference.
func call[T any](ctx context.Context, l *library, fn func(module) (T, error)) (value T, started bool, err error) {
	if err := ctx.Err(); err != nil {
		return value, false, cancelled(err)
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1) // buffered: a dropped result must not block the goroutine
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
