package client

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// called is a client whose steps the test ends, and that others call.
type called struct {
	*engine
	t       *testing.T
	pair    *wire.Pair
	started *[]*step
	conns   int
}

func newCalled(t *testing.T) *called {
	e, pair, started := stepEngine(t)
	return &called{engine: e, t: t, pair: pair, started: started}
}

// from is a new connection of a name.
func (c *called) from(name string) *peerConn {
	c.conns++
	return c.connFor(fmt.Sprintf("%016x", 0xb0+c.conns), name)
}

// call is a p1 over a new connection.
func (c *called) call(by *wire.User, bundle *trust.Bundle) (*peerConn, *crypto.Initiator) {
	c.t.Helper()
	pc := c.from(by.End.Name)
	local := *by.Local
	local.Bundle = bundle
	i, p1, err := crypto.Initiate(&local, pc.end(), c.myEnd())
	if err != nil {
		c.t.Fatal(err)
	}
	c.onPhase1(pc, p1)
	return pc, i
}

// steps ends the steps that are started, and tells how many there were.
func (c *called) steps() (n int) {
	for ; len(*c.started) > 0; n++ {
		s := (*c.started)[0]
		*c.started = (*c.started)[1:]
		s.work(s)
		c.finish(s)
	}
	return n
}

// said takes what the client has said.
func (c *called) said() (headers []*proto.Header, bodies [][]byte) {
	for _, out := range c.link.sess.queue {
		header, _, body, err := proto.SplitPayload(slices.Concat(out.head, out.body))
		if err != nil {
			c.t.Fatal(err)
		}
		if h, err := proto.ParseClientHeader(header); err == nil {
			headers, bodies = append(headers, h), append(bodies, body)
		}
	}
	c.link.sess.queue = nil
	return headers, bodies
}

func (c *called) refused() (codes []proto.Code) {
	headers, _ := c.said()
	for _, h := range headers {
		if h.Type == proto.TypeError {
			codes = append(codes, h.Code)
		}
	}
	return codes
}

// overdraw brings all paces beyond their bound.
func (c *called) overdraw() {
	for by, p := range c.callers {
		p.next = time.Now().Add(2 * CallerBurst * CallerEvery)
		c.callers[by] = p
	}
}

// TestCallersArePaced: a stranger's handshakes are counted over all connections, once they are
// proved. Beyond the bound nothing of a p1 is checked. Somebody who shows another's certificate
// uses up nothing of the other's, and nobody gets a key before the accounts say that there is room.
func TestCallersArePaced(t *testing.T) {
	c := newCalled(t)
	bruno := c.pair.B
	counted := func() bool { return c.callers[sha256.Sum256(bruno.Local.Bundle.X509)] != pace{} }

	forged := *bruno.Local.Bundle // her K under his certificate
	mallory, eve := c.pair.User("Mallory", "conn-m"), c.pair.User("Eve", "conn-e")
	forged.PublicKey = eve.Local.Bundle.PublicKey
	c.call(eve, &forged)
	if c.steps(); counted() {
		t.Errorf("who shows another's certificate counts as the other")
	}
	c.refused()

	if pc, _ := c.call(bruno, bruno.Local.Bundle); c.steps() != 2 || pc.shake.resp == nil || !counted() {
		t.Errorf("a stranger's p1 is not answered: %v", c.refused())
	}
	c.waiting.add(bruno.Local.Identity, MaxAllUnread)
	if pc, _ := c.call(bruno, bruno.Local.Bundle); c.steps() != 1 || pc.shake.resp != nil {
		t.Error("somebody gets a key whose account is full")
	}
	c.waiting.add(bruno.Local.Identity, -MaxAllUnread)
	c.refused()

	c.overdraw()
	c.call(bruno, bruno.Local.Bundle)
	if steps, codes := c.steps(), c.refused(); steps != 0 || !slices.Equal(codes, []proto.Code{proto.Busy}) {
		t.Errorf("beyond the bound %d steps are started, and the answer is %v", steps, codes)
	}
	c.call(mallory, mallory.Local.Bundle)
	if c.steps() != 2 {
		t.Error("another person's p1 is not answered")
	}
}

// TestFailedCallsArePaced: each p1 that is refused before its person is proved counts for the name
// over which it came, however often that connects. Beyond the bound nothing of a p1 is read, and no
// other name pays for it. The memory of all names is bounded.
func TestFailedCallsArePaced(t *testing.T) {
	c := newCalled(t)
	bruno, mallory := c.pair.B, c.pair.User("Mallory", "conn-m")
	unsigned := *mallory.Local.Bundle
	unsigned.PublicKey = bruno.Local.Bundle.PublicKey
	for what, fails := range map[string]func(){
		"garbage":      func() { c.onPhase1(c.from("Mallory"), []byte(`{"type":"p1"}`)) },
		"no signature": func() { c.call(mallory, &unsigned) },
	} {
		clear(c.callers)
		fails()
		c.steps()
		if codes := c.refused(); len(codes) != 1 || codes[0] == proto.Busy {
			t.Errorf("%s: the first answer is %v", what, codes)
		}
		c.overdraw()
		fails()
		if steps, codes := c.steps(), c.refused(); steps != 0 || !slices.Equal(codes, []proto.Code{proto.Busy}) {
			t.Errorf("%s: beyond the bound %d steps are started, and the answer is %v", what, steps, codes)
		}
		if c.call(bruno, bruno.Local.Bundle); c.steps() != 2 {
			t.Errorf("%s: another name is refused", what)
		}
		c.said()
	}

	now := time.Now()
	for i := range MaxUsers + 10 {
		c.callers.count([32]byte{byte(i), byte(i >> 8)}, now, CallerBurst)
	}
	if n := len(c.callers); n != MaxUsers {
		t.Errorf("%d paces are remembered, want %d", n, MaxUsers)
	}
}

// TestBlockedBetweenP2AndP3: whom the user blocks while the p3 is on its way has no conversation.
func TestBlockedBetweenP2AndP3(t *testing.T) {
	for _, blocked := range []bool{false, true} {
		c := newCalled(t)
		bruno := c.pair.B
		pc, i := c.call(bruno, bruno.Local.Bundle)
		c.steps()
		_, bodies := c.said()
		p3, conv, err := i.Phase2(bodies[0], c.pair.Verifier.Verify)
		if err != nil {
			t.Fatal(err)
		}
		if blocked {
			if _, _, err := c.cfg.State.Block("Bruno", bruno.Local.Identity); err != nil {
				t.Fatal(err)
			}
		}
		c.onPhase3(pc, p3)
		c.steps()
		headers, bodies := c.said()
		if (pc.conv == nil) != blocked || pc.shake.underWay() {
			t.Errorf("blocked %v: there is a conversation: %v", blocked, pc.conv != nil)
		}
		if !blocked {
			continue
		}
		if len(headers) != 1 || headers[0].Type != proto.TypeDisconnect {
			t.Fatalf("a blocked person is told %+v", headers)
		}
		if o, err := conv.Open(bodies[0], c.pair.Clock.Now()); err != nil || o.Refusal != "no messages are taken from you there" {
			t.Errorf("a blocked person is told %+v, %v", o, err)
		}
	}
}
