package attack

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// Row 32: somebody with a valid card who leaves letters that no client would.

// evilWriter leaves letters at an honest relay. It knows its own keys, and seals by PROTOCOL.md.
type evilWriter struct {
	*wire.Client
	town     *localTown
	box      *crypto.Mailbox
	cred     *wire.Cred
	identity [32]byte
	to       string                      // the owner of the mailbox that it has asked for, an identity
	receipts []crypto.LetterReceiptEntry // that have come
	texts    []*crypto.Record
}

// evilWriter connects as name with the card of holder.
func (town *localTown) evilWriter(holder, name string) *evilWriter {
	town.t.Helper()
	box, err := crypto.NewMailbox()
	if err != nil {
		town.t.Fatal(err)
	}
	key, h, now := people.Key(town.t, trust.KeyEd25519), town.holder(holder), time.Now().Add(-time.Minute)
	b := people.Delegate(town.t, h, name, key, now, now.Add(time.Hour))
	people.NameMailbox(town.t, h, b, box.Hash(), now.Add(13*24*time.Hour))
	w := &evilWriter{town: town, box: box, cred: &wire.Cred{Key: key, Bundle: b}}
	me, err := town.verifier().Verify(b, name)
	if err != nil {
		town.t.Fatal(err)
	}
	w.identity = me.Identity
	conn, err := net.Dial("tcp", town.addr)
	if err != nil {
		town.t.Fatal(err)
	}
	town.t.Cleanup(func() { conn.Close() })
	hash := box.Hash()
	w.Client, err = wire.Handshake(town.t, conn, &wire.HandshakePlan{
		Cred: w.cred, Takes: proto.TakesMessages, Mailbox: box.Public(), Collects: [][]byte{hash[:]},
	})
	if err != nil {
		town.t.Fatal(err)
	}
	return w
}

// boxOf asks the relay for the newest mailbox of a name.
func (w *evilWriter) boxOf(name string) crypto.LetterBox {
	w.T.Helper()
	w.Ask(&proto.Header{Type: proto.TypeLetterTo, Name: name})
	for {
		m := w.Next()
		if m.Type == proto.TypeLetterTo {
			boxes, err := crypto.ReadLetterBoxes(m.Body)
			if err != nil || len(boxes) == 0 {
				w.T.Fatalf("%d mailboxes of %s: %v", len(boxes), name, err)
			}
			owner, err := w.town.verifier().Verify(boxes[0].Bundle, name)
			if err != nil {
				w.T.Fatal(err)
			}
			w.to = proto.FormatHash(owner.Identity)
			return boxes[0]
		}
		w.other(m)
	}
}

// other takes a line that is no answer.
func (w *evilWriter) other(m wire.Message) {
	w.T.Helper()
	if m.Type != proto.TypeLetter || m.Answers != nil {
		return
	}
	l, err := crypto.OpenLetter(w.box, m.Body)
	if err != nil {
		w.T.Fatal(err)
	}
	sender, err := w.town.verifier().Verify(l.Bundle, l.Bundle.Name)
	if err == nil {
		err = l.ReadRecords(sender.Identity)
	}
	if err != nil {
		w.T.Fatal(err)
	}
	w.receipts, w.texts = append(w.receipts, l.Receipts...), append(w.texts, l.Records...)
	w.Say(&proto.Header{Type: proto.TypeLetterAck, Done: proto.Stored, Letter: proto.FormatHash(l.ID)}, nil)
}

func (w *evilWriter) say(kind string, body []byte) (line uint64) {
	w.T.Helper()
	return w.Say(&proto.Header{Type: proto.TypeLetter, Kind: kind, Identity: w.to}, body)
}

// leave leaves a body, and returns the relay's answer.
func (w *evilWriter) leave(kind string, body []byte) wire.Message {
	w.T.Helper()
	line := w.say(kind, body)
	for {
		m := w.Next()
		if m.Answers != nil && *m.Answers == line {
			return m
		}
		w.other(m)
	}
}

