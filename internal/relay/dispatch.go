package relay

import (
	"bytes"

	"chatsecure/proto"
)

// refusal is an error that answers a request. The connection goes on; any other
// error of a handler ends it.
type refusal struct {
	told  *proto.Error
	dstID string // the destination that it concerns; "" for none
}

func (r *refusal) Error() string { return r.told.Message }

func refuse(code proto.Code, format string, args ...any) error {
	return &refusal{proto.Errorf(code, format, args...), ""}
}

// request is the argument of a handler: one line of a client, opened.
type request struct {
	seq    uint64
	header *proto.Header
	body   []byte
	text   []byte // of the line's body, which only a client-com of a pipe has
}

// handlers has a handler for each type of line that a client may send. A signed
// request is carried out only under a signature by the connection's K.
var handlers = map[string]struct {
	signed bool
	handle func(*conn, request) error
}{
	proto.TypeList:          {true, (*conn).list},
	proto.TypeRelease:       {true, (*conn).release},
	proto.TypeLetterTo:      {true, (*conn).letterTo},
	proto.TypeLetter:        {false, (*conn).letter},
	proto.TypeLetterAck:     {false, (*conn).letterAck},
	proto.TypeClientConnect: {false, (*conn).pass},
	proto.TypeClientCom:     {false, (*conn).pass},
	proto.TypeCommAck:       {false, (*conn).pass},
	proto.TypeError:         {false, (*conn).pass},
	proto.TypeDisconnect:    {false, (*conn).disconnect},
	proto.TypeAck:           {false, (*conn).keepAlive},
}

// dispatch carries out one opened line. A refusal is answered here; any other
// error ends the connection.
func (c *conn) dispatch(seq uint64, payload, text []byte) error {
	err := c.carryOut(seq, payload, text)
	refusal, ok := err.(*refusal)
	if !ok {
		return err
	}
	c.sayRefused(seq, refusal)
	return nil
}

func (c *conn) sayRefused(seq uint64, r *refusal) {
	c.say(errorPayload(r.told, &seq, r.dstID), nil)
}

func (c *conn) carryOut(seq uint64, payload, text []byte) error {
	// Nearly all lines are messages to forward, in one form.
	if end := bytes.IndexByte(payload, '\n'); end >= 0 && end+1 < len(payload) && payload[end+1] == '\n' {
		route, ok := proto.ScanRoute(payload[:end])
		if ok && (text == nil || string(route.Type) == proto.TypeClientCom) {
			return c.passRoute(seq, route, payload[end+2:], text)
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
	handler, ok := handlers[h.Type]
	switch {
	case !ok:
		return proto.Errorf(proto.Malformed, "the relay does not serve %s", h.Type)
	case text != nil && h.Type != proto.TypeClientCom:
		return proto.Errorf(proto.Malformed, "a %s in a line with a body, which is for the client-com of a pipe", h.Type)
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
	return handler.handle(c, request{seq, h, body, text})
}

// disconnect ends a conversation with another client, or the connection.
func (c *conn) disconnect(req request) error {
	if req.header.DstID != "" {
		return c.pass(req)
	}
	if len(req.body) > 0 {
		return proto.Errorf(proto.Malformed, "a %s to the relay with a body", req.header.Type)
	}
	return errLeft
}

// keepAlive needs no answer. The line itself is the sign of life.
func (c *conn) keepAlive(req request) error {
	if len(req.body) > 0 {
		return proto.Errorf(proto.Malformed, "an %s with a body", req.header.Type)
	}
	return nil
}

// say queues a line of the relay's own. It never waits: a client that does not read
// its answers is too slow.
func (c *conn) say(head, body []byte) {
	switch c.queue.put(head, body, nil, entry{body: len(body)}) {
	case putWake:
		c.startWriter()
	case putFull:
		c.tooSlow()
	}
}

// tooSlow ends a connection whose queue has reached its bound.
func (c *conn) tooSlow() {
	c.end(ending{
		reason: "slow: its queue is full", drop: true,
		tell: proto.Errorf(proto.Slow, "more than %d bytes waited for this connection to take them", proto.MaxQueue),
	})
}

func errorPayload(e *proto.Error, answers *uint64, dstID string) []byte {
	return proto.UnsignedPayload(&proto.Header{Type: proto.TypeError, Answers: answers, DstID: dstID, Code: e.Code, Message: e.Message})
}
