package chatsecure

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// user is one name that this client talks with or watches. All of it belongs
// to the engine's goroutine.
type user struct {
	name     string // folded
	shown    string // as the user's own bundle has it
	conns    int    // connections that are known of
	watching bool   // the relay tells who comes and leaves
	listed   bool   // the relay has answered once
	accepted bool   // somebody said yes to this person, now or earlier
	identity [32]byte
	person   *crypto.Person    // the last one proved
	refusal  error             // why the last attempt with any connection failed
	met      bool              // the name was known before, accepted or only seen
	bundles  map[[32]byte]bool // that have been proved since the start, up to maxBundles
	greeted  bool              // a message of this person's has been shown since the start
	waiting  int               // what its records take of memory that have arrived and are not shown, or not READ

	orphans []*delivery // waiting for a connection that takes them
	counts  statusCounts
}

// peerConn is one connection of a user's, from the time that the relay or the
// peer itself names it until it is gone.
type peerConn struct {
	id    string
	name  string // as the relay says it
	user  *user
	takes string // empty until the relay has said
	told  bool   // as come or authenticated: its leaving is told, too

	headers     map[string][]byte // header and signature lines to this connection, by type: always the same bytes
	headersName string            // the name they were made for

	// At most one of init and resp is set, beside conv, which a new handshake
	// replaces.
	init     *crypto.Initiator
	resp     *crypto.Responder
	respAt   time.Time // when resp was made
	retried  *crypto.RetryState
	deadline time.Time // of the handshake, or of the peer's first receipt
	again    time.Time // when to begin anew after a failure
	refusals pace      // that are told
	untold   int       // refusals, since the last that was told
	tries    int

	conv      *crypto.Conversation
	confirmed bool      // the peer has sent something in conv
	first     int64     // the time of its first message in conv, Unix milliseconds
	checked   time.Time // when the peer's bundle was last looked at
	bundle    [32]byte
	ending    bool // the peer has said that it ends

	// Outgoing: queue waits for windows, sent has seq sentBase+1 onward.
	queue       []*delivery
	sent        []*delivery
	sentBase    uint64 // everything up to here is READ
	delivered   uint64
	taken       uint64 // up to here the relay has taken records
	takenMark   uint64 // and the history says so
	unackBytes  int    // of records sent and not DELIVERED
	unreadBytes int    // of those in sent
	inflight    []inflightLine
	inflightN   int // bytes

	// Incoming.
	arrived    []*shownMark // not yet READ in order, from readSeq+1
	readSeq    uint64
	saidN      uint64 // delivered and read of our last receipt
	saidM      uint64
	owesAnswer bool // B answers p3 at once
}

// inflightLine is a line that the relay has not acked.
type inflightLine struct {
	line  uint64
	bytes int
	seq   uint64 // last record in it, or 0
	since time.Time
}

// maxConns bounds the peer connections that a client keeps track of: a relay
// could invent any number.
const maxConns = 1 << 15

// maxBundles bounds how many of a user's bundles are remembered, to tell a new
// one: devices and delegations of a day are far fewer.
const maxBundles = 256

// maxHalfOpen bounds the handshakes that others began here and have not
// finished, each some 10 KiB. Beyond it the oldest of whoever has most of them,
// with the new one, gives way: one person with many connections and names must
// not keep others out.
const maxHalfOpen = 64

// maxUsers is how many names are remembered that mean no more than that they
// were met: those are in the file of known peers as well.
const maxUsers = 4096

func (e *engine) userFor(name string) *user {
	folded := proto.FoldName(name)
	u := e.users[folded]
	if u == nil {
		u = &user{name: folded, shown: name}
		if k, ok := e.cfg.State.KnownPeer(folded); ok {
			u.met, u.accepted, u.identity = true, k.Accepted, k.Identity
		}
		e.users[folded] = u
	}
	return u
}

