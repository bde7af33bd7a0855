package relay

import (
	"context"
	"errors"
	"time"

	"chatsecure/crypto/trust"
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
		case <-r.reload:
			r.reloadIdentities()
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
	conns := r.hub.all()
	for _, c := range conns {
		c.tick(now)
	}
	if now%expiryEvery == 0 {
		r.hub.forget(now)
	}
	switch {
	case now%listsEvery == 0 && r.identities.listsChanged():
		r.recheck(conns)
	case now%recheckEvery == 0:
		r.recheck(conns)
	case now%expiryEvery == 0:
		unix := r.cfg.Now().Unix()
		for _, c := range conns {
			if unix > c.checkAgain.Load() {
				c.recheck()
			}
		}
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

// reloadIdentities reads the bundle and the lists again and checks every connection
// against them.
func (r *Relay) reloadIdentities() {
	if err := r.identities.reload(); err != nil {
		r.log.Error("reload failed; the former trust stays in force", "error", err)
	} else {
		r.log.Info("reloaded")
	}
	r.recheck(r.hub.all())
}

func (r *Relay) recheck(conns []*conn) {
	for _, c := range conns {
		c.recheck()
	}
}

// recheck ends the connection if its identity no longer holds.
func (c *conn) recheck() {
	if c.ended.Load() {
		return
	}
	person, err := c.relay.identities.verify(c.bundle, c.name)
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
	c.end(ending{reason: string(told.Code) + ": " + told.Message, tell: told})
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
