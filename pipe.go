package chatsecure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// A pipe carries bytes both ways between this connection and one pipe
// connection of a peer's: PROTOCOL.md, "Pipes". It never reconnects: what was
// written is a true prefix, and whether it is all is said by the sender's end,
// never by the relay.

// The frames of a pipe, the first byte of a chunk. Then follow the stream id,
// 8 bytes, and what is given here.
const (
	frameOpen   = 'O' // nothing: may this stream be between us two?
	frameAccept = 'A' // nothing
	frameBusy   = 'B' // nothing: this connection has another pipe
	frameData   = 'D' // bytes
	frameEnd    = 'E' // how many bytes there were, a uint64: end of file
	frameCredit = 'C' // how many bytes have been written out, a uint64
	frameDone   = 'F' // after the other side's end: how many bytes were written out, a uint64, which are all
	frameAbort  = 'X' // a sentence
)

const (
	frameHeader = 1 + 8
	// pipeChunk is how many bytes one message carries: two are on their way to
	// the relay at once, within its window.
	pipeChunk = 88 << 10
	// pipeWindow is how many bytes may be sent and not written out by the
	// other side: it bounds the receiver's memory.
	pipeWindow = 2 << 20
	// pipeSmall is below how many bytes frames share a buffer until they are
	// written: each would keep the whole line in memory that it came in.
	pipeSmall = 4 << 10
	// pipeRetry is how long a refused offer waits before the next.
	pipeRetry = 200 * time.Millisecond
)

const hintPipeCut = "what was written is a true beginning; a pipe is never resumed: start both sides again"

// PipeProgress is how far a pipe is.
type PipeProgress struct {
	Peer           string
	Sent, Received int64 // bytes that the other side has written out, and that were written out here
}

// Pipe sends what in gives to one pipe connection of name, and writes what
// comes from it to out, until both ends of file have crossed and everything
// has been written. A nil in sends nothing, a nil out takes nothing. It waits
// for the peer up to WaitPeer. An error says that the stream was cut short.
// A client has one pipe in its life, and must have been made with
// proto.TakesPipe.
func (c *Client) Pipe(ctx context.Context, name string, in io.Reader, out io.Writer, progress func(PipeProgress)) error {
	e := c.engine
	p := &pipe{
		e: e, out: out, progress: progress,
		chunks: make(chan []byte, 2), spent: make(chan []byte, 2), done: make(chan struct{}),
	}
	p.cond = sync.NewCond(&p.mu)
	if err := e.openPipe(ctx, p, name); err != nil {
		return err
	}
	defer p.stop()
	go p.readIn(in)
	p.writer.Go(p.writeOut)

	// From here the engine drives it; a signal or the loss of the relay ends it
	// also while in gives nothing.
	select {
	case <-p.done:
	case <-e.ended:
		return AsError(e.endError())
	case <-ctx.Done():
		e.do(context.Background(), func() { p.abort("the other side was stopped") })
		return ctx.Err()
	}
	return p.err
}

// pipe is one Pipe call. The engine's goroutine owns the fields of the first
// block; mu guards those of the last.
type pipe struct {
	e        *engine
	user     *user
	peer     *peerConn // once a stream is agreed
	offered  *peerConn // asked, not answered
	offer    uint64
	stream   uint64
	busy     map[string]time.Time // connections that refused, and until when they are left alone
	chunk    []byte               // next to go; nil: look at chunks
	inOver   bool                 // chunks is drained
	endSent  bool
	sent     uint64
	credited uint64 // of what was sent
	received uint64
	endSeen  bool
	said     uint64 // the last credit that was sent
	saidDone bool   // the other side has been told that everything is written
	doneSeen bool   // the other side has said so
	over     bool

	out      io.Writer
	progress func(PipeProgress)
	chunks   chan []byte // from readIn
	spent    chan []byte // back to readIn, which uses them again
	done     chan struct{}
	err      error // set before done is closed
	writer   sync.WaitGroup

	mu      sync.Mutex
	cond    *sync.Cond
	queue   [][]byte // to be written out
	shared  bool     // the last of queue is a buffer that small frames share
	wrote   uint64
	closing bool
	failed  error // of out
	inErr   error // of in
}

