package chatsecure

import (
	"bytes"
	"context"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// relayTestLab is one lab for all tests of this package that need people: the
// certificates are good for all of them.
var relayTestLab = sync.OnceValue(func() *lab.PKI {
	p, err := lab.New(lab.Options{})
	if err != nil {
		panic(err)
	}
	return p
})

// relayTestPerson issues a card to somebody.
func relayTestPerson(t testing.TB, name string, opts ...lab.IssueOption) *lab.Holder {
	t.Helper()
	h, err := relayTestLab().Issue(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// relayTestCred is a K with its bundle, as a card would have made it.
type relayTestCred struct {
	key    *crypto.Key
	bundle *crypto.Bundle
}

// relayTestDelegate has a holder's card sign a delegation for name.
func relayTestDelegate(t testing.TB, h *lab.Holder, name string) *relayTestCred {
	t.Helper()
	now := time.Now()
	return relayTestDelegateAt(t, h, name, now.Add(-time.Minute), now.Add(time.Hour))
}

func relayTestDelegateAt(t testing.TB, h *lab.Holder, name string, begin, end time.Time) *relayTestCred {
	t.Helper()
	key, err := crypto.GenerateKey(crypto.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	b := &crypto.Bundle{
		Name: name, PublicKey: key.Public().SPKI(), NotBefore: begin.Unix(), NotAfter: end.Unix(),
		X509: h.Leaf.Raw, Chain: [][]byte{},
	}
	for _, cert := range h.Chain {
		b.Chain = append(b.Chain, cert.Raw)
	}
	message := crypto.DelegationMessage(b.X509, name, b.PublicKey, b.NotBefore, b.NotAfter)
	hash, sum := stdcrypto.SHA256, sha256.Sum256(message)
	digest := sum[:]
	if ec, ok := h.Key.Public().(*ecdsa.PublicKey); ok && ec.Params().BitSize == 384 {
		sum := sha512.Sum384(message)
		hash, digest = stdcrypto.SHA384, sum[:]
	}
	if b.Signature, err = h.Key.Sign(rand.Reader, digest, hash); err != nil {
		t.Fatal(err)
	}
	return &relayTestCred{key, b}
}

// relayTest is a relay in process, on a loopback port.
type relayTest struct {
	*Relay
	t    testing.TB
	addr string
	dir  string // of the lab's files; the state is in dir/state

	stop context.CancelFunc
	done chan error
}

// startRelayTest starts a relay that trusts the lab. It is stopped, and looked
// at for goroutines left behind, when the test ends.
func startRelayTest(t testing.TB, change ...func(*RelayConfig)) *relayTest {
	t.Helper()
	dir := t.TempDir()
	if err := relayTestLab().Write(dir); err != nil {
		t.Fatal(err)
	}
	return startRelayTestIn(t, dir, change...)
}

func startRelayTestIn(t testing.TB, dir string, change ...func(*RelayConfig)) *relayTest {
	t.Helper()
	checkLeaks(t)
	cfg := RelayConfig{State: filepath.Join(dir, "relay-state"), CABundle: filepath.Join(dir, "ca-bundle.pem"), CRLDir: filepath.Join(dir, "crl")}
	if os.Getenv("RELAY_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for _, f := range change {
		f(&cfg)
	}
	relay, err := NewRelay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	rt := &relayTest{Relay: relay, t: t, addr: ln.Addr().String(), dir: dir, stop: stop, done: make(chan error, 1)}
	go func() { rt.done <- relay.Serve(ctx, ln) }()
	t.Cleanup(rt.shutdown)
	return rt
}

// shutdown stops the relay and waits for it; more than once does no harm.
func (rt *relayTest) shutdown() {
	rt.t.Helper()
	if rt.done == nil {
		return
	}
	rt.stop()
	select {
	case err := <-rt.done:
		if err != nil {
			rt.t.Errorf("Serve: %v", err)
		}
	case <-time.After(relayTestTimeout):
		rt.t.Fatal("the relay does not stop")
	}
	rt.Relay.Close()
	rt.done = nil
}

// relayTestClient speaks the relay's protocol and nothing else: no windows, no
// keep-alive, no end-to-end layer, and whatever a test wants to send.
type relayTestClient struct {
	t     testing.TB
	conn  net.Conn
	lines *proto.LineReader
	cred  *relayTestCred
	id    string
	name  string

	send *crypto.Hop
	recv *crypto.Hop
}

// relayTestMessage is one opened line from the relay.
type relayTestMessage struct {
	*proto.Header
	body []byte
}

// relayTestTimeout bounds every wait: far more than any step takes on a busy
// machine with the race detector.
const relayTestTimeout = time.Minute

// connect does the handshake and fails the test if it is refused.
func (rt *relayTest) connect(cred *relayTestCred, takes string) *relayTestClient {
	rt.t.Helper()
	c, err := relayTestDial(rt.t, rt.addr, cred, takes)
	if err != nil {
		rt.t.Fatalf("connect %s: %v", cred.bundle.Name, err)
	}
	return c
}

// join is connect for a new person of that name.
func (rt *relayTest) join(name string) *relayTestClient {
	rt.t.Helper()
	return rt.connect(relayTestDelegate(rt.t, relayTestPerson(rt.t, name), name), proto.TakesMessages)
}

// refused does the handshake and returns the error that the relay refuses with.
func (rt *relayTest) refused(cred *relayTestCred) *proto.Error {
	rt.t.Helper()
	c, err := relayTestDial(rt.t, rt.addr, cred, proto.TakesMessages)
	if err == nil {
		c.close()
		rt.t.Fatalf("%s was let in", cred.bundle.Name)
	}
	told, ok := err.(*proto.Error)
	if !ok {
		rt.t.Fatalf("refused with %T %v", err, err)
	}
	return told
}

// relayTestDial connects. An error is a *proto.Error if the relay told it.
func relayTestDial(t testing.TB, addr string, cred *relayTestCred, takes string) (*relayTestClient, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return relayTestHandshake(t, conn, &relayTestHandshakePlan{cred: cred, takes: takes})
}

// relayTestHandshakePlan is a handshake and where it goes wrong. Each function
// may change a line before it is sent.
type relayTestHandshakePlan struct {
	cred    *relayTestCred
	takes   string
	ciphers []string
	line1   func([]byte) []byte
	hello   func(*hello)
	sealed  func([]byte) []byte // what is sealed of hello
	line3   func([]byte) []byte
}

func relayTestHandshake(t testing.TB, conn net.Conn, plan *relayTestHandshakePlan) (*relayTestClient, error) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(relayTestTimeout))
	lines := proto.NewLineReader(conn)
	ciphers := plan.ciphers
	if ciphers == nil {
		ciphers = crypto.SuiteNames()
	}
	random := make([]byte, proto.RandomSize)
	rand.Read(random)
	line1 := canon.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: ciphers, Data: random})
	if plan.line1 != nil {
		line1 = plan.line1(line1)
	}
	if _, err := conn.Write(append(bytes.Clone(line1), '\n')); err != nil {
		return nil, err
	}
	transcript := crypto.NewConnect(line1)

	line2, err := lines.ReadLine(proto.MaxHandshakeLine)
	if err != nil {
		return nil, err
	}
	var p2 proto.Connect2
	if err := proto.ReadConnect(line2, 2, &p2); err != nil {
		return nil, err
	}
	key, err := crypto.ParsePublicKey(p2.PublicKey)
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
	h := hello{Name: plan.cred.bundle.Name, Takes: plan.takes, Bundle: plan.cred.bundle}
	h.Signature = plan.cred.key.Sign(transcript.ClientSigns(h.Name, h.Bundle.Hash()))
	if plan.hello != nil {
		plan.hello(&h)
	}
	sealed := canon.MustMarshal(&h)
	if plan.sealed != nil {
		sealed = plan.sealed(sealed)
	}
	line3 := canon.MustMarshal(&proto.Connect3{Type: proto.TypeConnect, Phase: 3, Data: enc, Payload: transcript.SealHello(sealed)})
	if plan.line3 != nil {
		line3 = plan.line3(line3)
	}
	if _, err := conn.Write(append(bytes.Clone(line3), '\n')); err != nil {
		return nil, err
	}
	transcript.Line3(line3)

	line4, err := lines.ReadLine(proto.MaxHandshakeLine)
	if err != nil {
		return nil, err
	}
	var p4 proto.Connect4
	if err := proto.ReadConnect(line4, 4, &p4); err != nil {
		return nil, err
	}
	line4 = bytes.Clone(line4)
	opened, err := transcript.OpenWelcome(p4.Payload)
	if err != nil {
		return nil, err
	}
	var w proto.Welcome
	if err := canon.Unmarshal(opened, &w); err != nil {
		return nil, err
	}
	if w.Error != nil {
		return nil, w.Error
	}
	if w.Done != "ok" || !proto.ValidConnID(w.ID) {
		return nil, fmt.Errorf("welcome %s", opened)
	}
	c := &relayTestClient{t: t, conn: conn, lines: lines, cred: plan.cred, id: w.ID, name: h.Name}
	c.send, c.recv = transcript.Finish(line4)
	return c, nil
}

