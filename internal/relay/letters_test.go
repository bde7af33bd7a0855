package relay

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// device is a state directory with a mailbox and a card.
type device struct {
	t      testing.TB
	holder *lab.Holder
	name   string
	box    *crypto.Mailbox
	cred   *wire.Cred

	person func() string // its owner's identity in hex
}

// withLetters has a relay keep letters.
func withLetters(cfg *Config) { cfg.Letters = true }

func newDevice(t testing.TB, h *lab.Holder, name string) *device {
	t.Helper()
	d := &device{t: t, holder: h, name: name}
	var err error
	if d.box, err = crypto.NewMailbox(); err != nil {
		t.Fatal(err)
	}
	d.delegate(time.Now().Add(-time.Minute), 14*24*time.Hour-time.Hour)
	bundle := d.cred.Bundle
	d.person = sync.OnceValue(func() string {
		v := trust.NewVerifier(trust.VerifierConfig{
			Trust: people.Trust(t, wire.Lab()), Policy: trust.PolicyOff, Now: time.Now,
		})
		person, err := v.Verify(bundle, name)
		if err != nil {
			t.Fatal(err)
		}
		return proto.FormatHash(person.Identity)
	})
	return d
}

// delegate has the card sign a delegation of an hour that names the mailbox for so long.
func (d *device) delegate(begin time.Time, lives time.Duration) {
	d.t.Helper()
	key := people.Key(d.t, trust.KeyEd25519)
	hash := d.box.Hash()
	b := &trust.Bundle{
		Name: d.name, PublicKey: key.Public().SPKI(), NotBefore: begin.Unix(), NotAfter: begin.Add(time.Hour).Unix(),
		Mailbox: hash[:], MailboxEnd: begin.Add(lives).Unix(), X509: d.holder.Leaf.Raw, Chain: d.holder.ChainDER(),
	}
	var err error
	if b.Signature, err = d.holder.Sign(b.DelegationMessage()); err != nil {
		d.t.Fatal(err)
	}
	d.cred = &wire.Cred{Key: key, Bundle: b}
}

func (d *device) key() boxKey { return boxKey{proto.MustHash(d.person()), d.box.Hash()} }

func (d *device) hash() []byte {
	hash := d.box.Hash()
	return hash[:]
}

// come connects, and collects the device's mailbox and then those given.
func (d *device) come(rt *server, takes string, older ...*device) *wire.Client {
	d.t.Helper()
	collects := [][]byte{d.hash()}
	for _, o := range older {
		collects = append(collects, o.hash())
	}
	if takes == proto.TakesPipe {
		collects = nil
	}
	return d.comeFor(rt, takes, collects)
}

