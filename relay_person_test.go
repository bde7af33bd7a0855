package chatsecure

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
)

func TestRelayBudget(t *testing.T) {
	var p relayPerson
	allowed := func(now, cost int64) bool { return p.spend(now, cost) == nil }
	const much = relayBudget + 10*relayBudgetRate
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
	if paid := int64(1_000_010 + relayBudget/relayBudgetRate + 1); p.idle(paid) {
		t.Error("a person who is connected is forgotten")
	} else if p.conns = 0; p.idle(paid-1) || !p.idle(paid) {
		t.Error("a person is forgotten before or after everything is paid off")
	}
}

// TestAttack26Asks: who has asked for too much by one connection is told to wait,
// by any and by those that come then, while messages pass and others are
// answered.
func TestAttack26Asks(t *testing.T) {
	rt := startRelayTest(t)
	ana, mallory := rt.join("ana"), rt.join("mallory")
	other := rt.connect(mallory.cred, proto.TakesNone)
	if got := mallory.list(""); strings.Count(got, ",") != 2 {
		t.Errorf("the list is %q", got)
	}
	const wait = int64(60)
	person := rt.conn(mallory).person
	if person != rt.conn(other).person || person == rt.conn(ana).person {
		t.Fatal("connections are not counted by who they are")
	}
	person.mu.Lock()
	person.spent, person.as = relayBudget+wait*relayBudgetRate, rt.seconds.Load()
	person.mu.Unlock()
	other.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	other.wantClosed()
	for _, c := range []*relayTestClient{mallory, rt.connect(mallory.cred, proto.TakesNone)} {
		for _, h := range []proto.Header{
			{Type: proto.TypeList}, {Type: proto.TypeList, Name: "ana"}, {Type: proto.TypeList, Watch: true}, {Type: proto.TypeList, Name: "ana", Watch: true},
			{Type: proto.TypeWhoisGet, Name: "ana"}, {Type: proto.TypeRelease},
		} {
			seq := c.ask(&h)
			if m := c.wantError(proto.Busy); *m.Answers != seq || !strings.Contains(m.Message, "try again in ") {
				t.Errorf("%s: %+v", h.Type, m.Header)
			}
		}
		c.to(ana, "all the same")
		ana.want(proto.TypeClientCom)
		c.want(proto.TypeAck)
	}
	if got := ana.list("ana"); got != "ana messages" {
		t.Errorf("another's list is %q", got)
	}
	// Those that were refused watch nothing.
	rt.join("bruno")
	ana.to(mallory, "the next line")
	if m := mallory.want(proto.TypeClientCom); string(m.body) != "the next line" {
		t.Errorf("got %q", m.body)
	}
	rt.seconds.Add(wait)
	mallory.ask(&proto.Header{Type: proto.TypeList, Name: "ana"})
	m := mallory.next()
	for m.Type == proto.TypeAck { // the keeper may have found a minute of silence
		m = mallory.next()
	}
	if m.Type != proto.TypeList || mallory.listed(m) != "ana messages" {
		t.Errorf("got %+v", m.Header)
	}
}

// TestAttack26AsksAreCharged: each request costs what PROTOCOL.md says, and who
// goes on asking is told to wait.
func TestAttack26AsksAreCharged(t *testing.T) {
	rt := startRelayTest(t)
	ana := relayTestDelegate(t, relayTestPerson(t, "ana"), "ana")
	const devices = 6
	for range devices {
		rt.connect(ana, proto.TakesMessages)
	}
	mallory := rt.join("mallory")
	mallory.conn.SetDeadline(time.Now().Add(time.Minute)) // she asks longer than a handshake takes
	person := rt.conn(mallory).person
	stand := func() (spent, as int64) {
		person.mu.Lock()
		defer person.mu.Unlock()
		return person.spent, person.as
	}
	clock := rt.seconds.Load()
	// ask sends a request and checks what it costs, but for what the keeper's
	// own seconds pay off meanwhile. It tells whether it was answered.
	ask := func(h proto.Header, cost int64) bool {
		t.Helper()
		rt.seconds.Store(clock)
		spent, as := stand()
		mallory.ask(&h)
		m := mallory.next()
		for m.Type == proto.TypeAck { // the keeper may have found a minute of silence
			m = mallory.next()
		}
		if m.Type == proto.TypeError && m.Code == proto.Busy {
			return false
		}
		now, at := stand()
		if got := now - max(0, spent-(at-as)*relayBudgetRate); got != cost {
			t.Fatalf("%s %q costs %d, want %d", h.Type, h.Name, got, cost)
		}
		return true
	}
	const request, bundle = 8, 32
	for _, c := range []struct {
		header proto.Header
		cost   int64
	}{
		{proto.Header{Type: proto.TypeList}, request + devices + 1},
		{proto.Header{Type: proto.TypeList, Name: "ana"}, request + devices},
		{proto.Header{Type: proto.TypeList, Name: "nobody"}, request},
		{proto.Header{Type: proto.TypeList, Watch: true}, request + devices + 1},
		{proto.Header{Type: proto.TypeWhoisGet, Name: "ana"}, request + bundle*devices},
		{proto.Header{Type: proto.TypeWhoisGet, Name: "nobody"}, request},
		{proto.Header{Type: proto.TypeRelease}, request},
	} {
		if !ask(c.header, c.cost) {
			t.Fatalf("%s %q is refused at the first time", c.header.Type, c.header.Name)
		}
	}
	const cost = request + bundle*devices
	asked := 0
	for ; ask(proto.Header{Type: proto.TypeWhoisGet, Name: "ana"}, cost); asked++ {
		if asked > 2*relayBudget/cost {
			t.Fatalf("%d requests are answered without a pause", asked)
		}
	}
	if least := relayBudget/cost - 10; asked < least {
		t.Errorf("%d requests are answered, want %d", asked, least)
	}
}

// What is remembered of a person who has gone is what is not paid off.
func TestRelayForgetsPeople(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("ana"), rt.join("bruno")
	person := rt.conn(bruno).person
	bruno.list("")
	person.mu.Lock()
	person.spent += 1000 * relayBudgetRate
	person.mu.Unlock()
	for _, c := range []*relayTestClient{ana, bruno} {
		c.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
		c.wantClosed()
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
	rt := startRelayTest(t, func(cfg *RelayConfig) { cfg.ofPerson = 2 })
	mallory := relayTestPerson(t, "mallory")
	first := rt.connect(relayTestDelegate(t, mallory, "mallory"), proto.TakesMessages)
	rt.connect(relayTestDelegate(t, mallory, "other"), proto.TakesNone)
	if told := rt.refused(relayTestDelegate(t, mallory, "mallory")); told.Code != proto.Busy || !strings.Contains(told.Message, "you have 2 connections") {
		t.Errorf("refused with %v", told)
	}
	rt.join("ana")
	first.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	first.wantClosed()
	rt.connect(relayTestDelegate(t, mallory, "mallory"), proto.TakesMessages)
}
