package relay

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// logText is a log that tests read while it is written.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// noBox waits until the relay has no box of a device, in memory and on the disk.
func noBox(t *testing.T, rt *server, d *device) {
	t.Helper()
	still, key := "", d.key()
	wire.Until(t, "the end of a box", func() bool {
		rt.letters.mu.Lock()
		defer rt.letters.mu.Unlock()
		return rt.letters.boxes[key] == nil
	})
	rt.letters.disk.Lock() // the removal has ended
	defer rt.letters.disk.Unlock()
	filepath.WalkDir(filepath.Join(rt.cfg.State, lettersDir), func(path string, _ os.DirEntry, err error) error {
		if path == rt.letters.boxPath(key) {
			still = path
		}
		return err
	})
	if still != "" {
		t.Errorf("it is still on the disk: %s", still)
	}
	noStrays(t, filepath.Join(rt.cfg.State, lettersDir))
}

// TestLettersExpire: a letter goes after its days, and a box with its letters after the end of its
// mailbox, which bounds the letter's.
func TestLettersExpire(t *testing.T) {
	var ahead atomic.Int64
	var log logText
	rt := start(t, withLetters, func(cfg *Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		cfg.LetterDays = 2
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	const day = 24 * time.Hour
	bruno, short := newDevice(t, wire.Person(t, "bruno"), "bruno"), newDevice(t, wire.Person(t, "carla"), "carla")
	short.delegate(time.Now().Add(-time.Minute), day)
	bruno.made(rt, proto.TakesMessages)
	short.made(rt, proto.TakesMessages)
	h := wire.Person(t, "ana")
	come := func() *wire.Client {
		now := time.Now().Add(time.Duration(ahead.Load()))
		return rt.Connect(wire.DelegateAt(t, h, "ana", now.Add(-time.Minute), now.Add(time.Hour)), proto.TakesMessages)
	}
	ana := come()
	first, second := letterTo(bruno, 0), letterTo(bruno, 0)
	left(ana, proto.LetterText, first)
	if kept := left(ana, proto.LetterText, letterTo(short, 0)); kept.Until != short.cred.Bundle.MailboxEnd*1000 {
		t.Errorf("kept until %d, and the mailbox ends at %d", kept.Until, short.cred.Bundle.MailboxEnd*1000)
	}
	file := rt.letters.ids[proto.MustHash(letterID(t, first.body))].letter.path()

	ahead.Store(int64(day + time.Minute))
	ana = come()
	wantBoxes(ana, "carla")
	leave(ana, proto.LetterText, letterTo(short, 0))
	ana.WantError(proto.NoMailbox)
	left(ana, proto.LetterText, second)
	rt.checks.add(checkExpired)
	noBox(t, rt, short)

	ahead.Store(int64(2*day + time.Minute))
	rt.checks.add(checkExpired)
	wire.Until(t, "the end of a letter", func() bool { _, err := os.Stat(file); return err != nil })
	ana = come()
	left(ana, proto.LetterText, first) // the answer is the same, though it is gone
	wantRooms(t, rt)
	// Its owner comes with a new delegation.
	bruno.delegate(time.Now().Add(2*day), 10*day)
	c := bruno.come(rt, proto.TakesMessages)
	wantLetter(c, proto.LetterText, second)
	bruno.wantEnds(c, 1)
	// A letter may end while it is on its way.
	rt.letters.mu.Lock()
	rt.letters.ids[proto.MustHash(letterID(t, second.body))].letter.until = 1
	rt.letters.mu.Unlock()
	rt.letters.expire()
	answer(c, second, proto.Stored)
	c.Barrier()
	rt.letters.mu.Lock()
	erased := len(rt.letters.erased)
	rt.letters.mu.Unlock()
	if erased == 0 {
		t.Error("no answer is remembered")
	}
	ahead.Store(int64(5 * day))
	rt.letters.expire()
	rt.letters.mu.Lock()
	if len(rt.letters.erased) != 0 || len(rt.letters.ids) != 0 {
		t.Errorf("%d answers are remembered for more than a day", len(rt.letters.ids))
	}
	rt.letters.mu.Unlock()
	for _, says := range []string{`reason="the mailbox has ended" boxes=1 letters=1`, `reason="not collected in time" letters=1`} {
		if !strings.Contains(log.String(), says) {
			t.Errorf("the log lacks %s", says)
		}
	}
}

// TestLettersOfTheRevoked: a revoked certificate's boxes go, of a connected person and of one who
// comes. Those of a renewed card of the same person stay.
func TestLettersOfTheRevoked(t *testing.T) {
	for _, live := range []bool{true, false} {
		rt := start(t, withLetters)
		h := wire.Person(t, "bruno")
		bruno := newDevice(t, h, "bruno")
		renewed := newDevice(t, wire.Person(t, "bruno", lab.RenewalOf(h)), "bruno")
		bruno.made(rt, proto.TakesMessages)
		renewed.made(rt, proto.TakesMessages)
		ana := rt.Join("ana")
		left(ana, proto.LetterText, letterTo(bruno, 0))
		left(ana, proto.LetterText, letterTo(renewed, 0))
		var c *wire.Client
		if live {
			c = bruno.come(rt, proto.TakesNone)
			bruno.wantEnds(c, 1)
		}
		wire.Lab().Revoke(h, time.Now().Add(-time.Minute), 1)
		if err := wire.Lab().WriteCRLs(rt.dir); err != nil {
			t.Fatal(err)
		}
		rt.Reload()
		if live {
			c.WantEnded(proto.CertificateRevoked)
		} else {
			wire.Until(t, "the list", func() bool {
				_, err := rt.Handshake(&wire.HandshakePlan{Cred: bruno.cred, Takes: proto.TakesNone})
				return err != nil
			})
		}
		noBox(t, rt, bruno)
		wantBoxes(ana, "bruno", renewed)
		wantRooms(t, rt)
	}
}

// TestLettersOfTheDenied: -deny removes a person's boxes, whether or not the person is there, and
// by an authority too; so does an -allow that names the person no longer. A start looks as well.
func TestLettersOfTheDenied(t *testing.T) {
	dir := t.TempDir()
	deny, allow := filepath.Join(dir, "deny"), filepath.Join(dir, "allow")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text+"\n# end\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := wire.Person(t, "bruno")
	bruno, carla := newDevice(t, h, "bruno"), newDevice(t, wire.Person(t, "carla"), "carla")
	for _, c := range []struct {
		how            string
		live, restarts bool
	}{{"people", true, false}, {"people", false, false}, {"authority", false, false}, {"allow", false, true}, {"people", false, true}} {
		write(deny, "")
		change := func(cfg *Config) { cfg.Deny = deny }
		rt := start(t, withLetters, change)
		bruno.made(rt, proto.TakesMessages)
		carla.made(rt, proto.TakesMessages)
		ana := rt.Join("ana")
		left(ana, proto.LetterText, letterTo(bruno, 0))
		b := rt.letters.boxes[bruno.key()]
		if len(b.issuers) == 0 {
			t.Fatal("the box knows no authority")
		}
		others := rt.letters.boxes[carla.key()].issuers
		if c.live {
			bruno.come(rt, proto.TakesNone)
		}
		switch c.how {
		case "people":
			write(deny, proto.FormatHash(b.owner))
		case "authority": // of both, so the other one goes too
			write(deny, "issuer "+proto.FormatHash(b.issuers[0]))
		case "allow":
			write(allow, proto.FormatHash(rt.letters.boxes[carla.key()].owner))
			change = func(cfg *Config) { cfg.Allow = allow }
		}
		if c.restarts {
			rt.Shutdown()
			rt = startIn(t, rt.dir, withLetters, change)
		} else {
			rt.Reload()
		}
		noBox(t, rt, bruno)
		rt.letters.mu.Lock()
		stays := rt.letters.boxes[carla.key()] != nil
		rt.letters.mu.Unlock()
		if goes := c.how == "authority" && others[0] == b.issuers[0]; stays == goes {
			t.Errorf("%s: the box of somebody else is there: %v", c.how, stays)
		}
	}
}

// TestLettersAreReleased: who gives up a name loses the letters under it, and who releases a
// mailbox those in it. Connections get the end that they wait for.
func TestLettersAreReleased(t *testing.T) {
	rt := start(t, withLetters)
	h := wire.Person(t, "bruno")
	lost, here, other := newDevice(t, h, "bruno"), newDevice(t, h, "bruno"), newDevice(t, h, "work")
	for _, d := range []*device{lost, here, other} {
		d.made(rt, proto.TakesMessages)
	}
	ana := rt.Join("ana")
	left(ana, proto.LetterText, letterTo(lost, 0))
	release := func(c *wire.Client, mailbox string) {
		t.Helper()
		c.Ask(&proto.Header{Type: proto.TypeRelease, Mailbox: mailbox})
		for m := c.Next(); m.Type != proto.TypeRelease; m = c.Next() {
			if m.Type != proto.TypeLetter && m.Type != proto.TypeLetterEnd {
				t.Fatalf("got %+v", m.Header)
			}
		}
	}
	c := here.come(rt, proto.TakesNone)
	here.wantEnds(c, 1)
	release(c, proto.FormatHash(lost.box.Hash()))
	noBox(t, rt, lost)
	wantBoxes(ana, "bruno", here)
	release(c, proto.FormatHash(lost.box.Hash())) // of nobody's is no error
	body := letterTo(here, 0)
	left(ana, proto.LetterReceipt, body)
	wantLetter(c, proto.LetterReceipt, body)
	release(c, "")
	noBox(t, rt, here)
	wantBoxes(ana, "bruno")
	wantBoxes(ana, "work", other)
	answer(c, body, proto.Stored) // it was on its way
	leave(ana, proto.LetterText, letterTo(here, 0))
	ana.WantError(proto.NoMailbox)
	c.Close()
	wantRooms(t, rt)

	// And the operator's -free, where the relay runs and where none does.
	here.made(rt, proto.TakesMessages)
	if _, err := Free(rt.cfg.State, "bruno"); err != nil {
		t.Fatal(err)
	}
	rt.Reload()
	noBox(t, rt, here)
	wantBoxes(ana, "work", other)
	rt.Shutdown()
	if _, err := Free(rt.cfg.State, "work"); err != nil {
		t.Fatal(err)
	}
	if boxes, _ := found(t, filepath.Join(rt.cfg.State, lettersDir)); len(boxes) != 0 {
		t.Errorf("-free leaves %d boxes", len(boxes))
	}
}

// TestRemovedBoxComesAgain: a mailbox may be named again at once, and its new box is not taken
// for the old one.
func TestRemovedBoxComesAgain(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	ana := rt.Join("ana")
	for range 20 {
		c := bruno.come(rt, proto.TakesMessages)
		left(ana, proto.LetterText, letterTo(bruno, 0))
		c.Ask(&proto.Header{Type: proto.TypeRelease, Mailbox: proto.FormatHash(bruno.box.Hash())})
		bruno.comeFor(rt, proto.TakesMessages, nil).Close()
		c.Close()
	}
	wire.Until(t, "the end of the connections", func() bool { return rt.hub.count() == 1 })
	bruno.made(rt, proto.TakesMessages)
	body := letterTo(bruno, 0)
	left(ana, proto.LetterText, body)
	rt.Shutdown()
	boxes, _ := found(t, filepath.Join(rt.cfg.State, lettersDir))
	if ids := boxes[bruno.box.Hash()]; len(boxes) != 1 || len(ids) != 1 || ids[0] != letterID(t, body.body) {
		t.Errorf("a restart finds %v", boxes)
	}
}

// TestRemovedBoxIsNotWritten: what waits for the disk when its box is removed is not written, and
// its sender gets an answer.
func TestRemovedBoxIsNotWritten(t *testing.T) {
	rt := start(t, withLetters)
	l := rt.letters
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	ana := rt.Join("ana")
	l.disk.Lock()
	c := bruno.come(rt, proto.TakesMessages)
	bruno.wantEnds(c, 1)
	seq := leave(ana, proto.LetterText, letterTo(bruno, 0))
	ana.Barrier()
	l.mu.Lock()
	l.detach(l.boxes[bruno.key()])
	l.mu.Unlock()
	l.disk.Unlock()
	if m := ana.WantError(proto.NoMailbox); *m.Answers != seq {
		t.Errorf("answered %d, want %d", *m.Answers, seq)
	}
	noBox(t, rt, bruno)
	wantRooms(t, rt)
}
