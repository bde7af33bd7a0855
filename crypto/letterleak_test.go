package crypto

import (
	"bytes"
	"slices"
	"testing"

	"chatsecure/proto"
)

// spyLetters keeps the secrets and plaintexts of letters.
type spyLetters struct {
	spySuite
	plain [][]byte
}

func (s *spyLetters) Seal(dst, mk, aad, plaintext []byte) []byte {
	s.plain = append(s.plain, plaintext)
	return s.spySuite.Seal(dst, mk, aad, plaintext)
}

func (s *spyLetters) Open(dst, mk, aad, sealed []byte) ([]byte, error) {
	plaintext, err := s.spySuite.Open(dst, mk, aad, sealed)
	s.plain = append(s.plain, plaintext)
	return plaintext, err
}

// plainCleared fails for a plaintext that is left, and forgets them.
func (s *spyLetters) plainCleared(t *testing.T, what string) {
	t.Helper()
	if len(s.plain) == 0 {
		t.Errorf("%s: no plaintext", what)
	}
	for _, plaintext := range s.plain {
		if slices.ContainsFunc(plaintext, func(b byte) bool { return b != 0 }) {
			t.Errorf("%s: the plaintext was not cleared", what)
		}
	}
	s.plain = nil
}

// The secrets of a letter do not outlive its sealing or opening, nor the plaintext of one that was
// sealed or refused. A mailbox that is erased drops its key.
func TestLetterSecretsAreCleared(t *testing.T) {
	p := newPost(t, nil)
	real := suites[0]
	spy := &spyLetters{spySuite: spySuite{Suite: real}}
	suites[0] = spy
	defer func() { suites[0] = real }()

	l, err := SealLetter(p.alice.draft(p.bob, p.alice.record("hi", 1)))
	Must(t, err)
	spy.cleared(t, "sealed", 2)
	spy.plainCleared(t, "sealed")
	if !bytes.Contains(l.ExactRecords[0], []byte("hi")) {
		t.Error("the record that the sender keeps was cleared, too")
	}
	long := p.alice.draft(p.bob, p.alice.record(string(make([]byte, proto.MaxLetter)), 1))
	if _, err := SealLetter(long); err == nil {
		t.Error("a long letter was sealed")
	}
	spy.cleared(t, "too long", 2)
	spy.plainCleared(t, "too long")

	opened, err := OpenLetter(p.bob.box, l.Body)
	Must(t, err)
	spy.cleared(t, "opened", 2)
	Must(t, opened.ReadRecords(p.alice.identity))
	spy.plain = nil
	for _, bad := range badLetters {
		body := p.forge(t, bad.kind, func(f *forgery) { bad.change(t, f) })
		spy.seen, spy.plain = nil, nil
		if _, err := OpenLetter(p.bob.box, body); err == nil || len(spy.plain) == 0 {
			continue
		}
		spy.cleared(t, bad.why, 2)
		spy.plainCleared(t, bad.why)
	}

	if len(secrets(p.bob.box)) != 1 {
		t.Error("a mailbox without a secret")
	}
	p.bob.box.Erase()
	if len(secrets(p.bob.box)) != 0 {
		t.Error("an erased mailbox has its secret")
	}
}
