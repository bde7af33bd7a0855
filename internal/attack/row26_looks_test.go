package attack

import (
	"context"
	"fmt"
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
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// slowLooks holds up a client's looks at the certificates of one person.
type slowLooks struct {
	name string
	mu   sync.Mutex
	gate chan struct{} // closed: looks are fast
	at   chan struct{} // capacity 1: a look waits
	n    int
}

// slowClient is a client whose looks at a person wait until the test lets them go.
func (town *localTown) slowClient(name, slow string, opts ...clientOption) (*testClient, *slowLooks) {
	town.t.Helper()
	s := &slowLooks{name: slow, gate: make(chan struct{}), at: make(chan struct{}, 1)}
	c := town.client(name, append(opts, func(cfg *client.Config) { cfg.Look = s.look })...)
	town.t.Cleanup(s.goOn) // before the client closes
	return c, s
}

func (s *slowLooks) look(name string) {
	if name != s.name {
		return
	}
	s.mu.Lock()
	s.n++
	gate := s.gate
	s.mu.Unlock()
	select {
	case <-gate:
		return
	default:
	}
	select {
	case s.at <- struct{}{}:
	default:
	}
	<-gate
}

// goOn lets all looks go.
func (s *slowLooks) goOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.gate:
	default:
		close(s.gate)
	}
}

// again makes looks wait again.
func (s *slowLooks) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

func (s *slowLooks) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// textTo is a record of the evil peer's for a client.
func (p *evilPeer) textTo(c *testClient, text string) *crypto.Record {
	to := []crypto.Recipient{{Name: c.Name(), Identity: proto.FormatHash(c.Inside().Identity())}}
	return crypto.NewRecord(p.local.Identity, to, text, time.Now())
}

// relayed reads up to the relay's ack of a line: it is on its way to the other client.
func (p *evilPeer) relayed(line uint64) {
	p.T.Helper()
	for m := p.skipTo(proto.TypeAck); m.Answers == nil || *m.Answers < line; {
		m = p.skipTo(proto.TypeAck)
	}
}

// TestAttack26CostlyHandshake: Mallory's certificates take for ever to look at. Bob, who is
// asked for a handshake by her, goes on with everybody else, and with her once they are looked at.
func TestAttack26CostlyHandshake(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol", "mallory")
	bob, looks := town.slowClient("bob", "mallory")
	alice := town.client("alice")
	alice.mustSend("before", "bob")
	bob.awaitText("before")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	i := mallory.offer(end(bob))
	soon(t, "a look at Mallory's certificates", looks.at)

	alice.mustSend("meanwhile", "bob")
	bob.awaitText("meanwhile")
	bob.mustSend("answer", "alice")
	alice.awaitText("answer")
	carol := town.client("carol")
	carol.mustSend("I am new", "bob")
	bob.awaitText("I am new")
	bob.mustSend("welcome", "carol")
	carol.awaitText("welcome")

	looks.goOn()
	p3, conv, err := i.Phase2(mallory.skipTo(proto.TypeClientConnect).Body, mallory.trusts("bob"))
	if err != nil {
		t.Fatal(err)
	}
	mallory.conv = conv
	mallory.phase(end(bob), 3, p3)
	mallory.take(mallory.skipTo(proto.TypeCommAck).Body)
}

// TestAttack26OrderBehindALook: what comes behind a p3 keeps its order, whatever is looked at
// meanwhile: the texts, the sender's leaving, and the relay's own end.
func TestAttack26OrderBehindALook(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob, looks := town.slowClient("bob", "mallory")
	looks.goOn()
	alice := town.client("alice")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	i := mallory.offer(end(bob))
	p3, conv, err := i.Phase2(mallory.skipTo(proto.TypeClientConnect).Body, mallory.trusts("bob"))
	if err != nil {
		t.Fatal(err)
	}
	mallory.conv = conv
	looks.again()
	mallory.phase(end(bob), 3, p3)
	var want []string
	var last uint64
	for n := range 50 {
		want = append(want, fmt.Sprint("text ", n))
		s, _, err := conv.SealRecords([]*crypto.Record{mallory.textTo(bob, want[n])}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		last = mallory.Say(headerTo(proto.TypeClientCom, end(bob)), s.Body)
	}
	soon(t, "a look at Mallory's certificates", looks.at)
	mallory.relayed(last)
	mallory.Close()
	alice.mustSend("meanwhile", "bob")
	bob.awaitText("meanwhile")
	if got := bob.texts(); !slices.Equal(got, []string{"meanwhile"}) {
		t.Errorf("bob is shown %q before her certificates were looked at", got)
	}
	town.stop()
	looks.goOn()
	bob.await("the loss of the relay", func(ev client.Event) bool { return ev.Type == client.EventLost })
	if got := bob.texts(); !slices.Equal(got, append([]string{"meanwhile"}, want...)) {
		t.Errorf("bob is shown %q", got)
	}
}

// TestAttack26CloseDuringALook: a client that looks at certificates closes, and begins no further look.
func TestAttack26CloseDuringALook(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob, looks := town.slowClient("bob", "mallory")
	alice := town.client("alice")
	alice.mustSend("hello", "bob")
	bob.awaitText("hello")
	cred := town.credential("mallory")
	for range 3 {
		town.evilPeer(town.addr, "mallory", cred).offer(end(bob))
	}
	soon(t, "a look at Mallory's certificates", looks.at)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
		defer cancel()
		bob.Close(ctx)
	}()
	alice.await("that bob has left", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Name == "bob" && ev.Peer.What == proto.Left
	})
	soon(t, "the end of bob's client", bob.Inside().Ended())
	select {
	case <-closed:
		t.Error("Close does not wait for the look under way")
	default:
	}
	looks.goOn()
	soon(t, "the end of Close", closed)
	if n := looks.count(); n != 1 {
		t.Errorf("%d looks at Mallory's certificates, want the one that was under way", n)
	}
}

