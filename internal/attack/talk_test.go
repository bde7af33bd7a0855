package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/wire"
)

// TestBobTwiceAndCarol sends to two users, one of them on two connections.
func TestBobTwiceAndCarol(t *testing.T) {
	w := town.New(t, town.People("alice", "bob", "carol"))
	bob1 := w.Receive("bob", "-n", "2")
	bob2 := w.Receive("bob", "-n", "2")
	carol := w.Receive("carol", "-n", "1")
	// Her send ends once Bob has read it on one connection: she stays until both have it.
	send := func(text string) (*town.Running, string) {
		p := w.Start("alice", "send", "-wait", "read", "bob,carol")
		fmt.Fprintln(p.Stdin, text)
		return p, strings.TrimSpace(p.Line())
	}
	alice, id := send("all three")
	conns := map[any]bool{}
	for _, p := range []*town.Running{bob1, bob2, carol} {
		m := p.Object("message")
		if m["id"] != id || m["text"] != "all three" || fmt.Sprint(m["to"]) != "[bob carol]" {
			t.Errorf("it came as %v", m)
		}
		conns[m["conn"]] = true
	}
	if len(conns) != 1 {
		t.Errorf("alice spoke from the connections %v", conns)
	}
	if r := carol.End(); r.Status != 0 {
		t.Errorf("carol's recv ended with %d", r.Status)
	}
	if r := alice.End(); r.Status != 0 {
		t.Errorf("alice's send ended with %+v", r)
	}
	alice, _ = send("carol is away")
	bob1.Object("message")
	bob2.Object("message")
	r := alice.End()
	if r.Status != 9 || !strings.Contains(r.Stderr, "carol is not here; the relay keeps it until") {
		t.Errorf("with carol away: exit status %d, said %q", r.Status, r.Stderr)
	}
	for _, p := range []*town.Running{bob1, bob2} {
		if r := p.End(); r.Status != 0 {
			t.Errorf("bob's recv ended with %d", r.Status)
		}
	}
	// Proofs of one message from two histories agree.
	var proofs []string
	for _, name := range []string{"bob", "carol"} {
		file := w.Path(name + ".proof")
		if err := os.WriteFile(file, []byte(w.Must("", name, "history", "-export", id)), 0o600); err != nil {
			t.Fatal(err)
		}
		proofs = append(proofs, file)
	}
	r = w.Run("", "alice", append([]string{"verify"}, proofs...)...)
	verified(t, r)
	if !strings.Contains(r.Stderr, "both prove the same message") {
		t.Errorf("of two proofs of one message verify says %q", r.Stderr)
	}
}

func TestTwoTalk(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	id := alice.mustSend("hello", "bob")
	m := bob.awaitText("hello")
	if m.ID != id || m.From != "alice" || m.FromConn != alice.Conn() || !slices.Equal(m.To, []string{"bob"}) || !m.First {
		t.Errorf("the message came as %+v", *m)
	}
	alice.mustSettle(history.StatusRead)
	bob.mustSend("and back", "alice")
	alice.awaitText("and back")
	bob.mustSettle(history.StatusRead)
}

func TestManyLinesInOrder(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	const n = 20000
	for i := range n {
		alice.mustSend(fmt.Sprintf("line %d", i), "bob")
	}
	alice.mustSettle(history.StatusRead)
	texts := bob.texts()
	if len(texts) != n {
		t.Fatalf("%d of %d lines came", len(texts), n)
	}
	for i, text := range texts {
		if text != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d is %q", i, text)
		}
	}
}

func TestNobodyByThatName(t *testing.T) {
	town := newTown(t, "alice")
	alice := town.client("alice")
	_, err := alice.Send(context.Background(), []string{"bob"}, "hello")
	if fail.ExitStatus(err) != 6 {
		t.Errorf("sending to nobody: %v, exit status %d", err, fail.ExitStatus(err))
	}
}

func TestSeveralDevicesAndRecipients(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice := town.client("alice")
	bob1, bob2, carol := town.client("bob"), town.clientIn("bob", "state-bob-2"), town.client("carol")
	id := alice.mustSend("all three", "bob", "carol")
	for _, tc := range []*testClient{bob1, bob2, carol} {
		if m := tc.awaitText("all three"); m.ID != id || !slices.Equal(m.To, []string{"bob", "carol"}) {
			t.Errorf("%s got %+v", tc.Name(), *m)
		}
	}
	alice.mustSettle(history.StatusRead)
}

