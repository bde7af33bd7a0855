package command

import (
	"cmp"
	"context"
	"errors"
	"io/fs"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// firstMinutes guides a newcomer: somebody who runs client without flags,
// without state, and without a card or a relay in the usual place. For
// everybody else it does nothing.
func (a *app) firstMinutes(ctx context.Context) error {
	opt := &a.opt
	if opt.name != "" || opt.card != "" || opt.relay != defaultRelay || opt.json ||
		opt.file != nil && len(opt.file.Settings) > 0 {
		return nil
	}
	// A state directory alone proves nothing: a relay's state lies below it. One that belongs to a
	// name has given it to the options.
	if _, err := a.readState(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // its first use reports the error
	}
	d := &doctor{a: a}
	d.lookAtCard(ctx)
	noCard := d.failure() // of module, reader or card
	d.checks = nil
	d.lookAtRelay(ctx)
	noRelay := d.failure()
	if noCard.Check == "" && noRelay.Check == "" || ctx.Err() != nil {
		return ctx.Err()
	}
	a.out.say(firstSteps(opt.relay, d.leaf != nil, noRelay.Check == "", noCard.Message))
	if a.person() == nil {
		return nil // without a name this ends in the usual usage error
	}
	first := cmp.Or(noCard, noRelay)
	return fail.Errorf(first.Code, "%s", first.Message).
		With("the steps above, in their order; client doctor looks again")
}

// firstSteps lists the steps in their order, with those that are done.
func firstSteps(addr string, card, relay bool, noCard string) string {
	haveCard := "one is in the reader (client card shows it)."
	if !card {
		haveCard = proto.Visible(noCard) + ".\n" +
			"     Put one into the reader; client card shows the readers. Or try a lab with\n" +
			"     software cards first: in the source, this makes one, and prints its\n" +
			"     commands, which need none of the steps below:\n" +
			"     go run ./testdata/pki -out lab alice bob"
	}
	haveRelay := "one answers at " + addr + "."
	if !relay {
		haveRelay = "none answers at " + addr +
			". Ask for the address of yours, or\n     start one: relay"
	}
	return "Nothing is set up here yet. What to do, in this order:\n\n" +
		"  1. A card: " + haveCard + "\n" +
		"  2. A relay: " + haveRelay + "\n" +
		"  3. client init asks for relay, name and card, checks them, and writes them\n" +
		"     down. After that, client is enough. Each name has a state directory of its\n" +
		"     own: a second one on this machine needs -state DIR.\n" +
		"  4. The relay's fingerprint: ask its operator what relay -fingerprint prints,\n" +
		"     and compare it with what client shows at the first connection.\n\n"
}
