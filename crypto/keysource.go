package crypto

import (
	"context"
	"errors"
	"sync"
	"time"

	"chatsecure/proto"
)

const (
	// rsaPoolSize is the number of RSA key pairs made in advance. Each costs 50 ms.
	rsaPoolSize = 8
	// fillRest is the rest of the background after each key, in multiples of the
	// time that the key took. Strangers can drain the pool with a line each, and get
	// a third of one processor by it. Before the first fillFirst keys it does not
	// rest, so that those who come right after a start are served.
	fillRest  = 2
	fillFirst = 4 * rsaPoolSize
	// strangerEvery is the least time between two keys made on the spot for peers
	// when none is ready. They take a twentieth of the caller's time at most,
	// however fast peers ask. The others wait for the background, up to peerWait.
	strangerEvery = time.Second
	peerWait      = proto.PhaseTimeout / 2
)

// ErrBusy means that peers ask for more keys than are made. They may try again in a
// moment.
var ErrBusy = errors.New("no key of the cipher suite is ready; try again in a moment")

// KeySource hands out ephemeral KEM keys, each once. ML-KEM keys are made on demand,
// RSA keys by one goroutine in the background, which begins with the first need and ends with
// Close. It is safe for concurrent use.
type KeySource struct {
	mu      sync.Mutex    // guards the fields below
	ready   chan KEMKey   // RSA, any RSA suite; made when the background begins
	closing chan struct{} // likewise
	closed  bool
	made    time.Time // when forPeer last made a key on the spot
	done    sync.WaitGroup

	// generate makes the keys of the background; nil is that of the suite. Tests set
	// it to one on a clock of their own.
	generate func() (KEMKey, error)
}

// Ready returns a key for the suite if one is ready.
func (k *KeySource) Ready(s Suite) (KEMKey, bool) {
	if _, slow := s.(rsaSuite); !slow {
		key, err := s.GenerateKey()
		return key, err == nil
	}
	k.Fill()
	select {
	case key := <-k.ready:
		return key, true
	default:
		return nil, false
	}
}

// Await is Ready that waits for a key until ctx ends: then it returns ErrBusy.
func (k *KeySource) Await(ctx context.Context, s Suite) (KEMKey, error) {
	if key, ok := k.Ready(s); ok {
		return key, nil
	}
	select {
	case key := <-k.ready:
		return key, nil
	case <-k.closing:
	case <-ctx.Done():
	}
	return nil, ErrBusy
}

// Get returns a key for the suite, making one if none is ready.
func (k *KeySource) Get(s Suite) (KEMKey, error) {
	if key, ok := k.Ready(s); ok {
		return key, nil
	}
	return s.GenerateKey()
}

// forPeer is Get for a key that a peer's message asks for. With an empty pool it waits
// for the background, except once in strangerEvery, and is ErrBusy if that takes too long.
func (k *KeySource) forPeer(s Suite) (KEMKey, error) {
	if key, ok := k.Ready(s); ok {
		return key, nil
	}
	k.mu.Lock()
	now := time.Now()
	if !k.made.IsZero() && now.Sub(k.made) < strangerEvery {
		k.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), peerWait)
		defer cancel()
		return k.Await(ctx, s)
	}
	k.made = now
	k.mu.Unlock()
	return s.GenerateKey()
}

// Fill begins to make RSA keys, even before the first is needed.
func (k *KeySource) Fill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ready != nil {
		return
	}
	k.ready, k.closing = make(chan KEMKey, rsaPoolSize), make(chan struct{})
	if k.closed {
		close(k.closing)
		return
	}
	generate := k.generate
	if generate == nil {
		generate = rsaSuite{}.GenerateKey
	}
	k.done.Go(func() { k.fill(generate) })
}

// fill makes keys until Close. It stops at an error, which the machine's randomness does not have.
func (k *KeySource) fill(generate func() (KEMKey, error)) {
	for n := 1; ; n++ {
		start := time.Now()
		key, err := generate()
		if err != nil {
			return
		}
		var rest <-chan time.Time
		if n > fillFirst {
			rest = time.After(fillRest * time.Since(start))
		}
		select {
		case k.ready <- key:
		case <-k.closing:
			key.Erase()
			return
		}
		if rest == nil {
			continue
		}
		select { // even if the pool is full: it will not stay so
		case <-rest:
		case <-k.closing:
			return
		}
	}
}

// Close stops the background, waits for it and erases the keys.
func (k *KeySource) Close() {
	k.mu.Lock()
	if !k.closed && k.closing != nil {
		close(k.closing)
	}
	k.closed = true
	k.mu.Unlock()
	k.done.Wait()
	for {
		select {
		case key := <-k.ready:
			key.Erase()
		default:
			return
		}
	}
}
