package crypto

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/testdata/lab/people"
)

// leak is a copy of all secrets of one end at a moment.
type leak struct {
	suite  Suite
	t3     [32]byte
	roots  []leakedRoot
	chains []leakedChain
	keys   []KEMKey
	heard  map[place][]byte // the randoms of messages since, which every listener knows
}

// place is that of a message in the conversation.
type place struct {
	direction string
	n         uint64
}

type leakedRoot struct {
	root  []byte
	steps uint64
}

type leakedChain struct {
	direction string
	ck        []byte
	n         uint64
}

func leakOf(c *Conversation) *leak {
	l := &leak{suite: c.suite, t3: c.T3, roots: []leakedRoot{{bytes.Clone(c.root), c.steps}}, heard: map[place][]byte{}}
	l.chains = append(l.chains,
		leakedChain{c.SendDirection(), bytes.Clone(c.send.ck), c.send.n},
		leakedChain{c.recvDirection(), bytes.Clone(c.recv.ck), c.recv.n})
	switch key := c.mine.(type) {
	case *hpkeKey:
		k := *key
		l.keys = append(l.keys, &k)
	case *rsaKEMKey:
		k := *key
		l.keys = append(l.keys, &k)
	}
	return l
}

// captured is a message as it crossed the relay.
type captured struct {
	fromA, step bool
	body        []byte
}

// hear keeps the random of a message that crossed the relay.
func (l *leak) hear(t testing.TB, body []byte) (h *MessageHeader, header, sealed []byte) {
	t.Helper()
	header, _, sealed = cutBody(t, body)
	h, err := ParseMessageHeader(header)
	if err != nil {
		t.Fatal(err)
	}
	l.heard[place{h.Direction, h.N}] = h.Random
	return h, header, sealed
}

// opens tries everything that the leak allows on one message: each chain key at its own number,
// advanced to the message's, and as if its number were the message's; and each root with each
// private key, if the message carries a step. It keeps the keys of a step that opens something: the
// attacker reads on.
func (l *leak) opens(t testing.TB, m captured) bool {
	t.Helper()
	h, header, sealed := l.hear(t, m.body)
	opened := false
	try := func(ck []byte, from uint64) bool {
		if from > h.N {
			return false
		}
		chain := newKDFChain(l.suite, bytes.Clone(ck), l.t3, h.Direction)
		for chain.n = from; chain.n < h.N; {
			random := l.heard[place{h.Direction, chain.n}]
			if random == nil {
				t.Fatalf("the attacker has not heard message %d of %s", chain.n, h.Direction)
			}
			_, next := chain.keys(random)
			chain.advance(next)
		}
		_, _, err := chain.open(nil, h.Random, header, sealed)
		opened = opened || err == nil
		return err == nil
	}
	for _, c := range l.chains {
		try(c.ck, h.N)
		if c.direction == h.Direction {
			try(c.ck, c.n)
		}
	}
	if h.Step == nil {
		return opened
	}
	c := &Conversation{T3: l.t3, suite: l.suite}
	for _, known := range slices.Clone(l.roots) {
		for _, key := range l.keys {
			secret, err := l.suite.Decapsulate(key, h.Step.Enc, l.t3[:])
			if err != nil {
				continue
			}
			for _, steps := range []uint64{known.steps, 0, 1, 2} {
				r := ratchet{root: known.root, steps: steps}
				root, ck := r.stepKeys(c, bytes.Clone(secret), h.Direction, key.Public(), h.Step.Enc, h.Step.Key)
				if try(ck, h.N) {
					l.roots = append(l.roots, leakedRoot{root, steps + 1})
					l.chains = append(l.chains, leakedChain{h.Direction, ck, h.N})
				}
			}
		}
	}
	return opened
}

