package chatsecure

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"chatsecure/proto"
)

// pipe connects without a network: what a client does not read, the relay
// cannot write, not even into a socket's buffer.
func (rt *relayTest) pipe(cred *relayTestCred, takes string) *relayTestClient {
	rt.t.Helper()
	ours, theirs := net.Pipe()
	rt.t.Cleanup(func() { ours.Close() })
	v := rt.halfOpen.enter(context.Background(), theirs)
	rt.conns.Go(func() { rt.greet(v) })
	c, err := relayTestHandshake(rt.t, ours, &relayTestHandshakePlan{cred: cred, takes: takes})
	if err != nil {
		rt.t.Fatal(err)
	}
	return c
}

// joinPipe is join over a pipe.
func (rt *relayTest) joinPipe(name string) *relayTestClient {
	rt.t.Helper()
	return rt.pipe(relayTestDelegate(rt.t, relayTestPerson(rt.t, name), name), proto.TakesMessages)
}

// conn returns the relay's side of a client's connection.
func (rt *relayTest) conn(c *relayTestClient) *relayConn {
	rt.t.Helper()
	rt.hub.mu.RLock()
	defer rt.hub.mu.RUnlock()
	conn := rt.hub.conns[c.id]
	if conn == nil {
		rt.t.Fatalf("%s is not connected", c.name)
	}
	return conn
}

// relayTestUntil waits for what other goroutines are about to do.
func relayTestUntil(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(relayTestTimeout); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// rests waits until what the relay has for a connection is written: the seconds
// of a test are shorter than a write may take.
func (c *relayConn) rests(t testing.TB) {
	t.Helper()
	relayTestUntil(t, "a writer at rest", func() bool {
		c.queue.mu.Lock()
		defer c.queue.mu.Unlock()
		return !c.queue.active
	})
}

// barrier makes sure that the relay has carried out all that c sent: its
// answer comes after.
func (c *relayTestClient) barrier() {
	c.t.Helper()
	if got := c.list(c.name); got == "" {
		c.t.Fatalf("%s is not on the list", c.name)
	}
}

func TestRelayAcksWhatIsWritten(t *testing.T) {
	rt := startRelayTest(t)
	ana, slow, quick := rt.join("ana"), rt.joinPipe("slow"), rt.join("quick")
	first := ana.to(slow, "1")
	second := ana.to(slow, "2")
	// Nothing is written to slow, so no ack comes before the answer to this,
	// and those who read are served meanwhile.
	ana.barrier()
	third := ana.to(quick, "3")
	quick.want(proto.TypeClientCom)
	if ack := ana.want(proto.TypeAck); ack.DstID != quick.id || *ack.Answers != third {
		t.Errorf("ack %+v, want one for line %d to quick", ack.Header, third)
	}
	slow.want(proto.TypeClientCom)
	slow.want(proto.TypeClientCom)
	acked := uint64(0)
	for acked != second {
		ack := ana.want(proto.TypeAck)
		if ack.DstID != slow.id || *ack.Answers != first && *ack.Answers != second {
			t.Fatalf("ack %+v, want one for line %d or %d to slow", ack.Header, first, second)
		}
		acked = *ack.Answers
	}
}

func TestRelayWindow(t *testing.T) {
	const quarter = proto.RelayWindow / 4
	for _, c := range []struct {
		why    string
		bodies []int // all within the window
		over   int
	}{
		{"full", []int{quarter, quarter, quarter, quarter}, 1},
		{"one large message", []int{proto.MaxBody}, 0},
		{"a large one after a small one", []int{1}, proto.RelayWindow},
		{"empty ones", make([]int, proto.RelayMessages), 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			rt := startRelayTest(t)
			ana, slow := rt.join("ana"), rt.joinPipe("slow")
			for _, n := range c.bodies {
				ana.to(slow, strings.Repeat("x", n))
			}
			ana.barrier()
			ana.to(slow, strings.Repeat("x", c.over))
			ana.wantError(proto.Flood)
			ana.wantClosed()
			// What was within the window arrives, and then that she is gone.
			for i, n := range c.bodies {
				if m := slow.want(proto.TypeClientCom); len(m.body) != n {
					t.Errorf("message %d has %d bytes, want %d", i, len(m.body), n)
				}
			}
			slow.want(proto.TypeDisconnect)
		})
	}
}

