package client

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// office is a relay that has boxes and passes nothing on. A test may have it lie.
type office struct {
	t      *testing.T
	pair   *wire.Pair
	mu     sync.Mutex
	boxes  map[string][]crypto.LetterBox // by folded name, newest first
	kept   []*keptLetter
	here   []*visitor
	asked  int      // letter-to
	sender [32]byte // whose letters texts reads

	// answer, if it is set, decides about a letter: nil keeps it.
	answer func(kind string, body []byte) *proto.Error
	silent bool                              // letters are kept, and nobody is told
	change func(k *keptLetter) []*keptLetter // what is handed out instead
	noEnd  bool
}

type keptLetter struct {
	kind, identity string
	to             string // the identity that it is for
	mailbox, id    [32]byte
	left           time.Time
	body           []byte
	acks           []string
}

// visitor is a client at the office.
type visitor struct {
	*Client
	o      *office
	e      *engine
	user   *wire.User
	holder *lab.Holder
	dir    string
	sess   *Session
	n      uint64
	events []Event
}

func newOffice(t *testing.T) *office {
	return &office{t: t, pair: wire.EmptyPair(t, people.Lab(t)), boxes: map[string][]crypto.LetterBox{}}
}

// comer has a card and a state directory, and is not there.
func (o *office) comer(name string) *visitor {
	o.t.Helper()
	holder, err := o.pair.PKI.Issue(name)
	if err != nil {
		o.t.Fatal(err)
	}
	v := &visitor{o: o, holder: holder, dir: o.t.TempDir()}
	v.delegate(name)
	return v
}

// delegate has the card name the newest mailbox.
func (v *visitor) delegate(name string) {
	v.o.t.Helper()
	v.user = v.o.pair.Delegate(v.holder, name, "00000000000000"+name[:1]+"0")
	m, now := openMail(v.dir), v.o.pair.Clock.Now()
	newest, err := m.newest(now)
	if err != nil {
		v.o.t.Fatal(err)
	}
	box, err := m.box(newest.Hash)
	if err != nil {
		v.o.t.Fatal(err)
	}
	b := v.user.Local.Bundle
	people.NameMailbox(v.o.t, v.holder, b, box.Hash, time.Unix(b.NotBefore, 0).Add(13*24*time.Hour))
	if err := m.named(box.Hash, b.Hash()); err != nil {
		v.o.t.Fatal(err)
	}
	v.o.mu.Lock()
	defer v.o.mu.Unlock()
	folded := v.user.Local.FoldedName
	v.o.boxes[folded] = slices.Insert(slices.DeleteFunc(v.o.boxes[folded], func(b crypto.LetterBox) bool {
		return slices.Equal(b.Bundle.Mailbox, box.Hash[:])
	}), 0, crypto.LetterBox{Key: box.Key.Public(), Bundle: b})
}

