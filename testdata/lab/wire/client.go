// Package wire speaks the wire format of PROTOCOL.md from both ends, for tests: a
// raw client that sends whatever a test wants, and a relay that tampers. It also has
// the scenery around a relay under test. It uses proto and crypto, and neither the
// relay nor the client.
package wire

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
)

// Lab is one lab for all tests with a relay. Its time is the real one.
var Lab = sync.OnceValue(func() *lab.PKI {
	p, err := lab.New(lab.Options{})
	if err != nil {
		panic(err)
	}
	return p
})

// Person issues a card of Lab.
func Person(t testing.TB, name string, opts ...lab.IssueOption) *lab.Holder {
	t.Helper()
	h, err := Lab().Issue(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Cred is a key K with its bundle.
type Cred struct {
	Key    *trust.Key
	Bundle *trust.Bundle
}

// Delegate has a card sign a delegation to a new K, for the next hour.
func Delegate(t testing.TB, h *lab.Holder, name string) *Cred {
	t.Helper()
	now := time.Now()
	return DelegateAt(t, h, name, now.Add(-time.Minute), now.Add(time.Hour))
}

// DelegateAt is Delegate for another time.
func DelegateAt(t testing.TB, h *lab.Holder, name string, begin, end time.Time) *Cred {
	t.Helper()
	key := people.Key(t, trust.KeyEd25519)
	return &Cred{key, people.Delegate(t, h, name, key, begin, end)}
}

// Client is one connection to a relay. It has no windows, no keep-alive and no
// end-to-end layer.
type Client struct {
	T     testing.TB
	Conn  net.Conn
	Lines *proto.LineReader
	Cred  *Cred
	ID    string
	Name  string

	Send *crypto.Hop
	Recv *crypto.Hop
}

// Message is one opened line from the relay.
type Message struct {
	*proto.Header
	Body []byte // with what the text encodes
	Text string // of the line's body
}

// Timeout bounds every wait: no step takes nearly so long, even on a busy machine
// with the race detector.
const Timeout = time.Minute

// Dial connects and shakes hands. A refusal by the relay is a *proto.Error.
func Dial(t testing.TB, addr string, cred *Cred, takes string) (*Client, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return Handshake(t, conn, &HandshakePlan{Cred: cred, Takes: takes})
}

// HandshakePlan is a handshake and its faults. Each function, if set, may change
// its part before it is sent.
type HandshakePlan struct {
	Cred    *Cred
	Takes   string
	Ciphers []string // nil for all

	Mailbox  []byte   // the key of the mailbox that the bundle names; nil for none
	Collects [][]byte // hashes of mailboxes

	Line1  func([]byte) []byte
	Hello  func(*crypto.Hello)
	Sealed func([]byte) []byte // the hello, encoded and not yet sealed
	Line3  func([]byte) []byte
}

// Handshake does the client's part of PROTOCOL.md, "Connect". A refusal by the
// relay is a *proto.Error.
func Handshake(t testing.TB, conn net.Conn, plan *HandshakePlan) (*Client, error) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(Timeout))
	lines := proto.NewLineReader(conn)
	read := func(phase int, v any) ([]byte, error) {
		line, err := lines.ReadLine(proto.MaxHandshakeLine)
		if err != nil {
			return nil, err
		}
		return bytes.Clone(line), proto.ReadConnect(line, phase, v)
	}
	send := func(line []byte) error {
		_, err := conn.Write(append(bytes.Clone(line), '\n'))
		return err
	}

	ciphers := plan.Ciphers
	if ciphers == nil {
		ciphers = crypto.SuiteNames()
	}
	random := make([]byte, proto.RandomSize)
	rand.Read(random)
	line1 := spoilt(plan.Line1, proto.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: ciphers, Data: random}))
	if err := send(line1); err != nil {
		return nil, err
	}
	transcript := crypto.NewConnect(line1)

	var p2 proto.Connect2
	line2, err := read(2, &p2)
	if err != nil {
		return nil, err
	}
	key, err := trust.ParsePublicKey(p2.PublicKey)
	if err != nil {
		return nil, err
	}
	if !key.Verify(transcript.RelaySigns(p2.Cipher, p2.Data, p2.PublicKey), p2.Signature) {
		return nil, fmt.Errorf("the relay's signature does not hold")
	}
	transcript.Line2(line2)

	enc, err := transcript.Encapsulate(crypto.SuiteByName(p2.Cipher), p2.Data)
	if err != nil {
		return nil, err
	}
	name, hello := plan.hello(transcript)
	line3 := proto.MustMarshal(&proto.Connect3{Type: proto.TypeConnect, Phase: 3, Data: enc, Payload: transcript.SealHello(hello)})
	line3 = spoilt(plan.Line3, line3)
	if err := send(line3); err != nil {
		return nil, err
	}
	transcript.Line3(line3)

	var p4 proto.Connect4
	line4, err := read(4, &p4)
	if err != nil {
		return nil, err
	}
	opened, err := transcript.OpenWelcome(p4.Payload)
	if err != nil {
		return nil, err
	}
	id, err := welcomed(opened)
	if err != nil {
		return nil, err
	}
	c := &Client{T: t, Conn: conn, Lines: lines, Cred: plan.Cred, ID: id, Name: name}
	c.Send, c.Recv = transcript.Finish(line4)
	return c, nil
}

