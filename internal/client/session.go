package client

import (
	"net"
	"slices"
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Session is one connection of a client to the relay, from phase 4 on. Its
// reader goroutine opens lines and hands them to the engine. Its writer
// goroutine seals what the engine queued. The engine numbers the lines.
type Session struct {
	ID string // our connection id
	// In has the lines from the relay. It is closed when the reader ends.
	In   chan Inbound
	Done chan struct{} // closed when the session is over

	conn        net.Conn
	fingerprint string
	suite       string
	collects    [][32]byte // the mailboxes whose letters come, the newest first
	since       time.Time  // before the relay knew of it, by the client's clock
	wg          sync.WaitGroup

	recv   *crypto.Hop       // the reader's
	sealer crypto.LineSealer // the writer's
	sends  *crypto.Hop       // for RequestSigns only, which reads what does not change

	mu      sync.Mutex
	queue   []outLine
	bytes   int
	closing bool // the writer ends once the queue is empty
	err     error
	signal  chan struct{} // capacity 1
}

// outLine is one payload for the relay: its header and signature lines with
// their newlines, which may serve for many payloads, and its body. The sealed bytes of
// a pipe cross as text beside it, and stand behind body in the memory lent for both.
type outLine struct{ head, body, sealed []byte }

// Inbound is one payload from the relay. The body is the receiver's own copy, and
// ends with the sealed bytes that crossed beside the payload.
type Inbound struct {
	Header *proto.Header
	Body   []byte
}

const (
	// maxSendQueue bounds the bytes that wait for the writer. The windows keep them
	// far below it, unless the relay reads nothing.
	maxSendQueue = 64 << 20
	// maxWrite bounds the bytes of one Write.
	maxWrite = 256 << 10
	// inboundLines bounds the lines that the reader is ahead of the engine.
	inboundLines = 64
)

func newSession(conn net.Conn, id string, c2s, s2c *crypto.Hop) *Session {
	return &Session{
		ID: id, In: make(chan Inbound, inboundLines), Done: make(chan struct{}), conn: conn,
		recv: s2c, sealer: crypto.LineSealer{Hop: c2s}, sends: c2s, signal: make(chan struct{}, 1),
	}
}

func (s *Session) start(lines *proto.LineReader) {
	s.wg.Go(func() {
		defer close(s.In)
		defer lines.Close()
		defer s.recv.Erase()
		s.Fail(s.read(lines)) // before In is closed: the engine then asks for the reason
	})
	s.wg.Go(s.write)
}

// read is the reader goroutine. It never waits for the writer. It returns the
// reason for its end, or nil if the session was over before.
func (s *Session) read(lines *proto.LineReader) error {
	var lost deadline
	seen := headerCache{}
	for {
		lost.renew(s.conn.SetReadDeadline)
		line, err := lines.ReadLine(proto.MaxLine)
		if err != nil {
			return err
		}
		_, payload, text, err := crypto.OpenLine(s.recv, line)
		if err != nil {
			return err
		}
		header, signature, body, err := proto.SplitPayload(payload)
		if err != nil {
			return err
		}
		h, err := seen.parse(header)
		if err != nil {
			return err
		}
		switch {
		case signature != nil:
			return proto.Errorf(proto.Malformed, "a %s with a signature", h.Type)
		case len(body) > 0 && h.Dst == "" && !slices.Contains(withBody, h.Type): // the relay's own
			return proto.Errorf(proto.Malformed, "a %s with a body", h.Type)
		case text != nil && h.Type != proto.TypeClientCom:
			return proto.Errorf(proto.Malformed, "a %s in a line with a body", h.Type)
		}
		select {
		case s.In <- Inbound{h, whole(body, text)}:
		case <-s.Done:
			return nil
		}
	}
}

// withBody has the types of the relay's own lines that may have a body.
var withBody = []string{proto.TypeList, proto.TypeLetterTo, proto.TypeLetter}

// deadline is when the relay counts as lost, unless it reads or writes before.
type deadline struct{ set time.Time }

// renew puts the deadline off. Setting one costs more than a line does. Once a second is
// exact enough for a minute and a half.
func (d *deadline) renew(set func(time.Time) error) {
	if now := time.Now(); now.Sub(d.set) > time.Second {
		set(now.Add(proto.LostAfter))
		d.set = now
	}
}

// whole returns a copy of a payload's body and of what the text beside it encodes. The
// sender made that text, so what is not base64 is the peer's fault and not the relay's:
// it is left out, and the message does not hold.
func whole(body, text []byte) []byte {
	if text == nil {
		return slices.Clone(body)
	}
	b := append(lendBuffer(len(body)+len(text)/4*3), body...)
	if decoded, ok := proto.DecodeBase64(b, text); ok {
		return decoded
	}
	return b
}

// write is the writer goroutine. It seals and writes the whole queue at once: a
// burst costs few system calls, and a single line does not wait.
func (s *Session) write() {
	defer s.sends.Erase() // RequestSigns uses none of its keys
	var buf writeBuffer
	for {
		s.mu.Lock()
		queue, closing := s.queue, s.closing
		s.queue = nil
		s.mu.Unlock()
		for len(queue) > 0 {
			n := buf.fill(&s.sealer, queue)
			queue = queue[n:]
			if err := s.writeSealed(&buf); err != nil {
				s.Fail(err)
				return
			}
		}
		if cap(buf.out) > 2*maxWrite {
			buf.out = nil
		}
		if closing {
			// The relay reads to the end and closes. The reader sees that.
			if half, ok := s.conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				s.Fail(nil)
			}
			return
		}
		select {
		case <-s.signal:
		case <-s.Done:
			return
		}
	}
}

