package chatsecure

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Rows 2, 3 and 6 between two clients: a handshake that is not between those
// whom it names, and one whose suites were changed on the way.

// bundleOver has a card sign a delegation for a key that it has not seen the
// private half of.
func (town *testTown) bundleOver(name string, spki []byte, now time.Time) *crypto.Bundle {
	town.t.Helper()
	c, err := card.Open(context.Background(), filepath.Join(town.dir, "lab", name), card.Options{})
	if err != nil {
		town.t.Fatal(err)
	}
	defer c.Close()
	b := *town.credential(name).Bundle
	b.PublicKey, b.NotBefore, b.NotAfter = spki, now.Add(-time.Minute).Unix(), now.Add(time.Hour).Unix()
	if b.Signature, err = c.Sign(context.Background(), crypto.DelegationMessage(b.X509, b.Name, spki, b.NotBefore, b.NotAfter)); err != nil {
		town.t.Fatal(err)
	}
	return &b
}

// sending sends in the background, for whoever plays the receiver meanwhile.
func (tc *testClient) sending(text, name string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := tc.Send(context.Background(), []string{name}, text)
		ended <- err
	}()
	return ended
}

// TestAttack02BobsKUnderHerCertificate has Mallory's card delegate to Bob's K:
// a good bundle, whose K she does not have.
func TestAttack02BobsKUnderHerCertificate(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	alice, bob := town.client("alice", oneTry), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	fraud := town.bundleOver("mallory", alice.conversation("bob").PeerBundle.PublicKey, time.Now())
	if _, err := town.verifier().Verify(fraud, "mallory"); err != nil {
		t.Fatal(err) // only the handshake shows the fraud
	}

	// The relay.
	own := town.credential("mallory")
	_, err := relayTestDial(t, town.addr, &relayTestCred{own.Key, fraud}, proto.TakesMessages)
	if told := AsError(err); told == nil || told.Code != proto.SignatureInvalid {
		t.Errorf("the relay says %v", err)
	}

	// Alice, whom Mallory calls.
	mallory := town.evilPeer(town.addr, "mallory", own)
	mallory.local.Bundle = fraud
	mallory.offer(end(alice))
	mallory.wantRefusal("Bob's K in p1", proto.DecryptFailed)
	refused := func(ev Event) bool { return ev.Peer != nil && ev.Peer.What == "refused" && ev.Peer.Conn == mallory.id }
	alice.await("that Mallory is refused", refused)

	// And whom she answers.
	ended := alice.sending("for whoever that is", "mallory")
	p2, _, _, err := mallory.nextOffer(end(alice)).Answer(mallory.local, nil, trusts)
	if err != nil {
		t.Fatal(err)
	}
	mallory.phase(end(alice), 2, p2)
	if err := <-ended; ExitStatus(err) != 8 || AsError(err).Code != proto.DecryptFailed {
		t.Errorf("sending to Mallory gives %v, exit status %d", err, ExitStatus(err))
	}
	if got := alice.met("mallory"); len(got) != 0 {
		t.Errorf("alice took %v for Mallory", got)
	}
	// With her own K she is Mallory, and Bob is who he was.
	mallory.local.Bundle = own.Bundle
	mallory.call(end(alice))
	alice.mustSend("second", "bob")
	sees(t, alice, bob, "first", "second")
}

// TestAttack02BobsHandshakeAsHers has Mallory and the relay work together:
// what Bob says to Alice is given out as Mallory's answer, as it is and under
// her own bundle and signature.
func TestAttack02BobsHandshakeAsHers(t *testing.T) {
	for _, test := range []struct {
		name         string
		bundle, sign bool
	}{
		{"as it is", false, false},
		{"with her bundle", true, false},
		{"with her bundle and signature", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it waits, mostly
			town, relay := evilTown(t, "alice", "bob", "mallory")
			alice, bob := town.client("alice", oneTry), town.client("bob")
			mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
			var bobs []byte
			relay.tampering(func(l evilLine) []evilLine {
				if crypto.PeekPhase(l.body) == "p2" && l.from.hello.Name == "bob" {
					bobs = l.body
				}
				if crypto.PeekPhase(l.body) == "p1" && l.to.hello.Name == "mallory" {
					toBob := l // and Bob is asked to answer Alice's offer to Mallory
					toBob.to = relay.named("bob")
					return []evilLine{l, toBob}
				}
				return honest(l)
			})
			alice.mustSend("first", "bob")
			sees(t, alice, bob, "first")
			hisBundle := canon.MustMarshal(alice.conversation("bob").PeerBundle)
			herBundle := canon.MustMarshal(mallory.local.Bundle)

			ended := alice.sending("for Mallory", "mallory")
			mallory.nextOffer(end(alice))
			p1, sig := phaseParts(t, mallory.first)
			p2, with := phaseParts(t, bobs)
			if test.bundle {
				p2 = swapped(t, p2, hisBundle, herBundle)
			}
			if test.sign {
				with[0] = mallory.local.Key.Sign(evilTuple("cc-2", evilHash("cc-T2", evilHash("cc-T1", p1, sig[0]), p2)))
			}
			mallory.phase(end(alice), 2, phaseBody(p2, with...))
			if err := <-ended; ExitStatus(err) != 8 || AsError(err).Code != proto.DecryptFailed {
				t.Errorf("sending to Mallory gives %v, exit status %d", err, ExitStatus(err))
			}
			bob.await("that an offer to Mallory is refused", func(ev Event) bool { return ev.Peer != nil && ev.Peer.What == "refused" })
			if got := alice.met("mallory"); len(got) != 0 {
				t.Errorf("alice took %v for Mallory", got)
			}
			alice.mustSend("second", "bob")
			sees(t, alice, bob, "first", "second")
		})
	}
}