func TestRelayWindowOpensAgain(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("ana"), rt.join("bruno")
	for range 5 {
		seq := ana.to(bruno, strings.Repeat("x", proto.RelayWindow))
		bruno.want(proto.TypeClientCom)
		if ack := ana.want(proto.TypeAck); *ack.Answers != seq {
			t.Errorf("ack of %d, want %d", *ack.Answers, seq)
		}
	}
}

func TestAttack26NeverReads(t *testing.T) {
	rt := startRelayTest(t)
	ana, slow, bruno := rt.join("ana"), rt.joinPipe("slow"), rt.join("bruno")
	ana.to(slow, "never read")
	conn := rt.conn(slow)
	relayTestUntil(t, "a write to slow", func() bool { return conn.writing.Load() != 0 })
	// By the relay's clock: its keeper's own seconds may come between these.
	const stalled = int64(proto.StalledAfter / time.Second)
	since := conn.writing.Load()
	for rt.seconds.Load()-since < stalled {
		rt.tick()
	}
	if ended := conn.ended.Load(); ended && rt.seconds.Load()-since <= stalled {
		t.Fatalf("closed before %v", proto.StalledAfter)
	}
	rt.tick()
	rt.tick()
	for {
		// Keep-alives come in between: it was thirty seconds.
		if m := ana.next(); m.Type == proto.TypeDisconnect && m.SrcID == slow.id {
			break
		} else if m.Type != proto.TypeAck || m.Answers != nil {
			t.Fatalf("got %+v", m.Header)
		}
	}
	if !strings.HasPrefix(conn.ending.reason, string(proto.Slow)) {
		t.Errorf("the reason is %q", conn.ending.reason)
	}
	ana.to(bruno, "hello")
	for m := bruno.next(); m.Type != proto.TypeClientCom; m = bruno.next() {
	}
}

// Many people together can fill a queue; that connection is then too slow.
func TestRelayClosesWhoseQueueIsFull(t *testing.T) {
	rt := startRelayTest(t)
	slow := rt.joinPipe("slow")
	body := strings.Repeat("x", proto.MaxBody)
	full := false
	for person := 0; !full; person++ {
		name := fmt.Sprintf("user%d", person)
		cred := relayTestDelegate(t, relayTestPerson(t, name), name)
		for range 5 {
			c := rt.connect(cred, proto.TakesNone)
			c.to(slow, body)
			c.ask(&proto.Header{Type: proto.TypeList, Name: name})
			m := c.next()
			if full = m.Type == proto.TypeError; full {
				if m.Code != proto.Gone || m.DstID != slow.id {
					t.Errorf("got %+v", m.Header)
				}
				break
			}
		}
		if person*5*proto.MaxBody > 2*proto.MaxQueue {
			t.Fatal("the queue has no bound")
		}
	}
	for {
		m := slow.next()
		if m.Type == proto.TypeError {
			if m.Code != proto.Slow {
				t.Errorf("got %+v", m.Header)
			}
			break
		}
		if m.Type != proto.TypeClientCom || len(m.body) != len(body) {
			t.Fatalf("got %+v with %d bytes", m.Header, len(m.body))
		}
	}
	slow.wantClosed()
}

// One person cannot, with however many connections.
func TestAttack26Flood(t *testing.T) {
	rt := startRelayTest(t)
	slow := rt.joinPipe("slow")
	ana := rt.join("ana")
	cred := relayTestDelegate(t, relayTestPerson(t, "mallory"), "mallory")
	body := strings.Repeat("x", proto.MaxBody)
	sent, stopped := 0, 0
	for range proto.MaxQueue/proto.MaxBody + 5 {
		c := rt.connect(cred, proto.TakesNone)
		c.to(slow, body)
		c.ask(&proto.Header{Type: proto.TypeList, Name: "mallory"})
		if m := c.next(); m.Type == proto.TypeError {
			if m.Code != proto.Flood {
				t.Errorf("got %+v", m.Header)
			}
			stopped++
		} else {
			sent++
		}
	}
	if stopped == 0 || sent*proto.MaxBody > relayCrowded {
		t.Errorf("%d messages of %d bytes were taken, %d refused", sent, len(body), stopped)
	}
	ana.to(slow, "hello")
	ana.barrier()
	for m := slow.next(); m.Src != "ana"; m = slow.next() {
		if m.Type != proto.TypeClientCom && m.Type != proto.TypeDisconnect {
			t.Fatalf("got %+v", m.Header)
		}
	}
	ana.want(proto.TypeAck)
}

