package chatsecure

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"slices"
	"sync"
	"testing"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// evilRelay speaks the relay's side of the wire in this process and does to
// what it forwards whatever a test asks for. It can do all that a malicious
// relay can: it has its own key, and no card.
type evilRelay struct {
	t    testing.TB
	key  *crypto.Key
	ln   net.Listener
	wg   sync.WaitGroup
	keys crypto.KeySource

	mu    sync.Mutex // guards what follows, and every writer
	conns []*evilConn
	// tamper is asked about each end-to-end line that passes and returns what
	// goes on in its place: usually the line itself. mu is held.
	tamper func(l evilLine) []evilLine
	// dropAck withholds the ack of a line, if set and true. mu is held.
	dropAck func(h *proto.Header) bool
	// alias makes the relay call one user by another's name. mu is held.
	alias map[string]string
	// listed changes what list and whois say, if set. mu is held.
	listed func(conns []*evilConn) []*evilConn
	// busy refuses a list for now, if set and true. mu is held.
	busy func(h *proto.Header) bool
	// refuse answers a line for another connection with that error in place of
	// passing it on, if set and not empty. mu is held.
	refuse func(h *proto.Header, body []byte) proto.Code
	// welcome spoils what connect phase 4 seals, if set. mu is held.
	welcome func(opened []byte) []byte
}

type evilConn struct {
	id     string
	hello  hello
	conn   net.Conn
	sealer lineSealer
	gone   bool
	inbox  chan evilLine // of one that the relay plays itself
}

// evilLine is one line on its way between two connections.
type evilLine struct {
	from, to *evilConn
	header   proto.Header
	body     []byte
}

// with returns the line with another body.
func (l evilLine) with(body []byte) evilLine {
	l.body = body
	return l
}

func newEvilRelay(t testing.TB) *evilRelay {
	t.Helper()
	key, err := crypto.GenerateKey(crypto.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &evilRelay{t: t, key: key, ln: ln}
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
		for _, c := range r.conns {
			c.conn.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
		r.keys.Close()
	})
	return r
}

// serve is one connection, from its handshake to its end. Whatever fails ends
// it.
func (r *evilRelay) serve(conn net.Conn) {
	defer conn.Close()
	lines := proto.NewLineReader(conn)
	c, recv, ok := r.handshake(conn, lines)
	if !ok {
		return
	}
	defer r.leave(c)
	for {
		line, err := lines.ReadLine(proto.MaxLine)
		if err != nil {
			return
		}
		seq, payload, err := openLine(recv, line)
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
		r.mu.Lock()
		r.take(c, seq, h, slices.Clone(body))
		r.mu.Unlock()
	}
}

func (r *evilRelay) handshake(conn net.Conn, lines *proto.LineReader) (*evilConn, *crypto.Hop, bool) {
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
	kem, err := r.keys.Get(suite)
	if err != nil {
		return nil, nil, false
	}
	spki := r.key.Public().SPKI()
	line2 := canon.MustMarshal(&proto.Connect2{
		Type: proto.TypeConnect, Phase: 2, Cipher: suite.Name(), Data: kem.Public(), PublicKey: spki,
		Signature: r.key.Sign(transcript.RelaySigns(suite.Name(), kem.Public(), spki)),
	})
	transcript.Line2(line2)
	writeLine(conn, line2)
	var p3 proto.Connect3
	line3 := read(3, &p3)
	if line3 == nil || transcript.Decapsulate(suite, kem, p3.Data) != nil {
		return nil, nil, false
	}
	transcript.Line3(line3)
	opened, err := transcript.OpenHello(p3.Payload)
	c := &evilConn{conn: conn}
	if err != nil || canon.Unmarshal(opened, &c.hello) != nil {
		return nil, nil, false
	}
	id := make([]byte, proto.ConnIDLen/2)
	rand.Read(id)
	c.id = hex.EncodeToString(id)
	welcome := canon.MustMarshal(&proto.Welcome{Done: "ok", ID: c.id})
	r.do(func() {
		if r.welcome != nil {
			welcome = r.welcome(welcome)
		}
	})
	line4 := canon.MustMarshal(&proto.Connect4{Type: proto.TypeConnect, Phase: 4, Payload: transcript.SealWelcome(welcome)})
	r.mu.Lock() // whoever has been let in is there
	defer r.mu.Unlock()
	writeLine(conn, line4)
	c2s, s2c := transcript.Finish(line4)
	c.sealer.hop = s2c
	if other, ok := r.alias[c.hello.Name]; ok {
		c.hello.Name = other
	}
	r.conns = append(r.conns, c)
	r.tell(c, proto.Came)
	return c, c2s, true
}

