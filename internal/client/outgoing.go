package client

import (
	"context"
	"slices"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// outgoing holds the records on their way to one connection. queue waits for
// the windows. sent has the records base+1 onward of the conversation.
type outgoing struct {
	queue       []*delivery
	sent        []*delivery
	base        uint64 // everything up to here is READ
	delivered   uint64
	taken       uint64 // up to here the relay has taken records
	marked      uint64 // and the history says so
	quiet       uint64 // taken, as of the last tick
	unackBytes  int    // of records sent and not DELIVERED
	unreadBytes int    // of those in sent
}

// The sender's windows: records that are sent and not DELIVERED, for each
// conversation. They bound the receiver's memory, and the repetition after a
// loss.
const (
	MaxUnackedRecords = 8192
	MaxUnackedBytes   = 4 << 20
)

// MaxUnread bounds the bytes that are sent over one connection and not READ: the
// sender keeps them to send them again. It bounds as well the bytes that are
// received from one person and not READ: see accounts.
const MaxUnread = 64 << 20

// Bounds of one message. They are large enough to spread the cost of its
// signature over many records, and several fit the relay's window.
const (
	batchRecords = 512
	BatchBytes   = 56 << 10
)

// batch counts the records at the head of the queue that one message may carry
// now, and their bytes. It counts none while a window is full.
func (o *outgoing) batch() (n, size int) {
	if o.unackBytes >= MaxUnackedBytes || o.unreadBytes >= MaxUnread {
		return 0, 0
	}
	unacked := len(o.sent) - int(o.delivered-o.base)
	most := min(MaxUnackedRecords-unacked, batchRecords, len(o.queue))
	for n < most && (n == 0 || size+o.queue[n].r.out.size <= BatchBytes) {
		size += o.queue[n].r.out.size
		n++
	}
	return n, size
}

// move takes the first n of the queue for sent.
func (o *outgoing) move(n int) []*delivery {
	batch := o.queue[:n]
	for _, d := range batch {
		o.unackBytes += d.r.out.size
		o.unreadBytes += d.r.out.size
	}
	o.sent = append(o.sent, batch...)
	o.queue = o.queue[n:]
	if len(o.queue) == 0 {
		o.queue = nil // with the memory of what was sent
	}
	return batch
}

// last is the sequence number of the last record sent.
func (o *outgoing) last() uint64 { return o.base + uint64(len(o.sent)) }

// seq returns a record that was sent and is not READ.
func (o *outgoing) seq(n uint64) *delivery { return o.sent[n-o.base-1] }

// undelivered returns what the connection has not got, as far as is known.
func (o *outgoing) undelivered() []*delivery {
	return slices.Concat(o.sent[o.delivered-o.base:], o.queue)
}

// refuse notes the peer's word that nothing was taken of what it has not called DELIVERED.
func (o *outgoing) refuse() {
	for _, d := range o.sent[o.delivered-o.base:] {
		d.r.unanswered--
	}
}

// restart takes back what was not READ, for the next conversation.
func (o *outgoing) restart() {
	*o = outgoing{queue: append(slices.Clone(o.sent), o.queue...)}
}

// pump sends what the windows allow to one connection.
func (e *engine) pump(pc *peerConn) {
	if pc.conv != nil && len(pc.out.queue) > 0 && !pc.user.accepted && !e.acceptLate(pc.user, pc.conv.Person) {
		if !e.cfg.Persistent && !e.cfg.AcceptNew { // the next Send asks
			e.sift(pc, len(pc.out.queue))
		}
		return
	}
	for e.fatal == nil && pc.conv != nil && !pc.ending && !e.goodbye && !e.letterBefore(pc) {
		n, size := pc.out.batch()
		if n == 0 || !pc.lines.roomFor(size+size/4) {
			return
		}
		if n = e.sift(pc, n); n > 0 && !e.sendBatch(pc, n) {
			return
		}
	}
}

// acceptLate decides about a person who connected after Send: by AcceptNew, or by a
// question of a persistent client. It returns false while nothing may be sent.
func (e *engine) acceptLate(u *user, person *trust.Person) bool {
	switch {
	case e.cfg.AcceptNew:
		e.decided(u, person, e.rememberAccepted(u, person))
	case e.cfg.Persistent:
		e.question(u, person)
	}
	return u.accepted
}

// question asks about a new person. Nothing but the messages to this person waits for the answer.
func (e *engine) question(u *user, person *trust.Person) {
	if e.asked[u] != nil || e.leaving {
		return
	}
	ctx, unask := context.WithCancelCause(e.ctx)
	e.asked[u] = unask
	name := u.shown
	e.wg.Go(func() {
		defer unask(nil)
		e.asking.Lock()
		defer e.asking.Unlock()
		err := e.accept(ctx, u, name, person)
		over := ctx.Err() != nil
		e.post(func() {
			delete(e.asked, u)
			if !over {
				e.decided(u, person, err)
			}
		})
	})
}

// decided takes the decision about a person. A refusal gives up all that waits for them: asking
// again at every turn would not help. The next Send asks again.
func (e *engine) decided(u *user, person *trust.Person, refusal error) {
	if refusal == nil {
		u.accepted = u.person != nil && u.person.Identity == person.Identity
		delete(e.trust.of, person.Identity)
		u.watching = true // a refusal of theirs may have ended that
		return
	}
	u.watching = false // nothing is begun with them
	for _, waiting := range e.connsOf(u) {
		e.failQueue(waiting, fail.AsError(refusal))
	}
	e.failUser(u, fail.AsError(refusal))
}

// sift gives up those of the first n queued records that were written to
// another person than this connection's: a record is bound to an identity, and
// another person may have proved the name since. It returns how many are left.
func (e *engine) sift(pc *peerConn, n int) int {
	identity := proto.FormatHash(pc.conv.Person.Identity)
	kept := 0
	for _, d := range pc.out.queue[:n] {
		if d.r.out.record.Names(pc.user.name, identity) {
			pc.out.queue[kept] = d
			kept++
			continue
		}
		e.drop(d)
		e.failed(d.r, fail.Errorf(proto.IdentityChanged, "%s is now another person than the one this was written to", pc.name))
	}
	pc.out.queue = slices.Delete(pc.out.queue, kept, n)
	return kept
}

// sendBatch seals the first n of a connection's queue under one signature,
// stores them, and sends them. It returns false if nothing more can be sent.
func (e *engine) sendBatch(pc *peerConn, n int) bool {
	records := make([]*crypto.Record, n)
	for i, d := range pc.out.queue[:n] {
		records[i] = d.r.out.record
	}
	now := e.now()
	if !e.mayWrite(pc, now) {
		return false
	}
	sealed, exact, err := pc.conv.SealRecords(records, now)
	if err != nil {
		e.breakConversation(pc, "a message could not be sealed: "+err.Error())
		return false
	}
	if err := e.history.Sent(pc.conv, sealed, exact); err != nil {
		e.unstored(fail.AsError(err))
		return false
	}
	e.sendTo(pc, proto.TypeClientCom, sealed.Body, pc.conv.SentSeq())
	freed, bytes := 0, 0
	for _, d := range pc.out.move(n) {
		d.r.sent, d.r.left, d.r.out.kept = true, pc.id, true
		d.r.unanswered++
		if d.r.told && d.r.status == history.StatusPending {
			e.report(d.r, pc.id)
		}
		if d.r.out.held && (!e.cfg.Persistent || d.r.out.done()) { // a script's goes on without the absent
			d.r.out.held = false
			freed++
			bytes += d.r.out.size
		}
	}
	if freed > 0 {
		e.outbox.released(freed, bytes)
	}
	return true
}

// markSent raises everything up to seq to SENT: the relay took it.
func (e *engine) markSent(pc *peerConn, seq uint64) {
	o := &pc.out
	from := max(o.taken, o.delivered, o.base)
	o.taken = seq
	for s := from + 1; s <= min(seq, o.last()); s++ {
		e.reached(o.seq(s).r, history.StatusSent, pc.id)
	}
}

// markTaken writes down how far the relay took records, unless a receipt says
// more.
func (e *engine) markTaken(pc *peerConn) {
	o := &pc.out
	if pc.conv == nil || o.taken <= o.delivered || o.taken == o.marked {
		return
	}
	o.marked = o.taken
	if err := e.history.Taken(pc.conv.T3, pc.conv.SendDirection(), o.taken); err != nil {
		e.problem(err)
	}
}

// onReceipt applies a receipt that crypto has checked.
func (e *engine) onReceipt(pc *peerConn, delivered, read uint64) {
	o := &pc.out
	for s := o.delivered + 1; s <= min(delivered, o.last()); s++ {
		d := o.seq(s)
		d.got = true
		o.unackBytes -= d.r.out.size
		e.reached(d.r, history.StatusDelivered, pc.id)
	}
	o.delivered = max(o.delivered, delivered)
	for o.base < read && len(o.sent) > 0 {
		d := o.sent[0]
		o.sent[0] = nil
		o.sent = o.sent[1:]
		o.base++
		o.unreadBytes -= d.r.out.size
		e.reached(d.r, history.StatusRead, pc.id)
		e.drop(d)
	}
}