func (d *device) comeFor(rt *server, takes string, collects [][]byte) *wire.Client {
	d.t.Helper()
	c, err := rt.Handshake(&wire.HandshakePlan{Cred: d.cred, Takes: takes, Mailbox: d.box.Public(), Collects: collects})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// made makes the device's box, and leaves.
func (d *device) made(rt *server, takes string, older ...*device) {
	d.t.Helper()
	c := d.come(rt, takes, older...)
	if takes != proto.TakesPipe {
		d.wantEnds(c, 1+len(older))
	}
	c.Close()
	wire.Until(d.t, "the end of the connection", func() bool {
		rt.hub.mu.RLock()
		defer rt.hub.mu.RUnlock()
		return rt.hub.conns[c.ID] == nil
	})
}

// wantEnds reads so many letter-ends, and returns the times in them.
func (d *device) wantEnds(c *wire.Client, n int) (left []int64) {
	d.t.Helper()
	for range n {
		left = append(left, c.Want(proto.TypeLetterEnd).Left)
	}
	return left
}

// posted is a letter in form, and the identity that it is for in hex.
type posted struct {
	to   string
	body []byte
}

// letterTo is a letter to a device, with a new id and so many bytes in all. The relay cannot know
// that nothing opens it.
func letterTo(d *device, size int) *posted { return &posted{d.person(), letterIn(d.hash(), size)} }

func letterIn(mailbox []byte, size int) []byte {
	id, enc := make([]byte, 32), make([]byte, 1120)
	rand.Read(id)
	outside := proto.MustMarshal(&crypto.LetterOutside{Letter: id, Suite: crypto.SuiteMLKEM, Mailbox: mailbox, Enc: enc})
	body := append(outside, '\n')
	return append(body, make([]byte, max(size-len(body), 17))...)
}

func letterID(t testing.TB, body []byte) string {
	t.Helper()
	o, _, _, err := crypto.SplitLetter(body)
	if err != nil {
		t.Fatal(err)
	}
	return proto.FormatHash([32]byte(o.Letter))
}

func leave(c *wire.Client, kind string, p *posted) uint64 {
	c.T.Helper()
	return c.Say(&proto.Header{Type: proto.TypeLetter, Kind: kind, Identity: p.to}, p.body)
}

// left leaves a letter and waits until it is kept.
func left(c *wire.Client, kind string, p *posted) proto.Header {
	c.T.Helper()
	seq := leave(c, kind, p)
	return *wantKept(c, seq)
}

func wantKept(c *wire.Client, seq uint64) *proto.Header {
	c.T.Helper()
	m := c.Want(proto.TypeLetter)
	if m.Done != proto.Kept || *m.Answers != seq || len(m.Body) != 0 {
		c.T.Fatalf("%s got %s %q, want kept for %d", c.Name, proto.MustMarshal(m.Header), m.Body, seq)
	}
	return m.Header
}

// wantLetter reads a letter that is handed out.
func wantLetter(c *wire.Client, kind string, p *posted) *proto.Header {
	c.T.Helper()
	m := c.Want(proto.TypeLetter)
	if m.Kind != kind || !bytes.Equal(m.Body, p.body) {
		c.T.Fatalf("%s got %s with %d bytes, want another letter of kind %s with %d", c.Name, proto.MustMarshal(m.Header), len(m.Body), kind, len(p.body))
	}
	return m.Header
}

func answer(c *wire.Client, p *posted, done string) {
	c.T.Helper()
	c.Say(&proto.Header{Type: proto.TypeLetterAck, Letter: letterID(c.T, p.body), Done: done}, nil)
}

// boxesOf asks for the mailboxes of a name, and returns their bundles.
func boxesOf(c *wire.Client, name string) (bundles []*trust.Bundle) {
	c.T.Helper()
	seq := c.Ask(&proto.Header{Type: proto.TypeLetterTo, Name: name})
	m := c.Want(proto.TypeLetterTo)
	boxes, err := crypto.ReadLetterBoxes(m.Body)
	if err != nil || *m.Answers != seq {
		c.T.Fatalf("%s: %v", m.Body, err)
	}
	for _, b := range boxes {
		bundles = append(bundles, b.Bundle)
	}
	return bundles
}

// wantBoxes checks whose mailboxes a name has, in their order.
func wantBoxes(c *wire.Client, name string, devices ...*device) {
	c.T.Helper()
	found := boxesOf(c, name)
	ok := len(found) == len(devices)
	for i := range devices {
		ok = ok && found[i].Hash() == devices[i].cred.Bundle.Hash()
	}
	if !ok {
		c.T.Fatalf("%s has %d mailboxes, want these %d", name, len(found), len(devices))
	}
}

// TestLetterIsKeptAndHandedOut: somebody who is away gets a letter on coming, once, also after a
// restart in between.
func TestLetterIsKeptAndHandedOut(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			rt := start(t, withLetters)
			bruno := newDevice(t, wire.Person(t, "bruno"), "Bruno")
			bruno.made(rt, proto.TakesMessages)
			ana := rt.Join("ana")
			wantBoxes(ana, "bRUNO", bruno)
			var bodies []*posted
			var first *proto.Header
			before := time.Now().UnixMilli()
			for _, kind := range []string{proto.LetterText, proto.LetterReceipt, proto.LetterText} {
				body := letterTo(bruno, 3000)
				kept := left(ana, kind, body)
				until := time.Now().Add(DefaultLetterDays * 24 * time.Hour).UnixMilli()
				if kept.Until < before+DefaultLetterDays*24*time.Hour.Milliseconds() || kept.Until > until {
					t.Errorf("kept until %d", kept.Until)
				}
				bodies = append(bodies, body)
			}
			identity := proto.FormatHash(rt.conn(ana).identity)
			if restart {
				rt.Shutdown()
				rt = startIn(t, rt.dir, withLetters)
				ana = rt.Connect(ana.Cred, proto.TakesMessages)
				wantBoxes(ana, "bruno", bruno)
			}
			c := bruno.come(rt, proto.TakesMessages)
			for i, kind := range []string{proto.LetterText, proto.LetterReceipt, proto.LetterText} {
				h := wantLetter(c, kind, bodies[i])
				if h.Identity != identity || h.Left < before || h.Left > time.Now().UnixMilli() {
					t.Errorf("stamped %+v", h)
				}
				if first == nil {
					first = h
				}
				answer(c, bodies[i], []string{proto.Stored, proto.Refused, proto.Stored}[i])
			}
			if ends := bruno.wantEnds(c, 1); ends[0] < first.Left {
				t.Errorf("the end is of %d", ends[0])
			}
			c.Barrier()
			c.Close()
			// The same letters have the same answer and are not handed out again.
			left(ana, proto.LetterText, bodies[0])
			c = bruno.come(rt, proto.TakesMessages)
			bruno.wantEnds(c, 1)
			c.Barrier()
		})
	}
}