// Row 17: the whole memory of one end leaks. Messages sent or committed before stay closed, in both
// states of the turn and at every moment of a conversation. Messages that the end could still read
// open, which shows that the attack works.
func TestRow17BeforeTheLeak(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		now := people.Now
		var past []captured
		turns := map[bool]int{}
		for round := range 14 {
			fromA := round%3 != 2
			src, dst := p.ca, p.cb
			if !fromA {
				src, dst = dst, src
			}
			before := map[string]*leak{"A": leakOf(p.ca), "B": leakOf(p.cb)}
			turn := src.theirs != nil
			s := p.text(t, fromA, now, fmt.Sprint("round ", round))
			m := captured{fromA, stepped(t, s), s.Body}
			take(t, dst, s, now)
			past = append(past, m)
			now = now.Add(stepAgeRSA)

			receiver := map[bool]string{true: "B", false: "A"}[fromA]
			if !before[receiver].opens(t, m) {
				t.Errorf("round %d: the receiver's own memory does not open what came", round)
			}
			if got := before[map[bool]string{true: "A", false: "B"}[fromA]].opens(t, m); got == m.step {
				t.Errorf("round %d: the sender's memory before, step %v: opens %v", round, m.step, got)
			}
			for name, c := range map[string]*Conversation{"A": p.ca, "B": p.cb} {
				turns[c.theirs != nil]++
				for i, old := range past {
					if leakOf(c).opens(t, old) {
						t.Errorf("%s leaks after round %d, its turn %v: message %d opens", name, round, turn, i)
					}
				}
			}
		}
		if turns[true] < 5 || turns[false] < 5 {
			t.Errorf("turn states tried: %v", turns)
		}
	})
}

// Row 17: against a listener with A's leaked memory, A→B closes at A's next step and B→A at B's
// step in answer: two steps if A had the turn, three if B had.
func TestRow17AfterTheLeak(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		for _, turnOfA := range []bool{true, false} {
			p := newPair(t, suite)
			now := people.Now
			send := func(fromA bool) captured {
				t.Helper()
				s := p.text(t, fromA, now, "text")
				dst := p.ca
				if fromA {
					dst = p.cb
				}
				take(t, dst, s, now)
				return captured{fromA, stepped(t, s), s.Body}
			}
			send(false)
			send(true)
			if turnOfA {
				now = now.Add(stepAgeRSA)
				send(false)
			}
			if (p.ca.theirs != nil) != turnOfA {
				t.Fatal("the turn is not as it should be")
			}
			eve := leakOf(p.ca)
			want := func(m captured, step, opens bool) {
				t.Helper()
				if got := eve.opens(t, m); m.step != step || got != opens {
					t.Errorf("turn of A %v, from A %v: step %v, opens %v; want %v, %v", turnOfA, m.fromA, m.step, got, step, opens)
				}
			}
			// No step yet: both directions are open.
			want(send(true), false, true)
			want(send(false), false, true)
			now = now.Add(stepAgeRSA)
			if !turnOfA {
				want(send(false), true, true) // A's private key leaked too
				want(send(true), false, true)
				now = now.Add(stepAgeRSA)
			}
			want(send(true), true, false) // A's next step: A→B is closed
			want(send(true), false, false)
			if turnOfA {
				want(send(false), false, true) // B→A is not, before B answers
			}
			now = now.Add(stepAgeRSA)
			want(send(false), true, false) // B's answering step: B→A is closed
			for range 3 {
				for _, fromA := range []bool{true, false} {
					now = now.Add(stepAgeRSA)
					want(send(fromA), true, false)
					want(send(fromA), false, false)
				}
			}
		}
	})
}

// Row 17: an end that only receives heals by its receipts.
func TestRow17OneWayTraffic(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		now := people.Now
		take(t, p.ca, receipt(t, p.cb, 0, 0, now), now)
		var eves []*leak
		round := func() (text captured) {
			t.Helper()
			now = now.Add(stepAgeRSA)
			s := p.text(t, true, now, "text")
			take(t, p.cb, s, now)
			n := p.cb.ReceivedSeq()
			r := receipt(t, p.cb, n, n, now)
			take(t, p.ca, r, now)
			for _, eve := range eves {
				eve.hear(t, s.Body)
				eve.hear(t, r.Body)
			}
			return captured{true, stepped(t, s), s.Body}
		}
		round()
		eves = []*leak{leakOf(p.ca), leakOf(p.cb)}
		round()
		round()
		for range 3 {
			m := round()
			for i, eve := range eves {
				if eve.opens(t, m) {
					t.Errorf("leak %d: open after the steps that receipts brought", i)
				}
			}
		}
	})
}