// mustLeave leaves a body that the relay takes.
func (w *evilWriter) mustLeave(kind string, body []byte) {
	w.T.Helper()
	if m := w.leave(kind, body); m.Done != proto.Kept {
		w.T.Fatalf("the relay answers %s", proto.MustMarshal(m.Header))
	}
}

// forgery is a letter in the making. The fields are what an honest client would put there.
type forgery struct {
	outside crypto.LetterOutside
	bundle  *trust.Bundle
	boxKey  []byte
	header  crypto.LetterHeader
	lines   [][]byte // records, or one of receipts
	key     *trust.Key
	digest  []byte // instead of the right one
}

// forge seals any letter.
func (w *evilWriter) forge(to crypto.LetterBox, kind string, lines [][]byte, change func(f *forgery)) []byte {
	w.T.Helper()
	id, mailbox := [32]byte{}, crypto.MailboxHash(to.Key)
	rand.Read(id[:])
	suite := crypto.SuiteByName(crypto.SuiteMLKEM)
	enc, ss, err := suite.Encapsulate(to.Key, proto.Tuple("letter-kem", id, mailbox))
	if err != nil {
		w.T.Fatal(err)
	}
	encHash, dst := sha256.Sum256(enc), to.Bundle.Hash()
	b := *w.cred.Bundle
	f := &forgery{
		outside: crypto.LetterOutside{Letter: id[:], Suite: suite.Name(), Mailbox: mailbox[:], Enc: enc},
		bundle:  &b, boxKey: w.box.Public(), lines: lines, key: w.cred.Key,
		header: crypto.LetterHeader{
			Letter: id[:], Kind: kind, DstBundle: dst[:], Mailbox: mailbox[:], EncHash: encHash[:],
			Time: time.Now().UnixMilli(), N: 1, Count: uint64(len(lines)),
		},
	}
	if change != nil {
		change(f)
	}
	if f.header.SrcBundle == nil {
		src := f.bundle.Hash()
		f.header.SrcBundle = src[:]
	}
	if f.header.Digest = f.digest; f.digest == nil {
		f.header.Digest = digestOf(kind, id, mailbox, f.lines)
	}
	header := proto.MustMarshal(&f.header)
	plaintext := bytes.Join([][]byte{
		proto.MustMarshal(f.bundle), proto.AppendBase64(nil, f.boxKey), header,
		proto.AppendBase64(nil, f.key.Sign(crypto.LetterSigns(header))), bytes.Join(f.lines, []byte("\n")),
	}, []byte("\n"))
	outside := proto.MustMarshal(&f.outside)
	prk, err := hkdf.Extract(sha256.New, ss, id[:])
	if err != nil {
		w.T.Fatal(err)
	}
	mk, err := hkdf.Expand(sha256.New, prk, string(proto.Tuple("letter-key", suite.Name(), sha256.Sum256(outside))), 32)
	if err != nil {
		w.T.Fatal(err)
	}
	return suite.Seal(append(outside, '\n'), mk, outside, plaintext)
}

// digestOf is the digest of a letter's records or receipts.
func digestOf(kind string, id, mailbox [32]byte, lines [][]byte) []byte {
	if kind == proto.LetterReceipt {
		receipts, _ := crypto.ParseLetterReceipts(lines[0])
		d := receipts.Digest(id, mailbox)
		return d[:]
	}
	d := crypto.FirstLetterDigest(id, mailbox)
	for _, line := range lines {
		d = crypto.NextDigest(d, sha256.Sum256(line))
	}
	return d[:]
}

// record is the exact record of a text of this writer's, the seq-th of its letter.
func (w *evilWriter) record(seq uint64, to crypto.Recipient, text string) []byte {
	r := crypto.NewRecord(w.identity, []crypto.Recipient{to}, text, time.Now())
	r.Seq = seq
	return r.Encode()
}

