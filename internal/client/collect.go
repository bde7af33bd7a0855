package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// collecting takes the letters that the relay hands out, in their order: each is checked off the
// engine's goroutine, stored, and acked once the disk has it. The engine's goroutine owns it.
type collecting struct {
	sess   *Session
	awaits map[[32]byte]bool // mailboxes whose letter-end has not been taken
	until  time.Time         // p1 of others wait no longer for those
	line   []Inbound         // letters and ends that wait
	bytes  int               // of them
	busy   bool              // the letter before the line is being checked
	stamp  string            // of that letter
	stored []*collected      // and not synced yet
	syncs  bool              // stored ones are being synced
	later  map[[32]byte]bool // mailboxes with a letter that was put off, or mailboxes of its sender
	check  []*peerConn       // whose word about their last letter is to be looked at
	gaps   map[source]uint64
	told   map[string]bool // refusals, in this session
	sides  sides           // of the letters before
}

// sides remembers who has sent letters and whom they name, by bundle: most letters have those of
// one before. The letter at work owns it.
type sides struct {
	senders map[[32]byte]*sender
	own     map[[32]byte]*history.Party
}

type sender struct {
	*history.Party
	person *trust.Person
}

// maxSides bounds each of both: a party has all certificates of somebody.
const maxSides = 64

// keepSide keeps a party. When there are too many, the memory begins anew.
func keepSide[T any](of map[[32]byte]T, bundle *trust.Bundle, party T) T {
	if len(of) >= maxSides {
		clear(of)
	}
	of[bundle.Hash()] = party
	return party
}

// source is where letters come from. Two people may name one mailbox.
type source struct{ identity, mailbox [32]byte }

const (
	// collectWait bounds the time for which p1 of others wait for the letters before them. They have
	// ten seconds.
	collectWait = 8 * time.Second
	// maxCollecting bounds the bytes of letters and ends that wait, each with EventCost. A relay keeps to
	// its window.
	maxCollecting = 4 * proto.RelayWindow
	// maxRefused bounds the reasons of refusals that are told in a session, each once: a relay can
	// hand out any number of letters that nobody has sealed.
	maxRefused = 16
)

// begin begins to collect over a new session.
func (c *collecting) begin(sess *Session, now time.Time) {
	*c = collecting{
		sess: sess, awaits: map[[32]byte]bool{}, until: now.Add(collectWait), later: map[[32]byte]bool{}, gaps: c.gaps,
		sides: sides{map[[32]byte]*sender{}, map[[32]byte]*history.Party{}},
		told:  map[string]bool{},
	}
	if c.gaps == nil {
		c.gaps = map[source]uint64{}
	}
	for _, mailbox := range sess.collects {
		c.awaits[mailbox] = true
	}
}

// end forgets the letters that a lost relay has no answer to: it brings them again.
func (c *collecting) end() { *c = collecting{gaps: c.gaps} }

// precedes tells whether letters may still come that were written before a handshake that begins.
func (c *collecting) precedes(now time.Time) bool { return len(c.awaits) > 0 && now.Before(c.until) }

// has tells whether a letter of a person waits or is being checked, by the relay's word.
func (c *collecting) has(identity string) bool {
	return c.busy && c.stamp == identity ||
		slices.ContainsFunc(c.line, func(m Inbound) bool { return m.Header.Identity == identity })
}

// idle tells whether every letter that has come is answered.
func (c *collecting) idle() bool {
	return len(c.awaits) == 0 && len(c.line) == 0 && !c.busy && len(c.stored) == 0 && !c.syncs
}

// collected is a letter that has come.
type collected struct {
	sess   *Session
	kind   string
	stamp  string    // the identity of its sender, as the relay says
	left   time.Time // by the relay's clock
	id     [32]byte
	letter *crypto.Letter // nil unless it holds
	owing  *owingLetter   // of one with records
	person *trust.Person  // its sender
	sides  sides          // of the session
	mine   *history.Party // whose bundle it names
	answer string         // proto.Stored, Refused or Later
	err    error
}

// takes tells whether a connection that takes messages, or not, collects letters of a kind.
func (c *collecting) takes(kind, takes string) bool {
	return len(c.sess.collects) > 0 && (kind != proto.LetterText || takes == proto.TakesMessages)
}

// onCollected takes a letter or the end of a mailbox's from the relay.
func (e *engine) onCollected(m Inbound) {
	c := &e.collect
	if m.Header.Type == proto.TypeLetter && !c.takes(m.Header.Kind, e.cfg.Takes) {
		e.link.sess.Fail(fail.Errorf(proto.Malformed,
			"the relay hands out a letter that this connection does not collect"))
		return
	}
	c.line = append(c.line, m)
	if c.bytes += EventCost + len(m.Body); c.bytes > maxCollecting {
		e.link.sess.Fail(fail.Errorf(proto.Flood, "the relay hands out more letters than the window allows"))
	}
	e.collectNext()
}

