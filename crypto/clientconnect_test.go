package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

// handshake is a handshake that has been run, with all that crossed and the state of both sides
// before p2 and p3.
type handshake struct {
	a, b       *party
	verify     VerifyFunc
	i          *Initiator
	r          *Responder
	p1, p2, p3 []byte
}

// begin runs a handshake up to p2.
func begin(t testing.TB, a, b *party) *handshake {
	t.Helper()
	h := &handshake{a: a, b: b, verify: labVerify(t)}
	var err error
	if h.i, h.p1, err = Initiate(a.Local, a.end, b.end); err != nil {
		t.Fatal(err)
	}
	if h.p2, h.r, err = h.answer(h.p1); err != nil {
		t.Fatal(err)
	}
	return h
}

// answer is B's answer to a p1 that the relay stamped as A's.
func (h *handshake) answer(p1 []byte) ([]byte, *Responder, error) {
	offer, err := ReadOffer(p1, h.b.end, h.a.end)
	if err != nil {
		return nil, nil, err
	}
	p2, r, _, err := offer.Answer(h.b.Local, nil, h.verify)
	if err == nil && r == nil {
		err = errors.New("no p2")
	}
	return p2, r, err
}

// finish runs the handshake to its end, which shows that nothing has spoiled it.
func (h *handshake) finish(t testing.TB) (ca, cb *Conversation) {
	t.Helper()
	p3, ca, err := h.i.Phase2(h.p2, h.verify)
	if err != nil {
		t.Fatal(err)
	}
	h.p3 = p3
	cb, err = h.r.Phase3(p3)
	if err != nil {
		t.Fatal(err)
	}
	if ca.T3 != cb.T3 {
		t.Fatal("the two ends are not of one conversation")
	}
	return ca, cb
}

// spare is a copy of an initiator to try a p2 on: a good p2 erases the first key.
func (h *handshake) spare() *Initiator {
	i := *h.i
	i.key = spareKey(h.i.key)
	return &i
}

