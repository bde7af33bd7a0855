package trust

import (
	"crypto/sha256"
	"slices"

	"chatsecure/proto"
)

// pinnedAnchors are the roots of every current Cartão de Cidadão, by the hash of the certificate
// in DER. The certificate itself comes from a peer's chain, the card or a CA bundle. Neither is in
// Mozilla's bundle, where Baltimore CyberTrust stood above them until it expired in
// May 2025. PROTOCOL.md, "Identity".
var pinnedAnchors = [][32]byte{
	proto.MustHash("3932e8a2a6f9e422594291c14dd87667bfd0a72e607dfdd2872beab0e4d21a10"), // ECRaizEstado 002
	proto.MustHash("604d32d036895aed3bfefaeb727c009ec0f2b3cdfa42a1c71730e6a72c3be9d4"), // MULTICERT Root Certification Authority 01
}

// stateRoots are the keys of the roots of the state, which issue to the "Cartão de Cidadão"
// authorities, by the hash of the SPKI. The MULTICERT root serves others too, and none of
// those can name a Portuguese citizen.
var stateRoots = [][32]byte{
	proto.MustHash("0f0447be3ce55efdda74a1bf2cf2c17936e068b90ade59df74e7162feb787048"), // ECRaizEstado 002
	proto.MustHash("ad304c884a5d376bd195209a14c39e07f0d3f5cf893d802b053e1b926e55d774"), // ECRaizEstado, to 2030-04-16
}

// isAmong reports whether a certificate in DER is one of these anchors.
func isAmong(anchors [][32]byte, der []byte) bool {
	return slices.Contains(anchors, sha256.Sum256(der))
}