// collectNext begins with the next letter, unless one is at work, or too much waits to be shown.
func (e *engine) collectNext() {
	c := &e.collect
	for len(c.line) > 0 && !c.busy {
		m := c.line[0]
		if m.Header.Type == proto.TypeLetterEnd {
			if len(c.stored) > 0 || c.syncs {
				return // all before it is answered first
			}
			e.collectedAll(proto.MustHash(m.Header.Mailbox), time.UnixMilli(m.Header.Left))
		} else if e.events.full() {
			return
		} else {
			e.checkLetter(m)
		}
		c.line[0] = Inbound{} // for the garbage collector
		c.line = c.line[1:]
		c.bytes -= EventCost + len(m.Body)
	}
}

// collectedAll takes it that the relay has handed out a mailbox's letters up to a time.
func (e *engine) collectedAll(mailbox [32]byte, at time.Time) {
	c := &e.collect
	if !c.awaits[mailbox] {
		return
	}
	delete(c.awaits, mailbox)
	if c.later[mailbox] || e.cfg.Takes != proto.TakesMessages {
		return
	}
	var err error
	relay, now, mail := c.sess.fingerprint, e.now(), e.mail
	e.aside(func() { err = mail.emptied(relay, mailbox, at, now) }, func() {
		if err != nil {
			e.problem(err)
		}
	})
}

// checkLetter has a letter opened and checked off the engine's goroutine.
func (e *engine) checkLetter(m Inbound) {
	c := &e.collect
	c.busy, c.stamp = true, m.Header.Identity
	it := &collected{
		sess: c.sess, kind: m.Header.Kind, stamp: m.Header.Identity, left: time.UnixMilli(m.Header.Left), sides: c.sides,
	}
	mail, local, lenient := e.mail, e.local, e.lenient
	e.aside(func() { it.answer, it.err = e.openLetter(it, m.Body, mail, local, lenient) }, func() {
		if it.sess != c.sess {
			return // the next session brings it again
		}
		c.busy = false
		e.takeLetter(it)
		e.collectNext()
	})
}

var (
	errKind   = errors.New("it is not what the relay calls it")
	errBundle = errors.New("it names a delegation that has not named its mailbox, or that is not in this " +
		"state directory, as after a backup was put back or with a copy in use elsewhere")
	errLetterTime = errors.New("the time in it is not that at which the relay got it")
	errOldLetter  = errors.New("it is older than the last collection, which had all letters")
	errClock      = errors.New("it is from the future: this machine's clock may be wrong")
)

// openLetter opens and checks a letter, in the order of PROTOCOL.md, "Letters", up to the questions
// that the engine answers. It returns the answer to the relay, with a reason unless the letter
// holds. Any goroutine may call it but the engine's.
func (e *engine) openLetter(
	it *collected, body []byte, mail *mail, local *crypto.Local, lenient *trust.Verifier,
) (answer string, err error) {
	outside, _, _, err := crypto.SplitLetter(body)
	if err != nil {
		return proto.Refused, err
	}
	it.id = [32]byte(outside.Letter)
	box, err := mail.box([32]byte(outside.Mailbox))
	if err != nil {
		return proto.Later, err
	}
	if box == nil {
		return proto.Refused, errors.New("it is for a mailbox whose key is not here any more")
	}
	defer box.Key.Erase()
	l, err := crypto.OpenLetter(box.Key, body)
	if err != nil {
		return proto.Refused, err
	}
	dst := [32]byte(l.Header.DstBundle)
	if it.mine = it.sides.own[dst]; it.mine == nil {
		it.mine = e.ownSide(it, dst, local, lenient)
	}
	if l.Header.Kind != it.kind {
		return proto.Refused, errKind
	}
	if !box.Named(dst) || it.mine == nil {
		return proto.Refused, errBundle
	}
	at := time.UnixMilli(l.Header.Time)
	switch now := e.now(); {
	case at.Sub(it.left).Abs() > trust.ClockTolerance:
		return proto.Refused, errLetterTime
	case at.Sub(now) > trust.ClockTolerance:
		return proto.Later, errClock
	case box.Empty(it.sess.fingerprint).Sub(at) > trust.ClockTolerance:
		return proto.Refused, errOldLetter
	}
	if answer, err := e.cfg.verifyLetter(e.ctx, it, l, lenient); err != nil {
		return answer, err
	}
	if err := l.ReadRecords(it.person.Identity); err != nil {
		return proto.Refused, err
	}
	for _, r := range l.Records {
		if !r.Names(local.FoldedName, proto.FormatHash(local.Identity)) {
			return proto.Refused, errors.New("a record in it is for others")
		}
	}
	it.letter = l
	it.owing = &owingLetter{
		id: l.ID, bundle: l.Bundle, key: l.MailboxKey, identity: it.person.Identity,
		unsaid: len(l.Records), unread: len(l.Records),
	}
	return proto.Stored, nil
}

