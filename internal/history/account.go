package history

import (
	"crypto/sha256"
	"time"
)

// Account is how much of the history one person has caused: records, each counted once, and
// bytes of lines. Day is the share of the last day with any, in UTC.
type Account struct {
	Records, DayRecords int
	Bytes, DayBytes     int64

	day int64
}

// accounts has the account of each person by identity, and the sizes of bundles whose person no
// conversation has told yet.
type accounts struct {
	of      map[[32]byte]*Account
	bundles map[[sha256.Size]byte]int64
}

func newAccounts() accounts {
	return accounts{of: make(map[[32]byte]*Account), bundles: make(map[[sha256.Size]byte]int64)}
}

func dayOf(ms int64) int64 { return ms / (24 * time.Hour).Milliseconds() }

// charge puts records, and the bytes of their line, down to a person.
func (a *accounts) charge(identity [32]byte, at int64, records int, bytes int64) {
	of := a.of[identity]
	if of == nil {
		of = new(Account)
		a.of[identity] = of
	}
	if day := dayOf(at); of.day != day {
		of.day, of.DayRecords, of.DayBytes = day, 0, 0
	}
	of.Records += records
	of.DayRecords += records
	of.Bytes += bytes
	of.DayBytes += bytes
}

// began puts the line of a conversation down to the peer, with that of a bundle that is new.
func (a *accounts) began(peer *End, at, bytes int64) {
	hash := [sha256.Size]byte(peer.Bundle)
	a.charge(peer.identity(), at, 0, bytes+a.bundles[hash])
	delete(a.bundles, hash)
}

// Account returns the account of a person, as far as the history knows: a one-shot sender's does not.
func (h *History) Account(identity [32]byte) Account {
	if h.known == nil || h.known.accounts.of[identity] == nil {
		return Account{}
	}
	return *h.known.accounts.of[identity]
}

// Today adds up what those people have caused today for whom counts says so.
func (h *History) Today(counts func(identity [32]byte) bool) (sum Account) {
	if h.known == nil {
		return sum
	}
	today := dayOf(h.now().UnixMilli())
	for identity, a := range h.known.accounts.of {
		if a.day == today && counts(identity) {
			sum.DayRecords += a.DayRecords
			sum.DayBytes += a.DayBytes
		}
	}
	return sum
}
