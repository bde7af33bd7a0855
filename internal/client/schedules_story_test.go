package client

import (
	"fmt"
	"strings"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// scheduledLine is one line that somebody has sent.
type scheduledLine struct {
	id       int
	header   proto.Header // type, phase, code and message; the relay stamps the rest
	body     []byte
	from, to crypto.End
	hers     bool           // Mallory sent it
	made     *scheduledLine // what she made it of, if she forged it
	on       *scheduledLine // the line before it at its sender

	forged  []*scheduledLine // her forgeries of it; see scheduleCast.forge
	forgery bool             // they have been made
	answer  *play            // her own handshake, if it is a p1
}

// what names a line: its phase of a handshake, or its type.
func (l *scheduledLine) what() string {
	if phase := crypto.PeekPhase(l.body); phase != "" {
		return phase
	}
	return l.header.Type
}

func (l *scheduledLine) tell() string {
	what := l.what()
	if l.made != nil {
		return fmt.Sprintf("line %d, a %s forged of line %d", l.id, what, l.made.id)
	}
	return fmt.Sprintf("line %d, %s of %v", l.id, what, l.from)
}

// story tells each player's moves and words.
func (s *search) story(w *world) string {
	var b strings.Builder
	tell := func(p *play) {
		fmt.Fprintf(&b, "\n%s:", s.cast.ends[p.who].Name)
		for _, at := range p.path() {
			if at.parent != nil {
				fmt.Fprintf(&b, "\n  is given %s", s.tell(at.move))
			}
			for _, l := range at.sent {
				fmt.Fprintf(&b, "\n    says %s to %v", l.tell(), l.to)
			}
		}
	}
	for _, p := range w.players {
		tell(p)
	}
	_, hers := s.known(w)
	for _, p := range hers {
		tell(p)
	}
	return b.String()
}

func (s *search) tell(m move) string {
	switch m.kind {
	case wait:
		return "time"
	case write:
		return fmt.Sprintf("%q, to write", s.sc.talk[m.line].text)
	case begin:
		return fmt.Sprintf("the word to begin with %v as %v", s.cast.ends[m.line], s.cast.ends[m.as])
	case pass:
		return s.cast.lines[m.line].tell() + ", to pass on"
	case take:
		return s.cast.lines[m.line].tell() + ", to take for whom it is"
	}
	return fmt.Sprintf("%s, as from %v", s.cast.lines[m.line].tell(), s.cast.ends[m.as])
}
