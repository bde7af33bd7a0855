package crypto

import (
	"errors"
	"sync"
	"time"
)

const (
	// rsaPoolSize is how many RSA key pairs wait to be used: each costs 50 ms
	// to make, and a relay that is asked for more at once answers busy.
	rsaPoolSize = 8
	// fillRest is how long the background rests after each key, in times of what
	// that one took: strangers can drain the pool with a line each, and must not
	// have more than a third of one processor by that. Until it has made as many
	// as the pool takes it does not rest, so that the first are there soon.
	fillRest = 2
	// strangerEvery is how often a key may be made on the spot because a peer
	// asks for one and none is ready: one in twenty of the caller's time at
	// most, however fast peers ask, beside the third of a processor that the
	// background then has.
	strangerEvery = time.Second
)

// ErrBusy is the error where a peer asks for more keys than are made: it may
// try again in a moment.
var ErrBusy = errors.New("no key of the cipher suite is ready; try again in a moment")

// KeySource hands out ephemeral KEM keys. MLKEM keys are made when asked for;
// RSA keys are made in the background and used once. It may be used by many
// goroutines. Close stops the background.
type KeySource struct {
	mu      sync.Mutex // guards what follows
	keys    []KEMKey   // RSA, any RSA suite
	filling bool
	filled  int           // keys that the background has made
	closed  bool          // and closing, if there is one, is closed
	closing chan struct{} // made when the background begins
	made    time.Time     // when forPeer last made a key on the spot
	done    sync.WaitGroup

	// generate makes the keys of the background; tests have it take its time on
	// a clock of their own. Default Suite.GenerateKey.
	generate func() (KEMKey, error)
}

// Ready returns a key for the suite if there is one without waiting.
func (k *KeySource) Ready(s Suite) (KEMKey, bool) {
	if _, slow := s.(rsaSuite); !slow {
		key, err := s.GenerateKey()
		return key, err == nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fill(s)
	if len(k.keys) == 0 {
		return nil, false
	}
	last := len(k.keys) - 1
	key := k.keys[last]
	k.keys[last] = nil
	k.keys = k.keys[:last]
	return key, true
}

// Get returns a key for the suite, making one if none is ready.
func (k *KeySource) Get(s Suite) (KEMKey, error) {
	if key, ok := k.Ready(s); ok {
		return key, nil
	}
	return s.GenerateKey()
}

// forPeer is Get where a peer's message asks for the key: an empty pool is
// ErrBusy, but for one key every strangerEvery.
func (k *KeySource) forPeer(s Suite) (KEMKey, error) {
	if key, ok := k.Ready(s); ok {
		return key, nil
	}
	k.mu.Lock()
	now := time.Now()
	if !k.made.IsZero() && now.Sub(k.made) < strangerEvery {
		k.mu.Unlock()
		return nil, ErrBusy
	}
	k.made = now
	k.mu.Unlock()
	return s.GenerateKey()
}

// Fill begins to make RSA keys, so that the first one asked for is there.
func (k *KeySource) Fill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fill(rsaSuite{})
}

// fill starts the one background goroutine where it is wanted. k.mu is held.
func (k *KeySource) fill(s Suite) {
	if k.filling || k.closed || len(k.keys) >= rsaPoolSize {
		return
	}
	k.filling = true
	if k.closing == nil {
		k.closing = make(chan struct{})
	}
	generate := k.generate
	if generate == nil {
		generate = s.GenerateKey
	}
	k.done.Go(func() {
		for k.fillOne(generate) {
		}
	})
}

// fillOne makes a key and rests. It returns false when no further one is
// wanted.
func (k *KeySource) fillOne(generate func() (KEMKey, error)) bool {
	start := time.Now()
	key, err := generate()
	took := time.Since(start)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil:
	case k.closed:
		key.Erase()
	default:
		k.keys = append(k.keys, key)
	}
	if k.filled++; k.filled > rsaPoolSize {
		k.mu.Unlock()
		select { // also where the pool is full now: in a moment it is not
		case <-time.After(fillRest * took):
		case <-k.closing:
		}
		k.mu.Lock()
	}
	k.filling = err == nil && !k.closed && len(k.keys) < rsaPoolSize
	return k.filling
}

// Close stops the background, waits for it and drops the keys.
func (k *KeySource) Close() {
	k.mu.Lock()
	if !k.closed && k.closing != nil {
		close(k.closing)
	}
	k.closed = true
	for _, key := range k.keys {
		key.Erase()
	}
	k.keys = nil
	k.mu.Unlock()
	k.done.Wait()
}