func TestRelayRestart(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("before", "bob")
	bob.awaitText("before")
	alice.mustSettle(history.StatusRead)
	town.stop()
	alice.await("the loss", func(ev client.Event) bool { return ev.Type == client.EventLost })
	town.startRelay()
	alice.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
	bob.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
	alice.mustSend("after", "bob")
	bob.awaitText("after")
	alice.mustSettle(history.StatusRead)
	if got := bob.texts(); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("bob saw %q", got)
	}
}

func TestListAndWhois(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	list, err := alice.List(context.Background())
	if err != nil || len(list) != 2 {
		t.Fatalf("list: %v %v", list, err)
	}
	w, err := alice.Whois(context.Background(), "BOB")
	if err != nil || len(w.Conns) != 1 || w.Conns[0].Conn != bob.Conn() || w.Conns[0].Identity != proto.FormatHash(bob.Inside().Identity()) {
		t.Fatalf("whois: %+v %v", w, err)
	}
	if w.Conns[0].Person != nil || len(bob.seen()) > 0 {
		t.Errorf("before a conversation: %+v; bob was told %+v", w.Conns[0], bob.seen())
	}
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
	if w, err := alice.Whois(context.Background(), "BOB"); err != nil || w.Conns[0].Person == nil || w.Conns[0].Level != 1 {
		t.Errorf("whois after a conversation: %+v %v", w, err)
	}
	if _, err := alice.Whois(context.Background(), "nobody"); fail.ExitStatus(err) != 6 {
		t.Errorf("whois of nobody: %v", err)
	}
}

// TestWhoisOfAnother: whois of a name that is known as another person's changes nothing about
// trust.
func TestWhoisOfAnother(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	cfg := town.config("alice", "state-alice")
	bobs := state.KnownPeer{V: 1, Name: "bob", Identity: [32]byte{1}, Accepted: true, CommonName: "BOB", First: time.Now().UTC().Truncate(time.Second)}
	if err := cfg.State.SetKnownPeer(bobs); err != nil {
		t.Fatal(err)
	}
	w, err := town.dial(cfg).Whois(context.Background(), "BOB")
	if err != nil || w.Known == nil || w.Known.Identity != bobs.Identity || len(w.Conns) != 1 || w.Conns[0].Identity != proto.FormatHash(bob.Inside().Identity()) {
		t.Fatalf("whois: %+v %v", w, err)
	}
	if known := cfg.State.KnownPeers(); len(known) != 1 || known[0] != bobs {
		t.Errorf("known is %+v", known)
	}
}

// TestAcceptedBeforeMetIsSentTo: an identity that was compared by another way needs no question, and
// the first meeting fills in the rest. It is not a renewed card.
func TestAcceptedBeforeMetIsSentTo(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	cfg := town.config("alice", "state-alice")
	if _, err := cfg.State.AcceptPeer("bob", bob.Inside().Identity()); err != nil {
		t.Fatal(err)
	}
	alice := town.client("alice", func(cfg *client.Config) { cfg.AcceptNew, cfg.Fingerprint = false, bob.Fingerprint() })
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
	if known, ok := alice.state.KnownPeer("bob"); !ok || !known.Accepted || known.CommonName == "" || known.Leaf == [32]byte{} {
		t.Errorf("after the meeting, known is %+v", known)
	}
	for _, ev := range alice.seen() {
		if ev.Peer != nil && ev.Peer.What == "renewed" {
			t.Errorf("the first meeting is told as %+v", ev.Peer)
		}
	}
}

func TestNameTaken(t *testing.T) {
	town := newTown(t, "alice", "bob")
	town.client("alice")
	cfg := town.config("alice", "state-mallory")
	cfg.Credential = town.credentialAs("bob", "alice", time.Now())
	_, err := client.Dial(context.Background(), cfg)
	if e := fail.AsError(err); err == nil || e.Code != proto.NameTaken || fail.ExitStatus(err) != 4 {
		t.Errorf("taking another's name: %v", err)
	}
}

func TestCloseEndsNext(t *testing.T) {
	town := newTown(t, "alice")
	alice := town.client("alice")
	alice.leave()
	alice.mu.Lock()
	defer alice.mu.Unlock()
	for alice.end == nil {
		alice.cond.Wait()
	}
	if alice.end != io.EOF {
		t.Errorf("after Close, Next gives %v", alice.end)
	}
}

