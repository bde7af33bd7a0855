package chatsecure

import (
	"bytes"
	"context"
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Rows 18 and 19 against real clients and the real relay: keys that leaked,
// and keys that are none.

// weakKeys are public keys that nobody may have.
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
	good, err := crypto.GenerateKey(crypto.KeyEd25519)
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

// weakKEMKeys are ephemeral keys that nobody may encapsulate to, by suite.
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

// TestAttack19RelayKeys: a relay that signs weak keys, or has one, is left
// before anything that names a person is sent.
func TestAttack19RelayKeys(t *testing.T) {
	town := newTown(t, "alice")
	cred := town.credential("alice")
	key, err := crypto.GenerateKey(crypto.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	// relay answers with these keys, and fails the test if there is a phase 3.
	relay := func(suite string, kem, spki []byte) string {
		return answering(t, func(conn net.Conn, line1 []byte) {
			p2 := &proto.Connect2{Type: proto.TypeConnect, Phase: 2, Cipher: suite, Data: kem, PublicKey: spki}
			p2.Signature = key.Sign(crypto.NewConnect(line1).RelaySigns(suite, kem, spki))
			conn.Write(append(canon.MustMarshal(p2), '\n'))
			if line, err := proto.NewLineReader(conn).ReadLine(proto.MaxHandshakeLine); err == nil {
				t.Errorf("the client goes on with %.60s", line)
			}
		})
	}
	refused := func(what, addr, suite string) {
		t.Helper()
		accept := func(string) error { return nil }
		_, err := connect(t.Context(), new(net.Dialer).DialContext, addr, []string{suite}, cred, proto.TakesNone, accept)
		if e := AsError(err); e == nil || e.Code != proto.Malformed || ExitStatus(err) != 1 {
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

// TestAttack19OneAnswer: whatever is wrong with the ciphertext of phase 3, the
// relay answers the same.
func TestAttack19OneAnswer(t *testing.T) {
	rt := startRelayTest(t)
	others := rt.others()
	cred := relayTestDelegate(t, relayTestPerson(t, "ana"), "ana")
	spoils := map[string]func(enc []byte) []byte{
		"one byte less": func(enc []byte) []byte { return enc[:len(enc)-1] },
		"zeros":         func(enc []byte) []byte { clear(enc); return enc },
	}
	// Each try takes a key of the relay's, and those of RSA are slow to make.
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
				_, err := relayTestHandshake(t, rt.dial(), &relayTestHandshakePlan{
					cred: cred, takes: proto.TakesNone, ciphers: []string{suite},
					line3: func(line []byte) []byte {
						var p3 proto.Connect3
						if err := proto.ReadConnect(line, 3, &p3); err != nil {
							t.Fatal(err)
						}
						p3.Data = spoil(p3.Data)
						return canon.MustMarshal(&p3)
					},
				})
				var ok bool
				if told, ok = err.(*proto.Error); !ok {
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
		others.served(suite)
	}
}

// TestAttack18NobodyIsBobToAlice: Mallory has Alice's K and the relay. She
// cannot be Bob to Alice by it, with whatever bundle.
func TestAttack18NobodyIsBobToAlice(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	stolen := alice.engine.cfg.Credential
	bundles := map[string]*crypto.Bundle{"hers": stolen.Bundle}
	renamed := *stolen.Bundle
	renamed.Name = "bob"
	bundles["hers under his name"] = &renamed
	bundles["his"] = bob.engine.cfg.Credential.Bundle
	rekeyed := *bundles["his"]
	rekeyed.PublicKey = stolen.Bundle.PublicKey
	bundles["his with her K"] = &rekeyed
	alice.leave()

	for what, bundle := range bundles {
		tried := 0
		relay.tampering(func(l evilLine) []evilLine {
			if crypto.PeekPhase(l.body) != "p1" || l.from.hello.Name != "alice" {
				return nil // Bob is not to get a word in
			}
			tried++
			mallory := &crypto.Local{Key: stolen.Key, Bundle: bundle, FoldedName: "bob", Suites: crypto.SuiteNames(), Keys: &relay.keys}
			offer, err := crypto.ReadOffer(l.body, crypto.End{Name: "bob", Conn: l.to.id}, crypto.End{Name: l.from.hello.Name, Conn: l.from.id})
			if err != nil {
				t.Error(err)
				return nil
			}
			body, _, _, err := offer.Answer(mallory, nil, func(*crypto.Bundle, string) (*crypto.Person, error) { return &crypto.Person{}, nil })
			if err != nil {
				t.Error(err)
				return nil
			}
			return []evilLine{{from: l.to, to: l.from, header: proto.Header{Type: proto.TypeClientConnect, Phase: 2}, body: body}}
		})
		alice = town.client("alice", oneTry)
		_, err := alice.Send(context.Background(), []string{"bob"}, "for bob only")
		if exit := ExitStatus(err); exit != 4 && exit != 8 {
			t.Errorf("%s: %v", what, err)
		}
		for _, ev := range alice.seen() {
			if ev.Peer != nil && ev.Peer.What == "authenticated" {
				t.Errorf("%s: it was taken for bob's", what)
			}
		}
		relay.do(func() {
			if tried == 0 {
				t.Errorf("%s: nothing was tried", what)
			}
		})
		alice.leave()
	}
	relay.tampering(honest)
	alice = town.client("alice")
	alice.mustSend("second", "bob")
	sees(t, alice, bob, "first", "second")
}

// TestAttack18EndsWithTheDelegation: being Alice by her K works for nobody
// once the delegation is over, neither at the relay nor, with the relay's
// help, with Bob.
func TestAttack18EndsWithTheDelegation(t *testing.T) {
	town := newTown(t, "alice", "bob")
	begin := time.Now().Add(-2 * time.Hour)
	stolen := town.credentialAt("alice", begin, time.Hour)
	cfg := town.config("alice", "state-mallory")
	cfg.Credential = stolen
	// A thief's clock says what the thief wants.
	cfg.Now = func() time.Time { return begin.Add(time.Minute) }
	cfg.Verifier = town.verifierBy(crypto.PolicyOff, cfg.Now)
	if _, err := Dial(context.Background(), cfg); AsError(err) == nil || AsError(err).Code != proto.DelegationExpired || ExitStatus(err) != 4 {
		t.Errorf("at the relay: %v", err)
	}
	town.stop()

	relay := newEvilRelay(t) // it lets everybody in
	town.addr = relay.ln.Addr().String()
	bob := town.client("bob")
	cfg = town.config("alice", "state-mallory")
	cfg.Credential = stolen
	cfg.again = time.Minute // of the two who begin, Bob does
	cfg.Now = func() time.Time { return begin.Add(time.Minute) }
	cfg.Verifier = town.verifierBy(crypto.PolicyOff, cfg.Now)
	mallory := town.dial(cfg)
	_, err := mallory.Send(context.Background(), []string{"bob"}, "it is me, alice")
	if e := AsError(err); e == nil || e.Code != proto.DelegationExpired {
		t.Errorf("with bob: %v", err)
	}
	// By her own clock it is Bob who is not valid yet, and she may say so first.
	if _, err = bob.Send(context.Background(), []string{"alice"}, "for alice"); ExitStatus(err) != 4 {
		t.Errorf("from bob: %v", err)
	}
	if got := slices.Concat(bob.texts(), mallory.texts()); len(got) != 0 {
		t.Errorf("shown: %q", got)
	}
	mallory.leave()
	// Alice herself, with a new delegation, is as welcome as ever.
	alice := town.client("alice")
	alice.mustSend("it is really me", "bob")
	sees(t, alice, bob, "it is really me")
}
