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
			var next []byte
			for range 2 { // open does not advance
				var got []byte
				var err error
				got, next, err = b.open(nil, random, []byte("aad"), sealed)
				if err != nil || string(got) != "text" {
					t.Fatalf("%q, %v", got, err)
				}
			}
			b.advance(next)
			if !bytes.Equal(a.ck, b.ck) {
				t.Fatalf("after message %d the ends have two chain keys", n)
			}
		}
	})
}

// A chain that was copied, as by a restored backup, uses no key twice: each message has its own
// random.
func TestChainOfACopy(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		seen := map[string]bool{}
		for range 3 {
			mk, next := testChain(suite, "AB").keys(unknownSecret())
			for _, key := range [][]byte{mk, next} {
				if len(key) != secretSize || seen[string(key)] {
					t.Fatalf("a key of %d bytes, or twice the same", len(key))
				}
				seen[string(key)] = true
			}
		}
	})
}

// What was opened and refused has no part in the chain, even if it came after what is taken.
func TestChainOpensAnotherBetween(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		a, b := testChain(suite, "AB"), testChain(suite, "AB")
		random := unknownSecret()
		sealed := a.seal(nil, random, nil, []byte("text"))
		_, next, err := b.open(nil, random, nil, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if _, other, err := b.open(nil, unknownSecret(), nil, sealed); err == nil || other != nil {
			t.Fatalf("under another random: %x, %v", other, err)
		}
		b.advance(next)
		if !bytes.Equal(a.ck, b.ck) {
			t.Error("the ends have two chain keys")
		}
	})
}

func TestChainClears(t *testing.T) {
	c := testChain(SuiteMLKEM, "AB")
	zero := make([]byte, secretSize)
	old := c.ck
	c.seal(nil, unknownSecret(), nil, nil)
	if !bytes.Equal(old, zero) || bytes.Equal(c.ck, zero) || c.n != 1 {
		t.Error("advance left the old chain key")
	}
	old = c.ck
	c.replace(unknownSecret())
	if !bytes.Equal(old, zero) || c.n != 1 {
		t.Error("replace left the old chain key, or touched the number")
	}
	old = c.ck
	_, next := c.keys(unknownSecret())
	c.erase()
	c.advance(next)
	if !bytes.Equal(old, zero) || !bytes.Equal(next, zero) || c.ck != nil {
		t.Error("erase left the chain key, or an erased chain took another")
	}
}

// After erase a sealed message is closed to everybody, also to the holder of an all-zero key.
func TestErasedChain(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		c, random := testChain(suite, "AB"), make([]byte, 32)
		c.erase()
		sealed := c.seal(nil, random, nil, []byte("text"))
		for name, ck := range map[string][]byte{"no key": {}, "zeros": make([]byte, secretSize)} {
			for n := range uint64(2) {
				guess := newKDFChain(c.suite, ck, [32]byte{1}, "AB")
				guess.n = n
				if _, _, err := guess.open(nil, random, nil, sealed); !errors.Is(err, ErrDecrypt) {
					t.Errorf("%s opens what an erased chain sealed", name)
				}
			}
		}
		if _, _, err := c.open(nil, random, nil, sealed); !errors.Is(err, ErrDecrypt) {
			t.Errorf("an erased chain opens: %v", err)
		}
	})
}
