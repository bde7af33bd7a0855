package relay

import (
	"slices"
	"sync"

	"chatsecure/proto"
)

// queue holds the output of one connection: payloads one after the other in one
// buffer, and the routes whose acks are due. Queueing never waits.
type queue struct {
	memory *memory

	mu      sync.Mutex // guards the fields below
	buf     []byte
	entries []entry
	acks    []*route      // each at most once: route.ackQueued
	bytes   int           // size of everything unwritten, including the writer's batch
	active  bool          // there is a writer, or there must not be one yet
	ended   bool          // nothing more is taken
	drop    bool          // the queued payloads are not written
	last    []byte        // the final payload, or nil
	done    chan struct{} // closed when ended and the writer has finished
}

// entry is one payload in a queue.
type entry struct {
	end   int    // of the payload in the buffer; it begins at the end of the entry before
	text  int    // end of the text of the line's body, which stands behind the payload
	size  int    // its part of queue.bytes
	route *route // of a forwarded message; nil for the relay's own lines
	seq   uint64 // number of the sender's line
	body  int    // bytes of body, text decoded, which the sender's window counts
}

// entryCost is added to the bytes of each queued payload, so that the bound holds
// for empty ones as well.
const entryCost = 128

// put is the outcome of queueing.
type put int

const (
	putOK   put = iota
	putWake     // queued; the caller must start the writer
	putFull     // not queued: the queue has reached its bound
	putHog      // not queued: the sender's share of a crowded queue is too large
	putOver     // not queued: the connection has ended
)

// put queues a payload, head and then body, and the text of the line's body. Text
// counts as the bytes that it encodes, and takes a third more: so does what the
// bounds of a queue and of maxHeld allow, where pipes fill it.
func (q *queue) put(head, body, text []byte, e entry) put {
	size := len(head) + e.body + entryCost
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return putOver
	}
	switch {
	case q.bytes+size > Crowded && e.route != nil && e.route.share.bytes.Load() > Hog:
		return putHog
	case q.bytes+size > proto.MaxQueue:
		return putFull
	}
	q.makeRoom(len(head) + len(body) + len(text))
	q.buf = append(append(q.buf, head...), body...)
	e.end, e.size = len(q.buf), size
	q.buf = append(q.buf, text...)
	e.text = len(q.buf)
	q.entries = append(q.entries, e)
	q.bytes += size
	q.memory.add(size)
	return q.wake()
}

// Queues share a pool of buffers for streams, so that the messages of a pipe need
// no memory of their own.
const (
	stream = 256 << 10 // size of such a buffer
	long   = 4 << 10   // a message from this size on is worth one
)

var streams = sync.Pool{New: func() any { return new([stream]byte) }}

// makeRoom takes a buffer from the pool if a long message does not fit.
func (q *queue) makeRoom(size int) {
	need := len(q.buf) + size
	if need <= cap(q.buf) || size < long || need > stream || cap(q.buf) >= stream {
		return
	}
	q.buf = append(streams.Get().(*[stream]byte)[:0], q.buf...)
}

// expect makes room at once for a long answer in many pieces.
func (q *queue) expect(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if size > stream && !q.ended {
		q.buf = slices.Grow(q.buf, size)
	}
}

// dropBuffers gives up the queue's memory. q.mu is held.
func (q *queue) dropBuffers() {
	if cap(q.buf) == stream {
		streams.Put((*[stream]byte)(q.buf[:stream]))
	}
	q.buf, q.entries, q.acks = nil, nil, nil
}

// putAck queues the ack for line seq of a route, and for all before it: they have
// been written to their destination.
func (q *queue) putAck(rt *route, seq uint64) put {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return putOver
	}
	rt.ackSeq = seq
	if rt.ackQueued {
		return putOK
	}
	rt.ackQueued = true
	q.acks = append(q.acks, rt)
	return q.wake()
}

func (q *queue) wake() put {
	if q.active {
		return putOK
	}
	q.active = true
	return putWake
}

// end closes the queue with a last payload. The caller must start the writer if wake
// is true.
func (q *queue) end(last []byte, drop bool) (wake bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended, q.last, q.drop = true, last, drop
	return q.wake() == putWake
}

// batch is the part of a queue that a writer has taken.
type batch struct {
	buf     []byte
	entries []entry
	acks    []ack
}

// ack acknowledges everything up to line seq that went to one destination.
type ack struct {
	dstID string
	seq   uint64
}

// take moves the content of the queue into b and b's memory into the queue. It
// returns false if the queue was empty.
func (q *queue) take(b *batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.acks = b.acks[:0]
	if q.drop {
		q.entries, q.acks = nil, nil
	}
	if len(q.entries) == 0 && len(q.acks) == 0 {
		return false
	}
	q.buf, b.buf = b.buf[:0], q.buf
	q.entries, b.entries = b.entries[:0], q.entries
	for _, rt := range q.acks {
		rt.ackQueued = false
		b.acks = append(b.acks, ack{rt.dst.id, rt.ackSeq})
	}
	clear(q.acks)
	q.acks = q.acks[:0]
	return true
}

// dropped tells whether the rest of a batch is not to be written.
func (q *queue) dropped() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.drop
}

// wrote subtracts written entries of this size.
func (q *queue) wrote(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= size
	q.memory.add(-size)
}

// letGo gives up the unwritten rest, after the writer has finished.
func (q *queue) letGo() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.memory.add(-q.bytes)
	q.bytes, q.buf, q.entries, q.acks = 0, nil, nil, nil
}

// rest stops the writer and gives up the queue's memory. If rests is false, something
// has been queued meanwhile. If the queue has ended, the writer has yet to write
// last and finish.
func (q *queue) rest() (rests, ended bool, last []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.drop && (len(q.entries) > 0 || len(q.acks) > 0) {
		return false, false, nil
	}
	if cap(q.buf) > idleBytes || cap(q.entries) > idleEntries || cap(q.acks) > idleEntries {
		q.dropBuffers()
	}
	if q.ended {
		return true, true, q.last
	}
	q.active = false
	return true, false, nil
}

// The memory that an empty queue keeps. It is enough for a keep-alive, since ten
// thousand connections are mostly at rest.
const (
	idleBytes   = 256
	idleEntries = 2
)
