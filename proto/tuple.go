package proto

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// ContextPrefix begins every context string. It separates this version's
// signatures and hashes from those of other versions and protocols.
const ContextPrefix = "chatsecure/1 "

// List is a tuple item made of items. Its encoding is theirs, one after the
// other, without a context.
type List []any

// AppendContext begins a tuple. With AppendBytes and AppendUint it makes the
// encoding of Tuple on hot paths, where boxed items cost too much.
func AppendContext(b []byte, context string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(ContextPrefix)+len(context)))
	b = append(b, ContextPrefix...)
	return append(b, context...)
}

// AppendBytes appends an item of bytes or text.
func AppendBytes[T []byte | string](b []byte, item T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(item)))
	return append(b, item...)
}

// AppendUint appends an integer item.
func AppendUint(b []byte, item uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, item)
}

// Tuple encodes a context, given without its prefix, and items, each after its
// length as a big-endian uint32. Integers are big-endian uint64. An item is a
// []byte, a string, a uint64, a [32]byte or a List; anything else panics. Each
// context has a fixed number and kind of items. PROTOCOL.md, "Tuples".
func Tuple(context string, items ...any) []byte {
	n := 4 + len(ContextPrefix) + len(context)
	for _, it := range items {
		n += 4 + itemLen(it)
	}
	b := AppendContext(make([]byte, 0, n), context)
	for _, it := range items {
		b = appendItem(b, it)
	}
	return b
}

// HashTuple returns H(tuple(context, items...)).
func HashTuple(context string, items ...any) [32]byte {
	return sha256.Sum256(Tuple(context, items...))
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
		n := 0
		for _, sub := range it {
			n += 4 + itemLen(sub)
		}
		return n
	}
	panic(fmt.Sprintf("proto: tuple item of type %T", it))
}

func appendItem(b []byte, it any) []byte {
	switch it := it.(type) {
	case []byte:
		return AppendBytes(b, it)
	case string:
		return AppendBytes(b, it)
	case [32]byte:
		return AppendBytes(b, it[:])
	case uint64:
		return AppendUint(b, it)
	case List:
		b = binary.BigEndian.AppendUint32(b, uint32(itemLen(it)))
		for _, sub := range it {
			b = appendItem(b, sub)
		}
	}
	return b
}
