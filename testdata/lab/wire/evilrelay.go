package wire

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"slices"
	"sync"
	"testing"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// EvilRelay is a relay in this process that tampers as a test asks. It has the
// means of a malicious relay: a key of its own, and no card.
type EvilRelay struct {
	T    testing.TB
	Key  *trust.Key
	Ln   net.Listener
	wg   sync.WaitGroup
	Keys crypto.KeySource

	mu    sync.Mutex // guards the fields below, and every write
	Conns []*EvilConn
	// Tamper, if set, returns the lines that go on in place of an end-to-end line:
	// usually the line itself. mu is held, as for all functions below.
	Tamper func(l EvilLine) []EvilLine
	// DropAck, if set and true, withholds the ack of a line.
	DropAck func(h *proto.Header) bool
	// Alias gives users the names of others.
	Alias map[string]string
	// Listed, if set, changes the answers to list.
	Listed func(conns []*EvilConn) []*EvilConn
	// Identity, if set, is the identity that the relay gives for a connection.
	Identity func(c *EvilConn) [32]byte
	// Busy, if set and true, refuses a list for now.
	Busy func(h *proto.Header) bool
	// Refuse, if set, may return an error that answers a line for another
	// connection in place of passing it on.
	Refuse func(h *proto.Header, body []byte) proto.Code
	// CameIn, if set, is told of a connection that was let in.
	CameIn func(c *EvilConn)
	// Letters, if set, takes the lines about letters.
	Letters func(l EvilLine)
	// Welcome, if set, spoils the content of connect phase 4.
	Welcome func(opened []byte) []byte
}

// EvilConn is a client's connection to an EvilRelay.
type EvilConn struct {
	ID     string
	Hello  crypto.Hello
	Conn   net.Conn
	Sealer crypto.LineSealer
	Gone   bool
	Inbox  chan EvilLine // of a client that the relay plays itself
}

// EvilLine is one line on its way between two connections.
type EvilLine struct {
	From, To *EvilConn
	Seq      uint64 // of the sender's line
	Header   proto.Header
	Body     []byte // with what the text encodes
	Text     string // of the line's body, which crosses as it is; "" for none
	Beside   int    // how many bytes of Body crossed as text
}

// With returns the line with another body, of which nothing crosses as text.
func (l EvilLine) With(body []byte) EvilLine {
	l.Body, l.Text, l.Beside = body, "", 0
	return l
}

// WithText returns the line with another text beside its payload.
func (l EvilLine) WithText(text string) EvilLine {
	l.Text = text
	return l
}

// NewEvilRelay starts one, which is honest until a test changes it. It ends with the
// test.
func NewEvilRelay(t testing.TB) *EvilRelay {
	t.Helper()
	key, err := trust.GenerateKey(trust.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &EvilRelay{T: t, Key: key, Ln: ln}
	r.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.mu.Lock()
		for _, c := range r.Conns {
			c.Conn.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
		r.Keys.Close()
	})
	return r
}

// serve is one connection, from its handshake to its end. Any failure ends it.
func (r *EvilRelay) serve(conn net.Conn) {
	defer conn.Close()
	lines := proto.NewLineReader(conn)
	c, recv, ok := r.handshake(conn, lines)
	if !ok {
		return
	}
	defer r.Leave(c)
	for {
		line, err := lines.ReadLine(proto.MaxLine)
		if err != nil {
			return
		}
		seq, payload, text, err := crypto.OpenLine(recv, line)
		if err != nil {
			return
		}
		header, _, body, err := proto.SplitPayload(payload)
		if err != nil {
			return
		}
		h, err := proto.ParseClientHeader(header)
		if err != nil {
			return
		}
		l := EvilLine{From: c, Seq: seq, Header: *h, Body: whole(body, text), Text: string(text)}
		l.Beside = len(l.Body) - len(body)
		r.mu.Lock()
		r.take(l)
		r.mu.Unlock()
	}
}

func (r *EvilRelay) handshake(conn net.Conn, lines *proto.LineReader) (*EvilConn, *crypto.Hop, bool) {
	read := func(phase int, v any) []byte {
		line, err := lines.ReadLine(proto.MaxHandshakeLine)
		if err != nil || proto.ReadConnect(line, phase, v) != nil {
			return nil
		}
		return slices.Clone(line)
	}
	var p1 proto.Connect1
	line1 := read(1, &p1)
	if line1 == nil {
		return nil, nil, false
	}
	suite := crypto.SuiteByName(p1.Ciphers[0])
	transcript := crypto.NewConnect(line1)
	kem, err := r.Keys.Get(suite)
	if err != nil {
		return nil, nil, false
	}
	spki := r.Key.Public().SPKI()
	line2 := proto.MustMarshal(&proto.Connect2{
		Type: proto.TypeConnect, Phase: 2, Cipher: suite.Name(), Data: kem.Public(), PublicKey: spki,
		Signature: r.Key.Sign(transcript.RelaySigns(suite.Name(), kem.Public(), spki)),
	})
	transcript.Line2(line2)
	proto.WriteLine(conn, line2)
	var p3 proto.Connect3
	line3 := read(3, &p3)
	if line3 == nil || transcript.Decapsulate(suite, kem, p3.Data) != nil {
		return nil, nil, false
	}
	transcript.Line3(line3)
	opened, err := transcript.OpenHello(p3.Payload)
	c := &EvilConn{Conn: conn}
	if err != nil || proto.Unmarshal(opened, &c.Hello) != nil {
		return nil, nil, false
	}
	id := make([]byte, proto.ConnIDLen/2)
	rand.Read(id)
	c.ID = hex.EncodeToString(id)
	welcome := proto.MustMarshal(&proto.Welcome{Done: "ok", ID: c.ID})
	r.Do(func() {
		if r.Welcome != nil {
			welcome = r.Welcome(welcome)
		}
	})
	line4 := proto.MustMarshal(&proto.Connect4{Type: proto.TypeConnect, Phase: 4, Payload: transcript.SealWelcome(welcome)})
	r.mu.Lock() // a client that reads line 4 is already in Conns
	defer r.mu.Unlock()
	proto.WriteLine(conn, line4)
	c2s, s2c := transcript.Finish(line4)
	c.Sealer.Hop = s2c
	if other, ok := r.Alias[c.Hello.Name]; ok {
		c.Hello.Name = other
	}
	r.Conns = append(r.Conns, c)
	r.Tell(c, proto.Came)
	if r.CameIn != nil {
		r.CameIn(c)
	}
	return c, c2s, true
}

