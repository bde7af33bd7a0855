package chatsecure

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// relayHandshake is the connect handshake of one visitor, PROTOCOL.md,
// "Connect", seen from the relay.
type relayHandshake struct {
	relay      *Relay
	visitor    *relayVisitor
	conn       net.Conn
	lines      *proto.LineReader
	deadline   time.Time
	transcript *crypto.Connect
	suite      crypto.Suite
	sealed     bool   // there is a key to seal an error under
	name       string // once the visitor has proved to hold its K; for the log
	revocation []any  // what the log says of it, once it is let in
}

// greet is the goroutine of a visitor. What the handshake needs of stack goes
// with it: the connection's reader is a goroutine of its own.
func (r *Relay) greet(v *relayVisitor) {
	defer v.leave()
	h := &relayHandshake{
		relay: r, visitor: v, conn: v.conn, lines: proto.NewLineReader(v.conn),
		deadline: time.Now().Add(r.cfg.patience),
	}
	c, err := h.run()
	h.lines.Close()
	if err != nil {
		h.refuse(err) // sealed under the handshake's secret, so before it is erased
	}
	if h.transcript != nil {
		h.transcript.Erase()
	}
	if err != nil {
		return
	}
	r.log.Info("connected", "name", c.name, "conn", c.id, "addr", v.conn.RemoteAddr().String(), "takes", c.takes, slog.Group("", h.revocation...))
	// Its LineReader is a new one, small and without what a client has sent
	// before it could have known what to: at most a blank line.
	r.conns.Go(c.serve)
}

// run is the handshake from top to bottom, under one deadline and the cheap
// checks first. The error is what the visitor is told, or that of its socket.
func (h *relayHandshake) run() (*relayConn, error) {
	h.conn.SetDeadline(h.deadline)
	if h.relay.hub.full() {
		return nil, relayFull(h.relay.cfg.MaxConns)
	}

	// Phase 1: which suites the client has.
	line1, err := h.visitor.readLine(h.lines)
	if err != nil {
		return nil, err
	}
	var p1 proto.Connect1
	if err := proto.ReadConnect(line1, 1, &p1); err != nil {
		return nil, err
	}
	suite := crypto.ChooseSuite(p1.Ciphers, h.relay.cfg.Ciphers)
	if suite == nil {
		return nil, proto.Errorf(proto.NoCommonSuite, "none of the cipher suites offered is allowed here")
	}
	h.transcript = crypto.NewConnect(line1)

	// Phase 2: the key of this handshake, signed by the relay's own.
	key, err := h.answer(suite)
	if err != nil {
		return nil, err
	}
	defer key.Erase()

	// Phase 3: who the client is, sealed.
	line3, err := h.visitor.readLine(h.lines)
	if err != nil {
		return nil, err
	}
	var p3 proto.Connect3
	if err := proto.ReadConnect(line3, 3, &p3); err != nil {
		return nil, err
	}
	if err := h.startWork(); err != nil {
		return nil, err
	}
	hi, k, err := h.open(key, line3, &p3)
	var person *crypto.Person
	if err == nil {
		person, err = h.relay.trust.verify(hi.Bundle, hi.Name)
	}
	h.endWork()
	if errors.Is(err, errFetching) {
		person, err = h.awaitLists(hi)
	}
	if err != nil {
		return nil, err
	}
	if person.Revocation.Status == crypto.RevocationUnknown {
		h.relay.log.Warn("let in, though its revocation is not known", "name", h.name, "reason", person.Revocation.Reason)
	}
	h.revocation = relayLogRevocation(person.Revocation)
	c := newRelayConn(h.relay, h.conn, hi, k, person)

	// Phase 4: welcome. The name is stored before, and no worker waits for the
	// disk.
	if err := h.relay.names.claim(c.name, c.identity); err != nil {
		return nil, err
	}
	if err := h.relay.hub.add(c); err != nil {
		return nil, err
	}
	line4 := h.welcome(&proto.Welcome{Done: "ok", ID: c.id})
	c.recv, c.send = h.transcript.Finish(line4)
	if _, err := h.conn.Write(append(line4, '\n')); err != nil {
		c.end(relayEnding{reason: "lost in the handshake", drop: true})
	}
	c.start()
	return c, nil
}

// answer is phase 2.
func (h *relayHandshake) answer(suite crypto.Suite) (crypto.KEMKey, error) {
	if err := h.startWork(); err != nil {
		return nil, err
	}
	key, ok := h.relay.cfg.readyKey(suite)
	if !ok {
		h.endWork()
		return nil, proto.Errorf(proto.Busy, "no key of that cipher suite is ready; try again")
	}
	spki := h.relay.key.Public().SPKI()
	signature := h.relay.key.Sign(h.transcript.RelaySigns(suite.Name(), key.Public(), spki))
	h.endWork()
	line2 := canon.MustMarshal(&proto.Connect2{
		Type: proto.TypeConnect, Phase: 2, Cipher: suite.Name(),
		Data: key.Public(), PublicKey: spki, Signature: signature,
	})
	h.transcript.Line2(line2)
	h.suite = suite
	if _, err := h.conn.Write(append(line2, '\n')); err != nil {
		key.Erase()
		return nil, err
	}
	return key, nil
}

