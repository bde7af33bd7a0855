package crypto

import (
	"errors"
	"sync"
	"time"
)

const (
	// rsaPoolSize is the number of RSA key pairs made in advance. Each costs 50 ms,
	// and a relay that is asked for more at once answers busy.
	rsaPoolSize = 8
	// fillRest is the rest of the background after each key, in multiples of the
	// time that the key took. Strangers can drain the pool with a line each, and get
	// a third of one processor by it. Before the first rsaPoolSize keys it does not
	// rest, so that they are ready soon.
	fillRest = 2
	// strangerEvery is the least time between two keys made on the spot for peers
	// when none is ready. They take a twentieth of the caller's time at most,
	// however fast peers ask.
	strangerEvery = time.Second
)

// ErrBusy means that peers ask for more keys than are made. They may try again in a
// moment.
var ErrBusy = errors.New("no key of the cipher suite is ready; try again in a moment")

// KeySource hands out ephemeral KEM keys, each once. ML-KEM keys are made on demand,
// RSA keys in the background. It is safe for concurrent use. Close stops the
// background.
type KeySource struct {
	mu      sync.Mutex // guards the fields below
	keys    []KEMKey   // RSA, any RSA suite
	filling bool
	filled  int           // keys that the background has made
	closed  bool          // and closing, if there is one, is closed
	closing chan struct{} // made when the background begins
	made    time.Time     // when forPeer last made a key on the spot
	done    sync.WaitGroup

	// generate makes the keys of the background; nil is Suite.GenerateKey. Tests set
	// it to one on a clock of their own.
	generate func() (KEMKey, error)
}

// Ready returns a key for the suite if one is ready.
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

// forPeer is Get for a key that a peer's message asks for. With an empty pool it is
// ErrBusy, except once in strangerEvery.
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

// Fill begins to make RSA keys before the first is needed.
func (k *KeySource) Fill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fill(rsaSuite{})
}

// fill starts the one background goroutine if keys are missing. k.mu is held.
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

// fillOne makes a key and rests. It returns false when the pool is full.
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
		select { // even if the pool is full: it will not stay so
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
