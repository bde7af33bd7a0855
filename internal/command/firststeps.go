package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// firstMinutes guides a newcomer: somebody who runs client without flags,
// without state, and without a card or a relay in the usual place. For
// everybody else it does nothing.
func (a *app) firstMinutes(ctx context.Context) error {
	opt := &a.opt
	if opt.name != "" || opt.card != "" || opt.relay != defaultRelay || opt.json {
		return nil
	}
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	// A state directory with a name is that of a user. The directory alone proves
	// nothing: a relay's state lies below it.
	if s, err := state.OpenReadOnly(dir); err == nil && s.Name() != "" {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // its first use reports the error
	}
	d := &doctor{a: a, stateDir: dir}
	d.lookAtCard(ctx)
	d.lookAtRelay(ctx)
	var noCard, noRelay doctorObject
	for _, c := range d.checks {
		switch {
		case c.Status != doctorFailed:
		case c.Check == "relay":
			noRelay = c
		default: // one of module, reader and card, since the rest is skipped
			noCard = c
		}
	}
	if noCard.Check == "" && noRelay.Check == "" || ctx.Err() != nil {
		return ctx.Err()
	}
	a.out.say(firstSteps(opt.relay, d.leaf != nil, noRelay.Check == "", noCard.Message))
	if a.person() == nil {
		return nil // without a name this ends in the usual usage error
	}
	first := noCard
	if first.Check == "" {
		first = noRelay
	}
	return &fail.Error{Code: first.Code, Message: first.Message, Hint: "the steps above, in their order; client doctor looks again"}
}

// firstSteps lists the steps in their order, with those that are done.
func firstSteps(addr string, card, relay bool, noCard string) string {
	var b strings.Builder
	b.WriteString("Nothing is set up here yet. What to do, in this order:\n\n")
	if card {
		b.WriteString("  1. A card: one is in the reader (client card shows it).\n")
	} else {
		fmt.Fprintf(&b, "  1. A card: %s.\n", proto.Visible(noCard))
		b.WriteString("     Put one into the reader, or name one of several with -card; client card\n" +
			"     shows the readers. Or make a lab with software cards, in the source:\n" +
			"     go run ./testdata/pki -out lab alice bob\n" +
			"     and say -card lab/alice -ca-bundle lab/ca-bundle.pem -crl lab/crl\n")
	}
	if relay {
		fmt.Fprintf(&b, "  2. A relay: one answers at %s.\n", addr)
	} else {
		fmt.Fprintf(&b, "  2. A relay: none answers at %s. Name yours with -relay HOST:PORT,\n"+
			"     or start one: relay (in a lab: relay -ca-bundle lab/ca-bundle.pem)\n", addr)
	}
	b.WriteString("  3. Its fingerprint: ask its operator what relay -fingerprint prints, and\n" +
		"     compare it with what client shows at the first connection.\n" +
		"  4. A name: client -relay HOST:PORT -name NAME\n" +
		"     Each name has a state directory of its own: the second one on a machine\n" +
		"     needs -state DIR.\n\n")
	return b.String()
}
