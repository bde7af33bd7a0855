package client

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"io"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab/wire"
)

// pipeFrames cuts a fuzzer's bytes into frames: kind, stream, length and content.
func pipeFrames(script []byte, stream uint64) (frames [][]byte) {
	for len(script) >= 3 && len(frames) < 100 {
		kind, other, n := script[0], uint64(script[1]&3), int(script[2])
		script = script[3:]
		rest := bytes.Repeat([]byte{kind}, PipeChunk) // where n is 255
		if n < 255 {
			rest = script[:min(n, len(script))]
			script = script[len(rest):]
		}
		frame := append([]byte{kind}, binary.BigEndian.AppendUint64(nil, stream+other)...)
		frames = append(frames, append(frame, rest...))
	}
	return frames
}

// FuzzPipeFrames plays a peer that sends anything on an agreed stream. The output
// is the content of its data frames in order. Memory is bounded. An end is
// believed only if its count is right.
func FuzzPipeFrames(f *testing.F) {
	const stream = 1 << 40
	pair := wire.NewPair(f)
	pair.Connect()
	frame := func(kind byte, rest ...byte) []byte { return append([]byte{kind, 0, byte(len(rest))}, rest...) }
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	play := func(script []byte) (out []byte, p *pipe, taken []byte, most int) {
		e := &engine{loop: newLoop(), cfg: &Config{Now: pair.Clock.Now}, conns: map[string]*peerConn{}}
		e.link.begin(&Session{ID: "a", signal: make(chan struct{}, 1)})
		u := &user{name: "bruno", shown: "bruno", accepted: true}
		pc := &peerConn{id: "b", name: "bruno", user: u, takes: "pipe", conv: pair.Ca}
		e.conns[pc.id] = pc
		p = newPipe(e, io.Discard, nil)
		p.user, p.offer.to, p.offer.stream, p.sent.inOver = u, pc, stream, true
		p.onChunk(pc, append([]byte{FrameAccept}, number(stream)...), nil)
		for i, frame := range pipeFrames(script, stream) {
			data := frame[0] == FrameData && binary.BigEndian.Uint64(frame[1:]) == stream
			before := p.got.bytes
			p.onChunk(pc, frame, nil)
			if data && p.got.bytes > before {
				taken = append(taken, frame[FrameHeader:]...)
			}
			waiting := 0
			for _, b := range p.out.queue {
				waiting += len(b.b)
			}
			most = max(most, waiting)
			if i%40 == 39 { // the writer comes by now and then
				for _, b := range p.out.queue {
					out = append(out, b.b...)
					p.out.wrote += uint64(len(b.b))
				}
				p.out.queue = nil
			}
			p.pump()
			e.link.sess.queue, pc.lines = nil, lineWindow{}
		}
		for _, b := range p.out.queue {
			out = append(out, b.b...)
		}
		return out, p, taken, most
	}
	good := append(frame(FrameData, []byte("hello")...), frame(FrameEnd, number(5)...)...)
	full := bytes.Repeat([]byte{FrameData, 0, 255}, 40)
	corpus.Add(f, func(script []byte) bool {
		out, p, _, _ := play(script)
		return len(out) > 0 && p.err == nil && p.got.ended
	}, [][]byte{good},
		full, append(full, full...), append(good, good...), frame(FrameEnd, number(1)...), frame(FrameCredit, number(9)...),
		frame(FrameDone, number(0)...), frame(FrameDone, number(9)...), append(good, frame(FrameDone, number(0)...)...),
		frame(frameAbort, []byte("\x1b[2J")...), frame(FrameOpen), frame('?'),
		append([]byte{FrameData, 1, 2, 'x', 'y'}, good...))
	f.Fuzz(func(t *testing.T, script []byte) {
		out, p, taken, most := play(script)
		if !bytes.Equal(out, taken) || uint64(len(out)) != p.got.bytes {
			t.Fatalf("%d bytes come out, %d were taken, %d counted", len(out), len(taken), p.got.bytes)
		}
		if most > PipeWindow+PipeChunk {
			t.Fatalf("%d bytes wait", most)
		}
		if p.over && p.err == nil && (!p.got.ended || !p.sent.confirmed || p.out.wrote != p.got.bytes) {
			t.Fatalf("it ends well with %d of %d bytes written, end %v, confirmed %v", p.out.wrote, p.got.bytes, p.got.ended, p.sent.confirmed)
		}
		if p.err != nil && fail.AsError(p.err).Message == "" {
			t.Fatal("it ends without a word")
		}
		ended := false
		for _, frame := range pipeFrames(script, stream) {
			ended = ended || frame[0] == FrameEnd && bytes.Equal(frame[FrameHeader:], number(p.got.bytes))
		}
		if p.got.ended && !ended {
			t.Fatalf("an end after %d bytes is believed that nobody sent", p.got.bytes)
		}
	})
}

// FuzzWhole: a message is a payload's body, and what the text beside it encodes or nothing of it.
// What waits in lent memory is at least half of that.
func FuzzWhole(f *testing.F) {
	body := []byte("{}\nsignature\n")
	long := proto.AppendBase64(nil, bytes.Repeat([]byte("chunk"), 20_000))
	corpus.Add(f, func(text []byte) bool { return len(whole(body, text)) > len(body) }, [][]byte{[]byte("AAAA"), []byte("AA=="), long},
		[]byte("AB=="), []byte("AAA"), []byte("-_-_"), []byte("AA\r\n"), long[1:])
	f.Fuzz(func(t *testing.T, text []byte) {
		got := whole(body, text)
		want, err := base64.StdEncoding.Strict().DecodeString(string(text))
		if err != nil || base64.StdEncoding.EncodeToString(want) != string(text) {
			want = nil
		}
		if !bytes.HasPrefix(got, body) || !bytes.Equal(got[len(body):], want) {
			t.Fatalf("%q gives %q", text, got)
		}
		if size, ok := proto.Base64Size(text); ok && size != len(want) {
			t.Fatalf("%q encodes %d bytes, not %d", text, len(want), size)
		}
		if cap(got) == pipeBuffer && len(body)+len(text)/4*3 <= pipeBuffer/2 {
			t.Fatalf("%d bytes take %d", len(got), cap(got))
		}
		giveBack(got)
	})
}
