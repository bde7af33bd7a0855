package history

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// readConv is a conversation while the history is read.
type readConv struct {
	from                   flow // of the received part
	me, peer               End
	sent, received         []readRecord
	taken, delivered, read uint64
}

// readRecord is a record of a conversation, with its message.
type readRecord struct {
	seq uint64
	m   *Message
}

// view collects messages from lines.
type view struct {
	convs    map[[32]byte]*readConv // of the present file
	slot     string                 // of the present file
	order    []*readConv            // of all files
	shown    map[flow]uint64        // of all files: the conversation may be in another
	messages []*Message
	byID     map[messageKey]*Message
	failed   []*Line
	problems []Finding
}

// messageKey tells a message that was sent from the same one as it was received: two
// clients of one user may talk with each other.
type messageKey struct {
	id       string
	outgoing bool
}

// Read returns every message of the history in dir, of all its files, sorted by the
// records' own times. It changes nothing, and clients may be writing. It returns the
// readable messages also of a damaged history, with the damages as problems. A missing
// history has no messages.
func Read(dir string) (messages []*Message, problems []Finding, err error) {
	v := newView()
	walk := walk{
		dir:   dir,
		each:  v.line,
		found: func(f Finding) { v.problems = append(v.problems, f) },
		note:  func(string) {},
	}
	if err := walk.run(); err != nil {
		return nil, nil, readError(dir, err)
	}
	v.finish()
	slices.SortStableFunc(v.messages, func(a, b *Message) int { return cmp.Compare(a.Time.UnixMilli(), b.Time.UnixMilli()) })
	return v.messages, v.problems, nil
}

func newView() *view {
	return &view{shown: make(map[flow]uint64), byID: make(map[messageKey]*Message)}
}

// readError returns no error for a missing history.
func readError(dir string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return openFailure(dir, err)
}

// line takes in one line.
func (v *view) line(slot string, number uint64, line []byte) {
	if v.convs == nil || slot != v.slot {
		v.slot, v.convs = slot, make(map[[32]byte]*readConv)
	}
	l, err := parseLine(line)
	if err != nil {
		v.problems = append(v.problems, Finding{slot + Ext, number, err.Error()})
		return
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
}

// message returns the message of a record, a new one if it is unknown, or nil for
// bytes that are no record.
func (v *view) message(exact []byte, outgoing bool) (m *Message, seq uint64) {
	var r crypto.Record
	if err := proto.Unmarshal(exact, &r); err != nil {
		return nil, 0
	}
	key := messageKey{r.ID, outgoing}
	if m := v.byID[key]; m != nil {
		return m, r.Seq
	}
	m = &Message{ID: r.ID, Outgoing: outgoing, Text: r.Text, Time: time.UnixMilli(r.Time)}
	for _, to := range r.To {
		m.To = append(m.To, to.Name)
	}
	v.byID[key] = m
	v.messages = append(v.messages, m)
	return m, r.Seq
}

func (v *view) pending(l *Line) {
	m, _ := v.message(l.Record, true)
	if m == nil {
		return
	}
	for _, name := range l.Names {
		m.delivered(Delivery{Name: name, Status: StatusPending})
	}
}

func (v *view) batch(l *Line) {
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

func (v *view) receipt(l *Line) {
	header, err := crypto.ParseMessageHeader(l.Header)
	if err != nil {
		return
	}
	r, err := crypto.ParseReceipt(l.Receipt)
	if c := v.convs[[32]byte(header.Conversation)]; c != nil && err == nil {
		c.delivered, c.read = max(c.delivered, r.Delivered), max(c.read, r.Read)
	}
}

// left is the reason why a message is PENDING that was signed and sent.
const left = "it has left and was not answered, so it may have arrived"

// finish turns the progress of conversations into deliveries.
func (v *view) finish() {
	for _, c := range v.order {
		for _, r := range c.sent {
			d := Delivery{Name: c.peer.Name, Conn: c.peer.Conn, Status: c.status(r.seq)}
			if d.Status == StatusPending {
				d.Reason = left
			}
			r.m.delivered(d)
		}
		for _, r := range c.received {
			status := StatusDelivered
			if r.seq <= v.shown[c.from] {
				status = StatusRead
			}
			r.m.delivered(Delivery{Name: c.me.Name, Conn: c.me.Conn, Status: status})
		}
	}
	for _, l := range v.failed {
		if m := v.byID[messageKey{l.ID, true}]; m != nil {
			m.delivered(Delivery{Name: l.Name, Status: StatusFailed, Reason: l.Reason})
		}
	}
	for _, m := range v.messages {
		if m.Outgoing {
			for _, name := range m.To {
				m.delivered(Delivery{Name: name, Status: StatusPending}) // unless more is known
			}
		}
	}
}

// status returns the progress of a record of ours in the conversation.
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
