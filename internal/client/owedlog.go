package client

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"chatsecure/internal/state"
	"chatsecure/proto"
)

// The log `owed` of the mailbox directory tells of the letters that have come, until the relay has
// the receipts for all they brought. A letter stands there before the relay erases it, so the next
// client owes what a killed one has not said. No line waits for the disk: what a power cut takes
// is a receipt.

const (
	owedLog = "owed"
	// maxOwed bounds the letters that the log is shortened to, the latest: their lines take half of
	// maxLog.
	maxOwed = 3000
)

// The lines of a letter, in their order.
const (
	owedLetterLine = "letter"    // it is stored, and answered by nothing
	owedSaidLine   = "delivered" // the relay has DELIVERED of each of its records
	owedDoneLine   = "done"      // and READ; or nobody waits for it any more
)

func owedLine(what string, letter [32]byte) string {
	return fmt.Sprintf("{\"%s\":\"%x\"}\n", what, letter)
}

// owed is a letter in the log.
type owed struct {
	letter [32]byte
	said   bool // DELIVERED
}

// noteOwed appends lines.
func (m *mail) noteOwed(lines ...string) error {
	if len(lines) == 0 {
		return nil
	}
	return m.locked(func() error {
		return m.appendTo(filepath.Join(m.dir, owedLog), strings.Join(lines, ""), shortOwed, false)
	})
}

// owed returns the letters that are owed receipts, the oldest first, and forgets the others.
func (m *mail) owed() (open []owed, err error) {
	err = m.locked(func() error {
		path := filepath.Join(m.dir, owedLog)
		log, err := readLog(path)
		if err != nil {
			return err
		}
		short := shortOwed(log)
		if open = openOwed(short); len(short) < len(log) {
			return state.ReplaceFile(path, short)
		}
		return nil
	})
	return open, err
}

// openOwed returns the letters of a log that are owed receipts. An unfinished line does not count.
func openOwed(log []byte) (open []owed) {
	at := map[[32]byte]int{} // in all
	var all []owed
	for line := range bytes.Lines(log) {
		what, rest, ok := strings.Cut(strings.TrimPrefix(string(line), `{"`), `":"`)
		hash, isLine := strings.CutSuffix(rest, "\"}\n")
		if !ok || !isLine || !proto.IsHex(hash, 32) {
			continue
		}
		letter := proto.MustHash(hash)
		i, known := at[letter]
		switch {
		case what == owedLetterLine && !known: // one that comes again is answered again
			at[letter] = len(all)
			all = append(all, owed{letter: letter})
		case what == owedLetterLine:
			all[i].said = false
		case what == owedSaidLine && known:
			all[i].said = true
		case what == owedDoneLine:
			delete(at, letter)
		}
	}
	for i, o := range all {
		if j, is := at[o.letter]; is && i == j {
			open = append(open, o)
		}
	}
	return open
}

// shortOwed returns a log of the letters alone that are owed receipts, the latest.
func shortOwed(log []byte) (short []byte) {
	open := openOwed(log)
	for _, o := range open[max(0, len(open)-maxOwed):] {
		short = append(short, owedLine(owedLetterLine, o.letter)...)
		if o.said {
			short = append(short, owedLine(owedSaidLine, o.letter)...)
		}
	}
	return short
}
