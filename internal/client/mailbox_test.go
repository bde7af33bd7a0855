package client

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/people"
)

var mailNow = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// newestOf is the mailbox that a start at a time names. A card has signed it.
func newestOf(t *testing.T, m *mail, at time.Time) [32]byte {
	t.Helper()
	box, err := m.newest(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.named(box.Hash, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	return box.Hash
}

func collectsOf(t *testing.T, m *mail, at time.Time) [][32]byte {
	t.Helper()
	got, err := m.collects(at)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// files are the mailbox files of a state directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	got, err := filepath.Glob(filepath.Join(dir, mailDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(got, func(s string) bool { return filepath.Base(s) == mailLock })
}

func TestMailMakesNothingUnasked(t *testing.T) {
	dir := t.TempDir()
	m := openMail(dir)
	if got := collectsOf(t, m, mailNow); got != nil {
		t.Errorf("collects %x", got)
	}
	if box, err := m.box([32]byte{}); box != nil || err != nil {
		t.Errorf("a mailbox %v, %v", box, err)
	}
	if letters, others, err := m.claim(); letters != nil || others != nil || err != nil {
		t.Errorf("letters %v, %v", letters, err)
	}
	if err := m.emptied("r", [32]byte{}, mailNow, mailNow); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, mailDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is there: %v", err)
	}
}

// A mailbox lives 14 days. At half of that a new one is made, and the old one is collected until
// a relay has said after its end that it is empty.
func TestMailboxLives(t *testing.T) {
	dir := t.TempDir()
	m := openMail(dir)
	first := newestOf(t, m, mailNow)
	if got := newestOf(t, openMail(dir), mailNow.Add(7*day-time.Second)); got != first {
		t.Fatal("a new mailbox before half of the life")
	}
	second := newestOf(t, m, mailNow.Add(7*day))
	if second == first {
		t.Fatal("no new mailbox at half of the life")
	}
	both := [][32]byte{second, first}
	if got := collectsOf(t, m, mailNow.Add(7*day)); !slices.Equal(got, both) {
		t.Fatalf("collects %x", got)
	}
	after := mailNow.Add(14*day + time.Second)
	if got := newestOf(t, m, after); got != second {
		t.Fatal("a third mailbox while the first is not collected to its end")
	}
	if got := collectsOf(t, m, after); !slices.Equal(got, both) {
		t.Fatalf("collects %x", got)
	}
	// Neither clock alone says that the end is reached.
	for _, at := range [][2]time.Time{{after, after.Add(-day)}, {after.Add(-day), after}} {
		if err := m.emptied("relay", first, at[0], at[1]); err != nil {
			t.Fatal(err)
		}
		if box, err := m.box(first); err != nil || box == nil {
			t.Fatalf("after a collection by one clock: %v, %v", box, err)
		}
	}
	if err := m.emptied("relay", first, after, after); err != nil {
		t.Fatal(err)
	}
	if box, err := m.box(first); box != nil || err != nil {
		t.Fatalf("after the last collection: %v, %v", box, err)
	}
	if got := files(t, dir); len(got) != 2 {
		t.Errorf("left are %v", got)
	}
	third := newestOf(t, m, after)
	if got := collectsOf(t, m, after); third == second || !slices.Equal(got, [][32]byte{third, second}) {
		t.Errorf("collects %x", got)
	}
}

// A mailbox comes to its end while a client runs that has collected its letters: it is erased by the time
// that has passed, whatever the clock says.
func TestMailboxExpires(t *testing.T) {
	dir := t.TempDir()
	m := openMail(dir)
	mailbox := newestOf(t, m, mailNow)
	if err := m.emptied("relay", mailbox, mailNow.Add(13*day), mailNow.Add(13*day)); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(m.due[mailbox]); left < day || left > day+time.Hour {
		t.Errorf("it is erased in %v", left)
	}
	for _, due := range []time.Time{time.Now().Add(time.Hour), time.Now().Add(-time.Second)} {
		m.due[mailbox] = due
		if err := m.expire(m.expired()); err != nil {
			t.Fatal(err)
		}
		if box, err := m.box(mailbox); err != nil || (box == nil) != due.Before(time.Now()) {
			t.Errorf("due %v: %v, %v", due, box, err)
		}
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left are %v", got)
	}
}

// A key that others may have read, or that is damaged, is not used, and the error says what to do.
func TestMailboxIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(path string, text []byte) error{
		"readable": func(path string, text []byte) error { return os.Chmod(path, 0o640) },
		"cut off":  func(path string, text []byte) error { return os.WriteFile(path, text[:len(text)-1], 0o600) },
		"empty":    func(path string, text []byte) error { return os.WriteFile(path, nil, 0o600) },
		"of zeros": func(path string, text []byte) error { return os.WriteFile(path, make([]byte, len(text)), 0o600) },
		"of tomorrow": func(path string, text []byte) error {
			return os.WriteFile(path, bytes.Replace(text, []byte(`"v":1`), []byte(`"v":2`), 1), 0o600)
		},
		"another's key": func(path string, text []byte) error {
			return os.WriteFile(path, bytes.Replace(text, []byte(`"key":"`), []byte(`"key":"AAAA`), 1), 0o600)
		},
		"too long": func(path string, text []byte) error {
			return os.WriteFile(path, append(text, make([]byte, maxBoxFile)...), 0o600)
		},
		"a link": func(path string, text []byte) error {
			return errors.Join(os.Rename(path, path+".there"), os.Symlink(path+".there", path))
		},
	} {
		m := openMail(t.TempDir())
		mailbox := newestOf(t, m, mailNow)
		text, err := os.ReadFile(m.path(mailbox))
		if err == nil {
			err = spoil(m.path(mailbox), text)
		}
		if err != nil {
			t.Fatal(err)
		}
		box, err := m.box(mailbox)
		if err == nil || box != nil || fail.AsError(err).Advice() == "" {
			t.Errorf("%s: %v, %v", name, box, err)
		}
		if err != nil && !strings.Contains(err.Error(), m.path(mailbox)) && name != "a link" {
			t.Errorf("%s: %v does not name the file", name, err)
		}
	}
}

