package chatsecure

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/proto"
)

// waiter is one Client.Wait under way.
type waiter struct {
	level   Status
	done    chan struct{}
	settled time.Time // since when there is nothing to wait for but handOver
}

// handOver is how long a wait that has all it asked for goes on for the other
// connections of the same people: whoever has two devices is to have a message
// on both, and the sender is about to leave. One that does not answer must not
// keep it long.
const handOver = 2 * time.Second

// handedOver tells whether every connection that takes messages has been sent
// what is for it, but for those that seem to be beyond reach.
func (e *engine) handedOver() bool {
	for _, pc := range e.conns {
		if len(pc.queue) > 0 && !pc.ending && pc.tries == 0 && pc.user.accepted && !final(pc.user.refusal) {
			return false
		}
	}
	return true
}

func (e *engine) wait(ctx context.Context, level Status) Outcome {
	w := &waiter{level: level, done: make(chan struct{})}
	var out Outcome
	if err := e.do(context.Background(), func() { e.waiters = append(e.waiters, w) }); err == nil {
		select {
		case <-w.done:
		case <-ctx.Done():
		case <-e.ended:
		}
	}
	if err := e.do(context.Background(), func() {
		e.waiters = slices.DeleteFunc(e.waiters, func(x *waiter) bool { return x == w })
		out = e.outcome(level)
	}); err != nil {
		<-e.ended
		out = e.outcome(level) // run is over: nobody else touches it
		if e.fatal != nil {
			out.Failed = append(out.Failed, AsError(e.fatal))
		}
	}
	return out
}

// checkWaiters ends the waits whose condition holds.
func (e *engine) checkWaiters() {
	for _, w := range e.waiters {
		settled := true
		for _, u := range e.users {
			if u.counts.failed+u.counts.at(w.level) < u.counts.total {
				settled = false
				break
			}
		}
		e.outbox.mu.Lock()
		settled = settled && len(e.outbox.fresh) == 0
		e.outbox.mu.Unlock()
		if settled && e.fatal == nil && !e.handedOver() {
			if w.settled.IsZero() {
				w.settled = time.Now()
			}
			settled = time.Since(w.settled) > handOver
		}
		if settled {
			select {
			case <-w.done:
			default:
				close(w.done)
			}
		}
	}
}

func (c *statusCounts) at(level Status) int {
	switch level {
	case StatusSent:
		return c.sent
	case StatusDelivered:
		return c.delivered
	}
	return c.read
}

func (e *engine) outcome(level Status) Outcome {
	var out Outcome
	for _, u := range e.users {
		c := &u.counts
		if c.total == 0 {
			continue
		}
		n := NameOutcome{Name: u.shown, Reached: c.at(level), Failed: c.failed, Sent: c.sent, Delivered: c.delivered, Read: c.read}
		n.Open = c.total - n.Reached - n.Failed
		out.Names = append(out.Names, n)
		out.Failed = append(out.Failed, c.reasons...)
		if n.Open > 0 {
			out.Failed = append(out.Failed, Errorf(proto.NotDelivered, "%d of %d messages to %s did not become %s in time", n.Open, c.total, u.shown, level))
		}
	}
	slices.SortFunc(out.Names, func(a, b NameOutcome) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (n NameOutcome) String() string {
	return fmt.Sprintf("%s: %d reached, %d open, %d failed", n.Name, n.Reached, n.Open, n.Failed)
}
