package trust

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"chatsecure/proto"
)

// check is one look at an identity, against one state of the Verifier.
type check struct {
	trust  *Store
	crls   *CRLStore
	policy Policy
	now    time.Time // the lists' present in a look at the past; zero: the look is live
}

// person finds the person of a bundle at a time. Errors are *Error.
func (c check) person(d *Proved, at time.Time) (*Person, error) {
	if err := d.prove(c.trust); err != nil {
		return nil, err
	}
	if err := d.checkTimes(at); err != nil {
		return nil, err
	}
	person, err := c.holder(d.paths, at)
	if err != nil {
		return nil, err
	}
	person.Name, person.Key, person.Expires = d.bundle.Name, d.key, time.Unix(d.bundle.NotAfter, 0).UTC()
	person.Proved = d
	return person, nil
}

// holder finds the person of a certificate with these paths at a time: validity,
// revocation, identity. The Person lacks the fields that a bundle gives.
func (c check) holder(paths []path, at time.Time) (*Person, error) {
	paths, err := validAt(paths, at)
	if err != nil {
		return nil, err
	}
	chosen, revocation, err := c.choose(slices.Clone(paths), at)
	if err != nil {
		return nil, err
	}
	identity, err := identify(chosen)
	if err != nil {
		return nil, err
	}
	person := &Person{
		Identity: identity, Leaf: chosen.certs[0], Path: chosen.certs, Signers: chosen.signers, Revocation: revocation,
		Anchor: chosen.kind.String(), Citizen: chosen.isCitizen(),
	}
	for _, p := range paths {
		for _, cert := range p.certs[1:] {
			if !slices.Contains(person.Authorities, cert) {
				person.Authorities = append(person.Authorities, cert)
			}
		}
	}
	return person, nil
}

// choose picks one of the paths that hold, best first, by revocation: one without a
// revoked authority will do, and a known status is better than an unknown one. The leaf is
// of one authority on all of them, so it is revoked if it is on one.
func (c check) choose(paths []path, at time.Time) (path, RevocationResult, error) {
	// The identity must not depend on the lists at hand. If one path is a citizen's,
	// only citizens' paths count.
	if slices.ContainsFunc(paths, path.isCitizen) {
		paths = slices.DeleteFunc(paths, func(p path) bool { return !p.isCitizen() })
	}
	if c.policy == PolicyOff {
		return paths[0], RevocationResult{Status: RevocationOff, Reason: "revocation is not looked at"}, nil
	}
	var best path
	var found RevocationResult
	var leaf *Revocation // later, on any path
	for _, p := range paths {
		result := c.crls.check(p.certs, p.signers, at, c.now)
		leaf = worseOf(leaf, result.Certificates[0].Later)
		sure := result.Status == found.Status && found.Later.Doubts() && !result.Later.Doubts()
		if found.Status == "" || result.Status.better(found.Status) || sure {
			best, found = p, result
		}
		if result.Certificates[0].Status == RevocationRevoked {
			best, found = p, result
			break
		}
	}
	found.Later = worseOf(found.Later, leaf)
	refused := &Error{Code: proto.CertificateRevoked, Reason: found.Reason, Hint: found.Hint}
	switch {
	case found.Status == RevocationRevoked:
	case found.Status == RevocationUnknown && c.policy == PolicyRequire:
		hint := strings.TrimPrefix(found.Hint+", or use -crl-policy try", ", or ")
		refused = &Error{Code: proto.RevocationUnknown, Reason: found.Reason, Hint: hint, Other: found.told}
	default:
		return best, found, nil
	}
	refused.Places = found.Places(cmp.Or(c.now, at))
	return path{}, found, refused
}
