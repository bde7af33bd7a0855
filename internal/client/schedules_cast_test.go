package client

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// scheduleCast is the cast of all scenarios.
type scheduleCast struct {
	pair   *wire.Pair
	users  [3]*wire.User
	ends   []crypto.End           // the three, and Alice and Bob on Mallory's connection
	forged map[string]*wire.User  // by name: Mallory, as her card signs that name for her
	known  [2][]byte              // known_peers of a client that knows all
	states string                 // the directory of the clients' states
	lines  []*scheduledLine       // all lines that were ever sent
	made   []*scheduledLine       // of these, the relay's own inventions
	opened map[int]*crypto.Record // by line: the records that Mallory has opened
}

const (
	alice = iota
	bob
	mallory
	ghostAlice // an end only: the relay says that Alice is on Mallory's connection
	ghostBob
)

func newScheduleCast(t *testing.T) *scheduleCast {
	cryptotest.SetGlobalRandom(t, 0)
	pki, err := lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return wire.Epoch }})
	if err != nil {
		t.Fatal(err)
	}
	c := &scheduleCast{pair: wire.EmptyPair(t, pki), states: t.TempDir()}
	conns := [3]string{strings.Repeat("a", proto.ConnIDLen), strings.Repeat("b", proto.ConnIDLen), strings.Repeat("c", proto.ConnIDLen)}
	for i, name := range [...]string{"alice", "bob"} {
		c.users[i] = c.pair.User(name, conns[i])
	}
	holder, err := pki.Issue("mallory")
	if err != nil {
		t.Fatal(err)
	}
	c.users[mallory] = c.pair.Delegate(holder, "mallory", conns[mallory])
	c.forged = map[string]*wire.User{"mallory": c.users[mallory]}
	for _, name := range [...]string{"alice", "bob"} {
		c.forged[name] = c.pair.Delegate(holder, name, conns[mallory])
	}
	for _, u := range c.users {
		c.ends = append(c.ends, u.End)
	}
	c.ends = append(c.ends, crypto.End{Name: "alice", Conn: conns[mallory]}, crypto.End{Name: "bob", Conn: conns[mallory]})
	return c
}

func (c *scheduleCast) end(i int) crypto.End { return c.ends[i] }

func (c *scheduleCast) malloryAs(name string) *crypto.Local { return c.forged[name].Local }

func (c *scheduleCast) index(e crypto.End) int {
	for i := range c.ends {
		if c.ends[i] == e {
			return i
		}
	}
	panic(fmt.Sprintf("no end %v", e))
}

// owner returns the owner of an end's connection.
func (c *scheduleCast) owner(e crypto.End) int {
	for i, u := range c.users {
		if u.End.Conn == e.Conn {
			return i
		}
	}
	panic(fmt.Sprintf("no connection %v", e))
}

func (c *scheduleCast) byName(name string) int {
	for i, u := range c.users {
		if u.End.Name == name {
			return i
		}
	}
	panic("nobody by the name of " + name)
}

// other returns the name of the other honest client.
func (c *scheduleCast) other(name string) string {
	if name == "alice" {
		return "bob"
	}
	return "alice"
}

// state makes a state directory for one run of a client, in which all are known,
// or nobody is. No two runs share one: they go on in different ways.
func (c *scheduleCast) state(who int, strangers bool) *state.State {
	t := c.pair.T
	dir, err := os.MkdirTemp(c.states, "")
	if err != nil {
		t.Fatal(err)
	}
	s := state.New(dir, c.users[who].End.Name)
	if strangers {
		return s
	}
	if c.known[who] != nil {
		if err := os.WriteFile(filepath.Join(dir, state.PeersFile), c.known[who], state.FileMode); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, u := range c.users {
		if u == c.users[who] {
			continue
		}
		known := state.KnownPeer{
			Name: u.End.Name, Identity: u.Local.Identity, Accepted: true, CommonName: u.End.Name,
			Leaf: sha256.Sum256(u.Local.Bundle.X509), First: wire.Epoch,
		}
		if err := s.SetKnownPeer(known); err != nil {
			t.Fatal(err)
		}
	}
	if c.known[who], err = os.ReadFile(filepath.Join(dir, state.PeersFile)); err != nil {
		t.Fatal(err)
	}
	return s
}

// refusals are errors that the relay makes up in everybody's name. They name the attempt that
// is under way: see deliver.
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

// keep numbers lines.
func (c *scheduleCast) keep(said []scheduledLine, on *scheduledLine) (kept []*scheduledLine) {
	for i := range said {
		l := &said[i]
		l.id, l.on = len(c.lines), on
		c.lines = append(c.lines, l)
		kept = append(kept, l)
	}
	return kept
}
