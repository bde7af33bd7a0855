package command

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// desk has the prompt's knowledge of the conversations. The zero value is
// ready. Its methods may be called from any goroutine.
type desk struct {
	names    roster
	receipts receipts

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
	return complete(before, d.names.sorted())
}

// note takes names and receipts from events before they are shown on t.
func (d *desk) note(t *term.Terminal, events []client.Event) {
	for i := range events {
		d.names.note(&events[i])
		if r := events[i].Receipt; r != nil {
			if status, about := d.receipts.changed(r); about {
				t.SetStatus(status)
			}
		}
	}
}

// sent begins the status of a new message.
func (d *desk) sent(t *term.Terminal, id string, names []string) {
	t.SetStatus(d.receipts.sent(id, names))
}

// editor returns the configuration of the prompt's editor.
func (d *desk) editor() term.EditorConfig {
	return term.EditorConfig{Complete: d.complete, Dropped: "client: notice: more was pasted than can wait, and the rest of it is dropped\n"}
}

// promptCommands are the commands for completion.
var promptCommands = []term.Option{
	{Word: "exit"}, {Word: "help"}, {Word: "history", End: " "}, {Word: "list"}, {Word: "quit"}, {Word: "whois", End: " "},
}

// complete finds the ways to go on with the last word before the cursor, and
// the start of that word. A line begins with a command, or with the names of
// its recipients.
func complete(before string, names []string) (from int, options []term.Option) {
	command, arg, isArg := strings.Cut(before, " ")
	switch {
	case strings.Contains(before, ":"):
		return 0, nil // the text of a message
	case isArg && (command == "whois" || command == "history"):
		from = len(before) - len(arg)
		return from, among(arg, asOptions(names, ""))
	}
	// In NAME[, NAME...] a space may follow the comma.
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

// add adds a name.
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
