package client

import (
	"errors"
	"io"
	"sync"
)

// pipeReader reads the input of a pipe ahead, in a goroutine of its own.
type pipeReader struct {
	chunks chan []byte // to the engine; closed at the end
	spent  chan []byte // back, to be used again

	mu  sync.Mutex
	err error // why the input ended before its end
}

// read reads in to its end, in chunks with room for their frame header. It ends
// when done is closed, and calls nudge after each chunk and at the end.
func (r *pipeReader) read(in io.Reader, done chan struct{}, nudge func()) {
	defer nudge()
	defer close(r.chunks)
	if in == nil {
		return
	}
	for {
		var buf []byte
		select {
		case buf = <-r.spent:
		default:
			buf = make([]byte, FrameHeader+PipeChunk)
		}
		n, err := io.ReadAtLeast(in, buf[FrameHeader:], 1)
		if n > 0 {
			select {
			case r.chunks <- buf[:FrameHeader+n]:
				nudge()
			case <-done:
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.mu.Lock()
				r.err = err
				r.mu.Unlock()
			}
			return
		}
	}
}

// again gives the memory of a chunk back.
func (r *pipeReader) again(chunk []byte) {
	select {
	case r.spent <- chunk[:cap(chunk)]:
	default:
	}
}

func (r *pipeReader) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// pipeWriter writes the output of a pipe, in a goroutine of its own.
type pipeWriter struct {
	w  io.Writer // nil: nothing is taken
	wg sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	cond    sync.Cond
	queue   []heldBytes
	shared  bool // the last of queue is a buffer that small frames share
	wrote   uint64
	closing bool
	failed  error // of w
}

// heldBytes are bytes to be written out, and the memory that they stand in.
type heldBytes struct{ b, memory []byte }

// pipeSmall is the size below which frames share a buffer until they are written.
// A frame in no shared buffer keeps its whole message in memory.
const pipeSmall = 4 << 10

// hold queues bytes for the output. It gives their memory back when they are written.
func (o *pipeWriter) hold(b, memory []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.cond.Broadcast()
	if len(b) >= pipeSmall {
		o.queue, o.shared = append(o.queue, heldBytes{b, memory}), false
		return
	}
	last := len(o.queue) - 1
	if !o.shared || cap(o.queue[last].b)-len(o.queue[last].b) < len(b) {
		o.queue, o.shared = append(o.queue, heldBytes{b: make([]byte, 0, 2*pipeSmall)}), true
		last++
	}
	o.queue[last].b = append(o.queue[last].b, b...)
}

// run writes the queue in order, until stop or an error of w. It calls nudge
// after each write.
func (o *pipeWriter) run(nudge func()) {
	for {
		queue := o.take()
		if len(queue) == 0 {
			return
		}
		for _, held := range queue {
			_, err := o.w.Write(held.b)
			o.mu.Lock()
			if err != nil {
				o.failed = err
			} else {
				o.wrote += uint64(len(held.b))
			}
			o.mu.Unlock()
			giveBack(held.memory)
			nudge()
			if err != nil {
				return
			}
		}
	}
}

// take waits for something to write. It returns nothing once the writer is to stop.
func (o *pipeWriter) take() []heldBytes {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.closing {
		o.cond.Wait()
	}
	queue := o.queue
	o.queue, o.shared = nil, false
	return queue
}

// stop ends run after it has written the queue.
func (o *pipeWriter) stop() {
	o.mu.Lock()
	o.closing = true
	o.cond.Broadcast()
	o.mu.Unlock()
	o.wg.Wait()
}

// progress returns how much has been written, and why no more can be.
func (o *pipeWriter) progress() (wrote uint64, failed error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wrote, o.failed
}
