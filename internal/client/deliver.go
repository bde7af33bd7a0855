package client

import (
	"cmp"
	"slices"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// hopelessTries is the number of failed handshakes in a row after which a
// connection gets no more records.
const hopelessTries = 3

// takeOutbox gives fresh records to the connections of their recipients.
func (e *engine) takeOutbox() {
	for _, out := range e.fresh() {
		var waits []string // names of recipients that it waits for
		for _, r := range out.to {
			if e.cfg.Persistent {
				e.seek(r.user)
			} else if final(r.user.refusal) {
				e.failed(r, fail.AsError(r.user.refusal))
				continue
			}
			waits = append(waits, e.enqueue(r)...)
		}
		if len(waits) > 0 {
			e.tellPending(out, waits)
		}
		e.releaseIfDone(out)
	}
}

// fresh takes the records that Send has left, with a share for each recipient.
func (e *engine) fresh() []*outRecord {
	fresh := e.outbox.take()
	for _, out := range fresh {
		out.address(e.usersOf(out.names))
		out.names = nil
		for _, r := range out.to {
			r.user.counts.total++
		}
	}
	return fresh
}

// enqueue queues a record for every connection and awaited device of a
// recipient's. Without any the user keeps the record. The result has the name once
// for each connection that is not ready.
func (e *engine) enqueue(r *recipient) (waits []string) {
	u := r.user
	waits = e.spread(r)
	queued := r.active > 0
	e.leaveTo(r)
	now := e.link.patient(time.Now())
	u.keep(r, now)
	if queued {
		return waits
	}
	if r.active == 0 && len(u.away) == 0 {
		u.orphans = append(u.orphans, &delivery{r: r, since: now})
	}
	return append(waits, u.shown)
}

// spread queues a record for every connection of a recipient's that takes
// messages, even before the end of its handshake. The result has the name once
// for each that is not ready, or waits for a decision about the person.
func (e *engine) spread(r *recipient) (waits []string) {
	now := e.link.patient(time.Now())
	for _, pc := range e.conns {
		if pc.user != r.user || pc.takes != proto.TakesMessages || pc.ending || pc.shake.tries >= hopelessTries {
			continue
		}
		pc.out.queue = append(pc.out.queue, &delivery{r: r, since: now})
		r.active++
		if pc.conv == nil || !r.user.accepted {
			waits = append(waits, r.user.shown)
		}
	}
	return waits
}

// tellPending writes down and reports that a record waits.
func (e *engine) tellPending(out *outRecord, waits []string) {
	e.keep(out, waits...)
	if !e.cfg.Receipts {
		return
	}
	for _, r := range out.to {
		if r.status != history.StatusPending {
			continue
		}
		if e.tellAbsent(r); !r.absent {
			e.report(r, "")
		}
	}
}

// tellAbsent reports, once, that a record waits because its recipient is not there.
func (e *engine) tellAbsent(r *recipient) {
	if r.absent || r.active > 0 || r.status != history.StatusPending || !e.cfg.Receipts || e.mayLeave(r.user) {
		return
	}
	switch p := e.prospect(r.user, proto.TakesMessages); {
	case p.away || !p.listed:
		return
	case p.there:
		r.reason = fail.Errorf(proto.Timeout, "%s is connected, but does not answer", r.user.shown)
	default:
		r.reason = p.absent()
	}
	r.absent = true
	e.report(r, "")
	r.reason = nil
}

// orphan gives the queue of a lost connection back to its user, who awaits the
// device that had it.
func (e *engine) orphan(pc *peerConn) {
	now := e.link.patient(time.Now())
	dev := pc.user.lose(pc, now)
	for _, d := range pc.out.queue {
		d.device, d.since = dev, now
		pc.user.orphans = append(pc.user.orphans, d)
		d.r.active--
		if out := d.r.out; d.r.waits() {
			d.r.sent = d.r.active > 0
			if out.held || d.r.sent {
				continue
			}
			out.held = true
			e.outbox.released(-1, -out.size)
		}
	}
	pc.out.queue = nil
}

// adopt queues a user's waiting records for a connection that has proved
// itself: those of the lost device that it is, or of every one if it is none of
// them, those that nobody has, and those that another connection has not got: it
// may be dead, and these come before what is written later.
func (e *engine) adopt(pc *peerConn) {
	u := pc.user
	if pc.takes != proto.TakesMessages || pc.ending {
		return
	}
	queued := make(map[*recipient]bool, len(pc.out.queue))
	for _, d := range pc.out.undelivered() {
		queued[d.r] = true
	}
	now := e.link.patient(time.Now())
	add := func(r *recipient) {
		queued[r] = true
		r.active++
		pc.out.queue = append(pc.out.queue, &delivery{r: r, since: now})
	}
	e.adoptLetters(pc, queued, add)
	own, another := u.find(pc)
	var stay []*delivery
	for _, d := range u.orphans {
		awaited := u.awaits(d.device)
		switch {
		case u.settled(d):
			e.releaseIfDone(d.r.out)
			continue
		case queued[d.r]:
		case awaited && (d.device == own || another):
			add(d.r)
		case d.r.active == 0 && !d.r.over():
			e.spread(d.r) // also to those that have yet to prove themselves
			queued[d.r] = true
		}
		if awaited && d.device != own {
			stay = append(stay, d)
		}
	}
	u.orphans = stay
	u.away = slices.DeleteFunc(u.away, func(dev *device) bool { return dev == own })
	for _, sibling := range e.connsOf(u) {
		for _, d := range sibling.out.undelivered() {
			if !queued[d.r] && d.r.waits() {
				add(d.r)
			}
		}
	}
	for _, sibling := range e.connsOf(u) {
		slices.SortStableFunc(sibling.out.queue, func(a, b *delivery) int { return cmp.Compare(a.r.out.no, b.r.out.no) })
	}
}

// patience bounds the time that a record waits for a connection of a user's.
func (e *engine) patience(u *user) time.Duration {
	switch {
	case u.person != nil && u.bundles != nil: // over a connection
		return e.cfg.Timeout
	case u.listed:
		return max(e.cfg.WaitPeer, 0)
	}
	return max(e.cfg.WaitPeer, e.cfg.Timeout, 0)
}

// expire gives up devices that have been away too long, and records that have
// waited too long for a connection.
func (e *engine) expire(u *user, now time.Time) {
	limit := e.patience(u)
	now = e.link.patient(now)
	u.away = slices.DeleteFunc(u.away, func(dev *device) bool { return now.Sub(dev.since) > deviceWait })
	var stay []*delivery
	for _, d := range u.orphans {
		e.tellAbsent(d.r)
		switch {
		case u.settled(d):
			e.releaseIfDone(d.r.out)
		case now.Sub(d.since) <= limit, e.cfg.Persistent, d.r.has(), e.mayLeave(u):
			stay = append(stay, d)
		case u.person == nil || u.bundles == nil:
			p := e.prospect(u, proto.TakesMessages)
			e.failed(d.r, p.absent())
		default:
			e.failed(d.r, fail.Errorf(proto.NotDelivered, "%s had no connection that took it within %v", u.shown, limit))
		}
	}
	u.orphans = stay
	if len(u.orphans) > 0 && !u.boxes.told {
		e.askBoxes(u)
	}
	e.leaveOrphans(u, time.Now())
	e.expireTexts(u, time.Now())
}

func errNobody(name string) *fail.Error {
	return fail.Errorf(proto.NoSuchName, "nobody by the name of %s is connected", name)
}

// passing are refusals of a person that may end by themselves. Somebody sets a clock, a list is
// fetched, or a machine that slept renews its delegation.
var passing = []proto.Code{
	proto.RevocationUnknown, proto.CertificateNotYet, proto.DelegationNotYet, proto.DelegationExpired,
}

// refuseUser gives up the records that wait for a refused user. A prompt keeps them while the
// refusal may pass.
func (e *engine) refuseUser(u *user, reason *fail.Error) {
	if final(reason) && !(e.cfg.Persistent && slices.Contains(passing, reason.Code)) {
		e.failUser(u, reason)
	}
}

// failUser gives up all records that wait for a user without a conversation.
func (e *engine) failUser(u *user, reason *fail.Error) {
	for _, pc := range e.connsOf(u) {
		if pc.conv == nil {
			e.failQueue(pc, reason)
		}
	}
	for _, w := range u.boxes.ways {
		e.failTexts(w, reason)
	}
	u.boxes.fresh = nil
	orphans := u.orphans
	u.orphans = nil
	for _, d := range orphans {
		if d.r.active == 0 {
			e.failed(d.r, reason)
		}
	}
	e.outbox.changed()
}

// failQueue gives up the records that wait for this connection only.
func (e *engine) failQueue(pc *peerConn, reason *fail.Error) {
	queue := pc.out.queue
	pc.out.queue = nil
	for _, d := range queue {
		d.r.active--
		if d.r.active == 0 {
			e.failed(d.r, reason)
		}
		e.releaseIfDone(d.r.out)
	}
}

// failOpen gives up all records that are not delivered, at the client's end.
func (e *engine) failOpen(code proto.Code, reason string) {
	err := fail.Errorf(code, "%s", reason)
	for _, u := range e.users {
		for _, d := range u.orphans {
			e.failed(d.r, err)
		}
		u.orphans = nil
		for _, w := range u.boxes.ways {
			e.failTexts(w, err)
		}
	}
	for _, pc := range e.conns {
		e.markTaken(pc)
		for _, d := range slices.Concat(pc.out.sent, pc.out.queue) {
			if d.r.status == history.StatusPending {
				e.failed(d.r, err)
			}
		}
	}
	for _, out := range e.fresh() {
		for _, r := range out.to {
			e.failed(r, err)
		}
	}
}
