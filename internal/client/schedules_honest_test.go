package client

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// honestRun is the schedule that delivers each line once and in order.
type honestRun struct {
	s      *search
	w      *world
	flight []*scheduledLine // sent and not delivered
	worlds []*world         // on the way
}

// honest is every world on the way of the honest schedule. In the end all is
// shown and read.
func (s *search) honest() []*world {
	first, second := s.start(alice, 1), s.start(bob, 2)
	for seed := uint64(3); s.sc.cross && s.lower(first, second) != s.sc.lower; seed++ {
		first = s.start(alice, seed)
	}
	r := &honestRun{s: s, w: s.at([2]*play{first, second})}
	r.flight = append(slices.Clone(first.sent), second.sent...)
	r.worlds = []*world{r.w}
	r.deliverAll()
	if len(s.sc.talk) > 0 {
		// The search begins in a conversation, with all of this on its way.
		for i, text := range s.sc.talk {
			r.give(1-text.to, move{write, i, 0})
		}
		if s.sc.denied {
			r.deny()
		}
		r.worlds = []*world{r.w}
		r.deliverAll()
	}
	for who, p := range r.w.players {
		for _, text := range p.facts.wrote {
			status := p.facts.status[[2]string{text.id, text.to}]
			if text.to != s.cast.ends[mallory].Name && status != history.StatusRead {
				s.t.Fatalf("where all is delivered, %q of %s is %q: %s", text.text, s.cast.ends[who].Name, status, s.story(r.w))
			}
		}
	}
	return r.worlds
}

func (r *honestRun) give(who int, m move) {
	players := r.w.players
	r.s.try(players[who], m)
	next := players[who].next[m]
	if next != players[who] {
		r.flight = append(r.flight, next.sent...)
	}
	players[who] = next
	r.w = r.s.at(players)
}

func (r *honestRun) deliverAll() {
	for len(r.flight) > 0 {
		l := r.flight[0]
		r.flight = r.flight[1:]
		if who := r.s.cast.owner(l.to); who != mallory {
			r.give(who, move{deliver, l.id, r.s.cast.index(l.from)})
			r.worlds = append(r.worlds, r.w)
		}
	}
}

// deny shows the first text of the talk to Bob and loses his receipt. Then the
// relay denies Alice's conversation in his name: she begins anew, and sends the
// text again.
func (r *honestRun) deny() {
	s := r.s
	l := r.flight[0]
	r.give(bob, move{deliver, l.id, alice})
	if n := len(r.w.players[bob].facts.shown); n != len(s.sc.texts[alice])+1 {
		s.t.Fatalf("bob has shown %d texts", n)
	}
	r.flight = nil
	s.known(r.w)
	for _, f := range l.forged {
		if f.header.Type == proto.TypeError {
			r.give(alice, move{deliver, f.id, bob})
		}
	}
	begun := func() bool { return len(r.flight) > 0 && crypto.PeekPhase(r.flight[0].body) == "p1" }
	if !begun() {
		r.give(alice, move{kind: wait})
	}
	if !begun() {
		s.t.Fatal("alice, to whom her conversation was denied, does not begin anew")
	}
}

// lower returns the player whose p1 goes on when two cross.
func (s *search) lower(players ...*play) int {
	var hash [2][32]byte
	for i, p := range players {
		p1, _, _ := bytes.Cut(p.sent[0].body, []byte("\n"))
		hash[i] = sha256.Sum256(p1)
	}
	if bytes.Compare(hash[0][:], hash[1][:]) < 0 {
		return players[0].who
	}
	return players[1].who
}
