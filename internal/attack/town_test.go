package attack

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/internal/relay"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/leaks"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// localTown is a lab with a relay and clients in this process. Package town has
// the other kind, of built programs.
type localTown struct {
	t    testing.TB
	dir  string
	pki  *lab.PKI
	addr string
	stop func() // ends the relay as SIGTERM does

	change func(*relay.Config)             // of the next relay, if set
	suites []string                        // allowed by the relay; nil: all
	listen func(net.Listener) net.Listener // wraps the relay's listener, if set
	hold   bool                            // new clients show nothing
	forget bool                            // new clients keep no message
}

func newTown(t testing.TB, names ...string) *localTown {
	t.Helper()
	return newTownOf(t, nil, names...)
}

// newBenchTown has a relay that makes no RSA keys in the background.
func newBenchTown(b *testing.B, names ...string) *localTown {
	b.Helper()
	return newTownOf(b, []string{crypto.SuiteMLKEM}, names...)
}

func newTownOf(t testing.TB, suites []string, names ...string) *localTown {
	t.Helper()
	leaks.Check(t)
	pki, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	town := &localTown{t: t, dir: t.TempDir(), pki: pki, addr: "127.0.0.1:0", suites: suites}
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

// startRelay starts the relay, at its earlier address if it had one.
func (town *localTown) startRelay() {
	town.t.Helper()
	cfg := relay.Config{
		State: filepath.Join(town.dir, "relay"), CABundle: filepath.Join(town.dir, "lab", "ca-bundle.pem"),
		CRLDir:  filepath.Join(town.dir, "lab", "crl"),
		Ciphers: town.suites, Failures: 1e6, Letters: true,
	}
	if town.change != nil {
		town.change(&cfg)
	}
	relay, err := relay.New(cfg)
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

func (town *localTown) verifier() *trust.Verifier { return town.verifierBy(trust.PolicyRequire, nil) }

// verifierBy is a verifier with this policy and clock.
func (town *localTown) verifierBy(policy trust.Policy, now func() time.Time) *trust.Verifier {
	town.t.Helper()
	root, err := os.ReadFile(filepath.Join(town.dir, "lab", "ca-bundle.pem"))
	if err != nil {
		town.t.Fatal(err)
	}
	store, err := trust.NewStore(nil, root)
	if err != nil {
		town.t.Fatal(err)
	}
	crls := trust.NewCRLStore()
	if problems := crls.LoadDir(filepath.Join(town.dir, "lab", "crl")); len(problems) > 0 {
		town.t.Fatal(problems)
	}
	return trust.NewVerifier(trust.VerifierConfig{Trust: store, CRLs: crls, Policy: policy, Now: now})
}

type clientOption func(*client.Config)

func (town *localTown) credential(name string) *state.Credential {
	town.t.Helper()
	return town.credentialAt(name, time.Now(), time.Hour)
}

// credentialAt is name's delegation, signed at a given time.
func (town *localTown) credentialAt(name string, then time.Time, lifetime time.Duration) *state.Credential {
	town.t.Helper()
	return town.credentialOf(name, client.Delegation{Name: name, Key: people.Key(town.t, trust.KeyEd25519), Lifetime: lifetime, Now: then})
}

// credentialAs has holder's card sign a delegation under name, for an hour from then on.
func (town *localTown) credentialAs(holder, name string, then time.Time) *state.Credential {
	town.t.Helper()
	return town.credentialOf(holder, client.Delegation{Name: name, Key: people.Key(town.t, trust.KeyEd25519), Lifetime: time.Hour, Now: then})
}

// credentialOf has holder's card sign.
func (town *localTown) credentialOf(holder string, d client.Delegation) *state.Credential {
	town.t.Helper()
	c, err := card.Open(context.Background(), filepath.Join(town.dir, "lab", holder), card.Options{})
	if err != nil {
		town.t.Fatal(err)
	}
	defer c.Close()
	cred, err := client.NewCredential(context.Background(), c, d)
	if err != nil {
		town.t.Fatal(err)
	}
	return cred
}

func (town *localTown) config(name, stateDir string) client.Config {
	town.t.Helper()
	state, err := state.Open(filepath.Join(town.dir, stateDir), name)
	if err != nil {
		town.t.Fatal(err)
	}
	return client.Config{
		Relay: town.addr, Name: name, Takes: proto.TakesMessages, State: state, Verifier: town.verifier(),
		Credential: town.credential(name), AcceptNew: true, Receipts: true,
	}
}

// client connects as name, on the state directory of that name.
func (town *localTown) client(name string, opts ...clientOption) *testClient {
	town.t.Helper()
	return town.clientIn(name, "state-"+name, opts...)
}

func (town *localTown) clientIn(name, stateDir string, opts ...clientOption) *testClient {
	town.t.Helper()
	cfg := town.config(name, stateDir)
	for _, o := range opts {
		o(&cfg)
	}
	return town.dial(cfg)
}

func (town *localTown) dial(cfg client.Config) *testClient {
	town.t.Helper()
	c, err := client.Dial(context.Background(), cfg)
	if err != nil {
		town.t.Fatalf("%s: %v", cfg.Name, err)
	}
	return town.watch(c, cfg)
}

// issue makes a card for a town that exists already.
func (town *localTown) issue(name string, opts ...lab.IssueOption) {
	town.t.Helper()
	_, err := town.pki.Issue(name, opts...)
	if err == nil {
		err = town.pki.Write(filepath.Join(town.dir, "lab"))
	}
	if err != nil {
		town.t.Fatal(err)
	}
}

// subject is a citizen's subject with this common name and civil number.
func subject(commonName, civil string) lab.IssueOption {
	return lab.WithSubject(pkix.Name{Country: []string{"PT"}, CommonName: commonName, SerialNumber: "BI" + civil}.ToRDNSequence())
}

// leaves closes clients, which must not hang.
func leaves(t testing.TB, clients ...*testClient) {
	t.Helper()
	for _, c := range clients {
		ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
		c.Close(ctx)
		if ctx.Err() != nil {
			t.Errorf("%s does not close", c.Name())
		}
		cancel()
	}
}

// historiesHold checks the histories of two who talked with each other: both verify, and each has
// all that the other calls delivered.
func (town *localTown) historiesHold(names ...string) {
	town.t.Helper()
	has := map[string]map[string]history.Status{}
	for _, name := range names {
		dir := filepath.Join(town.dir, "state-"+name, "history")
		town.historyHolds(dir)
		listing, err := history.Read(dir, history.Query{})
		if err != nil {
			town.t.Fatal(err)
		}
		has[name] = map[string]history.Status{}
		for _, m := range listing.Messages {
			has[name][m.ID] = m.Status()
			if !m.Outgoing {
				has[name][m.ID] = ""
			}
		}
	}
	for i, name := range names {
		for id, status := range has[name] {
			if _, there := has[names[1-i]][id]; status.AtLeast(history.StatusDelivered) && !there {
				town.t.Errorf("%s calls %s %s, and it is not in %s's history", name, id, status, names[1-i])
			}
		}
	}
}

// historyHolds checks the history in a directory.
func (town *localTown) historyHolds(dir string) {
	town.t.Helper()
	if r, err := history.Verify(dir, town.verifier()); err != nil || !r.OK() {
		town.t.Errorf("%s: %v\n%+v", dir, err, r)
	}
}

// testClock is the right time plus an offset.
type testClock struct{ off atomic.Int64 }

func (c *testClock) Now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }

func (c *testClock) set(off time.Duration) { c.off.Store(int64(off)) }

// by gives a client this clock for everything.
func (town *localTown) by(name string, clock *testClock) clientOption {
	return func(cfg *client.Config) {
		cfg.Now = clock.Now
		cfg.Verifier = town.verifierBy(trust.PolicyOff, clock.Now)
		cfg.Credential = town.credentialAt(name, clock.Now(), 8*time.Hour)
	}
}
