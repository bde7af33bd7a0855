package crypto

import (
	"bytes"
	"errors"
	"testing"
)

func testChain(suite string, direction string) *Chain {
	ck := bytes.Repeat([]byte{7}, secretSize)
	return newChain(SuiteByName(suite), ck, [32]byte{1}, direction)
}

func TestChainEndsAgree(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		a, b := testChain(suite, "AB"), testChain(suite, "AB")
		for n := range uint64(5) {
			random := unknownSecret()
			if a.N() != n || b.N() != n {
				t.Fatalf("numbers %d and %d, want %d", a.N(), b.N(), n)
			}
			sealed := a.seal(nil, random, []byte("aad"), []byte("text"))
			for range 2 { // opening changes nothing
				got, err := b.open(nil, random, []byte("aad"), sealed)
				if err != nil || string(got) != "text" {
					t.Fatalf("%q, %v", got, err)
				}
			}
			b.advance()
		}
	})
}

// Every part of the derivation counts.
func TestMessageKeyBindsEverything(t *testing.T) {
	base := func() *Chain { return testChain(SuiteRSA256, "AB") }
	random := bytes.Repeat([]byte{9}, 32)
	key := base().messageKey(random)
	if again := base().messageKey(random); !bytes.Equal(again, key) {
		t.Fatal("the same chain gives two keys")
	}
	for name, change := range map[string]func() *Chain{
		"suite":     func() *Chain { return testChain(SuiteRSA128, "AB") },
		"direction": func() *Chain { return testChain(SuiteRSA256, "BA") },
		"session":   func() *Chain { return newChain(base().suite, base().ck, [32]byte{2}, "AB") },
		"n":         func() *Chain { c := base(); c.n = 1; return c },
		"ck":        func() *Chain { c := base(); c.ck[0] ^= 1; return c },
	} {
		if bytes.Equal(change().messageKey(random), key) {
			t.Errorf("another %s gives the same key", name)
		}
	}
	if bytes.Equal(base().messageKey(bytes.Repeat([]byte{8}, 32)), key) {
		t.Error("another random gives the same key")
	}
}

func TestChainClears(t *testing.T) {
	c := testChain(SuiteMLKEM, "AB")
	zero := make([]byte, secretSize)
	old := c.ck
	c.advance()
	if !bytes.Equal(old, zero) || bytes.Equal(c.ck, zero) || c.n != 1 {
		t.Error("advance left the old chain key")
	}
	old = c.ck
	c.replace(unknownSecret())
	if !bytes.Equal(old, zero) || c.n != 1 {
		t.Error("replace left the old chain key, or touched the number")
	}
	old = c.ck
	c.erase()
	if !bytes.Equal(old, zero) {
		t.Error("erase left the chain key")
	}
}

// What is sealed after erase is closed to everybody, the holder of an all-zero
// key included.
func TestErasedChain(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		c, random := testChain(suite, "AB"), make([]byte, 32)
		c.erase()
		c.advance()
		sealed := c.seal(nil, random, nil, []byte("text"))
		for name, ck := range map[string][]byte{"no key": {}, "zeros": make([]byte, secretSize)} {
			for n := range uint64(2) {
				guess := newChain(c.suite, ck, [32]byte{1}, "AB")
				guess.n = n
				if _, err := guess.open(nil, random, nil, sealed); !errors.Is(err, ErrDecrypt) {
					t.Errorf("%s opens what an erased chain sealed", name)
				}
			}
		}
		if _, err := c.open(nil, random, nil, sealed); !errors.Is(err, ErrDecrypt) {
			t.Errorf("an erased chain opens: %v", err)
		}
	})
}
