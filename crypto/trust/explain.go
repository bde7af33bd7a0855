package trust

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/proto"
)

// explain turns a failure to find a path into an *Error that names the certificate at
// fault.
func (c *candidates) explain(at time.Time, err error) error {
	leaf := shownName(c.leaf)
	all := append([]*x509.Certificate{c.leaf}, c.certs...)
	for _, cert := range all {
		if len(cert.UnhandledCriticalExtensions) > 0 {
			return &Error{
				Code: proto.CertificateUntrusted,
				Reason: fmt.Sprintf("the certificate of %s has a critical extension that is not known here (%v)",
					shownName(cert), cert.UnhandledCriticalExtensions[0]),
			}
		}
	}
	if slices.ContainsFunc(all, func(cert *x509.Certificate) bool { return checkValidity(cert, at) != nil }) {
		if err := c.outOfTime(at, err); err != nil {
			return err
		}
	}
	for _, cert := range all {
		switch cert.SignatureAlgorithm {
		case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.DSAWithSHA1:
			if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
				return &Error{
					Code:   proto.CertificateUntrusted,
					Reason: fmt.Sprintf("the certificate of %s is signed with %v, which is not safe", shownName(cert), cert.SignatureAlgorithm),
				}
			}
		}
		if err := checkIssuer(cert); err != nil && cert != c.leaf {
			return &Error{Code: proto.CertificateUntrusted, Reason: "the certificate of " + shownName(cert) + " has " + err.Error()}
		}
	}
	untrusted := &Error{
		Code:   proto.CertificateUntrusted,
		Reason: fmt.Sprintf("the certificate of %s, issued by %s, does not lead to a trusted authority", leaf, shownIssuer(c.leaf)),
		Hint:   "if that authority is to be trusted, name a file with its root certificate with -ca-bundle",
	}
	if bytes.Equal(c.leaf.RawIssuer, c.leaf.RawSubject) {
		untrusted.Reason = "the certificate of " + leaf + " vouches for itself"
	} else if len(c.kinds) > 0 {
		// An anchor was there, so the fault is in between.
		untrusted.Reason += ": " + shownCause(err)
	}
	return untrusted
}

// outOfTime returns the error of the certificate whose validity makes all paths fail, or
// nil if validity is not the cause.
func (c *candidates) outOfTime(at time.Time, failure error) error {
	// If all were ever valid at once, they were when the newest began.
	newest := c.leaf.NotBefore
	for _, cert := range c.certs {
		if cert.NotBefore.After(newest) && cert.NotBefore.Before(c.leaf.NotAfter) {
			newest = cert.NotBefore
		}
	}
	for _, other := range []time.Time{newest, c.leaf.NotBefore} {
		if chains, err := c.verify(other); err == nil {
			for _, cert := range chains[0] {
				if err := checkValidity(cert, at); err != nil {
					return err
				}
			}
		}
	}
	// They never were. The standard library tells whether validity is the cause, but
	// not of which certificate.
	if strings.Contains(failure.Error(), "expired or is not yet valid") {
		for _, cert := range c.certs {
			if err := checkValidity(cert, at); err != nil {
				return err
			}
		}
	}
	return nil
}
