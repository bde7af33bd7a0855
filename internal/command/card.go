package command

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

type cardObject struct {
	head
	Module       string            `json:"module"`
	Slot         uint              `json:"slot"`
	Reader       string            `json:"reader"`
	Token        string            `json:"token"`
	Manufacturer string            `json:"manufacturer"`
	Model        string            `json:"model"`
	Serial       string            `json:"serial"`
	Flags        []string          `json:"flags"`
	Certificates []cardCertificate `json:"certificates"`
	Keys         []cardKey         `json:"keys"`
	Error        string            `json:"error,omitempty"`
}

type cardCertificate struct {
	Label       string `json:"label"`
	ID          string `json:"id"`
	Certificate []byte `json:"certificate"` // DER
	CA          bool   `json:"ca"`
	Used        bool   `json:"used"` // the client would use this one
	Error       string `json:"error,omitempty"`

	// For a person's certificate: the reason for a refusal, or the identity that
	// it proves.
	Refused    *cardRefusal      `json:"refused,omitempty"`
	Identity   string            `json:"identity,omitempty"`
	Chain      [][]byte          `json:"chain,omitempty"`   // DER, up to the anchor
	Issuers    []cardIssuer      `json:"issuers,omitempty"` // of the chain, as in a relay's -allow
	Revocation *revocationObject `json:"revocation,omitempty"`
}

// cardIssuer is an authority above a card.
type cardIssuer struct {
	Name string `json:"name"`
	Key  string `json:"key"` // SHA-256 of the SubjectPublicKeyInfo in hex
}

type cardRefusal struct {
	Code    proto.Code `json:"code"`
	Message string     `json:"message"`
}

type cardKey struct {
	Label string `json:"label"`
	ID    string `json:"id"`
	Kind  string `json:"kind"`
}

// runCard lists readers, cards and certificates. It asks for no PIN. With
// -pin-file, the PIN opens the card that would be used, to list its keys.
func runCard(a *app, ctx context.Context) error {
	fetched, issuers := a.fetched()
	t, err := a.trust(fetched)
	if err != nil {
		return err
	}
	t.more = append(t.more, issuers...)
	report, err := card.Survey(ctx, a.opt.card, a.cardOptions())
	if err != nil {
		return err
	}
	var keysErr error
	if t := report.Used(); t != nil && len(t.Keys) == 0 && a.opt.pinFile != "" {
		t.Keys, keysErr = card.Keys(ctx, a.opt.card, a.cardOptions())
	}
	for _, m := range report.Modules {
		t.show(a.out, m)
	}
	if report.Err != nil {
		return report.Err
	}
	return keysErr
}

// show writes a module. Empty slots and those that cannot be read are only for
// people.
func (t *trusted) show(out *display, m card.ModuleReport) {
	if !out.json {
		out.line("Module: " + proto.Visible(m.Path) + described(m.Description))
	}
	if m.Err != nil {
		out.notice("%s", proto.Visible(m.Err.Error()))
	}
	for _, slot := range m.Slots {
		text := fmt.Sprintf("  Slot %d: %s\n", slot.ID, proto.Visible(slot.Description))
		if slot.Err != nil {
			text += fmt.Sprintf("    cannot be read: %s\n", proto.Visible(slot.Err.Error()))
		} else if slot.Token == nil {
			text += "    empty\n"
		}
		if !out.json {
			out.text(text)
		}
		if slot.Token != nil {
			out.show(t.card(out.head("card"), m, slot))
		}
	}
}

// card describes the token in a slot, its certificates and its keys.
func (t *trusted) card(h head, m card.ModuleReport, s card.SlotReport) cardObject {
	on := s.Token
	o := cardObject{
		head: h, Module: m.Path, Slot: s.ID, Reader: s.Description,
		Token: on.Label, Manufacturer: on.Manufacturer, Model: on.Model, Serial: on.Serial,
		Flags: on.Flags, Certificates: []cardCertificate{}, Keys: []cardKey{},
	}
	if on.Err != nil {
		o.Error = on.Err.Error()
	}
	chain := slices.Concat(t.more, authoritiesOn(on))
	for _, c := range on.Certificates {
		o.Certificates = append(o.Certificates, t.certificate(c, chain))
	}
	for _, k := range on.Keys {
		o.Keys = append(o.Keys, cardKey{k.Label, k.ID, k.Type})
	}
	return o
}

