package crypto

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/spoil"
)

// Row 12 for handshakes and conversations, where a flip costs a tenth of a millisecond and nothing
// waits. It is a sample here, and everything under `make attack`, for every suite. Each flip is
// tried twice: on the way, where signatures fail, and by the holder of K, where they hold.
// internal/attack tests real clients.

// row12Sample is the approximate number of positions in a line that go test tries.
const row12Sample = 16

// flips are the wrong forms of a line with one byte flipped.
func flips(t testing.TB, what string, line []byte) func(yield func(what string, bad []byte) bool) {
	s := spoil.NewSweep(t, what+": bytes")
	return func(yield func(string, []byte) bool) {
		for i := range s.Positions(len(line), row12Sample) {
			if !yield(fmt.Sprintf("%s, byte %d", what, i), spoil.Byte(line, i)) ||
				i%7 != 0 && !yield(fmt.Sprintf("%s, last bit of byte %d", what, i), spoil.LastBit(line, i)) {
				return
			}
		}
	}
}

// forms are the wrong forms of an object with one field spoiled.
func forms(t testing.TB, what string, object []byte) func(yield func(what string, bad []byte) bool) {
	s := spoil.NewSweep(t, what+": fields")
	return func(yield func(string, []byte) bool) {
		for form, bad := range s.Forms(t, object, row12Sample) {
			if !yield(fmt.Sprintf("%s, %s", what, form), bad) {
				return
			}
		}
	}
}

// restock gives a party new keys when few are left: RSA keys are handed out once.
func restock(t testing.TB, p *party) {
	if !slices.Equal(p.Suites, []string{SuiteMLKEM}) && len(p.Keys.ready) < 2 {
		p.Keys = testKeys(t)
	}
}

// p2 to each of what A's p1 may have become on the way: either B refuses it, or
// the two transcripts part.
func (h *handshake) refusedSomewhere(t testing.TB, what string, p1 []byte) {
	t.Helper()
	restock(t, h.b)
	if p2, _, err := h.answer(p1); err == nil {
		h.refusedP2(t, what+": answered, and the answer", p2)
	}
}

func TestRow12HandshakeBytes(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		h := begin(t, alice(t, suite), bob(t, suite))
		p1, _ := parts(t, h.p1)
		p2, _ := parts(t, h.p2)
		for what, bad := range flips(t, "p1", h.p1) {
			h.refusedP1(t, what, bad)
		}
		for what, bad := range flips(t, "signed p1", p1) {
			h.refusedSomewhere(t, what, h.resignP1(bad))
		}
		for what, bad := range flips(t, "p2", h.p2) {
			h.refusedP2(t, what, bad)
		}
		for what, bad := range flips(t, "signed p2", p2) {
			h.refusedP2(t, what, h.resignP2(t, bad))
		}
		spare := h.i
		h.i = h.spare()
		p3, _, err := spare.Phase2(h.p2, h.verify)
		if err != nil {
			t.Fatal(err)
		}
		h.i = nil
		for what, bad := range flips(t, "p3", p3) {
			h.refusedP3(t, what, bad)
		}
		exact, with := parts(t, p3)
		for what, bad := range flips(t, "signed p3", exact) {
			h.refusedP3(t, what, h.resignP3(t, bad, with[1]))
		}
		for _, n := range []int{0, 1, len(exact), len(p3) - 1} {
			h.refusedP3(t, fmt.Sprint("cut to ", n), p3[:n])
		}
		h.refusedP3(t, "a line more", append(bytes.Clone(p3), '\n'))
		h.refusedP3(t, "a confirmation twice", joinBody(exact, with[0], with[1], with[1]))
		h.refusedP3(t, "no confirmation", joinBody(exact, with[0], nil))
		h.refusedP3(t, "confirmation and signature exchanged", joinBody(exact, with[1], with[0]))
		// After all that the honest one is accepted.
		if _, err := h.r.Phase3(p3); err != nil {
			t.Errorf("the honest p3 after forged ones: %v", err)
		}
	})
}

