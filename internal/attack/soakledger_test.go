//go:build soak

package attack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"

	"chatsecure/testdata/lab/town"
)

// soakLedger has all that the clients have said, and all faults.
type soakLedger struct {
	mu        sync.Mutex
	delivered map[soakCopy]string // the sender's name, for each copy called DELIVERED
	read      map[soakCopy]bool   // copies called READ after DELIVERED
	seen      map[soakCopy]bool   // copies shown to the receiver
	killed    map[string]bool     // names killed while they could show messages
	shown     map[string]int      // messages, by receiver
	counts    map[string]int
	wrong     []string
}

// soakCopy is one message for one name.
type soakCopy struct{ id, to string }

func newSoakLedger() *soakLedger {
	return &soakLedger{
		delivered: make(map[soakCopy]string), read: make(map[soakCopy]bool), seen: make(map[soakCopy]bool),
		killed: make(map[string]bool), shown: make(map[string]int), counts: make(map[string]int),
	}
}

// soakMostWrong bounds the faults that are kept.
const soakMostWrong = 50

// fault records a fault.
func (l *soakLedger) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faultLocked(format, args...)
}

func (l *soakLedger) faultLocked(format string, args ...any) {
	if l.counts["wrong"]++; len(l.wrong) < soakMostWrong {
		text := fmt.Sprintf(format, args...)
		fmt.Printf("soak: wrong: %s\n", text) // at once, too: an hour is long
		l.wrong = append(l.wrong, text)
	}
}

func (l *soakLedger) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

func (l *soakLedger) kill(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.killed[name] = true
	l.counts["killed"]++
}

// hear records a -json line of this name's client.
func (l *soakLedger) hear(name, line string) {
	var o struct {
		Type, ID, Status, Reason string
		To                       any
		Again                    bool
	}
	if err := json.Unmarshal([]byte(line), &o); err != nil {
		l.fault("%s wrote %q: %v", name, line, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o.Type {
	case "sent":
		l.counts["sent"]++
	case "message":
		l.counts["shown"]++
		l.shown[name]++
		c := soakCopy{o.ID, name}
		switch {
		case l.seen[c] && o.Again && l.killed[name]:
			l.counts["again"]++
		case l.seen[c]:
			l.faultLocked("%s has seen %s twice; it says again: %v; it was killed before: %v", name, o.ID, o.Again, l.killed[name])
		}
		l.seen[c] = true
	case "receipt":
		to, _ := o.To.(string)
		l.counts[o.Status]++
		switch o.Status {
		case "DELIVERED":
			l.delivered[soakCopy{o.ID, to}] = name
		case "READ":
			l.delivered[soakCopy{o.ID, to}] = name
			l.read[soakCopy{o.ID, to}] = true
		}
	case "gap", "lost":
		l.counts[o.Type]++
		l.faultLocked("%s: %s", name, line)
	}
}

// received counts the messages of those who stay.
func (l *soakLedger) received(residents []string) (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range residents {
		n += int64(l.shown[name])
	}
	return n
}

// check compares the clients' words with all histories.
func (l *soakLedger) check(t *testing.T, w *town.Town, names []string) {
	t.Helper()
	have := make(map[soakCopy]bool)
	var mu sync.Mutex
	holding := 0
	soakEach(2, names, func(name string) {
		if _, err := os.Stat(w.Path("state-" + name)); errors.Is(err, fs.ErrNotExist) {
			return // never got to do anything
		}
		if r := town.RunCommand(t, w.ClientFor(t.Context(), name, "history", "-verify"), ""); r.Status != 0 ||
			!strings.Contains(r.Stdout, "all of it holds") {
			t.Errorf("%s: history -verify ended with %d: %s%s", name, r.Status, r.Stdout, r.Stderr)
		}
		r := town.RunCommand(t, w.ClientFor(t.Context(), name, "-json", "history", "-n", "0"), "")
		if r.Status != 0 || r.Stderr != "" {
			t.Errorf("%s: history ended with %d: %s", name, r.Status, r.Stderr)
		}
		mu.Lock()
		defer mu.Unlock()
		holding++
		for line := range strings.Lines(r.Stdout) {
			var o struct{ ID string }
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Errorf("%s: the history has %q: %v", name, line, err)
			}
			have[soakCopy{o.ID, name}] = true
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, from := range l.delivered {
		if !have[c] {
			l.faultLocked("%s is DELIVERED to %s, whose history does not have it", c.id, c.to)
		}
		if !have[soakCopy{c.id, from}] {
			l.faultLocked("%s is DELIVERED to %s, and the history of its sender %s does not have it", c.id, c.to, from)
		}
	}
	for c := range l.read {
		if !l.seen[c] {
			l.faultLocked("%s is READ by %s, to whom it was not shown", c.id, c.to)
		}
	}
	for c := range l.seen {
		if !have[c] {
			l.faultLocked("%s was shown to %s, whose history does not have it", c.id, c.to)
		}
	}
	t.Logf("%d histories hold; %d copies DELIVERED are in both, %d READ were shown; in all: %v",
		holding, len(l.delivered), len(l.read), l.counts)
	for _, text := range l.wrong {
		t.Error(text)
	}
	if n := l.counts["wrong"]; n > len(l.wrong) {
		t.Errorf("and %d more", n-len(l.wrong))
	}
}

// soakEach calls do for each name, several at once.
func soakEach(atOnce int, names []string, do func(name string)) {
	var wg sync.WaitGroup
	next := make(chan string)
	for range atOnce {
		wg.Go(func() {
			for name := range next {
				do(name)
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	wg.Wait()
}
