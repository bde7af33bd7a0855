package client

import "sync"

// pipeBuffer is the size of the buffers that messages of a pipe are made and taken
// in: a whole chunk has room in one, with its header and a ratchet step.
const pipeBuffer = 128 << 10

var pipeBuffers = sync.Pool{New: func() any { return new([pipeBuffer]byte) }}

// lendBuffer returns an empty slice with room for n bytes. Only what fills half of a
// buffer gets one: small messages that wait would hold much more than their size.
func lendBuffer(n int) []byte {
	if n <= pipeBuffer/2 || n > pipeBuffer {
		return make([]byte, 0, n)
	}
	return pipeBuffers.Get().(*[pipeBuffer]byte)[:0]
}

// giveBack takes a lent buffer back, of which nothing may be used any more. b is any
// slice that begins where the buffer does, in whatever memory.
func giveBack(b []byte) {
	if cap(b) == pipeBuffer {
		pipeBuffers.Put((*[pipeBuffer]byte)(b[:pipeBuffer]))
	}
}
