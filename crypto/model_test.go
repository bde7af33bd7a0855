package crypto

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"chatsecure/testdata/lab/people"
)

var modelSeed = flag.Uint64("model.seed", 0, "seed of TestModel; 0 is a new one each time")

// modelMessage is a message on its way, with the model's expectation.
type modelMessage struct {
	s     *Sealed
	kind  string
	texts []string
	n, m  uint64 // of a receipt
}

// modelEnd is one end of the present conversation. Its model is the messages on the way to it, and
// those that it has accepted.
type modelEnd struct {
	p    *party
	c    *Conversation
	peer *modelEnd

	sent      []string // every text sent in this conversation
	accepted  []string // every text committed in it
	wire      []modelMessage
	said      [2]uint64 // delivered and read of the last receipt given
	told      [2]uint64 // of the last one committed
	delivered int       // messages committed
}

// model drives a conversation at random and compares it with a queue.
type model struct {
	t    *testing.T
	r    *rand.Rand
	now  time.Time
	a, b *modelEnd
	old  [][]byte // accepted messages, and those of earlier conversations
	ops  map[string]int
}

// An accepted message was sent, and is accepted once and in order, whatever else arrives. When all
// has arrived, the two ends are mirror images.
func TestModel(t *testing.T) {
	steps := 3000
	if testing.Short() {
		steps = 400
	}
	for _, suite := range []string{SuiteMLKEM, SuiteRSA256} {
		t.Run(suite, func(t *testing.T) {
			seed := *modelSeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			t.Logf("go test ./crypto -run TestModel -model.seed %d", seed)
			m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), now: people.Now, ops: map[string]int{}}
			m.a = &modelEnd{p: alice(t, suite)}
			m.b = &modelEnd{p: bob(t, suite), peer: m.a}
			m.a.peer = m.b
			m.shake()
			for i := 0; i < steps && !t.Failed(); i++ {
				m.step()
			}
			m.drain()
			for _, op := range []string{"text", "receipt", "pipe", "end", "deliver", "discard", "attack", "shake", "crossed", "stepped"} {
				if m.ops[op] == 0 {
					t.Errorf("%s never happened", op)
				}
			}
			t.Logf("%v", m.ops)
		})
	}
}

func (m *model) step() {
	e := m.a
	if m.r.IntN(2) == 0 {
		e = m.b
	}
	// Time advances, mostly by little, and sometimes goes back.
	switch m.r.IntN(20) {
	case 0: // messages on the way must not get too old
		m.drain()
		m.now = m.now.Add(2 * stepAgeRSA)
	case 1:
		m.now = m.now.Add(-time.Second)
	default:
		m.now = m.now.Add(100 * time.Millisecond)
	}
	switch op := m.r.IntN(100); {
	case op < 25:
		m.text(e)
	case op < 35:
		m.receipt(e)
	case op < 40:
		m.other(e)
	case op < 75:
		m.deliver(e)
	case op < 97:
		m.attack(e)
	case op < 98:
		m.drain()
	default:
		m.shake()
	}
}

// shake replaces the conversation. Messages on the way belong to the old one.
// Sometimes both begin at once, and the lower order goes on.
func (m *model) shake() {
	m.ops["shake"]++
	first, second := m.a, m.b
	if m.r.IntN(2) == 0 {
		first, second = second, first
	}
	if m.r.IntN(3) == 0 {
		m.ops["crossed"]++
		h, other := begin(m.t, first.p, second.p), begin(m.t, second.p, first.p)
		orders := [2][32]byte{h.i.Order(), other.i.Order()}
		for i, h := range []*handshake{h, other} {
			if offer, err := ReadOffer(h.p1, h.b.end, h.a.end); err != nil || offer.Order() != orders[i] {
				m.t.Errorf("the ends order crossing offers differently: %v", err)
			}
		}
		if bytes.Compare(orders[0][:], orders[1][:]) > 0 {
			h, other, first, second = other, h, second, first
		}
		other.i.Erase()
		other.r.Erase()
		first.c, second.c = h.finish(m.t)
	} else {
		first.c, second.c = begin(m.t, first.p, second.p).finish(m.t)
	}
	for _, e := range []*modelEnd{m.a, m.b} {
		for _, msg := range e.wire {
			m.old = append(m.old, msg.s.Body)
		}
		*e = modelEnd{p: e.p, c: e.c, peer: e.peer}
	}
}

func (m *model) put(e *modelEnd, msg modelMessage, err error) {
	if err != nil {
		m.t.Fatal(err)
	}
	m.ops[msg.kind]++
	if stepped(m.t, msg.s) {
		m.ops["stepped"]++
	}
	e.peer.wire = append(e.peer.wire, msg)
}

func (m *model) text(e *modelEnd) {
	msg := modelMessage{kind: "text"}
	for range 1 + m.r.IntN(5) {
		msg.texts = append(msg.texts, fmt.Sprintf("%s %d é\n", e.p.end.Name, m.r.Uint64()))
	}
	var err error
	msg.s, _, err = e.c.SealRecords(newRecords(e.p, e.peer.p, msg.texts...), m.now)
	e.sent = append(e.sent, msg.texts...)
	m.put(e, msg, err)
}

