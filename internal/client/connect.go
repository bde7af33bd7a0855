package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Relay is a relay to connect to.
type Relay struct {
	Addr    string // HOST:PORT
	Dial    DialFunc
	Ciphers []string // allowed suites, best first
}

// Greeting is a connection to a relay that has proved to have the key with this fingerprint: the
// Connect handshake of PROTOCOL.md is at the end of phase 2. Nothing that names a person has left.
type Greeting struct {
	Fingerprint string

	addr, suite string
	conn        net.Conn
	lines       *proto.LineReader
	transcript  *crypto.Connect
	enc         []byte // for phase 3
	release     func() // of the deadline of all phases
}

// Greet dials the relay and runs phases 1 and 2. The time for the whole handshake begins, and ends
// early with ctx. The errors are *fail.Error and *proto.Error. The caller closes the Greeting, or goes
// on with Prove.
func (r *Relay) Greet(ctx context.Context) (*Greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, proto.HandshakeTimeout)
	conn, err := r.Dial(ctx, "tcp", r.Addr)
	if err != nil {
		cancel()
		return nil, lostError(err, "the relay at %s cannot be reached: %v", r.Addr, plainNetError(err))
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	g := &Greeting{
		addr: r.Addr, conn: conn, lines: proto.NewLineReader(conn), release: func() { stop(); cancel() },
	}
	if err := g.begin(r.Ciphers); err != nil {
		return nil, g.failed(err)
	}
	return g, nil
}

// Close hangs up.
func (g *Greeting) Close() {
	g.release()
	g.conn.Close()
	if g.transcript != nil {
		g.transcript.Erase()
	}
}

// failed hangs up, and returns the error to tell.
func (g *Greeting) failed(err error) error {
	g.Close()
	var ne net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne) {
		err = lostError(err, "the relay at %s closed the connection or fell silent during the handshake", g.addr)
	}
	return err
}

// plainNetError drops the address that the caller's sentence has already.
func plainNetError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// lostError is a loss of the relay with its cause.
func lostError(cause error, format string, args ...any) *fail.Error {
	err := fail.Errorf(proto.Lost, format, args...)
	err.Err = cause
	return err
}

// begin runs phases 1 and 2.
func (g *Greeting) begin(ciphers []string) error {
	// Phase 1: nothing that names a person.
	random := make([]byte, proto.RandomSize)
	rand.Read(random)
	line1 := proto.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: ciphers, Data: random})
	if err := proto.WriteLine(g.conn, line1); err != nil {
		return err
	}
	g.transcript = crypto.NewConnect(line1)

	// Phase 2: the relay proves itself.
	line2, err := readProof(g.lines)
	if err != nil {
		return err
	}
	p2, err := checkProof(g.transcript, ciphers, line2)
	if err != nil {
		return err
	}
	g.transcript.Line2(line2)
	g.Fingerprint, g.suite = trust.Fingerprint(p2.PublicKey), p2.Cipher
	if g.enc, err = g.transcript.Encapsulate(crypto.SuiteByName(p2.Cipher), p2.Data); err != nil {
		return fail.Errorf(proto.Malformed, "the relay's KEM key cannot be used: %v", err)
	}
	return nil
}

// Mailboxes are a client's own, as it tells a relay: the key of the one that its bundle names,
// and those whose letters it collects, the newest first. The zero value is for a client without
// letters.
type Mailboxes struct {
	Key      []byte
	Collects [][32]byte
}

// Prove runs phases 3 and 4. check decides whether the key with this fingerprint is the relay's, before
// anything that names a person leaves. The errors are those of Greet and of check.
func (g *Greeting) Prove(cred *state.Credential, takes string, own Mailboxes, check func(fingerprint string) error) (*Session, error) {
	s, err := g.prove(cred, takes, own, check)
	if err != nil {
		return nil, g.failed(err)
	}
	g.release()
	g.transcript.Erase()
	g.conn.SetDeadline(time.Time{})
	s.start(g.lines)
	return s, nil
}

