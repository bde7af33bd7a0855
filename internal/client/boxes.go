package client

import (
	"context"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// boxes are the mailboxes of a user's devices, as the relay tells of them. The engine's goroutine
// owns them.
type boxes struct {
	ways  []*way       // newest first
	asked time.Time    // when the relay was asked; zero: it is to be asked again
	told  bool         // the relay has answered in this session
	due   bool         // the relay was away, or lost before it answered
	open  int          // questions to the relay and looks at bundles under way
	fresh []*recipient // of records that were written before the answer
}

const (
	// boxesFor is the time for which the relay's answer counts.
	boxesFor = time.Minute
	// leastMailbox is the least life of a mailbox that a letter is left in.
	leastMailbox = 5 * time.Minute
	// triedMost bounds the time, a third of Timeout, for which a conversation is tried before a
	// letter is left to somebody who seems to be there.
	triedMost = 10 * time.Second
)

// triedFor is how long a conversation is tried first.
func (e *engine) triedFor() time.Duration { return min(e.cfg.Timeout/3, triedMost) }

// leaves tells whether this client leaves letters.
func (e *engine) leaves() bool { return !e.cfg.Live && e.cfg.Takes != proto.TakesPipe && !e.leaving }

// askBoxes asks the relay for a user's mailboxes, unless its last answer counts still.
func (e *engine) askBoxes(u *user) {
	b := &u.boxes
	b.due = b.due || e.link.sess == nil
	if !e.leaves() || e.link.sess == nil || b.open > 0 || b.told && time.Since(b.asked) < boxesFor {
		return
	}
	b.asked, b.due = time.Now(), false
	b.open++
	sess := e.link.sess
	e.request(&proto.Header{Type: proto.TypeLetterTo, Name: u.shown}, func(in Inbound, err error) {
		b.open--
		var told []crypto.LetterBox
		if err == nil && in.Header.Type == proto.TypeLetterTo {
			told, err = crypto.ReadLetterBoxes(in.Body)
		}
		if fail.HasCode(err, proto.Malformed) {
			e.problem(err)
		}
		b.told = sess == e.link.sess
		b.due = b.due || !b.told
		switch {
		case err == nil && b.told:
			e.boxesTold(u, told)
		case b.open == 0:
			e.boxesReady(u)
		}
	})
}

// boxesTold takes the relay's answer. What waits for a mailbox that is not in it goes to the new
// ones: one of them is probably the same device's.
func (e *engine) boxesTold(u *user, told []crypto.LetterBox) {
	b := &u.boxes
	var ways, fresh []*way
	for _, box := range told {
		mailbox := [32]byte(box.Bundle.Mailbox)
		if !proto.SameName(box.Bundle.Name, u.name) || slices.Equal(box.Bundle.Mailbox, e.local.Bundle.Mailbox) ||
			slices.ContainsFunc(ways, func(w *way) bool { return w.mailbox == mailbox }) {
			continue
		}
		w := e.wayTo(box.Bundle, box.Key)
		w.user, ways = u, append(ways, w)
		if !slices.Contains(b.ways, w) {
			fresh = append(fresh, w)
		}
	}
	old := b.ways
	b.ways = ways
	for _, w := range ways {
		e.lookAtBox(w)
	}
	for _, w := range old {
		if !slices.Contains(ways, w) {
			e.giveBack(w, fresh)
			w.user = nil
		}
	}
	if b.open == 0 {
		e.boxesReady(u)
	}
}

// giveBack takes back what waits for a mailbox that is not there any more.
func (e *engine) giveBack(w *way, instead []*way) {
	texts := w.texts
	w.texts = nil
	for _, d := range texts {
		for _, other := range instead {
			e.put(other, d.r, nil)
		}
		e.unput(w, d)
		if d.r.active == 0 && d.r.waits() {
			d.r.user.orphans = append(d.r.user.orphans, &delivery{r: d.r, since: d.since})
		}
	}
}

// lookAtBox looks at the bundle that names a mailbox, off the engine's goroutine.
func (e *engine) lookAtBox(w *way) {
	u := w.user
	u.boxes.open++
	bundle, before, lenient := w.bundle, u.person, e.lenient
	var person *trust.Person
	var err error
	e.aside(func() {
		ctx, cancel := context.WithTimeout(e.ctx, fetch.Wait)
		defer cancel()
		person, err = e.cfg.verifyBox(ctx, lenient, bundle, before)
	}, func() {
		u.boxes.open--
		if w.bundle == bundle {
			e.boxLooked(w, person, err)
		}
		if u.boxes.open == 0 {
			e.boxesReady(u)
		}
	})
}

// verifyBox looks at a bundle whose mailbox a letter is to be left in. The delegation may have
// ended, as long as the mailbox has not: all else must hold now. Any goroutine may call it but the
// engine's.
func (cfg *Config) verifyBox(
	ctx context.Context, lenient *trust.Verifier, b *trust.Bundle, before *trust.Person,
) (*trust.Person, error) {
	if cfg.Look != nil {
		cfg.Look(b.Name)
	}
	now := cfg.Now()
	if time.Unix(b.MailboxEnd, 0).Before(now.Add(leastMailbox)) {
		return nil, fail.Errorf(proto.NoMailbox, "the mailbox of %s has ended, or does so soon", proto.Visible(b.Name))
	}
	proved, err := cfg.Verifier.Prove(b, b.Name)
	if err != nil {
		return nil, err
	}
	at := min(now.Unix(), b.NotAfter)
	person, err := lenient.At(proved, time.Unix(max(at, b.NotBefore), 0))
	if err != nil {
		return nil, err
	}
	owner, err := cfg.Fetcher.CertificateWait(ctx, cfg.Verifier, b)
	if err != nil {
		return nil, err
	}
	held := *person
	held.Revocation = owner.Revocation
	if owner.Identity != person.Identity {
		return nil, fail.Errorf(proto.IdentityChanged,
			"the certificate of %s is another person's by now", proto.Visible(b.Name))
	}
	return &held, cfg.samePerson(b.Name, person, before)
}

// boxLooked takes the result of a look.
func (e *engine) boxLooked(w *way, person *trust.Person, err error) {
	u := w.user
	if err == nil && u != nil && u.person != nil {
		err = e.cfg.samePerson(w.bundle.Name, person, u.person) // proved meanwhile
	}
	w.checked, w.person, w.refusal = time.Now(), person, fail.AsError(err)
	if err == nil {
		w.identity = person.Identity
	}
	if u == nil {
		return
	}
	if err != nil {
		w.person = nil
		e.refuseBox(w)
		return
	}
	e.meet(u, person, w.bundle.Name)
}

// meet takes it that a user who has not proved a connection is the person of a mailbox.
func (e *engine) meet(u *user, person *trust.Person, name string) {
	if u.person != nil {
		return
	}
	e.remember(u, person)
	k, ok := e.cfg.State.KnownPeer(u.name)
	u.accepted = ok && k.Identity == person.Identity && k.Accepted
	u.person, u.identity, u.refusal, u.shown = person, person.Identity, nil, name
	e.outbox.changed()
}

// refuseBox gives up a mailbox whose bundle does not hold. Without another way to the person, and
// none that is looked at, the refusal is that of the user.
func (e *engine) refuseBox(w *way) {
	u := w.user
	if final(w.refusal) && !e.talks(u) && !e.hasBox(u) && u.boxes.open == 0 {
		u.refusal = w.refusal
		e.refuseUser(u, w.refusal)
	}
	if e.cfg.Persistent {
		e.giveBack(w, nil)
		return
	}
	e.failTexts(w, w.refusal)
}

// hasBox tells whether there is a mailbox of a user's that holds, as far as is known.
func (e *engine) hasBox(u *user) bool {
	return slices.ContainsFunc(u.boxes.ways, func(w *way) bool { return w.person != nil && w.refusal == nil })
}

// mayLeave tells whether a record may still go to a user as a letter.
func (e *engine) mayLeave(u *user) bool {
	asks := u.boxes.open > 0 && time.Since(u.boxes.asked) < e.cfg.Timeout
	return e.leaves() && (asks || e.hasBox(u))
}

// boxesReady gives a user's mailboxes what waits for them.
func (e *engine) boxesReady(u *user) {
	fresh := u.boxes.fresh
	u.boxes.fresh = nil
	for _, r := range fresh {
		e.leaveTo(r)
	}
	e.leaveOrphans(u, time.Now())
}

// isThere tells whether the device with a mailbox has a conversation over which it takes messages.
func (e *engine) isThere(w *way) bool {
	for _, pc := range e.conns {
		if pc.user == w.user && pc.takes == proto.TakesMessages && !pc.ending && pc.mailbox() == w.mailbox {
			return true
		}
	}
	return false
}

// mailbox is that of the device at the other end of a conversation, or zeros.
func (pc *peerConn) mailbox() (mailbox [32]byte) {
	if pc.conv != nil {
		copy(mailbox[:], pc.conv.PeerBundle.Mailbox)
	}
	return mailbox
}

// undecided tells whether a connection of a user's that takes messages has yet to prove whose device
// it is.
func (e *engine) undecided(u *user) bool {
	return slices.ContainsFunc(e.connsOf(u), func(pc *peerConn) bool {
		return pc.takes == proto.TakesMessages && pc.conv == nil && !pc.ending && pc.shake.tries < hopelessTries
	})
}

// leaveTo queues a record for each mailbox of its recipient whose device is not there.
func (e *engine) leaveTo(r *recipient) {
	u := r.user
	switch {
	case !e.leaves() || r.over():
	case !u.boxes.told || u.boxes.open > 0:
		u.boxes.fresh = append(u.boxes.fresh, r)
		e.askBoxes(u)
	case !e.undecided(u) && !e.returns(u, [32]byte{}):
		for _, w := range u.boxes.ways {
			if w.refusal == nil && !e.isThere(w) && !e.returns(u, w.mailbox) {
				e.put(w, r, nil)
			}
		}
	}
}

// returns tells whether the device with a mailbox was lost a moment ago, without a word: perhaps the
// relay was. Zeros stand for one that had proved nothing. What is written meanwhile waits for it.
func (e *engine) returns(u *user, mailbox [32]byte) bool {
	now := e.link.patient(time.Now())
	return slices.ContainsFunc(u.away, func(dev *device) bool {
		return dev.mailbox == mailbox && !dev.ended && now.Sub(dev.since) <= e.triedFor()
	})
}

// leaveOrphans queues for the mailboxes what no connection has. A device that was just lost, and a
// connection that has yet to prove itself, have some time first.
func (e *engine) leaveOrphans(u *user, now time.Time) {
	if len(u.orphans) == 0 || !e.leaves() || u.boxes.open > 0 || !e.hasBox(u) {
		return
	}
	patient := e.link.patient(now)
	undecided := e.undecided(u)
	var stay []*delivery
	for _, d := range u.orphans {
		tried := patient.Sub(d.since) > e.triedFor()
		var ways []*way
		if !u.settled(d) && (tried || !undecided && (!u.awaits(d.device) || !e.returns(u, d.device.mailbox))) {
			ways = e.waysFor(u, d.device)
		}
		for _, w := range ways {
			e.put(w, d.r, nil)
		}
		if len(ways) == 0 {
			stay = append(stay, d)
		}
	}
	u.orphans = stay
}

// waysFor returns the mailboxes for a record that waits for a device: its own, or those of all devices
// that are not there.
func (e *engine) waysFor(u *user, dev *device) (ways []*way) {
	for _, w := range u.boxes.ways {
		if w.refusal != nil || e.isThere(w) {
			continue
		}
		if u.awaits(dev) && dev.mailbox == w.mailbox {
			return []*way{w}
		}
		ways = append(ways, w)
	}
	if u.awaits(dev) && dev.mailbox != [32]byte{} {
		return nil // it takes no letters
	}
	return ways
}

// leaveSilent queues for the mailbox of a device that seems to be there what it has not called
// DELIVERED in time.
func (e *engine) leaveSilent(pc *peerConn, now time.Time) {
	u := pc.user
	if pc.takes != proto.TakesMessages || !e.leaves() || len(u.boxes.ways) == 0 {
		return
	}
	patient := e.link.patient(now)
	for _, d := range pc.out.undelivered() {
		if patient.Sub(d.since) <= e.triedFor() {
			continue
		}
		for _, w := range u.boxes.ways {
			if own := pc.mailbox(); w.refusal == nil && (own == w.mailbox || own == [32]byte{} && !e.isThere(w)) {
				e.put(w, d.r, d)
			}
		}
	}
}
