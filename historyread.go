package chatsecure

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// HistoryMessage is one text of the history, as this client knows it. Nothing
// about it is verified: VerifyHistory does that.
type HistoryMessage struct {
	ID       string
	Outgoing bool
	From     crypto.End // the connection is empty for what was never sent
	Identity string     // of the sender, hex; empty for what was never sent
	To       []string   // all recipients, folded names, sorted
	Text     string
	Time     time.Time // the record's own
	// Deliveries is how far it got: for each recipient by the best of that
	// user's connections; of an incoming message, one, to this client.
	Deliveries []HistoryDelivery
}

// HistoryDelivery is how far a message got with one recipient.
type HistoryDelivery struct {
	Name   string
	Conn   string // the connection that reached it; empty if none did
	Status Status
	Reason string // FAILED
}

// Status returns how far the message got with everyone: the least of its
// deliveries, and FAILED if one failed.
func (m *HistoryMessage) Status() Status {
	least := Status("")
	for _, d := range m.Deliveries {
		if least == "" || statusRank(d.Status) < statusRank(least) {
			least = d.Status
		}
	}
	return least
}

// With reports whether the message came from or went to name.
func (m *HistoryMessage) With(name string) bool {
	if !m.Outgoing {
		return proto.SameName(m.From.Name, name)
	}
	return slices.Contains(m.To, proto.FoldName(name))
}

// delivered notes what is known of one delivery: READ and DELIVERED are final,
// FAILED says more than SENT, and SENT more than PENDING.
func (m *HistoryMessage) delivered(d HistoryDelivery) {
	order := []Status{StatusPending, StatusSent, StatusFailed, StatusDelivered, StatusRead}
	for i := range m.Deliveries {
		before := &m.Deliveries[i]
		if !proto.SameName(before.Name, d.Name) {
			continue
		}
		if slices.Index(order, d.Status) > slices.Index(order, before.Status) {
			*before = d
		}
		return
	}
	m.Deliveries = append(m.Deliveries, d)
}

// readConv is a conversation while the history is read.
type readConv struct {
	from                   flow // what is received
	me, peer               historyEnd
	sent, received         []readRecord
	taken, delivered, read uint64
}

// readRecord is a record of a conversation and its message.
type readRecord struct {
	seq uint64
	m   *HistoryMessage
}

// historyView collects messages from lines.
type historyView struct {
	convs    map[[32]byte]*readConv // of the present file
	slot     string                 // of the present file
	order    []*readConv            // of all files
	shown    map[flow]uint64        // may stand in another file than the conversation
	messages []*HistoryMessage
	byID     map[string]*HistoryMessage // out and in are different messages
	failed   []*historyLine
	problems []Finding
}

// ReadHistory returns every message of the history in dir, of all its files,
// by the records' own times. It changes nothing, and clients may be writing.
// problems is what is plainly damaged; what could be read is returned all the
// same. Where there is no history there are no messages.
func ReadHistory(dir string) (messages []*HistoryMessage, problems []Finding, err error) {
	v := newHistoryView()
	walk := historyWalk{
		dir:   dir,
		each:  v.line,
		found: func(f Finding) { v.problems = append(v.problems, f) },
		note:  func(string) {},
	}
	if err := walk.run(); err != nil {
		return nil, nil, historyReadError(dir, err)
	}
	v.finish()
	slices.SortStableFunc(v.messages, func(a, b *HistoryMessage) int { return cmp.Compare(a.Time.UnixMilli(), b.Time.UnixMilli()) })
	return v.messages, v.problems, nil
}

func newHistoryView() *historyView {
	return &historyView{shown: make(map[flow]uint64), byID: make(map[string]*HistoryMessage)}
}

// historyReadError leaves no error for a history that is not there.
func historyReadError(dir string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return plainHistoryError(dir, err)
}

