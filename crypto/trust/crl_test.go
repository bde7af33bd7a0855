package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab"
)

// AlgorithmIdentifiers in DER.
const (
	ecdsaSHA256 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
	ecdsaSHA384 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"
)

// signedByOne verifies a list with one certificate.
func signedByOne(c *crl, signer *x509.Certificate) error {
	_, err := c.verify([]*x509.Certificate{signer})
	return err
}

// asIssuer is a certificate with the fields that signing a list needs.
func asIssuer(key crypto.Signer) *x509.Certificate {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	cert := &x509.Certificate{
		Subject:                 pkix.Name{CommonName: "Lists"},
		SubjectKeyId:            []byte{1, 2, 3},
		KeyUsage:                x509.KeyUsageCRLSign,
		PublicKey:               key.Public(),
		RawSubjectPublicKeyInfo: spki,
	}
	cert.RawSubject, err = asn1.Marshal(cert.Subject.ToRDNSequence())
	if err != nil {
		panic(err)
	}
	return cert
}

// makeCRL signs a list and completes its template.
func makeCRL(t testing.TB, template x509.RevocationList, issuer *x509.Certificate, key crypto.Signer) []byte {
	t.Helper()
	if template.Number == nil {
		template.Number = big.NewInt(7)
	}
	if template.ThisUpdate.IsZero() {
		template.ThisUpdate = labNow.Add(-time.Hour)
	}
	if template.NextUpdate.IsZero() {
		template.NextUpdate = labNow.Add(24 * time.Hour)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &template, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// someEntries are entries of every kind that a list may have.
func someEntries() []x509.RevocationListEntry {
	var entries []x509.RevocationListEntry
	serials := []*big.Int{
		big.NewInt(1), big.NewInt(127), big.NewInt(128), big.NewInt(255), big.NewInt(256), big.NewInt(1 << 40),
		new(big.Int).Lsh(big.NewInt(1), 63), new(big.Int).Lsh(big.NewInt(3), 126),
		new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1)),
	}
	for i, serial := range serials {
		entries = append(entries, x509.RevocationListEntry{
			SerialNumber:   serial,
			RevocationTime: labNow.Add(-time.Duration(i) * 1000 * time.Hour),
			ReasonCode:     []int{0, 1, 2, 3, 4, 5, 6, 9, 10}[i],
		})
	}
	invalidity, err := asn1.Marshal(labNow)
	if err != nil {
		panic(err)
	}
	entries = append(entries, x509.RevocationListEntry{
		SerialNumber:   big.NewInt(99),
		RevocationTime: time.Date(2050, 6, 1, 12, 30, 15, 0, time.UTC), // GeneralizedTime
		ReasonCode:     4,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: invalidity},
			{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}},
		},
	})
	return entries
}

// likeOracle fails unless c agrees with crypto/x509 about the same bytes.
func likeOracle(t *testing.T, c *crl, want *x509.RevocationList) {
	t.Helper()
	if !bytes.Equal(c.issuer, want.RawIssuer) || !c.thisUpdate.Equal(want.ThisUpdate) || !c.nextUpdate.Equal(want.NextUpdate) {
		t.Errorf("header is %x %v %v, want %x %v %v", c.issuer, c.thisUpdate, c.nextUpdate, want.RawIssuer, want.ThisUpdate, want.NextUpdate)
	}
	if (c.number == nil) != (want.Number == nil) || want.Number != nil && new(big.Int).SetBytes(c.number).Cmp(want.Number) != 0 {
		t.Errorf("number is %x, want %v", c.number, want.Number)
	}
	if len(c.authority) != len(want.AuthorityKeyId) || !bytes.Equal(c.authority, want.AuthorityKeyId) {
		t.Errorf("authority is %x, want %x", c.authority, want.AuthorityKeyId)
	}
	if c.entries.count != len(want.RevokedCertificateEntries) {
		t.Errorf("%d entries, want %d", c.entries.count, len(want.RevokedCertificateEntries))
	}
	first := make(map[string]bool)
	for _, e := range want.RevokedCertificateEntries {
		serial := e.SerialNumber.Bytes()
		if first[string(serial)] || e.SerialNumber.Sign() <= 0 || len(serial) > maxSerial {
			continue // find decides between repeated ones by its own rule
		}
		first[string(serial)] = true
		if slices.ContainsFunc(want.RevokedCertificateEntries, func(o x509.RevocationListEntry) bool {
			return o.SerialNumber.Cmp(e.SerialNumber) == 0 && (o.ReasonCode != e.ReasonCode || !o.RevocationTime.Equal(e.RevocationTime))
		}) {
			continue
		}
		got, ok := c.entries.find(serial)
		date := min(max(e.RevocationTime.Unix(), 1), 1<<32-1)
		if !ok || got.date().Unix() != date || int(got.reason) != e.ReasonCode {
			t.Errorf("serial %x: found %v, %v for %d; want %v for %d", serial, ok, got.date(), got.reason, e.RevocationTime, e.ReasonCode)
		}
	}
	if !bytes.Equal(c.signature, want.Signature) {
		t.Errorf("signature is %x, want %x", c.signature, want.Signature)
	}
}

