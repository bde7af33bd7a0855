package relay

import (
	"crypto/sha256"

	"chatsecure/crypto/trust"
)

// certificates holds the certificates of live connections once each, because
// thousands of people have the same chain.
type certificates map[[sha256.Size]byte]*certificate

type certificate struct {
	der   []byte
	users int
}

// hold returns a copy of the bundle that shares its certificates.
func (s certificates) hold(b *trust.Bundle) *trust.Bundle {
	shared := *b
	shared.X509 = s.one(b.X509)
	shared.Chain = make([][]byte, len(b.Chain))
	for i, der := range b.Chain {
		shared.Chain[i] = s.one(der)
	}
	return &shared
}

func (s certificates) one(der []byte) []byte {
	sum := sha256.Sum256(der)
	if s[sum] == nil {
		s[sum] = &certificate{der: der}
	}
	s[sum].users++
	return s[sum].der
}

// drop gives up the certificates of a bundle from hold.
func (s certificates) drop(b *trust.Bundle) {
	for _, der := range append([][]byte{b.X509}, b.Chain...) {
		sum := sha256.Sum256(der)
		if cert := s[sum]; cert != nil {
			if cert.users--; cert.users == 0 {
				delete(s, sum)
			}
		}
	}
}
