package history

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/spoil"
)

// busyClient is one of several clients of Bruno's on one state directory, which does this and that.
type busyClient struct {
	*pair
	talk   *sync.Mutex // held while Ana talks: she has one clock and one key source
	chance *rand.Rand
	no     int

	h      *History
	ca, cb *crypto.Conversation
	stored map[string]int // acknowledged records, by how often
	failed map[string]int
	shown  map[string]bool
	order  []string // records of the present conversation
}

func (c *busyClient) open() {
	cfg := c.config(c.b)
	cfg.Receiving = c.no > 0 // the first one only sends
	h, _, err := Open(cfg)
	if err != nil {
		c.T.Error(err)
	}
	c.h, c.cb = h, nil
}

// kill ends the client as a killed process ends: nothing more is written.
func (c *busyClient) kill() {
	c.h.run.close()
	c.h.known.close()
	c.h.writer.file.Close()
	c.open()
}

func (c *busyClient) step() error {
	what := c.chance.IntN(20)
	if c.cb == nil {
		what = 0
	}
	switch {
	case what == 0:
		c.talk.Lock()
		c.Clock.Add(time.Second)
		c.ca, c.cb = c.Shake(c.A, c.B)
		c.talk.Unlock()
		c.cb.Me.Conn = fmt.Sprint("conn ", c.no)
		c.order = nil
		return c.h.Begin(c.cb, c.b.Local.Bundle)
	case what == 1:
		err := c.h.Close()
		c.open()
		return err
	case what == 2:
		c.kill()
	case what == 3:
		return c.h.Gap(c.cb.T3, c.cb.SendDirection(), "because")
	case what == 4:
		return c.h.Probe()
	case what == 5 && c.no > 0 && len(c.order) > 0:
		n := 1 + c.chance.IntN(len(c.order))
		for _, id := range c.order[:n] {
			c.shown[id] = true
		}
		return c.h.Shown(c.cb.T3, c.cb.SendDirection(), uint64(n))
	case what < 9:
		r := crypto.NewRecord(c.b.Local.Identity, to(c.a), "given up", c.Clock.Now())
		c.failed[r.ID]++
		return errors.Join(c.h.Pending(r, []string{"Ana"}), c.h.Failed(r.ID, "Ana", "no"))
	case c.no > 0:
		return c.receive()
	}
	return c.h.RefreshKnown()
}

func (c *busyClient) receive() error {
	var records []*crypto.Record
	for range 1 + c.chance.IntN(4) {
		records = append(records, c.record("text", to(c.b)))
	}
	c.talk.Lock()
	s, _, err := c.ca.SealRecords(records, c.Clock.Now())
	c.talk.Unlock()
	if err != nil {
		return err
	}
	o, err := c.cb.Open(s.Body, c.Clock.Now())
	if err != nil {
		return err
	}
	for _, r := range o.Records {
		if got := c.h.Known(r.ID); got != KnownNot {
			c.T.Errorf("a new record is known as %d", got)
		}
	}
	if err := c.h.Received(c.cb, o); err != nil {
		return err
	}
	c.cb.Commit(o)
	for _, r := range o.Records {
		c.stored[r.ID]++
		c.order = append(c.order, r.ID)
	}
	for id := range c.stored { // some of them
		want := KnownStored
		if c.shown[id] {
			want = KnownShown
		}
		if got := c.h.Known(id); got != want {
			c.T.Errorf("a record is known as %d, want %d", got, want)
		}
		if c.chance.IntN(3) == 0 {
			break
		}
	}
	return nil
}