// verifyLetter finds the person who has signed a letter: the bundle counts at the time in the
// header, and the revocation of its certificate now.
func (cfg *Config) verifyLetter(
	ctx context.Context, it *collected, l *crypto.Letter, lenient *trust.Verifier,
) (answer string, err error) {
	if cfg.Look != nil {
		cfg.Look(l.Bundle.Name)
	}
	from := it.sides.senders[l.Bundle.Hash()]
	if from == nil {
		proved, err := cfg.Verifier.Prove(l.Bundle, l.Bundle.Name)
		if err != nil {
			return proto.Refused, err
		}
		person, err := lenient.At(proved, time.UnixMilli(l.Header.Time))
		if err != nil {
			return proto.Refused, err
		}
		from = keepSide(it.sides.senders, l.Bundle, &sender{&history.Party{
			Verifier: lenient, Bundle: l.Bundle, Proved: proved, Identity: person.Identity,
		}, person})
	}
	it.person = from.person
	if _, err := history.JudgeLetter(from.Party, it.mine, l.Header.Time); err != nil {
		return proto.Refused, err
	}
	if proto.FormatHash(it.person.Identity) != it.stamp {
		return proto.Refused, errors.New("the relay has it from another person than the one who has signed it")
	}
	ctx, cancel := context.WithTimeout(ctx, fetch.Wait)
	defer cancel()
	_, err = cfg.Fetcher.CertificateWait(ctx, cfg.Verifier, l.Bundle)
	switch {
	case fail.HasCode(err, proto.CertificateExpired): // since then
	case fail.HasCode(err, proto.RevocationUnknown):
		return proto.Later, err
	case err != nil:
		return proto.Refused, err
	}
	return "", nil
}

// ownSide is this user, as a bundle of one's own in the history says, or nil. Any goroutine may
// call it but the engine's.
func (e *engine) ownSide(
	it *collected, bundle [32]byte, local *crypto.Local, lenient *trust.Verifier,
) *history.Party {
	b := local.Bundle
	if b.Hash() != bundle {
		e.do(e.ctx, func() { b = e.history.Bundle(bundle) })
	}
	if b == nil {
		return nil
	}
	return keepSide(it.sides.own, b, &history.Party{Verifier: lenient, Bundle: b, Identity: local.Identity})
}

// takeLetter takes a letter that was checked.
func (e *engine) takeLetter(it *collected) {
	if it.err == nil {
		it.answer, it.err = e.judgeLetter(it)
	}
	if it.err != nil {
		e.tellLetter(it)
	}
	if it.answer == proto.Stored {
		e.collect.stored = append(e.collect.stored, it)
		e.syncLetters()
		return
	}
	e.answerLetter(it)
}

// judgeLetter decides about a letter that holds, and stores it.
func (e *engine) judgeLetter(it *collected) (answer string, err error) {
	l := it.letter
	if e.standing(it.person.Identity).blocked {
		return proto.Refused, nil // erased there, and nothing else
	}
	u := e.userFor(l.Bundle.Name)
	defer e.forgetUser(u) // unless there is more of it than a letter that is refused
	if err := e.cfg.samePerson(l.Bundle.Name, it.person, u.person); err != nil {
		return proto.Refused, err
	}
	if it.kind == crypto.LetterReceipt {
		return e.takeReceipts(it)
	}
	e.acceptNew(u, it.person)
	if err := e.history.RefreshKnown(); err != nil {
		return proto.Later, err
	}
	levels := make([]history.KnownLevel, len(l.Records))
	for i, r := range l.Records {
		levels[i] = e.history.Known(r.ID)
	}
	src := source{identity: it.person.Identity}
	copy(src.mailbox[:], l.Bundle.Mailbox)
	last := e.history.LastLetterFrom(src.identity, src.mailbox, l.Mailbox)
	if err := e.history.LetterReceived(l, it.from(), it.mine.Bundle, it.left); err != nil {
		if fail.HasCode(err, proto.NotAccepted) {
			e.tellTurned(l.Bundle.Name, "", it.person.Identity, fail.AsError(err))
			return proto.Refused, nil
		}
		return proto.Later, err
	}
	e.meet(u, it.person, l.Bundle.Name)
	e.gapBefore(u, src, last, l.Header.N)
	for i, r := range l.Records {
		e.arriveByLetter(u, it, r, levels[i])
	}
	return proto.Stored, nil
}

