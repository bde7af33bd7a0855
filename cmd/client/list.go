package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"chatsecure"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// oneShot connects for one question to the relay, asks it, and leaves. ask has
// -timeout.
func (a *app) oneShot(ctx context.Context, ask func(ctx context.Context, c *connection) error) error {
	c, err := a.connect(ctx, proto.TakesNone, nil)
	if err != nil {
		return err
	}
	p := &presenter{out: a.out, c: c, offer: func(err error) { a.offer(c.state, err) }, take: takeNone}
	_, followed := p.followAside(ctx)
	asking, cancel := context.WithTimeout(ctx, a.opt.timeout)
	err = ask(asking, c)
	cancel()
	err = errors.Join(err, c.leave())
	<-followed
	return err
}

func runList(a *app, ctx context.Context, args []string) error {
	f := newFlags("list")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	if err := noArguments("list", f.Args()); err != nil {
		return err
	}
	return a.oneShot(ctx, func(ctx context.Context, c *connection) error {
		online, err := c.List(ctx)
		if err == nil {
			showList(a.out, online)
		}
		return err
	})
}

// showList writes who is online.
func showList(out *display, online []chatsecure.Online) {
	if !out.json {
		out.text(listText(online))
		return
	}
	for _, o := range online {
		out.objectLater(listObject{head: out.head("list"), Name: o.Name, Conn: o.Conn, Takes: o.Takes, Since: formatTime(o.Since), Identity: o.Identity, Level: o.Level, Self: o.Self})
	}
}

// listText is the list for people, with since when each is there, if that is
// known. One of a user's several connections is named.
func listText(online []chatsecure.Online) string {
	count := make(map[string]int)
	for _, o := range online {
		count[proto.FoldName(o.Name)]++
	}
	var b strings.Builder
	b.WriteString("User list:\n\n")
	for i, o := range online {
		fmt.Fprintf(&b, "%d. ID: %s Level: %d", i+1, crypto.Visible(o.Name), o.Level)
		if count[proto.FoldName(o.Name)] > 1 {
			fmt.Fprintf(&b, " [%s-%s]", crypto.Visible(o.Name), shortConn(o.Conn))
		}
		if !o.Since.IsZero() {
			b.WriteString(" Since: " + dateTime(o.Since))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.String()
}

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

// whois asks who a name is, and names it in the answer that nobody is.
func whois(ctx context.Context, c talker, name string) (*chatsecure.Whois, error) {
	w, err := c.Whois(ctx, name)
	if e := chatsecure.AsError(err); e != nil && e.Code == proto.NoSuchName {
		return nil, chatsecure.Errorf(e.Code, "nobody by the name of %s is connected", crypto.Visible(name))
	}
	return w, err
}

// whoisPerson is one certificate under a name, with the connections that
// showed it.
type whoisPerson struct {
	first *chatsecure.WhoisConn
	conns []*chatsecure.WhoisConn
}

// whoisPersons groups a name's connections by certificate.
func whoisPersons(w *chatsecure.Whois) (persons []*whoisPerson) {
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

// showWhois writes who a name is: one certificate, mostly, with what is known of
// it. At the prompt, which shows a certificate and no more, not whole: only what
// is not as it should be. What proves nobody is an error, the most severe of which
// is returned.
func showWhois(out *display, w *chatsecure.Whois, whole bool, offer func(error)) error {
	for _, p := range whoisPersons(w) {
		person := p.first.Person
		known := howKnown(w.Known, person)
		if known == knownAnother {
			offer(&chatsecure.IdentityChange{Name: w.Name, Known: *w.Known, Person: person})
		}
		if out.json {
			out.object(whoisJSON(out.head("whois"), w, p, known))
			continue
		}
		text := crypto.CertificateText(person.Leaf)
		whole := whole || out.verbose
		if whole {
			text += textLine("Chain", strings.Join(authorityNames(person), " → ")) + textLine("Identity", hex.EncodeToString(person.Identity[:]))
		}
		if whole || person.Revocation.Status == crypto.RevocationUnknown {
			text += revocationLine(person.Revocation)
		}
		if whole || known == knownAnother {
			text += textLine("Known", knownText(w.Known, known))
		}
		out.text(text)
	}
	var worst error
	for i := range w.Conns {
		c := &w.Conns[i]
		if c.Err == nil {
			continue
		}
		e := *chatsecure.AsError(c.Err)
		e.Message = fmt.Sprintf("what the relay shows for connection %s of %s proves nobody: %s", c.Conn, crypto.Visible(w.Name), e.Message)
		out.fail(&e)
		if exit := chatsecure.ExitStatus(&e); worst == nil || chatsecure.MostSevere(exit, int(worst.(statusError))) == exit {
			worst = statusError(exit)
		}
	}
	return worst
}

// How a person is known under a name.
const (
	knownUnknown  = "unknown"
	knownSeen     = "seen, not accepted"
	knownAccepted = "accepted"
	knownAnother  = "another person than the one who is known"
)

func howKnown(k *chatsecure.KnownPeer, p *crypto.Person) string {
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

// knownText is how somebody is known, and since when.
func knownText(k *chatsecure.KnownPeer, known string) string {
	if k == nil {
		return known
	}
	return known + ", since " + day(k.First)
}

// authorityNames are those above a person's certificate, the anchor last.
func authorityNames(person *crypto.Person) []string {
	names := []string{}
	for _, cert := range person.Path[min(1, len(person.Path)):] {
		names = append(names, crypto.Visible(cert.Subject.CommonName))
	}
	return names
}

// knownWords are howKnown's for programs.
var knownWords = map[string]string{knownUnknown: "unknown", knownSeen: "seen", knownAccepted: "accepted", knownAnother: "another"}

func whoisJSON(h head, w *chatsecure.Whois, p *whoisPerson, known string) whoisObject {
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

// runRelease gives the name up at the relay.
func runRelease(a *app, ctx context.Context, args []string) error {
	f := newFlags("release")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	if err := noArguments("release", f.Args()); err != nil {
		return err
	}
	return a.oneShot(ctx, func(ctx context.Context, c *connection) error {
		if err := c.Release(ctx); err != nil {
			return err
		}
		a.out.notice("the name %s is free at %s as soon as your other connections have left; whoever takes it then has it", crypto.Visible(c.Name()), a.opt.relay)
		return nil
	})
}
