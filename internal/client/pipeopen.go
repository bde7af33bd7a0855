package client

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// pipeOffer is a stream that a peer was asked for.
type pipeOffer struct {
	to     *peerConn // asked, not answered; nil: nobody
	stream uint64
	busy   map[string]time.Time // connections that refused, and until when they are left alone
}

// pipeRetry is the time between a refused offer and the next.
const pipeRetry = 200 * time.Millisecond

// openPipe registers the pipe and waits for an agreed stream with a connection
// of its user's.
func (e *engine) openPipe(ctx context.Context, p *pipe, name string) error {
	if e.cfg.Takes != proto.TakesPipe {
		return fail.Errorf(proto.Usage, "this client was not made for a pipe")
	}
	if err := proto.CheckName(name); err != nil {
		return err
	}
	taken := false
	if err := e.do(ctx, func() {
		if taken = e.pipe != nil; !taken {
			e.registerPipe(p, name)
		}
	}); err != nil {
		return err
	}
	if taken {
		return fail.Errorf(proto.Usage, "a client has one pipe in its life")
	}
	var asks *trust.Person // about whom to ask
	var failed error
	start, asked := time.Now(), false
	over := func(now time.Time) bool {
		is, waited := e.prospect(p.user, proto.TakesPipe), now.Sub(start)
		there := is.there || !is.listed
		switch {
		case p.peer != nil:
		case final(is.refusal):
			failed = is.refusal
		case is.person != nil && !is.accepted && !asked:
			asks, asked = is.person, true
		case !there && waited >= e.cfg.WaitPeer:
			failed = &fail.Error{
				Code: proto.NoSuchName, Message: fmt.Sprintf("%s has no pipe open", name),
				Hint: "start client pipe there as well; -wait-peer lets either side start first",
			}
		case there && waited >= e.cfg.WaitPeer+e.cfg.Timeout:
			failed = fail.Errorf(proto.NotDelivered, "no pipe with %s came about within %v", name, e.cfg.WaitPeer+e.cfg.Timeout)
		default:
			return false
		}
		return true
	}
	for {
		asks = nil
		if err := e.await(ctx, over); err != nil || asks == nil {
			return cmp.Or(err, failed)
		}
		if err := e.accept(ctx, p.user, name, asks); err != nil {
			return err
		}
		if err := e.do(ctx, func() { e.decided(p.user, asks, nil) }); err != nil {
			return err
		}
	}
}

func (e *engine) registerPipe(p *pipe, name string) {
	p.user = e.userFor(name)
	p.user.watching = true
	p.offer.busy = map[string]time.Time{}
	e.pipe = p
	if e.link.sess != nil {
		e.requestWatch(name)
	}
}

// makeOffer asks one connection of the user's for a stream. Of two
// connections the one with the lower id asks, so that offers do not cross.
func (p *pipe) makeOffer() {
	if p.offer.to != nil || !p.user.accepted {
		return
	}
	now := time.Now()
	for _, pc := range p.e.connsOf(p.user) {
		if pc.conv == nil || pc.takes != proto.TakesPipe || p.e.link.sess.ID > pc.id || now.Before(p.offer.busy[pc.id]) {
			continue
		}
		p.offer.to = pc
		p.offer.stream = rand.Uint64()
		p.send(pc, p.offer.stream, FrameOpen, nil)
		return
	}
}

// agree takes a frame about an offer. It returns false for another kind.
func (p *pipe) agree(pc *peerConn, kind byte, stream uint64) bool {
	answers := pc == p.offer.to && stream == p.offer.stream
	switch kind {
	case FrameOpen:
		// One pipe, and with its own user only.
		if p.over || p.peer != nil || p.offer.to != nil || pc.user != p.user || !p.user.accepted {
			p.send(pc, stream, FrameBusy, nil)
			return true
		}
		p.peer, p.stream = pc, stream
		p.send(pc, stream, FrameAccept, nil)
	case FrameAccept:
		if answers && p.peer == nil {
			p.peer, p.stream, p.offer.to = pc, stream, nil
		}
	case FrameBusy:
		if answers {
			p.offer.to = nil
			p.offer.busy[pc.id] = time.Now().Add(pipeRetry)
		}
	default:
		return false
	}
	return true
}