// connFor returns what is known of a connection, made where it is new. It
// returns nil for one that is our own, or one too many.
func (e *engine) connFor(id, name string) *peerConn {
	if pc := e.conns[id]; pc != nil {
		if pc.user.name != proto.FoldName(name) {
			return nil // a connection has one name for life; the relay lies
		}
		return pc
	}
	if id == e.sess.id || len(e.conns) >= maxConns {
		return nil
	}
	pc := &peerConn{id: id, name: name, user: e.userFor(name)}
	e.conns[id] = pc
	pc.user.conns++
	return pc
}

// connsOf returns a user's connections, in the order of their ids.
func (e *engine) connsOf(u *user) []*peerConn {
	var out []*peerConn
	for _, pc := range e.conns {
		if pc.user == u {
			out = append(out, pc)
		}
	}
	slices.SortFunc(out, func(a, b *peerConn) int { return bytes.Compare([]byte(a.id), []byte(b.id)) })
	return out
}

// onPeer takes the relay's word that a connection came or left.
func (e *engine) onPeer(h *proto.Header) {
	if h.Done == proto.Left {
		e.connGone(h.ID, "the connection has left")
		return
	}
	e.connCame(h.ID, h.Name, h.Takes)
}

func (e *engine) connCame(id, name, takes string) {
	if id == e.sess.id {
		return
	}
	_, before := e.conns[id]
	pc := e.connFor(id, name)
	if pc == nil {
		return
	}
	pc.takes, pc.name = takes, name
	if pc.conv != nil {
		e.adopt(pc)
	}
	if !before && takes != proto.TakesNone && (pc.user.person != nil || pc.user.accepted) {
		pc.told = true
		e.event(Event{Type: EventPeer, Peer: &PeerChange{Name: name, Conn: id, What: proto.Came}})
	}
	e.approach(pc)
}

// approach begins a handshake with a connection that something waits for, or
// whose user is being talked with.
func (e *engine) approach(pc *peerConn) {
	u := pc.user
	if e.leaving || pc.conv != nil || pc.init != nil || pc.resp != nil || pc.takes != e.talksWith() || !u.watching {
		return
	}
	if time.Now().Before(pc.again) {
		return
	}
	e.initiate(pc)
}

// talksWith is what a connection must take for this client to begin with it.
func (e *engine) talksWith() string {
	if e.cfg.Takes == proto.TakesPipe {
		return proto.TakesPipe
	}
	return proto.TakesMessages
}

func (e *engine) initiate(pc *peerConn) {
	init, body, err := crypto.Initiate(e.local, e.myEnd(), crypto.End{Name: pc.name, Conn: pc.id})
	if err != nil {
		pc.user.refusal = err
		return
	}
	pc.init = init
	pc.deadline = time.Now().Add(proto.PhaseTimeout)
	e.sendPhase(pc, 1, body)
}

func (e *engine) myEnd() crypto.End { return crypto.End{Name: e.cfg.Name, Conn: e.sess.id} }

func (e *engine) sendPhase(pc *peerConn, phase int, body []byte) {
	e.sendHeader(pc, &proto.Header{Type: proto.TypeClientConnect, Phase: phase, Dst: pc.name, DstID: pc.id}, body, 0)
}

// sendTo sends an end-to-end body. seq is the last record in it, or 0.
func (e *engine) sendTo(pc *peerConn, typ string, body []byte, seq uint64) {
	if pc.headers == nil || pc.headersName != pc.name {
		pc.headers, pc.headersName = map[string][]byte{}, pc.name
	}
	head := pc.headers[typ]
	if head == nil {
		head = unsignedPayload(&proto.Header{Type: typ, Dst: pc.name, DstID: pc.id})
		pc.headers[typ] = head
	}
	e.sendBytes(pc, head, body, seq)
}

func (e *engine) sendHeader(pc *peerConn, h *proto.Header, body []byte, seq uint64) {
	e.sendBytes(pc, unsignedPayload(h), body, seq)
}

// sendBytes sends what keeps to the relay's window. Beyond it the relay would
// end this client's connection; what is lost so is what a peer has provoked
// that takes nothing, and comes to it as if the relay had dropped it.
func (e *engine) sendBytes(pc *peerConn, head, body []byte, seq uint64) {
	if !pc.fits(len(body), 0) {
		return
	}
	line := e.sendLine(head, body)
	pc.inflight = append(pc.inflight, inflightLine{line, len(body), seq, time.Now()})
	pc.inflightN += len(body)
}

