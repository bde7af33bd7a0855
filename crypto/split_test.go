package crypto_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// A session is the bytes of one direction of a connection, from connect phase 1 on, and the means
// to read them.
type stream struct {
	bytes    []byte
	hop      *crypto.Hop // after the handshake
	phases   [2]int      // of the two lines of the handshake
	messages []string    // that it reads
}

// goldenSession is both directions of a session: the recorded handshake, then lines of every kind
// with the messages of a conversation.
func goldenSession(t testing.TB, suite string) []*stream {
	t.Helper()
	g := readFields(t, goldenFile(suite))
	var p2 proto.Connect2
	var p3 proto.Connect3
	line := func(n int) []byte { return []byte(g.get(t, fmt.Sprintf("line%d", n))) }
	for n, v := range map[int]any{2: &p2, 3: &p3} {
		if err := proto.ReadConnect(line(n), n, v); err != nil {
			t.Fatal(err)
		}
	}
	relay := crypto.NewConnect(line(1))
	relay.Line2(line(2))
	if err := relay.Decapsulate(crypto.SuiteByName(suite), crypto.ParseKEMKey(t, suite, g.hex(t, "relay-kem-private")), p3.Data); err != nil {
		t.Fatal(err)
	}
	relay.Line3(line(3))
	up, down := relay.Finish(line(4))
	c2s := &stream{hop: up.Copy(), phases: [2]int{1, 3}}
	s2c := &stream{hop: down.Copy(), phases: [2]int{2, 4}}
	alice, id := loadCast(t).alice, aliceEnd.Conn

	// A peer may end its lines twice or begin with a blank line.
	c2s.bytes = slices.Concat([]byte("\n"), line(1), []byte("\n\n"), line(3), []byte("\n"))
	s2c.bytes = slices.Concat(line(2), []byte("\n"), line(4), []byte("\n\n\n"))
	seven := uint64(7)
	add := func(s *stream, hop *crypto.Hop, h *proto.Header, body, beside []byte) {
		var signature []byte
		header := proto.MustMarshal(h)
		if h.Type == proto.TypeList && s == c2s {
			signature = alice.Sign(hop.RequestSigns(hop.Seq(), header))
		}
		sealer := crypto.LineSealer{Hop: hop}
		s.bytes = sealer.Append(s.bytes, proto.AppendPayload(nil, header, signature, body), proto.AppendBase64(nil, beside))
	}
	add(c2s, up, &proto.Header{Type: proto.TypeList, Watch: true}, nil, nil)
	add(s2c, down, &proto.Header{Type: proto.TypeList, Answers: new(uint64), Done: "ok"}, []byte("[]"), nil)
	for i, key := range []string{"p1", "p2", "p3"} {
		add(c2s, up, &proto.Header{Type: proto.TypeClientConnect, Phase: i + 1, Dst: "Bob", DstID: id}, g.body(t, key), nil)
		add(s2c, down, &proto.Header{Type: proto.TypeClientConnect, Phase: i + 1, Src: "Bob", SrcID: id, Dst: "alice", DstID: id}, g.body(t, key), nil)
	}
	for _, key := range []string{"text", "answer", "receipt"} {
		add(c2s, up, &proto.Header{Type: proto.TypeClientCom, Dst: "Bob", DstID: id}, g.message(t, key), nil)
		add(s2c, down, &proto.Header{Type: proto.TypeAck, DstID: id, Answers: &seven}, nil, nil)
		add(s2c, down, &proto.Header{Type: proto.TypeCommAck, Src: "Bob", SrcID: id, Dst: "alice", DstID: id}, g.message(t, key), nil)
		c2s.bytes = append(c2s.bytes, '\n')
	}
	// A line long enough to change the buffer, and short ones after it.
	add(s2c, down, &proto.Header{Type: proto.TypeClientCom, Src: "Bob", SrcID: id, Dst: "alice", DstID: id}, bytes.Repeat([]byte("\n\x00chunk"), 3000), nil)
	chunk := bytes.Repeat([]byte("chunk\x00"), 3000)
	add(s2c, down, &proto.Header{Type: proto.TypeClientCom, Src: "Bob", SrcID: id, Dst: "alice", DstID: id}, []byte("{}\n\n"), chunk)
	add(c2s, up, &proto.Header{Type: proto.TypeClientCom, Dst: "Bob", DstID: id}, []byte("{}\n\n"), chunk)
	add(c2s, up, &proto.Header{Type: proto.TypeDisconnect}, nil, nil)
	add(s2c, down, &proto.Header{Type: proto.TypeError, Code: proto.Shutdown, Message: "the relay stops"}, nil, nil)
	for _, s := range []*stream{c2s, s2c} {
		var err error
		if s.messages, err = s.read(bytes.NewReader(s.bytes)); err != io.EOF {
			t.Fatalf("the session as it is: %v", err)
		}
	}
	return []*stream{c2s, s2c}
}

