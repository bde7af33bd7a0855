package state

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
)

// Keepable returns a credential as far as Keep looks at it: its times and its key. The
// relay and the peers check its signer.
func Keepable(t testing.TB, name, kind string, ends time.Time) *Credential {
	t.Helper()
	key, err := trust.GenerateKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return &Credential{Key: key, Bundle: &trust.Bundle{
		Name: name, PublicKey: key.Public().SPKI(), NotBefore: ends.Add(-time.Hour).Unix(), NotAfter: ends.Unix(), Mailbox: []byte{},
		Signature: []byte{1}, X509: []byte{2}, Chain: [][]byte{},
	}}
}

func TestKeep(t *testing.T) {
	now := time.Now()
	for _, kind := range []string{trust.KeyEd25519, trust.KeyRSA} {
		s := mustState(t)
		if c, err := s.LoadKept("alice", "", now); c != nil || err != nil {
			t.Fatalf("before anything was kept: %v %v", c, err)
		}
		kept := Keepable(t, "alice", kind, now.Add(time.Hour))
		if err := s.Keep(kept, "pkcs11:token=a"); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(s.Dir(), keptName)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file: %v %v", info.Mode(), err)
		}
		for _, card := range []string{"", "pkcs11:token=a"} {
			c, err := s.LoadKept("alice", card, now)
			if err != nil || c == nil {
				t.Fatalf("card %q: %v %v", card, c, err)
			}
			if !kept.Key.Public().Verify([]byte("m"), c.Key.Sign([]byte("m"))) || c.Bundle.Hash() != kept.Bundle.Hash() {
				t.Errorf("card %q: another credential came back", card)
			}
		}
		for name, card := range map[string]string{"alice": "pkcs11:token=b", "Alice": "", "bob": ""} {
			if c, err := s.LoadKept(name, card, now); c != nil || err != nil {
				t.Errorf("name %s, card %q: %v %v", name, card, c, err)
			}
		}
		if ok, err := s.EraseKept(); !ok || err != nil {
			t.Errorf("erase: %v %v", ok, err)
		}
		if ok, err := s.EraseKept(); ok || err != nil {
			t.Errorf("erase again: %v %v", ok, err)
		}
		if c, err := s.LoadKept("alice", "", now); c != nil || err != nil {
			t.Errorf("after it was erased: %v %v", c, err)
		}
	}
}

func TestKeepEndsWithTheDelegation(t *testing.T) {
	s := mustState(t)
	ends := time.Now().Add(time.Hour)
	if err := s.Keep(Keepable(t, "alice", trust.KeyEd25519, ends), ""); err != nil {
		t.Fatal(err)
	}
	if c, err := s.LoadKept("alice", "", ends.Add(time.Second)); c != nil || err != nil {
		t.Errorf("after its end: %v %v", c, err)
	}
	if _, err := os.Lstat(filepath.Join(s.Dir(), keptName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestKeepRefused(t *testing.T) {
	now := time.Now()
	write := func(change func(path string)) error {
		s := mustState(t)
		if err := s.Keep(Keepable(t, "alice", trust.KeyEd25519, now.Add(time.Hour)), ""); err != nil {
			t.Fatal(err)
		}
		change(filepath.Join(s.Dir(), keptName))
		c, err := s.LoadKept("alice", "", now)
		if c != nil {
			t.Error("a credential came back")
		}
		return err
	}
	edit := func(f func(string) string) func(path string) {
		return func(path string) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(f(string(data))), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	other := Keepable(t, "alice", trust.KeyEd25519, now.Add(time.Hour))
	for name, change := range map[string]func(path string){
		"read by the group": func(path string) { os.Chmod(path, 0o640) },
		"read by all":       func(path string) { os.Chmod(path, 0o604) },
		"a link": func(path string) {
			os.Rename(path, path+".real")
			os.Symlink(path+".real", path)
		},
		"a directory": func(path string) {
			os.Remove(path)
			os.Mkdir(path, 0o700)
		},
		"empty":       edit(func(string) string { return "" }),
		"cut off":     edit(func(s string) string { return s[:len(s)/2] }),
		"with spaces": edit(func(s string) string { return s + "\n" }),
		"version":     edit(func(s string) string { return strings.Replace(s, `"v":1`, `"v":2`, 1) }),
		"no key":      edit(func(s string) string { return `{"v":1,"card":"","key":"","bundle":` + s[strings.Index(s, `{"name"`):] }),
		"another key": edit(func(s string) string {
			swap := strings.Index(s, `"public_key":"`) + len(`"public_key":"`)
			return s[:swap] + spkiBase64(t, other) + s[swap+len(spkiBase64(t, other)):]
		}),
	} {
		err := write(change)
		if err == nil || fail.AsError(err).Advice() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func spkiBase64(t *testing.T, c *Credential) string {
	t.Helper()
	return base64.StdEncoding.EncodeToString(c.Bundle.PublicKey)
}
