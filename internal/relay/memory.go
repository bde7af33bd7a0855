package relay

import (
	"cmp"
	"slices"
	"sync/atomic"

	"chatsecure/proto"
)

// maxHeld bounds the bytes that the relay holds for all connections together: of
// incomplete lines and of queues. Each connection has bounds of its own, but
// thousands of half lines, or of full queues, would exceed a machine's memory.
// Honest senders wait for acks and so need little: this is enough for eight
// hundred large messages on their way.
const maxHeld = 512 << 20

// memory counts the held bytes.
type memory struct {
	max      int64
	held     atomic.Int64
	pressure chan struct{} // capacity 1: more is held than max
}

func newMemory(max int64) *memory {
	return &memory{max: max, pressure: make(chan struct{}, 1)}
}

// add counts n bytes more, or fewer, and never waits.
func (m *memory) add(n int) {
	if m.held.Add(int64(n)) > m.max && n > 0 {
		select {
		case m.pressure <- struct{}{}:
		default:
		}
	}
}

// burden is the memory that the relay holds for one connection.
type burden struct {
	conn  *conn
	bytes int64
	waits int64 // seconds for which the relay has waited for it
}

// burden measures a connection's.
func (c *conn) burden(now int64) burden {
	c.queue.mu.Lock()
	b := burden{conn: c, bytes: int64(c.queue.bytes)}
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

// relieve ends connections until a quarter of the bound is free again. The relay
// has waited longest for the first to go; among equals the largest goes.
func (r *Relay) relieve() {
	now, total := r.seconds.Load(), int64(0)
	var burdens []burden
	for _, c := range r.hub.all() {
		if c.ended.Load() {
			continue // its memory is on its way out
		}
		if b := c.burden(now); b.bytes > 0 {
			burdens = append(burdens, b)
			total += b.bytes
		}
	}
	if total <= r.memory.max {
		return
	}
	slices.SortFunc(burdens, func(a, b burden) int {
		return cmp.Or(cmp.Compare(b.waits, a.waits), cmp.Compare(b.bytes, a.bytes))
	})
	for _, b := range burdens {
		if total <= r.memory.max/4*3 {
			return
		}
		total -= b.bytes
		b.conn.end(ending{
			reason: "the relay holds too much, and has waited for it longest", drop: true,
			stalled: b.conn.writing.Load() != 0,
			tell:    proto.Errorf(proto.Slow, "the relay has too much on its way, and has waited for this connection longest"),
		})
	}
}
