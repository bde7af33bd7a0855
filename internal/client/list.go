package client

import (
	"context"
	"slices"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Online is one connection in the relay's list.
type Online struct {
	Name     string
	Conn     string
	Takes    string
	Since    time.Time
	Identity string // hex; unproved, the relay's claim, until Level is 1
	Level    int    // 1: proved end to end to this client, or this client itself
	Self     bool   // this very connection
	Letters  bool   // its device takes letters, by the relay's word
}

// List asks the relay who is connected, sorted as the relay gives it.
func (c *Client) List(ctx context.Context) ([]Online, error) {
	e := c.engine
	out, err := e.list(ctx, "")
	if err != nil {
		return nil, err
	}
	err = e.do(ctx, func() {
		for i := range out {
			o := &out[i]
			o.Self = e.isSelf(o.Conn)
			if identity, ok := e.proved(o.Conn); ok {
				o.Level, o.Identity = 1, proto.FormatHash(identity)
			}
		}
	})
	return out, err
}

// list is the relay's word about the connections of a name, or with "" about all.
func (e *engine) list(ctx context.Context, name string) (out []Online, err error) {
	pages, err := e.ask(ctx, &proto.Header{Type: proto.TypeList, Name: name})
	if err != nil {
		return nil, err
	}
	for _, p := range pages {
		page, err := readListed(p.Body)
		if err != nil {
			return nil, err
		}
		for _, l := range page {
			out = append(out, Online{
				Name: l.Name, Conn: l.ID, Takes: l.Takes, Since: time.Unix(l.Since, 0), Identity: l.Identity, Letters: l.Letters,
			})
		}
	}
	return out, nil
}

// readListed decodes a page of a list answer and refuses what is malformed.
func readListed(body []byte) ([]proto.Listed, error) {
	var page []proto.Listed
	if err := proto.Unmarshal(body, &page); err != nil {
		return nil, fail.Errorf(proto.Malformed, "the relay's list is malformed")
	}
	for _, l := range page {
		if proto.CheckName(l.Name) != nil || !proto.ValidConnID(l.ID) || !proto.ValidTakes(l.Takes) ||
			l.Since < 0 || !proto.IsHex(l.Identity, 32) {
			return nil, fail.Errorf(proto.Malformed, "the relay's list is malformed")
		}
	}
	return page, nil
}

// isSelf tells whether a connection is the present one of this client.
func (e *engine) isSelf(conn string) bool { return e.link.sess != nil && conn == e.link.sess.ID }

// proved returns the identity that a connection has proved end to end.
func (e *engine) proved(conn string) (identity [32]byte, ok bool) {
	if e.isSelf(conn) {
		return e.self, true
	}
	if pc := e.conns[conn]; pc != nil && pc.conv != nil {
		return pc.conv.Person.Identity, true
	}
	return identity, false
}

// Everyone returns the names with which there is a conversation.
func (c *Client) Everyone() []string {
	e := c.engine
	var names []string
	e.do(context.Background(), func() {
		for _, u := range e.users {
			if e.talks(u) {
				names = append(names, u.shown)
			}
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// Here reports whether the relay has told of a connection by a name.
func (c *Client) Here(name string) (here bool) {
	e := c.engine
	e.do(context.Background(), func() {
		for _, pc := range e.conns {
			here = here || proto.SameName(pc.name, name)
		}
	})
	return here
}
