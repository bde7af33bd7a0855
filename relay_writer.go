package chatsecure

import (
	"runtime"
	"sync"

	"chatsecure/proto"
)

const (
	// relayChunk is how much one Write takes: enough that the system call does
	// not count beside the sealing. It is also the progress that a destination
	// has to make within proto.StalledAfter.
	relayChunk = 64 << 10
	// relayKeepBuffer bounds the buffers that writers pass on to each other.
	relayKeepBuffer = 2 * proto.MaxLine
)

// relayWriter is what a writer needs while it is at work. Connections at rest
// have none.
type relayWriter struct {
	batch   relayBatch
	out     []byte       // sealed lines
	sent    []relayEntry // the entries in out
	payload []byte
	sealer  lineSealer
}

var relayWriters = sync.Pool{New: func() any { return new(relayWriter) }}

// write is the writer goroutine. It writes what is queued until nothing is,
// many lines at once where many wait.
func (c *relayConn) write() {
	w := relayWriters.Get().(*relayWriter)
	w.sealer.hop = c.send
	err := c.writeQueue(w)
	// If it rests, another writer of this connection may be at work by now.
	w.sealer.hop = nil
	w.out, w.sent = w.out[:0], w.sent[:0]
	clear(w.sent[:cap(w.sent)])
	clear(w.batch.entries[:cap(w.batch.entries)])
	if cap(w.out)+cap(w.batch.buf)+cap(w.sealer.sealed) <= relayKeepBuffer {
		relayWriters.Put(w)
	}
	if err != nil {
		c.end(relayEnding{reason: "lost: " + err.Error(), drop: true})
		close(c.queue.done)
	}
}

// writeQueue returns nil when nothing is queued and the writer may rest, or,
// with queue.done closed, when it has written the last line.
func (c *relayConn) writeQueue(w *relayWriter) error {
	for {
		yielded := false
		for !c.queue.take(&w.batch) {
			if len(w.out) > 0 {
				if !yielded {
					// Whoever is about to queue a line goes first: a Write
					// costs as much as several lines.
					yielded = true
					runtime.Gosched()
					continue
				}
				if err := c.flush(w); err != nil {
					return err
				}
				continue
			}
			ok, ended, last := c.queue.rest()
			if !ok {
				continue
			}
			if ended {
				if last != nil {
					w.out = w.sealer.append(w.out, last)
				}
				err := c.flush(w)
				if err == nil {
					close(c.queue.done)
				}
				return err
			}
			return nil
		}
		if err := c.writeBatch(w); err != nil {
			return err
		}
	}
}

// writeBatch seals a batch, and writes each chunk that becomes full.
func (c *relayConn) writeBatch(w *relayWriter) error {
	for _, ack := range w.batch.acks {
		w.payload = proto.AppendAck(w.payload[:0], ack.dstID, ack.seq)
		w.out = w.sealer.append(w.out, w.payload)
	}
	start := 0
	for _, e := range w.batch.entries {
		w.out = w.sealer.append(w.out, w.batch.buf[start:e.end])
		w.sent = append(w.sent, e)
		start = e.end
		if len(w.out) >= relayChunk {
			if err := c.flush(w); err != nil {
				return err
			}
			if c.queue.dropped() {
				return nil
			}
		}
	}
	return nil
}

// flush writes what is sealed and then lets the senders know.
func (c *relayConn) flush(w *relayWriter) error {
	for out := w.out; len(out) > 0; {
		chunk := out[:min(len(out), relayChunk)]
		c.writing.Store(c.relay.seconds.Load())
		n, err := c.conn.Write(chunk)
		c.writing.Store(0)
		c.bytesOut += uint64(n)
		if err != nil {
			return err
		}
		c.wrote.Store(c.relay.seconds.Load())
		out = out[n:]
	}
	w.out = w.out[:0]
	size := 0
	for i, e := range w.sent {
		size += e.size
		if e.route == nil {
			continue
		}
		e.route.written(e.body)
		if i+1 == len(w.sent) || w.sent[i+1].route != e.route {
			e.route.src.ack(e.route, e.seq)
		}
	}
	w.sent = w.sent[:0]
	if size > 0 {
		c.queue.wrote(size)
	}
	return nil
}

// ack queues the relay's ack for this connection, which sent the messages.
func (c *relayConn) ack(rt *relayRoute, seq uint64) {
	if c.queue.putAck(rt, seq) == relayPutWake {
		c.startWriter()
	}
}
