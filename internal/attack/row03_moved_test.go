package attack

import (
	"slices"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestAttack03Moved: the relay carries phases of Alice's handshake with Bob to other people, other
// connections and other conversations, each time before the honest line.
func TestAttack03Moved(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "carol")
	bob, carol := town.client("bob"), town.client("carol")
	old := map[string]wire.EvilLine{} // by phase, from the first conversation
	moved := map[string]int{}
	first := true
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		phase := crypto.PeekPhase(l.Body)
		if phase == "" || l.From.Hello.Name == "carol" || l.To.Hello.Name == "carol" {
			return honest(l)
		}
		if first {
			old[phase] = l
		}
		var out []wire.EvilLine
		move := func(what string, change func(m *wire.EvilLine)) {
			if moved[what] > 0 {
				return
			}
			moved[what]++
			m := l
			change(&m)
			out = append(out, m)
		}
		move(phase+" to Carol", func(m *wire.EvilLine) { m.To = relay.Named("carol") })
		move(phase+" as Carol's", func(m *wire.EvilLine) { m.From = relay.Named("carol") })
		for _, c := range relay.Conns {
			if c.Hello.Name == l.To.Hello.Name && c != l.To {
				move(phase+" to another connection", func(m *wire.EvilLine) { m.To = c })
			}
			if c.Hello.Name == l.From.Hello.Name && c != l.From {
				move(phase+" from another connection", func(m *wire.EvilLine) { m.From = c })
			}
		}
		if !first {
			move(phase+" of an earlier conversation", func(m *wire.EvilLine) { m.Body = old[phase].Body })
		}
		return append(out, l)
	})
	alice := town.client("alice")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	town.clientIn("alice", "state-alice-2").mustSend("from elsewhere", "bob")
	bob.awaitText("from elsewhere")
	other := town.clientIn("bob", "state-bob-2")
	alice.awaitConn(other)
	alice.mustSend("two", "bob")
	other.awaitText("two")
	bob.awaitText("two")
	sees(t, alice, bob, "one", "from elsewhere", "two")
	relay.Do(func() { first = false })
	alice.leave()
	alice = town.client("alice")
	alice.mustSend("three", "bob")
	other.awaitText("three")
	bob.awaitText("three")
	sees(t, alice, bob, "one", "from elsewhere", "two", "three")
	alice.mustSend("and to carol", "carol")
	sees(t, alice, carol, "and to carol")

	if got := other.texts(); !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("bob's other connection saw %q", got)
	}
	if got := len(carol.met("bob")); got != 0 {
		t.Errorf("carol took %d connections for Bob", got)
	}
	if got := carol.met("alice"); !slices.Equal(got, []string{alice.Conn()}) {
		t.Errorf("carol took %v for Alice, who is %s", got, alice.Conn())
	}
	relay.Do(func() {
		for _, phase := range []string{"p1", "p2", "p3"} {
			for _, how := range []string{" to Carol", " as Carol's", " to another connection",
				" from another connection", " of an earlier conversation"} {
				if moved[phase+how] == 0 {
					t.Errorf("%s%s was not tried", phase, how)
				}
			}
		}
	})
}

// TestAttack03PhasesSwapped: each phase of a handshake comes under the numbers of the others and as
// other types of line, before the honest one. Nobody goes on before the honest line.
func TestAttack03PhasesSwapped(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "carol")
	alice, bob, carol := town.client("alice"), town.client("bob"), town.client("carol")
	carol.mustSend("ready", "bob", "alice")
	bob.awaitText("ready")
	alice.awaitText("ready")
	held := make(chan wire.EvilLine, 3)
	passed := map[string]bool{}
	// Alice talks as soon as she has p2. Bob, without p3, would make her begin anew.
	var early []wire.EvilLine
	released := false
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if l.Header.Type == proto.TypeClientCom && l.From.Hello.Name == "alice" && !released {
			early = append(early, l)
			return nil
		}
		phase := crypto.PeekPhase(l.Body)
		if phase == "" || passed[phase] {
			return honest(l)
		}
		passed[phase] = true
		held <- l
		var out []wire.EvilLine
		for n := 1; n <= 3; n++ {
			if n != l.Header.Phase {
				m, back := l, l
				m.Header.Phase, back.Header.Phase = n, n
				back.From, back.To = l.To, l.From
				out = append(out, m, back)
			}
		}
		for _, typ := range []string{proto.TypeClientCom, proto.TypeCommAck, proto.TypeDisconnect} {
			m := l
			m.Header = proto.Header{Type: typ}
			out = append(out, m)
		}
		return out
	})
	ended := alice.sending("one", "bob")
	receiver := map[string]*testClient{"p1": bob, "p2": alice, "p3": bob}
	for _, phase := range []string{"p1", "p2", "p3"} {
		l := soon(t, phase, held)
		if crypto.PeekPhase(l.Body) != phase {
			t.Fatalf("held is %.80q, want %s", l.Body, phase)
		}
		carol.mustSend("after "+phase, receiver[phase].Name()) // by then all earlier lines have been read
		receiver[phase].awaitText("after " + phase)
		carol.mustSettle(history.StatusRead) // and its lines have passed the relay
		if len(held) > 0 || len(alice.met("bob")) > 0 && phase != "p3" || len(bob.met("alice")) > 0 {
			t.Errorf("a %s under other numbers was taken", phase)
		}
		relay.Do(func() {
			relay.Forward(l)
			if released = phase == "p3"; released {
				for _, l := range early {
					relay.Forward(l)
				}
			}
		})
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	sees(t, alice, bob, "ready", "after p1", "after p3", "one")
	if got := alice.texts(); !slices.Equal(got, []string{"ready", "after p2"}) {
		t.Errorf("alice saw %q", got)
	}
}
