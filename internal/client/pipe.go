package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// PipeProgress counts the bytes of a pipe.
type PipeProgress struct {
	Peer           string
	Sent, Received int64 // written out there, and written out here
}

// Pipe sends what in gives to one pipe connection of name, and writes what
// comes from it to out, until both ends of file have crossed and everything
// has been written. A nil in sends nothing, a nil out takes nothing. It waits
// for the peer up to WaitPeer. An error says that the stream was cut short.
// A client has one pipe in its life, and must have been made with
// proto.TakesPipe.
func (c *Client) Pipe(ctx context.Context, name string, in io.Reader, out io.Writer, progress func(PipeProgress)) error {
	e := c.engine
	p := newPipe(e, out, progress)
	if err := e.openPipe(ctx, p, name); err != nil {
		return err
	}
	defer p.out.stop()
	go p.in.read(in, p.done, e.nudge)
	p.out.wg.Go(func() { p.out.run(e.nudge) })

	// From here the engine drives it. A signal or the loss of the relay ends it
	// also while in gives nothing.
	select {
	case <-p.done:
	case <-e.ended:
		return fail.AsError(e.endError())
	case <-ctx.Done():
		e.do(context.Background(), func() { p.abort("the other side was stopped") })
		return ctx.Err()
	}
	return p.err
}

// pipe is one Client.Pipe call. It carries bytes both ways between this
// connection and one pipe connection of a peer's: PROTOCOL.md, "Pipes". It
// never reconnects. The output is always a true prefix. Only the sender's end of
// file says that it is complete, never the relay.
//
// The engine's goroutine owns it, except the parts of in and out that say
// otherwise.
type pipe struct {
	e        *engine
	user     *user
	progress func(PipeProgress)
	done     chan struct{} // closed at the end
	err      error         // set before done is closed
	over     bool

	offer  pipeOffer
	peer   *peerConn // once a stream is agreed
	stream uint64
	sent   sentStream
	got    gotStream
	in     pipeReader
	out    pipeWriter
}

// sentStream counts the bytes to the peer.
type sentStream struct {
	chunk     []byte // next to go; nil: the reader has the next
	inOver    bool   // the reader has no more
	bytes     uint64
	credited  uint64 // of these, the peer has written out so many
	ended     bool   // the end of file has gone
	confirmed bool   // the peer has said that everything is written
}

// gotStream counts the bytes from the peer.
type gotStream struct {
	bytes     uint64
	ended     bool   // the peer's end of file has come
	credited  uint64 // the last credit that was sent
	confirmed bool   // the peer has been told that everything is written
}

const (
	// PipeChunk is the number of bytes in one message: two are on their way to
	// the relay at once, within its window.
	PipeChunk = 88 << 10
	// PipeWindow bounds the bytes that are sent and not written out by the
	// other side, and with them the receiver's memory.
	PipeWindow = 2 << 20
)

const hintPipeCut = "the written bytes are a true beginning; a pipe is never resumed: start both sides again"

func newPipe(e *engine, out io.Writer, progress func(PipeProgress)) *pipe {
	p := &pipe{
		e: e, progress: progress, done: make(chan struct{}),
		in:  pipeReader{chunks: make(chan []byte, 2), spent: make(chan []byte, 2)},
		out: pipeWriter{w: out},
	}
	p.out.cond.L = &p.out.mu
	return p
}

// finish ends the pipe, once.
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

// cut ends the pipe over an act of its peer's.
func (p *pipe) cut(pc *peerConn, err *fail.Error) {
	if pc == p.peer {
		p.finish(err)
	}
}

// gone takes the end of any connection's conversation.
func (p *pipe) gone(pc *peerConn, reason string) {
	if pc == p.offer.to {
		p.offer.to = nil
	}
	p.settle() // the peer may have said all there is to say just before
	if pc == p.peer && !p.over {
		message := fmt.Sprintf("the pipe with %s was cut short: %s", p.user.shown, reason)
		p.finish(&fail.Error{Code: proto.Lost, Message: message, Hint: hintPipeCut})
	}
}

// pump drives the pipe: it offers a stream where there is none, gives credit,
// sends what the windows allow, and sees the end.
func (p *pipe) pump() {
	if p.over {
		return
	}
	if p.peer == nil {
		p.makeOffer()
		return
	}
	wrote, failed := p.out.progress()
	if err := errors.Join(failed, p.in.failure()); err != nil {
		p.abort("its input or output failed")
		p.finish(err)
		return
	}
	p.giveCredit(wrote)
	if p.sendChunks() {
		p.settle()
	}
}

// giveCredit tells the peer how much has been written out, and whether that is
// all.
func (p *pipe) giveCredit(wrote uint64) {
	done := p.got.ended && wrote == p.got.bytes && !p.got.confirmed
	if !done && wrote-p.got.credited < PipeWindow/4 {
		return
	}
	kind := byte(FrameCredit)
	if done {
		kind, p.got.confirmed = FrameDone, true
	}
	p.got.credited = wrote
	p.send(p.peer, p.stream, kind, binary.BigEndian.AppendUint64(nil, wrote))
	p.report(wrote)
}

// sendChunks sends the reader's chunks while the windows allow. It returns true
// once the end of file has gone.
func (p *pipe) sendChunks() bool {
	s := &p.sent
	for !s.ended && !p.over {
		if s.chunk == nil && !s.inOver {
			select {
			case b, ok := <-p.in.chunks:
				s.chunk, s.inOver = b, !ok
			default:
				return false
			}
		}
		if s.chunk == nil {
			if p.in.failure() != nil {
				return false // the next turn aborts
			}
			s.ended = true
			p.send(p.peer, p.stream, FrameEnd, binary.BigEndian.AppendUint64(nil, s.bytes))
			break
		}
		n := uint64(len(s.chunk) - FrameHeader)
		if s.bytes+n > s.credited+PipeWindow || !p.peer.lines.roomFor(len(s.chunk)) {
			return false
		}
		p.sendFrame(p.peer, p.stream, FrameData, s.chunk)
		p.in.again(s.chunk)
		s.chunk = nil
		s.bytes += n
	}
	return true
}

// settle ends the pipe once both ends of file have crossed and both sides have
// said that everything before them is written. Credit for all that was sent
// does not say that the end has come.
func (p *pipe) settle() {
	if p.peer != nil && p.sent.confirmed && p.got.confirmed {
		p.finish(nil)
	}
}

func (p *pipe) report(wrote uint64) {
	if p.progress != nil {
		p.progress(PipeProgress{Peer: p.user.shown, Sent: int64(p.sent.credited), Received: int64(wrote)})
	}
}