// authoritiesOn returns the CA certificates on a token.
func authoritiesOn(t *card.TokenReport) (ders [][]byte) {
	for _, c := range t.Certificates {
		if c.CA && c.Err == nil {
			ders = append(ders, c.DER)
		}
	}
	return ders
}

// certificate describes a certificate, and checks that of a person. chain has
// the authorities at hand.
func (t *trusted) certificate(c card.CertificateReport, chain [][]byte) cardCertificate {
	cc := cardCertificate{Label: c.Label, ID: c.ID, Certificate: c.DER, CA: c.CA, Used: c.Used}
	if c.Err != nil {
		cc.Error = c.Err.Error()
	}
	if c.Err != nil || c.CA {
		return cc
	}
	person, err := t.verifier.Certificate(c.DER, chain)
	if err != nil {
		e := fail.AsError(err)
		cc.Refused = &cardRefusal{e.Code, e.Message}
		return cc
	}
	cc.Identity, cc.Chain = proto.FormatHash(person.Identity), pathAbove(person)
	cc.Revocation = revocation(person.Revocation)
	names := authorityNames(person)
	for i, cert := range person.Path[1:] {
		key := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		cc.Issuers = append(cc.Issuers, cardIssuer{names[i], proto.FormatHash(key)})
	}
	return cc
}

func (o cardObject) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "    Token: %s, %s %s, serial %s\n",
		proto.Quote(o.Token), proto.Visible(o.Manufacturer), proto.Visible(o.Model),
		cmp.Or(proto.Visible(o.Serial), "none"))
	if len(o.Flags) > 0 {
		fmt.Fprintf(&b, "    Flags: %s\n", visibleNames(o.Flags))
	}
	for _, c := range o.Certificates {
		b.WriteString(c.text())
	}
	for _, k := range o.Keys {
		fmt.Fprintf(&b, "    Key: %s, id %s, %s\n", proto.Visible(k.Label), cmp.Or(k.ID, "none"), k.Kind)
	}
	if len(o.Keys) == 0 && len(o.Certificates) > 0 {
		b.WriteString("    Keys: none is shown without the PIN\n")
	}
	if o.Error != "" {
		fmt.Fprintf(&b, "    not usable: %s\n", proto.Visible(o.Error))
	}
	return b.String()
}

func (c cardCertificate) text() string {
	var b strings.Builder
	kind, used := "Certificate", ""
	if c.CA {
		kind = "CA certificate"
	}
	if c.Used {
		used = ", this one is used"
	}
	fmt.Fprintf(&b, "    %s: %s, id %s%s\n", kind, proto.Visible(c.Label), cmp.Or(c.ID, "none"), used)
	cert, err := x509.ParseCertificate(c.Certificate)
	switch {
	case c.Error != "":
		fmt.Fprintf(&b, "      cannot be read: %s\n", proto.Visible(c.Error))
		return b.String()
	case err != nil:
		return b.String()
	case c.CA:
		fmt.Fprintf(&b, "      %s, to %s\n", proto.Visible(trust.SubjectName(cert)),
			cert.NotAfter.UTC().Format(time.DateTime))
		return b.String()
	}
	for line := range strings.Lines(trust.CertificateText(cert)) {
		b.WriteString("      " + line)
	}
	if c.Refused != nil {
		fmt.Fprintf(&b, "      refused: %s\n", proto.Visible(c.Refused.Message))
		return b.String()
	}
	fmt.Fprintf(&b, "      revocation: %s, %s\n", c.Revocation.Status, c.Revocation.Reason)
	fmt.Fprintf(&b, "      identity: %s\n", c.Identity)
	for _, issuer := range c.Issuers {
		fmt.Fprintf(&b, "      issuer %s  # %s\n", issuer.Key, issuer.Name)
	}
	return b.String()
}
