package client

import (
	"bytes"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// talkingEngine is an engine in the middle of a conversation, with a history on the disk.
func talkingEngine(t *testing.T) (e *engine, pc *peerConn, dir string) {
	t.Helper()
	pair := wire.NewPair(t)
	pair.Connect()
	known, err := state.Open(t.TempDir(), pair.A.End.Name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{
		Name: pair.A.End.Name, Takes: proto.TakesMessages, Now: pair.Clock.Now, State: known, Verifier: pair.Verifier, Persistent: true, Receipts: true,
		Credential: &state.Credential{Key: pair.A.Local.Key, Bundle: pair.A.Local.Bundle},
	}
	e = newEngine(cfg, newEventQueue(), pair.A.Local.Identity)
	dir = known.HistoryDir()
	hcfg := history.Config{
		Dir: dir, Receiving: true, Now: cfg.Now, Owner: history.Owner{Name: cfg.Name, Identity: e.self},
		Bundle: cfg.Credential.Bundle, Key: cfg.Credential.Key,
	}
	if e.history, _, err = history.Open(hcfg); err != nil {
		t.Fatal(err)
	}
	e.begin(newSession(noConn{}, pair.A.End.Conn, new(crypto.Hop), nil))
	if err := e.history.Begin(pair.Ca, pair.A.Local.Bundle); err != nil {
		t.Fatal(err)
	}
	u := &user{name: pair.B.Local.FoldedName, shown: pair.B.End.Name, accepted: true, watching: true, listed: true}
	u.identity, u.person = pair.B.Local.Identity, pair.Ca.Person
	pc = &peerConn{id: pair.B.End.Conn, name: u.shown, user: u, takes: proto.TakesMessages, conv: pair.Ca}
	pc.checked, pc.party = time.Now(), e.party(pair.Ca.PeerBundle, pair.Ca.Person)
	e.users[u.name], e.conns[pc.id] = u, pc
	return e, pc, dir
}

// send gives the engine a record for a user, as Send does.
func (e *engine) send(t *testing.T, u *user, text string) *recipient {
	t.Helper()
	to := []crypto.Recipient{{Name: u.name, Identity: proto.FormatHash(u.identity)}}
	out := newOutRecord(crypto.NewRecord(e.self, to, text, e.now()), []*user{u})
	if err := e.outbox.add(t.Context(), out, true); err != nil {
		t.Fatal(err)
	}
	return out.to[0]
}

// inHistory returns the delivery of the message with a text.
func inHistory(t *testing.T, dir, text string) history.Delivery {
	t.Helper()
	listing, err := history.Read(dir, history.Query{})
	if err != nil || len(listing.Problems) > 0 {
		t.Fatal(listing, err)
	}
	for _, m := range listing.Messages {
		if m.Text == text {
			return m.Deliveries[0]
		}
	}
	t.Errorf("%q is not in the history", text)
	return history.Delivery{}
}

// TestLeftIsNotFailed: a message that has left without an answer may have arrived, so neither the
// end of the client nor the end of its patience makes it FAILED.
func TestLeftIsNotFailed(t *testing.T) {
	e, pc, dir := talkingEngine(t)
	left := e.send(t, pc.user, "into the void")
	e.takeOutbox()
	e.flush()
	if len(pc.out.sent) != 1 {
		t.Fatal("it has not left")
	}
	away := e.userFor("away")
	away.watching, away.listed = true, true
	e.send(t, away, "nobody is there")
	e.takeOutbox()
	if _, err := e.events.take(); err != nil {
		t.Fatal(err)
	}
	e.end(nil)
	events, _ := e.events.take()
	for _, ev := range events {
		r := ev.Receipt
		if r == nil {
			continue
		}
		perhaps := r.ID == left.out.record.ID
		if (r.Status == history.StatusFailed) == perhaps || perhaps && (r.Conn != pc.id || r.Err == nil) {
			t.Errorf("it is told as %+v", r)
		}
	}
	if d := inHistory(t, dir, "into the void"); d.Status != history.StatusPending || d.Reason == "" {
		t.Errorf("the one that has left is %+v", d)
	}
	if d := inHistory(t, dir, "nobody is there"); d.Status != history.StatusFailed {
		t.Errorf("the one that has not left is %+v", d)
	}
}

// TestLeftThenRefused: a message that had left is FAILED if the peer ends its conversation by a signed
// refusal: what was taken has been told. A refusal that nobody has signed, or after another end, says
// nothing about it.
func TestLeftThenRefused(t *testing.T) {
	refused := func(pc *peerConn) *proto.Header {
		return &proto.Header{Type: proto.TypeError, SrcID: pc.id, Code: proto.NotAccepted, Message: "no"}
	}
	for _, test := range []struct {
		what   string
		refuse func(e *engine, pc *peerConn)
		want   history.Status
	}{
		{"signed", func(e *engine, pc *peerConn) { e.refusedBy(pc, "no") }, history.StatusFailed},
		{"unsigned", func(e *engine, pc *peerConn) { e.onPeerError(refused(pc), bytes.Clone(pc.conv.T3[:])) }, history.StatusPending},
		{"later", func(e *engine, pc *peerConn) {
			e.endConversation(pc, "a test")
			pc.shake.init = new(crypto.Initiator)
			e.onPeerError(refused(pc), pc.shake.attempt[:])
		}, history.StatusPending},
	} {
		e, pc, dir := talkingEngine(t)
		e.send(t, pc.user, "hello")
		e.takeOutbox()
		e.flush()
		test.refuse(e, pc)
		e.end(nil)
		if d := inHistory(t, dir, "hello"); d.Status != test.want || d.Reason == "" {
			t.Errorf("%s: it is %+v", test.what, d)
		}
	}
}

// TestRefusalsOfAPeerHaveItsCodes: an error in a peer's name, which the relay can make, is not taken for
// the relay's refusal of one's own name or for a fault of this machine, and has no advice about them.
func TestRefusalsOfAPeerHaveItsCodes(t *testing.T) {
	for code, want := range map[proto.Code]proto.Code{
		proto.NotAccepted: proto.NotAccepted, proto.CertificateRevoked: proto.CertificateRevoked, proto.Busy: proto.Busy,
		proto.NameTaken: proto.Internal, proto.NotAllowed: proto.Internal, proto.RelayChanged: proto.Internal,
		proto.Card: proto.Internal, proto.Usage: proto.Internal, "strange": proto.Internal,
	} {
		e, pc, _ := talkingEngine(t)
		e.endConversation(pc, "a test")
		pc.shake.init = new(crypto.Initiator)
		e.onPeerError(&proto.Header{Type: proto.TypeError, SrcID: pc.id, Code: code, Message: "no"}, pc.shake.attempt[:])
		if got := fail.AsError(pc.user.refusal); got.Code != want || want == proto.Internal && got.Advice() != "" {
			t.Errorf("%s: it counts as %s, with the advice %q", code, got.Code, got.Advice())
		}
		e.end(nil)
	}
}

// TestFailedStandsInTheHistory: every message that has an id stands in the history with its end, also if
// it never had to wait for a connection.
func TestFailedStandsInTheHistory(t *testing.T) {
	no := fail.Errorf(proto.UnknownPeer, "not accepted")
	for text, end := range map[string]func(e *engine, pc *peerConn){
		"refused at the question": func(e *engine, pc *peerConn) { e.takeOutbox(); e.decided(pc.user, pc.conv.Person, no) },
		"refused before":          func(e *engine, pc *peerConn) { e.cfg.Persistent, pc.user.refusal = false, no; e.takeOutbox() },
		"never taken":             func(*engine, *peerConn) {},
	} {
		e, pc, dir := talkingEngine(t)
		pc.user.accepted = false
		e.send(t, pc.user, text)
		end(e, pc)
		e.end(nil)
		if d := inHistory(t, dir, text); d.Status != history.StatusFailed {
			t.Errorf("%s: it is %+v", text, d)
		}
	}
}

// TestQuestionIsWrittenDown: a message that waits for the answer about a person is PENDING in the history.
func TestQuestionIsWrittenDown(t *testing.T) {
	e, pc, dir := talkingEngine(t)
	pc.user.accepted = false
	e.send(t, pc.user, "who are you")
	e.takeOutbox()
	if d := inHistory(t, dir, "who are you"); d.Status != history.StatusPending || d.Reason != "" {
		t.Errorf("it is %+v", d)
	}
	e.end(nil)
}
