package proto

import "time"

// The bounds on what either side accepts, each with its reason. PROTOCOL.md,
// "Limits", repeats those that a peer must keep to.
const (
	// MaxLine is the longest line in bytes, newline not counted. It has room for
	// a sealed MaxBody in base64, and each connection may hold one in memory.
	MaxLine = 1 << 20

	// MaxHandshakeLine bounds a line until connect phase 4, in bytes: strangers
	// send it. Eight certificates and a KEM ciphertext take less.
	MaxHandshakeLine = 64 << 10

	// MaxBlankLines bounds consecutive blank lines. A peer that ends its lines
	// twice sends one; a flood is refused.
	MaxBlankLines = 64

	// MaxBody bounds an encoded record, batch or pipe chunk, in bytes. After two
	// seals, header lines and base64 (4/3) it fits MaxLine.
	MaxBody = 640 << 10

	// MaxText is the longest text of one record in bytes.
	MaxText = 256 << 10

	// MaxLetter bounds a letter in bytes: the relay keeps it on its disk for days.
	MaxLetter = 64 << 10

	// MaxMailboxesTo bounds the mailboxes of a letter-to answer, and with it the
	// letters of one text: one for each device.
	MaxMailboxesTo = 8

	// MaxCollects bounds the mailboxes that a connection collects: the newest, and
	// the one before it.
	MaxCollects = 2

	// MaxRecipients bounds the `to` list, which stands in every record and must
	// leave room for the text.
	MaxRecipients = 256

	// MaxCiphers bounds the suites offered. Three exist.
	MaxCiphers = 16

	// ListPage is the number of connections in one list line: ten thousand do
	// not fit MaxLine.
	ListPage = 2000

	// MaxWatches bounds the names that one connection watches.
	MaxWatches = 512

	// RelayWindow bounds the bytes of body that a sender has on the way to one
	// destination before the relay's ack; a single message may be longer. It
	// limits the memory that one sender takes in the relay for a slow reader.
	RelayWindow = 256 << 10

	// RelayMessages bounds the messages of a RelayWindow: each takes the relay
	// more memory than its bytes. End-to-end messages have more than 256 bytes,
	// so only a flood of empty ones meets this bound.
	RelayMessages = RelayWindow / 256

	// MaxQueue bounds the bytes that the relay holds for one destination, from
	// all senders together. A destination beyond it is closed as slow.
	MaxQueue = 16 << 20
)

// The timeouts.
const (
	// HandshakeTimeout bounds the whole connect handshake.
	HandshakeTimeout = 10 * time.Second
	// KeepAlive is the silence after which a side sends an empty ack.
	KeepAlive = 30 * time.Second
	// LostAfter is the silence after which a side gives the other up.
	LostAfter = 90 * time.Second
	// StalledAfter bounds the time in which a destination takes nothing.
	StalledAfter = 30 * time.Second
	// PhaseTimeout bounds the wait for the next client-connect phase.
	PhaseTimeout = 10 * time.Second
	// AckTimeout bounds the wait for the relay's ack. After it a sender drops the
	// conversation and shakes hands again.
	AckTimeout = 30 * time.Second
)
