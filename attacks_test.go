package chatsecure

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// The attacks of a malicious relay or network, against real clients. Each name
// begins with the number of its row in the list of what must be tried; rows
// that need no client are in package crypto, and those about the relay in
// relay_*_test.go.

// evilTown is a town whose relay is evil.
func evilTown(t testing.TB, names ...string) (*testTown, *evilRelay) {
	t.Helper()
	town := newTown(t, names...)
	town.stop()
	r := newEvilRelay(t)
	town.addr = r.ln.Addr().String()
	return town, r
}

// honest passes lines on as they are.
func honest(l evilLine) []evilLine { return []evilLine{l} }

// sees waits until all that was sent so far is READ, and checks that the
// receiver has seen exactly these texts, in order.
func sees(t *testing.T, from, to *testClient, want ...string) {
	t.Helper()
	from.mustSettle(StatusRead)
	if got := to.texts(); !slices.Equal(got, want) {
		t.Errorf("%s saw %q, want %q", to.Name(), got, want)
	}
}

func TestAttack01KeySubstitution(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "mallory")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	alice.leave()

	// The relay answers as Bob, with a card that it does have, under Bob's name.
	cred := town.credentialAs("mallory", "bob", time.Now())
	relay.answersAs("bob", cred)
	alice = town.client("alice")
	_, err := alice.Send(context.Background(), []string{"bob"}, "for bob only")
	if AsError(err) == nil || AsError(err).Code != proto.IdentityChanged || ExitStatus(err) != 4 {
		t.Errorf("another person under a known name: %v", err)
	}
}

// answersAs has the relay itself answer each p1 to a name, with what it proves
// itself by.
func (r *evilRelay) answersAs(name string, cred *Credential) {
	local := &crypto.Local{Key: cred.Key, Bundle: cred.Bundle, FoldedName: name, Suites: crypto.SuiteNames(), Keys: &r.keys}
	r.tampering(func(l evilLine) []evilLine {
		if crypto.PeekPhase(l.body) != "p1" || l.to.hello.Name != name {
			return honest(l)
		}
		offer, err := crypto.ReadOffer(l.body, crypto.End{Name: name, Conn: l.to.id}, crypto.End{Name: l.from.hello.Name, Conn: l.from.id})
		if err != nil {
			r.t.Error(err)
			return nil
		}
		body, _, _, err := offer.Answer(local, nil, trusts)
		if err != nil {
			r.t.Error(err)
			return nil
		}
		answer := evilLine{from: l.to, to: l.from, header: proto.Header{Type: proto.TypeClientConnect, Phase: 2}, body: body}
		return []evilLine{answer}
	})
}

// TestAttack01OwnKeyInHisBundle has the relay put its own K into Bob's bundle,
// at the first contact, where every person would be accepted.
func TestAttack01OwnKeyInHisBundle(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	bob := town.client("bob")
	var bundle crypto.Bundle
	relay.do(func() { bundle = *relay.named("bob").hello.Bundle })
	bundle.PublicKey = relay.key.Public().SPKI()
	relay.answersAs("bob", &Credential{Key: relay.key, Bundle: &bundle})
	alice := town.client("alice")
	_, err := alice.Send(context.Background(), []string{"bob"}, "for bob only")
	if AsError(err) == nil || AsError(err).Code != proto.DelegationInvalid || ExitStatus(err) != 4 {
		t.Errorf("the relay's key in Bob's bundle: %v", err)
	}
	if known, ok := alice.state.KnownPeer("bob"); ok || len(alice.met("bob")) != 0 {
		t.Errorf("alice knows Bob now as %+v", known)
	}
	relay.tampering(honest)
	alice.mustSend("and now", "bob")
	sees(t, alice, bob, "and now")
}

// TestAttack07Replay repeats every message at once, and the first ones again
// much later and in a new conversation.
func TestAttack07Replay(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	var old []evilLine
	var repeat atomic.Bool
	relay.tampering(func(l evilLine) []evilLine {
		if l.header.Type != proto.TypeClientCom {
			return honest(l)
		}
		old = append(old, l)
		if repeat.CompareAndSwap(true, false) {
			return []evilLine{l, l}
		}
		return honest(l)
	})
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	repeat.Store(true)
	alice.mustSend("two", "bob")
	bob.await("that a repeat is refused", func(ev Event) bool { return ev.Gap != nil })
	alice.mustSend("three", "bob")
	sees(t, alice, bob, "one", "two", "three")
	relay.do(func() {
		for _, l := range old {
			relay.forward(l)
		}
	})
	alice.mustSend("four", "bob")
	sees(t, alice, bob, "one", "two", "three", "four")
}

