package history

import (
	"errors"
	"slices"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// personCache remembers the answers of VerifyAt for stretches of time. Validity and
// revocation change once, so an answer that is the same at both ends of a stretch is
// the same in it.
type personCache struct {
	verifier *trust.Verifier
	known    map[[32]byte]*personTimes // by bundle hash
	notes    []string
	unlisted bool // somebody was refused for lack of a revocation list
}

// personTimes is the answers for one bundle. The times are Unix milliseconds.
type personTimes struct {
	identity         string
	goodFrom, goodTo int64
	badFrom, badTo   int64
	why              error // in the bad stretch
}

func newPersonCache(v *trust.Verifier) *personCache {
	return &personCache{verifier: v, known: make(map[[32]byte]*personTimes)}
}

// check checks the person behind a party at a time in Unix milliseconds, and that the
// conversation's line names the same identity.
func (p *personCache) check(e *verifyEnd, at int64) error {
	t := p.known[e.hash]
	if t == nil {
		t = &personTimes{goodFrom: 1, badFrom: 1} // both stretches are empty
		p.known[e.hash] = t
	}
	if at < t.goodFrom || at > t.goodTo {
		if at >= t.badFrom && at <= t.badTo {
			return t.why
		}
		if err := p.look(e, t, at); err != nil {
			return err
		}
	}
	if t.identity != e.Identity {
		return errors.New("the identity of " + proto.Visible(e.Name) + " is another than the history says")
	}
	return nil
}

// look asks the verifier, and then for how long its answer stays the same.
func (p *personCache) look(e *verifyEnd, t *personTimes, at int64) error {
	person, err := p.at(e, at)
	if err != nil {
		p.unlisted = p.unlisted || fail.HasCode(err, proto.RevocationUnknown)
		t.badFrom, t.badTo, t.why = at, at, err
		p.reach(e, at, func(to int64) bool {
			_, err2 := p.at(e, to)
			if err2 == nil || err2.Error() != err.Error() {
				return false
			}
			t.badTo = to
			return true
		})
		return err
	}
	if t.goodTo == 0 {
		t.goodFrom, t.goodTo, t.identity = at, at, proto.FormatHash(person.Identity)
		p.remark(e, person)
	}
	t.goodFrom, t.goodTo = min(t.goodFrom, at), max(t.goodTo, at)
	p.reach(e, at, func(to int64) bool {
		if _, err := p.at(e, to); err != nil {
			return false
		}
		t.goodTo = max(t.goodTo, to)
		return true
	})
	return nil
}

// reach tries ever shorter stretches after at until one holds. The first is the rest
// of the delegation.
func (p *personCache) reach(e *verifyEnd, at int64, holds func(to int64) bool) {
	end := e.bundle.NotAfter * 1000
	for _, stretch := range [...]time.Duration{trust.MaxDelegation, time.Hour, time.Minute, time.Second} {
		if to := min(at+stretch.Milliseconds(), end); to > at && holds(to) {
			return
		}
	}
}

func (p *personCache) at(e *verifyEnd, at int64) (*trust.Person, error) {
	return p.verifier.VerifyAt(e.bundle, e.Name, time.UnixMilli(at))
}

// remark adds the note on a person, once.
func (p *personCache) remark(e *verifyEnd, person *trust.Person) {
	if note := personNote(e.Name, person); note != "" && !slices.Contains(p.notes, note) {
		p.notes = append(p.notes, note)
	}
}

// personNote says that an identity which held then is invalid now, or that its
// revocation is unknown. It is "" for any other.
func personNote(name string, person *trust.Person) string {
	switch {
	case person.Now != nil:
		return proto.Visible(name) + ": valid then, not now: " + person.Now.Error()
	case person.Revocation.Status == trust.RevocationUnknown:
		return proto.Visible(name) + ": " + person.Revocation.Reason
	}
	return ""
}
