package command

import (
	"slices"
	"strings"
	"sync"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

const (
	// maxSayings bounds the messages whose texts are kept until all have READ them.
	maxSayings = 1024
	// moment is the time after which a message that is still PENDING is spoken of. Most go before.
	moment = time.Second
)

// saying is a message of this stay, or of an earlier one: that is news while nothing else was said.
type saying struct {
	id, quoted string
	names      []string
	reached    map[string]history.Status // by folded name
	earlier    bool                      // it is of an earlier stay
}

// progress follows messages, for the status below the prompt and for the words about those that
// wait or fail. Its methods may be called from any goroutine.
type progress struct {
	asked func(name string) bool // whether the person's own answer is waited for; may be nil

	mu      sync.Mutex         // guards the fields below
	sayings []*saying          // oldest first, without those that all have READ but for the last one
	lost    bool               // others were there
	waits   map[string]*waited // the people that messages wait for, by folded name
}

// waited is a person for whom a message is PENDING.
type waited struct {
	name  string
	since time.Time
	told  bool
}

// sent begins with a new message and returns its status.
func (p *progress) sent(id string, names []string, text string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sayings = slices.DeleteFunc(p.sayings, func(s *saying) bool { return s.earlier || s.isRead() })
	if len(p.sayings) == maxSayings {
		p.lost = true
		p.sayings = slices.Delete(p.sayings, 0, 1)
	}
	s := &saying{id: id, quoted: quoteText(text), names: names, reached: make(map[string]history.Status)}
	p.sayings = append(p.sayings, s)
	return s.status(p.asked)
}

// last is the status of the last message.
func (p *progress) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sayings) == 0 {
		return ""
	}
	return p.sayings[len(p.sayings)-1].status(p.asked)
}

// changed adds a receipt. last tells that it is about the last message, and status is that one's.
func (p *progress) changed(c *client.ReceiptChange, now time.Time) (status string, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := proto.FoldName(c.To)
	left := c.Status == history.StatusPending && c.Conn != "" // it waits no more
	if left || c.Status != history.StatusPending {
		delete(p.waits, name)
	} else if p.waits[name] == nil {
		if p.waits == nil {
			p.waits = make(map[string]*waited)
		}
		p.waits[name] = &waited{name: c.To, since: now}
	}
	at := slices.IndexFunc(p.sayings, func(s *saying) bool { return s.id == c.ID })
	if at < 0 && c.No == 0 && (len(p.sayings) == 0 || p.sayings[0].earlier) {
		p.sayings = []*saying{{id: c.ID, quoted: "message " + c.ID, reached: make(map[string]history.Status), earlier: true}}
		at = 0
	}
	if at < 0 {
		return "", false
	}
	s := p.sayings[at]
	if s.earlier && !slices.ContainsFunc(s.names, func(n string) bool { return proto.SameName(n, c.To) }) {
		s.names = append(s.names, c.To)
	}
	// The furthest of a user's connections counts.
	before := s.reached[name]
	if left {
		delete(s.reached, name)
	} else if c.Status.AtLeast(before) || c.Status == history.StatusFailed && before == history.StatusPending {
		s.reached[name] = c.Status
	}
	return s.status(p.asked), at == len(p.sayings)-1
}

// quoted names a message by its text, and one of another stay by its id.
func (p *progress) quoted(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sayings {
		if s.id == id {
			return s.quoted
		}
	}
	return "message " + id
}

// overdue returns the people for whom a message has waited for a moment, each once, and the time of
// the next look, or zero.
func (p *progress) overdue(now time.Time) (names []string, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.waits {
		due := w.since.Add(moment)
		switch {
		case w.told:
		case now.Before(due):
			next = earlier(next, due)
		case p.asked != nil && p.asked(w.name): // who waits for an answer knows why
			w.since = now
			next = earlier(next, now.Add(moment))
		default:
			w.told = true
			names = append(names, w.name)
		}
	}
	slices.Sort(names)
	return names, next
}

// earlier returns the earlier one of a time or zero, and another.
func earlier(t, other time.Time) time.Time {
	if t.IsZero() || other.Before(t) {
		return other
	}
	return t
}

// back gives everybody a moment anew: after a loss of the relay they come one by one.
func (p *progress) back(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.waits {
		w.since = now
	}
}

// undelivered describes the messages that somebody lacks, and those that somebody may lack: they have
// left, and no receipt came. Those that have FAILED were told. more tells that there are others.
func (p *progress) undelivered() (lines []string, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sayings {
		if lacking := s.at(func(status history.Status) bool { return status == history.StatusPending }); lacking != "" {
			lines = append(lines, "not delivered: "+s.quoted+" to "+lacking)
		}
		if unsure := s.at(func(status history.Status) bool { return status == "" || status == history.StatusSent }); unsure != "" {
			lines = append(lines, "perhaps not delivered: "+s.quoted+" to "+unsure)
		}
	}
	return lines, p.lost
}

func (s *saying) isRead() bool {
	return s.at(func(status history.Status) bool { return status != history.StatusRead }) == ""
}

// at returns the recipients whose status is wanted.
func (s *saying) at(wanted func(history.Status) bool) string {
	return s.who(func(name string) bool { return wanted(s.reached[proto.FoldName(name)]) })
}

func (s *saying) who(wanted func(name string) bool) string {
	return visibleNames(slices.DeleteFunc(slices.Clone(s.names), func(name string) bool { return !wanted(name) }))
}

// status tells how far a message has got. Failures have their own notices.
func (s *saying) status(asked func(name string) bool) string {
	var parts []string
	for _, part := range []struct {
		status history.Status
		held   bool
		words  string
	}{
		{history.StatusRead, false, "read by "}, {history.StatusDelivered, false, "delivered to "},
		{history.StatusKept, false, "kept for "}, {history.StatusSent, false, "sent to "},
		{history.StatusPending, false, "waits for "}, {history.StatusPending, true, "waits for your answer about "},
	} {
		if names := s.who(func(name string) bool {
			status := s.reached[proto.FoldName(name)]
			return status == part.status && part.held == (status == history.StatusPending && asked != nil && asked(name))
		}); names != "" {
			switch {
			case len(parts) > 0:
			case part.status.AtLeast(history.StatusDelivered):
				part.words = "✓ " + part.words
			case part.status == history.StatusKept:
				part.words = "… " + part.words
			}
			parts = append(parts, part.words+names)
		}
	}
	return strings.Join(parts, "; ")
}

// maxQuoted bounds the part of a message that names it, in bytes.
const maxQuoted = 40

// quoteText names a message by its text.
func quoteText(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if clipped := proto.Clip(text, maxQuoted); clipped != text {
		text = clipped + "…"
	}
	return proto.Quote(text)
}
