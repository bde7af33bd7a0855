package fetch

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// scene is a server of lists, and the clock of the programs that fetch there.
type scene struct {
	*wire.Lists

	mu    sync.Mutex // guards the fields below
	clock time.Time
}

func newScene(t *testing.T, alice ...lab.IssueOption) *scene {
	t.Helper()
	return &scene{Lists: wire.NewLists(t, alice...), clock: time.Now()}
}

func (s *scene) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *scene) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

// program is one that fetches: a Fetcher, and a Verifier of what it has fetched.
type program struct {
	*Fetcher
	scene    *scene
	lists    *trust.CRLStore
	verifier *trust.Verifier
	bundle   *trust.Bundle

	mu      sync.Mutex // guards the fields below
	notices []string
}

// open starts a program under a policy, on the scene's one state directory.
func (s *scene) open(policy trust.Policy, change ...func(*Config)) *program {
	s.T.Helper()
	side := &program{scene: s, lists: trust.NewCRLStore(), bundle: s.bundle()}
	cfg := Config{State: filepath.Join(s.Dir, "state"), Lists: side.lists, Private: true, Now: s.now}
	cfg.Notice = func(what string, err error) {
		side.mu.Lock()
		defer side.mu.Unlock()
		side.notices = append(side.notices, fmt.Sprintf("%s: %v", what, err))
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if side.Fetcher, err = Open(cfg); err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(side.Close)
	side.verifier = trust.NewVerifier(trust.VerifierConfig{Trust: s.Trust, CRLs: side.lists, Policy: policy, Now: s.now})
	return side
}

// bundle returns Alice's bundle, with a long delegation.
func (s *scene) bundle() *trust.Bundle {
	s.T.Helper()
	key := people.Key(s.T, trust.KeyEd25519)
	defer key.Erase()
	begin := s.now().Add(-time.Minute)
	return people.Delegate(s.T, s.Alice, "alice", key, begin, begin.Add(trust.MaxDelegation))
}

func (side *program) verify() (*trust.Person, error) {
	return side.Verify(side.verifier, side.bundle, "alice")
}

func (side *program) verifyWait() (*trust.Person, error) {
	return side.VerifyWait(context.Background(), side.verifier, side.bundle, "alice")
}

// refresh fetches the lists about Alice's certificate anew.
func (side *program) refresh() (map[string]error, error) {
	return side.Refresh(context.Background(), side.verifier, side.bundle.X509, side.bundle.Chain)
}

// fileOf returns the one file in the cache from the scene's server at a path, "" without one.
func (side *program) fileOf(place string) (path string) {
	for p, file := range side.crls.files() {
		if file.URL == side.scene.Web.URL+place {
			if path != "" {
				side.scene.T.Errorf("%s and %s are of one address", path, p)
			}
			path = p
		}
	}
	return path
}

// settle waits for the end of all fetches.
func (side *program) settle() {
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

func (side *program) wantStatus(want trust.RevocationStatus) {
	side.scene.T.Helper()
	person, err := side.verify()
	if err != nil {
		side.scene.T.Fatalf("verify: %v", err)
	}
	if person.Revocation.Status != want {
		side.scene.T.Errorf("the revocation is %s (%s), not %s", person.Revocation.Status, person.Revocation.Reason, want)
	}
}