// TestLetterGoesOnAtOnce: a letter to somebody who is there is handed on before its sender gets
// the answer, and one's own receipt too.
func TestLetterGoesOnAtOnce(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	c := bruno.come(rt, proto.TakesMessages)
	bruno.wantEnds(c, 1)
	ana := rt.Join("ana")
	body := letterTo(bruno, 0)
	left(ana, proto.LetterText, body)
	// It has been queued before: a list that is asked for now is answered behind it.
	c.Ask(&proto.Header{Type: proto.TypeList, Name: "bruno"})
	wantLetter(c, proto.LetterText, body)
	c.Want(proto.TypeList)
	answer(c, body, proto.Stored)
	own := letterTo(bruno, 0)
	seq := leave(c, proto.LetterReceipt, own)
	wantLetter(c, proto.LetterReceipt, own)
	wantKept(c, seq)
}

// TestLettersKeepTheirOrderAndTheWindow: letters come in the order in which they were left, and no
// more than the window without an answer. What has none, or comes later, comes again.
func TestLettersKeepTheirOrderAndTheWindow(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana := rt.Join("ana")
	const n = 9
	size := proto.RelayWindow / 4
	var bodies []*posted
	for range n {
		bodies = append(bodies, letterTo(bruno, size))
	}
	var seqs []uint64
	for _, body := range bodies { // many on their way to the disk
		seqs = append(seqs, leave(ana, proto.LetterText, body))
	}
	for _, seq := range seqs {
		wantKept(ana, seq)
	}
	c := bruno.come(rt, proto.TakesMessages)
	for i, body := range bodies {
		wantLetter(c, proto.LetterText, body)
		if i == 3 { // the window is full
			c.Barrier()
		}
		if i >= 3 {
			answer(c, bodies[i-3], []string{proto.Stored, proto.Later, proto.Refused}[i%3])
		}
	}
	bruno.wantEnds(c, 1)
	c.Barrier()
	c.Close()
	// What was not answered, or later, comes again, in order.
	var rest []*posted
	for i, body := range bodies {
		if i >= n-3 || (i+3)%3 == 1 {
			rest = append(rest, body)
		}
	}
	c = bruno.come(rt, proto.TakesMessages)
	for i, body := range rest {
		wantLetter(c, proto.LetterText, body)
		if i >= 3 {
			answer(c, rest[i-3], proto.Stored)
		}
	}
	bruno.wantEnds(c, 1)
}

