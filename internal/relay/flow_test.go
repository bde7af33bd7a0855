package relay

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// rests waits until the connection's queue is written. The seconds of a test are
// shorter than a write may take.
func (c *conn) rests(t testing.TB) {
	t.Helper()
	wire.Until(t, "a writer at rest", func() bool {
		c.queue.mu.Lock()
		defer c.queue.mu.Unlock()
		return !c.queue.active
	})
}

func TestRelayAcksWhatIsWritten(t *testing.T) {
	rt := start(t)
	ana, slow, quick := rt.Join("ana"), rt.joinPipe("slow"), rt.Join("quick")
	first := ana.To(slow, "1")
	second := ana.To(slow, "2")
	// Nothing is written to slow, so no ack comes before this answer. Clients that
	// read are served meanwhile.
	ana.Barrier()
	third := ana.To(quick, "3")
	quick.Want(proto.TypeClientCom)
	if ack := ana.Want(proto.TypeAck); ack.DstID != quick.ID || *ack.Answers != third {
		t.Errorf("ack %+v, want one for line %d to quick", ack.Header, third)
	}
	slow.Want(proto.TypeClientCom)
	slow.Want(proto.TypeClientCom)
	acked := uint64(0)
	for acked != second {
		ack := ana.Want(proto.TypeAck)
		if ack.DstID != slow.ID || *ack.Answers != first && *ack.Answers != second {
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
			rt := start(t)
			ana, slow := rt.Join("ana"), rt.joinPipe("slow")
			for _, n := range c.bodies {
				ana.To(slow, strings.Repeat("x", n))
			}
			ana.Barrier()
			ana.To(slow, strings.Repeat("x", c.over))
			ana.WantError(proto.Flood)
			ana.WantClosed()
			// The messages within the window arrive, and then word of her end.
			for i, n := range c.bodies {
				if m := slow.Want(proto.TypeClientCom); len(m.Body) != n {
					t.Errorf("message %d has %d bytes, want %d", i, len(m.Body), n)
				}
			}
			slow.Want(proto.TypeDisconnect)
		})
	}
}

func TestRelayWindowOpensAgain(t *testing.T) {
	rt := start(t)
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	for range 5 {
		seq := ana.To(bruno, strings.Repeat("x", proto.RelayWindow))
		bruno.Want(proto.TypeClientCom)
		if ack := ana.Want(proto.TypeAck); *ack.Answers != seq {
			t.Errorf("ack of %d, want %d", *ack.Answers, seq)
		}
	}
}

func TestAttack26NeverReads(t *testing.T) {
	rt := start(t)
	ana, slow, bruno := rt.Join("ana"), rt.joinPipe("slow"), rt.Join("bruno")
	ana.To(slow, "never read")
	conn := rt.conn(slow)
	wire.Until(t, "a write to slow", func() bool { return conn.writing.Load() != 0 })
	// By the relay's clock, since its keeper's own seconds pass meanwhile.
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
		// Keep-alives come in between, after thirty seconds.
		if m := ana.Next(); m.Type == proto.TypeDisconnect && m.SrcID == slow.ID {
			break
		} else if m.Type != proto.TypeAck || m.Answers != nil {
			t.Fatalf("got %+v", m.Header)
		}
	}
	if !strings.HasPrefix(conn.ending.reason, string(proto.Slow)) {
		t.Errorf("the reason is %q", conn.ending.reason)
	}
	ana.To(bruno, "hello")
	for m := bruno.Next(); m.Type != proto.TypeClientCom; m = bruno.Next() {
	}
}

