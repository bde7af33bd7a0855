package main

import (
	"context"
	"sync"
	"time"

	"chatsecure"
)

// startEditing gives the terminal to an editor, if it can be had: else lines
// are read as the terminal gives them. stop ends that, and may be called again.
func (t *terminal) startEditing(env func(string) string, d *desk) (stop func()) {
	t.dumb, t.paint = isDumb(env), colours(env)
	e := startEditing(t.fd, t.in, t.out, env, d.complete)
	if e == nil {
		return func() {}
	}
	t.editing.Store(e)
	return func() {
		e.stop()
		t.editing.Store(nil)
	}
}

// restoreTerminal puts the terminal back before the program ends at once.
func (a *app) restoreTerminal() {
	a.ttyLock.Lock()
	t := a.tty
	a.ttyLock.Unlock()
	if t == nil {
		return
	}
	if e := t.editing.Load(); e != nil {
		e.restore()
	}
}

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

// setStatus shows where the last message is, if there is an editor to do so.
func (t *terminal) setStatus(status string) {
	if e := t.editing.Load(); e != nil {
		e.setStatus(status)
	}
}
