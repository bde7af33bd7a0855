package relay

import (
	"slices"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// BoxCost is the cost of a mailbox in the answer to letter-to: its bundle is as long as so many
// entries of a list, and is read from the disk.
const BoxCost = 50

// letterTo answers with the mailboxes of a name, the newest first.
func (c *conn) letterTo(req request) error {
	owner, _ := c.relay.names.owner(proto.FoldName(req.header.Name))
	found := c.relay.letters.of(owner, proto.FoldName(req.header.Name))
	if err := c.spend(BoxCost * len(found)); err != nil {
		return err
	}
	boxes := make([]crypto.LetterBox, 0, len(found))
	for _, b := range found {
		entry, err := c.relay.letters.entry(b)
		if err != nil {
			c.relay.log.Error("a box of letters cannot be read", "box", b.path, "error", err)
			continue
		}
		boxes = append(boxes, *entry)
	}
	h := &proto.Header{Type: proto.TypeLetterTo, Done: "ok", Answers: &req.seq}
	c.say(proto.UnsignedPayload(h), proto.MustMarshal(boxes))
	return nil
}

// of returns the boxes of a person that take texts under a name, the newest first.
func (l *letters) of(owner [32]byte, name string) (found []*box) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now().Unix()
	for _, b := range l.people[owner] {
		if b.texts && !b.superseded && b.name == name && b.end > now {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(a, b *box) int { return byBegin(b, a) })
	return found[:min(len(found), proto.MaxMailboxesTo)]
}

// entry returns the key and the newest bundle of a box.
func (l *letters) entry(b *box) (*crypto.LetterBox, error) {
	l.mu.Lock()
	fresh := b.fresh
	l.mu.Unlock()
	if fresh != nil {
		return fresh, nil
	}
	s, err := readBox(b)
	if err != nil {
		return nil, err
	}
	return &crypto.LetterBox{Key: s.Key, Bundle: s.Bundle}, nil
}