// spareKey is a copy of a key. Its erasure leaves the other.
func spareKey(key KEMKey) KEMKey {
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

func (h *handshake) refusedP2(t testing.TB, what string, p2 []byte) error {
	t.Helper()
	p3, c, err := h.spare().Phase2(p2, h.verify)
	if err == nil || p3 != nil || c != nil {
		t.Errorf("%s: p2 taken", what)
	}
	return err
}

func (h *handshake) refusedP3(t testing.TB, what string, p3 []byte) error {
	t.Helper()
	c, err := h.r.Phase3(p3)
	if err == nil || c != nil {
		t.Errorf("%s: p3 taken", what)
	}
	return err
}

func (h *handshake) refusedP1(t testing.TB, what string, p1 []byte) error {
	t.Helper()
	p2, r, err := h.answer(p1)
	if err == nil || p2 != nil || r != nil {
		t.Errorf("%s: p1 taken", what)
	}
	return err
}

// parts takes a body apart.
func parts(t testing.TB, body []byte) (phase []byte, with [][]byte) {
	t.Helper()
	lines := bytes.Split(bytes.Clone(body), []byte("\n"))
	for _, line := range lines[1:] {
		w, ok := proto.DecodeBase64(nil, line)
		if !ok {
			t.Fatalf("not base64: %q", line)
		}
		with = append(with, w)
	}
	return lines[0], with
}

// resignP1 and the others sign a phase with the key of its sender.
func (h *handshake) resignP1(p1 []byte) []byte {
	return joinBody(p1, h.a.Key.Sign(proto.Tuple("cc-1", p1)))
}

func (h *handshake) resignP2(t testing.TB, p2 []byte) []byte {
	t2 := proto.HashTuple("cc-T2", h.i.t1, p2)
	_, with := parts(t, h.p2)
	return joinBody(p2, h.b.Key.Sign(proto.Tuple("cc-2", t2)), with[1])
}

func (h *handshake) resignP3(t testing.TB, p3, confirm3 []byte) []byte {
	t3 := proto.HashTuple("cc-T3", h.r.t2, h.r.sig2, h.r.confirm2, p3)
	return joinBody(p3, h.a.Key.Sign(proto.Tuple("cc-3", t3)), confirm3)
}

// cheat is a p3 by a dishonest A: right, except that edit changes it before the signature and the
// confirmation.
func (h *handshake) cheat(t testing.TB, edit func(p *phase3)) []byte {
	t.Helper()
	return h.cheatExact(t, edit, func(exact []byte) []byte { return exact })
}

// cheatExact is cheat, and exact changes the bytes then.
func (h *handshake) cheatExact(t testing.TB, edit func(p *phase3), change func(exact []byte) []byte) []byte {
	t.Helper()
	p3, _ := parts(t, h.p3)
	var p phase3
	if err := json.Unmarshal(p3, &p); err != nil {
		t.Fatal(err)
	}
	enc, ss2, err := h.r.suite.Encapsulate(h.r.key.Public(), h.r.t2[:])
	if err != nil {
		t.Fatal(err)
	}
	p.Enc = enc
	edit(&p)
	exact, err := json.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	exact = change(exact)
	t3 := proto.HashTuple("cc-T3", h.r.t2, h.r.sig2, h.r.confirm2, exact)
	c := Conversation{T3: t3, PeerBundle: h.b.Bundle, local: h.a.Local, suite: h.r.suite}
	return h.resignP3(t, exact, confirm(c.begin(ss2, h.r.root0), t3))
}

func alice(t testing.TB, suites ...string) *party { return newParty(t, "alice", "a1", suites...) }

func bob(t testing.TB, suites ...string) *party { return newParty(t, "bob", "b1", suites...) }

// knows is a VerifyFunc that refuses an unknown identity under a known name, as a client does.
func knows(verify VerifyFunc, parties ...*party) VerifyFunc {
	return func(b *trust.Bundle, name string) (*trust.Person, error) {
		person, err := verify(b, name)
		for _, p := range parties {
			if err == nil && p.end.Name == name && p.Identity != person.Identity {
				return nil, errors.New("another identity than before")
			}
		}
		return person, err
	}
}

// mallory has a good card and K, and calls herself by another's name: anybody may claim a name.
func malloryAs(t testing.TB, name, conn string, suites ...string) *party {
	m := newParty(t, "mallory", conn, suites...)
	local := *m.Local
	local.Bundle = people.Bundle(t, people.Card(t, "mallory"), name, m.Key)
	person, err := labVerify(t)(local.Bundle, name)
	if err != nil {
		t.Fatal(err)
	}
	local.Identity, local.FoldedName = person.Identity, name
	return &party{Local: &local, end: End{Name: name, Conn: conn}, person: person}
}

// Row 1: the relay offers a key of its own as Bob's. No card of Bob's has signed it.
func TestRow01KeySubstitution(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		h := begin(t, alice(t, suite), bob(t, suite))
		h.verify = knows(h.verify, h.a, h.b)
		mallory := malloryAs(t, "bob", "b1", suite)

		for name, edit := range map[string]func(l *Local){
			"her own card under Bob's name": func(l *Local) { l.Bundle = mallory.Bundle },
			"her own bundle":                func(l *Local) { l.Bundle = newParty(t, "mallory", "m1").Bundle },
			"her K in Bob's bundle":         func(l *Local) { b := *h.b.Bundle; b.PublicKey = l.Bundle.PublicKey; l.Bundle = &b },
			"Bob's bundle, signed by her K": func(l *Local) { l.Bundle = h.b.Bundle },
			"Bob's certificate on her delegation": func(l *Local) {
				b := *mallory.Bundle
				b.X509, b.Chain = h.b.Bundle.X509, h.b.Bundle.Chain
				l.Bundle = &b
			},
			"a delegation that her card never gave": func(l *Local) { b := *mallory.Bundle; b.NotAfter++; l.Bundle = &b },
		} {
			local := *mallory.Local
			edit(&local)
			// As B: she answers A's p1 herself.
			offer, err := ReadOffer(h.p1, h.b.end, h.a.end)
			if err != nil {
				t.Fatal(err)
			}
			p2, _, _, err := offer.Answer(&local, nil, h.verify)
			if err != nil {
				t.Fatal(err)
			}
			h.refusedP2(t, "as Bob with "+name, p2)
		}
		// As the wire between them: she exchanges KEM keys for her own.
		key := testKEMKey(t, SuiteByName(suite), -1).Public()
		p1, with := parts(t, h.p1)
		swapped := bytes.Replace(p1, b64(h.i.key.Public()), b64(key), 1)
		if err := h.refusedP1(t, "A's key", joinBody(swapped, with...)); !errors.Is(err, ErrSignature) {
			t.Errorf("A's key: %v", err)
		}
		h.refusedP1(t, "A's key, signed by her", joinBody(swapped, mallory.Key.Sign(proto.Tuple("cc-1", swapped))))
		p2, with := parts(t, h.p2)
		swapped = bytes.Replace(p2, b64(h.r.key.Public()), b64(key), 1)
		h.refusedP2(t, "B's key", joinBody(swapped, with...))
		h.refusedP2(t, "B's key, signed by her", joinBody(swapped,
			mallory.Key.Sign(proto.Tuple("cc-2", proto.HashTuple("cc-T2", h.i.t1, swapped))), with[1]))
		h.finish(t)
	})
}