func TestParseCRL(t *testing.T) {
	rsaKey := newTestKey(t, KeyRSA).private.(*rsa.PrivateKey)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key       crypto.Signer
		algorithm x509.SignatureAlgorithm
	}{
		"RSA SHA-256":   {rsaKey, x509.SHA256WithRSA},
		"RSA SHA-384":   {rsaKey, x509.SHA384WithRSA},
		"RSA SHA-512":   {rsaKey, x509.SHA512WithRSA},
		"PSS SHA-256":   {rsaKey, x509.SHA256WithRSAPSS},
		"PSS SHA-384":   {rsaKey, x509.SHA384WithRSAPSS},
		"PSS SHA-512":   {rsaKey, x509.SHA512WithRSAPSS},
		"ECDSA SHA-256": {ecKey(t, elliptic.P256()), x509.ECDSAWithSHA256},
		"ECDSA SHA-384": {ecKey(t, elliptic.P384()), x509.ECDSAWithSHA384},
		"ECDSA SHA-512": {ecKey(t, elliptic.P521()), x509.ECDSAWithSHA512},
		"Ed25519":       {edKey, x509.PureEd25519},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := asIssuer(test.key)
			der := makeCRL(t, x509.RevocationList{
				SignatureAlgorithm:        test.algorithm,
				RevokedCertificateEntries: someEntries(),
			}, issuer, test.key)
			want, err := x509.ParseRevocationList(der)
			if err != nil {
				t.Fatal(err)
			}
			c, err := parseCRL(bytes.NewReader(der))
			if err != nil {
				t.Fatal(err)
			}
			likeOracle(t, c, want)
			if c.flaws != nil || c.oddities != nil || c.kind() != "base" {
				t.Errorf("flaws %q, oddities %q, kind %s", c.flaws, c.oddities, c.kind())
			}
			if err := signedByOne(c, issuer); err != nil {
				t.Error(err)
			}
			if signedByOne(c, issuer) != nil {
				t.Error("the second look differs")
			}
			stranger := *issuer
			switch test.key.(type) {
			case *rsa.PrivateKey:
				other := newTestKey(t, KeyRSA).private.(*rsa.PrivateKey)
				stranger = *asIssuer(other)
			default:
				stranger = *asIssuer(ecKey(t, elliptic.P256()))
			}
			if signedByOne(c, &stranger) == nil {
				t.Error("another key's signature is taken")
			}
			// Any byte of the signed part and of the signature.
			for _, i := range []int{6, 30, len(der) / 4, len(der) / 2, len(der) - 5} {
				changed := bytes.Clone(der)
				changed[i] ^= 0x01
				if c, err := parseCRL(bytes.NewReader(changed)); err == nil && signedByOne(c, issuer) == nil {
					t.Errorf("the list with byte %d changed is taken", i)
				}
			}
		})
	}
}

