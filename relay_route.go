package chatsecure

import (
	"bytes"
	"sync/atomic"

	"chatsecure/canon"
	"chatsecure/proto"
)

// relayMaxRoutes bounds the destinations that one connection sends to: their
// windows are what it may make the relay hold.
const relayMaxRoutes = 4096

// relayFewRoutes is how many ways a connection may have without any of them
// being looked at. Those to connections that have ended keep what these held,
// so there are at most as many of them as of the others, and so few.
const relayFewRoutes = 16

// relayRoute is one connection's way to another: what it has sent there that
// the relay has not acked yet.
type relayRoute struct {
	src, dst *relayConn

	// On the way: put there by src's reader, taken off by dst's writer.
	bytes    atomic.Int64
	messages atomic.Int64
	share    *relayShare

	// Guarded by src.queue.mu.
	ackSeq    uint64
	ackQueued bool
}

// relayShare is what all connections of one identity have on the way to one
// connection.
type relayShare struct{ bytes atomic.Int64 }

// A person with many connections must not be able to fill somebody's queue and
// have that connection closed as slow. From a queue half full on, who has more
// than a quarter of it there is the one to go.
const (
	relayCrowded = proto.MaxQueue / 2
	relayHog     = proto.MaxQueue / 4
)

// fits tells whether a message may go on its way: those before it and it are
// within the window, or there is none before it.
func (rt *relayRoute) fits(body int) bool {
	n := rt.messages.Load()
	return n == 0 || n < proto.RelayMessages && rt.bytes.Load()+int64(body) <= proto.RelayWindow
}

func (rt *relayRoute) sent(body int) {
	rt.bytes.Add(int64(body))
	rt.messages.Add(1)
	rt.share.bytes.Add(int64(body))
}

func (rt *relayRoute) written(body int) {
	rt.bytes.Add(-int64(body))
	rt.messages.Add(-1)
	rt.share.bytes.Add(-int64(body))
}

// relayRefusal is an error that a request is answered with, while the
// connection goes on. Any other error of a handler ends the connection.
type relayRefusal struct {
	told  *proto.Error
	dstID string // the destination that it is about, if it is about one
}

func (r *relayRefusal) Error() string { return r.told.Message }

func relayRefuse(code proto.Code, format string, args ...any) error {
	return &relayRefusal{proto.Errorf(code, format, args...), ""}
}

// relayRequest is what a handler gets: one line of a client's, opened.
type relayRequest struct {
	seq    uint64
	header *proto.Header
	body   []byte
}

// relayHandlers is what a client can ask for. A signed request is carried out
// only under the signature of the connection's K.
var relayHandlers = map[string]struct {
	signed bool
	handle func(*relayConn, relayRequest) error
}{
	proto.TypeList:          {true, (*relayConn).list},
	proto.TypeWhoisGet:      {true, (*relayConn).whois},
	proto.TypeRelease:       {true, (*relayConn).release},
	proto.TypeClientConnect: {false, (*relayConn).pass},
	proto.TypeClientCom:     {false, (*relayConn).pass},
	proto.TypeCommAck:       {false, (*relayConn).pass},
	proto.TypeError:         {false, (*relayConn).pass},
	proto.TypeDisconnect:    {false, (*relayConn).disconnect},
	proto.TypeAck:           {false, (*relayConn).keepAlive},
}

// dispatch carries out one opened line. A refusal is answered here; any other
// error ends the connection.
func (c *relayConn) dispatch(seq uint64, payload []byte) error {
	err := c.carryOut(seq, payload)
	refusal, ok := err.(*relayRefusal)
	if !ok {
		return err
	}
	answers := seq // a copy, so that not every line has its number on the heap
	return c.say(relayErrorPayload(refusal.told, &answers, refusal.dstID), nil)
}

func (c *relayConn) carryOut(seq uint64, payload []byte) error {
	// Nearly all lines are forwarded messages in one form.
	if end := bytes.IndexByte(payload, '\n'); end >= 0 && end+1 < len(payload) && payload[end+1] == '\n' {
		if route, ok := proto.ScanRoute(payload[:end]); ok {
			return c.passRoute(seq, route, payload[end+2:])
		}
	}
	header, signature, body, err := proto.SplitPayload(payload)
	if err != nil {
		return err
	}
	h, err := proto.ParseClientHeader(header)
	if err != nil {
		return err
	}
	handler, ok := relayHandlers[h.Type]
	switch {
	case !ok:
		return proto.Errorf(proto.Malformed, "the relay does not serve %s", h.Type)
	case !handler.signed && signature != nil:
		return proto.Errorf(proto.Malformed, "a %s with a signature, which is for requests to the relay", h.Type)
	case handler.signed && len(body) > 0:
		return proto.Errorf(proto.Malformed, "a %s with a body, which no signature covers", h.Type)
	}
	if handler.signed {
		if err := c.mayAsk(); err != nil {
			return err
		}
		if !c.key.Verify(c.recv.RequestSigns(seq, header), signature) {
			return proto.Errorf(proto.SignatureInvalid, "a %s whose signature does not hold", h.Type)
		}
	}
	return handler.handle(c, relayRequest{seq, h, body})
}

