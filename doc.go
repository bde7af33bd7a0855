// Package chatsecure is the two programs, relay and client, as functions: RelayMain
// and ClientMain. People talk through a relay in messages that are signed under
// their smart cards and encrypted end to end. The relay delivers them, and is
// trusted with nothing else. PROTOCOL.md is the wire format and SECURITY.md the
// promises.
//
// This package holds the relay's command line and the process around each program.
// The wire format is in proto, keys and transcripts in crypto, certificates in
// crypto/trust, and tokens in card. The relay itself is internal/relay. The
// client is internal/client, with its history, state and fetching beside it; its
// commands and prompt are internal/command. Nothing here is a library for others.
package chatsecure

import _ "embed"

// caBundle is Mozilla's list of certificate authorities in PEM, as Debian's
// ca-certificates package ships it (MPL 2.0).
//
//go:embed ca-bundle.pem
var caBundle []byte
