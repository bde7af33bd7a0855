package chatsecure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// DefaultMaxConns is how many connections a relay has at once unless told
// otherwise: twice what its memory at rest is measured for.
const DefaultMaxConns = 20000

// RelayConfig is what a Relay needs. The zero value of an optional field means
// its default.
type RelayConfig struct {
	State     string        // directory of the relay's key and of the names; made if need be
	Roots     []byte        // authorities to trust in PEM, as Mozilla lists them; optional
	CABundle  string        // PEM file with further authorities to trust; optional
	CRLDir    string        // directory with revocation lists; optional
	CRLPolicy crypto.Policy // default crypto.PolicyTry
	Fetch     bool          // fetch revocation lists that certificates name, by HTTP
	Ciphers   []string      // suites allowed; default all
	MaxConns  int           // connections at once; default DefaultMaxConns
	Log       *slog.Logger  // default: nothing is logged

	// FetchPrivate fetches from loopback, link-local and private addresses too.
	FetchPrivate bool

	Now func() time.Time // tests own the clock; default time.Now

	maxHeld  int64         // tests have less than relayMaxHeld
	ofPerson int           // tests have more connections of one person than relayMaxOfPerson, or fewer
	patience time.Duration // for one handshake; tests have less than proto.HandshakeTimeout

	// readyKey gives the KEM key of a handshake; tests that shake hands ten
	// thousand times have no time to make RSA keys. Default KeySource.Ready.
	readyKey func(crypto.Suite) (crypto.KEMKey, bool)
}

// Relay passes lines between the connections of clients. It knows who they
// are and who talks to whom; what they say is sealed end to end.
type Relay struct {
	cfg   RelayConfig
	log   *slog.Logger
	key   *crypto.Key
	lock  *os.File
	trust *relayTrust
	names *registry
	keys  crypto.KeySource

	halfOpen *relayHalfOpen
	workers  chan struct{} // a token for each handshake that may compute at once
	hub      *relayHub
	memory   *relayMemory
	seconds  atomic.Int64   // the keeper's clock, from 1 on
	reload   chan struct{}  // asks the keeper to read bundle and lists again
	conns    sync.WaitGroup // every goroutine that serves a connection
}

// RelayCiphers returns the suites that a relay allows unless told otherwise,
// best first.
func RelayCiphers() []string { return crypto.SuiteNames() }

// SetCiphers allows the suites of a list with commas. An empty list allows all.
func (cfg *RelayConfig) SetCiphers(list string) error {
	cfg.Ciphers = nil
	if list == "" {
		return nil
	}
	for name := range strings.SplitSeq(list, ",") {
		if crypto.SuiteByName(name) == nil {
			return fmt.Errorf("-ciphers: there is no suite %q", name)
		}
		cfg.Ciphers = append(cfg.Ciphers, name)
	}
	return nil
}

// SetPolicy sets CRLPolicy by its word: try, require or off.
func (cfg *RelayConfig) SetPolicy(word string) (err error) {
	cfg.CRLPolicy, err = crypto.ParsePolicy(word)
	return err
}

