package attack

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 19, against real clients and the real relay: malformed and weak keys.

// weakKeys are public keys that nobody may use.
func weakKeys(t testing.TB) map[string][]byte {
	t.Helper()
	spki := func(key stdcrypto.PublicKey) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	odd := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(3), bits-2)
		return n.SetBit(n, 0, 1)
	}
	good, err := trust.GenerateKey(trust.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	whole := good.Public().SPKI()
	smallOrder := bytes.Clone(whole)
	clear(smallOrder[len(smallOrder)-32:])
	return map[string][]byte{
		"nothing":                {},
		"RSA of 512 bits":        spki(&rsa.PublicKey{N: odd(512), E: 65537}),
		"RSA of 1024 bits":       spki(&rsa.PublicKey{N: odd(1024), E: 65537}),
		"RSA with exponent 1":    spki(&rsa.PublicKey{N: odd(2048), E: 1}),
		"RSA with exponent 3":    spki(&rsa.PublicKey{N: odd(2048), E: 3}),
		"RSA, an even modulus":   spki(&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}),
		"Ed25519 of small order": smallOrder,
		"one byte less":          whole[:len(whole)-1],
		"one byte more":          append(bytes.Clone(whole), 0),
	}
}

// weakKEMKeys are, by suite, ephemeral keys that nobody may encapsulate to.
func weakKEMKeys(t testing.TB) map[string]map[string][]byte {
	t.Helper()
	var keys crypto.KeySource
	defer keys.Close()
	kem, err := keys.Get(crypto.SuiteByName(crypto.SuiteMLKEM))
	if err != nil {
		t.Fatal(err)
	}
	good := kem.Public()
	lowOrder, beyondQ := bytes.Clone(good), bytes.Clone(good)
	clear(lowOrder[len(lowOrder)-32:]) // the X25519 half
	copy(beyondQ, []byte{0xff, 0xff, 0xff})
	return map[string]map[string][]byte{
		crypto.SuiteMLKEM: {
			"nothing": {}, "one byte less": good[:len(good)-1], "one byte more": append(bytes.Clone(good), 0),
			"low order": lowOrder, "coefficients beyond q": beyondQ,
		},
		crypto.SuiteRSA256: weakKeys(t),
		crypto.SuiteRSA128: weakKeys(t),
	}
}

// TestAttack19RelayKeys: a client leaves a relay that signs, or has, a weak key, before it sends
// anything that names a person.
func TestAttack19RelayKeys(t *testing.T) {
	town := newTown(t, "alice")
	cred := town.credential("alice")
	key, err := trust.GenerateKey(trust.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	// relay answers with these keys. A phase 3 fails the test.
	relay := func(suite string, kem, spki []byte) string {
		return answering(t, func(conn net.Conn, line1 []byte) {
			p2 := &proto.Connect2{Type: proto.TypeConnect, Phase: 2, Cipher: suite, Data: kem, PublicKey: spki}
			p2.Signature = key.Sign(crypto.NewConnect(line1).RelaySigns(suite, kem, spki))
			conn.Write(append(proto.MustMarshal(p2), '\n'))
			if line, err := proto.NewLineReader(conn).ReadLine(proto.MaxHandshakeLine); err == nil {
				t.Errorf("the client goes on with %.60s", line)
			}
		})
	}
	refused := func(what, addr, suite string) {
		t.Helper()
		accept := func(string) error { return nil }
		r := client.Relay{Addr: addr, Dial: new(net.Dialer).DialContext, Ciphers: []string{suite}}
		_, err := connect(t.Context(), &r, cred, proto.TakesNone, accept)
		if e := fail.AsError(err); e == nil || e.Code != proto.Malformed || fail.ExitStatus(err) != 1 {
			t.Errorf("%s: %v", what, err)
		}
	}
	for suite, keys := range weakKEMKeys(t) {
		for what, kem := range keys {
			refused(suite+", a KEM key of "+what, relay(suite, kem, key.Public().SPKI()), suite)
		}
	}
	for what, spki := range weakKeys(t) {
		refused("an identity key of "+what, relay(crypto.SuiteMLKEM, make([]byte, 1216), spki), crypto.SuiteMLKEM)
	}
	town.client("alice")
}

// TestAttack19OneAnswer: the relay's answer is the same for every fault of phase 3's ciphertext.
func TestAttack19OneAnswer(t *testing.T) {
	rt := startRelay(t)
	others := rt.Others()
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	spoils := map[string]func(enc []byte) []byte{
		"one byte less": func(enc []byte) []byte { return enc[:len(enc)-1] },
		"zeros":         func(enc []byte) []byte { clear(enc); return enc },
	}
	// Each try takes one of the relay's keys, and RSA keys are slow to make.
	for _, suite := range []string{crypto.SuiteRSA256, crypto.SuiteRSA128, crypto.SuiteMLKEM} {
		if suite == crypto.SuiteMLKEM {
			spoils["nothing"] = func([]byte) []byte { return []byte{} }
			spoils["one byte"] = func([]byte) []byte { return []byte{1} }
			spoils["one byte more"] = func(enc []byte) []byte { return append(enc, 0) }
			spoils["the first bit"] = func(enc []byte) []byte { enc[0] ^= 0x80; return enc }
			spoils["the last bit"] = func(enc []byte) []byte { enc[len(enc)-1] ^= 1; return enc }
			spoils["low order"] = func(enc []byte) []byte { clear(enc[len(enc)-32:]); return enc }
		}
		answers := map[string][]string{}
		for what, spoil := range spoils {
			var told *proto.Error
			for told == nil || told.Code == proto.Busy { // no RSA key was ready
				_, err := rt.Handshake(&wire.HandshakePlan{
					Cred: cred, Takes: proto.TakesNone, Ciphers: []string{suite},
					Line3: func(line []byte) []byte {
						var p3 proto.Connect3
						if err := proto.ReadConnect(line, 3, &p3); err != nil {
							t.Fatal(err)
						}
						p3.Data = spoil(p3.Data)
						return proto.MustMarshal(&p3)
					},
				})
				var ok bool
				if told, ok = errors.AsType[*proto.Error](err); !ok {
					t.Fatalf("%s, %s: %v", suite, what, err)
				}
			}
			answers[string(told.Code)+": "+told.Message] = append(answers[string(told.Code)+": "+told.Message], what)
			if told.Code != proto.DecryptFailed {
				t.Errorf("%s, %s: %s", suite, what, told.Code)
			}
		}
		if len(answers) != 1 {
			t.Errorf("%s: the answers tell faults apart: %v", suite, answers)
		}
		others.Served(suite)
	}
}
