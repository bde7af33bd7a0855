package attack

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fetch"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// fetchTown is a town where another authority issued Bob's card. Alice's client requires revocation
// information and has to fetch it.
type fetchTown struct {
	*localTown
	lists *wire.Lists
	bob   *lab.Holder
	ca    *lab.CA // Bob's
}

func newFetchTown(t *testing.T) *fetchTown {
	t.Helper()
	s := wire.NewLists(t)
	ca, err := s.PKI.NewCA(s.PKI.CC, lab.DN("C", "PT", "CN", "EC de Autenticação do Cartão de Cidadão 0099"))
	if err != nil {
		t.Fatal(err)
	}
	ca.File = "other"
	bob, err := s.PKI.Issue("bob", lab.By(ca))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PKI.Write(filepath.Join(s.Dir, "lab")); err != nil {
		t.Fatal(err)
	}
	town := &fetchTown{&localTown{t: t, dir: s.Dir, pki: s.PKI, addr: "127.0.0.1:0"}, s, bob, ca}
	town.publish()
	town.startRelay()
	t.Cleanup(func() { town.stop() })
	return town
}

// publish puts a new list of Bob's authority on the server and into the relay's directory.
func (town *fetchTown) publish() {
	town.t.Helper()
	list, err := town.ca.MakeCRL(lab.CRL{})
	if err == nil {
		err = os.WriteFile(filepath.Join(town.dir, "lab", "crl", "other.crl"), list, 0o600)
	}
	if err != nil {
		town.t.Fatal(err)
	}
	town.lists.ServeFile("/crl/other.crl", list)
}

// fetches gives a client the policy "require" and no list but those it fetches.
func (town *fetchTown) fetches(name string) clientOption {
	return func(cfg *client.Config) {
		lists := trust.NewCRLStore()
		fetcher, err := fetch.Open(fetch.Config{State: filepath.Join(town.dir, "state-"+name), Lists: lists, Private: true})
		if err != nil {
			town.t.Fatal(err)
		}
		town.t.Cleanup(fetcher.Close)
		cfg.Fetcher, cfg.Refresh = fetcher, lists.Refresh
		cfg.Verifier = trust.NewVerifier(trust.VerifierConfig{Trust: town.lists.Trust, CRLs: lists, Policy: trust.PolicyRequire})
	}
}

// TestFetchForPeers: Alice meets Bob and has no list of his authority. The handshake begins anew
// once the list is there, whoever began it, and nobody is told of it.
func TestFetchForPeers(t *testing.T) {
	for _, first := range []string{"alice", "bob"} {
		t.Run(first+" begins", func(t *testing.T) {
			town := newFetchTown(t)
			asked, release := make(chan struct{}, 8), make(chan struct{})
			let := sync.OnceFunc(func() { close(release) })
			t.Cleanup(let)
			town.lists.Serve("/crl/other.crl", func(w http.ResponseWriter, _ *http.Request) {
				asked <- struct{}{}
				<-release
				w.Write(town.lists.File("/crl/other.crl"))
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
			// The engine does not wait for the server.
			if _, err := alice.List(t.Context()); err != nil {
				t.Error(err)
			}
			let()
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			receiver.awaitText("hello")
			sender.mustSettle(history.StatusRead)
			alice.quietly()
			bob.quietly()
		})
	}
}

// TestFetchForPeersFails: the list cannot be fetched. What waits for Bob FAILS, and the reason
// names the attempt.
func TestFetchForPeersFails(t *testing.T) {
	town := newFetchTown(t)
	town.lists.Serve("/crl/other.crl", http.NotFound)
	alice := town.client("alice", town.fetches("alice"))
	town.client("bob")
	if _, err := alice.Send(t.Context(), []string{"bob"}, "hello"); err != nil {
		wire.WantCode(t, err, proto.RevocationUnknown, "/crl/other.crl", "404 Not Found")
		return
	}
	o := alice.settle(history.StatusDelivered)
	if len(o.Failed) == 0 || o.ExitStatus() != 4 {
		t.Fatalf("it ended with %+v", o)
	}
	wire.WantCode(t, o.Failed[0], proto.RevocationUnknown, "/crl/other.crl", "404 Not Found")
}

// TestFetchNewsWhileTalking: a fetched list revokes Bob during a conversation. Alice's client
// closes the conversation at its next look at the lists.
func TestFetchNewsWhileTalking(t *testing.T) {
	town := newFetchTown(t)
	var option client.Config
	fetches := town.fetches("alice")
	alice := town.client("alice", fetches, func(cfg *client.Config) { option = *cfg })
	bob := town.client("bob")
	alice.mustSend("before", "bob")
	bob.awaitText("before")
	alice.mustSettle(history.StatusRead)

	town.ca.Revoke(town.bob.Leaf, time.Now().Add(-time.Minute), 1)
	list, err := town.ca.MakeCRL(lab.CRL{})
	if err != nil {
		t.Fatal(err)
	}
	town.lists.ServeFile("/crl/other.crl", list) // the relay does not get it
	option.Fetcher.Refetch()
	alice.await("that bob is revoked", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Name == "bob" && ev.Peer.What == "refused"
	})
}
