package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"chatsecure/proto"
)

// small makes the index write itself often, until the end of the test.
func small(t testing.TB, entries int, bytes int64) {
	beforeEntries, beforeBytes := flushEntries, flushBytes
	flushEntries, flushBytes = entries, bytes
	t.Cleanup(func() { flushEntries, flushBytes = beforeEntries, beforeBytes })
}

// indexed is a history with an index, and what a client must know of it.
type indexed struct {
	*pair
	files   map[string][]byte
	levels  map[string]KnownLevel
	unshown []string // texts
	account Account
}

// newIndexed is Bruno's history of so many conversations. All but the last is in the index, if the
// index is as small as that.
func newIndexed(t testing.TB, conversations int) *indexed {
	t.Helper()
	x := &indexed{pair: newPair(t), levels: map[string]KnownLevel{}}
	p := x.pair
	for i := range conversations {
		if i > 0 {
			p.Clock.Add(time.Second)
			p.Connect()
		}
		for j := range 4 {
			text := fmt.Sprintf("%d shown %d", i, j)
			x.levels[p.Send(text)[0]] = KnownShown
		}
		p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 4))
		for j := range 2 {
			text := fmt.Sprintf("%d waits %d", i, j)
			x.levels[p.Send(text)[0]] = KnownStored
			x.unshown = append(x.unshown, text)
		}
		p.Must(p.b.h.Seen(p.Cb.T3, p.Cb.SendDirection(), 5))
		if i == conversations/2 {
			p.close(p.b)
			p.reopen(p.b)
			p.b.h.Unshown()
			p.Connect()
		}
	}
	x.account = p.b.h.Account(p.a.Local.Identity)
	p.close(p.b)
	p.close(p.a)
	x.files = readFiles(t, p.b.dir)
	return x
}

// check opens the history in dir as each kind of client, and holds what they know against what they
// must. Each writes another conversation.
func (x *indexed) check(t *testing.T, what, dir string) {
	t.Helper()
	p := x.pair
	before := len(ofType(chained(t, dir), lineBundle))
	for i, receiving := range []bool{true, false, true} {
		cfg := p.config(&user{User: p.B, dir: dir})
		cfg.Receiving = receiving
		h, notices, err := Open(cfg)
		if err != nil || len(notices) > 0 {
			t.Fatalf("%s: %v, %q", what, err, notices)
		}
		_, cb := p.Shake(p.A, p.B)
		p.Must(h.Begin(cb, p.b.Local.Bundle))
		if receiving {
			for id, want := range x.levels {
				if got := h.Known(id); got != want {
					t.Errorf("%s: a record is known as %d, want %d", what, got, want)
				}
			}
			if h.Known(fmt.Sprintf("%032x", rand.Uint64())) != KnownNot {
				t.Errorf("%s: a record that never came is known", what)
			}
			left := h.Unshown()
			if !slices.Equal(texts(left), x.unshown) {
				t.Errorf("%s: unshown is %q, want %q", what, texts(left), x.unshown)
			}
			for j, s := range left {
				if seen := j%2 == 0; s.Seen != seen || s.From.Name != "Ana" || s.Identity != p.a.Local.Identity {
					t.Errorf("%s: %q is %+v", what, s.Record.Text, s)
				}
			}
		}
		// The conversations of this check are charged too.
		if got := h.Account(p.a.Local.Identity); receiving && i == 0 && (got.Records != x.account.Records || got.Bytes <= x.account.Bytes) {
			t.Errorf("%s: the account is %+v, want %+v and more", what, got, x.account)
		}
		p.Must(h.Close())
	}
	if r := verified(t, dir, p.Verifier); !r.OK() {
		t.Errorf("%s: %v", what, r.Findings)
	}
	if after := len(ofType(chained(t, dir), lineBundle)); after != before {
		t.Errorf("%s: %d bundles became %d", what, before, after)
	}
	if b, err := LastBundle(dir, p.a.Local.Identity); err != nil || b == nil || b.Hash() != p.a.Local.Bundle.Hash() {
		t.Errorf("%s: the last bundle is %+v, %v", what, b, err)
	}
}

