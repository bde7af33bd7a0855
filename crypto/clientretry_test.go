package crypto

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

// retryOf runs a handshake whose B lacks the first suite of A, up to the new p1.
func retryOf(t testing.TB, a, b *party) (rt, newP1 []byte, state *RetryState) {
	t.Helper()
	_, rt, newP1, state = beginRetry(t, a, b)
	return rt, newP1, state
}

func beginRetry(t testing.TB, a, b *party) (h *handshake, rt, newP1 []byte, state *RetryState) {
	t.Helper()
	h = &handshake{a: a, b: b, verify: labVerify(t)}
	var err error
	if h.i, h.p1, err = Initiate(a.Local, a.end, b.end); err != nil {
		t.Fatal(err)
	}
	offer, err := ReadOffer(h.p1, b.end, a.end)
	if err != nil {
		t.Fatal(err)
	}
	rt, r, state, err := offer.Answer(b.Local, nil, h.verify)
	if err != nil || r != nil || state == nil || PeekPhase(rt) != "retry" {
		t.Fatalf("%s, %v", rt, err)
	}
	first, nonce := h.i.Order(), h.i.Nonce()
	if newP1, err = h.i.Retry(rt, h.verify); err != nil {
		t.Fatal(err)
	}
	if h.i.Order() != first || first != state.Order() || bytes.Equal(h.i.Nonce(), nonce) {
		t.Error("a retry moved the order of the attempt, or kept the nonce")
	}
	return h, rt, newP1, state
}

func TestRetry(t *testing.T) {
	for _, suite := range []string{SuiteRSA256, SuiteRSA128} {
		h, _, newP1, state := beginRetry(t, alice(t), bob(t, suite))
		offer, err := ReadOffer(newP1, h.b.end, h.a.end)
		if err != nil {
			t.Fatal(err)
		}
		h.p1 = newP1
		if h.p2, h.r, _, err = offer.Answer(h.b.Local, state, h.verify); err != nil {
			t.Fatal(err)
		}
		if !h.r.Answers(offer) {
			t.Error("the responder does not know the new p1")
		}
		ca, cb := h.finish(t)
		if ca.Suite() != suite || cb.Suite() != suite {
			t.Errorf("suite %s after a retry for %s", ca.Suite(), suite)
		}
	}
}

