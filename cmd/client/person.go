package main

import (
	"context"
	"os"

	"chatsecure/card"
	"chatsecure/crypto"
)

// person returns the terminal of the person who can be asked, or nil: standard
// input if it is one, else the controlling terminal, since then standard input
// is data.
func (a *app) person() *terminal {
	a.ttyLock.Lock()
	defer a.ttyLock.Unlock()
	if a.opt.batch || a.noTTY {
		return nil
	}
	if a.tty != nil {
		return a.tty
	}
	if in, ok := a.stdin.(*os.File); ok && isTerminal(in.Fd()) {
		out, ok := a.stdout.(*os.File)
		if !ok || !isTerminal(out.Fd()) {
			out = os.Stderr
		}
		a.tty = newTerminal(in, out)
		return a.tty
	}
	tty, err := a.openTTY()
	if err != nil {
		a.noTTY = true
		return nil
	}
	a.tty = newTerminal(tty, tty)
	return a.tty
}

// asker answers the library's questions by asking the person.
type asker struct{ *app }

// ConfirmRelay asks about a relay that is not known.
func (a asker) ConfirmRelay(ctx context.Context, _, fingerprint string) (bool, error) {
	t := a.person()
	if t == nil {
		return false, nil
	}
	return t.confirm(ctx, "Server cipher sha256 fingerprint is:\n"+fingerprint+"\n")
}

// ConfirmPeer asks, before the first message to a name, who it is.
func (a asker) ConfirmPeer(ctx context.Context, name string, p *crypto.Person) (bool, error) {
	t := a.person()
	if t == nil {
		return false, nil
	}
	return t.confirm(ctx, crypto.Visible(name)+" is new here, and proves to be:\n"+personText(p))
}

// askPIN returns a card.Options.PIN that asks the person at t.
func askPIN(t *terminal) func(context.Context, card.PINRequest) ([]byte, error) {
	return func(ctx context.Context, req card.PINRequest) ([]byte, error) {
		if w := req.Warning(); w != "" {
			t.print("client: notice: " + w + "\n")
		}
		return t.secret(ctx, "PIN of "+crypto.Visible(req.Card)+": ")
	}
}

// restoreTerminal puts the terminal back before the program ends at once.
func (a *app) restoreTerminal() {
	a.ttyLock.Lock()
	t := a.tty
	a.ttyLock.Unlock()
	if t != nil {
		t.restore()
	}
}