// onRelayAck takes the relay's word that everything up to line has been
// written to that connection.
func (e *engine) onRelayAck(dstID string, line uint64) {
	pc := e.conns[dstID]
	if pc == nil {
		return
	}
	for len(pc.inflight) > 0 && pc.inflight[0].line <= line {
		f := pc.inflight[0]
		pc.inflight = pc.inflight[1:]
		pc.inflightN -= f.bytes
		if f.seq > pc.taken {
			e.markSent(pc, f.seq)
		}
	}
}

// onRefusedLine takes the relay's word that it has not passed a line on: there
// will be no ack. A relay that lies gains less than by an ack, which also says
// that it has taken what it was sent.
func (e *engine) onRefusedLine(dstID string, line uint64) {
	pc := e.conns[dstID]
	if pc == nil {
		return
	}
	if i := slices.IndexFunc(pc.inflight, func(f inflightLine) bool { return f.line == line }); i >= 0 {
		pc.inflightN -= pc.inflight[i].bytes
		pc.inflight = slices.Delete(pc.inflight, i, i+1)
	}
}

// verifyPeer is the crypto.VerifyFunc of this client: who the bundle proves,
// and whether that is who the name was before.
func (e *engine) verifyPeer(b *crypto.Bundle, name string) (*crypto.Person, error) {
	person, err := e.cfg.Fetcher.Verify(e.cfg.Verifier, b, name)
	if err != nil {
		return nil, err
	}
	u := e.userFor(name)
	if known, ok := e.cfg.State.KnownPeer(u.name); ok && known.Identity != person.Identity {
		offered := OfferedPeer{person.Identity, person.Leaf.Subject.CommonName, sha256.Sum256(person.Leaf.Raw)}
		return nil, errors.Join(errIdentityChanged(name, known, person), e.cfg.State.OfferPeer(name, offered))
	}
	if u.person != nil && u.person.Identity != person.Identity {
		return nil, Errorf(proto.IdentityChanged, "%s is another person than before in this session", name)
	}
	return person, nil
}

// onClientConnect takes a phase of a handshake.
func (e *engine) onClientConnect(h *proto.Header, body []byte) {
	if e.leaving {
		return
	}
	pc := e.connFor(h.SrcID, h.Src)
	if pc == nil || pc.name != h.Src && pc.conv != nil {
		return // what its conversation binds is the name as it was
	}
	pc.name = h.Src
	switch typ := crypto.PeekPhase(body); {
	case typ == "p1" && h.Phase == 1:
		e.onPhase1(pc, body)
	case typ == "retry" && h.Phase == 2 && pc.init != nil:
		newBody, err := pc.init.Retry(body, e.verifyPeer)
		if err != nil {
			e.attemptFailed(pc, err)
			return
		}
		e.sendPhase(pc, 1, newBody)
	case typ == "p2" && h.Phase == 2 && pc.init != nil:
		body3, conv, err := pc.init.Phase2(body, e.verifyPeer)
		if err != nil {
			e.attemptFailed(pc, err)
			return
		}
		pc.init = nil
		e.sendPhase(pc, 3, body3)
		e.converse(pc, conv)
		pc.deadline = time.Now().Add(proto.PhaseTimeout)
	case typ == "p3" && h.Phase == 3 && pc.resp != nil:
		conv, err := pc.resp.Phase3(body)
		if err != nil {
			return // the honest p3 may still come
		}
		pc.resp, pc.retried = nil, nil
		e.converse(pc, conv)
		pc.confirmed, pc.owesAnswer, pc.deadline = true, true, time.Time{}
	}
}

