package trust

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// formScene is an authority of its own with a revoked person and a good one, and the lists of
// the authorities above.
type formScene struct {
	p         *lab.PKI
	ca        *lab.CA
	bad, good *Bundle
	above     [][]byte
}

func newFormScene(t *testing.T, p *lab.PKI, name string, opts ...lab.IssueOption) *formScene {
	t.Helper()
	s := &formScene{p: p, ca: newCA(t, p, p.CC, "EC "+name, opts...)}
	early := func(b *Bundle) { b.NotBefore = labNow.Add(-2 * time.Hour).Unix() }
	bad := issue(t, p, "Rui", lab.By(s.ca))
	s.bad, s.good = delegate(t, bad, early), delegate(t, issue(t, p, "Ana", lab.By(s.ca)), early)
	s.ca.Revoke(bad.Leaf, labNow.Add(-time.Hour), 1)
	for _, ca := range []*lab.CA{p.CC, p.Root} {
		der, err := ca.MakeCRL(lab.CRL{})
		must(t, err)
		s.above = append(s.above, der)
	}
	return s
}

// holding is a store with lists as from a directory.
func (s *formScene) holding(t *testing.T, lists ...[]byte) *CRLStore {
	t.Helper()
	return (&scene{t: t}).holding(append(lists, s.above...)...)
}

// judge wants the bad one refused under both policies, now and half an hour ago, and the good one
// accepted, unless the lists clear nobody.
func (s *formScene) judge(t *testing.T, store *CRLStore, clears bool) {
	t.Helper()
	trust := trustOf(t, s.p.Root.Cert)
	for _, policy := range []Policy{PolicyTry, PolicyRequire} {
		v := verifierAt(trust, store, policy, labNow)
		for when, look := range map[string]func(b *Bundle) (*Person, error){
			"now":              func(b *Bundle) (*Person, error) { return v.Verify(b, b.Name) },
			"half an hour ago": func(b *Bundle) (*Person, error) { return v.verifyAt(b, b.Name, labNow.Add(-30*time.Minute)) },
		} {
			_, err := look(s.bad)
			if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != proto.CertificateRevoked {
				t.Errorf("%s, %s: the revoked one: %v", policy, when, err)
			}
			person, err := look(s.good)
			switch {
			case !clears && policy == PolicyRequire:
				wantCode(t, err, proto.RevocationUnknown)
			case err != nil:
				t.Errorf("%s, %s: the good one: %v", policy, when, err)
			case clears != (person.Revocation.Status == RevocationGood):
				t.Errorf("%s, %s: the good one is %s: %s", policy, when, person.Revocation.Status, person.Revocation.Reason)
			}
		}
	}
}

// TestRow20Forms: whatever the form of a list that its authority has signed, the person on it does
// not get in; and a form that is merely odd keeps nobody else out. From a directory and fetched.
func TestRow20Forms(t *testing.T) {
	p := newLab(t)
	for _, form := range lab.ListForms {
		t.Run(form.Name, func(t *testing.T) {
			s := newFormScene(t, p, form.Name)
			lists, err := form.Lists(s.ca)
			must(t, err)
			s.judge(t, s.holding(t, lists...), form.Clears)
			fetched := s.holding(t)
			for _, der := range lists {
				addCRL(t, fetched, der, s.ca.Cert)
			}
			s.judge(t, fetched, form.Clears)
		})
	}
}

