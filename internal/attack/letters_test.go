package attack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// letterRelay is the part of an evil relay that keeps letters. It is honest until a test has it lie.
type letterRelay struct {
	*wire.EvilRelay
	town *localTown
	now  func() time.Time

	// Guarded by Do.
	boxes   map[string][]crypto.LetterBox // by folded name, the newest first
	letters []*keptLetter                 // in the order of their coming
	answers map[string][]string           // to the letters that were handed out, by the receiver's name

	told func(name string, boxes []crypto.LetterBox) []crypto.LetterBox           // the answer to letter-to
	keep func(l *keptLetter) (until time.Time, kept bool)                         // whether it is kept, and for how long
	hand func(to *wire.EvilConn, waiting []*keptLetter) []*keptLetter             // the letters for a new connection
	end  func(to *wire.EvilConn, mailbox []byte, now time.Time) (time.Time, bool) // of a mailbox, and whether it is told
}

// keptLetter is a letter at the relay.
type keptLetter struct {
	kind, identity string
	left           time.Time
	mailbox, id    [32]byte
	body           []byte
	done           bool
}

// as is the letter with something changed.
func (k *keptLetter) as(change func(*keptLetter)) *keptLetter {
	other := *k
	change(&other)
	return &other
}

// letterTown is a town with an evil relay that keeps letters.
func letterTown(t testing.TB, names ...string) (*localTown, *letterRelay) {
	t.Helper()
	town, relay := evilTown(t, names...)
	r := &letterRelay{EvilRelay: relay, town: town, now: time.Now, boxes: map[string][]crypto.LetterBox{}, answers: map[string][]string{}}
	relay.Do(func() { relay.CameIn, relay.Letters = r.cameIn, r.take })
	return town, r
}

// cameIn hands out what waits for a connection. mu is held, as for all below.
func (r *letterRelay) cameIn(c *wire.EvilConn) {
	h := &c.Hello
	if len(h.Mailbox) > 0 && h.Takes == proto.TakesMessages {
		name := proto.FoldName(h.Name)
		others := slices.DeleteFunc(r.boxes[name], func(b crypto.LetterBox) bool {
			return slices.ContainsFunc(h.Collects, func(m []byte) bool { return bytes.Equal(b.Bundle.Mailbox, m) })
		})
		r.boxes[name] = slices.Insert(others, 0, crypto.LetterBox{Key: h.Mailbox, Bundle: h.Bundle})
	}
	waiting := r.waiting(c, r.letters)
	if r.hand != nil {
		waiting = r.hand(c, waiting)
	}
	for _, k := range waiting {
		r.give(c, k)
	}
	for _, mailbox := range h.Collects {
		at, told := r.now(), true
		if r.end != nil {
			at, told = r.end(c, mailbox, at)
		}
		if told {
			r.sayEnd(c, mailbox, at)
		}
	}
}

func (r *letterRelay) sayEnd(c *wire.EvilConn, mailbox []byte, at time.Time) {
	r.Write(c, &proto.Header{Type: proto.TypeLetterEnd, Mailbox: proto.FormatHash([32]byte(mailbox)), Left: at.UnixMilli()}, nil)
}

// waiting returns those of some letters that a connection collects.
func (r *letterRelay) waiting(c *wire.EvilConn, some []*keptLetter) []*keptLetter {
	return slices.DeleteFunc(slices.Clone(some), func(k *keptLetter) bool {
		listed := slices.ContainsFunc(c.Hello.Collects, func(m []byte) bool { return bytes.Equal(m, k.mailbox[:]) })
		return k.done || !listed || k.kind == proto.LetterText && c.Hello.Takes != proto.TakesMessages
	})
}

func (r *letterRelay) give(c *wire.EvilConn, k *keptLetter) {
	r.Write(c, &proto.Header{Type: proto.TypeLetter, Kind: k.kind, Identity: k.identity, Left: k.left.UnixMilli()}, k.body)
}

// take takes a line about letters.
func (r *letterRelay) take(l wire.EvilLine) {
	h := &l.Header
	switch h.Type {
	case proto.TypeLetterTo:
		boxes := append([]crypto.LetterBox{}, r.boxes[proto.FoldName(h.Name)]...)
		if r.told != nil {
			boxes = r.told(h.Name, boxes)
		}
		r.Write(l.From, &proto.Header{Type: h.Type, Answers: &l.Seq, Done: "ok"}, proto.MustMarshal(boxes))
	case proto.TypeLetter:
		r.takeLetter(l)
	case proto.TypeLetterAck:
		r.answers[l.From.Hello.Name] = append(r.answers[l.From.Hello.Name], h.Done)
		for _, k := range r.letters {
			if h.Done != proto.Later && proto.FormatHash(k.id) == h.Letter {
				k.done = true
			}
		}
	}
}

func (r *letterRelay) takeLetter(l wire.EvilLine) {
	outside, _, _, err := crypto.SplitLetter(l.Body)
	if err != nil {
		r.T.Error(err)
		return
	}
	sender, err := r.town.verifierBy(trust.PolicyOff, r.now).Verify(l.From.Hello.Bundle, l.From.Hello.Name)
	if err != nil {
		r.T.Error(err)
		return
	}
	k := &keptLetter{
		kind: l.Header.Kind, identity: proto.FormatHash(sender.Identity), left: r.now(),
		mailbox: [32]byte(outside.Mailbox), id: [32]byte(outside.Letter), body: l.Body,
	}
	until, kept := k.left.Add(6*24*time.Hour), true
	if r.keep != nil {
		until, kept = r.keep(k)
	}
	if kept {
		r.letters = append(r.letters, k)
		for _, c := range r.Conns {
			for _, k := range r.waiting(c, []*keptLetter{k}) {
				r.give(c, k)
			}
		}
	}
	r.Write(l.From, &proto.Header{Type: proto.TypeLetter, Answers: &l.Seq, Done: proto.Kept, Until: until.UnixMilli()}, nil)
}

