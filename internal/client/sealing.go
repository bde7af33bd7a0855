package client

import (
	"context"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// sealing is a letter on its way to the disk. Its methods run off the engine's goroutine.
type sealing struct {
	e        *engine
	draft    crypto.LetterDraft
	theirs   *trust.Bundle // that names the mailbox
	identity [32]byte      // of its person
	before   *trust.Person
	lenient  *trust.Verifier
	looks    bool       // at theirs first
	old      *outLetter // that it replaces, or nil

	out     *outLetter
	letter  *crypto.Letter
	refusal error // of theirs
	err     error
}

// sealingOf prepares the letter that is next on a way.
func (e *engine) sealingOf(w *way, f *flight) *sealing {
	s := &sealing{
		e: e, theirs: w.bundle, identity: w.identity, lenient: e.lenient, old: f.out,
		looks: len(f.records) > 0 && time.Since(w.checked) > liveEvery,
		draft: crypto.LetterDraft{
			Key: e.local.Key, Bundle: e.local.Bundle, To: w.bundle.Hash(), ToKey: w.key, Time: e.now(),
			Records: f.records,
		},
	}
	for _, owed := range f.receipts {
		s.draft.Receipts = append(s.draft.Receipts, owed.LetterReceiptEntry)
	}
	if w.user != nil {
		s.before = w.user.person
	}
	return s
}

// seal seals and stores the letter that is next on a way, off the engine's goroutine.
func (e *engine) seal(w *way) {
	f := w.flight
	if !e.mayLeaveNow(e.now()) {
		f.sent, w.again = false, time.Now().Add(sealAgain)
		return
	}
	s := e.sealingOf(w, f)
	e.aside(s.run, func() {
		if f.sent = false; s.looks && s.refusal == nil {
			w.checked = time.Now()
		}
		switch {
		case s.refusal != nil:
			e.boxRefused(w, fail.AsError(s.refusal))
		case s.err == errRenewed:
		case s.err != nil:
			e.notLeft(w, fail.AsError(s.err))
		default:
			f.out, f.letter, f.identity = s.out, s.letter, proto.FormatHash(s.identity)
		}
	})
}

func (s *sealing) run() {
	if s.looks {
		if s.refusal = s.look(); s.refusal != nil {
			return
		}
	}
	s.err = s.store()
}

func (s *sealing) look() error {
	ctx, cancel := context.WithTimeout(s.e.ctx, fetch.Wait)
	defer cancel()
	person, err := s.e.cfg.verifyBox(ctx, s.lenient, s.theirs, s.before)
	if err == nil && person.Identity != s.identity {
		err = fail.Errorf(proto.IdentityChanged, "%s is now another person than the one this was written to", s.theirs.Name)
	}
	return err
}

// store seals the letter, and stores it unless it has receipts: the next client owes those again. The
// number of such a letter says nothing.
func (s *sealing) store() (err error) {
	if s.draft.MailboxKey, err = s.e.ownKey(s.draft.Bundle); err != nil {
		return err
	}
	if len(s.draft.Receipts) > 0 {
		_, err = s.sealAs(1)
		return err
	}
	if s.old != nil {
		if s.out, err = s.sealAs(s.old.h.N); err != nil {
			return err
		}
		return s.e.mail.replace(s.old, s.out)
	}
	var own [32]byte
	copy(own[:], s.draft.Bundle.Mailbox)
	theirs := [32]byte(s.theirs.Mailbox)
	asked := false
	last := func() (n uint64) {
		n, asked = s.e.lastTo(s.identity, own, theirs)
		return n
	}
	s.out, err = s.e.mail.reserve(s.identity, own, theirs, last, func(n uint64) (*outLetter, error) {
		if !asked {
			return nil, errRenewed // the client ends
		}
		return s.sealAs(n)
	})
	return err
}

// errRenewed means that the key was erased while a letter was being sealed.
var errRenewed = fail.Errorf(proto.Lost, "the delegation was made anew")

func (s *sealing) sealAs(n uint64) (out *outLetter, err error) {
	s.draft.N = n
	if s.letter, err = crypto.SealLetter(s.draft); fail.HasCode(err, proto.TooLong) {
		err = fail.Errorf(proto.TooLong, "the text is too long for a letter to %s: %w", s.theirs.Name, err).
			With("divide it into shorter messages, or send it when the person is there")
	}
	if err != nil {
		return nil, err
	}
	if s.letter.Signature == nil {
		return nil, errRenewed
	}
	return newOutLetter(s.letter, s.theirs.Name, s.identity, s.theirs, s.draft.ToKey), nil
}

// sealAgain is the time between two tries to seal while one's own card does not hold.
const sealAgain = 5 * time.Second

// mayLeaveNow tells whether one's own card holds now. Until it does nothing leaves, and the user is
// told so once.
func (e *engine) mayLeaveNow(now time.Time) bool {
	holds := e.holds(now)
	if !holds && !e.toldCard {
		e.problem(fail.Errorf(proto.Card, "by this machine's clock, your own card does not hold now, so no letter leaves"))
	}
	e.toldCard = !holds
	return holds
}

// ownKey returns the key of the mailbox that a bundle of one's own names, or none. Any goroutine may
// call it but the engine's.
func (e *engine) ownKey(b *trust.Bundle) ([]byte, error) {
	if e.cfg.NoLetters || len(b.Mailbox) == 0 {
		return nil, nil
	}
	box, err := e.mail.box([32]byte(b.Mailbox))
	if box == nil || err != nil {
		return nil, err
	}
	defer box.Key.Erase()
	return box.Key.Public(), nil
}

// lastTo returns the n of the last letter that was kept, as the history has it. Any goroutine may
// call it but the engine's.
func (e *engine) lastTo(identity, own, theirs [32]byte) (n uint64, asked bool) {
	err := e.do(e.ctx, func() {
		if err := e.history.RefreshKnown(); err != nil {
			e.problem(err)
		}
		n = e.history.LastLetterTo(identity, own, theirs)
	})
	return n, err == nil
}

// lastLetter is lastTo for a handshake: from the mailbox that one's own bundle names. Any goroutine
// may call it but the engine's.
func (e *engine) lastLetter(identity [32]byte, theirs []byte) uint64 {
	var own, to [32]byte
	copy(to[:], theirs)
	e.do(e.ctx, func() { copy(own[:], e.local.Bundle.Mailbox) })
	n, _ := e.lastTo(identity, own, to)
	return n
}