// receipt gives a receipt for a random part of the received records, never less than before.
func (m *model) receipt(e *modelEnd) {
	n := uint64(len(e.accepted))
	n = e.said[0] + m.r.Uint64N(n-e.said[0]+1)
	read := e.said[1] + m.r.Uint64N(n-e.said[1]+1)
	e.said = [2]uint64{n, read}
	s, err := e.c.SealReceipt(n, read, m.now)
	m.put(e, modelMessage{s: s, kind: "receipt", n: n, m: read}, err)
}

func (m *model) other(e *modelEnd) {
	if m.r.IntN(2) == 0 {
		s, err := e.c.SealPipe([]byte("chunk"), m.now, NewMemory)
		m.put(e, modelMessage{s: s, kind: "pipe"}, err)
		return
	}
	s, err := e.c.SealEnd(m.now)
	m.put(e, modelMessage{s: s, kind: "end"}, err)
}

// deliver lets the next message arrive, sometimes as one that the receiver opens and at first
// cannot store.
func (m *model) deliver(e *modelEnd) {
	if len(e.wire) == 0 {
		return
	}
	msg := e.wire[0]
	for m.r.IntN(4) == 0 {
		m.ops["discard"]++
		before := stateOf(e.c)
		o, err := e.c.Open(bytes.Clone(msg.s.Body), m.now)
		if err != nil {
			m.t.Fatalf("%s: %v", msg.kind, err)
		}
		o.Discard()
		if stateOf(e.c) != before {
			m.t.Error("a discarded message changed the state")
		}
	}
	m.ops["deliver"]++
	o, err := e.c.Open(bytes.Clone(msg.s.Body), m.now)
	if err != nil {
		m.t.Fatalf("%s %d: %v", msg.kind, e.delivered, err)
	}
	for m.r.IntN(4) == 0 { // another arrives while this one is stored
		m.attack(e)
	}
	e.c.Commit(o)
	e.wire = e.wire[1:]
	e.delivered++
	m.old = append(m.old, msg.s.Body)
	var texts []string
	for _, r := range o.Records {
		texts = append(texts, r.Text)
	}
	if o.Header.Kind != msg.kind || !slices.Equal(texts, msg.texts) {
		m.t.Errorf("a %s message of %q, want %s of %q", o.Header.Kind, texts, msg.kind, msg.texts)
	}
	e.accepted = append(e.accepted, texts...)
	if len(e.accepted) > len(e.peer.sent) || !slices.Equal(e.accepted, e.peer.sent[:len(e.accepted)]) {
		m.t.Error("what is accepted is not what was sent")
	}
	if o.Receipt != nil {
		if o.Receipt.Delivered != msg.n || o.Receipt.Read != msg.m {
			m.t.Errorf("receipt %+v", o.Receipt)
		}
		e.told = [2]uint64{msg.n, msg.m}
	}
	if e.c.ReceivedSeq() != uint64(len(e.accepted)) || [2]uint64{e.c.lastN, e.c.lastM} != e.told {
		m.t.Errorf("counts %d, %d and %d", e.c.ReceivedSeq(), e.c.lastN, e.c.lastM)
	}
}

// attack lets a message arrive that must be refused.
func (m *model) attack(e *modelEnd) {
	m.ops["attack"]++
	var body []byte
	var want error
	switch m.r.IntN(5) {
	case 0: // an accepted message, or one of an earlier conversation
		if len(m.old) == 0 {
			return
		}
		body = m.old[m.r.IntN(len(m.old))]
	case 1: // the one after the next
		if len(e.wire) < 2 {
			return
		}
		body, want = e.wire[1+m.r.IntN(len(e.wire)-1)].s.Body, ErrGap
	case 2: // its own
		if len(e.peer.wire) == 0 {
			return
		}
		body, want = e.peer.wire[m.r.IntN(len(e.peer.wire))].s.Body, ErrDecrypt
	case 3: // the next, spoiled
		if len(e.wire) == 0 {
			return
		}
		body = bytes.Clone(e.wire[0].s.Body)
		body[m.r.IntN(len(body))] ^= 1 << m.r.IntN(8)
	case 4: // the next, in pieces
		if len(e.wire) == 0 {
			return
		}
		body = e.wire[0].s.Body
		body = body[:m.r.IntN(len(body))]
	}
	if err := refused(m.t, e.c, body, m.now); want != nil && !errors.Is(err, want) {
		m.t.Errorf("%v, want %v", err, want)
	}
}

// drain lets all messages arrive, and compares the ends.
func (m *model) drain() {
	for len(m.a.wire)+len(m.b.wire) > 0 && !m.t.Failed() {
		m.deliver(m.a)
		m.deliver(m.b)
	}
	p := &pair{a: m.a.p, b: m.b.p, ca: m.a.c, cb: m.b.c}
	p.agree(m.t)
	for _, e := range []*modelEnd{m.a, m.b} {
		if !slices.Equal(e.accepted, e.peer.sent) || e.told != e.peer.said {
			m.t.Error("when all has arrived, something is missing")
		}
	}
}
