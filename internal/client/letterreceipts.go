package client

import (
	"bytes"
	"encoding/hex"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// owedReceipts are receipts for records that came by letter, on their way to their sender's mailbox.
type owedReceipts struct {
	entries []owedReceipt
	due     time.Time
}

// owedReceipt is one of them. A record may have come in several letters.
type owedReceipt struct {
	crypto.LetterReceiptEntry
	to []*answersTo
}

// owingLetter is a letter that has come, until the relay has all receipts for it.
type owingLetter struct {
	id             [32]byte
	bundle         *trust.Bundle // its sender's
	key            []byte        // of the mailbox that this names
	identity       [32]byte
	unsaid, unread int // records without a receipt, and without READ
}

const (
	// deliveredDelay is the time for which a receipt that says DELIVERED alone waits: most records are
	// shown before.
	deliveredDelay = time.Second
	// letterEntries bounds the receipts of a letter.
	letterEntries = 512
)

// answersTo is where receipts for a record go that came by letter.
type answersTo struct {
	id   [32]byte // of the record, whole
	of   *owingLetter
	said string // the level that the relay has a receipt of
}

// answered tells whether a letter is answered by receipts: its sender has a mailbox.
func (it *owingLetter) answered(now time.Time) bool {
	return len(it.key) > 0 && !now.After(time.Unix(it.bundle.MailboxEnd, 0))
}

// oweEarlier makes the receipts due that the clients before have not left with the relay. It returns
// where those go, by record id, for what is shown later. It runs before the engine does.
func (e *engine) oweEarlier() map[string]*answersTo {
	later := map[string]*answersTo{}
	letters, err := e.mail.owed()
	if err != nil {
		e.problem(err)
	}
	var over []string
	for _, o := range letters {
		records := e.history.StoredLetter(o.letter)
		it := &owingLetter{id: o.letter, unsaid: len(records), unread: len(records)}
		if len(records) > 0 {
			it.bundle, it.identity = e.history.Bundle(records[0].Bundle), records[0].Identity
			it.key = e.mail.keyOf(it.bundle)
		}
		if !it.answered(e.now()) {
			over = append(over, owedLine(owedDoneLine, it.id))
			continue
		}
		for _, s := range records {
			to := &answersTo{id: crypto.FullRecordID(s.Identity, s.Record), of: it}
			later[s.Record.ID] = to
			if o.said {
				it.unsaid, to.said = 0, crypto.LevelDelivered
			}
			switch {
			case e.standing(s.Identity).blocked:
			case e.history.Known(s.Record.ID) == history.KnownShown:
				e.oweByLetter(to, crypto.LevelRead)
			case !o.said:
				e.oweByLetter(to, crypto.LevelDelivered)
			}
		}
	}
	if err := e.mail.noteOwed(over...); err != nil {
		e.problem(err)
	}
	return later
}

// oweByLetter makes a receipt due. Nobody gets one without a mailbox.
func (e *engine) oweByLetter(to *answersTo, level string) {
	if !to.of.answered(e.now()) {
		return
	}
	w := e.letters.ways[wayOf(to.of.bundle)]
	if w == nil {
		w = e.wayTo(to.of.bundle, to.of.key)
	}
	if w.identity == [32]byte{} {
		w.identity = to.of.identity
	}
	w.owed.add(to, level, e.now().UnixMilli())
	delay := deliveredDelay
	if level == crypto.LevelRead {
		delay = receiptDelay
		e.owe()
	}
	if due := time.Now().Add(delay); w.owed.due.IsZero() || due.Before(w.owed.due) {
		w.owed.due = due
	}
}

// add adds an entry, or raises the one of the same record.
func (o *owedReceipts) add(to *answersTo, level string, at int64) {
	for i := len(o.entries) - 1; i >= max(0, len(o.entries)-letterEntries); i-- {
		entry := &o.entries[i]
		if !bytes.Equal(entry.ID, to.id[:]) {
			continue
		}
		if level == crypto.LevelRead {
			entry.Level, entry.Time = level, at
		}
		if !slices.Contains(entry.to, to) {
			entry.to = append(entry.to, to)
		}
		return
	}
	o.entries = append(o.entries, owedReceipt{
		crypto.LetterReceiptEntry{ID: to.id[:], Level: level, Time: at}, []*answersTo{to},
	})
}

// receiptsKept takes it that the relay has receipts, and notes of which letters it has all.
func (e *engine) receiptsKept(entries []owedReceipt) {
	var lines []string
	for _, entry := range entries {
		for _, to := range entry.to {
			if it := to.of; to.said == "" {
				if it.unsaid--; it.unsaid == 0 {
					lines = append(lines, owedLine(owedSaidLine, it.id))
				}
			}
			if it := to.of; entry.Level == crypto.LevelRead && to.said != crypto.LevelRead {
				if it.unread--; it.unread == 0 {
					lines = append(lines, owedLine(owedDoneLine, it.id))
				}
			}
			to.said = entry.Level
		}
	}
	if len(lines) == 0 {
		return
	}
	var err error
	e.letters.ending++
	e.aside(func() { err = e.mail.noteOwed(lines...) }, func() {
		e.letters.ending--
		if err != nil {
			e.problem(err)
		}
	})
}

// take takes the entries of one letter.
func (o *owedReceipts) take() []owedReceipt {
	n := min(len(o.entries), letterEntries)
	batch := slices.Clone(o.entries[:n])
	if o.entries = slices.Delete(o.entries, 0, n); len(o.entries) == 0 {
		*o = owedReceipts{}
	}
	return batch
}

// receiptsDue tells whether a letter with receipts goes now. Those for letters that are being
// collected go together: a letter with one receipt is as long as one with many. At the end all go.
func (e *engine) receiptsDue(w *way, now time.Time) bool {
	due := w.owed.due
	if !e.collect.idle() {
		due = due.Add(deliveredDelay)
	}
	return len(w.owed.entries) > 0 && (e.leaving || !now.Before(due))
}

// arriveByLetter takes one stored record of a letter. It is shown unless it was shown before or waits
// to be shown already.
func (e *engine) arriveByLetter(u *user, it *collected, r *crypto.Record, level history.KnownLevel) {
	l, from := it.letter, it.person.Identity
	to := &answersTo{id: crypto.FullRecordID(from, r), of: it.owing}
	if level == history.KnownShown {
		e.oweByLetter(to, crypto.LevelRead)
		return
	}
	e.oweByLetter(to, crypto.LevelDelivered)
	if mark, waits := e.inbox.pending[r.ID]; waits {
		mark.letter = to
		return
	}
	mark := &shownMark{
		id: r.ID, of: part{l.ID, crypto.DirectionBA}, seq: r.Seq, from: from, name: u.name, known: u.accepted, letter: to,
	}
	e.show(u, mark, &Message{
		ID: r.ID, From: l.Bundle.Name, Seq: r.Seq, Sent: time.UnixMilli(r.Time), To: namesOf(r), Text: r.Text,
		Person: it.person, Again: level == history.KnownStored && e.history.Again(r.ID), Letter: true, Left: it.left,
	})
}

// toldReceipt is a record of an earlier run for one recipient.
type toldReceipt struct {
	id   [32]byte
	name string
}

// takeReceipts takes a letter with receipts. An entry counts for the signer's own share of a record
// of this user's, and for nothing else.
func (e *engine) takeReceipts(it *collected) (answer string, err error) {
	l, giver := it.letter, it.from()
	name, identity := proto.FoldName(giver.Name), proto.FormatHash(giver.Identity)
	if err := e.history.RefreshKnown(); err != nil {
		return proto.Later, err
	}
	counts := map[int]*crypto.Record{}
	found := map[[32]byte]*crypto.Record{} // a letter may name one record in all its entries
	for i, entry := range l.Receipts {
		id := [32]byte(entry.ID)
		r, looked := found[id]
		if !looked {
			r, _ = e.history.OwnRecord(id)
			found[id] = r
		}
		if r != nil && r.Names(name, identity) {
			counts[i] = r
		}
	}
	if len(counts) == 0 {
		return proto.Refused, fail.Errorf(proto.Malformed,
			"its receipts are for no message of yours to %s", proto.Visible(giver.Name))
	}
	if err := e.history.LetterReceipt(l, giver, it.mine.Bundle, it.left); err != nil {
		if fail.HasCode(err, proto.NotAccepted) {
			return proto.Refused, nil
		}
		return proto.Later, err
	}
	for i, entry := range l.Receipts {
		if r := counts[i]; r != nil {
			e.reachedByLetter([32]byte(entry.ID), r, giver.Name, history.Status(entry.Level))
		}
	}
	return proto.Stored, nil
}

// reachedByLetter raises the status of a record for one recipient, of this run or of an earlier one.
func (e *engine) reachedByLetter(id [32]byte, record *crypto.Record, name string, status history.Status) {
	if out := e.ownOf(id); out != nil {
		for _, r := range out.to {
			if r.user.name == proto.FoldName(name) {
				e.reached(r, status, "")
			}
		}
		if !slices.ContainsFunc(out.to, func(r *recipient) bool { return !r.over() }) {
			delete(e.letters.kept, id)
		}
		e.letters.news(toldReceipt{id, proto.FoldName(name)}, status)
		return
	}
	e.tellOld(id, record, name, status, time.Time{})
}

// ownOf returns the record of this run that has this id and went as a letter, or nil. Its receipt
// may come before the relay's answer.
func (e *engine) ownOf(id [32]byte) *outRecord {
	if out := e.letters.kept[id]; out != nil {
		return out
	}
	half := hex.EncodeToString(id[:len(id)/2])
	for _, w := range e.letters.ways {
		if w.flight == nil {
			continue
		}
		for _, d := range w.flight.batch {
			if out := d.r.out; out.record.ID == half && crypto.FullRecordID(e.self, out.record) == id {
				return out
			}
		}
	}
	return nil
}

// takeOthersReceipts takes the receipts that another client of this state directory has collected: the
// relay hands a letter to one connection alone.
func (e *engine) takeOthersReceipts() {
	if len(e.letters.kept) == 0 || e.fatal != nil {
		return
	}
	given, _ := e.history.OthersReceipts() // an error has no effect but here, and the next line tells of it
	for _, g := range given {
		name, identity := proto.FoldName(g.By.Name), proto.FormatHash(g.By.Identity)
		for _, entry := range g.Receipts {
			id := [32]byte(entry.ID)
			if out := e.ownOf(id); out != nil && out.record.Names(name, identity) {
				e.reachedByLetter(id, out.record, g.By.Name, history.Status(entry.Level))
			}
		}
	}
}

// tellOld reports a change of a record that an earlier run wrote, once.
func (e *engine) tellOld(id [32]byte, record *crypto.Record, name string, status history.Status, until time.Time) {
	if !e.letters.news(toldReceipt{id, proto.FoldName(name)}, status) {
		return
	}
	if e.cfg.Receipts {
		e.event(Event{Type: EventReceipt, Receipt: &ReceiptChange{ID: record.ID, To: name, Status: status, Until: until}})
	}
}

// news notes how far a record has come, and reports whether that is new.
func (l *letters) news(key toldReceipt, status history.Status) bool {
	if before, told := l.told[key]; told && before.AtLeast(status) {
		return false
	}
	if len(l.told) >= maxKept {
		clear(l.told)
	}
	l.told[key] = status
	return true
}

// remind keeps a record in memory until its receipts by letter have come.
func (e *engine) remind(r *recipient) {
	if len(e.letters.kept) < maxKept {
		e.letters.kept[crypto.FullRecordID(e.self, r.out.record)] = r.out
	}
}