// recipient is a client as the recipient of a record.
func recipient(tc *testClient) crypto.Recipient {
	return crypto.Recipient{Name: proto.FoldName(tc.Name()), Identity: proto.FormatHash(tc.Inside().Identity())}
}

// receiptFor is the list of one receipt.
func receiptFor(id [32]byte, level string) [][]byte {
	return [][]byte{proto.MustMarshal(crypto.LetterReceipts{{ID: id[:], Level: level, Time: time.Now().UnixMilli()}})}
}

// TestAttack32Letters: each letter that is not what it must be is refused by its receiver, is not shown,
// and said so. An honest one behind it is taken.
func TestAttack32Letters(t *testing.T) {
	town := newTown(t, "bob", "carol", "mallory")
	bob := town.client("bob", town.byLetter("bob"))
	carol := town.client("carol", town.byLetter("carol"))
	mallory := town.evilWriter("mallory", "mallory")
	carolsBox := mallory.boxOf("carol")
	to, toBob := mallory.boxOf("bob"), recipient(bob)
	other := people.Key(t, trust.KeyEd25519)
	another := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[0] ^= 1
		return b
	}
	const text, receipt = proto.LetterText, proto.LetterReceipt
	n, want := uint64(0), []string(nil)
	said := map[string]bool{} // in this session: each reason is told once
	for i, c := range []struct {
		what   string
		says   string
		kind   string // what the relay is told
		change func(f *forgery)
	}{
		{"of another digest", "digest", text, func(f *forgery) { f.digest = make([]byte, 32) }},
		{"with more records than it says", "", text, func(f *forgery) { f.lines = append(f.lines, mallory.record(2, toBob, "more")) }},
		{"with fewer records than it says", "", text, func(f *forgery) { f.header.Count++ }},
		{"with another's record", "id", text, func(f *forgery) {
			r := crypto.NewRecord(carol.Inside().Identity(), []crypto.Recipient{toBob}, "carol's", time.Now())
			r.Seq = 1
			f.lines = [][]byte{r.Encode()}
		}},
		{"with a record for others", "is for others", text, func(f *forgery) { f.lines = [][]byte{mallory.record(1, recipient(carol), "for carol")} }},
		{"with a record to another person of his name", "is for others", text, func(f *forgery) {
			f.lines = [][]byte{mallory.record(1, crypto.Recipient{Name: "bob", Identity: recipient(carol).Identity}, "for a bob")}
		}},
		{"with a record of another seq", "seq", text, func(f *forgery) { f.lines = [][]byte{mallory.record(2, toBob, "second")} }},
		{"without a record that can be read", "", text, func(f *forgery) { f.lines = [][]byte{[]byte("{}")} }},
		{"of two mailboxes under one signature", "", text, func(f *forgery) {
			m, err := crypto.NewMailbox()
			if err != nil {
				t.Fatal(err)
			}
			hash := m.Hash()
			f.bundle.Mailbox, f.boxKey = hash[:], m.Public()
		}},
		{"with another's mailbox to be answered", "mailbox", text, func(f *forgery) { f.boxKey = carolsBox.Key }},
		{"of a longer mailbox than the card has signed", "delegation", text, func(f *forgery) { f.bundle.MailboxEnd += 60 }},
		{"whose bundle is another than it signs", "bundle", text, func(f *forgery) { f.header.SrcBundle = make([]byte, 32) }},
		{"for a bundle that is not his", "not named its mailbox", text, func(f *forgery) { h := carolsBox.Bundle.Hash(); f.header.DstBundle = h[:] }},
		{"that repeats another id", "another letter", text, func(f *forgery) { f.header.Letter = another(f.header.Letter) }},
		{"that repeats another mailbox", "another letter", text, func(f *forgery) { f.header.Mailbox = carolsBox.Bundle.Mailbox }},
		{"that repeats another enc", "another letter", text, func(f *forgery) { f.header.EncHash = another(f.header.EncHash) }},
		{"signed by another key", "signature", text, func(f *forgery) { f.key = other }},
		{"of an hour ago", "the time in it", text, func(f *forgery) { f.header.Time -= time.Hour.Milliseconds() }},
		{"of the next hour", "the time in it", text, func(f *forgery) { f.header.Time += time.Hour.Milliseconds() }},
		{"of a negative time", "a time or number", text, func(f *forgery) { f.header.Time = -1 }},
		{"without a number", "a time or number", text, func(f *forgery) { f.header.N = 0 }},
		{"of no known kind", "no known kind", text, func(f *forgery) { f.header.Kind = "pipe" }},
		{"of a text that the relay has as receipts", "what the relay calls it", receipt, nil},
		{"of another suite inside than outside", "", text, func(f *forgery) {
			f.outside.Mailbox = another(f.outside.Mailbox)
			f.outside.Mailbox = to.Bundle.Mailbox
			f.outside.Enc = another(f.outside.Enc)
		}},
	} {
		if i%10 == 9 { // a session tells so many refusals
			bob.cutOff()
			bob.await("the relay back", func(client.Event) bool { return timesBack(bob.events) == i/10+1 })
			clear(said)
		}
		before := len(bob.seen())
		mallory.mustLeave(c.kind, mallory.forge(to, text, [][]byte{mallory.record(1, toBob, "evil "+c.what)}, c.change))
		honest := fmt.Sprint("honest ", i)
		n++
		mallory.mustLeave(text, mallory.forge(to, text, [][]byte{mallory.record(1, toBob, honest)}, func(f *forgery) { f.header.N = n }))
		bob.awaitText(honest)
		if want = append(want, honest); c.kind == receipt { // receipts do not wait for texts
			wire.Until(t, "the refusal", func() bool { return bob.errors(c.says) > 0 })
		}
		told := slices.DeleteFunc(bob.seen()[before:], func(ev client.Event) bool { return ev.Err == nil })
		switch {
		case len(told) == 0 && said[c.says]:
		case len(told) != 1 || !strings.Contains(told[0].Err.Error(), c.says):
			t.Errorf("a letter %s: bob is told %s", c.what, describe(told))
		}
		said[c.says] = true
		bob.saw(want)
	}
	leaves(t, bob, carol)
	town.historyHolds(bob.state.HistoryDir())
}

