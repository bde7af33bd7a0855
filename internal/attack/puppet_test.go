package attack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// puppet is somebody's connection, played by the evil relay.
type puppet struct {
	t     testing.TB
	relay *wire.EvilRelay
	conn  *wire.EvilConn
	local *crypto.Local
}

var puppets atomic.Uint64

// newPuppet adds a connection of cred's under cred's own name. The relay tells nobody.
func newPuppet(r *wire.EvilRelay, t testing.TB, cred *state.Credential, person *trust.Person, suites ...string) *puppet {
	ours, theirs := net.Pipe()
	theirs.Close()
	c := &wire.EvilConn{
		ID: fmt.Sprintf("%016x", puppets.Add(1)), Hello: crypto.Hello{Name: cred.Bundle.Name, Takes: proto.TakesMessages, Bundle: cred.Bundle},
		Conn: ours, Gone: true, Inbox: make(chan wire.EvilLine, 64),
	}
	r.Do(func() { r.Conns = append(r.Conns, c) })
	keys := new(crypto.KeySource)
	keys.Close() // makes keys on demand, none in the background
	return &puppet{t: t, relay: r, conn: c, local: &crypto.Local{
		Key: cred.Key, Bundle: cred.Bundle, Identity: person.Identity, FoldedName: proto.FoldName(cred.Bundle.Name),
		Suites: suites, Takes: proto.TakesMessages, Keys: keys,
	}}
}

// comes tells all clients of the puppet; goes tells them that it left.
func (p *puppet) comes() { p.relay.Do(func() { p.relay.Tell(p.conn, proto.Came) }) }

func (p *puppet) goes() { p.relay.Leave(p.conn) }

func (p *puppet) end() crypto.End { return endOf(p.conn) }

func endOf(c *wire.EvilConn) crypto.End { return crypto.End{Name: c.Hello.Name, Conn: c.ID} }

// say sends a line to a client.
func (p *puppet) say(to *wire.EvilConn, typ string, phase int, body []byte) {
	p.relay.Do(func() {
		p.relay.Forward(wire.EvilLine{From: p.conn, To: to, Header: proto.Header{Type: typ, Phase: phase}, Body: body})
	})
}

// next returns the next line for the puppet.
func (p *puppet) next() wire.EvilLine {
	p.t.Helper()
	select {
	case l := <-p.conn.Inbox:
		return l
	case <-time.After(wire.Timeout):
		p.t.Fatal("no line came for the puppet")
		return wire.EvilLine{}
	}
}

// want is next, and checks the type of the line.
func (p *puppet) want(typ string) wire.EvilLine {
	p.t.Helper()
	l := p.next()
	if l.Header.Type != typ {
		p.t.Fatalf("the puppet got %s, want a %s", proto.MustMarshal(&l.Header), typ)
	}
	return l
}

// answers returns all answers of the client so far. A message of an unknown conversation goes last;
// the refusal of that one marks the end.
func (p *puppet) answers(from *wire.EvilConn) (lines []wire.EvilLine) {
	p.t.Helper()
	var marker [32]byte
	binary.BigEndian.PutUint64(marker[24:], puppets.Add(1))
	header := proto.MustMarshal(&crypto.MessageHeader{
		Conversation: marker[:], Direction: crypto.DirectionAB, Kind: crypto.KindPipe,
		Random: marker[:], SrcBundle: marker[:], DstBundle: marker[:],
	})
	p.say(from, proto.TypeClientCom, 0, append(header, "\n\n"...))
	for {
		l := p.next()
		if l.Header.Code == proto.NoConversation && bytes.Equal(l.Body, marker[:]) {
			return lines
		}
		lines = append(lines, l)
	}
}

// insider is a lab with an evil relay and one real client. A puppet plays the other person.
type insider struct {
	town     *localTown
	relay    *wire.EvilRelay
	real     *testClient
	conn     *wire.EvilConn // the real client's
	verifier *trust.Verifier
	cred     *state.Credential
	person   *trust.Person

	authentic int      // honest handshakes so far
	texts     []string // honest texts so far
}

func newInsider(t *testing.T, real, played string, opts ...clientOption) *insider {
	t.Helper()
	town, relay := evilTown(t, "alice", "bob")
	s := &insider{town: town, relay: relay, verifier: town.verifier(), cred: town.credential(played)}
	var err error
	if s.person, err = s.verifier.Verify(s.cred.Bundle, played); err != nil {
		t.Fatal(err)
	}
	s.real = town.client(real, append(opts, manyOffers)...)
	relay.Do(func() { s.conn = relay.ByID(s.real.Conn()) })
	return s
}