// secretFields are the fields of each struct that hold a secret, and the others that hold bytes or
// keys and no secret. A new field must be added here, and cleared after its use.
var secretFields = map[reflect.Type]struct{ secret, open []string }{
	reflect.TypeFor[Conversation](): {nil, []string{
		"T3", "Me", "Peer", "Person", "PeerBundle", "PeerTakes", "PeerLetter", "local", "suite", "role", "myHash", "peerHash",
		"send", "recv", "ratchet", "sent", "received", "lastN", "lastM", "saidN", "sentTo", "records",
	}},
	reflect.TypeFor[ratchet]():  {[]string{"root", "mine"}, []string{"theirs", "steps", "last", "since"}},
	reflect.TypeFor[kdfChain](): {[]string{"ck"}, []string{"suite", "n", "session", "direction", "info"}},
	reflect.TypeFor[Opened](): {[]string{"next"}, []string{
		"Header", "Exact", "Signature", "CipherHash", "Before", "Records", "ExactRecords", "Receipt", "ExactReceipt", "Chunk", "Refusal", "digests", "step",
	}},
	reflect.TypeFor[openedStep](): {[]string{"root"}, []string{"chain", "key", "at"}},
	reflect.TypeFor[Initiator]():  {[]string{"key"}, []string{"local", "me", "peer", "nonce", "first", "suite", "p1", "t1", "retried", "Former"}},
	reflect.TypeFor[Responder]():  {[]string{"key", "root0"}, []string{"local", "me", "peer", "suite", "t2", "sig2", "confirm2", "person", "peerBundle", "peerTakes", "offer"}},
	reflect.TypeFor[Connect]():    {[]string{"secret", "c2s", "s2c"}, []string{"suite", "t", "enc"}},
	reflect.TypeFor[Hop]():        {nil, []string{"chain", "t4"}},
	reflect.TypeFor[Mailbox]():    {[]string{"key"}, []string{"hash"}},
	reflect.TypeFor[Letter](): {nil, []string{
		"ID", "Mailbox", "Header", "Exact", "Signature", "Bundle", "MailboxKey", "Records", "ExactRecords", "Receipts", "ExactReceipts", "Body", "inside",
	}},
	reflect.TypeFor[hpkeKey]():   {[]string{"private"}, []string{"public"}},
	reflect.TypeFor[rsaKEMKey](): {[]string{"private"}, []string{"public"}},
}

func TestEveryFieldIsKnown(t *testing.T) {
	for typ, fields := range secretFields {
		var names []string
		for f := range typ.Fields() {
			names = append(names, f.Name)
		}
		known := slices.Concat(fields.secret, fields.open)
		slices.Sort(names)
		slices.Sort(known)
		if !slices.Equal(names, known) {
			t.Errorf("%v has the fields %v, known are %v", typ, names, known)
		}
	}
}

// secrets are the secret buffers and keys reachable from some values, by address, in the memory
// where they were found.
func secrets(values ...any) map[string][]byte {
	found := map[string][]byte{}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
			return
		case reflect.Struct:
		default:
			return
		}
		fields := secretFields[v.Type()]
		for _, name := range fields.secret {
			f := v.FieldByName(name)
			if f.Kind() == reflect.Slice && f.Len() > 0 {
				found[fmt.Sprint(f.Pointer())] = f.Bytes()
			} else if name == "private" && !f.IsNil() {
				found["key "+fmt.Sprint(v.Addr().Pointer())] = nil
			} else {
				walk(f)
			}
		}
		for _, name := range fields.open {
			if f := v.FieldByName(name); name == "send" || name == "recv" || name == "ratchet" || name == "chain" || name == "step" {
				walk(f)
			}
		}
	}
	for _, v := range values {
		walk(reflect.ValueOf(v))
	}
	return found
}