// TestAttack32Numbers: letters whose numbers repeat, fall or leap are shown once each, with a gap where
// one is missing by the numbers, and go on as before.
func TestAttack32Numbers(t *testing.T) {
	town := newTown(t, "bob", "mallory")
	bob := town.client("bob", town.byLetter("bob"))
	mallory := town.evilWriter("mallory", "mallory")
	to, toBob := mallory.boxOf("bob"), recipient(bob)
	var want []string
	for _, n := range []uint64{1, 2, 2, 1, 5, 4, 1<<63 - 1, 1<<63 - 1, 6} {
		text := fmt.Sprint(len(want), " of number ", n)
		want = append(want, text)
		mallory.mustLeave(proto.LetterText, mallory.forge(to, proto.LetterText, [][]byte{mallory.record(1, toBob, text)}, func(f *forgery) { f.header.N = n }))
		bob.awaitText(text)
	}
	gaps := []string{
		"letters of mallory's are missing: numbers 3 to 4",
		"letters of mallory's are missing: numbers 6 to 9223372036854775806",
	}
	bob.saw(want, gaps...)
	same := mallory.record(1, toBob, "the same record in two letters")
	for range 2 {
		mallory.mustLeave(proto.LetterText, mallory.forge(to, proto.LetterText, [][]byte{same}, nil))
	}
	twice := mallory.record(1, toBob, "twice in one letter")
	mallory.mustLeave(proto.LetterText, mallory.forge(to, proto.LetterText, [][]byte{twice, twice}, nil))
	mallory.mustLeave(proto.LetterText, mallory.forge(to, proto.LetterText, [][]byte{mallory.record(1, toBob, "last")}, nil))
	bob.awaitText("last")
	bob.saw(append(want, "the same record in two letters", "last"), gaps...)
	leaves(t, bob)
	town.historyHolds(bob.state.HistoryDir())
}

