package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"chatsecure"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// talker is what the commands use of a chatsecure.Client. Tests put their own
// in its place.
type talker interface {
	Name() string
	Conn() string
	Next(ctx context.Context) ([]chatsecure.Event, error)
	Shown(messages ...*chatsecure.Message)
	Send(ctx context.Context, names []string, text string) (id string, err error)
	Everyone() []string
	Written(ctx context.Context) error
	Wait(ctx context.Context, level chatsecure.Status) chatsecure.Outcome
	List(ctx context.Context) ([]chatsecure.Online, error)
	Whois(ctx context.Context, name string) (*chatsecure.Whois, error)
	Watch(ctx context.Context) error
	Release(ctx context.Context) error
	Close(ctx context.Context) error
}

// look is how a message is written.
type look int

const (
	plainLook  look = iota // recv: one line for a script
	promptLook             // the prompt's, as the original had it
)

// presenter writes events. One goroutine owns it.
type presenter struct {
	out    *display
	c      talker
	look   look
	take   func(*chatsecure.Message) bool // nil takes all; false leaves a message unshown
	offer  func(err error)                // remembers what trust accept can accept; may be nil
	people bool                           // who comes and goes is told

	conns  map[string]map[string]bool // connection ids by folded name, as far as seen
	unsure map[string]bool            // folded names that it was said of that their revocation is not known
	worst  int                        // exit status of the most severe error told
}

// present writes events, flushes, and returns the messages that are now shown.
// An error says that they may not be.
func (p *presenter) present(events []chatsecure.Event) (shown []*chatsecure.Message, err error) {
	for i := range events {
		ev := &events[i]
		p.note(ev)
		if m := ev.Message; m != nil {
			if p.take != nil && !p.take(m) {
				continue
			}
			shown = append(shown, m)
		}
		if p.out.json {
			if ev.Receipt != nil {
				p.out.awaitSent(ev.Receipt.No)
			}
			if o := eventObject(ev); o != nil {
				p.out.objectLater(o)
			}
		}
		p.tell(ev)
	}
	return shown, p.out.flush()
}

// note keeps count of connections, so that one of several is named.
func (p *presenter) note(ev *chatsecure.Event) {
	name, conn, gone := "", "", false
	switch {
	case ev.Message != nil:
		name, conn = ev.Message.From, ev.Message.FromConn
	case ev.Peer != nil:
		name, conn = ev.Peer.Name, ev.Peer.Conn
		gone = ev.Peer.What == proto.Left || ev.Peer.What == whatRefused
	case ev.Type == chatsecure.EventLost:
		clear(p.conns) // connection ids end with the connection to the relay
		return
	default:
		return
	}
	folded := proto.FoldName(name)
	if gone {
		delete(p.conns[folded], conn)
		return
	}
	if p.conns == nil {
		p.conns = make(map[string]map[string]bool)
	}
	if p.conns[folded] == nil {
		p.conns[folded] = make(map[string]bool)
	}
	p.conns[folded][conn] = true
}

// What happens to a peer's connection beside coming and leaving.
const (
	whatRefused = "refused"
	whatRenewed = "renewed"
)

// tell writes an event for people, and a message as data.
func (p *presenter) tell(ev *chatsecure.Event) {
	switch {
	case ev.Message != nil:
		p.message(ev.Message, ev.Time)
	case ev.Receipt != nil:
		p.receipt(ev.Receipt)
	case ev.Peer != nil:
		p.peer(ev.Peer)
	case ev.Gap != nil:
		p.out.notice("messages of %s may be missing: %s", p.shortName(ev.Gap.Name, ev.Gap.Conn), crypto.Visible(ev.Gap.Reason))
	case ev.Err != nil && ev.Type == chatsecure.EventLost:
		p.out.notice("%s; trying again", crypto.Visible(ev.Err.Message))
	case ev.Err != nil:
		p.fail(ev.Err)
	case ev.Type == chatsecure.EventBack:
		p.out.notice("the relay is back")
	case ev.Notice != "":
		p.out.notice("%s", crypto.Visible(ev.Notice))
	}
}

// receipt tells at the prompt what became of a message; send says at its end
// what failed, and not for each of a million lines.
func (p *presenter) receipt(r *chatsecure.ReceiptChange) {
	switch {
	case p.look == promptLook && r.Status == chatsecure.StatusFailed:
		p.out.notice("message %s to %s FAILED: %s", r.ID, crypto.Visible(r.To), crypto.Visible(r.Reason))
	case p.look == promptLook || r.Status == chatsecure.StatusFailed:
		p.out.detail("message %s to %s is %s", r.ID, crypto.Visible(r.To), r.Status)
	}
}

// fail says an error and keeps its exit status.
func (p *presenter) fail(err error) {
	p.offerIf(err)
	p.out.fail(err)
	if chatsecure.AsError(err).Code != proto.Card {
		// A renewal that failed is tried again; the client ends if it has to.
		p.worst = chatsecure.MostSevere(p.worst, chatsecure.ExitStatus(err))
	}
}

// offerIf is offer, where there is one.
func (p *presenter) offerIf(err error) {
	if p.offer != nil {
		p.offer(err)
	}
}