// gone fails for every earlier secret that is out of use and not zero, or not dropped if it is a
// private key.
func gone(t testing.TB, what string, before map[string][]byte, values ...any) {
	t.Helper()
	after := secrets(values...)
	for address, secret := range before {
		if _, inUse := after[address]; inUse {
			continue
		}
		if slices.ContainsFunc(secret, func(b byte) bool { return b != 0 }) {
			t.Errorf("%s: a secret of %d bytes was dropped and not cleared", what, len(secret))
		}
	}
	if len(after) == 0 && strings.HasPrefix(what, "still") {
		t.Errorf("%s: no secrets at all", what)
	}
}

// Every secret that goes out of use is cleared: chain keys, roots, private keys and the handshake's
// secrets.
func TestKeysAreCleared(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		h := begin(t, alice(t, suite), bob(t, suite))
		keyA, keyB := h.i.key, h.r.key
		before := secrets(h.i, h.r)
		if len(before) != 3 {
			t.Fatalf("%d secrets in a handshake, want two keys and a root", len(before))
		}
		ca, cb := h.finish(t)
		gone(t, "handshake", before, h.i, h.r, ca, cb)
		if left := secrets(h.i, h.r, keyA, keyB); len(left) != 1 { // root0, which is zero
			t.Errorf("%d secrets are left of the handshake", len(left))
		}

		p := &pair{h.a, h.b, ca, cb}
		now := people.Now
		for round := range 8 {
			fromA := round%2 == 1
			dst := ca
			if fromA {
				dst = cb
			}
			var used KEMKey
			before := secrets(ca, cb)
			s := p.text(t, fromA, now, "text")
			gone(t, "still sealing", before, ca, cb)
			if stepped(t, s) {
				used = dst.mine
			}
			before = secrets(ca, cb)
			o, err := dst.Open(bytes.Clone(s.Body), now)
			if err != nil {
				t.Fatal(err)
			}
			opened := secrets(o)
			if want := map[bool]int{true: 3, false: 1}[o.step != nil]; len(opened) != want {
				t.Errorf("%d secrets in an opened message, want %d", len(opened), want)
			}
			maps.Copy(before, opened)
			dst.Commit(o)
			gone(t, "still committing", before, ca, cb)
			if used != nil {
				if len(secrets(used)) != 0 || dst.mine != nil {
					t.Error("the key that a step used is still there")
				}
			}
			p.agree(t)
			now = now.Add(stepAgeRSA)
		}
		if ca.steps == 0 {
			t.Error("no step was taken")
		}
		mine := []any{ca.mine, cb.mine}
		before = secrets(ca, cb)
		if len(before) != 7 { // two roots, four chains, one private key
			t.Errorf("%d secrets in a conversation", len(before))
		}
		ca.Erase()
		cb.Erase()
		gone(t, "erased", before, ca, cb)
		if left := secrets(append(mine, ca, cb)...); len(left) != 0 {
			t.Errorf("%d secrets are left after Erase", len(left))
		}
	})
}

// An abandoned attempt leaves nothing.
func TestHandshakeErase(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		h := begin(t, alice(t, suite), bob(t, suite))
		before := secrets(h.i, h.r)
		h.i.Erase()
		h.r.Erase()
		for _, secret := range before {
			if slices.ContainsFunc(secret, func(b byte) bool { return b != 0 }) {
				t.Error("Erase left a secret")
			}
		}
		if left := secrets(h.i.key, h.r.key); len(left) != 0 {
			t.Error("Erase left a private key")
		}
	})
}

// spySuite keeps every secret that passes through a suite, to see whether its owner cleared it.
type spySuite struct {
	Suite
	seen [][]byte
}

func (s *spySuite) keep(secret []byte) { s.seen = append(s.seen, secret) }

func (s *spySuite) Encapsulate(publicKey, info []byte) (enc, secret []byte, err error) {
	enc, secret, err = s.Suite.Encapsulate(publicKey, info)
	s.keep(secret)
	return enc, secret, err
}

func (s *spySuite) Decapsulate(key KEMKey, enc, info []byte) ([]byte, error) {
	secret, err := s.Suite.Decapsulate(key, enc, info)
	s.keep(secret)
	return secret, err
}

