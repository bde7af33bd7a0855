package attack

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/wire"
)

// Row 24: invalid names, on the command line and from a relay.

// TestAttack24Lists: the relay lists an invalid name, connection id or takes. The client refuses
// the whole list, and the connection goes on.
func TestAttack24Lists(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	lie := func(spoil func(c *wire.EvilConn)) {
		relay.Do(func() {
			relay.Listed = func(conns []*wire.EvilConn) (listed []*wire.EvilConn) {
				for _, c := range conns {
					fake := *c
					if c.Hello.Name == "bob" && spoil != nil {
						spoil(&fake)
					}
					listed = append(listed, &fake)
				}
				return listed
			}
		})
	}
	refused := func(what string, spoil func(c *wire.EvilConn)) {
		t.Helper()
		lie(spoil)
		list, err := alice.List(context.Background())
		if e := fail.AsError(err); e == nil || e.Code != proto.Malformed || fail.ExitStatus(err) != 1 {
			t.Errorf("%.40q: %v, %v", what, list, err)
		}
	}
	for _, name := range []string{
		"", "bob,carol", "bob:", "bob\n", "bo/b", "..", "../bob", "all", "list", "LIST", strings.Repeat("b", 10_000),
		"bo\x1b[2Jb", "bo\u202eb", "bo\u200bb", "bob ", "bo\x00b", "e\u0301",
	} {
		refused(name, func(c *wire.EvilConn) { c.Hello.Name = name })
	}
	for _, id := range []string{"", "../../etc/passwd", "0123456789ABCDEF", "0123456789abcdef0", "\x1b]52;c;AAAA\x07aaa"} {
		refused(id, func(c *wire.EvilConn) { c.ID = id })
	}
	refused("takes", func(c *wire.EvilConn) { c.Hello.Takes = "\x1b[2J" })
	lie(nil)
	if list, err := alice.List(context.Background()); err != nil || len(list) != 2 {
		t.Errorf("the true list: %v, %v", list, err)
	}
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
}

// TestAttack24InventedNames: the relay tells of ever new people who come and leave. The client
// keeps nothing about them.
func TestAttack24InventedNames(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("before", "bob")
	sees(t, alice, bob, "before")
	relay.Do(func() {
		for i := range 2000 {
			for _, what := range []string{proto.Came, proto.Left} {
				relay.Write(relay.Named("alice"), &proto.Header{
					Type: proto.TypePeer, Name: fmt.Sprintf("nobody%d", i), ID: fmt.Sprintf("%016x", i), Takes: proto.TakesNone, Done: what,
				}, nil)
			}
		}
	})
	alice.mustSend("after", "bob") // the answer comes after all those lines
	sees(t, alice, bob, "before", "after")
	alice.Inside().Look(func(s client.Snapshot) {
		if users, conns := len(s.Users), len(s.Conns); users > 2 || conns > 2 {
			t.Errorf("%d people and %d connections are kept", users, conns)
		}
	})
}

