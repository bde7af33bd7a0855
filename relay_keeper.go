package chatsecure

import (
	"context"
	"errors"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// How often the keeper looks at things, in seconds of the relay's clock.
const (
	relayListsEvery   = 5   // whether files in the directory of revocation lists changed
	relayExpiryEvery  = 10  // whether something that an identity rests on has ended
	relayRecheckEvery = 600 // every identity anew: lists go out of date without a change
)

// keep is the keeper goroutine: everything that goes by the clock, for all
// connections, so that a connection at rest needs neither timer nor goroutine.
func (r *Relay) keep(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.reload:
			r.reloadTrust()
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
	if now%relayExpiryEvery == 0 {
		r.hub.forget(now)
	}
	switch {
	case now%relayListsEvery == 0 && r.trust.listsChanged(r.log):
		r.recheck(conns)
	case now%relayRecheckEvery == 0:
		r.recheck(conns)
	case now%relayExpiryEvery == 0:
		unix := r.cfg.Now().Unix()
		for _, c := range conns {
			if unix > c.checkAgain.Load() {
				c.recheck()
			}
		}
	}
}

// tick ends the connection if it is lost or takes nothing, and breaks its
// silence.
func (c *relayConn) tick(now int64) {
	const (
		lost      = int64(proto.LostAfter / time.Second)
		stalled   = int64(proto.StalledAfter / time.Second)
		keepAlive = int64(proto.KeepAlive / time.Second)
	)
	since := c.writing.Load()
	switch {
	case since != 0 && now-since > stalled:
		c.end(relayEnding{reason: "slow: it takes nothing", drop: true, stalled: true})
	case now-c.heard.Load() > lost:
		c.end(relayEnding{reason: "lost: silent", drop: true, tell: proto.Errorf(proto.Timeout, "no line for %v", proto.LostAfter)})
	case since == 0 && now-c.wrote.Load() >= keepAlive:
		c.say(relayKeepAlive, nil)
	}
}

var relayKeepAlive = unsignedPayload(&proto.Header{Type: proto.TypeAck})

// reloadTrust reads bundle and lists again and checks everybody against them.
func (r *Relay) reloadTrust() {
	if err := r.trust.reload(r.log); err != nil {
		r.log.Error("reload failed; what was trusted before still is", "error", err)
	} else {
		r.log.Info("reloaded")
	}
	r.recheck(r.hub.all())
}

func (r *Relay) recheck(conns []*relayConn) {
	for _, c := range conns {
		c.recheck()
	}
}

// recheck ends the connection if its identity does not hold any more.
func (c *relayConn) recheck() {
	if c.ended.Load() {
		return
	}
	person, err := c.relay.trust.verify(c.bundle, c.name)
	if err == nil {
		c.checkAgain.Store(relayCheckTime(person))
		return
	}
	if errors.Is(err, errFetching) {
		c.checkAgain.Store(0) // at the next look
		return
	}
	told := relayError(err)
	if told == nil {
		told = proto.Errorf(proto.Internal, "the identity could not be checked again")
	}
	c.end(relayEnding{reason: string(told.Code) + ": " + told.Message, tell: told})
}

// relayCheckTime is when the first of the things that an identity rests on
// ends, in Unix time: the delegation or a certificate of the path.
func relayCheckTime(p *crypto.Person) int64 {
	first := p.Expires
	for _, cert := range p.Path {
		if cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	// Verify gives clocks some room; to ask before is for nothing.
	return first.Add(crypto.ClockTolerance).Unix()
}