func (it *collected) from() history.Owner {
	return history.Owner{Name: it.letter.Bundle.Name, Identity: it.person.Identity}
}

// tellLetter tells the user of a letter that was not taken, or not yet.
func (e *engine) tellLetter(it *collected) {
	reason, who := fail.AsError(it.err), "a letter"
	if it.person != nil {
		who = "a letter of " + proto.Visible(it.person.Name) + "'s"
	}
	told, what := e.collect.told, who+": "+reason.Message
	if told[what] || len(told) == maxRefused {
		return
	}
	told[what] = true
	if it.answer == proto.Later {
		e.problem(&fail.Error{
			Code: reason.Code, Err: it.err, Message: "a letter stays at the relay for now: " + reason.Message,
		})
		return
	}
	refused, _ := errors.AsType[*state.Refused](it.err)
	if refused != nil {
		e.event(Event{Type: EventPeer, Peer: &PeerChange{
			Name: it.person.Name, What: "refused", Reason: reason.Message, Refused: refused,
		}})
		return
	}
	message := who + " is refused: " + reason.Message
	e.problem(&fail.Error{Code: reason.Code, Message: message, Hint: reason.Hint, Err: it.err})
}

// syncLetters has the disk have the stored letters, a group at a time, and then acks them. Which of
// them are owed receipts is noted before.
func (e *engine) syncLetters() {
	c := &e.collect
	if c.syncs || len(c.stored) == 0 {
		return
	}
	group := c.stored
	c.stored, c.syncs = nil, true
	var lines []string
	for _, it := range group {
		if it.kind == crypto.LetterText && it.owing.answered(e.now()) {
			lines = append(lines, owedLine(owedLetterLine, it.id))
		}
	}
	var noted error
	now := e.now()
	e.aside(func() { noted = cmp.Or(e.mail.keepKeys(group, now), e.mail.noteOwed(lines...)) }, func() {
		e.onceSynced(func(err error) { e.ackStored(group, cmp.Or(noted, err)) })
	})
}

// ackStored acks stored letters, unless the disk does not have them.
func (e *engine) ackStored(group []*collected, err error) {
	c := &e.collect
	if group[0].sess != c.sess {
		return
	}
	c.syncs = false
	for _, it := range group {
		if err != nil {
			it.answer = proto.Later
		}
		e.answerLetter(it)
	}
	if err != nil {
		e.unstored(fail.AsError(err))
		return
	}
	e.syncLetters()
	e.collectNext()
}

// answerLetter tells the relay what became of a letter.
func (e *engine) answerLetter(it *collected) {
	if it.id == [32]byte{} { // nobody could seal what the relay does not split
		e.link.sess.Fail(it.err)
		return
	}
	if it.answer == proto.Later {
		for _, mailbox := range e.link.sess.collects {
			e.collect.later[mailbox] = true
		}
	}
	header := &proto.Header{Type: proto.TypeLetterAck, Done: it.answer, Letter: proto.FormatHash(it.id)}
	e.link.send(proto.UnsignedPayload(header), nil, nil)
}

// gapBefore tells of letters that are missing before one. Those that were put off are not.
func (e *engine) gapBefore(u *user, from source, last, n uint64) {
	if n <= last+1 || from.mailbox == [32]byte{} || len(e.collect.later) > 0 {
		return
	}
	e.event(Event{Type: EventGap, Gap: &Gap{Name: u.shown, Reason: missing(u.shown, last+1, n-1)}})
	e.collect.gaps[from] = n
}

func missing(name string, first, last uint64) string {
	if first == last {
		return fmt.Sprintf("a letter of %s's is missing: number %d", name, first)
	}
	return fmt.Sprintf("letters of %s's are missing: numbers %d to %d", name, first, last)
}

// checkMissing looks, once all letters that have come are taken, at the word of new conversations
// about the last letter.
func (e *engine) checkMissing() {
	c := &e.collect
	if len(c.check) == 0 || !c.idle() {
		return
	}
	check := c.check
	c.check = nil
	own := [32]byte{}
	copy(own[:], e.local.Bundle.Mailbox)
	for _, pc := range check {
		if pc.conv == nil {
			continue
		}
		from := source{pc.conv.Person.Identity, pc.mailbox()}
		if pc.conv.PeerLetter <= c.gaps[from] || pc.conv.MyBundle() != e.local.Bundle.Hash() ||
			len(c.later) > 0 || e.history.RefreshKnown() != nil {
			continue
		}
		n, last := pc.conv.PeerLetter, e.history.LastLetterFrom(from.identity, from.mailbox, own)
		if n > last {
			c.gaps[from] = n
			e.event(Event{Type: EventGap, Gap: &Gap{Name: pc.name, Conn: pc.id, Reason: missing(pc.name, last+1, n)}})
		}
	}
}
