package chatsecure

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// shownMark is one received record until it is READ.
type shownMark struct {
	id    string
	t3    [32]byte // where the history has it
	seq   uint64
	user  *user // whose waiting it counts in until it is shown; nil: of an earlier run
	cost  int   // its messageCost
	shown bool
}

// arrivedCost is about what a record takes that waits for its READ, beside
// what it takes until it is shown.
const arrivedCost = 128

// markQueue takes marks from Client.Shown to the engine.
type markQueue struct {
	mu    sync.Mutex
	marks []*shownMark
}

func (q *markQueue) take() []*shownMark {
	q.mu.Lock()
	defer q.mu.Unlock()
	marks := q.marks
	q.marks = nil
	return marks
}

// shown is Client.Shown.
func (e *engine) shown(messages []*Message) {
	e.marks.mu.Lock()
	for _, m := range messages {
		if m.mark != nil {
			e.marks.marks = append(e.marks.marks, m.mark)
		}
	}
	e.marks.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// onMessage takes a client-com, comm-ack or client-disconnect of a peer's.
func (e *engine) onMessage(h *proto.Header, body []byte) {
	pc := e.conns[h.SrcID]
	if pc == nil || pc.conv == nil {
		e.replyUnknown(h, crypto.PeekConversation(body))
		return
	}
	o, err := pc.conv.Open(body, e.now())
	if errors.Is(err, crypto.ErrOtherConversation) {
		e.replyUnknown(h, crypto.PeekConversation(body))
		return
	}
	if err == nil && kindType[o.Header.Kind] != h.Type {
		o.Discard()
		err = crypto.ErrDecrypt
	}
	if err == nil {
		err = e.live(pc)
		if err != nil {
			o.Discard()
		}
	}
	if err != nil {
		e.refuseMessage(pc, err)
		return
	}
	if !pc.confirmed {
		pc.confirmed, pc.deadline = true, time.Time{}
	}
	if pc.first == 0 {
		pc.first = o.Header.Time
	}
	switch o.Header.Kind {
	case crypto.KindText:
		e.onText(pc, o)
	case crypto.KindReceipt:
		if e.stored(pc, o, e.history.Receipt(pc.conv, o)) {
			pc.conv.Commit(o)
			e.onReceipt(pc, o.Receipt.Delivered, o.Receipt.Read)
		}
	case crypto.KindEnd:
		if e.stored(pc, o, e.history.Ended(pc.conv, o)) {
			pc.conv.Commit(o)
			pc.ending = true
		}
	default:
		if e.pipe == nil {
			o.Discard()
			e.refuseMessage(pc, Errorf(proto.Unexpected, "a pipe chunk on a connection that takes none"))
			return
		}
		pc.conv.Commit(o)
		e.pipe.onChunk(pc, o.Chunk)
	}
}

// stored tells whether the history took a message. Nothing becomes part of a
// conversation, or is acknowledged, that is not stored.
func (e *engine) stored(pc *peerConn, o *crypto.Opened, err error) bool {
	if err == nil {
		return true
	}
	o.Discard()
	e.event(Event{Type: EventError, Err: AsError(err)})
	t3 := pc.conv.T3
	e.breakConversation(pc, "the history cannot be written, so nothing can be received")
	e.sayEnded(pc, t3)
	return false
}

// sayEnded tells a peer that a conversation has ended here, so that it begins
// anew and sends again what was not READ.
func (e *engine) sayEnded(pc *peerConn, t3 [32]byte) {
	e.answerError(pc, proto.NoConversation, "the conversation has ended here", t3[:])
}

// kindType is the type of line that each kind of message travels in.
var kindType = map[string]string{
	crypto.KindText: proto.TypeClientCom, crypto.KindPipe: proto.TypeClientCom,
	crypto.KindReceipt: proto.TypeCommAck, crypto.KindEnd: proto.TypeDisconnect,
}

// liveEvery is how long the last look at a peer's bundle holds.
const liveEvery = time.Second

// live looks again at who the peer is: time and revocation move on while a
// conversation lasts.
func (e *engine) live(pc *peerConn) error {
	now := time.Now()
	if d := now.Sub(pc.checked); d >= 0 && d < liveEvery {
		return nil
	}
	_, err := e.cfg.Fetcher.Verify(e.cfg.Verifier, pc.conv.PeerBundle, pc.name)
	if errors.Is(err, errFetching) {
		err = nil // who was let in stays while the next list is fetched
	}
	if err == nil {
		pc.checked = now
	}
	return err
}

// refuseMessage ends the conversation over a message that does not hold.
func (e *engine) refuseMessage(pc *peerConn, err error) {
	var reason string
	switch {
	case errors.Is(err, crypto.ErrGap):
		reason = e.then("messages are missing", "what was not read is sent again")
	case errors.Is(err, crypto.ErrReplay):
		reason = "an old message was repeated, and refused"
	case errors.Is(err, crypto.ErrClock):
		reason = fmt.Sprintf("a message of %s is more than five minutes from this machine's clock: one of the two clocks is wrong", pc.name)
	case errors.Is(err, crypto.ErrDecrypt):
		reason = "a message does not hold: it is not what was sent"
	default:
		reason = "a message is refused: " + AsError(err).Message
	}
	refused := final(err)
	if refused {
		e.refusePeer(pc, err)
	}
	t3 := pc.conv.T3
	if e.pipe != nil {
		e.pipe.cut(pc, &Error{Code: proto.DecryptFailed, Message: "the pipe was cut: " + reason, Err: err})
	}
	e.breakConversation(pc, reason)
	e.sayEnded(pc, t3)
	if refused {
		pc.user.refusal = AsError(err)
		e.failUser(pc.user, AsError(err))
	}
}

// onText stores a batch of records, and only then makes it part of the
// conversation and shows it.
func (e *engine) onText(pc *peerConn, o *crypto.Opened) {
	if e.cfg.Takes != proto.TakesMessages {
		o.Discard()
		e.refuseMessage(pc, Errorf(proto.NotTaking, "this connection takes no messages"))
		return
	}
	// A peer that keeps to the windows never comes here, nor a few connections
	// of one person's that do: see maxUnshown.
	if pc.conv.ReceivedSeq()+uint64(len(o.Records)) > pc.saidN+maxUnackedRecords || pc.user.waiting > maxUnread {
		o.Discard()
		e.refuseMessage(pc, Errorf(proto.Flood, "more records than the window allows"))
		return
	}
	levels := e.known(pc, o.Records)
	if !e.stored(pc, o, e.history.Received(pc.conv, o)) {
		return
	}
	pc.conv.Commit(o)
	u := pc.user
	first := !u.greeted && !u.met
	for i, r := range o.Records {
		mark, waits := e.pending[r.ID]
		if !waits {
			mark = &shownMark{id: r.ID, t3: pc.conv.T3, seq: r.Seq, shown: levels[i] == KnownShown}
		}
		pc.arrived = append(pc.arrived, mark)
		u.waiting += arrivedCost
		if waits || levels[i] == KnownShown {
			continue
		}
		e.pending[r.ID] = mark
		mark.user, mark.cost = u, messageCost(r.Text, len(r.To))
		u.waiting += mark.cost
		m := &Message{
			ID: r.ID, From: pc.name, FromConn: pc.id, Seq: r.Seq, Sent: time.UnixMilli(r.Time), Text: r.Text,
			Identity: pc.conv.Person.Identity, Person: pc.conv.Person, First: first, mark: mark,
			// Stored by a client that was killed, perhaps when it had shown it.
			Again: levels[i] == KnownStored,
		}
		for _, rc := range r.To {
			m.To = append(m.To, rc.Name)
		}
		first, u.greeted = false, true
		e.event(Event{Type: EventMessage, Message: m})
	}
	e.advanceRead(pc)
	e.owe(pc)
}

// known tells how far each record has got before. One that is older than the
// conversation may have been left behind by another client of this state
// directory since the conversation began.
func (e *engine) known(pc *peerConn, records []*crypto.Record) []KnownLevel {
	levels := make([]KnownLevel, len(records))
	looked := false
	for i, r := range records {
		levels[i] = e.history.Known(r.ID)
		if levels[i] != KnownNot || looked || r.Time >= pc.first {
			continue
		}
		looked = true
		if err := e.history.RefreshKnown(); err != nil {
			e.event(Event{Type: EventError, Err: AsError(err)})
		}
		levels[i] = e.history.Known(r.ID)
	}
	return levels
}

// showStored shows, at start, what an earlier run stored and did not mark as
// shown. It may have been shown just before that run ended.
func (e *engine) showStored() {
	for _, s := range e.history.Unshown() {
		mark := &shownMark{id: s.Record.ID, t3: s.Conversation, seq: s.Seq}
		e.pending[s.Record.ID] = mark
		m := &Message{ID: s.Record.ID, From: s.From.Name, FromConn: s.From.Conn, Seq: s.Seq, Sent: s.Sent, Text: s.Record.Text, Identity: s.Identity, Again: true, mark: mark}
		for _, rc := range s.Record.To {
			m.To = append(m.To, rc.Name)
		}
		e.event(Event{Type: EventMessage, Message: m})
	}
}

// takeMarks applies what has been shown: in the history, a line for each
// conversation, and then in the receipts.
func (e *engine) takeMarks() {
	marks := e.marks.take()
	if len(marks) == 0 {
		return
	}
	upTo := map[[32]byte]uint64{}
	for _, m := range marks {
		if m.shown {
			continue
		}
		m.shown = true
		delete(e.pending, m.id)
		if m.user != nil {
			m.user.waiting -= m.cost
			e.forgetUser(m.user) // whose last connection may have left before
		}
		upTo[m.t3] = max(upTo[m.t3], m.seq)
	}
	for t3, seq := range upTo {
		if err := e.history.Shown(t3, seq); err != nil {
			e.event(Event{Type: EventError, Err: AsError(err)})
		}
	}
	for _, pc := range e.conns {
		if len(pc.arrived) > 0 {
			e.advanceRead(pc)
			e.owe(pc) // DELIVERED may have been withheld
		}
	}
}

// advanceRead moves READ over what has been shown, in order.
func (e *engine) advanceRead(pc *peerConn) {
	n := 0
	for n < len(pc.arrived) && pc.arrived[n].shown {
		pc.user.waiting -= arrivedCost
		n++
	}
	if n == 0 {
		return
	}
	clear(pc.arrived[:n])
	pc.arrived = pc.arrived[n:]
	if len(pc.arrived) == 0 {
		pc.arrived = nil
	}
	pc.readSeq += uint64(n)
	e.owe(pc)
}

// owe makes a receipt due, if there is none due earlier.
func (e *engine) owe(pc *peerConn) {
	if e.receiptAt.IsZero() {
		e.receiptAt = time.Now().Add(receiptDelay)
	}
}

// flushReceipts sends the receipts that are due. One that says READ of all
// that has come goes at once; the others wait for receiptDelay, since what has
// been delivered is as a rule shown before that, and one receipt says both.
func (e *engine) flushReceipts() {
	now := time.Now()
	due := !e.receiptAt.IsZero() && !now.Before(e.receiptAt)
	if due {
		e.receiptAt = time.Time{}
	}
	full := e.events.full()
	for _, pc := range e.conns {
		if pc.conv == nil {
			continue
		}
		n, m := pc.conv.ReceivedSeq(), pc.readSeq
		if full || pc.user.waiting > maxUnshown {
			n = max(pc.saidN, m)
		}
		if !pc.owesAnswer && n == pc.saidN && m == pc.saidM {
			continue
		}
		if !pc.answerRoom() {
			e.owe(pc)
			continue
		}
		if !pc.owesAnswer && !due && m < n {
			e.owe(pc)
			continue
		}
		s, err := pc.conv.SealReceipt(n, m, e.now())
		if err != nil {
			e.breakConversation(pc, "a receipt could not be sealed: "+err.Error())
			continue
		}
		pc.owesAnswer = false
		pc.saidN, pc.saidM = n, m
		e.sendTo(pc, proto.TypeCommAck, s.Body, 0)
	}
}
