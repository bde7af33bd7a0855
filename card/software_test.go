package card

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSoftwareCardSigns(t *testing.T) {
	for name, key := range map[string]crypto.Signer{
		"rsa2048": keys.rsa2048(), "p256": keys.p256(), "p384": keys.p384(), "p521": keys.p521(),
	} {
		t.Run(name, func(t *testing.T) {
			leaf := newCert(key, "alice", forAuthentication)
			dir := writeCard(t, key, leaf, caCert())
			var notices []string
			c, err := Open(t.Context(), dir, Options{Notice: func(s string) { notices = append(notices, s) }})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(c.Leaf(), leaf) || len(c.Chain()) != 1 || !bytes.Equal(c.Chain()[0], caCert()) {
				t.Error("leaf or chain are not those of cert.pem")
			}
			if c.Describe() != "software card "+dir {
				t.Errorf("described as %s", c.Describe())
			}
			message := []byte("one delegation")
			sig, err := c.Sign(t.Context(), message)
			if err != nil {
				t.Fatal(err)
			}
			checkSignature(t, leaf, message, sig)
			if len(notices) > 0 {
				t.Errorf("said %q about a card that is in order", notices)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			_, err = c.Sign(t.Context(), message)
			wantKind(t, err, Failed)
		})
	}
}

func TestSoftwareCardHandsOutCopies(t *testing.T) {
	c, err := Open(t.Context(), writeCard(t, keys.p256(), newCert(keys.p256(), "alice", forAuthentication), caCert()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	clear(c.Leaf())
	clear(c.Chain()[0])
	if c.Leaf()[0] == 0 || c.Chain()[0][0] == 0 {
		t.Error("a caller can change the card's certificates")
	}
}

func TestSoftwareCardCancelled(t *testing.T) {
	dir := writeCard(t, keys.p256(), newCert(keys.p256(), "alice", forAuthentication))
	c, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Sign(ctx, nil)
	wantKind(t, err, Cancelled)
	if !errors.Is(err, context.Canceled) {
		t.Error("the context's error is not reachable")
	}
	_, err = Open(ctx, dir, Options{})
	wantKind(t, err, Cancelled)
	_, err = Survey(ctx, dir, Options{})
	wantKind(t, err, Cancelled)
}

func TestSoftwareCardKeyReadableByOthers(t *testing.T) {
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644} {
		dir := writeCard(t, keys.p256(), newCert(keys.p256(), "alice", forAuthentication))
		if err := os.Chmod(filepath.Join(dir, "key.pem"), mode); err != nil {
			t.Fatal(err)
		}
		var notices []string
		if _, err := Open(t.Context(), dir, Options{Notice: func(s string) { notices = append(notices, s) }}); err != nil {
			t.Fatal(err)
		}
		if len(notices) != 1 || !strings.Contains(notices[0], "key.pem") {
			t.Errorf("mode %o: said %q", mode, notices)
		}
		if _, err := Open(t.Context(), dir, Options{}); err != nil {
			t.Errorf("without Notice: %v", err)
		}
	}
}

func TestSoftwareCardRefused(t *testing.T) {
	good := func() []byte { return newCert(keys.p256(), "alice", forAuthentication) }
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	change := func(name string, f func([]byte) []byte) func(*testing.T) string {
		return func(t *testing.T) string {
			dir := writeCard(t, keys.p256(), good())
			p := filepath.Join(dir, name)
			writeFile(t, p, f(must(os.ReadFile(p))), 0o600)
			return dir
		}
	}
	for _, tc := range []struct {
		name string
		kind Kind
		says string
		make func(*testing.T) string
	}{
		{"no directory", NoCard, "no software card", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }},
		{"a file", BadSpec, "not a directory", func(t *testing.T) string {
			return filepath.Join(writeCard(t, keys.p256(), good()), "cert.pem")
		}},
		{"an empty directory", NoCard, "cert.pem", func(t *testing.T) string { return t.TempDir() }},
		{"no certificate", NoCertificate, "no certificate", change("cert.pem", func([]byte) []byte { return nil })},
		{"a key for a certificate", NoCertificate, "PRIVATE KEY", change("cert.pem", func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("CERTIFICATE"), []byte("PRIVATE KEY"))
		})},
		{"a malformed certificate", NoCertificate, "malformed", change("cert.pem", func([]byte) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("junk")})
		})},
		{"too many certificates", NoCertificate, "more than", change("cert.pem", func(b []byte) []byte { return bytes.Repeat(b, maxCertificates+2) })},
		{"a huge file", NoCard, "longer than", change("cert.pem", func([]byte) []byte { return make([]byte, maxPEM+1) })},
		{"no key", NoKey, "no key", change("key.pem", func([]byte) []byte { return nil })},
		{"a key of another form", NoKey, "EC PRIVATE KEY", change("key.pem", func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("PRIVATE KEY"), []byte("EC PRIVATE KEY"))
		})},
		{"an encrypted key", NoKey, "encrypted", change("key.pem", func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("PRIVATE KEY"), []byte("ENCRYPTED PRIVATE KEY"))
		})},
		{"two keys", NoKey, "more than one", change("key.pem", func(b []byte) []byte { return append(b, b...) })},
		{"a malformed key", NoKey, "malformed", change("key.pem", func([]byte) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("junk")})
		})},
		{"another's key", NoKey, "not the key", func(t *testing.T) string { return writeCard(t, keys.p256b(), good()) }},
		{"a key of another kind", NoKey, "not the key", func(t *testing.T) string { return writeCard(t, keys.rsa2048(), good()) }},
		{"an Ed25519 key", Unsuitable, "neither RSA nor EC", func(t *testing.T) string { return writeCard(t, ed, good()) }},
		{"an Ed25519 certificate", Unsuitable, "neither RSA nor EC", func(t *testing.T) string {
			return writeCard(t, ed, newCert(ed, "alice", forAuthentication))
		}},
		{"RSA of 1024 bits", Unsuitable, "1024 bits", func(t *testing.T) string {
			return writeCard(t, keys.rsa1024(), newCert(keys.rsa1024(), "alice", forAuthentication))
		}},
		{"P-224", Unsuitable, "P-224", func(t *testing.T) string {
			return writeCard(t, keys.p224(), newCert(keys.p224(), "alice", forAuthentication))
		}},
		{"a CA's certificate", Unsuitable, "a CA's", func(t *testing.T) string { return writeCard(t, keys.ca(), caCert()) }},
		{"a signature certificate", Unsuitable, "digitalSignature", func(t *testing.T) string {
			return writeCard(t, keys.p256(), newCert(keys.p256(), "alice", forSignature))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := tc.make(t)
			_, err := Open(t.Context(), dir, Options{})
			e := wantKind(t, err, tc.kind)
			if !strings.Contains(e.Message, tc.says) {
				t.Errorf("said %q, which does not mention %q", e.Message, tc.says)
			}
			r, err := Survey(t.Context(), dir, Options{})
			if err != nil || r.Err == nil || r.Err.Kind != tc.kind || len(r.Modules) != 1 || r.Modules[0].Err == nil {
				t.Errorf("Survey reports %+v, %v", r, err)
			}
		})
	}
}

