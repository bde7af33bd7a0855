package trust

import (
	"crypto/sha256"

	"chatsecure/proto"
)

// anchor is a trusted self-signed root, named by its hash. The certificate itself
// comes from a peer's chain, the card or a CA bundle.
type anchor struct {
	name   string   // for people
	sha256 [32]byte // of the certificate in DER
	// stateRoot is the SHA-256 of the SPKI of the root of the state, which issues to
	// the "Cartão de Cidadão" authorities. The MULTICERT root serves others too, and
	// none of those can name a Portuguese citizen.
	stateRoot [32]byte
}

// pinnedAnchors are the roots of every current Cartão de Cidadão. Neither is in
// Mozilla's bundle, where Baltimore CyberTrust stood above them until it expired in
// May 2025. PROTOCOL.md, "Identity".
var pinnedAnchors = []anchor{
	{
		name:      "ECRaizEstado 002",
		sha256:    proto.MustHash("3932e8a2a6f9e422594291c14dd87667bfd0a72e607dfdd2872beab0e4d21a10"),
		stateRoot: proto.MustHash("0f0447be3ce55efdda74a1bf2cf2c17936e068b90ade59df74e7162feb787048"),
	},
	{
		name:      "MULTICERT Root Certification Authority 01",
		sha256:    proto.MustHash("604d32d036895aed3bfefaeb727c009ec0f2b3cdfa42a1c71730e6a72c3be9d4"),
		stateRoot: proto.MustHash("ad304c884a5d376bd195209a14c39e07f0d3f5cf893d802b053e1b926e55d774"), // ECRaizEstado, to 2030-04-16
	},
}

// anchorIn returns the anchor that a certificate in DER is, or nil.
func anchorIn(anchors []anchor, der []byte) *anchor {
	sum := sha256.Sum256(der)
	for i := range anchors {
		if anchors[i].sha256 == sum {
			return &anchors[i]
		}
	}
	return nil
}
