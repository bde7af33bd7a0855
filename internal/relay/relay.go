// Package relay passes messages between the connections of clients: PROTOCOL.md,
// "Connect", "Secure lines" and "Requests and routing", seen from the relay. It
// checks the identity of each client and keeps the owner of each name. It cannot
// read, alter or make up a message, because clients encrypt and sign end to end.
// It stores letters alone, sealed, until they are collected.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// Relay is one relay. It knows the identities of its clients and the partners of
// each conversation, and none of the text.
type Relay struct {
	cfg        Config
	log        *slog.Logger
	key        *trust.Key
	lock       *os.File
	identities *identities
	names      *registry
	letters    *letters
	keys       crypto.KeySource
	visitors   journal[netip.Prefix] // about refused ones
	residents  journal[[32]byte]     // about people who were let in

	halfOpen *halfOpen
	turns    *turns // of the work on certificates
	hub      *hub
	memory   *memory
	seconds  atomic.Int64   // the keeper's clock, from 1 on
	checks   checks         // due for the inspector
	conns    sync.WaitGroup // every goroutine that serves a connection

	running context.Context // ends when the relay stops
	stop    context.CancelFunc
}

// New opens the state directory, which one relay at a time may use, and reads
// the trusted authorities and the revocation lists.
func New(cfg Config) (*Relay, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r := &Relay{
		cfg: cfg, log: cfg.Log,
		// Certificates take at most half of the processors. Under a storm of
		// handshakes the other half still serves the connected clients.
		turns:    newTurns((runtime.GOMAXPROCS(0)+1)/2, cfg.Failures),
		hub:      newHub(cfg.MaxConns, cfg.ofPerson),
		memory:   newMemory(cfg.maxHeld),
		visitors: journal[netip.Prefix]{strangers: true},
		checks:   checks{wake: make(chan struct{}, 1)},
	}
	r.halfOpen = newHalfOpen(MaxHalfOpen, MaxHalfOpenAddr, r.turns)
	r.running, r.stop = context.WithCancel(context.Background())
	if r.cfg.Key == nil {
		r.cfg.Key = r.keys.Await
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
	if r.key, err = loadKey(r.cfg.State); err != nil {
		return err
	}
	r.lock, err = lockFile(filepath.Join(r.cfg.State, relayLock))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return &fail.Error{
			Code: proto.Internal, Message: "another relay uses the state directory " + proto.Visible(r.cfg.State),
			Hint: "end that one first, or give this one a state directory of its own with -state", Err: err,
		}
	}
	if err != nil {
		return err
	}
	r.sweep()
	if r.names, err = openRegistry(filepath.Join(r.cfg.State, namesFile), r.log); err != nil {
		return err
	}
	r.letters, err = openLetters(&r.cfg, filepath.Join(r.cfg.State, lettersDir), r.conns.Go)
	if err != nil {
		return fmt.Errorf("letters: %w", err)
	}
	r.takeFreed()
	r.identities, err = newIdentities(&r.cfg)
	if err != nil {
		return err
	}
	r.letters.shutOut(&r.identities.group)
	for _, name := range r.cfg.Ciphers {
		if name != crypto.SuiteMLKEM {
			r.keys.Fill()
		}
	}
	return nil
}

// relayLock is the file that a running relay has locked.
const relayLock = "relay.lock"

// lockFile locks a file until it is closed. It does not wait: the error is
// syscall.EWOULDBLOCK while another process has the lock.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, state.FileMode)
	if err != nil {
		return nil, err
	}
	if err := state.Flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// sweep removes the half-written files of an earlier crash. The lock of the state
// directory is held, so no other relay is writing one. A file that stays does no
// harm.
func (r *Relay) sweep() {
	entries, err := os.ReadDir(r.cfg.State)
	for _, entry := range entries {
		if !state.IsTemp(entry.Name()) || !entry.Type().IsRegular() {
			continue
		}
		// relay -fingerprint may have finished its own meanwhile.
		if rm := os.Remove(filepath.Join(r.cfg.State, entry.Name())); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = rm
		}
	}
	if err != nil {
		r.log.Warn("half-written files stay in the state directory", "error", err)
	}
}

