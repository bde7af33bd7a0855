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
	// MaxHalfOpen bounds all of them. Each holds a descriptor, a goroutine and at
	// most a handshake line, some 80 KiB: 160 MiB, not counted in maxHeld.
	MaxHalfOpen = 2048
	// MaxHalfOpenAddr bounds those of one address, or of one IPv6 /64, which
	// belongs to one machine. Many people may share an address.
	MaxHalfOpenAddr = 1024
	// DebtorsPart is the part of the places that all debtors together may have.
	DebtorsPart = 4
	// patience is the least time for which a visitor waits, or keeps the relay waiting,
	// before a newcomer takes its place. It is longer than a round trip to the
	// other side of the world, and bounds the pause in accepting. A debtor gives its place
	// to any other at once.
	patience = 500 * time.Millisecond
)

// halfOpen holds the connections in their handshake, in the order of their
// coming. At a bound, the visitor that has waited or been waited for longest must
// go, a debtor first: silent connections cannot keep others out. Where none has done so for
// long, the newcomer waits, unless the bound is of its own address or of debtors: then it must
// go, and others need not wait behind it.
type halfOpen struct {
	max, maxAddr int
	turns        *turns
	room         chan struct{} // capacity 1: a visitor has left

	mu    sync.Mutex // guards the fields below and the visitors
	order list.List  // of *visitor
}

var tooMany = proto.Errorf(proto.Busy, "too many connections are in their handshake; try again")

// visitor is one connection in the handshake.
type visitor struct {
	socket net.Conn
	half   *halfOpen
	addr   *account

	// Guarded by half.mu.
	place   *list.Element // nil once it has left
	waiting time.Time     // start of a wait for its bytes or for its turn; zero while there is none
	wake    func()        // ends the wait for its turn
	evicted proto.Code    // why it must go; "" while it may stay
}

func newHalfOpen(max, maxAddr int, turns *turns) *halfOpen {
	return &halfOpen{max: max, maxAddr: maxAddr, turns: turns, room: make(chan struct{}, 1)}
}

// enter admits a connection, once there is room. It returns nil if ctx ends first, or if
// the newcomer has to go.
func (h *halfOpen) enter(ctx context.Context, socket net.Conn) *visitor {
	v := &visitor{socket: socket, half: h, addr: h.turns.enter(prefix(socket)), wake: func() {}}
	for {
		wait, full := h.tryEnter(v)
		if wait == 0 {
			return v
		}
		if !full {
			select {
			case <-h.room:
				continue
			case <-time.After(wait):
				continue
			case <-ctx.Done():
			}
		}
		h.turns.leave(v.addr)
		return nil
	}
}

// tryEnter admits v and returns 0, or returns the longest time until there is
// room, or that v has to go.
func (h *halfOpen) tryEnter(v *visitor) (wait time.Duration, full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	debtor := h.turns.owes(v.addr, now)
	if crowded, full, victim := h.crowdedLocked(v, debtor, now); crowded {
		if victim == nil {
			return patience, full
		}
		kept := now.Sub(victim.waiting)
		if kept < patience && (debtor || !h.turns.owes(victim.addr, now)) {
			return patience - kept, full
		}
		h.evictLocked(victim, proto.Busy)
	}
	v.place = h.order.PushBack(v)
	v.waiting = now
	return 0, false
}

// crowdedLocked reports whether v can only come in another's place, whether it has to go
// where nobody gives way, and who gives way first, if anybody.
func (h *halfOpen) crowdedLocked(v *visitor, debtor bool, now time.Time) (crowded, full bool, victim *visitor) {
	most := h.max / DebtorsPart
	if h.order.Len() < min(most, h.maxAddr) {
		return false, false, nil
	}
	var all, debtors, ofAddr class
	for e := h.order.Front(); e != nil; e = e.Next() {
		other := e.Value.(*visitor)
		all.add(other)
		if h.turns.owes(other.addr, now) {
			debtors.add(other)
		}
		if other.addr == v.addr {
			ofAddr.add(other)
		}
	}
	switch {
	case ofAddr.size >= h.maxAddr:
		return true, true, ofAddr.longest
	case debtor && debtors.size >= most:
		return true, true, debtors.longest
	case all.size < h.max:
		return false, false, nil
	case debtors.longest != nil:
		return true, debtor, debtors.longest
	}
	return true, debtor, all.longest
}

// class is a count of visitors, and the one of them that waits longest.
type class struct {
	size    int
	longest *visitor
}

func (c *class) add(v *visitor) {
	c.size++
	if !v.waiting.IsZero() && (c.longest == nil || v.waiting.Before(c.longest.waiting)) {
		c.longest = v
	}
}

func (h *halfOpen) evictLocked(v *visitor, why proto.Code) {
	v.evicted = why
	v.socket.SetDeadline(time.Unix(1, 0)) // wakes its goroutine, which tells the visitor and closes
	v.wake()
	h.removeLocked(v)
}

func (h *halfOpen) removeLocked(v *visitor) {
	if v.place == nil {
		return
	}
	h.order.Remove(v.place)
	v.place = nil
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
	v.half.turns.leave(v.addr)
	v.half.mu.Lock()
	defer v.half.mu.Unlock()
	v.half.removeLocked(v)
}

// wakes notes the way to end the visitor's wait for a turn.
func (v *visitor) wakes(wake func()) {
	v.half.mu.Lock()
	defer v.half.mu.Unlock()
	v.wake = wake
}

// waits notes whether the visitor now waits for its turn, or keeps the relay waiting for
// its bytes. Only during such a wait may it be sent away. The error says that it was.
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
