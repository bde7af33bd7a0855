package history

import (
	"bytes"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// isLetter tells the line of a letter from any other.
func (l *Line) isLetter() bool {
	return l.Type == lineLetterSent || l.Type == lineLetterReceived || l.Type == lineLetterReceipt
}

// letterSide returns the letter of a line as a conversation that the reader does not keep, or nil
// if its header is none.
func letterSide(l *Line, owner Owner) (*side, *crypto.LetterHeader) {
	h, err := crypto.ParseLetterHeader(l.Header)
	if err != nil {
		return nil, nil
	}
	ours := l.Type == lineLetterSent || l.Type == lineLetter
	mine, theirs := h.DstBundle, h.SrcBundle
	if ours {
		mine, theirs = theirs, mine
	}
	c := &conversation{
		flow: letterFlow([32]byte(h.Letter), ours),
		me:   party{End: End{Name: owner.Name, Identity: proto.FormatHash(owner.Identity), Bundle: mine}},
		peer: party{End: End{Name: l.Name, Identity: l.Identity, Bundle: theirs}},
	}
	if ours {
		return &side{c, &c.sent, &c.me, &c.peer}, h
	}
	return &side{c, &c.received, &c.peer, &c.me}, h
}

// letter takes in the line of a letter for the listing.
func (v *view) letter(number uint64, l *Line) {
	c, _ := letterSide(l, v.owner)
	if c == nil {
		v.found(Finding{Line: number, What: errLine.Error()})
		return
	}
	switch l.Type {
	case lineLetterReceipt:
		v.receipts = append(v.receipts, l)
	case lineLetterSent:
		v.batch(l, c)
		for _, r := range c.records {
			r.m.Letter = true
			r.m.delivered(Delivery{Name: l.Name, Status: StatusKept, Until: time.UnixMilli(l.Until)})
		}
	case lineLetterReceived:
		v.batch(l, c)
		for _, r := range c.records {
			r.m.Letter = true
		}
		if v.convs[c.flow] == nil {
			v.convs[c.flow] = c.conversation
			v.order = append(v.order, c.conversation)
		}
	}
}

// applyReceipts takes in the receipts that letters brought. An entry counts only for a record of
// the owner's that is for its giver.
func (v *view) applyReceipts() {
	for _, l := range v.receipts {
		entries, err := crypto.ParseLetterReceipts(l.Receipts)
		if err != nil {
			continue // verification tells of it
		}
		giver := proto.FoldName(l.Name)
		for _, e := range entries {
			m := v.byID[messageKey{proto.FormatHash([32]byte(e.ID))[:2*len(recordKey{})], true}]
			if m == nil || !m.record.Names(giver, l.Identity) {
				continue
			}
			if id := crypto.FullRecordID(v.owner.Identity, m.record); bytes.Equal(id[:], e.ID) {
				m.delivered(Delivery{Name: l.Name, Status: Status(e.Level)})
			}
		}
	}
}

// notFetched is the reason of a message that the relay keeps no longer.
const notFetched = "not fetched in time"

// overdue gives that reason to what nobody has fetched.
func (m *Message) overdue(now time.Time) {
	for i := range m.Deliveries {
		if d := &m.Deliveries[i]; d.Status == StatusKept && now.After(d.Until) {
			d.Reason = notFetched
		}
	}
}
