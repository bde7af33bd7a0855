package history

import (
	"errors"
	"slices"
	"testing"
	"time"

	"chatsecure/proto"
)

// types lists the types of lines.
func types(all []*Line) (types []string) {
	for _, l := range all {
		types = append(types, l.Type)
	}
	return types
}

// TestHeads: a head follows the beginning and the end of a conversation, the end of a run, and the first
// line after ten minutes without one, and nothing else. chained checks their signatures.
func TestHeads(t *testing.T) {
	p := newPair(t)
	p.close(p.a)
	p.close(p.b)
	u := &user{User: p.A, dir: t.TempDir()}
	p.reopen(u)
	step := func(what string, f func(h *History) error, want ...string) {
		t.Helper()
		before := len(chained(t, u.dir))
		p.Must(f(u.h))
		if got := types(chained(t, u.dir)[before:]); !slices.Equal(got, want) {
			t.Errorf("%s writes %q, want %q", what, got, want)
		}
	}
	failed := func(h *History) error { return h.Failed("id", "bob", "reason") }
	step("a line", failed, lineFailed)
	p.Clock.Add(headEvery - time.Second)
	step("a line before ten minutes are over", failed, lineFailed)
	p.Clock.Add(time.Second)
	step("a line after ten minutes", failed, lineFailed, lineBundle, lineHead)
	step("a line after that", failed, lineFailed)
	ca, _ := p.Shake(p.A, p.B)
	begin := func(h *History) error { return h.Begin(ca, p.A.Local.Bundle) }
	step("a conversation", begin, lineBundle, lineConversation, lineHead)
	p.Clock.Add(headEvery - time.Second)
	step("a line after a conversation", failed, lineFailed)
	step("a gap", func(h *History) error { return h.Gap(ca.T3, ca.SendDirection(), "because") }, lineGap, lineHead)
	step("a probe", (*History).Probe)
	step("the end", (*History).Close, lineRun, lineHead)

	p.reopen(u)
	step("the end of a run without a line", (*History).Close)
	p.reopen(u)
	step("a line of a new run", failed, lineFailed)
	u.h.Holds = func(at time.Time) bool {
		if !at.Equal(p.Clock.Now()) {
			t.Errorf("it is asked for %v", at)
		}
		return false
	}
	step("the end under a card that does not hold", (*History).Close, lineRun)
	if r := verified(t, u.dir, p.Verifier); !r.OK() {
		t.Error(r.Findings)
	}
}

// TestHeadsOfARenewedKey: after a renewal the new K signs, with its bundle before that. The old one is
// not used any more, and after Close neither is.
func TestHeadsOfARenewedKey(t *testing.T) {
	p := newPair(t)
	p.close(p.a)
	p.reopen(p.a)
	second := *p.A.Local
	holder, err := p.PKI.Issue("Ana")
	p.Must(err)
	renewed := p.Delegate(holder, "Ana", "conn-a2")
	second.Key, second.Bundle = renewed.Local.Key, renewed.Local.Bundle
	p.a.h.SignAs(second.Bundle, second.Key)
	p.A.Local.Key.Erase()
	p.Must(errors.Join(p.a.h.Failed("id", "bob", "reason"), p.a.h.Close()))
	h := p.a.h
	p.a.h = nil
	all := chained(t, p.a.dir)
	last := all[len(all)-1]
	if hash := second.Bundle.Hash(); last.Type != lineHead || proto.FormatHash([32]byte(last.Hash)) != proto.FormatHash(hash) {
		t.Errorf("the last line is a %s of %x", last.Type, last.Hash)
	}
	if h.cfg.Key != nil || h.cfg.Bundle != nil {
		t.Error("the key is kept")
	}
}