// Many people together can fill a queue. That connection is then too slow.
func TestRelayClosesWhoseQueueIsFull(t *testing.T) {
	rt := start(t)
	slow := rt.joinPipe("slow")
	body := strings.Repeat("x", proto.MaxBody)
	full := false
	for person := 0; !full; person++ {
		name := fmt.Sprintf("user%d", person)
		cred := wire.Delegate(t, wire.Person(t, name), name)
		for range 5 {
			c := rt.Connect(cred, proto.TakesNone)
			c.To(slow, body)
			c.Ask(&proto.Header{Type: proto.TypeList, Name: name})
			m := c.Next()
			if full = m.Type == proto.TypeError; full {
				if m.Code != proto.Gone || m.DstID != slow.ID {
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
		m := slow.Next()
		if m.Type == proto.TypeError {
			if m.Code != proto.Slow {
				t.Errorf("got %+v", m.Header)
			}
			break
		}
		if m.Type != proto.TypeClientCom || len(m.Body) != len(body) {
			t.Fatalf("got %+v with %d bytes", m.Header, len(m.Body))
		}
	}
	slow.WantClosed()
}

// One person cannot fill a queue, with any number of connections.
func TestAttack26Flood(t *testing.T) {
	rt := start(t)
	slow := rt.joinPipe("slow")
	ana := rt.Join("ana")
	cred := wire.Delegate(t, wire.Person(t, "mallory"), "mallory")
	body := strings.Repeat("x", proto.MaxBody)
	sent, stopped := 0, 0
	for range proto.MaxQueue/proto.MaxBody + 5 {
		c := rt.Connect(cred, proto.TakesNone)
		c.To(slow, body)
		c.Ask(&proto.Header{Type: proto.TypeList, Name: "mallory"})
		if m := c.Next(); m.Type == proto.TypeError {
			if m.Code != proto.Flood {
				t.Errorf("got %+v", m.Header)
			}
			stopped++
		} else {
			sent++
		}
	}
	if stopped == 0 || sent*proto.MaxBody > Crowded {
		t.Errorf("%d messages of %d bytes were taken, %d refused", sent, len(body), stopped)
	}
	ana.To(slow, "hello")
	ana.Barrier()
	for m := slow.Next(); m.Src != "ana"; m = slow.Next() {
		if m.Type != proto.TypeClientCom && m.Type != proto.TypeDisconnect {
			t.Fatalf("got %+v", m.Header)
		}
	}
	ana.Want(proto.TypeAck)
}

// A client that asks and does not read the answers harms only itself.
func TestRelayClosesWhoReadsNoAnswers(t *testing.T) {
	rt := start(t)
	silent := rt.joinPipe("silent")
	conn := rt.conn(silent)
	for range 100 {
		rt.Connect(silent.Cred, proto.TakesNone)
	}
	wire.Until(t, "the end of it", func() bool {
		if conn.ended.Load() {
			return true
		}
		conn.person.mu.Lock()
		conn.person.spent = 0 // as if many people had asked
		conn.person.mu.Unlock()
		header := []byte(`{"type":"list","name":"silent"}`)
		line := silent.Line(proto.AppendPayload(nil, header, silent.Cred.Key.Sign(silent.Send.RequestSigns(silent.Send.Seq(), header)), nil))
		_, err := silent.Conn.Write(line)
		return err != nil
	})
	if !strings.HasPrefix(conn.ending.reason, string(proto.Slow)) {
		t.Errorf("the reason is %q", conn.ending.reason)
	}
	silent.Close()
	rt.Join("other")
}

func TestRelayPartnersAreBounded(t *testing.T) {
	hub := newHub(10, 10)
	conns := make([]*conn, 3)
	for i := range conns {
		conns[i] = &conn{client: client{id: newID(), identity: [32]byte{byte(i)}}}
		hub.conns[conns[i].id] = conns[i]
	}
	for i := range maxPartners - 1 {
		conns[0].partnerLocked(&conn{client: client{id: fmt.Sprint(i)}})
	}
	for i, want := range []int{maxPartners, maxPartners} {
		if rt := hub.meet(conns[i+1], conns[0].id); rt == nil || rt.dst != conns[0] {
			t.Errorf("connection %d cannot send", i+1)
		}
		if n := len(conns[0].partners); n != want {
			t.Errorf("%d partners, want %d", n, want)
		}
	}
}

func TestRelayRoutesAreBounded(t *testing.T) {
	rt := start(t)
	ana := rt.Join("ana")
	bruno, carla := rt.Join("bruno"), rt.Join("carla")
	gone := &conn{client: client{id: "gone"}}
	alive := &conn{client: client{id: "alive"}}
	gone.ended.Store(true)
	ana.To(bruno, "x")
	ana.Want(proto.TypeAck)
	conn := rt.conn(ana)
	for i := range MaxRoutes - 1 { // its reader waits, so this is no race
		conn.routes[fmt.Sprint(i)] = &route{src: conn, dst: alive}
	}
	ana.To(carla, "one too many")
	if m := ana.WantError(proto.Busy); m.DstID != carla.ID {
		t.Errorf("got %+v", m.Header)
	}
	conn.routes["0"].dst = gone
	ana.To(carla, "instead of one who left")
	carla.Want(proto.TypeClientCom)
}

// TestRelayForgetsWhoLeft: a connection that stays keeps only a few of those that
// came, talked and left, and these keep no others.
func TestRelayForgetsWhoLeft(t *testing.T) {
	rt := start(t)
	ana := rt.Join("ana")
	bruno := wire.Person(t, "bruno")
	var conns []weak.Pointer[conn]
	var before *wire.Client
	for range 4 * fewRoutes {
		c := rt.Connect(wire.Delegate(t, bruno, "bruno"), proto.TakesMessages)
		conns = append(conns, weak.Make(rt.conn(c)))
		ana.To(c, "x")
		c.Want(proto.TypeClientCom)
		ana.Want(proto.TypeAck)
		if before != nil {
			c.To(before, "x")
			before.Want(proto.TypeClientCom)
			c.Want(proto.TypeAck)
			before.Close()
			ana.Want(proto.TypeDisconnect)
			c.Want(proto.TypeDisconnect)
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
	wire.Until(t, "the relay to forget who left", func() bool { return left() <= fewRoutes+1 })
}

// The busiest path allocates nothing for a line, except in the cryptography. The
// route is known, and the payload is copied once, into memory that the queue and its
// writer exchange.
func TestRelayPassesWithoutAllocating(t *testing.T) {
	src := &conn{client: client{id: "0123456789abcdef", name: "ana", takes: proto.TakesPipe}}
	dst := &conn{client: client{id: "fedcba9876543210", name: "bruno", folded: "bruno", takes: proto.TakesPipe}}
	dst.queue.active = true // its writer is this test
	dst.queue.memory = newMemory(maxHeld)
	src.routes = map[string]*route{dst.id: {src: src, dst: dst, share: new(share)}}
	src.queue.active = true
	payload := append([]byte(`{"type":"client-com","dst":"bruno","dst-id":"fedcba9876543210"}`+"\n\n"), strings.Repeat("x", 700)...)
	var batch, acks batch
	texts := [][]byte{nil, bytes.Repeat([]byte("AAAA"), 1000)}
	var seq uint64
	line := func() {
		for i := range 10 {
			if err := src.dispatch(seq, payload, texts[i%2]); err != nil {
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

// TestAttack26Idle: hundreds of idle connections hold no buffer, and others are
// served.
func TestAttack26Idle(t *testing.T) {
	const idle = 300
	rt := start(t, func(cfg *Config) { cfg.ofPerson = idle })
	others := rt.Others()
	mallory := wire.Delegate(t, wire.Person(t, "mallory"), "mallory")
	for i := range idle {
		rt.Connect(mallory, proto.TakesMessages)
		if i%50 == 0 {
			others.Served("more who sit there")
		}
	}
	for range proto.KeepAlive / time.Second {
		rt.tick()
	}
	if n := rt.hub.count(); n != idle+2 {
		t.Errorf("%d are connected", n)
	}
	wire.Until(t, "memory to be let go", func() bool { return rt.memory.held.Load() == 0 })
	p := others[0]
	p.Ask(&proto.Header{Type: proto.TypeList, Name: p.Name})
	for m := p.Next(); m.Type != proto.TypeList; m = p.Next() { // keep-alives
	}
}

// Row 26: the memory for clients that send half a line, or read nothing, is bounded
// for any number of them. Clients that do neither stay.
func TestAttack26HoldsNoMoreThanItMay(t *testing.T) {
	const maxHeld = 8 << 20
	rt := start(t, func(cfg *Config) { cfg.maxHeld = maxHeld })
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	chat := func() {
		t.Helper()
		ana.To(bruno, "hello")
		bruno.Want(proto.TypeClientCom)
		ana.Want(proto.TypeAck)
	}
	mallory := wire.Delegate(t, wire.Person(t, "mallory"), "mallory")
	settled := func() bool { return rt.memory.held.Load() <= maxHeld }

	half := strings.Repeat("x", 3*proto.MaxLine/4)
	for range 20 {
		c := rt.Connect(mallory, proto.TakesNone)
		c.Conn.Write([]byte(half)) // fails once the relay has had enough
		chat()
		rt.tick()
	}
	wire.Until(t, "room", settled)
	sender := rt.Connect(mallory, proto.TakesNone)
	for range 20 {
		deaf := rt.pipe(mallory, proto.TakesNone)
		sender.To(deaf, half[:proto.MaxBody])
		sender.Ask(&proto.Header{Type: proto.TypeList, Name: "bruno"})
		for m := sender.Next(); m.Type != proto.TypeList; m = sender.Next() {
		}
		chat()
		rt.tick() // the one waited for longest goes first
	}
	wire.Until(t, "room", settled)
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
