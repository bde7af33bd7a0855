package chatsecure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// testTown is a lab with a relay in this process, and clients of it.
type testTown struct {
	t    testing.TB
	dir  string
	pki  *lab.PKI
	addr string
	stop func() // ends the relay as SIGTERM does

	suites []string                        // that the relay allows; nil for all
	listen func(net.Listener) net.Listener // what the relay listens through, if set
}

func newTown(t testing.TB, names ...string) *testTown {
	t.Helper()
	return newTownOf(t, nil, names...)
}

// newBenchTown has a relay that makes no RSA keys meanwhile.
func newBenchTown(b *testing.B, names ...string) *testTown {
	b.Helper()
	return newTownOf(b, []string{crypto.SuiteMLKEM}, names...)
}

func newTownOf(t testing.TB, suites []string, names ...string) *testTown {
	t.Helper()
	checkLeaks(t)
	pki, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	town := &testTown{t: t, dir: t.TempDir(), pki: pki, addr: "127.0.0.1:0", suites: suites}
	for _, name := range names {
		if _, err := pki.Issue(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := pki.Write(filepath.Join(town.dir, "lab")); err != nil {
		t.Fatal(err)
	}
	town.startRelay()
	t.Cleanup(func() { town.stop() })
	return town
}

// startRelay starts the relay, at the address it had before, if any.
func (town *testTown) startRelay() {
	town.t.Helper()
	relay, err := NewRelay(RelayConfig{
		State: filepath.Join(town.dir, "relay"), CABundle: filepath.Join(town.dir, "lab", "ca-bundle.pem"), CRLDir: filepath.Join(town.dir, "lab", "crl"),
		Ciphers: town.suites,
	})
	if err != nil {
		town.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", town.addr)
	if err != nil {
		town.t.Fatal(err)
	}
	town.addr = ln.Addr().String()
	if town.listen != nil {
		ln = town.listen(ln)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.Serve(ctx, ln) }()
	town.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			town.t.Errorf("relay: %v", err)
		}
		relay.Close()
	})
}

func (town *testTown) verifier() *crypto.Verifier { return town.verifierBy(crypto.PolicyRequire, nil) }

// verifierBy is a verifier with a policy, and a clock of the test's.
func (town *testTown) verifierBy(policy crypto.Policy, now func() time.Time) *crypto.Verifier {
	town.t.Helper()
	root, err := os.ReadFile(filepath.Join(town.dir, "lab", "ca-bundle.pem"))
	if err != nil {
		town.t.Fatal(err)
	}
	trust, err := crypto.NewTrust(nil, root)
	if err != nil {
		town.t.Fatal(err)
	}
	crls := crypto.NewCRLStore()
	if problems := crls.LoadDir(filepath.Join(town.dir, "lab", "crl")); len(problems) > 0 {
		town.t.Fatal(problems)
	}
	return crypto.NewVerifier(crypto.VerifierConfig{Trust: trust, CRLs: crls, Policy: policy, Now: now})
}

type clientOption func(*ClientConfig)

func (town *testTown) credential(name string) *Credential {
	town.t.Helper()
	return town.credentialAt(name, time.Now(), time.Hour)
}

// credentialAt is what name's card signs when the clock says then.
func (town *testTown) credentialAt(name string, then time.Time, lifetime time.Duration) *Credential {
	town.t.Helper()
	return town.credentialOf(name, name, then, lifetime)
}

// credentialAs has the card of holder sign a delegation under name, for an
// hour from then on.
func (town *testTown) credentialAs(holder, name string, then time.Time) *Credential {
	town.t.Helper()
	return town.credentialOf(holder, name, then, time.Hour)
}

func (town *testTown) credentialOf(holder, name string, then time.Time, lifetime time.Duration) *Credential {
	town.t.Helper()
	c, err := card.Open(context.Background(), filepath.Join(town.dir, "lab", holder), card.Options{})
	if err != nil {
		town.t.Fatal(err)
	}
	defer c.Close()
	cred, err := NewCredential(context.Background(), c, name, crypto.KeyEd25519, lifetime, nil, then)
	if err != nil {
		town.t.Fatal(err)
	}
	return cred
}

