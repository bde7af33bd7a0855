package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
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
	ctx        context.Context // ends in time for a last word, or when the relay stops
	transcript *crypto.Connect
	suite      crypto.Suite
	sealed     bool          // errors can be sealed from now on
	name       string        // for the log; set once the visitor has proved its K
	hello      *crypto.Hello // set with the name
	person     *trust.Person // set once the identity is proved, even if the relay does not serve it
	cost       int           // of a failure, to the visitor's address; 0 before there was work and once it is charged
}

// greet is the goroutine of a visitor. The connection's reader is a goroutine of
// its own, because the handshake needs much more stack.
func (r *Relay) greet(v *visitor) {
	defer v.leave()
	deadline := time.Now().Add(r.cfg.handshakeTimeout)
	ctx, cancel := context.WithDeadline(r.running, deadline.Add(-lastWord))
	defer cancel()
	v.wakes(cancel)
	v.socket.SetDeadline(deadline)
	h := &handshake{relay: r, visitor: v, socket: v.socket, lines: proto.NewLineReader(v.socket), ctx: ctx}
	c, err := h.run()
	h.lines.Close()
	if err != nil {
		h.charge(err)
		h.refuse(err) // seals under the handshake's secret, so before Erase
	}
	if h.transcript != nil {
		h.transcript.Erase()
	}
	if err != nil {
		return
	}
	level := slog.LevelInfo
	if h.person.Revocation.Status == trust.RevocationUnknown {
		level = slog.LevelWarn
	}
	r.residents.write(c.identity, level, r.log, "connected", "name", c.name, "conn", c.id,
		"addr", v.socket.RemoteAddr().String(), "takes", c.takes, slog.Group("", logRevocation(h.person.Revocation)...))
	// The connection has a new and small LineReader. The old one can hold at most
	// a blank line, since the client could not seal a line before line 4.
	r.conns.Go(c.serve)
}

// run is the handshake from top to bottom, under one deadline and with the cheap
// checks first. Its error is either for the visitor or from the socket.
func (h *handshake) run() (*conn, error) {
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
	version := h.relay.identities.version.Load()
	c, err := h.identify(key, line3, &p3)
	if err != nil {
		return nil, err
	}

	// Phase 4: welcome. The name is stored before that, and outside of work: no
	// worker waits for the disk.
	if err := h.relay.names.claim(c.name, c.identity); err != nil {
		return nil, err
	}
	c.letters = h.relay.letters.name(c.identity, h.hello, c.authorities)
	if err := h.relay.hub.add(c); err != nil {
		return nil, err
	}
	if h.relay.identities.version.Load() != version {
		c.checkAgain.Store(0) // the check of all may have missed it
	}
	line4 := h.welcome(&proto.Welcome{Done: "ok", ID: c.id})
	c.recv, c.send = h.transcript.Finish(line4)
	if _, err := h.socket.Write(append(line4, '\n')); err != nil {
		c.end(ending{reason: "lost in the handshake", drop: true})
	}
	c.start()
	h.relay.letters.collect(c, h.hello.Collects)
	return c, nil
}

