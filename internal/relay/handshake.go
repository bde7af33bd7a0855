package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// handshake is the connect handshake of one visitor: PROTOCOL.md, "Connect", seen
// from the relay.
type handshake struct {
	relay      *Relay
	visitor    *visitor
	socket     net.Conn
	lines      *proto.LineReader
	deadline   time.Time
	transcript *crypto.Connect
	suite      crypto.Suite
	sealed     bool   // errors can be sealed from now on
	name       string // for the log; set once the visitor has proved its K
	revocation []any  // for the log; set once the visitor is let in
}

// greet is the goroutine of a visitor. The connection's reader is a goroutine of
// its own, because the handshake needs much more stack.
func (r *Relay) greet(v *visitor) {
	defer v.leave()
	h := &handshake{
		relay: r, visitor: v, socket: v.socket, lines: proto.NewLineReader(v.socket),
		deadline: time.Now().Add(r.cfg.handshakeTimeout),
	}
	c, err := h.run()
	h.lines.Close()
	if err != nil {
		h.refuse(err) // seals under the handshake's secret, so before Erase
	}
	if h.transcript != nil {
		h.transcript.Erase()
	}
	if err != nil {
		return
	}
	r.log.Info("connected", "name", c.name, "conn", c.id, "addr", v.socket.RemoteAddr().String(), "takes", c.takes,
		slog.Group("", h.revocation...))
	// The connection has a new and small LineReader. The old one can hold at most
	// a blank line, since the client could not seal a line before line 4.
	r.conns.Go(c.serve)
}

// run is the handshake from top to bottom, under one deadline and with the cheap
// checks first. Its error is either for the visitor or from the socket.
func (h *handshake) run() (*conn, error) {
	h.socket.SetDeadline(h.deadline)
	if h.relay.hub.full() {
		return nil, full(h.relay.cfg.MaxConns)
	}

	// Phase 1: the client's suites.
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

	// Phase 3: the client's identity, sealed.
	line3, err := h.visitor.readLine(h.lines)
	if err != nil {
		return nil, err
	}
	var p3 proto.Connect3
	if err := proto.ReadConnect(line3, 3, &p3); err != nil {
		return nil, err
	}
	c, err := h.identify(key, line3, &p3)
	if err != nil {
		return nil, err
	}

	// Phase 4: welcome. The name is stored before that, and outside of startWork
	// and endWork: no worker waits for the disk.
	if err := h.relay.names.claim(c.name, c.identity); err != nil {
		return nil, err
	}
	if err := h.relay.hub.add(c); err != nil {
		return nil, err
	}
	line4 := h.welcome(&proto.Welcome{Done: "ok", ID: c.id})
	c.recv, c.send = h.transcript.Finish(line4)
	if _, err := h.socket.Write(append(line4, '\n')); err != nil {
		c.end(ending{reason: "lost in the handshake", drop: true})
	}
	c.start()
	return c, nil
}

// answer is phase 2.
func (h *handshake) answer(suite crypto.Suite) (crypto.KEMKey, error) {
	if err := h.startWork(); err != nil {
		return nil, err
	}
	key, ok := h.relay.cfg.ReadyKey(suite)
	if !ok {
		h.endWork()
		return nil, proto.Errorf(proto.Busy, "no key of that cipher suite is ready; try again")
	}
	spki := h.relay.key.Public().SPKI()
	signature := h.relay.key.Sign(h.transcript.RelaySigns(suite.Name(), key.Public(), spki))
	h.endWork()
	line2 := proto.MustMarshal(&proto.Connect2{
		Type: proto.TypeConnect, Phase: 2, Cipher: suite.Name(),
		Data: key.Public(), PublicKey: spki, Signature: signature,
	})
	h.transcript.Line2(line2)
	h.suite = suite
	if _, err := h.socket.Write(append(line2, '\n')); err != nil {
		key.Erase()
		return nil, err
	}
	return key, nil
}

// identify opens phase 3 and verifies the client's certificate and delegation.
// Where these need a revocation list that is being fetched, it waits for it.
func (h *handshake) identify(key crypto.KEMKey, line3 []byte, p3 *proto.Connect3) (*conn, error) {
	if err := h.startWork(); err != nil {
		return nil, err
	}
	hi, k, err := h.open(key, line3, p3)
	var person *trust.Person
	if err == nil {
		person, err = h.relay.identities.verify(hi.Bundle, hi.Name)
	}
	h.endWork()
	if errors.Is(err, fetch.ErrFetching) {
		person, err = h.awaitLists(hi)
	}
	if err != nil {
		return nil, err
	}
	if person.Revocation.Status == trust.RevocationUnknown {
		h.relay.log.Warn("let in, though its revocation is not known", "name", h.name, "reason", person.Revocation.Reason)
	}
	h.revocation = logRevocation(person.Revocation)
	return newConn(h.relay, h.socket, hi, k, person), nil
}