// Row 2: Mallory presents Bob's K under her own certificate, or passes Bob's handshake off as hers.
func TestRow02Misbinding(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		a, b := alice(t, suite), bob(t, suite)
		// Her own card delegates to Bob's K, under her own name.
		m := newParty(t, "mallory", "m1", suite)
		local := *m.Local
		local.Bundle = people.Bundle(t, people.Card(t, "mallory"), "mallory", b.Key)
		if _, err := labVerify(t)(local.Bundle, "mallory"); err != nil {
			t.Fatal(err) // it must be a good bundle: only the handshake shows the fraud
		}

		// Alice calls Mallory, who gets Bob to answer.
		h := begin(t, a, m)
		if _, err := ReadOffer(h.p1, b.end, a.end); !errors.Is(err, ErrHandshake) {
			t.Errorf("Bob reads an offer to Mallory: %v", err)
		}
		toBob := begin(t, a, b)
		bundle, err := json.Marshal(local.Bundle)
		if err != nil {
			t.Fatal(err)
		}
		bobs, err := json.Marshal(b.Bundle)
		if err != nil {
			t.Fatal(err)
		}
		p2, with := parts(t, toBob.p2)
		as := bytes.Replace(p2, bobs, bundle, 1)
		if bytes.Equal(as, p2) {
			t.Fatal("the bundle was not exchanged")
		}
		if err := h.refusedP2(t, "Bob's p2 with Mallory's bundle", joinBody(as, with...)); !errors.Is(err, ErrSignature) {
			t.Errorf("Bob's p2 with Mallory's bundle: %v", err)
		}
		h.refusedP2(t, "Bob's p2 to a p1 for Mallory", toBob.p2)

		// Mallory calls Bob with Alice's p1 as her own.
		offer, err := json.Marshal(a.Bundle)
		if err != nil {
			t.Fatal(err)
		}
		p1, with := parts(t, toBob.p1)
		as = bytes.Replace(p1, offer, bundle, 1)
		if _, err := ReadOffer(joinBody(as, with...), b.end, End{"mallory", "m1"}); !errors.Is(err, ErrHandshake) {
			t.Errorf("Alice's p1 from Mallory's connection: %v", err)
		}
		as = bytes.Replace(as, []byte(`"src":"alice","src-id":"a1"`), []byte(`"src":"mallory","src-id":"m1"`), 1)
		toBob.a = &party{Local: &local, end: End{"mallory", "m1"}, person: m.person}
		for name, k := range map[string]*trust.Key{"Alice's": a.Key, "her own": m.Key} {
			if err := toBob.refusedP1(t, "relabelled", joinBody(as, k.Sign(proto.Tuple("cc-1", as)))); !errors.Is(err, ErrSignature) {
				t.Errorf("Alice's p1 relabelled, signed by %s K: %v", name, err)
			}
		}
		h.finish(t)
	})
}

