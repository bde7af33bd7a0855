package chatsecure

import (
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// startRelayFetching starts a relay that requires to know the revocation
// status, has no lists, and may fetch them. serve answers for them.
func startRelayFetching(t *testing.T, serve func(p *lab.PKI, w http.ResponseWriter, r *http.Request)) (*relayTest, *lab.PKI) {
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
	return startRelayTestIn(t, dir, func(cfg *RelayConfig) {
		cfg.CRLDir, cfg.CRLPolicy = "", crypto.PolicyRequire
		cfg.Fetch, cfg.FetchPrivate = true, true
	}), p
}

func relayTestIssue(t *testing.T, p *lab.PKI, name string) (*lab.Holder, *relayTestCred) {
	t.Helper()
	h, err := p.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	return h, relayTestDelegate(t, h, name)
}

// A handshake waits for the list that it needs; a list that comes later ends
// who is revoked.
func TestRelayFetchesLists(t *testing.T) {
	rt, p := startRelayFetching(t, func(p *lab.PKI, w http.ResponseWriter, r *http.Request) {
		lists, err := p.CRLs()
		if err != nil {
			t.Error(err)
		}
		w.Write(lists[strings.TrimSuffix(path.Base(r.URL.Path), ".crl")])
	})
	h, cred := relayTestIssue(t, p, "ana")
	ana := rt.connect(cred, proto.TakesMessages)

	p.Revoke(h, time.Now().Add(-time.Minute), 1)
	rt.Reload()
	ended := rt.conn(ana)
	relayTestUntil(t, "the new list", func() bool {
		// What the keeper does every few seconds.
		if rt.trust.listsChanged(rt.log) {
			rt.recheck(rt.hub.all())
		}
		return ended.ended.Load()
	})
	ana.wantEnded(proto.CertificateRevoked)
	if told := rt.refused(cred); told.Code != proto.CertificateRevoked {
		t.Errorf("and then %v", told)
	}
}

// A server that does not answer keeps one client waiting, and neither others
// nor the end of the relay.
func TestRelayDoesNotWaitForAServer(t *testing.T) {
	silent := make(chan struct{})
	var asked atomic.Bool
	rt, p := startRelayFetching(t, func(_ *lab.PKI, w http.ResponseWriter, r *http.Request) {
		asked.Store(true)
		<-silent
	})
	defer close(silent)
	_, cred := relayTestIssue(t, p, "ana")
	refused := make(chan error, 1)
	conn := rt.dial()
	go func() {
		_, err := relayTestHandshake(t, conn, &relayTestHandshakePlan{cred: cred, takes: proto.TakesMessages})
		refused <- err
	}()
	relayTestUntil(t, "the fetch", asked.Load)
	// All workers are free.
	for range cap(rt.workers) {
		rt.workers <- struct{}{}
	}
	for range cap(rt.workers) {
		<-rt.workers
	}
	rt.shutdown()
	if err := <-refused; err == nil {
		t.Error("let in without a list")
	}
}