// write sends a payload. mu is held.
func (r *evilRelay) write(c *evilConn, h *proto.Header, body []byte) {
	if c.gone {
		return
	}
	payload := proto.AppendPayload(nil, canon.MustMarshal(h), nil, body)
	if _, err := c.conn.Write(c.sealer.append(nil, payload)); err != nil {
		c.gone = true
	}
}

func (r *evilRelay) tell(about *evilConn, what string) {
	for _, c := range r.conns {
		if c != about {
			r.write(c, &proto.Header{Type: proto.TypePeer, Name: about.hello.Name, ID: about.id, Takes: about.hello.Takes, Done: what}, nil)
		}
	}
}

func (r *evilRelay) leave(c *evilConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.gone = true
	r.conns = slices.DeleteFunc(r.conns, func(x *evilConn) bool { return x == c })
	r.tell(c, proto.Left)
}

// take does what a line asks for. mu is held.
func (r *evilRelay) take(c *evilConn, seq uint64, h *proto.Header, body []byte) {
	shown := r.conns
	if r.listed != nil {
		shown = r.listed(slices.Clone(shown))
	}
	switch h.Type {
	case proto.TypeList:
		if r.busy != nil && r.busy(h) {
			r.write(c, &proto.Header{Type: proto.TypeError, Answers: &seq, Code: proto.Busy, Message: "you have asked for too much"}, nil)
			return
		}
		page := []proto.Listed{}
		for _, x := range shown {
			if h.Name == "" || proto.SameName(h.Name, x.hello.Name) {
				page = append(page, proto.Listed{Name: x.hello.Name, ID: x.id, Takes: x.hello.Takes, Identity: hexIdentity([32]byte{})})
			}
		}
		r.write(c, &proto.Header{Type: proto.TypeList, Answers: &seq, Done: "ok"}, canon.MustMarshal(page))
	case proto.TypeWhoisGet:
		entries := []whoisEntry{}
		for _, x := range shown {
			if proto.SameName(h.Name, x.hello.Name) {
				entries = append(entries, whoisEntry{ID: x.id, Takes: x.hello.Takes, Bundle: x.hello.Bundle})
			}
		}
		r.write(c, &proto.Header{Type: proto.TypeWhoisResponse, Name: h.Name, Answers: &seq}, canon.MustMarshal(entries))
	case proto.TypeClientConnect, proto.TypeClientCom, proto.TypeCommAck, proto.TypeDisconnect, proto.TypeError:
		to := r.byID(h.DstID)
		if to == nil {
			r.write(c, &proto.Header{Type: proto.TypeError, DstID: h.DstID, Answers: &seq, Code: proto.Gone, Message: "there is no such connection"}, nil)
			return
		}
		if r.refuse != nil {
			if code := r.refuse(h, body); code != "" {
				r.write(c, &proto.Header{Type: proto.TypeError, DstID: h.DstID, Answers: &seq, Code: code, Message: "not now"}, nil)
				return
			}
		}
		l := evilLine{from: c, to: to, header: *h, body: body}
		out := []evilLine{l}
		if r.tamper != nil {
			out = r.tamper(l)
		}
		for _, l := range out {
			r.forward(l)
		}
		if r.dropAck == nil || !r.dropAck(h) {
			r.write(c, &proto.Header{Type: proto.TypeAck, DstID: h.DstID, Answers: &seq}, nil)
		}
	}
}

// named returns a connection of that name. mu is held.
func (r *evilRelay) named(name string) *evilConn {
	for _, c := range r.conns {
		if c.hello.Name == name {
			return c
		}
	}
	r.t.Errorf("nobody is connected as %s", name)
	return nil
}

func (r *evilRelay) byID(id string) *evilConn {
	for _, c := range r.conns {
		if c.id == id {
			return c
		}
	}
	return nil
}

// forward stamps a line and sends it on. mu is held.
func (r *evilRelay) forward(l evilLine) {
	if l.to.inbox != nil {
		select {
		case l.to.inbox <- l:
		default:
			r.t.Error("more lines than anybody takes out of an inbox")
		}
		return
	}
	h := l.header
	h.Src, h.SrcID = l.from.hello.Name, l.from.id
	h.Dst, h.DstID = l.to.hello.Name, l.to.id
	r.write(l.to, &h, l.body)
}

// do runs f with the relay's state.
func (r *evilRelay) do(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// tampering sets what the relay does from now on.
func (r *evilRelay) tampering(f func(l evilLine) []evilLine) {
	r.do(func() { r.tamper = f })
}
