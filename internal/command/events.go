package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
	Knows(m *client.Message) bool
	Accept(ctx context.Context, m *client.Message) error
	Send(ctx context.Context, names []string, text string) (id string, err error)
	Everyone() []string
	Here(name string) bool
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
	quiet  func(name string) bool     // for accepted people, that is told with -v only; may be nil
	quoted func(id string) string     // names a message; nil: its id does
	met    func(*trust.Person) bool   // notes that a certificate is shown; may be nil

	flood  flood
	lost   bool                // the relay is
	over   bool                // what was not delivered has been told: FAILED is no news
	conns  map[string][]string // ids of known connections, by folded name
	unsure map[string]bool     // folded names whose unknown revocation was told
	worst  int                 // exit status of the most severe error told
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
	p.sumUp(time.Now())
	return shown, p.out.flush()
}

// note counts connections, so that one of several is named.
func (p *presenter) note(ev *client.Event) {
	name, conn, gone := "", "", false
	switch {
	case ev.Message != nil:
		if ev.Message.Letter {
			return
		}
		name, conn = ev.Message.From, ev.Message.FromConn
	case ev.Peer != nil:
		name, conn = ev.Peer.Name, ev.Peer.Conn
		gone = ev.Peer.What == proto.Left || ev.Peer.What == whatRefused
	case ev.Type == client.EventLost:
		p.lost = true
		clear(p.conns) // connection ids end with the connection to the relay
		return
	case ev.Type == client.EventBack:
		p.lost = false
		return
	default:
		return
	}
	folded := proto.FoldName(name)
	if p.conns == nil || len(p.conns) >= maxRoster || len(p.conns[folded]) >= maxRoster {
		p.conns = make(map[string][]string) // a relay could report any number
	}
	here := slices.DeleteFunc(p.conns[folded], func(other string) bool { return other == conn })
	if !gone {
		here = append(here, conn)
	}
	if p.conns[folded] = here; len(here) == 0 {
		delete(p.conns, folded)
	}
}

// Changes of a peer's connection besides coming and leaving.
const (
	whatRefused = "refused"
	whatRenewed = "renewed"
	whatProved  = "authenticated"
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
		say := p.out.notice
		if p.quiet != nil && !p.quiet(ev.Gap.Name) {
			say = p.out.detail // a stranger could cause any number
		}
		say("messages of %s may be missing: %s", p.shortName(ev.Gap.Name, ev.Gap.Conn),
			proto.Visible(ev.Gap.Reason))
	case ev.Err != nil && ev.Type == client.EventLost:
		p.out.notice("%s; trying again", proto.Visible(ev.Err.Message))
		if refusedIn(ev) != nil {
			p.advise(ev.Err)
		}
	case ev.Err != nil:
		p.fail(ev.Err)
	case ev.Type == client.EventBack:
		p.out.notice("the relay is back")
	case ev.Notice != "":
		words := p.out.advice
		if p.out.atPrompt() != nil {
			words = promptNotice
		}
		p.out.notice("%s", proto.Visible(words(ev.Notice)))
	}
}