// line takes in one line.
func (v *historyView) line(slot string, number uint64, line []byte) error {
	if v.convs == nil || slot != v.slot {
		v.slot, v.convs = slot, make(map[[32]byte]*readConv)
	}
	l, err := parseHistoryLine(line)
	if err != nil {
		v.problems = append(v.problems, Finding{slot + historyExt, number, err.Error()})
		return nil
	}
	switch l.Type {
	case lineConversation:
		t3 := [32]byte(l.Conversation)
		if v.convs[t3] == nil {
			c := &readConv{from: flow{t3, reverse(l.Direction)}, me: *l.Me, peer: *l.Peer}
			v.convs[t3] = c
			v.order = append(v.order, c)
		}
	case linePending:
		v.pending(l)
	case lineSent, lineReceived:
		v.batch(l)
	case lineTaken:
		if c := v.convs[[32]byte(l.Conversation)]; c != nil {
			c.taken = max(c.taken, l.Seq)
		}
	case lineShown:
		of := flow{[32]byte(l.Conversation), l.Direction}
		v.shown[of] = max(v.shown[of], l.Seq)
	case lineReceipt:
		v.receipt(l)
	case lineFailed:
		v.failed = append(v.failed, l)
	}
	return nil
}

// message returns the message of a record, a new one if it is not known.
func (v *historyView) message(exact []byte, outgoing bool) (m *HistoryMessage, seq uint64) {
	var r crypto.Record
	if err := canon.Unmarshal(exact, &r); err != nil {
		return nil, 0
	}
	key := "in " + r.ID
	if outgoing {
		key = "out " + r.ID
	}
	if m := v.byID[key]; m != nil {
		return m, r.Seq
	}
	m = &HistoryMessage{ID: r.ID, Outgoing: outgoing, Text: r.Text, Time: time.UnixMilli(r.Time)}
	for _, to := range r.To {
		m.To = append(m.To, to.Name)
	}
	v.byID[key] = m
	v.messages = append(v.messages, m)
	return m, r.Seq
}

func (v *historyView) pending(l *historyLine) {
	m, _ := v.message(l.Record, true)
	if m == nil {
		return
	}
	for _, name := range l.Names {
		m.delivered(HistoryDelivery{Name: name, Status: StatusPending})
	}
}

func (v *historyView) batch(l *historyLine) {
	header, err := crypto.ParseMessageHeader(l.Header)
	if err != nil {
		return
	}
	c := v.convs[[32]byte(header.Conversation)]
	if c == nil {
		return
	}
	from, list := c.peer, &c.received
	if l.Type == lineSent {
		from, list = c.me, &c.sent
	}
	for _, exact := range l.Records {
		m, seq := v.message(exact, l.Type == lineSent)
		if m == nil {
			continue
		}
		if m.Identity == "" {
			m.From, m.Identity = crypto.End{Name: from.Name, Conn: from.Conn}, from.Identity
		}
		*list = append(*list, readRecord{seq, m})
	}
}

func (v *historyView) receipt(l *historyLine) {
	header, err := crypto.ParseMessageHeader(l.Header)
	if err != nil {
		return
	}
	r, err := crypto.ParseReceipt(l.Receipt)
	if c := v.convs[[32]byte(header.Conversation)]; c != nil && err == nil {
		c.delivered, c.read = max(c.delivered, r.Delivered), max(c.read, r.Read)
	}
}

// finish turns what is known of conversations into deliveries.
func (v *historyView) finish() {
	for _, c := range v.order {
		for _, r := range c.sent {
			r.m.delivered(HistoryDelivery{Name: c.peer.Name, Conn: c.peer.Conn, Status: c.status(r.seq)})
		}
		for _, r := range c.received {
			status := StatusDelivered
			if r.seq <= v.shown[c.from] {
				status = StatusRead
			}
			r.m.delivered(HistoryDelivery{Name: c.me.Name, Conn: c.me.Conn, Status: status})
		}
	}
	for _, l := range v.failed {
		if m := v.byID["out "+l.ID]; m != nil {
			m.delivered(HistoryDelivery{Name: l.Name, Status: StatusFailed, Reason: l.Reason})
		}
	}
	for _, m := range v.messages {
		if m.Outgoing {
			for _, name := range m.To {
				m.delivered(HistoryDelivery{Name: name, Status: StatusPending}) // of whom nothing else is known
			}
		}
	}
}

// status is how far a record of ours got in the conversation.
func (c *readConv) status(seq uint64) Status {
	switch {
	case seq <= c.read:
		return StatusRead
	case seq <= c.delivered:
		return StatusDelivered
	case seq <= c.taken:
		return StatusSent
	}
	return StatusPending
}
