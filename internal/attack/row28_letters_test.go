package attack

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab/town"
)

// post is what senders have left for people who are away, and what these have shown.
type post struct {
	t      *testing.T
	w      *town.Town
	people []string

	mu    sync.Mutex
	must  map[string]map[string]bool // by receiver and text: the sender was told that it is KEPT
	shown map[string]map[string]int  // by receiver and text: how often
	kills map[string]int             // by what
}

// together calls do for all names, four at a time.
func together(names []string, do func(string)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, 4)
	for _, name := range names {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			do(name)
		})
	}
}

// named makes names that end with numbers.
func named(what string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint(what, i))
	}
	return names
}

// run runs a client that has to succeed in silence, in any goroutine.
func (p *post) run(name string, args ...string) (stdout string) {
	r := town.RunCommand(p.t, p.w.Client(name, args...), "")
	if r.Status != 0 || r.Stderr != "" {
		p.t.Errorf("%s: client %q ended with %d: %s", name, args, r.Status, r.Stderr)
	}
	return r.Stdout
}

// leave sends a text to all people, and kills the sender after some time unless that is zero.
func (p *post) leave(sender, text string, kill time.Duration) {
	client := p.w.Start(sender, "-timeout", "1m", "-json", "send", strings.Join(p.people, ","), text)
	rest := drain(client)
	if kill > 0 {
		time.Sleep(kill) // a random moment
		client.Cmd.Process.Kill()
	}
	kept := map[string]bool{}
	for line := range strings.Lines(rest()) {
		var o struct{ Type, To, Status string }
		if json.Unmarshal([]byte(line), &o) == nil && o.Type == "receipt" && o.Status == "KEPT" { // the last line may be torn
			kept[o.To] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range kept {
		p.must[name][text] = true
	}
	switch status := client.Cmd.ProcessState.ExitCode(); {
	case status == -1:
		p.kills["senders"]++
	case status == 3 && len(kept) == 0: // a client that cannot reach the relay at its start ends at once
	case status != 9 || len(kept) != len(p.people):
		p.t.Errorf("%q ended with %d, and is KEPT for %d of %d: %s", text, status, len(kept), len(p.people), client.Stderr.String())
	}
}

// collect has a person show all that must come. The client is killed after each of these times.
func (p *post) collect(name string, kills []time.Duration) {
	times := map[string]int{}
	var shown []string
	come := func() *collector { return collect(p.w.Start(name, "-timeout", "1m", "-json", "recv")) }
	add := func(c *collector) {
		for i, text := range c.rest() {
			if times[text]++; times[text] == 1 {
				shown = append(shown, text)
			} else if !c.again[i] || times[text] > 1+len(kills) {
				p.t.Errorf("%s shows %q for the %d. time; it says again: %v", name, text, times[text], c.again[i])
			}
		}
	}
	for _, kill := range kills {
		c := come()
		time.Sleep(kill) // a random moment
		c.Cmd.Process.Kill()
		add(c)
	}
	last := come()
	for range 5 {
		for text := range p.must[name] {
			if times[text] == 0 {
				last.await(text)
			}
		}
		last.Cmd.Process.Signal(syscall.SIGTERM)
		if add(last); last.Cmd.ProcessState.ExitCode() != 3 { // it could not reach the relay at its start
			break
		}
		last = come()
	}
	for text := range p.must[name] {
		if times[text] == 0 {
			p.t.Errorf("%s does not get %q; the client ended with %v: %s", name, text, last.Cmd.ProcessState, last.Stderr.String())
		}
	}
	next := map[string]int{}
	for _, text := range shown {
		var sender string
		var n int
		fmt.Sscanf(text, "%s text %d", &sender, &n)
		if n < next[sender] {
			p.t.Errorf("%s shows %q after %d of %s's", name, text, next[sender]-1, sender)
		}
		next[sender] = n + 1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown[name] = times
	p.kills["receivers"] += len(kills)
}

// look checks the history of a sender: what was shown becomes READ there, and nothing else does.
func (p *post) look(sender string) {
	deadline := time.Now().Add(town.Patience)
	for {
		late := time.Now().After(deadline)
		open := 0
		for line := range strings.Lines(p.run(sender, "-json", "history", "-n", "0")) {
			var o struct {
				Direction, Text string
				Deliveries      []struct{ Name, Status string }
			}
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				p.t.Fatal(err)
			}
			for _, d := range o.Deliveries {
				shown := p.shown[d.Name][o.Text] > 0
				switch {
				case shown && d.Status == "READ", !shown && d.Status == "FAILED":
				case shown && d.Status != "FAILED" && !late:
					open++
				default:
					p.t.Errorf("%q is %s for %s, who has shown it: %v", o.Text, d.Status, d.Name, shown)
				}
			}
		}
		if open == 0 || p.t.Failed() {
			break
		}
		p.run(sender, "recv", "-for", "300ms")
	}
	verified(p.t, town.RunCommand(p.t, p.w.Client(sender, "history", "-verify"), ""))
}

// TestAttack28LettersKilled kills relay, senders and receivers at random moments, while many letters
// are left for people who are away, and then collected. Each text that a sender was told to be KEPT
// comes, once or with the word that it may have come before, in the order of its sender, and becomes
// READ.
func TestAttack28LettersKilled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	senders, people, texts := named("sender", 4), named("person", 10), 8
	if faultsAll {
		senders, people, texts = named("sender", 20), named("person", 100), 5
	}
	w := town.New(t, town.People(slices.Concat(senders, people)...))
	w.Stop()
	w.Addr = "127.0.0.1:0" // nobody knows the old one
	w.Args = []string{"-letter-max", "256MiB"}
	w.StartRelay("relay")
	others := *w // what the clients know of it, whose relay ends and starts
	p := &post{t: t, w: &others, people: people, must: map[string]map[string]bool{}, shown: map[string]map[string]int{}, kills: map[string]int{}}
	for _, name := range people {
		p.must[name] = map[string]bool{}
	}
	together(people, func(name string) { p.run(name, "recv", "-for", "1ms") }) // the relay knows their mailboxes

	// Each of them is killed in one run of three, and the relay all the while.
	plan := func(names []string, runs int) map[string][]time.Duration {
		plans := map[string][]time.Duration{}
		for _, name := range names {
			for range runs {
				var kill time.Duration
				if chance.IntN(3) == 0 {
					kill = time.Duration(1+chance.IntN(2000)) * time.Millisecond
				}
				plans[name] = append(plans[name], kill)
			}
		}
		return plans
	}
	relayDies := func(during func()) {
		over := make(chan struct{})
		go func() { defer close(over); during() }()
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(1000+chance.IntN(3000)) * time.Millisecond):
				w.Kill()
				w.StartRelay("relay")
				p.mu.Lock()
				p.kills["relay"]++
				p.mu.Unlock()
			}
		}
	}
	begun := time.Now()
	leave := plan(senders, texts)
	relayDies(func() {
		together(senders, func(name string) {
			for n, kill := range append(leave[name], 0) { // what a killed one has left goes with the next
				p.leave(name, fmt.Sprintf("%s text %d", name, n), kill)
			}
		})
	})
	kept := 0
	for _, texts := range p.must {
		kept += len(texts)
	}
	t.Logf("%d letters KEPT in %v; kills: %v", kept, time.Since(begun).Round(time.Second), p.kills)
	begun = time.Now()
	come := plan(people, 2)
	relayDies(func() {
		together(people, func(name string) {
			p.collect(name, slices.DeleteFunc(come[name], func(kill time.Duration) bool { return kill == 0 }))
		})
	})
	t.Logf("collected in %v; kills: %v", time.Since(begun).Round(time.Second), p.kills)
	together(people, func(name string) {
		if again := p.run(name, "recv", "-for", "300ms"); again != "" {
			t.Errorf("%s gets again %q", name, again)
		}
		verified(t, town.RunCommand(t, others.Client(name, "history", "-verify"), ""))
	})
	together(senders, p.look)
}