// Every field of every phase removed, doubled, renamed or of another type, and signed by its
// sender.
func TestRow12HandshakeFields(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		h := begin(t, alice(t, suite), bob(t, suite))
		p1, _ := parts(t, h.p1)
		for what, bad := range forms(t, "p1", p1) {
			if what == "p1, letter as 1" {
				continue // A may say so
			}
			h.refusedP1(t, what, h.resignP1(bad))
		}
		p2, _ := parts(t, h.p2)
		for what, bad := range forms(t, "p2", p2) {
			h.refusedP2(t, what, h.resignP2(t, bad))
		}
		other := begin(t, h.a, h.b)
		other.finish(t)
		exact, with := parts(t, other.p3)
		for what, bad := range forms(t, "p3", exact) {
			h.refusedP3(t, what, h.resignP3(t, bad, with[1]))
		}
		h.finish(t)
	})
}

// A retry, and the new p1 in answer. B lacks the first suite of A.
func TestRow12Retry(t *testing.T) {
	for _, suite := range []string{SuiteRSA256, SuiteRSA128} {
		t.Run(suite, func(t *testing.T) {
			a, b := alice(t), bob(t, suite)
			rt, _, _ := retryOf(t, a, b)
			r, _ := parts(t, rt)
			i, oldP1, err := Initiate(a.Local, a.end, b.end)
			if err != nil {
				t.Fatal(err)
			}
			refused := func(what string, bad []byte) {
				t.Helper()
				if p1, err := i.Retry(bad, labVerify(t)); err == nil || p1 != nil {
					t.Errorf("%s: retry taken", what)
				}
			}
			hash := b.Bundle.Hash()
			sig := b.Key.Sign(proto.Tuple("cc-retry", i.t1, suite, hash))
			for what, bad := range forms(t, "retry", r) {
				refused(what, joinBody(bad, sig))
			}
			for what, bad := range flips(t, "retry", joinBody(r, sig)) {
				refused(what, bad)
			}
			newP1, err := i.Retry(joinBody(r, sig), labVerify(t))
			if err != nil {
				t.Fatalf("the retry as it should be: %v", err)
			}

			// B asked for it with these very bytes.
			h := &handshake{a: a, b: b, verify: labVerify(t), i: i}
			offer, err := ReadOffer(oldP1, b.end, a.end)
			if err != nil {
				t.Fatal(err)
			}
			_, _, state, err := offer.Answer(b.Local, nil, h.verify)
			if err != nil || state == nil {
				t.Fatalf("no retry: %v", err)
			}
			answer := func(p1 []byte) (p2 []byte, r *Responder, err error) {
				restock(t, b)
				if offer, err = ReadOffer(p1, b.end, a.end); err != nil {
					return nil, nil, err
				}
				p2, r, _, err = offer.Answer(b.Local, state, h.verify)
				return p2, r, err
			}
			p1, _ := parts(t, newP1)
			for what, bad := range flips(t, "new p1", newP1) {
				if p2, _, err := answer(bad); err == nil {
					t.Errorf("%s: taken, and answered %.40q", what, p2)
				}
			}
			for what, bad := range forms(t, "new p1", p1) {
				if what == "new p1, retry removed" {
					continue // a first p1 again, which B may accept as one
				}
				if p2, r, err := answer(h.resignP1(bad)); err == nil && r != nil {
					h.refusedP2(t, what+": answered, and the answer", p2)
				}
			}
			if h.p2, h.r, err = answer(newP1); err != nil {
				t.Fatalf("the new p1 as it should be: %v", err)
			}
			h.finish(t)
		})
	}
}

// row12Message is an honest message before its arrival, and its receiver.
type row12Message struct {
	name      string
	from, to  *Conversation
	sealed    *Sealed
	plaintext []byte // nil if every plaintext is good
	at        time.Time
}

