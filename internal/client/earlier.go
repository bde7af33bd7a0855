package client

import (
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// What an earlier client has left on its way goes first, and what becomes of it is told as that of
// records without a number.

// failEarlier gives up what an earlier client wrote.
func (e *engine) failEarlier(w *way, records []*crypto.Record, reason *fail.Error) {
	for _, r := range records {
		if err := e.history.Failed(r.ID, w.bundle.Name, reason.Message); err != nil {
			e.problem(err)
		}
		if e.cfg.Receipts {
			e.event(Event{Type: EventReceipt, Receipt: &ReceiptChange{
				ID: r.ID, To: w.bundle.Name, Status: history.StatusFailed, Reason: reason.Message, Err: reason,
			}})
		}
	}
}

// takeEarlier takes over a letter that an earlier client has left on its way.
func (e *engine) takeEarlier(w *way) {
	out := w.earlier[0]
	w.earlier = w.earlier[1:]
	l, err := out.letter(e.self)
	if err != nil {
		out.release()
		e.problem(err)
		return
	}
	w.flight = &flight{out: out, identity: out.Identity, letter: l, records: l.Records}
	e.sendLetter(w)
}

// claimLetters takes over the letters of clients that run no more. It returns what waits in these, and
// in those that another client has taken over.
func (e *engine) claimLetters() (waiting lettersWaiting) {
	waiting = lettersWaiting{}
	claimed, others, err := e.mail.claim()
	if err != nil {
		e.problem(err)
	}
	for _, out := range claimed {
		w := e.wayTo(out.Theirs, out.TheirKey)
		w.identity = proto.MustHash(out.Identity)
		w.earlier = append(w.earlier, out)
	}
	for _, out := range slices.Concat(claimed, others) {
		if l, err := out.letter(e.self); err == nil {
			for _, r := range l.Records {
				waiting[[2]string{r.ID, proto.FoldName(out.Name)}] = true
			}
		}
	}
	return waiting
}

// tellEarlier reports what an earlier client wrote, and the relay keeps now.
func (e *engine) tellEarlier(w *way, records []*crypto.Record, until time.Time) {
	for _, r := range records {
		e.tellOld(crypto.FullRecordID(e.self, r), r, w.bundle.Name, history.StatusKept, until)
	}
}

// moveEarlier seals what an earlier client wrote to the newest mailbox of the same person, as the one
// of its letter is not there any more. Without another one the texts are FAILED.
func (e *engine) moveEarlier(w *way, f *flight, reason *fail.Error) {
	again := func() { // it goes to the same mailbox, and gets the same answer
		to := e.wayTo(w.bundle, w.key)
		to.identity, to.again = w.identity, time.Now().Add(sealAgain)
		to.earlier = slices.Insert(to.earlier, 0, f.out)
	}
	if e.link.sess == nil || !e.mayLeaveNow(e.now()) {
		again()
		return
	}
	e.letters.ending++
	e.request(&proto.Header{Type: proto.TypeLetterTo, Name: w.bundle.Name}, func(in Inbound, err error) {
		var told []crypto.LetterBox
		if err == nil && in.Header.Type == proto.TypeLetterTo {
			told, err = crypto.ReadLetterBoxes(in.Body)
		}
		if fail.HasCode(err, proto.Lost) || fail.HasCode(err, proto.Busy) {
			e.letters.ending--
			again()
			return
		}
		var to *sealing
		var all []*sealing
		for _, box := range told {
			if proto.SameName(box.Bundle.Name, w.bundle.Name) && [32]byte(box.Bundle.Mailbox) != w.mailbox {
				s := e.sealingOf(&way{bundle: box.Bundle, key: box.Key, identity: w.identity}, f)
				s.old = nil
				all = append(all, s)
			}
		}
		e.aside(func() {
			for _, s := range all {
				if s.run(); s.refusal == nil {
					to = s
					return
				}
			}
		}, func() {
			switch {
			case to == nil:
				e.failEarlier(w, f.records, reason)
			case to.err != nil:
				e.letters.ending--
				again()
				return
			default:
				next := e.wayTo(to.theirs, to.draft.ToKey)
				next.identity, next.earlier = to.identity, append(next.earlier, to.out)
			}
			e.forgetLetter(f)
		})
	})
}