func TestSuitesAndKeys(t *testing.T) {
	town := newTown(t, "alice", "bob")
	for _, c := range []struct {
		name       string
		alice, bob []string
		want       string
	}{
		{"default", nil, nil, crypto.SuiteMLKEM},
		{"RSA_AES256", []string{crypto.SuiteRSA256}, nil, crypto.SuiteRSA256},
		{"RSA_AES128", []string{crypto.SuiteRSA128}, nil, crypto.SuiteRSA128},
		{"retry: B lacks the first", nil, []string{crypto.SuiteRSA128}, crypto.SuiteRSA128},
	} {
		t.Run(c.name, func(t *testing.T) {
			suites := func(list []string) clientOption { return func(cfg *client.Config) { cfg.Ciphers = list } }
			alice, bob := town.client("alice", suites(c.alice)), town.client("bob", suites(c.bob))
			defer alice.leave()
			defer bob.leave()
			for i := range 5 {
				alice.mustSend(fmt.Sprintf("there %d", i), "bob")
				bob.awaitText(fmt.Sprintf("there %d", i))
				bob.mustSend(fmt.Sprintf("back %d", i), "alice")
				alice.awaitText(fmt.Sprintf("back %d", i))
			}
			alice.mustSettle(history.StatusRead)
			bob.mustSettle(history.StatusRead)
			var suite string
			alice.Inside().Look(func(s client.Snapshot) {
				for _, pc := range s.Conns {
					if pc.Conversation != nil {
						suite = pc.Conversation.Suite()
					}
				}
			})
			if suite != c.want {
				t.Errorf("the conversation has suite %q, want %q", suite, c.want)
			}
		})
	}
	t.Run("none in common", func(t *testing.T) {
		alice := town.client("alice", func(cfg *client.Config) { cfg.Ciphers = []string{crypto.SuiteRSA256} })
		bob := town.client("bob", func(cfg *client.Config) { cfg.Ciphers = []string{crypto.SuiteRSA128} })
		defer alice.leave()
		defer bob.leave()
		if _, err := alice.Send(context.Background(), []string{"bob"}, "x"); fail.ExitStatus(err) != 4 ||
			fail.AsError(err).Code != proto.NoCommonSuite {
			t.Errorf("no suite in common: %v", err)
		}
	})
}

func TestRSAKey(t *testing.T) {
	town := newTown(t, "alice", "bob")
	cred := town.credentialOf("alice", client.Delegation{Name: "alice", Key: people.Key(t, trust.KeyRSA), Lifetime: time.Hour, Now: time.Now()})
	alice, bob := town.client("alice", func(cfg *client.Config) { cfg.Credential = cred }), town.client("bob")
	alice.mustSend("by RSA", "bob")
	bob.awaitText("by RSA")
	alice.mustSettle(history.StatusRead)
}

