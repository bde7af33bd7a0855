package chatsecure

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// The sender's windows, for each conversation: what is sent and not yet
// DELIVERED. They bound what a receiver must hold, and what is sent again
// after a loss.
const (
	maxUnackedRecords = 8192
	maxUnackedBytes   = 4 << 20
)

// maxUnread bounds what is sent over one connection and not READ, which the
// sender keeps to send it again, and what of one user's is received and not
// READ.
const maxUnread = 64 << 20

// maxUnshown is how many bytes of one user's may be received and not READ
// before DELIVERED is withheld, which stops the senders at their windows: far
// enough below maxUnread that the windows of several connections fit between,
// some 9 MiB each as the receiver counts them.
const maxUnshown = maxUnread / 2

// What one message takes of a burst: large enough that its signature costs
// little for each record, small enough that several fit the relay's window.
const (
	batchRecords = 512
	batchBytes   = 56 << 10
)

// recordOverhead is about what a record has beside its text.
const recordOverhead = 256

// receiptRoom is what records leave free of the relay's window, so that
// receipts and answers always find room.
const (
	receiptRoom  = 32 << 10 // bytes
	receiptLines = 32       // messages
)

// hopelessTries is after how many failed handshakes on end records are no
// longer queued for a connection.
const hopelessTries = 3

// What Send may have waiting before a window opens, for all recipients.
const (
	maxQueuedRecords = 8192
	maxQueuedBytes   = 4 << 20
)

// outgoing is one record on its way to every recipient.
type outgoing struct {
	no     uint64 // order of Send, from 1
	record *crypto.Record
	size   int // about, in bytes, of the encoded record
	to     []*recipient
	held   bool // counted in the outbox until it is sent or settled
}

// recipient is one name's share of an outgoing record.
type recipient struct {
	out    *outgoing
	user   *user
	status Status
	reason *Error
	active int // connections that it is queued for, or un-READ at
}

// delivery is one record on its way to one connection.
type delivery struct {
	r      *recipient
	bundle [32]byte  // of the connection that it was for; zero: none yet
	since  time.Time // orphans: from when
}

// statusCounts counts a user's records by how far they got.
type statusCounts struct {
	total, sent, delivered, read, failed int
	reasons                              []*Error
}

// outbox takes records from Send to the engine, in order and bounded.
type outbox struct {
	mu      sync.Mutex
	fresh   []*outgoing
	last    uint64 // number given
	records int
	bytes   int
	room    chan struct{} // closed and replaced when there is room again
	closed  bool
	targets map[string]*targets // by the names as given
}

// targets is a resolved list of names.
type targets struct {
	users []*user
	to    []crypto.Recipient // sorted
}

// add waits for room and queues a record.
func (o *outbox) add(ctx context.Context, out *outgoing) error {
	for {
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			return Errorf(proto.Lost, "the client is closed")
		}
		if o.records < maxQueuedRecords && (o.bytes < maxQueuedBytes || o.records == 0) {
			o.last++
			out.no = o.last
			o.fresh = append(o.fresh, out)
			o.records++
			o.bytes += out.size
			out.held = true
			o.mu.Unlock()
			return nil
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// released tells that records have left the queue.
func (o *outbox) released(records, bytes int) {
	o.mu.Lock()
	o.records -= records
	o.bytes -= bytes
	if o.room != nil && o.records < maxQueuedRecords*3/4 && o.bytes < maxQueuedBytes*3/4 {
		close(o.room)
		o.room = nil
	}
	o.mu.Unlock()
}

func (o *outbox) take() []*outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := o.fresh
	o.fresh = nil
	return fresh
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	o.mu.Unlock()
}

// changed forgets resolved names: one of them proved who it is, or failed.
func (o *outbox) changed() {
	o.mu.Lock()
	o.targets = nil
	o.mu.Unlock()
}

func (o *outbox) resolved(key string) *targets {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.targets[key]
}

func (o *outbox) remember(key string, t *targets) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.targets == nil || len(o.targets) > 64 {
		o.targets = map[string]*targets{}
	}
	o.targets[key] = t
}