// texts returns the letters with texts that have come, in order.
func (r *letterRelay) texts() (texts []*keptLetter) {
	r.Do(func() {
		for _, k := range r.letters {
			if k.kind == proto.LetterText {
				texts = append(texts, k)
			}
		}
	})
	return texts
}

// answered waits until somebody has answered so many letters since the last lie, and checks how.
func (r *letterRelay) answered(name string, want ...string) {
	r.T.Helper()
	var got []string
	wire.Until(r.T, fmt.Sprintf("%d answers of %s's", len(want), name), func() bool {
		r.Do(func() { got = slices.Clone(r.answers[name]) })
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		r.T.Errorf("%s answered the letters by %q, want %q", name, got, want)
	}
}

// lie changes what the relay does, and forgets the answers so far.
func (r *letterRelay) lie(change func()) {
	r.Do(func() {
		clear(r.answers)
		change()
	})
}

// handsOut has the relay hand out other letters than those that wait, to each new connection of a
// person's.
func (r *letterRelay) handsOut(name string, letters func(waiting []*keptLetter) []*keptLetter) {
	r.lie(func() {
		r.hand = func(to *wire.EvilConn, waiting []*keptLetter) []*keptLetter {
			if to.Hello.Name != name {
				return waiting
			}
			return letters(waiting)
		}
	})
}

// isHonest has the relay hand out what waits.
func (r *letterRelay) isHonest() {
	r.lie(func() { r.hand, r.told, r.keep, r.end = nil, nil, nil, nil })
}

// byLetter has a client name a mailbox in its state directory.
func (town *localTown) byLetter(name string) clientOption {
	return func(cfg *client.Config) { cfg.Credential = town.withMailbox(name, cfg.State) }
}

// byLetterAt does so by a clock, and asks for no revocation list.
func (town *localTown) byLetterAt(name string, clock *testClock) clientOption {
	return func(cfg *client.Config) {
		town.by(name, clock)(cfg)
		cfg.Credential = town.credentialOf(name, client.Delegation{
			Name: name, Key: people.Key(town.t, trust.KeyEd25519), Lifetime: 8 * time.Hour, Mail: cfg.State.Dir(), Now: clock.Now(),
		})
	}
}

// wasHere makes a mailbox of name's, whose client comes and goes.
func (town *localTown) wasHere(name string) {
	town.t.Helper()
	town.client(name, town.byLetter(name)).leave()
}

// leaveLetters sends each text as a letter of its own.
func (tc *testClient) leaveLetters(to string, texts ...string) (ids []string) {
	tc.t.Helper()
	for _, text := range texts {
		id := tc.mustSend(text, to)
		tc.awaitStatus(id, to, history.StatusKept)
		ids = append(ids, id)
	}
	return ids
}

// errors counts the errors with these words that a client has told.
func (tc *testClient) errors(words string) (n int) {
	for _, ev := range tc.seen() {
		if ev.Err != nil && bytes.Contains([]byte(ev.Err.Error()), []byte(words)) {
			n++
		}
	}
	return n
}

// saw checks the texts that a client has shown, and its gaps.
func (tc *testClient) saw(texts []string, gaps ...string) {
	tc.t.Helper()
	if got := tc.texts(); !slices.Equal(got, texts) {
		tc.t.Errorf("%s saw %q, want %q", tc.Name(), got, texts)
	}
	if got := tc.gaps(); !slices.Equal(got, gaps) {
		tc.t.Errorf("%s is told of the gaps %q, want %q", tc.Name(), got, gaps)
	}
}

// holder is somebody's card.
func (town *localTown) holder(name string) *lab.Holder {
	for _, h := range town.pki.Holders() {
		if h.Name == name {
			return h
		}
	}
	town.t.Fatalf("nobody has the card %s", name)
	return nil
}

// emptied counts the times that a client has noted the end of its mailbox's letters.
func (tc *testClient) emptied() (n int) {
	tc.t.Helper()
	logs, err := filepath.Glob(filepath.Join(tc.state.Dir(), "mailbox", "*.log"))
	if err != nil || len(logs) != 1 {
		tc.t.Fatalf("the logs %q: %v", logs, err)
	}
	log, err := os.ReadFile(logs[0])
	if err != nil {
		tc.t.Fatal(err)
	}
	return bytes.Count(log, []byte(`"empty"`))
}

func (tc *testClient) awaitEmptied(n int) {
	tc.t.Helper()
	wire.Until(tc.t, "the note that the mailbox was empty", func() bool { return tc.emptied() >= n })
}

// inHistoryTexts returns the messages that somebody has received, by text.
func (town *localTown) inHistoryTexts(name string) map[string]*history.Message {
	town.t.Helper()
	listing, err := history.Read(filepath.Join(town.dir, "state-"+name, "history"), history.Query{})
	if err != nil {
		town.t.Fatal(err)
	}
	texts := map[string]*history.Message{}
	for _, m := range listing.Messages {
		if !m.Outgoing {
			texts[m.Text] = m
		}
	}
	return texts
}
