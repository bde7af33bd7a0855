package client

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"chatsecure/crypto"
	"chatsecure/internal/history"
)

// check compares a world with the acts of its players.
func (s *search) check(w *world) {
	evil := &scheduledFacts{secrets: map[string][32]byte{}}
	_, hers := s.known(w)
	for _, p := range hers {
		maps.Copy(evil.secrets, p.facts.secrets)
		evil.shown = append(evil.shown, p.facts.shown...)
	}
	for who := range w.players {
		if err := s.wrong(w, who, evil); err != nil {
			s.t.Fatalf("%s: %v%s", s.cast.ends[who].Name, err, s.story(w))
		}
	}
}

// wrong returns the first violation at a client, or nil.
func (s *search) wrong(w *world, who int, evil *scheduledFacts) error {
	for _, err := range [...]error{s.checkWho(w, who), s.checkTexts(w, who), s.checkReceipts(w, who, evil), s.checkSecrets(w, who, evil)} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *search) identity(who int) [32]byte { return s.cast.users[who].Local.Identity }

func (s *search) whose(identity [32]byte) (who int, ok bool) {
	for who := range s.cast.users {
		if s.identity(who) == identity {
			return who, true
		}
	}
	return 0, false
}

// checkWho: a person shown as authenticated is the right one, has the same
// conversation with this client and nobody else, under the same names and
// connections, and took part in its handshake. A name is one person's for the
// life of a client. No conversation begins twice, and no line begins two.
func (s *search) checkWho(w *world, who int) error {
	seen, used := map[[32]byte]bool{}, map[string]bool{}
	named := map[string][32]byte{}
	for _, c := range w.players[who].facts.convs {
		peer, ok := s.whose(c.identity)
		switch {
		case !ok || peer == who:
			return fmt.Errorf("%s is shown as one who is not in this", c.name)
		case seen[c.t3] || used[string(c.on.body)]:
			return fmt.Errorf("the conversation with %s has begun twice", c.name)
		case c.name != c.peer.Name || c.me != s.cast.ends[who]:
			return fmt.Errorf("%s is shown in a conversation of %v with %v", c.name, c.me, c.peer)
		case c.name != s.cast.ends[peer].Name && !(s.sc.strangers && peer == mallory):
			return fmt.Errorf("%s is shown as %s", s.cast.ends[peer].Name, c.name)
		}
		if before, ok := named[c.name]; ok && before != c.identity {
			return fmt.Errorf("two persons are shown as %s, one after the other", c.name)
		}
		seen[c.t3], used[string(c.on.body)], named[c.name] = true, true, c.identity
		if peer == mallory {
			continue
		}
		if c.peer != s.cast.ends[peer] {
			return fmt.Errorf("%s is shown on another connection: %v", c.name, c.peer)
		}
		theirs := w.players[peer].facts.convs
		i := slices.IndexFunc(theirs, func(t shownConv) bool { return t.t3 == c.t3 })
		switch {
		case i >= 0:
			t := theirs[i]
			if t.identity != s.identity(who) || t.me != c.peer || t.peer != c.me || t.initiated == c.initiated {
				return fmt.Errorf("the two ends of a conversation do not agree: %+v and %+v", c, t)
			}
		case !c.initiated:
			return fmt.Errorf("%s, who is shown, has no such conversation", c.name)
		case !s.saidTo(w, peer, c.on.body, c.me):
			return fmt.Errorf("%s, who is shown, never answered", c.name)
		}
	}
	return nil
}

// saidTo tells whether a client sent these very bytes to an end.
func (s *search) saidTo(w *world, who int, body []byte, to crypto.End) bool {
	for at := w.players[who]; at != nil; at = at.parent {
		for _, l := range at.sent {
			if l.to == to && bytes.Equal(l.body, body) {
				return true
			}
		}
	}
	return false
}

// checkTexts: every shown text was sent by that identity to this one in this
// conversation, at most once, in order and without a gap.
func (s *search) checkTexts(w *world, who int) error {
	me := s.cast.ends[who].Name
	ids := map[string]bool{}
	from := map[int]int{}
	for _, m := range w.players[who].facts.shown {
		sender, ok := s.whose(m.identity)
		if !ok || ids[m.id] {
			return fmt.Errorf("%q of %s is shown twice, or of nobody: %x", m.text, m.name, m.identity)
		}
		ids[m.id] = true
		if !slices.Contains(m.to, me) {
			return fmt.Errorf("%q of %s is shown, which is for %v", m.text, m.name, m.to)
		}
		shownAs := func(c shownConv) bool { return c.t3 == m.t3 && c.identity == m.identity && c.name == m.name }
		if !slices.ContainsFunc(w.players[who].facts.convs, shownAs) {
			return fmt.Errorf("%q is shown as of %s, who did not have that conversation", m.text, m.name)
		}
		if sender == mallory {
			if m.text != malloryText {
				return fmt.Errorf("mallory's %q is another's", m.text)
			}
			continue
		}
		wrote := slices.DeleteFunc(slices.Clone(w.players[sender].facts.wrote), func(t writtenText) bool { return t.to != me })
		i := from[sender]
		from[sender]++
		if i >= len(wrote) || wrote[i].id != m.id || wrote[i].text != m.text {
			return fmt.Errorf("the %d. text that is shown of %s is %q, and it wrote %v", i+1, m.name, m.text, wrote)
		}
		if !bytes.Equal(crypto.PeekConversation(m.on.body), m.t3[:]) || !s.saidTo(w, sender, m.on.body, s.cast.ends[who]) {
			return fmt.Errorf("%q of %s is shown on what it did not send in this conversation", m.text, m.name)
		}
	}
	return nil
}

// checkReceipts: a text with the status DELIVERED or READ has been shown by its
// recipient.
func (s *search) checkReceipts(w *world, who int, evil *scheduledFacts) error {
	for at, status := range w.players[who].facts.status {
		if !status.AtLeast(history.StatusDelivered) {
			continue
		}
		has := func(f *scheduledFacts) bool {
			return slices.ContainsFunc(f.shown, func(m shownText) bool { return m.id == at[0] })
		}
		// A stranger may have believed Mallory's claim of a name.
		reader, hers := s.cast.byName(at[1]), s.sc.strangers
		if reader == mallory {
			hers = true
		} else if has(w.players[reader].facts) {
			continue
		}
		if !hers || !has(evil) {
			return fmt.Errorf("a text to %s is %s, and was never shown there", at[1], status)
		}
	}
	return nil
}

// checkSecrets: Mallory has no key of a conversation between the two, and has
// opened only texts to her. Whether keys or texts go out in clear is checked
// where lines are made.
func (s *search) checkSecrets(w *world, who int, evil *scheduledFacts) error {
	f := w.players[who].facts
	for secret, peer := range f.secrets {
		if _, has := evil.secrets[secret]; has && peer != s.identity(mallory) {
			return fmt.Errorf("mallory holds a key of a conversation that is not with her: %s", hex.EncodeToString([]byte(secret)))
		}
	}
	for _, m := range evil.shown {
		for _, t := range f.wrote {
			hers := func(c shownConv) bool { return c.name == t.to && c.identity == s.identity(mallory) }
			deceived := s.sc.strangers && slices.ContainsFunc(f.convs, hers)
			if t.id == m.id && t.to != s.cast.ends[mallory].Name && !deceived {
				return fmt.Errorf("mallory has opened %q, which is for %s", t.text, t.to)
			}
		}
	}
	return nil
}
