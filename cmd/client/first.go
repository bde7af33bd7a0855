package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"chatsecure"
	"chatsecure/crypto"
)

// firstMinutes says what to do next, in order, to somebody who has just called
// client and has nothing set up yet: no flags, no state, and no card
// or no relay where they are looked for. For everybody else it does nothing.
func (a *app) firstMinutes(ctx context.Context) error {
	opt := &a.opt
	if opt.name != "" || opt.card != "" || opt.relay != defaultRelay || opt.json {
		return nil
	}
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	// Who has been here before knows. The directory alone says nothing: a
	// relay's state lies below it.
	if s, err := chatsecure.OpenStateRead(dir); err == nil && s.Name() != "" {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with it is told when it is used
	}
	d := &doctor{a: a, stateDir: dir}
	d.lookAtCard(ctx)
	d.lookAtRelay(ctx)
	missing := make(map[string]doctorObject)
	for _, c := range d.checks {
		if c.Status == doctorFailed {
			missing[c.Check] = c
		}
	}
	relayTrouble, noRelay := missing["relay"]
	delete(missing, "relay")
	var noCard doctorObject
	for _, c := range missing { // one of module, reader and card: the rest is skipped
		noCard = c
	}
	if noCard.Check == "" && !noRelay || ctx.Err() != nil {
		return ctx.Err()
	}
	a.out.say(firstSteps(opt.relay, d.leaf != nil, !noRelay, noCard.Message))
	if a.person() == nil {
		return nil // nobody can be asked for a name: that is the usage error it always is
	}
	first := noCard
	if first.Check == "" {
		first = relayTrouble
	}
	return &chatsecure.Error{Code: first.Code, Message: first.Message, Hint: "the steps above, in their order; client doctor looks again"}
}

// firstSteps is what to do, in order, with what is done already.
func firstSteps(addr string, card, relay bool, noCard string) string {
	var b strings.Builder
	b.WriteString("Nothing is set up here yet. What to do, in this order:\n\n")
	if card {
		b.WriteString("  1. A card: one is in the reader (client card shows it).\n")
	} else {
		fmt.Fprintf(&b, "  1. A card: %s.\n", crypto.Visible(noCard))
		b.WriteString("     Put one into the reader, or name one of several with -card; client card\n" +
			"     shows what is there. Or make a lab with software cards, in the source:\n" +
			"     go run ./testdata/pki -out lab alice bob\n" +
			"     and say -card lab/alice -ca-bundle lab/ca-bundle.pem -crl lab/crl\n")
	}
	if relay {
		fmt.Fprintf(&b, "  2. A relay: one answers at %s.\n", addr)
	} else {
		fmt.Fprintf(&b, "  2. A relay: none answers at %s. Name yours with -relay HOST:PORT,\n     or start one: relay (in a lab: relay -ca-bundle lab/ca-bundle.pem)\n", addr)
	}
	b.WriteString("  3. Its fingerprint: ask whoever runs it what relay -fingerprint prints, and\n" +
		"     compare it with what client shows at the first connection.\n" +
		"  4. A name: client -relay HOST:PORT -name NAME\n" +
		"     Each name has a state directory of its own: the second one on a machine\n" +
		"     needs -state DIR.\n\n")
	return b.String()
}
