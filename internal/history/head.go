package history

import (
	"time"

	"chatsecure/proto"
)

// headEvery is the longest time that a client writes without a head.
const headEvery = 10 * time.Minute

// headSize bounds a head without its signature, in bytes.
const headSize = 256

// needsHead has the types of lines that a head follows at once: where a conversation begins, and
// where it ends. The last line of a run is the other one.
var needsHead = map[string]bool{
	lineConversation: true, lineEnd: true, lineGap: true, lineRun: true,
}

// headSigns returns the bytes that the owner's K signs in a head: prev covers every line before
// it, time is the line's, and bundle is the hash of the bundle with K. PROTOCOL.md, "History".
func headSigns(prev [32]byte, time int64, bundle [32]byte) []byte {
	return proto.Tuple("head", prev, uint64(time), bundle)
}

// head signs all lines before it. A head that cannot be written now is written later.
func (h *History) head() {
	b, key := h.cfg.Bundle, h.cfg.Key
	h.signed = h.at
	if key == nil || h.Holds != nil && !h.Holds(h.at) || h.bundle(b, cause{}) != nil {
		return
	}
	hash := b.Hash()
	_ = h.line(lineHead, cause{}, func(line []byte) []byte {
		line = appendLineBytes(line, "hash", hash[:])
		signature := key.Sign(headSigns(h.known.hash, h.at.UnixMilli(), hash))
		return appendLineBytes(line, "signature", signature)
	})
}
