// Package trust decides whose a bundle is: the key K and its delegation by a card,
// the certificate path to a trust anchor, revocation lists, and the identity of the
// person. It fetches nothing, keeps no file, knows no message, and does not check
// that the peer holds K.
//
// It follows PROTOCOL.md, "Identity", doc/certificates.md, and RFC 5280, sections 5 and 6.
package trust
