package client

import (
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestGivenUpTakesNoRoom: a record that is given up in the moment of sending, because it
// was written to another person, is not counted as sent for ever after.
func TestGivenUpTakesNoRoom(t *testing.T) {
	pair := wire.NewPair(t)
	pair.Connect()
	cred := &state.Credential{Key: pair.A.Local.Key, Bundle: pair.A.Local.Bundle}
	cfg := &Config{
		Name: pair.A.End.Name, Takes: proto.TakesMessages, Now: pair.Clock.Now, Verifier: pair.Verifier, Credential: cred,
		State: state.New(t.TempDir(), pair.A.End.Name),
	}
	e := newEngine(cfg, newEventQueue(), pair.A.Local.Identity)
	e.history = history.NewOn(pair.Clock.Now, keepsNothing{})
	e.begin(newSession(noConn{}, pair.A.End.Conn, new(crypto.Hop), nil))
	if err := e.history.Begin(pair.Ca, pair.A.Local.Bundle); err != nil {
		t.Fatal(err)
	}
	u := &user{name: pair.B.Local.FoldedName, shown: pair.B.End.Name, accepted: true}
	pc := &peerConn{id: pair.B.End.Conn, name: u.shown, user: u, takes: proto.TakesMessages, conv: pair.Ca, party: e.party(pair.Ca.PeerBundle, pair.Ca.Person)}
	e.users[u.name], e.conns[pc.id] = u, pc
	var records []*recipient
	for _, identity := range [][32]byte{{1}, pair.B.Local.Identity} {
		to := []crypto.Recipient{{Name: u.name, Identity: proto.FormatHash(identity)}}
		out := newOutRecord(crypto.NewRecord(e.self, to, "second", e.now()), []*user{u})
		if err := e.outbox.add(t.Context(), out, true); err != nil {
			t.Fatal(err)
		}
		records = append(records, out.to[0])
	}
	e.takeOutbox()
	e.flush()
	if other := records[0]; other.status != history.StatusFailed || other.reason.Code != proto.IdentityChanged {
		t.Errorf("the one to another person is %s: %v", other.status, other.reason)
	}
	if size := records[1].out.size; pc.out.unackBytes != size || pc.out.unreadBytes != size {
		t.Errorf("%d bytes count as not DELIVERED and %d as not READ, want %d", pc.out.unackBytes, pc.out.unreadBytes, size)
	}
	e.onReceipt(pc, 1, 1)
	if mine := records[1]; mine.status != history.StatusRead || u.counts.failed != 1 || u.counts.read != 1 {
		t.Errorf("the one to him is %s, of %+v", mine.status, u.counts)
	}
	if pc.out.unackBytes != 0 || pc.out.unreadBytes != 0 || e.outbox.records != 0 || e.outbox.bytes != 0 {
		t.Errorf("%d bytes count as not DELIVERED, %d as not READ, and %d as waiting", pc.out.unackBytes, pc.out.unreadBytes, e.outbox.bytes)
	}
}
