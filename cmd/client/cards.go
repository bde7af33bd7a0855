package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"chatsecure"
	"chatsecure/card"
	"chatsecure/crypto"
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
	Used        bool   `json:"used"` // this is the one that the client would use
	Error       string `json:"error,omitempty"`
}

type cardKey struct {
	Label string `json:"label"`
	ID    string `json:"id"`
	Kind  string `json:"kind"`
}

// runCard shows what is in the readers. It asks for no PIN.
func runCard(a *app, ctx context.Context, args []string) error {
	f := newFlags("card")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	if err := noArguments("card", f.Args()); err != nil {
		return err
	}
	report, err := card.Survey(ctx, a.opt.card, a.cardOptions())
	if err != nil {
		return err
	}
	for _, m := range report.Modules {
		a.showModule(m)
	}
	if report.Err != nil {
		return report.Err
	}
	return nil
}

func (a *app) showModule(m card.ModuleReport) {
	if !a.out.json {
		a.out.line("Module: " + crypto.Visible(m.Path) + described(m.Description))
	}
	if m.Err != nil {
		a.out.notice("%s", crypto.Visible(m.Err.Error()))
	}
	for _, s := range m.Slots {
		if a.out.json {
			if s.Token != nil {
				a.out.object(cardJSON(a.out.head("card"), m, s))
			}
			continue
		}
		a.out.text(slotText(s))
	}
}

func described(s string) string {
	if s == "" {
		return ""
	}
	return " (" + crypto.Visible(s) + ")"
}

// slotText is a slot for people: the token, its certificates and its keys.
func slotText(s card.SlotReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  Slot %d: %s\n", s.ID, crypto.Visible(s.Description))
	if s.Err != nil {
		fmt.Fprintf(&b, "    cannot be read: %s\n", crypto.Visible(s.Err.Error()))
	}
	t := s.Token
	if t == nil {
		if s.Err == nil {
			b.WriteString("    empty\n")
		}
		return b.String()
	}
	fmt.Fprintf(&b, "    Token: %q, %s %s, serial %s\n", crypto.Visible(t.Label), crypto.Visible(t.Manufacturer), crypto.Visible(t.Model), orNone(crypto.Visible(t.Serial)))
	if len(t.Flags) > 0 {
		fmt.Fprintf(&b, "    Flags: %s\n", crypto.Visible(strings.Join(t.Flags, ", ")))
	}
	for _, c := range t.Certificates {
		b.WriteString(certificateLines(c))
	}
	for _, k := range t.Keys {
		fmt.Fprintf(&b, "    Key: %s, id %s, %s\n", crypto.Visible(k.Label), orNone(k.ID), k.Type)
	}
	if len(t.Keys) == 0 && len(t.Certificates) > 0 {
		b.WriteString("    Keys: none is shown without the PIN\n")
	}
	if t.Err != nil {
		fmt.Fprintf(&b, "    not usable: %s\n", crypto.Visible(t.Err.Error()))
	}
	return b.String()
}

func certificateLines(c card.CertificateReport) string {
	var b strings.Builder
	kind := "Certificate"
	if c.CA {
		kind = "CA certificate"
	}
	fmt.Fprintf(&b, "    %s: %s, id %s", kind, crypto.Visible(c.Label), orNone(c.ID))
	if c.Used {
		b.WriteString(", this one is used")
	}
	b.WriteByte('\n')
	if c.Err != nil {
		fmt.Fprintf(&b, "      cannot be read: %s\n", crypto.Visible(c.Err.Error()))
		return b.String()
	}
	cert, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return b.String()
	}
	if !c.CA {
		for line := range strings.Lines(crypto.CertificateText(cert)) {
			b.WriteString("      " + line)
		}
		return b.String()
	}
	fmt.Fprintf(&b, "      %s, to %s\n", crypto.Visible(cert.Subject.CommonName), cert.NotAfter.UTC().Format(time.DateTime))
	return b.String()
}

func orNone(id string) string {
	if id == "" {
		return "none"
	}
	return id
}

func cardJSON(h head, m card.ModuleReport, s card.SlotReport) cardObject {
	t := s.Token
	o := cardObject{
		head: h, Module: m.Path, Slot: s.ID, Reader: s.Description, Token: t.Label, Manufacturer: t.Manufacturer, Model: t.Model, Serial: t.Serial,
		Flags: t.Flags, Certificates: []cardCertificate{}, Keys: []cardKey{},
	}
	if t.Err != nil {
		o.Error = t.Err.Error()
	}
	for _, c := range t.Certificates {
		cc := cardCertificate{Label: c.Label, ID: c.ID, Certificate: c.DER, CA: c.CA, Used: c.Used}
		if c.Err != nil {
			cc.Error = c.Err.Error()
		}
		o.Certificates = append(o.Certificates, cc)
	}
	for _, k := range t.Keys {
		o.Keys = append(o.Keys, cardKey{k.Label, k.ID, k.Type})
	}
	return o
}

type crlObject struct {
	head
	Issuer     string `json:"issuer"`
	Kind       string `json:"kind"`
	Number     string `json:"number"`
	Base       string `json:"base,omitempty"`
	Entries    int    `json:"entries"`
	ThisUpdate string `json:"this_update"`
	NextUpdate string `json:"next_update,omitempty"`
	Source     string `json:"source"`
	Problem    string `json:"problem,omitempty"`
}

// runCRL shows the revocation lists at hand.
func runCRL(a *app, _ context.Context, args []string) error {
	f := newFlags("crl")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	if f.NArg() == 1 && f.Arg(0) == "refresh" {
		return &chatsecure.Error{Code: proto.Internal, Message: "revocation lists are not fetched yet in this version", Hint: "put them into a directory, and give it with -crl"}
	}
	if err := noArguments("crl", f.Args()); err != nil {
		return err
	}
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	fetched := ""
	state, err := chatsecure.OpenStateRead(dir)
	if err == nil {
		defer state.Close()
		fetched = state.CRLDir()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lists, err := a.revocationLists(fetched)
	if err != nil || lists == nil {
		return err
	}
	for _, l := range lists.List() {
		a.showCRL(l)
	}
	return nil
}

func (a *app) showCRL(l crypto.CRLInfo) {
	if a.out.json {
		o := crlObject{
			head: a.out.head("crl"), Issuer: l.Issuer, Kind: l.Kind, Number: l.Number, Base: l.Base, Entries: l.Entries,
			ThisUpdate: formatTime(l.ThisUpdate), Source: l.Source, Problem: l.Problem,
		}
		if !l.NextUpdate.IsZero() {
			o.NextUpdate = formatTime(l.NextUpdate)
		}
		a.out.objectLater(o)
		return
	}
	next := "does not say when the next is due"
	if !l.NextUpdate.IsZero() {
		next = "next by " + l.NextUpdate.UTC().Format(time.DateTime)
		if l.NextUpdate.Before(a.now()) {
			next += " (overdue)"
		}
	}
	a.out.line(fmt.Sprintf("%s: %s list %s of %s, %d entries, %s; %s", crypto.Visible(l.Issuer), l.Kind, orNone(l.Number), l.ThisUpdate.UTC().Format(time.DateTime), l.Entries, next, crypto.Visible(l.Source)))
	if l.Problem != "" {
		a.out.line("  not used: " + crypto.Visible(l.Problem))
	}
}
