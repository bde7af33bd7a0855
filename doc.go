// Package chatsecure is Relay and Client: messages between people over TCP in
// newline-delimited JSON, end-to-end encrypted and signed under identities
// that come from smart cards.
//
// A Client proves who it is with a delegation that its card signed once, and
// checks every peer itself; a Relay is trusted with delivery and with nothing
// else. The wire format is PROTOCOL.md; lines are in package proto, keys and
// transcripts in package crypto, tokens in package card. The commands in cmd
// are thin mains over this package.
package chatsecure

import _ "embed"

// CABundle is Mozilla's list of certificate authorities in PEM, as Debian's
// ca-certificates package ships it (MPL 2.0).
//
//go:embed ca-bundle.pem
var CABundle []byte
