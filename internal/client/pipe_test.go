package client

import (
	"bytes"
	"io"
	"testing"

	"chatsecure/proto"
)

// TestPipeSmallFrames: frames that hardly carry anything do not keep the lines
// that they came in, and those that carry nothing are refused.
func TestPipeSmallFrames(t *testing.T) {
	p := newPipe(&engine{cfg: &Config{}}, io.Discard, nil)
	p.user = &user{shown: "bob"}
	if err := p.onStream(FrameData, nil, nil); err == nil || err.Code != proto.Malformed {
		t.Errorf("an empty frame: %v", err)
	}
	var want []byte
	for i := range 100_000 {
		body := make([]byte, 700) // a line of one byte
		body[600] = byte(i)
		if i%1000 == 999 {
			body = bytes.Repeat([]byte{byte(i)}, pipeSmall+600)
		}
		frame := body[600:601]
		if len(body) > 700 {
			frame = body[600:]
		}
		want = append(want, frame...)
		if err := p.onStream(FrameData, frame, body); err != nil {
			t.Fatal(err)
		}
	}
	held, got := 0, []byte(nil)
	for _, b := range p.out.queue {
		held += cap(b.b) + cap(b.memory)
		got = append(got, b.b...)
	}
	if held > 2*len(want)+100*2*pipeSmall {
		t.Errorf("%d bytes are held for %d", held, len(want))
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes are written than came")
	}
}

// TestPipeOutlivesAnother: a frame that cannot be sealed, as under a bad key of the peer's, ends the
// conversation that it was for, and the pipe only if it is the pipe's.
func TestPipeOutlivesAnother(t *testing.T) {
	for _, own := range []bool{false, true} {
		e, pc, _ := talkingEngine(t)
		p := newPipe(e, io.Discard, nil)
		e.pipe, p.user = p, &user{shown: "carol"}
		p.peer = &peerConn{id: "c", user: p.user}
		if own {
			p.peer = pc
		}
		pc.conv.Erase() // and seals nothing more
		p.onChunk(pc, append([]byte{FrameOpen}, make([]byte, 8)...), nil)
		if p.over != own || own == (p.err == nil) || pc.conv != nil {
			t.Errorf("the pipe's own peer %v: over %v, %v, conversation %v", own, p.over, p.err, pc.conv != nil)
		}
	}
}
