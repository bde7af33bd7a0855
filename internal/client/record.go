package client

import (
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
)

// outRecord is one record on its way to every recipient.
type outRecord struct {
	no     uint64 // order of Send, from 1
	record *crypto.Record
	size   int      // about, in bytes, of the encoded record
	names  []string // of a persistent client, until the engine has found their users
	to     []*recipient
	held   bool // counted in the outbox: it is not sent, or has come back, and is not given up
	kept   bool // it stands in the history
}

// recipient is one name's share of an outRecord.
type recipient struct {
	out    *outRecord
	user   *user
	status history.Status
	reason *fail.Error
	active int    // connections that it is queued for, or un-READ at
	sent   bool   // over a connection, and not come back
	left   string // the connection that it was last sent over, perhaps in vain
	// unanswered counts the times that it was sent, without those of which the peer has said that it
	// took nothing.
	unanswered int
	absent     bool      // it was reported that it waits because nobody is there
	told       bool      // its status was reported
	until      time.Time // of KEPT
}

// delivery is one record on its way to one connection.
type delivery struct {
	r *recipient
	// Of an orphan:
	device *device // that it waits for; nil: whoever comes

	since time.Time // when it was queued, by the patient clock
	got   bool      // the connection has called it DELIVERED
	tried *delivery // of one for a mailbox: that over the connection of the same device, which was in vain
}

// over tells whether the record has its last status for this recipient.
func (r *recipient) over() bool {
	return r.status == history.StatusFailed || r.status == history.StatusRead
}

// has tells whether the recipient has the record, or the relay keeps it, or a connection or mailbox
// is to get it.
func (r *recipient) has() bool { return r.active > 0 || r.status.AtLeast(history.StatusKept) }

// waits tells whether the recipient has not got the record, and may get it.
func (r *recipient) waits() bool {
	return r.status != history.StatusFailed && !r.status.AtLeast(history.StatusKept)
}

// RecordOverhead is about the size of a record without its text.
const RecordOverhead = 256

// perRecipient is about the size of each recipient in a record.
const perRecipient = 100

func newOutRecord(record *crypto.Record, to []*user) *outRecord {
	out := &outRecord{record: record, size: EncodedLen(record.Text) + RecordOverhead + perRecipient*len(record.To)}
	out.address(to)
	return out
}

// address makes the record's share of each recipient.
func (out *outRecord) address(to []*user) {
	for _, u := range to {
		out.to = append(out.to, &recipient{out: out, user: u, status: history.StatusPending})
	}
}

// EncodedLen returns how long a text is as a JSON string.
func EncodedLen(text string) int {
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

// releaseIfDone frees a record's place in the outbox once no recipient waits for
// it.
func (e *engine) releaseIfDone(out *outRecord) {
	if out.held && out.done() {
		out.held = false
		e.outbox.released(1, out.size)
	}
}

// done tells whether the record waits for no recipient any more.
func (out *outRecord) done() bool {
	return !slices.ContainsFunc(out.to, func(r *recipient) bool { return r.waits() && !r.sent })
}

// drop ends one delivery.
func (e *engine) drop(d *delivery) {
	d.r.active--
	e.releaseIfDone(d.r.out)
}

// reached raises a recipient's status, never lowers it.
func (e *engine) reached(r *recipient, s history.Status, conn string) {
	if r.status == history.StatusFailed || r.status.AtLeast(s) {
		return
	}
	r.user.counts.reached(r.status, s)
	r.status = s
	if e.cfg.Receipts {
		e.report(r, conn)
	}
}

// failed gives a record up for one recipient, once. One that has left may have arrived, whatever is
// the reason now: it is called FAILED only if the peer has said that it was not taken.
func (e *engine) failed(r *recipient, reason *fail.Error) {
	if !r.waits() {
		return
	}
	perhaps := r.unanswered > 0
	if perhaps {
		reason = fail.Errorf(reason.Code, "it has left and was not answered, so it may have arrived: %s", reason.Message)
		r.reason = reason
		e.report(r, r.left)
	}
	r.user.counts.fail(r.status, reason)
	r.status, r.reason = history.StatusFailed, reason
	if !perhaps {
		e.keep(r.out, r.user.shown)
		if err := e.history.Failed(r.out.record.ID, r.user.shown, reason.Message); err != nil {
			e.problem(err)
		}
		e.report(r, "")
	}
	e.releaseIfDone(r.out)
}

// keep writes down a record that waits for some names, unless the history has it.
func (e *engine) keep(out *outRecord, names ...string) {
	if out.kept {
		return
	}
	if err := e.history.Pending(out.record, names); err != nil {
		e.problem(err)
		return
	}
	out.kept = true
}

func (e *engine) report(r *recipient, conn string) {
	r.told = true
	change := &ReceiptChange{ID: r.out.record.ID, No: r.out.no, To: r.user.shown, Conn: conn, Status: r.status}
	if r.status == history.StatusKept {
		change.Until = r.until
	}
	if r.reason != nil {
		change.Reason, change.Err = r.reason.Message, r.reason
	}
	e.event(Event{Type: EventReceipt, Receipt: change})
}

// maxReasons bounds the reasons that are kept for one user's failures.
const maxReasons = 8

// statusCounts counts a user's records by how far they got. READ counts as
// DELIVERED and as SENT, too.
type statusCounts struct {
	total, sent, delivered, read, failed int
	kept                                 int           // now
	keptAt                               time.Time     // the last one, by the patient clock
	until                                time.Time     // the relay keeps all of them
	reasons                              []*fail.Error // each code once
}

// reached counts one record that has come from one status to a higher one.
func (c *statusCounts) reached(from, to history.Status) {
	if !from.AtLeast(history.StatusSent) {
		c.sent++
	}
	if from == history.StatusKept {
		c.kept--
	}
	if to == history.StatusKept {
		c.kept++
	}
	if !from.AtLeast(history.StatusDelivered) && to.AtLeast(history.StatusDelivered) {
		c.delivered++
	}
	if to == history.StatusRead {
		c.read++
	}
}

// fail counts one record that is given up.
func (c *statusCounts) fail(from history.Status, reason *fail.Error) {
	if from == history.StatusSent {
		c.sent--
	}
	c.failed++
	if len(c.reasons) < maxReasons && !slices.ContainsFunc(c.reasons, func(x *fail.Error) bool { return x.Code == reason.Code }) {
		c.reasons = append(c.reasons, reason)
	}
}

// open tells whether a record has neither its last status nor a place at the relay.
func (c *statusCounts) open() bool { return c.read+c.kept+c.failed < c.total }

// at counts the records that are at least at a level.
func (c *statusCounts) at(level history.Status) int {
	switch level {
	case history.StatusSent:
		return c.sent
	case history.StatusDelivered:
		return c.delivered
	}
	return c.read
}
