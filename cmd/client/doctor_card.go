package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"chatsecure"
	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// moduleTrouble are the kinds of error that lie before any reader.
var moduleTrouble = []error{card.BadSpec, card.NoModule, card.ModuleMissing, card.ModuleArch, card.ModuleLoad, card.NoCgo}

func isModuleTrouble(err error) bool {
	for _, kind := range moduleTrouble {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// lookAtCard checks module, reader and card. With a kept key they are not
// needed, and trouble with them is no failure.
func (d *doctor) lookAtCard(ctx context.Context) {
	if d.kept != nil {
		d.leaf, d.chain = d.kept.Bundle.X509, d.kept.Bundle.Chain
		until := time.Unix(d.kept.Bundle.NotAfter, 0).Local().Format(time.DateTime)
		for _, check := range []string{"module", "reader", "card"} {
			d.ok(check, "not needed: a kept key is used until %s", until)
		}
		return
	}
	opt := d.a.cardOptions()
	opt.PIN, opt.Notice = nil, nil
	report, err := card.Survey(ctx, d.a.opt.card, opt)
	if err == nil && report.Err != nil && isModuleTrouble(report.Err) {
		err = report.Err
	}
	if err != nil {
		d.fail("module", err)
		d.skip("reader", "no module can be asked")
		d.skip("card", "no module can be asked")
		return
	}
	d.module(report)
	if spec := d.a.opt.card; spec != "" && !strings.HasPrefix(strings.ToLower(spec), "pkcs11:") {
		d.ok("reader", "not needed for a software card")
	} else if !d.reader(report) {
		d.skip("card", "there is no reader for it")
		return
	}
	d.token(report)
}

// module tells which modules work, and of those that do not.
func (d *doctor) module(report *card.Report) {
	var works, broken []string
	for _, m := range report.Modules {
		if m.Err != nil {
			broken = append(broken, m.Path+": "+m.Err.Error())
			continue
		}
		works = append(works, m.Path+described(m.Description))
	}
	message := strings.Join(works, ", ")
	if len(broken) > 0 {
		d.note("module", "name the one that is meant with -card", "%s; not usable: %s", message, strings.Join(broken, "; "))
		return
	}
	d.ok("module", "%s", message)
}

// reader tells which readers there are, or reports that there is none.
func (d *doctor) reader(report *card.Report) bool {
	var readers []string
	for _, m := range report.Modules {
		for _, s := range m.Slots {
			readers = append(readers, fmt.Sprintf("%s in slot %d", s.Description, s.ID))
		}
	}
	if len(readers) == 0 {
		d.fail("reader", &chatsecure.Error{Code: proto.Card, Message: "no reader is found", Hint: "plug one in; on Linux, pcscd must run"})
		return false
	}
	d.ok("reader", "%s", strings.Join(readers, ", "))
	return true
}

// token finds the certificate that would be used.
func (d *doctor) token(report *card.Report) {
	if report.Err != nil {
		d.fail("card", report.Err)
		return
	}
	for _, m := range report.Modules {
		for _, s := range m.Slots {
			if s.Token != nil && d.used(s.Token) {
				message := fmt.Sprintf("%q", s.Token.Label)
				if len(s.Token.Flags) > 0 {
					message += ", " + strings.Join(s.Token.Flags, ", ")
				}
				switch {
				case s.Token.Locked != nil:
					d.fail("card", s.Token.Locked)
				case s.Token.Warning != "":
					d.note("card", "make sure of the PIN: the right one brings back all tries", "%s: %s", message, s.Token.Warning)
				default:
					d.ok("card", "%s", message)
				}
				return
			}
		}
	}
	d.fail("card", &chatsecure.Error{Code: proto.Card, Message: "no certificate in any reader can be used"})
}

// used keeps the certificate of the token that would be used, and those of the
// authorities beside it.
func (d *doctor) used(t *card.TokenReport) bool {
	for _, c := range t.Certificates {
		if c.Used && c.Err == nil {
			d.leaf = c.DER
		}
		if c.CA && c.Err == nil {
			d.chain = append(d.chain, c.DER)
		}
	}
	if d.leaf == nil {
		d.chain = nil
	}
	return d.leaf != nil
}

// lookAtCertificate checks the certificate's own time.
func (d *doctor) lookAtCertificate() {
	const check = "certificate"
	if d.leaf == nil {
		d.skip(check, "there is no card to read it from")
		return
	}
	leaf, err := x509.ParseCertificate(d.leaf)
	if err != nil {
		d.fail(check, &chatsecure.Error{Code: proto.Card, Message: "the card's certificate cannot be read", Err: err})
		return
	}
	if err := d.a.timely(leaf); err != nil {
		d.fail(check, err)
		return
	}
	message := fmt.Sprintf("%s, valid until %s UTC", leaf.Subject.CommonName, leaf.NotAfter.UTC().Format(time.DateTime))
	if left := leaf.NotAfter.Sub(d.a.now()); left < doctorCardSoon {
		d.note(check, "have the card renewed", "%s", message)
		return
	}
	d.ok(check, "%s", message)
}

// doctorCardSoon is when a card's end is near: renewing one takes weeks.
const doctorCardSoon = 60 * 24 * time.Hour

// lookAtTrust checks the chain, whatever is known of revocation, and then the
// revocation. An error is one of the command line.
func (d *doctor) lookAtTrust(ctx context.Context, bundle []byte) error {
	lists, err := d.a.revocationLists(d.a.fetchedLists())
	if err != nil {
		return err
	}
	d.lists = lists
	var extra [][]byte
	if bundle != nil {
		extra = append(extra, bundle)
	}
	trust, err := crypto.NewTrust(d.a.roots, extra...)
	if err != nil {
		return &chatsecure.Error{Code: proto.Usage, Message: "-ca-bundle: " + err.Error(), Hint: "give a PEM file with certificates", Err: err}
	}
	if d.leaf == nil {
		d.skip("chain", "there is no certificate to look at")
		d.skip("crl", "there is no certificate to look at")
		return nil
	}
	d.chain = append(append(d.chain, certificates(bundle)...), d.a.fetchedIssuers()...)
	cfg := crypto.VerifierConfig{Trust: trust, CRLs: lists, Policy: crypto.PolicyOff, Now: d.a.now}
	person, err := crypto.NewVerifier(cfg).Certificate(d.leaf, d.chain)
	if err != nil {
		place := d.issuerPlace()
		if !chatsecure.HasCode(err, proto.CertificateUntrusted) {
			place = ""
		}
		switch why := chatsecure.NotAsked(ctx, place); {
		case place == "":
			d.fail("chain", err)
		case why != "" && !d.a.opt.fetchPrivate:
			d.fail("chain", &chatsecure.Error{
				Code: proto.CertificateUntrusted, Message: "its authority's certificate is not on the card, and is not fetched from " + place + ": " + why,
				Hint: "allow it with -fetch-private, or give it with -ca-bundle FILE",
			})
		default:
			d.note("chain", "or give it with -ca-bundle FILE", "its authority's certificate is not on the card; the first connection fetches it from %s", place)
		}
		d.skip("crl", "there is no chain to look at")
		return nil
	}
	var path []string
	for _, cert := range person.Path[1:] {
		path = append(path, cert.Subject.CommonName)
	}
	d.ok("chain", "%s; identity %x", strings.Join(path, ", "), person.Identity)
	cfg.Policy = d.a.opt.policy
	d.revocation(cfg)
	return nil
}

// issuerPlace is where the authority's certificate would be fetched from, ""
// if it is at hand or would not be.
func (d *doctor) issuerPlace() string {
	leaf, err := x509.ParseCertificate(d.leaf)
	if err != nil || !d.a.opt.fetch {
		return ""
	}
	for _, der := range d.chain {
		if above, err := x509.ParseCertificate(der); err == nil && leaf.CheckSignatureFrom(above) == nil {
			return ""
		}
	}
	for _, address := range leaf.IssuingCertificateURL {
		if strings.HasPrefix(address, "http://") {
			return address
		}
	}
	return ""
}

// revocation checks the certificate against the lists at hand.
func (d *doctor) revocation(cfg crypto.VerifierConfig) {
	const check = "crl"
	if cfg.Policy == crypto.PolicyOff {
		d.note(check, "-crl-policy try looks", "nobody looks: -crl-policy is off")
		return
	}
	person, err := crypto.NewVerifier(cfg).Certificate(d.leaf, d.chain)
	switch {
	case err != nil:
		d.fail(check, err)
	case person.Revocation.Status == crypto.RevocationGood:
		d.ok(check, "%s", person.Revocation.Reason)
	default:
		d.note(check, "client crl refresh fetches them; or give them with -crl DIR", "whether it is revoked is not known: %s", person.Revocation.Reason)
	}
}
