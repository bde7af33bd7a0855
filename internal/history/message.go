package history

import (
	"cmp"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// Status is the progress of a message.
type Status string

// The statuses, as `history` shows them.
const (
	StatusPending   Status = "PENDING"   // not taken by the relay yet
	StatusSent      Status = "SENT"      // the relay took it
	StatusKept      Status = "KEPT"      // the relay keeps it in a letter
	StatusDelivered Status = "DELIVERED" // checked, and in the receiver's history
	StatusRead      Status = "READ"      // shown, or flushed to standard output
	StatusFailed    Status = "FAILED"    // given up, with a reason
)

// AtLeast reports whether s is as far as want. READ is the furthest; FAILED
// reaches no status.
func (s Status) AtLeast(want Status) bool { return s.rank() >= want.rank() }

func (s Status) rank() int {
	return 1 + slices.Index([]Status{StatusPending, StatusSent, StatusKept, StatusDelivered, StatusRead}, s)
}

// Message is one text of the history, as this client knows it. Nothing about it is
// verified: Verify does that.
type Message struct {
	ID       string
	Outgoing bool
	From     crypto.End // its connection is empty if the message was never sent
	Identity string     // of the sender, hex; empty if the message was never sent
	To       []string   // all recipients, folded names, sorted
	Text     string
	Time     time.Time // the record's own
	// Deliveries has an entry for each recipient, from the connection that got
	// furthest. An incoming message has one, to this client.
	Deliveries []Delivery

	Letter bool // a letter has brought it, or is kept for a recipient

	record *crypto.Record // of one's own
}

// Delivery is a message's progress with one recipient.
type Delivery struct {
	Name   string
	Conn   string // the connection that it reached; empty if none
	Status Status
	Reason string    // of FAILED, of PENDING if the message has left, and of KEPT once Until is over
	Until  time.Time // of KEPT: the relay keeps it no longer
}

// Status returns the message's progress with everyone: the least of its deliveries,
// and FAILED if one failed.
func (m *Message) Status() Status {
	least := Status("")
	for _, d := range m.Deliveries {
		if least == "" || d.Status.rank() < least.rank() {
			least = d.Status
		}
	}
	return least
}

// With reports whether the message came from or went to name.
func (m *Message) With(name string) bool {
	if !m.Outgoing {
		return proto.SameName(m.From.Name, name)
	}
	return slices.Contains(m.To, proto.FoldName(name))
}

// certainty orders statuses: the later in this list wins when two reports about
// one recipient differ. DELIVERED and READ are final, and FAILED outranks SENT. The relay may still
// bring what it keeps.
var certainty = []Status{
	StatusPending, StatusSent, StatusFailed, StatusKept, StatusDelivered, StatusRead,
}

// delivered notes a report about one recipient.
func (m *Message) delivered(d Delivery) {
	for i := range m.Deliveries {
		before := &m.Deliveries[i]
		if !proto.SameName(before.Name, d.Name) {
			continue
		}
		more := cmp.Compare(slices.Index(certainty, d.Status), slices.Index(certainty, before.Status))
		if more > 0 || more == 0 && (before.Reason == "" && d.Reason != "" || d.Until.After(before.Until)) {
			*before = d
		}
		return
	}
	m.Deliveries = append(m.Deliveries, d)
}