// writeBuffer is the memory of the writer, used again for every Write.
type writeBuffer struct {
	payload []byte
	text    []byte // of a line's body
	out     []byte // sealed lines
	bytes   int    // of payloads and bodies in out
	lost    deadline
}

// fill seals lines for one Write, and says how many.
func (b *writeBuffer) fill(sealer *crypto.LineSealer, queue []outLine) int {
	b.out, b.bytes = b.out[:0], 0
	n := 0
	for ; n < len(queue) && len(b.out) < maxWrite; n++ {
		l := queue[n]
		b.payload = append(append(b.payload[:0], l.head...), l.body...)
		b.text = proto.AppendBase64(b.text[:0], l.sealed)
		b.bytes += len(b.payload) + len(l.sealed)
		b.out = sealer.Append(b.out, b.payload, b.text)
		if l.sealed != nil {
			giveBack(l.body)
		}
		queue[n] = outLine{} // for the garbage collector
	}
	return n
}

func (s *Session) writeSealed(b *writeBuffer) error {
	b.lost.renew(s.conn.SetWriteDeadline)
	if _, err := s.conn.Write(b.out); err != nil {
		return err
	}
	s.mu.Lock()
	s.bytes -= b.bytes
	s.mu.Unlock()
	return nil
}

// Send queues a payload, and what crosses beside it. The engine alone calls it.
func (s *Session) Send(head, body, sealed []byte) {
	s.mu.Lock()
	s.queue = append(s.queue, outLine{head, body, sealed})
	s.bytes += len(head) + len(body) + len(sealed)
	over := s.bytes > maxSendQueue
	s.mu.Unlock()
	if over {
		s.Fail(fail.Errorf(proto.Slow, "the relay takes nothing"))
	}
	poke(s.signal)
}

// finish lets the writer write the queue and then ends the session.
func (s *Session) finish() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	poke(s.signal)
}

// Fail ends the session, once. The first reason stays.
func (s *Session) Fail(err error) {
	s.mu.Lock()
	select {
	case <-s.Done:
	default:
		s.err = err
		close(s.Done)
		s.conn.Close()
	}
	s.mu.Unlock()
}

// Wait waits until reader and writer have ended.
func (s *Session) Wait() { s.wg.Wait() }

// Reason returns why the session ended.
func (s *Session) Reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// headerCache keeps the parsed headers of client-com and comm-ack: they are the
// same bytes for every message of a peer's. Its results are shared and never
// changed.
type headerCache map[string]*proto.Header

// maxCachedHeaders bounds a headerCache; beyond it the cache starts again.
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
