package client

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// span is a beginning and an end, in seconds from the clock of the client under test.
type span struct{ from, to int }

// holds is the rule of PROTOCOL.md, "Who is judged when", for one span.
func (s span) holds(at int) bool { return s.from-at <= 300 && at-s.to <= 300 }

// spans are those of one person.
type spans struct{ authority, leaf, delegation span }

func (s spans) hold(at int) bool {
	return at <= 300 && s.authority.holds(at) && s.leaf.holds(at) && s.delegation.holds(at) &&
		max(s.authority.from, s.leaf.from) <= min(s.authority.to, s.leaf.to)
}

// within is the moment for which somebody is judged who is addressed at that time.
func (s spans) within(at int) int { return max(s.delegation.from, min(at, s.delegation.to)) }

func (s *spans) span(i int) *span { return []*span{&s.authority, &s.leaf, &s.delegation}[i] }

// fit makes the delegation one that the card can sign. It reports false where there is none.
func (s *spans) fit() bool {
	s.delegation = span{max(s.delegation.from, s.leaf.from), min(s.delegation.to, s.leaf.to)}
	return s.delegation.from <= s.delegation.to && s.authority.from <= s.authority.to
}

var always = spans{span{-86400, 86400}, span{-86400, 86400}, span{-10000, 10000}}

// judgedTalk is a conversation of the client under test with a peer who does not keep to the rule.
type judgedTalk struct {
	peer, mine spans
	ahead      time.Duration // of the peer's headers before the client's clock
	age        time.Duration // of the conversation
	sendFirst  bool
}

// judgedResult is what the client has taken from the peer, or sent.
type judgedResult struct{ conversation, text, sent, receipt bool }

// judgedLab makes the cards of the talks.
type judgedLab struct {
	pki   *lab.PKI
	clock *wire.Clock
	keys  *crypto.KeySource
	trust *trust.Store
	cards map[string]*lab.Holder // of the present talk, by name

	doubted int // histories in which a revocation made something doubtful
}

func newJudgedLab(t *testing.T) *judgedLab {
	pki, err := lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return wire.Epoch }})
	if err != nil {
		t.Fatal(err)
	}
	keys := new(crypto.KeySource)
	t.Cleanup(keys.Close)
	return &judgedLab{pki: pki, clock: wire.NewClock(), keys: keys, trust: people.Trust(t, pki), cards: map[string]*lab.Holder{}}
}

// person has a card under an authority of its own sign for a new K.
func (l *judgedLab) person(
	t *testing.T, name string, s spans,
) (cred *wire.Cred, identity [32]byte) {
	t.Helper()
	at := func(n int) time.Time { return wire.Epoch.Add(time.Duration(n) * time.Second) }
	window := lab.Window(at(s.authority.from), at(s.authority.to))
	ca, err := l.pki.NewCA(l.pki.Root, lab.DN("CN", "Authority of "+name), window)
	if err != nil {
		t.Fatal(err)
	}
	holder, err := l.pki.Issue(name, lab.By(ca), lab.Window(at(s.leaf.from), at(s.leaf.to)))
	if err != nil {
		t.Fatal(err)
	}
	l.cards[name] = holder
	subject := proto.List{holder.Leaf.RawIssuer, holder.Leaf.RawSubject}
	identity = proto.HashTuple("identity-subject", sha256.Sum256(ca.Cert.RawSubjectPublicKeyInfo), subject)
	return wire.DelegateAt(t, holder, name, at(s.delegation.from), at(s.delegation.to)), identity
}

// queued takes the lines of these types that the engine has queued for the relay.
func queued(t *testing.T, e *engine, types ...string) (bodies [][]byte) {
	t.Helper()
	queue := e.link.sess.queue
	e.link.sess.queue, e.link.sess.bytes = nil, 0
	for _, out := range queue {
		header, _, body, err := proto.SplitPayload(slices.Concat(out.head, out.body))
		if err != nil {
			t.Fatal(err)
		}
		if h, err := proto.ParseClientHeader(header); err != nil || slices.Contains(types, h.Type) {
			bodies = append(bodies, bytes.Clone(body))
		}
	}
	return bodies
}

