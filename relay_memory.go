package chatsecure

import (
	"cmp"
	"slices"
	"sync/atomic"

	"chatsecure/proto"
)

// relayMaxHeld bounds what all connections together make the relay hold: lines
// that are not complete and lines that wait to be written. Each connection has
// its own bounds, but thousands that send half a line, or never read, would
// still come to more than a machine has. Honest traffic holds little, because
// senders wait for acks: this is eight hundred large messages on their way.
const relayMaxHeld = 512 << 20

// relayMemory counts what is held.
type relayMemory struct {
	max      int64
	held     atomic.Int64
	pressure chan struct{} // capacity 1: more is held than max
}

func newRelayMemory(max int64) *relayMemory {
	return &relayMemory{max: max, pressure: make(chan struct{}, 1)}
}

// add counts n bytes more, or fewer, and never waits.
func (m *relayMemory) add(n int) {
	if m.held.Add(int64(n)) > m.max && n > 0 {
		select {
		case m.pressure <- struct{}{}:
		default:
		}
	}
}

// relayBurden is what one connection makes the relay hold, and since when.
type relayBurden struct {
	conn  *relayConn
	bytes int64
	waits int64 // seconds that the relay has waited for it
}

// burden looks at a connection.
func (c *relayConn) burden(now int64) relayBurden {
	c.queue.mu.Lock()
	b := relayBurden{conn: c, bytes: int64(c.queue.bytes)}
	c.queue.mu.Unlock()
	if since := c.writing.Load(); since != 0 {
		b.waits = now - since
	}
	if reading := c.reading.Load(); reading > 0 {
		b.bytes += reading
		b.waits = max(b.waits, now-c.heard.Load())
	}
	return b
}

// relieve ends connections until a quarter of the bound is free again: those
// that the relay has waited for longest, and of these the largest.
func (r *Relay) relieve() {
	now, total := r.seconds.Load(), int64(0)
	var burdens []relayBurden
	for _, c := range r.hub.all() {
		if c.ended.Load() {
			continue // what it holds is on its way out
		}
		if b := c.burden(now); b.bytes > 0 {
			burdens = append(burdens, b)
			total += b.bytes
		}
	}
	if total <= r.memory.max {
		return
	}
	slices.SortFunc(burdens, func(a, b relayBurden) int {
		return cmp.Or(cmp.Compare(b.waits, a.waits), cmp.Compare(b.bytes, a.bytes))
	})
	for _, b := range burdens {
		if total <= r.memory.max/4*3 {
			return
		}
		total -= b.bytes
		b.conn.end(relayEnding{
			reason: "the relay holds too much, and has waited for it longest", drop: true,
			stalled: b.conn.writing.Load() != 0,
			tell:    proto.Errorf(proto.Slow, "the relay has too much on its way, and has waited for this connection longest"),
		})
	}
}

// Read is the connection's input for its LineReader. It counts what waits for
// the rest of a line.
func (c *relayConn) Read(p []byte) (int, error) {
	holding := int64(c.lines.Holding())
	if before := c.reading.Swap(holding); before != holding {
		c.relay.memory.add(int(holding - before))
	}
	return c.conn.Read(p)
}
