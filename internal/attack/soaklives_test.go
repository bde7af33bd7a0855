//go:build soak

package attack

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// soakMover comes and goes: one life after the other, each drawn from the seed, with one client
// process or several.
type soakMover struct {
	*soak
	name, other   string // other is at the other end of its pipes
	stay, friends []string
	rng           *rand.Rand
}

// soakFriends counts the people one talks to, among those who stay and among all. A client keeps
// its knowledge of each person as long as it runs.
const soakFriends = 4

func newSoakMover(s *soak, i int, seed uint64) *soakMover {
	m := &soakMover{soak: s, name: fmt.Sprintf("m%03d", i), other: fmt.Sprintf("p%03d", i), rng: rand.New(rand.NewPCG(seed, uint64(1000+i)))}
	for range soakFriends {
		m.stay = append(m.stay, s.residents[m.rng.IntN(len(s.residents))])
		m.friends = append(m.friends, s.everybody[m.rng.IntN(len(s.everybody))])
	}
	return m
}

// The lives: their shares in a hundred, and the shares that end half-way by kill -9 or SIGTERM.
const (
	soakTalks    = 35
	soakReceives = 30
	soakPipes    = 15 // the rest send

	soakKilled     = 15
	soakTerminated = 10
)

// soakPartly are the exit statuses of a client that wrote to people who come and go: it reached
// all, none or some.
var soakPartly = []int{0, 6, 7}

// rounds lives one life after the other until the soak ends.
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

// soakLife is the average length of a life; each has between half and one and a half times that. At
// a third of it, starting processes take two slow cores: the soak would test an overloaded machine,
// where a handshake's seconds pass without a turn.
const soakLife = time.Minute

func (m *soakMover) drawn(least, most time.Duration) time.Duration {
	return least + time.Duration(m.rng.Int64N(int64(most-least)))
}

// fate is the end of a life, drawn at its beginning.
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

// whom draws the people to talk to, and reports whether all of them stay.
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

// talks spends a life at the prompt, through a pipe.
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

// finish ends a life at the prompt as fated. A client ends by itself once its input has ended and
// all is READ.
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
		c.terminate() // if it has ended by itself, that counts
	}
	c.end(0)
}

// sends runs several commands, one after the other.
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

// pipes carries random bytes to the mover's other name, several times. All of them arrive, or the
// beginning if one of the two is killed.
func (m *soakMover) pipes() {
	f := m.fate()
	data := make([]byte, 1+m.rng.IntN(1<<20))
	for i := range data {
		data[i] = byte(m.rng.Uint32())
	}
	recv, send := m.command(m.other, "pipe", "-recv", "-wait-peer", "30s", m.name),
		m.command(m.name, "pipe", "-send", "-wait-peer", "30s", m.other)
	var got bytes.Buffer
	recv.cmd.Stdout, send.cmd.Stdout = &got, io.Discard
	close(recv.read) // Wait waits for the copying
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
		allowed = []int{1, 3, 6, 8} // the other finds its pipe cut short
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