// NewRelay opens the state directory, which one relay at a time may use, and
// reads the trusted authorities and revocation lists.
func NewRelay(cfg RelayConfig) (*Relay, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.patience == 0 {
		cfg.patience = proto.HandshakeTimeout
	}
	if cfg.maxHeld == 0 {
		cfg.maxHeld = relayMaxHeld
	}
	if cfg.ofPerson == 0 {
		cfg.ofPerson = relayMaxOfPerson
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if len(cfg.Ciphers) == 0 {
		cfg.Ciphers = crypto.SuiteNames()
	}
	for _, name := range cfg.Ciphers {
		if crypto.SuiteByName(name) == nil {
			return nil, fmt.Errorf("unknown cipher suite %q", name)
		}
	}
	r := &Relay{
		cfg: cfg, log: cfg.Log,
		halfOpen: newRelayHalfOpen(relayMaxHalfOpen, relayMaxHalfOpenAddr),
		// Handshakes may take half of the processors, so that a storm of them
		// leaves the other half to those who talk.
		workers: make(chan struct{}, (runtime.GOMAXPROCS(0)+1)/2),
		hub:     newRelayHub(cfg.MaxConns, cfg.ofPerson),
		memory:  newRelayMemory(cfg.maxHeld),
		reload:  make(chan struct{}, 1),
	}
	if r.cfg.readyKey == nil {
		r.cfg.readyKey = r.keys.Ready
	}
	r.seconds.Store(1)
	if err := r.open(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Relay) open() error {
	var err error
	if r.key, err = loadRelayKey(r.cfg.State); err != nil {
		return err
	}
	path := filepath.Join(r.cfg.State, "relay.lock")
	if r.lock, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, stateFileMode); err != nil {
		return err
	}
	if err := flock(r.lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return &Error{
			Code: proto.Internal, Message: "another relay uses the state directory " + r.cfg.State,
			Hint: "end that one first, or give this one a state directory of its own with -state", Err: err,
		}
	}
	if r.names, err = openRegistry(filepath.Join(r.cfg.State, "names")); err != nil {
		return err
	}
	r.trust, err = newRelayTrust(&r.cfg)
	if err != nil {
		return err
	}
	for _, name := range r.cfg.Ciphers {
		if name != crypto.SuiteMLKEM {
			r.keys.Fill()
		}
	}
	return nil
}

// Close gives back what NewRelay took. Serve must have returned.
func (r *Relay) Close() {
	r.keys.Close()
	if r.trust != nil {
		r.trust.fetcher.Close()
	}
	if r.lock != nil {
		r.lock.Close()
	}
	if r.key != nil {
		r.key.Erase()
	}
}

// Fingerprint returns the fingerprint of the relay's key, as RelayFingerprint
// does.
func (r *Relay) Fingerprint() string { return crypto.Fingerprint(r.key.Public().SPKI()) }

// Reload makes the relay read the CA bundle and the revocation lists again and
// check every live connection against them. It does not wait for that.
func (r *Relay) Reload() {
	select {
	case r.reload <- struct{}{}:
	default: // it has been asked already
	}
}

// Serve takes connections from ln until ctx ends. Then it closes ln, tells the
// clients, gives them a few seconds to take what is queued for them, and
// returns nil when every connection is closed. A Relay serves once.
func (r *Relay) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	keeperCtx, stopKeeper := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { r.keep(keeperCtx) })

	r.log.Info("listening", "addr", ln.Addr().String(), "fingerprint", r.Fingerprint())
	err := r.accept(ctx, ln)
	if ctx.Err() != nil {
		err = nil
	}
	if stop() {
		ln.Close()
	}
	r.log.Info("stopping", "conns", r.hub.count())
	r.halfOpen.close()
	r.trust.fetcher.Close() // who waits for a list waits no longer
	for _, c := range r.hub.close() {
		c.end(relayEnding{reason: "shutdown", tell: proto.Errorf(proto.Shutdown, "the relay is stopping")})
	}
	r.conns.Wait()
	stopKeeper()
	keeper.Wait()
	return err
}

// Accepting rests after a failure such as a lack of descriptors, which only
// others can end: for relayAcceptPause, twice as long after each further one.
const (
	relayAcceptPause    = 10 * time.Millisecond
	relayMaxAcceptPause = time.Second
)

func (r *Relay) accept(ctx context.Context, ln net.Listener) error {
	pause := relayAcceptPause
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err
			}
			r.log.Warn("no connection can be taken for a moment", "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, relayMaxAcceptPause)
			continue
		}
		pause = relayAcceptPause
		v := r.halfOpen.enter(ctx, conn)
		if v == nil {
			conn.Close()
			continue
		}
		r.conns.Go(func() { r.greet(v) })
	}
}
