package client

import (
	"os"
	"testing"

	"chatsecure/proto"
)

// scenario is the texts of the two clients, and the connections that the relay
// names to them at the start.
type scenario struct {
	name      string
	strangers bool               // nobody knows anybody
	breaks    bool               // the relay may also let time pass, and deny and refuse in everybody's name
	cross     bool               // both begin, and
	lower     int                // whose p1 is the lower
	texts     [2][]scheduledText // to be sent, when it begins
	told      [2][]toldEnd
	talk      []scheduledText // written once all of that is READ: here the search begins,
	denied    bool            // or once the first of these is shown, its receipt lost, the conversation denied, and p1 sent again
	opens     bool            // Mallory is written to, as herself or under another name
	sample    int             // steps from each world of the honest schedule
	whole     int             // steps from its first, in make attack
}

type scheduledText struct {
	to   int
	text string
}

type toldEnd struct {
	end   int
	begin bool // the client has reason to begin a handshake with that name
}

var (
	aliceTexts = []scheduledText{{bob, "alice writes to bob"}}
	bobTexts   = []scheduledText{{alice, "bob writes to alice"}}
	bothTexts  = [2][]scheduledText{aliceTexts, bobTexts}
	talk       = []scheduledText{{bob, "the second of alice"}, {bob, "the third of alice"}, {alice, "the second of bob"}}
	oneBegins  = [2][]toldEnd{{{bob, true}, {mallory, false}}, {{alice, false}, {mallory, false}}}
	bothBegin  = [2][]toldEnd{{{bob, true}, {mallory, false}}, {{alice, true}, {mallory, false}}}
)

var scenarios = []scenario{
	{name: "one begins", sample: 2, whole: 8, texts: bothTexts, told: oneBegins},
	{name: "both begin", sample: 1, whole: 5, cross: true, lower: alice, texts: bothTexts, told: bothBegin},
	{name: "both begin, the other goes on", sample: 1, whole: 5, cross: true, lower: bob, texts: bothTexts, told: bothBegin},
	{name: "they talk", sample: 1, whole: 3, texts: bothTexts, told: oneBegins, talk: talk},
	{name: "they are strangers", sample: 1, whole: 4, strangers: true, opens: true, texts: bothTexts, told: oneBegins},
	{
		name: "mallory is bob to alice, too", sample: 1, whole: 5, texts: bothTexts,
		told: [2][]toldEnd{{{bob, true}, {ghostBob, true}}, {{alice, false}, {mallory, false}}},
	},
	{
		name: "alice also writes to mallory", sample: 2, whole: 4, opens: true,
		texts: [2][]scheduledText{{{mallory, "alice writes to mallory"}, {bob, "alice writes to bob"}}, bobTexts},
		told:  [2][]toldEnd{{{bob, true}, {mallory, true}}, {{alice, false}, {mallory, false}}},
	},
	{name: "they talk, time passes and the relay lies", sample: 1, whole: 2, breaks: true, texts: bothTexts, told: oneBegins, talk: talk},
	{name: "a text comes again in a new conversation", sample: 1, whole: 3, denied: true, texts: bothTexts, told: oneBegins, talk: talk[:1]},
	{name: "time passes and the relay lies", sample: 1, whole: 4, breaks: true, texts: bothTexts, told: oneBegins},
}

// TestSchedules plays the network and the insider between two honest clients, in
// every possible way up to a number of steps: a few from each world of the honest
// schedule, and in make attack many from its first. It uses the default suite: all
// suites share the state machine that is tried here.
func TestSchedules(t *testing.T) {
	cast := newScheduleCast(t)
	for i := range scenarios {
		sc := &scenarios[i]
		t.Run(sc.name, func(t *testing.T) {
			depth := sc.sample
			if raceEnabled {
				depth = 1
			}
			if os.Getenv("CHATSECURE_ATTACK") != "" {
				depth = sc.whole
			}
			s := newSearch(t, cast, sc)
			s.explore(depth)
			r := s.tally
			t.Logf("%d schedules of up to %d steps lead to %d worlds, looked at in %d runs of %d states of a player; "+
				"after %d somebody is authenticated, after %d a text is shown, after %d all are",
				r.schedules, depth, r.worlds, r.runs, r.plays, r.talking, r.showing, r.complete)
			t.Logf("mallory: %+v", r.hers)
			if r.talking == 0 || r.showing == 0 || r.complete == 0 {
				t.Error("a search in which nothing good happens proves nothing")
			}
			// Nor does one in which she does nothing. A p3 is hers to forge only
			// where her p2 has deceived somebody.
			hers, forged := r.hers, r.hers.forged
			signed := forged["p1"] > 0 && forged["p2"] > 0 && forged[proto.TypeClientCom] > 0
			if hers.convs == 0 || hers.reflected == 0 || hers.lies == 0 || !signed {
				t.Errorf("mallory can do more than %+v", hers)
			}
			if sc.opens && (hers.opened == 0 || depth > 1 && hers.passed == 0) {
				t.Errorf("mallory, who is written to, can do more than %+v", hers)
			}
			if forged["p3"] > 0 {
				t.Errorf("a p2 was answered that mallory made of another's: %+v", hers)
			}
		})
	}
}
