package client

import (
	"errors"
	"fmt"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// incoming counts the records that came over one connection in the present
// conversation.
type incoming struct {
	arrived       []*shownMark // not yet READ in order, from read+1
	read          uint64
	saidDelivered uint64 // of our last receipt
	saidRead      uint64
	owesAnswer    bool // B answers p3 at once
}

// KindType has the type of line for each kind of message.
var KindType = map[string]string{
	crypto.KindText: proto.TypeClientCom, crypto.KindPipe: proto.TypeClientCom,
	crypto.KindReceipt: proto.TypeCommAck, crypto.KindEnd: proto.TypeDisconnect,
}

// onMessage takes a client-com, comm-ack or client-disconnect of a peer's.
func (e *engine) onMessage(h *proto.Header, body []byte) {
	pc := e.conns[h.SrcID]
	if pc == nil || pc.conv == nil || pc.ending {
		e.replyUnknown(h, crypto.PeekConversation(body))
		return
	}
	o, err := e.open(pc, h.Type, body)
	if errors.Is(err, crypto.ErrOtherConversation) {
		e.replyUnknown(h, crypto.PeekConversation(body))
		return
	}
	if err != nil {
		e.refuseMessage(pc, err)
		return
	}
	if !pc.confirmed {
		pc.confirmed, pc.shake.deadline = true, time.Time{}
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
			if pc.ending = o.Refusal == ""; !pc.ending {
				e.refusedBy(pc, o.Refusal)
			} else if e.pipe != nil {
				e.pipe.gone(pc, "the other side has ended the conversation")
			}
		}
	default:
		if e.pipe == nil || pc.takes != proto.TakesPipe {
			o.Discard()
			e.refuseMessage(pc, fail.Errorf(proto.Unexpected, "a pipe chunk on a connection that takes none"))
			return
		}
		pc.conv.Commit(o)
		e.pipe.onChunk(pc, o.Chunk, body)
	}
}

// open opens a message and checks that it came in the right type of line, and that both people
// held at the time in it. mustWait has looked whether its sender is still trusted.
func (e *engine) open(pc *peerConn, typ string, body []byte) (*crypto.Opened, error) {
	o, err := pc.conv.Open(body, e.now())
	if err != nil {
		return nil, err
	}
	if KindType[o.Header.Kind] != typ {
		err = crypto.ErrDecrypt
	} else {
		err = e.judge(pc, false, o.Header.Time)
	}
	if err != nil {
		o.Discard()
		return nil, err
	}
	return o, nil
}

// stored tells whether the history took a message. Only a stored message
// becomes part of its conversation and is acknowledged.
func (e *engine) stored(pc *peerConn, o *crypto.Opened, err error) bool {
	if err == nil {
		return true
	}
	o.Discard()
	if e.turnAway(pc, pc.conv, err) {
		return false
	}
	if e.outlasts(err) {
		e.unstored(fail.AsError(err))
		return false
	}
	e.problem(err)
	t3 := pc.conv.T3
	e.breakConversation(pc, "the history cannot be written, so nothing can be received")
	e.sayEnded(pc, t3, endedHere)
	return false
}

// sayEnded tells a peer that a conversation has ended here, and why, so that it begins
// anew and sends again what was not READ.
func (e *engine) sayEnded(pc *peerConn, t3 [32]byte, why string) {
	e.answerError(pc, proto.NoConversation, why, t3)
}

// endedHere is the reason for a peer that need not know more.
const endedHere = "the conversation has ended there"

// refuseMessage ends the conversation over a bad message.
func (e *engine) refuseMessage(pc *peerConn, err error) {
	var reason string
	told := endedHere
	switch {
	case errors.Is(err, crypto.ErrGap):
		reason, told = e.then("messages are missing", "unread messages are sent again"), "messages are missing there"
	case errors.Is(err, crypto.ErrReplay):
		reason, told = "an old message was repeated, and refused", "an old message was repeated there"
	case errors.Is(err, crypto.ErrClock):
		reason = fmt.Sprintf("a message of %s is more than five minutes from this machine's clock: one of the two clocks is wrong", pc.name)
		told = "a message is more than five minutes from the clock there: one of the two clocks is wrong"
	case errors.Is(err, crypto.ErrDigest):
		reason = "a message is not the next one by its digest: one before it was left out or changed"
		told = "a message is not the next one there by its digest"
	case errors.Is(err, crypto.ErrDecrypt):
		reason, told = "a message does not hold: it was changed on the way", "a message does not hold there"
	default:
		reason = "a message is refused: " + fail.AsError(err).Message
	}
	refused := final(err)
	if refused {
		e.showRefusal(pc, err)
		why, _ := refusal(err)
		told = why.Message
	}
	t3 := pc.conv.T3
	if e.pipe != nil {
		e.pipe.cut(pc, &fail.Error{Code: proto.DecryptFailed, Message: "the pipe was cut: " + reason, Err: err})
	}
	e.breakConversation(pc, reason)
	e.sayEnded(pc, t3, told)
	if refused {
		pc.user.refusal = fail.AsError(err)
		e.refuseUser(pc.user, fail.AsError(err))
	}
}

