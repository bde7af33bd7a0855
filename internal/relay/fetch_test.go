package relay

import (
	"net/http"
	"net/http/httptest"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// startFetching starts a relay that requires the revocation status, has no lists, and
// may fetch them. serve answers the fetches.
func startFetching(t *testing.T, serve func(p *lab.PKI, w http.ResponseWriter, r *http.Request)) (*server, *lab.PKI) {
	t.Helper()
	var p *lab.PKI
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(p, w, r) }))
	t.Cleanup(server.Close)
	p, err := lab.New(lab.Options{BaseURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := p.Write(dir); err != nil {
		t.Fatal(err)
	}
	return startIn(t, dir, func(cfg *Config) {
		cfg.CRLDir, cfg.CRLPolicy = "", trust.PolicyRequire
		cfg.Fetch, cfg.FetchPrivate = true, true
	}), p
}

func issue(t *testing.T, p *lab.PKI, name string) (*lab.Holder, *wire.Cred) {
	t.Helper()
	h, err := p.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	return h, wire.Delegate(t, h, name)
}

// A handshake waits for the list that it needs. A later list ends the connections of
// the revoked.
func TestRelayFetchesLists(t *testing.T) {
	rt, p := startFetching(t, func(p *lab.PKI, w http.ResponseWriter, r *http.Request) {
		lists, err := p.CRLs()
		if err != nil {
			t.Error(err)
		}
		w.Write(lists[strings.TrimSuffix(path.Base(r.URL.Path), ".crl")])
	})
	h, cred := issue(t, p, "ana")
	ana := rt.Connect(cred, proto.TakesMessages)

	p.Revoke(h, time.Now().Add(-time.Minute), 1)
	rt.Reload()
	ended := rt.conn(ana)
	wire.Until(t, "the new list", func() bool {
		// As the keeper does every few seconds.
		if rt.identities.listsChanged() {
			rt.recheck(rt.hub.all())
		}
		return ended.ended.Load()
	})
	ana.WantEnded(proto.CertificateRevoked)
	if told := rt.Refused(cred); told.Code != proto.CertificateRevoked {
		t.Errorf("and then %v", told)
	}
}

// A server that does not answer delays one client, but neither other clients nor the
// end of the relay.
func TestRelayDoesNotWaitForAServer(t *testing.T) {
	silent := make(chan struct{})
	var asked atomic.Bool
	rt, p := startFetching(t, func(_ *lab.PKI, w http.ResponseWriter, r *http.Request) {
		asked.Store(true)
		<-silent
	})
	defer close(silent)
	_, cred := issue(t, p, "ana")
	refused := make(chan error, 1)
	conn := rt.Dial()
	go func() {
		_, err := wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesMessages})
		refused <- err
	}()
	wire.Until(t, "the fetch", asked.Load)
	// All workers are free.
	rt.turns.mu.Lock()
	if rt.turns.idle != (runtime.GOMAXPROCS(0)+1)/2 {
		t.Errorf("%d workers are free", rt.turns.idle)
	}
	rt.turns.mu.Unlock()
	rt.Shutdown()
	if err := <-refused; err == nil {
		t.Error("let in without a list")
	}
}
