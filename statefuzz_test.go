package chatsecure

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// The files of a state directory: whoever wrote them, what is taken is what
// would be written for it, and nothing else is.

// putFile writes the same file again for each input.
func putFile(path string, data []byte) {
	if err := os.WriteFile(path, data, stateFileMode); err != nil {
		panic(err)
	}
}

// rewritten holds what parseKnown took against what change would write.
func rewritten[L knownLine](t *testing.T, data []byte) {
	t.Helper()
	lines, err := parseKnown[L]("file", data)
	if err != nil {
		if AsError(err).Advice() == "" || lines != nil {
			t.Fatalf("%d lines, and %v", len(lines), err)
		}
		return
	}
	var again bytes.Buffer
	seen := map[string]bool{}
	for _, l := range lines {
		again.Write(append(canon.MustMarshal(l), '\n'))
		seen[l.key()] = true
	}
	if !bytes.Equal(again.Bytes(), data) || len(seen) != len(lines) {
		t.Fatalf("%q was taken for %q", data, again.Bytes())
	}
}

func FuzzKnown(f *testing.F) {
	relays := append(canon.MustMarshal(newRelayLine("relay:1", fingerprintA)), '\n')
	offered := newRelayLine("[::1]:2", fingerprintA)
	offered.Offered = fingerprintB
	bob := peerLine{V: knownVersion, Name: "bob", Accepted: true, Identity: fingerprintA, CommonName: "BOB \"<&>\"", Leaf: fingerprintB, First: "2026-11-22T09:58:20Z"}
	peers := append(canon.MustMarshal(bob), '\n')
	bob.Name, bob.Offered = proto.FoldName("Ιωάννης"), &offerLine{Identity: fingerprintB, Leaf: fingerprintA}
	corpus.Add(f, func(b []byte) bool {
		r, _ := parseKnown[relayLine]("", b)
		p, _ := parseKnown[peerLine]("", b)
		return len(r)+len(p) == 2
	}, [][]byte{append(relays, append(canon.MustMarshal(offered), '\n')...), append(peers, append(canon.MustMarshal(bob), '\n')...)},
		nil, peers[:100], append(peers, peers...), append(relays, '\n'), bytes.Replace(peers, []byte("bob"), []byte("Bob"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		rewritten[relayLine](t, b)
		rewritten[peerLine](t, b)
		lines, _ := parseKnown[peerLine]("file", b)
		for _, l := range lines {
			k := l.peer()
			if hex.EncodeToString(k.Identity[:]) != l.Identity || knownTime(k.First) != l.First || proto.CheckName(k.Name) != nil || proto.FoldName(k.Name) != k.Name {
				t.Fatalf("%+v is %+v", l, k)
			}
		}
	})
}

// FuzzRegistry: the relay's file of names has one line for each name, and says
// the same after it was written anew.
func FuzzRegistry(f *testing.F) {
	path := filepath.Join(f.TempDir(), "names")
	line := func(name, identity string, since int64) string {
		return string(canon.MustMarshal(registryLine{name, identity, since})) + "\n"
	}
	open := func(data []byte) (*registry, error) {
		putFile(path, data)
		return openRegistry(path)
	}
	corpus.Add(f, func(data []byte) bool {
		_, err := open(data)
		return err == nil
	}, [][]byte{
		nil, []byte(line("ana", fingerprintA, 1)), []byte(line("ana", fingerprintA, 1) + line("bob", fingerprintB, 2)),
		[]byte(line("a1", fingerprintA, 1) + line("al", fingerprintB, 1)),
	}, []byte(line("ana", fingerprintA, 1)+`{"name":"b`), []byte(line("ana", fingerprintA, 1)+line("ana", fingerprintB, 2)), []byte(line("ana", "", 3)),
		[]byte("{}\n"), []byte(line("Ana", fingerprintA, 1)), []byte(line("ana", strings.ToUpper(fingerprintA), 1)), []byte(line("ana", fingerprintA[2:], 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := open(data)
		if err != nil {
			return
		}
		want := map[string]registryEntry{}
		for text := range bytes.Lines(data) {
			var l registryLine
			if err := canon.Unmarshal(bytes.TrimSuffix(text, []byte("\n")), &l); err != nil || proto.FoldName(l.Name) != l.Name || !isHash(l.Identity) {
				t.Fatalf("taken: %q", text)
			}
			if _, ok := want[l.Name]; ok {
				t.Fatalf("taken, though the name stands twice: %q", data)
			}
			want[l.Name] = registryEntry{unhex32(l.Identity), l.Since}
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
			looks += len(registrySkeletons(name))
		}
		for _, l := range g.looks {
			looks -= l.names
		}
		if held != len(want) || looks != 0 {
			t.Fatalf("%d names are held of %d, and %d looks too few", held, len(want), looks)
		}
		again, err := open(registryFile(g.names))
		if err != nil || !maps.Equal(again.names, want) {
			t.Fatalf("written anew it is %v, %v", again, err)
		}
	})
}

// FuzzKept: a kept credential is taken only as it would be kept.
func FuzzKept(f *testing.F) {
	s, err := OpenState(filepath.Join(f.TempDir(), "state"), "alice")
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1795000000, 0)
	kept := func(c *Credential) []byte {
		if err := s.Keep(c, "card"); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(s.keptPath())
		if err != nil {
			f.Fatal(err)
		}
		return data
	}
	load := func(data []byte) (*Credential, error) {
		putFile(s.keptPath(), data)
		return s.LoadKept("alice", "card", now)
	}
	ed := kept(keepable(f, "alice", crypto.KeyEd25519, now.Add(time.Hour)))
	corpus.Add(f, func(data []byte) bool { c, _ := load(data); return c != nil },
		[][]byte{ed, kept(keepable(f, "alice", crypto.KeyRSA, now.Add(time.Hour)))},
		nil, []byte("{}"), ed[:200], bytes.Replace(ed, []byte(`"v":1`), []byte(`"v":2`), 1), kept(keepable(f, "alice", crypto.KeyEd25519, now.Add(-time.Hour))), kept(keepable(f, "bob", crypto.KeyEd25519, now.Add(time.Hour))))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := load(data)
		if c == nil {
			if err != nil && AsError(err).Advice() == "" {
				t.Fatalf("no advice: %v", err)
			}
			return
		}
		if err != nil || c.Bundle.Name != "alice" || c.Bundle.NotAfter < now.Unix() || !bytes.Equal(c.Key.Public().SPKI(), c.Bundle.PublicKey) {
			t.Fatalf("taken: %+v, %v", c.Bundle, err)
		}
		// The key may be in another PKCS #8 that reads the same, since
		// crypto/x509 takes more than one; all else has one form.
		var file keptFile
		if err := canon.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		file.Key = c.Key.PKCS8()
		if again := kept(c); !bytes.Equal(again, canon.MustMarshal(&file)) {
			t.Fatalf("%q is kept as %q", data, again)
		}
	})
}