// open opens phase 3 and checks all that needs no certificate.
func (h *relayHandshake) open(key crypto.KEMKey, line3 []byte, p3 *proto.Connect3) (*hello, *crypto.PublicKey, error) {
	unopened := proto.Errorf(proto.DecryptFailed, "what connect phase 3 seals cannot be opened")
	if err := h.transcript.Decapsulate(h.suite, key, p3.Data); err != nil {
		return nil, nil, unopened
	}
	h.transcript.Line3(line3)
	opened, err := h.transcript.OpenHello(p3.Payload)
	if err != nil {
		return nil, nil, unopened
	}
	h.sealed = true

	hi, err := readHello(opened)
	if err != nil {
		return nil, nil, err
	}
	k, err := crypto.ParsePublicKey(hi.Bundle.PublicKey)
	if err != nil {
		return nil, nil, proto.Errorf(proto.BundleMalformed, "the client's key cannot be used: %v", err)
	}
	// Whoever makes the relay build a chain has at least signed for it.
	if !k.Verify(h.transcript.ClientSigns(hi.Name, hi.Bundle.Hash()), hi.Signature) {
		return nil, nil, proto.Errorf(proto.SignatureInvalid, "the client's signature does not hold")
	}
	if err := proto.CheckName(hi.Name); err != nil {
		return nil, nil, err
	}
	h.name = hi.Name
	return hi, k, nil
}

// awaitLists verifies a client again once what its revocation depends on has
// been fetched. It leaves time to tell that it was not.
func (h *relayHandshake) awaitLists(hi *hello) (*crypto.Person, error) {
	ctx, cancel := context.WithDeadline(context.Background(), h.deadline.Add(-relayLastWord))
	defer cancel()
	t := h.relay.trust
	return t.fetcher.VerifyWait(ctx, t.verifier, hi.Bundle, hi.Name)
}

// welcome seals line 4.
func (h *relayHandshake) welcome(w *proto.Welcome) []byte {
	return canon.MustMarshal(&proto.Connect4{
		Type: proto.TypeConnect, Phase: 4, Payload: h.transcript.SealWelcome(canon.MustMarshal(w)),
	})
}

// startWork waits for a processor to compute on, no longer than the handshake
// may take. endWork gives it back.
func (h *relayHandshake) startWork() error {
	timer := time.NewTimer(time.Until(h.deadline))
	defer timer.Stop()
	select {
	case h.relay.workers <- struct{}{}:
		return nil
	case <-timer.C:
		return proto.Errorf(proto.Busy, "too many handshakes at once; try again")
	}
}

func (h *relayHandshake) endWork() { <-h.relay.workers }

// relayLastWord is how long telling an error may take. The line is short and
// fits any socket's buffer.
const relayLastWord = time.Second

// refuse tells the visitor why, sealed if there is a key, and closes. What
// went wrong with the socket itself cannot be told.
func (h *relayHandshake) refuse(err error) {
	defer h.conn.Close()
	log := h.relay.log.With("addr", h.conn.RemoteAddr().String())
	if h.name != "" {
		log = log.With("name", h.name)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		err = proto.Errorf(proto.Timeout, "the handshake took longer than %v", h.relay.cfg.patience)
	}
	told := relayError(err)
	if told == nil {
		log.Debug("left in the handshake", "error", err)
		return
	}
	log.Info("refused", "code", told.Code, "reason", told.Message)
	var line []byte
	if h.sealed {
		line = h.welcome(&proto.Welcome{Error: told})
	} else {
		line = canon.MustMarshal(&proto.ClearError{Type: proto.TypeError, Code: told.Code, Message: told.Message})
	}
	h.conn.SetDeadline(time.Now().Add(relayLastWord))
	if _, err := h.conn.Write(append(line, '\n')); err == nil && h.visitor.waits(true) == nil {
		relayFarewell(h.conn)
	}
}

// relayError returns what crosses the wire for an error, or nil for one that
// is about the socket and not about what came through it.
func relayError(err error) *proto.Error {
	if e, ok := errors.AsType[*proto.Error](err); ok {
		return e
	}
	// Hints are for whoever runs the side that checked, not for the client.
	if e, ok := errors.AsType[*crypto.TrustError](err); ok {
		return relayTold(e.Code, e.Reason)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return relayTold(e.Code, e.Message)
	}
	return nil
}

func relayTold(code proto.Code, reason string) *proto.Error {
	return &proto.Error{Code: code, Message: clip(reason, proto.MaxMessage)}
}

// relayLogRevocation is what the log says of a revocation status: where it is
// not known, why not, which is about lists and nobody's name.
func relayLogRevocation(r crypto.RevocationResult) []any {
	fields := []any{"revocation", string(r.Status)}
	for _, cert := range r.Certificates {
		if r.Status == crypto.RevocationUnknown && cert.Status == crypto.RevocationUnknown {
			return append(fields, "reason", cert.Reason)
		}
	}
	return fields
}

// newRelayConnID draws a connection id. With 64 random bits none comes twice
// in a relay's life.
func newRelayConnID() string {
	var b [proto.ConnIDLen / 2]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