// Row 6: retries that B did not ask for, that name a suite that was not offered, or that come
// twice; and new p1s that differ from the old one.
func TestRow06RetryAbuse(t *testing.T) {
	a, b := alice(t), bob(t, SuiteRSA256)
	h, rt, newP1, state := beginRetry(t, a, b)

	fresh := func() *Initiator {
		i, _, err := Initiate(a.Local, a.end, b.end)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	signed := func(i *Initiator, by *party, rt *retry, cipher string) []byte {
		exact, err := json.Marshal(rt)
		if err != nil {
			t.Fatal(err)
		}
		return joinBody(exact, by.Key.Sign(proto.Tuple("cc-retry", i.t1, cipher, rt.Bundle.Hash())))
	}
	mallory := newParty(t, "mallory", "m1")
	for name, make := range map[string]func(i *Initiator) []byte{
		"of an earlier p1": func(i *Initiator) []byte { return rt },
		"by another": func(i *Initiator) []byte {
			return signed(i, mallory, &retry{"retry", SuiteRSA256, b.Bundle}, SuiteRSA256)
		},
		"by another, as another": func(i *Initiator) []byte {
			return signed(i, mallory, &retry{"retry", SuiteRSA256, mallory.Bundle}, SuiteRSA256)
		},
		"signed for another suite": func(i *Initiator) []byte { return signed(i, b, &retry{"retry", SuiteRSA128, b.Bundle}, SuiteRSA256) },
		"for the same suite":       func(i *Initiator) []byte { return signed(i, b, &retry{"retry", SuiteMLKEM, b.Bundle}, SuiteMLKEM) },
		"for an unknown suite":     func(i *Initiator) []byte { return signed(i, b, &retry{"retry", "unknown", b.Bundle}, "unknown") },
		"without a bundle": func(i *Initiator) []byte {
			return []byte(`{"type":"retry","cipher":"` + SuiteRSA256 + "\",\"bundle\":null}\nAAAA")
		},
	} {
		i := fresh()
		key := i.key
		if body, err := i.Retry(make(i), h.verify); err == nil || body != nil {
			t.Errorf("a retry %s was taken", name)
		}
		if i.key != key || i.retried != nil || i.suite.Name() != SuiteMLKEM {
			t.Errorf("a retry %s changed the attempt", name)
		}
	}
	if _, err := h.i.Retry(rt, h.verify); !errors.Is(err, ErrHandshake) {
		t.Errorf("the same retry twice: %v", err)
	}
	if _, err := h.i.Retry(signed(h.i, b, &retry{"retry", SuiteRSA128, b.Bundle}, SuiteRSA128), h.verify); !errors.Is(err, ErrHandshake) {
		t.Errorf("a second retry: %v", err)
	}
	only := alice(t, SuiteMLKEM)
	i, _, err := Initiate(only.Local, only.end, b.end)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Retry(signed(i, b, &retry{"retry", SuiteRSA256, b.Bundle}, SuiteRSA256), h.verify); !errors.Is(err, ErrHandshake) {
		t.Errorf("a retry for a suite that was not offered: %v", err)
	}

	// The new p1 keeps suites, names, connections and bundle: B has signed for nothing else.
	p1, _ := parts(t, newP1)
	other := *a.Bundle
	other.NotAfter--
	// A state of a different old p1.
	after := func(edit func(old *phase1)) *RetryState {
		offer, err := ReadOffer(newP1, b.end, a.end)
		if err != nil {
			t.Fatal(err)
		}
		edit(&offer.p)
		s := *state
		s.kept = offer.p.kept()
		return &s
	}
	for name, edit := range map[string]func() ([]byte, *RetryState){
		"nothing asked for": func() ([]byte, *RetryState) { return newP1, nil },
		"another bundle":    func() ([]byte, *RetryState) { return newP1, after(func(old *phase1) { old.Bundle = &other }) },
		"fewer suites": func() ([]byte, *RetryState) {
			return h.resignP1(bytes.Replace(p1, []byte(`,"`+SuiteRSA128+`"`), nil, 1)), state
		},
		"another hash": func() ([]byte, *RetryState) {
			return h.resignP1(bytes.Replace(p1, b64(state.answered[:]), b64(unknownSecret()), 1)), state
		},
		"a short hash": func() ([]byte, *RetryState) {
			return h.resignP1(bytes.Replace(p1, b64(state.answered[:]), b64(state.answered[:31]), 1)), state
		},
		"another suite": func() ([]byte, *RetryState) {
			return h.resignP1(bytes.Replace(p1, []byte(`"cipher":"`+SuiteRSA256), []byte(`"cipher":"`+SuiteRSA128), 1)), state
		},
		"another connection": func() ([]byte, *RetryState) { return newP1, after(func(old *phase1) { old.SrcID = "a0" }) },
		"another name":       func() ([]byte, *RetryState) { return newP1, after(func(old *phase1) { old.Dst = "carol" }) },
	} {
		body, before := edit()
		offer, err := ReadOffer(body, b.end, a.end)
		if err == nil {
			_, _, _, err = offer.Answer(b.Local, before, h.verify)
		}
		if !errors.Is(err, ErrHandshake) {
			t.Errorf("a new p1 with %s: %v", name, err)
		}
	}

	// p2 has the bundle and the suite of the retry.
	offer, err := ReadOffer(newP1, b.end, a.end)
	if err != nil {
		t.Fatal(err)
	}
	h.p1 = newP1
	if h.p2, h.r, _, err = offer.Answer(b.Local, state, h.verify); err != nil {
		t.Fatal(err)
	}
	changed := *b.Local
	changed.Bundle = people.Bundle(t, people.Card(t, "bob"), "bob", b.Key)
	p2, _, _, err := offer.Answer(&changed, state, h.verify)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.refusedP2(t, "another bundle", p2); !errors.Is(err, ErrHandshake) {
		t.Errorf("p2 with another bundle than the retry's: %v", err)
	}
	h.finish(t)
}

// B's memory of a p1 that it answers with a retry has one size, whatever the peer has put in.
func TestRetryStateIsSmall(t *testing.T) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[RetryState]()) {
		if kind := f.Type.Kind(); kind != reflect.Array && f.Name != "cipher" { // one of B's own suites
			t.Errorf("%s is a %s", f.Name, f.Type)
		}
	}
}
