//go:build cgo

package card

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/pkcs11"

	"chatsecure/testdata/lab"
)

// These tests use a real PKCS#11 module, SoftHSM version 2.

// softHSM returns an empty set of SoftHSM's tokens, and the path of its module as
// found by this package.
func softHSM(t *testing.T) (*lab.Tokens, string) {
	t.Helper()
	lab.NeedSoftHSM(t)
	tokens, err := lab.NewTokens(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	paths, err := modulePaths(must(parseURI("pkcs11:?module-name=softhsm2")))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", tokens.Conf)
	return tokens, paths[0]
}

// softCitizen makes a token with the objects of a Cartão de Cidadão.
func softCitizen(t *testing.T, tokens *lab.Tokens, label string, id []byte, key crypto.Signer) (leaf []byte) {
	t.Helper()
	leaf = newCert(key, label, forAuthentication)
	signID := bytes.Clone(id)
	signID[0]++
	if err := tokens.Make(label,
		lab.Object{Label: "CITIZEN SIGNATURE CERTIFICATE", ID: signID, Cert: newCert(keys.p256b(), label, forSignature)},
		lab.Object{Label: "CITIZEN SIGNATURE KEY", ID: signID, Key: keys.p256b(), Always: true},
		lab.Object{Label: "CITIZEN AUTHENTICATION CERTIFICATE", ID: id, Cert: leaf},
		lab.Object{Label: "CITIZEN AUTHENTICATION KEY", ID: id, Key: key},
		lab.Object{Label: "ROOT CA", ID: []byte{0x50}, Cert: caCert()}); err != nil {
		t.Fatal(err)
	}
	return leaf
}

// counting counts the logins and signatures of a real module.
type counting struct {
	module
	logins, signs atomic.Int32
}

func (c *counting) Login(sh pkcs11.SessionHandle, user uint, pin string) error {
	c.logins.Add(1)
	return c.module.Login(sh, user, pin)
}

func (c *counting) Sign(sh pkcs11.SessionHandle, input []byte) ([]byte, error) {
	c.signs.Add(1)
	return c.module.Sign(sh, input)
}

// openCounted opens the card named by spec and counts its module's calls.
func openCounted(t *testing.T, path, spec string, opt Options) (Card, *counting) {
	t.Helper()
	n := &counting{}
	libs := newLibraries(func(path string) (module, error) {
		m, err := loadModule(path)
		n.module = m
		return n, err
	})
	c, err := libs.openFirst(t.Context(), []string{path}, must(parseURI(spec)), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, n
}

func TestSoftHSMSigns(t *testing.T) {
	tokens, path := softHSM(t)
	for i, tc := range []struct {
		name string
		key  crypto.Signer
		id   []byte
	}{
		{"rsa2048", keys.rsa2048(), []byte{0x45}},
		{"p256", keys.p256(), ulong(0x45)},
		{"p384", keys.p384(), []byte{0x45}},
		{"p521", keys.p521(), []byte{0x45}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			label := fmt.Sprintf("Cartão %d", i)
			leaf := softCitizen(t, tokens, label, tc.id, tc.key)
			c, n := openCounted(t, path, "pkcs11:token="+escape(label), Options{PIN: givePIN(lab.PIN)})
			if !bytes.Equal(c.Leaf(), leaf) || len(c.Chain()) != 1 || !bytes.Equal(c.Chain()[0], caCert()) {
				t.Error("leaf or chain are not those on the token")
			}
			if n.logins.Load() != 0 {
				t.Error("Open logged in")
			}
			for i := range 3 {
				message := bytes.Repeat([]byte{byte(i)}, 1<<(10*i))
				sig, err := c.Sign(t.Context(), message)
				if err != nil {
					t.Fatal(err)
				}
				checkSignature(t, leaf, message, sig)
			}
			if n.logins.Load() != 3 || n.signs.Load() != 3 {
				t.Errorf("%d logins and %d signatures for 3", n.logins.Load(), n.signs.Load())
			}
		})
	}
}

// Through the exported functions, with everything in the URI.
func TestSoftHSMByURI(t *testing.T) {
	tokens, path := softHSM(t)
	leaf := softCitizen(t, tokens, "alice", []byte{0x45}, keys.p256())
	softCitizen(t, tokens, "bob", []byte{0x45}, keys.p384())
	pin := filepath.Join(t.TempDir(), "pin")
	writeFile(t, pin, []byte(lab.PIN+"\n"), 0o600)
	spec := "pkcs11:token=alice;object=CITIZEN%20AUTHENTICATION%20CERTIFICATE;id=%45?module-path=" + path + "&pin-source=file:" + pin
	c, err := Open(t.Context(), spec, Options{Batch: true})
	if err != nil {
		t.Fatal(err)
	}
	if sig, err := c.Sign(t.Context(), []byte("m")); err != nil {
		t.Error(err)
	} else {
		checkSignature(t, leaf, []byte("m"), sig)
	}
	if !strings.HasPrefix(c.Describe(), `token "alice" (SoftHSM v2) in slot `) {
		t.Errorf("described as %s", c.Describe())
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	_, err = Open(t.Context(), "pkcs11:?module-path="+path, Options{})
	wantKind(t, err, Ambiguous)
	_, err = Open(t.Context(), "pkcs11:token=carol?module-path="+path, Options{})
	wantKind(t, err, NoCard)

	r, err := Survey(t.Context(), "pkcs11:token=alice?module-path="+path, Options{})
	if err != nil || r.Err != nil || len(r.Modules) != 1 {
		t.Fatal(r, err)
	}
	used := 0
	for _, s := range r.Modules[0].Slots {
		if s.Token == nil {
			t.Errorf("slot %d is empty", s.ID)
			continue
		}
		for _, c := range s.Token.Certificates {
			if c.Used {
				used++
				if s.Token.Label != "alice" || c.Label != "CITIZEN AUTHENTICATION CERTIFICATE" || c.ID != "45" || !bytes.Equal(c.DER, leaf) {
					t.Errorf("used is %+v", c)
				}
			}
		}
	}
	if used != 1 {
		t.Errorf("%d certificates are used", used)
	}
}

func TestSoftHSMWrongPIN(t *testing.T) {
	tokens, path := softHSM(t)
	softCitizen(t, tokens, "alice", []byte{0x45}, keys.p256())
	pin := []byte("999999")
	var asked []PINRequest
	c, n := openCounted(t, path, "", Options{PIN: func(_ context.Context, req PINRequest) ([]byte, error) {
		asked = append(asked, req)
		return pin, nil
	}})
	_, err := c.Sign(t.Context(), nil)
	wantKind(t, err, PINIncorrect)
	if !errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_INCORRECT)) {
		t.Errorf("behind it is %v", err)
	}
	if n.logins.Load() != 1 || n.signs.Load() != 0 || len(asked) != 1 {
		t.Errorf("%d logins, %d signatures, asked %d times", n.logins.Load(), n.signs.Load(), len(asked))
	}
	if !bytes.Equal(pin, make([]byte, len(pin))) {
		t.Error("the PIN was not erased")
	}
	// The token remembers, which the next request for a PIN shows.
	pin = []byte(lab.PIN)
	if _, err := c.Sign(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if asked[0].fewTries || !asked[1].fewTries || !strings.HasPrefix(asked[1].Card, `token "alice"`) {
		t.Errorf("asked with %+v", asked)
	}
}

// A token is pulled by removing its directory.
func TestSoftHSMTakenOut(t *testing.T) {
	tokens, path := softHSM(t)
	softCitizen(t, tokens, "alice", []byte{0x45}, keys.p256())
	c, n := openCounted(t, path, "", Options{PIN: func(context.Context, PINRequest) ([]byte, error) {
		if err := os.RemoveAll(filepath.Join(filepath.Dir(tokens.Conf), "tokens")); err != nil {
			t.Error(err)
		}
		return []byte(lab.PIN), nil
	}})
	_, err := c.Sign(t.Context(), nil)
	wantKind(t, err, CardRemoved)
	if n.signs.Load() != 0 {
		t.Error("a card that is not there was asked to sign")
	}
}

func TestSoftHSMWithoutTokens(t *testing.T) {
	_, path := softHSM(t)
	_, err := Open(t.Context(), "pkcs11:?module-path="+path, Options{})
	if e := wantKind(t, err, NoCard); e.Message != "there is no card in any reader" {
		t.Errorf("said %q", e.Message)
	}
	r, err := Survey(t.Context(), "pkcs11:?module-path="+path, Options{})
	if err != nil || r.Err == nil || r.Err.Kind != NoCard || len(r.Modules[0].Slots) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
