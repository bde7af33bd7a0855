package crypto

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeySource(t *testing.T) {
	rsa := SuiteByName(SuiteRSA256)
	k := FixedKeys(sharedRSA(t, 0), sharedRSA(t, 1)) // nothing in the background
	seen := map[string]bool{}
	for range 2 {
		key, ok := k.Ready(rsa)
		if !ok {
			t.Fatal("a key that is there is not ready")
		}
		seen[string(key.Public())] = true
	}
	if len(seen) != 2 {
		t.Error("a key was handed out twice")
	}
	if _, ok := k.Ready(rsa); ok {
		t.Error("a key from an empty pool")
	}
	if _, err := k.Await(context.Background(), rsa); !errors.Is(err, ErrBusy) {
		t.Errorf("a key of a closed source: %v", err)
	}
	// A peer gets one that is made for it, and then has to wait.
	if _, err := k.forPeer(rsa); err != nil {
		t.Error(err)
	}
	k.made = time.Now().Add(time.Hour) // independent of the time that it took
	if _, err := k.forPeer(rsa); !errors.Is(err, ErrBusy) {
		t.Errorf("a second key made for peers at once: %v", err)
	}
	// Keys of the default suite are always ready.
	for range 3 {
		if _, err := k.forPeer(mlkemSuite{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := k.Get(rsa); err != nil {
		t.Error(err)
	}
}

// The background makes as many keys as the pool holds, and ends with Close.
func TestKeySourceBackground(t *testing.T) {
	var k KeySource
	k.Fill()
	k.Fill()
	key, err := k.Get(SuiteByName(SuiteRSA128))
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	if len(k.ready) != 0 {
		t.Error("Close left keys")
	}
	if err := SuiteByName(SuiteRSA128).CheckKey(key.Public()); err != nil {
		t.Error(err)
	}
	k.Fill()
	k.Close()
	if _, ok := k.Ready(SuiteByName(SuiteRSA128)); ok {
		t.Error("the background began again after Close")
	}
	var never KeySource // closed before any need
	never.Close()
	never.Fill()
	if _, err := never.Await(context.Background(), SuiteByName(SuiteRSA128)); !errors.Is(err, ErrBusy) {
		t.Errorf("a key of a closed source: %v", err)
	}
}

// Who waits for a key gets one once it is made, in the order of coming, or ErrBusy at the end of
// the patience.
func TestKeySourceAwait(t *testing.T) {
	key := sharedRSA(t, 0)
	synctest.Test(t, func(t *testing.T) {
		const each = 50 * time.Millisecond
		k := KeySource{generate: func() (KEMKey, error) {
			time.Sleep(each)
			own := *key // other tests share it, and Close erases
			return &own, nil
		}}
		start := time.Now()
		if _, err := k.Await(context.Background(), rsaSuite{}); err != nil || time.Since(start) != each {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(context.Background(), each/2)
		defer cancel()
		if _, err := k.Await(ctx, rsaSuite{}); !errors.Is(err, ErrBusy) {
			t.Errorf("a key before there is one: %v", err)
		}
		k.Close()
	})
}

// However fast strangers take keys, the background takes a third of a processor, except for the
// first keys. Its rest does not delay Close.
func TestKeySourceRests(t *testing.T) {
	key := sharedRSA(t, 0)
	synctest.Test(t, func(t *testing.T) {
		const each, whole = 50 * time.Millisecond, 30 * time.Second
		var made atomic.Int64
		k := KeySource{generate: func() (KEMKey, error) {
			time.Sleep(each)
			made.Add(1)
			own := *key // other tests share it, and Close erases
			return &own, nil
		}}
		full := func() bool { return len(k.ready) == rsaPoolSize }
		k.Fill()
		time.Sleep(rsaPoolSize * each)
		synctest.Wait()
		if !full() {
			t.Errorf("%d keys are there at first, want %d", made.Load(), rsaPoolSize)
		}
		for made.Load() < fillFirst {
			k.Ready(rsaSuite{})
			time.Sleep(each)
		}
		for _, test := range []struct {
			how string
			now func() bool
		}{
			{"all", func() bool { return true }},
			{"one when the pool is full", full},
		} {
			for !full() {
				time.Sleep(each)
			}
			made.Store(0)
			for start := time.Now(); time.Since(start) < whole; time.Sleep(time.Millisecond) {
				if test.now() {
					k.Ready(rsaSuite{})
				}
			}
			if n, most := made.Load(), int64(whole/((1+fillRest)*each))+1; n > most || n < most/2 {
				t.Errorf("taking %s, %d keys are made in %v, want up to %d", test.how, n, whole, most)
			}
		}
		k.Ready(rsaSuite{})
		for made.Store(0); made.Load() == 0; time.Sleep(time.Millisecond) { // then it rests
		}
		start := time.Now()
		k.Close()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Close waited %v", waited)
		}
	})
}
