package crypto

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// contextPrefix begins every context string, so that nothing signed or hashed
// here can be taken for another version's or another protocol's.
const contextPrefix = "chatsecure/1 "

// list is a tuple item that is itself a sequence of items. Its encoding is
// that of its items, one after the other, without a context.
type list []any

// tuple encodes a context (without its prefix) and items, each preceded by its
// length as a big-endian uint32; integers are big-endian uint64. An item is a
// []byte, a string, a uint64, a [32]byte or a list. A context fixes how many
// items follow and of which kind: PROTOCOL.md, "Tuples".
func tuple(context string, items ...any) []byte {
	n := 4 + len(contextPrefix) + len(context)
	for _, it := range items {
		n += 4 + itemLen(it)
	}
	b := make([]byte, 0, n)
	b = binary.BigEndian.AppendUint32(b, uint32(len(contextPrefix)+len(context)))
	b = append(b, contextPrefix...)
	b = append(b, context...)
	for _, it := range items {
		b = appendItem(b, it)
	}
	return b
}

// hashTuple returns H(tuple(context, items...)).
func hashTuple(context string, items ...any) [32]byte {
	return sha256.Sum256(tuple(context, items...))
}

func itemLen(it any) int {
	switch it := it.(type) {
	case []byte:
		return len(it)
	case string:
		return len(it)
	case [32]byte:
		return 32
	case uint64:
		return 8
	case list:
		n := 0
		for _, sub := range it {
			n += 4 + itemLen(sub)
		}
		return n
	}
	panic(fmt.Sprintf("crypto: tuple item of type %T", it))
}

func appendItem(b []byte, it any) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(itemLen(it)))
	switch it := it.(type) {
	case []byte:
		b = append(b, it...)
	case string:
		b = append(b, it...)
	case [32]byte:
		b = append(b, it[:]...)
	case uint64:
		b = binary.BigEndian.AppendUint64(b, it)
	case list:
		for _, sub := range it {
			b = appendItem(b, sub)
		}
	}
	return b
}
