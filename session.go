package chatsecure

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// A session is one connection of a client to the relay, from phase 4 on. Its
// reader goroutine opens lines and hands them to the engine; its writer
// goroutine seals what the engine queued. The engine numbers the lines.
type session struct {
	conn        net.Conn
	id          string // our connection id
	fingerprint string
	suite       string
	since       time.Time // before the relay knew of it, by the client's clock

	in   chan inbound  // closed when the reader ends
	done chan struct{} // closed when the session is over
	wg   sync.WaitGroup

	recv   *crypto.Hop // the reader's
	sealer lineSealer  // the writer's
	sends  *crypto.Hop // for RequestSigns only, which reads what does not change

	mu      sync.Mutex
	queue   []outLine
	bytes   int
	closing bool // the writer ends once the queue is empty
	err     error
	signal  chan struct{} // capacity 1
}

// outLine is one payload for the relay: its header and signature lines with
// their newlines, which may serve for many payloads, and its body.
type outLine struct{ head, body []byte }

// inbound is one payload from the relay. The body is the receiver's own copy.
type inbound struct {
	header *proto.Header
	body   []byte
}

// maxSendQueue bounds the bytes that wait for the writer. Windows keep it far
// below; beyond it the relay does not read at all.
const maxSendQueue = 64 << 20

// errAskRelay says that a person must look at the relay's fingerprint first.
type errAskRelay struct{ fingerprint string }

func (e *errAskRelay) Error() string { return "the relay's key is not known: " + e.fingerprint }

// relayCheck decides whether the relay's key is the one that is meant, before
// anything that names a person leaves.
type relayCheck func(fingerprint string) error

// dialFunc opens a connection, as net.Dialer.DialContext does.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// connect runs the connect handshake, phases 1 to 4, under one deadline.
func connect(ctx context.Context, dial dialFunc, addr string, ciphers []string, cred *Credential, takes string, check relayCheck) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, proto.HandshakeTimeout)
	defer cancel()
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, &Error{Code: proto.Lost, Message: fmt.Sprintf("the relay at %s cannot be reached: %v", addr, plainNetError(err)), Err: err}
	}
	s, err := handshake(ctx, conn, ciphers, cred, takes, check)
	if err != nil {
		conn.Close()
		var ne net.Error
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &ne):
			err = &Error{Code: proto.Lost, Message: fmt.Sprintf("the relay at %s closed the connection or fell silent during the handshake", addr), Err: err}
		}
		return nil, err
	}
	return s, nil
}

// plainNetError drops the address that the caller's sentence has already.
func plainNetError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func handshake(ctx context.Context, conn net.Conn, ciphers []string, cred *Credential, takes string, check relayCheck) (*session, error) {
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	lines := proto.NewLineReader(conn)

	// Phase 1: nothing that names a person.
	random := make([]byte, proto.RandomSize)
	rand.Read(random)
	line1 := canon.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: ciphers, Data: random})
	if err := writeLine(conn, line1); err != nil {
		return nil, err
	}
	transcript := crypto.NewConnect(line1)
	defer transcript.Erase()

	// Phase 2: the suite must be one of ours, the key must be the relay's own.
	line2, err := lines.ReadLine(proto.MaxHandshakeLine)
	if tooLong, ok := errors.AsType[*proto.Error](err); ok {
		return nil, &Error{Code: tooLong.Code, Message: "the answer is none of a relay's: " + tooLong.Message, Hint: "what answers there is probably no ChatSecure relay: is its HOST:PORT right (-relay)?", Err: err}
	}
	if err != nil {
		return nil, err
	}
	var p2 proto.Connect2
	if err := proto.ReadConnect(line2, 2, &p2); err != nil {
		return nil, err
	}
	suite := crypto.SuiteByName(p2.Cipher)
	if suite == nil || !slices.Contains(ciphers, p2.Cipher) {
		return nil, Errorf(proto.NoCommonSuite, "the relay chose a cipher suite that was not offered")
	}
	key, err := crypto.ParsePublicKey(p2.PublicKey)
	if err != nil {
		return nil, Errorf(proto.Malformed, "the relay's key cannot be used: %v", err)
	}
	if !key.Verify(transcript.RelaySigns(p2.Cipher, p2.Data, p2.PublicKey), p2.Signature) {
		return nil, Errorf(proto.SignatureInvalid, "the relay's signature does not hold: something between here and the relay changes what passes")
	}
	fingerprint := crypto.Fingerprint(p2.PublicKey)
	if err := check(fingerprint); err != nil {
		return nil, err
	}
	transcript.Line2(line2)

	// Phase 3: who we are, sealed.
	enc, err := transcript.Encapsulate(suite, p2.Data)
	if err != nil {
		return nil, Errorf(proto.Malformed, "the relay's KEM key cannot be used: %v", err)
	}
	h := hello{Name: cred.Bundle.Name, Takes: takes, Bundle: cred.Bundle}
	h.Signature = cred.Key.Sign(transcript.ClientSigns(h.Name, cred.Bundle.Hash()))
	line3 := canon.MustMarshal(&proto.Connect3{Type: proto.TypeConnect, Phase: 3, Data: enc, Payload: transcript.SealHello(canon.MustMarshal(&h))})
	if err := writeLine(conn, line3); err != nil {
		return nil, err
	}
	transcript.Line3(line3)

	// Phase 4: done, and our connection id, or an error.
	line4, err := lines.ReadLine(proto.MaxHandshakeLine)
	if err != nil {
		return nil, err
	}
	var p4 proto.Connect4
	if err := proto.ReadConnect(line4, 4, &p4); err != nil {
		return nil, err
	}
	line4 = slices.Clone(line4)
	opened, err := transcript.OpenWelcome(p4.Payload)
	if err != nil {
		return nil, Errorf(proto.DecryptFailed, "the relay's answer cannot be opened")
	}
	id, err := proto.ReadWelcome(opened)
	if err != nil {
		return nil, err
	}
	c2s, s2c := transcript.Finish(line4)
	conn.SetDeadline(time.Time{})
	s := &session{
		conn: conn, id: id, fingerprint: fingerprint, suite: p2.Cipher,
		in: make(chan inbound, 64), done: make(chan struct{}),
		recv: s2c, sealer: lineSealer{hop: c2s}, sends: c2s,
		signal: make(chan struct{}, 1),
	}
	s.wg.Go(func() { s.read(lines) })
	s.wg.Go(s.write)
	return s, nil
}

