package relay

import (
	"sync/atomic"

	"chatsecure/proto"
)

// MaxRoutes bounds the destinations of one connection. The relay may have to hold a
// window for each.
const MaxRoutes = 4096

// fewRoutes is the number of routes below which findRoute looks for no dead ones. A
// route to an ended connection keeps that connection's memory, so dead routes must
// stay few: at most as many as live ones, or fewRoutes.
const fewRoutes = 16

// route leads from one connection to another. It counts the messages that the relay
// has not acked yet.
type route struct {
	src, dst *conn

	// On the way: added by src's reader, subtracted by dst's writer.
	bytes    atomic.Int64
	messages atomic.Int64
	share    *share

	// Guarded by src.queue.mu.
	ackSeq    uint64
	ackQueued bool
}

// share counts the bytes that all connections of one identity have on the way to
// one connection.
type share struct{ bytes atomic.Int64 }

// A person with many connections could fill somebody's queue and so have that
// connection closed as slow. Once a queue is more than half full, a sender whose
// share exceeds a quarter of the bound is ended instead.
const (
	Crowded = proto.MaxQueue / 2
	Hog     = proto.MaxQueue / 4
)

// fits tells whether the window has room for a message. A single message always
// fits.
func (rt *route) fits(body int) bool {
	n := rt.messages.Load()
	return n == 0 || n < proto.RelayMessages && rt.bytes.Load()+int64(body) <= proto.RelayWindow
}

func (rt *route) sent(body int) {
	rt.bytes.Add(int64(body))
	rt.messages.Add(1)
	rt.share.bytes.Add(int64(body))
}

func (rt *route) written(body int) {
	rt.bytes.Add(-int64(body))
	rt.messages.Add(-1)
	rt.share.bytes.Add(-int64(body))
}

// passRoute forwards a message by its scanned header. This busiest path copies the
// payload once and allocates nothing.
func (c *conn) passRoute(seq uint64, r proto.Route, body, text []byte) error {
	rt, ok := c.routes[string(r.DstID)]
	if !ok {
		var err error
		if rt, err = c.findRoute(string(r.DstID)); err != nil {
			return err
		}
	}
	if rt.dst.name != string(r.Dst) && proto.FoldName(string(r.Dst)) != rt.dst.folded {
		return gone(rt.dst.id)
	}
	var room [stampedSize]byte
	head := proto.AppendStamped(room[:0], r, c.name, c.id)
	head = append(head, "\n\n"...)
	return c.forward(rt, seq, head, body, text)
}

// stampedSize is enough for every stamped header of passRoute: two names, two ids
// and the text between.
const stampedSize = 512

// pass forwards any message to another client.
func (c *conn) pass(req request) error {
	h := *req.header
	rt, ok := c.routes[h.DstID]
	if !ok {
		var err error
		if rt, err = c.findRoute(h.DstID); err != nil {
			return err
		}
	}
	if proto.FoldName(h.Dst) != rt.dst.folded {
		return gone(h.DstID)
	}
	if h.Type == proto.TypeClientConnect && h.Phase == 1 && rt.dst.takes == proto.TakesNone {
		return &refusal{proto.Errorf(proto.NotTaking, "that connection takes no messages"), h.DstID}
	}
	h.Src, h.SrcID = c.name, c.id
	return c.forward(rt, req.seq, append(proto.MustMarshal(&h), "\n\n"...), req.body, req.text)
}

// textSize returns the number of bytes in the text of a line's body, which crosses
// the relay as it is. It is for pipes only: what is equal on both sides of the
// relay shows to a listener who talks with whom. What a message is for stands in
// its end-to-end header, where the relay does not look, but between two connections
// that take pipe there are no other messages in a client-com.
func (c *conn) textSize(rt *route, text []byte) (int, error) {
	size, ok := proto.Base64Size(text)
	switch {
	case !ok:
		return 0, proto.Errorf(proto.Malformed, "a body that is not base64")
	case text != nil && c.takes != proto.TakesPipe:
		return 0, proto.Errorf(proto.Malformed, "a line with a body from a connection that takes no pipe")
	case text != nil && rt.dst.takes != proto.TakesPipe:
		return 0, &refusal{proto.Errorf(proto.NotTaking, "that connection takes no pipe"), rt.dst.id}
	}
	return size, nil
}

// forward queues a message for its destination.
func (c *conn) forward(rt *route, seq uint64, head, body, text []byte) error {
	size, err := c.textSize(rt, text)
	if err != nil {
		return err
	}
	size += len(body)
	if !rt.fits(size) {
		return proto.Errorf(proto.Flood, "more than %d bytes or %d messages were sent to one connection before the relay's ack",
			proto.RelayWindow, proto.RelayMessages)
	}
	rt.sent(size)
	put := rt.dst.queue.put(head, body, text, entry{route: rt, seq: seq, body: size})
	switch put {
	case putOK:
		return nil
	case putWake:
		rt.dst.startWriter()
		return nil
	case putFull:
		rt.dst.tooSlow()
	}
	rt.written(size) // it is not on its way
	if put == putHog {
		return proto.Errorf(proto.Flood, "your connections together have more than %d bytes on the way to one that is busy", Hog)
	}
	delete(c.routes, rt.dst.id)
	return gone(rt.dst.id)
}

func gone(dstID string) error {
	return &refusal{proto.Errorf(proto.Gone, "that connection is not there"), dstID}
}

// findRoute opens the route to a connection that this one has not sent to before.
func (c *conn) findRoute(dstID string) (*route, error) {
	if len(c.routes) >= max(c.routesSwept, fewRoutes) {
		for id, rt := range c.routes {
			if rt.dst.ended.Load() {
				delete(c.routes, id)
			}
		}
		c.routesSwept = min(2*len(c.routes), MaxRoutes)
		if len(c.routes) >= MaxRoutes {
			return nil, &refusal{proto.Errorf(proto.Busy, "this connection sends to %d others already", MaxRoutes), dstID}
		}
	}
	rt := c.relay.hub.meet(c, dstID)
	if rt == nil {
		return nil, gone(dstID)
	}
	if c.routes == nil {
		c.routes = make(map[string]*route)
	}
	c.routes[dstID] = rt
	return rt, nil
}
