package client

import (
	"testing"

	"chatsecure/crypto"
)

// world is the result of a schedule: the moves of each client. Mallory's
// knowledge and possibilities follow from it, because every sent line may be
// given to anybody at any time.
type world struct {
	players [2]*play
	next    []edge // set by stepFrom
	steps   int    // depth of the search from here
}

// edge is a next world, and the number of ways to it.
type edge struct {
	to   *world
	ways uint64
}

// search goes through all schedules of a scenario.
//
// A step gives one line to one client under one stamp, or lets time pass for
// it. The line is any line that was sent before, to anybody, again or for the
// first time. So schedules deliver, drop (a line that is left out), repeat, swap
// and redirect. Mallory makes her forgeries of a line at once.
//
// A player is a function of its moves: it runs with the same random numbers from
// its start each time, and the search checks that it says the same each time. So
// the search keeps runs by their moves. Two schedules with the same moves for
// each client lead to the same world, to the last byte. It is checked and
// continued once, and counted for each way to it. A move counts as not made if
// it changes nothing in a client (see fingerprint) and makes it say nothing but
// an error, which the relay could have made up.
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

// scheduleTally counts the results of a search.
type scheduleTally struct {
	schedules                  uint64
	worlds, plays, runs        int
	talking, showing, complete uint64 // schedules after which one is authenticated to the other, one text is shown, all texts are
	hers                       malloryTally
}

// malloryTally counts Mallory's acts. Her tools give up in silence where they do
// not fit, and a search without any effect of hers proves nothing.
type malloryTally struct {
	convs           int            // conversations of hers that have begun
	forged          map[string]int // lines that she signed as hers, by phase or else by type
	opened, passed  int            // texts that she has opened, and sent on
	reflected, lies int            // lines given back to their senders, or under another sender's name
}

func newSearch(t *testing.T, cast *scheduleCast, sc *scenario) *search {
	cast.lines, cast.made, cast.opened = nil, nil, map[int]*crypto.Record{}
	s := &search{t: t, cast: cast, sc: sc, worlds: map[[2]int]*world{}}
	s.tally.hers.forged = map[string]int{}
	return s
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

// goOn finds every world within so many steps of one.
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

// stepFrom finds the worlds at one step.
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
				w.next = append(w.next, edge{to: to})
			}
			ways[to]++
		}
	}
	for i, next := range w.next {
		w.next[i].ways = ways[next.to]
	}
}

// at returns the world of these two, and checks a new one.
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
