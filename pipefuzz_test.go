package chatsecure

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"time"

	"chatsecure/testdata/corpus"
)

// pipeFrames cuts a fuzzer's bytes into frames: a kind, whose stream it is, how
// long it is, and what is in it.
func pipeFrames(script []byte, stream uint64) (frames [][]byte) {
	for len(script) >= 3 && len(frames) < 100 {
		kind, other, n := script[0], uint64(script[1]&3), int(script[2])
		script = script[3:]
		rest := bytes.Repeat([]byte{kind}, pipeChunk) // where n is 255
		if n < 255 {
			rest = script[:min(n, len(script))]
			script = script[len(rest):]
		}
		frame := append([]byte{kind}, binary.BigEndian.AppendUint64(nil, stream+other)...)
		frames = append(frames, append(frame, rest...))
	}
	return frames
}

// FuzzPipeFrames plays a peer that has agreed on a stream and then sends
// whatever it likes: the output is what its data frames hold, in order, memory
// is bounded, and an end is believed only if it agrees.
func FuzzPipeFrames(f *testing.F) {
	const stream = 1 << 40
	pair := newHistoryPair(f)
	frame := func(kind byte, rest ...byte) []byte { return append([]byte{kind, 0, byte(len(rest))}, rest...) }
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	play := func(script []byte) (out []byte, p *pipe, taken []byte, most int) {
		cfg := &ClientConfig{Now: pair.clock.Now}
		e := &engine{cfg: cfg, sess: &session{id: "a", signal: make(chan struct{}, 1)}, wake: make(chan struct{}, 1), conns: map[string]*peerConn{}}
		u := &user{name: "bruno", shown: "bruno", accepted: true}
		pc := &peerConn{id: "b", name: "bruno", user: u, takes: "pipe", conv: pair.ca}
		e.conns[pc.id] = pc
		p = &pipe{e: e, user: u, out: io.Discard, done: make(chan struct{}), busy: map[string]time.Time{}, inOver: true}
		p.cond, p.offered, p.offer = sync.NewCond(&p.mu), pc, stream
		p.onChunk(pc, append([]byte{frameAccept}, number(stream)...))
		for i, frame := range pipeFrames(script, stream) {
			data := frame[0] == frameData && binary.BigEndian.Uint64(frame[1:]) == stream
			before := p.received
			p.onChunk(pc, frame)
			if data && p.received > before {
				taken = append(taken, frame[frameHeader:]...)
			}
			waiting := 0
			for _, b := range p.queue {
				waiting += len(b)
			}
			most = max(most, waiting)
			if i%40 == 39 { // the writer comes by now and then
				for _, b := range p.queue {
					out = append(out, b...)
					p.wrote += uint64(len(b))
				}
				p.queue = nil
			}
			p.pump()
			e.sess.queue, pc.inflight, pc.inflightN = nil, nil, 0
		}
		for _, b := range p.queue {
			out = append(out, b...)
		}
		return out, p, taken, most
	}
	good := append(frame(frameData, []byte("hello")...), frame(frameEnd, number(5)...)...)
	full := bytes.Repeat([]byte{frameData, 0, 255}, 40)
	corpus.Add(f, func(script []byte) bool {
		out, p, _, _ := play(script)
		return len(out) > 0 && p.err == nil && p.endSeen
	}, [][]byte{good},
		full, append(full, full...), append(good, good...), frame(frameEnd, number(1)...), frame(frameCredit, number(9)...), frame(frameDone, number(0)...), frame(frameDone, number(9)...), append(good, frame(frameDone, number(0)...)...), frame(frameAbort, []byte("\x1b[2J")...), frame(frameOpen), frame('?'),
		append([]byte{frameData, 1, 2, 'x', 'y'}, good...))
	f.Fuzz(func(t *testing.T, script []byte) {
		out, p, taken, most := play(script)
		if !bytes.Equal(out, taken) || uint64(len(out)) != p.received {
			t.Fatalf("%d bytes come out, %d were taken, %d counted", len(out), len(taken), p.received)
		}
		if most > pipeWindow+pipeChunk {
			t.Fatalf("%d bytes wait", most)
		}
		if p.over && p.err == nil && (!p.endSeen || !p.doneSeen || p.wrote != p.received) {
			t.Fatalf("it ends well with %d of %d bytes written, end %v, confirmed %v", p.wrote, p.received, p.endSeen, p.doneSeen)
		}
		if p.err != nil && AsError(p.err).Message == "" {
			t.Fatal("it ends without a word")
		}
		ended := false
		for _, frame := range pipeFrames(script, stream) {
			ended = ended || frame[0] == frameEnd && bytes.Equal(frame[frameHeader:], number(p.received))
		}
		if p.endSeen && !ended {
			t.Fatalf("an end after %d bytes is believed that nobody sent", p.received)
		}
	})
}