func (town *testTown) config(name, stateDir string) ClientConfig {
	town.t.Helper()
	state, err := OpenState(filepath.Join(town.dir, stateDir), name)
	if err != nil {
		town.t.Fatal(err)
	}
	return ClientConfig{
		Relay: town.addr, Name: name, Takes: proto.TakesMessages, State: state, Verifier: town.verifier(),
		Credential: town.credential(name), AcceptNew: true, Persistent: true, Receipts: true,
	}
}

// client connects as name, with the state directory of that name.
func (town *testTown) client(name string, opts ...clientOption) *testClient {
	town.t.Helper()
	return town.clientIn(name, "state-"+name, opts...)
}

func (town *testTown) clientIn(name, stateDir string, opts ...clientOption) *testClient {
	town.t.Helper()
	cfg := town.config(name, stateDir)
	for _, o := range opts {
		o(&cfg)
	}
	return town.dial(cfg)
}

func (town *testTown) dial(cfg ClientConfig) *testClient {
	town.t.Helper()
	c, err := Dial(context.Background(), cfg)
	// RSA keys are made one after the other, and the relay's may not be there yet.
	for deadline := time.Now().Add(time.Minute); err != nil && AsError(err).Code == proto.Busy && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
		c, err = Dial(context.Background(), cfg)
	}
	if err != nil {
		town.t.Fatalf("%s: %v", cfg.Name, err)
	}
	return town.watch(c, cfg)
}

func TestTwoTalk(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	id := alice.mustSend("hello", "bob")
	m := bob.awaitText("hello")
	if m.ID != id || m.From != "alice" || m.FromConn != alice.Conn() || !slices.Equal(m.To, []string{"bob"}) || !m.First {
		t.Errorf("the message came as %+v", *m)
	}
	alice.mustSettle(StatusRead)
	bob.mustSend("and back", "alice")
	alice.awaitText("and back")
	bob.mustSettle(StatusRead)
}

