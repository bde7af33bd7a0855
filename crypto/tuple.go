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

// The hot paths append their items one by one, in the same encoding, to spare
// what boxing the items costs.

func appendContext(b []byte, context string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(contextPrefix)+len(context)))
	b = append(b, contextPrefix...)
	return append(b, context...)
}

func appendBytes[T []byte | string](b []byte, item T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(item)))
	return append(b, item...)
}

func appendUint(b []byte, item uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, item)
}

// tuple encodes a context (without its prefix) and items, each preceded by its
// length as a big-endian uint32; integers are big-endian uint64. An item is a
// []byte, a string, a uint64, a [32]byte or a list. A context fixes how many
// items follow and of which kind: PROTOCOL.md, "Tuples".
func tuple(context string, items ...any) []byte {
	n := 4 + len(contextPrefix) + len(context)
	for _, it := range items {
		n += 4 + itemLen(it)
	}
	b := appendContext(make([]byte, 0, n), context)
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
	switch it := it.(type) {
	case []byte:
		return appendBytes(b, it)
	case string:
		return appendBytes(b, it)
	case [32]byte:
		return appendBytes(b, it[:])
	case uint64:
		return appendUint(b, it)
	case list:
		b = binary.BigEndian.AppendUint32(b, uint32(itemLen(it)))
		for _, sub := range it {
			b = appendItem(b, sub)
		}
	}
	return b
}
