package client

import (
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// part is our part of a conversation, by which the history knows it.
type part struct {
	t3        [32]byte
	direction string
}

// shownMark is one received record until it is READ.
type shownMark struct {
	id    string
	of    part // where the history has it
	seq   uint64
	from  [32]byte // its sender's identity
	name  string   // and folded name
	cost  int      // what waits for it in the sender's account: 0 from an earlier run
	known bool     // the sender is accepted under that name
	seen  bool     // shown, and its sender is not accepted: not READ yet
	shown bool

	letter *answersTo // of one that came by letter
}

// inbox is the state of the acknowledgements for all connections.
type inbox struct {
	pending   map[string]*shownMark // received, stored, not shown or only seen, by record id
	receiptAt time.Time             // when a coalesced receipt is due; zero: none
}

// ArrivedCost is about the memory of a record that waits for its READ, without
// its MessageCost.
const ArrivedCost = 128

// markQueue takes marks from Client.Shown to the engine.
type markQueue struct {
	mu    sync.Mutex
	marks []*shownMark
}

func (q *markQueue) put(marks []*shownMark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.marks = append(q.marks, marks...)
}

func (q *markQueue) take() []*shownMark {
	q.mu.Lock()
	defer q.mu.Unlock()
	marks := q.marks
	q.marks = nil
	return marks
}

// Shown tells that these messages have been shown to a person, or flushed to
// standard output. Their senders get a READ receipt, once they are accepted. It is called after
// each Next with messages, also if none was shown: otherwise they may have been.
func (c *Client) Shown(messages ...*Message) {
	var marks []*shownMark
	for _, m := range messages {
		if m.mark != nil {
			marks = append(marks, m.mark)
		}
	}
	c.engine.marks.put(marks)
	c.events.returned()
	c.engine.nudge()
}

// takeMarks notes the shown messages in the history, one line for each
// conversation, and then makes their receipts due. Those of a person who is not
// accepted are only seen until then.
func (e *engine) takeMarks() {
	marks := e.marks.take()
	if len(marks) == 0 {
		return
	}
	upTo, seen := map[part]uint64{}, map[part]uint64{}
	for _, m := range marks {
		if m.shown {
			continue
		}
		if !e.cfg.ReadAnyone && !e.standing(m.from).accepted {
			if !m.seen {
				seen[m.of] = max(seen[m.of], m.seq)
			}
			m.seen = true
			continue
		}
		m.shown = true
		e.settle(m)
		if m.letter != nil {
			e.oweByLetter(m.letter, crypto.LevelRead)
		}
		upTo[m.of] = max(upTo[m.of], m.seq)
	}
	noted := func(err error) {
		if err != nil {
			e.history.Unsure() // the next start shows them again, and says so
			e.problem(err)
		}
	}
	for of, seq := range upTo {
		noted(e.history.Shown(of.t3, of.direction, seq))
	}
	for of, seq := range seen {
		noted(e.history.Seen(of.t3, of.direction, seq))
	}
	for _, pc := range e.conns {
		if len(pc.in.arrived) > 0 {
			e.advanceRead(pc)
			e.owe() // DELIVERED may have been withheld
		}
	}
}

// settle ends the wait of a stored record.
func (e *engine) settle(m *shownMark) {
	delete(e.inbox.pending, m.id)
	e.waiting.add(m.from, -m.cost)
	m.cost = 0
}

// advanceRead moves READ over the shown records, in order.
func (e *engine) advanceRead(pc *peerConn) {
	in := &pc.in
	n := 0
	for n < len(in.arrived) && in.arrived[n].shown {
		n++
	}
	if n == 0 {
		return
	}
	e.waiting.add(pc.conv.Person.Identity, -ArrivedCost*n)
	clear(in.arrived[:n])
	in.arrived = in.arrived[n:]
	if len(in.arrived) == 0 {
		in.arrived = nil
	}
	in.read += uint64(n)
	e.owe()
}

// receiptDelay is the time that a receipt for unread messages waits: they are
// often shown in it.
const receiptDelay = 3 * time.Millisecond

// owe makes a receipt due after receiptDelay, unless one is due already.
func (e *engine) owe() {
	if e.inbox.receiptAt.IsZero() {
		e.inbox.receiptAt = time.Now().Add(receiptDelay)
	}
}

// flushReceipts sends due receipts. A receipt that says READ of everything goes
// at once. The others wait for receiptDelay: most messages are shown before that,
// and one receipt says both.
func (e *engine) flushReceipts() {
	now := time.Now()
	due := !e.inbox.receiptAt.IsZero() && !now.Before(e.inbox.receiptAt)
	if due {
		e.inbox.receiptAt = time.Time{}
	}
	full := e.events.full()
	for _, pc := range e.conns {
		if pc.conv != nil {
			e.sendReceipt(pc, due, full)
		}
	}
}

// sendReceipt sends a receipt over one connection, if it says anything new and
// may go now. full withholds DELIVERED.
func (e *engine) sendReceipt(pc *peerConn, due, full bool) {
	in := &pc.in
	delivered, read := pc.conv.ReceivedSeq(), in.read
	if full || e.waiting.crowds(pc.conv.Person.Identity) {
		delivered = max(in.saidDelivered, read)
	}
	if !in.owesAnswer && delivered == in.saidDelivered && read == in.saidRead {
		return
	}
	if mayWait := !in.owesAnswer && !due && read < delivered; mayWait || !pc.lines.answerRoom() {
		e.owe()
		return
	}
	if err := e.sayReceived(pc, delivered, read); err != nil {
		e.breakConversation(pc, "a receipt could not be sealed: "+err.Error())
	}
}

// sayReceived sends a receipt now, for which there is room.
func (e *engine) sayReceived(pc *peerConn, delivered, read uint64) error {
	s, err := pc.conv.SealReceipt(delivered, read, e.now())
	if err != nil {
		return err
	}
	pc.in.owesAnswer, pc.in.saidDelivered, pc.in.saidRead = false, delivered, read
	e.sendTo(pc, proto.TypeCommAck, s.Body, 0)
	return nil
}
