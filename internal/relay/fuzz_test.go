package relay

import (
	"bytes"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// FuzzRegistry: the file of names has one line for each name, and encodes to the same
// names again.
func FuzzRegistry(f *testing.F) {
	path := filepath.Join(f.TempDir(), "names")
	anas, bobs := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	line := func(name, identity string, since int64) string {
		return string(proto.MustMarshal(record{name, identity, since})) + "\n"
	}
	open := func(data []byte) (*registry, error) {
		corpus.Put(path, data)
		return openRegistry(path, slog.New(slog.DiscardHandler))
	}
	corpus.Add(f, func(data []byte) bool {
		_, err := open(data)
		return err == nil
	}, [][]byte{
		nil, []byte(line("ana", anas, 1)), []byte(line("ana", anas, 1) + line("bob", bobs, 2)),
		[]byte(line("a1", anas, 1) + line("al", bobs, 1)),
	}, []byte(line("ana", anas, 1)+`{"name":"b`), []byte(line("ana", anas, 1)+line("ana", bobs, 2)), []byte(line("ana", "", 3)),
		[]byte("{}\n"), []byte(line("Ana", anas, 1)), []byte(line("ana", strings.ToUpper(anas), 1)), []byte(line("ana", anas[2:], 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := open(data)
		if err != nil {
			return
		}
		want := map[string]owner{}
		for text := range bytes.Lines(data) {
			var l record
			err := proto.Unmarshal(bytes.TrimSuffix(text, []byte("\n")), &l)
			if err != nil || proto.FoldName(l.Name) != l.Name || !proto.IsHex(l.Identity, 32) {
				t.Fatalf("taken: %q", text)
			}
			if _, ok := want[l.Name]; ok {
				t.Fatalf("taken, though the name stands twice: %q", data)
			}
			want[l.Name] = owner{proto.MustHash(l.Identity), l.Since}
		}
		if len(data) > 0 && data[len(data)-1] != '\n' {
			t.Fatalf("taken, though its last line has no end: %q", data)
		}
		if !maps.Equal(g.names, want) {
			t.Fatalf("%q is %v, want %v", data, g.names, want)
		}
		held, looks := 0, 0
		for _, n := range g.held {
			held += n
		}
		for name := range want {
			looks += len(proto.Shapes(name))
		}
		for _, l := range g.looks {
			looks -= l.names
		}
		if held != len(want) || looks != 0 {
			t.Fatalf("%d names are held of %d, and %d looks too few", held, len(want), looks)
		}
		again, err := open(encode(g.names))
		if err != nil || !maps.Equal(again.names, want) {
			t.Fatalf("written anew it is %v, %v", again, err)
		}
	})
}

// FuzzRelayKey: the key file is one private key in PEM, and encodes to the same key
// again.
func FuzzRelayKey(f *testing.F) {
	path := filepath.Join(f.TempDir(), "key")
	read := func(text []byte) (*trust.Key, error) {
		corpus.Put(path, text)
		return readKey(path)
	}
	var good [][]byte
	for _, kind := range []string{trust.KeyEd25519, trust.KeyRSA} {
		key, err := trust.GenerateKey(kind)
		if err != nil {
			f.Fatal(err)
		}
		good = append(good, pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: key.PKCS8()}))
	}
	corpus.Add(f, func(text []byte) bool { _, err := read(text); return err == nil }, good,
		nil, good[0][:40], append(good[0], good[0]...), bytes.ReplaceAll(good[0], []byte("PRIVATE"), []byte("PUBLIC")))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := read(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "relay key: ") || key != nil {
				t.Fatal(err)
			}
			return
		}
		if _, rest := pem.Decode(text); len(rest) > 0 {
			t.Fatalf("%q comes after the key", rest)
		}
		again, err := read(pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: key.PKCS8()}))
		if err != nil || !bytes.Equal(again.Public().SPKI(), key.Public().SPKI()) {
			t.Fatalf("it comes back as another, %v", err)
		}
	})
}

// FuzzLetterFile: whatever stands in a letter's file, a relay starts. It has the letter, byte for
// byte as it stands there, or sets the file aside.
func FuzzLetterFile(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "letters")
	mailbox := [32]byte{7}
	box := filepath.Join(dir, strings.Repeat("0a", 32), proto.FormatHash(mailbox))
	path := filepath.Join(box, "0000000000000001")
	open := func(data []byte) (*letters, error) {
		if err := errors.Join(os.RemoveAll(box), os.MkdirAll(box, 0o700)); err != nil {
			panic(err)
		}
		corpus.Put(path, data)
		return openLetters(&Config{Letters: true, Log: slog.New(slog.DiscardHandler), Now: time.Now}, dir, nil)
	}
	letter := letterIn(mailbox[:], 2000)
	line := func(kind, identity string, left, until int64) []byte {
		return append(append(proto.MustMarshal(&storedLetter{kind, identity, left, until}), '\n'), letter...)
	}
	anas := strings.Repeat("0a", 32)
	good := line(proto.LetterText, anas, 1, 2)
	corpus.Add(f, func(data []byte) bool {
		l, err := open(data)
		return err == nil && len(l.ids) == 1
	}, [][]byte{good, line(proto.LetterReceipt, anas, 1<<62, 1<<62)},
		nil, good[:200], good[1:], line("pipe", anas, 1, 2), line(proto.LetterText, anas[1:], 1, 2), line(proto.LetterText, anas, 0, 2),
		bytes.ReplaceAll(good, []byte("MLKEM"), []byte("MLKEN")), append(bytes.Clone(good), make([]byte, proto.MaxLetter)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := open(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, known := range l.ids {
			lt := known.letter
			body, err := readLetter(lt)
			head := proto.MustMarshal(&storedLetter{kindNames[lt.kind], proto.FormatHash(lt.sender), lt.left, lt.until})
			if err != nil || !bytes.Equal(data, append(append(head, '\n'), body...)) {
				t.Fatalf("taken as %s, %v", head, err)
			}
		}
		aside := filepath.Join(box, damaged+filepath.Base(path))
		if _, err := os.Stat(aside); (err == nil) == (len(l.ids) == 1) {
			t.Fatalf("%d letters, and set aside: %v", len(l.ids), err)
		}
	})
}
