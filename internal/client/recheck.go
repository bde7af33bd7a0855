package client

import (
	"errors"
	"time"

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

// peerChecks keeps the time of the last check of all peers, and the departed.
type peerChecks struct {
	last     time.Time
	departed []departed
}

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

// verify checks a peer's bundle again: certificates end and are revoked while a
// conversation lasts. A list that is still being fetched refuses nobody here.
func (e *engine) verify(b *trust.Bundle, name string) error {
	_, err := e.cfg.Fetcher.Verify(e.cfg.Verifier, b, name)
	if errors.Is(err, fetch.ErrFetching) {
		return nil
	}
	return err
}

// live checks the peer again, unless that was done within liveEvery.
func (e *engine) live(pc *peerConn) error {
	now := time.Now()
	if d := now.Sub(pc.checked); d >= 0 && d < liveEvery {
		return nil
	}
	err := e.verify(pc.conv.PeerBundle, pc.name)
	if err == nil {
		pc.checked = now
	}
	return err
}

// recheck checks all peers with a conversation again, and the departed.
func (e *engine) recheck(now time.Time) {
	if d := now.Sub(e.checks.last); d >= 0 && d < recheckEvery {
		return
	}
	e.checks.last = now
	for _, pc := range e.conns {
		if pc.conv == nil {
			continue
		}
		if err := e.verify(pc.conv.PeerBundle, pc.name); err != nil {
			e.refuseMessage(pc, err)
		}
	}
	var stay []departed
	for _, d := range e.checks.departed {
		if err := e.verify(d.bundle, d.name); final(err) {
			e.event(Event{Type: EventPeer, Peer: &PeerChange{Name: d.name, Conn: d.conn, What: "refused", Reason: fail.AsError(err).Message}})
		} else if now.Sub(d.at) <= departedFor {
			stay = append(stay, d)
		}
	}
	e.checks.departed = stay
}

// depart remembers a peer whose connection ended without a word.
func (e *engine) depart(pc *peerConn) {
	if len(e.checks.departed) < maxDeparted {
		e.checks.departed = append(e.checks.departed, departed{pc.name, pc.id, pc.conv.PeerBundle, time.Now()})
	}
}
