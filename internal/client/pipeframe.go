package client

import (
	"encoding/binary"
	"fmt"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// The kinds of frame of a pipe, the first byte of a chunk. The stream id follows,
// 8 bytes, and then the content named here.
const (
	FrameOpen   = 'O' // nothing: may this stream be between us two?
	FrameAccept = 'A' // nothing
	FrameBusy   = 'B' // nothing: this connection has another pipe
	FrameData   = 'D' // bytes
	FrameEnd    = 'E' // how many bytes there were, a uint64: end of file
	FrameCredit = 'C' // how many bytes have been written out, a uint64
	FrameDone   = 'F' // after the other side's end: all bytes are written out, so many, a uint64
	frameAbort  = 'X' // a sentence
)

// FrameHeader is the length of kind and stream id.
const FrameHeader = 1 + 8

func (p *pipe) send(pc *peerConn, stream uint64, kind byte, rest []byte) {
	p.sendFrame(pc, stream, kind, append(make([]byte, FrameHeader), rest...))
}

// sendFrame fills in the header of a frame and seals it.
func (p *pipe) sendFrame(pc *peerConn, stream uint64, kind byte, frame []byte) {
	frame[0] = kind
	binary.BigEndian.PutUint64(frame[1:], stream)
	s, err := pc.conv.SealPipe(frame, p.e.now(), lendBuffer)
	if err != nil { // also under a bad key of the peer's, who may not be the pipe's
		p.e.breakConversation(pc, "a frame could not be sealed: "+err.Error())
		return
	}
	p.e.sendPipe(pc, s)
}

// onChunk takes a frame that crypto has checked and the engine committed. memory is
// what it stands in.
func (p *pipe) onChunk(pc *peerConn, chunk, memory []byte) {
	if len(chunk) < FrameHeader {
		p.cut(pc, fail.Errorf(proto.Malformed, "a pipe frame that is too short"))
		return
	}
	kind, stream, rest := chunk[0], binary.BigEndian.Uint64(chunk[1:]), chunk[FrameHeader:]
	if p.agree(pc, kind, stream) || pc != p.peer || stream != p.stream {
		return // also of a stream that is not, or no longer, ours
	}
	if err := p.onStream(kind, rest, memory); err != nil {
		p.cut(pc, err)
	}
}

// onStream takes a frame of the agreed stream.
func (p *pipe) onStream(kind byte, rest, memory []byte) *fail.Error {
	number := ^uint64(0) // which nothing agrees with
	if len(rest) == 8 {
		number = binary.BigEndian.Uint64(rest)
	}
	switch kind {
	case FrameData:
		return p.onData(rest, memory)
	case FrameEnd:
		if p.got.ended || number != p.got.bytes {
			return fail.Errorf(proto.DecryptFailed, "the end of %s's stream does not agree with the received bytes", p.user.shown)
		}
		p.got.ended = true
	case FrameCredit, FrameDone:
		s := &p.sent
		if number < s.credited || number > s.bytes || s.confirmed || kind == FrameDone && !(s.ended && number == s.bytes) {
			return fail.Errorf(proto.Malformed, "%s acknowledges bytes that were not sent", p.user.shown)
		}
		s.credited, s.confirmed = number, kind == FrameDone
		wrote, _ := p.out.progress()
		p.report(wrote)
	case frameAbort:
		said := proto.Quote(proto.Clip(string(rest), proto.MaxMessage))
		return &fail.Error{Code: proto.Lost, Message: fmt.Sprintf("the pipe was cut short by %s: %s", p.user.shown, said), Hint: hintPipeCut}
	default:
		return fail.Errorf(proto.Malformed, "an unknown pipe frame")
	}
	return nil
}

func (p *pipe) onData(b, memory []byte) *fail.Error {
	if len(b) == 0 {
		return fail.Errorf(proto.Malformed, "an empty pipe frame")
	}
	if p.out.w == nil {
		return &fail.Error{
			Code:    proto.Flood,
			Message: p.user.shown + " sends into a pipe that takes nothing here",
			Hint:    "start one side with -send and the other with -recv, or both without",
		}
	}
	wrote, _ := p.out.progress()
	if p.got.ended || p.got.bytes+uint64(len(b)) > wrote+PipeWindow+PipeChunk {
		return fail.Errorf(proto.Flood, "%s sends more into the pipe than its window allows", p.user.shown)
	}
	p.got.bytes += uint64(len(b))
	p.out.hold(b, memory)
	return nil
}
