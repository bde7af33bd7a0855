package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/wire"
)

// found is what a relay would find in a directory of letters: the ids of the letters in each box.
func found(t *testing.T, dir string) (boxes map[[32]byte][]string, log string) {
	t.Helper()
	var text bytes.Buffer
	cfg := &Config{Letters: true, Log: slog.New(slog.NewTextHandler(&text, nil)), Now: time.Now}
	l, err := openLetters(cfg, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	boxes = make(map[[32]byte][]string)
	for _, b := range l.boxes {
		boxes[b.mailbox] = nil
		for kind := range b.piles {
			for _, lt := range b.piles[kind].letters {
				boxes[b.mailbox] = append(boxes[b.mailbox], proto.FormatHash(lt.id))
				if _, err := readLetter(lt); err != nil {
					t.Error(err)
				}
			}
		}
	}
	return boxes, text.String()
}

// rested waits until nothing waits for the disk.
func rested(t *testing.T, rt *server) {
	t.Helper()
	wire.Until(t, "the disk", func() bool {
		rt.letters.mu.Lock()
		defer rt.letters.mu.Unlock()
		return !rt.letters.storing
	})
}

// noStrays fails the test if a half-written file or box was left anywhere below dir.
func noStrays(t *testing.T, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && state.IsTemp(entry.Name()) {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
}

// TestLetterKilledAtEachStep copies the state directory at each step on the way to the disk, as
// a kill there would leave it. A restart finds all that was answered before, at most the letter
// besides that was under way, and nothing twice.
func TestLetterKilledAtEachStep(t *testing.T) {
	rt := start(t, withLetters)
	dir, copies := filepath.Join(rt.cfg.State, lettersDir), t.TempDir()
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	ana := rt.Join("ana")
	sync := state.SyncFile
	t.Cleanup(func() { state.SyncFile = sync })
	var kept atomic.Int64
	var mu gate
	var answered []int64 // at each copy
	copyNow := func() {
		mu.Lock()
		defer mu.Unlock()
		n := len(answered)
		answered = append(answered, kept.Load())
		if err := os.CopyFS(filepath.Join(copies, fmt.Sprint(n)), os.DirFS(dir)); err != nil {
			t.Error(err)
		}
	}
	state.SyncFile = func(f *os.File) error {
		copyNow()
		err := sync(f)
		copyNow()
		return err
	}
	bruno.made(rt, proto.TakesMessages)
	var ids []string
	for range 4 {
		body := letterTo(bruno, 0)
		left(ana, proto.LetterText, body)
		ids = append(ids, letterID(t, body.body))
		kept.Add(1)
	}
	rt.Shutdown()
	state.SyncFile = sync
	if len(answered) < 2*(2+2*4) {
		t.Fatalf("%d steps", len(answered))
	}
	for n, kept := range answered {
		at := filepath.Join(copies, fmt.Sprint(n))
		boxes, log := found(t, at)
		got := boxes[bruno.box.Hash()]
		if len(got) != int(kept) && len(got) != int(kept)+1 || strings.Join(got, " ") != strings.Join(ids[:len(got)], " ") {
			t.Errorf("step %d: %d were answered, and there are %d", n, kept, len(got))
		}
		if strings.Contains(log, "level=ERROR") {
			t.Errorf("step %d: %s", n, log)
		}
		noStrays(t, at)
	}
}

// gate is a lock whose zero value is open.
type gate struct{ sync.Mutex }

// TestLetterDiskFaults fails each sync in turn. The letter is refused and not there, and nothing
// else is harmed; once the disk works it is taken.
func TestLetterDiskFaults(t *testing.T) {
	rt := start(t, withLetters)
	dir := filepath.Join(rt.cfg.State, lettersDir)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana := rt.Join("ana")
	first := letterTo(bruno, 0)
	left(ana, proto.LetterText, first)
	body := letterTo(bruno, 0)
	rested(t, rt)
	for at := int64(1); ; at++ {
		var n atomic.Int64
		restore := disk.SyncWith(t, func(f *os.File) error {
			if n.Add(1) == at {
				return syscall.EIO
			}
			return f.Sync()
		})
		seq := leave(ana, proto.LetterText, body)
		m := ana.Next()
		restore()
		if n.Load() < at {
			if m.Type != proto.TypeLetter || *m.Answers != seq {
				t.Errorf("without a failure: %+v", m.Header)
			}
			if at != 3 { // the file and its directory
				t.Errorf("%d syncs failed, want 2", at-1)
			}
			break
		}
		if m.Type != proto.TypeError || m.Code != proto.Busy || m.Message != cannotStore || *m.Answers != seq {
			t.Errorf("sync %d failed, and the answer is %+v", at, m.Header)
		}
		if boxes, _ := found(t, dir); len(boxes[bruno.box.Hash()]) != 1 {
			t.Errorf("sync %d failed, and a restart finds %v", at, boxes)
		}
		noStrays(t, dir)
		wantRooms(t, rt)
	}
	c := bruno.come(rt, proto.TakesMessages)
	wantLetter(c, proto.LetterText, first)
	wantLetter(c, proto.LetterText, body)
}

// TestLetterBoxDiskFaults fails each sync of a new box, and of a newer bundle. Without a box there
// is none, and the next connection makes it; the older bundle stays.
func TestLetterBoxDiskFaults(t *testing.T) {
	rt := start(t, withLetters)
	dir := filepath.Join(rt.cfg.State, lettersDir)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	ana := rt.Join("ana")
	rt.Connect(wire.Delegate(t, bruno.holder, "bruno"), proto.TakesNone).Close() // the name is stored
	for _, fresh := range []bool{true, false} {
		if !fresh {
			bruno.delegate(time.Now(), 24*time.Hour)
		}
		for at := int64(1); ; at++ {
			var n atomic.Int64
			restore := disk.SyncWith(t, func(f *os.File) error {
				if strings.HasPrefix(f.Name(), dir) && n.Add(1) == at {
					return syscall.EIO
				}
				return f.Sync()
			})
			bruno.made(rt, proto.TakesMessages)
			rested(t, rt)
			restore()
			boxes, _ := found(t, dir)
			if n.Load() < at {
				want := int64(2) // the file and its directory
				if fresh {
					want = 4 // and those above
				}
				if at-1 != want {
					t.Errorf("%d syncs failed, want %d", at-1, want)
				}
				break
			}
			if fresh && len(boxes) != 0 {
				t.Errorf("sync %d failed, and a restart finds a box", at)
			}
			if fresh {
				wantBoxes(ana, "bruno")
			} else if len(boxesOf(ana, "bruno")) != 1 {
				t.Errorf("sync %d of a newer bundle failed, and there is no box", at)
			}
			noStrays(t, dir)
		}
		wantBoxes(ana, "bruno", bruno)
	}
}

// TestLettersAreForcedAtAStart: a crash may have left renamed files that are not on the disk. A
// start forces each directory, or fails.
func TestLettersAreForcedAtAStart(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	rt.Shutdown()
	dir := filepath.Join(rt.cfg.State, lettersDir)
	const all = 3 // letters, the person's, the mailbox's
	for at := 1; at <= all+1; at++ {
		n := 0
		restore := disk.SyncWith(t, func(f *os.File) error {
			if n++; n == at {
				return syscall.EIO
			}
			return f.Sync()
		})
		_, err := openLetters(&Config{Letters: true, Log: slog.New(slog.DiscardHandler), Now: time.Now}, dir, nil)
		restore()
		if failed := errors.Is(err, syscall.EIO); failed != (at <= all) {
			t.Errorf("sync %d fails, and the start says %v", at, err)
		}
	}
}

// TestLettersOnAFullDisk leaves letters until the disk is full. Those that were kept are there, the
// others are refused, and a collector makes room. Conversations go on.
func TestLettersOnAFullDisk(t *testing.T) {
	files := wire.Files(t)
	full := disk.Mount(t, filepath.Join(files, "relay-state"), 1024)
	if full == nil {
		t.Skip("no small file system") // and Mount has said so loudly
	}
	rt := startIn(t, files, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana, carla := rt.Join("ana"), rt.Join("carla")
	full.Fill(200 << 10)
	var bodies []*posted
	for {
		body := letterTo(bruno, 40<<10)
		leave(ana, proto.LetterText, body)
		m := ana.Next()
		if m.Type == proto.TypeError {
			if m.Code != proto.Busy || m.Message != cannotStore {
				t.Fatalf("refused with %+v", m.Header)
			}
			break
		}
		bodies = append(bodies, body)
	}
	if len(bodies) == 0 {
		t.Fatal("no letter found room")
	}
	dir := filepath.Join(rt.cfg.State, lettersDir)
	noStrays(t, dir)
	ana.To(carla, "hello")
	carla.Want(proto.TypeClientCom)
	ana.Want(proto.TypeAck)
	if boxes, _ := found(t, dir); len(boxes[bruno.box.Hash()]) != len(bodies) {
		t.Errorf("%d were kept, and there are %d", len(bodies), len(boxes[bruno.box.Hash()]))
	}
	c := bruno.come(rt, proto.TakesMessages)
	for _, body := range bodies {
		wantLetter(c, proto.LetterText, body)
		answer(c, body, proto.Stored)
	}
	bruno.wantEnds(c, 1)
	c.Barrier()
	fresh := letterTo(bruno, 40<<10)
	left(ana, proto.LetterText, fresh)
	wantLetter(c, proto.LetterText, fresh)
	wantRooms(t, rt)
	c.Close()
	ana.Close()
	carla.Close()
	rt.Shutdown()
}

// TestDamagedLetters: a start sets damaged files aside with a line of the log, and the rest is
// handed out. A box without its own file still has its letters, and its owner makes it whole.
func TestDamagedLetters(t *testing.T) {
	rt := start(t, withLetters)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana := rt.Join("ana")
	var bodies []*posted
	var files []string
	for i := range 5 {
		bodies = append(bodies, letterTo(bruno, 0))
		left(ana, proto.LetterText, bodies[i])
		files = append(files, rt.letters.ids[proto.MustHash(letterID(t, bodies[i].body))].letter.path())
	}
	rt.Shutdown()
	box := filepath.Dir(files[0])
	good, err := os.ReadFile(files[4])
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{
		files[0]: []byte("nothing"), files[1]: nil, files[2]: bytes.Replace(good, []byte(`"text"`), []byte(`"pipe"`), 1),
		filepath.Join(box, boxFile): []byte("{}"), filepath.Join(box, fmt.Sprintf("%016x", 99)): good, // of another letter
		filepath.Join(box, ".new-1"): good, filepath.Join(box, "notes"): nil,
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log logText
	rt = startIn(t, rt.dir, withLetters, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	if n := strings.Count(log.String(), "is set aside"); n != 5 {
		t.Errorf("%d files are set aside:\n%s", n, log.String())
	}
	for _, name := range []string{"box", filepath.Base(files[0]), fmt.Sprintf("%016x", 99)} {
		if _, err := os.Stat(filepath.Join(box, "damaged-"+name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(box, ".new-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a half-written file: %v", err)
	}
	ana = rt.Join("carla")
	wantBoxes(ana, "bruno")
	c := bruno.come(rt, proto.TakesMessages)
	wantLetter(c, proto.LetterText, bodies[3])
	wantLetter(c, proto.LetterText, bodies[4])
	bruno.wantEnds(c, 1)
	wantBoxes(ana, "bruno", bruno)

	// A file that is damaged while the relay runs is left out, too.
	c.Close()
	wire.Until(t, "the end of bruno", func() bool { return rt.hub.count() == 1 })
	if err := os.WriteFile(files[3], []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = bruno.come(rt, proto.TakesMessages)
	wantLetter(c, proto.LetterText, bodies[4])
	bruno.wantEnds(c, 1)
}

// TestLettersWithoutFiles: a relay that cannot open a file just now leaves no letter out.
func TestLettersWithoutFiles(t *testing.T) {
	var log logText
	rt := start(t, withLetters, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	bruno.made(rt, proto.TakesMessages)
	ana := rt.Join("ana")
	var all []*posted
	for range proto.RelayWindow/proto.MaxLetter + 1 { // one more than the window has room for
		all = append(all, letterTo(bruno, proto.MaxLetter))
		left(ana, proto.LetterText, all[len(all)-1])
	}
	c, last := bruno.come(rt, proto.TakesMessages), len(all)-1
	for _, p := range all[:last] {
		wantLetter(c, proto.LetterText, p)
	}
	rested(t, rt)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	restore := func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) }
	t.Cleanup(restore)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	answer(c, all[0], proto.Stored)
	wire.Until(t, "the word of it", func() bool { return strings.Contains(log.String(), "too many open files") })
	restore()
	wantLetter(c, proto.LetterText, all[last])
	bruno.wantEnds(c, 1)
}

// TestLettersOutliveAKill kills the built relay while letters are on their way. The next one has
// each letter that was kept, in order and once, and gives the others the answer that they lack.
func TestLettersOutliveAKill(t *testing.T) {
	dir := wire.Files(t)
	bruno := newDevice(t, wire.Person(t, "bruno"), "bruno")
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	connect := func(addr string) *wire.Client {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c, err := wire.Handshake(t, conn, &wire.HandshakePlan{
			Cred: bruno.cred, Takes: proto.TakesMessages, Mailbox: bruno.box.Public(), Collects: [][]byte{bruno.hash()},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var bodies []*posted
	for range 60 {
		bodies = append(bodies, letterTo(bruno, 5000))
	}
	addr, pid := wire.ProgramIn(t, dir)
	c := connect(addr)
	bruno.wantEnds(c, 1)
	c.Close()
	kept := 0
	for round := range 3 {
		ana, err := wire.Dial(t, addr, cred, proto.TakesNone)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range bodies[kept:] {
			leave(ana, proto.LetterText, body)
		}
		for enough := 10 * (round + 1); kept < enough; kept++ {
			ana.Want(proto.TypeLetter)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for { // answers on their way count too
			if _, err := ana.Read(); err != nil {
				break
			}
			kept++
		}
		if err := os.Remove(filepath.Join(dir, "addr")); err != nil {
			t.Fatal(err)
		}
		addr, pid = wire.ProgramIn(t, dir)
	}
	ana, err := wire.Dial(t, addr, cred, proto.TakesNone)
	if err != nil {
		t.Fatal(err)
	}
	c = connect(addr)
	n := 0
	for m := c.Next(); m.Type == proto.TypeLetter; m = c.Next() {
		if n == len(bodies) || !bytes.Equal(m.Body, bodies[n].body) {
			t.Fatalf("letter %d is another one", n)
		}
		answer(c, &posted{body: m.Body}, proto.Stored)
		n++
	}
	if n < kept {
		t.Errorf("%d letters were kept, and %d are there", kept, n)
	}
	for _, body := range bodies[kept:n] { // it had them, and the sender does not know
		left(ana, proto.LetterText, body)
	}
}
