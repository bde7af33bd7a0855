package history

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// newTable makes a table in a file of its own.
func newTable(t testing.TB, seed [tableSeed]byte, bits uint64) *table {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), tableName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	made, err := makeTable(file, file, seed, bits)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// put is table.put, and grows first as a flush does.
func putGrowing(t testing.TB, in *table, key recordKey, e entry) *table {
	t.Helper()
	if bits := bitsFor(in.bits, in.count+1); bits > in.bits {
		larger := newTable(t, in.seed, bits+uint64(rand.IntN(3)))
		if err := in.growInto(larger); err != nil {
			t.Fatal(err)
		}
		if larger.count != in.count {
			t.Fatalf("%d keys became %d", in.count, larger.count)
		}
		in = larger
	}
	if err := in.put(key, e); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestTable: whatever was put into a table is found, merged, and nothing else is, also after it has
// been opened again and has grown.
func TestTable(t *testing.T) {
	in := newTable(t, newSeed(), minBits)
	want := map[recordKey]entry{}
	var keys []recordKey
	for len(keys) < 50 { // keys that all want to be in the last slots
		key := randomKey()
		if in.home(key) >= in.slots()-3 {
			keys = append(keys, key)
		}
	}
	check := func() {
		t.Helper()
		opened, err := openTable(in.file, in.file)
		if err != nil {
			t.Fatal(err)
		}
		for key, e := range want {
			if got, err := opened.get(key); err != nil || got != e {
				t.Fatalf("%x is %+v, want %+v; %v", key, got, e, err)
			}
		}
		for range 1000 {
			if got, err := opened.get(randomKey()); err != nil || got != (entry{}) {
				t.Fatalf("a key that is not there is %+v, %v", got, err)
			}
		}
	}
	for i := range 200_000 {
		key := randomKey()
		if i < len(keys) {
			key = keys[i]
		} else if rand.IntN(3) == 0 { // once more
			key = keys[rand.IntN(len(keys))]
		} else {
			keys = append(keys, key)
		}
		e := entry{rand.Int64N(1 << 40), 1 + entryState(rand.IntN(3))}
		if e.offset%10 == 0 {
			key[0], e.state = 7, stateLatest // keys of persons are others than those of records
		} else if key[0] == 7 {
			key[0] = 8
		}
		in = putGrowing(t, in, key, e)
		before, ok := want[key]
		switch {
		case !ok:
			want[key] = e
		case e.state == stateLatest:
			want[key] = entry{max(before.offset, e.offset), stateLatest}
		default:
			want[key] = entry{min(before.offset, e.offset), max(before.state, e.state)}
		}
		if i == 60 || i == 700 {
			in.sync()
			check()
		}
	}
	in.sync()
	check()
	if in.count != uint64(len(want)) || in.count > in.slots()/4*3 {
		t.Errorf("it counts %d keys in %d slots, want %d", in.count, in.slots(), len(want))
	}
}

func randomKey() (key recordKey) {
	binary.BigEndian.PutUint64(key[:], rand.Uint64())
	binary.BigEndian.PutUint64(key[8:], rand.Uint64())
	return key
}

// TestTableDamaged: a table that is cut short, longer, of another kind, or garbage is refused, or its
// slots are.
func TestTableDamaged(t *testing.T) {
	in := newTable(t, newSeed(), minBits)
	for range 500 {
		in = putGrowing(t, in, randomKey(), entry{1, stateStored})
	}
	for name, spoil := range map[string]func(f *os.File) error{
		"cut short": func(f *os.File) error { return f.Truncate(in.size() - 1) },
		"empty":     func(f *os.File) error { return f.Truncate(0) },
		"longer":    func(f *os.File) error { return f.Truncate(in.size() + 1) },
		"its magic": func(f *os.File) error { _, err := f.WriteAt([]byte("x"), 0); return err },
		"its size":  func(f *os.File) error { _, err := f.WriteAt([]byte{1}, 16+tableSeed+7); return err },
		"its count": func(f *os.File) error { _, err := f.WriteAt([]byte{0x80}, 16+tableSeed+8); return err },
		"its slots": func(f *os.File) error {
			b := make([]byte, in.size()-tableHeader)
			for i := range b {
				b[i] = byte(1 + rand.IntN(255))
			}
			_, err := f.WriteAt(b, tableHeader)
			return err
		},
	} {
		data, err := os.ReadFile(in.file.Name())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), tableName)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := openTable(file, file); err != nil {
			t.Fatal(err)
		}
		if err := spoil(file); err != nil {
			t.Fatal(err)
		}
		opened, err := openTable(file, file)
		if err != nil {
			continue
		}
		if _, err := opened.get(randomKey()); err == nil || opened.put(randomKey(), entry{1, stateStored}) == nil || opened.growInto(newTable(t, opened.seed, opened.bits+1)) == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// TestTableSearchEnds: a table in which nothing is free costs no search through all of it.
func TestTableSearchEnds(t *testing.T) {
	in, key := newTable(t, newSeed(), 15), randomKey()
	for i := range uint64(maxSearch) {
		slot := appendSlot(nil, randomKey(), entry{1, stateStored})
		at := tableHeader + int64((in.home(key)+i)%in.slots())*slotSize
		if _, err := in.store.WriteAt(slot, at); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := in.get(key); !errors.Is(err, errTable) {
		t.Errorf("%+v, %v", e, err)
	}
}