func (e *engine) onPhase1(pc *peerConn, body []byte) {
	offer, err := crypto.ReadOffer(body, e.myEnd(), crypto.End{Name: pc.name, Conn: pc.id})
	if err != nil {
		e.refusePeer(pc, err)
		return
	}
	for _, other := range e.conns {
		if other.init != nil && bytes.Equal(other.init.Nonce(), offer.Nonce()) {
			return // our own nonce, reflected
		}
	}
	if pc.resp != nil && pc.resp.Answers(offer) {
		return // one p2 for a p1
	}
	if pc.init != nil {
		// Two p1 have crossed: the lower one goes on, at both ends.
		mine, theirs := pc.init.Order(), offer.Order()
		if pc.retried != nil && offer.Retried() {
			theirs = pc.retried.Order()
		}
		if bytes.Compare(mine[:], theirs[:]) <= 0 {
			return
		}
	}
	if !pc.answerRoom() {
		return // it takes no answers
	}
	answer, resp, again, err := offer.Answer(e.local, pc.retried, e.verifyPeer)
	if err == nil && answer == nil {
		err = Errorf(proto.NoCommonSuite, "there is no cipher suite in common")
	}
	if err != nil {
		e.refusePeer(pc, err)
		return
	}
	pc.dropAttempt()
	if resp != nil { // and not a retry, which takes nobody's place
		e.limitHalfOpen(resp)
	}
	pc.resp, pc.retried, pc.respAt = resp, again, time.Now()
	pc.deadline = time.Now().Add(proto.PhaseTimeout)
	e.sendPhase(pc, 2, answer)
}

// limitHalfOpen makes room for one more half-open conversation: see
// maxHalfOpen. Persons are told apart by what they have proved: one may have
// many names.
func (e *engine) limitHalfOpen(next *crypto.Responder) {
	total, of := 0, map[[32]byte]int{next.Person().Identity: 1}
	for _, pc := range e.conns {
		if pc.resp != nil {
			total++
			of[pc.resp.Person().Identity]++
		}
	}
	if total < maxHalfOpen {
		return
	}
	var victim *peerConn
	for _, pc := range e.conns {
		if pc.resp == nil {
			continue
		}
		if victim == nil {
			victim = pc
			continue
		}
		has, most := of[pc.resp.Person().Identity], of[victim.resp.Person().Identity]
		if has > most || has == most && pc.respAt.Before(victim.respAt) {
			victim = pc
		}
	}
	victim.dropAttempt()
}

// attemptFailed ends our attempt at a conversation. What may pass is tried
// again later; a refusal settles the user's fate for what waits.
func (e *engine) attemptFailed(pc *peerConn, err error) {
	if pc == nil || pc.init == nil {
		return
	}
	pc.dropAttempt()
	e.postpone(pc)
	ee := AsError(err)
	if errors.Is(err, crypto.ErrDecrypt) {
		ee = &Error{Code: proto.DecryptFailed, Message: fmt.Sprintf("the handshake with %s does not hold: what came is not what was sent", pc.name), Err: err}
	} else if errors.Is(err, crypto.ErrHandshake) {
		ee = &Error{Code: proto.Malformed, Message: fmt.Sprintf("the handshake with %s: %v", pc.name, err), Err: err}
	}
	// Who has proved itself over another connection is not refused over this
	// one, which anybody between could have added.
	if !final(ee) || !e.proved(pc.user) {
		pc.user.refusal = ee
	}
	if ee.Code == proto.Busy || errors.Is(err, errFetching) {
		return // it begins anew by itself
	}
	e.tellRefusal(pc, ee.Message)
	if final(ee) {
		e.failUser(pc.user, ee)
	}
}

// proved tells whether there is a conversation with a user.
func (e *engine) proved(u *user) bool {
	return slices.ContainsFunc(e.connsOf(u), func(pc *peerConn) bool { return pc.conv != nil })
}

// postpone sets when the next attempt may begin: doubling from a second, with
// chance in it, so that two sides that failed do not meet again at once.
func (e *engine) postpone(pc *peerConn) {
	wait := min(e.cfg.again<<min(pc.tries, 5), backoffMax)
	pc.tries++
	pc.again = time.Now().Add(wait/2 + rand.N(wait/2+1))
}

func (pc *peerConn) dropAttempt() {
	if pc.init != nil {
		pc.init.Erase()
		pc.init = nil
	}
	if pc.resp != nil {
		pc.resp.Erase()
		pc.resp = nil
	}
}

func (pc *peerConn) eraseAll() {
	pc.dropAttempt()
	if pc.conv != nil {
		pc.conv.Erase()
		pc.conv = nil
	}
}