// send is Client.Send.
func (e *engine) send(ctx context.Context, names []string, text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", Errorf(proto.Malformed, "the text is not UTF-8")
	}
	if len(text) > proto.MaxText {
		return "", Errorf(proto.TooLong, "the text has %d bytes, at most %d are allowed", len(text), proto.MaxText)
	}
	key := strings.Join(names, ",")
	t := e.outbox.resolved(key)
	if t == nil {
		var err error
		if t, err = e.resolve(ctx, names); err != nil {
			return "", err
		}
		e.outbox.remember(key, t)
	}
	record := crypto.NewRecord(e.self, slices.Clone(t.to), text, e.now())
	out := &outgoing{record: record, size: encodedLen(text) + recordOverhead + 100*len(t.to)}
	out.to = make([]*recipient, len(t.users))
	for i, u := range t.users {
		out.to[i] = &recipient{out: out, user: u, status: StatusPending}
	}
	if out.size > proto.MaxBody-(64<<10) {
		return "", Errorf(proto.TooLong, "the text and its list of recipients do not fit one message")
	}
	if err := e.outbox.add(ctx, out); err != nil {
		return "", err
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
	return record.ID, nil
}

// encodedLen returns how long a text is as a JSON string.
func encodedLen(text string) int {
	n := len(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c < 0x20:
			n += 5
		case c == '"', c == '\\':
			n++
		case c == 0xe2:
			n += 3 // U+2028 and U+2029 are written as escapes
		}
	}
	return n
}

// takeOutbox gives fresh records to the connections of their recipients.
func (e *engine) takeOutbox() {
	for _, out := range e.outbox.take() {
		waits := []string(nil)
		for _, r := range out.to {
			u := r.user
			u.counts.total++
			if final(u.refusal) {
				e.failed(r, AsError(u.refusal))
				continue
			}
			// Every connection that takes messages gets it, also one whose
			// handshake is still under way.
			n := 0
			for _, pc := range e.conns {
				if pc.user == u && pc.takes == proto.TakesMessages && !pc.ending && pc.tries < hopelessTries {
					pc.queue = append(pc.queue, &delivery{r: r})
					r.active++
					n++
					if pc.conv == nil {
						waits = append(waits, u.shown)
					}
				}
			}
			if n == 0 {
				u.orphans = append(u.orphans, &delivery{r: r, since: time.Now()})
				waits = append(waits, u.shown)
			}
		}
		if len(waits) > 0 {
			if err := e.history.Pending(out.record, waits); err != nil {
				e.event(Event{Type: EventError, Err: AsError(err)})
			}
		}
		if e.cfg.Receipts {
			for _, r := range out.to {
				if r.status == StatusPending && len(waits) > 0 {
					e.report(r, "")
				}
			}
		}
		e.releaseIfDone(out)
	}
}

// written is Client.Written.
func (e *engine) written(ctx context.Context) error {
	return e.do(ctx, func() {
		e.takeOutbox()
		e.flush()
	})
}

