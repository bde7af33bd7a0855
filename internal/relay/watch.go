package relay

import "chatsecure/proto"

// watchAndList passes the current list to answer and, if that succeeds, registers
// a watch. The hub is locked, so no push overtakes the list.
func (h *hub) watchAndList(c *conn, folded string, answer func([]*conn) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, again := c.watches[folded]
	if folded != "" && !again && len(c.watches) >= proto.MaxWatches {
		return refuse(proto.Busy, "a connection watches at most %d names", proto.MaxWatches)
	}
	if err := answer(h.namedLocked(folded)); err != nil {
		return err
	}
	if folded == "" {
		h.watchers[c] = struct{}{}
		return nil
	}
	if c.watches == nil {
		c.watches = make(map[string]struct{})
	}
	if h.watched[folded] == nil {
		h.watched[folded] = make(map[*conn]struct{})
	}
	c.watches[folded], h.watched[folded][c] = struct{}{}, struct{}{}
	return nil
}

// unwatch ends the watches of a connection. The hub is locked.
func (h *hub) unwatch(c *conn) {
	delete(h.watchers, c)
	for name := range c.watches {
		delete(h.watched[name], c)
		if len(h.watched[name]) == 0 {
			delete(h.watched, name)
		}
	}
}

// tellWatchers tells the watchers of c that it came or left. The hub stays locked,
// so a watcher's list and the later pushes agree. Queueing never waits.
func (h *hub) tellWatchers(c *conn, what string) {
	if len(h.watchers) == 0 && len(h.watched[c.folded]) == 0 {
		return
	}
	push := proto.UnsignedPayload(&proto.Header{Type: proto.TypePeer, Name: c.name, ID: c.id, Takes: c.takes, Done: what})
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
