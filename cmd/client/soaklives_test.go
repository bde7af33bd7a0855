//go:build soak

package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// soakMover is one who comes and goes: one life after the other, all drawn from
// the seed, each a client process or several.
type soakMover struct {
	*soak
	name, other   string // other is at the other end of its pipes
	stay, friends []string
	rng           *rand.Rand
}

// soakFriends is how many of those who stay, and how many of all, one talks to:
// what a client knows of each person stays as long as the client.
const soakFriends = 4

func newSoakMover(s *soak, i int, seed uint64) *soakMover {
	m := &soakMover{soak: s, name: fmt.Sprintf("m%03d", i), other: fmt.Sprintf("p%03d", i), rng: rand.New(rand.NewPCG(seed, uint64(1000+i)))}
	for range soakFriends {
		m.stay = append(m.stay, s.residents[m.rng.IntN(len(s.residents))])
		m.friends = append(m.friends, s.everybody[m.rng.IntN(len(s.everybody))])
	}
	return m
}

// The lives, by how many of a hundred are so, and how many of a hundred end by
// kill -9 or by SIGTERM half-way.
const (
	soakTalks    = 35
	soakReceives = 30
	soakPipes    = 15 // the rest sends

	soakKilled     = 15
	soakTerminated = 10
)

// soakPartly is how a client may end that spoke to people who come and go: it
// reached all, nobody, or some.
var soakPartly = []int{0, 6, 7}

// rounds lives until the soak ends.
func (m *soakMover) rounds() {
	m.rest(m.drawn(0, 2*soakLife)) // not all at once
	for !m.over() {
		switch p := m.rng.IntN(100); {
		case p < soakTalks:
			m.talks()
		case p < soakTalks+soakReceives:
			m.receives()
		case p < soakTalks+soakReceives+soakPipes:
			m.pipes()
		default:
			m.sends()
		}
		m.rest(m.drawn(0, time.Second))
	}
}

// soakLife is how long a life is on average; between half and one and a half
// times that. At a third of it, two slow cores are taken by the processes that
// start, and what is seen is an overloaded machine: clients and relay that get
// no turn within the seconds of a handshake.
const soakLife = time.Minute

func (m *soakMover) drawn(least, most time.Duration) time.Duration {
	return least + time.Duration(m.rng.Int64N(int64(most-least)))
}

// fate is how a life ends, drawn before it begins.
type soakFate struct {
	end          time.Time
	kill, signal bool
}

func (m *soakMover) fate() soakFate {
	f := soakFate{end: time.Now().Add(m.drawn(soakLife/2, soakLife*3/2))}
	p := m.rng.IntN(100)
	f.kill, f.signal = p < soakKilled, p >= soakKilled && p < soakKilled+soakTerminated
	return f
}

// whom draws whom to talk to, and says whether these are all there to stay.
func (m *soakMover) whom() (names string, stay bool) {
	stay = m.rng.IntN(2) == 0
	crowd := m.stay
	if !stay {
		crowd = m.friends
	}
	var to []string
	for range 1 + m.rng.IntN(3)*m.rng.IntN(2) {
		if name := crowd[m.rng.IntN(len(crowd))]; name != m.name && !slices.Contains(to, name) {
			to = append(to, name)
		}
	}
	if len(to) == 0 {
		return m.stay[0], true
	}
	return strings.Join(to, ","), stay
}

func (m *soakMover) text() string {
	return fmt.Sprintf("%s says %x %s", m.name, m.rng.Uint64(), strings.Repeat("blá ", m.rng.IntN(60)))
}

// talks is a stay at the prompt, by a pipe.
func (m *soakMover) talks() {
	f := m.fate()
	names, stay := m.whom()
	c := m.talk(m.name)
	for time.Now().Before(f.end) && !m.over() {
		m.rest(m.drawn(time.Second, 6*time.Second))
		switch m.rng.IntN(12) {
		case 0:
			c.say("list")
		case 1:
			c.say("history")
		default:
			c.say("%s: %s", names, m.text())
		}
	}
	m.finish(c, f, stay)
}

// finish ends a life at the prompt as its fate says: it ends by itself once all
// is READ, if its input has ended.
func (m *soakMover) finish(c *soakClient, f soakFate, stay bool) {
	switch {
	case f.kill:
		c.kill()
	case f.signal:
		c.terminate()
	}
	if stay {
		c.end(0)
	} else {
		c.end(soakPartly...)
	}
}

// receives shows messages for a while.
func (m *soakMover) receives() {
	f := m.fate()
	c := m.talk(m.name, "recv", "-for", time.Until(f.end).Round(time.Millisecond).String())
	m.rest(time.Until(f.end) / 2)
	switch {
	case f.kill:
		m.rest(time.Until(f.end))
		c.kill()
	case f.signal || m.over():
		c.terminate()
	}
	select {
	case <-c.read:
	case <-m.stop:
		c.terminate() // if it has ended meanwhile, that counts
	}
	c.end(0)
}

// sends is some commands, one after the other, each a client of its own.
func (m *soakMover) sends() {
	for range 1 + m.rng.IntN(4) {
		names, stay := m.whom()
		level := []string{"sent", "delivered", "read"}[m.rng.IntN(3)]
		args := []string{"send", "-wait", level, names, m.text()}
		if m.rng.IntN(2) == 0 {
			args = args[:4] // each line is one
		}
		c := m.talk(m.name, args...)
		if len(args) == 4 {
			for range 1 + m.rng.IntN(20) {
				c.say("%s", m.text())
			}
		}
		if m.rng.IntN(100) < soakKilled {
			m.rest(m.drawn(0, 100*time.Millisecond))
			c.kill()
		}
		if stay {
			c.end(0)
		} else {
			c.end(soakPartly...)
		}
		m.rest(m.drawn(time.Second, soakLife/4))
	}
}

// pipes carries random bytes to the other name, some at a time. What arrives is
// all of it, or the beginning if one of the two is killed.
func (m *soakMover) pipes() {
	f := m.fate()
	data := make([]byte, 1+m.rng.IntN(1<<20))
	for i := range data {
		data[i] = byte(m.rng.Uint32())
	}
	recv, send := m.command(m.other, "pipe", "-recv", "-wait-peer", "30s", m.name), m.command(m.name, "pipe", "-send", "-wait-peer", "30s", m.other)
	var got bytes.Buffer
	recv.cmd.Stdout, send.cmd.Stdout = &got, io.Discard
	close(recv.read) // Wait waits for what is copied
	close(send.read)
	for _, c := range []*soakClient{recv, send} {
		if err := c.run(); err != nil {
			m.ledger.fault("%s: pipe: %v", c.name, err)
			return
		}
	}
	const parts = 10
	pause := time.Until(f.end) / parts
	for chunk := range slices.Chunk(data, len(data)/parts+1) {
		m.rest(pause)
		send.stdin.Write(chunk)
	}
	allowed := []int{0}
	if f.kill {
		allowed = []int{1, 3, 6, 8} // the one who is left finds its pipe cut short
		victim := send
		if m.rng.IntN(2) == 0 {
			victim = recv
		}
		victim.kill()
	}
	send.end(allowed...)
	recv.end(allowed...)
	whole := bytes.Equal(got.Bytes(), data)
	if !whole && !(f.kill && bytes.HasPrefix(data, got.Bytes())) {
		m.ledger.fault("%s: the pipe gave %s %d bytes of %d, or others (killed: %v)", m.name, m.other, got.Len(), len(data), f.kill)
	}
	m.ledger.count("pipes")
}