func (c *relayTestClient) close() { c.conn.Close() }

// line seals a payload as the next secure line.
func (c *relayTestClient) line(payload []byte) []byte {
	s := lineSealer{hop: c.send}
	return s.append(nil, payload)
}

// write sends raw bytes.
func (c *relayTestClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("%s writes: %v", c.name, err)
	}
}

// say sends a header and body, and returns the number of its line.
func (c *relayTestClient) say(h *proto.Header, body []byte) uint64 {
	c.t.Helper()
	seq := c.send.Seq()
	c.write(c.line(proto.AppendPayload(nil, canon.MustMarshal(h), nil, body)))
	return seq
}

// ask sends a request signed by K.
func (c *relayTestClient) ask(h *proto.Header) uint64 {
	c.t.Helper()
	seq := c.send.Seq()
	header := canon.MustMarshal(h)
	c.write(c.line(proto.AppendPayload(nil, header, c.cred.key.Sign(c.send.RequestSigns(seq, header)), nil)))
	return seq
}

// to sends a client-com to another client.
func (c *relayTestClient) to(dst *relayTestClient, body string) uint64 {
	c.t.Helper()
	return c.say(&proto.Header{Type: proto.TypeClientCom, Dst: dst.name, DstID: dst.id}, []byte(body))
}

