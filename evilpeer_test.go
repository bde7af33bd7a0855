package chatsecure

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// evilPeer is a person with a valid card who keeps to no rule: it takes each
// step of a conversation by itself, and whatever it sends may be what no client
// would. All that it knows is its own.
type evilPeer struct {
	*relayTestClient
	local *crypto.Local
	town  *testTown
	conv  *crypto.Conversation // the last one
	first []byte               // its last p1, as it was sent
}

// evilPeer connects as name to whatever relay is at addr.
func (town *testTown) evilPeer(addr, name string, cred *Credential) *evilPeer {
	town.t.Helper()
	return town.evilPeerTaking(proto.TakesMessages, addr, name, cred)
}

func (town *testTown) evilPeerTaking(takes, addr, name string, cred *Credential) *evilPeer {
	town.t.Helper()
	c, err := relayTestDial(town.t, addr, &relayTestCred{cred.Key, cred.Bundle}, takes)
	if err != nil {
		town.t.Fatalf("evil %s: %v", name, err)
	}
	c.conn.SetDeadline(time.Now().Add(time.Minute)) // a test takes longer than a handshake
	p := &evilPeer{relayTestClient: c, town: town, local: &crypto.Local{
		Key: cred.Key, Bundle: cred.Bundle, FoldedName: proto.FoldName(name), Suites: crypto.SuiteNames(), Keys: new(crypto.KeySource),
	}}
	if me, err := town.verifier().Verify(cred.Bundle, name); err == nil {
		p.local.Identity = me.Identity
	}
	town.t.Cleanup(p.local.Keys.Close)
	return p
}

// trusts takes any person for who they say.
func trusts(b *crypto.Bundle, _ string) (*crypto.Person, error) {
	key, err := b.Key()
	return &crypto.Person{Key: key}, err
}

func (p *evilPeer) me() crypto.End { return crypto.End{Name: p.name, Conn: p.id} }
func end(c *testClient) crypto.End { return crypto.End{Name: c.Name(), Conn: c.Conn()} }
func headerTo(typ string, e crypto.End) *proto.Header {
	return &proto.Header{Type: typ, Dst: e.Name, DstID: e.Conn}
}

// phase sends a body of client-connect.
func (p *evilPeer) phase(to crypto.End, phase int, body []byte) {
	p.t.Helper()
	h := headerTo(proto.TypeClientConnect, to)
	h.Phase = phase
	p.say(h, body)
}

// skipTo reads until a line of that type, past all that is not about it.
func (p *evilPeer) skipTo(typ string) relayTestMessage {
	p.t.Helper()
	for {
		if m := p.next(); m.Type == typ {
			return m
		}
	}
}

// wantRefusal reads until the peer refuses what was sent, with that code.
func (p *evilPeer) wantRefusal(what string, code proto.Code) relayTestMessage {
	p.t.Helper()
	m := p.skipTo(proto.TypeError)
	if m.Code != code || m.SrcID == "" {
		p.t.Errorf("%s is answered with %s %q, want %s", what, m.Code, m.Message, code)
	}
	return m
}

// offer makes a p1 and sends it.
func (p *evilPeer) offer(to crypto.End) *crypto.Initiator {
	p.t.Helper()
	i, p1, err := crypto.Initiate(p.local, p.me(), to)
	if err != nil {
		p.t.Fatal(err)
	}
	p.first = p1
	p.phase(to, 1, p1)
	return i
}

