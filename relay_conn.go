package chatsecure

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// relayConn is one client's connection from connect phase 4 on. Its reader
// goroutine opens lines and carries them out; a writer goroutine, which is
// there while something waits to be written, seals and writes. Neither ever
// waits for another connection's.
type relayConn struct {
	relay *Relay
	conn  net.Conn

	// Who it is. Nobody changes these.
	id       string
	name     string // in this connection's own spelling
	folded   string
	takes    string
	identity [32]byte
	key      *crypto.PublicKey // K
	bundle   *crypto.Bundle    // its certificates are shared with other connections
	since    time.Time
	listed   []byte // how it stands in a list, encoded; the hub's when it is added

	// The reader's.
	lines       *proto.LineReader
	recv        *crypto.Hop
	routes      map[string]*relayRoute // by destination id
	routesSwept int                    // at so many, those that lead nowhere go
	bytesIn     uint64

	// The writer's, handed from one to the next through queue.writing.
	send     *crypto.Hop
	bytesOut uint64

	queue relayQueue

	// In seconds of the relay's clock.
	heard   atomic.Int64 // when the last line came
	wrote   atomic.Int64 // when the last bytes were taken
	writing atomic.Int64 // since when a Write waits, 0 when none does

	reading atomic.Int64 // what waits for the rest of a line, in bytes

	checkAgain atomic.Int64 // Unix time at which what its identity rests on ends

	person *relayPerson // the hub's when it is added; nobody changes it then

	// Guarded by hub.mu.
	partners map[*relayConn]struct{}  // it has exchanged messages with these
	shares   map[[32]byte]*relayShare // of each identity that has sent to it
	watches  map[string]struct{}      // folded names

	endMu  sync.Mutex
	ending *relayEnding // nil while it lives; the first one counts
	ended  atomic.Bool  // ending is set
}

// relayEnding is why a connection ends.
type relayEnding struct {
	reason  string       // for the log
	tell    *proto.Error // the last line; nil for none
	answers *uint64      // the line that tell answers
	drop    bool         // what is queued is not worth sending: the client does not take it or is gone
	stalled bool         // nothing can be told: the socket takes nothing
}

const (
	// relayGoodbye is how long an ending connection may take to read what is
	// still queued for it: a relay that stops must get there.
	relayGoodbye = 5 * time.Second
	// relayLinger is how long the relay waits for the client to close first
	// after the last line. Closing at once could have the system throw that
	// line away, if bytes of the client's are unread.
	relayLinger = 2 * time.Second
)

func newRelayConn(r *Relay, conn net.Conn, hi *hello, key *crypto.PublicKey, person *crypto.Person) *relayConn {
	c := &relayConn{
		relay: r, conn: conn,
		id: newRelayConnID(), name: hi.Name, folded: proto.FoldName(hi.Name), takes: hi.Takes,
		identity: person.Identity, key: key, bundle: hi.Bundle, since: r.cfg.Now(),
	}
	now := r.seconds.Load()
	c.heard.Store(now)
	c.wrote.Store(now)
	c.checkAgain.Store(relayCheckTime(person))
	// As if a writer were at work: nothing may be written before line 4.
	c.queue.active = true
	c.queue.done = make(chan struct{})
	c.queue.memory = r.memory
	c.lines = proto.NewLineReader(c)
	return c
}

// start lets the writer go, after line 4.
func (c *relayConn) start() {
	c.endMu.Lock()
	if c.ending == nil {
		c.conn.SetDeadline(time.Time{})
	}
	c.endMu.Unlock()
	c.startWriter()
}

func (c *relayConn) startWriter() { c.relay.conns.Go(c.write) }

// serve is the reader goroutine: it carries out one line after the other until
// the connection ends. Ten thousand connections wait here for a line, so what
// else there is to do has its variables in functions of their own.
func (c *relayConn) serve() {
	for c.serveLine(c.lines.ReadLine(proto.MaxLine)) {
	}
	c.finish()
}

// serveLine carries out one line. It returns false when the connection ends.
func (c *relayConn) serveLine(line []byte, err error) bool {
	if err != nil {
		c.end(relayReadEnding(err))
		return false
	}
	if c.ended.Load() {
		return false
	}
	c.bytesIn += uint64(len(line)) + 1
	c.heard.Store(c.relay.seconds.Load())
	seq, payload, err := openLine(c.recv, line)
	if err != nil {
		c.end(relayReadEnding(err))
		return false
	}
	if err := c.dispatch(seq, payload); err != nil {
		ending := relayReadEnding(err)
		answers := seq
		ending.answers = &answers
		c.end(ending)
		return false
	}
	return true
}

// finish takes a connection that has ended out of the hub, waits for its
// writer and closes it.
func (c *relayConn) finish() {
	c.relay.hub.leave(c)
	c.lines.Close()
	<-c.queue.done
	if !c.ending.stalled {
		relayFarewell(c.conn)
	}
	c.conn.Close()
	c.relay.memory.add(-int(c.reading.Swap(0)))
	c.queue.letGo()
	c.routes = nil // who still has a way here keeps nobody else
	c.recv.Erase()
	c.send.Erase()
	c.relay.log.Info("left", "name", c.name, "conn", c.id, "reason", c.ending.reason, "in", c.bytesIn, "out", c.bytesOut,
		"duration", c.relay.cfg.Now().Sub(c.since).Round(time.Second))
}

// errRelayLeft is the end that a client asked for.
var errRelayLeft = errors.New("left")

func relayReadEnding(err error) relayEnding {
	if e, ok := errors.AsType[*proto.Error](err); ok {
		return relayEnding{reason: string(e.Code) + ": " + e.Message, tell: e}
	}
	switch {
	case errors.Is(err, errRelayLeft):
		return relayEnding{reason: "left"}
	case errors.Is(err, crypto.ErrDecrypt):
		return relayEnding{reason: "a line that does not open", tell: proto.Errorf(proto.DecryptFailed, "a line cannot be opened, or is not the next one")}
	case errors.Is(err, io.EOF):
		return relayEnding{reason: "closed by the client", drop: true}
	}
	return relayEnding{reason: "lost: " + err.Error(), drop: true}
}

// end ends the connection, from any goroutine, once: nothing more is queued for
// it, its reader stops, its writer writes what is left and the last line.
func (c *relayConn) end(e relayEnding) {
	c.endMu.Lock()
	if c.ending != nil {
		c.endMu.Unlock()
		return
	}
	c.ending = &e
	c.ended.Store(true)
	c.conn.SetReadDeadline(time.Unix(1, 0))
	if e.stalled {
		c.conn.SetWriteDeadline(time.Unix(1, 0))
	} else {
		c.conn.SetWriteDeadline(time.Now().Add(relayGoodbye))
	}
	c.endMu.Unlock()

	var last []byte
	if e.tell != nil && !e.stalled {
		last = relayErrorPayload(e.tell, e.answers, "")
	}
	if c.queue.end(last, e.drop) {
		c.startWriter()
	}
}

// relayFarewell closes our half and reads what still comes, so that the last
// line arrives; then it is the client's turn to close.
func relayFarewell(conn net.Conn) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	conn.SetReadDeadline(time.Now().Add(relayLinger))
	io.Copy(io.Discard, conn)
}