// TestBothBegin: both sides begin a handshake with each other at the same moment.
func TestBothBegin(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	var wg sync.WaitGroup
	for _, pair := range [][2]*testClient{{alice, bob}, {bob, alice}} {
		wg.Go(func() {
			for i := range 50 {
				if _, err := pair[0].Send(context.Background(), []string{pair[1].Name()}, fmt.Sprintf("%s %d", pair[0].Name(), i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	alice.mustSettle(history.StatusRead)
	bob.mustSettle(history.StatusRead)
	for _, tc := range []*testClient{alice, bob} {
		if n := len(tc.texts()); n != 50 {
			t.Errorf("%s saw %d of 50 lines", tc.Name(), n)
		}
	}
}

func TestDeviceTurnsUpAndLeaves(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob1 := town.client("alice"), town.client("bob")
	alice.mustSend("to one", "bob")
	bob1.awaitText("to one")
	bob2 := town.clientIn("bob", "state-bob-2")
	second := bob2.Conn()
	alice.awaitConn(bob2)
	alice.mustSend("to both", "bob")
	bob1.awaitText("to both")
	bob2.awaitText("to both")
	bob2.leave()
	alice.await("that it left", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == second && ev.Peer.What == proto.Left && ev.Peer.Reason == ""
	})
	alice.mustSend("to one again", "bob")
	bob1.awaitText("to one again")
	alice.mustSettle(history.StatusRead)
	if got := bob2.texts(); !slices.Equal(got, []string{"to both"}) {
		t.Errorf("the other device saw %q", got)
	}
}

// TestWhoeverCameLeaves: everybody who was announced is announced as leaving, also without a
// conversation.
func TestWhoeverCameLeaves(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("now they know each other", "bob")
	alice.mustSettle(history.StatusRead)
	alice.leave()
	bob.leave()

	alice = town.client("alice")
	if err := alice.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		bob = town.client("bob")
		for _, what := range []string{proto.Came, proto.Left} {
			change := alice.await("that it "+what, func(ev client.Event) bool {
				return ev.Peer != nil && ev.Peer.Conn == bob.Conn() && ev.Peer.What == what
			}).Peer
			if change.Name != "bob" || change.Reason != "" {
				t.Errorf("it is told as %+v", change)
			}
			bob.leave()
		}
	}
	for _, ev := range alice.seen() {
		if ev.Peer != nil && ev.Peer.What == "authenticated" {
			t.Errorf("there was a conversation: %+v", ev.Peer)
		}
	}
}

func TestUnshownIsShownAtTheNextStart(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	bob := town.client("bob")
	bob.mu.Lock()
	bob.hold = true
	bob.mu.Unlock()
	alice.mustSend("kept", "bob")
	bob.awaitText("kept")
	if out := alice.settle(history.StatusDelivered); len(out.Failed) > 0 {
		t.Fatal(out.Failed)
	}
	bob.leave()
	bob = town.client("bob")
	if m := bob.awaitText("kept"); m.Again || m.From != "alice" {
		t.Errorf("it came again as %+v", *m)
	}
	bob.leave()
	bob = town.client("bob")
	alice.mustSend("new", "bob")
	bob.awaitText("new")
	if got := bob.texts(); !slices.Equal(got, []string{"new"}) {
		t.Errorf("what was shown came once more: %q", got)
	}
	alice.mustSettle(history.StatusRead)
}

func TestFirstContactIsAskedAbout(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	_ = bob
	strict := func(cfg *client.Config) { cfg.AcceptNew = false; cfg.Fingerprint = bob.Fingerprint() }
	alice := town.client("alice", strict)
	_, err := alice.Send(context.Background(), []string{"bob"}, "hello")
	if fail.AsError(err) == nil || fail.AsError(err).Code != proto.UnknownPeer {
		t.Fatalf("sending to a new person without asking: %v", err)
	}
	asked := &testAsker{answer: true}
	alice.leave()
	alice = town.client("alice", strict, func(cfg *client.Config) { cfg.Asker = asked })
	alice.mustSend("hello", "bob")
	bob.awaitText("hello")
	alice.leave()
	alice = town.client("alice", strict)
	alice.mustSend("known now", "bob")
	bob.awaitText("known now")
	if asked.times != 1 {
		t.Errorf("asked %d times", asked.times)
	}
}

// TestForgottenWhileRunning: another process forgets an accepted person who has not come yet. The
// user is asked when somebody comes under that name.
func TestForgottenWhileRunning(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob := town.client("bob")
	alice := town.client("alice")
	alice.mustSend("hello", "bob")
	alice.mustSettle(history.StatusRead)
	fingerprint := bob.Fingerprint()
	alice.leave()
	if err := bob.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	bob.leave()
	alice = town.client("alice", func(cfg *client.Config) { cfg.AcceptNew = false; cfg.Fingerprint = fingerprint })
	accepted := alice.Inside().Accepted("bob")
	if !accepted {
		t.Fatal("bob is not known as accepted: this shows nothing")
	}
	other, err := state.Open(alice.state.Dir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := other.ForgetPeer("bob"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	cfg := town.config("bob", "state-mallory")
	cfg.Credential = town.credentialAs("mallory", "bob", time.Now())
	mallory := town.dial(cfg)
	_, err = alice.Send(context.Background(), []string{"bob"}, "for bob alone")
	if fail.AsError(err) == nil || fail.AsError(err).Code != proto.UnknownPeer {
		t.Errorf("sending to who has come under a forgotten name: %v, want %s", err, proto.UnknownPeer)
	}
	if got := mallory.texts(); len(got) != 0 {
		t.Errorf("mallory was shown %q", got)
	}
}

type testAsker struct {
	answer bool
	times  int
}

func (a *testAsker) ConfirmRelay(context.Context, string, string) (bool, error) {
	a.times++
	return a.answer, nil
}

func (*testAsker) ConfirmMet(context.Context, *state.KnownPeer) (bool, error) { return false, nil }

func (a *testAsker) ConfirmPeer(context.Context, string, *trust.Person) (bool, error) {
	a.times++
	return a.answer, nil
}

func TestWaitPeer(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice := town.client("alice", func(cfg *client.Config) { cfg.WaitPeer = wire.Timeout })
	sent := make(chan error, 1)
	go func() {
		_, err := alice.Send(context.Background(), []string{"bob"}, "when you come")
		sent <- err
	}()
	bob := town.client("bob")
	bob.awaitText("when you come")
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	alice.mustSettle(history.StatusRead)

	// Some are there. The sender waits for the others, and the record goes to all.
	alice.mustSend("to two", "bob", "carol")
	bob.awaitText("to two")
	carol := town.client("carol")
	carol.awaitText("to two")
	alice.mustSettle(history.StatusRead)
}

// TestAcceptedLaterButNotWritten: -accept-new accepts a person who comes after Send, and that
// cannot be written down. The waiting message fails with that reason, and the error is not
// repeated.
func TestAcceptedLaterButNotWritten(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice := town.client("alice", func(cfg *client.Config) { cfg.WaitPeer = wire.Timeout })
	bob := town.client("bob")
	id := alice.mustSend("to both", "bob", "carol")
	bob.awaitText("to both")
	// Like a full disk, but root notices it too.
	path := filepath.Join(town.dir, "state-alice", state.PeersFile)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	carol := town.client("carol")
	alice.await("that it cannot be written down", func(ev client.Event) bool { return ev.Type == client.EventError })
	for _, text := range []string{"one turn", "and another"} {
		alice.mustSend(text, "bob")
		bob.awaitText(text)
		bob.mustSend(text, "alice")
		alice.awaitText(text)
	}
	said := 0
	var failed *client.ReceiptChange
	for _, ev := range alice.seen() {
		if ev.Type == client.EventError {
			said++
		}
		if ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status == history.StatusFailed {
			failed = ev.Receipt
		}
	}
	if said != 1 {
		t.Errorf("the error is said %d times, want once", said)
	}
	if failed == nil || failed.To != "carol" || !strings.Contains(failed.Reason, path) {
		t.Errorf("what waited for carol failed as %+v, want the reason that %s cannot be written", failed, path)
	}
	if got := carol.texts(); len(got) != 0 {
		t.Errorf("carol, whom nobody has accepted, saw %q", got)
	}
	// The next Send asks again about the person who could not be written down.
	if _, err := alice.Send(context.Background(), []string{"carol"}, "and now"); err == nil {
		t.Error("carol is taken as accepted")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	alice.mustSend("with room again", "carol")
	carol.awaitText("with room again")
}

func TestSomeRecipientsOnly(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("to two", "bob", "carol")
	bob.awaitText("to two")
	out := alice.settle(history.StatusRead)
	if len(out.Names) != 2 || out.Names[0].Reached != 1 || out.Names[1].Failed != 1 ||
		len(out.Failed) != 1 || out.Failed[0].Code != proto.NoSuchName {
		t.Errorf("with carol away: %v %v", out.Names, out.Failed)
	}
}

// TestRelayDiesAgainAndAgain cuts the relay off five times: every line arrives exactly once and in
// order.
func TestRelayDiesAgainAndAgain(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	const lines, cuts = 10000, 5
	alice.mustSend("line 0", "bob")
	for i := 1; i < lines; i++ {
		if i%(lines/(cuts+1)) == 0 {
			town.stop()
			town.startRelay()
			// The next lines meet the next cut on their way.
			for _, tc := range []*testClient{alice, bob} {
				tc.await("the relay back", func(client.Event) bool { return timesBack(tc.events) == i/(lines/(cuts+1)) })
			}
		}
		alice.mustSend(fmt.Sprintf("line %d", i), "bob")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out := alice.Wait(ctx, history.StatusRead); len(out.Failed) > 0 {
		t.Fatalf("%v: %v", out.Names, out.Failed)
	}
	texts := bob.texts()
	if len(texts) != lines {
		t.Errorf("%d lines came, want %d", len(texts), lines)
	}
	for i, text := range texts {
		if text != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d is %q", i, text)
		}
	}
}

func timesBack(events []client.Event) (n int) {
	for _, ev := range events {
		if ev.Type == client.EventBack {
			n++
		}
	}
	return n
}
