package history

import (
	"crypto/sha256"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
)

// reader has the state of a history whose lines it takes in order. Listing, verification and
// proofs all read by it: they differ in what they ask of a line before the reader takes it.
type reader struct {
	bundles map[[sha256.Size]byte]*trust.Bundle
	convs   map[flow]*conversation // by our direction
	order   []*conversation        // the same, in the order of reading

	// absent finds a conversation whose line was not among those that were read; nil: there is none.
	absent func(flow) *conversation
}

// conversation is as much of one as the lines say that were read.
type conversation struct {
	flow            // in our direction
	me, peer        party
	sent, received  part
	taken           uint64 // of ours, by the relay
	delivered, read uint64 // of ours, by the last receipt
	shown           uint64 // of the peer's

	gap Finding // of the verification: in what the peer sent, unless there was a pipe
}

// party is one end of a conversation.
type party struct {
	End
	*Party // of the verification
}

// part is one direction of a conversation.
type part struct {
	n       uint64     // of the next message, or the lowest that it can have
	seq     uint64     // of the last record
	digests [][32]byte // of the verification: those after the records from base to seq
	base    uint64
	doubts  []doubt
	over    bool // its sender has signed its end

	records []listed // of the listing
}

func newReader() reader {
	return reader{bundles: make(map[[sha256.Size]byte]*trust.Bundle), convs: make(map[flow]*conversation)}
}

// begin takes in the line of a conversation.
func (r *reader) begin(l *Line) *conversation {
	c := &conversation{flow: flow{[32]byte(l.Conversation), l.Direction}, me: party{End: *l.Me}, peer: party{End: *l.Peer}}
	r.convs[c.flow] = c
	r.order = append(r.order, c)
	return c
}

// side is one direction of a conversation.
type side struct {
	*conversation
	*part
	from, to *party
}

// about returns the conversation that a line is about and the direction in it, or nil for a line
// about none or one that is unknown.
func (r *reader) about(l *Line) *side {
	of, ours := flow{direction: l.Direction}, false
	if len(l.Header) > 0 {
		of, _, _ = peekFlow(l.Header)
	} else if len(l.Conversation) > 0 {
		of.t3 = [32]byte(l.Conversation)
	}
	switch l.Type {
	case lineSent, lineText, lineTaken:
		ours = true
	case lineReceived, lineReceipt, lineEnd, lineShown, lineSeen, lineGap:
		of.direction = reverse(of.direction)
	default:
		return nil
	}
	c := r.convs[of]
	if c == nil && r.absent != nil {
		c = r.absent(of)
	}
	switch {
	case c == nil:
		return nil
	case ours:
		return &side{c, &c.sent, &c.me, &c.peer}
	}
	return &side{c, &c.received, &c.peer, &c.me}
}

// take takes in what a line about a conversation reports.
func (c *conversation) take(l *Line) error {
	switch l.Type {
	case lineTaken:
		c.taken = max(c.taken, l.Seq)
	case lineShown:
		c.shown = max(c.shown, l.Seq)
	case lineReceipt:
		r, err := crypto.ParseReceipt(l.Receipt)
		if err != nil {
			return err
		}
		c.delivered, c.read = max(c.delivered, r.Delivered), max(c.read, r.Read)
	}
	return nil
}

// digest is the one after the last record.
func (p *part) digest() *[32]byte { return &p.digests[len(p.digests)-1] }

// restart makes a part go on behind a record.
func (p *part) restart(seq uint64, digest [32]byte) {
	p.seq, p.base, p.digests = seq, seq, [][32]byte{digest}
}

// next takes in the hash of the next record.
func (p *part) next(hash [32]byte) {
	p.digests = append(p.digests, crypto.NextDigest(*p.digest(), hash))
	p.seq++
}

// forget lets go of the digests before a record.
func (p *part) forget(seq uint64) {
	if seq > p.base {
		p.digests = p.digests[seq-p.base:] // append lets go of what is before
		p.base = seq
	}
}