// A list comes in pieces of any size.
func TestParseCRLPieces(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	var entries []x509.RevocationListEntry
	for i := range int64(4000) { // more than a window
		entries = append(entries, x509.RevocationListEntry{SerialNumber: big.NewInt(i*i + 1), RevocationTime: labNow, ReasonCode: 1})
	}
	issuer := asIssuer(key)
	der := makeCRL(t, x509.RevocationList{RevokedCertificateEntries: entries}, issuer, key)
	if len(der) < 2*maxElement {
		t.Fatalf("%d bytes fit the window", len(der))
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	for name, r := range map[string]io.Reader{
		"whole":          bytes.NewReader(der),
		"byte by byte":   iotest.OneByteReader(bytes.NewReader(der)),
		"half by half":   iotest.HalfReader(bytes.NewReader(der)),
		"data with EOF":  iotest.DataErrReader(bytes.NewReader(der)),
		"PEM":            bytes.NewReader(text),
		"PEM in bytes":   iotest.OneByteReader(bytes.NewReader(text)),
		"PEM with CRLF":  bytes.NewReader(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))),
		"PEM after text": io.MultiReader(strings.NewReader("Certificate Revocation List (CRL):\n  Version 2\n"), bytes.NewReader(text)),
	} {
		lists, err := readList(r)
		if err != nil || len(lists) != 1 {
			t.Errorf("%s: %d lists, %v", name, len(lists), err)
			continue
		}
		if err := signedByOne(lists[0], issuer); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, e := range entries {
			if _, ok := lists[0].entries.find(e.SerialNumber.Bytes()); !ok {
				t.Errorf("%s: %v is not found", name, e.SerialNumber)
			}
		}
		if _, ok := lists[0].entries.find([]byte{3}); ok {
			t.Errorf("%s: a serial that is not on the list is found", name)
		}
	}
	fault := errors.New("the disk is on fire")
	for _, n := range []int64{0, 1, 2, 100, 70000} {
		r := io.MultiReader(io.LimitReader(bytes.NewReader(der), n), iotest.ErrReader(fault))
		if _, err := readList(r); !errors.Is(err, fault) {
			t.Errorf("a reader that fails after %d bytes: %v", n, err)
		}
	}
	for n := 0; n < len(der); n += 1 + n/50 {
		if _, err := readList(bytes.NewReader(der[:n])); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(der))
		}
		if n < len(text)-30 {
			if _, err := readList(bytes.NewReader(text[:n])); err == nil {
				t.Errorf("the first %d of %d bytes of PEM are accepted", n, len(text))
			}
		}
	}
	two, err := readList(bytes.NewReader(slices.Concat(text, []byte("and\n"), text)))
	if err != nil || len(two) != 2 {
		t.Errorf("two in a file: %d lists, %v", len(two), err)
	}
}

// Many chunks, entries out of order, repeated serials.
func TestCRLEntries(t *testing.T) {
	var c crlEntries
	n := uint32(20*chunkLen + 5)
	put := func(serial uint32, seconds int64, reason byte) {
		var e crlEntry
		if !e.setSerial([]byte{0, byte(serial >> 24), byte(serial >> 16), byte(serial >> 8), byte(serial)}) {
			t.Fatal("serial")
		}
		e.setDate(time.Unix(seconds, 0))
		e.reason = reason
		c.add(e)
	}
	for i := range n {
		put(1+i*7919%n*2, int64(i), 1) // odd numbers, mixed (7919 is prime to n)
	}
	put(1, 5000, reasonHold) // again
	put(3, -5, 1)            // before 1970
	put(5, 1<<40, reasonRemove)
	c.finish()
	if len(c.chunks) != 21 || c.count != int(n)+3 {
		t.Errorf("%d chunks of %d entries", len(c.chunks), c.count)
	}
	find := func(serial uint32) (crlEntry, bool) {
		return c.find(big.NewInt(int64(serial)).Bytes())
	}
	for i := range n {
		if _, ok := find(1 + 2*i); !ok {
			t.Fatalf("%d is not found", 1+2*i)
		}
		if _, ok := find(2 + 2*i); ok {
			t.Fatalf("%d is found", 2+2*i)
		}
	}
	if e, _ := find(1); e.date().Unix() != 1 || e.reason != 1 {
		t.Errorf("of two entries the later one counts: %v", e.date())
	}
	if e, _ := find(3); e.date().Unix() != 1 {
		t.Errorf("a date before 1970 is %v", e.date())
	}
	if e, _ := find(5); e.reason != 1 {
		t.Error("an entry that removes wins over one that revokes")
	}
	for _, serial := range [][]byte{nil, {}, make([]byte, maxSerial+1)} {
		if _, ok := c.find(serial); ok {
			t.Errorf("%x is found", serial)
		}
	}
}

