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
	// Check decides whether the key with this fingerprint is the relay's,
	// before anything that names a person leaves.
	Check func(fingerprint string) error
}

// Connect dials the relay and runs the Connect handshake of PROTOCOL.md, phases
// 1 to 4, under one deadline. The errors are *fail.Error, *proto.Error, and those of Check.
func (r *Relay) Connect(ctx context.Context, cred *state.Credential, takes string) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, proto.HandshakeTimeout)
	defer cancel()
	conn, err := r.Dial(ctx, "tcp", r.Addr)
	if err != nil {
		return nil, lostError(err, "the relay at %s cannot be reached: %v", r.Addr, plainNetError(err))
	}
	s, err := r.Handshake(ctx, conn, cred, takes)
	if err == nil {
		return s, nil
	}
	conn.Close()
	var ne net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne) {
		err = lostError(err, "the relay at %s closed the connection or fell silent during the handshake", r.Addr)
	}
	return nil, err
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

// Handshake runs phases 1 to 4 on a connection that is open. The deadline is that of
// ctx. It leaves conn open when it fails.
func (r *Relay) Handshake(ctx context.Context, conn net.Conn, cred *state.Credential, takes string) (*Session, error) {
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	lines := proto.NewLineReader(conn)

	// Phase 1: nothing that names a person.
	random := make([]byte, proto.RandomSize)
	rand.Read(random)
	line1 := proto.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: r.Ciphers, Data: random})
	if err := proto.WriteLine(conn, line1); err != nil {
		return nil, err
	}
	transcript := crypto.NewConnect(line1)
	defer transcript.Erase()

	// Phase 2: the relay proves itself.
	line2, err := readProof(lines)
	if err != nil {
		return nil, err
	}
	p2, err := r.checkProof(transcript, line2)
	if err != nil {
		return nil, err
	}
	transcript.Line2(line2)

	// Phase 3: the client proves itself, sealed.
	enc, err := transcript.Encapsulate(p2.suite, p2.Data)
	if err != nil {
		return nil, fail.Errorf(proto.Malformed, "the relay's KEM key cannot be used: %v", err)
	}
	h := crypto.Hello{Name: cred.Bundle.Name, Takes: takes, Bundle: cred.Bundle}
	h.Signature = cred.Key.Sign(transcript.ClientSigns(h.Name, cred.Bundle.Hash()))
	sealed := transcript.SealHello(proto.MustMarshal(&h))
	line3 := proto.MustMarshal(&proto.Connect3{Type: proto.TypeConnect, Phase: 3, Data: enc, Payload: sealed})
	if err := proto.WriteLine(conn, line3); err != nil {
		return nil, err
	}
	transcript.Line3(line3)

	// Phase 4: done, and our connection id, or an error.
	line4, id, err := readWelcome(transcript, lines)
	if err != nil {
		return nil, err
	}
	c2s, s2c := transcript.Finish(line4)
	conn.SetDeadline(time.Time{})
	s := newSession(conn, id, c2s, s2c)
	s.fingerprint, s.suite = p2.fingerprint, p2.Cipher
	s.start(lines)
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

// proof is a phase 2 that has been checked.
type proof struct {
	proto.Connect2
	suite       crypto.Suite
	fingerprint string // of the relay's key
}

// checkProof checks phase 2: the suite must be one of ours, the signature must
// hold, and the key must be the relay's own.
func (r *Relay) checkProof(transcript *crypto.Connect, line2 []byte) (*proof, error) {
	var p proof
	if err := proto.ReadConnect(line2, 2, &p.Connect2); err != nil {
		return nil, err
	}
	p.suite = crypto.SuiteByName(p.Cipher)
	if p.suite == nil || !slices.Contains(r.Ciphers, p.Cipher) {
		return nil, fail.Errorf(proto.NoCommonSuite, "the relay chose a cipher suite that was not offered")
	}
	key, err := trust.ParsePublicKey(p.PublicKey)
	if err != nil {
		return nil, fail.Errorf(proto.Malformed, "the relay's key cannot be used: %v", err)
	}
	if !key.Verify(transcript.RelaySigns(p.Cipher, p.Data, p.PublicKey), p.Signature) {
		return nil, fail.Errorf(proto.SignatureInvalid,
			"the relay's signature does not hold: something between here and the relay changes the traffic")
	}
	p.fingerprint = trust.Fingerprint(p.PublicKey)
	if err := r.Check(p.fingerprint); err != nil {
		return nil, err
	}
	return &p, nil
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