// TestAttack03Moved has the relay carry phases of the handshake of Alice and
// Bob to other people, other connections and other conversations, each time
// before the honest line goes on.
func TestAttack03Moved(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "carol")
	bob, carol := town.client("bob"), town.client("carol")
	old := map[string]evilLine{} // of the first conversation, by phase
	moved := map[string]int{}
	first := true
	relay.tampering(func(l evilLine) []evilLine {
		phase := crypto.PeekPhase(l.body)
		if phase == "" || l.from.hello.Name == "carol" || l.to.hello.Name == "carol" {
			return honest(l)
		}
		if first {
			old[phase] = l
		}
		var out []evilLine
		move := func(what string, change func(m *evilLine)) {
			if moved[what] > 0 {
				return
			}
			moved[what]++
			m := l
			change(&m)
			out = append(out, m)
		}
		move(phase+" to Carol", func(m *evilLine) { m.to = relay.named("carol") })
		move(phase+" as Carol's", func(m *evilLine) { m.from = relay.named("carol") })
		for _, c := range relay.conns {
			if c.hello.Name == l.to.hello.Name && c != l.to {
				move(phase+" to another connection", func(m *evilLine) { m.to = c })
			}
			if c.hello.Name == l.from.hello.Name && c != l.from {
				move(phase+" from another connection", func(m *evilLine) { m.from = c })
			}
		}
		if !first {
			move(phase+" of an earlier conversation", func(m *evilLine) { m.body = old[phase].body })
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
	relay.do(func() { first = false })
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
	relay.do(func() {
		for _, phase := range []string{"p1", "p2", "p3"} {
			for _, how := range []string{" to Carol", " as Carol's", " to another connection", " from another connection", " of an earlier conversation"} {
				if moved[phase+how] == 0 {
					t.Errorf("%s%s was not tried", phase, how)
				}
			}
		}
	})
}

// TestAttack03PhasesSwapped holds back each phase of a handshake and sends it
// under the numbers of the others, and as other types of line: nobody goes on
// before the honest line has come.
func TestAttack03PhasesSwapped(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "carol")
	alice, bob, carol := town.client("alice"), town.client("bob"), town.client("carol")
	carol.mustSend("ready", "bob", "alice")
	bob.awaitText("ready")
	alice.awaitText("ready")
	held := make(chan evilLine, 3)
	passed := map[string]bool{}
	// Alice talks as soon as she has p2, and Bob, who has no p3, would have her
	// begin anew.
	var early []evilLine
	released := false
	relay.tampering(func(l evilLine) []evilLine {
		if l.header.Type == proto.TypeClientCom && l.from.hello.Name == "alice" && !released {
			early = append(early, l)
			return nil
		}
		phase := crypto.PeekPhase(l.body)
		if phase == "" || passed[phase] {
			return honest(l)
		}
		passed[phase] = true
		held <- l
		var out []evilLine
		for n := 1; n <= 3; n++ {
			if n != l.header.Phase {
				m, back := l, l
				m.header.Phase, back.header.Phase = n, n
				back.from, back.to = l.to, l.from
				out = append(out, m, back)
			}
		}
		for _, typ := range []string{proto.TypeClientCom, proto.TypeCommAck, proto.TypeDisconnect} {
			m := l
			m.header = proto.Header{Type: typ}
			out = append(out, m)
		}
		return out
	})
	ended := alice.sending("one", "bob")
	receiver := map[string]*testClient{"p1": bob, "p2": alice, "p3": bob}
	for _, phase := range []string{"p1", "p2", "p3"} {
		l := soon(t, phase, held)
		if crypto.PeekPhase(l.body) != phase {
			t.Fatalf("held is %.80q, want %s", l.body, phase)
		}
		carol.mustSend("after "+phase, receiver[phase].Name()) // all that came before has been looked at then
		receiver[phase].awaitText("after " + phase)
		carol.mustSettle(StatusRead) // and what it sent has passed the relay
		if len(held) > 0 || len(alice.met("bob")) > 0 && phase != "p3" || len(bob.met("alice")) > 0 {
			t.Errorf("a %s under other numbers was taken", phase)
		}
		relay.do(func() {
			relay.forward(l)
			if released = phase == "p3"; released {
				for _, l := range early {
					relay.forward(l)
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

// TestAttack06Suites has the relay change the suites of p1 and p2, and ask for
// a retry in Bob's name. The conversation is had under the best one all the same.
func TestAttack06Suites(t *testing.T) {
	best, worst := crypto.SuiteMLKEM, crypto.SuiteRSA128
	all := strings.Join(crypto.SuiteNames(), `","`)
	for _, c := range []struct {
		name, phase string
		old, new    string
	}{
		{"stripped", "p1", `["` + all + `"],"cipher":"` + best, `["` + worst + `"],"cipher":"` + worst},
		{"reordered", "p1", `["` + all + `"],"cipher":"` + best, `["` + worst + `","` + best + `"],"cipher":"` + worst},
		{"one less", "p1", `["` + all, `["` + best + `","` + worst},
		{"another answered", "p2", `"cipher":"` + best, `"cipher":"` + worst},
		{"a retry forged", "p2", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			town, relay := evilTown(t, "alice", "bob")
			alice, bob := town.client("alice"), town.client("bob")
			done := false
			relay.tampering(func(l evilLine) []evilLine {
				if crypto.PeekPhase(l.body) != c.phase || done {
					return honest(l)
				}
				done = true
				if c.new != "" {
					return []evilLine{l.with(swapped(t, l.body, []byte(c.old), []byte(c.new)))}
				}
				retry := []byte(`{"type":"retry","cipher":"` + worst + `","bundle":` + string(canon.MustMarshal(l.from.hello.Bundle)) + `}`)
				return []evilLine{l.with(phaseBody(retry, make([]byte, 64)))}
			})
			alice.mustSend("one", "bob")
			sees(t, alice, bob, "one")
			refused := alice.await("the refusal", func(ev Event) bool { return ev.Peer != nil && ev.Peer.What == "refused" }).Peer
			if !strings.Contains(refused.Reason, "does not hold") && !strings.Contains(refused.Reason, "another suite") {
				t.Errorf("alice is told %q", refused.Reason)
			}
			if got := alice.conversation("bob").Suite(); got != best {
				t.Errorf("they talk under %s", got)
			}
			if got := alice.met("bob"); len(got) != 1 || len(bob.met("alice")) != 1 {
				t.Errorf("there was a conversation under the changed suites: %v", got)
			}
		})
	}
}

// TestAttack06SuiteOfAPeer has a peer with a valid card answer with another
// suite than the one that Alice's key is for, signed as it should be.
func TestAttack06SuiteOfAPeer(t *testing.T) {
	t.Parallel() // it waits, mostly
	town := newTown(t, "alice", "mallory")
	alice := town.client("alice", oneTry)
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	for _, suite := range []string{crypto.SuiteRSA128, "NULL", ""} {
		ended := alice.sending("under a good suite", "mallory")
		p2, _, _, err := mallory.nextOffer(end(alice)).Answer(mallory.local, nil, trusts)
		if err != nil {
			t.Fatal(err)
		}
		p1, sig := phaseParts(t, mallory.first)
		json, with := phaseParts(t, p2)
		json = swapped(t, json, []byte(`"cipher":"`+crypto.SuiteMLKEM), []byte(`"cipher":"`+suite))
		t2 := evilHash("cc-T2", evilHash("cc-T1", p1, sig[0]), json)
		mallory.phase(end(alice), 2, phaseBody(json, mallory.local.Key.Sign(evilTuple("cc-2", t2)), with[1]))
		if err := <-ended; ExitStatus(err) != 1 || AsError(err).Code != proto.Malformed || !strings.Contains(err.Error(), "another suite") {
			t.Errorf("p2 with the suite %q: sending gives %v, exit status %d", suite, err, ExitStatus(err))
		}
	}
	if got := alice.met("mallory"); len(got) != 0 {
		t.Errorf("alice took %v for Mallory", got)
	}
	mallory.call(end(alice))
	alice.mustSend("at last", "mallory")
	if o := mallory.takeText(); o.Records[0].Text != "at last" {
		t.Errorf("mallory was sent %q", o.Records[0].Text)
	}
}