// call begins a conversation as an honest client does, up to the receipt that
// answers p3. Where the other side begins as well, the lower p1 goes on.
func (p *evilPeer) call(to crypto.End) {
	p.t.Helper()
	i := p.offer(to)
	var r *crypto.Responder
	for {
		m := p.skipTo(proto.TypeClientConnect)
		if m.SrcID != to.Conn {
			continue
		}
		switch crypto.PeekPhase(m.body) {
		case "p1":
			offer, err := crypto.ReadOffer(m.body, p.me(), to)
			if err != nil {
				p.t.Fatal(err)
			}
			if mine, theirs := i.Order(), offer.Order(); bytes.Compare(theirs[:], mine[:]) < 0 {
				r = p.accept(to, offer)
			}
		case "p2":
			p3, conv, err := i.Phase2(m.body, p.trusts(to.Name))
			if err != nil {
				p.t.Fatalf("%s gets a p2 that does not hold: %v", p.name, err)
			}
			p.conv = conv
			p.phase(to, 3, p3)
			for {
				body := p.skipTo(proto.TypeCommAck).body
				if bytes.Equal(crypto.PeekConversation(body), conv.T3[:]) { // and not one of the conversation before
					p.take(body)
					return
				}
			}
		case "p3":
			if r != nil {
				p.confirm(to, r, m.body)
				return
			}
		}
	}
}

// accept answers a p1, and confirm takes the p3 that follows.
func (p *evilPeer) accept(from crypto.End, offer *crypto.Offer) *crypto.Responder {
	p.t.Helper()
	p2, r, _, err := offer.Answer(p.local, nil, p.trusts(from.Name))
	if err != nil {
		p.t.Fatal(err)
	}
	p.phase(from, 2, p2)
	return r
}

func (p *evilPeer) confirm(from crypto.End, r *crypto.Responder, body []byte) {
	p.t.Helper()
	conv, err := r.Phase3(body)
	if err != nil {
		p.t.Fatalf("%s gets a p3 that does not hold: %v", p.name, err)
	}
	p.conv = conv
	p.receipt(from, 0, 0)
}

// trusts checks the peer as a client does, so that records name it rightly.
func (p *evilPeer) trusts(name string) crypto.VerifyFunc {
	v := p.town.verifier()
	return func(b *crypto.Bundle, _ string) (*crypto.Person, error) { return v.Verify(b, name) }
}

// nextOffer reads until a p1 from that connection.
func (p *evilPeer) nextOffer(from crypto.End) *crypto.Offer {
	p.t.Helper()
	for {
		m := p.skipTo(proto.TypeClientConnect)
		if m.SrcID != from.Conn || crypto.PeekPhase(m.body) != "p1" {
			continue
		}
		p.first = m.body
		offer, err := crypto.ReadOffer(m.body, p.me(), from)
		if err != nil {
			p.t.Fatal(err)
		}
		return offer
	}
}

// answer takes a conversation that the other side begins, as an honest client
// does.
func (p *evilPeer) answer(from crypto.End) {
	p.t.Helper()
	r := p.accept(from, p.nextOffer(from))
	for {
		if m := p.skipTo(proto.TypeClientConnect); crypto.PeekPhase(m.body) == "p3" {
			p.confirm(from, r, m.body)
			return
		}
	}
}

// take opens the next message of the conversation and makes it part of it.
func (p *evilPeer) take(body []byte) *crypto.Opened {
	p.t.Helper()
	o, err := p.conv.Open(body, time.Now())
	if err != nil {
		p.t.Fatalf("%s gets a message that does not hold: %v", p.name, err)
	}
	p.conv.Commit(o)
	return o
}

// takeText reads until a message of the conversation brings records.
func (p *evilPeer) takeText() *crypto.Opened {
	p.t.Helper()
	return p.take(p.skipTo(proto.TypeClientCom).body)
}