// pump sends what the windows allow to one connection.
func (e *engine) pump(pc *peerConn) {
	if u := pc.user; !u.accepted && e.cfg.AcceptNew && pc.conv != nil && len(pc.queue) > 0 {
		// One who came after Send had asked: -accept-new speaks for it.
		if err := e.rememberAccepted(u, pc.conv.Person); err != nil {
			// Said once, by what fails: to try again at every turn would say it
			// at every turn. The next Send tries again.
			for _, waiting := range e.connsOf(u) {
				e.failQueue(waiting, AsError(err))
			}
			e.failUser(u, AsError(err))
			return
		}
		u.accepted = true
	}
	if pc.conv != nil && !pc.user.accepted {
		pc.queue = slices.DeleteFunc(pc.queue, func(d *delivery) bool { return !e.bound(pc, d) })
	}
	for e.fatal == nil && pc.conv != nil && !pc.ending && len(pc.queue) > 0 && pc.user.accepted && !e.goodbye {
		unacked := len(pc.sent) - int(pc.delivered-pc.sentBase)
		room := maxUnackedRecords - unacked
		if room <= 0 || pc.unackBytes >= maxUnackedBytes || pc.unreadBytes >= maxUnread {
			return
		}
		n, size := 0, 0
		for n < len(pc.queue) && n < min(room, batchRecords) && (n == 0 || size+pc.queue[n].r.out.size <= batchBytes) {
			size += pc.queue[n].r.out.size
			n++
		}
		if !pc.roomFor(size + size/4) {
			return
		}
		if !e.sendBatch(pc, n, size) {
			return
		}
	}
}

// roomFor tells whether the relay's window takes so many bytes of body more,
// and leaves room for receipts. One message always goes when nothing is un-acked.
func (pc *peerConn) roomFor(n int) bool { return pc.fits(n, 2) }

// answerRoom tells whether there is room in the relay's window for receipts
// and for what a peer makes this client say: a peer that does not read must
// not make it say more than the relay takes.
func (pc *peerConn) answerRoom() bool { return pc.fits(0, 1) }

// fits tells whether so many bytes of body more keep to the relay's window and
// leave a number of shares of it free: none for what is not asked for by the
// peer and is rare, one for answers, two for records.
func (pc *peerConn) fits(n, shares int) bool {
	return len(pc.inflight) == 0 ||
		pc.inflightN+n <= proto.RelayWindow-shares*receiptRoom && len(pc.inflight) < proto.RelayMessages-shares*receiptLines
}

// sendBatch seals the first n of a connection's queue under one signature,
// stores them, and sends them.
func (e *engine) sendBatch(pc *peerConn, n, size int) bool {
	batch := pc.queue[:0:n]
	records := make([]*crypto.Record, 0, n)
	for _, d := range pc.queue[:n] {
		if !e.bound(pc, d) {
			size -= d.r.out.size
			continue
		}
		batch = append(batch, d)
		records = append(records, d.r.out.record)
	}
	rest := pc.queue[n:]
	if len(records) == 0 {
		pc.queue = rest
		return true
	}
	sealed, exact, err := pc.conv.SealRecords(records, e.now())
	if err != nil {
		e.breakConversation(pc, "a message could not be sealed: "+err.Error())
		return false
	}
	if err := e.history.Sent(pc.conv, sealed, exact); err != nil {
		e.end(AsError(err))
		return false
	}
	last := pc.conv.SentSeq()
	e.sendTo(pc, proto.TypeClientCom, sealed.Body, last)
	pc.sent = append(pc.sent, batch...)
	pc.unackBytes += size
	pc.unreadBytes += size
	if len(rest) == 0 {
		rest = nil
	}
	pc.queue = rest
	records0, bytes0 := 0, 0
	for _, d := range batch {
		d.bundle = pc.bundle
		if d.r.out.held {
			d.r.out.held = false
			records0++
			bytes0 += d.r.out.size
		}
	}
	if records0 > 0 {
		e.outbox.released(records0, bytes0)
	}
	return true
}

// bound tells whether a record was written to the person at this connection. A
// record waiting to be sent is bound to the identity that it was written to;
// where another has proved the name since, it is given up.
func (e *engine) bound(pc *peerConn, d *delivery) bool {
	if d.r.out.record.Names(pc.user.name, hexIdentity(pc.conv.Person.Identity)) {
		return true
	}
	e.drop(d)
	e.failed(d.r, Errorf(proto.IdentityChanged, "%s is now another person than the one this was written to", pc.name))
	return false
}

// releaseIfDone gives up a record's place in the outbox once nothing of it
// waits for a connection.
func (e *engine) releaseIfDone(out *outgoing) {
	if !out.held {
		return
	}
	for _, r := range out.to {
		if r.active > 0 || r.status == StatusPending {
			return
		}
	}
	out.held = false
	e.outbox.released(1, out.size)
}