// TestEqualSerials: entries of one serial number share a place in the table. Before the
// signature of a list is checked, anybody can write any number of them.
func TestEqualSerials(t *testing.T) {
	var c crlEntries
	for i := range 100_000 {
		var e crlEntry
		e.setSerial([]byte{7})
		e.setDate(time.Unix(int64(100_000-i), 0))
		e.reason = 1
		c.add(e)
	}
	c.finish()
	taken := 0
	for _, place := range c.table {
		if place != 0 {
			taken++
		}
	}
	if e, ok := c.find([]byte{7}); !ok || e.date().Unix() != 1 || taken != 1 {
		t.Errorf("found %v of %v, in %d places", ok, e.date(), taken)
	}
}

// der is one element of DER, for lists that no library makes.
func der(tag byte, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	var header []byte
	switch n := len(body); {
	case n < 0x80:
		header = []byte{tag, byte(n)}
	case n < 0x100:
		header = []byte{tag, 0x81, byte(n)}
	case n < 0x10000:
		header = []byte{tag, 0x82, byte(n >> 8), byte(n)}
	case n < 0x1000000:
		header = []byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}
	default:
		header = []byte{tag, 0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	}
	return append(header, body...)
}

// rawCRL puts a list together from parts, with a constant as its signature.
type rawCRL struct {
	version, algorithm, issuer, this, next, entries, extensions, outer, signature, tail []byte
}

func newRawCRL() rawCRL {
	algorithm := []byte(ecdsaSHA256)
	name, err := asn1.Marshal(pkix.Name{CommonName: "Lists"}.ToRDNSequence())
	if err != nil {
		panic(err)
	}
	return rawCRL{
		version:    der(derInteger, []byte{1}),
		algorithm:  algorithm,
		issuer:     name,
		this:       der(derUTCTime, []byte("261122110000Z")),
		next:       der(derUTCTime, []byte("261123110000Z")),
		entries:    der(derSequence, rawEntry([]byte{5}, nil)),
		extensions: der(0xa0, der(derSequence, rawExtension(idCRLNumber, false, der(derInteger, []byte{9})))),
		outer:      algorithm,
		signature:  der(derBitString, []byte{0, 1, 2, 3}),
	}
}

func rawEntry(serial, extensions []byte) []byte {
	return der(derSequence, der(derInteger, serial), der(derUTCTime, []byte("260101000000Z")), extensions)
}

func rawExtension(id byte, critical bool, value []byte) []byte {
	var flag []byte
	if critical {
		flag = der(derBoolean, []byte{0xff})
	}
	return der(derSequence, der(derOID, []byte{0x55, 0x1d, id}), flag, der(derOctetString, value))
}

func (r rawCRL) bytes() []byte {
	signed := der(derSequence, r.version, r.algorithm, r.issuer, r.this, r.next, r.entries, r.extensions)
	return append(der(derSequence, signed, r.outer, r.signature), r.tail...)
}

// formCase is a list put together by hand.
type formCase struct {
	name   string
	edit   func(*rawCRL)
	oddity string // contained in crl.oddities
	flaw   string // contained in crl.flaws
}

var yes = []byte{0xff} // a DER boolean

func oneEntry(extensions ...[]byte) []byte {
	return der(derSequence, rawEntry([]byte{5}, der(derSequence, extensions...)))
}

func extensionsOf(list ...[]byte) []byte { return der(0xa0, der(derSequence, list...)) }

func reasonOf(code ...byte) []byte {
	return rawExtension(idReasonCode, false, der(derEnumerated, code))
}

func pointOf(fields ...[]byte) []byte {
	return extensionsOf(rawExtension(idIssuingPoint, true, der(derSequence, fields...)))
}