// read is the work of both sides' readers with the bytes of a connection.
func (s *stream) read(r io.Reader) (messages []string, err error) {
	lines := proto.NewLineReader(r)
	for _, phase := range s.phases {
		line, err := lines.ReadLine(proto.MaxHandshakeLine)
		if err != nil {
			return messages, err
		}
		v := map[int]any{1: new(proto.Connect1), 2: new(proto.Connect2), 3: new(proto.Connect3), 4: new(proto.Connect4)}[phase]
		if err := proto.ReadConnect(line, phase, v); err != nil {
			return messages, err
		}
		messages = append(messages, string(line))
	}
	hop := s.hop.Copy()
	for {
		line, err := lines.ReadLine(proto.MaxLine)
		if err != nil {
			return messages, err
		}
		_, payload, text, err := crypto.OpenLine(hop, line)
		if err != nil {
			return messages, err
		}
		header, signature, body, err := proto.SplitPayload(payload)
		if err != nil {
			return messages, err
		}
		messages = append(messages, fmt.Sprintf("%s %x %s %s", header, signature, body, text))
	}
}

// cutAt reads a stream in pieces, cut at these places. If cut off, it ends at the last.
func (s *stream) cutAt(t testing.TB, places ...int) {
	t.Helper()
	var pieces []io.Reader
	from := 0
	for _, to := range append(places, len(s.bytes)) {
		pieces = append(pieces, bytes.NewReader(s.bytes[from:to]))
		from = to
	}
	got, err := s.read(io.MultiReader(pieces...))
	if err != io.EOF || !slices.Equal(got, s.messages) {
		t.Fatalf("cut at %v of %d: %d messages of %d, or others, and %v", places, len(s.bytes), len(got), len(s.messages), err)
	}
}

// TestSessionCutAnywhere cuts a session at every place: it gives the same messages. Cut off there,
// it gives the first of them and no error but the end. Without CHATSECURE_ATTACK it tries every
// 97th place.
func TestSessionCutAnywhere(t *testing.T) {
	step := 97
	if os.Getenv("CHATSECURE_ATTACK") != "" {
		step = 1
	}
	for _, suite := range crypto.SuiteNames() {
		tried, all := 0, 0
		for _, s := range goldenSession(t, suite) {
			for at := 0; at <= len(s.bytes); at += step {
				s.cutAt(t, at)
				got, err := s.read(bytes.NewReader(s.bytes[:at]))
				if err != io.EOF && err != io.ErrUnexpectedEOF || len(got) > len(s.messages) || !slices.Equal(got, s.messages[:len(got)]) {
					t.Fatalf("%s cut off at %d: %d messages and %v", suite, at, len(got), err)
				}
				tried++
			}
			all += len(s.bytes) + 1
		}
		t.Logf("%s: %d places of %d", suite, tried, all)
	}
}

// FuzzSessionCut cuts a session at any two places, and changes one byte.
func FuzzSessionCut(f *testing.F) {
	var streams []*stream
	for _, suite := range crypto.SuiteNames() {
		streams = append(streams, goldenSession(f, suite)...)
	}
	corpus.Check(f, len(streams[0].messages))
	for i := range streams {
		f.Add(uint8(i), uint16(1000), uint16(40), uint16(500*i), byte(i))
	}
	f.Fuzz(func(t *testing.T, which uint8, first, second, at uint16, flip byte) {
		s := streams[int(which)%len(streams)]
		a := int(first) % (len(s.bytes) + 1)
		s.cutAt(t, a, a+int(second)%(len(s.bytes)+1-a))

		// One byte changed: the messages before it are the same, and from there on none is another.
		changed := *s
		changed.bytes = slices.Clone(s.bytes)
		changed.bytes[int(at)%len(s.bytes)] ^= flip
		got, _ := changed.read(bytes.NewReader(changed.bytes))
		for i, m := range got {
			if i >= 2 && (i >= len(s.messages) || m != s.messages[i]) {
				t.Fatalf("with byte %d changed by %#x, message %d is %.200q", int(at)%len(s.bytes), flip, i, m)
			}
		}
	})
}
