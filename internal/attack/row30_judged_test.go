package attack

import (
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// TestAttack30Minted: the delegation of Mallory's own card has ended, within the slack, and her
// headers are ahead, within the slack. By the time in them she did not hold. She mints a text and a
// receipt so. Neither is taken: nothing of them is stored, and the history and all proofs of what
// was taken hold.
func TestAttack30Minted(t *testing.T) {
	const off = 200 * time.Second // enough of the slack is left for a slow machine
	town := newTown(t, "alice", "mallory")
	alice := town.client("alice", manyOffers)
	identity := proto.FormatHash(alice.Inside().Identity())
	self := []crypto.Recipient{{Name: "alice", Identity: identity}}
	cred := town.credentialAt("mallory", time.Now().Add(-time.Hour), time.Hour-off)
	mallory := town.evilPeer(town.addr, "mallory", cred)
	record := func(text string) *crypto.Record {
		return crypto.NewRecord(mallory.local.Identity, self, text, time.Now())
	}
	told := func(what string) {
		t.Helper()
		if m := mallory.wantRefusal(what, proto.NoConversation); !strings.Contains(m.Message, "the delegation by") {
			t.Errorf("mallory is told of %s: %q", what, m.Message)
		}
		alice.await("that "+what+" is refused", func(ev client.Event) bool {
			return ev.Gap != nil && strings.Contains(ev.Gap.Reason, "the delegation by") &&
				strings.Contains(ev.Gap.Reason, "the time in question")
		})
	}

	takeText := func() { // and the receipts before it
		t.Helper()
		for {
			m := mallory.Next()
			if m.Type != proto.TypeClientCom && m.Type != proto.TypeCommAck {
				continue
			}
			if mallory.take(m.Body).Records != nil {
				return
			}
		}
	}

	// With the right time in them both are taken.
	mallory.call(end(alice))
	inTime := record("in time")
	mallory.records(end(alice), inTime)
	alice.awaitText("in time")
	first := alice.mustSend("first", "mallory")
	takeText()
	mallory.receipt(end(alice), 1, 1)
	alice.awaitStatus(first, "mallory", history.StatusRead)

	minted := record("minted")
	s, _, err := mallory.conv.SealRecords([]*crypto.Record{minted}, time.Now().Add(off))
	if err != nil {
		t.Fatal(err)
	}
	mallory.Say(headerTo(proto.TypeClientCom, end(alice)), s.Body)
	told("a text")

	mallory.call(end(alice))
	second := alice.mustSend("second", "mallory")
	takeText()
	if s, err = mallory.conv.SealReceipt(1, 1, time.Now().Add(off)); err != nil {
		t.Fatal(err)
	}
	mallory.Say(headerTo(proto.TypeCommAck, end(alice)), s.Body)
	told("a receipt")

	alice.leave()
	dir := alice.state.HistoryDir()
	town.historyHolds(dir)
	listing, err := history.Read(dir, history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if len(listing.Messages) != 3 {
		t.Errorf("the history has %d messages, want 3", len(listing.Messages))
	}
	for id, given := range map[string]bool{inTime.ID: false, first: true, second: false} {
		data, err := history.ExportProof(dir, id, town.verifier())
		if err != nil {
			t.Fatal(err)
		}
		proof, err := history.VerifyProof(data, town.verifier())
		switch {
		case err != nil:
			t.Errorf("the proof of what was taken: %v, %s", err, fail.AsError(err).Advice())
		case (proof.Receipt != nil) != given:
			t.Errorf("%q is proved with the receipt %+v", proof.Text, proof.Receipt)
		}
	}
	if _, err := history.ExportProof(dir, minted.ID, town.verifier()); err == nil {
		t.Error("the text that was refused is stored")
	}
	for _, m := range listing.Messages {
		if m.ID == second && m.Status().AtLeast(history.StatusDelivered) {
			t.Errorf("by the receipt that was refused it is %s", m.Status())
		}
	}
}
