package crypto

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

// agree fails unless the two ends are mirror images, with nothing on the way.
func (p *pair) agree(t testing.TB) {
	t.Helper()
	for _, ends := range [][2]*Conversation{{p.ca, p.cb}, {p.cb, p.ca}} {
		x, y := ends[0], ends[1]
		if !bytes.Equal(x.send.ck, y.recv.ck) || x.send.n != y.recv.n ||
			x.send.session != y.recv.session || x.send.direction != y.recv.direction {
			t.Errorf("the chain of %s differs", x.SendDirection())
		}
		if !bytes.Equal(x.root, y.root) || x.steps != y.steps {
			t.Errorf("the roots differ, after %d and %d steps", x.steps, y.steps)
		}
		if (x.mine != nil) != (y.theirs != nil) || x.mine != nil && !bytes.Equal(x.mine.Public(), y.theirs) {
			t.Error("the ends do not agree whose turn it is")
		}
		sx, dx := x.sent.last()
		sy, dy := y.received.last()
		if sx != sy || dx != dy {
			t.Errorf("%d records sent and %d received, or other digests", sx, sy)
		}
	}
	if (p.ca.mine == nil) == (p.cb.mine == nil) {
		t.Error("both have the turn, or neither")
	}
}

// stepped reports whether a message carries a step.
func stepped(t testing.TB, s *Sealed) bool {
	t.Helper()
	h, err := ParseMessageHeader(s.Header)
	if err != nil {
		t.Fatal(err)
	}
	return h.Step != nil
}

// Steps alternate, B first, in any kind of message, and both ends follow.
func TestRatchetTurns(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		now := people.Now
		p.agree(t)
		for round := range 6 {
			for _, fromA := range []bool{true, false} {
				src, dst := p.ca, p.cb
				if !fromA {
					src, dst = dst, src
				}
				// In the first round B only sets its clock, so A's first turn comes after the
				// second.
				want := round > 1 || round == 1 && !fromA
				var s *Sealed
				var err error
				switch round % 4 {
				case 0:
					s = p.text(t, fromA, now, "text")
				case 1:
					s = receipt(t, src, src.ReceivedSeq(), src.ReceivedSeq(), now)
				case 2:
					s, err = src.SealPipe([]byte("chunk"), now, NewMemory)
				case 3:
					s, err = src.SealEnd(now)
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := stepped(t, s); got != want {
					t.Errorf("round %d, from A %v: step %v", round, fromA, got)
				}
				take(t, dst, s, now)
				p.agree(t)
				now = now.Add(stepAgeRSA)
			}
		}
		if p.ca.steps < 9 {
			t.Errorf("%d steps", p.ca.steps)
		}
	})
}

func TestStepPolicy(t *testing.T) {
	for _, test := range []struct {
		name     string
		suite    string
		age      time.Duration
		messages int
		noKey    bool
		want     bool
	}{
		{"at once", SuiteMLKEM, 0, 0, false, false},
		{"young", SuiteMLKEM, stepAge - 1, stepMessages - 1, false, false},
		{"old", SuiteMLKEM, stepAge, 0, false, true},
		{"many messages", SuiteMLKEM, 0, stepMessages, false, true},
		{"clock set back", SuiteMLKEM, -1, 0, false, true},
		{"RSA young", SuiteRSA256, stepAgeRSA - 1, 10 * stepMessages, false, false},
		{"RSA old", SuiteRSA256, stepAgeRSA, 0, false, true},
		{"RSA clock set back", SuiteRSA128, -time.Hour, 0, false, true},
		{"RSA without a key", SuiteRSA256, time.Hour, 0, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, test.suite)
			// B has the turn, and a message of B sets its clock.
			if stepped(t, receipt(t, p.cb, 0, 0, people.Now)) {
				t.Error("a step with the first message of all")
			}
			if p.cb.since != 1 || p.cb.last != people.Now {
				t.Errorf("%d messages since %v", p.cb.since, p.cb.last)
			}
			p.cb.since = test.messages
			if test.noKey {
				p.cb.local.Keys = &KeySource{closed: true}
			}
			if got := stepped(t, receipt(t, p.cb, 0, 0, people.Now.Add(test.age))); got != test.want {
				t.Errorf("step: %v", got)
			}
			// The message with the step is the first one after it.
			if want := map[bool]int{true: 1, false: test.messages + 1}[test.want]; p.cb.since != want {
				t.Errorf("%d messages since the step, want %d", p.cb.since, want)
			}
			// A side without the turn never steps.
			p.ca.since = 1000
			if stepped(t, receipt(t, p.ca, 0, 0, people.Now.Add(time.Hour))) {
				t.Error("a step of the one who has no turn")
			}
		})
	}
}

// forgeStep is a message with a step by a dishonest peer: to this key of the receiver's, with any
// next key.
func forgeStep(t testing.TB, c *Conversation, theirs, next []byte, steps uint64, plaintext []byte) []byte {
	t.Helper()
	enc, secret, err := c.suite.Encapsulate(theirs, c.T3[:])
	if err != nil {
		t.Fatal(err)
	}
	r := ratchet{root: c.root, steps: steps}
	_, ck := r.stepKeys(c, secret, c.SendDirection(), theirs, enc, next)
	stepped := *c
	stepped.send = newKDFChain(c.suite, ck, c.T3, c.SendDirection())
	stepped.send.n = c.send.n
	return forge(&stepped, KindPipe, plaintext, func(h *MessageHeader) { h.Step = &Step{Enc: enc, Key: next} })
}

