// Package crypto is the cryptography of ChatSecure above certificates: the cipher
// suites, the connect and client-connect handshakes with their key schedules,
// the chains and the ratchet, messages, records and receipts. It parses no
// certificate, which is for crypto/trust, opens no socket and stores nothing.
//
// It follows PROTOCOL.md, "Suites" and "Connect" to "Ratchet".
package crypto