// TestLettersHaveOneCollector: the oldest connection that takes a kind gets it, and when it goes
// the next one gets what was not answered. Receipts go to who takes no messages too.
func TestLettersHaveOneCollector(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana := rt.Join("ana")
	text, receipt := letterTo(bruno, 0), letterTo(bruno, 0)
	left(ana, proto.LetterText, text)
	left(ana, proto.LetterReceipt, receipt)

	none := bruno.come(rt, proto.TakesNone)
	wantLetter(none, proto.LetterReceipt, receipt)
	// A text waits there, so the box is empty up to its time alone.
	end := bruno.wantEnds(none, 1)[0]

	first := bruno.come(rt, proto.TakesMessages)
	h := wantLetter(first, proto.LetterText, text)
	if end != h.Left {
		t.Errorf("empty at %d, and a text of %d waits", end, h.Left)
	}
	bruno.wantEnds(first, 1)

	second := bruno.come(rt, proto.TakesMessages)
	if end := bruno.wantEnds(second, 1)[0]; end != h.Left {
		t.Errorf("empty at %d for the second connection, while a text of %d is not answered", end, h.Left)
	}
	second.Barrier()
	none.Close()
	wantLetter(first, proto.LetterReceipt, receipt)
	answer(first, receipt, proto.Stored)
	first.Barrier()
	first.Close()
	wantLetter(second, proto.LetterText, text)
	answer(second, text, proto.Stored)
	fresh := letterTo(bruno, 0)
	left(ana, proto.LetterText, fresh)
	wantLetter(second, proto.LetterText, fresh)
}

// TestLettersOfOthersStay: somebody who lists another's mailbox, or names its key, has a box of
// their own for it, whoever comes first. They get no letter of the other's, erase none, and change
// nothing in the other box.
func TestLettersOfOthersStay(t *testing.T) {
	for _, first := range []string{"bruno", "mallory"} {
		t.Run(first+" first", func(t *testing.T) {
			rt := start(t, withLetters)
			bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
			mallory := newDevice(t, wire.Person(t, "mallory"), "mallory")
			mallory.box = bruno.box
			mallory.delegate(time.Now(), time.Hour)
			order := []*device{bruno, mallory}
			if first == "mallory" {
				order = []*device{mallory, bruno}
			}
			for _, d := range order {
				d.made(rt, proto.TakesMessages)
			}
			ana := rt.Join("ana")
			wantBoxes(ana, "bruno", bruno)
			wantBoxes(ana, "mallory", mallory)
			brunos, mallorys := letterTo(bruno, 0), letterTo(mallory, 0)
			left(ana, proto.LetterText, brunos)
			left(ana, proto.LetterText, mallorys)
			if kept := left(ana, proto.LetterText, letterTo(mallory, 0)).Until; kept != mallory.cred.Bundle.MailboxEnd*1000 {
				t.Errorf("kept until %d, which is not the end of that person's mailbox", kept)
			}

			rt.Shutdown()
			rt = startIn(t, rt.dir, withLetters)
			newer := newDevice(t, mallory.holder, "mallory")
			c := newer.come(rt, proto.TakesMessages, mallory) // whose box the newer one supersedes
			newer.wantEnds(c, 1)
			wantLetter(c, proto.LetterText, mallorys)
			answer(c, mallorys, proto.Stored)
			c.Ask(&proto.Header{Type: proto.TypeRelease, Mailbox: proto.FormatHash(bruno.box.Hash())})
			c.Want(proto.TypeLetter)
			newer.wantEnds(c, 1)
			c.Want(proto.TypeRelease)
			answer(c, brunos, proto.Stored)
			c.WantError(proto.Malformed)
			c.WantClosed()
			noBox(t, rt, mallory)

			ana = rt.Connect(ana.Cred, proto.TakesMessages)
			wantBoxes(ana, "mallory", newer)
			wantBoxes(ana, "bruno", bruno)
			leave(ana, proto.LetterText, letterTo(mallory, 0))
			ana.WantError(proto.NoMailbox)
			c = bruno.come(rt, proto.TakesMessages)
			wantLetter(c, proto.LetterText, brunos)
			answer(c, brunos, proto.Stored)
			answer(c, brunos, proto.Stored) // and it is not on its way any more
			bruno.wantEnds(c, 1)
			c.WantError(proto.Malformed)
			c.WantClosed()
		})
	}
}

