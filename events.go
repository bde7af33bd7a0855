package chatsecure

import (
	"context"
	"io"
	"sync"
)

// maxWaiting is how many bytes of text may wait to be shown before DELIVERED
// is withheld, which stops the senders at their windows.
const maxWaiting = 4 << 20

// eventQueue holds events between the engine, which never waits for whoever
// shows them, and Client.Next. What bounds it are the senders' windows: see
// maxWaiting.
type eventQueue struct {
	mu     sync.Mutex
	events []Event
	bytes  int           // of text in events
	end    error         // set once; after the last event
	signal chan struct{} // capacity 1
}

func newEventQueue() *eventQueue {
	return &eventQueue{signal: make(chan struct{}, 1)}
}

func (q *eventQueue) add(e Event) {
	q.mu.Lock()
	if q.end == nil {
		q.events = append(q.events, e)
		if e.Message != nil {
			q.bytes += len(e.Message.Text)
		}
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

// full tells whether so much text waits that no more may be called delivered.
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
			q.events, q.bytes = nil, 0
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
