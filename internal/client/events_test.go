package client

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// TestEventsAreBounded: refusals and the like that nobody takes are counted.
func TestEventsAreBounded(t *testing.T) {
	q := newEventQueue()
	const n = 2 * maxEvents / EventCost
	for i := range n {
		q.add(Event{Type: EventPeer, Peer: &PeerChange{Name: "mallory", What: "refused", Reason: fmt.Sprint(i)}})
	}
	q.add(Event{Type: EventMessage, Message: &Message{Text: "hello"}})
	events, err := q.next(context.Background())
	if err != nil || len(events) > maxEvents/EventCost+3 {
		t.Fatalf("%d of %d events are kept: %v", len(events), n, err)
	}
	kept := len(events) - 2 // but for the message and the notice of the others
	last := events[len(events)-1]
	if want := fmt.Sprintf(": %d", n-kept); !strings.HasSuffix(last.Notice, want) {
		t.Errorf("the last event is %+v, want one that says %s", last, want)
	}
	if !strings.Contains(last.Notice, "gaps") { // which are among them
		t.Errorf("the last event says nothing of gaps: %s", last.Notice)
	}
	if events[kept].Message == nil {
		t.Error("the message is lost")
	}
	if q.full() {
		t.Error("the queue is still full")
	}
}