// open opens phase 3 and makes the checks that need no certificate.
func (h *handshake) open(key crypto.KEMKey, line3 []byte, p3 *proto.Connect3) (*crypto.Hello, *trust.PublicKey, error) {
	unopened := proto.Errorf(proto.DecryptFailed, "the sealed part of connect phase 3 cannot be opened")
	if err := h.transcript.Decapsulate(h.suite, key, p3.Data); err != nil {
		return nil, nil, unopened
	}
	h.transcript.Line3(line3)
	opened, err := h.transcript.OpenHello(p3.Payload)
	if err != nil {
		return nil, nil, unopened
	}
	h.sealed = true

	hi, err := crypto.ReadHello(opened)
	if err != nil {
		return nil, nil, err
	}
	k, err := trust.ParsePublicKey(hi.Bundle.PublicKey)
	if err != nil {
		return nil, nil, proto.Errorf(proto.BundleMalformed, "the client's key cannot be used: %v", err)
	}
	// The relay builds a chain only for a client that has signed.
	if !k.Verify(h.transcript.ClientSigns(hi.Name, hi.Bundle.Hash()), hi.Signature) {
		return nil, nil, proto.Errorf(proto.SignatureInvalid, "the client's signature does not hold")
	}
	if err := proto.CheckName(hi.Name); err != nil {
		return nil, nil, err
	}
	h.name = hi.Name
	return hi, k, nil
}

// awaitLists waits for the revocation lists of a client and verifies it again. It
// stops early enough to tell the client of a failure.
func (h *handshake) awaitLists(hi *crypto.Hello) (*trust.Person, error) {
	ctx, cancel := context.WithDeadline(context.Background(), h.deadline.Add(-lastWord))
	defer cancel()
	return h.relay.identities.verifyWait(ctx, hi.Bundle, hi.Name)
}

// welcome seals line 4.
func (h *handshake) welcome(w *proto.Welcome) []byte {
	return proto.MustMarshal(&proto.Connect4{
		Type: proto.TypeConnect, Phase: 4, Payload: h.transcript.SealWelcome(proto.MustMarshal(w)),
	})
}

// startWork waits for a processor, until the handshake's deadline. endWork gives
// it back.
func (h *handshake) startWork() error {
	select {
	case h.relay.workers <- struct{}{}:
		return nil
	case <-time.After(time.Until(h.deadline)):
		return proto.Errorf(proto.Busy, "too many handshakes at once; try again")
	}
}

func (h *handshake) endWork() { <-h.relay.workers }

// lastWord bounds the writing of an error. The line is short and fits any socket's
// buffer.
const lastWord = time.Second

// refuse tells the visitor the reason, sealed if there is a key, and closes. An
// error of the socket itself cannot be told.
func (h *handshake) refuse(err error) {
	defer h.socket.Close()
	log := h.relay.log.With("addr", h.socket.RemoteAddr().String())
	if h.name != "" {
		log = log.With("name", h.name)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		err = proto.Errorf(proto.Timeout, "the handshake took longer than %v", h.relay.cfg.handshakeTimeout)
	}
	told := tellable(err)
	if told == nil {
		log.Debug("left in the handshake", "error", err)
		return
	}
	log.Info("refused", "code", told.Code, "reason", told.Message)
	var line []byte
	if h.sealed {
		line = h.welcome(&proto.Welcome{Error: told})
	} else {
		line = proto.MustMarshal(&proto.ClearError{Type: proto.TypeError, Code: told.Code, Message: told.Message})
	}
	h.socket.SetDeadline(time.Now().Add(lastWord))
	if _, err := h.socket.Write(append(line, '\n')); err == nil && h.visitor.waits(true) == nil {
		farewell(h.socket)
	}
}

// tellable returns the part of an error that may cross the wire. It is nil for an
// error of the socket.
func tellable(err error) *proto.Error {
	if e, ok := errors.AsType[*proto.Error](err); ok {
		return e
	}
	// Hints are for the operator of the side that checked, not for the client.
	if e, ok := errors.AsType[*trust.Error](err); ok {
		return told(e.Code, e.Reason)
	}
	if e, ok := errors.AsType[*fail.Error](err); ok {
		return told(e.Code, e.Message)
	}
	return nil
}

func told(code proto.Code, reason string) *proto.Error {
	return &proto.Error{Code: code, Message: proto.Clip(reason, proto.MaxMessage)}
}

// logRevocation returns the fields that the log shows of a revocation status. The
// reason for an unknown status speaks of lists and names nobody.
func logRevocation(r trust.RevocationResult) []any {
	fields := []any{"revocation", string(r.Status)}
	for _, cert := range r.Certificates {
		if r.Status == trust.RevocationUnknown && cert.Status == trust.RevocationUnknown {
			return append(fields, "reason", cert.Reason)
		}
	}
	return fields
}