// TestRow20SignatureForms: algorithm identifiers that mean the same as those of certificates.
func TestRow20SignatureForms(t *testing.T) {
	p := newLab(t)
	s := newFormScene(t, p, "RSA", lab.RSA2048)
	null := &lab.DER{Tag: 5}
	oid := func(last byte) *lab.DER {
		return &lab.DER{Tag: 6, Body: append([]byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01"), last)}
	}
	sequence := func(parts ...*lab.DER) *lab.DER { return &lab.DER{Tag: 0x30, Parts: parts} }
	field := func(n byte, part *lab.DER) *lab.DER { return &lab.DER{Tag: 0xa0 | n, Parts: []*lab.DER{part}} }
	sha := func(n byte, parameters ...*lab.DER) *lab.DER {
		return sequence(append([]*lab.DER{{Tag: 6, Body: append([]byte("\x60\x86\x48\x01\x65\x03\x04\x02"), n)}}, parameters...)...)
	}
	pss := func(hash, mask *lab.DER, more ...*lab.DER) *lab.DER {
		return sequence(oid(10), sequence(append([]*lab.DER{field(0, hash), field(1, sequence(oid(8), mask))}, more...)...))
	}
	number := func(n ...byte) *lab.DER { return &lab.DER{Tag: 2, Body: n} }
	options := func(hash crypto.Hash, salt int) *rsa.PSSOptions { return &rsa.PSSOptions{Hash: hash, SaltLength: salt} }
	for name, test := range map[string]struct {
		inner, outer *lab.DER // nil: the same as inner
		options      crypto.SignerOpts
		refused      bool
	}{
		"RSA with NULL":                     {sequence(oid(11), null), nil, crypto.SHA256, false},
		"RSA without NULL":                  {sequence(oid(11)), nil, crypto.SHA256, false},
		"RSA with NULL inside only":         {sequence(oid(11), null), sequence(oid(11)), crypto.SHA256, false},
		"RSA with NULL outside only":        {sequence(oid(11)), sequence(oid(11), null), crypto.SHA256, false},
		"RSA with SHA-512":                  {sequence(oid(13)), nil, crypto.SHA512, false},
		"RSA with two hashes":               {sequence(oid(11)), sequence(oid(12)), crypto.SHA256, true},
		"PSS with NULL":                     {pss(sha(1, null), sha(1, null), field(2, number(32))), nil, options(crypto.SHA256, 32), false},
		"PSS without NULL":                  {pss(sha(1), sha(1), field(2, number(32))), nil, options(crypto.SHA256, 32), false},
		"PSS with NULL here and there":      {pss(sha(1), sha(1, null), field(2, number(32))), nil, options(crypto.SHA256, 32), false},
		"PSS with SHA-384":                  {pss(sha(2), sha(2), field(2, number(48))), nil, options(crypto.SHA384, 48), false},
		"PSS with a salt of 20":             {pss(sha(1), sha(1), field(2, number(20))), nil, options(crypto.SHA256, 20), false},
		"PSS with a salt of 20, by default": {pss(sha(1), sha(1)), nil, options(crypto.SHA256, 20), false},
		"PSS with the longest salt":         {pss(sha(1), sha(1), field(2, number(222))), nil, options(crypto.SHA256, 222), true},
		"PSS with a salt of 222":            {pss(sha(1), sha(1), field(2, number(0, 222))), nil, options(crypto.SHA256, 222), false},
		"PSS with the trailer":              {pss(sha(1), sha(1), field(2, number(32)), field(3, number(1))), nil, options(crypto.SHA256, 32), false},
		"PSS with another salt than said":   {pss(sha(1), sha(1), field(2, number(32))), nil, options(crypto.SHA256, 20), true},
		"PSS with another trailer":          {pss(sha(1), sha(1), field(2, number(32)), field(3, number(2))), nil, options(crypto.SHA256, 32), true},
		"PSS with another mask":             {pss(sha(1), sha(2), field(2, number(32))), nil, options(crypto.SHA256, 32), true},
		"PSS with a huge salt":              {pss(sha(1), sha(1), field(2, number(1, 0, 0))), nil, options(crypto.SHA256, 32), true},
		"SHA-1":                             {sequence(oid(5), null), nil, crypto.SHA256, true},
	} {
		t.Run(name, func(t *testing.T) {
			outer := test.outer
			if outer == nil {
				outer = test.inner
			}
			der, err := s.ca.MakeCRL(lab.CRL{
				Damage:  func(tbs *lab.DER) { tbs.Parts[1] = test.inner },
				Outer:   func(algorithm *lab.DER) { *algorithm = *outer },
				Options: test.options,
			})
			must(t, err)
			if !test.refused {
				s.judge(t, s.holding(t, der), true)
				return
			}
			list, err := parseCRL(bytes.NewReader(der))
			if err == nil && signedByOne(list, s.ca.Cert) == nil {
				t.Error("it is taken")
			}
		})
	}
}

// TestRow20OtherSigners: another certificate of the authority signs the list (RFC 5280, section
// 6.3.3 (f)): that of its key for lists, or of a renewed key. A certificate of the path has issued it,
// it has the same name, and may sign lists.
func TestRow20OtherSigners(t *testing.T) {
	p := newLab(t)
	for name, test := range map[string]struct {
		parent  *lab.CA
		cn      string
		options []lab.IssueOption
		says    string // why the list is not used, "" if it is
	}{
		"its key for lists":           {p.CC, "", []lab.IssueOption{usage(x509.KeyUsageCRLSign)}, ""},
		"a renewed key":               {p.CC, "", nil, ""},
		"one that may not sign lists": {p.CC, "", []lab.IssueOption{usage(x509.KeyUsageCertSign)}, "not signed by any key"},
		"one of another name":         {p.CC, "EC of another name", nil, "no revocation list"},
		"one that nobody vouches for": {nil, "", nil, "another key"},
		"one that has ended":          {p.CC, "", []lab.IssueOption{lab.Window(labNow.Add(-20*day), labNow.Add(-day))}, ""},
		"one of another authority":    {p.Auth, "", []lab.IssueOption{usage(x509.KeyUsageCRLSign)}, "another key"},
		"one of the root":             {p.Root, "", []lab.IssueOption{usage(x509.KeyUsageCRLSign)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFormScene(t, p, name)
			cn := test.cn
			if cn == "" {
				cn = s.ca.Cert.Subject.CommonName
			}
			signer := newCA(t, p, test.parent, cn, test.options...)
			der, err := signer.MakeCRL(lab.CRL{Entries: s.ca.Entries()})
			if signer.Cert.KeyUsage&x509.KeyUsageCRLSign == 0 { // then the library makes none
				der, err = s.ca.MakeCRL(lab.CRL{Key: signer.Key})
			}
			must(t, err)
			others := []*x509.Certificate{signer.Cert, p.Auth.Cert}
			trust := trustOf(t, append(others, p.Root.Cert)...)
			if test.parent == nil {
				trust = trustOf(t, p.Root.Cert)
				chain := append([][]byte{signer.Cert.Raw}, s.bad.Chain...)
				s.bad.Chain, s.good.Chain = chain, chain
			}
			v := verifierAt(trust, s.holding(t, der), PolicyRequire, labNow)
			_, badErr := v.Verify(s.bad, "Rui")
			_, goodErr := v.Verify(s.good, "Ana")
			if test.says == "" { // it revokes, and clears nobody
				wantCode(t, badErr, proto.CertificateRevoked)
				wantCode(t, goodErr, proto.RevocationUnknown)
				return
			}
			wantCode(t, badErr, proto.RevocationUnknown)
			wantCode(t, goodErr, proto.RevocationUnknown)
			if badErr != nil && !bytes.Contains([]byte(badErr.Error()), []byte(test.says)) {
				t.Errorf("it is told that %v, not %q", badErr, test.says)
			}
		})
	}
}

// TestEachKeyHasItsLists: an authority may have each key sign a list about its own certificates. A
// newer list by another key takes the place of none.
func TestEachKeyHasItsLists(t *testing.T) {
	p := newLab(t)
	s := newFormScene(t, p, "of two keys")
	renewed := newCA(t, p, p.CC, s.ca.Cert.Subject.CommonName)
	old, err := s.ca.MakeCRL(lab.CRL{ThisUpdate: labNow.Add(-2 * hour)})
	must(t, err)
	newer, err := renewed.MakeCRL(lab.CRL{Entries: nobody})
	must(t, err)
	v := verifierAt(trustOf(t, p.Root.Cert, renewed.Cert), s.holding(t, old, newer), PolicyTry, labNow)
	_, err = v.Verify(s.bad, "Rui")
	wantCode(t, err, proto.CertificateRevoked)
}

// TestIndirectEntries: in a list for several authorities the entries after a certificateIssuer are
// about the authority that it names.
func TestIndirectEntries(t *testing.T) {
	s := newScene(t)
	var own pkix.RDNSequence
	_, err := asn1.Unmarshal(s.ca.Cert.RawSubject, &own)
	must(t, err)
	other := lab.DN("CN", "Another")
	entry := func(serial *big.Int, issuer pkix.RDNSequence) x509.RevocationListEntry {
		e := x509.RevocationListEntry{SerialNumber: serial, RevocationTime: labNow.Add(-hour)}
		if issuer != nil {
			e.ExtraExtensions = []pkix.Extension{lab.CertificateIssuer(issuer)}
		}
		return e
	}
	ours, theirs := s.cert.SerialNumber, big.NewInt(5)
	for name, test := range map[string]struct {
		entries []x509.RevocationListEntry
		status  RevocationStatus
	}{
		"before the first":       {[]x509.RevocationListEntry{entry(ours, nil), entry(theirs, other)}, RevocationRevoked},
		"of its own issuer":      {[]x509.RevocationListEntry{entry(theirs, other), entry(ours, own)}, RevocationRevoked},
		"after its own issuer":   {[]x509.RevocationListEntry{entry(theirs, other), entry(theirs, own), entry(ours, nil)}, RevocationRevoked},
		"of another":             {[]x509.RevocationListEntry{entry(ours, other)}, RevocationUnknown},
		"after another":          {[]x509.RevocationListEntry{entry(theirs, other), entry(ours, nil)}, RevocationUnknown},
		"after one and another":  {[]x509.RevocationListEntry{entry(theirs, own), entry(theirs, other), entry(ours, nil)}, RevocationUnknown},
		"not on it, and no flag": {[]x509.RevocationListEntry{entry(theirs, own)}, RevocationUnknown},
	} {
		for _, extensions := range [][]pkix.Extension{nil, {lab.IDP{Indirect: true}.Extension()}} {
			if got := s.status(s.holding(s.list(1, hour, test.entries, extensions...))); got.Status != test.status {
				t.Errorf("%s: %s (%s), want %s", name, got.Status, got.Reason, test.status)
			}
		}
	}
}

// TestFlawedLists: lists with a flaw that are not older revoke beside a sound list; older ones are
// superseded by it, and none takes its place.
func TestFlawedLists(t *testing.T) {
	s := newScene(t)
	flaw := unknownCritical
	part := lab.IDP{URLs: []string{"http://127.0.0.1:1/lab/part8.crl"}}.Extension()
	tomorrow := func(entries []x509.RevocationListEntry, extensions ...pkix.Extension) []byte {
		return s.list(9, -day, entries, extensions...)
	}
	held := s.entry(4*hour, reasonHold)
	for _, test := range []listCase{
		{"sound, and a newer one with a flaw names it", lists(s.list(1, 2*hour, nobody), s.list(2, hour, held, flaw)), RevocationRevoked, ""},
		{"sound, and an older one with a flaw names it", lists(s.list(2, hour, nobody), s.list(1, 2*hour, held, flaw)), RevocationGood, ""},
		{"sound, and one of tomorrow names it", lists(s.list(1, 2*hour, nobody), tomorrow(held)), RevocationRevoked, ""},
		{"sound names it, and one of tomorrow does not", lists(s.list(1, 2*hour, held), tomorrow(nobody)), RevocationRevoked, ""},
		{"sound names it, and a newer one with a flaw does not", lists(s.list(1, 2*hour, held), s.list(2, hour, nobody, flaw)), RevocationRevoked, ""},
		{"of another partition, released in a newer one of it", lists(s.list(1, hour, nobody), s.list(2, 3*hour, held, part), s.list(3, 2*hour, nobody, part)), RevocationGood, ""},
		{"of another partition", lists(s.list(1, hour, nobody), s.list(2, 3*hour, held, part)), RevocationRevoked, ""},
		{"a delta with a flaw", lists(s.list(1, 2*hour, nobody), s.list(2, hour, held, flaw, lab.DeltaIndicator(1))), RevocationRevoked, ""},
		{"a delta with a flaw removes", lists(s.list(1, 4*hour, held), s.list(2, hour, s.entry(hour, reasonRemove), flaw, lab.DeltaIndicator(1))), RevocationRevoked, ""},
		{"a delta with a flaw removes what is not held", lists(s.list(1, 4*hour, nobody), s.list(2, hour, s.entry(hour, reasonRemove), flaw, lab.DeltaIndicator(1))), RevocationGood, ""},
		{"an older delta with a flaw, and a sound one", lists(s.list(1, 4*hour, nobody), s.list(2, 3*hour, held, flaw, lab.DeltaIndicator(1)),
			s.list(3, hour, nobody, lab.DeltaIndicator(1))), RevocationGood, ""},
		{"smaller number, newer", lists(s.list(9, 2*hour, held), s.list(1, hour, nobody)), RevocationGood, ""},
		{"smaller number, newer, names it", lists(s.list(9, 2*hour, nobody), s.list(1, hour, held)), RevocationRevoked, ""},
		{"an old delta of the numbers before", lists(s.list(1, hour, held), s.list(90, 3*hour, s.entry(4*hour, reasonRemove), lab.DeltaIndicator(1))), RevocationRevoked, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			want(t, s.status(s.holding(test.lists...)), test.status, test.says)
			fetched := NewCRLStore()
			for _, list := range test.lists {
				if _, err := fetched.Add(bytes.NewReader(list), "test", []*x509.Certificate{s.ca.Cert}, labNow); err != nil &&
					err.Error() != "a newer revocation list is at hand" {
					t.Error(err)
				}
			}
			want(t, s.status(fetched), test.status, test.says)
		})
	}
}

// TestAddFlawed: a fetched list with a flaw revokes, and drops no sound one.
func TestAddFlawed(t *testing.T) {
	s := newScene(t)
	store := NewCRLStore()
	signers := []*x509.Certificate{s.ca.Cert}
	add := func(list []byte, taken bool, held int) {
		t.Helper()
		if _, err := store.Add(bytes.NewReader(list), "http://a", signers, labNow); (err == nil) != taken {
			t.Error(err)
		}
		if n := len(store.List()); n != held {
			t.Errorf("%d lists are held, want %d", n, held)
		}
	}
	add(s.list(1, 5*hour, nobody), true, 1)
	add(s.list(2, 4*hour, s.entry(hour, 1), unknownCritical), true, 2)
	want(t, s.status(store), RevocationRevoked, "")
	add(s.list(3, 3*hour, nobody, unknownCritical), true, 2) // in place of the other with a flaw
	want(t, s.status(store), RevocationGood, "")
	add(s.list(2, 4*hour, nobody, unknownCritical), false, 2)
	add(s.list(9, -day, s.entry(hour, 1)), true, 2) // of tomorrow
	want(t, s.status(store), RevocationRevoked, "")
	add(s.list(4, 2*hour, nobody), true, 2)
	add(s.list(3, 3*hour, nobody), false, 2)
	add(s.list(4, 2*hour, s.entry(hour, 1)), true, 3) // of the same time and number
	want(t, s.status(store), RevocationRevoked, "")
	add(s.list(10, -5*time.Minute, nobody), true, 2)      // in place of both
	for _, later := range []time.Duration{day, 3 * day} { // what was of tomorrow is then the newest
		status := store.checkOne(s.cert, signers, labNow.Add(later), time.Time{})
		want(t, status, RevocationRevoked, "")
	}
}

// TestFlawedFile: nor does a file with a flaw replace the sound list that was there before.
func TestFlawedFile(t *testing.T) {
	s := newScene(t)
	path := filepath.Join(t.TempDir(), "list.crl")
	store := NewCRLStore()
	put := func(list []byte, status RevocationStatus, held int) {
		t.Helper()
		writeFile(t, path, list)
		modified := labNow.Add(time.Duration(store.generation()) * time.Second)
		must(t, os.Chtimes(path, modified, modified))
		if store.generation() == 0 {
			store.LoadDir(filepath.Dir(path))
		} else {
			store.Refresh()
		}
		want(t, s.status(store), status, "")
		store.Refresh() // the signatures are checked now
		if n := len(store.List()); n != held {
			t.Errorf("%d lists are held, want %d", n, held)
		}
	}
	put(s.list(1, 9*hour, s.entry(10*hour, reasonHold)), RevocationRevoked, 1)
	put(s.list(2, 8*hour, nobody, unknownCritical), RevocationRevoked, 2)
	put(s.list(3, -day, nobody), RevocationRevoked, 2)
	put(s.list(4, 7*hour, nobody), RevocationGood, 2) // the one of tomorrow may be true tomorrow
	put(s.list(5, 6*hour, nobody, unknownCritical), RevocationGood, 3)
	put(s.list(6, 5*hour, s.entry(6*hour, 1), unknownCritical), RevocationRevoked, 3)
	// A false list forgets nobody either, and clears nobody.
	put(s.list(7, 4*hour, s.entry(5*hour, 1)), RevocationRevoked, 2)
	put(s.made(lab.CRL{Key: ecKey(t, elliptic.P256()), Entries: nobody}), RevocationRevoked, 3)
	put(s.list(8, 3*hour, nobody), RevocationGood, 2)
	ofCC, err := s.p.CC.MakeCRL(lab.CRL{})
	must(t, err)
	put(ofCC, RevocationUnknown, 1)
}

// TestFormerListsAreBounded: a file that never replaces its lists, since they are of the future, have
// a flaw or stand beside a damaged one, keeps a few of them and not all. Of a file with many
// scopes each keeps its former list.
func TestFormerListsAreBounded(t *testing.T) {
	s := newScene(t)
	path := filepath.Join(t.TempDir(), "list.crl")
	store := NewCRLStore()
	put := func(n int, text []byte) {
		t.Helper()
		writeFile(t, path, text)
		modified := labNow.Add(time.Duration(n) * time.Second)
		must(t, os.Chtimes(path, modified, modified))
		store.LoadDir(filepath.Dir(path))
	}
	damaged := []byte("-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----\n")
	for name, next := range map[string]func(n int64) []byte{
		"of the future": func(n int64) []byte { return s.list(n, -day-time.Duration(n)*time.Minute, nobody) },
		"with a flaw":   func(n int64) []byte { return s.list(n, hour-time.Duration(n)*time.Second, nobody, unknownCritical) },
		"beside a damaged": func(n int64) []byte {
			return append(crlText(s.list(n, hour-time.Duration(n)*time.Second, nobody)), damaged...)
		},
	} {
		for n := range 3 * maxFormer {
			put(n+1, next(int64(n+1)))
		}
		if n := len(store.List()); n > 2*maxFormer+1 {
			t.Errorf("%s: %d lists are held", name, n)
		}
	}
	must(t, os.Remove(path))
	store.Refresh()
	scope := func(i int) pkix.Extension { return lab.IDP{URLs: []string{fmt.Sprint("http://a/", i)}}.Extension() }
	for n := range 2 {
		var text []byte
		for i := range 3 * maxFormer {
			text = append(text, crlText(s.list(int64(n+1), hour-time.Duration(n)*time.Minute, nobody, scope(i)))...)
		}
		put(n+100, text)
	}
	if n := len(store.List()); n != 2*3*maxFormer {
		t.Errorf("%d lists of all scopes are held, want each with its former one", n)
	}
}

// TestFalseListsDisplaceNone: however many false lists come one after the other, the former one that
// is signed names its people.
func TestFalseListsDisplaceNone(t *testing.T) {
	s := newScene(t)
	path := filepath.Join(t.TempDir(), "list.crl")
	store := NewCRLStore()
	store.LoadDir(filepath.Dir(path))
	put := func(n int, list []byte) {
		t.Helper()
		writeFile(t, path, list)
		modified := labNow.Add(time.Duration(n) * time.Second)
		must(t, os.Chtimes(path, modified, modified))
		store.Refresh()
		want(t, s.status(store), RevocationRevoked, "keyCompromise")
	}
	put(0, s.list(1, 9*hour, s.entry(10*hour, 1)))
	for n := range 3 * maxFormer {
		put(n+1, s.made(lab.CRL{Key: ecKey(t, elliptic.P256()), Entries: nobody, Number: big.NewInt(int64(n + 2)),
			ThisUpdate: labNow.Add(-8*hour + time.Duration(n)*time.Minute)}))
	}
	if n := len(store.List()); n > 2*maxFormer+1 {
		t.Errorf("%d lists are held", n)
	}
}

// TestRefusedListIsNamed: the file of a list that cannot be read is named where the list is lacking,
// with the reason, and without a hint to fetch the same again.
func TestRefusedListIsNamed(t *testing.T) {
	s := newScene(t)
	sha1 := s.made(lab.CRL{Entries: nobody, Damage: func(tbs *lab.DER) { tbs.Parts[1].Parts[0].Body[7] = 1 }})
	for name, test := range map[string]struct {
		list []byte
		says string
		hint string
	}{
		"unsafe algorithm":  {sha1, "unknown or not safe", "without that fault"},
		"cut short":         {s.list(1, hour, nobody)[:300], "cut short", "without that fault"},
		"signed by another": {s.made(lab.CRL{Entries: nobody, Key: ecKey(t, elliptic.P256())}), "not signed by any key", "without that fault"},
		"with a flaw":       {s.list(1, hour, nobody, unknownCritical), "critical extension", "without that fault"},
		"of tomorrow":       {s.list(1, -day, nobody), "from the future", "clock"},
		"stale":             {s.list(1, 30*hour, nobody), "due to be replaced", "crl refresh"},
	} {
		store, dir := NewCRLStore(), t.TempDir()
		path := filepath.Join(dir, "ours.crl")
		writeFile(t, path, test.list)
		store.LoadDir(dir)
		result := store.check(s.path(), nil, labNow, time.Time{})
		if status := result.Certificates[0]; !strings.Contains(status.Reason, test.says) || !strings.Contains(status.hint, test.hint) ||
			test.hint == "without that fault" && !strings.Contains(status.Reason, path) {
			t.Errorf("%s: the status is %q with the hint %q", name, status.Reason, status.hint)
		}
		wantSentence(t, result.Reason)
		wantSentence(t, result.Hint)
		if above := result.Certificates[1]; !strings.Contains(above.Reason, "no revocation list") {
			t.Errorf("%s: it is told of another authority too: %q", name, above.Reason)
		}
		must(t, os.Remove(path))
		store.Refresh()
		want(t, s.status(store), RevocationUnknown, "no revocation list")
	}
}

// TestAddReadsOneList: the body of a fetched list is read no further than to a second one, and a file
// has a bounded number.
func TestAddReadsOneList(t *testing.T) {
	s := newScene(t)
	text := crlText(s.list(1, hour, nobody))
	many := &countingReader{r: strings.NewReader(strings.Repeat(string(text), 2*maxCRLsInFile))}
	info, err := NewCRLStore().Add(many, "http://a", []*x509.Certificate{s.ca.Cert}, labNow)
	if err != nil || !strings.Contains(info.Flaw, "after it") || many.n > len(text)+64<<10 {
		t.Errorf("%d bytes are read: %v, with the flaw %q", many.n, err, info.Flaw)
	}
	lists, err := readList(strings.NewReader(strings.Repeat(string(text), maxCRLsInFile+1)))
	if err == nil || len(lists) != maxCRLsInFile {
		t.Errorf("%d lists of a file: %v", len(lists), err)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

// TestNamesOfPoints: a directory name in a distribution point is compared by its text.
func TestNamesOfPoints(t *testing.T) {
	name := func(tag byte, text string) []byte {
		return der(0xa4, der(derSequence, der(derSet, der(derSequence, der(derOID, []byte{0x55, 4, 3}), der(tag, []byte(text))))))
	}
	general := func(der []byte) (name asn1.RawValue) {
		_, err := asn1.Unmarshal(der, &name)
		must(t, err)
		return name
	}
	a := []asn1.RawValue{general(uri("http://x")), general(name(derPrintableString, "List 7"))}
	for _, test := range []struct {
		b    []byte
		want bool
	}{
		{name(derPrintableString, "List 7"), true},
		{name(derUTF8String, " LIST  7"), true},
		{name(derUTF8String, "List 8"), false},
		{uri("http://X"), false},
		{uri("http://x"), true},
	} {
		if got := shareName(a, []asn1.RawValue{general(test.b)}); got != test.want {
			t.Errorf("%q is shared: %v", test.b, got)
		}
	}
}

// TestStolenKeyForLists: whoever has a second key of an authority, stolen or the holder's own, takes
// no list of the first key away and clears nobody.
func TestStolenKeyForLists(t *testing.T) {
	s := newScene(t)
	store := NewCRLStore()
	stolen := newCA(t, s.p, s.p.Auth.Parent, s.ca.Cert.Subject.CommonName, lab.WithSubject(rdns(t, s.ca.Cert.RawSubject)))
	signers := []*x509.Certificate{s.ca.Cert, stolen.Cert}
	add := func(der []byte) {
		t.Helper()
		_, err := store.Add(bytes.NewReader(der), "http://one", signers, labNow)
		must(t, err)
	}
	add(s.list(1, 2*hour, s.entry(3*hour, 1)))
	der, err := stolen.MakeCRL(lab.CRL{Entries: nobody, ThisUpdate: labNow.Add(-hour)})
	must(t, err)
	add(der)
	if status := store.checkOne(s.cert, signers, labNow, time.Time{}); status.Status != RevocationRevoked {
		t.Errorf("the one on the list of the first key is %s", status.Status)
	}
	other := issue(t, s.p, "Rui").Leaf
	if status := store.checkOne(other, signers, labNow, time.Time{}); status.Status != RevocationGood {
		t.Errorf("another is %s: %s", status.Status, status.Reason)
	}
	alone := NewCRLStore()
	_, err = alone.Add(bytes.NewReader(der), "http://one", signers, labNow)
	must(t, err)
	if status := alone.checkOne(other, signers, labNow, time.Time{}); status.Status != RevocationUnknown || !strings.Contains(status.Reason, "by another key") {
		t.Errorf("with the list of the other key alone: %s: %s", status.Status, status.Reason)
	}
}

func rdns(t *testing.T, der []byte) (name pkix.RDNSequence) {
	t.Helper()
	_, err := asn1.Unmarshal(der, &name)
	must(t, err)
	return name
}

// TestArchiveOfLists: a list may drop a certificate that has ended. An older one that names it counts.
func TestArchiveOfLists(t *testing.T) {
	p := newLab(t)
	h := issue(t, p, "Ana", lab.Window(labNow.Add(-30*day), labNow.Add(-10*day)))
	made := func(n int64, age time.Duration, entries []x509.RevocationListEntry) []byte {
		der, err := p.Auth.MakeCRL(lab.CRL{Number: big.NewInt(n), ThisUpdate: labNow.Add(-age), Entries: entries})
		must(t, err)
		return der
	}
	entry := []x509.RevocationListEntry{{SerialNumber: h.Leaf.SerialNumber, RevocationTime: labNow.Add(-12 * day), ReasonCode: 1}}
	before, after, last := made(1, 20*day, nobody), made(2, 9*day, entry), made(3, day, nobody)
	for name, lists := range map[string][][]byte{
		"two": {before, after}, "three": {before, after, last}, "the later two": {after, last}, "one": {after},
	} {
		store := (&scene{t: t}).holding(lists...)
		status := store.checkOne(h.Leaf, []*x509.Certificate{p.Auth.Cert}, labNow.Add(-11*day), labNow)
		if status.Status != RevocationRevoked {
			t.Errorf("%s: %s: %s", name, status.Status, status.Reason)
		}
	}
}

// TestTwoEntriesOfOne: a hold is no reason to lift a revocation for good.
func TestTwoEntriesOfOne(t *testing.T) {
	s := newScene(t)
	for _, two := range [][]x509.RevocationListEntry{
		append(s.entry(4*hour, reasonHold), s.entry(2*hour, 1)...), append(s.entry(2*hour, 1), s.entry(4*hour, reasonHold)...),
	} {
		status := s.status(s.holding(s.list(5, 2*hour, two), s.list(6, hour, s.entry(hour, reasonRemove), lab.DeltaIndicator(5))))
		if want(t, status, RevocationRevoked, "keyCompromise"); !status.Date.Equal(labNow.Add(-4 * hour)) {
			t.Errorf("revoked since %v", status.Date)
		}
	}
}

// TestEntriesAreBounded: before the signature on a list is checked, its entries take a bounded
// memory, however short they are.
func TestEntriesAreBounded(t *testing.T) {
	s := newScene(t)
	tbs := s.made(lab.CRL{Damage: func(tbs *lab.DER) {
		tbs.Parts[5] = &lab.DER{Tag: 0x30, Body: bytes.Repeat([]byte{0x30, 3, 2, 1, 5}, maxEntries+1)}
	}})
	if _, err := readList(bytes.NewReader(tbs)); err == nil || !strings.Contains(err.Error(), "more than 2000000 entries") {
		t.Errorf("a list of more entries than are allowed: %v", err)
	}
}

// TestDamagedBlock: a block that is no base64 takes no other list of its file with it.
func TestDamagedBlock(t *testing.T) {
	s := newScene(t)
	bad := crlText(s.list(1, 2*hour, nobody))
	bad[len(bad)/2] = '!'
	lists, problems := readCRLs(bytes.NewReader(append(bad, crlText(s.list(2, hour, s.entry(hour, 1)))...)), maxCRLsInFile)
	if len(lists) != 1 || len(problems) != 1 || !strings.Contains(problems[0].Error(), "base64") {
		t.Errorf("%d lists, and %v", len(lists), problems)
	}
}
