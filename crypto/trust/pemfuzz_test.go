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

// Files in PEM that a user names: CA bundles and revocation lists. The oracles are the number of
// BEGIN marks and the standard library's decoder.

// pemBlocks are the blocks of a type that encoding/pem finds.
func pemBlocks(text []byte, typ string) (blocks [][]byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == typ {
			blocks = append(blocks, block.Bytes)
		}
	}
	return blocks
}

// FuzzCABundle: of an accepted bundle no block is lost: each is a certificate that is used or is
// noticed. The subject found without parsing is the parsed one.
func FuzzCABundle(f *testing.F) {
	p := testLab(f)
	good := pemOf(p.Root.Cert, p.CC.Cert)
	odd := issue(f, p, "odd", lab.WithSubject(lab.DN()))
	key := bytes.ReplaceAll(pemOf(p.CC.Cert), []byte("CERTIFICATE"), []byte("PRIVATE KEY"))
	spoilt := bytes.Clone(p.CC.Cert.Raw)
	copy(spoilt[bytes.Index(spoilt, p.CC.Cert.RawSubjectPublicKeyInfo)+4:], "\x06\x01\x2a")
	corpus.Add(f, func(text []byte) bool { _, err := NewStore(nil, text); return err == nil },
		[][]byte{good, slices.Concat([]byte("Root\n====\n"), good, []byte("after")), pemOf(odd.Leaf), []byte(strings.ReplaceAll(string(good), "\n", "\r\n")),
			slices.Concat([]byte("\ufeff"), bytes.TrimSpace(good), key, pemOf(&x509.Certificate{Raw: spoilt}))},
		nil, []byte("no PEM"), bytes.ReplaceAll(good, []byte("CERTIFICATE"), []byte("PRIVATE KEY")), good[:len(good)/2])
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed := make(map[string]bool)
		for _, der := range pemBlocks(text, "CERTIFICATE") {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				continue
			}
			parsed[string(der)] = true
			if subject, ok := rawSubject(der); !ok || !bytes.Equal(subject, cert.RawSubject) {
				t.Fatalf("the subject is %x, found is %x %v", cert.RawSubject, subject, ok)
			}
		}
		trust, err := NewStore(nil, text)
		if err != nil {
			wantSentence(t, err.Error())
			return
		}
		leftOut := 0
		for _, notice := range trust.Notices() {
			wantSentence(t, notice)
			if strings.Contains(notice, "is left out") {
				leftOut++
			}
		}
		loaded := 0
		for _, all := range trust.bySubject {
			for _, c := range all {
				if c.load(); c.cert == nil {
					t.Fatalf("a certificate was taken that does not parse: %x", c.der)
				}
				loaded++
				delete(parsed, string(c.der))
			}
		}
		if n := bytes.Count(text, []byte("-----BEGIN")); n != loaded+leftOut || len(parsed) > 0 {
			t.Fatalf("of %d blocks %d were taken and %d noticed; %d that parse are lost", n, loaded, leftOut, len(parsed))
		}
	})
}

// FuzzCRLFile: a file is one list in DER, or those in its PEM.
func FuzzCRLFile(f *testing.F) {
	key := ecKey(f, elliptic.P256())
	one := makeCRL(f, x509.RevocationList{RevokedCertificateEntries: someEntries()}, asIssuer(key), key)
	two := newRawCRL().bytes()
	text := crlText
	read := func(b []byte) ([]*crl, error) { return readList(bytes.NewReader(b)) }
	corpus.Add(f, func(b []byte) bool { lists, _ := read(b); return len(lists) > 0 },
		[][]byte{one, two, text(one), slices.Concat([]byte("Certificate Revocation List (CRL):\n"), text(one), []byte("\n"), text(two))},
		nil, text(one)[:100],
		text(two)[:bytes.Index(text(two), []byte("-----END"))], text(two)[:bytes.Index(text(two), []byte("END "))+4],
		bytes.Replace(text(two), []byte("END"), []byte("FIN"), 1),
		bytes.Replace(text(two), []byte("END X509 CRL"), []byte("END CERTIFICATE"), 1),
		bytes.ReplaceAll(text(two), []byte("X509 CRL"), []byte("CERTIFICATE")),
		bytes.Replace(text(two), []byte("\n"), []byte("\nProc-Type: 4\n\n"), 1),
		[]byte("-----BEGIN BI123456789-----\n"), []byte("-BEGIN BI00000"), []byte("-----BEGIN BI00000-----\n-----END BI-----\n"), []byte("-----BEGIN MTE\x00dDAw\xff\xffjAUMBI1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lists, err := read(b)
		slow, slowErr := readList(iotest.OneByteReader(bytes.NewReader(b)))
		if fmt.Sprint(err) != fmt.Sprint(slowErr) || len(lists) != len(slow) {
			t.Fatalf("%d lists, %v; in single bytes %d, %v", len(lists), err, len(slow), slowErr)
		}
		if err != nil {
			wantSentence(t, err.Error())
			return
		}
		ders, n := [][]byte{b}, 1
		if b[0] != derSequence {
			ders, n = pemBlocks(b, "X509 CRL"), bytes.Count(b, []byte("-----BEGIN"))
		}
		if len(lists) == 0 || len(lists) != n {
			t.Fatalf("%d lists were read, there are %d", len(lists), n)
		}
		for i, list := range lists {
			if list.id != slow[i].id {
				t.Fatalf("list %d is another in single bytes", i+1)
			}
		}
		for _, der := range ders {
			want, err := parseCRL(bytes.NewReader(der))
			if err != nil || !slices.ContainsFunc(lists, func(c *crl) bool { return c.id == want.id }) {
				t.Fatalf("a list is lost: %v", err)
			}
		}
	})
}
