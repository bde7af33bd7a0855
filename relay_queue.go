package chatsecure

import (
	"slices"
	"sync"

	"chatsecure/proto"
)

// relayQueue is what waits to be written to one connection: payloads one after
// the other in one buffer, and which routes have an ack to come. Putting never
// waits.
type relayQueue struct {
	memory *relayMemory

	mu      sync.Mutex // guards what follows
	buf     []byte
	entries []relayEntry
	acks    []*relayRoute // each at most once: relayRoute.ackQueued
	bytes   int           // size of all that is not written yet, also of what the writer has taken
	active  bool          // there is a writer, or there must not be one yet
	ended   bool          // nothing more is taken
	drop    bool          // what is queued is not to be written
	last    []byte        // the payload to end with, or nil
	done    chan struct{} // closed when ended and the writer has finished
}

// relayEntry is one payload in a queue.
type relayEntry struct {
	end   int         // of the payload in the buffer; it begins where the one before ends
	size  int         // what it counts in relayQueue.bytes
	route *relayRoute // whose message it is; nil for what the relay itself says
	seq   uint64      // of the line in which it came
	body  int         // bytes of body, which the sender's window counts
}

// relayEntryCost is what a queued payload counts beside its bytes, so that the
// bound holds for empty ones as well.
const relayEntryCost = 128

// relayPut is what came of putting something into a queue.
type relayPut int

const (
	relayPutOK   relayPut = iota
	relayPutWake          // and the caller starts the writer
	relayPutFull          // nothing was put: the queue has reached its bound
	relayPutHog           // nothing was put: the sender has too much in a crowded queue
	relayPutOver          // nothing was put: the connection has ended
)

// put queues a payload: head, then body.
func (q *relayQueue) put(head, body []byte, e relayEntry) relayPut {
	size := len(head) + len(body) + relayEntryCost
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return relayPutOver
	}
	switch {
	case q.bytes+size > relayCrowded && e.route != nil && e.route.share.bytes.Load() > relayHog:
		return relayPutHog
	case q.bytes+size > proto.MaxQueue:
		return relayPutFull
	}
	q.makeRoom(len(head) + len(body))
	q.buf = append(q.buf, head...)
	q.buf = append(q.buf, body...)
	e.end, e.size = len(q.buf), size
	q.entries = append(q.entries, e)
	q.bytes += size
	q.memory.add(size)
	return q.wake()
}

// relayStream is the size of the buffers that queues lend each other for what
// streams, so that no message of a pipe needs memory of its own.
const (
	relayStream = 256 << 10
	relayLong   = 4 << 10 // a message that is worth one
)

var relayStreams = sync.Pool{New: func() any { return new([relayStream]byte) }}

// makeRoom takes a lent buffer where a long message would not fit.
func (q *relayQueue) makeRoom(size int) {
	need := len(q.buf) + size
	if need <= cap(q.buf) || size < relayLong || need > relayStream || cap(q.buf) >= relayStream {
		return
	}
	q.buf = append(relayStreams.Get().(*[relayStream]byte)[:0], q.buf...)
}

// expect makes room at once for much that is put piece by piece.
func (q *relayQueue) expect(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if size > relayStream && !q.ended {
		q.buf = slices.Grow(q.buf, size)
	}
}

// dropBuffers lets go of a queue's memory, which others can use.
func (q *relayQueue) dropBuffers() {
	if cap(q.buf) == relayStream {
		relayStreams.Put((*[relayStream]byte)(q.buf[:relayStream]))
	}
	q.buf, q.entries, q.acks = nil, nil, nil
}

// putAck notes that everything up to line seq of a route has been written to
// its destination. The ack follows when the writer comes to it.
func (q *relayQueue) putAck(rt *relayRoute, seq uint64) relayPut {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return relayPutOver
	}
	rt.ackSeq = seq
	if rt.ackQueued {
		return relayPutOK
	}
	rt.ackQueued = true
	q.acks = append(q.acks, rt)
	return q.wake()
}

func (q *relayQueue) wake() relayPut {
	if q.active {
		return relayPutOK
	}
	q.active = true
	return relayPutWake
}

// end closes the queue with a last payload, and tells whether the caller must
// start the writer.
func (q *relayQueue) end(last []byte, drop bool) (wake bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended, q.last, q.drop = true, last, drop
	return q.wake() == relayPutWake
}

// relayBatch is what a writer has taken from a queue.
type relayBatch struct {
	buf     []byte
	entries []relayEntry
	acks    []relayAck
}

// relayAck is an ack as it crosses: to everything up to line seq that went to
// one destination.
type relayAck struct {
	dstID string
	seq   uint64
}

// take moves all that is queued into b and gives b's memory to the queue. It
// returns false when nothing was queued.
func (q *relayQueue) take(b *relayBatch) bool {
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
		b.acks = append(b.acks, relayAck{rt.dst.id, rt.ackSeq})
	}
	clear(q.acks)
	q.acks = q.acks[:0]
	return true
}

// dropped tells whether what was taken is not worth writing any more.
func (q *relayQueue) dropped() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.drop
}

// wrote takes size bytes off what is not written.
func (q *relayQueue) wrote(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= size
	q.memory.add(-size)
}

// letGo gives up what was not written, at the very end.
func (q *relayQueue) letGo() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.memory.add(-q.bytes)
	q.bytes, q.buf, q.entries, q.acks = 0, nil, nil, nil
}

// rest is how a writer stops: it is not active any more, and the queue lets go
// of its memory. False means that something has been queued meanwhile.
func (q *relayQueue) rest() (ok, ended bool, last []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.drop && (len(q.entries) > 0 || len(q.acks) > 0) {
		return false, false, nil
	}
	if cap(q.buf) > relayIdleBytes || cap(q.entries) > relayIdleEntries || cap(q.acks) > relayIdleEntries {
		q.dropBuffers()
	}
	if q.ended {
		return true, true, q.last
	}
	q.active = false
	return true, false, nil
}

// What a queue keeps of its memory while nothing is in it: enough for a
// keep-alive, since ten thousand connections are mostly at rest.
const (
	relayIdleBytes   = 256
	relayIdleEntries = 2
)
