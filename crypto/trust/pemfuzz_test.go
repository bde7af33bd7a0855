package trust

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab"
)

// Files in PEM that a user names: CA bundles and revocation lists. The standard library's decoder
// is the oracle.

// pemBlocks are the blocks of a type that encoding/pem finds.
func pemBlocks(text []byte, typ string) (blocks [][]byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == typ {
			blocks = append(blocks, block.Bytes)
		}
	}
	return blocks
}

// FuzzCABundle: a user's bundle is accepted if it has certificates and crypto/x509 parses all. The
// subject found without parsing is the parsed one.
func FuzzCABundle(f *testing.F) {
	p := testLab(f)
	good := pemOf(p.Root.Cert, p.CC.Cert)
	odd := issue(f, p, "odd", lab.WithSubject(lab.DN()))
	corpus.Add(f, func(text []byte) bool { _, err := NewStore(nil, text); return err == nil },
		[][]byte{good, slices.Concat([]byte("Root\n====\n"), good, []byte("after")), pemOf(odd.Leaf), []byte(strings.ReplaceAll(string(good), "\n", "\r\n"))},
		nil, []byte("no PEM"), bytes.ReplaceAll(good, []byte("CERTIFICATE"), []byte("PRIVATE KEY")), good[:len(good)/2])
	f.Fuzz(func(t *testing.T, text []byte) {
		blocks := pemBlocks(text, "CERTIFICATE")
		parsed := 0
		for _, der := range blocks {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				continue
			}
			parsed++
			if subject, ok := rawSubject(der); !ok || !bytes.Equal(subject, cert.RawSubject) {
				t.Fatalf("the subject is %x, found is %x %v", cert.RawSubject, subject, ok)
			}
		}
		trust, err := NewStore(nil, text)
		if want := len(blocks) > 0 && parsed == len(blocks); want != (err == nil) {
			t.Fatalf("%d of %d certificates parse, and the bundle: %v", parsed, len(blocks), err)
		}
		// Mozilla's may have some that Go does not parse, and these are not trusted.
		mozilla, err := NewStore(text)
		if trust != nil && err != nil {
			t.Fatalf("as Mozilla's: %v", err)
		}
		if err != nil {
			return
		}
		loaded := 0
		for _, all := range mozilla.bySubject {
			for _, c := range all {
				if c.load(); c.cert != nil {
					loaded++
				}
			}
		}
		if loaded != parsed {
			t.Fatalf("%d certificates parse, %d were loaded", parsed, loaded)
		}
	})
}

// FuzzCRLFile: a file is one list in DER, or those in its PEM.
func FuzzCRLFile(f *testing.F) {
	key := ecKey(f, elliptic.P256())
	one := makeCRL(f, x509.RevocationList{RevokedCertificateEntries: someEntries()}, asIssuer(key), key)
	two := newRawCRL().bytes()
	text := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }
	read := func(b []byte) ([]*crl, error) { return readCRLs(bytes.NewReader(b)) }
	corpus.Add(f, func(b []byte) bool { lists, _ := read(b); return len(lists) > 0 },
		[][]byte{one, two, text(one), slices.Concat([]byte("Certificate Revocation List (CRL):\n"), text(one), []byte("\n"), text(two))},
		nil, text(one)[:100],
		text(two)[:bytes.Index(text(two), []byte("-----END"))], text(two)[:bytes.Index(text(two), []byte("END "))+4],
		bytes.Replace(text(two), []byte("END"), []byte("FIN"), 1),
		bytes.Replace(text(two), []byte("END X509 CRL"), []byte("END CERTIFICATE"), 1),
		bytes.ReplaceAll(text(two), []byte("X509 CRL"), []byte("CERTIFICATE")),
		bytes.Replace(text(two), []byte("\n"), []byte("\nProc-Type: 4\n\n"), 1),
		[]byte("-----BEGIN BI123456789-----\n"), []byte("-----BEGIN MTE\x00dDAw\xff\xffjAUMBI1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lists, err := read(b)
		slow, slowErr := readCRLs(iotest.OneByteReader(bytes.NewReader(b)))
		if fmt.Sprint(err) != fmt.Sprint(slowErr) || len(lists) != len(slow) {
			t.Fatalf("%d lists, %v; in single bytes %d, %v", len(lists), err, len(slow), slowErr)
		}
		if err != nil {
			wantSentence(t, err.Error())
			return
		}
		ders := [][]byte{b}
		if b[0] != derSequence {
			ders = pemBlocks(b, "X509 CRL")
		}
		if len(lists) == 0 || len(lists) != len(ders) {
			t.Fatalf("%d lists were read, there are %d", len(lists), len(ders))
		}
		for i, list := range lists {
			want, err := parseCRL(bytes.NewReader(ders[i]))
			if err != nil || !list.same(want) || !list.same(slow[i]) {
				t.Fatalf("list %d is another: %v", i+1, err)
			}
		}
	})
}