// converse takes a conversation into use, in the place of an older one: the
// peer is authenticated from here on.
func (e *engine) converse(pc *peerConn, conv *crypto.Conversation) {
	if err := e.history.Begin(conv, e.local.Bundle); err != nil {
		conv.Erase()
		e.end(AsError(err))
		return
	}
	e.endConversation(pc, "the other side began anew")
	pc.dropAttempt()
	u := pc.user
	renewed := e.remember(u, pc.name, conv.Person)
	pc.conv, pc.confirmed, pc.first, pc.ending = conv, false, 0, false
	pc.bundle = conv.PeerBundle.Hash()
	pc.tries = 0
	if u.person == nil {
		// Whoever had the name was forgotten, or another was accepted in their
		// place, since it was looked up: the yes was to another person.
		k, ok := e.cfg.State.KnownPeer(u.name)
		u.accepted = ok && k.Identity == conv.Person.Identity && k.Accepted
	}
	u.person, u.identity, u.refusal, u.shown = conv.Person, conv.Person.Identity, nil, pc.name
	if e.cfg.Takes == proto.TakesMessages {
		if err := e.history.RefreshKnown(); err != nil {
			e.event(Event{Type: EventError, Err: AsError(err)})
		}
	}
	e.adopt(pc)
	e.outbox.changed()
	change := &PeerChange{Name: pc.name, Conn: pc.id, What: "authenticated", Person: conv.Person}
	if renewed {
		change.What = "renewed"
	}
	if !u.bundles[pc.bundle] && len(u.bundles) < maxBundles {
		if u.bundles == nil {
			u.bundles = map[[32]byte]bool{}
		} else {
			change.Reason = "with another key, which a card of the same person signed"
		}
		u.bundles[pc.bundle] = true
	}
	pc.told = true
	e.event(Event{Type: EventPeer, Peer: change})
}

// remember keeps who was met, as seen, where the name is new; it tells whether
// a known person has come with another certificate.
func (e *engine) remember(u *user, name string, p *crypto.Person) (renewed bool) {
	leaf := sha256.Sum256(p.Leaf.Raw)
	k, ok := e.cfg.State.KnownPeer(u.name)
	if ok && k.Leaf == leaf {
		return false
	}
	next := KnownPeer{Name: u.name, Identity: p.Identity, CommonName: p.Leaf.Subject.CommonName, Leaf: leaf, First: e.now()}
	if ok {
		next.Accepted, next.First = k.Accepted, k.First
	}
	if err := e.cfg.State.SetKnownPeer(next); err != nil {
		e.event(Event{Type: EventError, Err: AsError(err)})
	}
	return ok
}

// endConversation drops a conversation's keys and takes back what was not
// READ, to be sent again.
func (e *engine) endConversation(pc *peerConn, reason string) {
	if pc.conv == nil {
		return
	}
	if e.pipe != nil {
		e.pipe.gone(pc, reason)
	}
	e.markTaken(pc)
	pc.conv.Erase()
	pc.conv = nil
	pc.queue = append(slices.Clone(pc.sent), pc.queue...)
	pc.sent, pc.sentBase, pc.delivered, pc.taken, pc.takenMark, pc.unackBytes, pc.unreadBytes = nil, 0, 0, 0, 0, 0, 0
	pc.user.waiting -= arrivedCost * len(pc.arrived)
	pc.arrived, pc.readSeq, pc.saidN, pc.saidM, pc.owesAnswer = nil, 0, 0, 0, false
	for i := range pc.inflight {
		pc.inflight[i].seq = 0 // of the next conversation it says nothing
	}
	pc.deadline = time.Time{}
}

// breakConversation ends a conversation that does not hold any more, and says
// so; both sides shake hands again if there is something to say.
func (e *engine) breakConversation(pc *peerConn, reason string) {
	if pc.conv == nil {
		return
	}
	if err := e.history.Gap(pc.conv.T3, reason); err != nil {
		e.event(Event{Type: EventError, Err: AsError(err)})
	}
	e.endConversation(pc, reason)
	e.postpone(pc)
	e.event(Event{Type: EventGap, Gap: &Gap{Name: pc.name, Conn: pc.id, Reason: reason}})
}