// Row 3: a handshake moved to another connection, name or handshake.
func TestRow03Moved(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		a, b := alice(t, suite), bob(t, suite)
		h, again := begin(t, a, b), begin(t, a, b)
		for name, ends := range map[string][2]End{
			"to another connection of B":       {{"bob", "b2"}, a.end},
			"to another name":                  {{"carol", "b1"}, a.end},
			"to the same name in another case": {{"Bob", "b1"}, a.end},
			"from another connection of A":     {b.end, {"alice", "a2"}},
			"from another name":                {b.end, {"mallory", "a1"}},
			"back to A":                        {a.end, b.end},
			"back to A as A's":                 {a.end, a.end},
		} {
			if _, err := ReadOffer(h.p1, ends[0], ends[1]); !errors.Is(err, ErrHandshake) {
				t.Errorf("p1 %s: %v", name, err)
			}
		}
		// Phases of one handshake in another between the same connections.
		h.refusedP2(t, "p2 of another handshake", again.p2)
		again.refusedP2(t, "p2 of the handshake before", h.p2)
		h.finish(t)
		if err := again.refusedP3(t, "p3 of another handshake", h.p3); !errors.Is(err, ErrSignature) {
			t.Errorf("p3 of another handshake: %v", err)
		}
		again.finish(t)
		// A p1 again, later: B answers, and the old p3 is refused.
		_, r, err := h.answer(h.p1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Phase3(h.p3); !errors.Is(err, ErrSignature) {
			t.Errorf("p1 and p3 replayed: %v", err)
		}
		// A p3 and a p2 serve once.
		if _, err := h.r.Phase3(h.p3); !errors.Is(err, ErrDecrypt) {
			t.Errorf("p3 a second time: %v", err)
		}
		if _, _, err := h.i.Phase2(h.p2, h.verify); !errors.Is(err, ErrDecrypt) {
			t.Errorf("p2 a second time: %v", err)
		}
	})
}

// Row 3: the message of one phase sent in another.
func TestRow03PhasesSwapped(t *testing.T) {
	rt, newP1, _ := retryOf(t, alice(t), bob(t, SuiteRSA256))
	good := begin(t, alice(t), bob(t))
	spare := begin(t, alice(t), bob(t))
	spare.finish(t)
	for name, body := range map[string][]byte{"p1": good.p1, "p2": good.p2, "p3": spare.p3, "retry": rt, "nothing": nil, "new p1": newP1} {
		if got, want := PeekPhase(body), strings.TrimPrefix(name, "new "); got != want && name != "nothing" {
			t.Errorf("%s is taken for %q", name, got)
		}
		if !strings.HasSuffix(name, "p1") {
			if _, err := ReadOffer(body, good.b.end, good.a.end); !errors.Is(err, ErrHandshake) {
				t.Errorf("%s as p1: %v", name, err)
			}
		}
		if name != "p2" {
			if err := good.refusedP2(t, name, body); !errors.Is(err, ErrHandshake) {
				t.Errorf("%s as p2: %v", name, err)
			}
		}
		if name != "p3" {
			if err := good.refusedP3(t, name, body); !errors.Is(err, ErrHandshake) {
				t.Errorf("%s as p3: %v", name, err)
			}
		}
		if name != "retry" {
			if _, err := good.spare().Retry(body, good.verify); !errors.Is(err, ErrHandshake) {
				t.Errorf("%s as retry: %v", name, err)
			}
		}
	}
	if got := PeekPhase([]byte(`{"type":"p4"`)); got != "" {
		t.Errorf("p4 is taken for %q", got)
	}
	good.finish(t)
}

