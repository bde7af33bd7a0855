package chatsecure

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"

	cs "chatsecure/crypto"
	"chatsecure/proto"
)

// scheduledLine is one line that somebody has sent.
type scheduledLine struct {
	id       int
	header   proto.Header // type, phase, code and message; the relay stamps the rest
	body     []byte
	from, to cs.End
	hers     bool           // Mallory sent it
	made     *scheduledLine // what she made it of, if she forged it
	on       *scheduledLine // what its sender had been given then

	forged  []*scheduledLine // what she makes of it; see scheduleCast.forge
	forgery bool             // and has made
	answer  *play            // her own handshake, if it is a p1
}

// A move is what one player is given.
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
	take             // a line, to Mallory in the place of whom it is for
	write            // a client's user writes a text of the scenario's talk
	pass             // a line that she has opened, into another conversation of hers
	begin            // Mallory begins a handshake
)

// player is a client, or one handshake of Mallory's.
type player interface {
	give(m move, l *scheduledLine, as cs.End) (changed bool)
	said() []scheduledLine // since it was last asked
	now() *scheduledFacts
	close()
}

// play is one player after certain moves: a node of the tree of all that was
// ever given to it. A move that changes nothing leads to where it began.
type play struct {
	who    int
	seed   uint64 // of the random numbers that its next move draws
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

// world is where a schedule has led: what each client was given. All that was
// ever sent may be given to anybody at any time, so that follows: also what
// Mallory knows and can do.
type world struct {
	players [2]*play
	next    []step // once it has been gone on from
	steps   int    // how many have been gone on from it
}

// step is a world that the network can make of another, in so many ways.
type step struct {
	to   *world
	ways uint64
}

// search goes through all schedules of a scenario.
//
// A step gives one line to one client under one stamp, or lets time pass for
// it. The line is any that was sent until then, to whomever, in whatever order,
// once more or for the first time: so a schedule delivers, drops (a line that
// is left out), repeats, swaps and redirects. What Mallory makes of what was
// sent, she has made at once.
//
// A player is a function of what it was given: it is run with the same random
// numbers from its start each time, and that it says the same each time is
// checked. So its runs are kept by what it was given, and two schedules that
// gave each client the same in the same order have led to one and the same
// world, to the last byte. It is looked at and gone on from once, and counted
// as many times as it is reached. What changed nothing in a client (see
// fingerprint), and made it say nothing but perhaps an error, which the relay
// could have made up, may as well not have been given.
type search struct {
	t      *testing.T
	cast   *scheduleCast
	sc     *scenario
	plays  int
	begins []*play // Mallory's
	worlds map[[2]int]*world
	lives  []*play
	tally  scheduleTally
}

// scheduleTally is what a search has to say for itself.
type scheduleTally struct {
	schedules                  uint64
	worlds, plays, runs        int
	talking, showing, complete uint64 // schedules after which one of the two is authenticated to the other, a text of the other's is shown, all texts are
	hers                       malloryTally
}

// malloryTally is what Mallory did. A search in which nothing comes of what she
// tries finds nothing, and each of her tools gives up in silence where it does
// not fit.
type malloryTally struct {
	convs           int            // conversations of hers that have begun
	forged          map[string]int // by phase, or by the type of what is none: lines that she has put her name under
	opened, passed  int            // texts that she has opened, and sent on
	reflected, lies int            // lines given back to who sent them, or as another's than their sender's
}

func newSearch(t *testing.T, cast *scheduleCast, sc *scenario) *search {
	cast.lines, cast.made, cast.opened = nil, nil, map[int]*cs.Record{}
	s := &search{t: t, cast: cast, sc: sc, worlds: map[[2]int]*world{}}
	s.tally.hers.forged = map[string]int{}
	return s
}

func (c *scheduledClient) give(m move, l *scheduledLine, as cs.End) bool {
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

func (m *scheduledMallory) give(v move, l *scheduledLine, as cs.End) bool {
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

// note completes a node that is new, at which a player stands.
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

// firstSeed is above those of the first nodes.
const firstSeed = 1 << 32

// maxLive is how many players are left standing where they are, so that they
// need not be brought there again.
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

// bring finds a player that stands at a node, or runs one from its start to
// there. What it says on the way must be what it said before.
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

// try finds where moves lead from a node, those that have not been tried yet.
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

// known is what the adversary has in a world: every line, and her own
// handshakes with what came of them.
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
			if cs.PeekPhase(l.body) == "p1" {
				if l.answer == nil {
					l.answer = s.start(mallory, s.seed(l.id))
					s.try(l.answer, move{kind: take, line: l.id})
				}
				hers = append(hers, l.answer.next[move{kind: take, line: l.id}])
			}
		}
	}
	// What she takes part in comes of one client's lines alone, in their order.
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

// passed is what she sends on of what she has opened.
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

// seed is of the random numbers of one of Mallory's handshakes.
func (s *search) seed(n int) uint64 { return uint64(1000 + n) }

// moves is all that a client can be given in a world.
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

// goOn finds every world that the network can make of one in so many steps.
func (s *search) goOn(w *world, steps int) {
	if steps <= w.steps {
		return
	}
	if w.next == nil {
		s.stepFrom(w)
	}
	w.steps = steps
	for _, next := range w.next {
		s.goOn(next.to, steps-1)
	}
}

// stepFrom finds those that are one step away.
func (s *search) stepFrom(w *world) {
	lines, _ := s.known(w)
	ways := map[*world]uint64{}
	for who, p := range w.players {
		moves := s.moves(who, lines)
		s.try(p, moves...)
		for _, m := range moves {
			players := w.players
			players[who] = p.next[m]
			if m.kind == deliver {
				switch l := s.given(m); {
				case l.from.Conn == s.cast.ends[who].Conn:
					s.tally.hers.reflected++
				case l.from != s.cast.ends[m.as]:
					s.tally.hers.lies++
				}
			}
			to := s.at(players)
			if ways[to] == 0 {
				w.next = append(w.next, step{to: to})
			}
			ways[to]++
		}
	}
	for i, next := range w.next {
		w.next[i].ways = ways[next.to]
	}
}

// at is the world with these two, which is looked at when it is new.
func (s *search) at(players [2]*play) *world {
	key := [2]int{players[alice].id, players[bob].id}
	w := s.worlds[key]
	if w == nil {
		w = &world{players: players}
		s.worlds[key] = w
		s.check(w)
	}
	return w
}

// explore goes through all schedules of up to depth steps.
func (s *search) explore(depth int) {
	for victim := range mallory {
		for as := range 3 {
			if as != victim {
				first := s.start(mallory, s.seed(-1-len(s.begins)))
				m := move{begin, victim, as}
				s.try(first, m)
				s.begins = append(s.begins, first.next[m])
			}
		}
	}
	s.cast.made = s.cast.keep(s.cast.refusals(), nil)
	honest := s.honest()
	s.from(honest[0], depth, 1)
	sample := min(depth, s.sc.sample)
	for i, w := range honest[1:] {
		if raceEnabled && (len(honest)-i)%2 != 0 {
			continue // every second, and the last
		}
		s.from(w, sample, sample)
	}
	s.closeLives()
	s.tally.worlds, s.tally.plays = len(s.worlds), s.plays
}

func (s *search) closeLives() {
	for _, p := range s.lives {
		if p.live != nil {
			p.live.close()
			p.live = nil
		}
	}
}

// from goes through all schedules of up to depth steps from a world on, and
// counts those of least steps and more.
func (s *search) from(w *world, depth, least int) {
	s.goOn(w, depth)
	reached := map[*world]uint64{w: 1}
	for n := range depth {
		next := map[*world]uint64{}
		for w, ways := range reached {
			for _, st := range w.next {
				next[st.to] += ways * st.ways
			}
		}
		reached = next
		for w, ways := range reached {
			if n+1 >= least {
				s.count(w, ways)
			}
		}
	}
}

// honest is every world on the way of the schedule that delivers each line once
// and in order. In the end all is shown and read.
func (s *search) honest() []*world {
	first, second := s.start(alice, 1), s.start(bob, 2)
	for seed := uint64(3); s.sc.cross && s.lower(first, second) != s.sc.lower; seed++ {
		first = s.start(alice, seed)
	}
	w := s.at([2]*play{first, second})
	flight := append(slices.Clone(w.players[alice].sent), w.players[bob].sent...)
	worlds := []*world{w}
	give := func(who int, m move) {
		players := w.players
		s.try(players[who], m)
		next := players[who].next[m]
		if next != players[who] {
			flight = append(flight, next.sent...)
		}
		players[who] = next
		w = s.at(players)
	}
	deliverAll := func() {
		for len(flight) > 0 {
			l := flight[0]
			flight = flight[1:]
			if who := s.cast.owner(l.to); who != mallory {
				give(who, move{deliver, l.id, s.cast.index(l.from)})
				worlds = append(worlds, w)
			}
		}
	}
	deliverAll()
	if len(s.sc.talk) > 0 {
		// The search begins in a conversation, with all of this on its way.
		for i, text := range s.sc.talk {
			give(1-text.to, move{write, i, 0})
		}
		worlds = []*world{w}
		if s.sc.denied {
			// Bob has shown the first of them; Alice is not told, but that he knows
			// nothing of the conversation: she begins anew, and sends it again.
			l := flight[0]
			give(bob, move{deliver, l.id, alice})
			if n := len(w.players[bob].facts.shown); n != len(s.sc.texts[alice])+1 {
				s.t.Fatalf("bob has shown %d texts", n)
			}
			flight = nil
			s.known(w)
			for _, f := range l.forged {
				if f.header.Type == proto.TypeError {
					give(alice, move{deliver, f.id, bob})
				}
			}
			if len(flight) == 0 || cs.PeekPhase(flight[0].body) != "p1" {
				give(alice, move{kind: wait})
			}
			if len(flight) == 0 || cs.PeekPhase(flight[0].body) != "p1" {
				s.t.Fatal("alice, to whom her conversation was denied, does not begin anew")
			}
			worlds = []*world{w}
		}
		deliverAll()
	}
	for who, p := range w.players {
		for _, text := range p.facts.wrote {
			if status := p.facts.status[[2]string{text.id, text.to}]; text.to != s.cast.ends[mallory].Name && status != StatusRead {
				s.t.Fatalf("where all is delivered, %q of %s is %q: %s", text.text, s.cast.ends[who].Name, status, s.story(w))
			}
		}
	}
	return worlds
}

// lower tells whose p1 goes on where they cross.
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

func (s *search) count(w *world, ways uint64) {
	s.tally.schedules += ways
	talking, shown, wrote := false, 0, 0
	for _, p := range w.players {
		for _, c := range p.facts.convs {
			talking = talking || c.identity != s.identity(mallory)
		}
		for _, m := range p.facts.shown {
			if m.identity != s.identity(mallory) {
				shown++
			}
		}
		for _, text := range p.facts.wrote {
			if text.to != s.cast.ends[mallory].Name {
				wrote++
			}
		}
	}
	if talking {
		s.tally.talking += ways
	}
	if shown > 0 {
		s.tally.showing += ways
	}
	if shown >= wrote {
		s.tally.complete += ways
	}
}

// story tells what led each player to where it is.
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

// what is the phase of a handshake that a line is, or its type.
func (l *scheduledLine) what() string {
	if phase := cs.PeekPhase(l.body); phase != "" {
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
