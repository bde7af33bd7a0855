package chatsecure

import (
	"context"
	"fmt"
	"io"
	"sync"
)

const (
	// maxWaiting is how many bytes of messages may wait to be shown before
	// DELIVERED is withheld, which stops the senders at their windows.
	maxWaiting = 4 << 20
	// maxEvents is how many bytes of events may wait before those that peers
	// cause without a window, by coming, being refused and leaving gaps, are only
	// counted: room for all that a window lets through, and far more than a
	// person reads.
	maxEvents = 4 * maxWaiting
	// eventCost is about what a waiting event takes of memory beside what is
	// counted for its text and its names: what bounds bytes must bound empty
	// messages, too.
	eventCost = 512
	// eventNameCost is about what each of a message's recipients takes.
	eventNameCost = 48
)

// messageCost is about what a received message takes of memory until it is READ.
func messageCost(text string, to int) int { return eventCost + len(text) + eventNameCost*to }

// cost is about what an event takes of memory while it waits.
func (e *Event) cost() int {
	if m := e.Message; m != nil {
		return messageCost(m.Text, len(m.To))
	}
	return eventCost
}

// eventQueue holds events between the engine, which never waits for whoever
// shows them, and Client.Next. What bounds it are the senders' windows, see
// maxWaiting, and maxEvents.
type eventQueue struct {
	mu      sync.Mutex
	events  []Event
	bytes   int           // what events cost
	dropped int           // events that were only counted since the last next
	end     error         // set once; after the last event
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
	q.wake()
}

func (q *eventQueue) wake() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
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
	q.wake()
}

// full tells whether so much waits that no more may be called delivered.
func (q *eventQueue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes > maxWaiting
}

func (q *eventQueue) next(ctx context.Context) ([]Event, error) {
	for {
		q.mu.Lock()
		events, end := q.events, q.end
		if len(events) > 0 {
			if q.dropped > 0 {
				notice := fmt.Sprintf("%d more reports of peers that come, leave or are refused, and of gaps, were not kept: nobody took them", q.dropped)
				events = append(events, Event{Type: EventNotice, Time: events[len(events)-1].Time, Notice: notice})
			}
			q.events, q.bytes, q.dropped = nil, 0, 0
			q.mu.Unlock()
			return events, nil
		}
		q.mu.Unlock()
		if end != nil {
			q.wake() // for whoever else waits
			return nil, end
		}
		select {
		case <-q.signal:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
