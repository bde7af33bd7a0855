package chatsecure

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"sync"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// relayMaxPartners bounds the connections that one connection is known to have
// exchanged messages with, and so who is told when it ends. Beyond it messages
// pass all the same, and the partner learns of the end when it next sends, from
// `gone`: others must not be able to take somebody out of reach by talking.
const relayMaxPartners = 4096

// relayHub is who is connected. It is locked when connections come, leave,
// meet and ask, never for a message between two that have met.
type relayHub struct {
	max, maxPerson int

	mu       sync.RWMutex // guards what follows and the hub's fields of connections
	closed   bool
	conns    map[string]*relayConn              // by connection id
	order    []*relayConn                       // all, in the order of a list
	watched  map[string]map[*relayConn]struct{} // who watches a folded name
	watchers map[*relayConn]struct{}            // who watches all
	people   map[[32]byte]*relayPerson          // who is connected, or has been and asked for much
	shared   relayCertificates
}

func newRelayHub(max, maxPerson int) *relayHub {
	return &relayHub{
		max: max, maxPerson: maxPerson,
		conns:   make(map[string]*relayConn),
		watched: make(map[string]map[*relayConn]struct{}), watchers: make(map[*relayConn]struct{}),
		people: make(map[[32]byte]*relayPerson),
		shared: make(relayCertificates),
	}
}

func relaySetAdd[K comparable](sets map[K]map[*relayConn]struct{}, key K, c *relayConn) {
	if sets[key] == nil {
		sets[key] = make(map[*relayConn]struct{})
	}
	sets[key][c] = struct{}{}
}

func relaySetRemove[K comparable](sets map[K]map[*relayConn]struct{}, key K, c *relayConn) {
	delete(sets[key], c)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}

// add takes a connection in and tells who watches. One name has one identity
// at a time, also while a name that was released is still in use.
func (h *relayHub) add(c *relayConn) error {
	c.listed = canon.MustMarshal(&proto.Listed{Name: c.name, ID: c.id, Takes: c.takes, Since: c.since.Unix(), Identity: relayIdentity(c.identity)})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return proto.Errorf(proto.Shutdown, "the relay is stopping")
	}
	if len(h.conns) >= h.max {
		return relayFull(h.max)
	}
	if others := h.namedLocked(c.folded); len(others) > 0 && others[0].identity != c.identity {
		return registryTaken(c.name)
	}
	person := h.people[c.identity]
	if person == nil {
		person = new(relayPerson)
		h.people[c.identity] = person
	}
	if person.conns >= h.maxPerson {
		return proto.Errorf(proto.Busy, "you have %d connections, which is as many as the relay takes of one person; end one of them", h.maxPerson)
	}
	person.conns++
	c.person = person
	c.bundle = h.shared.hold(c.bundle)
	h.conns[c.id] = c
	at, _ := slices.BinarySearchFunc(h.order, c, relayListOrder)
	h.order = slices.Insert(h.order, at, c)
	h.tellWatchers(c, proto.Came)
	return nil
}

