package client

import (
	"context"
	"sync"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// loop hands work to the engine's goroutine and tells of its end.
type loop struct {
	cmds  chan func()     // unbuffered: the engine runs every function that it takes out, also while it ends
	wake  chan struct{}   // capacity 1: outbox, marks or the pipe have something
	ctx   context.Context // ends when the client must stop at once
	abort context.CancelFunc
	ended chan struct{} // closed when run has returned
	wg    sync.WaitGroup
	fatal error // why the client ended. run sets it once; others read it after ended is closed
}

func newLoop() *loop {
	l := &loop{cmds: make(chan func()), wake: make(chan struct{}, 1), ended: make(chan struct{})}
	l.ctx, l.abort = context.WithCancel(context.Background())
	return l
}

// do runs f in the engine's goroutine and waits for it.
func (l *loop) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case l.cmds <- func() { f(); close(done) }:
	case <-l.ended:
		return l.endError()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-l.ended:
		return l.endError()
	}
}

// post hands f to the engine's goroutine and does not wait for it. It returns false if
// the engine has ended: then f does not run.
func (l *loop) post(f func()) bool {
	select {
	case l.cmds <- f:
		return true
	case <-l.ended:
		return false
	}
}

// nudge makes the engine look at outbox, marks and pipe.
func (l *loop) nudge() { poke(l.wake) }

// endError says why the engine ended. It may be asked after ended is closed.
func (l *loop) endError() error {
	if l.fatal != nil {
		return l.fatal
	}
	return fail.Errorf(proto.Lost, "the client is closed")
}

// poke signals on a channel of capacity 1, on which one signal stands for many.
func poke(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}