// hello returns the content of connect phase 3, and the name in it.
func (plan *HandshakePlan) hello(transcript *crypto.Connect) (name string, encoded []byte) {
	h := crypto.Hello{Name: plan.Cred.Bundle.Name, Takes: plan.Takes, Bundle: plan.Cred.Bundle, Mailbox: append([]byte{}, plan.Mailbox...), Collects: append([][]byte{}, plan.Collects...)}
	h.Signature = plan.Cred.Key.Sign(transcript.ClientSigns(&h))
	if plan.Hello != nil {
		plan.Hello(&h)
	}
	return h.Name, spoilt(plan.Sealed, proto.MustMarshal(&h))
}

// spoilt applies a function of a plan, if it is set.
func spoilt(spoil func([]byte) []byte, b []byte) []byte {
	if spoil == nil {
		return b
	}
	return spoil(b)
}

// welcomed reads the content of connect phase 4.
func welcomed(opened []byte) (id string, err error) {
	var w proto.Welcome
	if err := proto.Unmarshal(opened, &w); err != nil {
		return "", err
	}
	if w.Error != nil {
		return "", w.Error
	}
	if w.Done != "ok" || !proto.ValidConnID(w.ID) {
		return "", fmt.Errorf("welcome %s", opened)
	}
	return w.ID, nil
}

// Close closes the connection without a word.
func (c *Client) Close() { c.Conn.Close() }

// Line seals a payload as the next secure line.
func (c *Client) Line(payload []byte) []byte {
	s := crypto.LineSealer{Hop: c.Send}
	return s.Append(nil, payload, nil)
}

// Beside sends a header and a body, and any text in the line's body. It returns the
// number of its line.
func (c *Client) Beside(h *proto.Header, body []byte, text string) uint64 {
	c.T.Helper()
	seq := c.Send.Seq()
	s := crypto.LineSealer{Hop: c.Send}
	c.Write(s.Append(nil, proto.AppendPayload(nil, proto.MustMarshal(h), nil, body), []byte(text)))
	return seq
}

// Write sends raw bytes.
func (c *Client) Write(b []byte) {
	c.T.Helper()
	if _, err := c.Conn.Write(b); err != nil {
		c.T.Fatalf("%s writes: %v", c.Name, err)
	}
}

// Say sends a header and body, and returns the number of its line.
func (c *Client) Say(h *proto.Header, body []byte) uint64 {
	c.T.Helper()
	seq := c.Send.Seq()
	c.Write(c.Line(proto.AppendPayload(nil, proto.MustMarshal(h), nil, body)))
	return seq
}

