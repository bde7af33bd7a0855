package trust

import (
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"chatsecure/proto"
)

// check validates a way as RFC 5280, section 6.1, does, except for the time and for
// revocation; reach and authorityFault have done a part. Errors are *Error.
func (w way) check() (path, error) {
	last := w[len(w)-1]
	p := path{kind: last.kind}
	for _, c := range w {
		p.certs = append(p.certs, c.cert)
	}
	return p, cmp.Or(p.checkExtensions(), p.checkLength(), p.checkHosts(), p.checkOthers(), p.checkUsage())
}

func (p path) untrusted(format string, args ...any) error {
	return untrusted(p.certs[0], fmt.Sprintf(format, args...))
}

// checkExtensions refuses what is critical and not known, name constraints of a kind that
// nobody checks, critical or not, and a mapping of any policy (RFC 5280, section 6.1.4 (a)).
func (p path) checkExtensions() error {
	for i, cert := range p.certs {
		if value, found := extension(cert, oidNameConstraints); i > 0 && found && !isCheckedConstraint(value) {
			return p.untrusted("the authority %s may only vouch for certain names (name constraints), in a form that is not known here",
				shownName(cert))
		}
		if len(cert.UnhandledCriticalExtensions) > 0 {
			return p.untrusted("the certificate of %s has a critical extension that is not known here (%v)",
				shownName(cert), cert.UnhandledCriticalExtensions[0])
		}
		if i > 0 && slices.ContainsFunc(cert.PolicyMappings, mapsAny) {
			return p.untrusted("the authority %s maps certificate policies to or from any policy", shownName(cert))
		}
	}
	return nil
}

func mapsAny(m x509.PolicyMapping) bool {
	return m.IssuerDomainPolicy.EqualASN1OID(oidAnyPolicy) || m.SubjectDomainPolicy.EqualASN1OID(oidAnyPolicy)
}

// isCheckedConstraint reports whether all of these NameConstraints are of a checked kind,
// mail, DNS, URI or IP, and without a minimum or maximum.
func isCheckedConstraint(value []byte) bool {
	type subtree struct{ Base asn1.RawValue } // with more it is not the same again in DER
	lists, err := parseDER[struct {
		Permitted []subtree `asn1:"optional,tag:0"`
		Excluded  []subtree `asn1:"optional,tag:1"`
	}](value)
	return err == nil && !slices.ContainsFunc(slices.Concat(lists.Permitted, lists.Excluded), func(t subtree) bool {
		return t.Base.Class != asn1.ClassContextSpecific || t.Base.IsCompound || !slices.Contains([]int{1, 2, 6, 7}, t.Base.Tag)
	})
}

// checkLength checks pathLenConstraint. Self-issued authorities do not count (RFC 5280,
// section 6.1.4 (l)).
func (p path) checkLength() error {
	below := 0
	for i, cert := range p.certs[1:] {
		most := cert.MaxPathLen
		if most == 0 && !cert.MaxPathLenZero {
			most = -1
		}
		if cert.BasicConstraintsValid && most >= 0 && below > most {
			return p.untrusted("the number of authorities below %s on a path is %d, and may be %d at most",
				shownName(cert), below, most)
		}
		if i+2 < len(p.certs) && !sameName(cert.RawSubject, cert.RawIssuer) {
			below++
		}
	}
	return nil
}

// checkHosts checks the constraints on mail and URIs of every authority against all
// certificates below it (RFC 5280, section 4.2.1.10). crypto/x509 takes a host in them for a
// whole domain.
func (p path) checkHosts() error {
	for i, cert := range p.certs[1:] {
		for j, below := range p.certs[:i+1] {
			if j > 0 && sameName(below.RawSubject, below.RawIssuer) {
				continue // self-issued
			}
			for _, address := range mailAddresses(below) {
				isMail := strings.IndexByte(address, '@') > 0
				if !isPermitted(cert.PermittedEmailAddresses, cert.ExcludedEmailAddresses, address, isMail, mailMatches) {
					return p.untrusted("the authority %s may not vouch for the mail address %s (name constraints)",
						shownName(cert), shownText(address))
				}
			}
			for _, uri := range below.URIs {
				host := uri.Hostname()
				isName := host != "" && net.ParseIP(host) == nil
				if !isPermitted(cert.PermittedURIDomains, cert.ExcludedURIDomains, host, isName, hostMatches) {
					return p.untrusted("the authority %s may not vouch for the host of a URI %s (name constraints)",
						shownName(cert), shownText(host))
				}
			}
		}
	}
	return nil
}

// isPermitted reports whether constraints allow a name. They allow none that is not of their kind.
func isPermitted(permitted, excluded []string, name string, isName bool, matches func(name, constraint string) bool) bool {
	matched := func(constraint string) bool { return matches(name, constraint) }
	return len(permitted) == 0 && len(excluded) == 0 ||
		isName && (len(permitted) == 0 || slices.ContainsFunc(permitted, matched)) && !slices.ContainsFunc(excluded, matched) &&
			!slices.Contains(excluded, "") // which is all names to crypto/x509
}