// receipt reports the progress of a message at the prompt. send reports
// failures at its end instead of for each of a million lines.
func (p *presenter) receipt(r *client.ReceiptChange) {
	switch {
	case p.over:
	case p.look == promptLook && r.Status == history.StatusFailed:
		p.out.notice("%s to %s FAILED: %s", p.quote(r.ID), proto.Visible(r.To), proto.Visible(r.Reason))
		p.advise(r.Err)
	case p.look == promptLook && r.Err != nil && r.Conn != "":
		p.out.notice("%s to %s was perhaps not delivered: %s", p.quote(r.ID), proto.Visible(r.To),
			proto.Visible(r.Reason))
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

// advise writes the hint of an error at the prompt. err may be nil.
func (p *presenter) advise(err *fail.Error) {
	if p.look == promptLook && err != nil && !p.out.quiet {
		if hint := p.out.hint(err); hint != "" {
			p.out.say(hint)
		}
	}
}

// quote names a message by its text if that is known.
func (p *presenter) quote(id string) string {
	if p.quoted == nil {
		return "message " + id
	}
	return p.quoted(id)
}

// peer tells of a change of a peer's connection. At the prompt those of accepted people are quiet,
// as is a handshake of anybody's, and of a flood the rest is counted.
func (p *presenter) peer(c *client.PeerChange) {
	p.sayUnsure(c)
	who := p.shortName(c.Name, c.Conn)
	if p.look == promptLook {
		who = "[" + who + "]"
	}
	text, loud := who+": "+c.What, p.people
	switch {
	case c.What == whatRefused && strings.HasPrefix(c.Reason, c.Name+" refuses you: "):
		// The reason says who refuses whom.
		text, loud = proto.Visible(c.Reason), true
	case c.What == whatRefused:
		text, loud = who+" is refused: "+proto.Visible(c.Reason), true
		if c.Refused != nil {
			text += "; if it is the right one, by another way: " + p.out.words(c.Refused.Accept()) +
				"; if not: " + p.out.words(c.Refused.Block())
		}
	case c.What == whatRenewed:
		text, loud = who+" has a renewed card, of the same person", true
	case c.What == proto.Left && c.Reason != "":
		text, loud = who+" has left, "+proto.Visible(c.Reason), true
	case p.quiet != nil && (c.What == whatProved && c.Reason == "" || p.quiet(c.Name)):
		loud = false
	}
	if c.Reason != "" && (c.What == proto.Came || c.What == whatProved) {
		text += ", " + proto.Visible(c.Reason)
	}
	switch {
	case !loud:
		p.out.detail("%s", text)
	case p.look != promptLook || p.out.verbose || p.flood.pass(c.What, time.Now()):
		p.out.notice("%s", text)
	}
}

// Bounds of the notices about peers at the prompt: a burst, and then one in this time. The others
// are counted, and summed up in one.
const (
	floodBurst = 6
	floodEvery = 10 * time.Second
)

// flood counts the notices that come too fast.
type flood struct {
	next   time.Time // the time up to which notices are used up
	untold map[string]int
}

// pass reports whether a notice may be shown. Otherwise it is counted.
func (f *flood) pass(what string, now time.Time) bool {
	if len(f.untold) == 0 && f.take(now) {
		return true
	}
	if f.untold == nil {
		f.untold = make(map[string]int)
	}
	f.untold[what]++
	return false
}

func (f *flood) take(now time.Time) bool {
	if f.next.Before(now) {
		f.next = now
	}
	if f.next.Sub(now) > (floodBurst-1)*floodEvery {
		return false
	}
	f.next = f.next.Add(floodEvery)
	return true
}

// due is the time of the next summary, or zero.
func (f *flood) due() time.Time {
	if len(f.untold) == 0 {
		return time.Time{}
	}
	return f.next.Add(-(floodBurst - 1) * floodEvery)
}

// sumUp tells the number of notices that were only counted.
func (p *presenter) sumUp(now time.Time) {
	if len(p.flood.untold) == 0 || !p.flood.take(now) {
		return
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(p.flood.untold)) {
		words := floodWords[what]
		if n := p.flood.untold[what]; n == 1 {
			parts = append(parts, "1 other "+words[0])
		} else {
			parts = append(parts, fmt.Sprintf("%d others %s", n, words[1]))
		}
	}
	p.flood.untold = nil
	p.out.notice("%s", strings.Join(parts, ", "))
}

// floodWords are the verbs of a sum: of one, and of several.
var floodWords = map[string][2]string{
	proto.Came: {"came", "came"}, proto.Left: {"left", "left"},
	whatRefused: {"was refused", "were refused"}, whatProved: {"authenticated", "authenticated"},
	whatRenewed: {"has a renewed card", "have a renewed card"},
}

// waiting says why messages wait for some people.
func (p *presenter) waiting(names []string) {
	for _, name := range names {
		switch name := proto.Visible(name); {
		case p.lost:
			p.out.notice("the relay is away; the message to %s waits as long as this client runs", name)
		case p.c.Here(name): // a device of theirs may get a letter
			p.out.notice("%s does not answer yet; the message waits", name)
		default:
			p.out.notice("%s is not here; the message waits as long as this client runs", name)
		}
	}
}

// sayUnsure tells, once for each name, that a person is accepted although the
// revocation is unknown (-crl-policy try).
func (p *presenter) sayUnsure(c *client.PeerChange) {
	name := proto.FoldName(c.Name)
	if c.Person == nil || c.Person.Revocation.Status != trust.RevocationUnknown || p.unsure[name] {
		return
	}
	if p.unsure == nil || len(p.unsure) >= maxRoster {
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
		text := m.Text
		if p.isStranger(m) {
			text = clipped(text)
		}
		p.out.message(p.promptHead(m, now), text)
	}
}

// Bounds of what the prompt shows of a message of somebody who is not accepted: one may fill the
// screen with a thousand rows.
const (
	strangerLines = 4
	strangerText  = 600 // bytes
)

// clipped is the begin of a stranger's message, and says where the rest is.
func clipped(text string) string {
	begin := proto.Clip(text, strangerText)
	if lines := strings.SplitN(begin, "\n", strangerLines+1); len(lines) > strangerLines {
		begin = strings.Join(lines[:strangerLines], "\n")
	}
	if len(begin) < len(text) {
		begin += fmt.Sprintf("\n... %d bytes more: history shows them", len(text)-len(begin))
	}
	return begin
}

// introduce shows the certificate behind a first message, unless a question has.
func (p *presenter) introduce(m *client.Message) {
	if p.out.quiet {
		return
	}
	fresh, proves := p.met == nil || p.met(m.Person), ""
	if fresh {
		proves = "; " + proto.Visible(m.From) + " proves to be:"
	}
	switch {
	case p.look != promptLook:
		p.out.notice("%s is new here, and proves to be:", proto.Visible(m.From))
	case p.isStranger(m):
		p.out.notice("%s is new here; a message to %[1]s asks you whether to accept, "+
			"/trust block %[1]s refuses%s", proto.Visible(m.From), proves)
	}
	if fresh {
		p.out.say(personText(m.Person))
	}
}

// isStranger reports whether the sender is to be marked as not accepted.
func (p *presenter) isStranger(m *client.Message) bool { return p.quiet != nil && !p.c.Knows(m) }

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

// promptHead is the head of a message at the prompt. A letter has the time at which it was left.
func (p *presenter) promptHead(m *client.Message, now time.Time) string {
	who := p.shortName(m.From, m.FromConn)
	if p.isStranger(m) {
		who += ", not accepted"
	}
	if len(m.To) > 1 {
		who += " → " + visibleNames(m.To)
	}
	at := clock(now)
	if m.Letter && day(m.Left) == day(now) {
		at = clock(m.Left)
	} else if m.Letter {
		at = "[" + dateTime(m.Left) + "]"
	}
	return at + " " + p.out.in(term.Strong, "["+who+"]") + ": "
}

// shortName is a name, with the start of the connection's id if the user has
// another connection.
func (p *presenter) shortName(name, conn string) string {
	for _, other := range p.conns[proto.FoldName(name)] {
		if other != conn && conn != "" {
			return proto.Visible(name) + "-" + shortConn(conn)
		}
	}
	return proto.Visible(name)
}

// followAside presents events in a goroutine until the client ends. The
// returned context ends then, with the reason as its cause. done is closed
// after the last event. A failure to write does not stop it.
func (p *presenter) followAside(ctx context.Context) (
	reading context.Context, done <-chan struct{}) {
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