// receipt gives an honest receipt.
func (p *evilPeer) receipt(to crypto.End, delivered, read uint64) []byte {
	p.t.Helper()
	s, err := p.conv.SealReceipt(delivered, read, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	p.say(headerTo(proto.TypeCommAck, to), s.Body)
	return s.Body
}

// records sends records as they are, right or not.
func (p *evilPeer) records(to crypto.End, records ...*crypto.Record) {
	p.t.Helper()
	s, _, err := p.conv.SealRecords(records, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	p.say(headerTo(proto.TypeClientCom, to), s.Body)
}

// forge seals and signs any header and any plaintext as the next message of
// the conversation, with the chain key that the peer has in its own memory.
func (p *evilPeer) forge(kind string, plaintext []byte, edit func(h *crypto.MessageHeader)) []byte {
	p.t.Helper()
	c := p.conv
	chain := reflect.ValueOf(c).Elem().FieldByName("send").Elem()
	ck, n := chain.FieldByName("ck").Bytes(), chain.FieldByName("n").Uint()
	mine, theirs := c.MyBundle(), c.TheirBundle()
	h := &crypto.MessageHeader{
		Conversation: c.T3[:], Direction: c.SendDirection(), Kind: kind, N: n, Random: make([]byte, 32),
		SrcBundle: mine[:], DstBundle: theirs[:], Time: time.Now().UnixMilli(),
	}
	rand.Read(h.Random)
	if edit != nil {
		edit(h)
	}
	header := canon.MustMarshal(h)
	prk, err := hkdf.Extract(sha256.New, ck, h.Random)
	if err != nil {
		p.t.Fatal(err)
	}
	info := evilTuple("mk", []byte(c.Suite()), c.T3[:], []byte(c.SendDirection()), binary.BigEndian.AppendUint64(nil, n))
	mk, err := hkdf.Expand(sha256.New, prk, string(info), 32)
	if err != nil {
		p.t.Fatal(err)
	}
	sealed := crypto.SuiteByName(c.Suite()).Seal(nil, mk, header, plaintext)
	sig := p.local.Key.Sign(crypto.MessageSigns(header, sha256.Sum256(sealed)))
	return joinPhase(header, sig, sealed)
}

// forgeReceipt seals a receipt that says anything.
func (p *evilPeer) forgeReceipt(r *crypto.Receipt, edit func(h *crypto.MessageHeader)) []byte {
	p.t.Helper()
	return p.forge(crypto.KindReceipt, canon.MustMarshal(r), func(h *crypto.MessageHeader) {
		d := r.Digest(p.conv.T3, h.Direction)
		h.Digest = d[:]
		if edit != nil {
			edit(h)
		}
	})
}

// evilTuple is PROTOCOL.md's tuple of byte strings.
func evilTuple(context string, items ...[]byte) []byte {
	var b []byte
	for _, item := range append([][]byte{[]byte("chatsecure/1 " + context)}, items...) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(item)))
		b = append(b, item...)
	}
	return b
}

func evilHash(context string, items ...[]byte) []byte {
	h := sha256.Sum256(evilTuple(context, items...))
	return h[:]
}

// joinPhase puts a message body together: header, signature, sealed bytes.
func joinPhase(header, sig, sealed []byte) []byte {
	return bytes.Join([][]byte{header, base64.StdEncoding.AppendEncode(nil, sig), sealed}, []byte("\n"))
}

// phaseParts takes a client-connect body apart: the JSON, and what is in
// base64 after it. phaseBody puts one together.
func phaseParts(t testing.TB, body []byte) (p []byte, with [][]byte) {
	t.Helper()
	lines := bytes.Split(body, []byte("\n"))
	for _, line := range lines[1:] {
		b, err := base64.StdEncoding.DecodeString(string(line))
		if err != nil {
			t.Fatal(err)
		}
		with = append(with, b)
	}
	return lines[0], with
}

func phaseBody(p []byte, with ...[]byte) []byte {
	lines := [][]byte{p}
	for _, w := range with {
		lines = append(lines, base64.StdEncoding.AppendEncode(nil, w))
	}
	return bytes.Join(lines, []byte("\n"))
}

// swapped replaces old by new, once, and fails the test if it is not there.
func swapped(t testing.TB, b, old, new []byte) []byte {
	t.Helper()
	if bytes.Count(b, old) != 1 || bytes.Equal(old, new) {
		t.Fatalf("%.60q stands %d times in %.120q", old, bytes.Count(b, old), b)
	}
	return bytes.Replace(b, old, new, 1)
}