// reached raises a recipient's status, never lowers it.
func (e *engine) reached(r *recipient, s Status, conn string) {
	if r.status == StatusFailed || statusRank(r.status) >= statusRank(s) {
		return
	}
	c := &r.user.counts
	if statusRank(r.status) < statusRank(StatusSent) {
		c.sent++
	}
	if statusRank(r.status) < statusRank(StatusDelivered) && s.AtLeast(StatusDelivered) {
		c.delivered++
	}
	if s == StatusRead {
		c.read++
	}
	r.status = s
	if e.cfg.Receipts {
		e.report(r, conn)
	}
}

// failed gives a record up for one recipient, once.
func (e *engine) failed(r *recipient, reason *Error) {
	if r.status == StatusFailed || r.status.AtLeast(StatusDelivered) {
		return
	}
	c := &r.user.counts
	if r.status == StatusSent {
		c.sent--
	}
	c.failed++
	if len(c.reasons) < 8 && !slices.ContainsFunc(c.reasons, func(x *Error) bool { return x.Code == reason.Code }) {
		c.reasons = append(c.reasons, reason)
	}
	r.status, r.reason = StatusFailed, reason
	if err := e.history.Failed(r.out.record.ID, r.user.shown, reason.Message); err != nil {
		e.event(Event{Type: EventError, Err: AsError(err)})
	}
	e.report(r, "")
	e.releaseIfDone(r.out)
}

func (e *engine) report(r *recipient, conn string) {
	change := &ReceiptChange{ID: r.out.record.ID, No: r.out.no, To: r.user.shown, Conn: conn, Status: r.status}
	if r.reason != nil {
		change.Reason = r.reason.Message
	}
	e.event(Event{Type: EventReceipt, Receipt: change})
}

// markSent raises everything up to seq to SENT: the relay took it.
func (e *engine) markSent(pc *peerConn, seq uint64) {
	from := max(pc.taken, pc.delivered, pc.sentBase)
	pc.taken = seq
	for s := from + 1; s <= seq && int(s-pc.sentBase) <= len(pc.sent); s++ {
		e.reached(pc.sent[s-pc.sentBase-1].r, StatusSent, pc.id)
	}
}

// markTaken writes down how far the relay took messages, where no receipt has
// said more already.
func (e *engine) markTaken(pc *peerConn) {
	if pc.conv == nil || pc.taken <= pc.delivered || pc.taken == pc.takenMark {
		return
	}
	pc.takenMark = pc.taken
	if err := e.history.Taken(pc.conv.T3, pc.taken); err != nil {
		e.event(Event{Type: EventError, Err: AsError(err)})
	}
}

// onReceipt applies a receipt that crypto has checked.
func (e *engine) onReceipt(pc *peerConn, delivered, read uint64) {
	for s := pc.delivered + 1; s <= delivered && int(s-pc.sentBase) <= len(pc.sent); s++ {
		d := pc.sent[s-pc.sentBase-1]
		pc.unackBytes -= d.r.out.size
		e.reached(d.r, StatusDelivered, pc.id)
	}
	pc.delivered = max(pc.delivered, delivered)
	for pc.sentBase < read && len(pc.sent) > 0 {
		d := pc.sent[0]
		pc.sent[0] = nil
		pc.sent = pc.sent[1:]
		pc.sentBase++
		pc.unreadBytes -= d.r.out.size
		e.reached(d.r, StatusRead, pc.id)
		e.drop(d)
	}
}

// drop ends one delivery.
func (e *engine) drop(d *delivery) {
	d.r.active--
	e.releaseIfDone(d.r.out)
}

// orphan takes what a connection that is gone has not READ back to its user.
func (e *engine) orphan(pc *peerConn) {
	now := time.Now()
	for _, d := range pc.queue {
		d.since = now
		pc.user.orphans = append(pc.user.orphans, d)
		d.r.active--
	}
	pc.queue = nil
}