// then adds to a reason what follows from it. A pipe is never resumed.
func (e *engine) then(reason, next string) string {
	if e.cfg.Takes == proto.TakesPipe {
		return reason
	}
	return reason + "; " + next
}

// connGone takes the relay's word, or the peer's end, that a connection is
// not there any more.
func (e *engine) connGone(id, reason string) {
	pc := e.conns[id]
	if pc == nil {
		return
	}
	talked, ended := pc.conv != nil, pc.ending
	if talked && !ended && len(e.departed) < maxDeparted {
		e.departed = append(e.departed, departed{pc.name, id, pc.conv.PeerBundle, time.Now()})
	}
	e.dropConn(id, reason)
	// One that proved itself before the relay knew that this one is dead may be
	// the same person's only one.
	for _, other := range e.connsOf(pc.user) {
		if other.conv != nil && !other.ending && !e.leaving {
			e.adopt(other)
		}
	}
	e.outbox.changed()
	if pc.told {
		change := &PeerChange{Name: pc.name, Conn: id, What: proto.Left}
		if talked && !ended {
			change.Reason = "cut short: " + reason
		}
		e.event(Event{Type: EventPeer, Peer: change})
	}
}

// dropConn forgets a connection. What it has not READ waits for another.
func (e *engine) dropConn(id, reason string) {
	pc := e.conns[id]
	e.endConversation(pc, reason)
	pc.eraseAll()
	delete(e.conns, id)
	pc.user.conns--
	e.orphan(pc)
	e.forgetUser(pc.user)
}

// forgetUser lets go of a name that means nothing here: the relay could invent
// any number. Who is watched, was met or has something waiting stays.
func (e *engine) forgetUser(u *user) {
	if u.watching || u.accepted || len(u.orphans) > 0 || u.counts.total > 0 || u.conns > 0 || u.waiting > 0 {
		return
	}
	if (u.met || u.person != nil) && len(e.users) <= maxUsers {
		return
	}
	delete(e.users, u.name)
}

// onPeerError takes an error that a peer sent through the relay. Anybody
// between could have made it, so it decides nothing but to try again or to
// give up.
func (e *engine) onPeerError(h *proto.Header, perr *proto.Error, body []byte) {
	pc := e.conns[h.SrcID]
	if pc == nil {
		return
	}
	if h.Code != proto.NoConversation {
		e.attemptFailed(pc, &Error{Code: perr.Code, Message: fmt.Sprintf("%s refuses: %s", pc.name, perr.Message), Err: perr})
		return
	}
	if pc.conv != nil && bytes.Equal(body, pc.conv.T3[:]) {
		e.breakConversation(pc, e.then("the other side does not know the conversation any more", "it begins anew"))
	}
}

// tickConn looks at one connection's time-outs.
func (e *engine) tickConn(pc *peerConn, now time.Time) {
	switch {
	case !pc.deadline.IsZero() && now.After(pc.deadline):
		pc.deadline = time.Time{}
		switch {
		case pc.init != nil || pc.resp != nil:
			if pc.init != nil {
				pc.user.refusal = Errorf(proto.Timeout, "%s does not answer the handshake", pc.name)
			}
			pc.dropAttempt()
			e.postpone(pc)
		case pc.conv != nil && !pc.confirmed:
			e.breakConversation(pc, e.then("the other side did not confirm the conversation", "it begins anew"))
		}
	case pc.conv != nil && len(pc.inflight) > 0 && now.Sub(pc.inflight[0].since) > proto.AckTimeout:
		for i := range pc.inflight {
			pc.inflight[i].since = now // the relay still counts them
		}
		e.breakConversation(pc, e.then("the relay does not pass messages on", "the conversation begins anew"))
	}
	if e.sess != nil {
		if pc.conv == nil && (len(pc.queue) > 0 || len(pc.user.orphans) > 0 || pc.user.watching) {
			e.approach(pc)
		}
	}
}

func hexIdentity(id [32]byte) string { return hex.EncodeToString(id[:]) }
