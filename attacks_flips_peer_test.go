package chatsecure

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/spoil"
)

// Row 12 end to end, against real clients. What sends them spoiled lines is a
// puppet: an insider with a card, whom the evil relay plays in this process and
// who waits for no back-off. Where a real client must make an RSA key for each
// attempt, 50 ms, `make attack` too takes a sample here; package crypto tries
// all of it (TestRow12...).

// puppet is a connection of somebody's that the evil relay plays.
type puppet struct {
	t     testing.TB
	relay *evilRelay
	conn  *evilConn
	local *crypto.Local
}

var puppets atomic.Uint64

// puppet adds a connection of cred's, under its own name. Nobody is told.
func (r *evilRelay) puppet(t testing.TB, cred *Credential, person *crypto.Person, suites ...string) *puppet {
	ours, theirs := net.Pipe()
	theirs.Close()
	c := &evilConn{
		id: fmt.Sprintf("%016x", puppets.Add(1)), hello: hello{Name: cred.Bundle.Name, Takes: proto.TakesMessages, Bundle: cred.Bundle},
		conn: ours, gone: true, inbox: make(chan evilLine, 64),
	}
	r.do(func() { r.conns = append(r.conns, c) })
	keys := new(crypto.KeySource)
	keys.Close() // makes what is needed, and nothing in the background
	return &puppet{t: t, relay: r, conn: c, local: &crypto.Local{
		Key: cred.Key, Bundle: cred.Bundle, Identity: person.Identity, FoldedName: proto.FoldName(cred.Bundle.Name),
		Suites: suites, Keys: keys,
	}}
}

// comes tells all clients of the puppet, and goes that it has left.
func (p *puppet) comes() { p.relay.do(func() { p.relay.tell(p.conn, proto.Came) }) }
func (p *puppet) goes()  { p.relay.leave(p.conn) }

func (p *puppet) end() crypto.End { return endOf(p.conn) }

func endOf(c *evilConn) crypto.End { return crypto.End{Name: c.hello.Name, Conn: c.id} }

// say sends a line to a client.
func (p *puppet) say(to *evilConn, typ string, phase int, body []byte) {
	p.relay.do(func() {
		p.relay.forward(evilLine{from: p.conn, to: to, header: proto.Header{Type: typ, Phase: phase}, body: body})
	})
}

// next returns the next line that a client has sent to the puppet.
func (p *puppet) next() evilLine {
	p.t.Helper()
	select {
	case l := <-p.conn.inbox:
		return l
	case <-time.After(relayTestTimeout):
		p.t.Fatal("no line came for the puppet")
		return evilLine{}
	}
}

// want is next for a line that must be of that type.
func (p *puppet) want(typ string) evilLine {
	p.t.Helper()
	l := p.next()
	if l.header.Type != typ {
		p.t.Fatalf("the puppet got %s, want a %s", canon.MustMarshal(&l.header), typ)
	}
	return l
}

// answers returns what the client has answered to all that it was sent: a
// message of a conversation that nobody knows comes last, and shows that the
// client is through with the others.
func (p *puppet) answers(from *evilConn) (lines []evilLine) {
	p.t.Helper()
	var marker [32]byte
	binary.BigEndian.PutUint64(marker[24:], puppets.Add(1))
	header := canon.MustMarshal(&crypto.MessageHeader{
		Conversation: marker[:], Direction: crypto.DirectionAB, Kind: crypto.KindPipe,
		Random: marker[:], SrcBundle: marker[:], DstBundle: marker[:],
	})
	p.say(from, proto.TypeClientCom, 0, append(header, "\n\n"...))
	for {
		l := p.next()
		if l.header.Code == proto.NoConversation && bytes.Equal(l.body, marker[:]) {
			return lines
		}
		lines = append(lines, l)
	}
}

// insider is a lab with an evil relay, one real client, and who plays the other.
type insider struct {
	town     *testTown
	relay    *evilRelay
	real     *testClient
	conn     *evilConn // of the real client
	verifier *crypto.Verifier
	cred     *Credential
	person   *crypto.Person

	authentic int      // handshakes that the real client was right to believe
	texts     []string // that it was right to show
}

