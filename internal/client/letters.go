package client

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// letters is what this client leaves for others: PROTOCOL.md, "Letters". The engine's goroutine owns
// it, but for back.
type letters struct {
	ways   map[wayKey]*way
	kept   map[[32]byte]*outRecord
	told   map[toldReceipt]history.Status // of records of earlier runs
	ending int                            // letters that are answered, and stored still
	back   backQueue
}

// maxKept bounds the records, and receipts of earlier ones, that wait for receipts by letter in
// memory. The history has them all.
const maxKept = 4 * maxQueuedRecords

func newLetters() letters {
	return letters{
		ways: map[wayKey]*way{}, kept: map[[32]byte]*outRecord{}, told: map[toldReceipt]history.Status{},
	}
}

// backQueue takes what other goroutines have done back to the engine, which they never wait for.
type backQueue struct {
	mu   sync.Mutex
	done []func()
}

func (q *backQueue) put(done func()) {
	q.mu.Lock()
	q.done = append(q.done, done)
	q.mu.Unlock()
}

func (q *backQueue) take() []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	done := q.done
	q.done = nil
	return done
}

// aside runs work in a goroutine of its own, and then done here.
func (e *engine) aside(work, done func()) {
	e.wg.Go(func() {
		work()
		e.letters.back.put(done)
		e.nudge()
	})
}

// onceSynced runs done, here, once the disk has all lines of the history, or with the error.
func (e *engine) onceSynced(done func(error)) {
	e.history.Synced(func(err error) {
		e.letters.back.put(func() { done(err) })
		e.nudge()
	})
}

// takeBack runs what has come back.
func (e *engine) takeBack() {
	for _, done := range e.letters.back.take() {
		if e.fatal == nil {
			done()
		}
	}
}

// wayKey names a way. Two people may name one mailbox, since nothing proves who has its key.
type wayKey struct {
	name    string // of the bundle's owner, folded
	mailbox [32]byte
}

func wayOf(b *trust.Bundle) wayKey { return wayKey{proto.FoldName(b.Name), [32]byte(b.Mailbox)} }

// way is the way to one mailbox of a person: one letter is on it at a time.
type way struct {
	mailbox  [32]byte
	bundle   *trust.Bundle // that names it
	key      []byte
	user     *user // whose texts may go there; nil: only receipts, and what an earlier client left
	identity [32]byte
	person   *trust.Person // of bundle, as last looked at
	checked  time.Time
	refusal  *fail.Error

	earlier []*outLetter // of an earlier client: they go first
	owed    owedReceipts
	texts   []*delivery
	has     map[*recipient]bool // of texts, and of all letters that went
	flight  *flight

	again time.Time // not before this
	tries int       // that the relay was too busy for
}

// flight is a letter on its way.
type flight struct {
	records  []*crypto.Record // to be sealed: these,
	receipts []owedReceipt    // or these
	batch    []*delivery      // of records; none if an earlier client wrote them

	letter   *crypto.Letter // sealed, or nil
	identity string         // its receiver's, hex
	out      *outLetter     // the same, stored; nil for receipts, which the next client owes again
	sent     bool           // in the present session, or being sealed
	left     bool           // in any session
	lost     bool           // with a session, before the relay answered
	busy     *fail.Error    // the relay's last word, or nil
	err      error
}

// unkept is the reason for which the relay did not keep a letter in time, with the relay's own words.
func (f *flight) unkept(reason *fail.Error) *fail.Error {
	if f.busy == nil {
		return reason
	}
	return fail.Errorf(reason.Code, "%s: %w", reason.Message, f.busy)
}

// unanswered counts a letter that may have come to the relay.
func (f *flight) unanswered(by int) {
	for _, d := range f.batch {
		d.r.unanswered += by
	}
}

const (
	// letterRecords and letterBytes bound a letter, and so do its sender's certificates.
	letterRecords = 512
	letterBytes   = 48 << 10
	// resealAfter is the age of a letter that is sealed anew instead of sent: the receiver takes none
	// that is five minutes older than the relay says.
	resealAfter = 4 * time.Minute
)

