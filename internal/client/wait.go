package client

import (
	"context"
	"maps"
	"slices"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// waiter waits until over, which the engine asks after each of its turns, says yes.
type waiter struct {
	over func(now time.Time) bool
	done chan struct{}
}

// await waits until over says yes, or the client or ctx ends.
func (e *engine) await(ctx context.Context, over func(now time.Time) bool) error {
	w := &waiter{over, make(chan struct{})}
	if !e.post(func() { e.waiters = append(e.waiters, w) }) {
		return e.endError()
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		e.do(context.Background(), func() {
			e.waiters = slices.DeleteFunc(e.waiters, func(x *waiter) bool { return x == w })
		})
		return ctx.Err()
	case <-e.ended:
		return e.endError()
	}
}

// handOver bounds the time that a fulfilled wait goes on for the recipients' other
// connections: a person with two devices is to have a message on both, and the
// sender is about to leave. A silent one must not delay it for long.
const handOver = 2 * time.Second

// Wait waits until everything sent has reached level or failed for every
// recipient, or ctx ends. It then waits up to two seconds more until the
// recipients' other connections have been sent it, too.
func (c *Client) Wait(ctx context.Context, level history.Status) Outcome {
	e := c.engine
	var settled time.Time // when it was fulfilled; zero: not yet
	var out Outcome
	err := e.await(ctx, func(now time.Time) bool {
		over := e.isOver(level, &settled, now)
		if over {
			out = e.outcome(level)
		}
		return over
	})
	if err != nil { // ctx is over, or the client
		err = e.do(context.Background(), func() { out = e.outcome(level) })
	}
	if err != nil {
		<-e.ended
		out = e.outcome(level) // run is over: nobody else touches it
		if e.fatal != nil {
			out.Failed = append(out.Failed, fail.AsError(e.fatal))
		}
	}
	return out
}

// checkWaiters ends the waits that are over.
func (e *engine) checkWaiters() {
	e.waiters = slices.DeleteFunc(e.waiters, func(w *waiter) bool {
		over := w.over(time.Now())
		if over {
			close(w.done)
		}
		return over
	})
}

// isOver tells whether a wait is fulfilled, and all is handed over or handOver
// has passed since settled.
func (e *engine) isOver(level history.Status, settled *time.Time, now time.Time) bool {
	if !e.settled(level) {
		return false
	}
	if e.handedOver() {
		return true
	}
	if settled.IsZero() {
		*settled = now
	}
	return now.Sub(*settled) > handOver
}

// settled tells whether every record has reached a level, or was given up.
func (e *engine) settled(level history.Status) bool {
	if !e.outbox.empty() {
		return false
	}
	for _, u := range e.users {
		if c := &u.counts; c.failed+c.at(level)+e.keptFor(u, level) < c.total {
			return false
		}
	}
	return true
}

// keptFor counts a user's records that the relay keeps below a level, if nobody is there who takes
// messages, nor awaited.
func (e *engine) keptFor(u *user, level history.Status) int {
	if u.counts.kept == 0 || history.StatusKept.AtLeast(level) || e.prospect(u, proto.TakesMessages).there ||
		e.link.patient(time.Now()).Sub(u.counts.keptAt) < e.cfg.WaitPeer {
		return 0
	}
	return u.counts.kept
}

// handedOver tells whether all queues are empty, except those of connections
// that seem beyond reach.
func (e *engine) handedOver() bool {
	for _, pc := range e.conns {
		if len(pc.out.queue) > 0 && !pc.ending && pc.shake.tries == 0 && pc.user.accepted && !final(pc.user.refusal) {
			return false
		}
	}
	return !e.letters.leaving()
}

// Outcome is the result of a Wait: how many records reached the level, for each
// recipient name, and the failures.
type Outcome struct {
	Names  []NameOutcome // sorted by folded name
	Failed []*fail.Error // the reasons, in the order of Names
}

// NameOutcome counts one recipient's records.
type NameOutcome struct {
	Name          string
	Reached, Open int // Open: neither there, kept nor failed when the wait ended
	Failed        int
	Kept          int // below the level: the relay keeps it, and nobody is there who takes messages

	// Counts of all levels. READ counts as DELIVERED and SENT, too. Boxed counts what is KEPT now, and
	// Until is the time up to which the relay keeps all of it.
	Sent, Boxed, Delivered, Read int
	Until                        time.Time
}

// Total is the number of a recipient's records.
func (n NameOutcome) Total() int { return n.Reached + n.Open + n.Failed + n.Kept }

// ExitStatus returns the exit status of a command that waited: 0 if everything
// reached the level for every recipient, 9 if the relay keeps the rest, 7 if it did
// for some recipients, 6 for none, or that of a more severe reason.
func (o Outcome) ExitStatus() int {
	done, kept := 0, 0
	for _, n := range o.Names {
		switch {
		case n.Open+n.Failed > 0:
		case n.Kept > 0:
			kept++
		default:
			done++
		}
	}
	worst := fail.ExitUndone
	switch {
	case done == len(o.Names) && (done > 0 || len(o.Failed) == 0):
		return 0
	case kept > 0 && done+kept == len(o.Names):
		worst = fail.ExitKept
	case done > 0:
		worst = fail.ExitSome
	}
	for _, reason := range o.Failed {
		worst = fail.MostSevere(worst, fail.ExitStatus(reason))
	}
	return worst
}

func (e *engine) outcome(level history.Status) Outcome {
	var out Outcome
	for _, name := range slices.Sorted(maps.Keys(e.users)) {
		u := e.users[name]
		c := &u.counts
		if c.total == 0 {
			continue
		}
		n := NameOutcome{Name: u.shown, Reached: c.at(level), Failed: c.failed, Sent: c.sent, Delivered: c.delivered, Read: c.read}
		n.Kept, n.Boxed, n.Until = e.keptFor(u, level), c.kept, c.until
		n.Open = c.total - n.Reached - n.Failed - n.Kept
		out.Names = append(out.Names, n)
		out.Failed = append(out.Failed, c.reasons...)
		if n.Open > 0 {
			late := fail.Errorf(proto.NotDelivered, "%d of %d messages to %s did not become %s in time", n.Open, c.total, u.shown, level)
			if i := slices.IndexFunc(u.boxes.ways, func(w *way) bool { return w.flight != nil && w.flight.busy != nil }); i >= 0 {
				late = u.boxes.ways[i].flight.unkept(late)
			}
			if n.Boxed > 0 {
				late = late.With("what the relay keeps needs not be sent again; the history shows how far it has got")
			}
			out.Failed = append(out.Failed, late)
		}
	}
	return out
}
