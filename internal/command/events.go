package command

import (
	"context"
	"strings"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// talker is the commands' view of a client.Client. Tests have their own.
type talker interface {
	Name() string
	Conn() string
	Next(ctx context.Context) ([]client.Event, error)
	Shown(messages ...*client.Message)
	Send(ctx context.Context, names []string, text string) (id string, err error)
	Everyone() []string
	Written(ctx context.Context) error
	Wait(ctx context.Context, level history.Status) client.Outcome
	List(ctx context.Context) ([]client.Online, error)
	Whois(ctx context.Context, name string) (*client.Whois, error)
	Watch(ctx context.Context) error
}

// look is the form of a message.
type look int

const (
	plainLook  look = iota // of recv: one line for a script
	zeroLook               // of recv -0: name, tab, text, NUL
	promptLook             // of the prompt, as in the original
)

// presenter writes events. One goroutine owns it.
type presenter struct {
	out    *display
	c      talker
	look   look
	take   func(*client.Message) bool // nil takes all; on false a message stays unread
	people bool                       // tells who comes and goes

	conns  map[string]map[string]bool // ids of known connections, by folded name
	unsure map[string]bool            // folded names whose unknown revocation was told
	worst  int                        // exit status of the most severe error told
}

// presenter returns a presenter for a connection. take may be nil.
func (a *app) presenter(c *connection, take func(*client.Message) bool) *presenter {
	return &presenter{out: a.out, c: c, take: take}
}

// present writes events, flushes, and returns the messages that were shown.
// After an error they may not have been.
func (p *presenter) present(events []client.Event) (shown []*client.Message, err error) {
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

// note counts connections, so that one of several is named.
func (p *presenter) note(ev *client.Event) {
	name, conn, gone := "", "", false
	switch {
	case ev.Message != nil:
		name, conn = ev.Message.From, ev.Message.FromConn
	case ev.Peer != nil:
		name, conn = ev.Peer.Name, ev.Peer.Conn
		gone = ev.Peer.What == proto.Left || ev.Peer.What == whatRefused
	case ev.Type == client.EventLost:
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

// Changes of a peer's connection besides coming and leaving.
const (
	whatRefused = "refused"
	whatRenewed = "renewed"
)

// tell writes an event for people, and a message as data.
func (p *presenter) tell(ev *client.Event) {
	switch {
	case ev.Message != nil:
		p.message(ev.Message, ev.Time)
	case ev.Receipt != nil:
		p.receipt(ev.Receipt)
	case ev.Peer != nil:
		p.peer(ev.Peer)
	case ev.Gap != nil:
		p.out.notice("messages of %s may be missing: %s", p.shortName(ev.Gap.Name, ev.Gap.Conn), proto.Visible(ev.Gap.Reason))
	case ev.Err != nil && ev.Type == client.EventLost:
		p.out.notice("%s; trying again", proto.Visible(ev.Err.Message))
	case ev.Err != nil:
		p.fail(ev.Err)
	case ev.Type == client.EventBack:
		p.out.notice("the relay is back")
	case ev.Notice != "":
		p.out.notice("%s", proto.Visible(ev.Notice))
	}
}

// receipt reports the progress of a message at the prompt. send reports
// failures at its end instead of for each of a million lines.
func (p *presenter) receipt(r *client.ReceiptChange) {
	switch {
	case p.look == promptLook && r.Status == history.StatusFailed:
		p.out.notice("message %s to %s FAILED: %s", r.ID, proto.Visible(r.To), proto.Visible(r.Reason))
	case p.look == promptLook || r.Status == history.StatusFailed:
		p.out.detail("message %s to %s is %s", r.ID, proto.Visible(r.To), r.Status)
	}
}

// fail writes an error and keeps its exit status.
func (p *presenter) fail(err error) {
	exit := p.out.fail(err)
	if fail.AsError(err).Code != proto.Card {
		// A failed renewal is tried again. If it stays impossible, the client ends.
		p.worst = fail.MostSevere(p.worst, exit)
	}
}

func (p *presenter) peer(c *client.PeerChange) {
	who := p.shortName(c.Name, c.Conn)
	p.sayUnsure(c)
	switch {
	case c.What == whatRefused:
		if strings.HasPrefix(c.Reason, c.Name+" refuses you: ") { // the reason says who refuses whom
			p.out.notice("%s", proto.Visible(c.Reason))
		} else {
			p.out.notice("%s is refused: %s", who, proto.Visible(c.Reason))
		}
	case c.What == whatRenewed:
		p.out.notice("%s has a renewed card, of the same person", who)
	case c.What == proto.Left && c.Reason != "":
		p.out.notice("%s has left, %s", who, proto.Visible(c.Reason))
	case p.people && c.Reason != "":
		p.out.notice("%s: %s, %s", who, c.What, proto.Visible(c.Reason))
	case p.people:
		p.out.notice("%s: %s", who, c.What)
	default:
		p.out.detail("%s: %s", who, c.What)
	}
}

// sayUnsure tells, once for each name, that a person is accepted although the
// revocation is unknown (-crl-policy try).
func (p *presenter) sayUnsure(c *client.PeerChange) {
	name := proto.FoldName(c.Name)
	if c.Person == nil || c.Person.Revocation.Status != trust.RevocationUnknown || p.unsure[name] {
		return
	}
	if p.unsure == nil {
		p.unsure = make(map[string]bool)
	}
	p.unsure[name] = true
	p.out.notice("%s is accepted, although %s", proto.Visible(c.Name), c.Person.Revocation.Reason)
}

// message writes a message as data, and introduces its sender to the person at
// the first one.
func (p *presenter) message(m *client.Message, now time.Time) {
	if m.First && m.Person != nil {
		p.introduce(m)
	}
	if m.Again {
		p.out.notice("the next message may have been shown before: %s", m.ID)
	}
	if p.out.json {
		return
	}
	switch p.look {
	case plainLook:
		p.out.message(plainHead(m), m.Text)
	case zeroLook:
		p.out.exact(zeroMessage(m))
	default:
		p.out.message(p.promptHead(m, now), m.Text)
	}
}

// introduce shows the certificate behind a first message.
func (p *presenter) introduce(m *client.Message) {
	if p.out.quiet {
		return
	}
	if p.look != promptLook {
		p.out.notice("%s is new here, and proves to be:", proto.Visible(m.From))
	}
	p.out.say(personText(m.Person))
}

// plainHead is the head of a message for a script.
func plainHead(m *client.Message) string {
	from := proto.Visible(m.From)
	if len(m.To) > 1 {
		return "[" + from + " → " + visibleNames(m.To) + "] " + from + ": "
	}
	return from + ": "
}

// zeroMessage is a message for a program, which its text cannot end: a NUL
// within is written out.
func zeroMessage(m *client.Message) string {
	return proto.Visible(m.From) + "\t" + strings.ReplaceAll(m.Text, "\x00", `\x00`) + "\x00"
}

// promptHead is the head of a message at the prompt.
func (p *presenter) promptHead(m *client.Message, now time.Time) string {
	who := p.shortName(m.From, m.FromConn)
	if len(m.To) > 1 {
		who += " → " + visibleNames(m.To)
	}
	return clock(now) + " " + p.out.in(term.Strong, "["+who+"]") + ": "
}

// shortName is a name, with the start of the connection's id if the user has
// another connection.
func (p *presenter) shortName(name, conn string) string {
	for other := range p.conns[proto.FoldName(name)] {
		if other != conn {
			return proto.Visible(name) + "-" + shortConn(conn)
		}
	}
	return proto.Visible(name)
}

// followAside presents events in a goroutine until the client ends. The
// returned context ends then, with the reason as its cause. done is closed
// after the last event. A failure to write does not stop it.
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

// takeNone leaves all messages unread.
func takeNone(*client.Message) bool { return false }
