package trust

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"testing"

	"chatsecure/testdata/corpus"
)

func newTestKey(t testing.TB, kind string) *Key {
	t.Helper()
	k, err := GenerateKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func spkiOf(t testing.TB, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// edSPKI wraps any 32 bytes as an Ed25519 key.
func edSPKI(point []byte) []byte {
	prefix := []byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}
	return append(prefix, point...)
}

func TestKeyRoundTrip(t *testing.T) {
	for _, kind := range []string{KeyEd25519, KeyRSA} {
		t.Run(kind, func(t *testing.T) {
			k := newTestKey(t, kind)
			if k.Kind() != kind {
				t.Errorf("kind is %s", k.Kind())
			}
			again, err := ParseKey(k.PKCS8())
			if err != nil {
				t.Fatal(err)
			}
			public, err := ParsePublicKey(k.Public().SPKI())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(public.SPKI(), again.Public().SPKI()) {
				t.Error("the public half changed on the way")
			}
			message := []byte("message")
			for _, signer := range []*Key{k, again} {
				signature := signer.Sign(message)
				if !public.Verify(message, signature) {
					t.Error("its own signature does not hold")
				}
				if public.Verify([]byte("massage"), signature) {
					t.Error("a signature holds for another message")
				}
				for i := range signature {
					signature[i] ^= 1
					if public.Verify(message, signature) {
						t.Errorf("a signature with byte %d changed holds", i)
					}
					signature[i] ^= 1
				}
				for _, wrong := range [][]byte{nil, signature[:len(signature)-1], append(bytes.Clone(signature), 0)} {
					if public.Verify(message, wrong) {
						t.Errorf("a signature of %d bytes holds", len(wrong))
					}
				}
			}
			if other := newTestKey(t, kind); other.Public().Verify(message, k.Sign(message)) {
				t.Error("another key's signature holds")
			}
		})
	}
	if _, err := GenerateKey("dsa"); err == nil {
		t.Error("a key of an unknown kind was made")
	}
}

func TestKeyErase(t *testing.T) {
	k := newTestKey(t, KeyEd25519)
	secret := k.private.(ed25519.PrivateKey)
	k.Erase()
	if !bytes.Equal(secret, make([]byte, len(secret))) {
		t.Error("the Ed25519 key is still in memory")
	}
	r := newTestKey(t, KeyRSA)
	d, primes := r.private.(*rsa.PrivateKey).D, r.private.(*rsa.PrivateKey).Primes
	r.Erase()
	for _, n := range append([]*big.Int{d}, primes...) {
		for _, word := range n.Bits() {
			if word != 0 {
				t.Fatal("the RSA key is still in memory")
			}
		}
	}
	for _, k := range []*Key{k, r} {
		if k.Sign([]byte("x")) != nil || k.PKCS8() != nil {
			t.Error("an erased key still works")
		}
		if k.Public() == nil {
			t.Error("the public half is gone")
		}
		k.Erase()
	}
}

// RSA signatures are PSS with SHA-256 and 32 bytes of salt, and no other.
func TestRSASignatureForm(t *testing.T) {
	k := newTestKey(t, KeyRSA)
	message := []byte("message")
	digest := sha256.Sum256(message)
	for _, salt := range []int{0, 20, 31, 33, rsa.PSSSaltLengthAuto} {
		signature, err := rsa.SignPSS(rand.Reader, k.private.(*rsa.PrivateKey), pssOptions.Hash, digest[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if k.Public().Verify(message, signature) {
			t.Errorf("PSS with a salt length of %d is accepted", salt)
		}
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, k.private.(*rsa.PrivateKey), pssOptions.Hash, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if k.Public().Verify(message, signature) {
		t.Error("a PKCS #1 v1.5 signature is accepted")
	}
}

// edTorsion is every encoding that crypto/ed25519 decodes to a point of small order: the canonical
// ones, and those with y >= p or a sign for x = 0.
var edTorsion = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p + 1
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// Row 19: for each point of small order crypto/ed25519 accepts some "signature" that nobody made,
// so the key must be refused.
func TestRow19SmallOrderKeys(t *testing.T) {
	for _, digits := range edTorsion {
		point, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		// R = the neutral element, s = 0: valid whenever the order divides the hash, for one
		// message in eight at worst.
		forged := make([]byte, 64)
		forged[0] = 1
		held := false
		for n := range 256 {
			held = held || ed25519.Verify(point, []byte{byte(n)}, forged)
		}
		if !held {
			t.Errorf("%s: no forgery found; is it a point of small order?", digits)
		}
		if _, err := ParsePublicKey(edSPKI(point)); err == nil {
			t.Errorf("%s is accepted", digits)
		}
	}
}

func TestRow19Ed25519Encodings(t *testing.T) {
	le := func(n *big.Int, sign byte) []byte {
		b := n.FillBytes(make([]byte, 32))
		for i := range 16 {
			b[i], b[31-i] = b[31-i], b[i]
		}
		b[31] |= sign << 7
		return b
	}
	for y := int64(0); y < 19; y++ { // the 19 values with a second encoding
		for sign := range byte(2) {
			if _, err := ParsePublicKey(edSPKI(le(new(big.Int).Add(edField, big.NewInt(y)), sign))); err == nil {
				t.Errorf("y = p + %d is accepted", y)
			}
		}
	}
	// About half of all y belong to a point. Under the others no signature holds, not even the one
	// for points of small order.
	forged, off := make([]byte, 64), 0
	forged[0] = 1
	for y := int64(2); y < 66; y++ {
		point := le(big.NewInt(y), 0)
		p, err := ParsePublicKey(edSPKI(point))
		if err != nil {
			t.Errorf("y = %d: %v", y, err)
			continue
		}
		if _, decodes := decodeEd25519(point); decodes {
			continue
		}
		off++
		for n := range 256 {
			if p.Verify([]byte{byte(n)}, forged) {
				t.Fatalf("y = %d is not on the curve, and a signature holds", y)
			}
		}
	}
	if off < 20 || off > 44 {
		t.Errorf("%d of 64 small y are not on the curve; about half should be", off)
	}
}

// edField is the field's prime 2^255 - 19, edD the curve's constant d (RFC
// 8032, section 5.1).
var (
	edField, _ = new(big.Int).SetString("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed", 16)
	edD, _     = new(big.Int).SetString("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3", 16)
)

// decodeEd25519 recovers x by RFC 8032, section 5.1.3, step by step.
func decodeEd25519(point []byte) (x *big.Int, ok bool) {
	b := bytes.Clone(point)
	b[31] &= 0x7f
	for i := range 16 {
		b[i], b[31-i] = b[31-i], b[i]
	}
	y2 := new(big.Int).SetBytes(b)
	y2.Mul(y2, y2)
	u := new(big.Int).Sub(y2, big.NewInt(1))
	v := new(big.Int).Mul(edD, y2)
	v.Add(v, big.NewInt(1)).Mod(v, edField)
	u.Mul(u, new(big.Int).ModInverse(v, edField)).Mod(u, edField)
	x = new(big.Int).ModSqrt(u, edField)
	return x, x != nil
}

func TestRow19PublicKeys(t *testing.T) {
	good := newTestKey(t, KeyRSA).private.(*rsa.PrivateKey).PublicKey
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	xKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := newTestKey(t, KeyEd25519).Public().SPKI()
	rsaSPKI := spkiOf(t, &good)
	rsaWith := func(n *big.Int, e int) []byte { return spkiOf(t, &rsa.PublicKey{N: n, E: e}) }
	top := func(bits uint) *big.Int { // an odd number of that many bits
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.Add(n, big.NewInt(1))
	}
	withoutNull := func() []byte {
		var info struct {
			Algorithm struct{ OID asn1.ObjectIdentifier }
			Key       asn1.BitString
		}
		info.Algorithm.OID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
		key := x509.MarshalPKCS1PublicKey(&good)
		info.Key = asn1.BitString{Bytes: key, BitLength: 8 * len(key)}
		der, err := asn1.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, test := range []struct {
		name string
		spki []byte
	}{
		{"nothing", nil},
		{"empty sequence", []byte{0x30, 0}},
		{"RSA of 512 bits", rsaWith(top(512), 65537)},
		{"RSA of 1024 bits", rsaWith(top(1024), 65537)},
		{"RSA of 2047 bits", rsaWith(top(2047), 65537)},
		{"RSA of 2049 bits", rsaWith(top(2049), 65537)},
		{"RSA of 3072 bits", rsaWith(top(3072), 65537)},
		{"RSA of 65536 bits", rsaWith(top(65536), 65537)},
		{"even modulus", rsaWith(new(big.Int).Sub(good.N, big.NewInt(1)), 65537)},
		{"exponent 1", rsaWith(good.N, 1)},
		{"exponent 2", rsaWith(good.N, 2)},
		{"exponent 3", rsaWith(good.N, 3)},
		{"exponent 65535", rsaWith(good.N, 65535)},
		{"exponent 65538", rsaWith(good.N, 65538)},
		{"exponent 2^31-1", rsaWith(good.N, 1<<31-1)},
		{"negative modulus", rsaWith(new(big.Int).Neg(good.N), 65537)},
		{"ECDSA", spkiOf(t, &ecKey.PublicKey)},
		{"X25519", spkiOf(t, xKey.PublicKey())},
		{"trailing byte", append(bytes.Clone(ed), 0)},
		{"RSA, trailing byte", append(bytes.Clone(rsaSPKI), 0)},
		{"RSA without NULL", withoutNull()},
		{"Ed25519 cut short", ed[:len(ed)-1]},
		{"Ed25519 of 31 bytes", append([]byte{0x30, 0x29, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x20, 0x00}, make([]byte, 31)...)},
		{"long form of a short length", append([]byte{0x30, 0x81, 0x2a}, ed[2:]...)},
		{"unused bits", append(append(bytes.Clone(ed[:11]), 1), ed[12:]...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ParsePublicKey(test.spki); err == nil {
				t.Error("accepted")
			}
		})
	}
	for _, spki := range [][]byte{ed, rsaSPKI} {
		if _, err := ParsePublicKey(spki); err != nil {
			t.Errorf("a good key is refused: %v", err)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(private any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	ed := newTestKey(t, KeyEd25519).PKCS8()
	for name, der := range map[string][]byte{
		"nothing":       nil,
		"ECDSA":         pkcs8(ecKey),
		"RSA-1024":      pkcs8(small),
		"trailing byte": append(bytes.Clone(ed), 0),
		"cut short":     ed[:len(ed)-1],
	} {
		if _, err := ParseKey(der); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestFingerprint(t *testing.T) {
	if got, want := Fingerprint([]byte("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; got != want {
		t.Errorf("fingerprint is %s, want %s", got, want)
	}
}

// FuzzParsePublicKey: an accepted key has one encoding and is of one of the two kinds. The seeds
// have one of each and the table of small order.
func FuzzParsePublicKey(f *testing.F) {
	good := [][]byte{newTestKey(f, KeyEd25519).Public().SPKI(), newTestKey(f, KeyRSA).Public().SPKI()}
	var small [][]byte
	for _, digits := range edTorsion {
		point, _ := hex.DecodeString(digits)
		small = append(small, edSPKI(point))
	}
	corpus.Add(f, func(spki []byte) bool { _, err := ParsePublicKey(spki); return err == nil }, good, small...)
	f.Fuzz(func(t *testing.T, spki []byte) {
		p, err := ParsePublicKey(spki)
		if err != nil {
			return
		}
		if !bytes.Equal(p.SPKI(), spki) {
			t.Errorf("%x is accepted and comes back as %x", spki, p.SPKI())
		}
		public, err := x509.ParsePKIXPublicKey(spki)
		if err != nil {
			t.Fatalf("crypto/x509 refuses what was accepted: %v", err)
		}
		switch public := public.(type) {
		case ed25519.PublicKey:
			forged := make([]byte, 64)
			forged[0] = 1
			if _, ok := decodeEd25519(public); !ok && p.Verify([]byte("message"), forged) {
				t.Error("a signature holds under a key that is no point")
			}
		case *rsa.PublicKey:
			if public.Size() != 256 || public.E != 65537 {
				t.Errorf("RSA of %d bytes with exponent %d is accepted", public.Size(), public.E)
			}
		default:
			t.Errorf("a %T is accepted", public)
		}
		p.Verify([]byte("message"), make([]byte, 64)) // must not panic
	})
}

// FuzzParseKey: an accepted private key is of our kinds, and is written in the form that was read
// or in the one that reads the same.
func FuzzParseKey(f *testing.F) {
	ed, large := newTestKey(f, KeyEd25519), newTestKey(f, KeyRSA)
	corpus.Add(f, func(pkcs8 []byte) bool { _, err := ParseKey(pkcs8); return err == nil },
		[][]byte{ed.PKCS8(), large.PKCS8()}, nil, append(ed.PKCS8(), 0), ed.PKCS8()[:40])
	f.Fuzz(func(t *testing.T, pkcs8 []byte) {
		k, err := ParseKey(pkcs8)
		if err != nil {
			if k != nil {
				t.Fatal("an error, and a key with it")
			}
			return
		}
		if _, err := x509.ParsePKCS8PrivateKey(pkcs8); err != nil {
			t.Fatalf("crypto/x509 refuses what was accepted: %v", err)
		}
		if !k.Public().Verify([]byte("m"), k.Sign([]byte("m"))) {
			t.Fatal("its signature does not hold")
		}
		again, err := ParseKey(k.PKCS8())
		if err != nil || !bytes.Equal(again.Public().SPKI(), k.Public().SPKI()) {
			t.Fatalf("it comes back as another, %v", err)
		}
	})
}