// Ask sends a request signed by K, and returns the number of its line.
func (c *Client) Ask(h *proto.Header) uint64 {
	c.T.Helper()
	seq := c.Send.Seq()
	header := proto.MustMarshal(h)
	c.Write(c.Line(proto.AppendPayload(nil, header, c.Cred.Key.Sign(c.Send.RequestSigns(seq, header)), nil)))
	return seq
}

// To sends a client-com to another client, and returns the number of its line.
func (c *Client) To(dst *Client, body string) uint64 {
	c.T.Helper()
	return c.Say(&proto.Header{Type: proto.TypeClientCom, Dst: dst.Name, DstID: dst.ID}, []byte(body))
}

// Read returns the next line from the relay.
func (c *Client) Read() (Message, error) {
	line, err := c.Lines.ReadLine(proto.MaxLine)
	if err != nil {
		return Message{}, err
	}
	_, payload, text, err := crypto.OpenLine(c.Recv, line)
	if err != nil {
		return Message{}, err
	}
	header, signature, body, err := proto.SplitPayload(payload)
	if err != nil {
		return Message{}, err
	}
	if signature != nil {
		return Message{}, fmt.Errorf("the relay signed %s", header)
	}
	h, err := proto.ParseRelayHeader(header)
	return Message{h, whole(body, text), string(text)}, err
}

// whole returns a payload's body and what the text beside it encodes.
func whole(body, text []byte) []byte {
	decoded, _ := proto.DecodeBase64(nil, text)
	return slices.Concat(body, decoded)
}

// Next is Read, and fails the test on an error.
func (c *Client) Next() Message {
	c.T.Helper()
	m, err := c.Read()
	if err != nil {
		c.T.Fatalf("%s reads: %v", c.Name, err)
	}
	return m
}

// Want reads the next line and fails the test unless it has that type.
func (c *Client) Want(typ string) Message {
	c.T.Helper()
	m := c.Next()
	if m.Type != typ {
		c.T.Fatalf("%s got %s, want a %s", c.Name, proto.MustMarshal(m.Header), typ)
	}
	return m
}

// WantError reads the next line and fails the test unless it is that error.
func (c *Client) WantError(code proto.Code) Message {
	c.T.Helper()
	m := c.Want(proto.TypeError)
	if m.Code != code {
		c.T.Fatalf("%s got error %s (%s), want %s", c.Name, m.Code, m.Message, code)
	}
	return m
}

// WantClosed fails the test unless the relay closes the connection next.
func (c *Client) WantClosed() {
	c.T.Helper()
	if m, err := c.Read(); err == nil {
		c.T.Fatalf("%s got %s, want the end", c.Name, proto.MustMarshal(m.Header))
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.T.Fatalf("%s: the relay does not close", c.Name)
	}
}

// WantEnded reads up to the error that ends the connection.
func (c *Client) WantEnded(code proto.Code) {
	c.T.Helper()
	m := c.Next()
	for m.Type != proto.TypeError {
		m = c.Next()
	}
	if m.Code != code {
		c.T.Errorf("%s got %s (%s), want %s", c.Name, m.Code, m.Message, code)
	}
	c.WantClosed()
}

// Barrier returns when the relay has carried out all earlier lines of c: its
// answer comes after them.
func (c *Client) Barrier() {
	c.T.Helper()
	if got := c.List(c.Name); got == "" {
		c.T.Fatalf("%s is not on the list", c.Name)
	}
}

// List asks for a list of a name, or of all for "", and returns Listed of it.
func (c *Client) List(name string) string {
	c.T.Helper()
	c.Ask(&proto.Header{Type: proto.TypeList, Name: name})
	return c.Listed(c.Want(proto.TypeList))
}

// Listed returns "name takes" of each entry, joined by commas.
func (c *Client) Listed(m Message) string {
	c.T.Helper()
	var all []proto.Listed
	if err := proto.Unmarshal(m.Body, &all); err != nil {
		c.T.Fatal(err)
	}
	words := make([]string, len(all))
	for i, l := range all {
		words[i] = l.Name + " " + l.Takes
	}
	return strings.Join(words, ",")
}
