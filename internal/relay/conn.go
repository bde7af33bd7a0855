package relay

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// client is the other end of a connection, as its handshake proved it. Only the
// hub's add changes it.
type client struct {
	id       string
	name     string // in this connection's own spelling
	folded   string
	takes    string
	identity [32]byte
	key      *trust.PublicKey // K
	bundle   *trust.Bundle    // its certificates are shared with other connections
	since    time.Time
	letters  bool   // its device takes letters
	listed   []byte // its entry in a list, encoded
	person   *person
}

// conn is the connection of one client from connect phase 4 on. Its reader
// goroutine opens lines and carries them out. A writer goroutine, which exists
// while something is queued, seals and writes. Neither ever waits for another
// connection.
type conn struct {
	client
	relay  *Relay
	socket net.Conn

	// Owned by the reader.
	lines       *proto.LineReader
	recv        *crypto.Hop
	routes      map[string]*route // by destination id
	routesSwept int               // at this many, findRoute looks for dead ones
	bytesIn     uint64

	// Owned by the writer. Successive writers hand it on through queue.active.
	send     *crypto.Hop
	bytesOut uint64

	queue queue

	collector *collector // of letters; nil for none. It is set before the reader begins

	// In seconds of the relay's clock.
	heard   atomic.Int64 // the last line came
	wrote   atomic.Int64 // the client took the last bytes
	writing atomic.Int64 // the current Write began; 0 while there is none

	reading atomic.Int64 // bytes of a line that is not complete

	authorities [][32]byte   // above its certificate, by the SHA-256 of the SPKI
	checkAgain  atomic.Int64 // Unix time of the first expiry in its identity

	// Guarded by hub.mu.
	partners map[*conn]struct{}  // connections that it has exchanged messages with
	shares   map[[32]byte]*share // of each identity that has sent to it
	watches  map[string]struct{} // folded names

	endMu  sync.Mutex
	ending *ending     // nil while it lives; the first one counts
	ended  atomic.Bool // ending is set
}

// ending is the reason why a connection ends, and the manner.
type ending struct {
	reason  string       // for the log
	tell    *proto.Error // the last line; nil for none
	answers *uint64      // the line that tell answers
	drop    bool         // the queue is not sent: the client does not read, or is gone
	stalled bool         // nothing can be told: the socket takes nothing
}

const (
	// goodbye bounds the time in which an ending connection may read its queue.
	goodbye = 5 * time.Second
	// linger bounds the wait, after the last line, until the client closes.
	// After an immediate close the system could discard that line if bytes of
	// the client's are still unread.
	linger = 2 * time.Second
)

func newConn(r *Relay, socket net.Conn, hi *crypto.Hello, key *trust.PublicKey, person *trust.Person) *conn {
	c := &conn{
		client: client{
			id: newID(), name: hi.Name, folded: proto.FoldName(hi.Name), takes: hi.Takes,
			identity: person.Identity, key: key, bundle: hi.Bundle, since: r.cfg.Now(),
		},
		relay: r, socket: socket,
	}
	all := authoritiesOf(person)
	c.authorities = slices.Clone(all[:min(len(all), maxAuthorities)])
	now := r.seconds.Load()
	c.heard.Store(now)
	c.wrote.Store(now)
	c.checkAgain.Store(checkTime(person))
	// As if a writer were at work: nothing may be written before line 4.
	c.queue.active = true
	c.queue.done = make(chan struct{})
	c.queue.memory = r.memory
	c.lines = proto.NewLineReader(c)
	return c
}

