package command

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// desk has the prompt's knowledge of the conversations. The zero value is
// ready. Its methods may be called from any goroutine.
type desk struct {
	names    roster
	progress progress
	current  atomic.Pointer[[]string] // those whom bare lines go to, or nil

	mu      sync.Mutex // guards the fields below
	list    func() ([]client.Online, error)
	asking  bool
	asked   time.Time // time of the last answer
	waiting sync.WaitGroup
}

// askAgain is the age at which a list of connected people is asked for again.
const askAgain = 2 * time.Second

// open lets the desk ask for the connected people, now and at each completion,
// until close is called.
func (d *desk) open(ctx context.Context, c talker) (close func()) {
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	d.list = func() ([]client.Online, error) { return c.List(ctx) }
	d.mu.Unlock()
	d.ask()
	return func() {
		cancel()
		d.mu.Lock()
		d.list = nil
		d.mu.Unlock()
		d.waiting.Wait()
	}
}

// ask asks for the connected people in the background, one question at a time.
// A missing answer does no harm.
func (d *desk) ask() {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.list
	if list == nil || d.asking || time.Since(d.asked) < askAgain {
		return
	}
	d.asking = true
	d.waiting.Go(func() {
		online, _ := list()
		for _, o := range online {
			if !o.Self {
				d.names.add(o.Name)
			}
		}
		d.mu.Lock()
		d.asking, d.asked = false, time.Now()
		d.mu.Unlock()
	})
}

// complete is the answer to Tab.
func (d *desk) complete(before string) (from int, options []term.Option) {
	d.ask()
	return complete(before, d.names.sorted(), len(d.talksTo()) > 0)
}

// talksTo returns those whom bare lines go to, or nil.
func (d *desk) talksTo() []string {
	if names := d.current.Load(); names != nil {
		return *names
	}
	return nil
}

// note takes names and receipts from events before they are shown. If they change the status of
// the last message, show gets it.
func (d *desk) note(events []client.Event, show func(status string)) {
	for i := range events {
		d.names.note(&events[i])
		if r := events[i].Receipt; r != nil {
			if status, last := d.progress.changed(r, time.Now()); last {
				show(status)
			}
		}
	}
}

// complete finds the ways to go on with the last word before the cursor, and
// the start of that word. A line begins with a command, or with the names of
// its recipients. In a conversation a command begins with a slash.
func complete(before string, names []string, talking bool) (from int, options []term.Option) {
	command, arg, isArg := strings.Cut(before, " ")
	word, slash := strings.CutPrefix(command, "/")
	verb, is := promptVerbs[word]
	switch {
	case isArg && is && (slash || !talking && !verb.slash) && verb.most != 0:
		if from = len(before) - len(arg); verb.most > 1 {
			from = max(from, strings.LastIndexAny(before, ", ")+1)
		}
		return from, among(before[from:], asOptions(names, ""))
	case strings.Contains(before, ":"):
		return 0, nil // the text of a message
	}
	// In NAME[, NAME...] a space may follow the comma.
	from = strings.LastIndexByte(before, ',') + 1
	for from > 0 && strings.HasPrefix(before[from:], " ") {
		from++
	}
	options = asOptions(names, ": ")
	if from == 0 && (slash || !talking) {
		options = append(commandOptions(slash), options...)
	}
	return from, among(before[from:], options)
}

// commandOptions returns the commands, with their slash or without.
func commandOptions(slash bool) (options []term.Option) {
	for _, word := range slices.Sorted(maps.Keys(promptVerbs)) {
		verb, end := promptVerbs[word], ""
		if verb.most != 0 {
			end = " "
		}
		if slash {
			word = "/" + word
		}
		if slash || !verb.slash {
			options = append(options, term.Option{Word: word, End: end})
		}
	}
	return options
}

func asOptions(names []string, end string) (options []term.Option) {
	for _, name := range names {
		options = append(options, term.Option{Word: name, End: end})
	}
	return options
}

// among returns the options that begin with the typed text, in any case.
func among(typed string, options []term.Option) (found []term.Option) {
	typed = proto.FoldName(typed)
	for _, o := range options {
		if strings.HasPrefix(proto.FoldName(o.Word), typed) {
			found = append(found, o)
		}
	}
	return found
}

// maxRoster bounds the names for completion: a relay could report any number.
const maxRoster = 10_000

// roster has the names for completion: known people, and people who are or were
// online. Its methods may be called from any goroutine.
type roster struct {
	mu    sync.Mutex
	names map[string]string // as their owners write them, by folded name
}

// add adds names.
func (r *roster) add(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if proto.CheckName(name) != nil {
			continue
		}
		folded := proto.FoldName(name)
		if r.names == nil {
			r.names = make(map[string]string)
		}
		old, known := r.names[folded]
		if known && (name == folded || name == old) || !known && len(r.names) >= maxRoster {
			continue
		}
		r.names[folded] = name
	}
}

// has reports whether a name is there, in any case.
func (r *roster) has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.names[proto.FoldName(name)]
	return ok
}

// near returns names of which one may be meant by another, at most three.
func (r *roster) near(name string) (found []string) {
	typed := []rune(proto.FoldName(name))
	for _, other := range r.sorted() {
		a, b := typed, []rune(proto.FoldName(other))
		for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
			a, b = a[1:], b[1:]
		}
		for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
			a, b = a[:len(a)-1], b[:len(b)-1]
		}
		if len(a)+len(b) > 0 && max(len(a), len(b)) <= 2 && len(a)+len(b) < len(typed)+2 && len(found) < 3 {
			found = append(found, other)
		}
	}
	return found
}

// note adds the name in an event.
func (r *roster) note(ev *client.Event) {
	switch {
	case ev.Message != nil:
		r.add(ev.Message.From)
	case ev.Peer != nil:
		r.add(ev.Peer.Name)
	}
}

// sorted returns all names, sorted.
func (r *roster) sorted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return sortedNames(r.names)
}
