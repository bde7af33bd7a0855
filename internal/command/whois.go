package command

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

func runWhois(a *app, ctx context.Context, args []string) error {
	if len(args) != 1 {
		return usageError("whois needs one name")
	}
	name := args[0]
	if err := proto.CheckName(name); err != nil {
		return usageError("%q is not a name: %v", name, err)
	}
	return a.oneShot(ctx, func(ctx context.Context, c *connection) error {
		w, err := whois(ctx, c, name)
		if err != nil {
			return err
		}
		return showWhois(a.out, w, true)
	})
}

// whois asks the relay about a name. Its error names a name that nobody has.
func whois(ctx context.Context, c talker, name string) (*client.Whois, error) {
	w, err := c.Whois(ctx, name)
	if e := fail.AsError(err); e != nil && e.Code == proto.NoSuchName {
		return nil, fail.Errorf(e.Code, "nobody by the name of %s is connected", proto.Visible(name))
	}
	return w, err
}

// whoisObjects returns an object for each certificate under a name, with the
// connections that showed it.
func whoisObjects(h head, w *client.Whois) (objects []*whoisObject) {
	for _, c := range w.Conns {
		if c.Err != nil {
			continue
		}
		i := slices.IndexFunc(objects, func(o *whoisObject) bool { return bytes.Equal(o.Certificate, c.Bundle.X509) })
		if i < 0 {
			i = len(objects)
			objects = append(objects, newWhoisObject(h, w, &c))
		}
		objects[i].Conns = append(objects[i].Conns, whoisConn{c.Conn, c.Takes, jsonTime{c.Since}, c.Level})
	}
	return objects
}

func newWhoisObject(h head, w *client.Whois, c *client.WhoisConn) *whoisObject {
	p := c.Person
	o := &whoisObject{
		head: h, Name: w.Name, Identity: hex.EncodeToString(p.Identity[:]), Certificate: c.Bundle.X509, Chain: c.Bundle.Chain,
		Path: authorityNames(p), Anchor: p.Anchor, Citizen: p.Citizen, Revocation: revocation(p.Revocation),
		Known: howKnown(w.Known, p), person: p, alike: alikeText(c.Alike, p),
	}
	if w.Known != nil {
		o.KnownSince = jsonTime{w.Known.First}
	}
	return o
}

// showWhois writes the certificates under a name, mostly one. The prompt shows
// no more than the certificate, as the original did: whole is unset there. A person who is
// refused and a connection that proves nobody are errors, each told once, and the most severe
// one is returned.
func showWhois(out *display, w *client.Whois, whole bool) error {
	for _, o := range whoisObjects(out.head("whois"), w) {
		o.whole, o.option = whole || out.verbose, out.advice("-ca-bundle")
		out.show(o)
	}
	worst, told := 0, map[string]bool{}
	for i := range w.Conns {
		c := &w.Conns[i]
		if c.Err == nil {
			continue
		}
		e := *fail.AsError(c.Err)
		if ofCertificate(e.Code) {
			e.Message = fmt.Sprintf("%s is refused: %s", proto.Visible(w.Name), e.Message)
		} else {
			e.Message = fmt.Sprintf("the relay's proof for connection %s of %s does not hold: %s", c.Conn, proto.Visible(w.Name), e.Message)
		}
		if !told[e.Message] {
			told[e.Message] = true
			worst = fail.MostSevere(worst, out.fail(&e))
		}
	}
	return toldStatus(worst)
}

// ofCertificate reports whether a code is about a person's certificate, which the relay proved.
func ofCertificate(code proto.Code) bool {
	return strings.HasPrefix(string(code), "certificate-") || code == proto.RevocationUnknown
}

// How a person is known under a name.
const (
	knownUnknown  = "unknown"
	knownSeen     = "seen"
	knownAccepted = "accepted"
	knownAnother  = "another"
)

func howKnown(k *state.KnownPeer, p *trust.Person) string {
	switch {
	case k == nil:
		return knownUnknown
	case k.Identity != p.Identity:
		return knownAnother
	case k.Accepted:
		return knownAccepted
	}
	return knownSeen
}

// text leaves out facts and known person unless it is to be whole or
// something is wrong.
func (o *whoisObject) text() string {
	text := trust.CertificateText(o.person.Leaf)
	if o.whole {
		text += factsText(o.person, o.option, true)
	} else if o.person.Revocation.Status == trust.RevocationUnknown {
		text += revocationLine(o.person.Revocation)
	}
	text += o.alike
	if o.whole || o.Known == knownAnother {
		text += textLine("Known", o.knownText())
	}
	return fields(text)
}

// factsText tells the reasons to trust a certificate, and unless a question does, its identity. A
// question has no more of the revocation than a person decides by. option is the one that roots are
// given with.
func factsText(p *trust.Person, option string, whole bool) string {
	names := authorityNames(p)
	root, citizen := "", "no"
	if len(names) > 0 {
		root = names[len(names)-1]
	}
	switch p.Anchor {
	case trust.AnchorPinned:
		root += ", known to this program by its hash"
	case trust.AnchorGiven:
		root += ", from " + option
	case trust.AnchorMozilla:
		root += ", in Mozilla's public list"
	}
	if p.Citizen {
		citizen = "yes"
	}
	text := textLine("Chain", strings.Join(names, " → ")) + textLine("Root", root) + textLine("Citizen's card", citizen)
	if whole {
		return text + textLine("Identity", proto.FormatHash(p.Identity)) + revocationLine(p.Revocation)
	}
	return text + textLine("Revocation", string(p.Revocation.Status)+": "+p.Revocation.Reason)
}

// alikeText names the people with whom somebody could be confused.
func alikeText(alike []state.KnownPeer, p *trust.Person) (text string) {
	for _, k := range alike {
		if k.Identity == p.Identity {
			text += textLine("Also known as", proto.Visible(k.Name))
		} else {
			text += textLine("Attention", "another person, known as "+proto.Visible(k.Name)+", has such a name too: "+k.Shown())
		}
	}
	return text
}

func (o *whoisObject) knownText() string {
	text := o.Known
	switch text {
	case knownSeen:
		text = "seen, not accepted"
	case knownAnother:
		text = "another person than the one who is known"
	}
	if o.KnownSince.IsZero() {
		return text
	}
	return text + ", since " + day(o.KnownSince.Time)
}

// authorityNames returns the names above a person's certificate, the anchor
// last.
func authorityNames(person *trust.Person) []string {
	names := []string{}
	for _, cert := range person.Path[min(1, len(person.Path)):] {
		names = append(names, proto.Visible(trust.SubjectName(cert)))
	}
	return names
}

type whoisObject struct {
	head
	Name        string            `json:"name"`
	Identity    string            `json:"identity"`
	Certificate []byte            `json:"certificate"` // DER
	Chain       [][]byte          `json:"chain"`       // DER, as the bundle has it
	Path        []string          `json:"path"`        // the authorities above it, the anchor last
	Anchor      string            `json:"anchor"`      // the reason to trust that one
	Citizen     bool              `json:"citizen"`     // it is a Cartão de Cidadão's
	Revocation  *revocationObject `json:"revocation"`
	Known       string            `json:"known"` // see knownUnknown
	KnownSince  jsonTime          `json:"known_since,omitzero"`
	Conns       []whoisConn       `json:"conns"`

	person *trust.Person
	whole  bool   // its text has all lines
	option string // that gives roots
	alike  string // see alikeText
}

type whoisConn struct {
	Conn  string   `json:"conn"`
	Takes string   `json:"takes"`
	Since jsonTime `json:"since"`
	Level int      `json:"level"`
}
