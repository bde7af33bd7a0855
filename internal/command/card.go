package command

import (
	"context"
	"crypto/x509"
	"encoding/hex"
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
	Chain      [][]byte          `json:"chain,omitempty"` // DER, up to the anchor
	Revocation *revocationObject `json:"revocation,omitempty"`
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
func runCard(a *app, ctx context.Context, args []string) error {
	if err := noFlags("card", args); err != nil {
		return err
	}
	bundle, err := a.readCABundle()
	if err != nil {
		return err
	}
	verifier, _, err := a.verifier(a.fetchedLists(), bundle)
	if err != nil {
		return err
	}
	report, err := card.Survey(ctx, a.opt.card, a.cardOptions())
	if err != nil {
		return err
	}
	var keysErr error
	if t := report.Used(); t != nil && len(t.Keys) == 0 && a.opt.pinFile != "" {
		t.Keys, keysErr = card.Keys(ctx, a.opt.card, a.cardOptions())
	}
	s := surveyor{verifier: verifier, extra: append(certificates(bundle), a.fetchedIssuers()...)}
	for _, m := range report.Modules {
		s.show(a.out, m)
	}
	if report.Err != nil {
		return report.Err
	}
	return keysErr
}

// surveyor writes a card.Report, with a verdict on each certificate of a
// person.
type surveyor struct {
	verifier *trust.Verifier
	extra    [][]byte // CA certificates beside those on the card
}

func (v *surveyor) show(out *display, m card.ModuleReport) {
	if !out.json {
		out.line("Module: " + proto.Visible(m.Path) + described(m.Description))
	}
	if m.Err != nil {
		out.notice("%s", proto.Visible(m.Err.Error()))
	}
	for _, slot := range m.Slots {
		if !out.json {
			out.text(v.slotText(slot))
		} else if slot.Token != nil {
			out.object(v.slotJSON(out.head("card"), m, slot))
		}
	}
}

// judge checks a person's certificate. Its chain is built from the CA
// certificates on the same token and the user's own.
func (v *surveyor) judge(t *card.TokenReport, c card.CertificateReport) (*trust.Person, error) {
	chain := slices.Clone(v.extra)
	for _, other := range t.Certificates {
		if other.CA && other.Err == nil {
			chain = append(chain, other.DER)
		}
	}
	return v.verifier.Certificate(c.DER, chain)
}

// slotText describes a slot to people: the token, its certificates and its
// keys.
func (v *surveyor) slotText(s card.SlotReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  Slot %d: %s\n", s.ID, proto.Visible(s.Description))
	if s.Err != nil {
		fmt.Fprintf(&b, "    cannot be read: %s\n", proto.Visible(s.Err.Error()))
	}
	t := s.Token
	if t == nil {
		if s.Err == nil {
			b.WriteString("    empty\n")
		}
		return b.String()
	}
	fmt.Fprintf(&b, "    Token: %q, %s %s, serial %s\n",
		proto.Visible(t.Label), proto.Visible(t.Manufacturer), proto.Visible(t.Model), orNone(proto.Visible(t.Serial)))
	if len(t.Flags) > 0 {
		fmt.Fprintf(&b, "    Flags: %s\n", proto.Visible(strings.Join(t.Flags, ", ")))
	}
	for _, c := range t.Certificates {
		b.WriteString(v.certificateLines(t, c))
	}
	for _, k := range t.Keys {
		fmt.Fprintf(&b, "    Key: %s, id %s, %s\n", proto.Visible(k.Label), orNone(k.ID), k.Type)
	}
	if len(t.Keys) == 0 && len(t.Certificates) > 0 {
		b.WriteString("    Keys: none is shown without the PIN\n")
	}
	if t.Err != nil {
		fmt.Fprintf(&b, "    not usable: %s\n", proto.Visible(t.Err.Error()))
	}
	return b.String()
}

func (v *surveyor) certificateLines(t *card.TokenReport, c card.CertificateReport) string {
	var b strings.Builder
	kind := "Certificate"
	if c.CA {
		kind = "CA certificate"
	}
	fmt.Fprintf(&b, "    %s: %s, id %s", kind, proto.Visible(c.Label), orNone(c.ID))
	if c.Used {
		b.WriteString(", this one is used")
	}
	b.WriteByte('\n')
	if c.Err != nil {
		fmt.Fprintf(&b, "      cannot be read: %s\n", proto.Visible(c.Err.Error()))
		return b.String()
	}
	cert, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return b.String()
	}
	if !c.CA {
		for line := range strings.Lines(trust.CertificateText(cert)) {
			b.WriteString("      " + line)
		}
		person, err := v.judge(t, c)
		if err != nil {
			fmt.Fprintf(&b, "      refused: %s\n", proto.Visible(err.Error()))
			return b.String()
		}
		var path []string
		for _, cert := range person.Path[1:] {
			path = append(path, proto.Visible(cert.Subject.CommonName))
		}
		fmt.Fprintf(&b, "      chain: %s\n      revocation: %s, %s\n      identity: %x\n",
			strings.Join(path, ", "), person.Revocation.Status, person.Revocation.Reason, person.Identity)
		return b.String()
	}
	fmt.Fprintf(&b, "      %s, to %s\n", proto.Visible(cert.Subject.CommonName), cert.NotAfter.UTC().Format(time.DateTime))
	return b.String()
}

func (v *surveyor) slotJSON(h head, m card.ModuleReport, s card.SlotReport) cardObject {
	t := s.Token
	o := cardObject{
		head: h, Module: m.Path, Slot: s.ID, Reader: s.Description,
		Token: t.Label, Manufacturer: t.Manufacturer, Model: t.Model, Serial: t.Serial,
		Flags: t.Flags, Certificates: []cardCertificate{}, Keys: []cardKey{},
	}
	if t.Err != nil {
		o.Error = t.Err.Error()
	}
	for _, c := range t.Certificates {
		cc := cardCertificate{Label: c.Label, ID: c.ID, Certificate: c.DER, CA: c.CA, Used: c.Used}
		if c.Err != nil {
			cc.Error = c.Err.Error()
		} else if !c.CA {
			v.judgeJSON(&cc, t, c)
		}
		o.Certificates = append(o.Certificates, cc)
	}
	for _, k := range t.Keys {
		o.Keys = append(o.Keys, cardKey{k.Label, k.ID, k.Type})
	}
	return o
}

func (v *surveyor) judgeJSON(cc *cardCertificate, t *card.TokenReport, c card.CertificateReport) {
	person, err := v.judge(t, c)
	if err != nil {
		e := fail.AsError(err)
		cc.Refused = &cardRefusal{e.Code, e.Message}
		return
	}
	cc.Identity = hex.EncodeToString(person.Identity[:])
	for _, cert := range person.Path[1:] {
		cc.Chain = append(cc.Chain, cert.Raw)
	}
	r := revocation(person.Revocation)
	cc.Revocation = &r
}
