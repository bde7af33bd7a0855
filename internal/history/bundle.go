package history

import (
	"cmp"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// LastBundle returns the bundle that a person has proved last in a conversation, out of the
// history in dir, or nil. Nothing about it is verified.
func LastBundle(dir string, identity [32]byte) (*trust.Bundle, error) {
	lines, err := openSnapshot(dir)
	if err != nil || lines.File == nil {
		return nil, err
	}
	defer lines.Close()
	from := int64(0)
	var last *Line
	if x := openIndex(dir, lines.File); x != nil {
		defer x.close()
		from = x.Size
		if offset, ok := x.offset(personKey(identity)); ok {
			line, _ := readLine(lines, offset)
			if l, err := parseLine(line); err == nil && l.Type == lineBundle {
				last = l
			} else {
				from = 0 // it is damaged
			}
		}
	}
	hex := proto.FormatHash(identity)
	var bundle []byte // the last line of one: the other side's comes right before its conversation
	err = eachLine(lines, from, func(line []byte, _, _ int64) {
		typ, _, _ := peekType(line)
		switch string(typ) {
		case lineBundle:
			bundle = append(bundle[:0], line...)
		case lineConversation:
			if c, err := parseLine(line); err == nil && c.Peer.Identity == hex {
				last = cmp.Or(provedBy(c.Peer.Bundle, bundle), last)
			}
		case lineLetterReceived, lineLetterReceipt:
			if l, ok := peekLetter(line); ok && l.identity == identity {
				last = cmp.Or(provedBy(l.header.SrcBundle, bundle), last)
			}
		}
	})
	if err != nil {
		return nil, openFailure(dir, err)
	}
	if last == nil {
		return nil, nil
	}
	return last.Bundle, nil
}

// provedBy returns the line of a bundle if it has this hash.
func provedBy(hash, bundle []byte) *Line {
	b, err := parseLine(bundle)
	if err != nil || string(b.Hash) != string(hash) {
		return nil
	}
	return b
}
