package client

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
)

// Event is news for a person or a script. Type says which of the other fields
// is set.
type Event struct {
	Type    EventType
	Time    time.Time
	Message *Message       // EventMessage
	Receipt *ReceiptChange // EventReceipt
	Peer    *PeerChange    // EventPeer
	Gap     *Gap           // EventGap
	Err     *fail.Error    // EventLost, EventError
	Notice  string         // EventNotice: a sentence for people
	Conn    string         // EventBack: our new connection id
}

// EventType is the kind of an Event, in the words of -json.
type EventType string

// The kinds of Event.
const (
	EventMessage  EventType = "message"
	EventReceipt  EventType = "receipt"
	EventPeer     EventType = "peer"
	EventGap      EventType = "gap"
	EventLost     EventType = "lost" // the connection to the relay; the client tries again
	EventBack     EventType = "back" // there is one again
	EventError    EventType = "error"
	EventNotice   EventType = "notice"
	EventAccepted EventType = "accepted" // a person whose messages were not READ; for programs that held them back
)

// Message is a text that was received, checked and stored. Client.Shown makes
// it READ.
type Message struct {
	ID       string
	From     string // the sender's name
	FromConn string
	Seq      uint64
	Sent     time.Time // the record's own time
	To       []string  // folded names, all recipients, sorted; messages share it
	Text     string
	Identity [32]byte
	Person   *trust.Person // nil if the message was stored before this start
	Known    bool          // the person was accepted under this name when the message came
	First    bool          // the first message of a new person
	Again    bool          // stored before this start; perhaps shown already
	Letter   bool          // the relay kept it: no connection is its sender's, and FromConn is empty
	Left     time.Time     // of a letter: the time by the relay's clock at which it was left there

	mark *shownMark
}

// ReceiptChange is a change of one message's status for one recipient.
type ReceiptChange struct {
	ID     string
	No     uint64 // number of the Send, from 1: the event may come before Send returns; 0: of an earlier run
	To     string // name
	Conn   string // the connection that it reached, or is on its way to, if there is one
	Status history.Status
	Until  time.Time   // of KEPT: the relay keeps it so long
	Reason string      // FAILED, or given up on its way, or why it waits
	Err    *fail.Error // the reason with its cause
}

// PeerChange tells that a known user's connection came, left, proved itself or
// was refused.
type PeerChange struct {
	Name   string
	Conn   string
	What   string // came, left, authenticated, refused, renewed
	Person *trust.Person
	Reason string

	Refused *state.Refused // the person behind a refusal whom somebody could accept
}

// Gap tells that messages of a conversation are missing.
type Gap struct {
	Name, Conn string
	Reason     string
}

const (
	// MaxWaiting bounds the bytes of messages that wait to be shown. Beyond it
	// DELIVERED is withheld, which stops the senders at their windows.
	MaxWaiting = 4 << 20
	// maxEvents bounds the bytes of events that wait. Beyond it, events that no
	// window bounds (peers that come, leave or are refused, and gaps) are only
	// counted. It leaves room for everything that a window lets through.
	maxEvents = 4 * MaxWaiting
	// EventCost is about the memory of a waiting event, without its text and its
	// names. It bounds empty messages, too.
	EventCost = 512
	// EventNameCost is about the memory of each recipient of a message.
	EventNameCost = 48
)

// MessageCost is about the memory of a received message until it is READ.
func MessageCost(text string, to int) int { return EventCost + len(text) + EventNameCost*to }

// cost is about the memory of a waiting event.
func (e *Event) cost() int {
	if m := e.Message; m != nil {
		return MessageCost(m.Text, len(m.To))
	}
	return EventCost
}

// eventQueue holds events between the engine, which never waits for their
// reader, and Client.Next. The senders' windows bound it, see MaxWaiting, and
// maxEvents.
type eventQueue struct {
	mu      sync.Mutex
	events  []Event
	bytes   int           // the cost of events
	dropped int           // events that were only counted since the last next
	end     error         // set once; after the last event
	lent    bool          // messages have been taken, and nobody has said which were shown
	signal  chan struct{} // capacity 1
}

func newEventQueue() *eventQueue {
	return &eventQueue{signal: make(chan struct{}, 1)}
}

func (q *eventQueue) add(e Event) {
	q.mu.Lock()
	switch {
	case q.end != nil:
	case q.bytes > maxEvents && (e.Type == EventPeer || e.Type == EventGap):
		q.dropped++
	default:
		q.events = append(q.events, e)
		q.bytes += e.cost()
	}
	q.mu.Unlock()
	poke(q.signal)
}

// expect makes room for so many events: they grow by doubling otherwise, and are large.
func (q *eventQueue) expect(n int) {
	q.mu.Lock()
	q.events = slices.Grow(q.events, n)
	q.mu.Unlock()
}

// close ends the queue. The first error stays; nil stands for io.EOF.
func (q *eventQueue) close(err error) {
	if err == nil {
		err = io.EOF
	}
	q.mu.Lock()
	if q.end == nil {
		q.end = err
	}
	q.mu.Unlock()
	poke(q.signal)
}

// returned tells that the marks of all messages that were taken and shown are there.
func (q *eventQueue) returned() {
	q.mu.Lock()
	q.lent = false
	q.mu.Unlock()
}

// lastMessages tells, at the end, whether messages may still be shown, or have been without a mark.
// A client that leaves shows no more: the next start does.
func (q *eventQueue) lastMessages(leaving bool) (may bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	isMessage := func(ev Event) bool { return ev.Message != nil }
	if leaving {
		q.events = slices.DeleteFunc(q.events, isMessage)
	}
	return q.lent || slices.ContainsFunc(q.events, isMessage)
}

// full tells whether DELIVERED must be withheld.
func (q *eventQueue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes > MaxWaiting
}

func (q *eventQueue) next(ctx context.Context) ([]Event, error) {
	for {
		events, end := q.take()
		if len(events) > 0 {
			return events, nil
		}
		if end != nil {
			poke(q.signal) // other callers of next wait for the end, too
			return nil, end
		}
		select {
		case <-q.signal:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take empties the queue. The last event says how many were only counted.
func (q *eventQueue) take() ([]Event, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	if len(events) > 0 && q.dropped > 0 {
		notice := fmt.Sprintf("reports of peers that come, leave or are refused, and of gaps, "+
			"that were not kept because nobody took them: %d", q.dropped)
		events = append(events, Event{Type: EventNotice, Time: events[len(events)-1].Time, Notice: notice})
	}
	if len(events) > 0 {
		q.lent = q.lent || slices.ContainsFunc(events, func(ev Event) bool { return ev.Message != nil })
		q.events, q.bytes, q.dropped = nil, 0, 0
	}
	return events, q.end
}
