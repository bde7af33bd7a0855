// Package proto is what crosses the wire between client and relay: lines, the
// messages in them, names, error codes and the limits on all of these. It
// knows nothing about keys, and it opens no sockets.
//
// The formats are set out in PROTOCOL.md, "Lines" to "Error codes".
package proto

import "time"

// The bounds on what either side accepts. Each is here once, with its reason;
// PROTOCOL.md, "Limits", repeats those that a peer must keep to.
const (
	// MaxLine is the longest line in bytes, newline not counted: room for one
	// sealed record of 640 KiB in base64, small enough to hold a line a
	// connection in memory.
	MaxLine = 1 << 20

	// MaxHandshakeLine bounds a line until connect phase 4: eight certificates
	// and a KEM ciphertext take less, and strangers may send it.
	MaxHandshakeLine = 64 << 10

	// MaxBlankLines is how many blank lines may follow one another: a peer
	// that ends its lines twice sends one, a flood is refused.
	MaxBlankLines = 64

	// MaxBody bounds an encoded record, batch or pipe chunk, so that it fits
	// MaxLine after two seals, header lines and base64 (4/3).
	MaxBody = 640 << 10

	// MaxText is the longest text of one record in bytes.
	MaxText = 256 << 10

	// MaxRecipients is how many names one record may go to: its `to` list
	// stands in every record and must leave room for the text.
	MaxRecipients = 256

	// MaxCiphers bounds the suites offered: there are three, and room for more.
	MaxCiphers = 16

	// ListPage is how many connections one list line carries, so that ten
	// thousand users do not overflow MaxLine.
	ListPage = 2000

	// MaxWhois is how many connections one whois answer carries: a bundle is at
	// most 27 KiB in base64, and all must fit one line.
	MaxWhois = 16

	// MaxWatches is how many names one connection may watch.
	MaxWatches = 512

	// RelayWindow is how many bytes of body a sender may have on the way to one
	// destination before the relay's ack (or one message, if it is longer). It
	// bounds what one sender can make the relay hold for a slow reader.
	RelayWindow = 256 << 10

	// RelayMessages is how many messages may be on the way so, whatever their
	// length: one takes the relay more memory than its bytes. An end-to-end
	// message is longer than 256 bytes, so who sends no empty ones never meets
	// this bound.
	RelayMessages = RelayWindow / 256

	// MaxQueue bounds the bytes the relay holds for one destination from all
	// senders together; a destination beyond it is closed as slow.
	MaxQueue = 16 << 20
)

// The waits.
const (
	// HandshakeTimeout bounds the whole connect handshake.
	HandshakeTimeout = 10 * time.Second
	// KeepAlive is the silence after which a side sends an empty ack.
	KeepAlive = 30 * time.Second
	// LostAfter is the silence after which the other side is taken for lost.
	LostAfter = 90 * time.Second
	// StalledAfter is how long a destination may take nothing.
	StalledAfter = 30 * time.Second
	// PhaseTimeout bounds the wait for the next client-connect phase.
	PhaseTimeout = 10 * time.Second
	// AckTimeout is how long a sender waits for the relay's ack before it
	// drops the conversation and shakes hands again.
	AckTimeout = 30 * time.Second
)
