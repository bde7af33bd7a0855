package chatsecure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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

// fetchScene is a lab, the server that its certificates name, and a holder
// whose lists are fetched.
type fetchScene struct {
	t     *testing.T
	dir   string
	pki   *lab.PKI
	alice *lab.Holder
	trust *crypto.Trust
	web   *httptest.Server

	mu     sync.Mutex // guards what follows
	files  map[string][]byte
	answer map[string]http.HandlerFunc // by path, instead of a file
	asked  []string                    // "200 /crl/auth.crl", as they were answered
	clock  time.Time
}

func newFetchScene(t *testing.T, opts ...lab.IssueOption) *fetchScene {
	t.Helper()
	s := &fetchScene{t: t, dir: t.TempDir(), answer: make(map[string]http.HandlerFunc), clock: time.Now()}
	s.web = httptest.NewServer(s)
	t.Cleanup(s.web.Close)
	var err error
	if s.pki, err = lab.New(lab.Options{BaseURL: s.web.URL}); err != nil {
		t.Fatal(err)
	}
	if s.alice, err = s.pki.Issue("alice", opts...); err != nil {
		t.Fatal(err)
	}
	if err := s.pki.Write(filepath.Join(s.dir, "lab")); err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(filepath.Join(s.dir, "lab", "ca-bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if s.trust, err = crypto.NewTrust(nil, root); err != nil {
		t.Fatal(err)
	}
	s.publish()
	return s
}

// publish puts new lists on the server.
func (s *fetchScene) publish() {
	s.t.Helper()
	files, err := s.pki.Served()
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = files
}

// serve has one path answered in another way.
func (s *fetchScene) serve(path string, answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer[path] = answer
}

func (s *fetchScene) serveFile(path string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = data
}

// ServeHTTP is the authority's server. It knows ETags.
func (s *fetchScene) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer, data, ok := s.answer[r.URL.Path], s.files[r.URL.Path], false
	_, ok = s.files[r.URL.Path]
	s.mu.Unlock()
	said := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	switch {
	case answer != nil:
		answer(said, r)
	case !ok:
		http.NotFound(said, r)
	default:
		sum := sha256.Sum256(data)
		said.Header().Set("ETag", `"`+hex.EncodeToString(sum[:4])+`"`)
		http.ServeContent(said, r, "", time.Time{}, bytes.NewReader(data))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf("%d %s", said.status, r.URL.Path))
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// requests returns what was asked since the last call, in the order of paths.
func (s *fetchScene) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	slices.Sort(asked)
	return asked
}

func (s *fetchScene) wantRequests(want ...string) {
	s.t.Helper()
	if got := s.requests(); !slices.Equal(got, want) {
		s.t.Errorf("the server was asked %q, not %q", got, want)
	}
}

func (s *fetchScene) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *fetchScene) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

// fetchSide is one program that fetches: a Fetcher, and a Verifier for what it
// has fetched.
type fetchSide struct {
	*Fetcher
	scene    *fetchScene
	lists    *crypto.CRLStore
	verifier *crypto.Verifier
	bundle   *crypto.Bundle

	mu      sync.Mutex // guards what follows
	notices []string
}