// TestAttack32Receipts: no receipt counts for another's record, for an id that never was, or by a third
// person. READ does not become DELIVERED again. The right one counts.
func TestAttack32Receipts(t *testing.T) {
	town := newTown(t, "bob", "alice", "mallory")
	alice := town.evilWriter("alice", "alice")
	mallory := town.evilWriter("mallory", "mallory")
	bob := town.client("bob", town.byLetter("bob"))
	to := alice.boxOf("bob")
	mallory.boxOf("bob")
	// Bob writes to Alice, whose connection answers no conversation, so that a letter comes.
	bob.leave()
	bob = town.client("bob", town.byLetter("bob"), func(cfg *client.Config) { cfg.Timeout = 3 * time.Second })
	id := bob.mustSend("hello", "alice")
	for len(alice.texts) == 0 {
		alice.other(alice.Next())
	}
	bob.awaitStatus(id, "alice", history.StatusKept)
	full := crypto.FullRecordID(bob.Inside().Identity(), alice.texts[0])
	give := func(w *evilWriter, id [32]byte, level string) {
		t.Helper()
		w.mustLeave(proto.LetterReceipt, w.forge(to, proto.LetterReceipt, receiptFor(id, level), nil))
	}
	counted := func(what string, errors int, want ...history.Status) {
		t.Helper()
		wire.Until(t, what, func() bool { return bob.errors("letter") >= errors })
		var got []history.Status
		for _, s := range bob.statuses(id) {
			if s.AtLeast(history.StatusDelivered) {
				got = append(got, s)
			}
		}
		if !slices.Equal(got, want) || bob.errors("letter") != errors {
			t.Errorf("%s: it is %v, and bob is told %s", what, got, describe(bob.seen()))
		}
	}
	give(mallory, full, crypto.LevelRead)
	counted("a receipt by a third person", 1)
	give(alice, [32]byte{1}, crypto.LevelRead)
	counted("a receipt for an id that never was", 2)
	give(alice, full, crypto.LevelRead)
	bob.awaitStatus(id, "alice", history.StatusRead)
	give(alice, full, crypto.LevelDelivered)
	give(alice, full, crypto.LevelRead)
	// Behind these, one that is refused for another reason.
	alice.mustLeave(proto.LetterReceipt, alice.forge(to, proto.LetterReceipt, receiptFor(full, crypto.LevelRead), func(f *forgery) { f.digest = make([]byte, 32) }))
	counted("READ, DELIVERED and READ", 3, history.StatusRead)
	leaves(t, bob)
	town.historyHolds(bob.state.HistoryDir())
	if s := town.inHistory("bob")[id]; s != history.StatusRead {
		t.Errorf("the history has it as %s", s)
	}
}

