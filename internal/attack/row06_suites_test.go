package attack

import (
	"bytes"
	"strings"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 6: suites changed on the way, between client and relay and between two clients.

// TestAttack06Suites: the relay changes the suites of p1 and p2, and asks for a retry in Bob's
// name. The conversation still has the best suite.
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
			relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
				if crypto.PeekPhase(l.Body) != c.phase || done {
					return honest(l)
				}
				done = true
				if c.new != "" {
					return []wire.EvilLine{l.With(swapped(t, l.Body, []byte(c.old), []byte(c.new)))}
				}
				retry := []byte(`{"type":"retry","cipher":"` + worst + `","bundle":` + string(proto.MustMarshal(l.From.Hello.Bundle)) + `}`)
				return []wire.EvilLine{l.With(phaseBody(retry, make([]byte, 64)))}
			})
			alice.mustSend("one", "bob")
			sees(t, alice, bob, "one")
			// Who gets what was changed is told. Alice does not know the p1 that Bob refuses.
			who := alice
			if c.phase == "p1" {
				who = bob
			}
			refused := who.await("the refusal", func(ev client.Event) bool { return ev.Peer != nil && ev.Peer.What == "refused" }).Peer
			if !strings.Contains(refused.Reason, "does not hold") && !strings.Contains(refused.Reason, "another suite") {
				t.Errorf("%s is told %q", who.Name(), refused.Reason)
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

// TestAttack06SuiteOfAPeer: a peer with a valid card answers, properly signed, with a suite that
// does not go with Alice's key.
func TestAttack06SuiteOfAPeer(t *testing.T) {
	t.Parallel() // it mostly waits
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
		mallory.phase(end(alice), 2, phaseBody(json, mallory.local.Key.Sign(proto.Tuple("cc-2", t2)), with[1]))
		if err := <-ended; fail.ExitStatus(err) != 1 || fail.AsError(err).Code != proto.Malformed ||
			!strings.Contains(err.Error(), "another suite") {
			t.Errorf("p2 with the suite %q: sending gives %v, exit status %d", suite, err, fail.ExitStatus(err))
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

// TestAttack06Connect changes the suites between client and relay.
func TestAttack06Connect(t *testing.T) {
	best, worst := crypto.SuiteMLKEM, crypto.SuiteRSA128
	town := newTown(t, "alice")
	all := strings.Join(crypto.SuiteNames(), `","`)
	for _, c := range []struct {
		name     string
		up       bool
		old, new string
		code     proto.Code
		exit     int
	}{
		{"stripped", true, `["` + all + `"]`, `["` + worst + `"]`, proto.SignatureInvalid, 8},
		{"reordered", true, `["` + all + `"]`, `["` + worst + `","` + best + `"]`, proto.SignatureInvalid, 8},
		{"one less", true, `["` + all + `"]`, `["` + best + `","` + worst + `"]`, proto.SignatureInvalid, 8},
		{"none that is known", true, `["` + all + `"]`, `["NULL"]`, proto.NoCommonSuite, 4},
		{"none", true, `["` + all + `"]`, `[]`, proto.Malformed, 1},
		{"another answered", false, `"` + best + `"`, `"` + worst + `"`, proto.SignatureInvalid, 8},
		{"an unknown one answered", false, `"` + best + `"`, `"NULL"`, proto.NoCommonSuite, 4},
	} {
		tap := newWireTap(t, town.addr, func(up bool, n int, line []byte) []byte {
			if up == c.up && n == 1 {
				return swapped(t, line, []byte(c.old), []byte(c.new))
			}
			return line
		})
		cfg := town.config("alice", "state-alice")
		cfg.Relay = tap.addr
		refusedDial(t, "suites "+c.name, cfg, c.code, c.exit)
		for _, line := range tap.lines() {
			if !bytes.HasPrefix(line, []byte(`{"type":"connect","phase":1`)) {
				t.Errorf("suites %s: alice sent %.60q", c.name, line)
			}
		}
		if _, ok := cfg.State.KnownRelay(tap.addr); ok {
			t.Errorf("suites %s: the relay is known now", c.name)
		}
	}
	// A relay cannot choose a suite that is not allowed here, however good.
	relay := wire.NewEvilRelay(t)
	tap := newWireTap(t, relay.Ln.Addr().String(), func(up bool, n int, line []byte) []byte {
		if up && n == 1 {
			return swapped(t, line, []byte(`["`+best+`"]`), []byte(`["`+worst+`"]`))
		}
		return line
	})
	cfg := town.config("alice", "state-alice")
	cfg.Relay, cfg.Ciphers = tap.addr, []string{best}
	refusedDial(t, "a suite that was not offered", cfg, proto.NoCommonSuite, 4)
	if got := town.client("alice").Suite(); got != best {
		t.Errorf("alice is connected under %s", got)
	}
}
