package command

import (
	"context"
	"fmt"
	"strings"

	"chatsecure/internal/client"
	"chatsecure/proto"
)

func runList(a *app, ctx context.Context) error {
	return a.oneShot(ctx, func(ctx context.Context, c *connection) error {
		online, err := c.List(ctx)
		if err == nil {
			showList(a.out, online, nil)
		}
		return err
	})
}

// showList writes the connected people. Those who are not accepted are marked; with nil nobody is.
func showList(out *display, online []client.Online, accepted func(name string) bool) {
	if !out.json {
		out.text(listText(online, accepted))
		return
	}
	for _, o := range online {
		out.objectLater(listObject{
			head: out.head("list"), Name: o.Name, Conn: o.Conn, Takes: o.Takes, Since: jsonTime{o.Since},
			Identity: o.Identity, Level: o.Level, Self: o.Self, Letters: o.Letters,
		})
	}
}

// listText is the list for people, with the start of each connection if that is
// known. A user's connections are told apart if there are several.
func listText(online []client.Online, accepted func(name string) bool) string {
	count := make(map[string]int)
	var self client.Online
	for _, o := range online {
		count[proto.FoldName(o.Name)]++
		if o.Self {
			self = o
		}
	}
	var b strings.Builder
	b.WriteString("User list:\n\n")
	for i, o := range online {
		fmt.Fprintf(&b, "%d. ID: %s Level: %d", i+1, proto.Visible(o.Name), o.Level)
		if count[proto.FoldName(o.Name)] > 1 {
			fmt.Fprintf(&b, " [%s-%s]", proto.Visible(o.Name), shortConn(o.Conn))
		}
		if !o.Since.IsZero() {
			b.WriteString(" Since: " + dateTime(o.Since))
		}
		if o.Letters {
			b.WriteString(" Letters: yes")
		}
		switch {
		case o.Self:
			b.WriteString(" (you)")
		case self.Name != "" && proto.SameName(o.Name, self.Name) && o.Identity == self.Identity:
			b.WriteString(" (you, on another device)")
		case accepted != nil && !accepted(o.Name):
			b.WriteString(" (not accepted)")
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.String()
}

type listObject struct {
	head
	Name     string   `json:"name"`
	Conn     string   `json:"conn"`
	Takes    string   `json:"takes"`
	Since    jsonTime `json:"since"`
	Identity string   `json:"identity"`
	Level    int      `json:"level"`
	Self     bool     `json:"self,omitempty"`
	Letters  bool     `json:"letters,omitempty"`
}
