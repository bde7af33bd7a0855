package fetch

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// allLists is the requests for every list of Alice's path.
var allLists = []string{"200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl"}

func TestFetchUnderTry(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyTry)
	// The first look does without the lists, and begins to fetch them.
	side.wantStatus(trust.RevocationUnknown)
	side.settle()
	s.WantRequests(allLists...)
	side.wantStatus(trust.RevocationGood)
	side.settle()
	s.WantRequests() // nothing is missing
}

func TestFetchUnderRequire(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyRequire)
	_, err := side.verify()
	wire.WantCode(t, err, proto.RevocationUnknown, "is being fetched")
	if !errors.Is(err, ErrFetching) {
		t.Errorf("%v is not one that passes", err)
	}
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests(allLists...)
	side.wantStatus(trust.RevocationGood)
}

// TestFetchedRevocation revokes after the first fetch: the next list has it.
func TestFetchedRevocation(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	side.wantStatus(trust.RevocationGood)
	s.Requests()

	s.PKI.Revoke(s.Alice, time.Now().Add(-time.Minute), 1)
	s.Publish()
	results := side.Refresh(context.Background(), nil)
	if len(results) != 3 {
		t.Fatalf("%d lists were fetched again: %v", len(results), results)
	}
	for _, r := range results {
		if r.Err != nil || !r.Changed {
			t.Errorf("%s: changed %v, error %v", r.URL, r.Changed, r.Err)
		}
	}
	_, err := side.verify()
	wire.WantCode(t, err, proto.CertificateRevoked)
}

func TestFetchNothingForStrangers(t *testing.T) {
	for _, who := range []struct {
		name   string
		option lab.IssueOption
	}{{"untrusted", lab.Untrusted}, {"forged", lab.Forged}, {"expired", lab.Expired}} {
		t.Run(who.name, func(t *testing.T) {
			s := newScene(t)
			stranger, err := s.PKI.Issue("stranger", who.option)
			if err != nil {
				t.Fatal(err)
			}
			side := s.open(trust.PolicyTry)
			bundle := *side.bundle
			bundle.X509 = stranger.Leaf.Raw
			bundle.Chain = nil
			for _, c := range stranger.Chain {
				bundle.Chain = append(bundle.Chain, c.Raw)
			}
			// Without this, ignoring the signature would go unnoticed.
			if underway := side.lookFor(side.verifier, &bundle, nil, &trust.Error{Code: proto.RevocationUnknown}); underway != nil {
				t.Error("a list is fetched for a certificate that leads to no anchor, or is over")
			}
			side.settle()
			s.WantRequests()
		})
	}
}