// read returns the next line from the relay.
func (c *relayTestClient) read() (relayTestMessage, error) {
	line, err := c.lines.ReadLine(proto.MaxLine)
	if err != nil {
		return relayTestMessage{}, err
	}
	_, payload, err := openLine(c.recv, line)
	if err != nil {
		return relayTestMessage{}, err
	}
	header, signature, body, err := proto.SplitPayload(payload)
	if err != nil {
		return relayTestMessage{}, err
	}
	if signature != nil {
		return relayTestMessage{}, fmt.Errorf("the relay signed %s", header)
	}
	h, err := proto.ParseRelayHeader(header)
	return relayTestMessage{h, bytes.Clone(body)}, err
}

// next is read that fails the test on an error.
func (c *relayTestClient) next() relayTestMessage {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatalf("%s reads: %v", c.name, err)
	}
	return m
}

// want reads the next line and fails the test unless it is of that type.
func (c *relayTestClient) want(typ string) relayTestMessage {
	c.t.Helper()
	m := c.next()
	if m.Type != typ {
		c.t.Fatalf("%s got %s, want a %s", c.name, canon.MustMarshal(m.Header), typ)
	}
	return m
}

// wantError reads the next line and fails the test unless it is that error.
func (c *relayTestClient) wantError(code proto.Code) relayTestMessage {
	c.t.Helper()
	m := c.want(proto.TypeError)
	if m.Code != code {
		c.t.Fatalf("%s got error %s (%s), want %s", c.name, m.Code, m.Message, code)
	}
	return m
}

// wantClosed fails the test unless the relay closes the connection next.
func (c *relayTestClient) wantClosed() {
	c.t.Helper()
	if m, err := c.read(); err == nil {
		c.t.Fatalf("%s got %s, want the end", c.name, canon.MustMarshal(m.Header))
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatalf("%s: the relay does not close", c.name)
	}
}

// list asks for a list and returns "name takes" of all, joined by commas.
func (c *relayTestClient) list(name string) string {
	c.t.Helper()
	c.ask(&proto.Header{Type: proto.TypeList, Name: name})
	return c.listed(c.want(proto.TypeList))
}

func (c *relayTestClient) listed(m relayTestMessage) string {
	c.t.Helper()
	var all []proto.Listed
	if err := canon.Unmarshal(m.body, &all); err != nil {
		c.t.Fatal(err)
	}
	words := make([]string, len(all))
	for i, l := range all {
		words[i] = l.Name + " " + l.Takes
	}
	return strings.Join(words, ",")
}
