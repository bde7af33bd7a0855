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
		return c.relay.hub.watchAndList(c, folded, func(found []*relayConn) { c.sayList(req.seq, found) })
	}
	c.sayList(req.seq, c.relay.hub.named(folded))
	return nil
}

func (c *relayConn) sayList(seq uint64, found []*relayConn) {
	for {
		n := min(len(found), proto.ListPage)
		page := make([]proto.Listed, n)
		for i, o := range found[:n] {
			page[i] = proto.Listed{Name: o.name, ID: o.id, Takes: o.takes, Since: o.since.Unix(), Identity: relayIdentity(o.identity)}
		}
		found = found[n:]
		h := &proto.Header{Type: proto.TypeList, Answers: &seq}
		if len(found) == 0 {
			h.Done = "ok"
		}
		c.say(unsignedPayload(h), canon.MustMarshal(page))
		if len(found) == 0 {
			return
		}
	}
}

// whois answers with the bundles of a name's connections, the newest where
// there are too many.
func (c *relayConn) whois(req relayRequest) error {
	found := c.relay.hub.named(proto.FoldName(req.header.Name))
	if len(found) == 0 {
		return relayRefuse(proto.NoSuchName, "nobody by that name is connected")
	}
	found = found[max(0, len(found)-proto.MaxWhois):]
	entries := make([]whoisEntry, len(found))
	for i, o := range found {
		entries[i] = whoisEntry{ID: o.id, Takes: o.takes, Since: o.since.Unix(), Bundle: o.bundle}
	}
	return c.say(unsignedPayload(&proto.Header{Type: proto.TypeWhoisResponse, Answers: &req.seq, Name: req.header.Name}), canon.MustMarshal(entries))
}

// release gives the connection's name up. While connections of that name are
// there, it stays theirs.
func (c *relayConn) release(req relayRequest) error {
	if err := c.relay.names.release(c.name, c.identity); err != nil {
		return &relayRefusal{told: relayError(err)}
	}
	return c.say(unsignedPayload(&proto.Header{Type: proto.TypeRelease, Answers: &req.seq, Done: "ok"}), nil)
}