// wayTo finds or makes the way to a mailbox, and notes the bundle that names it now.
func (e *engine) wayTo(bundle *trust.Bundle, key []byte) *way {
	of := wayOf(bundle)
	w := e.letters.ways[of]
	if w == nil {
		w = &way{mailbox: of.mailbox, has: map[*recipient]bool{}}
		e.letters.ways[of] = w
	}
	if w.bundle == nil || w.bundle.Hash() != bundle.Hash() {
		w.bundle, w.key, w.checked = bundle, key, time.Time{}
	}
	return w
}

// put queues a record for a mailbox, once. tried is the delivery over a connection that has not come
// about, or nil.
func (e *engine) put(w *way, r *recipient, tried *delivery) {
	if w.has[r] || r.over() {
		return
	}
	w.has[r] = true
	r.active++
	w.texts = append(w.texts, &delivery{r: r, tried: tried, since: e.link.patient(time.Now())})
}

// unput ends a delivery to a mailbox that did not come about.
func (e *engine) unput(w *way, d *delivery) {
	delete(w.has, d.r)
	e.drop(d)
}

// failTexts gives up what waits for a mailbox. Another device, or a conversation, may get it still.
func (e *engine) failTexts(w *way, reason *fail.Error) {
	texts := w.texts
	w.texts = nil
	e.failDeliveries(w, texts, reason)
}

func (e *engine) failDeliveries(w *way, batch []*delivery, reason *fail.Error) {
	for _, d := range batch {
		if e.unput(w, d); d.r.active == 0 && d.r.waits() && e.talks(d.r.user) {
			e.spread(d.r)
		}
		if d.r.active == 0 {
			e.failed(d.r, reason)
		}
	}
}

// flushLetters sends what may go as letters now.
func (e *engine) flushLetters() {
	if e.link.sess == nil || e.goodbye || e.mail == nil {
		return
	}
	now := time.Now()
	for of, w := range e.letters.ways {
		if e.flushWay(w, now); w.idle() {
			delete(e.letters.ways, of)
		}
	}
}

// idle tells that nobody needs a way.
func (w *way) idle() bool {
	return w.user == nil && w.flight == nil && len(w.earlier)+len(w.texts)+len(w.owed.entries) == 0
}

func (e *engine) flushWay(w *way, now time.Time) {
	switch f := w.flight; {
	case now.Before(w.again):
	case f != nil && f.sent:
	case f != nil:
		e.sendLetter(w)
	case len(w.earlier) > 0:
		e.takeEarlier(w)
	case e.receiptsDue(w, now):
		w.flight = &flight{receipts: w.owed.take()}
		e.sendLetter(w)
	case e.textsMay(w):
		e.takeTexts(w)
	}
}

// textsMay tells whether texts may go to a mailbox now. The person must be accepted.
func (e *engine) textsMay(w *way) bool {
	if len(w.texts) == 0 || e.leaving || w.user == nil || w.person == nil || w.refusal != nil {
		return false
	}
	return w.user.accepted || e.acceptLate(w.user, w.person)
}

// takeTexts begins a letter with the first texts for a mailbox, without those that its device has got
// meanwhile.
func (e *engine) takeTexts(w *way) {
	f, identity := new(flight), proto.FormatHash(w.person.Identity)
	n, size, most := 0, 0, min(letterBytes, crypto.LetterRoom(e.local.Bundle))
	for _, d := range w.texts {
		out := d.r.out
		if len(f.batch) == letterRecords || len(f.batch) > 0 && size+out.size > most {
			break
		}
		n++
		switch {
		case d.r.over() || d.tried != nil && d.tried.got:
			e.unput(w, d)
		case !out.record.Names(w.user.name, identity):
			e.unput(w, d)
			e.failed(d.r, fail.Errorf(proto.IdentityChanged,
				"%s is now another person than the one this was written to", w.user.shown))
		default:
			e.keep(out, w.user.shown) // another client may get the receipt before the relay's answer comes here
			size += out.size
			f.batch, f.records = append(f.batch, d), append(f.records, out.record)
		}
	}
	w.texts = slices.Delete(w.texts, 0, n)
	if len(f.batch) > 0 {
		w.flight = f
		e.sendLetter(w)
	}
}