// open starts a program under a policy, on the state directory that all of a
// scene have.
func (s *fetchScene) open(policy crypto.Policy, change ...func(*FetcherConfig)) *fetchSide {
	s.t.Helper()
	side := &fetchSide{scene: s, lists: crypto.NewCRLStore(), bundle: s.bundle()}
	cfg := FetcherConfig{State: filepath.Join(s.dir, "state"), Lists: side.lists, Private: true, Now: s.now}
	cfg.Notice = func(what string, err error) {
		side.mu.Lock()
		defer side.mu.Unlock()
		side.notices = append(side.notices, fmt.Sprintf("%s: %v", what, err))
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if side.Fetcher, err = OpenFetcher(cfg); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(side.Close)
	side.verifier = crypto.NewVerifier(crypto.VerifierConfig{Trust: s.trust, CRLs: side.lists, Policy: policy, Now: s.now})
	return side
}

// bundle is Alice's, with a long delegation.
func (s *fetchScene) bundle() *crypto.Bundle {
	s.t.Helper()
	c, err := card.Open(context.Background(), filepath.Join(s.dir, "lab", "alice"), card.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	cred, err := NewCredential(context.Background(), c, "alice", crypto.KeyEd25519, crypto.MaxDelegation, nil, s.now())
	if err != nil {
		s.t.Fatal(err)
	}
	defer cred.Key.Erase()
	return cred.Bundle
}

func (side *fetchSide) verify() (*crypto.Person, error) {
	return side.Verify(side.verifier, side.bundle, "alice")
}

func (side *fetchSide) verifyWait() (*crypto.Person, error) {
	return side.VerifyWait(context.Background(), side.verifier, side.bundle, "alice")
}

// settle waits until nothing is being fetched.
func (side *fetchSide) settle() {
	for {
		var done []<-chan struct{}
		side.Fetcher.mu.Lock()
		for _, l := range side.Fetcher.lists {
			if l.done != nil {
				done = append(done, l.done)
			}
		}
		side.Fetcher.mu.Unlock()
		if len(done) == 0 {
			return
		}
		for _, d := range done {
			<-d
		}
	}
}

func (side *fetchSide) wantStatus(want crypto.RevocationStatus) {
	side.scene.t.Helper()
	person, err := side.verify()
	if err != nil {
		side.scene.t.Fatalf("verify: %v", err)
	}
	if person.Revocation.Status != want {
		side.scene.t.Errorf("the revocation is %s (%s), not %s", person.Revocation.Status, person.Revocation.Reason, want)
	}
}

// wantCode checks that an error has a code and that its sentence names all of
// these.
func wantCode(t *testing.T, err error, code proto.Code, words ...string) {
	t.Helper()
	if err == nil || AsError(err).Code != code {
		t.Fatalf("the error is %v, and its code should be %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in the error %q", w, err)
		}
	}
}

// allLists is how the server is asked for every list of Alice's path.
var allLists = []string{"200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl"}

func TestFetchUnderTry(t *testing.T) {
	s := newFetchScene(t)
	side := s.open(crypto.PolicyTry)
	// The first look goes on with what is known, and has begun to fetch.
	side.wantStatus(crypto.RevocationUnknown)
	side.settle()
	s.wantRequests(allLists...)
	side.wantStatus(crypto.RevocationGood)
	side.settle()
	s.wantRequests() // all is there
}

func TestFetchUnderRequire(t *testing.T) {
	s := newFetchScene(t)
	side := s.open(crypto.PolicyRequire)
	_, err := side.verify()
	wantCode(t, err, proto.Busy, "is being fetched")
	if !errors.Is(err, errFetching) {
		t.Errorf("%v is not one that passes", err)
	}
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.wantRequests(allLists...)
	side.wantStatus(crypto.RevocationGood)
}

// TestFetchedRevocation revokes after the first fetch: the next list has it.
func TestFetchedRevocation(t *testing.T) {
	s := newFetchScene(t)
	side := s.open(crypto.PolicyTry)
	side.verify()
	side.settle()
	side.wantStatus(crypto.RevocationGood)
	s.requests()

	s.pki.Revoke(s.alice, time.Now().Add(-time.Minute), 1)
	s.publish()
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
	wantCode(t, err, proto.CertificateRevoked)
}

func TestFetchNothingForStrangers(t *testing.T) {
	for _, who := range []struct {
		name   string
		option lab.IssueOption
	}{{"untrusted", lab.Untrusted}, {"forged", lab.Forged}, {"expired", lab.Expired}} {
		t.Run(who.name, func(t *testing.T) {
			s := newFetchScene(t)
			stranger, err := s.pki.Issue("stranger", who.option)
			if err != nil {
				t.Fatal(err)
			}
			side := s.open(crypto.PolicyTry)
			bundle := *side.bundle
			bundle.X509 = stranger.Leaf.Raw
			bundle.Chain = nil
			for _, c := range stranger.Chain {
				bundle.Chain = append(bundle.Chain, c.Raw)
			}
			// Were the signature not looked at, nothing would be asked either.
			if underway := side.lookFor(side.verifier, &bundle, nil, &crypto.TrustError{Code: crypto.CodeRevocationUnknown}); underway != nil {
				t.Error("a list is fetched for a certificate that leads to no anchor, or is over")
			}
			side.settle()
			s.wantRequests()
		})
	}
}

// TestFetchFailures has the server misbehave in every way; each is told by its
// reason, and nothing of it is kept.
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
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/crl/cc.crl", http.StatusFound) }, "it leads elsewhere, which is not followed"},
		{"missing", http.NotFound, "it answered 404 Not Found"},
		{"error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "it answered 502 Bad Gateway"},
		{"not modified, unasked", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, "which is not followed"},
		{"declared oversize", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(crypto.MaxCRL+1))
			w.Write([]byte("0"))
		}, "it is longer than what is taken"},
		{"encoded", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("0"))
		}, "an encoding that was not asked for"},
		{"header bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", fetchMaxHeader))
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
			s := newFetchScene(t)
			s.serve(place, c.answer)
			side := s.open(crypto.PolicyRequire)
			_, err := side.verifyWait()
			wantCode(t, err, proto.RevocationUnknown, c.why, s.web.URL+place)
			if _, err := os.Stat(side.listPath(s.web.URL + place)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something was kept: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(side.listDir(), ".new-*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestFetchOversize sends more than is taken, without saying so before.
func TestFetchOversize(t *testing.T) {
	body := &fetchBody{readCloser{neverEnding{}}, 1000}
	n := 0
	for {
		m, err := body.Read(make([]byte, 300))
		n += m
		if err != nil {
			if !errors.Is(err, errFetchLong) {
				t.Error(err)
			}
			break
		}
	}
	if n > 1000 {
		t.Errorf("%d bytes were taken", n)
	}
	s := newFetchScene(t)
	s.serve("/aia/auth.crt", func(w http.ResponseWriter, _ *http.Request) {
		for range 2 * fetchMaxIssuerFile / 1024 {
			w.Write(make([]byte, 1024))
			w.(http.Flusher).Flush()
		}
	})
	side := s.open(crypto.PolicyTry)
	_, err := side.Issuers(context.Background(), s.alice.Leaf.Raw, nil)
	wantCode(t, err, proto.CertificateUntrusted, "it is longer than what is taken")
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

type readCloser struct{ neverEnding }

func (readCloser) Close() error { return nil }

func (w *statusWriter) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

// TestFetchSlow has a server that answers nothing: nobody waits for it but who
// wants to, and not longer than that.
func TestFetchSlow(t *testing.T) {
	s := newFetchScene(t)
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
		s.serve(place, stuck)
	}

	try := s.open(crypto.PolicyTry)
	try.wantStatus(crypto.RevocationUnknown)
	<-entered
	<-entered
	// Two at most of one host are asked at once.
	try.Fetcher.mu.Lock()
	running, waiting := try.running[strings.TrimPrefix(s.web.URL, "http://")], len(try.waiting)
	try.Fetcher.mu.Unlock()
	if running != fetchMaxPerHost || waiting != 1 {
		t.Errorf("%d fetches of one host at work, %d waiting", running, waiting)
	}
	try.wantStatus(crypto.RevocationUnknown)
	try.Close() // ends what is at work

	require := s.open(crypto.PolicyRequire)
	_, err := require.verify()
	wantCode(t, err, proto.Busy)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = require.VerifyWait(ctx, require.verifier, require.bundle, "alice")
	wantCode(t, err, proto.RevocationUnknown, "is still being fetched")
	require.Close()

	// A fetch has its own bound, which is shorter here.
	quick := s.open(crypto.PolicyRequire)
	quick.client.Timeout = 10 * time.Millisecond
	_, err = quick.verifyWait()
	wantCode(t, err, proto.RevocationUnknown, "it took longer than 10s")
}

func TestFetchBackOff(t *testing.T) {
	s := newFetchScene(t)
	s.serve("/crl/auth.crl", http.NotFound)
	side := s.open(crypto.PolicyTry)
	side.verify()
	side.settle()
	s.wantRequests("200 /crl/cc.crl", "200 /crl/root.crl", "404 /crl/auth.crl")

	// Each time longer, and never shorter than half of it.
	wait := fetchBackoffMin
	for range 10 {
		side.wantStatus(crypto.RevocationUnknown)
		side.settle()
		s.wantRequests()
		s.pass(wait/2 - time.Second)
		side.wantStatus(crypto.RevocationUnknown)
		side.settle()
		s.wantRequests()
		s.pass(wait/2 + 2*time.Second)
		side.wantStatus(crypto.RevocationUnknown)
		side.settle()
		s.wantRequests("404 /crl/auth.crl")
		wait = min(2*wait, fetchBackoffMax)
	}
	s.serve("/crl/auth.crl", nil)
	s.pass(fetchBackoffMax)
	side.verify()
	side.settle()
	side.wantStatus(crypto.RevocationGood)
	s.wantRequests("200 /crl/auth.crl")
}

// TestFetchStale has a server that goes on serving a list that is over: it is
// not asked all the time.
func TestFetchStale(t *testing.T) {
	s := newFetchScene(t)
	old, err := s.pki.Auth.MakeCRL(lab.CRL{ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(-24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	s.serveFile("/crl/auth.crl", old)
	side := s.open(crypto.PolicyRequire)
	_, err = side.verifyWait()
	wantCode(t, err, proto.RevocationUnknown, "was due to be replaced")
	s.wantRequests(allLists...)
	for range 3 {
		_, err = side.verifyWait()
		wantCode(t, err, proto.RevocationUnknown, "was due to be replaced")
	}
	s.wantRequests()
	s.pass(fetchBackoffMin + time.Second)
	side.verifyWait()
	s.wantRequests("304 /crl/auth.crl")
}

// TestFetchAhead fetches a list anew before it ends, while it is in use.
func TestFetchAhead(t *testing.T) {
	s := newFetchScene(t)
	for _, ca := range s.pki.CAs() {
		der, err := ca.MakeCRL(lab.CRL{ThisUpdate: s.now(), NextUpdate: s.now().Add(16 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		s.serveFile("/crl/"+ca.File+".crl", der)
	}
	side := s.open(crypto.PolicyTry)
	side.verify()
	side.settle()
	s.wantRequests(allLists...)

	s.pass(10*time.Hour + 59*time.Minute)
	side.wantStatus(crypto.RevocationGood) // somebody uses it
	side.fetchAhead(s.now())
	side.settle()
	s.wantRequests()

	s.pass(2*time.Hour + 2*time.Minute)
	side.fetchAhead(s.now())
	side.settle()
	s.wantRequests() // nobody has named it for two hours

	side.wantStatus(crypto.RevocationGood)
	side.fetchAhead(s.now())
	side.settle()
	s.wantRequests("304 /crl/auth.crl", "304 /crl/cc.crl", "304 /crl/root.crl")
	side.fetchAhead(s.now())
	side.settle()
	s.wantRequests()

	// In what is left it is asked again, and there is a new one now.
	s.publish()
	s.pass(time.Hour)
	side.wantStatus(crypto.RevocationGood)
	side.fetchAhead(s.now())
	side.settle()
	s.wantRequests(allLists...)
}

func TestFetchConditional(t *testing.T) {
	s := newFetchScene(t)
	side := s.open(crypto.PolicyTry)
	side.verify()
	side.settle()
	s.wantRequests(allLists...)
	s.pass(time.Hour)
	for _, r := range side.Refresh(context.Background(), nil) {
		if r.Err != nil || r.Changed {
			t.Errorf("%s: changed %v, error %v", r.URL, r.Changed, r.Err)
		}
	}
	s.wantRequests("304 /crl/auth.crl", "304 /crl/cc.crl", "304 /crl/root.crl")
	address := s.web.URL + "/crl/auth.crl"
	lists := crypto.NewCRLStore()
	fetched, problems := LoadFetched(filepath.Join(s.dir, "state"), lists)
	if fetched[address].Unix() != s.now().Unix() || len(problems) > 0 {
		t.Errorf("it was fetched at %v; %v", fetched[address], problems)
	}
	for _, l := range lists.List() {
		if _, ok := fetched[l.Source]; !ok || !l.Verified {
			t.Errorf("%s is from %s, verified %v", l.Issuer, l.Source, l.Verified)
		}
	}

	// What the file is not any more is not compared with.
	if err := os.WriteFile(side.listPath(address), []byte("spoiled"), 0o600); err != nil {
		t.Fatal(err)
	}
	side.Refresh(context.Background(), nil)
	s.wantRequests("200 /crl/auth.crl", "304 /crl/cc.crl", "304 /crl/root.crl")

	// Without an ETag the time serves.
	s.serve("/crl/cc.crl", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(s.files["/crl/cc.crl"]))
	})
	if err := os.Remove(side.listPath(s.web.URL + "/crl/cc.crl")); err != nil {
		t.Fatal(err)
	}
	side.Refresh(context.Background(), nil)
	side.Refresh(context.Background(), nil)
	s.wantRequests("200 /crl/cc.crl", "304 /crl/auth.crl", "304 /crl/auth.crl", "304 /crl/cc.crl", "304 /crl/root.crl", "304 /crl/root.crl")
}

// TestFetchCacheSurvives starts again without the server.
func TestFetchCacheSurvives(t *testing.T) {
	s := newFetchScene(t)
	first := s.open(crypto.PolicyRequire)
	if _, err := first.verifyWait(); err != nil {
		t.Fatal(err)
	}
	first.Close()
	for _, entry := range readDir(t, first.listDir()) {
		if info, err := entry.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v (%v)", entry.Name(), info.Mode(), err)
		}
	}
	s.web.Close()
	for _, off := range []bool{false, true} {
		again := s.open(crypto.PolicyRequire, func(cfg *FetcherConfig) { cfg.Off = off })
		again.wantStatus(crypto.RevocationGood)
		if len(again.notices) > 0 {
			t.Errorf("told: %q", again.notices)
		}
		again.Close()
	}
}

func readDir(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestFetchPoisonedCache changes the cache behind the program's back. What was
// changed is removed, told of, and fetched again.
func TestFetchPoisonedCache(t *testing.T) {
	for _, c := range []struct {
		name   string
		poison func(list, side string) error
	}{
		{"list changed", func(list, _ string) error { return flipByte(list, 100) }},
		{"list cut short", func(list, _ string) error { return os.Truncate(list, 100) }},
		{"list gone", func(list, _ string) error { return os.Remove(list) }},
		{"sidecar changed", func(_, side string) error { return flipByte(side, 20) }},
		{"sidecar cut short", func(_, side string) error { return os.Truncate(side, 20) }},
		{"sidecar of another", func(_, side string) error {
			others, err := filepath.Glob(filepath.Join(filepath.Dir(side), ".*.json"))
			others = slices.DeleteFunc(others, func(o string) bool { return o == side })
			return errors.Join(err, os.Rename(others[0], side))
		}},
		{"sidecar gone", func(_, side string) error { return os.Remove(side) }},
		{"sidecar a link", func(_, side string) error {
			return errors.Join(os.Rename(side, side+".real"), os.Symlink(side+".real", side))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newFetchScene(t)
			first := s.open(crypto.PolicyRequire)
			if _, err := first.verifyWait(); err != nil {
				t.Fatal(err)
			}
			first.Close()
			s.requests()
			address := s.web.URL + "/crl/auth.crl"
			if err := c.poison(first.listPath(address), first.sidePath(address)); err != nil {
				t.Fatal(err)
			}
			again := s.open(crypto.PolicyRequire)
			if _, err := os.Stat(again.listPath(address)); err == nil {
				t.Error("the list is still there")
			}
			if _, err := again.verifyWait(); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(s.requests(), "200 /crl/auth.crl") {
				t.Error("it was not fetched again")
			}
			if told := strings.Join(again.notices, "\n"); !strings.Contains(told, "it is removed") && c.name != "sidecar gone" {
				t.Errorf("nobody was told: %s", told)
			}
		})
	}
}

func flipByte(path string, at int64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[at] ^= 1
	return os.WriteFile(path, data, 0o600)
}

// TestFetchCrash leaves what a crash leaves: files that are half-written are
// removed once nobody can be at work on them.
func TestFetchCrash(t *testing.T) {
	s := newFetchScene(t)
	first := s.open(crypto.PolicyTry)
	first.Close()
	for _, name := range []string{".new-1", ".new-2", fetchHash("x") + fetchListSuffix, "notes.txt"} {
		if err := os.WriteFile(filepath.Join(first.listDir(), name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := s.now().Add(-2 * fetchStale)
	if err := os.Chtimes(filepath.Join(first.listDir(), ".new-1"), old, old); err != nil {
		t.Fatal(err)
	}
	s.open(crypto.PolicyTry)
	var left []string
	for _, entry := range readDir(t, first.listDir()) {
		left = append(left, entry.Name())
	}
	if want := []string{".new-2", "notes.txt"}; !slices.Equal(left, want) {
		t.Errorf("%q is left, not %q", left, want)
	}
}

func TestFetchOff(t *testing.T) {
	s := newFetchScene(t)
	side := s.open(crypto.PolicyRequire, func(cfg *FetcherConfig) { cfg.Off = true })
	_, err := side.verifyWait()
	wantCode(t, err, proto.RevocationUnknown, "-fetch=false")
	if results := side.Refresh(context.Background(), nil); len(results) != 0 {
		t.Errorf("fetched: %v", results)
	}
	side.Refetch()
	_, err = side.Issuers(context.Background(), s.alice.Leaf.Raw, nil)
	wantCode(t, err, proto.CertificateUntrusted, "-fetch=false")
	s.wantRequests()

	var none *Fetcher
	if _, err := none.Verify(side.verifier, side.bundle, "alice"); AsError(err).Code != proto.RevocationUnknown {
		t.Error(err)
	}
	if _, err := none.VerifyWait(context.Background(), side.verifier, side.bundle, "alice"); AsError(err).Code != proto.RevocationUnknown {
		t.Error(err)
	}
	none.Close()
}

// TestFetchCloses closes while all is under way: nobody waits any more.
func TestFetchCloses(t *testing.T) {
	s := newFetchScene(t)
	entered := make(chan struct{}, 8)
	s.serve("/crl/auth.crl", func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	side := s.open(crypto.PolicyRequire)
	waited := make(chan error, 1)
	go func() {
		_, err := side.verifyWait()
		waited <- err
	}()
	<-entered
	side.Close()
	wantCode(t, <-waited, proto.RevocationUnknown)
	_, err := side.verify()
	wantCode(t, err, proto.RevocationUnknown)
}

// TestFetchOtherPlaces has a certificate that names three addresses of one
// list: the second is asked where the first fails, the third not at all.
func TestFetchOtherPlaces(t *testing.T) {
	s := newFetchScene(t, lab.Mutate(func(c *x509.Certificate) {
		at := strings.TrimSuffix(c.CRLDistributionPoints[0], "/crl/auth.crl")
		c.CRLDistributionPoints = []string{"ldap://x/y", at + "/gone.crl", at + "/crl/auth.crl", at + "/third.crl"}
	}))
	side := s.open(crypto.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.wantRequests("200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl", "404 /gone.crl")
}

// TestFetchDelta finds the delta that the certificate names beside the
// complete list.
func TestFetchDelta(t *testing.T) {
	s := newFetchScene(t, lab.Mutate(func(c *x509.Certificate) {
		at := strings.TrimSuffix(c.CRLDistributionPoints[0], "/crl/auth.crl")
		c.ExtraExtensions = append(c.ExtraExtensions, lab.FreshestCRL(at+"/crl/auth_delta.crl"))
	}))
	side := s.open(crypto.PolicyTry)
	side.verify()
	side.settle()
	s.wantRequests("200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl", "404 /crl/auth_delta.crl")
	side.wantStatus(crypto.RevocationGood)

	base, err := x509.ParseRevocationList(s.files["/crl/auth.crl"])
	if err != nil {
		t.Fatal(err)
	}
	delta, err := s.pki.Auth.MakeCRL(lab.CRL{
		Entries:    []x509.RevocationListEntry{{SerialNumber: s.alice.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute), ReasonCode: 1}},
		Extensions: extensions(lab.DeltaIndicator(base.Number.Int64())),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.serveFile("/crl/auth_delta.crl", delta)
	s.pass(fetchBackoffMin)
	side.wantStatus(crypto.RevocationGood)
	side.settle()
	s.wantRequests("200 /crl/auth_delta.crl")
	_, err = side.verify()
	wantCode(t, err, proto.CertificateRevoked)
}

// TestFetchRoom keeps the cache and what is remembered within their bounds.
func TestFetchRoom(t *testing.T) {
	s := newFetchScene(t)
	side := s.open(crypto.PolicyTry)
	f := side.Fetcher
	now := s.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range 2 * fetchMaxHosts {
		f.listLocked(fmt.Sprintf("http://h%d.test/", i), now)
	}
	if len(f.lists) != 0 && len(f.lists) > fetchMaxHosts {
		t.Errorf("%d hosts are remembered", len(f.lists))
	}
	for i := range 2 * fetchMaxLists {
		if l := f.listLocked(fmt.Sprintf("http://h1.test/%d", i), now); l != nil {
			l.wanted = now
		}
	}
	if len(f.lists) > fetchMaxLists {
		t.Errorf("%d lists are remembered", len(f.lists))
	}
	if f.listLocked("http://h1.test/late", now) != nil {
		t.Error("one that is in use was forgotten")
	}
	if f.listLocked("http://h1.test/late", now.Add(2*fetchNamedFor)) == nil {
		t.Error("one that nobody uses was not forgotten")
	}

	clear(f.lists)
	third := int64(fetchMaxBytes / 3)
	for i, name := range []string{"a", "b", "c"} {
		l := f.listLocked("http://h1.test/"+name, now)
		l.wanted = now.Add(time.Duration(i) * time.Second)
		l.cached = &fetchSidecar{URL: l.url, Size: third}
	}
	f.makeRoomLocked(&fetchSidecar{URL: "http://h1.test/d", Size: third})
	for name, kept := range map[string]bool{"a": false, "b": true, "c": true} {
		if got := f.lists["http://h1.test/"+name].cached != nil; got != kept {
			t.Errorf("%s is kept: %v", name, got)
		}
	}
	f.makeRoomLocked(&fetchSidecar{URL: "http://h1.test/c", Size: 2*third - 1}) // in the place of c
	if f.lists["http://h1.test/b"].cached == nil {
		t.Error("b went, though there was room")
	}
	clear(f.lists)
}

// pemOf is a PEM block.
func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