// TestLetterBoxes: who takes letters, and where they go, as devices come with their mailboxes.
func TestLetterBoxes(t *testing.T) {
	rt := start(t, withLetters)
	h := wire.Person(t, "bruno")
	ana := rt.Join("ana")
	wantBoxes(ana, "bruno")
	wantBoxes(ana, "nobody")

	// A one-shot sender takes receipts alone.
	d := newDevice(t, h, "bruno")
	c := d.come(rt, proto.TakesNone)
	d.wantEnds(c, 1)
	wantBoxes(ana, "bruno")
	leave(ana, proto.LetterText, letterTo(d, 0))
	ana.WantError(proto.NoMailbox)
	receipt := letterTo(d, 0)
	left(ana, proto.LetterReceipt, receipt)
	wantLetter(c, proto.LetterReceipt, receipt)
	answer(c, receipt, proto.Stored)
	// As soon as one takes messages, the device takes texts, and its next senders do not undo it.
	d.made(rt, proto.TakesMessages)
	d.made(rt, proto.TakesNone)
	wantBoxes(ana, "bruno", d)
	ana.Ask(&proto.Header{Type: proto.TypeList, Name: "bruno"})
	if m := ana.Want(proto.TypeList); bytes.Contains(m.Body, []byte(`"letters"`)) {
		t.Errorf("a connection from before the device took texts: %s", m.Body)
	}

	// A newer bundle takes the place of the old one, and an older one does not come back.
	old := d.cred
	d.delegate(time.Now(), 13*24*time.Hour)
	d.made(rt, proto.TakesMessages)
	newer := d.cred
	d.cred = old
	d.made(rt, proto.TakesPipe)
	d.cred = newer
	wantBoxes(ana, "bruno", d)

	// Two devices, the newest delegation first.
	e := newDevice(t, h, "bruno")
	e.delegate(time.Now().Add(time.Second), 24*time.Hour)
	e.made(rt, proto.TakesMessages)
	wantBoxes(ana, "bruno", e, d)

	// A new mailbox of a device takes the place of the one before, which still takes letters.
	f := newDevice(t, h, "bruno")
	f.delegate(time.Now().Add(2*time.Second), 24*time.Hour)
	f.made(rt, proto.TakesMessages, d)
	wantBoxes(ana, "bruno", f, e)
	text := letterTo(d, 0)
	left(ana, proto.LetterText, text)
	rt.Shutdown()
	rt = startIn(t, rt.dir, withLetters)
	ana = rt.Connect(ana.Cred, proto.TakesMessages)
	wantBoxes(ana, "bruno", f, e)
	c = f.come(rt, proto.TakesMessages, d)
	f.wantEnds(c, 1)
	wantLetter(c, proto.LetterText, text)
	f.wantEnds(c, 1)
	answer(c, text, proto.Stored)
	if m := listing(ana, "bruno"); !bytes.Contains(m, []byte(`"letters":true`)) {
		t.Errorf("who takes letters is listed as %s", m)
	}
	// One of which no connection has taken messages yet takes nobody's place.
	oneShot := newDevice(t, h, "bruno")
	oneShot.delegate(time.Now().Add(2*time.Second), 24*time.Hour)
	oneShot.made(rt, proto.TakesNone, f)
	wantBoxes(ana, "bruno", f, e)
	// While its bundle does not name the new one yet, letters go to the one before.
	g := newDevice(t, h, "bruno")
	c = f.comeFor(rt, proto.TakesMessages, [][]byte{g.hash(), f.hash()})
	f.wantEnds(c, 2)
	wantBoxes(ana, "bruno", f, e)
	// A device that was set back names the older one again.
	d.delegate(time.Now().Add(3*time.Second), 24*time.Hour)
	d.made(rt, proto.TakesMessages)
	wantBoxes(ana, "bruno", d, f, e)
}