// A client that asks and does not read harms itself alone.
func TestRelayClosesWhoReadsNoAnswers(t *testing.T) {
	rt := startRelayTest(t)
	silent := rt.joinPipe("silent")
	conn := rt.conn(silent)
	for range proto.MaxWhois {
		rt.connect(silent.cred, proto.TakesNone)
	}
	relayTestUntil(t, "the end of it", func() bool {
		if conn.ended.Load() {
			return true
		}
		conn.person.mu.Lock()
		conn.person.spent = 0 // as if it were many people's
		conn.person.mu.Unlock()
		header := []byte(`{"type":"whois-get","name":"silent"}`)
		line := silent.line(proto.AppendPayload(nil, header, silent.cred.key.Sign(silent.send.RequestSigns(silent.send.Seq(), header)), nil))
		_, err := silent.conn.Write(line)
		return err != nil
	})
	if !strings.HasPrefix(conn.ending.reason, string(proto.Slow)) {
		t.Errorf("the reason is %q", conn.ending.reason)
	}
	silent.close()
	rt.join("other")
}

func TestRelayPartnersAreBounded(t *testing.T) {
	hub := newRelayHub(10, 10)
	conns := make([]*relayConn, 3)
	for i := range conns {
		conns[i] = &relayConn{id: newRelayConnID(), identity: [32]byte{byte(i)}}
		hub.conns[conns[i].id] = conns[i]
	}
	for i := range relayMaxPartners - 1 {
		conns[0].partnerLocked(&relayConn{id: fmt.Sprint(i)})
	}
	for i, want := range []int{relayMaxPartners, relayMaxPartners} {
		if rt := hub.meet(conns[i+1], conns[0].id); rt == nil || rt.dst != conns[0] {
			t.Errorf("connection %d cannot send", i+1)
		}
		if n := len(conns[0].partners); n != want {
			t.Errorf("%d partners, want %d", n, want)
		}
	}
}

func TestRelayRoutesAreBounded(t *testing.T) {
	rt := startRelayTest(t)
	ana := rt.join("ana")
	bruno, carla := rt.join("bruno"), rt.join("carla")
	gone := &relayConn{id: "gone"}
	alive := &relayConn{id: "alive"}
	gone.ended.Store(true)
	ana.to(bruno, "x")
	ana.want(proto.TypeAck)
	conn := rt.conn(ana)
	for i := range relayMaxRoutes - 1 { // the reader waits, so nobody else is at it
		conn.routes[fmt.Sprint(i)] = &relayRoute{src: conn, dst: alive}
	}
	ana.to(carla, "one too many")
	if m := ana.wantError(proto.Busy); m.DstID != carla.id {
		t.Errorf("got %+v", m.Header)
	}
	conn.routes["0"].dst = gone
	ana.to(carla, "instead of one who left")
	carla.want(proto.TypeClientCom)
}

// TestRelayForgetsWhoLeft: of connections that come, talk and leave, one that
// stays keeps only a few, and these keep no others.
func TestRelayForgetsWhoLeft(t *testing.T) {
	rt := startRelayTest(t)
	ana := rt.join("ana")
	bruno := relayTestPerson(t, "bruno")
	var conns []weak.Pointer[relayConn]
	var before *relayTestClient
	for range 4 * relayFewRoutes {
		c := rt.connect(relayTestDelegate(t, bruno, "bruno"), proto.TakesMessages)
		conns = append(conns, weak.Make(rt.conn(c)))
		ana.to(c, "x")
		c.want(proto.TypeClientCom)
		ana.want(proto.TypeAck)
		if before != nil {
			c.to(before, "x")
			before.want(proto.TypeClientCom)
			c.want(proto.TypeAck)
			before.close()
			ana.want(proto.TypeDisconnect)
			c.want(proto.TypeDisconnect)
		}
		before = c
	}
	left := func() (n int) {
		runtime.GC()
		for _, c := range conns {
			if c.Value() != nil {
				n++
			}
		}
		return n
	}
	relayTestUntil(t, "the relay to forget who left", func() bool { return left() <= relayFewRoutes+1 })
}