// TestAttack08Drop loses each line in turn, of either direction and of each
// type: where a message is missing a gap is shown by who misses it, where a
// phase is the handshake begins anew; the conversation recovers, and nothing is
// lost or shown twice.
func TestAttack08Drop(t *testing.T) {
	for _, drop := range []struct {
		name string
		what func(l evilLine) bool
		gap  string // who shows one
		why  string
	}{
		{"a message", func(l evilLine) bool { return l.header.Type == proto.TypeClientCom }, "bob", "messages are missing"},
		{"p1", func(l evilLine) bool { return crypto.PeekPhase(l.body) == "p1" }, "", ""},
		{"p2", func(l evilLine) bool { return crypto.PeekPhase(l.body) == "p2" }, "", ""},
		{"p3", func(l evilLine) bool { return crypto.PeekPhase(l.body) == "p3" }, "alice", "begins anew"},
		{"a receipt", func(l evilLine) bool { return l.header.Type == proto.TypeCommAck }, "alice", "messages are missing"},
	} {
		t.Run(drop.name, func(t *testing.T) {
			t.Parallel()
			town, relay := evilTown(t, "alice", "bob")
			alice, bob := town.client("alice"), town.client("bob")
			dropped, begun := false, 0
			relay.tampering(func(l evilLine) []evilLine {
				if crypto.PeekPhase(l.body) == "p1" {
					begun++
				}
				if !dropped && drop.what(l) {
					dropped = true
					return nil
				}
				return honest(l)
			})
			var sent []string
			send := func() {
				sent = append(sent, fmt.Sprintf("line %d", len(sent)))
				alice.mustSend(sent[len(sent)-1], "bob")
			}
			for range 3 {
				send()
			}
			// What follows shows the gap.
			ctx, cancel := context.WithTimeout(context.Background(), relayTestTimeout)
			defer cancel()
			for {
				short, stop := context.WithTimeout(ctx, time.Second)
				out := alice.Wait(short, StatusRead)
				stop()
				if len(out.Failed) == 0 {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("%v: %v%s", out.Names, out.Failed, describe(alice.seen()))
				}
				send()
			}
			if got := bob.texts(); !slices.Equal(got, sent) {
				t.Errorf("bob saw %q, and %q were sent", got, sent)
			}
			gaps := map[string][]string{"alice": alice.gaps(), "bob": bob.gaps()}
			if drop.gap != "" && !slices.ContainsFunc(gaps[drop.gap], func(why string) bool { return strings.Contains(why, drop.why) }) {
				t.Errorf("the gaps are %q, want %s to show %q", gaps, drop.gap, drop.why)
			}
			relay.do(func() {
				if !dropped {
					t.Error("nothing was dropped")
				}
				if begun < 2 {
					t.Errorf("a handshake was begun %d times: it did not begin anew", begun)
				}
			})
		})
	}
}

// TestAttack08LostTail drops everything from some message on: it never shows
// as DELIVERED.
func TestAttack08LostTail(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	relay.tampering(func(l evilLine) []evilLine {
		if l.header.Type == proto.TypeClientCom {
			return nil
		}
		return honest(l)
	})
	id := alice.mustSend("the tail", "bob")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if out := alice.Wait(ctx, StatusDelivered); len(out.Failed) == 0 || ExitStatus(out.Failed[0]) != 6 {
		t.Errorf("the tail was dropped, and Wait says %v", out.Failed)
	}
	for _, ev := range alice.seen() {
		if ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status.AtLeast(StatusDelivered) {
			t.Errorf("the tail was dropped, and is %s", ev.Receipt.Status)
		}
	}
}

