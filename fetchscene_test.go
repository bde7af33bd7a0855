package chatsecure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
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

func (s *fetchScene) file(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[path]
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
