package relay

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"chatsecure/proto"
)

// maxPartners bounds the remembered partners of a connection, who are told of its
// end. Messages of further partners still pass, or talking to somebody could put
// him out of reach of others. These partners learn of the end from `gone`, when
// they next send.
const maxPartners = 4096

// hub holds the live connections. It is locked when connections come, leave, meet
// and ask, and never for a message between two that have met.
type hub struct {
	max, maxPerson int

	mu       sync.RWMutex // guards the fields below and the hub's fields of connections
	closed   bool
	conns    map[string]*conn              // by connection id
	order    []*conn                       // all, in the order of a list
	watched  map[string]map[*conn]struct{} // the watchers of each folded name
	watchers map[*conn]struct{}            // the watchers of all names
	people   map[[32]byte]*person          // the connected, and those who still owe for requests
	shared   certificates
}

func newHub(max, maxPerson int) *hub {
	return &hub{
		max: max, maxPerson: maxPerson,
		conns:   make(map[string]*conn),
		watched: make(map[string]map[*conn]struct{}), watchers: make(map[*conn]struct{}),
		people: make(map[[32]byte]*person),
		shared: make(certificates),
	}
}

// add takes a connection in and tells the watchers. A name has one identity at a
// time, even while a released name is still in use.
func (h *hub) add(c *conn) error {
	c.listed = proto.MustMarshal(&proto.Listed{
		Name: c.name, ID: c.id, Takes: c.takes, Since: c.since.Unix(), Identity: proto.FormatHash(c.identity),
		Letters: c.letters,
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return stopping()
	}
	if len(h.conns) >= h.max {
		return full(h.max)
	}
	if others := h.namedLocked(c.folded); len(others) > 0 && others[0].identity != c.identity {
		return taken(c.name)
	}
	p := h.people[c.identity]
	if p == nil {
		p = new(person)
		h.people[c.identity] = p
	}
	if p.conns >= h.maxPerson {
		return proto.Errorf(proto.Busy,
			"you have %d connections, which is as many as the relay takes of one person; end one of them", h.maxPerson)
	}
	p.conns++
	c.person = p
	c.bundle = h.shared.hold(c.bundle)
	h.conns[c.id] = c
	at, _ := slices.BinarySearchFunc(h.order, c, listOrder)
	h.order = slices.Insert(h.order, at, c)
	h.tellWatchers(c, proto.Came)
	return nil
}

// leave takes a connection out and tells its watchers and its partners.
func (h *hub) leave(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns[c.id] != c {
		return
	}
	delete(h.conns, c.id)
	if at, ok := slices.BinarySearchFunc(h.order, c, listOrder); ok {
		h.order = slices.Delete(h.order, at, at+1)
	}
	c.person.conns--
	h.unwatch(c)
	h.shared.drop(c.bundle)
	gone := proto.UnsignedPayload(&proto.Header{Type: proto.TypeDisconnect, Src: c.name, SrcID: c.id})
	for p := range c.partners {
		delete(p.partners, c)
		if !h.closed {
			p.say(gone, nil)
		}
	}
	c.partners = nil
	if !h.closed {
		h.tellWatchers(c, proto.Left)
	}
}

// meet opens the route from src to a connection, and remembers the two as
// partners. It returns nil if either has left.
func (h *hub) meet(src *conn, dstID string) *route {
	h.mu.Lock()
	defer h.mu.Unlock()
	dst := h.conns[dstID]
	if dst == nil || h.conns[src.id] != src {
		return nil
	}
	if src != dst && len(src.partners) < maxPartners && len(dst.partners) < maxPartners {
		src.partnerLocked(dst)
		dst.partnerLocked(src)
	}
	s := dst.shares[src.identity]
	if s == nil {
		s = new(share)
		if dst.shares == nil {
			dst.shares = make(map[[32]byte]*share)
		}
		dst.shares[src.identity] = s
	}
	return &route{src: src, dst: dst, share: s}
}

func (c *conn) partnerLocked(other *conn) {
	if c.partners == nil {
		c.partners = make(map[*conn]struct{})
	}
	c.partners[other] = struct{}{}
}

// listOrder is the order of a list: by name and then by time. The hub keeps it as
// people come and leave, because lists are requested more often.
func listOrder(a, b *conn) int {
	return cmp.Or(cmp.Compare(a.folded, b.folded), a.since.Compare(b.since), cmp.Compare(a.id, b.id))
}

// named returns the connections of a name, or all of them for "", in the order
// of a list.
func (h *hub) named(folded string) []*conn {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Clone(h.namedLocked(folded))
}

// namedLocked is named for a locked hub. The result is the hub's own memory.
func (h *hub) namedLocked(folded string) []*conn {
	if folded == "" {
		return h.order
	}
	from, _ := slices.BinarySearchFunc(h.order, folded, func(c *conn, name string) int { return cmp.Compare(c.folded, name) })
	found := h.order[from:]
	for n, c := range found {
		if c.folded != folded {
			return found[:n]
		}
	}
	return found
}

// forget drops the people who are not connected and owe nothing.
func (h *hub) forget(now int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.people, func(_ [32]byte, p *person) bool { return p.idle(now) })
}

// close admits no further connection and returns the live ones.
func (h *hub) close() []*conn {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	return h.all()
}

// all returns the live connections, in the order of a list.
func (h *hub) all() []*conn { return h.named("") }

func (h *hub) count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.conns)
}

// full tells whether there is no room, before the costly part of a handshake.
func (h *hub) full() bool { return h.count() >= h.max }

func full(max int) error {
	return proto.Errorf(proto.Busy, "the relay has %d connections, which is as many as it takes", max)
}
