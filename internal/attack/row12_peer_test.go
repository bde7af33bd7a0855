package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
	"chatsecure/testdata/spoil"
)

// Row 12 end to end, against real clients. A puppet sends them the spoiled lines: an insider with a
// card, played by the evil relay in this process without back-off. A real client that makes an RSA
// key for each attempt needs 50 ms. There even `make attack` takes a sample; package crypto tries
// every position (TestRow12...).

// TestAttack12Flips flips bytes, at a stride, of every kind of body that passes. Only original
// texts are ever shown.
func TestAttack12Flips(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	longer := func(cfg *client.Config) { cfg.Timeout = 60 * time.Second }
	alice, bob := town.client("alice", longer), town.client("bob", longer)
	flips := map[string]int{}
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		kind := l.Header.Type + crypto.PeekPhase(l.Body)
		if kind == proto.TypeClientConnect+"p1" || len(l.Body) == 0 || flips[kind] >= 2 || l.Header.Type == proto.TypeError {
			return honest(l)
		}
		at := (flips[kind]*7919 + 101) % len(l.Body)
		flips[kind]++
		bad := bytes.Clone(l.Body)
		bad[at] ^= 0x20
		return []wire.EvilLine{l.With(bad)}
	})
	for i := range 5 {
		alice.mustSend(fmt.Sprintf("line %d", i), "bob")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if out := alice.Wait(ctx, history.StatusRead); len(out.Failed) > 0 {
		t.Fatalf("%v: %v%s", out.Names, out.Failed, describe(alice.seen()))
	}
	sees(t, alice, bob, "line 0", "line 1", "line 2", "line 3", "line 4")
	if len(flips) < 4 {
		t.Errorf("flipped only in %v", flips)
	}
}

// spoiled passes every spoiled form of a line to f: a byte flipped, a field changed. The first line
// of the body is a JSON object.
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

// TestAttack12Phase1 spoils p1, and the p1 that answers a retry, on the way to a real client. The
// client refuses it with an error, or ignores a line that is no p1 any more, and answers the honest
// one.
func TestAttack12Phase1(t *testing.T) {
	// The form of a bundle is checked before any signature.
	refused := []proto.Code{proto.Malformed, proto.SignatureInvalid, proto.BundleMalformed, proto.DelegationInvalid}
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
			if len(got) != 1 || !refuses(got[0], bad) || !slices.Contains(refused, got[0].Header.Code) {
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
		s := newInsider(t, "bob", "alice", func(cfg *client.Config) { cfg.Ciphers = []string{crypto.SuiteRSA256} })
		p := s.puppet(t, crypto.SuiteNames()...)
		i, p1 := s.offer(p)
		p.say(s.conn, proto.TypeClientConnect, 1, p1)
		again, err := i.Retry(p.want(proto.TypeClientConnect).Body, s.verifier.Verify)
		if err != nil {
			t.Fatal(err)
		}
		try(t, s, p, "new p1", again)
		p3, conv := s.p3(p, i, s.p2(p, again))
		s.confirmed(p, p3, conv)
		s.honest(p, conv)
	})
}

// TestAttack12Phase3 spoils p3 on the way to a real client. The client stays silent, since the
// honest one may still come, and takes that.
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

// phase2Case is a kind of answer to p1, and the phase that answers the honest one.
type phase2Case struct {
	name        string
	alice, bob  []string // suites
	keyNeeded   bool     // Alice makes an RSA key for each attempt
	phase, want string
}

var phase2Cases = []phase2Case{
	{"p2 " + crypto.SuiteMLKEM, crypto.SuiteNames(), []string{crypto.SuiteMLKEM}, false, "p2", "p3"},
	{"p2 " + crypto.SuiteRSA256, []string{crypto.SuiteRSA256}, []string{crypto.SuiteRSA256}, true, "p2", "p3"},
	{"p2 " + crypto.SuiteRSA128, []string{crypto.SuiteRSA128}, []string{crypto.SuiteRSA128}, true, "p2", "p3"},
	{"retry", crypto.SuiteNames(), []string{crypto.SuiteRSA256}, false, "retry", "p1"},
}

// TestAttack12Phase2 spoils p2, or a retry, on the way to a real client that has begun. The client
// never answers with p3 or a new p1, and says what it refused, to Bob too. Each form belongs to an attempt of
// its own, with another connection of Bob's.
func TestAttack12Phase2(t *testing.T) {
	suites := peerSuites()
	for _, c := range phase2Cases {
		if slices.Contains(suites, c.alice[0]) {
			t.Run(c.name, func(t *testing.T) { c.spoil(t) })
		}
	}
}

// answer lets Bob come, and returns the p1 of a new attempt and his answer.
func (c *phase2Case) answer(t *testing.T, s *insider) (p *puppet, p1, body []byte, r *crypto.Responder) {
	t.Helper()
	p = s.puppet(t, c.bob...)
	p.comes()
	p1 = p.want(proto.TypeClientConnect).Body
	offer, err := crypto.ReadOffer(p1, p.end(), endOf(s.conn))
	if err != nil {
		t.Fatal(err)
	}
	body, r, _, err = offer.Answer(p.local, nil, s.verifier.Verify)
	if err != nil || crypto.PeekPhase(body) != c.phase {
		t.Fatalf("%.20q, %v", body, err)
	}
	return p, p1, body, r
}

// refuses reports whether a line is an error that names the attempt of this p1.
func refuses(l wire.EvilLine, p1 []byte) bool {
	name := sha256.Sum256(p1)
	return l.Header.Type == proto.TypeError && bytes.Equal(l.Body, name[:])
}