// TestAttack32Room: one person's letters fill no more than a quarter of a mailbox, under any number of
// names, and others still leave theirs. What is too long is refused, and so is what comes too fast.
// Garbage that the owner has refused takes no room.
func TestAttack32Room(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	town.wasHere("bob")
	var writers []*evilWriter
	var to crypto.LetterBox
	names := []string{"mallory", "m1", "m2", "m3", "m4", "m5", "m6", "m7"}
	for _, name := range names {
		w := town.evilWriter("mallory", name)
		to = w.boxOf("bob")
		writers = append(writers, w)
	}
	// garbage is sealed bytes that open nothing, in a letter of that size.
	garbage := func(size int) []byte {
		id, mailbox := [32]byte{}, crypto.MailboxHash(to.Key)
		rand.Read(id[:])
		body := append(proto.MustMarshal(&crypto.LetterOutside{Letter: id[:], Suite: crypto.SuiteMLKEM, Mailbox: mailbox[:], Enc: make([]byte, 1120)}), '\n')
		return append(body, make([]byte, size-len(body))...)
	}
	for _, size := range []int{proto.MaxLetter + 1, 65 << 10} {
		if m := writers[0].leave(proto.LetterText, garbage(size)); m.Code != proto.TooLong {
			t.Errorf("a letter of %d bytes is answered by %s", size, proto.MustMarshal(m.Header))
		}
	}
	kept, full := 0, 0
	for i := range 8 * 20 {
		switch m := writers[i%8].leave(proto.LetterText, garbage(proto.MaxLetter)); {
		case m.Done == proto.Kept:
			kept += proto.MaxLetter
		case m.Code == proto.MailboxFull:
			full++
		default:
			t.Fatalf("the relay answers %s", proto.MustMarshal(m.Header))
		}
	}
	if kept > 4<<20 || kept < 2<<20 || full == 0 {
		t.Errorf("%d bytes are kept, %d letters refused", kept, full)
	}
	alice := town.client("alice", town.byLetter("alice"))
	id := alice.leaveLetters("bob", "there is room for others")[0]
	bob := town.client("bob", town.byLetter("bob"))
	alice.awaitStatus(id, "bob", history.StatusRead)
	bob.saw([]string{"there is room for others"})
	if n := bob.errors(""); n != 1 {
		t.Errorf("bob is told %d times", n)
	}
	bob.leave()
	writers[0].mustLeave(proto.LetterText, garbage(proto.MaxLetter))
}

// TestAttack32Burst: 4,097 letters at once. A part is answered busy, and those are not there; another
// person's letter is taken at once. The receiver shows what a stranger may leave, and is told once.
func TestAttack32Burst(t *testing.T) {
	letters := 1500
	if os.Getenv("CHATSECURE_ATTACK") != "" {
		letters = 4097
	}
	town := newTown(t, "alice", "bob", "mallory")
	alice := town.client("alice", town.byLetter("alice"))
	bob := town.client("bob", town.byLetter("bob"), strict(alice))
	bob.accept(alice)
	toBob := recipient(bob)
	bob.leave()
	mallory := town.evilWriter("mallory", "mallory")
	to := mallory.boxOf("bob")
	var bodies [][]byte
	for i := range letters {
		bodies = append(bodies, mallory.forge(to, proto.LetterText, [][]byte{mallory.record(1, toBob, fmt.Sprint(i))}, func(f *forgery) { f.header.N = uint64(i + 1) }))
	}
	kept, answers := 0, 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for answers < letters {
			m := mallory.Next()
			switch {
			case m.Type == proto.TypeLetter && m.Done == proto.Kept:
				kept++
			case m.Type == proto.TypeError && (m.Code == proto.Busy || m.Code == proto.MailboxFull):
			default:
				continue
			}
			answers++
		}
	}()
	for _, body := range bodies {
		mallory.say(proto.LetterText, body)
	}
	soon(t, "the answers to the letters", done)
	if kept == letters || kept == 0 {
		t.Errorf("%d of %d letters are kept", kept, letters)
	}
	id := alice.leaveLetters("bob", "a friend")[0]
	before := bob.onDisk()
	bob = town.client("bob", town.byLetter("bob"), strict(alice))
	bob.awaitText("a friend")
	alice.awaitStatus(id, "bob", history.StatusRead)
	if n := len(bob.texts()); n != client.StrangerRecords+1 {
		t.Errorf("bob saw %d messages", n)
	}
	if n := bob.refusals("mallory"); n != 1 {
		t.Errorf("bob is told %d times", n)
	}
	if grown := bob.onDisk() - before; grown > client.StrangerBytes+128<<10 {
		t.Errorf("a stranger left %d bytes on the disk", grown)
	}
	if n := len(bob.gaps()); n > 1 {
		t.Errorf("bob is told of %d gaps", n)
	}
}

