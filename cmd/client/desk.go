package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"chatsecure"
	"chatsecure/proto"
)

// desk is what the prompt's editor knows of the conversations. The zero value
// is ready. Its methods may be called from any goroutine.
type desk struct {
	names    roster
	receipts receipts

	mu      sync.Mutex // guards what follows
	list    func() ([]chatsecure.Online, error)
	asking  bool
	asked   time.Time // when the last answer came
	waiting sync.WaitGroup
}

// askAgain is how long an answer of who is online is good for completion.
const askAgain = 2 * time.Second

// open lets the desk ask who is online, now and whenever a name is to be
// completed, until the function it returns is called.
func (d *desk) open(ctx context.Context, c talker) (close func()) {
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	d.list = func() ([]chatsecure.Online, error) { return c.List(ctx) }
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

// ask asks who is online, aside. One question at a time is enough, and an
// answer that does not come is not missed.
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

// complete is what Tab finds.
func (d *desk) complete(before string) (from int, options []option) {
	d.ask()
	return complete(before, d.names.sorted())
}

// note takes note of what is about to be shown on t.
func (d *desk) note(t *terminal, events []chatsecure.Event) {
	for i := range events {
		d.names.note(&events[i])
		if r := events[i].Receipt; r != nil {
			if status, about := d.receipts.changed(r); about {
				t.setStatus(status)
			}
		}
	}
}

// sent takes note of a message that goes.
func (d *desk) sent(t *terminal, id string, names []string) {
	t.setStatus(d.receipts.sent(id, names))
}

// promptCommands are the commands that can be completed.
var promptCommands = []option{{"exit", ""}, {"help", ""}, {"history", " "}, {"list", ""}, {"quit", ""}, {"whois", " "}}

// complete finds the ways to go on with the last word of what stands before
// the cursor, and where the word begins. A line begins with a command, or with
// the names that it is for.
func complete(before string, names []string) (from int, options []option) {
	command, arg, isArg := strings.Cut(before, " ")
	switch {
	case strings.Contains(before, ":"):
		return 0, nil // a text
	case isArg && (command == "whois" || command == "history"):
		from = len(before) - len(arg)
		return from, among(arg, asOptions(names, ""))
	}
	// NAME[, NAME...]: with or without a space after the comma.
	from = strings.LastIndexByte(before, ',') + 1
	for from > 0 && strings.HasPrefix(before[from:], " ") {
		from++
	}
	options = asOptions(names, ": ")
	if from == 0 {
		options = append(slices.Clone(promptCommands), options...)
	}
	return from, among(before[from:], options)
}

func asOptions(names []string, end string) (options []option) {
	for _, name := range names {
		options = append(options, option{name, end})
	}
	return options
}

// among returns the options that begin with what is typed, in whatever case.
func among(typed string, options []option) (found []option) {
	typed = proto.FoldName(typed)
	for _, o := range options {
		if strings.HasPrefix(proto.FoldName(o.word), typed) {
			found = append(found, o)
		}
	}
	return found
}

// maxRoster bounds the names that can be completed: a relay could tell of any
// number.
const maxRoster = 10_000

// roster is the names that can be completed: those that are known, and those
// online now or before. Its methods may be called from any goroutine.
type roster struct {
	mu    sync.Mutex
	names map[string]string // as their owners write them, by the folded name
}

// add takes note of a name.
func (r *roster) add(name string) {
	if proto.CheckName(name) != nil {
		return
	}
	folded := proto.FoldName(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names == nil {
		r.names = make(map[string]string)
	}
	old, known := r.names[folded]
	if known && (name == folded || name == old) || !known && len(r.names) >= maxRoster {
		return
	}
	r.names[folded] = name
}

// note takes note of the name in an event.
func (r *roster) note(ev *chatsecure.Event) {
	switch {
	case ev.Message != nil:
		r.add(ev.Message.From)
	case ev.Peer != nil:
		r.add(ev.Peer.Name)
	}
}

// sorted returns all names, in the order of the alphabet.
func (r *roster) sorted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.names))
	for _, name := range r.names {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(proto.FoldName(a), proto.FoldName(b)) })
	return names
}