func (p *presenter) peer(c *chatsecure.PeerChange) {
	who := p.shortName(c.Name, c.Conn)
	p.sayUnsure(c)
	switch {
	case c.What == whatRefused:
		p.out.notice("%s is refused: %s", who, crypto.Visible(c.Reason))
	case c.What == whatRenewed:
		p.out.notice("%s has a renewed card, of the same person", who)
	case c.What == proto.Left && c.Reason != "":
		p.out.notice("%s has left, %s", who, crypto.Visible(c.Reason))
	case p.people && c.Reason != "":
		p.out.notice("%s: %s, %s", who, c.What, crypto.Visible(c.Reason))
	case p.people:
		p.out.notice("%s: %s", who, c.What)
	default:
		p.out.detail("%s: %s", who, c.What)
	}
}

// sayUnsure says, once for each name, that somebody is accepted of whom it is not
// known whether the certificate is revoked: -crl-policy try.
func (p *presenter) sayUnsure(c *chatsecure.PeerChange) {
	name := proto.FoldName(c.Name)
	if c.Person == nil || c.Person.Revocation.Status != crypto.RevocationUnknown || p.unsure[name] {
		return
	}
	if p.unsure == nil {
		p.unsure = make(map[string]bool)
	}
	p.unsure[name] = true
	p.out.notice("%s is accepted, although %s", crypto.Visible(c.Name), c.Person.Revocation.Reason)
}

// personText is who somebody new is, for people: the certificate and, where that
// is not known, whether it is revoked.
func personText(person *crypto.Person) string {
	text := crypto.CertificateText(person.Leaf)
	if person.Revocation.Status == crypto.RevocationUnknown {
		text += revocationLine(person.Revocation)
	}
	return text
}

// revocationLine is what is known of a person's revocation, and where from.
func revocationLine(r crypto.RevocationResult) string {
	text := string(r.Status) + ": " + r.Reason
	if r.Status == crypto.RevocationGood && len(r.Certificates) > 0 {
		list := r.Certificates[0].List
		text += fmt.Sprintf(" (%s, of %s UTC)", crypto.Visible(list.Source), list.ThisUpdate.UTC().Format(time.DateTime))
	}
	return textLine("Revocation", text)
}

// textLine is a line below those of crypto.CertificateText, like them.
func textLine(field, value string) string { return fmt.Sprintf("%-15s: %s\n", field, value) }

// message writes one message as data, and who is new as said to a person.
func (p *presenter) message(m *chatsecure.Message, now time.Time) {
	if m.First && m.Person != nil {
		p.introduce(m)
	}
	if m.Again {
		p.out.notice("the next message may have been shown before: %s", m.ID)
	}
	if p.out.json {
		return
	}
	if p.look == plainLook {
		p.out.line(plainMessage(m))
		return
	}
	p.out.line(p.promptMessage(m, now))
}

// introduce shows who somebody is that a first message has come from.
func (p *presenter) introduce(m *chatsecure.Message) {
	text := personText(m.Person)
	if p.look == promptLook {
		if !p.out.quiet {
			p.out.say(text)
		}
		return
	}
	p.out.notice("%s is new here, and proves to be:\n%s", crypto.Visible(m.From), strings.TrimSuffix(text, "\n"))
}

// plainMessage is a message on one line, for a script.
func plainMessage(m *chatsecure.Message) string {
	from := crypto.Visible(m.From)
	line := from + ": " + crypto.Visible(m.Text)
	if len(m.To) > 1 {
		line = "[" + from + " → " + visibleNames(m.To) + "] " + line
	}
	return line
}

// promptMessage is a message on one line of the prompt.
func (p *presenter) promptMessage(m *chatsecure.Message, now time.Time) string {
	who := p.shortName(m.From, m.FromConn)
	if len(m.To) > 1 {
		who += " → " + visibleNames(m.To)
	}
	return clock(now) + " " + p.out.in(strong, "["+who+"]") + ": " + crypto.Visible(m.Text)
}

func visibleNames(names []string) string { return crypto.Visible(strings.Join(names, ", ")) }

func clock(t time.Time) string { return t.Local().Format("[15:04:05]") }

// dateTime is a local time in a listing.
func dateTime(t time.Time) string { return t.Local().Format(time.DateTime) }

// shortName is a name, with the start of the connection's id where the user
// has another one. What is told of one that has gone is told with those that
// are still there in mind.
func (p *presenter) shortName(name, conn string) string {
	for other := range p.conns[proto.FoldName(name)] {
		if other != conn {
			return crypto.Visible(name) + "-" + shortConn(conn)
		}
	}
	return crypto.Visible(name)
}

// shortConnLen is how much of a connection id tells a user's few connections
// apart.
const shortConnLen = 4

func shortConn(conn string) string { return conn[:min(len(conn), shortConnLen)] }

// followAside presents events in a goroutine of its own until the client ends.
// The context it returns ends then, with the reason as its cause; done is
// closed when the last event has been presented. Data that nobody reads does
// not stop it.
func (p *presenter) followAside(ctx context.Context) (reading context.Context, done <-chan struct{}) {
	reading, stop := context.WithCancelCause(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		for {
			events, err := p.c.Next(context.WithoutCancel(ctx))
			p.present(events)
			if err != nil {
				stop(err)
				return
			}
		}
	}()
	return reading, followed
}