// come makes a client, as Dial does.
func (v *visitor) come(change func(*Config)) *visitor {
	v.o.t.Helper()
	o, u := v.o, v.user
	known, err := state.Open(v.dir, u.End.Name)
	if err != nil {
		o.t.Fatal(err)
	}
	cfg := &Config{
		Name: u.End.Name, Takes: proto.TakesMessages, State: known, Verifier: o.pair.Verifier, AcceptNew: true,
		Credential: &state.Credential{Key: u.Local.Key, Bundle: u.Local.Bundle}, Ciphers: []string{crypto.SuiteMLKEM},
		Timeout: 30 * time.Second, Now: o.pair.Clock.Now, Receipts: true,
	}
	if change != nil {
		change(cfg)
	}
	cfg.setDefaults()
	e := newEngine(cfg, newEventQueue(), u.Local.Identity)
	waiting := e.claimLetters()
	e.history, _, err = history.Open(history.Config{
		Dir: known.HistoryDir(), Receiving: cfg.Takes == proto.TakesMessages, Now: cfg.Now, Through: cfg.Through,
		Owner:  history.Owner{Name: cfg.Name, Identity: e.self},
		Bundle: cfg.Credential.Bundle, Key: cfg.Credential.Key, Waiting: waiting.has,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	if err := e.history.OwnBundle(cfg.Credential.Bundle); err != nil {
		o.t.Fatal(err)
	}
	e.history.Admit, e.history.Holds, e.local.Letter = e.admit, e.holds, e.lastLetter
	w := &visitor{o: o, e: e, user: u, holder: v.holder, dir: v.dir}
	w.Client = &Client{cfg: *cfg, events: e.events, engine: e}
	w.enter()
	if cfg.Takes == proto.TakesMessages {
		e.showStored()
	}
	go e.run()
	o.t.Cleanup(w.goAway)
	return w
}

// enter begins a session.
func (v *visitor) enter() {
	own, err := v.e.mailboxes(v.user.Local.Bundle)
	if err != nil {
		v.o.t.Fatal(err)
	}
	sess := newSession(noConn{}, v.user.End.Conn, new(crypto.Hop), nil)
	sess.collects, sess.fingerprint = own.Collects, "the office"
	v.o.mu.Lock()
	v.sess, v.n = sess, 0
	v.o.here = append(v.o.here, v)
	v.o.mu.Unlock()
	v.e.begin(sess)
	go func() {
		v.o.handOut(v, nil)
		if !v.o.noEnd {
			for _, mailbox := range own.Collects {
				v.tell(sess, &proto.Header{Type: proto.TypeLetterEnd, Mailbox: proto.FormatHash(mailbox), Left: v.o.pair.Clock.Now().UnixMilli()}, nil)
			}
		}
		for {
			select {
			case <-sess.signal:
			case <-sess.Done:
				return
			}
			sess.mu.Lock()
			queue := sess.queue
			sess.queue = nil
			sess.mu.Unlock()
			for _, l := range queue {
				v.take(sess, slices.Concat(l.head, l.body))
			}
		}
	}()
}

func (v *visitor) tell(sess *Session, h *proto.Header, body []byte) {
	select {
	case sess.In <- Inbound{h, body}:
	case <-sess.Done:
	case <-v.e.ended:
	}
}

// take takes a line of a client's.
func (v *visitor) take(sess *Session, payload []byte) {
	o, n := v.o, v.n
	v.n++
	header, _, body, err := proto.SplitPayload(payload)
	if err != nil {
		o.t.Error(err)
		return
	}
	h, err := proto.ParseClientHeader(header)
	if err != nil {
		o.t.Error(err)
		return
	}
	switch h.Type {
	case proto.TypeList:
		v.tell(sess, &proto.Header{Type: h.Type, Answers: &n, Done: "ok"}, []byte("[]"))
	case proto.TypeLetterTo:
		o.mu.Lock()
		o.asked++
		boxes := proto.MustMarshal(append([]crypto.LetterBox{}, o.boxes[proto.FoldName(h.Name)]...))
		o.mu.Unlock()
		v.tell(sess, &proto.Header{Type: h.Type, Answers: &n, Done: "ok"}, boxes)
	case proto.TypeLetter:
		o.keep(v, sess, n, h, body)
	case proto.TypeLetterAck:
		o.mu.Lock()
		for _, k := range o.kept {
			if proto.FormatHash(k.id) == h.Letter {
				k.acks = append(k.acks, h.Done)
			}
		}
		o.mu.Unlock()
	}
}

func (o *office) keep(v *visitor, sess *Session, n uint64, h *proto.Header, body []byte) {
	outside, _, _, err := crypto.SplitLetter(body)
	if err != nil {
		o.t.Error(err)
		return
	}
	o.mu.Lock()
	answer, silent := o.answer, o.silent
	k := &keptLetter{
		kind: h.Kind, to: h.Identity, identity: proto.FormatHash(v.user.Local.Identity), mailbox: [32]byte(outside.Mailbox),
		id: [32]byte(outside.Letter), left: o.pair.Clock.Now(), body: body,
	}
	o.mu.Unlock()
	if answer != nil {
		if refusal := answer(h.Kind, body); refusal != nil {
			v.tell(sess, &proto.Header{Type: proto.TypeError, Answers: &n, Code: refusal.Code, Message: refusal.Message}, nil)
			return
		}
	}
	o.mu.Lock()
	if !slices.ContainsFunc(o.kept, func(old *keptLetter) bool { return old.id == k.id }) {
		o.kept = append(o.kept, k)
	}
	here := slices.Clone(o.here)
	o.mu.Unlock()
	for _, other := range here {
		o.handOut(other, k)
	}
	if !silent {
		v.tell(sess, &proto.Header{Type: proto.TypeLetter, Done: proto.Kept, Answers: &n, Until: k.left.Add(6 * 24 * time.Hour).UnixMilli()}, nil)
	}
}

// collector is the oldest visitor who collects a letter, or nil. The lock is held.
func (o *office) collector(k *keptLetter) *visitor {
	for _, v := range o.here {
		if k.to == proto.FormatHash(v.user.Local.Identity) && slices.Contains(v.sess.collects, k.mailbox) &&
			(k.kind == crypto.LetterReceipt || v.e.cfg.Takes == proto.TakesMessages) {
			return v
		}
	}
	return nil
}

// handOut hands one letter, or all that wait, to a visitor who collects them.
func (o *office) handOut(v *visitor, only *keptLetter) {
	o.mu.Lock()
	sess, letters, change := v.sess, slices.Clone(o.kept), o.change
	letters = slices.DeleteFunc(letters, func(k *keptLetter) bool {
		done := len(k.acks) > 0 && k.acks[len(k.acks)-1] != proto.Later
		return done || only != nil && k != only || o.collector(k) != v
	})
	o.mu.Unlock()
	for _, k := range letters {
		instead := []*keptLetter{k}
		if change != nil {
			instead = change(k)
		}
		for _, k := range instead {
			v.tell(sess, &proto.Header{Type: proto.TypeLetter, Kind: k.kind, Identity: k.identity, Left: k.left.UnixMilli()}, k.body)
		}
	}
}

// goAway ends a client in order.
func (v *visitor) goAway() {
	select {
	case <-v.e.ended:
		return
	default:
	}
	v.forget()
	v.e.do(context.Background(), func() { v.e.end(nil) })
	v.e.abort()
	v.e.wg.Wait()
}

func (v *visitor) forget() {
	v.o.mu.Lock()
	v.o.here = slices.DeleteFunc(v.o.here, func(x *visitor) bool { return x == v })
	v.o.mu.Unlock()
}

// await returns the next event that is wanted.
func (v *visitor) await(what string, want func(Event) bool) Event {
	v.o.t.Helper()
	ctx, cancel := context.WithTimeout(v.o.t.Context(), wire.Timeout)
	defer cancel()
	for {
		for i, ev := range v.events {
			if want(ev) {
				v.events = v.events[i+1:]
				return ev
			}
		}
		v.events = nil
		events, err := v.Next(ctx)
		if err != nil {
			v.o.t.Fatalf("%s of %s does not come: %v", what, v.user.End.Name, err)
		}
		v.events = events
	}
}

func (v *visitor) message(text string) *Message {
	v.o.t.Helper()
	return v.await("message "+text, func(ev Event) bool { return ev.Message != nil && ev.Message.Text == text }).Message
}

func (v *visitor) receipt(status history.Status) *ReceiptChange {
	v.o.t.Helper()
	return v.await("receipt "+string(status), func(ev Event) bool { return ev.Receipt != nil && ev.Receipt.Status == status }).Receipt
}

func (v *visitor) problem(part string) {
	v.o.t.Helper()
	v.await("error with "+part, func(ev Event) bool { return ev.Err != nil && strings.Contains(ev.Err.Message, part) })
}

// write writes a message, and fails the test if it is not taken.
func (v *visitor) write(text string, names ...string) (id string) {
	v.o.t.Helper()
	ctx, cancel := context.WithTimeout(v.o.t.Context(), wire.Timeout)
	defer cancel()
	id, err := v.Send(ctx, names, text)
	if err != nil {
		v.o.t.Fatal(err)
	}
	return id
}

// acked waits until each text that the office has, and each receipt that is answered, is so.
func (o *office) acked(want ...string) {
	o.t.Helper()
	for end := time.Now().Add(wire.Timeout); ; time.Sleep(time.Millisecond) {
		var got []string
		o.mu.Lock()
		for _, k := range o.kept {
			if k.kind == crypto.LetterText || len(k.acks) > 0 { // a receipt's sender may be away
				got = append(got, strings.Join(k.acks, " "))
			}
		}
		o.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			o.t.Fatalf("the letters are answered %q, want %q", got, want)
		}
	}
}

// letters returns what the office has.
func (o *office) letters() (kept []keptLetter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.kept {
		kept = append(kept, *k)
	}
	return kept
}

// decide sets how the office answers from now on.
func (o *office) decide(answer func(kind string, body []byte) *proto.Error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}