// sendLetter sends the letter that is next on a way, once it is sealed and stored. A letter that is too
// old is sealed anew.
func (e *engine) sendLetter(w *way) {
	f := w.flight
	f.sent = true
	if f.letter == nil || e.now().Sub(time.UnixMilli(f.letter.Header.Time)) > resealAfter {
		e.seal(w)
		return
	}
	if !f.left {
		f.unanswered(1)
	}
	f.left = true
	e.link.leave(f.letter.Header.Kind, f.identity, f.letter.Body, func(in Inbound, err error) {
		if w.flight == f {
			e.answered(w, in, err)
		}
	})
}

// answered takes the relay's answer to a letter, or the loss of the relay before it.
func (e *engine) answered(w *way, in Inbound, err error) {
	f, reason := w.flight, fail.AsError(err)
	switch {
	case err == nil && in.Header.Done == proto.Kept:
		w.tries = 0
		e.letterKept(w, time.UnixMilli(in.Header.Until))
	case err == nil:
		f.sent, w.again = false, time.Now().Add(sealAgain)
	case reason.Code == proto.Lost: // it goes again over the next session
		f.sent, f.lost = false, true
		if e.link.sess != nil { // the relay has said so
			w.again = time.Now().Add(sealAgain)
		}
	case reason.Code == proto.Busy:
		f.sent, f.busy = false, reason
		if f.left && !f.lost { // the relay has not got it
			f.left = false
			f.unanswered(-1)
		}
		wait := min(e.cfg.Again<<min(w.tries, 5), backoffMax)
		w.tries++
		w.again = time.Now().Add(wait/2 + rand.N(wait/2+1))
	default:
		e.notLeft(w, reason)
	}
}

// letterBefore tells whether a letter with texts to the device of a connection is on its way, and not
// answered: what is said after it must not come before it. The relay hands a letter on before it
// answers.
func (e *engine) letterBefore(pc *peerConn) bool {
	for _, w := range e.letters.ways {
		if f := w.flight; f != nil && len(f.batch) > 0 && f.sent && w.user == pc.user && w.mailbox == pc.mailbox() {
			return true
		}
	}
	return false
}

// letterKept takes it that the relay keeps a letter.
func (e *engine) letterKept(w *way, until time.Time) {
	f := w.flight
	w.flight = nil
	if len(f.receipts) > 0 {
		e.receiptsKept(f.receipts)
		return
	}
	if end := time.Unix(f.out.Theirs.MailboxEnd, 0); until.After(end) {
		until = end // whatever the relay says, nobody opens it later
	}
	to := history.Owner{Name: w.bundle.Name, Identity: w.identity}
	if err := e.history.LetterSent(f.letter, to, f.out.Theirs, until); err != nil {
		w.flight, f.sent, w.again = f, false, time.Now().Add(sealAgain) // it gets the same answer
		e.unstored(fail.AsError(err))
		return
	}
	f.unanswered(-1)
	for _, d := range f.batch {
		d.r.out.kept, d.r.until = true, until
		c := &d.r.user.counts
		if c.keptAt = e.link.patient(time.Now()); c.until.IsZero() || until.Before(c.until) {
			c.until = until
		}
		e.remind(d.r)
		e.reached(d.r, history.StatusKept, "")
		e.drop(d)
	}
	if len(f.batch) == 0 {
		e.tellEarlier(w, f.letter.Records, until)
	}
	e.letters.ending++
	e.onceSynced(func(error) { e.forgetLetter(f) })
}

// forgetLetter removes a letter that is answered from those on their way.
func (e *engine) forgetLetter(f *flight) {
	e.aside(func() { f.err = e.mail.answered(f.out) }, func() {
		e.letters.ending--
		if f.err != nil {
			e.problem(f.err)
		}
	})
}

