package chatsecure

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	cs "chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// scheduleCast is who plays, the same in every scenario.
type scheduleCast struct {
	pair      *historyPair
	users     [3]*historyUser
	ends      []cs.End                // the three, and Alice and Bob on Mallory's connection
	forged    map[string]*historyUser // by name: who Mallory's card says she is
	noHistory string
	states    map[bool][3]*State // by whether they are strangers
	lines     []*scheduledLine   // all that were ever sent
	made      []*scheduledLine   // of these, what the relay makes up of nothing
	opened    map[int]*cs.Record // by line: what Mallory has opened
}

const (
	alice = iota
	bob
	mallory
	ghostAlice // an end only: Alice, the relay says, on Mallory's connection
	ghostBob
)

func newScheduleCast(t *testing.T) *scheduleCast {
	cryptotest.SetGlobalRandom(t, 0)
	pki, err := lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return historyTime }})
	if err != nil {
		t.Fatal(err)
	}
	c := &scheduleCast{pair: newHistoryLab(t, pki), noHistory: t.TempDir(), states: map[bool][3]*State{}}
	conns := [3]string{strings.Repeat("a", proto.ConnIDLen), strings.Repeat("b", proto.ConnIDLen), strings.Repeat("c", proto.ConnIDLen)}
	for i, name := range [...]string{"alice", "bob"} {
		c.users[i] = c.pair.user(name, conns[i])
	}
	holder, err := pki.Issue("mallory")
	if err != nil {
		t.Fatal(err)
	}
	c.users[mallory] = c.pair.delegate(holder, "mallory", conns[mallory])
	c.forged = map[string]*historyUser{"mallory": c.users[mallory]}
	for _, name := range [...]string{"alice", "bob"} {
		c.forged[name] = c.pair.delegate(holder, name, conns[mallory])
	}
	for _, u := range c.users {
		c.ends = append(c.ends, u.end)
	}
	c.ends = append(c.ends, cs.End{Name: "alice", Conn: conns[mallory]}, cs.End{Name: "bob", Conn: conns[mallory]})
	return c
}

func (c *scheduleCast) end(i int) cs.End                { return c.ends[i] }
func (c *scheduleCast) malloryAs(name string) *cs.Local { return c.forged[name].local }

func (c *scheduleCast) index(e cs.End) int {
	for i := range c.ends {
		if c.ends[i] == e {
			return i
		}
	}
	panic(fmt.Sprintf("no end %v", e))
}

// owner is whose connection an end is on.
func (c *scheduleCast) owner(e cs.End) int {
	for i, u := range c.users {
		if u.end.Conn == e.Conn {
			return i
		}
	}
	panic(fmt.Sprintf("no connection %v", e))
}

func (c *scheduleCast) byName(name string) int {
	for i, u := range c.users {
		if u.end.Name == name {
			return i
		}
	}
	panic("nobody by the name of " + name)
}

// other is the name of the honest client that is not this one.
func (c *scheduleCast) other(name string) string {
	if name == "alice" {
		return "bob"
	}
	return "alice"
}

// state is a state directory in which all know each other, or nobody does.
func (c *scheduleCast) state(who int, strangers bool) *State {
	t := c.pair.t
	states := c.states[strangers]
	if states[who] == nil {
		s, err := OpenState(t.TempDir(), c.users[who].end.Name)
		if err != nil {
			t.Fatal(err)
		}
		states[who] = s
		c.states[strangers] = states
		for _, u := range c.users {
			if strangers || u == c.users[who] {
				continue
			}
			known := KnownPeer{Name: u.end.Name, Identity: u.local.Identity, Accepted: true, CommonName: u.end.Name, Leaf: sha256.Sum256(u.local.Bundle.X509), First: historyTime}
			if err := s.SetKnownPeer(known); err != nil {
				t.Fatal(err)
			}
		}
	}
	if strangers {
		for _, known := range states[who].KnownPeers() {
			if _, err := states[who].ForgetPeer(known.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	return states[who]
}

// refusals is what the relay says in the name of everybody.
func (c *scheduleCast) refusals() (made []scheduledLine) {
	for from := range c.users {
		for to := range mallory {
			if from != to {
				h := proto.Header{Type: proto.TypeError, Code: proto.Busy, Message: "no"}
				made = append(made, scheduledLine{header: h, from: c.end(from), to: c.end(to), hers: true})
			}
		}
	}
	return made
}

// keep gives lines their numbers.
func (c *scheduleCast) keep(said []scheduledLine, on *scheduledLine) (kept []*scheduledLine) {
	for i := range said {
		l := &said[i]
		l.id, l.on = len(c.lines), on
		c.lines = append(c.lines, l)
		kept = append(kept, l)
	}
	return kept
}