func (g *Greeting) prove(cred *state.Credential, takes string, own Mailboxes, check func(string) error) (*Session, error) {
	if err := check(g.Fingerprint); err != nil {
		return nil, err
	}
	// Phase 3: the client proves itself, sealed.
	h := crypto.Hello{
		Name: cred.Bundle.Name, Takes: takes, Bundle: cred.Bundle,
		Mailbox: append([]byte{}, own.Key...), Collects: make([][]byte, len(own.Collects)),
	}
	for i := range own.Collects {
		h.Collects[i] = own.Collects[i][:]
	}
	h.Signature = cred.Key.Sign(g.transcript.ClientSigns(&h))
	sealed := g.transcript.SealHello(proto.MustMarshal(&h))
	line3 := proto.MustMarshal(&proto.Connect3{Type: proto.TypeConnect, Phase: 3, Data: g.enc, Payload: sealed})
	if err := proto.WriteLine(g.conn, line3); err != nil {
		return nil, err
	}
	g.transcript.Line3(line3)

	// Phase 4: done, and our connection id, or an error.
	line4, id, err := readWelcome(g.transcript, g.lines)
	if err != nil {
		return nil, err
	}
	c2s, s2c := g.transcript.Finish(line4)
	s := newSession(g.conn, id, c2s, s2c)
	s.fingerprint, s.suite, s.collects = g.Fingerprint, g.suite, own.Collects
	return s, nil
}

// readProof reads phase 2. A line that is too long for it comes from no relay.
func readProof(lines *proto.LineReader) ([]byte, error) {
	line2, err := lines.ReadLine(proto.MaxHandshakeLine)
	if tooLong, ok := errors.AsType[*proto.Error](err); ok {
		return nil, &fail.Error{
			Code: tooLong.Code, Message: "the answer is not a relay's: " + tooLong.Message, Err: err,
			Hint: "this is probably no ChatSecure relay: is its HOST:PORT right (-relay)?",
		}
	}
	return line2, err
}

// checkProof checks phase 2: the suite must be one of ours, and the signature must hold.
func checkProof(transcript *crypto.Connect, ciphers []string, line2 []byte) (p proto.Connect2, err error) {
	if err := proto.ReadConnect(line2, 2, &p); err != nil {
		return p, err
	}
	if crypto.SuiteByName(p.Cipher) == nil || !slices.Contains(ciphers, p.Cipher) {
		return p, fail.Errorf(proto.NoCommonSuite, "the relay chose a cipher suite that was not offered")
	}
	key, err := trust.ParsePublicKey(p.PublicKey)
	if err != nil {
		return p, fail.Errorf(proto.Malformed, "the relay's key cannot be used: %v", err)
	}
	if !key.Verify(transcript.RelaySigns(p.Cipher, p.Data, p.PublicKey), p.Signature) {
		return p, fail.Errorf(proto.SignatureInvalid,
			"the relay's signature does not hold: something between here and the relay changes the traffic")
	}
	return p, nil
}

// readWelcome reads phase 4. It returns the line and our connection id.
func readWelcome(transcript *crypto.Connect, lines *proto.LineReader) (line4 []byte, id string, err error) {
	line4, err = lines.ReadLine(proto.MaxHandshakeLine)
	if err != nil {
		return nil, "", err
	}
	var p4 proto.Connect4
	if err := proto.ReadConnect(line4, 4, &p4); err != nil {
		return nil, "", err
	}
	line4 = slices.Clone(line4)
	opened, err := transcript.OpenWelcome(p4.Payload)
	if err != nil {
		return nil, "", fail.Errorf(proto.DecryptFailed, "the relay's answer cannot be opened")
	}
	id, refusal, err := proto.ReadWelcome(opened)
	if refusal != nil {
		err = refusedByRelay(refusal)
	}
	return line4, id, err
}
