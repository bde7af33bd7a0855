package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// The intervals of the keeper's checks, in seconds of the relay's clock.
const (
	listsEvery   = 5   // for changed files in the directory of revocation lists
	expiryEvery  = 10  // for delegations and certificates that have ended
	recheckEvery = 600 // of every identity: lists go out of date without a change
)

// keep is the keeper goroutine: it does all timed work, for all connections, so
// that a connection at rest needs neither timer nor goroutine.
func (r *Relay) keep(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.memory.pressure:
			r.relieve()
		case <-ticker.C:
			r.tick()
		}
	}
}

// tick is one second.
func (r *Relay) tick() {
	now := r.seconds.Add(1)
	for _, c := range r.hub.all() {
		c.tick(now)
	}
	if now%expiryEvery == 0 {
		r.hub.forget(now)
	}
	if now%listsEvery == 0 {
		r.checks.add(checkLists)
	}
	if now%expiryEvery == 0 {
		r.turns.forget()
		r.checks.add(checkExpired)
	}
	if now%recheckEvery == 0 {
		r.checks.add(checkAll)
	}
}

// tick ends the connection if it is lost or takes nothing, and sends an ack into a
// silence.
func (c *conn) tick(now int64) {
	const (
		lost      = int64(proto.LostAfter / time.Second)
		stalled   = int64(proto.StalledAfter / time.Second)
		keepAlive = int64(proto.KeepAlive / time.Second)
	)
	since := c.writing.Load()
	switch {
	case since != 0 && now-since > stalled:
		c.end(ending{reason: "slow: it takes nothing", drop: true, stalled: true})
	case now-c.heard.Load() > lost:
		c.end(ending{reason: "lost: silent", drop: true, tell: proto.Errorf(proto.Timeout, "no line for %v", proto.LostAfter)})
	case since == 0 && now-c.wrote.Load() >= keepAlive:
		c.say(anyAck, nil)
	}
}

// anyAck says only that the relay is alive.
var anyAck = proto.UnsignedPayload(&proto.Header{Type: proto.TypeAck})

// checks are the checks of identities that are due. Several at once become one.
type checks struct {
	due  atomic.Uint32
	wake chan struct{} // capacity 1
}

const (
	checkFiles   = 1 << iota // read every file again, and check all identities
	checkLists               // look for changed revocation lists, and then check all
	checkExpired             // check the identities of which something has ended
	checkAll
)

func (c *checks) add(check uint32) {
	c.due.Or(check)
	select {
	case c.wake <- struct{}{}:
	default: // an earlier check is still waiting
	}
}

// inspect is the inspector goroutine. It checks live connections again, beside the
// keeper: thousands of certificates take longer than a second.
func (r *Relay) inspect() {
	for {
		select {
		case <-r.running.Done():
			return
		case <-r.checks.wake:
		}
		due := r.checks.due.Swap(0)
		if due&checkFiles != 0 {
			r.readFiles()
			due |= checkAll
		}
		if due&checkLists != 0 && r.identities.listsChanged() {
			due |= checkAll
		}
		if due&checkExpired != 0 {
			r.letters.expire()
		}
		conns := r.hub.all()
		if due&checkAll == 0 {
			unix := r.cfg.Now().Unix()
			conns = slices.DeleteFunc(conns, func(c *conn) bool { return due&checkExpired == 0 || unix <= c.checkAgain.Load() })
		}
		r.recheck(conns)
	}
}

// readFiles reads the files of the operator again. The people whom the relay does not serve
// by now go at once, before the check of all, which takes signatures.
func (r *Relay) readFiles() {
	problems := r.identities.readGroup()
	for _, c := range r.hub.all() {
		if refused := r.identities.group.admit(c.identity, c.authorities); refused != nil {
			c.refuse(refused, refused)
		}
	}
	r.letters.shutOut(&r.identities.group)
	problems = append(problems, r.identities.reload()...)
	for _, problem := range problems {
		problem.log(r.log)
	}
	r.takeFreed()
	switch n := len(problems); n {
	case 0:
		r.log.Info("reloaded")
	case 1:
		r.log.Warn("reloaded, but for 1 file")
	default:
		r.log.Warn(fmt.Sprintf("reloaded, but for %d files", n))
	}
}

// recheck checks identities, and breaks off for changed files: a check of all follows on
// these. It has every second turn of a worker.
func (r *Relay) recheck(conns []*conn) {
	for _, c := range conns {
		if r.checks.due.Load()&checkFiles != 0 {
			return
		}
		turn, err := r.turns.take(r.running, &r.turns.inspector, true)
		if err != nil {
			return
		}
		c.recheck()
		r.turns.give(turn)
	}
}

// recheck ends the connection if its identity no longer holds.
func (c *conn) recheck() {
	if c.ended.Load() {
		return
	}
	person, err := c.relay.verify(c.bundle, c.name)
	if err == nil {
		c.checkAgain.Store(checkTime(person))
		return
	}
	if errors.Is(err, fetch.ErrFetching) {
		c.checkAgain.Store(0) // at the next check
		return
	}
	told := tellable(err)
	if told == nil {
		told = proto.Errorf(proto.Internal, "the identity could not be checked again")
	}
	c.relay.letters.refused(told, nil, c.bundle)
	c.refuse(told, err)
}

// refuse ends a live connection whose identity is refused.
func (c *conn) refuse(told *proto.Error, err error) {
	c.end(ending{reason: fmt.Sprintf("%s: %s (identity %s)", told.Code, fail.Text(err), proto.FormatHash(c.identity)), tell: told})
}

// checkTime returns the Unix time at which the delegation or the first certificate
// of the path ends.
func checkTime(p *trust.Person) int64 {
	first := p.Expires
	for _, cert := range p.Path {
		if cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	// Verify still accepts it within the tolerance for wrong clocks.
	return first.Add(trust.ClockTolerance).Unix()
}