// mailAddresses returns the addresses that constraints are about: the alternative names,
// or without these the emailAddress attributes of the subject.
func mailAddresses(cert *x509.Certificate) (addresses []string) {
	if hasExtension(cert, oidAlternativeNames) {
		return cert.EmailAddresses
	}
	for _, attribute := range cert.Subject.Names {
		if address, ok := attribute.Value.(string); ok && attribute.Type.Equal(oidEmailAddress) {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// mailMatches reports whether an address satisfies a constraint: one mailbox, or its host.
func mailMatches(address, constraint string) bool {
	at := strings.LastIndexByte(address, '@')
	if i := strings.LastIndexByte(constraint, '@'); i >= 0 {
		return at == i && address[:at] == constraint[:i] && hostMatches(address[at+1:], constraint[i+1:])
	}
	return hostMatches(address[at+1:], constraint)
}

// hostMatches reports whether a host satisfies a constraint: that host, or with a period in
// front all hosts of a domain.
func hostMatches(host, constraint string) bool {
	host, constraint = strings.TrimSuffix(strings.ToLower(host), "."), strings.ToLower(constraint) // a final period changes no host
	if strings.HasPrefix(constraint, ".") {
		return strings.HasSuffix(host, constraint)
	}
	return host == constraint
}

// checkOthers leaves to crypto/x509 the constraints on DNS names and IP addresses, and
// the policies that an authority may require. It verifies every signature again, so only a
// path with such extensions is shown to it.
func (p path) checkOthers() error {
	if slices.ContainsFunc(p.certs, func(c *x509.Certificate) bool { return hasExtension(c, oidNameConstraints, oidPolicyConstraints) }) {
		return p.checkByX509()
	}
	return nil
}

// checkByX509 has crypto/x509 validate this one path, at a moment within it. There is no
// such moment where one certificate ends before another begins; then checkTime refuses
// the path at all times.
func (p path) checkByX509() error {
	since, till := p.window()
	if since.After(till) {
		return nil
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	shown := make([]*x509.Certificate, len(p.certs))
	for i, cert := range p.certs {
		c := *cert
		if i > 0 { // crypto/x509 compares names by their bytes
			c.RawSubject = p.certs[i-1].RawIssuer
		}
		c.MaxPathLen, c.MaxPathLenZero = -1, false                     // checkLength
		c.PermittedEmailAddresses, c.ExcludedEmailAddresses = nil, nil // checkHosts
		c.PermittedURIDomains, c.ExcludedURIDomains = nil, nil
		shown[i] = &c
		switch {
		case i == len(p.certs)-1:
			roots.AddCert(&c)
		case i > 0:
			others.AddCert(&c)
		}
	}
	_, err := shown[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: others, CurrentTime: since,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // see checkUsage
	})
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case ok && invalid.Reason == x509.CANotAuthorizedForThisName:
		return p.untrusted("an authority above it may not vouch for one of its names (name constraints): %s",
			shownCause(errors.New(invalid.Detail)))
	case ok && invalid.Reason == x509.NoValidChains:
		return p.untrusted("an authority above it requires a certificate policy, and there is none that all of its certificates have")
	}
	return p.untrusted("%s", shownCause(err))
}

// checkUsage: under an anchor of Mozilla's bundle, all certificates below the anchor must
// allow client authentication, or all e-mail. A certificate without the extension allows
// everything (RFC 5280, section 4.2.1.12).
func (p path) checkUsage() error {
	allows := func(usage x509.ExtKeyUsage) bool {
		return !slices.ContainsFunc(p.certs[:len(p.certs)-1], func(cert *x509.Certificate) bool {
			none := len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0
			return !none && !slices.Contains(cert.ExtKeyUsage, usage) && !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
		})
	}
	if p.kind != anchorMozilla || allows(x509.ExtKeyUsageClientAuth) || allows(x509.ExtKeyUsageEmailProtection) {
		return nil
	}
	err := refuse(proto.CertificateUnsuitable,
		"the certificate of %s is not for client authentication or e-mail, as the authorities of Mozilla's bundle must say",
		shownName(p.certs[0]))
	err.Hint = "use a card's authentication certificate, or name its authority with -ca-bundle or -only-ca"
	return err
}

// window returns the times between which all certificates are valid. They are in the wrong
// order if there are none.
func (p path) window() (since, till time.Time) {
	last := slices.MaxFunc(p.certs, func(a, b *x509.Certificate) int { return a.NotBefore.Compare(b.NotBefore) })
	first := slices.MinFunc(p.certs, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	return last.NotBefore, first.NotAfter
}

// checkTime checks that all certificates are valid at one moment within the tolerance of
// at.
func (p path) checkTime(at time.Time) error {
	for _, cert := range p.certs {
		if err := checkValidity(cert, at); err != nil {
			return err
		}
	}
	if since, till := p.window(); since.After(till) {
		return refuse(proto.CertificateExpired, "of the certificates above %s, one ended on %s, before another began on %s",
			shownName(p.certs[0]), shownTime(till), shownTime(since))
	}
	return nil
}

// validAt returns the paths that hold at the time, or the reason why the best does not.
func validAt(paths []path, at time.Time) (valid []path, err error) {
	for _, p := range paths {
		switch refusal := p.checkTime(at); {
		case refusal == nil:
			valid = append(valid, p)
		case err == nil:
			err = refusal
		}
	}
	if len(valid) > 0 {
		return valid, nil
	}
	return nil, err
}
