package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

func TestRelayBudget(t *testing.T) {
	var p person
	allowed := func(now, cost int64) bool { return p.spend(now, cost) == nil }
	const much = Budget + 10*BudgetRate
	if !allowed(1, much) || !allowed(1_000_000, much) {
		t.Fatal("a request is refused though everything is paid off")
	}
	if p.spent != much {
		t.Errorf("%d are owed, want %d: nothing is saved up", p.spent, much)
	}
	for i := range int64(10) {
		err := p.spend(1_000_000+i, 1)
		if err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("try again in %d s", 10-i)) {
			t.Errorf("after %d s: %v", i, err)
		}
	}
	if !allowed(1_000_010, 1) || allowed(1_000_010, 1) {
		t.Error("what was paid off is not what was said")
	}
	p.conns = 1
	if paid := int64(1_000_010 + Budget/BudgetRate + 1); p.idle(paid) {
		t.Error("a person who is connected is forgotten")
	} else if p.conns = 0; p.idle(paid-1) || !p.idle(paid) {
		t.Error("a person is forgotten before or after everything is paid off")
	}
}

// TestAttack26Asks: a person who has asked for too much on one connection is told to
// wait on all of them, and on new ones. Messages still pass, and others are answered.
func TestAttack26Asks(t *testing.T) {
	rt := start(t)
	ana, mallory := rt.Join("ana"), rt.Join("mallory")
	other := rt.Connect(mallory.Cred, proto.TakesNone)
	if got := mallory.List(""); strings.Count(got, ",") != 2 {
		t.Errorf("the list is %q", got)
	}
	const wait = int64(60)
	person := rt.conn(mallory).person
	if person != rt.conn(other).person || person == rt.conn(ana).person {
		t.Fatal("connections are not counted by who they are")
	}
	person.mu.Lock()
	person.spent, person.as = Budget+wait*BudgetRate, rt.seconds.Load()
	person.mu.Unlock()
	other.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	other.WantClosed()
	for _, c := range []*wire.Client{mallory, rt.Connect(mallory.Cred, proto.TakesNone)} {
		for _, h := range []proto.Header{
			{Type: proto.TypeList}, {Type: proto.TypeList, Name: "ana"},
			{Type: proto.TypeList, Watch: true}, {Type: proto.TypeList, Name: "ana", Watch: true},
			{Type: proto.TypeRelease},
		} {
			seq := c.Ask(&h)
			if m := c.WantError(proto.Busy); *m.Answers != seq || !strings.Contains(m.Message, "try again in ") {
				t.Errorf("%s: %+v", h.Type, m.Header)
			}
		}
		c.To(ana, "all the same")
		ana.Want(proto.TypeClientCom)
		c.Want(proto.TypeAck)
	}
	if got := ana.List("ana"); got != "ana messages" {
		t.Errorf("another's list is %q", got)
	}
	// A refused request watches nothing.
	rt.Join("bruno")
	ana.To(mallory, "the next line")
	if m := mallory.Want(proto.TypeClientCom); string(m.Body) != "the next line" {
		t.Errorf("got %q", m.Body)
	}
	rt.seconds.Add(wait)
	mallory.Ask(&proto.Header{Type: proto.TypeList, Name: "ana"})
	m := mallory.Next()
	for m.Type == proto.TypeAck { // the keeper may have found a minute of silence
		m = mallory.Next()
	}
	if m.Type != proto.TypeList || mallory.Listed(m) != "ana messages" {
		t.Errorf("got %+v", m.Header)
	}
}