// row12Messages are one of each kind, and again with a ratchet step.
func row12Messages(t testing.TB, suite string) (all []row12Message) {
	t.Helper()
	later := people.Now.Add(2 * stepAgeRSA)
	for _, stepped := range []bool{false, true} {
		for _, kind := range []string{KindText, KindPipe, KindReceipt, KindEnd} {
			p := newPair(t, suite)
			m := row12Message{name: kind, from: p.ca, to: p.cb, at: people.Now}
			sender, receiver := p.a, p.b
			if stepped { // B has the first turn
				m = row12Message{name: kind + " with a step", from: p.cb, to: p.ca, at: later}
				sender, receiver = p.b, p.a
			}
			take(t, p.ca, receipt(t, p.cb, 0, 0, people.Now), people.Now) // the time of the last step counts from here
			take(t, m.from, p.text(t, stepped, people.Now, "to be receipted"), people.Now)
			var err error
			switch kind {
			case KindText:
				var exact [][]byte
				m.sealed, exact, err = m.from.SealRecords(newRecords(sender, receiver, "one", "two"), m.at)
				m.plaintext = bytes.Join(exact, []byte("\n"))
			case KindPipe:
				m.sealed, err = m.from.SealPipe([]byte("a chunk"), m.at, NewMemory)
			case KindReceipt:
				m.sealed, err = m.from.SealReceipt(1, 1, m.at)
			case KindEnd:
				m.sealed, err = m.from.SealEnd(m.at)
			}
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(m.sealed.Header, []byte(`"step":{`)) != stepped {
				t.Fatalf("%s: %s", m.name, m.sealed.Header)
			}
			all = append(all, m)
		}
	}
	return all
}

// refuse checks that a spoiled body is refused and changes nothing.
func (m *row12Message) refuse(t testing.TB, what string, body []byte) error {
	t.Helper()
	err := refused(t, m.to, body, m.at)
	if err == nil {
		t.Errorf("%s: taken", what)
	}
	return err
}

// Every byte of a message of every kind flipped, and every field of its header spoiled: on the way,
// where the signature fails, and by the holder of K, where it holds.
func TestRow12MessageBytes(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		for _, m := range row12Messages(t, suite) {
			header, signature, sealed := cutBody(t, m.sealed.Body)
			for what, bad := range flips(t, m.name, m.sealed.Body) {
				m.refuse(t, what, bad)
			}
			for what, bad := range flips(t, m.name+", signed header", header) {
				m.refuse(t, what, sign(m.from, bad, sealed))
			}
			for what, bad := range forms(t, m.name+", signed header", header) {
				m.refuse(t, what, sign(m.from, bad, sealed))
			}
			for what, bad := range flips(t, m.name+", signed ciphertext", sealed) {
				if err := m.refuse(t, what, sign(m.from, header, bad)); !errors.Is(err, ErrDecrypt) {
					t.Errorf("%s: %v", what, err)
				}
			}
			cuts := spoil.NewSweep(t, m.name+", signed ciphertext: cut")
			for n := range cuts.Positions(len(sealed), row12Sample) {
				what := fmt.Sprintf("%s, ciphertext cut to %d", m.name, n)
				if err := m.refuse(t, what, sign(m.from, header, sealed[:n])); !errors.Is(err, ErrDecrypt) {
					t.Errorf("%s: %v", what, err)
				}
			}
			m.refuse(t, m.name+" and a byte", append(bytes.Clone(m.sealed.Body), 0))
			for _, end := range []byte("=\r") {
				m.refuse(t, fmt.Sprintf("%s, %q after the signature", m.name, end),
					bytes.Join([][]byte{header, append(bytes.Clone(signature), end), sealed}, []byte("\n")))
			}
			take(t, m.to, m.sealed, m.at)
		}
	})
}