// TestAttack09Reflection sends Alice's own lines back to her as Bob's, of each
// type.
func TestAttack09Reflection(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	reflected := map[string]int{}
	relay.tampering(func(l evilLine) []evilLine {
		what := l.header.Type + crypto.PeekPhase(l.body)
		if l.from.hello.Name != "alice" || reflected[what] >= 2 {
			return honest(l)
		}
		reflected[what]++
		back := l
		back.from, back.to = l.to, l.from
		return []evilLine{back, l}
	})
	alice.mustSend("mine", "bob")
	bob.awaitText("mine")
	bob.mustSend("his", "alice")
	alice.awaitText("his")
	bob.mustSettle(StatusRead) // so that Alice has acknowledged it
	relay.tampering(honest)
	alice.mustSend("more", "bob")
	bob.awaitText("more")
	alice.mustSettle(StatusRead)
	if got := alice.texts(); !slices.Equal(got, []string{"his"}) {
		t.Errorf("alice, who was sent %q, was shown %q", "his", got)
	}
	if got := bob.texts(); !slices.Equal(got, []string{"mine", "more"}) {
		t.Errorf("bob saw %q", got)
	}
	relay.do(func() {
		for _, what := range []string{proto.TypeClientConnect + "p1", proto.TypeClientConnect + "p3", proto.TypeClientCom, proto.TypeCommAck} {
			if reflected[what] == 0 {
				t.Errorf("no %s was reflected, but %v", what, reflected)
			}
		}
	})
}

// TestAttack10Splice puts messages of one conversation into another, and under
// another type of line.
func TestAttack10Splice(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "carol")
	alice, bob, carol := town.client("alice"), town.client("bob"), town.client("carol")
	alice.mustSend("to bob", "bob")
	alice.mustSend("to carol", "carol")
	sees(t, alice, bob, "to bob")
	carol.awaitText("to carol")
	var spliced bool
	relay.tampering(func(l evilLine) []evilLine {
		if spliced || l.header.Type != proto.TypeClientCom || l.to.hello.Name != "bob" {
			return honest(l)
		}
		spliced = true
		other, typed := l, l
		for _, c := range relay.conns {
			if c.hello.Name == "carol" {
				other.to = c
			}
		}
		typed.header.Type = proto.TypeCommAck
		return []evilLine{other, typed, l}
	})
	alice.mustSend("again to bob", "bob")
	alice.mustSend("again to carol", "carol")
	bob.awaitText("again to bob")
	carol.awaitText("again to carol")
	alice.mustSettle(StatusRead)
	if got := carol.texts(); !slices.Equal(got, []string{"to carol", "again to carol"}) {
		t.Errorf("carol saw %q", got)
	}
	if !spliced {
		t.Error("nothing was spliced")
	}
}

// TestAttack12Flips flips one byte at a stride of every kind of body that
// passes: what is shown is always what was sent.
func TestAttack12Flips(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	longer := func(cfg *ClientConfig) { cfg.Timeout = 60 * time.Second }
	alice, bob := town.client("alice", longer), town.client("bob", longer)
	flips := map[string]int{}
	relay.tampering(func(l evilLine) []evilLine {
		kind := l.header.Type + crypto.PeekPhase(l.body)
		if kind == proto.TypeClientConnect+"p1" || len(l.body) == 0 || flips[kind] >= 2 || l.header.Type == proto.TypeError {
			return honest(l)
		}
		at := (flips[kind]*7919 + 101) % len(l.body)
		flips[kind]++
		bad := bytes.Clone(l.body)
		bad[at] ^= 0x20
		return []evilLine{l.with(bad)}
	})
	for i := range 5 {
		alice.mustSend(fmt.Sprintf("line %d", i), "bob")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if out := alice.Wait(ctx, StatusRead); len(out.Failed) > 0 {
		t.Fatalf("%v: %v%s", out.Names, out.Failed, describe(alice.seen()))
	}
	sees(t, alice, bob, "line 0", "line 1", "line 2", "line 3", "line 4")
	if len(flips) < 4 {
		t.Errorf("flipped only in %v", flips)
	}
}

// TestAttack13Ghost adds connections under Bob's name that are not Bob.
func TestAttack13Ghost(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "mallory")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	relay.do(func() { relay.alias = map[string]string{"mallory": "bob"} })
	mallory := town.client("mallory")
	alice.await("that the ghost is refused", func(ev Event) bool {
		return ev.Peer != nil && ev.Peer.What == "refused" && ev.Peer.Conn == mallory.Conn()
	})
	alice.mustSend("second", "bob")
	sees(t, alice, bob, "first", "second")
	if got := mallory.texts(); len(got) != 0 {
		t.Errorf("the ghost was shown %q", got)
	}
}