// newID draws a connection id. With 64 random bits, no id repeats in a relay's
// life.
func newID() string {
	var b [proto.ConnIDLen / 2]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// start allows writing. Line 4 has been written.
func (c *conn) start() {
	c.endMu.Lock()
	if c.ending == nil {
		c.socket.SetDeadline(time.Time{})
	}
	c.endMu.Unlock()
	c.startWriter()
}

func (c *conn) startWriter() { c.relay.conns.Go(c.write) }

// serve is the reader goroutine: it carries out one line after the other until
// the connection ends. Ten thousand connections wait here for a line. Other
// steps keep their variables in functions of their own, so that this stack stays
// small.
func (c *conn) serve() {
	for c.serveLine(c.lines.ReadLine(proto.MaxLine)) {
	}
	c.finish()
}

// serveLine carries out one line. It returns false once the connection ends.
func (c *conn) serveLine(line []byte, err error) bool {
	if err != nil {
		c.end(readEnding(err))
		return false
	}
	if c.ended.Load() {
		return false
	}
	c.bytesIn += uint64(len(line)) + 1
	c.heard.Store(c.relay.seconds.Load())
	seq, payload, text, err := crypto.OpenLine(c.recv, line)
	if err != nil {
		c.end(readEnding(err))
		return false
	}
	if err := c.dispatch(seq, payload, text); err != nil {
		ending := readEnding(err)
		answers := seq
		ending.answers = &answers
		c.end(ending)
		return false
	}
	return true
}

// Read is the input of the connection's LineReader. It counts the bytes of a
// line that is not complete.
func (c *conn) Read(p []byte) (int, error) {
	holding := int64(c.lines.Holding())
	if before := c.reading.Swap(holding); before != holding {
		c.relay.memory.add(int(holding - before))
	}
	return c.socket.Read(p)
}

// finish takes an ended connection out of the hub, waits for its writer and
// closes it.
func (c *conn) finish() {
	c.relay.letters.left(c)
	c.relay.hub.leave(c)
	c.lines.Close()
	<-c.queue.done
	if !c.ending.stalled {
		farewell(c.socket, c.relay.atMost(linger))
	}
	c.socket.Close()
	c.relay.memory.add(-int(c.reading.Swap(0)))
	c.queue.letGo()
	c.routes = nil // other routes to this connection keep no further one alive
	c.recv.Erase()
	c.send.Erase()
	c.relay.residents.write(c.identity, slog.LevelInfo, c.relay.log, "left", "name", c.name, "conn", c.id,
		"reason", c.ending.reason, "in", c.bytesIn, "out", c.bytesOut,
		"duration", c.relay.cfg.Now().Sub(c.since).Round(time.Second))
}

// errLeft is the end that a client asked for.
var errLeft = errors.New("left")

func readEnding(err error) ending {
	if e, ok := errors.AsType[*proto.Error](err); ok {
		return ending{reason: string(e.Code) + ": " + e.Message, tell: e}
	}
	switch {
	case errors.Is(err, errLeft):
		return ending{reason: "left"}
	case errors.Is(err, crypto.ErrDecrypt):
		told := proto.Errorf(proto.DecryptFailed, "a line cannot be opened, or is not the next one")
		return ending{reason: "a line that does not open", tell: told}
	case errors.Is(err, io.EOF):
		return ending{reason: "closed by the client", drop: true}
	}
	return ending{reason: "lost: " + err.Error(), drop: true}
}

// end ends the connection, from any goroutine, once: the queue takes nothing
// more, the reader stops, and the writer writes the rest and the last line.
func (c *conn) end(e ending) {
	c.endMu.Lock()
	if c.ending != nil {
		c.endMu.Unlock()
		return
	}
	c.ending = &e
	c.ended.Store(true)
	c.socket.SetReadDeadline(time.Unix(1, 0))
	if e.stalled {
		c.socket.SetWriteDeadline(time.Unix(1, 0))
	} else {
		c.socket.SetWriteDeadline(time.Now().Add(c.relay.atMost(goodbye)))
	}
	c.endMu.Unlock()

	var last []byte
	if e.tell != nil && !e.stalled {
		last = errorPayload(e.tell, e.answers, "")
	}
	if c.queue.end(last, e.drop) {
		c.startWriter()
	}
}

// farewell closes our half and discards the client's last bytes, so that the
// last line arrives. Then the client closes.
func farewell(socket net.Conn, linger time.Duration) {
	half, ok := socket.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	socket.SetReadDeadline(time.Now().Add(linger))
	io.Copy(io.Discard, socket)
}