// TestMailboxLog: the log tells which bundles have named a mailbox, and how far each relay has
// emptied it, across starts and after a line that a crash has cut off.
func TestMailboxLog(t *testing.T) {
	dir := t.TempDir()
	m := openMail(dir)
	mailbox := newestOf(t, m, mailNow)
	empty := mailNow.Add(time.Hour)
	for _, at := range []time.Time{empty, empty.Add(-time.Minute)} { // a relay's word never goes back
		if err := m.emptied("one", mailbox, at, empty); err != nil {
			t.Fatal(err)
		}
	}
	path := m.logPath(mailbox)
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := namedLine([32]byte{9})
	for i := range cut {
		if err := os.WriteFile(path, append(bytes.Clone(log), cut[:i]...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := openMail(dir).named(mailbox, [32]byte{2}); err != nil {
			t.Fatal(err)
		}
		box, err := m.box(mailbox)
		if err != nil {
			t.Fatal(err)
		}
		if !box.Named([32]byte{1}) || !box.Named([32]byte{2}) || box.Named([32]byte{3}) || box.Named([32]byte{9}) {
			t.Fatalf("after %d bytes of a line, %s", i, box.log)
		}
		if got := box.Empty("one"); !got.Equal(empty) || !box.Empty("another").IsZero() {
			t.Fatalf("empty at %v, elsewhere at %v", got, box.Empty("another"))
		}
	}
}

// A log that is full forgets the older half of the bundles, and no relay.
func TestMailboxLogIsBounded(t *testing.T) {
	m := openMail(t.TempDir())
	mailbox := newestOf(t, m, mailNow)
	if err := m.emptied("relay", mailbox, mailNow, mailNow); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	old, last := [32]byte{2, 2}, [32]byte{3, 3}
	lines.WriteString(namedLine([32]byte{1}) + emptyLine("relay", mailNow) + namedLine(old))
	for i := 0; lines.Len() < maxLog-len(namedLine(last)); i++ {
		lines.WriteString(namedLine([32]byte{4, byte(i), byte(i >> 8)}))
	}
	if err := os.WriteFile(m.logPath(mailbox), []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.named(mailbox, last); err != nil {
		t.Fatal(err)
	}
	box, err := m.box(mailbox)
	if err != nil {
		t.Fatal(err)
	}
	if len(box.log) > maxLog*3/4 || box.Named(old) || !box.Named(last) || !box.Empty("relay").Equal(mailNow) {
		t.Errorf("a log of %d bytes, old %v, last %v, empty %v", len(box.log), box.Named(old), box.Named(last), box.Empty("relay"))
	}
}

// outScene seals letters from one state directory to bob.
type outScene struct {
	t         *testing.T
	m         *mail
	alice     *trust.Key
	own, his  *trust.Bundle
	key       []byte // bob's mailbox
	ours      [32]byte
	kept      uint64 // as the history has it
	identity  [32]byte
	ownPublic []byte
}

func newOutScene(t *testing.T) *outScene { return newOutSceneIn(t, t.TempDir(), func() {}) }

// newOutSceneIn is one in a state directory. begin is called before anything is there.
func newOutSceneIn(t *testing.T, dir string, begin func()) *outScene {
	begin()
	m := openMail(dir)
	box, err := m.newest(people.Now)
	if err == nil {
		box, err = m.box(box.Hash)
	}
	if err != nil {
		t.Fatal(err)
	}
	bob, err := crypto.NewMailbox()
	if err != nil {
		t.Fatal(err)
	}
	s := &outScene{t: t, m: m, alice: people.AnyKey(t), key: bob.Public(), ours: box.Hash, identity: [32]byte{7}, ownPublic: box.Key.Public()}
	s.own = s.bundle("alice", box.Hash)
	s.his = s.bundle("bob", bob.Hash())
	return s
}

func (s *outScene) bundle(name string, mailbox [32]byte) *trust.Bundle {
	b := *people.Bundle(s.t, people.Card(s.t, name), name, s.alice)
	b.Mailbox = mailbox[:]
	return &b
}

func (s *outScene) seal(n uint64) (*outLetter, error) {
	l, err := crypto.SealLetter(crypto.LetterDraft{
		Key: s.alice, Bundle: s.own, MailboxKey: s.ownPublic, To: s.his.Hash(), ToKey: s.key, N: n, Time: people.Now,
		Records: []*crypto.Record{crypto.NewRecord(s.identity, []crypto.Recipient{{Name: "bob"}}, fmt.Sprint("number ", n), people.Now)},
	})
	if err != nil {
		return nil, err
	}
	return newOutLetter(l, "bob", [32]byte{8}, s.his, s.key), nil
}

func (s *outScene) reserve(m *mail) *outLetter {
	s.t.Helper()
	o, err := m.reserve([32]byte{8}, s.ours, crypto.MailboxHash(s.key), func() uint64 { return s.kept }, s.seal)
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// claims returns the numbers of what it claims. others are of clients that run.
func (s *outScene) claims(m *mail, others int) (n []uint64) {
	s.t.Helper()
	letters, held, err := m.claim()
	if err != nil || len(held) != others {
		s.t.Fatalf("%d letters are others', want %d: %v", len(held), others, err)
	}
	for _, o := range letters {
		n = append(n, o.h.N)
		o.release()
	}
	return n
}

// Letters to one mailbox are numbered through all clients of a directory. A letter that was
// refused gives its number to the next.
func TestLettersAreNumbered(t *testing.T) {
	s := newOutScene(t)
	another := openMail(filepath.Dir(s.m.dir))
	first, second := s.reserve(s.m), s.reserve(another)
	if first.h.N != 1 || second.h.N != 2 {
		t.Fatalf("numbers %d, %d", first.h.N, second.h.N)
	}
	if err := another.answered(second); err != nil { // refused
		t.Fatal(err)
	}
	if o := s.reserve(s.m); o.h.N != 2 {
		t.Errorf("after a refusal number %d", o.h.N)
	}
	s.kept = 7
	if o := s.reserve(s.m); o.h.N != 8 {
		t.Errorf("after the seventh was kept number %d", o.h.N)
	}
}

// The next client takes over what a client has left that is gone, and nothing of one that runs.
func TestLettersAreClaimed(t *testing.T) {
	s := newOutScene(t)
	next := openMail(filepath.Dir(s.m.dir))
	first, second, third := s.reserve(s.m), s.reserve(s.m), s.reserve(s.m)
	if got := s.claims(next, 3); got != nil {
		t.Fatalf("claimed %v of a client that runs", got)
	}
	anew, err := s.seal(second.h.N)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.m.replace(second, anew); err != nil {
		t.Fatal(err)
	}
	if got := s.claims(next, 3); got != nil {
		t.Fatalf("claimed %v of a client that runs", got)
	}
	if err := s.m.answered(first); err != nil {
		t.Fatal(err)
	}
	anew.release()
	third.release()
	letters, _, err := next.claim()
	if err != nil || len(letters) != 2 {
		t.Fatalf("claimed %d, %v", len(letters), err)
	}
	if got := s.claims(s.m, 2); got != nil {
		t.Fatalf("claimed %v twice", got)
	}
	got, err := letters[0].letter(s.identity)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != [32]byte(anew.h.Letter) || !bytes.Equal(got.Body, anew.Body) || got.Records[0].Text != "number 2" {
		t.Errorf("claimed %x, %q", got.ID, got.Records[0].Text)
	}
}

// A letter on its way whose bundle names another mailbox is told of, and stays. The others go.
func TestSpoiltLetterOnItsWay(t *testing.T) {
	s := newOutScene(t)
	spoilt, good := s.reserve(s.m), s.reserve(s.m)
	for _, theirs := range []*trust.Bundle{s.own, people.Bundle(t, people.Card(t, "bob"), "bob", s.alice)} {
		spoilt.Theirs = theirs
		if err := os.WriteFile(spoilt.path, proto.MustMarshal(spoilt), 0o600); err != nil {
			t.Fatal(err)
		}
		spoilt.release()
		good.release()
		letters, _, err := s.m.claim()
		if err == nil || !strings.Contains(err.Error(), "another mailbox") || len(letters) != 1 {
			t.Fatalf("claimed %d, %v", len(letters), err)
		}
		good = letters[0]
		if _, err := os.Stat(spoilt.path); err != nil {
			t.Error(err)
		}
	}
}

// A disk that does not sync keeps no mailbox and no letter, and says so.
func TestMailOnABadDisk(t *testing.T) {
	s := newOutScene(t)
	bad := errors.New("the disk is bad")
	for fails := 1; ; fails++ {
		dir, calls := t.TempDir(), 0
		restore := disk.SyncWith(t, func(f *os.File) error {
			if calls++; calls == fails {
				return bad
			}
			return f.Sync()
		})
		m := openMail(dir)
		box, err := m.newest(people.Now)
		if err == nil {
			err = m.named(box.Hash, [32]byte{1})
		}
		if err == nil {
			_, err = m.reserve([32]byte{8}, s.ours, crypto.MailboxHash(s.key), func() uint64 { return 0 }, s.seal)
		}
		restore()
		if calls < fails {
			if fails < 8 || err != nil {
				t.Fatalf("%d syncs, %v", calls, err)
			}
			return
		}
		if !errors.Is(err, bad) {
			t.Fatalf("sync %d failed, and the error is %v", fails, err)
		}
		disk.NoStrays(t, m.dir)
		disk.NoStrays(t, filepath.Join(m.dir, outDir))
		if got := s.claims(m, 0); got != nil {
			t.Errorf("sync %d failed, and letters are there: %v", fails, got)
		}
		if _, err := m.newest(people.Now); err != nil {
			t.Errorf("after sync %d failed: %v", fails, err)
		}
		if got := collectsOf(t, m, people.Now); len(got) != 1 {
			t.Errorf("after sync %d failed %d mailboxes", fails, len(got))
		}
		state.SyncFile = (*os.File).Sync
	}
}
