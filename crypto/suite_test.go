package crypto

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

func TestChooseSuite(t *testing.T) {
	all := SuiteNames()
	if !slices.Equal(all, []string{SuiteMLKEM, SuiteRSA256, SuiteRSA128}) {
		t.Fatalf("suites %v", all)
	}
	for _, test := range []struct {
		offered, allowed []string
		want             string
	}{
		{all, all, SuiteMLKEM},
		{[]string{SuiteRSA128, SuiteMLKEM}, all, SuiteRSA128}, // the offer's order decides
		{all, []string{SuiteRSA128, SuiteRSA256}, SuiteRSA256},
		{[]string{"unknown", SuiteRSA256}, all, SuiteRSA256},
		{[]string{"unknown"}, []string{"unknown"}, ""},
		{[]string{SuiteMLKEM}, []string{SuiteRSA256}, ""},
		{nil, all, ""},
		{all, nil, ""},
	} {
		got := ""
		if s := ChooseSuite(test.offered, test.allowed); s != nil {
			got = s.Name()
		}
		if got != test.want {
			t.Errorf("of %v, where %v are allowed: %q", test.offered, test.allowed, got)
		}
	}
	if SuiteByName("") != nil {
		t.Error("a suite without a name")
	}
}

// testKEMKey is a key for the suite, cheap even for RSA.
func testKEMKey(t testing.TB, s Suite, i int) KEMKey {
	t.Helper()
	if _, ok := s.(rsaSuite); ok {
		return sharedRSA(t, i)
	}
	key, err := s.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKEM(t *testing.T) {
	eachSuite(t, func(t *testing.T, name string) {
		s := SuiteByName(name)
		key, other := testKEMKey(t, s, 0), testKEMKey(t, s, 1)
		info := []byte("info")
		enc, secret, err := s.Encapsulate(key.Public(), info)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Decapsulate(key, enc, info); err != nil || len(secret) != secretSize || !bytes.Equal(got, secret) {
			t.Fatalf("%x, %v; want %x", got, err, secret)
		}
		_, second, err := s.Encapsulate(key.Public(), info)
		if err != nil || bytes.Equal(second, secret) {
			t.Errorf("the same secret twice, or %v", err)
		}
		if got, err := s.Decapsulate(other, enc, info); err != nil || bytes.Equal(got, secret) {
			t.Errorf("another key gives the secret, or tells: %v", err)
		}
		if got, err := s.Decapsulate(key, enc, []byte("inf0")); err != nil || bytes.Equal(got, secret) {
			t.Errorf("another info gives the secret, or tells: %v", err)
		}
		if err := s.CheckKey(key.Public()); err != nil {
			t.Error(err)
		}
		key.Erase()
		if _, err := s.Decapsulate(key, enc, info); !errors.Is(err, ErrDecrypt) {
			t.Errorf("an erased key: %v", err)
		}
		for _, wrong := range suites {
			if _, isRSA := wrong.(rsaSuite); isRSA != (name != SuiteMLKEM) {
				if _, err := s.Decapsulate(testKEMKey(t, wrong, 0), enc, info); !errors.Is(err, ErrDecrypt) {
					t.Errorf("a key of %s: %v", wrong.Name(), err)
				}
			}
		}
	})
}

func TestGenerateKey(t *testing.T) {
	for _, name := range []string{SuiteMLKEM, SuiteRSA256} {
		s := SuiteByName(name)
		key, err := s.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CheckKey(key.Public()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// lowOrder are X25519 points whose product with any scalar is zero (RFC 7748,
// section 6.1): 0, 1, two of order 8, -1, and encodings of these beyond p.
var lowOrder = [][32]byte{
	{},
	{1},
	proto.MustHash("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
	proto.MustHash("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
	proto.MustHash("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	proto.MustHash("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	proto.MustHash("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
}

// badMLKEMKeys are public keys of the default suite that must be refused.
func badMLKEMKeys(t testing.TB) map[string][]byte {
	good := testKEMKey(t, mlkemSuite{}, 0).Public()
	bad := map[string][]byte{"nothing": {}, "one byte less": good[:len(good)-1], "one byte more": append(bytes.Clone(good), 0)}
	for i, point := range lowOrder {
		key := bytes.Clone(good)
		copy(key[mlkem.EncapsulationKeySize768:], point[:])
		bad["low order "+string(rune('0'+i))] = key
	}
	// The first two coefficients, 12 bits each, are q or more (FIPS 203,
	// section 7.2).
	key := bytes.Clone(good)
	copy(key, []byte{0xff, 0xff, 0xff})
	bad["coefficients beyond q"] = key
	return bad
}

// isLowOrder reports whether a bad key is in order, and only useless.
func isLowOrder(what string) bool { return strings.HasPrefix(what, "low order") }

// badRSAKeys are public keys of the RSA suites that must be refused.
func badRSAKeys(t testing.TB) map[string][]byte {
	t.Helper()
	good, err := onceRSA()
	if err != nil {
		t.Fatal(err)
	}
	n := good[0].N
	odd := func(bits uint, e int) []byte {
		m := new(big.Int).Lsh(big.NewInt(3), bits-2)
		m.SetBit(m, 0, 1)
		return people.SPKI(t, &rsa.PublicKey{N: m, E: e})
	}
	whole := people.SPKI(t, &good[0].PublicKey)
	point, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"nothing":       {},
		"512 bits":      odd(512, 65537),
		"1024 bits":     odd(1024, 65537),
		"2047 bits":     odd(2047, 65537),
		"3072 bits":     odd(3072, 65537),
		"16384 bits":    odd(16384, 65537),
		"exponent 1":    people.SPKI(t, &rsa.PublicKey{N: n, E: 1}),
		"exponent 2":    people.SPKI(t, &rsa.PublicKey{N: n, E: 2}),
		"exponent 3":    people.SPKI(t, &rsa.PublicKey{N: n, E: 3}),
		"even modulus":  people.SPKI(t, &rsa.PublicKey{N: new(big.Int).Sub(n, big.NewInt(1)), E: 65537}),
		"Ed25519":       people.AnyKey(t).Public().SPKI(),
		"P-256":         people.SPKI(t, point.PublicKey()),
		"one byte more": append(bytes.Clone(whole), 0),
		"one byte less": whole[:len(whole)-1],
	}
}

func badKEMKeys(t testing.TB, suite string) map[string][]byte {
	if suite == SuiteMLKEM {
		return badMLKEMKeys(t)
	}
	return badRSAKeys(t)
}

// Row 19: malformed and weak KEM keys.
func TestRow19KEMKeys(t *testing.T) {
	eachSuite(t, func(t *testing.T, name string) {
		s := SuiteByName(name)
		for what, key := range badKEMKeys(t, name) {
			enc, secret, err := s.Encapsulate(key, nil)
			if err == nil {
				t.Errorf("%s: taken", what)
			}
			if enc != nil || secret != nil {
				t.Errorf("%s: an error, and a secret with it", what)
			}
			if passes := s.CheckKey(key) == nil; passes != isLowOrder(what) {
				t.Errorf("%s: passes the check: %v", what, passes)
			}
		}
	})
}

// Row 19: malformed ciphertexts of the default suite. A spoiled one shows only in the secret. A
// malformed one is the error that a wrong secret gives later.
func TestRow19MLKEMCiphertexts(t *testing.T) {
	s := mlkemSuite{}
	key := testKEMKey(t, s, 0)
	enc, secret, err := s.Encapsulate(key.Public(), nil)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{"nothing": {}, "nil": nil, "one byte less": enc[:len(enc)-1], "one byte more": append(bytes.Clone(enc), 0)}
	for i, point := range lowOrder {
		spoiled := bytes.Clone(enc)
		copy(spoiled[mlkem.CiphertextSize768:], point[:])
		bad["low order "+string(rune('0'+i))] = spoiled
	}
	for what, enc := range bad {
		if _, err := s.Decapsulate(key, enc, nil); err != ErrDecrypt {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := 0; i < len(enc); i += 37 {
		spoiled := bytes.Clone(enc)
		spoiled[i] ^= 1
		got, err := s.Decapsulate(key, spoiled, nil)
		again, _ := s.Decapsulate(key, spoiled, nil)
		if err != nil || bytes.Equal(got, secret) || !bytes.Equal(got, again) {
			t.Errorf("byte %d spoiled: %v", i, err)
		}
	}
}

// Row 19: no failure of OAEP shows. There is a secret each time, and a new one each time.
func TestRow19OAEP(t *testing.T) {
	s := SuiteByName(SuiteRSA256)
	key := sharedRSA(t, 0)
	enc, secret, err := s.Encapsulate(key.Public(), []byte("info"))
	if err != nil {
		t.Fatal(err)
	}
	n := key.private.N
	pub := &key.private.PublicKey
	short, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, secret[:31], []byte("info"))
	if err != nil {
		t.Fatal(err)
	}
	long, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, append(bytes.Clone(secret), 0), []byte("info"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{string(secret): "the true one"}
	for what, bad := range map[string][]byte{
		"nil":                 nil,
		"zeros":               make([]byte, 256),
		"one":                 append(make([]byte, 255), 1),
		"the modulus":         n.Bytes(),
		"beyond the modulus":  bytes.Repeat([]byte{0xff}, 256),
		"one byte less":       enc[:255],
		"one byte more":       append(bytes.Clone(enc), 0),
		"a zero before":       append([]byte{0}, enc...),
		"first byte flipped":  append([]byte{enc[0] ^ 1}, enc[1:]...),
		"last byte flipped":   append(bytes.Clone(enc[:255]), enc[255]^1),
		"a secret of 31":      short,
		"a secret of 33":      long,
		"64 KiB of ones":      bytes.Repeat([]byte{1}, 64<<10),
		"PKCS #1 v1.5 inside": pkcs1(t, pub, secret),
	} {
		for range 2 {
			got, err := s.Decapsulate(key, bad, []byte("info"))
			if err != nil || len(got) != secretSize {
				t.Errorf("%s: %d bytes, %v", what, len(got), err)
			}
			if same, ok := seen[string(got)]; ok {
				t.Errorf("%s: the same secret as %s", what, same)
			}
			seen[string(got)] = what
		}
	}
}

func pkcs1(t testing.TB, pub *rsa.PublicKey, secret []byte) []byte {
	t.Helper()
	// RFC 8017, section 7.2.1.
	em := slices.Concat([]byte{0, 2}, bytes.Repeat([]byte{1}, 256-3-len(secret)), []byte{0}, secret)
	m := new(big.Int).SetBytes(em)
	return m.Exp(m, big.NewInt(int64(pub.E)), pub.N).FillBytes(make([]byte, 256))
}

func TestSealOpen(t *testing.T) {
	eachSuite(t, func(t *testing.T, name string) {
		s := SuiteByName(name)
		mk, aad := unknownSecret(), []byte("aad")
		for size := range 50 {
			plain := bytes.Repeat([]byte{0x10}, size) // looks like padding
			dst := []byte("before")
			sealed := s.Seal(bytes.Clone(dst), mk, aad, plain)
			if !bytes.HasPrefix(sealed, dst) || len(sealed)-len(dst)-size > sealOverhead {
				t.Fatalf("%d bytes: sealed to %d after %q", size, len(sealed), sealed[:len(dst)])
			}
			sealed = sealed[len(dst):]
			got, err := s.Open(bytes.Clone(dst), mk, aad, sealed)
			if err != nil || !bytes.Equal(got, slices.Concat(dst, plain)) {
				t.Fatalf("%d bytes: %x, %v", size, got, err)
			}
			place := bytes.Clone(sealed)
			got, err = s.Open(place[:0], mk, aad, place)
			if err != nil || !bytes.Equal(got, plain) || size > 0 && &got[0] != &place[0] {
				t.Fatalf("%d bytes in place: %x, %v", size, got, err)
			}
		}
	})
}

// Row 19: every fault of a sealed text is one and the same error.
func TestRow19OneError(t *testing.T) {
	eachSuite(t, func(t *testing.T, name string) {
		s := SuiteByName(name)
		mk, aad := unknownSecret(), []byte("aad")
		sealed := s.Seal(nil, mk, aad, []byte("some text of more than one block"))
		check := func(what string, mk, aad, sealed []byte) {
			t.Helper()
			if got, err := s.Open(nil, mk, aad, sealed); err != ErrDecrypt || got != nil {
				t.Errorf("%s: %q, %v", what, got, err)
			}
		}
		for i := range sealed {
			for bit := range 8 {
				bad := bytes.Clone(sealed)
				bad[i] ^= 1 << bit
				check("a bit flipped", mk, aad, bad)
			}
			check("cut short", mk, aad, sealed[:i])
		}
		check("longer by a byte", mk, aad, append(bytes.Clone(sealed), 0))
		check("longer by a block", mk, aad, append(bytes.Clone(sealed), make([]byte, 16)...))
		check("longer in front", mk, aad, append(make([]byte, 16), sealed...))
		check("another key", unknownSecret(), aad, sealed)
		check("other data", mk, []byte("aae"), sealed)
		check("no data", mk, nil, sealed)
		check("nothing", mk, aad, nil)
		// A message key belongs to one suite: the two of AES-CBC would derive one MAC key from it.
		ck := unknownSecret()
		keyOf := func(s Suite) []byte {
			mk, _ := newKDFChain(s, ck, [32]byte{}, "a2b").keys(make([]byte, secretSize))
			return mk
		}
		for _, other := range suites {
			if other != s {
				check("sealed by "+other.Name(), keyOf(s), aad, other.Seal(nil, keyOf(other), aad, []byte("text")))
			}
		}
	})
}

// A message key that was cleared is known to everybody. What is sealed under one does not open with
// it, and what somebody seals with it does not open.
func TestClearedMessageKey(t *testing.T) {
	eachSuite(t, func(t *testing.T, name string) {
		s := SuiteByName(name)
		for _, mk := range [][]byte{nil, {}, make([]byte, 16), make([]byte, secretSize)} {
			if got, err := s.Open(nil, mk, nil, sealKnown(t, s, mk, []byte("text"))); err != ErrDecrypt || got != nil {
				t.Errorf("under %d zeros opens %q, %v", len(mk), got, err)
			}
			if sealed := s.Seal(nil, mk, nil, []byte("text")); bytes.Equal(sealed, sealKnown(t, s, mk, []byte("text"))) {
				t.Errorf("sealed under %d zeros", len(mk))
			}
		}
		mk := unknownSecret()
		if !bytes.Equal(s.Seal(nil, mk, nil, []byte("text")), sealKnown(t, s, mk, []byte("text"))) {
			t.Error("the test seals otherwise than the suite")
		}
	})
}

// sealKnown seals a text of less than a block without additional data, under any key.
func sealKnown(t testing.TB, s Suite, mk, text []byte) []byte {
	t.Helper()
	rs, isRSA := s.(rsaSuite)
	if !isRSA {
		key := make([]byte, secretSize)
		copy(key, mk)
		block, err := aes.NewCipher(key)
		Must(t, err)
		aead, err := cipher.NewGCM(block)
		Must(t, err)
		return aead.Seal(nil, make([]byte, 12), text, nil)
	}
	all := expandLabel(mk, "cbc", rs.keySize+16+32)
	block, err := aes.NewCipher(all[:rs.keySize])
	Must(t, err)
	pad := 16 - len(text)
	out := append(bytes.Clone(text), bytes.Repeat([]byte{byte(pad)}, pad)...)
	iv := all[rs.keySize : rs.keySize+16]
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, out)
	return rs.mac(out, all[rs.keySize+16:], nil, iv, out[:16:16])
}

// Row 19: a right MAC over wrong padding, which only the sender can make, is the same error.
func TestRow19Padding(t *testing.T) {
	for _, s := range []rsaSuite{suites[1].(rsaSuite), suites[2].(rsaSuite)} {
		mk := unknownSecret()
		for what, plain := range map[string][]byte{
			"padding of 0":          make([]byte, 16),
			"padding of 17":         bytes.Repeat([]byte{17}, 32),
			"padding of 255":        bytes.Repeat([]byte{255}, 256),
			"padding not all equal": append(bytes.Repeat([]byte{1}, 13), 3, 2, 3),
			"text without padding":  []byte("sixteen letters."),
		} {
			if got, err := s.Open(nil, mk, nil, sealPadded(s, mk, plain)); err != ErrDecrypt || got != nil {
				t.Errorf("%s, %s: %q, %v", s.name, what, got, err)
			}
		}
		if got, err := s.Open(nil, mk, nil, sealPadded(s, mk, bytes.Repeat([]byte{16}, 16))); err != nil || len(got) != 0 {
			t.Errorf("%s: padding alone: %q, %v", s.name, got, err)
		}
		// A MAC over no block.
		_, iv, macKey := s.keys(mk)
		if _, err := s.Open(nil, mk, nil, s.mac(nil, macKey, nil, iv, nil)); err != ErrDecrypt {
			t.Errorf("%s: no block: %v", s.name, err)
		}
	}
}

// sealPadded is Seal for a text that is already padded, rightly or not.
func sealPadded(s rsaSuite, mk, padded []byte) []byte {
	block, iv, macKey := s.keys(mk)
	out := make([]byte, len(padded))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, padded)
	return s.mac(out, macKey, nil, iv, out[:len(padded):len(padded)])
}

// TestExpand: expand is HKDF-Expand as crypto/hkdf has it, whatever the sizes.
func TestExpand(t *testing.T) {
	for _, size := range []int{1, 31, 32, 33, 64, 80, 96, 255 * 32} {
		for _, length := range []int{0, 1, 63, 150, 414, 415, 416, 5000} {
			prk, info := unknownSecret(), make([]byte, length)
			rand.Read(info)
			want, err := hkdf.Expand(sha256.New, prk, string(info), size)
			Must(t, err)
			if got := expand(prk, info, size); !bytes.Equal(got, want) || cap(got) != size {
				t.Errorf("%d bytes of an info of %d: %x, not %x", size, length, got, want)
			}
		}
	}
}
