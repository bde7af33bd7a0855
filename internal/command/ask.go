package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// person returns the terminal of a person, or nil: standard input if that is a
// terminal, else the controlling terminal, since standard input is data then.
func (a *app) person() *term.Terminal {
	a.ttyLock.Lock()
	defer a.ttyLock.Unlock()
	if a.opt.batch || a.noTTY {
		return nil
	}
	if a.tty != nil {
		return a.tty
	}
	if isTerminal(a.Stdin) {
		out := os.Stderr
		if isTerminal(a.Stdout) {
			out = a.Stdout.(*os.File)
		}
		a.tty = term.New(a.Stdin.(*os.File), out)
	} else if tty, err := a.OpenTTY(); err == nil {
		a.tty = term.New(tty, tty)
	}
	a.noTTY = a.tty == nil
	a.out.person.Store(a.tty)
	return a.tty
}

// asker puts the client's questions to the person.
type asker struct {
	*app
	state *state.State
}

// ConfirmRelay asks about an unknown relay.
func (a asker) ConfirmRelay(ctx context.Context, addr, fingerprint string) (bool, error) {
	text := "The relay at " + proto.Visible(addr) +
		" is new. A yes takes this key as its key for good.\n" +
		"It cannot read messages, but it sees who talks with whom. On its machine,\n" +
		"relay -fingerprint prints the same, or somebody stands in between.\n"
	if other := a.state.Elsewhere(addr, fingerprint); other != "" {
		text += "The key is known as " + other + "'s.\n"
	}
	text += "Server cipher sha256 fingerprint is:\n" + fingerprint + "\n"
	return a.confirm(ctx, &question{text: text, last: "Confirm (y/n)? "})
}

// ConfirmPeer asks about an unknown person before the first message to a name.
func (a asker) ConfirmPeer(ctx context.Context, name string, p *trust.Person) (bool, error) {
	who := proto.Visible(name)
	facts := factsText(p, a.opt.advice("-ca-bundle"), false) + alikeText(a.state.Alike(name, p), p)
	q := &question{about: name, text: who + " is new here, and proves to be:\n"}
	q.text += fields(trust.CertificateText(p.Leaf) + facts)
	if asked := a.asked.Load(); asked != nil && !asked.introduce(p) {
		subject := proto.Quote(trust.SubjectName(p.Leaf))
		q.again = q.text
		q.text = who + " is new here, and proves to be " + subject + ": the certificate is above.\n" + fields(facts)
	}
	return a.confirmPeer(ctx, q, p.Identity)
}

// ConfirmMet asks about a person whom an earlier run has met.
func (a asker) ConfirmMet(ctx context.Context, met *state.KnownPeer) (bool, error) {
	who := proto.Visible(met.Name)
	text := who + " has written before, to an earlier run, and is not accepted.\n"
	if met.CommonName != "" {
		text += "The certificate was that of " + proto.Quote(met.CommonName) + ".\n"
	}
	return a.confirmPeer(ctx, &question{about: met.Name, text: text}, met.Identity)
}

// confirmPeer asks a question about a person, with the identity to compare.
func (a asker) confirmPeer(ctx context.Context, q *question, identity [32]byte) (bool, error) {
	who := proto.Visible(q.about)
	end := "A yes takes this identity as " + who + "'s for good; client card there shows the same:\n" +
		proto.FormatHash(identity) + "\n"
	if q.text += end; q.again != "" {
		q.again += end
	}
	q.last = "Is this the " + who + " you mean? (y/n) "
	return a.confirm(ctx, q)
}

// confirm asks the person. Without one the answer is no.
func (a asker) confirm(ctx context.Context, asked *question) (bool, error) {
	if q := a.asked.Load(); q != nil {
		got := q.ask(ctx, asked)
		why, ended := errors.AsType[*fail.Error](context.Cause(ctx))
		if ended && got.err != nil && asked.about != "" {
			a.out.notice("the question about %s is over: %s", proto.Visible(asked.about), why.Message)
		}
		return got.yes, got.err
	}
	t := a.person()
	if t == nil {
		return false, nil
	}
	return t.Confirm(ctx, asked.text, asked.last)
}

// askPIN returns a card.Options.PIN that asks at t.
func (a *app) askPIN(t *term.Terminal) func(context.Context, card.PINRequest) ([]byte, error) {
	return func(ctx context.Context, req card.PINRequest) ([]byte, error) {
		warning, last := "", "PIN of "+proto.Visible(req.Card)+": "
		if w := req.Warning(); w != "" {
			warning = sentence("notice", w) + "\n"
		}
		if q := a.asked.Load(); q != nil {
			got := q.ask(ctx, &question{text: warning, last: last, secret: true})
			return got.secret, got.err
		}
		t.Print(warning)
		return t.Secret(ctx, last)
	}
}

// restoreTerminal puts the terminal back before the program ends at once.
func (a *app) restoreTerminal() {
	a.ttyLock.Lock()
	t := a.tty
	a.ttyLock.Unlock()
	if t != nil {
		t.Restore()
	}
}

// isTerminal reports whether a stream is a terminal. If so, it is an *os.File.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// name returns the user's name: from the options, which have that of the state directory dir, or by
// asking.
func (a *app) name(ctx context.Context, dir string) (string, error) {
	a.tellOutvoted()
	if a.opt.name != "" {
		return a.opt.name, nil
	}
	if _, err := state.Owner(dir); err != nil {
		return "", err
	}
	t := a.person()
	command, missing := fail.Command("client -name NAME init"), ""
	hint := "give it with -name NAME, or for good: " + command
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) && a.opt.state != "" {
		missing = fmt.Sprintf(", and there is no state directory %s (%s)", proto.Visible(a.opt.state),
			a.opt.places.of("state"))
		hint = "name the one that you mean, or make this one: " + command
	}
	if t == nil {
		return "", usageError("a name is needed to go online%s", missing).With(hint)
	}
	if missing != "" {
		a.out.notice("this is a first connection%s: it is made now", missing)
	}
	name, err := t.Question(ctx, "Name: ")
	if err == nil {
		err = proto.CheckName(name)
	}
	if err == nil {
		a.opt.name = name
	}
	return a.opt.name, err
}

// tellOutvoted tells of a name that does not count.
func (a *app) tellOutvoted() {
	if a.opt.outvoted != "" {
		a.out.notice("%s", a.opt.outvoted)
	}
}