func (s *insider) puppet(t testing.TB, suites ...string) *puppet {
	return newPuppet(s.relay, t, s.cred, s.person, suites...)
}

// offer begins a handshake with the real client.
func (s *insider) offer(p *puppet) (*crypto.Initiator, []byte) {
	p.t.Helper()
	i, p1, err := crypto.Initiate(p.local, p.end(), endOf(s.conn))
	if err != nil {
		p.t.Fatal(err)
	}
	return i, p1
}

// p2 sends p1 to the real client and returns its p2. It tries again while the client is still
// making RSA keys.
func (s *insider) p2(p *puppet, p1 []byte) wire.EvilLine {
	p.t.Helper()
	for {
		p.say(s.conn, proto.TypeClientConnect, 1, p1)
		l := p.next()
		if l.Header.Type == proto.TypeError && l.Header.Code == proto.Busy {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if l.Header.Type != proto.TypeClientConnect {
			p.t.Fatalf("p1 is answered by %s", proto.MustMarshal(&l.Header))
		}
		return l
	}
}

// p3 completes a p2 of the real client.
func (s *insider) p3(p *puppet, i *crypto.Initiator, p2 wire.EvilLine) ([]byte, *crypto.Conversation) {
	p.t.Helper()
	p3, conv, err := i.Phase2(p2.Body, s.verifier.Verify)
	if err != nil {
		p.t.Fatal(err)
	}
	return p3, conv
}

// confirmed sends p3 and opens the receipt that answers it.
func (s *insider) confirmed(p *puppet, p3 []byte, conv *crypto.Conversation) {
	p.t.Helper()
	p.say(s.conn, proto.TypeClientConnect, 3, p3)
	s.take(p, conv, p.want(proto.TypeCommAck))
	s.authentic++
}

func (s *insider) take(p *puppet, conv *crypto.Conversation, l wire.EvilLine) *crypto.Opened {
	p.t.Helper()
	o, err := conv.Open(l.Body, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	conv.Commit(o)
	return o
}

// converse is a complete honest handshake.
func (s *insider) converse(p *puppet) *crypto.Conversation {
	p.t.Helper()
	i, p1 := s.offer(p)
	p3, conv := s.p3(p, i, s.p2(p, p1))
	s.confirmed(p, p3, conv)
	return conv
}

// honest sends the first text of a conversation, opens the receipts for it, and checks that the
// client has shown the honest texts and nothing else.
func (s *insider) honest(p *puppet, conv *crypto.Conversation) {
	p.t.Helper()
	s.texts = append(s.texts, fmt.Sprint("honest ", len(s.texts)))
	text := s.texts[len(s.texts)-1]
	p.say(s.conn, proto.TypeClientCom, 0, s.text(p, conv, text).Body)
	for s.take(p, conv, p.want(proto.TypeCommAck)).Receipt.Read < 1 {
	}
	if got := s.real.texts(); !slices.Equal(got, s.texts) {
		p.t.Fatalf("shown %q, want %q", got, s.texts)
	}
	s.authenticated(p.t)
}

// authenticated checks the client's count of authenticated connections.
func (s *insider) authenticated(t testing.TB) {
	t.Helper()
	if n := s.said("authenticated") + s.said("renewed"); n != s.authentic {
		t.Errorf("%d conversations are authentic, and %d were taken for it", s.authentic, n)
	}
}

// said counts the client's events about its peer.
func (s *insider) said(what string) (n int) {
	for _, ev := range s.real.seen() {
		if ev.Peer != nil && ev.Peer.What == what {
			n++
		}
	}
	return n
}

func (s *insider) text(p *puppet, conv *crypto.Conversation, text string) *crypto.Sealed {
	p.t.Helper()
	to := []crypto.Recipient{{Name: s.real.Name(), Identity: proto.FormatHash(s.real.Inside().Identity())}}
	sealed, _, err := conv.SealRecords([]*crypto.Record{crypto.NewRecord(s.person.Identity, to, text, time.Now())}, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	return sealed
}

// seal seals a message of this kind.
func (s *insider) seal(p *puppet, conv *crypto.Conversation, kind string) *crypto.Sealed {
	p.t.Helper()
	var m *crypto.Sealed
	var err error
	switch kind {
	case crypto.KindText:
		return s.text(p, conv, "never to be shown")
	case crypto.KindPipe:
		m, err = conv.SealPipe([]byte("never to be written"), time.Now(), crypto.NewMemory)
	case crypto.KindReceipt:
		m, err = conv.SealReceipt(0, 0, time.Now())
	case crypto.KindEnd:
		m, err = conv.SealEnd(time.Now())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}