// Row 6: suites stripped or reordered on the way, or an answer with another suite.
func TestRow06Downgrade(t *testing.T) {
	h := begin(t, alice(t), bob(t))
	all := `"ciphers":["` + strings.Join(SuiteNames(), `","`) + `"],"cipher":"` + SuiteMLKEM + `"`
	for name, to := range map[string]string{
		"stripped":  `"ciphers":["` + SuiteRSA128 + `"],"cipher":"` + SuiteRSA128 + `"`,
		"reordered": `"ciphers":["` + SuiteRSA128 + `","` + SuiteMLKEM + `"],"cipher":"` + SuiteRSA128 + `"`,
		"one less":  `"ciphers":["` + SuiteMLKEM + `"],"cipher":"` + SuiteMLKEM + `"`,
		"one more":  `"ciphers":["` + strings.Join(SuiteNames(), `","`) + `","x"],"cipher":"` + SuiteMLKEM + `"`,
	} {
		p1, with := parts(t, h.p1)
		changed := bytes.Replace(p1, []byte(all), []byte(to), 1)
		if bytes.Equal(changed, p1) {
			t.Fatal("nothing changed")
		}
		if err := h.refusedP1(t, name, joinBody(changed, with...)); !errors.Is(err, ErrSignature) {
			t.Errorf("suites %s: %v", name, err)
		}
		// B answers a stripped offer that A itself has signed, and the honest A refuses the answer.
		if p2, _, err := h.answer(h.resignP1(changed)); err == nil {
			h.refusedP2(t, "suites "+name, p2)
		}
	}
	// A suite that is not the first needs a retry before it.
	p1, _ := parts(t, h.p1)
	changed := bytes.Replace(p1, []byte(`"cipher":"`+SuiteMLKEM), []byte(`"cipher":"`+SuiteRSA256), 1)
	if err := h.refusedP1(t, "second suite", h.resignP1(changed)); !errors.Is(err, ErrHandshake) {
		t.Errorf("a key for the second suite: %v", err)
	}
	// A B that answers with another suite than the key is for.
	p2, _ := parts(t, h.p2)
	for _, suite := range []string{SuiteRSA256, SuiteRSA128, "unknown", ""} {
		changed := bytes.Replace(p2, []byte(SuiteMLKEM), []byte(suite), 1)
		if err := h.refusedP2(t, suite, h.resignP2(t, changed)); !errors.Is(err, ErrHandshake) {
			t.Errorf("p2 with the suite %q: %v", suite, err)
		}
	}
	h.finish(t)
	// Without a common suite there is no p2.
	offer, err := ReadOffer(h.p1, h.b.end, h.a.end)
	if err != nil {
		t.Fatal(err)
	}
	none := *h.b.Local
	none.Suites = []string{"unknown"}
	if body, r, again, err := offer.Answer(&none, nil, h.verify); body != nil || r != nil || again != nil || err != errNoCommonSuite {
		t.Errorf("no suite in common: %v", err)
	}
}

// Both ends choose the same of two p1 that cross.
func TestCrossing(t *testing.T) {
	a, b := alice(t), bob(t)
	ia, p1a, err := Initiate(a.Local, a.end, b.end)
	if err != nil {
		t.Fatal(err)
	}
	ib, p1b, err := Initiate(b.Local, b.end, a.end)
	if err != nil {
		t.Fatal(err)
	}
	atB, err := ReadOffer(p1a, b.end, a.end)
	if err != nil {
		t.Fatal(err)
	}
	atA, err := ReadOffer(p1b, a.end, b.end)
	if err != nil {
		t.Fatal(err)
	}
	if ia.Order() != atB.Order() || ib.Order() != atA.Order() || ia.Order() == ib.Order() {
		t.Error("the ends order two offers differently")
	}
	if !bytes.Equal(ia.Nonce(), atB.Nonce()) || bytes.Equal(ia.Nonce(), ib.Nonce()) {
		t.Error("nonces")
	}
	_, r, _, err := atB.Answer(b.Local, nil, labVerify(t))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Answers(atB) || r.Answers(atA) {
		t.Error("the responder does not know what it answers")
	}
	ib.Erase()
	if _, _, err := ib.Phase2([]byte("x"), labVerify(t)); err == nil {
		t.Error("p2 after Erase")
	}
}