func (s *spySuite) Seal(dst, mk, aad, plaintext []byte) []byte {
	s.keep(mk)
	return s.Suite.Seal(dst, mk, aad, plaintext)
}

func (s *spySuite) Open(dst, mk, aad, sealed []byte) ([]byte, error) {
	s.keep(mk)
	return s.Suite.Open(dst, mk, aad, sealed)
}

// cleared fails for each secret seen that is not zero, and forgets them.
func (s *spySuite) cleared(t testing.TB, what string, want int) {
	t.Helper()
	if len(s.seen) < want {
		t.Errorf("%s: %d secrets were used, want %d", what, len(s.seen), want)
	}
	for i, secret := range s.seen {
		if slices.ContainsFunc(secret, func(b byte) bool { return b != 0 }) {
			t.Errorf("%s: secret %d was not cleared", what, i)
		}
	}
	s.seen = nil
}

// Message keys and KEM secrets do not outlive their use.
func TestMessageKeysAreCleared(t *testing.T) {
	real := suites[0]
	spy := &spySuite{Suite: real}
	suites[0] = spy
	defer func() { suites[0] = real }()

	h := begin(t, alice(t, SuiteMLKEM), bob(t, SuiteMLKEM))
	spy.cleared(t, "p1", 1)
	h.refusedP2(t, "spoiled", append(bytes.Clone(h.p2[:len(h.p2)-4]), "AAA="...))
	spy.cleared(t, "bad p2", 1)
	other := begin(t, h.a, h.b)
	ca, cb := h.finish(t)
	spy.cleared(t, "handshake", 4)
	p3, with := parts(t, h.p3)
	h.r = other.r
	h.refusedP3(t, "of another", joinBody(p3, with...))
	h.refusedP3(t, "signed", h.resignP3(t, p3, with[1]))
	spy.cleared(t, "bad p3", 1)

	p := &pair{h.a, h.b, ca, cb}
	now := people.Now
	for range 3 {
		take(t, cb, p.text(t, true, now, "text"), now)
		take(t, ca, p.text(t, false, now, "text"), now)
		now = now.Add(stepAge)
	}
	if ca.steps == 0 {
		t.Fatal("no step was taken")
	}
	spy.cleared(t, "conversation", 12)
	s := p.text(t, true, now, "text")
	s.Body[len(s.Body)-1] ^= 1
	header, _, sealed := cutBody(t, s.Body)
	refused(t, cb, sign(ca, header, sealed), now)
	spy.cleared(t, "bad message", 2)

	line1, line2 := []byte("1"), []byte("2")
	client, relay := NewConnect(line1), NewConnect(line1)
	client.Line2(line2)
	relay.Line2(line2)
	key, err := spy.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	enc, err := client.Encapsulate(spy, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := relay.Decapsulate(spy, key, enc); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.OpenHello(client.SealHello([]byte("hello"))); err != nil {
		t.Fatal(err)
	}
	client.Line3(nil)
	relay.Line3(nil)
	if _, err := client.OpenWelcome(relay.SealWelcome([]byte("welcome"))); err != nil {
		t.Fatal(err)
	}
	before := secrets(client, relay)
	c2s, _ := client.Finish(nil)
	relay.Erase()
	gone(t, "connect", before, client, relay)
	if left := secrets(client, relay); len(left) != 0 {
		t.Errorf("%d secrets are left of connect", len(left))
	}
	var random [32]byte
	c2s.Seal(nil, &random, []byte("line"), []byte("text"))
	spy.cleared(t, "connect", 7)
	before = secrets(c2s)
	c2s.Erase()
	gone(t, "hop", before)
}

// The memory of an attacker who took part: secrets of one conversation serve in no other, even
// between the same two.
func TestConversationsAreApart(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	eve := leakOf(p.ca)
	again := &pair{a: p.a, b: p.b}
	again.ca, again.cb = shake(t, p.a, p.b)
	for range 3 {
		s := again.text(t, true, people.Now.Add(time.Second), "text")
		if eve.opens(t, captured{true, false, s.Body}) {
			t.Error("a leak of one conversation opens another")
		}
	}
}
