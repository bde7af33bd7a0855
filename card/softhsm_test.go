//go:build cgo

package card

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/pkcs11"
)

// These tests use a real PKCS#11 module, SoftHSM version 2 (Debian: softhsm2).
// Where it is not installed they fail, for a card package that was tested
// without a module was not tested; CHATSECURE_NO_SOFTHSM=1 skips them.

const softPIN = "271828"

// softHSM returns the path of SoftHSM's module, set up with no tokens.
func softHSM(t *testing.T) string {
	t.Helper()
	if os.Getenv("CHATSECURE_NO_SOFTHSM") == "1" {
		t.Skip("SKIPPED, NOT TESTED: CHATSECURE_NO_SOFTHSM=1, so no real PKCS#11 module is used")
	}
	paths, err := modulePaths(must(parseURI("pkcs11:?module-name=softhsm2")))
	if err != nil {
		t.Fatalf("SoftHSM is not installed (Debian: apt install softhsm2); CHATSECURE_NO_SOFTHSM=1 skips this: %v", err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, conf, []byte("directories.tokendir = "+filepath.Join(dir, "tokens")+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600)
	t.Setenv("SOFTHSM2_CONF", conf)
	return paths[0]
}

// softToken initializes a token and puts objects on it.
func softToken(t *testing.T, path, label string, objects ...[]*pkcs11.Attribute) {
	t.Helper()
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "31415926", "--pin", softPIN).CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	m := pkcs11.New(path)
	check := func(what string, err error) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	check("initialize", m.Initialize())
	defer m.Finalize()
	slots, err := m.GetSlotList(true)
	check("list slots", err)
	for _, slot := range slots {
		info, err := m.GetTokenInfo(slot)
		check("token info", err)
		if info.Label != label {
			continue
		}
		sh, err := m.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		check("open a session", err)
		check("log in", m.Login(sh, pkcs11.CKU_USER, softPIN))
		for _, o := range objects {
			_, err := m.CreateObject(sh, o)
			check("create an object", err)
		}
		check("log out", m.Logout(sh))
		check("close the session", m.CloseSession(sh))
		return
	}
	t.Fatalf("there is no token %q", label)
}

func softCert(label string, id, der []byte) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, uint(pkcs11.CKO_CERTIFICATE)),
		pkcs11.NewAttribute(pkcs11.CKA_CERTIFICATE_TYPE, uint(pkcs11.CKC_X_509)),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
		pkcs11.NewAttribute(pkcs11.CKA_SUBJECT, []byte("subject")),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, der),
	}
}

func softKey(label string, id []byte, key crypto.Signer) []*pkcs11.Attribute {
	as := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, uint(pkcs11.CKO_PRIVATE_KEY)),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return append(as,
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_RSA)),
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS, key.N.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE_EXPONENT, key.D.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_PRIME_1, key.Primes[0].Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_PRIME_2, key.Primes[1].Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_1, key.Precomputed.Dp.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_2, key.Precomputed.Dq.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_COEFFICIENT, key.Precomputed.Qinv.Bytes()))
	case *ecdsa.PrivateKey:
		oid := map[elliptic.Curve]asn1.ObjectIdentifier{
			elliptic.P256(): {1, 2, 840, 10045, 3, 1, 7}, elliptic.P384(): {1, 3, 132, 0, 34}, elliptic.P521(): {1, 3, 132, 0, 35},
		}[key.Curve]
		return append(as,
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_EC)),
			pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, must(asn1.Marshal(oid))),
			pkcs11.NewAttribute(pkcs11.CKA_VALUE, must(key.Bytes())))
	}
	panic("no such key")
}

// softCitizen puts on a token what a Cartão de Cidadão has.
func softCitizen(t *testing.T, path, label string, id []byte, key crypto.Signer) (leaf []byte) {
	t.Helper()
	leaf = newCert(key, label, forAuthentication)
	signID := bytes.Clone(id)
	signID[0]++
	softToken(t, path, label,
		softCert("CITIZEN SIGNATURE CERTIFICATE", signID, newCert(keys.p256b(), label, forSignature)),
		softKey("CITIZEN SIGNATURE KEY", signID, keys.p256b()),
		softCert("CITIZEN AUTHENTICATION CERTIFICATE", id, leaf),
		softKey("CITIZEN AUTHENTICATION KEY", id, key),
		softCert("ROOT CA", []byte{0x50}, caCert()))
	return leaf
}

// counting is a real module with its calls counted.
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

// openCounted opens the card that spec means with its module's calls counted.
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
	path := softHSM(t)
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
			leaf := softCitizen(t, path, label, tc.id, tc.key)
			c, n := openCounted(t, path, "pkcs11:token="+escape(label), Options{PIN: givePIN(softPIN)})
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
	path := softHSM(t)
	leaf := softCitizen(t, path, "alice", []byte{0x45}, keys.p256())
	softCitizen(t, path, "bob", []byte{0x45}, keys.p384())
	pin := filepath.Join(t.TempDir(), "pin")
	writeFile(t, pin, []byte(softPIN+"\n"), 0o600)
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
	path := softHSM(t)
	softCitizen(t, path, "alice", []byte{0x45}, keys.p256())
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
	// The token remembers, and it is said before the next try.
	pin = []byte(softPIN)
	if _, err := c.Sign(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if asked[0].fewTries || !asked[1].fewTries || !strings.HasPrefix(asked[1].Card, `token "alice"`) {
		t.Errorf("asked with %+v", asked)
	}
}

// A token that is pulled away: its directory is gone.
func TestSoftHSMTakenOut(t *testing.T) {
	path := softHSM(t)
	softCitizen(t, path, "alice", []byte{0x45}, keys.p256())
	tokens := filepath.Join(filepath.Dir(os.Getenv("SOFTHSM2_CONF")), "tokens")
	c, n := openCounted(t, path, "", Options{PIN: func(context.Context, PINRequest) ([]byte, error) {
		if err := os.RemoveAll(tokens); err != nil {
			t.Error(err)
		}
		return []byte(softPIN), nil
	}})
	_, err := c.Sign(t.Context(), nil)
	wantKind(t, err, CardRemoved)
	if n.signs.Load() != 0 {
		t.Error("a card that is not there was asked to sign")
	}
}

func TestSoftHSMWithoutTokens(t *testing.T) {
	path := softHSM(t)
	_, err := Open(t.Context(), "pkcs11:?module-path="+path, Options{})
	if e := wantKind(t, err, NoCard); e.Message != "there is no card in any reader" {
		t.Errorf("said %q", e.Message)
	}
	r, err := Survey(t.Context(), "pkcs11:?module-path="+path, Options{})
	if err != nil || r.Err == nil || r.Err.Kind != NoCard || len(r.Modules[0].Slots) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