func FuzzRelayKey(f *testing.F) {
	path := filepath.Join(f.TempDir(), "key")
	read := func(text []byte) (*crypto.Key, error) {
		putFile(path, text)
		return readRelayKey(path)
	}
	var good [][]byte
	for _, kind := range []string{crypto.KeyEd25519, crypto.KeyRSA} {
		key, err := crypto.GenerateKey(kind)
		if err != nil {
			f.Fatal(err)
		}
		good = append(good, pem.EncodeToMemory(&pem.Block{Type: relayKeyType, Bytes: key.PKCS8()}))
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
		again, err := read(pem.EncodeToMemory(&pem.Block{Type: relayKeyType, Bytes: key.PKCS8()}))
		if err != nil || !bytes.Equal(again.Public().SPKI(), key.Public().SPKI()) {
			t.Fatalf("it comes back as another, %v", err)
		}
	})
}

// FuzzStateName: the file that says whose a state directory is.
func FuzzStateName(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "state")
	if err := makeStateDir(dir); err != nil {
		f.Fatal(err)
	}
	open := func(name []byte) (*State, error) {
		putFile(filepath.Join(dir, stateName), name)
		return OpenStateRead(dir)
	}
	corpus.Add(f, func(name []byte) bool { _, err := open(name); return err == nil },
		[][]byte{[]byte("alice\n"), []byte("Ιωάννης\n"), []byte("bob")}, nil, []byte("\n"), []byte("bob\n\n"), []byte("../x\n"), []byte("all\n"))
	f.Fuzz(func(t *testing.T, name []byte) {
		s, err := open(name)
		if good := proto.CheckName(strings.TrimSuffix(string(name), "\n")) == nil; good != (err == nil) {
			t.Fatalf("%q: a name %v, and %v", name, good, err)
		}
		if err == nil && s.Name() != strings.TrimSuffix(string(name), "\n") {
			t.Fatalf("%q is the name %q", name, s.Name())
		}
	})
}

func FuzzHistoryHead(f *testing.F) {
	hash := unhex32(fingerprintA)
	corpus.Add(f, func(b []byte) bool { _, err := parseHistoryHead(b); return err == nil },
		[][]byte{appendHistoryHead(nil, 0, &[32]byte{}), appendHistoryHead(nil, 1<<64-1, &hash)},
		nil, []byte("{}"), []byte(`{"v":1,"count":-1,"hash":"`+fingerprintA+`"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHistoryHead(b)
		if err != nil {
			return
		}
		last := unhex32(h.Hash)
		if again := appendHistoryHead(nil, h.Count, &last); !bytes.Equal(again, b) {
			t.Fatalf("%q was taken for %q", b, again)
		}
	})
}
