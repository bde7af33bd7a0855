package crypto

import (
	"crypto/sha256"
	"slices"
)

// anchor is a self-signed root named by its hash. It is trusted when a peer's
// chain, the card or a CA bundle supplies the certificate itself, so the code
// carries no certificate and a peer without one is refused.
type anchor struct {
	name   string   // for people
	sha256 [32]byte // of the certificate in DER
	// stateRoot is the SHA-256 of the SPKI under which "Cartão de Cidadão"
	// authorities of this anchor stand. The MULTICERT root serves others too,
	// and none of those can name a Portuguese citizen.
	stateRoot [32]byte
}

// pinnedAnchors are the two roots of every current Cartão de Cidadão. Neither
// is in Mozilla's bundle; the root that used to stand above them there,
// Baltimore CyberTrust, ended in May 2025.
var pinnedAnchors = []anchor{
	{
		name:      "ECRaizEstado 002",
		sha256:    hex32("3932e8a2a6f9e422594291c14dd87667bfd0a72e607dfdd2872beab0e4d21a10"),
		stateRoot: hex32("0f0447be3ce55efdda74a1bf2cf2c17936e068b90ade59df74e7162feb787048"),
	},
	{
		name:      "MULTICERT Root Certification Authority 01",
		sha256:    hex32("604d32d036895aed3bfefaeb727c009ec0f2b3cdfa42a1c71730e6a72c3be9d4"),
		stateRoot: hex32("ad304c884a5d376bd195209a14c39e07f0d3f5cf893d802b053e1b926e55d774"), // ECRaizEstado, to 2030-04-16
	},
}

// IsPinnedAnchor reports whether a certificate in DER is one of those roots. A
// chain must carry it, since nobody trusts it before it is given.
func IsPinnedAnchor(der []byte) bool {
	sum := sha256.Sum256(der)
	return slices.ContainsFunc(pinnedAnchors, func(a anchor) bool { return a.sha256 == sum })
}
