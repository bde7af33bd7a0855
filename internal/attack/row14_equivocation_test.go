package attack

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// TestAttack14Equivocation: Mallory tells the members of a group different things. Each sees the
// text signed for him, and two who compare ids or proofs see the difference.
func TestAttack14Equivocation(t *testing.T) {
	town := newTown(t, "bob", "carol", "mallory")
	bob, carol := town.client("bob"), town.client("carol")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	toBob := crypto.Recipient{Name: "bob", Identity: proto.FormatHash(bob.Inside().Identity())}
	toCarol := crypto.Recipient{Name: "carol", Identity: proto.FormatHash(carol.Inside().Identity())}
	both := []crypto.Recipient{toBob, toCarol}

	type telling struct{ bob, carol *crypto.Record }
	now := time.Now()
	record := func(text string, to []crypto.Recipient, when time.Time) *crypto.Record {
		return crypto.NewRecord(mallory.local.Identity, slices.Clone(to), text, when)
	}
	salted := func(r *crypto.Record, like *crypto.Record) *crypto.Record {
		r.Salt = like.Salt
		r.ID = crypto.RecordID(mallory.local.Identity, r)
		return r
	}
	one := record("the same for both", both, now)
	five := record("we meet at five", both, now)
	secret := record("told to both", both, now)
	tellings := map[string]telling{
		"the same":          {one, one},
		"another text":      {five, salted(record("we meet at six", both, now), five)},
		"another list":      {secret, salted(record("told to both", []crypto.Recipient{toCarol}, now), secret)},
		"a moment later":    {record("yes", both, now), record("no", both, now.Add(time.Millisecond))},
		"the same, 2 salts": {record("twice", both, now), record("twice", both, now)},
	}
	for name, tell := range tellings {
		for _, to := range []struct {
			tc *testClient
			r  *crypto.Record
		}{{bob, tell.bob}, {carol, tell.carol}} {
			r := *to.r // sealing sets seq
			mallory.call(end(to.tc))
			mallory.records(end(to.tc), &r)
			m := to.tc.await("what was told", func(ev client.Event) bool { return ev.Message != nil && ev.Message.ID == r.ID }).Message
			var names []string
			for _, rc := range r.To {
				names = append(names, rc.Name)
			}
			if m.Text != r.Text || !slices.Equal(m.To, names) {
				t.Errorf("%s: %s is shown %q to %v", name, to.tc.Name(), m.Text, m.To)
			}
		}
	}
	// An id cannot stand for another text or another `to` list.
	for _, bad := range []*crypto.Record{record("we meet at seven", both, now), record("we meet at five", []crypto.Recipient{toCarol}, now)} {
		bad.ID = five.ID
		mallory.call(end(carol))
		mallory.records(end(carol), bad)
		mallory.wantRefusal("another record under an id", "no-conversation")
	}
	bob.leave()
	carol.leave()
	proof := func(tc *testClient, id string) *history.ProofReport {
		data, err := history.ExportProof(filepath.Join(town.dir, "state-"+tc.Name(), "history"), id, town.verifier())
		if err != nil {
			t.Fatal(err)
		}
		report, err := history.VerifyProof(data, town.verifier())
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	for name, tell := range tellings {
		same := name == "the same"
		if (tell.bob.ID == tell.carol.ID) != same {
			t.Errorf("%s: the ids are %s and %s", name, tell.bob.ID, tell.carol.ID)
		}
		c := history.CompareProofs(proof(bob, tell.bob.ID), proof(carol, tell.carol.ID))
		conflict := name == "another text" || name == "another list"
		if c.Same != same || c.Conflict != conflict || strings.Contains(c.String(), "contradict") != conflict {
			t.Errorf("%s: compares as %+v: %s", name, c, c)
		}
	}
	if got := carol.texts(); slices.Contains(got, "we meet at seven") || slices.Contains(got, "we meet at five") {
		t.Errorf("carol saw %q", got)
	}
}
