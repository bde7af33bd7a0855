package client

import (
	"context"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// Whois is the answer about a name: the relay's part and the local part.
type Whois struct {
	Name  string // as its owner spells it
	Conns []WhoisConn
	Known *state.KnownPeer // what is remembered locally, or nil
}

// WhoisConn is one connection of the name. Its certificate comes from the person, in a
// conversation, and never from the relay.
type WhoisConn struct {
	Online
	Blocked bool          // the identity is
	Bundle  *trust.Bundle // has the certificate; nil before the first conversation
	Person  *trust.Person // of the certificate; nil without one, or where Err is set
	Err     error         // why the certificate is refused, or the relay's word is false

	Alike []state.KnownPeer // accepted people like that one, under other names
}

// Whois asks for a name's connections, and adds what is known of their people. It begins no
// conversation, so nobody is told.
func (c *Client) Whois(ctx context.Context, name string) (*Whois, error) {
	e := c.engine
	if err := proto.CheckName(name); err != nil {
		return nil, err
	}
	online, err := e.list(ctx, name)
	if err != nil {
		return nil, err
	}
	w := &Whois{Name: name}
	for _, o := range online {
		if proto.SameName(o.Name, name) {
			w.Name, w.Conns = o.Name, append(w.Conns, WhoisConn{Online: o})
		}
	}
	if len(w.Conns) == 0 {
		return nil, errNobody(name)
	}
	if k, ok := e.cfg.State.KnownPeer(proto.FoldName(name)); ok {
		w.Known = k
	}
	err = e.do(ctx, func() {
		for i := range w.Conns {
			e.compare(&w.Conns[i])
		}
	})
	if err != nil {
		return nil, err
	}
	looking, cancel := context.WithTimeout(ctx, fetch.Wait)
	defer cancel()
	met := map[string]WhoisConn{} // by identity
	for i := range w.Conns {
		c := &w.Conns[i]
		if c.Err != nil {
			continue
		}
		if like, ok := met[c.Identity]; ok {
			like.Online = c.Online
			*c = like
			continue
		}
		if err := e.cfg.identify(looking, c); err != nil {
			return nil, err
		}
		met[c.Identity] = *c
	}
	return w, nil
}

// compare holds the relay's word about a connection against the identity that it has proved, and
// takes the bundle from there. A contradiction is an error.
func (e *engine) compare(c *WhoisConn) {
	c.Self = e.isSelf(c.Conn)
	identity, ok := e.proved(c.Conn)
	if !ok {
		return
	}
	if c.Level = 1; c.Identity != proto.FormatHash(identity) {
		c.Err = fail.Errorf(proto.IdentityChanged,
			"the relay gives connection %s of %s another identity than it has proved",
			c.Conn, proto.Visible(c.Name))
	} else if c.Self {
		c.Bundle = e.local.Bundle
	} else {
		c.Bundle = e.conns[c.Conn].conv.PeerBundle
	}
}

// identify adds what is known of an identity: its certificate as it is now, from the present
// conversation or the history.
func (cfg *Config) identify(ctx context.Context, c *WhoisConn) (err error) {
	identity := proto.MustHash(c.Identity)
	c.Blocked = cfg.State.Blocked(identity)
	if c.Bundle == nil {
		if c.Bundle, err = history.LastBundle(cfg.State.HistoryDir(), identity); err != nil {
			return err
		}
	}
	if c.Bundle == nil {
		return nil
	}
	c.Person, c.Err = cfg.Fetcher.CertificateWait(ctx, cfg.Verifier, c.Bundle)
	if c.Err == nil && c.Person.Identity != identity {
		c.Bundle, c.Person = nil, nil // the history is damaged, or other roots count now
	}
	if c.Person != nil {
		c.Alike = cfg.State.Alike(c.Name, c.Person)
	}
	return nil
}