// Row 9: reflected messages.
func TestRow09ReflectedHandshake(t *testing.T) {
	a, b := alice(t), bob(t)
	h := begin(t, a, b)
	// The relay stamps A's own p1 as Bob's.
	if _, err := ReadOffer(h.p1, a.end, b.end); !errors.Is(err, ErrHandshake) {
		t.Errorf("own p1: %v", err)
	}
	// A p1 of Bob's that claims to come from A's own connection.
	p1, _ := parts(t, h.p1)
	bad := bytes.Replace(p1, []byte(`"dst-id":"b1"`), []byte(`"dst-id":"a1"`), 1)
	if _, err := ReadOffer(h.resignP1(bad), End{"bob", "a1"}, End{"alice", "a1"}); !errors.Is(err, ErrHandshake) {
		t.Errorf("own connection id: %v", err)
	}
	if _, _, err := Initiate(a.Local, a.end, a.end); !errors.Is(err, ErrHandshake) {
		t.Errorf("a handshake with oneself: %v", err)
	}
	// Two connections of one person, with one K: the parts of one side do not serve for the other.
	self := begin(t, a, newParty(t, "alice", "a2"))
	if err := self.refusedP2(t, "p1", self.p1); !errors.Is(err, ErrHandshake) {
		t.Errorf("p1 as p2: %v", err)
	}
	_, with := parts(t, self.p2)
	self.finish(t)
	p3, with3 := parts(t, self.p3)
	again := begin(t, a, newParty(t, "alice", "a2"))
	again.refusedP3(t, "confirmation of B", joinBody(p3, with3[0], with[1]))
	again.refusedP3(t, "signature of B", joinBody(p3, with[0], with3[1]))
	again.finish(t)
}

// Row 16: one leaked ephemeral key opens nothing and impersonates nobody. Both are needed, and then
// they open only the start of this conversation.
func TestRow16EphemeralLeak(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		h := begin(t, alice(t, suite), bob(t, suite))
		epkA, rpkB := h.spare().key, h.r.key
		if k, ok := rpkB.(*hpkeKey); ok {
			rpkB = &hpkeKey{k.private, k.public}
		} else {
			k := *rpkB.(*rsaKEMKey)
			rpkB = &k
		}
		t2, t1 := h.r.t2, h.i.t1
		ca, _ := h.finish(t)
		captured, _, err := ca.SealRecords(newRecords(h.a, h.b, "secret"), people.Now)
		if err != nil {
			t.Fatal(err)
		}

		var body2 phase2
		var body3 phase3
		p2, with := parts(t, h.p2)
		p3, _ := parts(t, h.p3)
		if err := errors.Join(json.Unmarshal(p2, &body2), json.Unmarshal(p3, &body3)); err != nil {
			t.Fatal(err)
		}
		s := SuiteByName(suite)
		known := func(key KEMKey, enc, info []byte) []byte {
			if key == nil {
				return make([]byte, secretSize) // a guess
			}
			secret, err := s.Decapsulate(key, enc, info)
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
		for _, test := range []struct {
			name  string
			a, b  KEMKey
			opens bool
		}{
			{"none", nil, nil, false}, {"A's", epkA, nil, false}, {"B's", nil, rpkB, false}, {"each other's", rpkB, epkA, false}, {"both", epkA, rpkB, true},
		} {
			root0 := extract(known(test.a, body2.Enc, t1[:]), t2[:])
			if got := bytes.Equal(confirmB(root0, t2), with[1]); got != (test.a == epkA) {
				t.Errorf("%s: confirm2 %v", test.name, got)
			}
			t3 := proto.HashTuple("cc-T3", t2, with[0], with[1], p3)
			eve := &Conversation{
				T3: t3, Person: h.a.person, PeerBundle: h.a.Bundle, local: h.b.Local, suite: s, role: responderRole,
			}
			eve.begin(known(test.b, body3.Enc, t2[:]), root0)
			if _, err := eve.Open(bytes.Clone(captured.Body), people.Now); (err == nil) != test.opens {
				t.Errorf("with %s ephemeral keys leaked: %v", test.name, err)
			}
		}
	})
}

