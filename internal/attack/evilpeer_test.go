package attack

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"reflect"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// evilPeer is a person with a valid card who keeps to no rule. It takes each step of a conversation
// by itself and may send lines that no client would. It knows nothing but its own keys.
type evilPeer struct {
	*wire.Client
	local *crypto.Local
	town  *localTown
	conv  *crypto.Conversation // the latest
	first []byte               // its latest p1, the exact bytes
}

// evilPeer connects as name to any relay at addr.
func (town *localTown) evilPeer(addr, name string, cred *state.Credential) *evilPeer {
	town.t.Helper()
	return town.evilPeerTaking(proto.TakesMessages, addr, name, cred)
}

func (town *localTown) evilPeerTaking(takes, addr, name string, cred *state.Credential) *evilPeer {
	town.t.Helper()
	c, err := wire.Dial(town.t, addr, &wire.Cred{Key: cred.Key, Bundle: cred.Bundle}, takes)
	if err != nil {
		town.t.Fatalf("evil %s: %v", name, err)
	}
	c.Conn.SetDeadline(time.Now().Add(time.Minute)) // longer than a handshake may take
	p := &evilPeer{Client: c, town: town, local: &crypto.Local{
		Key: cred.Key, Bundle: cred.Bundle, FoldedName: proto.FoldName(name), Suites: crypto.SuiteNames(), Takes: takes, Keys: new(crypto.KeySource),
	}}
	if me, err := town.verifier().Verify(cred.Bundle, name); err == nil {
		p.local.Identity = me.Identity
	}
	town.t.Cleanup(p.local.Keys.Close)
	return p
}

// trusts accepts everybody as the person they claim to be.
func trusts(b *trust.Bundle, _ string) (*trust.Person, error) {
	key, err := b.Key()
	return &trust.Person{Key: key}, err
}

func (p *evilPeer) me() crypto.End { return crypto.End{Name: p.Name, Conn: p.ID} }

func end(c *testClient) crypto.End { return crypto.End{Name: c.Name(), Conn: c.Conn()} }

func headerTo(typ string, e crypto.End) *proto.Header {
	return &proto.Header{Type: typ, Dst: e.Name, DstID: e.Conn}
}

// phase sends a client-connect body.
func (p *evilPeer) phase(to crypto.End, phase int, body []byte) {
	p.T.Helper()
	h := headerTo(proto.TypeClientConnect, to)
	h.Phase = phase
	p.Say(h, body)
}

// skipTo reads up to the next line of that type.
func (p *evilPeer) skipTo(typ string) wire.Message {
	p.T.Helper()
	for {
		if m := p.Next(); m.Type == typ {
			return m
		}
	}
}

// wantRefusal reads up to the peer's refusal and checks its code.
func (p *evilPeer) wantRefusal(what string, code proto.Code) wire.Message {
	p.T.Helper()
	m := p.skipTo(proto.TypeError)
	if m.Code != code || m.SrcID == "" {
		p.T.Errorf("%s is answered with %s %q, want %s", what, m.Code, m.Message, code)
	}
	return m
}

// isEnded reports whether a line is the peer's end of the conversation.
func (p *evilPeer) isEnded(m wire.Message) bool {
	return m.Type == proto.TypeDisconnect && p.conv != nil && bytes.Equal(crypto.PeekConversation(m.Body), p.conv.T3[:])
}

// offer makes and sends a p1.
func (p *evilPeer) offer(to crypto.End) *crypto.Initiator {
	p.T.Helper()
	i, p1, err := crypto.Initiate(p.local, p.me(), to)
	if err != nil {
		p.T.Fatal(err)
	}
	p.first = p1
	p.phase(to, 1, p1)
	return i
}

// call begins a conversation as an honest client does, up to the receipt that answers p3. Where
// both sides begin, the lower p1 wins.
func (p *evilPeer) call(to crypto.End) {
	p.T.Helper()
	i := p.offer(to)
	var r *crypto.Responder
	for {
		m := p.skipTo(proto.TypeClientConnect)
		if m.SrcID != to.Conn {
			continue
		}
		switch crypto.PeekPhase(m.Body) {
		case "p1":
			offer, err := crypto.ReadOffer(m.Body, p.me(), to)
			if err != nil {
				p.T.Fatal(err)
			}
			if mine, theirs := i.Order(), offer.Order(); bytes.Compare(theirs[:], mine[:]) < 0 {
				r = p.accept(to, offer)
			}
		case "p2":
			p3, conv, err := i.Phase2(m.Body, p.trusts(to.Name))
			if err != nil {
				p.T.Fatalf("%s gets a p2 that does not hold: %v", p.Name, err)
			}
			p.conv = conv
			p.phase(to, 3, p3)
			for {
				body := p.skipTo(proto.TypeCommAck).Body
				if bytes.Equal(crypto.PeekConversation(body), conv.T3[:]) { // not a receipt of the conversation before
					p.take(body)
					return
				}
			}
		case "p3":
			if r != nil {
				p.confirm(to, r, m.Body)
				return
			}
		}
	}
}

