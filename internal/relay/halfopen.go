package relay

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"chatsecure/proto"
)

// The bounds on connections without a proved identity.
const (
	// maxHalfOpen bounds all of them. Each holds a descriptor, a goroutine and at
	// most a handshake line, some 80 KiB: 160 MiB, not counted in maxHeld.
	maxHalfOpen = 2048
	// maxHalfOpenAddr bounds those of one address, or of one IPv6 /64, which
	// belongs to one machine. Many people may share an address.
	maxHalfOpenAddr = 1024
	// patience is the least time for which a visitor may keep the relay waiting
	// before a newcomer takes its place. It is longer than a round trip to the
	// other side of the world, and bounds the pause in accepting.
	patience = 500 * time.Millisecond
)

// halfOpen holds the connections in their handshake, in the order of their
// coming. At a bound, the visitor that has kept the relay waiting longest must
// go: silent connections cannot keep others out. Where none has done so for long, the
// newcomer waits, unless its own address is full: then it must go, and others need
// not wait behind it.
type halfOpen struct {
	max, maxAddr int
	room         chan struct{} // capacity 1: a visitor has left

	mu     sync.Mutex // guards the fields below and the visitors
	order  list.List  // of *visitor
	byAddr map[netip.Prefix]int
}

var tooMany = proto.Errorf(proto.Busy, "too many connections are in their handshake; try again")

// visitor is one connection in the handshake.
type visitor struct {
	socket net.Conn
	half   *halfOpen
	addr   netip.Prefix

	// Guarded by half.mu.
	place   *list.Element // nil once it has left
	waiting time.Time     // start of the relay's wait for its bytes; zero while there is none
	evicted proto.Code    // why it must go; "" while it may stay
}

func newHalfOpen(max, maxAddr int) *halfOpen {
	return &halfOpen{max: max, maxAddr: maxAddr, room: make(chan struct{}, 1), byAddr: make(map[netip.Prefix]int)}
}

// enter admits a connection, once there is room. It returns nil if ctx ends first, or if
// the address is full.
func (h *halfOpen) enter(ctx context.Context, socket net.Conn) *visitor {
	v := &visitor{socket: socket, half: h, addr: prefix(socket)}
	for {
		wait, full := h.tryEnter(v)
		switch {
		case full:
			return nil
		case wait == 0:
			return v
		}
		select {
		case <-h.room:
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// tryEnter admits v and returns 0, or returns the longest time until there is
// room, or that the address is full.
func (h *halfOpen) tryEnter(v *visitor) (wait time.Duration, full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	fullAddr := h.byAddr[v.addr] >= h.maxAddr
	if fullAddr || h.order.Len() >= h.max {
		oldest := h.longestWaiting(v.addr, fullAddr)
		if oldest == nil {
			return patience, fullAddr
		}
		if kept := now.Sub(oldest.waiting); kept < patience {
			return patience - kept, fullAddr
		}
		h.evictLocked(oldest, proto.Busy)
	}
	v.place = h.order.PushBack(v)
	v.waiting = now
	h.byAddr[v.addr]++
	return 0, false
}

// longestWaiting returns the visitor that has kept the relay waiting longest, of
// one address or of all.
func (h *halfOpen) longestWaiting(addr netip.Prefix, ofAddr bool) *visitor {
	var found *visitor
	for e := h.order.Front(); e != nil; e = e.Next() {
		v := e.Value.(*visitor)
		if v.waiting.IsZero() || ofAddr && v.addr != addr {
			continue
		}
		if found == nil || v.waiting.Before(found.waiting) {
			found = v
		}
	}
	return found
}

func (h *halfOpen) evictLocked(v *visitor, why proto.Code) {
	v.evicted = why
	v.socket.SetDeadline(time.Unix(1, 0)) // wakes its goroutine, which tells the visitor and closes
	h.removeLocked(v)
}

func (h *halfOpen) removeLocked(v *visitor) {
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

// close sends every visitor away, for a shutdown.
func (h *halfOpen) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.order.Len() > 0 {
		h.evictLocked(h.order.Front().Value.(*visitor), proto.Shutdown)
	}
}

// leave ends the visit, after any end of the handshake.
func (v *visitor) leave() {
	v.half.mu.Lock()
	defer v.half.mu.Unlock()
	v.half.removeLocked(v)
}

// waits notes whether the relay now waits for the visitor's bytes. Only during
// such a wait may the visitor be sent away. The error says that it was.
func (v *visitor) waits(yes bool) error {
	v.half.mu.Lock()
	defer v.half.mu.Unlock()
	switch {
	case v.evicted == proto.Shutdown:
		return stopping()
	case v.evicted != "":
		return tooMany
	case yes:
		v.waiting = time.Now()
	default:
		v.waiting = time.Time{}
	}
	return nil
}

// readLine reads the visitor's next line.
func (v *visitor) readLine(lines *proto.LineReader) ([]byte, error) {
	if err := v.waits(true); err != nil {
		return nil, err
	}
	line, err := lines.ReadLine(proto.MaxHandshakeLine)
	if evicted := v.waits(false); evicted != nil {
		return nil, evicted
	}
	return line, err
}

// prefix returns the network by which a connection is counted. Connections without
// an IP address count as one network.
func prefix(socket net.Conn) netip.Prefix {
	var addr netip.Addr
	if tcp, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		addr = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
