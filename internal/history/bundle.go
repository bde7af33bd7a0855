package history

import (
	"bytes"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// LastBundle returns the bundle that a person has proved last in a conversation, out of the
// history in dir, or nil. Nothing about it is verified.
func LastBundle(dir string, identity [32]byte) (last *trust.Bundle, err error) {
	var (
		hex    = proto.FormatHash(identity)
		bundle []byte // the last line of one: the other side's comes right before its conversation
		at     int64
	)
	walk := walk{dir: dir, found: func(Finding) {}, note: func(string) {}}
	walk.each = func(_ string, _ uint64, line []byte) {
		typ, rest, _ := peekType(line)
		switch string(typ) {
		case lineBundle:
			bundle = append(bundle[:0], line...)
		case lineConversation:
			if peekTime(line) < at || !bytes.Contains(rest, []byte(hex)) {
				return
			}
			b, wrong := parseLine(bundle)
			c, err := parseLine(line)
			if wrong == nil && err == nil && c.Peer.Identity == hex && bytes.Equal(c.Peer.Bundle, b.Hash) {
				last, at = b.Bundle, c.Time
			}
		}
	}
	return last, readError(dir, walk.run())
}