// TestManyWriters: several clients write, end, are killed and begin again, in any order. The lines
// chain, each acknowledged one is there once, and the next client knows all of them.
func TestManyWriters(t *testing.T) {
	small(t, 40, 4<<10)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rounds, steps := 1, 80
	if spoil.Whole() {
		rounds, steps = 20, 400
	}
	for round := range rounds {
		p := newPair(t)
		p.close(p.b)
		p.close(p.a)
		var talk sync.Mutex
		var clients []*busyClient
		for i := range 5 {
			clients = append(clients, &busyClient{
				pair: p, talk: &talk, no: i, chance: rand.New(rand.NewPCG(seed, uint64(round*5+i))),
				stored: map[string]int{}, failed: map[string]int{}, shown: map[string]bool{},
			})
		}
		var all sync.WaitGroup
		for _, c := range clients {
			all.Go(func() {
				for c.open(); c.chance.IntN(steps) > 0; {
					if err := c.step(); err != nil {
						t.Error(err)
						return
					}
				}
				for range steps {
					if err := c.step(); err != nil {
						t.Error(err)
						return
					}
				}
				if err := c.h.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		received, failed := map[string]int{}, map[string]int{}
		for _, l := range chained(t, p.b.dir) {
			for _, exact := range l.Records {
				r, err := crypto.ParseRecord(exact, p.a.Local.Identity)
				p.Must(err)
				received[r.ID]++
			}
			if l.Type == lineFailed {
				failed[l.ID]++
			}
		}
		if r := verified(t, p.b.dir, p.Verifier); !r.OK() {
			t.Errorf("%v", r.Findings)
		}
		p.reopen(p.b)
		waiting := map[string]bool{}
		for _, s := range p.b.h.Unshown() {
			waiting[s.Record.ID] = true
		}
		n := 0
		for _, c := range clients {
			for id, times := range c.stored {
				n++
				want := KnownStored
				if c.shown[id] {
					want = KnownShown
				}
				if received[id] != times || p.b.h.Known(id) != want || waiting[id] != (want == KnownStored) {
					t.Errorf("a record is stored %d times, want %d, known as %d, want %d, and waits %t",
						received[id], times, p.b.h.Known(id), want, waiting[id])
				}
				delete(received, id)
			}
			for id, times := range c.failed {
				if failed[id] != times {
					t.Errorf("a failure is there %d times, want %d", failed[id], times)
				}
			}
		}
		if len(received) > 0 || n < steps {
			t.Errorf("%d records were stored, and %d more are there", n, len(received))
		}
		p.close(p.b)
	}
}

// TestManyProcesses: processes write as fast as they can, and are killed at any moment. Each
// acknowledged line is there once, whole, and the others go on.
func TestManyProcesses(t *testing.T) {
	if dir := os.Getenv(child); dir != "" {
		for i := 0; ; i++ {
			h, _, err := Open(Config{Dir: dir, Receiving: os.Getpid()%2 == 0, Owner: somebody})
			if err != nil {
				t.Fatal(err)
			}
			for range rand.IntN(50) {
				id := fmt.Sprintf("%08x%024x", os.Getpid(), rand.Uint64())
				if err := h.Failed(id, "nobody", strings.Repeat("reason ", rand.IntN(300))); err != nil {
					t.Fatal(err)
				}
				fmt.Println(id)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	rounds := 2
	if spoil.Whole() {
		rounds = 30
	}
	acked := map[string]bool{}
	for range rounds {
		cmds, outs := children(t, t.Name(), dir, 4)
		var mu sync.Mutex
		var all sync.WaitGroup
		for i, cmd := range cmds {
			all.Go(func() {
				after := 1 + rand.IntN(80)
				in := bufio.NewScanner(outs[i])
				for n := 0; in.Scan(); n++ {
					if id := in.Text(); proto.IsHex(id, 16) {
						mu.Lock()
						acked[id] = true
						mu.Unlock()
					}
					if n == after {
						cmd.Process.Kill()
					}
				}
				cmd.Wait()
			})
		}
		all.Wait()
	}
	h, _, err := Open(Config{Dir: dir, Receiving: true, Owner: somebody})
	if err != nil {
		t.Fatal(err, fail.AsError(err).Hint)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	there := map[string]int{}
	all := chained(t, dir)
	for _, l := range ofType(all, lineFailed) {
		there[l.ID]++
	}
	for id := range acked {
		if there[id] != 1 {
			t.Errorf("an acknowledged line is there %d times", there[id])
		}
	}
	if killed := len(ofType(all, lineRun)); len(acked) < 10*rounds || killed < 4*rounds {
		t.Errorf("%d lines were acknowledged, %d runs have ended", len(acked), killed)
	}
}