// answer is phase 2.
func (h *handshake) answer(suite crypto.Suite) (key crypto.KEMKey, err error) {
	spki := h.relay.key.Public().SPKI()
	var signature []byte
	if suite.Name() != crypto.SuiteMLKEM {
		if key, err = h.rareKey(suite); err != nil {
			return nil, err
		}
	}
	err = h.work(func() (err error) {
		if key == nil {
			h.cost = 1
			key, err = h.relay.cfg.Key(h.ctx, suite)
		}
		if err == nil {
			signature = h.relay.key.Sign(h.transcript.RelaySigns(suite.Name(), key.Public(), spki))
		}
		return err
	})
	if err != nil {
		if key != nil {
			key.Erase()
		}
		return nil, err
	}
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

// rareKey waits for one of the few RSA keys. One visitor of an address waits at a time, so
// the addresses get keys in turn.
func (h *handshake) rareKey(suite crypto.Suite) (key crypto.KEMKey, err error) {
	if err := h.visitor.waits(true); err != nil {
		return nil, err
	}
	err = proto.Errorf(proto.Busy, "no key of that cipher suite was ready in time; try again")
	select {
	case h.visitor.addr.key <- struct{}{}:
		if h.relay.turns.owes(h.visitor.addr, time.Now()) {
			err = proto.Errorf(proto.Busy, "your address has taken too many keys of that cipher suite; try again later")
		} else if ready, failed := h.relay.cfg.Key(h.ctx, suite); failed == nil {
			key, err, h.cost = ready, nil, RSAFailure
		}
		<-h.visitor.addr.key
	case <-h.ctx.Done():
	}
	if evicted := h.visitor.waits(false); evicted != nil {
		err = evicted
	}
	if err = h.relay.orStopping(err); err != nil && key != nil {
		key.Erase()
	}
	return key, err
}

// identify opens phase 3 and verifies the client's certificate and delegation.
// Where these need a revocation list that is being fetched, it waits for it, without a
// worker.
func (h *handshake) identify(key crypto.KEMKey, line3 []byte, p3 *proto.Connect3) (*conn, error) {
	var hi *crypto.Hello
	var k *trust.PublicKey
	var person *trust.Person
	err := h.work(func() (err error) {
		if hi, k, err = h.open(key, line3, p3); err == nil {
			person, err = h.relay.verify(hi.Bundle, hi.Name)
		}
		return err
	})
	for errors.Is(err, fetch.ErrFetching) && fetch.Await(h.ctx, err) {
		err = h.work(func() (err error) {
			person, err = h.relay.verify(hi.Bundle, hi.Name)
			return err
		})
	}
	h.person = person
	if err != nil {
		return nil, err
	}
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
	if !k.Verify(h.transcript.ClientSigns(hi), hi.Signature) {
		return nil, nil, proto.Errorf(proto.SignatureInvalid, "the client's signature does not hold")
	}
	if err := proto.CheckName(hi.Name); err != nil {
		return nil, nil, err
	}
	h.name, h.hello = hi.Name, hi
	return hi, k, nil
}

// welcome seals line 4.
func (h *handshake) welcome(w *proto.Welcome) []byte {
	return proto.MustMarshal(&proto.Connect4{
		Type: proto.TypeConnect, Phase: 4, Payload: h.transcript.SealWelcome(proto.MustMarshal(w)),
	})
}

// work does a part of the handshake that is costly, in turn with other addresses. It
// charges a failure before the next part of the address's work.
func (h *handshake) work(part func() error) error {
	if err := h.visitor.waits(true); err != nil {
		return err
	}
	turn, err := h.relay.turns.take(h.ctx, h.visitor.addr, h.cost > 0)
	if err == nil {
		defer h.relay.turns.give(turn)
	}
	if evicted := h.visitor.waits(false); evicted != nil {
		return evicted
	}
	if err != nil {
		return h.relay.orStopping(proto.Errorf(proto.Busy, "too many handshakes at once; try again"))
	}
	if err = part(); err != nil && !errors.Is(err, fetch.ErrFetching) {
		h.charge(err)
	}
	return err
}

// charge charges the visitor's address for a failed handshake, once. The relay's own
// faults cost nothing. A visitor that gave way to another is charged, or new ones would pay for
// the old.
func (h *handshake) charge(err error) {
	ours := []proto.Code{proto.Busy, proto.Shutdown, proto.Internal}
	if told := tellable(err); h.cost == 0 || told != nil && told != tooMany && slices.Contains(ours, told.Code) {
		return
	}
	h.relay.turns.fail(h.visitor.addr, h.cost)
	h.cost = 0
}

// verify verifies an identity in a goroutine of its own. A relay that stops leaves the
// work behind.
func (r *Relay) verify(b *trust.Bundle, name string) (*trust.Person, error) {
	type verdict struct {
		person *trust.Person
		err    error
	}
	done := make(chan verdict, 1)
	go func() {
		person, err := r.identities.verify(b, name)
		done <- verdict{person, err}
	}()
	select {
	case v := <-done:
		return v.person, v.err
	case <-r.running.Done():
		return nil, stopping()
	}
}

func stopping() error { return proto.Errorf(proto.Shutdown, "the relay is stopping") }

// orStopping returns the error, unless the relay's stop is behind it.
func (r *Relay) orStopping(err error) error {
	if r.running.Err() != nil {
		return stopping()
	}
	return err
}

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
	if h.person != nil {
		log = log.With("identity", proto.FormatHash(h.person.Identity))
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		err = proto.Errorf(proto.Timeout, "the handshake took longer than %v", h.relay.cfg.handshakeTimeout)
	}
	told := tellable(err)
	if told == nil {
		log.Debug("left in the handshake", "error", err)
		return
	}
	if h.hello != nil {
		h.relay.letters.refused(told, h.person, h.hello.Bundle)
	}
	if told.Code == proto.NotAllowed && h.person != nil {
		log = log.With("issuers", keysAbove(h.person))
	}
	h.relay.visitors.write(h.visitor.addr.addr, slog.LevelInfo, log, "refused",
		"code", told.Code, "reason", fail.AsError(err).Message)
	line := clearError(told)
	if h.sealed {
		line = append(h.welcome(&proto.Welcome{Error: told}), '\n')
	}
	h.socket.SetDeadline(time.Now().Add(lastWord))
	if _, err := h.socket.Write(line); err == nil && h.visitor.waits(true) == nil {
		farewell(h.socket, h.relay.atMost(linger))
	}
}

// keysAbove returns the hashes of the keys above a person, as -allow and -deny name them: the
// issuer's first, and not more than a bundle has.
func keysAbove(p *trust.Person) string {
	var keys []string
	for _, cert := range p.Path[1:min(len(p.Path), trust.MaxCertificates+1)] {
		keys = append(keys, proto.FormatHash(sha256.Sum256(cert.RawSubjectPublicKeyInfo)))
	}
	return strings.Join(keys, ",")
}

// clearError is the line that tells of an error before there is a key.
func clearError(told *proto.Error) []byte {
	return append(proto.MustMarshal(&proto.ClearError{Type: proto.TypeError, Code: told.Code, Message: told.Message}), '\n')
}

// tellable returns the part of an error that may cross the wire. It is nil for an
// error of the socket.
func tellable(err error) *proto.Error {
	if errors.Is(err, fetch.ErrFetching) {
		return proto.Errorf(proto.RevocationUnknown, "a revocation list about the certificate is being fetched: try again in a moment")
	}
	return fail.Told(err)
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