// TestAttack15ListAndWhoisLies shows Mallory's bundle for Bob in whois, under
// her own name and under his: what counts is what Bob proves end to end.
func TestAttack15ListAndWhoisLies(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "mallory")
	alice, bob, mallory := town.client("alice"), town.client("bob"), town.client("mallory")
	lie := func(bundle *crypto.Bundle) {
		relay.do(func() {
			relay.listed = func(conns []*evilConn) []*evilConn {
				for i, c := range conns {
					if c.hello.Name == "bob" {
						fake := *c
						fake.hello.Bundle = bundle
						conns[i] = &fake
					}
				}
				return conns
			}
		})
	}
	whois := func() WhoisConn {
		t.Helper()
		w, err := alice.Whois(context.Background(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Conns) != 1 {
			t.Fatalf("whois: %+v", w.Conns)
		}
		return w.Conns[0]
	}
	own, asBob := town.credentialAs("mallory", "mallory", time.Now()).Bundle, town.credentialAs("mallory", "bob", time.Now()).Bundle
	refused := func(what string, code proto.Code) {
		t.Helper()
		c := whois()
		if c.Err == nil || AsError(c.Err).Code != code || c.Person != nil {
			t.Errorf("whois with another's bundle, %s: %v (%v), want %s", what, c.Person, c.Err, code)
		}
	}

	lie(own)
	refused("her own name", proto.NameMismatch)
	lie(asBob)
	if c := whois(); c.Err != nil || c.Level != 0 {
		t.Errorf("whois of who has proved nothing yet: level %d, %v; want the relay's word, as level 0", c.Level, c.Err)
	}
	alice.mustSend("to the real one", "bob")
	sees(t, alice, bob, "to the real one")
	if len(mallory.texts()) != 0 {
		t.Error("mallory was shown what was for bob")
	}
	refused("his name, after he has proved himself", proto.IdentityChanged)
	lie(own)
	refused("her own name, after he has proved himself", proto.NameMismatch)

	list, err := alice.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	proved := map[string]string{"alice": hexIdentity(alice.engine.self), "bob": hexIdentity(bob.engine.self), "mallory": ""}
	for _, o := range list {
		want, ok := proved[o.Name]
		delete(proved, o.Name)
		if !ok || (o.Level == 1) != (want != "") || want != "" && o.Identity != want {
			t.Errorf("the list shows %s with level %d and the identity %s; who proved one has %q", o.Name, o.Level, o.Identity, want)
		}
	}
	if len(proved) != 0 {
		t.Errorf("the list lacks %v", proved)
	}
	relay.do(func() { relay.listed = nil })
	if c := whois(); c.Err != nil || c.Level != 1 || c.Person.Identity != bob.engine.self {
		t.Errorf("whois without a lie: %+v", c)
	}
}

// TestAttack30Clock sets one clock an hour wrong: it is said which, and
// nothing is shown.
func TestAttack30Clock(t *testing.T) {
	town, _ := evilTown(t, "alice", "bob")
	bob := town.client("bob")
	var off atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	alice := town.client("alice", func(cfg *ClientConfig) { cfg.Now = clock })
	alice.mustSend("in time", "bob")
	sees(t, alice, bob, "in time")
	off.Store(int64(-30 * time.Minute)) // and backwards
	alice.mustSend("late", "bob")
	ev := bob.await("that a clock is wrong", func(ev Event) bool { return ev.Gap != nil })
	if !strings.Contains(ev.Gap.Reason, "clock") {
		t.Errorf("bob is told %q", ev.Gap.Reason)
	}
	if got := bob.texts(); !slices.Equal(got, []string{"in time"}) {
		t.Errorf("bob saw %q", got)
	}
	off.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), relayTestTimeout)
	defer cancel()
	want := []string{"in time", "late", "in time again"}
	if out := alice.Wait(ctx, StatusRead); len(out.Failed) > 0 { // given up, and said so
		want = slices.Delete(want, 1, 2)
	}
	alice.mustSend("in time again", "bob")
	bob.awaitText("in time again")
	if got := bob.texts(); !slices.Equal(got, want) {
		t.Errorf("with the clock right again bob saw %q, want %q", got, want)
	}
}
