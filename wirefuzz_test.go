package chatsecure

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// What comes inside the lines of the other side, and from the servers that a
// certificate names.

// oneForm fails unless v, which was read from b, is written as b.
func oneForm(t *testing.T, b []byte, v any) {
	t.Helper()
	if again := canon.MustMarshal(v); !bytes.Equal(again, b) {
		t.Fatalf("%q was taken for %q", b, again)
	}
}

func FuzzHello(f *testing.F) {
	h := hello{Name: "ana", Takes: proto.TakesMessages, Bundle: relayTestDelegate(f, relayTestPerson(f, "ana"), "ana").bundle, Signature: make([]byte, 64)}
	good := canon.MustMarshal(&h)
	corpus.Add(f, func(b []byte) bool { _, err := readHello(b); return err == nil }, [][]byte{good},
		[]byte("{}"), bytes.Replace(good, []byte("messages"), []byte("all"), 1), []byte(`{"name":"ana","takes":"none","bundle":null,"data_signature":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(b)
		if err != nil {
			if relayError(err) == nil || h != nil && h.Bundle == nil {
				t.Fatalf("%v is not told", err)
			}
			return
		}
		oneForm(t, b, h)
		if len(h.Bundle.Chain) > 8 || !proto.ValidTakes(h.Takes) {
			t.Fatalf("%+v", h)
		}
	})
}

func FuzzListed(f *testing.F) {
	page := []proto.Listed{{Name: "João", ID: "0123456789abcdef", Takes: proto.TakesPipe, Since: 1, Identity: fingerprintA}, {Name: "b", ID: "0123456789abcdee", Takes: proto.TakesNone, Identity: fingerprintB}}
	good := canon.MustMarshal(page)
	corpus.Add(f, func(b []byte) bool { _, err := readListed(b); return err == nil }, [][]byte{good, []byte("[]")},
		[]byte("null"), bytes.Replace(good, []byte("pipe"), []byte("PIPE"), 1), bytes.Replace(good, []byte(fingerprintA), []byte("\\u001b]0;x"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		page, err := readListed(b)
		if err != nil {
			return
		}
		oneForm(t, b, page)
		for _, l := range page {
			if proto.CheckName(l.Name) != nil || !proto.ValidConnID(l.ID) || !proto.ValidTakes(l.Takes) || !isHash(l.Identity) {
				t.Fatalf("taken: %+v", l)
			}
		}
	})
}

func FuzzWhois(f *testing.F) {
	entries := []whoisEntry{{ID: "0123456789abcdef", Takes: proto.TakesMessages, Since: 1, Bundle: relayTestDelegate(f, relayTestPerson(f, "ana"), "ana").bundle}}
	good := canon.MustMarshal(entries)
	corpus.Add(f, func(b []byte) bool { _, err := readWhois(b); return err == nil }, [][]byte{good, []byte("[]")},
		[]byte("[null]"), []byte("["+strings.Repeat("{},", proto.MaxWhois)+"{}]"), bytes.Replace(good, []byte(`"takes":"messages"`), []byte(`"takes":"\u001b"`), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := readWhois(b)
		if err != nil {
			return
		}
		oneForm(t, b, entries)
		if len(entries) > proto.MaxWhois {
			t.Fatalf("%d entries", len(entries))
		}
		for _, e := range entries {
			if !proto.ValidConnID(e.ID) || e.Bundle == nil || !proto.ValidTakes(e.Takes) {
				t.Fatalf("taken: %+v", e)
			}
		}
	})
}

// FuzzHeaderCache: a header that was seen before is what parsing it gives.
func FuzzHeaderCache(f *testing.F) {
	const id = "0123456789abcdef"
	seven := uint64(7)
	seen := headerCache{}
	var good [][]byte
	for _, h := range []proto.Header{
		{Type: proto.TypeAck, DstID: id, Answers: &seven}, {Type: proto.TypePeer, Name: "ana", ID: id, Takes: proto.TakesPipe, Done: proto.Came},
		{Type: proto.TypeClientCom, Src: "ana", SrcID: id, Dst: "bruno", DstID: id}, {Type: proto.TypeCommAck, Src: "ana", SrcID: id, Dst: "bruno", DstID: id},
	} {
		good = append(good, canon.MustMarshal(&h))
	}
	corpus.Add(f, func(b []byte) bool { _, err := seen.parse(b); return err == nil }, good, []byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wantErr := proto.ParseRelayHeader(b)
		for range 2 {
			h, err := seen.parse(b)
			if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(h, want) {
				t.Fatalf("%q is %+v, %v, want %+v, %v", b, h, err, want, wantErr)
			}
		}
		if len(seen) > maxCachedHeaders {
			t.Fatalf("%d headers are kept", len(seen))
		}
	})
}

// FuzzIssuers: an answer to a fetch for an issuer is authorities' certificates
// in DER or PEM, as crypto/x509 and encoding/pem read them.
func FuzzIssuers(f *testing.F) {
	pki := relayTestLab()
	block := func(typ string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}) }
	leaf := relayTestPerson(f, "leaf").Leaf.Raw
	corpus.Add(f, func(b []byte) bool { _, err := parseIssuers(b); return err == nil },
		[][]byte{pki.Auth.Cert.Raw, append(block("CERTIFICATE", leaf), block("CERTIFICATE", pki.CC.Cert.Raw)...), append(block("X", nil), block("CERTIFICATE", pki.Root.Cert.Raw)...)},
		nil, leaf, pki.Auth.Cert.Raw[:200], append([]byte{0x30, 0x80}, oidSignedData...), block("PKCS7", nil), append(pki.Auth.Cert.Raw, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		certs, err := parseIssuers(b)
		if err != nil {
			if certs != nil || err.Error() != crypto.Visible(err.Error()) {
				t.Fatalf("%d certificates, and %q", len(certs), err)
			}
			return
		}
		for _, cert := range certs {
			again, err := x509.ParseCertificate(cert.Raw)
			if err != nil || !again.IsCA || len(cert.Raw) > fetchMaxIssuer {
				t.Fatalf("taken: %d bytes, %v", len(cert.Raw), err)
			}
		}
		if len(certs) == 0 || len(certs) > 1 && bytes.Count(b, []byte("-----BEGIN ")) < len(certs) {
			t.Fatalf("%d certificates", len(certs))
		}
	})
}

// FuzzFetchURL: an address that is asked is one host's, over HTTP, and nothing
// of it breaks out of the request.
func FuzzFetchURL(f *testing.F) {
	corpus.Add(f, func(s string) bool { _, err := fetchParseURL(s); return err == nil },
		[]string{"http://crls.example/a.crl", "HTTP://[::1]:8080/a%20b?c=d", "http://example"},
		"", "https://a/", "http:///a", "http://user@a/", "http://a/#b", "http:a", "file:///etc/passwd", "http://a/\r\nHost: b", "http://a b/", "ldap://a/b")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := fetchParseURL(s)
		if err != nil {
			if err.Error() != crypto.Visible(err.Error()) {
				t.Fatalf("%q", err)
			}
			return
		}
		line := u.Host + u.RequestURI()
		if u.Scheme != "http" || u.Hostname() == "" || len(s) > fetchMaxURL || strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			t.Fatalf("%q is asked as %q of %q", s, u.RequestURI(), u.Host)
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host || again.RequestURI() != u.RequestURI() {
			t.Fatalf("%q is %q, %v", s, again, err)
		}
	})
}