func TestManyLinesInOrder(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	const n = 20000
	for i := range n {
		alice.mustSend(fmt.Sprintf("line %d", i), "bob")
	}
	alice.mustSettle(StatusRead)
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
	if ExitStatus(err) != 6 {
		t.Errorf("sending to nobody: %v, exit status %d", err, ExitStatus(err))
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
	alice.mustSettle(StatusRead)
}

func TestRelayRestart(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("before", "bob")
	bob.awaitText("before")
	alice.mustSettle(StatusRead)
	town.stop()
	alice.await("the loss", func(ev Event) bool { return ev.Type == EventLost })
	town.startRelay()
	alice.await("the relay back", func(ev Event) bool { return ev.Type == EventBack })
	bob.await("the relay back", func(ev Event) bool { return ev.Type == EventBack })
	alice.mustSend("after", "bob")
	bob.awaitText("after")
	alice.mustSettle(StatusRead)
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
	if err != nil || len(w.Conns) != 1 || w.Conns[0].Conn != bob.Conn() || w.Conns[0].Person == nil {
		t.Fatalf("whois: %+v %v", w, err)
	}
	if _, err := alice.Whois(context.Background(), "nobody"); ExitStatus(err) != 6 {
		t.Errorf("whois of nobody: %v", err)
	}
}

func TestNameTaken(t *testing.T) {
	town := newTown(t, "alice", "bob")
	town.client("alice")
	// Bob's card signs a delegation under Alice's name.
	c, err := card.Open(context.Background(), filepath.Join(town.dir, "lab", "bob"), card.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := town.config("alice", "state-mallory")
	if cfg.Credential, err = NewCredential(context.Background(), c, "alice", crypto.KeyEd25519, time.Hour, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	_, err = Dial(context.Background(), cfg)
	if e := AsError(err); err == nil || e.Code != proto.NameTaken || ExitStatus(err) != 4 {
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
			suites := func(list []string) clientOption { return func(cfg *ClientConfig) { cfg.Ciphers = list } }
			alice, bob := town.client("alice", suites(c.alice)), town.client("bob", suites(c.bob))
			defer alice.leave()
			defer bob.leave()
			for i := range 5 {
				alice.mustSend(fmt.Sprintf("there %d", i), "bob")
				bob.awaitText(fmt.Sprintf("there %d", i))
				bob.mustSend(fmt.Sprintf("back %d", i), "alice")
				alice.awaitText(fmt.Sprintf("back %d", i))
			}
			alice.mustSettle(StatusRead)
			bob.mustSettle(StatusRead)
			var suite string
			alice.engine.do(context.Background(), func() {
				for _, pc := range alice.engine.conns {
					if pc.conv != nil {
						suite = pc.conv.Suite()
					}
				}
			})
			if suite != c.want {
				t.Errorf("the conversation has suite %q, want %q", suite, c.want)
			}
		})
	}
	t.Run("none in common", func(t *testing.T) {
		alice := town.client("alice", func(cfg *ClientConfig) { cfg.Ciphers = []string{crypto.SuiteRSA256} })
		bob := town.client("bob", func(cfg *ClientConfig) { cfg.Ciphers = []string{crypto.SuiteRSA128} })
		defer alice.leave()
		defer bob.leave()
		if _, err := alice.Send(context.Background(), []string{"bob"}, "x"); ExitStatus(err) != 4 || AsError(err).Code != proto.NoCommonSuite {
			t.Errorf("no suite in common: %v", err)
		}
	})
}

func TestRSAKey(t *testing.T) {
	town := newTown(t, "alice", "bob")
	c, err := card.Open(context.Background(), filepath.Join(town.dir, "lab", "alice"), card.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cred, err := NewCredential(context.Background(), c, "alice", crypto.KeyRSA, time.Hour, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	alice, bob := town.client("alice", func(cfg *ClientConfig) { cfg.Credential = cred }), town.client("bob")
	alice.mustSend("by RSA", "bob")
	bob.awaitText("by RSA")
	alice.mustSettle(StatusRead)
}

// TestBothBegin lets two sides shake hands with each other at the same moment.
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
	alice.mustSettle(StatusRead)
	bob.mustSettle(StatusRead)
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
	alice.await("that it left", func(ev Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == second && ev.Peer.What == proto.Left && ev.Peer.Reason == ""
	})
	alice.mustSend("to one again", "bob")
	bob1.awaitText("to one again")
	alice.mustSettle(StatusRead)
	if got := bob2.texts(); !slices.Equal(got, []string{"to both"}) {
		t.Errorf("the other device saw %q", got)
	}
}

// TestWhoeverCameLeaves: one that is told as come is told as left, also where
// there was no conversation with it.
func TestWhoeverCameLeaves(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("now they know each other", "bob")
	alice.mustSettle(StatusRead)
	alice.leave()
	bob.leave()

	alice = town.client("alice")
	if err := alice.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		bob = town.client("bob")
		for _, what := range []string{proto.Came, proto.Left} {
			change := alice.await("that it "+what, func(ev Event) bool {
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
	if out := alice.settle(StatusDelivered); len(out.Failed) > 0 {
		t.Fatal(out.Failed)
	}
	bob.leave()
	bob = town.client("bob")
	if m := bob.awaitText("kept"); !m.Again || m.From != "alice" {
		t.Errorf("it came again as %+v", *m)
	}
	bob.leave()
	bob = town.client("bob")
	alice.mustSend("new", "bob")
	bob.awaitText("new")
	if got := bob.texts(); !slices.Equal(got, []string{"new"}) {
		t.Errorf("what was shown came once more: %q", got)
	}
	alice.mustSettle(StatusRead)
}

func TestFirstContactIsAskedAbout(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	_ = bob
	strict := func(cfg *ClientConfig) { cfg.AcceptNew = false; cfg.Fingerprint = bob.Fingerprint() }
	alice := town.client("alice", strict)
	_, err := alice.Send(context.Background(), []string{"bob"}, "hello")
	if AsError(err) == nil || AsError(err).Code != proto.UnknownPeer {
		t.Fatalf("sending to a new person without asking: %v", err)
	}
	asked := &testAsker{answer: true}
	alice.leave()
	alice = town.client("alice", strict, func(cfg *ClientConfig) { cfg.Asker = asked })
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

// TestForgottenWhileRunning: who was accepted, and is forgotten by another
// process before they have come, is asked about when somebody comes.
func TestForgottenWhileRunning(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob := town.client("bob")
	alice := town.client("alice")
	alice.mustSend("hello", "bob")
	alice.mustSettle(StatusRead)
	fingerprint := bob.Fingerprint()
	alice.leave()
	if err := bob.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	bob.leave()
	alice = town.client("alice", func(cfg *ClientConfig) { cfg.AcceptNew = false; cfg.Fingerprint = fingerprint })
	accepted := false
	alice.engine.do(context.Background(), func() { accepted = alice.engine.userFor("bob").accepted })
	if !accepted {
		t.Fatal("bob is not known as accepted: this shows nothing")
	}
	other, err := OpenState(alice.state.Dir(), "alice")
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
	if AsError(err) == nil || AsError(err).Code != proto.UnknownPeer {
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

func (a *testAsker) ConfirmPeer(context.Context, string, *crypto.Person) (bool, error) {
	a.times++
	return a.answer, nil
}

func TestWaitPeer(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice := town.client("alice", func(cfg *ClientConfig) { cfg.WaitPeer = relayTestTimeout })
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
	alice.mustSettle(StatusRead)

	// Some are there: the others are waited for, and the record goes to both.
	alice.mustSend("to two", "bob", "carol")
	bob.awaitText("to two")
	carol := town.client("carol")
	carol.awaitText("to two")
	alice.mustSettle(StatusRead)
}

// TestAcceptedLaterButNotWritten: -accept-new speaks for who comes after Send,
// and that cannot be written down: what waits fails with that reason, and the
// error is not said again at every turn.
func TestAcceptedLaterButNotWritten(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice := town.client("alice", func(cfg *ClientConfig) { cfg.WaitPeer = relayTestTimeout })
	bob := town.client("bob")
	id := alice.mustSend("to both", "bob", "carol")
	bob.awaitText("to both")
	// A disk that takes nothing more, which root would not notice.
	path := filepath.Join(town.dir, "state-alice", statePeers)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	carol := town.client("carol")
	alice.await("that it cannot be written down", func(ev Event) bool { return ev.Type == EventError })
	for _, text := range []string{"one turn", "and another"} {
		alice.mustSend(text, "bob")
		bob.awaitText(text)
		bob.mustSend(text, "alice")
		alice.awaitText(text)
	}
	said := 0
	var failed *ReceiptChange
	for _, ev := range alice.seen() {
		if ev.Type == EventError {
			said++
		}
		if ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status == StatusFailed {
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
	// Who could not be written down is asked about again by the next Send.
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
	out := alice.settle(StatusRead)
	if len(out.Names) != 2 || out.Names[0].Reached != 1 || out.Names[1].Failed != 1 || len(out.Failed) != 1 || out.Failed[0].Code != proto.NoSuchName {
		t.Errorf("with carol away: %v %v", out.Names, out.Failed)
	}
}

// TestRelayDiesAgainAndAgain is the first of what must be seen of
// conversations, in one process: every line exactly once and in order, though
// the relay is cut off five times.
func TestRelayDiesAgainAndAgain(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	const lines, cuts = 10000, 5
	alice.mustSend("line 0", "bob")
	for i := 1; i < lines; i++ {
		if i%(lines/(cuts+1)) == 0 {
			town.stop()
			town.startRelay()
			// What is sent now meets the next death on its way.
			for _, tc := range []*testClient{alice, bob} {
				tc.await("the relay back", func(Event) bool { return timesBack(tc.events) == i/(lines/(cuts+1)) })
			}
		}
		alice.mustSend(fmt.Sprintf("line %d", i), "bob")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out := alice.Wait(ctx, StatusRead); len(out.Failed) > 0 {
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

func timesBack(events []Event) (n int) {
	for _, ev := range events {
		if ev.Type == EventBack {
			n++
		}
	}
	return n
}
