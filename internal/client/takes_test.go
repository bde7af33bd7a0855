package client

import (
	"context"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestSignedTakes: what a peer has signed that it takes counts, and not the relay's word. A text to
// a one-shot sender waits as for somebody who is not there, and ends no conversation.
func TestSignedTakes(t *testing.T) {
	e, pair, started := stepEngine(t)
	e.cfg.Persistent, e.cfg.AcceptNew, e.cfg.Receipts = true, true, true
	pc := e.connFor("00000000000000b0", pair.B.End.Name)
	pc.user.watching, pc.user.listed, pc.user.accepted = true, true, true
	e.connCame(pc.id, pc.name, proto.TakesMessages) // a lie
	if pc.takes != proto.TakesMessages || len(*started) != 1 {
		t.Fatalf("takes %q, %d steps", pc.takes, len(*started))
	}
	send := func(text string) *outRecord {
		to := []crypto.Recipient{{Name: pc.user.name}}
		out := newOutRecord(crypto.NewRecord(e.self, to, text, e.now()), []*user{pc.user})
		if err := e.outbox.add(context.Background(), out, false); err != nil {
			t.Fatal(err)
		}
		e.takeOutbox()
		return out
	}
	before := send("before the conversation")
	if len(pc.out.queue) != 1 {
		t.Fatalf("%d records are queued on the relay's word", len(pc.out.queue))
	}
	pair.B.Local.Takes = proto.TakesNone
	_, conv := pair.Shake(pair.B, &wire.User{Local: e.local, End: e.myEnd()})
	e.converse(pc, conv)
	e.connCame(pc.id, pc.name, proto.TakesMessages) // again
	after := send("in the conversation")
	e.flush()
	if pc.conv != conv || pc.takes != proto.TakesNone || len(pc.out.queue)+len(pc.out.sent) != 0 || len(pc.user.orphans) != 2 {
		t.Errorf("takes %q, %d queued, %d sent, %d wait for another connection",
			pc.takes, len(pc.out.queue), len(pc.out.sent), len(pc.user.orphans))
	}
	for _, out := range []*outRecord{before, after} {
		if r := out.to[0]; r.status != history.StatusPending || r.sent {
			t.Errorf("a record is %s", r.status)
		}
	}
	p := e.prospect(pc.user, proto.TakesMessages)
	if reason := p.absent(); reason.Code != proto.NotTaking {
		t.Errorf("the reason is %v", reason)
	}
}