// accept answers a p1, and confirm takes the p3 that follows.
func (p *evilPeer) accept(from crypto.End, offer *crypto.Offer) *crypto.Responder {
	p.T.Helper()
	p2, r, _, err := offer.Answer(p.local, nil, p.trusts(from.Name))
	if err != nil {
		p.T.Fatal(err)
	}
	p.phase(from, 2, p2)
	return r
}

func (p *evilPeer) confirm(from crypto.End, r *crypto.Responder, body []byte) {
	p.T.Helper()
	conv, err := r.Phase3(body)
	if err != nil {
		p.T.Fatalf("%s gets a p3 that does not hold: %v", p.Name, err)
	}
	p.conv = conv
	p.receipt(from, 0, 0)
}

// trusts checks the peer as a client does, so that records name the right identity.
func (p *evilPeer) trusts(name string) crypto.VerifyFunc {
	v := p.town.verifier()
	return func(b *trust.Bundle, _ string) (*trust.Person, error) { return v.Verify(b, name) }
}

// nextOffer reads up to a p1 of that connection.
func (p *evilPeer) nextOffer(from crypto.End) *crypto.Offer {
	p.T.Helper()
	for {
		m := p.skipTo(proto.TypeClientConnect)
		if m.SrcID != from.Conn || crypto.PeekPhase(m.Body) != "p1" {
			continue
		}
		p.first = m.Body
		offer, err := crypto.ReadOffer(m.Body, p.me(), from)
		if err != nil {
			p.T.Fatal(err)
		}
		return offer
	}
}

// answer takes part in a conversation that the other side begins, as an honest client does.
func (p *evilPeer) answer(from crypto.End) {
	p.T.Helper()
	r := p.accept(from, p.nextOffer(from))
	for {
		if m := p.skipTo(proto.TypeClientConnect); crypto.PeekPhase(m.Body) == "p3" {
			p.confirm(from, r, m.Body)
			return
		}
	}
}

// take opens the next message of the conversation and commits it.
func (p *evilPeer) take(body []byte) *crypto.Opened {
	p.T.Helper()
	o, err := p.conv.Open(body, time.Now())
	if err != nil {
		p.T.Fatalf("%s gets a message that does not hold: %v", p.Name, err)
	}
	p.conv.Commit(o)
	return o
}

// takeText reads up to a message with records.
func (p *evilPeer) takeText() *crypto.Opened {
	p.T.Helper()
	return p.take(p.skipTo(proto.TypeClientCom).Body)
}

// receipt sends an honest receipt.
func (p *evilPeer) receipt(to crypto.End, delivered, read uint64) []byte {
	p.T.Helper()
	s, err := p.conv.SealReceipt(delivered, read, time.Now())
	if err != nil {
		p.T.Fatal(err)
	}
	p.Say(headerTo(proto.TypeCommAck, to), s.Body)
	return s.Body
}

// records sends any records as one message.
func (p *evilPeer) records(to crypto.End, records ...*crypto.Record) {
	p.T.Helper()
	s, _, err := p.conv.SealRecords(records, time.Now())
	if err != nil {
		p.T.Fatal(err)
	}
	p.Say(headerTo(proto.TypeClientCom, to), s.Body)
}

// forge seals and signs any header and any plaintext as the next message of the conversation, with
// the chain key from the peer's own memory.
func (p *evilPeer) forge(kind string, plaintext []byte, edit func(h *crypto.MessageHeader)) []byte {
	p.T.Helper()
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
	header := proto.MustMarshal(h)
	info := proto.Tuple("mk", c.Suite(), c.T3, c.SendDirection(), n, h.Random)
	keys, err := hkdf.Expand(sha256.New, ck, string(info), 64)
	if err != nil {
		p.T.Fatal(err)
	}
	sealed := crypto.SuiteByName(c.Suite()).Seal(nil, keys[:32], header, plaintext)
	sig := p.local.Key.Sign(crypto.MessageSigns(header, sha256.Sum256(sealed)))
	return joinPhase(header, sig, sealed)
}

// forgeReceipt seals any receipt.
func (p *evilPeer) forgeReceipt(r *crypto.Receipt, edit func(h *crypto.MessageHeader)) []byte {
	p.T.Helper()
	return p.forge(crypto.KindReceipt, proto.MustMarshal(r), func(h *crypto.MessageHeader) {
		d := r.Digest(p.conv.T3, h.Direction)
		h.Digest = d[:]
		if edit != nil {
			edit(h)
		}
	})
}

// evilHash is the hash of a tuple, as bytes.
func evilHash(context string, items ...any) []byte {
	h := proto.HashTuple(context, items...)
	return h[:]
}

// joinPhase builds a message body: header, signature, sealed bytes.
func joinPhase(header, sig, sealed []byte) []byte {
	return bytes.Join([][]byte{header, base64.StdEncoding.AppendEncode(nil, sig), sealed}, []byte("\n"))
}

// phaseParts splits a client-connect body into its JSON and the decoded base64 behind it. phaseBody
// does the reverse.
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

// swapped replaces the one occurrence of old by new. Any other number of occurrences fails the
// test.
func swapped(t testing.TB, b, old, new []byte) []byte {
	t.Helper()
	if bytes.Count(b, old) != 1 || bytes.Equal(old, new) {
		t.Fatalf("%.60q stands %d times in %.120q", old, bytes.Count(b, old), b)
	}
	return bytes.Replace(b, old, new, 1)
}
