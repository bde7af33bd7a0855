package history

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// Query selects messages.
type Query struct {
	Peer  string    // from or to this name; "": of everybody
	Since time.Time // written then or later
	Grep  string    // in the text, without regard to case
	Now   time.Time // default: time.Now
	N     int       // the last ones; 0: all
}

// Listing is what Read finds.
type Listing struct {
	Owner    Owner      // by the first line
	Messages []*Message // by the records' own times
	More     bool       // earlier ones match too
	Problems []Finding  // the first ones, at most maxFindings
}

// window is the size of the part of the file in which Read looks first. Each next one is twice as
// large.
const window = 128 << 10

// Read returns the messages of the history in dir that a query selects. It changes nothing, and
// clients may be writing. It returns the readable messages also of a damaged history, with the
// damages as problems. A missing history has no messages.
//
// It reads no more of the end of the file than it needs: whatever is known of a message follows
// the first line that has it.
func Read(dir string, q Query) (*Listing, error) {
	lines, err := openSnapshot(dir)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	var index *indexFile
	if lines.File != nil && (q.N > 0 || !q.Since.IsZero()) {
		if index = openIndex(dir, lines.File); index != nil {
			defer index.close()
		}
	}
	q.Grep = strings.ToLower(q.Grep)
	if q.Now.IsZero() {
		q.Now = time.Now()
	}
	var owner Owner
	if lines.size > 0 {
		owner, _ = ownerOf(lines)
	}
	for size := int64(window); ; size *= 2 {
		start := int64(0)
		if index != nil && size < lines.size {
			start = lineAfter(lines, lines.size-size)
		}
		v := newView(q, owner)
		v.absent = func(of flow) *conversation {
			if start == 0 {
				return nil
			}
			return v.lookUp(of, lines, index)
		}
		if _, _, err := lines.each(start, v.found, v.line); err != nil {
			return nil, openFailure(dir, err)
		}
		if l := v.finish(start > 0); start == 0 || l != nil {
			l.Owner = owner
			return l, nil
		}
	}
}

// lineAfter returns the offset of the first line that begins there or later; 0: there is none.
func lineAfter(lines snapshot, offset int64) int64 {
	_, size, _, err := nextLine(bufio.NewReader(io.NewSectionReader(lines, offset-1, lines.size-offset+1)))
	if err != nil {
		return 0
	}
	return offset - 1 + size
}

// view collects messages from lines.
type view struct {
	reader
	query    Query
	owner    Owner
	plain    bool  // the text that is sought has no character that JSON escapes
	since    int64 // when the first line was written, in Unix milliseconds
	unknown  bool  // a conversation is among the lines before
	messages []*Message
	byID     map[messageKey]*Message
	failed   []*Line
	receipts []*Line // that letters brought
	problems []Finding
}

// messageKey tells a message that was sent from the same one as it was received: two clients of one
// user may talk with each other.
type messageKey struct {
	id       string
	outgoing bool
}

// listed is a record of a conversation, with its message.
type listed struct {
	seq uint64
	m   *Message
}

func newView(q Query, owner Owner) *view {
	plain := q.Grep != "" && string(proto.MustMarshal(q.Grep)) == `"`+q.Grep+`"`
	return &view{reader: newReader(), query: q, owner: owner, plain: plain, byID: make(map[messageKey]*Message)}
}

func (v *view) found(f Finding) {
	if len(v.problems) < maxFindings {
		v.problems = append(v.problems, f)
	}
}

// lookUp reads the line of a conversation that is not among those that were read.
func (v *view) lookUp(of flow, lines snapshot, index *indexFile) *conversation {
	offset, ok := index.offset(conversationKey(of))
	if ok {
		line, err := readLine(lines, offset)
		l, wrong := parseLine(line)
		if letter, ok := peekLetter(line); ok && letter.flow() == of {
			return new(conversation) // its records are before those that were read
		}
		if err == nil && wrong == nil && l.Type == lineConversation && of == (flow{[32]byte(l.Conversation), l.Direction}) {
			return v.begin(l)
		}
	}
	v.unknown = true
	return nil
}