// openPipe registers the pipe and waits until its user has a connection with
// which a stream is agreed.
func (e *engine) openPipe(ctx context.Context, p *pipe, name string) error {
	if e.cfg.Takes != proto.TakesPipe {
		return Errorf(proto.Usage, "this client was not made for a pipe")
	}
	if err := proto.CheckName(name); err != nil {
		return err
	}
	var u *user
	taken := false
	if err := e.do(ctx, func() {
		if taken = e.pipe != nil; taken {
			return
		}
		u = e.userFor(name)
		p.user, p.busy = u, map[string]time.Time{}
		u.watching = true
		e.pipe = p
		if e.sess != nil {
			e.requestWatch(name)
		}
	}); err != nil {
		return err
	}
	if taken {
		return Errorf(proto.Usage, "a client has one pipe in its life")
	}
	start, asked := time.Now(), false
	for {
		var agreed, accepted, there bool
		var person *crypto.Person
		var refusal error
		if err := e.do(ctx, func() {
			agreed, accepted, person, refusal = p.peer != nil, u.accepted, u.person, u.refusal
			for _, pc := range e.connsOf(u) {
				there = there || pc.takes == proto.TakesPipe
			}
			there = there || !u.listed
		}); err != nil {
			return err
		}
		switch {
		case agreed:
			return nil
		case final(refusal):
			return refusal
		case person != nil && !accepted && !asked:
			asked = true
			if err := e.accept(ctx, u, name, person); err != nil {
				return err
			}
		case !there && time.Since(start) >= e.cfg.WaitPeer:
			return &Error{Code: proto.NoSuchName, Message: fmt.Sprintf("%s has no pipe open", name), Hint: "start client pipe there as well; -wait-peer lets either side start first"}
		case there && time.Since(start) >= e.cfg.WaitPeer+e.cfg.Timeout:
			return Errorf(proto.NotDelivered, "no pipe with %s came about within %v", name, e.cfg.WaitPeer+e.cfg.Timeout)
		}
		select {
		case <-time.After(resolvePoll):
		case <-ctx.Done():
			return ctx.Err()
		case <-e.ended:
			return e.endError()
		}
	}
}

// readIn reads in to its end, in chunks with room for their frame header.
func (p *pipe) readIn(in io.Reader) {
	defer close(p.chunks)
	if in == nil {
		p.wake()
		return
	}
	for {
		var buf []byte
		select {
		case buf = <-p.spent:
		default:
			buf = make([]byte, frameHeader+pipeChunk)
		}
		n, err := io.ReadAtLeast(in, buf[frameHeader:], 1)
		if n > 0 {
			select {
			case p.chunks <- buf[:frameHeader+n]:
				p.wake()
			case <-p.done:
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.mu.Lock()
				p.inErr = err
				p.mu.Unlock()
			}
			p.wake()
			return
		}
	}
}

func (p *pipe) wake() {
	select {
	case p.e.wake <- struct{}{}:
	default:
	}
}

// writeOut writes what has come, in order.
func (p *pipe) writeOut() {
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.closing {
			p.cond.Wait()
		}
		if len(p.queue) == 0 {
			p.mu.Unlock()
			return
		}
		queue := p.queue
		p.queue, p.shared = nil, false
		p.mu.Unlock()
		for _, b := range queue {
			_, err := p.out.Write(b)
			p.mu.Lock()
			if err != nil {
				p.failed = err
				p.mu.Unlock()
				p.wake()
				return
			}
			p.wrote += uint64(len(b))
			p.mu.Unlock()
			p.wake()
		}
	}
}

// stop ends writeOut. What has come is written first.
func (p *pipe) stop() {
	p.mu.Lock()
	p.closing = true
	p.cond.Broadcast()
	p.mu.Unlock()
	p.writer.Wait()
}

// finish ends the pipe, once. It runs in the engine's goroutine, as all that
// follows.
func (p *pipe) finish(err error) {
	if p.over {
		return
	}
	p.over, p.err = true, err
	close(p.done)
}

