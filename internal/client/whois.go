package client

import (
	"context"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// Whois is the answer about a name: the relay's part and the local part.
type Whois struct {
	Name  string
	Conns []WhoisConn
	Known *state.KnownPeer // what is remembered locally, or nil
}

// WhoisConn is one connection of the name and what its bundle proves.
type WhoisConn struct {
	Conn   string
	Takes  string
	Since  time.Time
	Level  int
	Bundle *trust.Bundle
	Person *trust.Person // nil where Err is set
	Err    error         // the reason why the bundle proves nobody

	Alike []state.KnownPeer // accepted people like that one, under other names
}

// Whois asks for a name's connections and checks what their bundles prove.
func (c *Client) Whois(ctx context.Context, name string) (*Whois, error) {
	e := c.engine
	if err := proto.CheckName(name); err != nil {
		return nil, err
	}
	answer, err := e.ask(ctx, &proto.Header{Type: proto.TypeWhoisGet, Name: name})
	if err != nil {
		return nil, err
	}
	entries, err := readWhois(answer[0].Body)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, errNobody(name)
	}
	w := &Whois{Name: name}
	if k, ok := e.cfg.State.KnownPeer(proto.FoldName(name)); ok {
		w.Known = k
	}
	looking, cancel := context.WithTimeout(ctx, fetch.Wait)
	defer cancel()
	for _, entry := range entries {
		c := WhoisConn{Conn: entry.ID, Takes: entry.Takes, Since: time.Unix(entry.Since, 0), Bundle: entry.Bundle}
		if proto.SameName(entry.Bundle.Name, name) {
			c.Person, c.Err = e.cfg.Fetcher.VerifyWait(looking, e.cfg.Verifier, entry.Bundle, entry.Bundle.Name)
			w.Name = entry.Bundle.Name
		} else {
			c.Err = fail.Errorf(proto.NameMismatch, "the relay showed a bundle of another name")
		}
		w.Conns = append(w.Conns, c)
	}
	err = e.do(ctx, func() {
		for i := range w.Conns {
			e.compare(&w.Conns[i])
		}
	})
	for i, c := range w.Conns {
		if c.Err == nil {
			w.Conns[i].Alike = e.cfg.State.Alike(name, c.Person)
		}
	}
	return w, err
}

// compare holds the relay's answer about a connection against the identity that
// the connection has proved. A contradiction is an error.
func (e *engine) compare(c *WhoisConn) {
	identity, ok := e.proved(c.Conn)
	if !ok {
		return
	}
	c.Level = 1
	if c.Err == nil && c.Person.Identity != identity {
		c.Person, c.Err = nil, fail.Errorf(proto.IdentityChanged, "that connection has proved to be another person's")
	}
}

// readWhois decodes an answer to whois. A malformed one is an error. The bundles
// are not checked.
func readWhois(body []byte) ([]crypto.WhoisEntry, error) {
	var entries []crypto.WhoisEntry
	malformed := fail.Errorf(proto.Malformed, "the relay's answer to whois is malformed")
	if err := proto.Unmarshal(body, &entries); err != nil || len(entries) > proto.MaxWhois {
		return nil, malformed
	}
	for _, entry := range entries {
		if entry.Bundle == nil || !proto.ValidConnID(entry.ID) || !proto.ValidTakes(entry.Takes) ||
			entry.Since < 0 {
			return nil, malformed
		}
	}
	return entries, nil
}