// adopt gives a connection that has proved itself what waits for it: what a
// connection of the same bundle left behind, and what no other connection of
// the user's is being given.
func (e *engine) adopt(pc *peerConn) {
	u := pc.user
	if pc.takes != proto.TakesMessages || len(u.orphans) == 0 {
		return
	}
	queued := make(map[*recipient]bool, len(pc.queue))
	for _, d := range pc.queue {
		queued[d.r] = true
	}
	var stay []*delivery
	for _, d := range u.orphans {
		switch {
		case d.r.status == StatusFailed || d.r.status == StatusRead:
			e.releaseIfDone(d.r.out)
		case queued[d.r]:
		case d.bundle == pc.bundle || d.r.active == 0:
			queued[d.r] = true
			d.r.active++
			pc.queue = append(pc.queue, d)
		default:
			stay = append(stay, d)
		}
	}
	u.orphans = stay
	slices.SortStableFunc(pc.queue, func(a, b *delivery) int { return cmp.Compare(a.r.out.no, b.r.out.no) })
}

// expire gives up what has waited too long for a connection.
func (e *engine) expire(u *user, now time.Time) {
	if len(u.orphans) == 0 {
		return
	}
	limit := e.cfg.Timeout
	if u.person == nil {
		limit = max(e.cfg.WaitPeer, 0)
		if !u.listed {
			limit = max(limit, e.cfg.Timeout)
		}
	}
	stay := u.orphans[:0]
	for _, d := range u.orphans {
		switch {
		case d.r.status == StatusFailed || d.r.status == StatusRead:
			e.releaseIfDone(d.r.out)
		case now.Sub(d.since) <= limit:
			stay = append(stay, d)
		case u.person == nil:
			e.failed(d.r, errNobody(u.shown))
		case d.r.active > 0 || d.r.status.AtLeast(StatusDelivered):
			// Another connection of the user's has it, or will: given up here.
		default:
			e.failed(d.r, Errorf(proto.NotDelivered, "%s had no connection that took it within %v", u.shown, limit))
		}
	}
	clear(u.orphans[len(stay):])
	u.orphans = stay
}

func errNobody(name string) *Error {
	return Errorf(proto.NoSuchName, "nobody by the name of %s is connected", name)
}

// failUser gives up everything that waits for a user who is refused.
func (e *engine) failUser(u *user, reason *Error) {
	for _, pc := range e.connsOf(u) {
		if pc.conv == nil {
			e.failQueue(pc, reason)
		}
	}
	orphans := u.orphans
	u.orphans = nil
	for _, d := range orphans {
		if d.r.active == 0 {
			e.failed(d.r, reason)
		}
	}
	e.outbox.changed()
}

// failQueue gives up what waits for one connection, and for no other.
func (e *engine) failQueue(pc *peerConn, reason *Error) {
	queue := pc.queue
	pc.queue = nil
	for _, d := range queue {
		d.r.active--
		if d.r.active == 0 {
			e.failed(d.r, reason)
		}
		e.releaseIfDone(d.r.out)
	}
}

// failOpen gives up everything that has not been delivered: the client ends.
func (e *engine) failOpen(code proto.Code, reason string) {
	for _, u := range e.users {
		for _, d := range u.orphans {
			e.failed(d.r, Errorf(code, "%s", reason))
		}
		u.orphans = nil
	}
	for _, pc := range e.conns {
		e.markTaken(pc)
		for _, d := range slices.Concat(pc.sent, pc.queue) {
			if d.r.status == StatusPending {
				e.failed(d.r, Errorf(code, "%s", reason))
			}
		}
	}
	for _, out := range e.outbox.take() {
		for _, r := range out.to {
			r.user.counts.total++
			e.failed(r, Errorf(code, "%s", reason))
		}
	}
}