// TestFetchFailures has the server misbehave in every way. Each time the reason is told,
// and nothing is kept.
func TestFetchFailures(t *testing.T) {
	const place = "/crl/auth.crl"
	other, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	alien, err := other.Auth.MakeCRL(lab.CRL{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }
	}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		why    string
	}{
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/crl/cc.crl", http.StatusFound)
		}, "it leads elsewhere, which is not followed"},
		{"missing", http.NotFound, "it answered 404 Not Found"},
		{"error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "it answered 502 Bad Gateway"},
		{"not modified, unasked", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, "which is not followed"},
		{"declared oversize", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(trust.MaxCRL+1))
			w.Write([]byte("0"))
		}, "it is over the limit"},
		{"encoded", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("0"))
		}, "an encoding that was not asked for"},
		{"header bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", maxHeader))
		}, "server response headers exceeded"},
		{"cut short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Write([]byte("0"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "unexpected EOF"},
		{"empty", write(nil), "not a revocation list"},
		{"a page", write([]byte("<html>it works</html>")), "not a revocation list"},
		{"another authority's", write(alien), "cannot be used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			s.Serve(place, c.answer)
			side := s.open(trust.PolicyRequire)
			_, err := side.verifyWait()
			wire.WantCode(t, err, proto.RevocationUnknown, c.why, s.Web.URL+place)
			if _, err := os.Stat(side.cache.list(s.Web.URL + place)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something was kept: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(string(side.cache), ".new-*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestFetchOversize has an answer that is too long, and whose header does not say so.
func TestFetchOversize(t *testing.T) {
	body := &bounded{readCloser{neverEnding{}}, 1000}
	n := 0
	for {
		m, err := body.Read(make([]byte, 300))
		n += m
		if err != nil {
			if !errors.Is(err, errTooLong) {
				t.Error(err)
			}
			break
		}
	}
	if n > 1000 {
		t.Errorf("%d bytes were taken", n)
	}
	s := newScene(t)
	s.Serve("/aia/auth.crt", func(w http.ResponseWriter, _ *http.Request) {
		for range 2 * maxIssuerFile / 1024 {
			w.Write(make([]byte, 1024))
			w.(http.Flusher).Flush()
		}
	})
	side := s.open(trust.PolicyTry)
	_, err := side.Issuers(context.Background(), s.Alice.Leaf.Raw, nil, false)
	wire.WantCode(t, err, proto.CertificateUntrusted, "it is over the limit")
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

type readCloser struct{ neverEnding }

func (readCloser) Close() error { return nil }

// TestFetchSlow has a server that never answers. Only callers that want to wait do, and
// no longer than they want to.
func TestFetchSlow(t *testing.T) {
	s := newScene(t)
	release := make(chan struct{})
	entered := make(chan struct{}, 8)
	stuck := func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	t.Cleanup(func() { close(release) })
	for _, place := range []string{"/crl/auth.crl", "/crl/cc.crl", "/crl/root.crl"} {
		s.Serve(place, stuck)
	}

	try := s.open(trust.PolicyTry)
	try.wantStatus(trust.RevocationUnknown)
	<-entered
	<-entered
	// At most two fetches of one host are at work at once.
	try.Fetcher.mu.Lock()
	running, waiting := try.running[strings.TrimPrefix(s.Web.URL, "http://")], len(try.waiting)
	try.Fetcher.mu.Unlock()
	if running != maxPerHost || waiting != 1 {
		t.Errorf("%d fetches of one host at work, %d waiting", running, waiting)
	}
	try.wantStatus(trust.RevocationUnknown)
	try.Close() // ends the fetches at work

	require := s.open(trust.PolicyRequire)
	_, err := require.verify()
	wire.WantCode(t, err, proto.RevocationUnknown, "is being fetched")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = require.VerifyWait(ctx, require.verifier, require.bundle, "alice")
	wire.WantCode(t, err, proto.RevocationUnknown, "is still being fetched")
	require.Close()

	// A fetch has a bound of its own, which is shorter here.
	quick := s.open(trust.PolicyRequire)
	quick.client.Timeout = 10 * time.Millisecond
	_, err = quick.verifyWait()
	wire.WantCode(t, err, proto.RevocationUnknown, "it took longer than 10s")
}

func TestFetchBackOff(t *testing.T) {
	s := newScene(t)
	s.Serve("/crl/auth.crl", http.NotFound)
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	s.WantRequests("200 /crl/cc.crl", "200 /crl/root.crl", "404 /crl/auth.crl")

	// Each wait is twice as long, and drawn between half and all of it.
	wait := backoffMin
	for range 10 {
		side.wantStatus(trust.RevocationUnknown)
		side.settle()
		s.WantRequests()
		s.pass(wait/2 - time.Second)
		side.wantStatus(trust.RevocationUnknown)
		side.settle()
		s.WantRequests()
		s.pass(wait/2 + 2*time.Second)
		side.wantStatus(trust.RevocationUnknown)
		side.settle()
		s.WantRequests("404 /crl/auth.crl")
		wait = min(2*wait, backoffMax)
	}
	s.Serve("/crl/auth.crl", nil)
	s.pass(backoffMax)
	side.verify()
	side.settle()
	side.wantStatus(trust.RevocationGood)
	s.WantRequests("200 /crl/auth.crl")
}

// TestFetchStale has a server that goes on serving an expired list. It is not asked all
// the time.
func TestFetchStale(t *testing.T) {
	s := newScene(t)
	old, err := s.PKI.Auth.MakeCRL(lab.CRL{ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(-24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	s.ServeFile("/crl/auth.crl", old)
	side := s.open(trust.PolicyRequire)
	_, err = side.verifyWait()
	wire.WantCode(t, err, proto.RevocationUnknown, "was due to be replaced")
	s.WantRequests(allLists...)
	for range 3 {
		_, err = side.verifyWait()
		wire.WantCode(t, err, proto.RevocationUnknown, "was due to be replaced")
	}
	s.WantRequests()
	s.pass(backoffMin + time.Second)
	side.verifyWait()
	s.WantRequests("304 /crl/auth.crl")
}

// TestFetchAhead fetches a list anew before it ends, while it is in use.
func TestFetchAhead(t *testing.T) {
	s := newScene(t)
	for _, ca := range s.PKI.CAs() {
		der, err := ca.MakeCRL(lab.CRL{ThisUpdate: s.now(), NextUpdate: s.now().Add(16 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		s.ServeFile("/crl/"+ca.File+".crl", der)
	}
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	s.WantRequests(allLists...)

	s.pass(10*time.Hour + 59*time.Minute)
	side.wantStatus(trust.RevocationGood) // somebody uses it
	side.fetchAhead(s.now())
	side.settle()
	s.WantRequests()

	s.pass(2*time.Hour + 2*time.Minute)
	side.fetchAhead(s.now())
	side.settle()
	s.WantRequests() // nobody has named it for two hours

	side.wantStatus(trust.RevocationGood)
	side.fetchAhead(s.now())
	side.settle()
	s.WantRequests("304 /crl/auth.crl", "304 /crl/cc.crl", "304 /crl/root.crl")
	side.fetchAhead(s.now())
	side.settle()
	s.WantRequests()

	// It is asked for again in the rest of its life, and there is a new one now.
	s.Publish()
	s.pass(time.Hour)
	side.wantStatus(trust.RevocationGood)
	side.fetchAhead(s.now())
	side.settle()
	s.WantRequests(allLists...)
}

func TestFetchOff(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyRequire, func(cfg *Config) { cfg.Off = true })
	_, err := side.verifyWait()
	wire.WantCode(t, err, proto.RevocationUnknown, "-fetch=false")
	if results := side.Refresh(context.Background(), nil); len(results) != 0 {
		t.Errorf("fetched: %v", results)
	}
	side.Refetch()
	_, err = side.Issuers(context.Background(), s.Alice.Leaf.Raw, nil, false)
	wire.WantCode(t, err, proto.CertificateUntrusted, "-fetch=false")
	s.WantRequests()

	var none *Fetcher
	if _, err := none.Verify(side.verifier, side.bundle, "alice"); fail.AsError(err).Code != proto.RevocationUnknown {
		t.Error(err)
	}
	if _, err := none.VerifyWait(context.Background(), side.verifier, side.bundle, "alice"); fail.AsError(err).Code != proto.RevocationUnknown {
		t.Error(err)
	}
	none.Close()
}

// TestFetchCloses closes during a fetch, and so ends all waits.
func TestFetchCloses(t *testing.T) {
	s := newScene(t)
	entered := make(chan struct{}, 8)
	s.Serve("/crl/auth.crl", func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	side := s.open(trust.PolicyRequire)
	waited := make(chan error, 1)
	go func() {
		_, err := side.verifyWait()
		waited <- err
	}()
	<-entered
	side.Close()
	wire.WantCode(t, <-waited, proto.RevocationUnknown)
	_, err := side.verify()
	wire.WantCode(t, err, proto.RevocationUnknown)
}

// TestFetchOtherPlaces has a certificate with three addresses of one list. The second is
// asked as the first fails, and the third never.
func TestFetchOtherPlaces(t *testing.T) {
	s := newScene(t, lab.Mutate(func(c *x509.Certificate) {
		at := strings.TrimSuffix(c.CRLDistributionPoints[0], "/crl/auth.crl")
		c.CRLDistributionPoints = []string{"ldap://x/y", at + "/gone.crl", at + "/crl/auth.crl", at + "/third.crl"}
	}))
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests("200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl", "404 /gone.crl")
}

// TestFetchDelta finds the delta that the certificate names beside the
// complete list.
func TestFetchDelta(t *testing.T) {
	s := newScene(t, lab.Mutate(func(c *x509.Certificate) {
		at := strings.TrimSuffix(c.CRLDistributionPoints[0], "/crl/auth.crl")
		c.ExtraExtensions = append(c.ExtraExtensions, lab.FreshestCRL(at+"/crl/auth_delta.crl"))
	}))
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	s.WantRequests("200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl", "404 /crl/auth_delta.crl")
	side.wantStatus(trust.RevocationGood)

	base, err := x509.ParseRevocationList(s.File("/crl/auth.crl"))
	if err != nil {
		t.Fatal(err)
	}
	revoked := x509.RevocationListEntry{SerialNumber: s.Alice.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute), ReasonCode: 1}
	delta, err := s.PKI.Auth.MakeCRL(lab.CRL{
		Entries:    []x509.RevocationListEntry{revoked},
		Extensions: extensions(lab.DeltaIndicator(base.Number.Int64())),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.ServeFile("/crl/auth_delta.crl", delta)
	s.pass(backoffMin)
	side.wantStatus(trust.RevocationGood)
	side.settle()
	s.WantRequests("200 /crl/auth_delta.crl")
	_, err = side.verify()
	wire.WantCode(t, err, proto.CertificateRevoked)
}

// TestFetchRoom: the cache and the remembered lists stay within their bounds.
func TestFetchRoom(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyTry)
	f := side.Fetcher
	now := s.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range 2 * maxHosts {
		f.listLocked(fmt.Sprintf("http://h%d.test/", i), now)
	}
	if len(f.lists) != 0 && len(f.lists) > maxHosts {
		t.Errorf("%d hosts are remembered", len(f.lists))
	}
	for i := range 2 * maxLists {
		if l := f.listLocked(fmt.Sprintf("http://h1.test/%d", i), now); l != nil {
			l.wanted = now
		}
	}
	if len(f.lists) > maxLists {
		t.Errorf("%d lists are remembered", len(f.lists))
	}
	if f.listLocked("http://h1.test/late", now) != nil {
		t.Error("one that is in use was forgotten")
	}
	if f.listLocked("http://h1.test/late", now.Add(2*namedFor)) == nil {
		t.Error("one that nobody uses was not forgotten")
	}

	clear(f.lists)
	third := int64(maxBytes / 3)
	for i, name := range []string{"a", "b", "c"} {
		l := f.listLocked("http://h1.test/"+name, now)
		l.wanted = now.Add(time.Duration(i) * time.Second)
		l.cached = &sidecar{URL: l.url, Size: third}
	}
	f.makeRoomLocked(&sidecar{URL: "http://h1.test/d", Size: third})
	for name, kept := range map[string]bool{"a": false, "b": true, "c": true} {
		if got := f.lists["http://h1.test/"+name].cached != nil; got != kept {
			t.Errorf("%s is kept: %v", name, got)
		}
	}
	f.makeRoomLocked(&sidecar{URL: "http://h1.test/c", Size: 2*third - 1}) // in the place of c
	if f.lists["http://h1.test/b"].cached == nil {
		t.Error("b went, though there was room")
	}
	clear(f.lists)
}

// pemOf is a PEM block.
func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
