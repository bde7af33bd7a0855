package chatsecure

import (
	"chatsecure/canon"
	"chatsecure/proto"
)

// The requests that the relay carries out itself. Each was signed by K.

// list answers who is connected, in pages, and with watch tells who comes and
// leaves from then on.
func (c *relayConn) list(req relayRequest) error {
	folded := ""
	if req.header.Name != "" {
		folded = proto.FoldName(req.header.Name)
	}
	if req.header.Watch {
		return c.relay.hub.watchAndList(c, folded, func(found []*relayConn) error { return c.sayList(req.seq, found) })
	}
	return c.sayList(req.seq, c.relay.hub.named(folded))
}

// sayList joins what each connection has encoded: the hub may be locked.
func (c *relayConn) sayList(seq uint64, found []*relayConn) error {
	if err := c.spend(len(found)); err != nil {
		return err
	}
	size := 0
	for _, o := range found {
		size += len(o.listed) + len(",")
	}
	c.queue.expect(size)
	page := make([]byte, 0, min(size, proto.ListPage*relayListedSize)+len("[]"))
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
		c.say(unsignedPayload(h), page)
	}
	return nil
}

// relayListedSize is about what a connection takes in a list.
const relayListedSize = 170

// whois answers with the bundles of a name's connections, the newest where
// there are too many.
func (c *relayConn) whois(req relayRequest) error {
	found := c.relay.hub.named(proto.FoldName(req.header.Name))
	found = found[max(0, len(found)-proto.MaxWhois):]
	if err := c.spend(len(found) * relayWhoisCost); err != nil {
		return err
	}
	if len(found) == 0 {
		return relayRefuse(proto.NoSuchName, "nobody by that name is connected")
	}
	entries := make([]whoisEntry, len(found))
	for i, o := range found {
		entries[i] = whoisEntry{ID: o.id, Takes: o.takes, Since: o.since.Unix(), Bundle: o.bundle}
	}
	return c.say(unsignedPayload(&proto.Header{Type: proto.TypeWhoisResponse, Answers: &req.seq, Name: req.header.Name}), canon.MustMarshal(entries))
}

// release gives the connection's name up. While connections of that name are
// there, it stays theirs.
func (c *relayConn) release(req relayRequest) error {
	if err := c.spend(0); err != nil {
		return err
	}
	if err := c.relay.names.release(c.name, c.identity); err != nil {
		return &relayRefusal{told: relayError(err)}
	}
	return c.say(unsignedPayload(&proto.Header{Type: proto.TypeRelease, Answers: &req.seq, Done: "ok"}), nil)
}
