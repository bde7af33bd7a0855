package command

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// lookAtCertificate checks the certificate's validity.
func (d *doctor) lookAtCertificate() {
	const check = "certificate"
	if d.leaf == nil {
		d.add(check, doctorSkipped, "", "there is no card to read it from")
		return
	}
	leaf, err := d.a.ownLeaf(d.leaf)
	if err != nil {
		d.fail(check, err)
		return
	}
	message := fmt.Sprintf("%s, valid until %s UTC", trust.SubjectName(leaf),
		leaf.NotAfter.UTC().Format(time.DateTime))
	if left := leaf.NotAfter.Sub(d.a.Now()); left < doctorCardSoon {
		d.note(check, "have the card renewed", "%s", message)
	} else {
		d.ok(check, "%s", message)
	}
}

// doctorCardSoon is a card's remaining time that calls for a renewal, which
// takes weeks.
const doctorCardSoon = 60 * 24 * time.Hour

// lookAtTrust checks the chain without revocation, and then revocation. Its
// error is one of the command line.
func (d *doctor) lookAtTrust(ctx context.Context) error {
	fetched, issuers := d.a.fetched()
	t, err := d.a.trust(fetched)
	if err != nil {
		return err
	}
	d.lists = t.cfg.CRLs
	if d.leaf == nil {
		d.add("chain", doctorSkipped, "", "there is no certificate to look at")
		d.add("crl", doctorSkipped, "", "there is no certificate to look at")
		return nil
	}
	d.chain = slices.Concat(d.chain, issuers) // the store has those of the bundle
	cfg := t.cfg
	cfg.Policy = trust.PolicyOff
	person, err := trust.NewVerifier(cfg).Certificate(d.leaf, d.chain)
	if err != nil {
		place := d.issuerPlace(t.more)
		if !fail.HasCode(err, proto.CertificateUntrusted) {
			place = ""
		}
		switch why := fetch.NotAsked(ctx, place); {
		case place == "":
			d.fail("chain", d.a.ownRefused(err))
		case why != "" && !d.a.opt.fetchPrivate:
			d.fail("chain", fail.Errorf(proto.CertificateUntrusted,
				"its authority's certificate is not on the card, and is not fetched from %s: %s", place, why).
				With("allow it with -fetch-private, or give it with -ca-bundle FILE"))
		default:
			d.note("chain", "or give it with -ca-bundle FILE", "its authority's certificate is not "+
				"on the card; the first connection fetches it from %s", place)
		}
		d.add("crl", doctorSkipped, "", "there is no chain to look at")
		return nil
	}
	d.ok("chain", "%s; identity %x", strings.Join(authorityNames(person), ", "), person.Identity)
	d.revocation(t)
	return nil
}

// issuerPlace returns the URL from which the issuer's certificate would be
// fetched, or "" if it is at hand or is not fetched.
func (d *doctor) issuerPlace(more [][]byte) string {
	leaf, err := x509.ParseCertificate(d.leaf)
	if err != nil || !d.a.opt.fetch ||
		trust.HasIssuer(leaf, trust.Authorities(slices.Concat(d.chain, more))) {
		return ""
	}
	for _, address := range leaf.IssuingCertificateURL {
		if strings.HasPrefix(address, "http://") {
			return address
		}
	}
	return ""
}

// revocation checks the certificate against the lists at hand.
func (d *doctor) revocation(t *trusted) {
	const check = "crl"
	if t.cfg.Policy == trust.PolicyOff {
		d.note(check, "use -crl-policy try", "revocation is not checked: %s is off",
			d.a.opt.places.of("crl-policy"))
		return
	}
	person, err := t.verifier.Certificate(d.leaf, d.chain)
	switch {
	case err != nil:
		d.fail(check, err)
	case person.Revocation.Status == trust.RevocationGood:
		d.ok(check, "%s", person.Revocation.Reason)
	default:
		d.note(check, person.Revocation.Hint, "%s", person.Revocation.Reason)
	}
	for _, l := range t.cfg.CRLs.List() {
		if remark := l.Remark(); remark != "" && l.Verified { // it is about the card's path
			d.note(check, "", "the list %s of %s: %s", l.Source, l.Issuer, remark)
		}
	}
}
