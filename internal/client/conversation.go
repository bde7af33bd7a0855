package client

import (
	"crypto/sha256"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// converse replaces a connection's conversation with a new one. The peer is
// authenticated from here on.
func (e *engine) converse(pc *peerConn, conv *crypto.Conversation) {
	if err := e.history.Begin(conv, e.local.Bundle); err != nil {
		if !e.turnAway(pc, conv, err) {
			e.unstored(fail.AsError(err))
		}
		conv.Erase()
		return
	}
	e.endConversation(pc, "the other side began anew")
	pc.shake.drop()
	u := pc.user
	renewed := e.remember(u, conv.Person)
	pc.conv, pc.confirmed, pc.first, pc.ending, pc.checked = conv, false, 0, false, time.Time{}
	pc.bundle, pc.party = conv.PeerBundle.Hash(), e.party(conv.PeerBundle, conv.Person)
	pc.last = pc.mailbox()
	e.collect.check = append(e.collect.check, pc)
	if pc.takes = conv.PeerTakes; pc.takes != proto.TakesMessages {
		e.orphan(pc) // what was queued on the relay's word
	}
	pc.shake.tries, pc.refusals.last = 0, ""
	if u.person == nil || u.person.Identity != conv.Person.Identity {
		// Since the name was looked up, its person may have been forgotten or
		// replaced. The yes was to that person.
		k, ok := e.cfg.State.KnownPeer(u.name)
		u.accepted = ok && k.Identity == conv.Person.Identity && k.Accepted
	}
	for _, other := range e.connsOf(u) {
		if other.conv != nil && other.conv.Person.Identity != conv.Person.Identity {
			t3 := other.conv.T3
			e.breakConversation(other, "the name is accepted as another person's now")
			e.sayEnded(other, t3, endedHere)
		}
	}
	if u.identity != conv.Person.Identity {
		u.away = nil // another person's
	}
	u.person, u.identity, u.refusal, u.shown = conv.Person, conv.Person.Identity, nil, pc.name
	if e.cfg.Takes == proto.TakesMessages {
		if err := e.history.RefreshKnown(); err != nil {
			e.problem(err)
		}
	}
	e.adopt(pc)
	e.outbox.changed()
	change := &PeerChange{Name: pc.name, Conn: pc.id, What: "authenticated", Person: conv.Person}
	if renewed {
		change.What = "renewed"
	}
	if u.hasNew(pc.bundle) {
		change.Reason = "with another key, which a card of the same person signed"
	}
	pc.told = true
	e.event(Event{Type: EventPeer, Peer: change})
}

// remember writes down the person of a new name, and a known person's new
// certificate. It returns true for a renewed one.
func (e *engine) remember(u *user, p *trust.Person) (renewed bool) {
	next := e.seen(u, p)
	k, ok := e.cfg.State.KnownPeer(u.name)
	if ok && k.Leaf == next.Leaf {
		return false
	}
	if ok {
		next.Accepted, next.First = k.Accepted, k.First
	}
	if err := e.cfg.State.SetKnownPeer(next); err != nil {
		e.problem(err)
	}
	return ok && k.Leaf != [32]byte{}
}

// seen is the entry of a person who was never seen before under a user's name.
func (e *engine) seen(u *user, p *trust.Person) state.KnownPeer {
	leaf := p.Leaf
	return state.KnownPeer{
		Name: u.name, Identity: p.Identity, CommonName: trust.SubjectName(leaf), Leaf: sha256.Sum256(leaf.Raw), First: e.now(),
	}
}

// endConversation erases a conversation's keys. Records that were not READ go
// back to the queue.
func (e *engine) endConversation(pc *peerConn, reason string) {
	if pc.conv == nil {
		return
	}
	if e.pipe != nil {
		e.pipe.gone(pc, reason)
	}
	e.markTaken(pc)
	e.waiting.add(pc.conv.Person.Identity, -ArrivedCost*len(pc.in.arrived))
	pc.conv.Erase()
	pc.conv = nil
	pc.out.restart()
	pc.in = incoming{}
	pc.lines.forgetRecords()
	pc.shake.deadline = time.Time{}
}

// breakConversation ends a broken conversation and tells of it. The next
// record, there or here, begins a new handshake.
func (e *engine) breakConversation(pc *peerConn, reason string) {
	if pc.conv == nil {
		return
	}
	if err := e.history.Gap(pc.conv.T3, pc.conv.SendDirection(), reason); err != nil {
		if e.turnAway(pc, pc.conv, err) {
			return
		}
		e.problem(err)
	}
	e.endConversation(pc, reason)
	pc.shake.postpone(e.cfg.Again)
	e.event(Event{Type: EventGap, Gap: &Gap{Name: pc.name, Conn: pc.id, Reason: reason}})
}

// endRefused ends a conversation because this side takes nothing more of the peer, and says so. The
// peer is told first how much was taken: the rest is FAILED there. Both are signed, or the relay could
// make FAILED what was taken. conv may not have begun here.
func (e *engine) endRefused(pc *peerConn, conv *crypto.Conversation, why *proto.Error) {
	if told := pc.lines.answerRoom(); told {
		if pc.conv == conv {
			told = e.sayReceived(pc, conv.ReceivedSeq(), pc.in.read) == nil
		}
		if s, err := conv.SealRefusal(proto.Clip(why.Message, proto.MaxMessage), e.now()); told && err == nil {
			e.sendTo(pc, proto.TypeDisconnect, s.Body, 0)
		}
	}
	e.endConversation(pc, why.Message)
}

// then adds the consequence to a reason, but for a pipe: it is never resumed.
func (e *engine) then(reason, next string) string {
	if e.cfg.Takes == proto.TakesPipe {
		return reason
	}
	return reason + "; " + next
}
