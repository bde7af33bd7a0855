package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"iter"
	"strconv"

	"chatsecure/crypto"
)

// The peek functions read parts of a line without decoding it: a start must not
// decode years of talk. They rely on the one form in which lines are written. Bytes
// such as `{"id":"` cannot stand inside a JSON string, whose quotes are escaped.

// afterPrev returns the rest of a line after the hash with which it begins.
func afterPrev(line []byte) []byte { return line[min(len(line), len(prevStart)+2*sha256.Size):] }

// peekTime returns the time at which a line was written, in Unix milliseconds.
func peekTime(line []byte) int64 {
	rest, _ := bytes.CutPrefix(afterPrev(line), []byte(`","time":`))
	ms, _, _ := peekNumber(rest)
	return int64(ms)
}

// peekType returns a line's type, and the rest of the line.
func peekType(line []byte) (typ, rest []byte, ok bool) {
	_, rest, _ = bytes.Cut(afterPrev(line), []byte(`,"type":"`))
	return cutQuote(rest)
}

func cutQuote(b []byte) (value, rest []byte, ok bool) { return bytes.Cut(b, []byte(`"`)) }

// peekFlow reads a conversation and the direction after it, behind the type of a line or in a
// header.
func peekFlow(b []byte) (of flow, rest []byte, ok bool) {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte(`,"header":`)), `,{`)
	b, starts := bytes.CutPrefix(b, []byte(`"conversation":"`))
	t3, b, hashed := peekHash(b)
	b, directed := bytes.CutPrefix(b, []byte(`,"direction":"`))
	direction, rest, ok := cutQuote(b)
	of = flow{t3, string(direction)}
	return of, rest, ok && starts && hashed && directed && (of.direction == crypto.DirectionAB || of.direction == crypto.DirectionBA)
}

// peekHash decodes 32 bytes of base64 before a quote.
func peekHash(b []byte) (hash [sha256.Size]byte, rest []byte, ok bool) {
	value, rest, ok := cutQuote(b)
	var out [sha256.Size + 1]byte // base64 is decoded in threes
	if !ok || len(value) != base64.StdEncoding.EncodedLen(sha256.Size) {
		return hash, nil, false
	}
	n, err := base64.StdEncoding.Strict().Decode(out[:], value)
	return [sha256.Size]byte(out[:sha256.Size]), rest, err == nil && n == sha256.Size
}

// peekBundle returns the hash of a bundle line.
func peekBundle(line []byte) (hash [sha256.Size]byte, ok bool) {
	typ, rest, _ := peekType(line)
	rest, ok = bytes.CutPrefix(rest, []byte(`,"hash":"`))
	hash, _, hashed := peekHash(rest)
	return hash, ok && hashed && string(typ) == lineBundle
}

const recordStart = `{"id":"`

// peekRecords returns the ids and numbers of a line's records.
func peekRecords(rest []byte) iter.Seq2[string, uint64] {
	const idLen = 2 * len(recordKey{})
	return func(yield func(string, uint64) bool) {
		for {
			i := bytes.Index(rest, []byte(recordStart))
			if i < 0 || len(rest) < i+len(recordStart)+idLen {
				return
			}
			rest = rest[i+len(recordStart):]
			digits, ok := bytes.CutPrefix(rest[idLen:], []byte(`","seq":`))
			if seq, _, isNumber := peekNumber(digits); ok && isNumber && !yield(string(rest[:idLen]), seq) {
				return
			}
		}
	}
}

// peekNumber reads the digits at the start.
func peekNumber(b []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(string(b[:i]), 10, 64)
	return n, b[i:], err == nil
}