// onText stores a batch of records, and only then makes it part of the
// conversation and shows it.
func (e *engine) onText(pc *peerConn, o *crypto.Opened) {
	if e.cfg.Takes != proto.TakesMessages {
		o.Discard()
		e.refuseMessage(pc, fail.Errorf(proto.NotTaking, "this connection takes no messages"))
		return
	}
	// Peers that keep to the windows never come here, not even over a few
	// connections: see accounts.
	from := pc.conv.Person.Identity
	if pc.conv.ReceivedSeq()+uint64(len(o.Records)) > pc.in.saidDelivered+MaxUnackedRecords || e.waiting.full(from) {
		o.Discard()
		e.refuseMessage(pc, fail.Errorf(proto.Flood, "more records than the window allows"))
		return
	}
	e.acceptNew(pc.user, pc.conv.Person)
	levels := e.known(pc, o.Records)
	if !e.stored(pc, o, e.history.Received(pc.conv, o)) {
		return
	}
	pc.conv.Commit(o)
	e.events.expect(len(o.Records))
	var names []string
	for i, r := range o.Records {
		if i == 0 || &r.To[0] != &o.Records[i-1].To[0] { // most have the same
			names = namesOf(r)
		}
		e.arrive(pc, r, names, levels[i])
	}
	e.advanceRead(pc)
	e.owe()
}

// arrive takes one stored record. It is shown unless it was shown before or
// waits to be shown already.
func (e *engine) arrive(pc *peerConn, r *crypto.Record, to []string, level history.KnownLevel) {
	u, from := pc.user, pc.conv.Person.Identity
	e.waiting.add(from, ArrivedCost)
	mark, waits := e.inbox.pending[r.ID]
	if !waits {
		mark = &shownMark{
			id: r.ID, of: part{pc.conv.T3, pc.conv.SendDirection()}, seq: r.Seq, from: from, name: u.name, known: u.accepted, shown: level == history.KnownShown,
		}
	}
	pc.in.arrived = append(pc.in.arrived, mark)
	if waits || mark.shown {
		return
	}
	e.show(u, mark, &Message{
		ID: r.ID, From: pc.name, FromConn: pc.id, Seq: r.Seq, Sent: time.UnixMilli(r.Time), To: to, Text: r.Text,
		Person: pc.conv.Person,
		// A client that was killed stored it, and perhaps showed it.
		Again: level == history.KnownStored && e.history.Again(r.ID),
	})
}

// show hands a new message of a user's to whoever shows it.
func (e *engine) show(u *user, mark *shownMark, m *Message) {
	e.inbox.pending[m.ID] = mark
	mark.cost = MessageCost(m.Text, len(m.To))
	e.waiting.add(mark.from, mark.cost)
	m.Identity, m.Known, m.First, m.mark = mark.from, u.accepted, !u.greeted && !u.met, mark
	u.greeted = true
	e.event(Event{Type: EventMessage, Message: m})
}

func namesOf(r *crypto.Record) (names []string) {
	for _, rc := range r.To {
		names = append(names, rc.Name)
	}
	return names
}

// known tells how far each record has got before. Another client of this state
// directory may have received a record that is older than the conversation.
func (e *engine) known(pc *peerConn, records []*crypto.Record) []history.KnownLevel {
	levels := make([]history.KnownLevel, len(records))
	looked := false
	for i, r := range records {
		levels[i] = e.history.Known(r.ID)
		if levels[i] != history.KnownNot || looked || r.Time >= pc.first {
			continue
		}
		looked = true
		if err := e.history.RefreshKnown(); err != nil {
			e.problem(err)
		}
		levels[i] = e.history.Known(r.ID)
	}
	return levels
}

// showStored shows, at start, the messages that an earlier run stored and did
// not mark as shown. A run that was killed may have shown them just before its end.
func (e *engine) showStored() {
	answers := e.oweEarlier()
	for _, s := range e.history.Unshown() {
		if e.standing(s.Identity).blocked {
			continue
		}
		known := e.cfg.knows(s.From.Name, s.Identity)
		mark := &shownMark{
			id: s.Record.ID, of: part{s.Conversation, s.Direction}, seq: s.Seq, from: s.Identity, name: proto.FoldName(s.From.Name), known: known,
		}
		if s.Letter {
			mark.letter = answers[s.Record.ID]
		}
		e.inbox.pending[s.Record.ID] = mark
		if mark.seen = s.Seen; mark.seen {
			e.marks.put([]*shownMark{mark}) // it may be READ by now
			continue
		}
		e.event(Event{Type: EventMessage, Message: &Message{
			ID: s.Record.ID, From: s.From.Name, FromConn: s.From.Conn, Seq: s.Seq, Sent: s.Sent, To: namesOf(s.Record), Text: s.Record.Text,
			Identity: s.Identity, Known: known, Again: s.Again, Letter: s.Letter, Left: s.Left, mark: mark,
		}})
	}
}