// abort tells the peer why this side stops.
func (p *pipe) abort(reason string) {
	if p.peer != nil && p.peer.conv != nil && !p.over {
		p.send(p.peer, p.stream, frameAbort, []byte(reason))
	}
}

func (p *pipe) send(pc *peerConn, stream uint64, kind byte, rest []byte) {
	p.sendFrame(pc, stream, kind, append(make([]byte, frameHeader), rest...))
}

// sendFrame fills in the header of a frame and seals it.
func (p *pipe) sendFrame(pc *peerConn, stream uint64, kind byte, frame []byte) {
	frame[0] = kind
	binary.BigEndian.PutUint64(frame[1:], stream)
	s, err := pc.conv.SealPipe(frame, p.e.now())
	if err != nil {
		p.finish(err)
		return
	}
	p.e.sendTo(pc, proto.TypeClientCom, s.Body, 0)
}

// pump drives the pipe: it offers a stream where there is none, sends what the
// windows allow, gives credit, and sees the end.
func (p *pipe) pump() {
	if p.over {
		return
	}
	if p.peer == nil {
		p.makeOffer()
		return
	}
	p.mu.Lock()
	wrote, failed, inErr := p.wrote, p.failed, p.inErr
	p.mu.Unlock()
	if failed != nil || inErr != nil {
		p.abort("its input or output failed")
		p.finish(errors.Join(failed, inErr))
		return
	}
	pc := p.peer
	done := p.endSeen && wrote == p.received && !p.saidDone
	if done || wrote-p.said >= pipeWindow/4 {
		kind := byte(frameCredit)
		if done {
			kind, p.saidDone = frameDone, true
		}
		p.said = wrote
		p.send(pc, p.stream, kind, binary.BigEndian.AppendUint64(nil, wrote))
		p.report(wrote)
	}
	for !p.endSent && !p.over {
		if p.chunk == nil && !p.inOver {
			select {
			case b, ok := <-p.chunks:
				p.chunk, p.inOver = b, !ok
			default:
				return
			}
		}
		if p.chunk == nil {
			if p.mu.Lock(); p.inErr != nil {
				p.mu.Unlock()
				return // the next turn aborts
			}
			p.mu.Unlock()
			p.endSent = true
			p.send(pc, p.stream, frameEnd, binary.BigEndian.AppendUint64(nil, p.sent))
			break
		}
		n := uint64(len(p.chunk) - frameHeader)
		if p.sent+n > p.credited+pipeWindow || !pc.roomFor(len(p.chunk)) {
			return
		}
		p.sendFrame(pc, p.stream, frameData, p.chunk)
		select {
		case p.spent <- p.chunk[:cap(p.chunk)]:
		default:
		}
		p.chunk = nil
		p.sent += n
	}
	p.settle()
}

// settle ends the pipe once both ends of file have crossed and both sides have
// said that everything before them is written. Credit for all that was sent
// does not say that the end has come.
func (p *pipe) settle() {
	if p.peer != nil && p.doneSeen && p.saidDone {
		p.finish(nil)
	}
}

func (p *pipe) report(wrote uint64) {
	if p.progress != nil {
		p.progress(PipeProgress{Peer: p.user.shown, Sent: int64(p.credited), Received: int64(wrote)})
	}
}

// makeOffer asks one connection of the user's for a stream. Of two
// connections the one with the lower id asks, so that offers do not cross.
func (p *pipe) makeOffer() {
	if p.offered != nil || !p.user.accepted {
		return
	}
	now := time.Now()
	for _, pc := range p.e.connsOf(p.user) {
		if pc.conv == nil || pc.takes != proto.TakesPipe || p.e.sess.id > pc.id || now.Before(p.busy[pc.id]) {
			continue
		}
		p.offered = pc
		p.offer = rand.Uint64()
		p.send(pc, p.offer, frameOpen, nil)
		return
	}
}