func listing(c *wire.Client, name string) []byte {
	c.T.Helper()
	c.Ask(&proto.Header{Type: proto.TypeList, Name: name})
	return c.Want(proto.TypeList).Body
}

// TestLetterBoxesAreBounded: the oldest of a person's boxes goes, of each class by itself.
func TestLetterBoxesAreBounded(t *testing.T) {
	rt := start(t, withLetters)
	h := wire.Person(t, "bruno")
	ana := rt.Join("ana")
	var devices []*device
	now := time.Now()
	for i := range proto.MaxMailboxesTo + 1 {
		d := newDevice(t, h, "bruno")
		d.delegate(now.Add(time.Duration(i)*time.Second), 24*time.Hour)
		d.made(rt, proto.TakesMessages)
		devices = append(devices, d)
	}
	for range ReceiptBoxes + 1 {
		d := newDevice(t, h, "bruno")
		d.made(rt, proto.TakesNone)
	}
	slices.Reverse(devices)
	wantBoxes(ana, "bruno", devices[:proto.MaxMailboxesTo]...)
	oldest := devices[proto.MaxMailboxesTo]
	wire.Until(t, "the end of the oldest boxes", func() bool {
		rt.letters.mu.Lock()
		defer rt.letters.mu.Unlock()
		return rt.letters.boxes[oldest.key()] == nil && len(rt.letters.boxes) == proto.MaxMailboxesTo+ReceiptBoxes
	})
	leave(ana, proto.LetterText, letterTo(oldest, 0))
	ana.WantError(proto.NoMailbox)
}

// TestBoxesArePaced: whoever names one mailbox after the other, while the disk is slow, has a few boxes
// made, which go back to the bound. Others' boxes are made, and what is there stays as it is.
func TestBoxesArePaced(t *testing.T) {
	sync := state.SyncFile
	t.Cleanup(func() { state.SyncFile = sync })
	rt := start(t, withLetters)
	goOn := make(chan struct{})
	state.SyncFile = func(f *os.File) error {
		<-goOn
		return sync(f)
	}
	template := newDevice(t, wire.Person(t, "bruno"), "bruno")
	named := func(owner, mailbox byte) bool {
		bundle := *template.cred.Bundle
		key := []byte{owner, mailbox}
		hash := crypto.MailboxHash(key)
		bundle.Mailbox = hash[:]
		return rt.letters.name([32]byte{owner}, &crypto.Hello{
			Takes: proto.TakesMessages, Bundle: &bundle, Mailbox: key, Collects: [][]byte{hash[:]},
		}, nil)
	}
	count := func(owner byte) int {
		rt.letters.mu.Lock()
		defer rt.letters.mu.Unlock()
		return len(rt.letters.people[[32]byte{owner}])
	}
	for i := range byte(2 * BoxesAtOnce) {
		if made := named(1, i); !made && i < BoxesAtOnce || made && i > BoxesAtOnce {
			t.Errorf("mailbox %d: a box is made: %v", i, made)
		}
	}
	if n := count(1); n > BoxesAtOnce+1 { // one more where the pace has gone on meanwhile
		t.Errorf("%d boxes of one person", n)
	}
	if !named(1, 0) {
		t.Error("one that is there is refused")
	}
	if !named(2, 0) {
		t.Error("another person's is refused")
	}
	close(goOn)
	wire.Until(t, "the bound on boxes", func() bool { return count(1) == proto.MaxMailboxesTo })
}

// TestLettersOff: a relay without letters names no mailbox, takes no letter, and a collector
// has nothing to wait for.
func TestLettersOff(t *testing.T) {
	rt := start(t)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	c := bruno.come(rt, proto.TakesMessages)
	bruno.wantEnds(c, 1)
	wantBoxes(c, "bruno")
	if m := listing(c, "bruno"); bytes.Contains(m, []byte("letters")) {
		t.Errorf("listed as %s", m)
	}
	leave(c, proto.LetterText, letterTo(bruno, 0))
	c.WantError(proto.NoMailbox)
}