// Lists whose signature and entries are found: what is odd about them, and what flaw they have.
func TestParseCRLForms(t *testing.T) {
	number := func(value []byte) func(*rawCRL) {
		return func(r *rawCRL) { r.extensions = extensionsOf(rawExtension(idCRLNumber, false, value)) }
	}
	this := func(tag byte, text string) func(*rawCRL) {
		return func(r *rawCRL) { r.this = der(tag, []byte(text)) }
	}
	serialFive := der(derInteger, []byte{5})
	for _, test := range []formCase{
		{"good", func(*rawCRL) {}, "", ""},
		{"no entries", func(r *rawCRL) { r.entries = nil }, "", ""},
		{"empty entries", func(r *rawCRL) { r.entries = der(derSequence) }, "", ""},
		{"no extensions", func(r *rawCRL) { r.extensions = nil }, "", ""},
		{"GeneralizedTime", func(r *rawCRL) { r.next = der(derGeneralizedTime, []byte("20261123110000Z")) }, "", ""},
		{"unknown extension", func(r *rawCRL) { r.extensions = extensionsOf(rawExtension(99, false, []byte{5, 0})) }, "", ""},
		{"entry with a reason", func(r *rawCRL) { r.entries = oneEntry(reasonOf(1)) }, "", ""},
		{"entry with an unknown extension", func(r *rawCRL) { r.entries = oneEntry(rawExtension(99, false, []byte{5, 0})) }, "", ""},
		{"negative serial", func(r *rawCRL) { r.entries = der(derSequence, rawEntry([]byte{0x80}, nil)) }, "", ""},
		{"serial of 21 bytes", func(r *rawCRL) { r.entries = der(derSequence, rawEntry(bytes.Repeat([]byte{1}, 21), nil)) }, "", ""},
		{"CRL number of another arc", func(r *rawCRL) {
			r.extensions = extensionsOf(der(derSequence, der(derOID, []byte{0x55, 0x04, idCRLNumber}), der(derBoolean, yes), der(derOctetString)))
		}, "", "critical extension"},

		{"version 1", func(r *rawCRL) { r.version = nil }, "version 1", ""},
		{"version 1, said", func(r *rawCRL) { r.version = der(derInteger, []byte{0}) }, "version 1", ""},
		{"version 3", func(r *rawCRL) { r.version = der(derInteger, []byte{2}) }, "", "version"},
		{"number negative", number(der(derInteger, []byte{0x80})), "number", ""},
		{"number of 30 bytes", number(der(derInteger, bytes.Repeat([]byte{1}, 30))), "number", ""},
		{"number is an OCTET STRING", number(der(derOctetString, []byte{1})), "number", ""},
		{"number is nothing", number(nil), "number", ""},
		{"number twice", func(r *rawCRL) {
			e := rawExtension(idCRLNumber, false, der(derInteger, []byte{9}))
			r.extensions = extensionsOf(e, e)
		}, "twice", ""},
		{"time without seconds", this(derUTCTime, "2611221100Z"), "a time in an unusual form", ""},
		{"time with an offset", this(derUTCTime, "261122120000+0100"), "a time in an unusual form", ""},
		{"time with a fraction", this(derGeneralizedTime, "20261122110000.5Z"), "a time in an unusual form", ""},
		{"time in 1951", this(derUTCTime, "5111221100Z"), "a time in an unusual form", ""},
		{"30 February", this(derUTCTime, "260230110000Z"), "", "its date"},
		{"hour 24", this(derUTCTime, "261122240000Z"), "", "its date"},
		{"month 0", this(derUTCTime, "260022110000Z"), "", "its date"},
		{"letters in a time", this(derUTCTime, "26112211000OZ"), "", "its date"},
		{"a long time", this(derUTCTime, strings.Repeat("2", 100)), "", "its date"},
		{"no time", func(r *rawCRL) { r.this, r.next = nil, nil }, "", "its date"},
		{"no nextUpdate", func(r *rawCRL) { r.next = nil }, "", "next one is due"},
		{"nextUpdate on 31 November", func(r *rawCRL) { r.next = der(derUTCTime, []byte("261131110000Z")) }, "", "next one is due"},
		{"extensions twice", func(r *rawCRL) { r.extensions = append(r.extensions, r.extensions...) }, "", "fields"},
		{"something after it", func(r *rawCRL) { r.tail = []byte{0} }, "", "something after it"},
		{"another after it", func(r *rawCRL) { r.tail = newRawCRL().bytes() }, "", "something after it"},

		{"unknown critical extension", func(r *rawCRL) { r.extensions = extensionsOf(rawExtension(99, true, []byte{5, 0})) }, "", "critical extension"},
		{"critical of 1", func(r *rawCRL) {
			r.extensions = extensionsOf(der(derSequence, der(derOID, []byte{0x55, 0x1d, 99}), der(derBoolean, []byte{1}), der(derOctetString)))
		}, "truth value", "critical extension"},
		{"critical of two bytes", func(r *rawCRL) {
			r.extensions = extensionsOf(der(derSequence, der(derOID, []byte{0x55, 0x1d, 99}), der(derBoolean, []byte{1, 1}), der(derOctetString)))
		}, "", "cannot be read"},
		{"extension without a value", func(r *rawCRL) { r.extensions = extensionsOf(der(derSequence, der(derOID, []byte{0x55, 0x1d, 99}))) }, "", "cannot be read"},
		{"extension without an OID", func(r *rawCRL) { r.extensions = extensionsOf(der(derSequence, der(derOctetString))) }, "", "cannot be read"},
		{"extension that is no sequence", func(r *rawCRL) {
			r.extensions = extensionsOf(der(0x31, der(derOID, []byte{0x55, 0x1d, 99}), der(derOctetString)))
		}, "", "cannot be read"},
		{"extensions that are none", func(r *rawCRL) { r.extensions = der(0xa0, der(derSet)) }, "", "cannot be read"},
		{"extensions cut short", func(r *rawCRL) { r.extensions = der(0xa0, der(derSequence, []byte{0x30, 9})) }, "", "cannot be read"},
		{"extensions of 64 KiB", func(r *rawCRL) { r.extensions = extensionsOf(rawExtension(99, false, make([]byte, 1<<16))) }, "", "cannot be read"},
		{"key identifier in an unknown form", func(r *rawCRL) { r.extensions = extensionsOf(rawExtension(idAuthorityKeyID, false, nil)) }, "names its key", ""},
		{"deltas in an unknown form", func(r *rawCRL) { r.extensions = extensionsOf(rawExtension(idFreshestCRL, false, nil)) }, "names its deltas", ""},
		{"indirect", func(r *rawCRL) { r.extensions = pointOf(der(0x84, yes)) }, "", "indirect"},
		{"relative name", func(r *rawCRL) { r.extensions = pointOf(der(0xa0, der(0xa1, der(derSequence)))) }, "", "relative"},
		{"delta without a number", func(r *rawCRL) {
			r.extensions = extensionsOf(rawExtension(idDeltaCRLIndicator, true, der(derInteger, []byte{1})))
		}, "", "delta without a number"},
		{"delta of nothing", func(r *rawCRL) {
			r.extensions = extensionsOf(rawExtension(idDeltaCRLIndicator, true, nil), rawExtension(idCRLNumber, false, serialFive))
		}, "", "of which list"},
		{"delta twice", func(r *rawCRL) {
			delta := rawExtension(idDeltaCRLIndicator, true, der(derInteger, []byte{1}))
			r.extensions = extensionsOf(delta, delta, rawExtension(idCRLNumber, false, serialFive))
		}, "twice", "of which list"},
		{"point twice", func(r *rawCRL) {
			point := rawExtension(idIssuingPoint, true, der(derSequence))
			r.extensions = extensionsOf(point, point)
		}, "twice", "scope"},
		{"unknown field of the point", func(r *rawCRL) { r.extensions = pointOf(der(0x86, yes)) }, "", "scope"},
		{"fields of the point out of order", func(r *rawCRL) { r.extensions = pointOf(der(0x84, yes), der(0x81, yes)) }, "", "scope"},
		{"point is no sequence", func(r *rawCRL) { r.extensions = extensionsOf(rawExtension(idIssuingPoint, true, []byte{5, 0})) }, "", "scope"},

		{"reason 7", func(r *rawCRL) { r.entries = oneEntry(reasonOf(7)) }, "reason", ""},
		{"reason 11", func(r *rawCRL) { r.entries = oneEntry(reasonOf(11)) }, "reason", ""},
		{"reason of two bytes", func(r *rawCRL) { r.entries = oneEntry(reasonOf(0, 1)) }, "reason", ""},
		{"reason twice", func(r *rawCRL) { r.entries = oneEntry(reasonOf(1), reasonOf(8)) }, "reason", ""},
		{"entry without a date", func(r *rawCRL) { r.entries = der(derSequence, der(derSequence, serialFive)) }, "a date that cannot be read", ""},
		{"entry with reasons and no date", func(r *rawCRL) {
			r.entries = der(derSequence, der(derSequence, serialFive, der(derSequence, reasonOf(1))))
		}, "a date that cannot be read", ""},
		{"entry with a date in words", func(r *rawCRL) {
			r.entries = der(derSequence, der(derSequence, serialFive, der(derUTCTime, []byte("yesterday at noon"))))
		}, "a date that cannot be read", ""},
		{"entry with a date without seconds", func(r *rawCRL) {
			r.entries = der(derSequence, der(derSequence, serialFive, der(derUTCTime, []byte("2601010000Z"))))
		}, "a time in an unusual form", ""},
		{"entry with more", func(r *rawCRL) {
			r.entries = der(derSequence, rawEntry([]byte{5}, slices.Concat(der(derSequence, reasonOf(1)), []byte{5, 0})))
		}, "fields", ""},
		{"entry without a serial", func(r *rawCRL) {
			r.entries = der(derSequence, der(derSequence, der(derInteger), der(derUTCTime, []byte("260101000000Z"))))
		}, "", "which certificate"},
		{"entry that is no sequence", func(r *rawCRL) { r.entries = der(derSequence, serialFive) }, "", "which certificate"},
		{"entry with an extension that is none", func(r *rawCRL) { r.entries = oneEntry(der(derOctetString)) }, "", "cannot be read"},
		{"entry of 64 KiB", func(r *rawCRL) { r.entries = oneEntry(rawExtension(99, false, make([]byte, 1<<16))) }, "", "cannot be read"},
		{"entry with an unknown critical extension", func(r *rawCRL) { r.entries = oneEntry(rawExtension(99, true, []byte{5, 0})) }, "", "critical extension"},
		{"entry of nobody", func(r *rawCRL) { r.entries = oneEntry(rawExtension(idCertificateIssuer, true, der(derSequence))) }, "", "indirect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRawCRL()
			test.edit(&r)
			c, err := parseCRL(bytes.NewReader(r.bytes()))
			if err != nil {
				t.Fatal(err)
			}
			for said, want := range map[string]string{c.oddities.String(): test.oddity, c.flaws.String(): test.flaw} {
				if !strings.Contains(said, want) || (said == "") != (want == "") {
					t.Errorf("oddities are %q and flaws %q, want %q and %q in them", c.oddities, c.flaws, test.oddity, test.flaw)
				}
				if said != "" {
					wantSentence(t, said)
				}
			}
			if _, listed := c.entries.find([]byte{5}); listed != (bytes.Contains(r.entries, serialFive) && test.name != "entry that is no sequence") {
				t.Errorf("serial 5 is found: %v", listed)
			}
			want, err := x509.ParseRevocationList(r.bytes())
			switch {
			case err == nil && c.oddities == nil && c.thisUpdate != endOfTime && len(r.bytes()) < maxElement:
				likeOracle(t, c, want)
			case err != nil && c.oddities == nil && c.flaws == nil:
				t.Errorf("crypto/x509 refuses it: %v", err)
			}
		})
	}
}

