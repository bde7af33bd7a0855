package client

import (
	"bytes"
	"slices"
	"testing/cryptotest"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// A move is one thing given to a player.
type move struct {
	kind moveKind
	line int // a scheduledLine's id; for begin, the end to begin with
	as   int // the end that the line is stamped from; for begin, as whom
}

type moveKind byte

const (
	nothing moveKind = iota
	deliver          // a line, to a client
	wait             // time passes for a client
	take             // a line, to Mallory instead of its addressee
	write            // a client's user writes a text of the scenario's talk
	pass             // an opened record, into another conversation of Mallory's
	begin            // Mallory begins a handshake
)

// player is a client, or one handshake of Mallory's.
type player interface {
	give(m move, l *scheduledLine, as crypto.End) (changed bool)
	said() []scheduledLine // since it was last asked
	now() *scheduledFacts
	close()
}

// play is one player after certain moves: a node in the tree of all its moves. A
// move without effect leads back to its own node.
type play struct {
	who    int
	seed   uint64 // of the random numbers for its next move
	parent *play  // nil at the start
	move   move
	sent   []*scheduledLine // by this move
	facts  *scheduledFacts
	next   map[move]*play
	id     int
	live   player // that stands here, or nil
}

func (p *play) path() []*play {
	var path []*play
	for ; p != nil; p = p.parent {
		path = append(path, p)
	}
	slices.Reverse(path)
	return path
}

func (c *scheduledClient) give(m move, l *scheduledLine, as crypto.End) bool {
	before, sent := c.print, len(c.sent)
	switch m.kind {
	case wait:
		c.wait()
	case write:
		c.write(c.sc.talk[m.line])
		c.settle(nil)
	default:
		c.deliver(l, as)
	}
	c.print = c.fingerprint()
	spoke := slices.ContainsFunc(c.sent[sent:], func(l scheduledLine) bool { return l.header.Type != proto.TypeError })
	if spoke || c.print != before {
		return true
	}
	c.clock = c.clock.Add(-clockStep)
	c.sent = c.sent[:sent]
	return false
}

func (c *scheduledClient) said() []scheduledLine {
	sent := c.sent
	c.sent = nil
	return slices.DeleteFunc(sent, func(l scheduledLine) bool { return l.header.Type == proto.TypeError })
}

func (c *scheduledClient) now() *scheduledFacts { return c.facts.clone() }

func (m *scheduledMallory) give(v move, l *scheduledLine, as crypto.End) bool {
	switch v.kind {
	case begin:
		m.begin(m.cast.ends[v.line], as)
		return true
	case pass:
		return m.pass(l)
	}
	before := m.clock
	m.clock = before.Add(clockStep)
	if m.take(l) {
		return true
	}
	m.clock = before
	return false
}

func (m *scheduledMallory) said() []scheduledLine {
	sent := m.sent
	m.sent = nil
	return sent
}

func (m *scheduledMallory) now() *scheduledFacts { return m.facts.clone() }

func (s *search) player(who int) player {
	if who == mallory {
		return newScheduledMallory(s.t, s.cast)
	}
	return newScheduledClient(s.t, s.cast, s.sc, who)
}

// start makes the first node of a player's tree.
func (s *search) start(who int, seed uint64) *play {
	p := &play{who: who, seed: seed}
	s.note(p, s.bring(p), nil)
	return p
}

// note completes a new node, at which a player stands.
func (s *search) note(p *play, at player, on *scheduledLine) {
	p.sent, p.facts, p.id, p.next = s.cast.keep(at.said(), on), at.now(), s.plays, map[move]*play{}
	if p.parent != nil {
		p.seed = firstSeed + uint64(p.id)
	}
	s.plays++
	if p.who == mallory && p.parent != nil {
		hers := &s.tally.hers
		hers.convs += len(p.facts.convs) - len(p.parent.facts.convs)
		hers.opened += len(p.facts.shown) - len(p.parent.facts.shown)
		if p.move.kind == pass {
			hers.passed++
		}
	}
	s.leave(p, at)
}

// firstSeed is above the seeds of the first nodes.
const firstSeed = 1 << 32

// maxLive is how many players are left standing at their nodes. The others must be
// brought there again.
const maxLive = 1024

func (s *search) leave(p *play, at player) {
	p.live = at
	s.lives = append(s.lives, p)
	if len(s.lives) > maxLive {
		if old := s.lives[0]; old.live != nil {
			old.live.close()
			old.live = nil
		}
		s.lives = s.lives[1:]
	}
}

// bring finds a player at a node, or runs one from its start to there. On the
// way it must say the same as before.
func (s *search) bring(p *play) player {
	if p.live != nil {
		player := p.live
		p.live = nil
		cryptotest.SetGlobalRandom(s.t, p.seed)
		return player
	}
	s.tally.runs++
	path := p.path()
	cryptotest.SetGlobalRandom(s.t, path[0].seed)
	player := s.player(p.who)
	for i, at := range path {
		if i > 0 {
			cryptotest.SetGlobalRandom(s.t, at.parent.seed)
			s.move(player, at.move)
		}
		if at.next == nil {
			return player
		}
		said := player.said()
		same := len(said) == len(at.sent)
		for i := 0; same && i < len(said); i++ {
			same = bytes.Equal(said[i].body, at.sent[i].body) && said[i].header == at.sent[i].header && said[i].to == at.sent[i].to
		}
		if !same {
			s.t.Fatal("a player that was given the same did not do the same: this search proves nothing")
		}
	}
	cryptotest.SetGlobalRandom(s.t, p.seed)
	return player
}

func (s *search) move(p player, m move) (changed bool) {
	return p.give(m, s.given(m), s.cast.ends[m.as])
}

func (s *search) given(m move) *scheduledLine {
	if m.kind == nothing || m.kind == wait || m.kind == write || m.kind == begin {
		return nil
	}
	return s.cast.lines[m.line]
}

// try makes those moves from a node that have not been tried yet.
func (s *search) try(p *play, moves ...move) {
	var live player
	for _, m := range moves {
		if p.next[m] != nil {
			continue
		}
		if live == nil {
			live = s.bring(p)
		}
		if !s.move(live, m) {
			p.next[m] = p
			continue
		}
		p.next[m] = &play{who: p.who, parent: p, move: m}
		s.note(p.next[m], live, s.given(m))
		live = nil
	}
	if live != nil {
		s.leave(p, live)
	}
}

func (s *search) closeLives() {
	for _, p := range s.lives {
		if p.live != nil {
			p.live.close()
			p.live = nil
		}
	}
}
