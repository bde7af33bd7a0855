package proto

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// ContextPrefix begins every context string. It separates this version's
// signatures and hashes from those of other versions and protocols.
const ContextPrefix = "chatsecure/2 "

// List is a tuple item made of items. Its encoding is theirs, one after the
// other, without a context.
type List []any

// Tuple encodes a context, given without its prefix, and items, each after its
// length as a big-endian uint32. Integers are big-endian uint64. An item is a
// []byte, a string, a uint64, a [32]byte or a List; anything else panics. Each
// context has a fixed number and kind of items. PROTOCOL.md, "Tuples".
func Tuple(context string, items ...any) []byte {
	return AppendTuple(nil, context, items...)
}

// AppendTuple appends a tuple to b. It keeps no item, so a call allocates
// nothing but what b lacks.
func AppendTuple(b []byte, context string, items ...any) []byte {
	b = slices.Grow(b, 4+len(ContextPrefix)+len(context)+itemsLen(items))
	b = binary.BigEndian.AppendUint32(b, uint32(len(ContextPrefix)+len(context)))
	b = append(append(b, ContextPrefix...), context...)
	return AppendItems(b, items...)
}

// AppendItems appends the encoding of items without a context: the bytes of a
// List of them, for one too long to be made.
func AppendItems(b []byte, items ...any) []byte {
	for _, it := range items {
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
		case List:
			b = AppendItems(b, it...)
		}
	}
	return b
}

// HashTuple returns H(tuple(context, items...)).
func HashTuple(context string, items ...any) [32]byte {
	var room [512]byte
	return sha256.Sum256(AppendTuple(room[:0], context, items...))
}

func itemsLen(items []any) int {
	n := 0
	for _, it := range items {
		n += 4 + itemLen(it)
	}
	return n
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
	case List:
		return itemsLen(it)
	}
	panic("proto: tuple item of another type")
}