// TestIndexIsThrownAway: whatever becomes of the index, the same is known.
func TestIndexIsThrownAway(t *testing.T) {
	small(t, 16, 8<<10)
	x, other := newIndexed(t, 9), newIndexed(t, 6)
	if x.files[indexName] == nil || x.files[tableName] == nil || indexIn(x.b.dir) == nil || indexIn(other.b.dir) == nil {
		t.Fatalf("there is no index: %v", slices.Collect(maps.Keys(x.files)))
	}
	older := func(files map[string][]byte) map[string][]byte { // as of the middle
		dir := writeFiles(t, map[string][]byte{linesName: files[linesName][:bytes.IndexByte(files[linesName][len(files[linesName])/2:], '\n')+len(files[linesName])/2+1]})
		cfg := x.config(&user{User: x.B, dir: dir})
		h, _, err := Open(cfg)
		x.Must(err)
		x.Must(h.Close())
		return readFiles(t, dir)
	}(x.files)
	for name, edit := range map[string]func(f map[string][]byte){
		"as it is":        func(map[string][]byte) {},
		"no index":        func(f map[string][]byte) { delete(f, indexName) },
		"no table":        func(f map[string][]byte) { delete(f, tableName) },
		"neither":         func(f map[string][]byte) { delete(f, indexName); delete(f, tableName) },
		"index empty":     func(f map[string][]byte) { f[indexName] = nil },
		"index cut short": func(f map[string][]byte) { f[indexName] = f[indexName][:len(f[indexName])/2] },
		"index garbage":   func(f map[string][]byte) { f[indexName] = garbage(len(f[indexName])) },
		"index of nobody": func(f map[string][]byte) {
			f[indexName] = bytes.Replace(f[indexName], []byte(`"identity":"`), []byte(`"identity":"x`), 1)
		},
		"index is a number":     func(f map[string][]byte) { f[indexName] = []byte("1") },
		"table cut short":       func(f map[string][]byte) { f[tableName] = f[tableName][:len(f[tableName])-32] },
		"table garbage":         func(f map[string][]byte) { f[tableName] = garbage(len(f[tableName])) },
		"slots garbage":         func(f map[string][]byte) { copy(f[tableName][tableHeader:], garbage(len(f[tableName])-tableHeader)) },
		"both another's":        func(f map[string][]byte) { f[indexName], f[tableName] = other.files[indexName], other.files[tableName] },
		"index another's":       func(f map[string][]byte) { f[indexName] = other.files[indexName] },
		"table another's":       func(f map[string][]byte) { f[tableName] = other.files[tableName] },
		"both old":              func(f map[string][]byte) { f[indexName], f[tableName] = older[indexName], older[tableName] },
		"index old":             func(f map[string][]byte) { f[indexName] = older[indexName] },
		"table old":             func(f map[string][]byte) { f[tableName] = older[tableName] },
		"a table being made":    func(f map[string][]byte) { f[tableName+".new"] = garbage(100) },
		"a temporary file left": func(f map[string][]byte) { f[".new-12345"] = garbage(100) },
	} {
		files := make(map[string][]byte)
		for n, data := range x.files {
			files[n] = bytes.Clone(data)
		}
		edit(files)
		x.check(t, name, writeFiles(t, files))
	}
	// Lines that an older backup has brought back are others than the index knows.
	dir := writeFiles(t, map[string][]byte{linesName: older[linesName], indexName: x.files[indexName], tableName: x.files[tableName]})
	if indexIn(dir) != nil {
		t.Error("an index fits lines that it does not know")
	}
}

// TestIndexThatLies: an index that cannot be this program's is none. Else its last line would be the
// prev of the next, and its counts would be believed.
func TestIndexThatLies(t *testing.T) {
	small(t, 16, 8<<10)
	x := newIndexed(t, 5)
	lines := x.files[linesName]
	edit := func(f func(s *indexState)) func(dir string) error {
		return func(dir string) error {
			path := filepath.Join(dir, indexName)
			data, err := os.ReadFile(path)
			var s indexState
			x.Must(errors.Join(err, proto.Unmarshal(data, &s)))
			f(&s)
			return os.WriteFile(path, proto.MustMarshal(&s), 0o600)
		}
	}
	last := func(move func(s *indexState)) func(dir string) error {
		return edit(func(s *indexState) {
			move(s)
			hash := sha256.Sum256(lines[s.Last : s.Size-1])
			s.Hash = hash[:]
		})
	}
	for name, lie := range map[string]func(dir string) error{
		"in the middle of a line": last(func(s *indexState) { s.Last += 20 }),
		"at the line before":      last(func(s *indexState) { s.Last = int64(bytes.LastIndexByte(lines[:s.Last-1], '\n') + 1) }),
		"waiting twice":           edit(func(s *indexState) { s.Waiting = append(s.Waiting[:1], s.Waiting...) }),
		"waiting backward":        edit(func(s *indexState) { slices.Reverse(s.Waiting) }),
		"a full table": func(dir string) error {
			return writeAt(filepath.Join(dir, tableName), []byte{0x80}, int64(len(tableMagic)+tableSeed+8))
		},
		"a huge table": func(dir string) error {
			path := filepath.Join(dir, tableName)
			big := &table{bits: 32}
			return errors.Join(writeAt(path, []byte{32}, int64(len(tableMagic)+tableSeed+7)), os.Truncate(path, big.size()))
		},
	} {
		dir := writeFiles(t, x.files)
		if indexIn(dir) == nil {
			t.Fatalf("%s: there was no index before", name)
		}
		x.Must(lie(dir))
		if indexIn(dir) != nil {
			t.Errorf("%s: it is taken for an index", name)
			continue
		}
		x.check(t, name, dir)
	}
}