// The plaintext spoiled before it is sealed and signed, by the holder of K and the conversation's
// keys. The header, with its digest, is the honest one.
func TestRow12MessagePlaintext(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		records := newRecords(p.a, p.b, "one", "two")
		records[0].Seq, records[1].Seq = 1, 2
		d := p.ca.sent.d[0]
		var plaintext [][]byte
		for _, r := range records {
			plaintext = append(plaintext, r.Encode())
			d = NextDigest(d, sha256.Sum256(r.Encode()))
		}
		text := func(sealed []byte) []byte {
			return forge(p.ca, KindText, sealed, func(h *MessageHeader) { h.Seq, h.Count, h.Digest = 1, 2, d[:] })
		}
		m := row12Message{to: p.cb, at: people.Now}
		whole := bytes.Join(plaintext, []byte("\n"))
		for what, bad := range flips(t, "records", whole) {
			m.refuse(t, what, text(bad))
		}
		for what, bad := range forms(t, "record", plaintext[0]) {
			m.refuse(t, what, text(bytes.Join([][]byte{bad, plaintext[1]}, []byte("\n"))))
		}

		take(t, p.ca, p.text(t, false, people.Now, "to be receipted"), people.Now)
		_, last := p.cb.sent.last()
		r := &Receipt{Delivered: 1, DeliveredDigest: last[:], Read: 1, ReadDigest: last[:], Time: people.Now.UnixMilli(), Salt: newSalt()}
		digest := r.Digest(p.ca.T3, DirectionAB)
		receipt := func(sealed []byte) []byte {
			return forge(p.ca, KindReceipt, sealed, func(h *MessageHeader) { h.Digest = digest[:] })
		}
		exact := proto.MustMarshal(r)
		for what, bad := range flips(t, "receipt", exact) {
			m.refuse(t, what, receipt(bad))
		}
		for what, bad := range forms(t, "receipt", exact) {
			m.refuse(t, what, receipt(bad))
		}
		for name, body := range map[string][]byte{"records": text(whole), "receipt": receipt(exact)} {
			o, err := p.cb.Open(body, people.Now)
			if err != nil {
				t.Errorf("the honest %s: %v", name, err)
				continue
			}
			o.Discard()
		}
	})
}

// Every byte of every line of connect flipped. Each line is also in the transcript, so a flip is
// noticed even if it changes no value.
func TestRow12ConnectBytes(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		client, relay := connectPair(t, suite)
		// fork runs a fresh relay and client of the same lines from line 2 on. Decapsulate erases
		// the key.
		fork := func() (*clientSide, *relaySide) {
			c, r := *client.c, *relay.c
			return &clientSide{suites: client.suites, relay: client.relay, c: &c}, &relaySide{k: relay.k, suite: relay.suite, c: &r, key: spareKey(relay.key)}
		}
		line2 := relay.phase2(t, client.line1)
		for what, bad := range flips(t, "line 1", client.line1) {
			r := &relaySide{k: relay.k, suite: relay.suite}
			c, _ := fork()
			if _, err := c.phase3(r.phase2(t, bad)); err == nil {
				t.Errorf("%s: taken", what)
			}
		}
		for what, bad := range flips(t, "line 2", line2) {
			c, r := fork()
			line3, err := c.phase3(bad)
			if err != nil {
				continue
			}
			// encoding/json let it pass. The transcripts part here.
			if _, err := r.phase4(line3); !errors.Is(err, ErrDecrypt) {
				t.Errorf("%s: %v", what, err)
			}
		}
		c, r := fork()
		line3, err := c.phase3(line2)
		if err != nil {
			t.Fatal(err)
		}
		opens := func(line4 []byte) error {
			spare := *c.c
			spare.s2c = bytes.Clone(c.c.s2c)
			_, err := spare.OpenWelcome(line4)
			return err
		}
		for what, bad := range flips(t, "line 3", line3) {
			_, r := fork()
			line4, err := r.phase4(bad)
			if err != nil {
				continue
			}
			if err := opens(line4); !errors.Is(err, ErrDecrypt) {
				t.Errorf("%s: %v", what, err)
			}
		}
		line4, err := r.phase4(line3)
		if err != nil {
			t.Fatal(err)
		}
		for what, bad := range flips(t, "line 4", line4) {
			if err := opens(bad); !errors.Is(err, ErrDecrypt) {
				t.Errorf("%s: %v", what, err)
			}
		}
		// Line 4 is in T4, with all that is around its payload.
		c2s, _, err := c.finish(line4)
		if err != nil {
			t.Fatal(err)
		}
		other, _ := r.c.Finish(append(bytes.Clone(line4), ' '))
		var random [32]byte
		if _, err := other.Open(&proto.SecureLine{Payload: c2s.Seal(nil, &random, []byte("x"), nil), Random: random}); !errors.Is(err, ErrDecrypt) {
			t.Errorf("another line 4: %v", err)
		}
	})
}
