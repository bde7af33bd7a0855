package relay

import (
	"os"
	"strings"
	"testing"
	"time"

	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestLetterRoom: of what is left, a person may have a quarter, and never more than the part of
// one. Others find room all the same.
func TestLetterRoom(t *testing.T) {
	const k = int64(LetterLeast)
	ana, bruno := [32]byte{1}, [32]byte{2}
	var r room
	fill := func(who [32]byte, max, most int64) (n int64) {
		for r.takes(who, k, max, most) {
			r.add(who, k)
			n++
		}
		return n
	}
	// Alone: n ≤ (100-(n-1))/4.
	if n := fill(ana, 100*k, 100*k); n != 20 {
		t.Errorf("the first person leaves %d of 100", n)
	}
	if n := fill(bruno, 100*k, 100*k); n != 16 {
		t.Errorf("the second person leaves %d of the other 80", n)
	}
	if r.takes(ana, k, 100*k, 100*k) {
		t.Error("the first person leaves more")
	}
	for range 16 {
		r.add(bruno, -k)
	}
	if len(r.of) != 1 || r.used != 20*k {
		t.Errorf("%d people have %d bytes", len(r.of), r.used)
	}
	r = room{}
	if n := fill(ana, 100*k, 3*k); n != 3 {
		t.Errorf("a person leaves %d, and may leave 3", n)
	}
}

// TestLetterBounds: each bound has its code and sentence, and the connection goes on. What is
// refused takes no room.
func TestLetterBounds(t *testing.T) {
	rt := start(t, withLetters, func(cfg *Config) { cfg.LetterMax = 8 * 64 << 10 })
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana, carla := rt.Join("ana"), rt.Join("carla")
	refused := func(c *wire.Client, kind string, p *posted, code proto.Code, says string) {
		t.Helper()
		seq := leave(c, kind, p)
		if m := c.WantError(code); *m.Answers != seq || m.DstID != "" || !strings.Contains(m.Message, says) {
			t.Errorf("refused with %s, want %q for %d", proto.MustMarshal(m.Header), says, seq)
		}
	}
	refused(ana, proto.LetterText, letterTo(bruno, proto.MaxLetter+1), proto.TooLong, "65537 bytes")
	to := bruno.person()
	refused(ana, proto.LetterText, &posted{to, []byte("x")}, proto.Malformed, "nothing is sealed")
	refused(ana, proto.LetterText, &posted{to, letterIn(make([]byte, 32), 0)}, proto.NoMailbox, "is not there")
	refused(ana, proto.LetterText, &posted{to, append([]byte(" "), letterIn(bruno.hash(), 0)...)}, proto.Malformed, "outside")

	// Of 448 KiB for texts a quarter of what is left: one of 64 KiB, and not another.
	largest := letterTo(bruno, proto.MaxLetter)
	left(ana, proto.LetterText, largest)
	refused(ana, proto.LetterText, letterTo(bruno, proto.MaxLetter), proto.Busy, "65536 bytes of your letters wait at the relay")
	left(ana, proto.LetterText, largest) // again is no more
	refused(carla, proto.LetterText, largest, proto.Malformed, "somebody else's")
	// Receipts have room of their own: 64 KiB, so one person has a quarter.
	for range 3 {
		left(ana, proto.LetterReceipt, letterTo(bruno, 0))
	}
	refused(ana, proto.LetterReceipt, letterTo(bruno, 16<<10), proto.Busy, "of your letters wait at the relay")
	left(carla, proto.LetterReceipt, letterTo(bruno, 0))
	left(carla, proto.LetterText, letterTo(bruno, proto.MaxLetter))

	c := bruno.come(rt, proto.TakesMessages)
	for range 6 {
		m := c.Want(proto.TypeLetter)
		answer(c, &posted{body: m.Body}, proto.Stored)
	}
	bruno.wantEnds(c, 1)
	c.Barrier()
	left(ana, proto.LetterText, letterTo(bruno, proto.MaxLetter))
	wantRooms(t, rt)
}

// wantRooms checks that the counts of all rooms are those of the letters.
func wantRooms(t *testing.T, rt *server) {
	t.Helper()
	l := rt.letters
	l.mu.Lock()
	defer l.mu.Unlock()
	var all [kinds]int64
	n := 0
	for _, b := range l.boxes {
		for kind := range b.piles {
			var used int64
			for _, lt := range b.piles[kind].letters {
				used += lt.counts()
				n++
				if l.ids[lt.id].letter != lt {
					t.Error("a letter is not known by its id")
				}
			}
			if b.piles[kind].room.used != used {
				t.Errorf("the room of a box has %d, its letters %d", b.piles[kind].room.used, used)
			}
			all[kind] += used
		}
	}
	for kind := range all {
		if l.rooms[kind].used != all[kind] {
			t.Errorf("the room of the relay has %d, its letters %d", l.rooms[kind].used, all[kind])
		}
	}
	if len(l.ids) != n+len(l.erased) || l.unstored != 0 {
		t.Errorf("%d ids for %d letters and %d erased ones; %d bytes are not stored", len(l.ids), n, len(l.erased), l.unstored)
	}
}

// TestLetterMailboxFull: the bounds of one mailbox. They are a box's, so its letters need not
// exist.
func TestLetterMailboxFull(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana, carla := rt.Join("ana"), rt.Join("carla")
	identity := rt.conn(ana).identity
	b := rt.letters.boxes[bruno.key()]
	for _, c := range []struct {
		kind  int
		who   [32]byte
		bytes int64
		says  string
	}{
		{texts, [32]byte{}, BoxMax - RestPart*LetterLeast + 1, "the mailbox is full"},
		{texts, identity, BoxMax / (RestPart + 1), "of your letters wait in that mailbox"},
		{texts, identity, BoxPart, "of your letters wait in that mailbox"},
		{receipts, [32]byte{}, BoxMaxReceipts - RestPart*LetterLeast + 1, "the mailbox is full"},
		{receipts, identity, BoxMaxReceipts / (RestPart + 1), "of your letters wait in that mailbox"},
	} {
		rt.letters.mu.Lock()
		b.piles[c.kind].room.add(c.who, c.bytes)
		rt.letters.mu.Unlock()
		leave(ana, kindNames[c.kind], letterTo(bruno, 0))
		if m := ana.WantError(proto.MailboxFull); !strings.Contains(m.Message, c.says) {
			t.Errorf("%d bytes: %s", c.bytes, m.Message)
		}
		left(carla, kindNames[kinds-1-c.kind], letterTo(bruno, 0)) // the other kind has its own room
		rt.letters.mu.Lock()
		b.piles[c.kind].room.add(c.who, -c.bytes)
		rt.letters.mu.Unlock()
	}
	wantRooms(t, rt)
}

// TestLettersArePaced: one person's letters have a pace over all connections. Others are free.
func TestLettersArePaced(t *testing.T) {
	rt := start(t, withLetters, func(cfg *Config) { cfg.lettersAtOnce = 4 })
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	h := wire.Person(t, "ana")
	ana := rt.Connect(wire.Delegate(t, h, "ana"), proto.TakesNone)
	again := rt.Connect(wire.Delegate(t, h, "ana"), proto.TakesNone)
	p := rt.conn(ana).person
	p.mu.Lock()
	p.letters = time.Now().Add(time.Hour)
	p.mu.Unlock()
	for _, c := range []*wire.Client{ana, again} {
		leave(c, proto.LetterText, letterTo(bruno, 0))
		if m := c.WantError(proto.Busy); !strings.Contains(m.Message, "too many letters") {
			t.Errorf("refused: %s", m.Message)
		}
	}
	carla := rt.Join("carla")
	left(carla, proto.LetterText, letterTo(bruno, 0))
	ana.Close()
	again.Close()
	wire.Until(t, "the end of ana", func() bool {
		rt.hub.mu.RLock()
		defer rt.hub.mu.RUnlock()
		return p.conns == 0
	})
	if p.idle(rt.seconds.Load() + 1000) {
		t.Error("the person is forgotten before the pace is over")
	}
}

// TestLettersWaitForTheDiskAlone: while a letter waits for the disk, its connection's other lines
// go on, the same letter waits with it, and too much is refused. A relay that stops does not wait
// for the disk.
func TestLettersWaitForTheDiskAlone(t *testing.T) {
	sync := state.SyncFile
	t.Cleanup(func() { state.SyncFile = sync })
	begun, goOn := make(chan struct{}, 1), make(chan struct{})
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana := rt.Join("ana")
	rested(t, rt)
	state.SyncFile = func(f *os.File) error {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-goOn
		return sync(f)
	}
	body := letterTo(bruno, 0)
	first := leave(ana, proto.LetterText, body)
	<-begun
	ana.Barrier()
	c := bruno.come(rt, proto.TakesMessages) // its end waits for the letter that came before
	ana.To(c, "hello")
	c.Want(proto.TypeClientCom)
	ana.Want(proto.TypeAck)
	second := leave(ana, proto.LetterText, body)
	rt.letters.mu.Lock()
	rt.letters.unstored += maxUnstored
	rt.letters.mu.Unlock()
	leave(ana, proto.LetterText, letterTo(bruno, 0))
	if m := ana.WantError(proto.Busy); m.Message != cannotStore {
		t.Errorf("refused: %s", m.Message)
	}
	rt.letters.mu.Lock()
	rt.letters.unstored -= maxUnstored
	rt.letters.mu.Unlock()
	close(goOn)
	wantKept(ana, first)
	wantKept(ana, second)
	wantLetter(c, proto.LetterText, body)
	bruno.wantEnds(c, 1)
	rested(t, rt)

	select {
	case <-begun:
	default:
	}
	goOn = make(chan struct{})
	defer close(goOn)
	leave(ana, proto.LetterText, letterTo(bruno, 0))
	<-begun
	rt.Shutdown()
}