// Write sends a payload. mu is held.
func (r *EvilRelay) Write(c *EvilConn, h *proto.Header, body []byte) { r.WriteBeside(c, h, body, "") }

// WriteBeside sends a payload, and any text in the line's body. mu is held.
func (r *EvilRelay) WriteBeside(c *EvilConn, h *proto.Header, body []byte, text string) {
	if c.Gone {
		return
	}
	payload := proto.AppendPayload(nil, proto.MustMarshal(h), nil, body)
	if _, err := c.Conn.Write(c.Sealer.Append(nil, payload, []byte(text))); err != nil {
		c.Gone = true
	}
}

// Tell tells the others that a connection came or left. mu is held.
func (r *EvilRelay) Tell(about *EvilConn, what string) {
	for _, c := range r.Conns {
		if c != about {
			r.Write(c, &proto.Header{Type: proto.TypePeer, Name: about.Hello.Name, ID: about.ID, Takes: about.Hello.Takes, Done: what}, nil)
		}
	}
}

// Leave takes a connection out.
func (r *EvilRelay) Leave(c *EvilConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Gone = true
	r.Conns = slices.DeleteFunc(r.Conns, func(x *EvilConn) bool { return x == c })
	r.Tell(c, proto.Left)
}

// take carries out one line. mu is held.
func (r *EvilRelay) take(l EvilLine) {
	c, seq, h := l.From, l.Seq, &l.Header
	shown := r.Conns
	if r.Listed != nil {
		shown = r.Listed(slices.Clone(shown))
	}
	refuse := func(code proto.Code, message string) {
		r.Write(c, &proto.Header{Type: proto.TypeError, DstID: h.DstID, Answers: &seq, Code: code, Message: message}, nil)
	}
	switch h.Type {
	case proto.TypeList:
		if r.Busy != nil && r.Busy(h) {
			refuse(proto.Busy, "you have asked for too much")
			return
		}
		page := []proto.Listed{}
		for _, x := range shown {
			if h.Name != "" && !proto.SameName(h.Name, x.Hello.Name) {
				continue
			}
			var identity [32]byte
			if r.Identity != nil {
				identity = r.Identity(x)
			}
			page = append(page, proto.Listed{Name: x.Hello.Name, ID: x.ID, Takes: x.Hello.Takes, Identity: proto.FormatHash(identity)})
		}
		r.Write(c, &proto.Header{Type: proto.TypeList, Answers: &seq, Done: "ok"}, proto.MustMarshal(page))
	case proto.TypeClientConnect, proto.TypeClientCom, proto.TypeCommAck, proto.TypeDisconnect, proto.TypeError:
		to := r.ByID(h.DstID)
		if to == nil {
			refuse(proto.Gone, "there is no such connection")
			return
		}
		if r.Refuse != nil {
			if code := r.Refuse(h, l.Body); code != "" {
				refuse(code, "not now")
				return
			}
		}
		l.To = to
		out := []EvilLine{l}
		if r.Tamper != nil {
			out = r.Tamper(l)
		}
		for _, l := range out {
			r.Forward(l)
		}
		if r.DropAck == nil || !r.DropAck(h) {
			r.Ack(l)
		}
	case proto.TypeLetterTo, proto.TypeLetter, proto.TypeLetterAck:
		if r.Letters != nil {
			r.Letters(l)
		}
	}
}

// Ack tells the sender of a line that it was passed on. mu is held.
func (r *EvilRelay) Ack(l EvilLine) {
	r.Write(l.From, &proto.Header{Type: proto.TypeAck, DstID: l.To.ID, Answers: &l.Seq}, nil)
}

// Named returns a connection of that name. Its absence fails the test. mu is held.
func (r *EvilRelay) Named(name string) *EvilConn {
	for _, c := range r.Conns {
		if c.Hello.Name == name {
			return c
		}
	}
	r.T.Errorf("nobody is connected as %s", name)
	return nil
}

// ByID returns a connection, nil if it has left. mu is held.
func (r *EvilRelay) ByID(id string) *EvilConn {
	for _, c := range r.Conns {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// Forward stamps a line and sends it on. mu is held.
func (r *EvilRelay) Forward(l EvilLine) {
	if l.To.Inbox != nil {
		select {
		case l.To.Inbox <- l:
		default:
			r.T.Error("more lines than an inbox holds")
		}
		return
	}
	h := l.Header
	h.Src, h.SrcID = l.From.Hello.Name, l.From.ID
	h.Dst, h.DstID = l.To.Hello.Name, l.To.ID
	r.WriteBeside(l.To, &h, l.Body[:len(l.Body)-l.Beside], l.Text)
}

// Do runs f while mu is held.
func (r *EvilRelay) Do(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// Tampering sets Tamper.
func (r *EvilRelay) Tampering(f func(l EvilLine) []EvilLine) {
	r.Do(func() { r.Tamper = f })
}
