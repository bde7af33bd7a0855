package crypto

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"chatsecure/testdata/corpus"
)

// FuzzKEM: a key is good to encapsulate to, or is refused when it comes. Of all ciphertexts one
// gives the secret.
func FuzzKEM(f *testing.F) {
	type target struct {
		suite       Suite
		key         KEMKey
		enc, secret []byte
	}
	info := []byte("info")
	var targets []target
	for _, name := range []string{SuiteMLKEM, SuiteRSA256} {
		s := SuiteByName(name)
		key := testKEMKey(f, s, 0)
		enc, secret, err := s.Encapsulate(key.Public(), info)
		if err != nil {
			f.Fatal(err)
		}
		targets = append(targets, target{s, key, enc, secret})
		f.Add(key.Public(), enc)
		f.Add(enc, key.Public())
		for _, bad := range badKEMKeys(f, name) {
			f.Add(bad, enc)
		}
	}
	corpus.Check(f, len(targets))
	// own is a copy of the key: one decapsulation uses it up.
	own := func(key KEMKey) KEMKey {
		switch key := key.(type) {
		case *hpkeKey:
			k := *key
			return &k
		case *rsaKEMKey:
			k := *key
			return &k
		}
		return nil
	}
	f.Fuzz(func(t *testing.T, public, enc []byte) {
		for _, x := range targets {
			out, secret, err := x.suite.Encapsulate(public, info)
			useless := false // X25519 ignores the highest bit (RFC 7748, section 5)
			if n := len(public) - 32; n >= 0 && x.suite.Name() == SuiteMLKEM {
				point := [32]byte(public[n:])
				point[31] &= 0x7f
				useless = slices.Contains(lowOrder, point)
			}
			if check := x.suite.CheckKey(public); (err == nil) != (check == nil && !useless) {
				t.Fatalf("%s: encapsulating to the key says %v, and the check %v", x.suite.Name(), err, check)
			}
			if err == nil && (len(out) != len(x.enc) || len(secret) != secretSize) {
				t.Fatalf("%s: a ciphertext of %d bytes, a secret of %d", x.suite.Name(), len(out), len(secret))
			}
			got, err := x.suite.Decapsulate(own(x.key), enc, info)
			if err != nil && !errors.Is(err, ErrDecrypt) {
				t.Fatalf("%s: decapsulating says %v", x.suite.Name(), err)
			}
			if good := bytes.Equal(enc, x.enc); good != bytes.Equal(got, x.secret) {
				t.Fatalf("%s: the right ciphertext %v, the right secret %v", x.suite.Name(), good, !good)
			}
		}
	})
}

// FuzzSeal: nothing opens that was not sealed. Of texts with a right MAC, which a peer can make
// over anything, only well-padded ones open.
func FuzzSeal(f *testing.F) {
	mk, aad := run(0, 32), []byte("aad")
	taken := 0
	for _, name := range SuiteNames() {
		s := SuiteByName(name)
		for _, plain := range []string{"", "fifteen bytes..", "sixteen bytes...", "seventeen bytes.."} {
			sealed := s.Seal(nil, mk, aad, []byte(plain))
			if _, err := s.Open(nil, mk, aad, sealed); err == nil {
				taken++
			}
			f.Add(sealed)
		}
	}
	corpus.Check(f, taken)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range SuiteNames() {
			s := SuiteByName(name)
			tries := [][]byte{b}
			if cbc, ok := s.(rsaSuite); ok {
				_, iv, macKey := cbc.keys(mk)
				tries = append(tries, cbc.mac(slices.Clone(b), macKey, aad, iv, b))
			}
			for _, sealed := range tries {
				plain, err := s.Open(nil, mk, aad, slices.Clone(sealed))
				if err != nil {
					if err != ErrDecrypt || plain != nil {
						t.Fatalf("%s: %v, and %d bytes with it", name, err, len(plain))
					}
					continue
				}
				if again := s.Seal(nil, mk, aad, plain); !bytes.Equal(again, sealed) {
					t.Fatalf("%s: %x opens as %x, which is sealed to %x", name, sealed, plain, again)
				}
			}
			// A sealed text opens, in place too.
			sealed := s.Seal(nil, mk, aad, b)
			if plain, err := s.Open(sealed[:0], mk, aad, sealed); err != nil || !bytes.Equal(plain, b) {
				t.Fatalf("%s: %x opens as %x, %v", name, b, plain, err)
			}
		}
	})
}
