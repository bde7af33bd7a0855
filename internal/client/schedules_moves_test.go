package client

import (
	"slices"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// known returns Mallory's knowledge in a world: every line, and her own
// handshakes with their results.
func (s *search) known(w *world) (lines []*scheduledLine, hers []*play) {
	lines = slices.Clone(s.cast.made)
	hers = slices.Clone(s.begins)
	var sent [2][]*scheduledLine
	for who, p := range w.players {
		for _, at := range p.path() {
			sent[who] = append(sent[who], at.sent...)
		}
		for _, l := range sent[who] {
			if !l.forgery {
				l.forgery, l.forged = true, s.cast.keep(s.cast.forge(s.t, l), l.on)
				for _, f := range l.forged {
					s.tally.hers.forged[f.what()]++
				}
			}
			lines = append(append(lines, l), l.forged...)
			if crypto.PeekPhase(l.body) == "p1" {
				if l.answer == nil {
					l.answer = s.start(mallory, s.seed(l.id))
					s.try(l.answer, move{kind: take, line: l.id})
				}
				hers = append(hers, l.answer.next[move{kind: take, line: l.id}])
			}
		}
	}
	// Each of her handshakes follows one client's lines, in their order.
	for who := range w.players {
		for _, l := range sent[who] {
			for _, p := range hers {
				first := p.path()[min(1, len(p.path())-1)]
				if first.sent == nil || first.sent[0].from != l.to || first.sent[0].to != l.from {
					continue
				}
				m := move{kind: take, line: l.id}
				s.try(p, m)
				if next := p.next[m]; next != p {
					hers = append(hers, next)
				}
			}
		}
	}
	for _, p := range hers {
		lines = append(lines, p.sent...)
	}
	return append(lines, s.passed(hers)...), hers
}

// passed returns her repetitions of opened records in other conversations.
func (s *search) passed(hers []*play) (lines []*scheduledLine) {
	for _, opened := range hers {
		if opened.move.kind != take || s.cast.opened[opened.move.line] == nil {
			continue
		}
		m := move{kind: pass, line: opened.move.line}
		for _, p := range hers {
			if p.path()[0] == opened.path()[0] || len(p.facts.secrets) == 0 {
				continue
			}
			s.try(p, m)
			if next := p.next[m]; next != p {
				lines = append(lines, next.sent...)
			}
		}
	}
	return lines
}

// seed seeds the random numbers of one of Mallory's handshakes.
func (s *search) seed(n int) uint64 { return uint64(1000 + n) }

// moves returns all possible moves of a client in a world.
func (s *search) moves(who int, lines []*scheduledLine) []move {
	var moves []move
	if s.sc.breaks {
		moves = append(moves, move{kind: wait})
	}
	me := s.cast.ends[who]
	for _, l := range lines {
		if l.header.Type == proto.TypeError && !s.sc.breaks {
			continue
		}
		if l.from.Conn == me.Conn {
			moves = append(moves, move{deliver, l.id, s.cast.index(l.to)}) // reflected
			continue
		}
		for as, end := range s.cast.ends {
			// As it is, as Mallory's, or as its sender's but on her connection.
			if end == l.from || as == mallory || end.Conn == s.cast.ends[mallory].Conn && end.Name == l.from.Name {
				moves = append(moves, move{deliver, l.id, as})
			}
		}
	}
	return moves
}
