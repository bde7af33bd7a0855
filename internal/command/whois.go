package command

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

func runWhois(a *app, ctx context.Context, args []string) error {
	f := newFlags("whois")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return usageError("whois needs one name")
	}
	name := f.Arg(0)
	if err := proto.CheckName(name); err != nil {
		return usageError("%q is not a name: %v", name, err)
	}
	return a.oneShot(ctx, func(ctx context.Context, c *connection) error {
		w, err := whois(ctx, c, name)
		if err != nil {
			return err
		}
		return showWhois(a.out, w, true, func(err error) { a.offer(c.state, err) })
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

// whoisPerson is one certificate under a name, and the connections that showed
// it.
type whoisPerson struct {
	first *client.WhoisConn
	conns []*client.WhoisConn
}

// whoisPersons groups a name's connections by certificate.
func whoisPersons(w *client.Whois) (persons []*whoisPerson) {
	byLeaf := make(map[string]*whoisPerson)
	for i := range w.Conns {
		c := &w.Conns[i]
		if c.Err != nil {
			continue
		}
		p := byLeaf[string(c.Bundle.X509)]
		if p == nil {
			p = &whoisPerson{first: c}
			byLeaf[string(c.Bundle.X509)] = p
			persons = append(persons, p)
		}
		p.conns = append(p.conns, c)
	}
	return persons
}

// showWhois writes the certificates under a name, mostly one. The prompt shows
// no more than the certificate, as the original did: with whole unset, chain,
// identity and known person are left out unless something is wrong. A
// connection that proves nobody is an error, and the most severe one is
// returned.
func showWhois(out *display, w *client.Whois, whole bool, offer func(error)) error {
	for _, p := range whoisPersons(w) {
		person := p.first.Person
		known := howKnown(w.Known, person)
		if known == knownAnother {
			offer(&state.IdentityChange{Name: w.Name, Known: *w.Known, Person: person})
		}
		if out.json {
			out.object(whoisJSON(out.head("whois"), w, p, known))
			continue
		}
		text := trust.CertificateText(person.Leaf)
		whole := whole || out.verbose
		if whole {
			text += textLine("Chain", strings.Join(authorityNames(person), " → ")) + textLine("Identity", hex.EncodeToString(person.Identity[:]))
		}
		if whole || person.Revocation.Status == trust.RevocationUnknown {
			text += revocationLine(person.Revocation)
		}
		if whole || known == knownAnother {
			text += textLine("Known", knownText(w.Known, known))
		}
		out.text(text)
	}
	worst := 0
	for i := range w.Conns {
		c := &w.Conns[i]
		if c.Err == nil {
			continue
		}
		e := *fail.AsError(c.Err)
		e.Message = fmt.Sprintf("the relay's proof for connection %s of %s does not hold: %s", c.Conn, proto.Visible(w.Name), e.Message)
		out.fail(&e)
		worst = fail.MostSevere(worst, fail.ExitStatus(&e))
	}
	return toldStatus(worst)
}

// How a person is known under a name.
const (
	knownUnknown  = "unknown"
	knownSeen     = "seen, not accepted"
	knownAccepted = "accepted"
	knownAnother  = "another person than the one who is known"
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

// knownText adds the date of the first meeting.
func knownText(k *state.KnownPeer, known string) string {
	if k == nil {
		return known
	}
	return known + ", since " + day(k.First)
}

// authorityNames returns the names above a person's certificate, the anchor
// last.
func authorityNames(person *trust.Person) []string {
	names := []string{}
	for _, cert := range person.Path[min(1, len(person.Path)):] {
		names = append(names, proto.Visible(cert.Subject.CommonName))
	}
	return names
}

// knownWords are the results of howKnown for programs.
var knownWords = map[string]string{knownUnknown: "unknown", knownSeen: "seen", knownAccepted: "accepted", knownAnother: "another"}

func whoisJSON(h head, w *client.Whois, p *whoisPerson, known string) whoisObject {
	person := p.first.Person
	o := whoisObject{
		head: h, Name: w.Name, Identity: hex.EncodeToString(person.Identity[:]), Certificate: p.first.Bundle.X509, Chain: p.first.Bundle.Chain,
		Path: authorityNames(person), Revocation: revocation(person.Revocation), Known: knownWords[known],
	}
	if w.Known != nil {
		o.KnownSince = formatTime(w.Known.First)
	}
	for _, c := range p.conns {
		o.Conns = append(o.Conns, whoisConn{c.Conn, c.Takes, formatTime(c.Since), c.Level})
	}
	return o
}

type whoisObject struct {
	head
	Name        string           `json:"name"`
	Identity    string           `json:"identity"`
	Certificate []byte           `json:"certificate"` // DER
	Chain       [][]byte         `json:"chain"`       // DER, as the bundle has it
	Path        []string         `json:"path"`        // the authorities above it, the anchor last
	Revocation  revocationObject `json:"revocation"`
	Known       string           `json:"known"` // accepted, seen, another or unknown
	KnownSince  string           `json:"known_since,omitempty"`
	Conns       []whoisConn      `json:"conns"`
}

type whoisConn struct {
	Conn  string `json:"conn"`
	Takes string `json:"takes"`
	Since string `json:"since"`
	Level int    `json:"level"`
}