// TestLetterToIsPaced: each mailbox in an answer has its cost, and a person over the budget gets
// none.
func TestLetterToIsPaced(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana := rt.Join("ana")
	wantBoxes(ana, "bruno", bruno)
	p := rt.conn(ana).person
	p.mu.Lock()
	if p.spent != RequestCost+BoxCost {
		t.Errorf("an answer with a mailbox cost %d", p.spent)
	}
	p.spent = 1000 * Budget // which no second pays off
	p.mu.Unlock()
	ana.Ask(&proto.Header{Type: proto.TypeLetterTo, Name: "bruno"})
	ana.WantError(proto.Busy)
}

// TestLetterMemoryIsBounded: boxes beyond the bound are not made, and the oldest answers are
// forgotten.
func TestLetterMemoryIsBounded(t *testing.T) {
	rt := start(t, withLetters)
	l := rt.letters
	l.mu.Lock()
	for i := range maxBoxes {
		b := &box{boxKey: boxKey{mailbox: [32]byte{byte(i), byte(i >> 8), 1}}, end: 1 << 40}
		l.boxes[b.boxKey] = b
	}
	for i := range maxErased + 10 {
		l.remember(&letter{id: [32]byte{byte(i), byte(i >> 8), 1}})
	}
	if len(l.erased) != maxErased || len(l.ids) != maxErased || l.ids[[32]byte{9, 0, 1}] != nil {
		t.Errorf("%d answers are remembered in %d places", len(l.ids), len(l.erased))
	}
	l.mu.Unlock()
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	c := bruno.come(rt, proto.TakesMessages)
	bruno.wantEnds(c, 1)
	wantBoxes(c, "bruno")
	if m := listing(c, "bruno"); bytes.Contains(m, []byte("letters")) {
		t.Errorf("listed as %s", m)
	}
}

// TestLettersThroughManyCollectors: while people leave letters, connections come, answer some and
// are lost. Each letter is stored once, those of one sender in their order, and none is lost.
func TestLettersThroughManyCollectors(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	const senders, each = 3, 40
	var all [senders][]string
	var leaving sync.WaitGroup
	for i := range senders {
		c := rt.Join(fmt.Sprintf("from%d", i))
		var bodies []*posted
		for range each {
			bodies = append(bodies, letterTo(bruno, 20<<10))
			all[i] = append(all[i], letterID(t, bodies[len(bodies)-1].body))
		}
		leaving.Go(func() {
			for _, body := range bodies {
				header := proto.MustMarshal(&proto.Header{Type: proto.TypeLetter, Kind: proto.LetterText, Identity: body.to})
				c.Conn.Write(c.Line(proto.AppendPayload(nil, header, nil, body.body)))
				if m, err := c.Read(); err != nil || m.Done != proto.Kept {
					t.Errorf("%+v, %v", m.Header, err)
					return
				}
			}
		})
	}
	stored := map[string]int{} // by their place
	for round := 0; len(stored) < senders*each && !t.Failed(); round++ {
		c := bruno.come(rt, proto.TakesMessages)
		for n := 0; n < 5+round && len(stored) < senders*each; {
			m := c.Next()
			if m.Type != proto.TypeLetter {
				continue
			}
			n++
			id := letterID(t, m.Body)
			if _, again := stored[id]; again {
				t.Errorf("a letter comes again after it was stored")
			}
			stored[id] = len(stored)
			answer(c, &posted{body: m.Body}, proto.Stored)
		}
		for c.Ask(&proto.Header{Type: proto.TypeList, Name: "bruno"}); c.Next().Type != proto.TypeList; {
		} // until the answers are taken
		c.Close()
	}
	leaving.Wait()
	for i := range all {
		for n := 1; n < each; n++ {
			if stored[all[i][n-1]] >= stored[all[i][n]] {
				t.Errorf("letter %d of a sender comes before the one before it", n)
			}
		}
	}
	wantRooms(t, rt)
}