func TestSoftwareCardSurvey(t *testing.T) {
	leaf := newCert(keys.rsa2048(), "alice", forAuthentication)
	r, err := Survey(t.Context(), writeCard(t, keys.rsa2048(), leaf, caCert()), Options{})
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	token := r.Modules[0].Slots[0].Token
	if c := token.Certificates; len(c) != 2 || !c[0].Used || c[0].CA || !bytes.Equal(c[0].DER, leaf) || c[1].Used || !c[1].CA {
		t.Errorf("certificates are %+v", c)
	}
	if len(token.Keys) != 1 || token.Keys[0].Type != "RSA" {
		t.Errorf("keys are %+v", token.Keys)
	}
}

// A path with invisible characters, or with ones that disturb a terminal, is shown
// with escapes.
func TestShow(t *testing.T) {
	for in, want := range map[string]string{
		"lab/alice": "lab/alice", "my card": "my card", "": `""`, "a\x1b[2J": `"a\x1b[2J"`, "a\u202eb": `"a\u202eb"`, "a\nb": `"a\x0ab"`,
		"a\u115fb": `"a\u115fb"`, `a"b`: `"a\"b"`, `a\b`: `"a\\b"`,
	} {
		if got := show(in); got != want {
			t.Errorf("%q is shown as %s", in, got)
		}
	}
}

func TestSignatureOfAnotherKeyIsRefused(t *testing.T) {
	leaf := must(x509.ParseCertificate(newCert(keys.p256(), "alice", forAuthentication)))
	message := []byte("one delegation")
	sig := must(keys.p256b().Sign(rand.Reader, digest(crypto.SHA256, message), crypto.SHA256))
	wantKind(t, verify(leaf, message, sig), BadSignature)
}

func TestFromRaw(t *testing.T) {
	for _, n := range []int{0, 1, 63, maxRawECDSA + 2} {
		if _, err := fromRaw(make([]byte, n)); !errors.Is(err, BadSignature) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	// DER drops the leading zeros of an integer, and puts one before a high bit.
	raw := append(append(make([]byte, 31), 0x7f), append([]byte{0x80}, make([]byte, 31)...)...)
	want := append([]byte{0x30, 0x26, 0x02, 0x01, 0x7f, 0x02, 0x21, 0x00, 0x80}, make([]byte, 31)...)
	if got, err := fromRaw(raw); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v", got, err)
	}
}
