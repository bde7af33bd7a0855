package relay

import (
	"runtime"
	"sync"

	"chatsecure/crypto"
	"chatsecure/proto"
)

const (
	// chunk is the size of one Write: the system call costs little beside the
	// sealing. A destination must also make this progress within
	// proto.StalledAfter.
	chunk = 64 << 10
	// keepBuffer bounds the memory that a writer leaves to the next.
	keepBuffer = 2 * proto.MaxLine
)

// writer is the state of a writer goroutine. Connections at rest have none.
type writer struct {
	batch   batch
	out     []byte  // sealed lines
	sent    []entry // the entries in out
	payload []byte
	sealer  crypto.LineSealer
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// write is the writer goroutine. It writes until the queue is empty, many lines at
// once if many wait.
func (c *conn) write() {
	w := writers.Get().(*writer)
	w.sealer.Hop = c.send
	err := c.writeQueue(w)
	// Once it rests, another writer of this connection may be at work.
	w.sealer.Hop = nil
	w.out, w.sent = w.out[:0], w.sent[:0]
	clear(w.sent[:cap(w.sent)])
	clear(w.batch.entries[:cap(w.batch.entries)])
	if cap(w.out)+cap(w.batch.buf)+cap(w.sealer.Sealed) <= keepBuffer {
		writers.Put(w)
	}
	if err != nil {
		c.end(ending{reason: "lost: " + err.Error(), drop: true})
		close(c.queue.done)
	}
}

// writeQueue returns nil when the queue is empty and the writer may rest, or, with
// queue.done closed, after the last line.
func (c *conn) writeQueue(w *writer) error {
	yielded := false
	for {
		switch {
		case c.queue.take(&w.batch):
			yielded = false
			if err := c.writeBatch(w); err != nil {
				return err
			}
		case len(w.out) > 0 && !yielded:
			// A sender that is about to queue a line goes first, since a Write
			// costs as much as several lines.
			yielded = true
			runtime.Gosched()
		case len(w.out) > 0:
			if err := c.flush(w); err != nil {
				return err
			}
		default:
			rests, ended, last := c.queue.rest()
			if ended {
				return c.writeLast(w, last)
			}
			if rests {
				return nil
			}
		}
	}
}

// writeLast writes the last payload, if there is one, and closes queue.done.
func (c *conn) writeLast(w *writer, last []byte) error {
	if last != nil {
		w.out = w.sealer.Append(w.out, last, nil)
	}
	if err := c.flush(w); err != nil {
		return err
	}
	close(c.queue.done)
	return nil
}

// writeBatch seals a batch and writes each full chunk.
func (c *conn) writeBatch(w *writer) error {
	for _, ack := range w.batch.acks {
		w.payload = proto.AppendAck(w.payload[:0], ack.dstID, ack.seq)
		w.out = w.sealer.Append(w.out, w.payload, nil)
	}
	start := 0
	for _, e := range w.batch.entries {
		w.out = w.sealer.Append(w.out, w.batch.buf[start:e.end], w.batch.buf[e.end:e.text])
		w.sent = append(w.sent, e)
		start = e.text
		if len(w.out) >= chunk {
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

// flush writes the sealed lines and then acks them to their senders.
func (c *conn) flush(w *writer) error {
	for out := w.out; len(out) > 0; {
		chunk := out[:min(len(out), chunk)]
		c.writing.Store(c.relay.seconds.Load())
		n, err := c.socket.Write(chunk)
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

// ack queues the relay's ack for this connection, the sender.
func (c *conn) ack(rt *route, seq uint64) {
	if c.queue.putAck(rt, seq) == putWake {
		c.startWriter()
	}
}