// passRoute forwards a message by its scanned header: the relay's busiest way,
// which copies the payload once and allocates nothing.
func (c *relayConn) passRoute(seq uint64, r proto.Route, body []byte) error {
	rt, ok := c.routes[string(r.DstID)]
	if !ok {
		var err error
		if rt, err = c.findRoute(string(r.DstID)); err != nil {
			return err
		}
	}
	if rt.dst.name != string(r.Dst) && proto.FoldName(string(r.Dst)) != rt.dst.folded {
		return relayGone(rt.dst.id)
	}
	var room [relayStampedSize]byte
	head := proto.AppendStamped(room[:0], r, c.name, c.id)
	head = append(head, "\n\n"...)
	return c.forward(rt, seq, head, body)
}

// relayStampedSize holds every stamped header of the busiest way: two names,
// two ids and what stands between.
const relayStampedSize = 512

// pass forwards any message to another client.
func (c *relayConn) pass(req relayRequest) error {
	h := *req.header
	rt, ok := c.routes[h.DstID]
	if !ok {
		var err error
		if rt, err = c.findRoute(h.DstID); err != nil {
			return err
		}
	}
	if proto.FoldName(h.Dst) != rt.dst.folded {
		return relayGone(h.DstID)
	}
	if h.Type == proto.TypeClientConnect && h.Phase == 1 && rt.dst.takes == proto.TakesNone {
		return &relayRefusal{proto.Errorf(proto.NotTaking, "that connection takes no messages"), h.DstID}
	}
	h.Src, h.SrcID = c.name, c.id
	return c.forward(rt, req.seq, append(canon.MustMarshal(&h), "\n\n"...), req.body)
}

// forward queues a message for its destination.
func (c *relayConn) forward(rt *relayRoute, seq uint64, head, body []byte) error {
	if !rt.fits(len(body)) {
		return proto.Errorf(proto.Flood, "more than %d bytes or %d messages were sent to one connection before the relay's ack", proto.RelayWindow, proto.RelayMessages)
	}
	rt.sent(len(body))
	put := rt.dst.queue.put(head, body, relayEntry{route: rt, seq: seq, body: len(body)})
	switch put {
	case relayPutOK:
		return nil
	case relayPutWake:
		rt.dst.startWriter()
		return nil
	case relayPutFull:
		rt.dst.tooSlow()
	}
	rt.written(len(body)) // nothing is on its way
	if put == relayPutHog {
		return proto.Errorf(proto.Flood, "your connections together have more than %d bytes on the way to one that is busy", relayHog)
	}
	delete(c.routes, rt.dst.id)
	return relayGone(rt.dst.id)
}

func relayGone(dstID string) error {
	return &relayRefusal{proto.Errorf(proto.Gone, "that connection is not there"), dstID}
}

// findRoute opens the way to a connection that this one has not sent to.
func (c *relayConn) findRoute(dstID string) (*relayRoute, error) {
	if len(c.routes) >= max(c.routesSwept, relayFewRoutes) {
		for id, rt := range c.routes {
			if rt.dst.ended.Load() {
				delete(c.routes, id)
			}
		}
		c.routesSwept = min(2*len(c.routes), relayMaxRoutes)
		if len(c.routes) >= relayMaxRoutes {
			return nil, &relayRefusal{proto.Errorf(proto.Busy, "this connection sends to %d others already", relayMaxRoutes), dstID}
		}
	}
	rt := c.relay.hub.meet(c, dstID)
	if rt == nil {
		return nil, relayGone(dstID)
	}
	if c.routes == nil {
		c.routes = make(map[string]*relayRoute)
	}
	c.routes[dstID] = rt
	return rt, nil
}

// disconnect ends a conversation with another client, or the connection.
func (c *relayConn) disconnect(req relayRequest) error {
	if req.header.DstID != "" {
		return c.pass(req)
	}
	if len(req.body) > 0 {
		return proto.Errorf(proto.Malformed, "a %s to the relay with a body", req.header.Type)
	}
	return errRelayLeft
}

// keepAlive needs no answer: that a line came is all it says.
func (c *relayConn) keepAlive(req relayRequest) error {
	if len(req.body) > 0 {
		return proto.Errorf(proto.Malformed, "an %s with a body", req.header.Type)
	}
	return nil
}

// say queues what the relay itself says to the client. It never waits; a
// client that does not read its answers is too slow.
func (c *relayConn) say(head, body []byte) error {
	switch c.queue.put(head, body, relayEntry{}) {
	case relayPutWake:
		c.startWriter()
	case relayPutFull:
		c.tooSlow()
	}
	return nil
}

// tooSlow ends a connection whose queue has reached its bound.
func (c *relayConn) tooSlow() {
	c.end(relayEnding{
		reason: "slow: its queue is full", drop: true,
		tell: proto.Errorf(proto.Slow, "more than %d bytes waited for this connection to take them", proto.MaxQueue),
	})
}

func relayErrorPayload(e *proto.Error, answers *uint64, dstID string) []byte {
	return unsignedPayload(&proto.Header{Type: proto.TypeError, Answers: answers, DstID: dstID, Code: e.Code, Message: e.Message})
}