// Lists whose signature or entries cannot be found. The issuer is known wherever it could be read.
func TestParseCRLRefuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		edit    func(*rawCRL)
		unnamed bool
	}{
		{"SHA-1", func(r *rawCRL) {
			r.algorithm = []byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00")
			r.outer = r.algorithm
		}, false},
		{"two algorithms", func(r *rawCRL) { r.outer = []byte(ecdsaSHA384) }, false},
		{"algorithm cut short", func(r *rawCRL) { r.algorithm = r.algorithm[:4] }, true},
		{"version in a string", func(r *rawCRL) { r.version = der(derOctetString, []byte{1}) }, true},
		{"issuer is no name", func(r *rawCRL) { r.issuer = der(derInteger, []byte{1}) }, true},
		{"issuer of 64 KiB", func(r *rawCRL) { r.issuer = der(derSequence, make([]byte, 1<<16)) }, true},
		{"signature with unused bits", func(r *rawCRL) { r.signature = der(derBitString, []byte{1, 2, 4}) }, false},
		{"no signature", func(r *rawCRL) { r.signature = nil }, false},
		{"something inside after it", func(r *rawCRL) { r.signature = append(r.signature, 5, 0) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRawCRL()
			test.edit(&r)
			_, err := parseCRL(bytes.NewReader(r.bytes()))
			if err == nil {
				t.Fatal("accepted")
			}
			wantSentence(t, err.Error())
			refused, named := errors.AsType[*refusedCRL](err)
			if named == test.unnamed || named && refused.issuer != foldedName(r.issuer) {
				t.Errorf("the issuer of what was refused is %+v", refused)
			}
		})
	}
}

func TestReadCRLsRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"text":            "this is not a list\n",
		"long line":       strings.Repeat("x", 3<<20),
		"a certificate":   "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"empty PEM":       "-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n",
		"no base64":       "-----BEGIN X509 CRL-----\n****\n-----END X509 CRL-----\n",
		"without an end":  string(bytes.Split(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: newRawCRL().bytes()}), []byte("-----END"))[0]),
		"indefinite form": "\x30\x80\x00\x00",
		"huge length":     "\x30\x84\xff\xff\xff\xff",
		"over 64 MiB":     "\x30\x84\x04\x00\x00\x01\x30\x00",
		"long length":     "\x30\x85\x00\x00\x00\x00\x05",
	} {
		if _, err := readList(strings.NewReader(text)); err == nil {
			t.Errorf("%s is accepted", name)
		} else {
			wantSentence(t, err.Error())
		}
	}
}

// Ed25519 signs the whole list, which is then held in memory. A large one is refused before
// it is read.
func TestWholeMessageIsBounded(t *testing.T) {
	read := func(size int) (taken int64, err error) {
		r := newRawCRL()
		r.algorithm = der(derSequence, der(derOID, []byte{0x2b, 0x65, 0x70}))
		r.outer = r.algorithm
		r.entries = der(derSequence, make([]byte, size))
		all := bytes.NewReader(r.bytes())
		_, err = parseCRL(all)
		return all.Size() - int64(all.Len()), err
	}
	if _, err := read(maxSignedWhole - 1000); err != nil {
		t.Errorf("a list below the bound: %v", err)
	}
	taken, err := read(maxSignedWhole + 1)
	if err == nil || !strings.Contains(err.Error(), "Ed25519") || taken > 2*maxElement {
		t.Errorf("%d bytes were read, and then: %v", taken, err)
	}
}

