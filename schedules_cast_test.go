package chatsecure

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
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
	known     [2][]byte          // known_peers of each who knows all
	states    string             // a directory of the clients' own
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
	c := &scheduleCast{pair: newHistoryLab(t, pki), noHistory: t.TempDir(), states: t.TempDir()}
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

// state is a state directory of one client's own, in which all are known, or
// nobody is. What a run of a client has met is its own: others of the same
// client are going on in other ways.
func (c *scheduleCast) state(who int, strangers bool) *State {
	t := c.pair.t
	dir, err := os.MkdirTemp(c.states, "")
	if err != nil {
		t.Fatal(err)
	}
	s := newState(dir, c.users[who].end.Name)
	if strangers {
		return s
	}
	if c.known[who] != nil {
		if err := os.WriteFile(filepath.Join(dir, statePeers), c.known[who], stateFileMode); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, u := range c.users {
		if u == c.users[who] {
			continue
		}
		known := KnownPeer{Name: u.end.Name, Identity: u.local.Identity, Accepted: true, CommonName: u.end.Name, Leaf: sha256.Sum256(u.local.Bundle.X509), First: historyTime}
		if err := s.SetKnownPeer(known); err != nil {
			t.Fatal(err)
		}
	}
	if c.known[who], err = os.ReadFile(filepath.Join(dir, statePeers)); err != nil {
		t.Fatal(err)
	}
	return s
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