// onChunk takes a frame that crypto has checked and the engine committed.
func (p *pipe) onChunk(pc *peerConn, chunk []byte) {
	if len(chunk) < frameHeader {
		p.cut(pc, Errorf(proto.Malformed, "a pipe frame that is too short"))
		return
	}
	kind, stream, rest := chunk[0], binary.BigEndian.Uint64(chunk[1:]), chunk[frameHeader:]
	switch kind {
	case frameOpen:
		// One pipe, with the user that it was opened for, and nobody else.
		if p.over || p.peer != nil || p.offered != nil || pc.user != p.user || !p.user.accepted {
			p.send(pc, stream, frameBusy, nil)
			return
		}
		p.peer, p.stream = pc, stream
		p.send(pc, stream, frameAccept, nil)
		return
	case frameAccept:
		if pc == p.offered && stream == p.offer && p.peer == nil {
			p.peer, p.stream, p.offered = pc, stream, nil
		}
		return
	case frameBusy:
		if pc == p.offered && stream == p.offer {
			p.offered = nil
			p.busy[pc.id] = time.Now().Add(pipeRetry)
		}
		return
	}
	if pc != p.peer || stream != p.stream {
		return // of a stream that is not, or no longer, ours
	}
	if err := p.onStream(kind, rest); err != nil {
		p.cut(pc, err)
	}
}

// onStream takes a frame of the agreed stream.
func (p *pipe) onStream(kind byte, rest []byte) *Error {
	number := func() uint64 {
		if len(rest) != 8 {
			return 1<<64 - 1
		}
		return binary.BigEndian.Uint64(rest)
	}
	switch kind {
	case frameData:
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(rest) == 0 {
			return Errorf(proto.Malformed, "an empty pipe frame")
		}
		if p.out == nil {
			return &Error{
				Code:    proto.Flood,
				Message: p.user.shown + " sends into a pipe that takes nothing here",
				Hint:    "of the two sides one is started with -send and the other with -recv, or both with neither",
			}
		}
		if p.endSeen || p.received+uint64(len(rest)) > p.wrote+pipeWindow+pipeChunk {
			return Errorf(proto.Flood, "%s sends into the pipe what nobody takes", p.user.shown)
		}
		p.received += uint64(len(rest))
		p.hold(rest)
		p.cond.Broadcast()
	case frameEnd:
		if p.endSeen || number() != p.received {
			return Errorf(proto.DecryptFailed, "the end of %s's stream does not agree with what came", p.user.shown)
		}
		p.endSeen = true
	case frameCredit, frameDone:
		if n := number(); n < p.credited || n > p.sent || p.doneSeen || kind == frameDone && !(p.endSent && n == p.sent) {
			return Errorf(proto.Malformed, "%s acknowledges what was not sent", p.user.shown)
		}
		p.credited, p.doneSeen = number(), kind == frameDone
		p.mu.Lock()
		wrote := p.wrote
		p.mu.Unlock()
		p.report(wrote)
	case frameAbort:
		said := crypto.Visible(clip(string(rest), proto.MaxMessage))
		return &Error{Code: proto.Lost, Message: fmt.Sprintf("the pipe was cut short by %s: %s", p.user.shown, said), Hint: hintPipeCut}
	default:
		return Errorf(proto.Malformed, "an unknown pipe frame")
	}
	return nil
}

// hold queues what came, to be written out. mu is held.
func (p *pipe) hold(b []byte) {
	if len(b) >= pipeSmall {
		p.queue, p.shared = append(p.queue, b), false
		return
	}
	last := len(p.queue) - 1
	if !p.shared || cap(p.queue[last])-len(p.queue[last]) < len(b) {
		p.queue, p.shared = append(p.queue, make([]byte, 0, 2*pipeSmall)), true
		last++
	}
	p.queue[last] = append(p.queue[last], b...)
}

// cut ends the pipe over what a peer did.
func (p *pipe) cut(pc *peerConn, err *Error) {
	if pc == p.peer {
		p.finish(err)
	}
}

// gone is told of every connection that is no longer there, or whose
// conversation has ended.
func (p *pipe) gone(pc *peerConn, reason string) {
	if pc == p.offered {
		p.offered = nil
	}
	p.settle() // it may have said all there is to say just before
	if pc == p.peer && !p.over {
		p.finish(&Error{Code: proto.Lost, Message: fmt.Sprintf("the pipe with %s was cut short: %s", p.user.shown, reason), Hint: hintPipeCut})
	}
}