// TestAttack24Names: an invalid name is refused in every place that takes one, and makes no file.
func TestAttack24Names(t *testing.T) {
	w := town.New(t, town.People("alice", "mallory"))
	w.Must("", "alice", "list")
	before := lab.Listing(t, w.Dir)
	for _, name := range []string{
		"", " ", "a b", "a:b", "a/b", "/etc", "..", ".", "../state-alice", "a\nb", "a\x1b[2Jb", "a\u202eb", "a\u200bb", "e\u0301", "\xff", "a\\b",
		"all", "ALL", "list", "whois", "history", "-a", "a.", strings.Repeat("a", 33), strings.Repeat("a", 10_000), "a,", ",a", ",",
	} {
		state := []string{"-state", w.Path("state-none")}
		for _, args := range [][]string{
			{"-name", name, "list"},
			{"whois", "--", name},
			{"send", "--", name, "hello"},
			{"pipe", "--", name},
		} {
			if name == "" && args[0] == "-name" {
				continue // "" counts as none: TestEveryExitStatus
			}
			r := w.Run("", "mallory", append(state, args...)...)
			town.CheckFails(t, r, 2)
			if strings.ContainsAny(strings.ReplaceAll(r.Stderr, "\n", ""), "\x1b\u202e\u200b") {
				t.Errorf("%.40q reaches the terminal: %q", name, r.Stderr)
			}
		}
		if name != "" && !strings.Contains(name, ",") && !strings.HasPrefix(name, "-") {
			town.CheckFails(t, w.Run("", "", append(state, "-card", w.Path("lab", "mallory"), "-name", "a,"+name, "list")...), 2)
		}
	}
	if after := lab.Listing(t, w.Dir); after != before {
		t.Errorf("there were %s, now there are %s", before, after)
	}
	// The relay refuses names that look like Alice's.
	for _, name := range []string{"ALICE", "Alice", "аlice", "ａｌｉｃｅ", "al1ce", "alіce"} {
		r := w.Run("", "mallory", "-name", name, "-state", w.Path("state-like"), "list")
		if r.Status != 4 && r.Status != 2 || r.Stdout != "" {
			t.Errorf("%s: %+v", name, r)
		}
		os.RemoveAll(w.Path("state-like"))
	}
	w.Must("", "mallory", "-name", "malice", "list") // not like enough
}

// TestAttack24LookAlikeOfAFriend: a malicious relay lets somebody in by a name that looks like an
// accepted person's. The client refuses that in both directions, and an acceptance by hand counts.
func TestAttack24LookAlikeOfAFriend(t *testing.T) {
	town, _ := evilTown(t, "alice", "bob", "b0b")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	like := town.client("b0b")
	_, err := like.Send(context.Background(), []string{"alice"}, "it is me")
	if fail.AsError(err) == nil || fail.AsError(err).Code != proto.IdentityChanged {
		t.Errorf("his message to alice: %v", err)
	}
	_, err = alice.Send(context.Background(), []string{"b0b"}, "is it you?")
	if fail.AsError(err) == nil || fail.AsError(err).Code != proto.IdentityChanged || fail.ExitStatus(err) != 4 || !strings.Contains(err.Error(), "looks like bob") {
		t.Errorf("her message to him: %v", err)
	}
	if texts := alice.texts(); len(texts) > 0 {
		t.Errorf("alice sees %q", texts)
	}
	person := like.Inside().Identity()
	if err := alice.state.SetKnownPeer(state.KnownPeer{Name: "b0b", Identity: person, Accepted: true, CommonName: "B0B", First: time.Now()}); err != nil {
		t.Fatal(err)
	}
	alice.mustSend("I know you both", "b0b")
	sees(t, alice, like, "I know you both")
}

// TestAttack24LookAlikeMetBefore: whoever came first under a name that looks like a friend's is
// refused once the friend is accepted, and is never accepted by a question or -accept-new.
func TestAttack24LookAlikeMetBefore(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "b0b")
	asking := func(accept bool) clientOption {
		return func(cfg *client.Config) {
			cfg.AcceptNew, cfg.Fingerprint = accept, trust.Fingerprint(relay.Key.Public().SPKI())
		}
	}
	alice := town.client("alice", asking(false))
	like := town.client("b0b")
	like.mustSend("hello", "alice")
	alice.awaitText("hello")
	bob := town.client("bob").Inside().Identity()
	if err := alice.state.SetKnownPeer(state.KnownPeer{Name: "bob", Identity: bob, Accepted: true, CommonName: "BOB", First: time.Now()}); err != nil {
		t.Fatal(err)
	}
	alice.await("the refusal", func(ev client.Event) bool {
		return ev.Peer != nil && strings.Contains(ev.Peer.Reason, "looks like bob")
	})
	for _, accept := range []bool{false, true} {
		alice.leave()
		alice = town.client("alice", asking(accept))
		_, err := alice.Send(context.Background(), []string{"b0b"}, "secret for bob")
		if e := fail.AsError(err); e == nil || e.Code != proto.IdentityChanged {
			t.Errorf("with AcceptNew %v: %v", accept, err)
		}
	}
	if texts := like.texts(); len(texts) > 0 {
		t.Errorf("he sees %q", texts)
	}
}