// phase2 sends a client-connect body of phase 2. It returns the answer and its phase, or "".
func (s *insider) phase2(p *puppet, body []byte) (phase string, line wire.EvilLine) {
	p.t.Helper()
	p.say(s.conn, proto.TypeClientConnect, 2, body)
	for _, l := range p.answers(s.conn) {
		phase, line = l.Header.Type+" "+crypto.PeekPhase(l.Body), l
	}
	return phase, line
}

func (c *phase2Case) spoil(t *testing.T) {
	s := newInsider(t, "alice", "bob", func(cfg *client.Config) { cfg.Ciphers, cfg.Again = c.alice, time.Minute })
	// Alice talks with Bob as soon as he is there.
	s.real.Inside().Ask("bob")
	p, _, honest, _ := c.answer(t, s)
	p.goes()
	sample := 40
	if c.keyNeeded {
		sample = rsaSample(1)
	}
	refused, last := 0, ""
	spoiled(t, c.name, honest, sample, c.keyNeeded, func(what string, spoil func([]byte) []byte) {
		p, p1, body, r := c.answer(t, s)
		body = spoil(body)
		want := ""
		if crypto.PeekPhase(body) == c.phase {
			refused, last, want = refused+1, p.conn.ID, proto.TypeError+" "
		}
		if phase, line := s.phase2(p, body); phase != want || want != "" && !refuses(line, p1) {
			t.Errorf("%s: answered with %q %x", what, phase, line.Body)
		}
		p.goes()
		if r != nil {
			r.Erase()
		}
	})
	s.real.await("the last refusal", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == last && ev.Peer.What == "refused"
	})
	if n := s.said("refused"); n != refused {
		t.Errorf("%d refusals were said, of %d", n, refused)
	}
	s.authenticated(t)
	c.honest(t, s)
}

// honest checks that Alice goes on with an honest answer.
func (c *phase2Case) honest(t *testing.T, s *insider) {
	t.Helper()
	p, _, honest, r := c.answer(t, s)
	phase, line := s.phase2(p, honest)
	if phase != proto.TypeClientConnect+" "+c.want {
		t.Fatalf("the honest one is answered with %q", phase)
	}
	if c.want == "p3" {
		if _, err := r.Phase3(line.Body); err != nil {
			t.Errorf("the honest p3: %v", err)
		}
		s.real.await("that Bob is authenticated", func(ev client.Event) bool {
			return ev.Peer != nil && ev.Peer.Conn == p.conn.ID && ev.Peer.What == "authenticated"
		})
		s.authentic++
	}
	s.authenticated(t)
}

// peerSuites are the suites for tests with real clients: all in `make attack`. In go test, where a
// key costs a second under the race detector, one of the RSA suites is drawn.
func peerSuites() []string {
	if spoil.Whole() {
		return crypto.SuiteNames()
	}
	return []string{crypto.SuiteMLKEM, []string{crypto.SuiteRSA256, crypto.SuiteRSA128}[mathrand.N(2)]}
}

// rsaSample is the approximate number of positions to try where each needs RSA keys.
func rsaSample(n int) int {
	if spoil.Whole() {
		return 5 * n
	}
	return n
}

// TestAttack12MessageBytes spoils a message of each kind on the way to a real client, and its
// header by somebody who has K. Each spoiled message ends a conversation of its own and shows
// nothing; the next conversation is sound.
func TestAttack12MessageBytes(t *testing.T) {
	s := newInsider(t, "bob", "alice")
	// The many conversations of somebody new would fill the small inbox.
	if _, err := s.real.state.AcceptPeer("alice", s.person.Identity); err != nil {
		t.Fatal(err)
	}
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
				// try sends a spoiled message in a new conversation.
				try := func(what string, spoil func(*crypto.Sealed) []byte) {
					t.Helper()
					conv := s.converse(p)
					body := spoil(s.seal(p, conv, kind))
					other := crypto.PeekConversation(body)
					p.say(s.conn, client.KindType[kind], 0, body)
					got := p.answers(s.conn)
					want := conv.T3[:]
					if other != nil && !bytes.Equal(other, want) {
						want = other // one that Bob does not know
					}
					if other == nil { // none, so nothing ends
						if len(got) != 0 {
							t.Errorf("%s: answered %+v", what, got)
						}
						conv.Erase()
						return
					}
					if len(got) != 1 || got[0].Header.Type != proto.TypeError ||
						got[0].Header.Code != proto.NoConversation || !bytes.Equal(got[0].Body, want) {
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
						return slices.Concat(bad, []byte("\n"), proto.AppendBase64(nil, p.local.Key.Sign(crypto.MessageSigns(bad, m.CipherHash))),
							[]byte("\n"), sealed)
					})
				})
				s.honest(p, s.converse(p))
			}
		})
	}
}

// sealedLen is the number of sealed bytes in a body.
func sealedLen(m *crypto.Sealed) int {
	return len(m.Body) - len(m.Header) - 1 - proto.Base64Len(len(m.Signature)) - 1
}

// TestAttack12PipeBytes flips bytes of the chunk with data, between two real clients. Both ends
// fail, and no false byte is written.
func TestAttack12PipeBytes(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	data := make([]byte, 1000) // longer than any other chunk
	rand.Read(data)
	// run pipes data once, with its chunk spoiled.
	run := func(spoil func([]byte) []byte) (wrote []byte, sent, got error) {
		relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
			if l.Header.Type == proto.TypeClientCom && len(l.Body) > len(data) {
				return []wire.EvilLine{l.With(spoil(l.Body))}
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
