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
	// strangerEvery is how often a key may be made on the spot because a peer
	// asks for one and none is ready: one in twenty of the caller's time at
	// most, however fast peers ask.
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
	closed  bool
	made    time.Time // when forPeer last made a key on the spot
	done    sync.WaitGroup
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
	k.done.Go(func() {
		for {
			key, err := s.GenerateKey()
			k.mu.Lock()
			if err == nil && !k.closed {
				k.keys = append(k.keys, key)
			} else if err == nil {
				key.Erase()
			}
			if err != nil || k.closed || len(k.keys) >= rsaPoolSize {
				k.filling = false
				k.mu.Unlock()
				return
			}
			k.mu.Unlock()
		}
	})
}

// Close stops the background, waits for it and drops the keys.
func (k *KeySource) Close() {
	k.mu.Lock()
	k.closed = true
	for _, key := range k.keys {
		key.Erase()
	}
	k.keys = nil
	k.mu.Unlock()
	k.done.Wait()
}