// FuzzParseCRL: crypto/x509 is the oracle. It accepts every list in which nothing is unusual here, and
// reads the same in it. The pieces in which the bytes arrive make no difference.
func FuzzParseCRL(f *testing.F) {
	key := ecKey(f, elliptic.P256())
	issuer := asIssuer(key)
	seeds := [][]byte{
		newRawCRL().bytes(),
		makeCRL(f, x509.RevocationList{RevokedCertificateEntries: someEntries()}, issuer, key),
		makeCRL(f, x509.RevocationList{}, issuer, key),
		makeCRL(f, x509.RevocationList{ExtraExtensions: []pkix.Extension{
			lab.DeltaIndicator(3), lab.IDP{URLs: []string{"http://a/b"}, OnlyUser: true, Reasons: []int{1, 2}}.Extension(), lab.FreshestCRL("http://a/d"),
		}}, issuer, key),
	}
	corpus.Add(f, func(der []byte) bool { _, err := parseCRL(bytes.NewReader(der)); return err == nil }, seeds)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCRL(bytes.NewReader(data))
		slow, slowErr := parseCRL(iotest.OneByteReader(bytes.NewReader(data)))
		if fmt.Sprint(err) != fmt.Sprint(slowErr) {
			t.Errorf("%v, and in single bytes %v", err, slowErr)
		}
		if err != nil {
			wantSentence(t, err.Error())
			return
		}
		if remark := (heldCRL{crl: c}).info().Remark(); remark != "" {
			wantSentence(t, remark)
			return
		}
		if c.id != slow.id || c.entries.count != slow.entries.count {
			t.Error("in single bytes it is another list")
		}
		want, err := x509.ParseRevocationList(data)
		if err != nil {
			if oracleIsStricter(err) {
				return
			}
			t.Fatalf("crypto/x509 refuses what was accepted: %v", err)
		}
		likeOracle(t, c, want)
	})
}

// oracleIsStricter reports the refusals of crypto/x509 for values that are not used here: serial
// numbers of no certificate, contents of names.
func oracleIsStricter(err error) bool {
	for _, known := range []string{"serial", "issuer", "distribution point", "RDNSequence", "authority key identifier", "crl number", "extension"} {
		if strings.Contains(err.Error(), known) {
			return true
		}
	}
	return false
}
