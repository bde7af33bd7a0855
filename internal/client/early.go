package client

import (
	"context"
	"time"
)

// early greets a relay while the rest of a Config is made. That takes longer than phases 1 and 2,
// which need none of it.
type early struct {
	cancel context.CancelFunc
	out    chan greeted // closed once there is nothing to take any more
}

type greeted struct {
	g   *Greeting
	err error
}

// earlyFor is the time for which a relay waits for phase 3: a crowded one soon gives the place to
// others. No person answers a question in that time.
const earlyFor = 500 * time.Millisecond

// GreetEarly begins the first attempt of Dial before State, Verifier and Credential are known. The
// caller calls drop after Dial, or instead of it.
func (cfg *Config) GreetEarly(ctx context.Context) (drop func()) {
	cfg.setDefaults()
	r := cfg.relay()
	ctx, cancel := context.WithCancel(ctx)
	e := &early{cancel, make(chan greeted)}
	cfg.early = e
	go func() {
		defer close(e.out)
		g, err := r.Greet(ctx)
		late := time.NewTimer(earlyFor)
		defer late.Stop()
		select {
		case e.out <- greeted{g, err}:
			return
		case <-late.C:
		case <-ctx.Done():
		}
		if g != nil {
			g.Close()
		}
	}()
	return e.drop
}

// take returns a Greeting or the reason why there is none, once, and false if it is too late for
// that.
func (e *early) take() (got greeted, ok bool) {
	if e != nil {
		got, ok = <-e.out
	}
	return got, ok
}

func (e *early) drop() {
	e.cancel()
	if got, _ := e.take(); got.g != nil {
		got.g.Close()
	}
}

func (cfg *Config) relay() *Relay {
	return &Relay{Addr: cfg.Relay, Dial: cfg.Dial, Ciphers: cfg.Ciphers}
}
