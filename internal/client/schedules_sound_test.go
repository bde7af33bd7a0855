package client

import (
	"slices"
	"strings"
	"testing"

	"chatsecure/internal/state"
	"chatsecure/testdata/lab/wire"
)

// TestSchedulesClientsAreApart: two runs of a client, perhaps at the same time,
// share no knowledge of people.
func TestSchedulesClientsAreApart(t *testing.T) {
	cast := newScheduleCast(t)
	for _, sc := range []*scenario{{strangers: true}, {}} {
		first := newScheduledClient(t, cast, sc, alice)
		known := len(first.e.cfg.State.KnownPeers())
		met := state.KnownPeer{Name: "zoe", Identity: cast.users[bob].Local.Identity, CommonName: "zoe", First: wire.Epoch}
		if err := first.e.cfg.State.SetKnownPeer(met); err != nil {
			t.Fatal(err)
		}
		second := newScheduledClient(t, cast, sc, alice)
		if n := len(second.e.cfg.State.KnownPeers()); n != known {
			t.Errorf("strangers %t: the second begins with %d people who are known, the first with %d", sc.strangers, n, known)
		}
		if n := len(first.e.cfg.State.KnownPeers()); n != known+1 {
			t.Errorf("strangers %t: the first knows %d people when the second has begun, and knew %d", sc.strangers, n, known+1)
		}
		first.close()
		second.close()
	}
}

// TestSchedulesChecksComplain spoils a good world in every way that the search
// checks for. Each is found and named.
func TestSchedulesChecksComplain(t *testing.T) {
	cast := newScheduleCast(t)
	sc := &scenario{texts: bothTexts, told: oneBegins, talk: talk}
	s := newSearch(t, cast, sc)
	honest := s.honest()
	end := honest[len(honest)-1]
	defer s.closeLives()
	strangers := newSearch(t, cast, &scenario{strangers: true})
	// The world's facts of the two, and what Mallory has.
	type facts struct{ alice, bob, evil *scheduledFacts }
	nobody := [32]byte{1}
	hers := cast.users[mallory].Local.Identity
	for _, c := range []struct {
		name  string
		s     *search
		spoil func(f facts)
		want  string
	}{
		{"nothing", s, func(facts) {}, ""},

		{"shown as nobody", s, func(f facts) { f.alice.convs[0].identity = nobody }, "one who is not in this"},
		{"shown as oneself", s, func(f facts) { f.alice.convs[0].identity = cast.users[alice].Local.Identity }, "one who is not in this"},
		{"a conversation twice", s, func(f facts) { f.alice.convs = append(f.alice.convs, f.alice.convs[0]) }, "begun twice"},
		{"two of one line", s, func(f facts) {
			second := f.alice.convs[0]
			second.t3 = nobody
			f.alice.convs = append(f.alice.convs, second)
		}, "begun twice"},
		{"another name than the conversation's", s, func(f facts) { f.alice.convs[0].name = "mallory" }, "in a conversation of"},
		{"another connection of one's own", s, func(f facts) { f.alice.convs[0].me = cast.end(ghostAlice) }, "in a conversation of"},
		{"mallory under bob's name", s, func(f facts) { f.alice.convs[0].identity = hers }, "mallory is shown as bob"},
		{"on mallory's connection", s, func(f facts) { f.alice.convs[0].peer = cast.end(ghostBob) }, "another connection"},
		{"both have begun it", s, func(f facts) { f.alice.convs[0].initiated = false }, "do not agree"},
		{"the other means somebody else", s, func(f facts) { f.bob.convs[0].identity = hers; f.bob.convs[0].name = "alice" }, "do not agree"},
		{"the other has no such conversation", s, func(f facts) { f.alice.convs, f.alice.shown = nil, nil }, "has no such conversation"},
		{"the other has it, but never answered", s, func(f facts) {
			f.bob.convs = nil
			f.alice.convs[0].on = &scheduledLine{body: []byte("nothing that was said")}
		}, "never answered"},
		{"two persons under one name", strangers, func(f facts) {
			second := f.alice.convs[0]
			second.t3, second.identity, second.peer, second.on = nobody, hers, cast.end(ghostBob), &scheduledLine{body: []byte("another p2")}
			f.alice.convs = append(f.alice.convs, second)
		}, "two persons"},

		{"a text twice", s, func(f facts) { f.bob.shown = append(f.bob.shown, f.bob.shown[0]) }, "shown twice"},
		{"a text twice, under another id", s, func(f facts) {
			again := f.bob.shown[0]
			again.id = "another"
			f.bob.shown = append(f.bob.shown, again)
		}, "it wrote"},
		{"a text of nobody", s, func(f facts) { f.bob.shown[0].identity = nobody }, "of nobody"},
		{"a text of mallory's that she did not write", s, func(f facts) {
			p3 := &scheduledLine{body: []byte("her p3")}
			f.bob.convs = append(f.bob.convs, shownConv{nobody, cast.end(bob), cast.end(mallory), "mallory", hers, false, p3})
			f.bob.shown = append(f.bob.shown, shownText{"hers", "mallory", aliceTexts[0].text, []string{"bob"}, hers, nobody, nil})
		}, "another's"},
		{"a text under another name", s, func(f facts) { f.bob.shown[0].name = "mallory" }, "did not have that conversation"},
		{"a text in another conversation", s, func(f facts) { f.bob.shown[0].t3 = nobody }, "did not have that conversation"},
		{"a text for somebody else", s, func(f facts) { f.bob.shown[0].to = []string{"mallory"} }, "which is for"},
		{"other words", s, func(f facts) { f.bob.shown[0].text = "words put into her mouth" }, "it wrote"},
		{"out of order", s, func(f facts) { f.bob.shown[0], f.bob.shown[1] = f.bob.shown[1], f.bob.shown[0] }, "it wrote"},
		{"with a gap", s, func(f facts) { f.bob.shown, f.alice.status = slices.Delete(f.bob.shown, 0, 1), nil }, "it wrote"},
		{"on a line of another's", s, func(f facts) { f.bob.shown[0].on = f.alice.shown[0].on }, "did not send"},

		{"read, but never shown", s, func(f facts) { f.bob.shown = f.bob.shown[:0] }, "never shown there"},
		{"read by mallory in his place", s, func(f facts) { f.evil.shown, f.bob.shown = f.bob.shown, nil }, "never shown there"},

		{"mallory has a key of theirs", s, func(f facts) {
			for secret, with := range f.alice.secrets {
				f.evil.secrets[secret] = with
			}
		}, "holds a key"},
		{"mallory has opened what is for bob", s, func(f facts) { f.evil.shown = f.bob.shown }, "has opened"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{}
			for who, p := range end.players {
				copied := *p
				copied.facts = p.facts.clone()
				w.players[who] = &copied
			}
			evil := &scheduledFacts{secrets: map[string][32]byte{}}
			c.spoil(facts{w.players[alice].facts, w.players[bob].facts, evil})
			err := c.s.wrong(w, alice, evil)
			if err == nil {
				err = c.s.wrong(w, bob, evil)
			}
			if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the search says %v, want %q", err, c.want)
			}
		})
	}
}