// TestAttack26OffersPaced: beyond a burst, p1 of one connection are not even looked at.
func TestAttack26OffersPaced(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob, looks := town.slowClient("bob", "mallory")
	looks.goOn()
	alice := town.client("alice")
	start := time.Now()
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	const asked = 10 * client.OfferBurst
	for range 10 {
		for range client.OfferBurst {
			mallory.offer(end(bob))
		}
		mallory.answered(end(bob))
	}
	most := client.OfferBurst + int(time.Since(start)/time.Second) + 1
	if n := looks.count(); n == 0 || n > most {
		t.Errorf("of %d p1, %d were looked at, want at most %d", asked, n, most)
	}
	alice.mustSend("hello", "bob")
	alice.mustSettle(history.StatusRead)
}

// TestAttack26RevokedDuringALook: a text waits for the look at its sender. A list that comes
// meanwhile counts: the text is never shown.
func TestAttack26RevokedDuringALook(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	verifier := town.verifier()
	bob, looks := town.slowClient("bob", "mallory", func(cfg *client.Config) { cfg.Verifier = verifier })
	looks.goOn()
	alice := town.client("alice")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	mallory.call(end(bob))
	mallory.records(end(bob), mallory.textTo(bob, "while she is trusted"))
	bob.awaitText("while she is trusted")
	looks.again()
	say := func(text string) (shown bool) {
		s, _, err := mallory.conv.SealRecords([]*crypto.Record{mallory.textTo(bob, text)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		mallory.relayed(mallory.Say(headerTo(proto.TypeClientCom, end(bob)), s.Body))
		alice.mustSend("after "+text, "bob")
		bob.awaitText("after " + text)
		return slices.Contains(bob.texts(), text)
	}
	for n := 0; say(fmt.Sprint("text ", n)); n++ { // the last look holds for a while
		time.Sleep(50 * time.Millisecond)
	}
	if say("never to be shown") {
		t.Error("a text goes before one that waits")
	}
	town.revokes(verifier, "mallory")
	looks.goOn()
	bob.await("that mallory is revoked", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Name == "mallory" && ev.Peer.What == "refused" && strings.Contains(ev.Peer.Reason, "revoked")
	})
	mallory.answered(end(bob))
	if got := bob.texts(); slices.Contains(got, "never to be shown") {
		t.Errorf("bob is shown %q", got)
	}
}

// revokes gives a verifier the lists after somebody's revocation.
func (town *localTown) revokes(v *trust.Verifier, name string) {
	town.t.Helper()
	for _, h := range town.pki.Holders() {
		if h.Name == name {
			town.pki.Revoke(h, time.Now().Add(-time.Minute), 1)
		}
	}
	dir := filepath.Join(town.dir, "lab")
	if err := town.pki.WriteCRLs(dir); err != nil {
		town.t.Fatal(err)
	}
	crls := trust.NewCRLStore()
	if problems := crls.LoadDir(filepath.Join(dir, "crl")); len(problems) > 0 {
		town.t.Fatal(problems)
	}
	root, err := os.ReadFile(filepath.Join(dir, "ca-bundle.pem"))
	if err != nil {
		town.t.Fatal(err)
	}
	store, err := trust.NewStore(nil, root)
	if err != nil {
		town.t.Fatal(err)
	}
	v.Reload(store, crls, trust.PolicyRequire)
}