// run has the two talk at wire.Epoch, and checks that the history of the client verifies.
func (l *judgedLab) run(t *testing.T, talk judgedTalk) (result judgedResult) {
	t.Helper()
	l.clock.Add(wire.Epoch.Add(-talk.age).Sub(l.clock.Now()))
	cred, self := l.person(t, "mine", talk.mine)
	known, err := state.Open(t.TempDir(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	verifier := trust.NewVerifier(trust.VerifierConfig{Trust: l.trust, Now: l.clock.Now})
	cfg := &Config{
		Name: "mine", Takes: proto.TakesMessages, State: known, Verifier: verifier,
		Credential: &state.Credential{Key: cred.Key, Bundle: cred.Bundle},
		Ciphers:    []string{crypto.SuiteMLKEM}, Offers: OfferBurst, Callers: CallerBurst, Strangers: StrangersRecords,
		Timeout: time.Minute, AcceptNew: true, ReadAnyone: true, Receipts: true, Now: l.clock.Now,
	}
	e := newEngine(cfg, newEventQueue(), self)
	e.start = func(s *step) {
		s.work(s)
		e.finish(s)
	}
	hcfg := history.Config{
		Dir: known.HistoryDir(), Receiving: true, Now: cfg.Now, Owner: history.Owner{Name: cfg.Name, Identity: self},
		Bundle: cfg.Credential.Bundle, Key: cfg.Credential.Key,
	}
	if e.history, _, err = history.Open(hcfg); err != nil {
		t.Fatal(err)
	}
	e.history.Holds = e.holds
	e.begin(newSession(noConn{}, strings.Repeat("a", proto.ConnIDLen), new(crypto.Hop), nil))
	defer func() {
		e.history.Close()
		l.verifies(t, known.HistoryDir(), verifier, talk, result)
	}()

	peer, identity := l.person(t, "peer", talk.peer)
	end := crypto.End{Name: "peer", Conn: strings.Repeat("b", proto.ConnIDLen)}
	local := &crypto.Local{
		Key: peer.Key, Bundle: peer.Bundle, Identity: identity, FoldedName: "peer",
		Suites: cfg.Ciphers, Takes: proto.TakesMessages, Keys: l.keys,
	}
	say := func(typ string, phase int, body []byte) {
		e.onInbound(Inbound{&proto.Header{
			Type: typ, Phase: phase,
			Src: end.Name, SrcID: end.Conn, Dst: cfg.Name, DstID: e.link.sess.ID,
		}, bytes.Clone(body)}, true)
		e.releaseHeld()
	}
	e.onInbound(Inbound{&proto.Header{
		Type: proto.TypePeer, Name: end.Name, ID: end.Conn,
		Takes: proto.TakesMessages, Done: proto.Came,
	}, nil}, true)
	i, p1, err := crypto.Initiate(local, end, e.myEnd())
	if err != nil {
		t.Fatal(err)
	}
	say(proto.TypeClientConnect, 1, p1)
	p2 := queued(t, e, proto.TypeClientConnect)
	if len(p2) == 0 {
		return result
	}
	p3, conv, err := i.Phase2(p2[0], func(b *trust.Bundle, _ string) (*trust.Person, error) {
		return &trust.Person{Key: cred.Key.Public(), Identity: self}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conv.Erase()
	say(proto.TypeClientConnect, 3, p3)
	pc := e.conns[end.Conn]
	result.conversation = pc.conv != nil
	if !result.conversation {
		return result
	}
	defer func() { e.endConversation(pc, "the test is over") }()
	l.clock.Add(wire.Epoch.Sub(l.clock.Now()))
	theirs := wire.Epoch.Add(talk.ahead)

	text := func() {
		if pc.conv == nil {
			return
		}
		to := []crypto.Recipient{{Name: "mine", Identity: proto.FormatHash(self)}}
		record := crypto.NewRecord(identity, to, "from the peer", wire.Epoch)
		s, _, err := conv.SealRecords([]*crypto.Record{record}, theirs)
		if err != nil {
			t.Fatal(err)
		}
		say(proto.TypeClientCom, 0, s.Body)
		result.text = pc.conv != nil && pc.conv.ReceivedSeq() == 1
	}
	answered := func() {
		if pc.conv == nil {
			return
		}
		u := e.userFor("peer")
		u.watching, u.listed, u.accepted = true, true, true
		r := e.send(t, u, "to the peer")
		e.takeOutbox()
		e.adopt(pc)
		e.flush()
		for _, body := range queued(t, e, proto.TypeClientCom, proto.TypeCommAck) {
			o, err := conv.Open(body, wire.Epoch)
			if err != nil {
				t.Fatal(err)
			}
			conv.Commit(o)
			result.sent = result.sent || o.Records != nil
		}
		if !result.sent {
			return
		}
		s, err := conv.SealReceipt(1, 1, theirs)
		if err != nil {
			t.Fatal(err)
		}
		say(proto.TypeCommAck, 0, s.Body)
		result.receipt = r.status == history.StatusRead
	}
	if talk.sendFirst {
		answered()
		text()
	} else {
		text()
		answered()
	}
	return result
}

// revoking is a verifier two hours later, to which the card of one person was stolen an hour before.
func (l *judgedLab) revoking(t *testing.T, name string) *trust.Verifier {
	t.Helper()
	const keyCompromise = 1
	at := wire.Epoch.Add(time.Hour)
	card := l.cards[name]
	list, err := card.Issuer.MakeCRL(lab.CRL{ThisUpdate: at, Entries: []x509.RevocationListEntry{
		{SerialNumber: card.Leaf.SerialNumber, RevocationTime: at, ReasonCode: keyCompromise},
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "authority.crl"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	lists := trust.NewCRLStore()
	if problems := lists.LoadDir(dir); len(problems) > 0 {
		t.Fatal(problems)
	}
	return trust.NewVerifier(trust.VerifierConfig{
		Trust: l.trust, CRLs: lists, Now: func() time.Time { return at.Add(time.Hour) },
	})
}

// verifies checks the history and the proofs of a talk.
func (l *judgedLab) verifies(
	t *testing.T, dir string, v *trust.Verifier, talk judgedTalk, result judgedResult,
) {
	t.Helper()
	r, err := history.Verify(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Errorf("%+v: taken is %+v, and it does not verify: %v", talk, result, r.Findings)
	}
	for _, name := range []string{"peer", "mine"} {
		// What was taken stays signed when a card is called stolen. Nobody calls it changed.
		r, err := history.Verify(dir, l.revoking(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() && !r.Doubtful {
			t.Errorf("%+v: %s is revoked later, and that is found: %v", talk, name, r.Findings)
		}
		if r.Doubtful {
			l.doubted++
		}
	}
	if texts := 0; result.text || result.sent {
		listing, err := history.Read(dir, history.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range listing.Messages {
			if m.Outgoing && !result.sent {
				continue // PENDING: nothing is signed
			}
			texts++
			data, err := history.ExportProof(dir, m.ID, v)
			if err != nil {
				t.Errorf("%+v: %v", talk, err)
				continue
			}
			proof, err := history.VerifyProof(data, v)
			if err != nil || m.Outgoing && (proof.Receipt != nil) != result.receipt {
				t.Errorf("%+v: taken is %+v, and the proof does not hold: %v", talk, result, err)
			}
		}
		one := map[bool]int{true: 1}
		if want := one[result.text] + one[result.sent]; texts != want {
			t.Errorf("%+v: the history has %d messages, and %+v is taken", talk, texts, result)
		}
	} else if r.Messages+r.Receipts > 0 {
		t.Errorf("%+v: nothing is taken, and the history has %+v", talk, r)
	}
}

// TestJudgedCorners: each beginning and end, a second before, at and after each limit of five
// minutes. What is taken is what the rule says, and it verifies.
func TestJudgedCorners(t *testing.T) {
	l := newJudgedLab(t)
	part := []string{"authority", "leaf", "delegation"}
	results := map[judgedResult]int{}
	check := func(what string, talk judgedTalk) {
		t.Helper()
		if !talk.peer.fit() || !talk.mine.fit() {
			t.Fatalf("%s: there is no delegation", what)
		}
		got := l.run(t, talk)
		results[got]++
		if want := talk.byTheRule(); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	for i := range part {
		for _, edge := range []int{-301, -300, -299, 299, 300, 301} {
			for _, ahead := range []int{-300, 0, 300} {
				talk := judgedTalk{
					peer: always, mine: always, ahead: time.Duration(ahead) * time.Second, sendFirst: edge%2 == 0,
				}
				for _, mine := range []bool{false, true} {
					begins, ends := talk, talk
					if mine {
						begins.mine.span(i).from, ends.mine.span(i).to = edge, edge
					} else {
						begins.peer.span(i).from, ends.peer.span(i).to = edge, edge
					}
					at := fmt.Sprintf("at %d s, mine %v, headers %d s ahead", edge, mine, ahead)
					check(part[i]+" begins "+at, begins)
					check(part[i]+" ends "+at, ends)
				}
			}
		}
	}
	if len(results) < 4 {
		t.Errorf("the results are all alike: %v", results)
	}
}

// byTheRule is the result that PROTOCOL.md gives to a talk that has just begun, with headers a
// whole number of seconds ahead.
func (talk *judgedTalk) byTheRule() (want judgedResult) {
	ahead := int(talk.ahead / time.Second)
	want.conversation = talk.peer.hold(0)
	hears := want.conversation && talk.peer.hold(ahead) && talk.mine.hold(talk.mine.within(ahead))
	sends := want.conversation && talk.mine.hold(0) && talk.peer.hold(talk.peer.within(0))
	if !talk.sendFirst {
		want.text = hears
		want.sent, want.receipt = hears && sends, hears && sends // a refused text is the end
		return want
	}
	want.sent, want.receipt = sends, sends && hears
	want.text = hears
	return want
}

// TestAcceptedVerifies: whatever a client takes live verifies offline, and what it refuses is not
// stored, for beginnings and ends within ten minutes around its clock and the peer's headers.
func TestAcceptedVerifies(t *testing.T) {
	// A delegation that ended 285 s ago, with headers 285 s ahead.
	l := newJudgedLab(t)
	for _, sendFirst := range []bool{false, true} {
		talk := judgedTalk{
			peer: always, mine: always, ahead: 285 * time.Second, sendFirst: sendFirst,
		}
		talk.peer.delegation.to = -285
		if got := l.run(t, talk); got.text || got.receipt {
			t.Errorf("of a delegation that has ended %+v is taken", got)
		}
	}
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	near := func() int { return random.IntN(1201) - 600 }
	counts := map[string]int{}
	for range 300 {
		talk := judgedTalk{
			peer: always, mine: always, sendFirst: random.IntN(2) == 0,
			ahead: time.Duration(random.Int64N(600_001)-300_000) * time.Millisecond,
		}
		if random.IntN(2) == 0 {
			talk.age = time.Duration(random.IntN(600)) * time.Second
		}
		for range 1 + random.IntN(3) {
			who := &talk.peer
			if random.IntN(3) == 0 {
				who = &talk.mine
			}
			s := who.span(random.IntN(3))
			if random.IntN(2) == 0 {
				s.from = near()
			} else {
				s.to = near()
			}
		}
		if !talk.peer.fit() || !talk.mine.fit() {
			continue
		}
		counts[fmt.Sprintf("%+v", l.run(t, talk))]++
	}
	t.Logf("%v", counts)
	if len(counts) < 4 || l.doubted == 0 {
		t.Errorf("the cases are all alike: %v, and %d were in doubt", counts, l.doubted)
	}
}
