package client

import (
	"errors"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
)

const (
	// refreshEvery is the time between two looks at the revocation lists' directory.
	refreshEvery = 5 * time.Second
	// recheckEvery is the time between two checks of all peers, silent ones too: a
	// revocation is told within one reload of the lists.
	recheckEvery = 2 * time.Second
	// departedFor bounds the time that the lists take to tell why somebody is gone.
	departedFor = refreshEvery + 2*recheckEvery
	// maxDeparted bounds the departed. The loss of the relay adds none.
	maxDeparted = 64
	// liveEvery is the time for which the last look at a peer's bundle holds.
	liveEvery = time.Second
)

// departed is a peer whose connection ended without a word. Perhaps the relay
// refused them, for a reason that the lists here will show as well.
type departed struct {
	name, conn string
	bundle     *trust.Bundle
	at         time.Time
}

// watchLists looks at the revocation lists in the background, because reading
// a large one takes longer than a message may wait.
func (e *engine) watchLists() {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-e.ended:
			return
		}
		changed, problems := e.cfg.Refresh()
		if changed {
			for _, p := range problems {
				e.event(Event{Type: EventNotice, Notice: "revocation lists: " + p.Error()})
			}
		}
	}
}

// verify looks at a bundle. Any goroutine may call it but the engine's: it may take long.
func (cfg *Config) verify(b *trust.Bundle, name string) (*trust.Person, error) {
	if cfg.Look != nil {
		cfg.Look(name)
	}
	return cfg.Fetcher.Verify(cfg.Verifier, b, name)
}

// verifyAgain looks at a peer's bundle again: certificates end and are revoked while a
// conversation lasts. A list that is still being fetched refuses nobody here.
func (cfg *Config) verifyAgain(b *trust.Bundle, name string) error {
	_, err := cfg.verify(b, name)
	if errors.Is(err, fetch.ErrFetching) {
		return nil
	}
	return err
}

// isFresh tells whether the last look at the peer still holds.
func (pc *peerConn) isFresh(now time.Time) bool {
	d := now.Sub(pc.checked)
	return d >= 0 && d < liveEvery
}

// look begins to look at a peer's bundle again.
func (e *engine) look(pc *peerConn) {
	conv, bundle := pc.conv, pc.conv.PeerBundle
	e.queue(pc, &pc.look, &e.lanes.looks, &step{
		work: func(s *step) { s.err = s.cfg.verifyAgain(bundle, s.name) },
		done: func(s *step) { e.looked(pc, conv, time.Now(), s.err) },
	})
}

// looked takes the result of a look, unless another conversation has begun meanwhile.
func (e *engine) looked(pc *peerConn, conv *crypto.Conversation, at time.Time, err error) {
	switch {
	case pc.conv != conv:
	case err != nil:
		e.refuseMessage(pc, err)
	default:
		pc.checked = at
	}
}

// recheck is one look of watchPeers.
type recheck struct {
	name   string
	bundle *trust.Bundle
	pc     *peerConn // nil: the peer has departed
	conv   *crypto.Conversation
	at     time.Time
	err    error
}

// watchPeers looks at all peers with a conversation again and again, silent ones too, and at
// the departed.
func (e *engine) watchPeers() {
	ticker := time.NewTicker(recheckEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-e.ended:
			return
		}
		var looks []recheck
		e.do(e.ctx, func() { looks = e.due() })
		for i := range looks {
			if e.ctx.Err() != nil {
				return
			}
			looks[i].at = time.Now()
			looks[i].err = e.cfg.verifyAgain(looks[i].bundle, looks[i].name)
		}
		e.do(e.ctx, func() { e.rechecked(looks) })
	}
}

// due lists the looks to take.
func (e *engine) due() (looks []recheck) {
	for _, pc := range e.conns {
		if pc.conv != nil {
			looks = append(looks, recheck{name: pc.name, bundle: pc.conv.PeerBundle, pc: pc, conv: pc.conv})
		}
	}
	for _, d := range e.departed {
		looks = append(looks, recheck{name: d.name, bundle: d.bundle})
	}
	return looks
}

// rechecked takes the results.
func (e *engine) rechecked(looks []recheck) {
	refused := map[*trust.Bundle]error{}
	for _, l := range looks {
		if l.pc != nil {
			e.looked(l.pc, l.conv, l.at, l.err)
		} else if l.pc == nil && final(l.err) {
			refused[l.bundle] = l.err
		}
	}
	now := time.Now()
	e.departed = slices.DeleteFunc(e.departed, func(d departed) bool {
		err := refused[d.bundle]
		if err != nil {
			change := &PeerChange{Name: d.name, Conn: d.conn, What: "refused", Reason: fail.AsError(err).Message}
			e.event(Event{Type: EventPeer, Peer: change})
		}
		return err != nil || now.Sub(d.at) > departedFor
	})
}

// depart remembers a peer whose connection ended without a word.
func (e *engine) depart(pc *peerConn) {
	if len(e.departed) < maxDeparted {
		e.departed = append(e.departed, departed{pc.name, pc.id, pc.conv.PeerBundle, time.Now()})
	}
}
