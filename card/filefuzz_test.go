package card

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"chatsecure/testdata/corpus"
)

// The user names these files, so that they may hold anything.

// FuzzSoftwareCard: a directory is a card if encoding/pem and crypto/x509 find an
// authentication certificate and its key in its two files.
func FuzzSoftwareCard(f *testing.F) {
	key := keys.p256()
	leaf, issuer := newCert(key, "Ana", forAuthentication), caCert()
	block := func(typ string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}) }
	certs := append(block("CERTIFICATE", leaf), block("CERTIFICATE", issuer)...)
	private := block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	dir := f.TempDir()
	open := func(t testing.TB, certs, private []byte) (Card, error) {
		for name, data := range map[string][]byte{"cert.pem": certs, "key.pem": private} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return openSoftware(dir, Options{})
	}
	good := 0
	for _, files := range [][2][]byte{
		{certs, private}, {append([]byte("Ana\n"), certs...), append(private, " \n"...)},
	} {
		if _, err := open(f, files[0], files[1]); err != nil {
			f.Fatal(err)
		}
		good++
		f.Add(files[0], files[1])
	}
	corpus.Check(f, good)
	f.Add(private, certs)
	f.Add(certs, append(private, private...))
	f.Add(certs, block("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}))
	f.Add(block("CERTIFICATE", issuer), private)
	f.Add(certs, block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(keys.p256b()))))
	f.Fuzz(func(t *testing.T, certs, private []byte) {
		c, err := open(t, certs, private)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Message == "" || c != nil {
				t.Fatalf("refused with %T %v", err, err)
			}
			return
		}
		var want [][]byte
		for block, rest := pem.Decode(certs); block != nil; block, rest = pem.Decode(rest) {
			want = append(want, block.Bytes)
		}
		got := append([][]byte{c.Leaf()}, c.Chain()...)
		if !slices.EqualFunc(got, want, bytes.Equal) || len(got) > maxCertificates+1 {
			t.Fatalf("%d certificates were read, there are %d", len(got), len(want))
		}
		if leaf, err := x509.ParseCertificate(c.Leaf()); err != nil || checkLeaf(leaf) != nil {
			t.Fatalf("the certificate cannot authenticate: %v", err)
		}
		if _, err := c.Sign(context.Background(), []byte("message")); err != nil {
			t.Fatal(err) // Sign checks the signature against the leaf
		}
	})
}

// FuzzPINFile: the PIN is the first line, and nothing else.
func FuzzPINFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "pin")
	read := func(content []byte) ([]byte, error) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			f.Fatal(err)
		}
		return readPINFile(path, Options{})
	}
	corpus.Add(f, func(content []byte) bool { _, err := read(content); return err == nil },
		[][]byte{[]byte("1234"), []byte("1234\n"), []byte("1234\r\n"), []byte("12 34\n5678\n"), bytes.Repeat([]byte("1"), maxPIN)},
		nil, []byte("\n1234"), []byte("\r\n"), bytes.Repeat([]byte("1"), maxPIN+1), append(bytes.Repeat([]byte("1"), maxPIN+3), '\n'))
	f.Fuzz(func(t *testing.T, content []byte) {
		line, _, _ := bytes.Cut(content, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		pin, err := read(content)
		if good := len(line) > 0 && len(line) <= maxPIN; good != (err == nil) {
			t.Fatalf("a line of %d bytes: %v", len(line), err)
		}
		if err != nil {
			if bytes.Contains([]byte(err.Error()), line) && len(line) > 4 {
				t.Fatalf("the error tells the PIN: %v", err)
			}
			return
		}
		if !bytes.Equal(pin, line) {
			t.Fatalf("%q was read as %q", content, pin)
		}
	})
}