// leave takes a connection out and tells who watches and who talked with it.
func (h *relayHub) leave(c *relayConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns[c.id] != c {
		return
	}
	delete(h.conns, c.id)
	if at, ok := slices.BinarySearchFunc(h.order, c, relayListOrder); ok {
		h.order = slices.Delete(h.order, at, at+1)
	}
	c.person.conns--
	for name := range c.watches {
		relaySetRemove(h.watched, name, c)
	}
	delete(h.watchers, c)
	h.shared.drop(c.bundle)
	gone := unsignedPayload(&proto.Header{Type: proto.TypeDisconnect, Src: c.name, SrcID: c.id})
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

// tellWatchers pushes who came or left. The hub stays locked, so that a
// watcher's list and what follows it agree; putting never waits.
func (h *relayHub) tellWatchers(c *relayConn, what string) {
	if len(h.watchers) == 0 && len(h.watched[c.folded]) == 0 {
		return
	}
	push := unsignedPayload(&proto.Header{Type: proto.TypePeer, Name: c.name, ID: c.id, Takes: c.takes, Done: what})
	for w := range h.watchers {
		if w != c {
			w.say(push, nil)
		}
	}
	for w := range h.watched[c.folded] {
		if _, all := h.watchers[w]; !all && w != c {
			w.say(push, nil)
		}
	}
}

// meet opens the way from src to a connection, and remembers that the two
// talk. It returns nil if either is not there.
func (h *relayHub) meet(src *relayConn, dstID string) *relayRoute {
	h.mu.Lock()
	defer h.mu.Unlock()
	dst := h.conns[dstID]
	if dst == nil || h.conns[src.id] != src {
		return nil
	}
	if src != dst && len(src.partners) < relayMaxPartners && len(dst.partners) < relayMaxPartners {
		src.partnerLocked(dst)
		dst.partnerLocked(src)
	}
	share := dst.shares[src.identity]
	if share == nil {
		share = new(relayShare)
		if dst.shares == nil {
			dst.shares = make(map[[32]byte]*relayShare)
		}
		dst.shares[src.identity] = share
	}
	return &relayRoute{src: src, dst: dst, share: share}
}

func (c *relayConn) partnerLocked(other *relayConn) {
	if c.partners == nil {
		c.partners = make(map[*relayConn]struct{})
	}
	c.partners[other] = struct{}{}
}

// relayListOrder is the order of a list: by name and then by time. The hub
// keeps it as people come and leave, since a list is asked for more often.
func relayListOrder(a, b *relayConn) int {
	return cmp.Or(cmp.Compare(a.folded, b.folded), a.since.Compare(b.since), cmp.Compare(a.id, b.id))
}

// named returns the connections of a name, or all of them for "", in the order
// of a list.
func (h *relayHub) named(folded string) []*relayConn {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Clone(h.namedLocked(folded))
}

// namedLocked is named while the hub is locked, and in its own memory.
func (h *relayHub) namedLocked(folded string) []*relayConn {
	if folded == "" {
		return h.order
	}
	from, _ := slices.BinarySearchFunc(h.order, folded, func(c *relayConn, name string) int { return cmp.Compare(c.folded, name) })
	found := h.order[from:]
	for n, c := range found {
		if c.folded != folded {
			return found[:n]
		}
	}
	return found
}

// watchAndList hands the list at this moment to answer, before anything that
// comes or leaves later is told, and registers a watch if that does not fail.
func (h *relayHub) watchAndList(c *relayConn, folded string, answer func([]*relayConn) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, watches := c.watches[folded]
	if folded != "" && !watches && len(c.watches) >= proto.MaxWatches {
		return relayRefuse(proto.Busy, "a connection watches at most %d names", proto.MaxWatches)
	}
	if err := answer(h.namedLocked(folded)); err != nil {
		return err
	}
	if folded == "" {
		h.watchers[c] = struct{}{}
	} else if !watches {
		if c.watches == nil {
			c.watches = make(map[string]struct{})
		}
		c.watches[folded] = struct{}{}
		relaySetAdd(h.watched, folded, c)
	}
	return nil
}

// forget lets go of the people of whom nothing is to be remembered.
func (h *relayHub) forget(now int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.people, func(_ [32]byte, p *relayPerson) bool { return p.idle(now) })
}

// close lets nobody in any more and returns who is there.
func (h *relayHub) close() []*relayConn {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	return h.all()
}

// all returns who is there.
func (h *relayHub) all() []*relayConn { return h.named("") }

func (h *relayHub) count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.conns)
}

// full tells a newcomer that there is no room, before anything dear is done.
func (h *relayHub) full() bool { return h.count() >= h.max }

func relayFull(max int) error {
	return proto.Errorf(proto.Busy, "the relay has %d connections, which is as many as it takes", max)
}

// relayCertificates keeps the certificates of live connections once each:
// chains are the same for thousands of people.
type relayCertificates map[[sha256.Size]byte]*relayCertificate

type relayCertificate struct {
	der   []byte
	users int
}

// hold returns the bundle with shared certificates.
func (s relayCertificates) hold(b *crypto.Bundle) *crypto.Bundle {
	shared := *b
	shared.X509 = s.one(b.X509)
	shared.Chain = make([][]byte, len(b.Chain))
	for i, der := range b.Chain {
		shared.Chain[i] = s.one(der)
	}
	return &shared
}

func (s relayCertificates) one(der []byte) []byte {
	sum := sha256.Sum256(der)
	if s[sum] == nil {
		s[sum] = &relayCertificate{der: der}
	}
	s[sum].users++
	return s[sum].der
}

// drop gives back what hold held.
func (s relayCertificates) drop(b *crypto.Bundle) {
	for _, der := range append([][]byte{b.X509}, b.Chain...) {
		sum := sha256.Sum256(der)
		if cert := s[sum]; cert != nil {
			if cert.users--; cert.users == 0 {
				delete(s, sum)
			}
		}
	}
}

// relayIdentity is how an identity stands in a list.
func relayIdentity(id [32]byte) string { return hex.EncodeToString(id[:]) }
