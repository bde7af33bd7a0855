package chatsecure

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// fetchTown is a town where Bob's card is of another authority than Alice's,
// and where Alice's client requires to know, and must fetch to.
type fetchTown struct {
	*testTown
	scene *fetchScene
	bob   *lab.Holder
	ca    *lab.CA // Bob's
}

func newFetchTown(t *testing.T) *fetchTown {
	t.Helper()
	s := newFetchScene(t)
	ca, err := s.pki.NewCA(s.pki.CC, lab.DN("C", "PT", "CN", "EC de Autenticação do Cartão de Cidadão 0099"))
	if err != nil {
		t.Fatal(err)
	}
	ca.File = "other"
	bob, err := s.pki.Issue("bob", lab.By(ca))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.pki.Write(filepath.Join(s.dir, "lab")); err != nil {
		t.Fatal(err)
	}
	town := &fetchTown{&testTown{t: t, dir: s.dir, pki: s.pki, addr: "127.0.0.1:0"}, s, bob, ca}
	town.publish()
	town.startRelay()
	t.Cleanup(func() { town.stop() })
	return town
}

// publish puts a new list of Bob's authority on the server, and beside those
// that the relay reads.
func (town *fetchTown) publish() {
	town.t.Helper()
	list, err := town.ca.MakeCRL(lab.CRL{})
	if err == nil {
		err = os.WriteFile(filepath.Join(town.dir, "lab", "crl", "other.crl"), list, 0o600)
	}
	if err != nil {
		town.t.Fatal(err)
	}
	town.scene.serveFile("/crl/other.crl", list)
}

// fetches has a client require to know, and know what it fetches only.
func (town *fetchTown) fetches(name string) clientOption {
	return func(cfg *ClientConfig) {
		lists := crypto.NewCRLStore()
		fetcher, err := OpenFetcher(FetcherConfig{State: filepath.Join(town.dir, "state-"+name), Lists: lists, Private: true})
		if err != nil {
			town.t.Fatal(err)
		}
		town.t.Cleanup(fetcher.Close)
		cfg.Fetcher, cfg.Refresh = fetcher, lists.Refresh
		cfg.Verifier = crypto.NewVerifier(crypto.VerifierConfig{Trust: town.scene.trust, CRLs: lists, Policy: crypto.PolicyRequire})
	}
}

// quietly fails if a client was told that somebody is refused.
func (tc *testClient) quietly() {
	tc.t.Helper()
	for _, ev := range tc.seen() {
		if ev.Peer != nil && ev.Peer.What == "refused" || ev.Err != nil {
			tc.t.Errorf("%s is told: %s", tc.Name(), describe([]Event{ev}))
		}
	}
}

// TestFetchForPeers has Alice meet Bob, of whose authority she has no list: the
// handshake is begun anew when it has come, whoever begins, and nobody is
// troubled with it.
func TestFetchForPeers(t *testing.T) {
	for _, first := range []string{"alice", "bob"} {
		t.Run(first+" begins", func(t *testing.T) {
			town := newFetchTown(t)
			asked, release := make(chan struct{}, 8), make(chan struct{})
			let := sync.OnceFunc(func() { close(release) })
			t.Cleanup(let)
			town.scene.serve("/crl/other.crl", func(w http.ResponseWriter, _ *http.Request) {
				asked <- struct{}{}
				<-release
				w.Write(town.scene.file("/crl/other.crl"))
			})
			alice := town.client("alice", town.fetches("alice"))
			bob := town.client("bob")
			sender, receiver := alice, bob
			if first == "bob" {
				sender, receiver = bob, alice
			}
			sent := make(chan error, 1)
			go func() {
				_, err := sender.Send(t.Context(), []string{receiver.Name()}, "hello")
				sent <- err
			}()
			select {
			case <-asked:
			case err := <-sent:
				t.Fatalf("nothing was fetched, and Send says %v", err)
			}
			// The engine is not kept waiting by the server.
			if _, err := alice.List(t.Context()); err != nil {
				t.Error(err)
			}
			let()
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			receiver.awaitText("hello")
			sender.mustSettle(StatusRead)
			alice.quietly()
			bob.quietly()
		})
	}
}

// TestFetchForPeersFails has no list to be fetched: what waits for Bob FAILS,
// and the reason says what was tried.
func TestFetchForPeersFails(t *testing.T) {
	town := newFetchTown(t)
	town.scene.serve("/crl/other.crl", http.NotFound)
	alice := town.client("alice", town.fetches("alice"))
	town.client("bob")
	if _, err := alice.Send(t.Context(), []string{"bob"}, "hello"); err != nil {
		wantCode(t, err, proto.RevocationUnknown, "/crl/other.crl", "404 Not Found")
		return
	}
	o := alice.settle(StatusDelivered)
	if len(o.Failed) == 0 || o.ExitStatus() != 4 {
		t.Fatalf("it ended with %+v", o)
	}
	wantCode(t, o.Failed[0], proto.RevocationUnknown, "/crl/other.crl", "404 Not Found")
}

// TestFetchNewsWhileTalking has the list that revokes Bob fetched while they
// talk: within one look Alice's client closes the conversation.
func TestFetchNewsWhileTalking(t *testing.T) {
	town := newFetchTown(t)
	var option ClientConfig
	fetches := town.fetches("alice")
	alice := town.client("alice", fetches, func(cfg *ClientConfig) { option = *cfg })
	bob := town.client("bob")
	alice.mustSend("before", "bob")
	bob.awaitText("before")
	alice.mustSettle(StatusRead)

	town.ca.Revoke(town.bob.Leaf, time.Now().Add(-time.Minute), 1)
	list, err := town.ca.MakeCRL(lab.CRL{})
	if err != nil {
		t.Fatal(err)
	}
	town.scene.serveFile("/crl/other.crl", list) // and the relay knows nothing of it
	option.Fetcher.Refetch()
	alice.await("that bob is revoked", func(ev Event) bool {
		return ev.Peer != nil && ev.Peer.Name == "bob" && ev.Peer.What == "refused"
	})
}
