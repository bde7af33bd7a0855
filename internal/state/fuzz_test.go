package state

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// A file of a state directory is taken only in the form in which it would be written,
// whoever wrote it.

// putFile writes the same file again for each input.
func putFile(path string, data []byte) {
	if err := os.WriteFile(path, data, FileMode); err != nil {
		panic(err)
	}
}

// rewritten compares the input that parseKnown takes with the output of change.
func rewritten[L knownLine](t *testing.T, data []byte) {
	t.Helper()
	lines, err := parseKnown[L]("file", data)
	if err != nil {
		if fail.AsError(err).Advice() == "" || lines != nil {
			t.Fatalf("%d lines, and %v", len(lines), err)
		}
		return
	}
	var again bytes.Buffer
	seen := map[string]bool{}
	for _, l := range lines {
		again.Write(append(proto.MustMarshal(l), '\n'))
		seen[l.key()] = true
	}
	if !bytes.Equal(again.Bytes(), data) || len(seen) != len(lines) {
		t.Fatalf("%q was taken for %q", data, again.Bytes())
	}
}

func FuzzKnown(f *testing.F) {
	relays := append(proto.MustMarshal(newKnownRelay("relay:1", fingerprintA)), '\n')
	other := newKnownRelay("[::1]:2", fingerprintA)
	bob := KnownPeer{
		V: knownVersion, Name: "bob", Accepted: true, Identity: proto.MustHash(fingerprintA),
		CommonName: "BOB \"<&>\"", Leaf: proto.MustHash(fingerprintB), First: time.Date(2026, 11, 22, 9, 58, 20, 0, time.UTC),
	}
	peers := append(proto.MustMarshal(bob), '\n')
	bob.Name, bob.Accepted, bob.Blocked = proto.FoldName("Ιωάννης"), false, true
	corpus.Add(f, func(b []byte) bool {
		r, _ := parseKnown[KnownRelay]("", b)
		p, _ := parseKnown[KnownPeer]("", b)
		return len(r)+len(p) == 2
	}, [][]byte{append(relays, append(proto.MustMarshal(other), '\n')...), append(peers, append(proto.MustMarshal(bob), '\n')...)},
		nil, peers[:100], append(peers, peers...), append(relays, '\n'), bytes.Replace(peers, []byte("bob"), []byte("Bob"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		rewritten[KnownRelay](t, b)
		rewritten[KnownPeer](t, b)
		lines, _ := parseKnown[KnownPeer]("file", b)
		for _, l := range lines {
			if !l.First.Equal(fileTime(l.First)) || proto.CheckName(l.Name) != nil || proto.FoldName(l.Name) != l.Name {
				t.Fatalf("%+v was taken", l)
			}
		}
	})
}

// FuzzKept: a kept credential is taken only as it would be kept.
func FuzzKept(f *testing.F) {
	s, err := Open(filepath.Join(f.TempDir(), "state"), "alice")
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
	ed := kept(Keepable(f, "alice", trust.KeyEd25519, now.Add(time.Hour)))
	corpus.Add(f, func(data []byte) bool { c, _ := load(data); return c != nil },
		[][]byte{ed, kept(Keepable(f, "alice", trust.KeyRSA, now.Add(time.Hour)))},
		nil, []byte("{}"), ed[:200], bytes.Replace(ed, []byte(`"v":1`), []byte(`"v":2`), 1),
		kept(Keepable(f, "alice", trust.KeyEd25519, now.Add(-time.Hour))), kept(Keepable(f, "bob", trust.KeyEd25519, now.Add(time.Hour))))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := load(data)
		if c == nil {
			if err != nil && fail.AsError(err).Advice() == "" {
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
		if err := proto.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		file.Key = c.Key.PKCS8()
		if again := kept(c); !bytes.Equal(again, proto.MustMarshal(&file)) {
			t.Fatalf("%q is kept as %q", data, again)
		}
	})
}

// FuzzStateName: the file with the owner's name of a state directory.
func FuzzStateName(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "state")
	if err := MakeDir(dir); err != nil {
		f.Fatal(err)
	}
	open := func(name []byte) (*State, error) {
		putFile(filepath.Join(dir, nameFile), name)
		return OpenReadOnly(dir)
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
