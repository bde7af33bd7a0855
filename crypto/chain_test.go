package crypto

import (
	"bytes"
	"errors"
	"testing"
)

func testChain(suite string, direction string) *kdfChain {
	ck := bytes.Repeat([]byte{7}, secretSize)
	return newKDFChain(SuiteByName(suite), ck, [32]byte{1}, direction)
}

func TestChainEndsAgree(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		a, b := testChain(suite, "AB"), testChain(suite, "AB")
		for n := range uint64(5) {
			random := unknownSecret()
			if a.n != n || b.n != n {
				t.Fatalf("numbers %d and %d, want %d", a.n, b.n, n)
			}
			sealed := a.seal(nil, random, []byte("aad"), []byte("text"))
			for range 2 { // open does not advance
				got, err := b.open(nil, random, []byte("aad"), sealed)
				if err != nil || string(got) != "text" {
					t.Fatalf("%q, %v", got, err)
				}
			}
			b.advance()
		}
	})
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

// After erase a sealed message is closed to everybody, also to the holder of an all-zero key.
func TestErasedChain(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		c, random := testChain(suite, "AB"), make([]byte, 32)
		c.erase()
		c.advance()
		sealed := c.seal(nil, random, nil, []byte("text"))
		for name, ck := range map[string][]byte{"no key": {}, "zeros": make([]byte, secretSize)} {
			for n := range uint64(2) {
				guess := newKDFChain(c.suite, ck, [32]byte{1}, "AB")
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