// Row 18: Alice's K leaks. It does not make anybody Bob to her, and it makes somebody Alice until
// the delegation ends.
func TestRow18LeakedKInHandshake(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		h := begin(t, alice(t, suite), bob(t, suite))
		thief := *h.a.Local // K and bundle of Alice, and no card
		offer, err := ReadOffer(h.p1, h.b.end, h.a.end)
		if err != nil {
			t.Fatal(err)
		}
		for name, bundle := range map[string]*trust.Bundle{
			"Bob's": h.b.Bundle, "Alice's": h.a.Bundle,
			"hers as Bob": renamed(h.a.Bundle, "bob"), "Bob's with her K": rekeyed(h.b.Bundle, h.a.Key),
		} {
			local := thief
			local.Bundle = bundle
			p2, _, _, err := offer.Answer(&local, nil, h.verify)
			if err != nil {
				t.Fatal(err)
			}
			h.refusedP2(t, "as Bob with the bundle "+name, p2)
		}
		h.finish(t)

		end := time.Unix(h.a.Bundle.NotAfter, 0)
		for _, test := range []struct {
			at   time.Time
			code proto.Code
		}{{end, ""}, {end.Add(trust.ClockTolerance + time.Second), proto.DelegationExpired}, {end.Add(24 * time.Hour), proto.DelegationExpired}} {
			err := offer.Prove(h.b.Local, nil, people.Verifier(t, test.at).Verify)
			if test.code == "" && err != nil {
				t.Errorf("at its last second: %v", err)
			} else if test.code != "" {
				people.WantCode(t, err, test.code)
			}
		}
	})
}

func renamed(b *trust.Bundle, name string) *trust.Bundle { c := *b; c.Name = name; return &c }

func rekeyed(b *trust.Bundle, k *trust.Key) *trust.Bundle {
	c := *b
	c.PublicKey = k.Public().SPKI()
	return &c
}

// Row 19: bad KEM keys and ciphertexts that a peer has signed.
func TestRow19HandshakeKeys(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		h := begin(t, alice(t, suite), bob(t, suite))
		other := begin(t, h.a, h.b)
		other.finish(t)
		h.p3 = other.p3
		p1, _ := parts(t, h.p1)
		p2, _ := parts(t, h.p2)
		for what, key := range badKEMKeys(t, suite) {
			bad := bytes.Replace(p1, b64(h.i.key.Public()), b64(key), 1)
			if err := h.refusedP1(t, what, h.resignP1(bad)); !errors.Is(err, ErrHandshake) {
				t.Errorf("p1 with a key of %s: %v", what, err)
			}
			// B signs and confirms p2 with the bad key.
			bad = bytes.Replace(p2, b64(h.r.key.Public()), b64(key), 1)
			t2 := proto.HashTuple("cc-T2", h.i.t1, bad)
			var p phase2
			if err := json.Unmarshal(p2, &p); err != nil {
				t.Fatal(err)
			}
			ss1, err := h.r.suite.Decapsulate(h.spare().key, p.Enc, h.i.t1[:])
			if err != nil {
				t.Fatal(err)
			}
			cheat := joinBody(bad, h.b.Key.Sign(proto.Tuple("cc-2", t2)), confirmB(extract(ss1, t2[:]), t2))
			if err := h.refusedP2(t, what, cheat); !errors.Is(err, ErrHandshake) {
				t.Errorf("p2 with a key of %s: %v", what, err)
			}
			if isLowOrder(what) { // B finds out when it uses the key
				continue
			}
			if err := h.refusedP3(t, what, h.cheat(t, func(p *phase3) { p.Key = key })); !errors.Is(err, ErrHandshake) {
				t.Errorf("p3 with a key of %s: %v", what, err)
			}
		}
		for what, enc := range map[string][]byte{
			"nothing": {}, "zeros": make([]byte, 1120), "256 zeros": make([]byte, 256), "ones": bytes.Repeat([]byte{0xff}, 256), "long": make([]byte, 4096),
		} {
			if err := h.refusedP3(t, what, h.cheat(t, func(p *phase3) { p.Enc = enc })); !errors.Is(err, ErrDecrypt) {
				t.Errorf("p3 with a ciphertext of %s: %v", what, err)
			}
			var p phase2
			if err := json.Unmarshal(p2, &p); err != nil {
				t.Fatal(err)
			}
			bad := bytes.Replace(p2, b64(p.Enc), b64(enc), 1)
			if err := h.refusedP2(t, what, h.resignP2(t, bad)); !errors.Is(err, ErrDecrypt) {
				t.Errorf("p2 with a ciphertext of %s: %v", what, err)
			}
		}
		for what, letter := range map[string]string{
			"below 0": "-1", "beyond an int64": "9223372036854775808", "a string": `"1"`, "a fraction": "1.5", "nothing": "null",
		} {
			number := func(exact []byte) []byte {
				return append(bytes.TrimSuffix(exact, []byte("0}")), letter+"}"...)
			}
			if err := h.refusedP3(t, what, h.cheatExact(t, func(*phase3) {}, number)); !errors.Is(err, ErrHandshake) {
				t.Errorf("p3 with a letter of %s: %v", what, err)
			}
			bad := number(p2)
			if bytes.Equal(bad, p2) || h.refusedP2(t, what, h.resignP2(t, bad)) == nil {
				t.Errorf("p2 with a letter of %s is taken", what)
			}
		}
		// A good one passes, or all this would show nothing.
		const most = 1<<63 - 1
		if c, err := h.r.Phase3(h.cheat(t, func(p *phase3) { p.Letter = most })); err != nil || c.PeerLetter != most {
			t.Errorf("a p3 with nothing wrong: %v", err)
		}
	})
}