// TestAttack32Names: letters of one stranger under eight names leave no more than under one.
func TestAttack32Names(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	alice := town.client("alice", town.byLetter("alice"))
	bob := town.client("bob", town.byLetter("bob"), strict(alice))
	bob.accept(alice)
	toBob := recipient(bob)
	for _, name := range []string{"mallory", "m1", "m2", "m3", "m4", "m5", "m6", "m7"} {
		w := town.evilWriter("mallory", name)
		to := w.boxOf("bob")
		for i := range 8 {
			w.mustLeave(proto.LetterText, w.forge(to, proto.LetterText, [][]byte{w.record(1, toBob, fmt.Sprint(name, i))}, func(f *forgery) { f.header.N = uint64(i + 1) }))
		}
	}
	bob.leave()
	bob = town.client("bob", town.byLetter("bob"), strict(alice))
	alice.mustSend("a friend", "bob")
	bob.awaitText("a friend")
	shown := 0
	for text := range town.inHistoryTexts("bob") {
		if text != "a friend" {
			shown++
		}
	}
	if shown != client.StrangerRecords {
		t.Errorf("a stranger left %d messages", shown)
	}
}

// TestAttack32Blocked: of a person who is blocked a letter leaves nothing, and no receipt goes. Once the
// block is over the next one is taken.
func TestAttack32Blocked(t *testing.T) {
	town := newTown(t, "bob", "mallory")
	bob := town.client("bob", town.byLetter("bob"))
	mallory := town.evilWriter("mallory", "mallory")
	to, toBob := mallory.boxOf("bob"), recipient(bob)
	var last *crypto.Record
	leave := func(n uint64, text string) {
		t.Helper()
		record := mallory.record(1, toBob, text)
		var err error
		if last, err = crypto.ParseRecord(record, mallory.identity); err != nil {
			t.Fatal(err)
		}
		mallory.mustLeave(proto.LetterText, mallory.forge(to, proto.LetterText, [][]byte{record}, func(f *forgery) { f.header.N = n }))
	}
	leave(1, "before")
	bob.awaitText("before")
	for len(mallory.receipts) == 0 || mallory.receipts[len(mallory.receipts)-1].Level != crypto.LevelRead {
		mallory.other(mallory.Next())
	}
	if _, _, err := bob.state.Block("mallory", mallory.identity); err != nil {
		t.Fatal(err)
	}
	receipts := len(mallory.receipts)
	leave(2, "blocked")
	bob.leave() // answers it first
	bob.mu.Lock()
	for _, ev := range bob.events {
		if ev.Err != nil || ev.Peer != nil && ev.Peer.What == "refused" {
			t.Errorf("bob is told: %s", describe([]client.Event{ev}))
		}
	}
	bob.mu.Unlock()
	bob = town.client("bob", town.byLetter("bob"))
	bob.awaitEmptied(2)
	if got := bob.texts(); len(got) != 0 {
		t.Errorf("bob saw %q", got)
	}
	bob.quietly()
	if _, there := town.inHistoryTexts("bob")["blocked"]; there {
		t.Error("it is in the history")
	}
	if ok, err := bob.state.Unblock(mallory.identity); !ok || err != nil {
		t.Fatal(err)
	}
	leave(3, "after")
	bob.awaitText("after")
	for len(mallory.receipts) == receipts {
		mallory.other(mallory.Next())
	}
	after := crypto.FullRecordID(mallory.identity, last)
	for _, r := range mallory.receipts[receipts:] {
		if !bytes.Equal(r.ID, after[:]) {
			t.Errorf("a receipt for %x", r.ID)
		}
	}
	bob.saw([]string{"after"}, "a letter of mallory's is missing: number 2")
}
