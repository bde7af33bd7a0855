package relay

import "chatsecure/proto"

// The requests that the relay carries out itself. dispatch has checked the
// signature by K.

// list answers with the connected clients, in pages. With watch it also tells of
// every later coming and leaving.
func (c *conn) list(req request) error {
	folded := proto.FoldName(req.header.Name) // "" for all
	if req.header.Watch {
		return c.relay.hub.watchAndList(c, folded, func(found []*conn) error { return c.sayList(req.seq, found) })
	}
	return c.sayList(req.seq, c.relay.hub.named(folded))
}

// sayList joins the encoded entries of the connections. The hub may be locked.
func (c *conn) sayList(seq uint64, found []*conn) error {
	if err := c.spend(len(found)); err != nil {
		return err
	}
	size := 0
	for _, o := range found {
		size += len(o.listed) + len(",")
	}
	c.queue.expect(size)
	page := make([]byte, 0, min(size, proto.ListPage*listedSize)+len("[]"))
	for first := true; first || len(found) > 0; first = false {
		n := min(len(found), proto.ListPage)
		page = append(page[:0], '[')
		for i, o := range found[:n] {
			if i > 0 {
				page = append(page, ',')
			}
			page = append(page, o.listed...)
		}
		page = append(page, ']')
		found = found[n:]
		h := &proto.Header{Type: proto.TypeList, Answers: &seq}
		if len(found) == 0 {
			h.Done = "ok"
		}
		c.say(proto.UnsignedPayload(h), page)
	}
	return nil
}

// listedSize is about the size in bytes of a connection's entry in a list.
const listedSize = 170

// release gives up the connection's name, with the letters that wait for its owner under that
// name. Connections of that name keep it until they end. With a mailbox it gives up that one
// alone.
func (c *conn) release(req request) error {
	if err := c.spend(ReleaseCost + c.relay.names.size()/ReleaseNames); err != nil {
		return err
	}
	var err error
	if req.header.Mailbox != "" {
		err = c.relay.letters.releasedBox(c.identity, proto.MustHash(req.header.Mailbox))
	} else {
		if err := c.relay.names.release(c.name, c.identity); err != nil {
			return &refusal{told: tellable(err)}
		}
		err = c.relay.letters.released(c.identity, c.folded)
	}
	if err != nil { // which the log tells the operator
		return refuse(proto.Internal, "the relay cannot remove all of the letters")
	}
	c.say(proto.UnsignedPayload(&proto.Header{Type: proto.TypeRelease, Answers: &req.seq, Done: "ok"}), nil)
	return nil
}