// Row 19: a step with bytes that are no key fails when it comes.
func TestRow19StepKeys(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		for what, key := range badKEMKeys(t, suite) {
			if isLowOrder(what) {
				continue
			}
			body := forgeStep(t, p.cb, p.ca.mine.Public(), key, 0, []byte("x"))
			if err := refused(t, p.ca, body, people.Now); !errors.Is(err, ErrDecrypt) {
				t.Errorf("%s: %v", what, err)
			}
		}
		next := testKEMKey(t, SuiteByName(suite), 2).Public()
		good := forgeStep(t, p.cb, p.ca.mine.Public(), next, 0, []byte("x"))
		o, err := p.ca.Open(good, people.Now)
		if err != nil {
			t.Fatalf("a step with nothing wrong: %v", err)
		}
		p.ca.Commit(o)
		if !bytes.Equal(p.ca.theirs, next) || p.ca.mine != nil || p.ca.steps != 1 {
			t.Error("the step did not count")
		}
	})
}

// Row 19: a key of low order, in p3 or in a step, fails where it is used: the conversation says
// whose fault that is, seals nothing, and no step counts.
func TestRow19LowOrder(t *testing.T) {
	for what, key := range badMLKEMKeys(t) {
		if !isLowOrder(what) {
			continue
		}
		unusable := func(c *Conversation, now time.Time) {
			t.Helper()
			receipt(t, c, 0, 0, now) // sets the clock
			before := stateOf(c)
			s, err := c.SealPipe(nil, now.Add(stepAge), NewMemory)
			if err == nil || s != nil || !strings.Contains(err.Error(), "the peer's key") || stateOf(c) != before {
				t.Errorf("%s: %v", what, err)
			}
		}
		h := begin(t, alice(t), bob(t))
		h.finish(t)
		other := begin(t, h.a, h.b)
		other.p3 = h.p3
		cb, err := other.r.Phase3(other.cheat(t, func(p *phase3) { p.Key = key }))
		if err != nil {
			t.Fatalf("p3 with a key of %s: %v", what, err)
		}
		unusable(cb, people.Now)

		p := newPair(t, SuiteMLKEM)
		o, err := p.ca.Open(forgeStep(t, p.cb, p.ca.mine.Public(), key, 0, []byte("x")), people.Now)
		if err != nil {
			t.Fatalf("a step with a key of %s: %v", what, err)
		}
		p.ca.Commit(o)
		unusable(p.ca, people.Now)
	}
}

// A step out of turn, twice, of another number, or to another key.
func TestStepOutOfTurn(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		s := SuiteByName(suite)
		next := testKEMKey(t, s, -1).Public()
		// It is B's turn. A has no unused key of B's. The last one was that of p2, and A may try
		// any.
		if err := refused(t, p.cb, forgeStep(t, p.ca, next, next, 0, nil), people.Now); !errors.Is(err, ErrDecrypt) {
			t.Errorf("A's step in B's turn: %v", err)
		}
		used := p.ca.mine.Public()
		for name, body := range map[string][]byte{
			"to another key":    forgeStep(t, p.cb, next, next, 0, nil),
			"of another number": forgeStep(t, p.cb, used, next, 1, nil),
		} {
			if err := refused(t, p.ca, body, people.Now); !errors.Is(err, ErrDecrypt) {
				t.Errorf("a step %s: %v", name, err)
			}
		}
		take(t, p.ca, receipt(t, p.cb, 0, 0, people.Now), people.Now) // sets B's clock
		step := receipt(t, p.cb, 0, 0, people.Now.Add(stepAgeRSA))
		take(t, p.ca, step, people.Now.Add(stepAgeRSA))
		if err := refused(t, p.ca, forgeStep(t, p.cb, used, next, 1, nil), people.Now); !errors.Is(err, ErrDecrypt) {
			t.Errorf("a second step in a row: %v", err)
		}
		p.agree(t)
	})
}

// A step in a message that fails leaves no trace, and the same key serves for the honest one.
func TestStepIsTentative(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		next := testKEMKey(t, SuiteByName(suite), 0).Public()
		bad := forgeStep(t, p.cb, p.ca.mine.Public(), next, 0, []byte("chunk"))
		header, _, sealed := cutBody(t, bad)
		h, err := ParseMessageHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		// The step is right, and the text under it is not.
		h.Kind, h.Seq, h.Count, h.Digest = KindText, 1, 1, unknownSecret()
		wrong := *p.cb
		refused(t, p.ca, sign(&wrong, proto.MustMarshal(h), sealed), people.Now)

		o, err := p.ca.Open(bytes.Clone(bad), people.Now)
		if err != nil {
			t.Fatal(err)
		}
		root, ck, next := o.step.root, o.step.chain.ck, o.next
		o.Discard()
		o.Discard()
		for _, key := range [][]byte{root, ck, next} {
			if !bytes.Equal(key, make([]byte, secretSize)) {
				t.Error("Discard left a key, or there was none")
			}
		}
		if o.step != nil || o.next != nil {
			t.Error("Discard left a step or a chain key in its place")
		}
		if p.ca.mine == nil || p.ca.steps != 0 {
			t.Error("a discarded step counted")
		}
		take(t, p.ca, receipt(t, p.cb, 0, 0, people.Now), people.Now)
		take(t, p.ca, receipt(t, p.cb, 0, 0, people.Now.Add(stepAgeRSA)), people.Now.Add(stepAgeRSA))
		p.agree(t)
	})
}
