package history

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"time"
)

// Account is how much of the history one person has caused since this user last read them or wrote
// to them: records, each counted once, and bytes of lines. Day is the share of the last day with
// any, in UTC; reading leaves it.
type Account struct {
	Records, DayRecords int
	Bytes, DayBytes     int64

	day int64
}

// cause is the person who makes this client write a line, and the new records in it. The zero cause
// is this user.
type cause struct {
	by      [32]byte
	records int
}

// accounts has the account of each person by identity, and the sizes of bundles in a file that is
// read whose person no conversation has told yet.
type accounts struct {
	of      map[[32]byte]*Account
	bundles map[[sha256.Size]byte]int64
}

func newAccounts() accounts {
	return accounts{of: make(map[[32]byte]*Account), bundles: make(map[[sha256.Size]byte]int64)}
}

func dayOf(ms int64) int64 { return ms / (24 * time.Hour).Milliseconds() }

// charge puts a line down to its cause.
func (a *accounts) charge(from cause, at, bytes int64) {
	if from == (cause{}) {
		return
	}
	of := a.of[from.by]
	if of == nil {
		of = new(Account)
		a.of[from.by] = of
	}
	if day := dayOf(at); of.day != day {
		of.day, of.DayRecords, of.DayBytes = day, 0, 0
	}
	of.Records += from.records
	of.DayRecords += from.records
	of.Bytes += bytes
	of.DayBytes += bytes
}

// read empties the account of a person whose messages the user has read. The day's share stays:
// the user may read people who are not accepted.
func (a *accounts) read(identity [32]byte) {
	if of := a.of[identity]; of != nil {
		of.Records, of.Bytes = 0, 0
	}
}

// answered closes the account. The user writes to accepted people only.
func (a *accounts) answered(identity [32]byte) { delete(a.of, identity) }

// Account returns the account of a person. A one-shot sender's knows the end of its file.
func (h *History) Account(identity [32]byte) Account {
	h.readAccounts()
	if a := h.known.accounts.of[identity]; a != nil {
		return *a
	}
	return Account{}
}

// readAccounts reads what people have caused in the file of a one-shot sender, whose start must be
// quick: no account of somebody who is accepted is asked for, and others have none in this run yet.
func (h *History) readAccounts() {
	if h.unread == nil {
		return
	}
	before := newIndex()
	for line := range bytes.SplitSeq(h.unread, []byte("\n")) {
		before.line(h.slot, line, 0)
	}
	h.unread = nil
	maps.Copy(before.accounts.of, h.known.accounts.of)
	h.known.accounts.of = before.accounts.of
}

// Today adds up the lines that people have caused today. counts selects the people.
func (h *History) Today(counts func(identity [32]byte) bool) (sum Account) {
	h.readAccounts()
	today := dayOf(h.now().UnixMilli())
	for identity, a := range h.known.accounts.of {
		if a.day == today && counts(identity) {
			sum.DayRecords += a.DayRecords
			sum.DayBytes += a.DayBytes
		}
	}
	return sum
}