// notLeft takes it that the relay, or this machine, takes a letter never. Texts are FAILED unless
// another device or a conversation has them.
func (e *engine) notLeft(w *way, reason *fail.Error) {
	f := w.flight
	w.flight = nil
	if f.left && !f.lost { // else the relay may have an earlier one, with the same records
		f.unanswered(-1)
	}
	earlier := len(f.records) > 0 && len(f.batch) == 0
	if earlier && reason.Code == proto.NoMailbox {
		e.moveEarlier(w, f, reason)
		return
	}
	if f.out != nil {
		e.letters.ending++
		e.forgetLetter(f)
	}
	u := w.user
	if reason.Code == proto.NoMailbox && u != nil && len(f.batch) > 0 {
		w.texts = slices.Concat(f.batch, w.texts)
		w.refusal, w.again, u.boxes.told = reason, time.Now().Add(sealAgain), false // the answer has another
		e.askBoxes(u)
		return
	}
	e.failDeliveries(w, f.batch, reason)
	switch {
	case earlier:
		e.failEarlier(w, f.records, reason)
	case f.letter == nil && len(f.batch) == 0: // receipts that could not be sealed
		e.problem(reason)
	}
}

// boxRefused takes it that the bundle of a mailbox does not hold any more.
func (e *engine) boxRefused(w *way, reason *fail.Error) {
	w.refusal = reason
	if errors.Is(reason, fetch.ErrFetching) || reason.Code == proto.RevocationUnknown {
		w.refusal, w.again = nil, time.Now().Add(sealAgain)
		return
	}
	e.notLeft(w, reason)
	if w.user != nil {
		e.refuseBox(w)
	}
}

// lettersWaiting has the records in letters on their way, and for whom.
type lettersWaiting map[[2]string]bool

func (w lettersWaiting) has(recordID, name string) bool {
	return w[[2]string{recordID, proto.FoldName(name)}]
}

// release leaves what is not answered to the next client.
func (l *letters) release() {
	for _, w := range l.ways {
		for _, out := range w.earlier {
			out.release()
		}
		if w.flight != nil && w.flight.out != nil {
			w.flight.out.release()
		}
	}
}

// leaving tells whether a text is on its way to a mailbox.
func (l *letters) leaving() bool {
	for _, w := range l.ways {
		if w.person != nil && w.refusal == nil && (len(w.texts) > 0 || w.flight != nil && len(w.flight.batch) > 0) {
			return true
		}
	}
	return false
}

// underWay tells whether a letter is about to be answered, or receipts are owed. Those behind a
// letter that the relay is too busy for are left to the next client, as is that letter.
func (l *letters) underWay() bool {
	for _, w := range l.ways {
		if f := w.flight; f != nil && f.sent || f == nil && len(w.owed.entries) > 0 {
			return true
		}
	}
	return l.ending > 0
}

// expireTexts gives up the texts of a script that have waited for too long. A letter that has left
// may be answered still: the next client asks.
func (e *engine) expireTexts(u *user, now time.Time) {
	if e.cfg.Persistent {
		return
	}
	late := func(d *delivery) bool { return e.link.patient(now).Sub(d.since) > e.cfg.Timeout }
	reason := fail.Errorf(proto.NotDelivered, "the relay did not keep it for %s within %v", u.shown, e.cfg.Timeout)
	for _, w := range u.boxes.ways {
		n := 0
		for n < len(w.texts) && late(w.texts[n]) {
			n++
		}
		texts := w.texts[:n:n]
		w.texts = w.texts[n:]
		e.failDeliveries(w, texts, reason)
		if f := w.flight; f != nil && len(f.batch) > 0 && late(f.batch[0]) && f.out != nil {
			if !f.left {
				e.notLeft(w, f.unkept(reason))
				continue
			}
			for _, d := range f.batch {
				e.failed(d.r, reason)
			}
		}
	}
}

// adoptLetters gives a connection what waits for the mailbox of its device, and what waits for other
// mailboxes only. It does not get again what has left as a letter.
func (e *engine) adoptLetters(pc *peerConn, queued map[*recipient]bool, add func(*recipient)) {
	own := pc.mailbox()
	for _, w := range pc.user.boxes.ways {
		if w.mailbox != own {
			for _, d := range w.texts {
				if !queued[d.r] && d.r.waits() {
					add(d.r)
				}
			}
			continue
		}
		texts := w.texts
		w.texts = nil
		for _, d := range texts {
			if !queued[d.r] {
				add(d.r)
			}
			e.unput(w, d)
		}
		for r := range w.has {
			queued[r] = true
		}
		pc.out.queue = slices.DeleteFunc(pc.out.queue, func(d *delivery) bool {
			if w.has[d.r] {
				d.r.active--
			}
			return w.has[d.r]
		})
	}
}