// The busiest way allocates nothing for a line beside what the cryptography
// does: the route is known, the payload is copied once into memory that the
// queue and its writer pass to and fro.
func TestRelayPassesWithoutAllocating(t *testing.T) {
	src := &relayConn{id: "0123456789abcdef", name: "ana"}
	dst := &relayConn{id: "fedcba9876543210", name: "bruno", folded: "bruno"}
	dst.queue.active = true // its writer is this test
	dst.queue.memory = newRelayMemory(relayMaxHeld)
	src.routes = map[string]*relayRoute{dst.id: {src: src, dst: dst, share: new(relayShare)}}
	src.queue.active = true
	payload := append([]byte(`{"type":"client-com","dst":"bruno","dst-id":"fedcba9876543210"}`+"\n\n"), strings.Repeat("x", 700)...)
	var batch, acks relayBatch
	var seq uint64
	line := func() {
		for range 10 {
			if err := src.dispatch(seq, payload); err != nil {
				t.Fatal(err)
			}
			seq++
		}
		if !dst.queue.take(&batch) || len(batch.entries) != 10 {
			t.Fatal("nothing was queued")
		}
		for _, e := range batch.entries {
			e.route.written(e.body)
			src.ack(e.route, e.seq)
			dst.queue.wrote(e.size)
		}
		if !src.queue.take(&acks) || acks.acks[0].seq != seq-1 {
			t.Fatal("no ack")
		}
	}
	line()
	line() // both buffers have their size now
	if n := testing.AllocsPerRun(100, line); n != 0 {
		t.Errorf("%v allocations for ten lines", n)
	}
}

// TestAttack26Idle: hundreds that only sit there hold no buffer, and others are
// served.
func TestAttack26Idle(t *testing.T) {
	const idle = 300
	rt := startRelayTest(t, func(cfg *RelayConfig) { cfg.ofPerson = idle })
	others := rt.others()
	mallory := relayTestDelegate(t, relayTestPerson(t, "mallory"), "mallory")
	for i := range idle {
		rt.connect(mallory, proto.TakesMessages)
		if i%50 == 0 {
			others.served("more who sit there")
		}
	}
	for range proto.KeepAlive / time.Second {
		rt.tick()
	}
	if n := rt.hub.count(); n != idle+2 {
		t.Errorf("%d are connected", n)
	}
	relayTestUntil(t, "memory to be let go", func() bool { return rt.memory.held.Load() == 0 })
	p := others[0]
	p.ask(&proto.Header{Type: proto.TypeList, Name: p.name})
	for m := p.next(); m.Type != proto.TypeList; m = p.next() { // keep-alives
	}
}

// Row 26: however many send half a line or read nothing, what they make the
// relay hold is bounded; those who do neither stay.
func TestAttack26HoldsNoMoreThanItMay(t *testing.T) {
	const maxHeld = 8 << 20
	rt := startRelayTest(t, func(cfg *RelayConfig) { cfg.maxHeld = maxHeld })
	ana, bruno := rt.join("ana"), rt.join("bruno")
	chat := func() {
		t.Helper()
		ana.to(bruno, "hello")
		bruno.want(proto.TypeClientCom)
		ana.want(proto.TypeAck)
	}
	mallory := relayTestDelegate(t, relayTestPerson(t, "mallory"), "mallory")
	settled := func() bool { return rt.memory.held.Load() <= maxHeld }

	half := strings.Repeat("x", 3*proto.MaxLine/4)
	for range 20 {
		c := rt.connect(mallory, proto.TakesNone)
		c.conn.Write([]byte(half)) // fails once the relay has had enough
		chat()
		rt.tick()
	}
	relayTestUntil(t, "room", settled)
	sender := rt.connect(mallory, proto.TakesNone)
	for range 20 {
		deaf := rt.pipe(mallory, proto.TakesNone)
		sender.to(deaf, half[:proto.MaxBody])
		sender.ask(&proto.Header{Type: proto.TypeList, Name: "bruno"})
		for m := sender.next(); m.Type != proto.TypeList; m = sender.next() {
		}
		chat()
		rt.tick() // who has waited longer goes first
	}
	relayTestUntil(t, "room", settled)
	ended := 0
	for _, c := range rt.hub.named("mallory") {
		if c.ended.Load() {
			ended++
		}
	}
	if n := len(rt.hub.named("mallory")) - ended; n > 30 {
		t.Errorf("%d of 41 are still there", n)
	}
	chat()
}