// The signature is verified before any other work for a stranger.
func TestSignatureBeforeVerify(t *testing.T) {
	h := begin(t, alice(t), bob(t))
	looked := errors.New("looked")
	h.verify = func(*trust.Bundle, string) (*trust.Person, error) { return nil, looked }
	p1, _ := parts(t, h.p1)
	if err := h.refusedP1(t, "unsigned", joinBody(p1, make([]byte, 64))); !errors.Is(err, ErrSignature) {
		t.Errorf("p1: %v", err)
	}
	p2, _ := parts(t, h.p2)
	if err := h.refusedP2(t, "unsigned", joinBody(p2, make([]byte, 64), make([]byte, 32))); !errors.Is(err, ErrSignature) {
		t.Errorf("p2: %v", err)
	}
	if err := h.refusedP1(t, "refused", h.p1); !errors.Is(err, looked) {
		t.Errorf("p1: %v", err)
	}
	if err := h.refusedP2(t, "refused", h.p2); !errors.Is(err, looked) {
		t.Errorf("p2: %v", err)
	}
}

// A Local without a usable suite is an error, not a panic.
func TestLocalWithoutSuites(t *testing.T) {
	a, b := alice(t), bob(t)
	h := begin(t, a, b)
	for _, suites := range [][]string{nil, {"unknown"}, {"unknown", SuiteMLKEM}} {
		local := *a.Local
		local.Suites = suites
		if _, _, err := Initiate(&local, a.end, b.end); err == nil {
			t.Errorf("suites %v: a p1", suites)
		}
	}
	p1, _ := parts(t, h.p1)
	unknown := bytes.ReplaceAll(p1, []byte(SuiteMLKEM), []byte("unknown"))
	offer, err := ReadOffer(h.resignP1(unknown), b.end, a.end)
	if err != nil {
		t.Fatal(err)
	}
	local := *b.Local
	local.Suites = []string{"unknown"}
	if _, _, _, err := offer.Answer(&local, nil, h.verify); err != errNoCommonSuite {
		t.Errorf("an unknown suite that is allowed: %v", err)
	}
}

// Order is the hash of the exact first p1.
func TestOrder(t *testing.T) {
	h := begin(t, alice(t), bob(t))
	p1, _ := parts(t, h.p1)
	if h.i.Order() != sha256.Sum256(p1) {
		t.Error("the order is not H of p1")
	}
}
