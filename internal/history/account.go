package history

import (
	"cmp"
	"slices"
	"time"

	"chatsecure/proto"
)

// Account is how much of the history one person has caused since this user last read them or wrote
// to them: records, each counted once, and bytes of lines. Day is the share of the last day with
// any, in UTC; reading leaves it.
type Account struct {
	Records, DayRecords int
	Bytes, DayBytes     int64

	day int64
}

// cause is the person who makes a client write a line, and the new records in it. The zero cause
// is this user.
type cause struct {
	by      [32]byte
	records int
	more    int // bytes of lines that follow
}

// accounts has the account of each person by identity.
type accounts struct{ of map[[32]byte]*Account }

func newAccounts() accounts { return accounts{of: make(map[[32]byte]*Account)} }

func dayOf(ms int64) int64 { return ms / (24 * time.Hour).Milliseconds() }

// charge puts a line down to its cause.
func (a *accounts) charge(from cause, at, bytes int64) {
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

// accountState is an account in the index.
type accountState struct {
	Identity   string `json:"identity"`
	Records    int    `json:"records"`
	Bytes      int64  `json:"bytes"`
	Day        int64  `json:"day"`
	DayRecords int    `json:"day_records"`
	DayBytes   int64  `json:"day_bytes"`
}

// all returns the accounts for the index.
func (a *accounts) all() []accountState {
	all := []accountState{}
	for identity, of := range a.of {
		all = append(all, accountState{
			proto.FormatHash(identity), of.Records, of.Bytes, of.day, of.DayRecords, of.DayBytes,
		})
	}
	slices.SortFunc(all, func(a, b accountState) int { return cmp.Compare(a.Identity, b.Identity) })
	return all
}

// restore takes accounts out of the index, whose form has been checked.
func (a *accounts) restore(all []accountState) {
	for _, s := range all {
		a.of[proto.MustHash(s.Identity)] = &Account{
			s.Records, s.DayRecords, s.Bytes, s.DayBytes, s.Day,
		}
	}
}

// Account returns the account of a person. A one-shot sender's is empty.
func (h *History) Account(identity [32]byte) Account {
	if a := h.known.accounts.of[identity]; a != nil {
		return *a
	}
	return Account{}
}

// Today adds up the lines that people have caused today. counts selects the people.
func (h *History) Today(counts func(identity [32]byte) bool) (sum Account) {
	today := dayOf(h.now().UnixMilli())
	for identity, a := range h.known.accounts.of {
		if a.day == today && counts(identity) {
			sum.DayRecords += a.DayRecords
			sum.DayBytes += a.DayBytes
		}
	}
	return sum
}
