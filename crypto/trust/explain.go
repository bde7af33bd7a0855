package trust

import (
	"crypto/x509"
	"errors"
)

// finding is a reason for the lack of a path, and its rank: the highest is told.
type finding struct {
	rank   int
	reason string
	hint   string
}

// The ranks of findings.
const (
	findsMissing = iota // an authority is not at hand
	findsRoot           // the root is there and not trusted
	findsFault          // a certificate is there and does not serve
)

// above finds out why no anchor is above a candidate, with a hint where a file would help. It
// looks at each candidate once, and checks no signature: a stranger would choose how many.
func (s *search) above(c *candidate, seen map[*candidate]bool) finding {
	seen[c] = true
	name, isRoot := shownName(c.cert), c.subject == c.issuer
	if fault := signatureFault(c.cert); fault != nil {
		return finding{findsFault, "the certificate of " + name + " " + fault.Error(), ""}
	}
	best := finding{findsMissing,
		"the certificate of the authority " + shownIssuer(c.cert) + ", which issued that of " + name + ", is not at hand",
		"if that authority is to be trusted, name a file with its certificate and its root's with -ca-bundle or -only-ca"}
	switch {
	case isRoot && c == s.leaf:
		best = finding{findsFault, "it vouches for itself", ""}
	case isRoot:
		best = finding{findsRoot, "the root " + name + " above it is not trusted here",
			"if that root is to be trusted, name a file with its certificate with -ca-bundle or -only-ca"}
	}
	for _, parent := range s.candidates[1:] {
		if parent.subject == c.issuer && !seen[parent] {
			if next := s.between(c, parent, seen); next.rank >= best.rank {
				best = next
			}
		}
	}
	return best
}

// between finds out why parent, whose name is that of c's issuer, does not serve.
func (s *search) between(c, parent *candidate, seen map[*candidate]bool) finding {
	switch {
	case parent.fault != nil:
		return finding{findsFault, "the authority " + shownName(parent.cert) + " " + parent.fault.Error(), ""}
	case parent.reached:
		return finding{findsFault, notSigned(c.cert, parent.cert), ""}
	}
	return s.above(parent, seen)
}

// signatureFault refuses certificates whose signature cannot be checked, or is not safe.
func signatureFault(cert *x509.Certificate) error {
	switch cert.SignatureAlgorithm {
	case x509.UnknownSignatureAlgorithm:
		return errors.New("is signed with an algorithm, or with parameters of it, that are not known here")
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1:
		return errors.New("is signed with " + cert.SignatureAlgorithm.String() + ", which is not safe")
	}
	return nil
}