// line takes in one line.
func (v *view) line(number uint64, line []byte) {
	if v.since == 0 { // a clock that was wrong later says nothing of the lines before
		v.since = peekTime(line)
	}
	switch typ, _, _ := peekType(line); string(typ) {
	case lineBundle, lineHead, lineRun, lineSeen, lineGap, lineEnd: // they say nothing of a message
		return
	case linePending, lineSent, lineReceived, lineLetterSent, lineLetterReceived:
		// A text without escapes stands in its line as it is. Decoding takes ten times as long.
		if v.plain && !bytes.Contains(bytes.ToLower(line), []byte(v.query.Grep)) {
			return
		}
	}
	l, err := parseLine(line)
	if err != nil {
		v.found(Finding{Line: number, What: err.Error()})
		return
	}
	switch l.Type {
	case lineConversation:
		if v.convs[flow{[32]byte(l.Conversation), l.Direction}] == nil {
			v.begin(l)
		}
	case linePending:
		if m, _ := v.message(l.Record, nil); m != nil {
			for _, name := range l.Names {
				m.delivered(Delivery{Name: name, Status: StatusPending})
			}
		}
	case lineFailed:
		v.failed = append(v.failed, l)
	case lineLetterSent, lineLetterReceived, lineLetterReceipt:
		v.letter(number, l)
	default:
		if c := v.about(l); c != nil {
			v.batch(l, c)
			if err := c.take(l); err != nil {
				v.found(Finding{Line: number, What: err.Error()})
			}
		}
	}
}

func (v *view) batch(l *Line, c *side) {
	for _, exact := range l.Records {
		m, seq := v.message(exact, c)
		if m == nil {
			continue
		}
		if m.Identity == "" { // it was pending
			m.From, m.Identity = crypto.End{Name: c.from.Name, Conn: c.from.Conn}, c.from.End.Identity
		}
		c.records = append(c.records, listed{seq, m})
	}
}

// message returns the message of a record, a new one if it is unknown, or nil if the query does not
// select it or it is no record. It was sent or received in c; nil: it is pending.
func (v *view) message(exact []byte, c *side) (m *Message, seq uint64) {
	var r crypto.Record
	if err := proto.Unmarshal(exact, &r); err != nil || !proto.IsHex(r.ID, len(recordKey{})) {
		return nil, 0
	}
	outgoing := c == nil || c.from == &c.me
	key := messageKey{r.ID, outgoing}
	if m := v.byID[key]; m != nil {
		return m, r.Seq
	}
	m = &Message{ID: r.ID, Outgoing: outgoing, Text: r.Text, Time: time.UnixMilli(r.Time)}
	if outgoing {
		m.record = &r
	}
	for _, to := range r.To {
		m.To = append(m.To, to.Name)
	}
	if !outgoing {
		m.From.Name = c.from.Name
	}
	if !v.query.selects(m) {
		return nil, 0
	}
	v.byID[key] = m
	v.messages = append(v.messages, m)
	return m, r.Seq
}

func (q *Query) selects(m *Message) bool {
	return (q.Peer == "" || m.With(q.Peer)) && !m.Time.Before(q.Since) &&
		(q.Grep == "" || strings.Contains(strings.ToLower(m.Text), q.Grep))
}

// left is the reason why a message is PENDING that was signed and sent.
const left = "it has left and was not answered, so it may have arrived"

// lag is how much later than a record's own time a client may write it down by its own clock, if
// the two clocks differ: PROTOCOL.md, "Who is judged when".
const lag = 10 * time.Minute

// finish turns the progress of conversations into deliveries. It returns nil if lines before those
// that were read are needed.
func (v *view) finish(before bool) *Listing {
	q := &v.query
	v.deliver()
	if before {
		if v.unknown || len(v.problems) > 0 { // a problem is told with its line's number
			return nil
		}
		// A message of ours that was fixed before the first line may have others before it. To one that
		// everybody has read they add nothing.
		v.messages = slices.DeleteFunc(v.messages, func(m *Message) bool {
			return m.Outgoing && m.Time.UnixMilli() <= v.since && m.Status() != StatusRead
		})
		enough := q.N > 0 && len(v.messages) > q.N
		if early := q.Since.Add(-lag).UnixMilli(); !enough && (q.Since.IsZero() || v.since >= early) {
			return nil
		}
	}
	l := &Listing{Messages: v.messages, Problems: v.problems}
	if over := len(l.Messages) - q.N; q.N > 0 && over > 0 {
		l.Messages, l.More = l.Messages[over:], true
	}
	slices.SortStableFunc(l.Messages, func(a, b *Message) int { return cmp.Compare(a.Time.UnixMilli(), b.Time.UnixMilli()) })
	return l
}

func (v *view) deliver() {
	for _, c := range v.order {
		for _, r := range c.sent.records {
			d := Delivery{Name: c.peer.Name, Conn: c.peer.Conn, Status: c.status(r.seq)}
			if d.Status == StatusPending {
				d.Reason = left
			}
			r.m.delivered(d)
		}
		for _, r := range c.received.records {
			status := StatusDelivered
			if r.seq <= c.shown {
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
	v.applyReceipts()
	for _, m := range v.messages {
		if m.Outgoing {
			m.overdue(v.query.Now)
			for _, name := range m.To {
				m.delivered(Delivery{Name: name, Status: StatusPending}) // unless more is known
			}
		}
	}
}

// status returns the progress of a record of ours in the conversation.
func (c *conversation) status(seq uint64) Status {
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