func writeLine(w io.Writer, line []byte) error {
	_, err := w.Write(append(slices.Clip(line), '\n'))
	return err
}

// read is the reader goroutine. It never waits for the writer.
func (s *session) read(lines *proto.LineReader) {
	defer close(s.in)
	defer lines.Close()
	defer s.recv.Erase()
	var armed time.Time
	seen := headerCache{}
	for {
		// Setting a deadline costs more than a line does; once a second is
		// exact enough for a minute and a half.
		if now := time.Now(); now.Sub(armed) > time.Second {
			s.conn.SetReadDeadline(now.Add(proto.LostAfter))
			armed = now
		}
		line, err := lines.ReadLine(proto.MaxLine)
		if err != nil {
			s.fail(err)
			return
		}
		_, payload, err := openLine(s.recv, line)
		if err != nil {
			s.fail(err)
			return
		}
		header, _, body, err := proto.SplitPayload(payload)
		if err == nil {
			var h *proto.Header
			if h, err = seen.parse(header); err == nil {
				select {
				case s.in <- inbound{h, slices.Clone(body)}:
					continue
				case <-s.done:
					return
				}
			}
		}
		s.fail(err)
		return
	}
}

// headerCache remembers the headers of client-com and comm-ack, which are the
// same bytes for every message of one peer's. What it returns is shared, and
// nobody changes it.
type headerCache map[string]*proto.Header

// maxCachedHeaders bounds a headerCache; beyond it the cache begins anew.
const maxCachedHeaders = 128

func (c headerCache) parse(b []byte) (*proto.Header, error) {
	if h, ok := c[string(b)]; ok {
		return h, nil
	}
	if h, ok := proto.ScanAck(b); ok {
		return h, nil
	}
	h, err := proto.ParseRelayHeader(b)
	if err == nil && (h.Type == proto.TypeClientCom || h.Type == proto.TypeCommAck) {
		if len(c) >= maxCachedHeaders {
			clear(c)
		}
		c[string(b)] = h
	}
	return h, err
}

// maxWrite is how many bytes one Write takes at the most.
const maxWrite = 256 << 10

// write is the writer goroutine: it takes all that is queued, seals it and
// writes it at once, so that a burst costs few system calls and a single line
// waits for nothing.
func (s *session) write() {
	defer s.sends.Erase() // RequestSigns uses none of its keys
	var out, payload []byte
	for {
		s.mu.Lock()
		queue, closing := s.queue, s.closing
		s.queue = nil
		s.mu.Unlock()
		for len(queue) > 0 {
			n := 0
			out = out[:0]
			for len(queue) > 0 && len(out) < maxWrite {
				payload = append(append(payload[:0], queue[0].head...), queue[0].body...)
				n += len(payload)
				out = s.sealer.append(out, payload)
				queue[0] = outLine{}
				queue = queue[1:]
			}
			s.conn.SetWriteDeadline(time.Now().Add(proto.LostAfter))
			if _, err := s.conn.Write(out); err != nil {
				s.fail(err)
				return
			}
			s.mu.Lock()
			s.bytes -= n
			s.mu.Unlock()
		}
		if cap(out) > 2*maxWrite {
			out = nil
		}
		if closing {
			// The relay reads to the end and closes; the reader sees that.
			if half, ok := s.conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				s.fail(nil)
			}
			return
		}
		select {
		case <-s.signal:
		case <-s.done:
			return
		}
	}
}

// send queues a payload. The engine alone calls it.
func (s *session) send(line outLine) {
	s.mu.Lock()
	s.queue = append(s.queue, line)
	s.bytes += len(line.head) + len(line.body)
	over := s.bytes > maxSendQueue
	s.mu.Unlock()
	if over {
		s.fail(Errorf(proto.Slow, "the relay takes nothing"))
	}
	s.wake()
}

func (s *session) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// finish lets the writer write what is queued and then ends the session.
func (s *session) finish() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.wake()
}

// fail ends the session, once. The first reason stays.
func (s *session) fail(err error) {
	s.mu.Lock()
	select {
	case <-s.done:
	default:
		s.err = err
		close(s.done)
		s.conn.Close()
	}
	s.mu.Unlock()
}

// reason returns why the session ended.
func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
