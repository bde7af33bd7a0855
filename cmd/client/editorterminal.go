package main

import (
	"chatsecure"
	"chatsecure/crypto"
)

// startEditing gives the terminal to an editor, if it can be had: else lines
// are read as the terminal gives them. stop ends that, and may be called again.
func (t *terminal) startEditing(env func(string) string, names *roster) (stop func()) {
	t.dumb, t.paint = isDumb(env), colours(env)
	e := startEditing(t.fd, t.in, t.out, env, names.complete)
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
		e.setStatus(crypto.Visible(status))
	}
}
