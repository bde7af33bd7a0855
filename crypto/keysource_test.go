package crypto

import (
	"errors"
	"testing"
	"time"
)

func TestKeySource(t *testing.T) {
	rsa := SuiteByName(SuiteRSA256)
	k := &KeySource{closed: true} // nothing in the background
	for i := range 2 {
		k.keys = append(k.keys, sharedRSA(t, i))
	}
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
	// A peer is given one that is made for it, and then has to wait.
	if _, err := k.forPeer(rsa); err != nil {
		t.Error(err)
	}
	k.made = time.Now().Add(time.Hour) // however long that one took
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

// The background makes keys, no more than the pool takes, and ends with Close.
func TestKeySourceBackground(t *testing.T) {
	var k KeySource
	k.Fill()
	k.Fill()
	key, err := k.Get(SuiteByName(SuiteRSA128))
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	if len(k.keys) != 0 || k.filling {
		t.Error("Close left keys, or the background")
	}
	if err := checkKEMKey(SuiteByName(SuiteRSA128), key.Public()); err != nil {
		t.Error(err)
	}
	k.Fill()
	k.Close()
	if k.filling {
		t.Error("the background began again after Close")
	}
}