func writeAt(path string, b []byte, at int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(b, at)
	return errors.Join(err, file.Close())
}

// TestIndexOfATextIsNone: a record is known by a received line that has it, and not by one whose text
// only has its id.
func TestIndexOfATextIsNone(t *testing.T) {
	small(t, 4, 1)
	p := newPair(t)
	key := randomKey()
	p.Send(hex.EncodeToString(key[:]))
	for i := range 8 {
		p.Send(fmt.Sprint(i))
	}
	p.close(p.b)
	lines, err := os.ReadFile(filepath.Join(p.b.dir, linesName))
	p.Must(err)
	at := bytes.LastIndexByte(lines[:bytes.Index(lines, []byte(hex.EncodeToString(key[:])))], '\n') + 1
	file, err := os.OpenFile(filepath.Join(p.b.dir, tableName), os.O_RDWR, 0)
	p.Must(err)
	ids, err := openTable(file, file)
	p.Must(err)
	p.Must(ids.put(key, entry{int64(at), stateShown}))
	p.Must(ids.sync())
	ids.close()
	h, _, err := Open(p.config(p.b))
	p.Must(err)
	if got := h.Known(hex.EncodeToString(key[:])); got != KnownNot {
		t.Errorf("a record that never came is known as %d", got)
	}
	p.Must(h.Close())
}

// TestTableIsMadeBesideNothing: what stands in the place of a table that is being made is not
// written to.
func TestTableIsMadeBesideNothing(t *testing.T) {
	small(t, 4, 1)
	p := newPair(t)
	os.Remove(filepath.Join(p.b.dir, indexName))
	os.Remove(filepath.Join(p.b.dir, tableName))
	p.Must(os.Link(filepath.Join(p.b.dir, linesName), filepath.Join(p.b.dir, tableName+".new")))
	for i := range 8 {
		p.Send(fmt.Sprint(i))
	}
	p.close(p.b)
	if r := verified(t, p.b.dir, p.Verifier); !r.OK() || r.Records != 8 {
		t.Errorf("%d records, %v", r.Records, r.Findings)
	}
}

func garbage(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(1 + rand.IntN(255))
	}
	return b
}

// stepping is a file whose directory is copied before each step that changes the file.
type stepping struct {
	*os.File
	step func()
}

func (s *stepping) WriteAt(b []byte, at int64) (int, error) {
	s.step()
	n, err := s.File.WriteAt(b[:len(b)/2], at)
	if err != nil {
		return n, err
	}
	s.step()
	n2, err := s.File.WriteAt(b[n:], at+int64(n))
	return n + n2, err
}

func (s *stepping) Truncate(size int64) error { s.step(); return s.File.Truncate(size) }
func (s *stepping) Sync() error               { s.step(); return s.File.Sync() }

// TestFlushCrashes: a client that is killed between any two steps of a flush leaves a history of which
// the next one knows all. Its table grows once.
func TestFlushCrashes(t *testing.T) {
	small(t, 1<<20, 1<<40)
	x := newIndexed(t, 4)
	small(t, 1<<20, 1)
	var before map[string][]byte
	for round := range 2 {
		dir := writeFiles(t, cmpOr(before, x.files))
		var copies []string
		cfg := x.config(&user{User: x.B, dir: dir})
		cfg.Through = func(f *os.File) Store {
			if filepath.Base(f.Name()) == linesName {
				return f
			}
			return &stepping{f, func() { copies = append(copies, writeFiles(t, readFiles(t, dir))) }}
		}
		h, _, err := Open(cfg)
		x.Must(err)
		x.Must(h.Failed(fmt.Sprintf("%032x", round), "nobody", "no"))
		if round == 1 { // makes the table grow
			for i := range (1<<minBits)/4*3 - int(h.known.table.count) {
				h.known.entries[randomKey()] = entry{int64(i), stateStored}
			}
		}
		x.Must(h.Close())
		if len(copies) < 8 {
			t.Fatalf("%d steps", len(copies))
		}
		before = readFiles(t, dir)
		if file := indexIn(dir); file == nil || round == 1 && file.table.bits == minBits {
			t.Errorf("round %d: there is no index, or it has not grown", round)
		}
		small(t, 1<<20, 1<<40)
		for _, copied := range append(copies, dir) {
			// The copy has the run of a killed client.
			cfg := x.config(&user{User: x.B, dir: copied})
			h, _, err := Open(cfg)
			x.Must(err)
			x.Must(h.Close())
			x.check(t, fmt.Sprint("round ", round), copied)
		}
		small(t, 1<<20, 1)
	}
}

