package lab

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"testing"
	"time"
)

// now is a fixed clock: the lab's times follow it and nothing else.
var now = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)

func fixed() time.Time { return now }

func TestHoldersOutOfOrder(t *testing.T) {
	p := newLab(t, Options{Now: fixed})
	for _, c := range []struct {
		name   string
		opts   []IssueOption
		reason x509.InvalidReason // that Verify gives; -1 is another error
	}{
		{"expired", []IssueOption{Expired}, x509.Expired},
		{"notyet", []IssueOption{NotYetValid}, x509.Expired},
		{"untrusted", []IssueOption{Untrusted}, -1},
		{"selfsigned", []IssueOption{SelfSigned}, -1},
		{"forged", []IssueOption{Forged}, -1},
		{"noca", []IssueOption{NoCA}, -1},
		{"sha1", []IssueOption{Mutate(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })}, -1},
		{"critical", []IssueOption{Mutate(func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, unknownCritical) })}, -1},
	} {
		err := verify(p, issue(t, p, c.name, c.opts...), now)
		var invalid x509.CertificateInvalidError
		switch {
		case err == nil:
			t.Errorf("%s: it verifies", c.name)
		case errors.As(err, &invalid) && invalid.Reason != c.reason:
			t.Errorf("%s: %v", c.name, err)
		case !errors.As(err, &invalid) && c.reason != -1:
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := verify(p, issue(t, p, "alice"), now); err != nil {
		t.Errorf("the usual one: %v", err)
	}
	if err := verify(p, issue(t, p, "old", Expired), now.Add(-year)); err != nil {
		t.Errorf("the expired one, in its time: %v", err)
	}
}

var unknownCritical = Extension(asn1.ObjectIdentifier{1, 2, 3, 4}, true, "odd")

func TestUntrustedHasItsOwnWholeChain(t *testing.T) {
	p := newLab(t, Options{})
	h := issue(t, p, "mallory", Untrusted)
	if h.Leaf.Issuer.String() != p.Auth.Cert.Subject.String() {
		t.Errorf("issuer %s is not of the trusted one's name", h.Leaf.Issuer)
	}
	if err := verify(p.other, h, time.Now()); err != nil {
		t.Errorf("under its own root: %v", err)
	}
	if bytes.Equal(p.other.Root.Cert.RawSubject, p.Root.Cert.RawSubject) {
		t.Error("two labs have roots of one name")
	}
}

func TestForgedDiffersInTheSignatureOnly(t *testing.T) {
	p := newLab(t, Options{})
	h := issue(t, p, "mallory", Forged)
	if !p.Auth.issued(h.Leaf) || len(h.Chain) != 2 {
		t.Error("it does not name the CA that it pretends to be from")
	}
	if err := h.Leaf.CheckSignatureFrom(p.Auth.Cert); err == nil {
		t.Error("the CA's key signed it after all")
	}
}

func TestRenewalIsTheSamePerson(t *testing.T) {
	p := newLab(t, Options{})
	old := issue(t, p, "alice")
	renewed, other := issue(t, p, "alice", RenewalOf(old)), issue(t, p, "alice")
	if !bytes.Equal(renewed.Leaf.RawSubject, old.Leaf.RawSubject) {
		t.Errorf("subject %s after %s", renewed.Leaf.Subject, old.Leaf.Subject)
	}
	if renewed.Leaf.SerialNumber.Cmp(old.Leaf.SerialNumber) == 0 || bytes.Equal(renewed.Leaf.RawSubjectPublicKeyInfo, old.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("the renewed card has the serial or the key of the old one")
	}
	if other.Leaf.Subject.SerialNumber == old.Leaf.Subject.SerialNumber {
		t.Error("two people have one civil number")
	}
}

func TestPathLengthsHold(t *testing.T) {
	p := newLab(t, Options{})
	below, err := p.NewCA(p.Auth, DN("CN", "one CA too many"))
	if err != nil {
		t.Fatal(err)
	}
	err = verify(p, issue(t, p, "alice", By(below)), time.Now())
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.TooManyIntermediates {
		t.Errorf("a CA under the sub CA: %v", err)
	}
	beside, err := p.NewCA(p.Root, DN("CN", "beside"), PathLen(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(p, issue(t, p, "alice", By(beside)), time.Now()); err != nil {
		t.Errorf("a CA beside: %v", err)
	}
}

func TestCivilNumberCheckDigit(t *testing.T) {
	// With weights 9 to 2, and 1 for the check digit, the sum is a multiple of
	// eleven: 156+9, 9+2, 24+9. A ten, as for 12, is written 0.
	for digits, want := range map[string]string{"12345678": "BI123456789", "00000000": "BI000000000", "10000000": "BI100000002", "00000600": "BI000006009", "00000040": "BI000000400"} {
		if got := CivilNumber(digits); got != want {
			t.Errorf("%s: %s, want %s", digits, got, want)
		}
	}
}
