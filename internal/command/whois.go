package command

import (
	"context"
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
		w, err := c.Whois(ctx, name)
		if err != nil {
			return err
		}
		return showWhois(a.out, w, true)
	})
}

// whoisObjects returns an object for each identity under a name, with its connections.
func whoisObjects(h head, w *client.Whois) (objects []*whoisObject) {
	for _, c := range w.Conns {
		if c.Err != nil && !ofCertificate(c.Err) {
			continue
		}
		i := slices.IndexFunc(objects, func(o *whoisObject) bool { return o.Identity == c.Identity })
		if i < 0 {
			i = len(objects)
			objects = append(objects, newWhoisObject(h, w, &c))
		}
		conn := whoisConn{c.Conn, c.Takes, jsonTime{c.Since}, c.Level}
		objects[i].Conns = append(objects[i].Conns, conn)
	}
	return objects
}

func newWhoisObject(h head, w *client.Whois, c *client.WhoisConn) *whoisObject {
	o := &whoisObject{
		head: h, Name: w.Name, Identity: c.Identity, Known: howKnown(w.Known, c),
		person: c.Person, refused: c.Err != nil,
	}
	if w.Known != nil {
		o.KnownSince, o.commonName = jsonTime{w.Known.First}, w.Known.CommonName
	}
	if p := c.Person; p != nil {
		o.Certificate, o.Chain, o.Path = c.Bundle.X509, c.Bundle.Chain, authorityNames(p)
		o.Anchor, o.Citizen, o.Revocation = p.Anchor, &p.Citizen, revocation(p.Revocation)
		o.alike = alikeText(c.Alike, p)
	}
	return o
}

// showWhois writes the people under a name, mostly one. Of somebody whose certificate is there the
// prompt shows no more than that, as the original did: whole is unset there. A certificate that
// is refused and a false word of the relay are errors, each told once, and the most severe one is
// returned.
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
		if ofCertificate(c.Err) {
			e.Message = fmt.Sprintf("%s is refused: %s", proto.Visible(w.Name), e.Message)
		}
		if !told[e.Message] {
			told[e.Message] = true
			worst = fail.MostSevere(worst, out.fail(&e))
		}
	}
	return toldStatus(worst)
}

// ofCertificate reports whether an error is about a person's certificate.
func ofCertificate(err error) bool {
	code := fail.AsError(err).Code
	return strings.HasPrefix(string(code), "certificate-") || code == proto.RevocationUnknown
}

// How a person is known under a name.
const (
	knownUnknown  = "unknown"
	knownSeen     = "seen"
	knownAccepted = "accepted"
	knownAnother  = "another"
	knownBlocked  = "blocked"
)

func howKnown(k *state.KnownPeer, c *client.WhoisConn) string {
	switch {
	case c.Blocked:
		return knownBlocked
	case k == nil:
		return knownUnknown
	case proto.FormatHash(k.Identity) != c.Identity:
		return knownAnother
	case k.Accepted:
		return knownAccepted
	}
	return knownSeen
}

// text leaves out all but the certificate unless there is none, it is to be whole, or something is
// wrong.
func (o *whoisObject) text() string {
	text, whole := "", o.whole || o.person == nil
	if p := o.person; p != nil {
		text = trust.CertificateText(p.Leaf)
		if whole {
			text += factsText(p, o.option, true)
		} else if p.Revocation.Status == trust.RevocationUnknown {
			text += revocationLine(p.Revocation)
		}
		text += o.alike
	}
	if whole {
		text += o.connectionText()
	}
	if whole || o.Known == knownAnother || o.Known == knownBlocked {
		text += textLine("Known", o.knownText())
	}
	if o.person == nil && !o.refused {
		text += textLine("Certificate", "not here yet: it comes from the person, in the first "+
			"conversation. A message to "+proto.Visible(o.Name)+" begins one, and before it leaves to "+
			"somebody new the client shows the certificate and asks. Until then compare the identity: "+
			"the person's client card shows it")
	}
	return fields(text)
}

// connectionText tells whose word the identity is.
func (o *whoisObject) connectionText() string {
	proved := "no: before a conversation the identity is only the relay's word"
	since := o.Conns[0].Since
	for _, c := range o.Conns {
		if c.Level == 1 {
			proved = "yes, to this client"
		}
		if c.Since.Before(since.Time) {
			since = c.Since
		}
	}
	return textLine("Name", proto.Visible(o.Name)) + textLine("Identity", o.Identity) +
		textLine("Proved", proved) + textLine("Connected", "since "+dateTime(since.Time)+
		", "+counted(len(o.Conns), "connection", "connections"))
}

// factsText tells the reasons to trust a certificate. A question, where whole is unset, has no more
// of the revocation than a person decides by. option is the one that roots are given with.
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
		return text + revocationLine(p.Revocation)
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
	if o.person == nil && o.commonName != "" && o.Known != knownAnother {
		text += ", as " + proto.Quote(o.commonName)
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

// whoisObject has the fields of the certificate once that has come from the person. The identity is
// the relay's word unless a connection has level 1.
type whoisObject struct {
	head
	Name        string            `json:"name"`
	Identity    string            `json:"identity"`
	Certificate []byte            `json:"certificate,omitempty"` // DER
	Chain       [][]byte          `json:"chain,omitempty"`       // DER, as the bundle has it
	Path        []string          `json:"path,omitempty"`        // the authorities above it, anchor last
	Anchor      string            `json:"anchor,omitempty"`      // the reason to trust that one
	Citizen     *bool             `json:"citizen,omitempty"`     // it is a Cartão de Cidadão's
	Revocation  *revocationObject `json:"revocation,omitempty"`
	Known       string            `json:"known"` // see knownUnknown
	KnownSince  jsonTime          `json:"known_since,omitzero"`
	Conns       []whoisConn       `json:"conns"`

	person     *trust.Person // nil without a certificate
	refused    bool          // there is one, which does not hold
	commonName string        // of the known person
	whole      bool          // its text has all lines
	option     string        // that gives roots
	alike      string        // see alikeText
}

type whoisConn struct {
	Conn  string   `json:"conn"`
	Takes string   `json:"takes"`
	Since jsonTime `json:"since"`
	Level int      `json:"level"`
}