func cmpOr(a, b map[string][]byte) map[string][]byte {
	if a != nil {
		return a
	}
	return b
}

// TestFlushOnFullDisk: an index that finds no room keeps nobody from writing lines, and leaves the
// one before it.
func TestFlushOnFullDisk(t *testing.T) {
	small(t, 1<<20, 1<<40)
	x := newIndexed(t, 4)
	small(t, 4, 1)
	for _, name := range []string{tableName, tableName + ".new"} {
		dir := writeFiles(t, x.files)
		cfg := x.config(&user{User: x.B, dir: dir})
		cfg.Through = func(f *os.File) Store {
			if filepath.Base(f.Name()) == name {
				return noRoom{f}
			}
			return f
		}
		h, _, err := Open(cfg)
		x.Must(err)
		for range 100 {
			x.Must(h.Failed(fmt.Sprintf("%032x", rand.Uint64()), "nobody", "no"))
		}
		x.Must(h.Close())
		x.check(t, name, dir)
	}
}

type noRoom struct{ *os.File }

func (noRoom) WriteAt([]byte, int64) (int, error) { return 0, errors.New("no room") }

// TestIndexTakenFromUnder: a running client whose index goes away, or is another's, makes it anew.
func TestIndexTakenFromUnder(t *testing.T) {
	small(t, 8, 1)
	for name, take := range map[string]func(dir string) error{
		"the index": func(dir string) error { return os.Remove(filepath.Join(dir, indexName)) },
		"the table": func(dir string) error { return os.Remove(filepath.Join(dir, tableName)) },
		"both": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, indexName)), os.Remove(filepath.Join(dir, tableName)))
		},
		"it is zero": func(dir string) error { return os.WriteFile(filepath.Join(dir, tableName), nil, 0o600) },
	} {
		x := newIndexed(t, 5)
		p := x.pair
		p.reopen(p.b)
		p.b.h.Unshown()
		p.Must(take(p.b.dir))
		p.Connect()
		for i := range 30 {
			text := fmt.Sprint("after that ", i)
			x.levels[p.Send(text)[0]] = KnownStored
		}
		p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 30))
		for id, level := range x.levels {
			if p.b.h.Known(id) == KnownShown && level == KnownStored {
				x.levels[id] = KnownShown
			}
		}
		x.account = p.b.h.Account(p.a.Local.Identity)
		p.close(p.b)
		if indexIn(p.b.dir) == nil {
			t.Errorf("%s: there is no index after that", name)
		}
		x.check(t, name, p.b.dir)
	}
}

// TestOpenTakesNoMoreMemory: what a start keeps in memory does not grow with the history.
func TestOpenTakesNoMoreMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes many messages")
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	takes := func(records int) (bytes uint64) {
		p := newPair(t)
		batch := newBatch(p, 250)
		for i := range records / 250 {
			batch.next(i)
			p.Must(p.b.h.Received(p.Cb, batch.o))
			p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), p.Cb.ReceivedSeq()))
		}
		p.close(p.b)
		before := heap()
		p.reopen(p.b)
		bytes = heap() - before
		if p.b.h.Known(fmt.Sprintf("%016x%016x", records/250-1, 249)) != KnownShown {
			t.Errorf("of %d records the last is not known", records)
		}
		p.close(p.b)
		return bytes
	}
	few, many := takes(20_000), takes(200_000)
	if t.Logf("20,000 records take %d bytes, 200,000 take %d", few, many); many > 2*few {
		t.Errorf("20,000 records take %d bytes in memory, 200,000 take %d", few, many)
	}
}

// indexIn opens the index of a history.
func indexIn(dir string) *indexFile {
	lines, err := os.Open(filepath.Join(dir, linesName))
	if err != nil {
		return nil
	}
	defer lines.Close()
	return openIndex(dir, lines)
}
