package chatsecure

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"chatsecure/proto"
)

// The bounds on connections that have not said who they are.
const (
	// relayMaxHalfOpen bounds them together; each holds a descriptor, a
	// goroutine and at most a handshake line, some 80 KiB: 160 MiB, beside
	// what relayMaxHeld bounds.
	relayMaxHalfOpen = 2048
	// relayMaxHalfOpenAddr bounds those of one address, or of one IPv6 /64,
	// which one machine has to itself. Many people may share an address.
	relayMaxHalfOpenAddr = 1024
	// relayPatience is how long a visitor may keep the relay waiting before it
	// makes room for a new one, when there is no other: longer than the way to
	// the other side of the world and back. It bounds how long accepting waits.
	relayPatience = 500 * time.Millisecond
)

// relayHalfOpen is the connections in the handshake, in the order they came.
// When a bound is reached the one that has kept the relay waiting longest goes,
// so that nobody can keep others out by connecting and saying nothing.
type relayHalfOpen struct {
	max, maxAddr int
	room         chan struct{} // capacity 1: somebody left

	mu     sync.Mutex // guards what follows and the visitors
	order  list.List  // of *relayVisitor
	byAddr map[netip.Prefix]int
}

// relayVisitor is one connection in the handshake.
type relayVisitor struct {
	conn net.Conn
	half *relayHalfOpen
	addr netip.Prefix

	// Guarded by half.mu.
	place   *list.Element // nil once it left
	waiting time.Time     // since when the relay waits for its bytes; zero while it does not
	evicted proto.Code    // why it has to go, "" while it may stay
}

func newRelayHalfOpen(max, maxAddr int) *relayHalfOpen {
	return &relayHalfOpen{max: max, maxAddr: maxAddr, room: make(chan struct{}, 1), byAddr: make(map[netip.Prefix]int)}
}

// enter admits a connection, after making room for it if need be. It returns
// nil if ctx ends first.
func (h *relayHalfOpen) enter(ctx context.Context, conn net.Conn) *relayVisitor {
	v := &relayVisitor{conn: conn, half: h, addr: relayAddr(conn)}
	for {
		wait := h.tryEnter(v)
		if wait == 0 {
			return v
		}
		timer := time.NewTimer(wait)
		select {
		case <-h.room:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// tryEnter admits v and returns 0, or returns how long it will be at most
// until there is room.
func (h *relayHalfOpen) tryEnter(v *relayVisitor) (wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	fullAddr := h.byAddr[v.addr] >= h.maxAddr
	if fullAddr || h.order.Len() >= h.max {
		oldest := h.longestWaiting(v.addr, fullAddr)
		if oldest == nil {
			return relayPatience
		}
		if kept := now.Sub(oldest.waiting); kept < relayPatience {
			return relayPatience - kept
		}
		h.evictLocked(oldest, proto.Busy)
	}
	v.place = h.order.PushBack(v)
	v.waiting = now
	h.byAddr[v.addr]++
	return 0
}

// longestWaiting returns who has kept the relay waiting longest, of one
// address or of all.
func (h *relayHalfOpen) longestWaiting(addr netip.Prefix, ofAddr bool) *relayVisitor {
	var found *relayVisitor
	for e := h.order.Front(); e != nil; e = e.Next() {
		v := e.Value.(*relayVisitor)
		if v.waiting.IsZero() || ofAddr && v.addr != addr {
			continue
		}
		if found == nil || v.waiting.Before(found.waiting) {
			found = v
		}
	}
	return found
}

func (h *relayHalfOpen) evictLocked(v *relayVisitor, why proto.Code) {
	v.evicted = why
	v.conn.SetDeadline(time.Unix(1, 0)) // wakes its goroutine, which tells it and closes
	h.removeLocked(v)
}

func (h *relayHalfOpen) removeLocked(v *relayVisitor) {
	if v.place == nil {
		return
	}
	h.order.Remove(v.place)
	v.place = nil
	if h.byAddr[v.addr]--; h.byAddr[v.addr] == 0 {
		delete(h.byAddr, v.addr)
	}
	select {
	case h.room <- struct{}{}:
	default:
	}
}

// close sends everybody away, for a shutdown.
func (h *relayHalfOpen) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.order.Len() > 0 {
		h.evictLocked(h.order.Front().Value.(*relayVisitor), proto.Shutdown)
	}
}

// leave ends the visit: the handshake is over, whichever way.
func (v *relayVisitor) leave() {
	v.half.mu.Lock()
	defer v.half.mu.Unlock()
	v.half.removeLocked(v)
}

// waits says whether the relay now waits for the visitor's bytes; only then
// may the visitor be sent away. The error says that it was.
func (v *relayVisitor) waits(yes bool) error {
	v.half.mu.Lock()
	defer v.half.mu.Unlock()
	switch {
	case v.evicted == proto.Shutdown:
		return proto.Errorf(proto.Shutdown, "the relay is stopping")
	case v.evicted != "":
		return proto.Errorf(v.evicted, "too many connections are in their handshake; try again")
	case yes:
		v.waiting = time.Now()
	default:
		v.waiting = time.Time{}
	}
	return nil
}

// readLine reads the visitor's next line.
func (v *relayVisitor) readLine(lines *proto.LineReader) ([]byte, error) {
	if err := v.waits(true); err != nil {
		return nil, err
	}
	line, err := lines.ReadLine(proto.MaxHandshakeLine)
	if evicted := v.waits(false); evicted != nil {
		return nil, evicted
	}
	return line, err
}

// relayAddr is what connections are counted by.
func relayAddr(conn net.Conn) netip.Prefix {
	var addr netip.Addr
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		addr = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no IP address: all such are counted as one
	}
	return prefix
}