func newInsider(t *testing.T, real, played string, opts ...clientOption) *insider {
	t.Helper()
	town, relay := evilTown(t, "alice", "bob")
	s := &insider{town: town, relay: relay, verifier: town.verifier(), cred: town.credential(played)}
	var err error
	if s.person, err = s.verifier.Verify(s.cred.Bundle, played); err != nil {
		t.Fatal(err)
	}
	s.real = town.client(real, opts...)
	relay.do(func() { s.conn = relay.byID(s.real.Conn()) })
	return s
}

func (s *insider) puppet(t testing.TB, suites ...string) *puppet {
	return s.relay.puppet(t, s.cred, s.person, suites...)
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

// p2 says p1 to the real client, again while all it has to say is that its RSA
// keys are still being made.
func (s *insider) p2(p *puppet, p1 []byte) evilLine {
	p.t.Helper()
	for {
		p.say(s.conn, proto.TypeClientConnect, 1, p1)
		l := p.next()
		if l.header.Type == proto.TypeError && l.header.Code == proto.Busy {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if l.header.Type != proto.TypeClientConnect {
			p.t.Fatalf("p1 is answered by %s", canon.MustMarshal(&l.header))
		}
		return l
	}
}

// p3 takes the real client's p2.
func (s *insider) p3(p *puppet, i *crypto.Initiator, p2 evilLine) ([]byte, *crypto.Conversation) {
	p.t.Helper()
	p3, conv, err := i.Phase2(p2.body, s.verifier.Verify)
	if err != nil {
		p.t.Fatal(err)
	}
	return p3, conv
}

// confirmed sends p3 and takes the receipt that answers it.
func (s *insider) confirmed(p *puppet, p3 []byte, conv *crypto.Conversation) {
	p.t.Helper()
	p.say(s.conn, proto.TypeClientConnect, 3, p3)
	s.take(p, conv, p.want(proto.TypeCommAck))
	s.authentic++
}

func (s *insider) take(p *puppet, conv *crypto.Conversation, l evilLine) *crypto.Opened {
	p.t.Helper()
	o, err := conv.Open(l.body, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	conv.Commit(o)
	return o
}

// converse is a whole honest handshake.
func (s *insider) converse(p *puppet) *crypto.Conversation {
	p.t.Helper()
	i, p1 := s.offer(p)
	p3, conv := s.p3(p, i, s.p2(p, p1))
	s.confirmed(p, p3, conv)
	return conv
}

// honest sends the first text of a conversation, takes the receipts for it and
// checks what the client has shown since it began: that there was nothing else.
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

// authenticated checks whom the client has said to be authenticated.
func (s *insider) authenticated(t testing.TB) {
	t.Helper()
	if n := s.said("authenticated") + s.said("renewed"); n != s.authentic {
		t.Errorf("%d conversations are authentic, and %d were taken for it", s.authentic, n)
	}
}

// said counts what the client has said of its peer.
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
	to := []crypto.Recipient{{Name: s.real.Name(), Identity: hexIdentity(s.real.engine.self)}}
	sealed, _, err := conv.SealRecords([]*crypto.Record{crypto.NewRecord(s.person.Identity, to, text, time.Now())}, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	return sealed
}

// spoiled goes through all that a line becomes by a byte flipped or a field
// spoiled; the first line of a body is an object.
func spoiled(t testing.TB, name string, body []byte, sample int, some bool, f func(what string, spoil func([]byte) []byte)) {
	t.Helper()
	bytesOf, fieldsOf := spoil.NewSweep(t, name+": bytes"), spoil.NewSweep(t, name+": fields")
	positions := bytesOf.Positions
	if some {
		positions = bytesOf.Some
	}
	for i := range positions(len(body), sample) {
		f(fmt.Sprintf("%s, byte %d", name, i), func(b []byte) []byte { return spoil.Byte(b, min(i, len(b)-1)) })
	}
	object, _, _ := bytes.Cut(body, []byte("\n"))
	forms := spoil.Fields(t, object)
	positions = fieldsOf.Positions
	if some {
		positions = fieldsOf.Some
	}
	for i := range positions(len(forms), sample) {
		f(name+", "+forms[i].What, func(b []byte) []byte {
			object, rest, _ := bytes.Cut(b, []byte("\n"))
			return slices.Concat(spoil.Fields(t, object)[i].Line, []byte("\n"), rest)
		})
	}
}

// TestAttack12Phase1 spoils p1, and the p1 that answers a retry, on their way
// to a real client: it refuses by an error, or takes no notice of what is no p1
// any more, and the honest one is answered.
func TestAttack12Phase1(t *testing.T) {
	// A bundle's form is looked at before any signature.
	refused := []proto.Code{proto.DecryptFailed, proto.BundleMalformed, proto.DelegationInvalid}
	try := func(t *testing.T, s *insider, p *puppet, name string, p1 []byte) {
		spoiled(t, name, p1, 40, false, func(what string, spoil func([]byte) []byte) {
			bad := spoil(p1)
			p.say(s.conn, proto.TypeClientConnect, 1, bad)
			got := p.answers(s.conn)
			if crypto.PeekPhase(bad) != "p1" {
				if len(got) != 0 {
					t.Errorf("%s: answered %+v", what, got)
				}
				return
			}
			if len(got) != 1 || got[0].header.Type != proto.TypeError || !slices.Contains(refused, got[0].header.Code) {
				t.Errorf("%s: answered %+v", what, got)
			}
		})
	}
	s := newInsider(t, "bob", "alice")
	for _, suite := range peerSuites() {
		t.Run(suite, func(t *testing.T) {
			p := s.puppet(t, suite)
			defer p.goes()
			i, p1 := s.offer(p)
			try(t, s, p, suite+", p1", p1)
			p3, conv := s.p3(p, i, s.p2(p, p1))
			s.confirmed(p, p3, conv)
			s.honest(p, conv)
		})
	}
	t.Run("retried", func(t *testing.T) {
		s := newInsider(t, "bob", "alice", func(cfg *ClientConfig) { cfg.Ciphers = []string{crypto.SuiteRSA256} })
		p := s.puppet(t, crypto.SuiteNames()...)
		i, p1 := s.offer(p)
		p.say(s.conn, proto.TypeClientConnect, 1, p1)
		again, err := i.Retry(p.want(proto.TypeClientConnect).body, s.verifier.Verify)
		if err != nil {
			t.Fatal(err)
		}
		try(t, s, p, "new p1", again)
		p3, conv := s.p3(p, i, s.p2(p, again))
		s.confirmed(p, p3, conv)
		s.honest(p, conv)
	})
}

// TestAttack12Phase3 spoils p3 on its way to a real client: it is silent, since
// the honest one may still come, and takes that.
func TestAttack12Phase3(t *testing.T) {
	// An attempt lasts ten seconds.
	const perAttempt = 200
	s := newInsider(t, "bob", "alice")
	for _, suite := range peerSuites() {
		t.Run(suite, func(t *testing.T) {
			var p *puppet
			var p3 []byte
			var conv *crypto.Conversation
			tried := 0
			begin := func() {
				p = s.puppet(t, suite)
				i, p1 := s.offer(p)
				p3, conv = s.p3(p, i, s.p2(p, p1))
			}
			finish := func() {
				t.Helper()
				s.confirmed(p, p3, conv)
				s.honest(p, conv)
				p.goes()
			}
			begin()
			spoiled(t, suite+", p3", p3, 40, false, func(what string, spoil func([]byte) []byte) {
				if tried++; tried%perAttempt == 0 {
					finish()
					begin()
				}
				p.say(s.conn, proto.TypeClientConnect, 3, spoil(p3))
				if got := p.answers(s.conn); len(got) > 0 {
					t.Errorf("%s: answered %+v", what, got)
				}
			})
			finish()
		})
	}
}

// TestAttack12Phase2 spoils p2, or a retry, on its way to a real client that has
// begun: it never answers with p3 or a new p1, and says what it refused. Every
// one goes to another attempt, with another connection of Bob's.
func TestAttack12Phase2(t *testing.T) {
	suites := peerSuites()
	for _, test := range []struct {
		name        string
		alice, bob  []string // suites
		keyNeeded   bool     // alice makes an RSA key for each attempt
		phase, want string
	}{
		{"p2 " + crypto.SuiteMLKEM, crypto.SuiteNames(), []string{crypto.SuiteMLKEM}, false, "p2", "p3"},
		{"p2 " + crypto.SuiteRSA256, []string{crypto.SuiteRSA256}, []string{crypto.SuiteRSA256}, true, "p2", "p3"},
		{"p2 " + crypto.SuiteRSA128, []string{crypto.SuiteRSA128}, []string{crypto.SuiteRSA128}, true, "p2", "p3"},
		{"retry", crypto.SuiteNames(), []string{crypto.SuiteRSA256}, false, "retry", "p1"},
	} {
		if !slices.Contains(suites, test.alice[0]) {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			s := newInsider(t, "alice", "bob", func(cfg *ClientConfig) { cfg.Ciphers, cfg.again = test.alice, time.Minute })
			// Alice wants to talk with Bob as soon as there is one.
			if err := s.real.engine.do(context.Background(), func() { s.real.engine.requestWatch("bob") }); err != nil {
				t.Fatal(err)
			}
			// answer is what Bob says to the p1 of a new attempt.
			answer := func() (*puppet, []byte, *crypto.Responder) {
				t.Helper()
				p := s.puppet(t, test.bob...)
				p.comes()
				offer, err := crypto.ReadOffer(p.want(proto.TypeClientConnect).body, p.end(), endOf(s.conn))
				if err != nil {
					t.Fatal(err)
				}
				body, r, _, err := offer.Answer(p.local, nil, s.verifier.Verify)
				if err != nil || crypto.PeekPhase(body) != test.phase {
					t.Fatalf("%.20q, %v", body, err)
				}
				return p, body, r
			}
			// expect says body, and returns the phase that answers it, or "".
			expect := func(p *puppet, body []byte) (phase string, line evilLine) {
				t.Helper()
				p.say(s.conn, proto.TypeClientConnect, 2, body)
				for _, l := range p.answers(s.conn) {
					phase, line = l.header.Type+" "+crypto.PeekPhase(l.body), l
				}
				return phase, line
			}
			p, honest, _ := answer()
			p.goes()
			sample := 40
			if test.keyNeeded {
				sample = rsaSample(1)
			}
			refused, last := 0, ""
			spoiled(t, test.name, honest, sample, test.keyNeeded, func(what string, spoil func([]byte) []byte) {
				p, body, r := answer()
				body = spoil(body)
				if crypto.PeekPhase(body) == test.phase {
					refused, last = refused+1, p.conn.id
				}
				if phase, _ := expect(p, body); phase != "" {
					t.Errorf("%s: answered with %s", what, phase)
				}
				p.goes()
				if r != nil {
					r.Erase()
				}
			})
			s.real.await("the last refusal", func(ev Event) bool { return ev.Peer != nil && ev.Peer.Conn == last && ev.Peer.What == "refused" })
			if n := s.said("refused"); n != refused {
				t.Errorf("%d refusals were said, of %d", n, refused)
			}
			s.authenticated(t)

			p, honest, r := answer()
			phase, line := expect(p, honest)
			if phase != proto.TypeClientConnect+" "+test.want {
				t.Fatalf("the honest one is answered with %q", phase)
			}
			if test.want == "p3" {
				if _, err := r.Phase3(line.body); err != nil {
					t.Errorf("the honest p3: %v", err)
				}
				s.real.await("that Bob is authenticated", func(ev Event) bool {
					return ev.Peer != nil && ev.Peer.Conn == p.conn.id && ev.Peer.What == "authenticated"
				})
				s.authentic++
			}
			s.authenticated(t)
		})
	}
}

// peerSuites are the suites that a test goes through with real clients: all in
// `make attack`; in go test, where a key costs a second under the race
// detector, one or the other of the RSA suites.
func peerSuites() []string {
	if spoil.Whole() {
		return crypto.SuiteNames()
	}
	return []string{crypto.SuiteMLKEM, []string{crypto.SuiteRSA256, crypto.SuiteRSA128}[mathrand.N(2)]}
}

// rsaSample is about how many positions are tried where each takes RSA keys,
// in go test and in `make attack`.
func rsaSample(n int) int {
	if spoil.Whole() {
		return 5 * n
	}
	return n
}

// TestAttack12MessageBytes spoils a message of each kind on its way to a real
// client, and its header where one does it who has K. Each has a conversation
// of its own, which ends over it; nothing of it is shown; and the next
// conversation is as good as ever.
func TestAttack12MessageBytes(t *testing.T) {
	s := newInsider(t, "bob", "alice")
	for _, suite := range peerSuites() {
		t.Run(suite, func(t *testing.T) {
			p := s.puppet(t, suite)
			defer p.goes()
			sample, rsa := 20, suite != crypto.SuiteMLKEM
			kinds := []string{crypto.KindText, crypto.KindPipe, crypto.KindReceipt, crypto.KindEnd}
			if rsa {
				sample = rsaSample(1)
				kinds = kinds[:min(len(kinds), sample)]
			}
			for _, kind := range kinds {
				// try sends what spoil makes of a message of a new conversation.
				try := func(what string, spoil func(*crypto.Sealed) []byte) {
					t.Helper()
					conv := s.converse(p)
					body := spoil(s.seal(p, conv, kind))
					other := crypto.PeekConversation(body)
					p.say(s.conn, kindType[kind], 0, body)
					got := p.answers(s.conn)
					want := conv.T3[:]
					if other != nil && !bytes.Equal(other, want) {
						want = other // another one, which Bob does not know
					}
					if len(got) != 1 || got[0].header.Type != proto.TypeError || got[0].header.Code != proto.NoConversation || !bytes.Equal(got[0].body, want) {
						t.Errorf("%s: answered %+v", what, got)
					}
					conv.Erase()
				}
				conv := s.converse(p)
				body := s.seal(p, conv, kind).Body
				spoiled(t, suite+", "+kind, body, sample, rsa, func(what string, spoil func([]byte) []byte) {
					try(what, func(m *crypto.Sealed) []byte { return spoil(m.Body) })
				})
				header, _, _ := bytes.Cut(body, []byte("\n"))
				spoiled(t, suite+", "+kind+", signed header", header, sample, rsa, func(what string, spoil func([]byte) []byte) {
					try(what, func(m *crypto.Sealed) []byte {
						bad := bytes.TrimSuffix(spoil(m.Header), []byte("\n"))
						sealed := m.Body[len(m.Body)-sealedLen(m):]
						return slices.Concat(bad, []byte("\n"), proto.Base64.AppendEncode(nil, p.local.Key.Sign(crypto.MessageSigns(bad, m.CipherHash))), []byte("\n"), sealed)
					})
				})
				s.honest(p, s.converse(p))
			}
		})
	}
}

// sealedLen is how many bytes of a body are sealed.
func sealedLen(m *crypto.Sealed) int {
	return len(m.Body) - len(m.Header) - 1 - proto.Base64.EncodedLen(len(m.Signature)) - 1
}

// seal seals a message of some kind.
func (s *insider) seal(p *puppet, conv *crypto.Conversation, kind string) *crypto.Sealed {
	p.t.Helper()
	var m *crypto.Sealed
	var err error
	switch kind {
	case crypto.KindText:
		return s.text(p, conv, "never to be shown")
	case crypto.KindPipe:
		m, err = conv.SealPipe([]byte("never to be written"), time.Now())
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

// TestAttack12PipeBytes flips a byte of the chunk that carries data, between
// two real clients: both ends fail, and nothing that was not sent is written.
func TestAttack12PipeBytes(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	data := make([]byte, 1000) // more than any other chunk has
	rand.Read(data)
	// run pipes data once, with the chunk that carries it spoiled.
	run := func(spoil func([]byte) []byte) (wrote []byte, sent, got error) {
		relay.tampering(func(l evilLine) []evilLine {
			if l.header.Type == proto.TypeClientCom && len(l.body) > len(data) {
				return []evilLine{l.with(spoil(l.body))}
			}
			return honest(l)
		})
		alice, bob := town.client("alice", takesPipe), town.client("bob", takesPipe)
		defer alice.leave()
		defer bob.leave()
		done := make(chan error, 1)
		go func() { done <- alice.Pipe(context.Background(), "bob", bytes.NewReader(data), nil, nil) }()
		var out bytes.Buffer
		got = bob.Pipe(context.Background(), "alice", nil, &out, nil)
		sent = <-done
		return out.Bytes(), sent, got
	}
	size := 0
	if wrote, sent, got := run(func(b []byte) []byte { size = len(b); return b }); sent != nil || got != nil || !bytes.Equal(wrote, data) {
		t.Fatalf("an honest pipe: %v, %v, %d bytes", sent, got, len(wrote))
	}
	sweep := spoil.NewSweep(t, "pipe between two clients: bytes")
	for i := range sweep.Positions(size, 8) {
		wrote, sent, got := run(func(b []byte) []byte { return spoil.Byte(b, min(i, len(b)-1)) })
		if sent == nil || got == nil || len(wrote) > 0 {
			t.Errorf("byte %d: sent %v, got %v, wrote %q", i, sent, got, wrote)
		}
	}
	if wrote, sent, got := run(func(b []byte) []byte { return b }); sent != nil || got != nil || !bytes.Equal(wrote, data) {
		t.Fatalf("an honest pipe after all that: %v, %v, %d bytes", sent, got, len(wrote))
	}
}