// Close releases the resources of New. Serve must have returned. It waits no longer
// than closeWithin for a key or a fetch that is in the making. While a name is still being
// written, the state directory stays locked.
func (r *Relay) Close() {
	r.stop()
	waitFor(closeWithin, func() {
		r.conns.Wait()
		if r.lock != nil {
			r.lock.Close()
		}
		r.keys.Close()
		if r.identities != nil {
			r.identities.fetcher.Close()
		}
	})
	if r.key != nil {
		r.key.Erase()
	}
}

// The bounds on the end, which is over within two seconds.
const (
	// lastGrace bounds the time in which a client may read its queue when the relay
	// stops, and the wait for its own end after that.
	lastGrace = 600 * time.Millisecond
	// stopWithin bounds the wait for everything that serves a connection. Work that
	// takes longer, such as a write to a slow disk, is left behind.
	stopWithin  = 1500 * time.Millisecond
	closeWithin = 300 * time.Millisecond
)

// atMost returns d, or less once the relay stops.
func (r *Relay) atMost(d time.Duration) time.Duration {
	if r.running.Err() != nil {
		return min(d, lastGrace)
	}
	return d
}

// waitFor waits for work, no longer than d, and reports whether it has ended.
func waitFor(d time.Duration, work func()) bool {
	done := make(chan struct{})
	go func() {
		work()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// Fingerprint returns the fingerprint of the relay's key, like the function
// Fingerprint.
func (r *Relay) Fingerprint() string { return trust.Fingerprint(r.key.Public().SPKI()) }

// Reload makes the relay read the CA bundle, the revocation lists and the closed group
// again, check every live connection against them, and take the names of relay -free.
// It returns at once.
func (r *Relay) Reload() { r.checks.add(checkFiles) }

// Serve accepts connections from ln until ctx ends. Then it closes ln, tells the
// clients, gives them a moment to read their queues, and returns nil within
// stopWithin. A Relay serves once.
func (r *Relay) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	var keeper sync.WaitGroup
	keeperCtx, stopKeeper := context.WithCancel(context.WithoutCancel(ctx))
	keeper.Go(func() { r.keep(keeperCtx) })
	r.conns.Go(r.inspect)

	r.log.Info("listening", "addr", ln.Addr().String(), "fingerprint", r.Fingerprint())
	err := r.accept(ctx, ln)
	if ctx.Err() != nil {
		err = nil
	}
	if stop() {
		ln.Close()
	}
	r.log.Info("stopping", "conns", r.hub.count())
	r.stop()
	r.halfOpen.close()
	for _, c := range r.hub.close() {
		c.end(ending{reason: "shutdown", tell: proto.Errorf(proto.Shutdown, "the relay is stopping")})
	}
	ended := waitFor(stopWithin, func() {
		r.conns.Wait()
		stopKeeper()
		keeper.Wait()
	})
	if !ended {
		stopKeeper()
		r.log.Warn("stopped before all work had ended")
	}
	return err
}

// After a failed Accept, such as a lack of descriptors, only other events can
// help. The relay pauses for acceptPause, and twice as long after each further
// failure.
const (
	acceptPause    = 10 * time.Millisecond
	maxAcceptPause = time.Second
)

func (r *Relay) accept(ctx context.Context, ln net.Listener) error {
	pause := acceptPause
	for {
		socket, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err
			}
			r.log.Warn("no connection can be taken for a moment", "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, maxAcceptPause)
			continue
		}
		pause = acceptPause
		v := r.halfOpen.enter(ctx, socket)
		if v == nil {
			socket.SetDeadline(time.Now().Add(time.Millisecond)) // a new socket's buffer has room
			socket.Write(clearError(tooMany))
			socket.Close()
			continue
		}
		r.conns.Go(func() { r.greet(v) })
	}
}