// TestAttack26AsksAreCharged: each request has the cost in PROTOCOL.md, and a person
// who goes on asking is told to wait.
func TestAttack26AsksAreCharged(t *testing.T) {
	rt := start(t)
	ana := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	const devices = 6
	for range devices {
		rt.Connect(ana, proto.TakesMessages)
	}
	for i := range byte(40) { // a release costs more where there are many names
		if err := rt.names.claim(fmt.Sprintf("name%d", i), [32]byte{i}); err != nil {
			t.Fatal(err)
		}
	}
	mallory := rt.Join("mallory")
	mallory.Conn.SetDeadline(time.Now().Add(time.Minute)) // she asks longer than a handshake takes
	person := rt.conn(mallory).person
	stand := func() (spent, as int64) {
		person.mu.Lock()
		defer person.mu.Unlock()
		return person.spent, person.as
	}
	clock := rt.seconds.Load()
	// ask sends a request and checks its cost, less the payment by the keeper's
	// own seconds. It reports whether the request was answered.
	ask := func(h proto.Header, cost int64) bool {
		t.Helper()
		rt.seconds.Store(clock)
		spent, as := stand()
		mallory.Ask(&h)
		m := mallory.Next()
		for m.Type == proto.TypeAck { // the keeper may have found a minute of silence
			m = mallory.Next()
		}
		if m.Type == proto.TypeError && m.Code == proto.Busy {
			return false
		}
		now, at := stand()
		if got := now - max(0, spent-(at-as)*BudgetRate); got != cost {
			t.Fatalf("%s %q costs %d, want %d", h.Type, h.Name, got, cost)
		}
		return true
	}
	const request = 8
	for _, c := range []struct {
		header proto.Header
		cost   int64
	}{
		{proto.Header{Type: proto.TypeList}, request + devices + 1},
		{proto.Header{Type: proto.TypeList, Name: "ana"}, request + devices},
		{proto.Header{Type: proto.TypeList, Name: "nobody"}, request},
		{proto.Header{Type: proto.TypeList, Watch: true}, request + devices + 1},
		{proto.Header{Type: proto.TypeRelease}, request + 200 + (40+2)/10},
	} {
		if !ask(c.header, c.cost) {
			t.Fatalf("%s %q is refused at the first time", c.header.Type, c.header.Name)
		}
	}
	const cost, left = request + devices, 100
	person.mu.Lock()
	person.spent, person.as = Budget-left*cost, clock
	person.mu.Unlock()
	asked := 0
	for ; ask(proto.Header{Type: proto.TypeList, Name: "ana"}, cost); asked++ {
		if asked > 2*left {
			t.Fatalf("%d requests are answered without a pause", asked)
		}
	}
	if asked < left {
		t.Errorf("%d requests are answered, want %d", asked, left)
	}
}

// A person who has left is remembered only while something is owed.
func TestRelayForgetsPeople(t *testing.T) {
	rt := start(t)
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	person := rt.conn(bruno).person
	bruno.List("")
	person.mu.Lock()
	person.spent += 1000 * BudgetRate
	person.mu.Unlock()
	for _, c := range []*wire.Client{ana, bruno} {
		c.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
		c.WantClosed()
	}
	people := func(now int64) int {
		rt.hub.forget(now)
		rt.hub.mu.Lock()
		defer rt.hub.mu.Unlock()
		return len(rt.hub.people)
	}
	if n := people(rt.seconds.Load()); n != 1 {
		t.Errorf("%d people are remembered, want bruno alone", n)
	}
	if n := people(rt.seconds.Load() + 2000); n != 0 {
		t.Errorf("%d people are remembered", n)
	}
}

// TestAttack26Connections: one person does not take all the places.
func TestAttack26Connections(t *testing.T) {
	rt := start(t, func(cfg *Config) { cfg.ofPerson = 2 })
	mallory := wire.Person(t, "mallory")
	first := rt.Connect(wire.Delegate(t, mallory, "mallory"), proto.TakesMessages)
	rt.Connect(wire.Delegate(t, mallory, "other"), proto.TakesNone)
	told := rt.Refused(wire.Delegate(t, mallory, "mallory"))
	if told.Code != proto.Busy || !strings.Contains(told.Message, "you have 2 connections") {
		t.Errorf("refused with %v", told)
	}
	rt.Join("ana")
	first.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	first.WantClosed()
	rt.Connect(wire.Delegate(t, mallory, "mallory"), proto.TakesMessages)
}
