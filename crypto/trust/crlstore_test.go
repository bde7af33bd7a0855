package trust

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readList reads a file of revocation lists.
func readList(r io.Reader) ([]*crl, error) {
	lists, problems := readCRLs(r, maxCRLsInFile)
	if len(problems) > 0 {
		return lists, problems[0]
	}
	return lists, nil
}

// A directory with lists in both forms under any name, and with other files.
func TestLoadDir(t *testing.T) {
	s := newScene(t)
	dir := t.TempDir()
	list := s.list(1, hour, s.entry(hour, 1))
	writeFile(t, filepath.Join(dir, "a.txt"), list)
	writeFile(t, filepath.Join(dir, "b"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: s.list(2, hour, nobody, lab.IDP{OnlyCA: true}.Extension())}))
	writeFile(t, filepath.Join(dir, "delta"), s.list(3, hour, nobody, lab.DeltaIndicator(1)))
	writeFile(t, filepath.Join(dir, "indirect"), s.list(4, hour, nobody, lab.IDP{Indirect: true}.Extension()))
	writeFile(t, filepath.Join(dir, "notes.txt"), []byte("lists are from the state\n"))
	writeFile(t, filepath.Join(dir, "cut.crl"), list[:len(list)-1])
	writeFile(t, filepath.Join(dir, "empty.crl"), nil)
	writeFile(t, filepath.Join(dir, ".tmp123"), list[:10])
	if err := os.Mkdir(filepath.Join(dir, "old.crl"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "a.txt"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}

	store := NewCRLStore()
	problems := store.LoadDir(dir)
	var files []string
	for _, err := range problems {
		file, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), dir+"/"), ":")
		files = append(files, file)
	}
	if want := []string{"cut.crl", "empty.crl", "notes.txt"}; !slices.Equal(files, want) {
		t.Errorf("problems with %q, want %q: %v", files, want, problems)
	}
	infos := store.List()
	kinds := make(map[string]CRLInfo)
	for _, info := range infos {
		kinds[info.Kind+info.Number] = info
		if info.Issuer != `"EC de Autenticação do Cartão de Cidadão 0001"` ||
			!strings.HasPrefix(info.Name, "CN=EC de Autenticação do Cartão de Cidadão 0001,") ||
			!strings.HasSuffix(info.Name, ",C=PT") || !info.ThisUpdate.Equal(labNow.Add(-hour)) ||
			!info.NextUpdate.Equal(labNow.Add(23*hour)) || info.Verified || filepath.Dir(info.Source) != dir {
			t.Errorf("info is %+v", info)
		}
	}
	if len(infos) != 4 || kinds["base01"].Entries != 1 || kinds["partition02"].Kind == "" || kinds["delta03"].Base != "01" || kinds["partition04"].Flaw == "" {
		t.Errorf("lists are %+v", infos)
	}
	want(t, s.status(store), RevocationRevoked, "keyCompromise")
	for _, info := range store.List() {
		if !info.Verified { // one of another partition may name it all the same
			t.Errorf("the signature of the %s was checked: %v", info.Kind, info.Verified)
		}
	}
	store.CheckSignatures([][]byte{s.p.Root.Cert.Raw, newLab(t).Auth.Cert.Raw, []byte("junk"), s.ca.Cert.Raw})
	for _, info := range store.List() {
		if !info.Verified {
			t.Errorf("the signature of the %s was not checked", info.Kind)
		}
	}
	if problems := store.LoadDir(filepath.Join(dir, "missing")); len(problems) != 1 {
		t.Errorf("a directory that is not there: %v", problems)
	}
	if _, problems := store.Refresh(); len(problems) != 3+1 {
		t.Errorf("problems of both directories are %v", problems)
	}
}

// Refresh reads files that are new or changed, drops those that are gone, and reads no others
// again.
func TestRefresh(t *testing.T) {
	s := newScene(t)
	dir := t.TempDir()
	store := NewCRLStore()
	if problems := store.LoadDir(dir); problems != nil {
		t.Fatal(problems)
	}
	refresh := func(changed bool, problems int) {
		t.Helper()
		before := store.generation()
		got, found := store.Refresh()
		if got != changed || len(found) != problems || (store.generation() != before) != changed {
			t.Errorf("changed is %v with the problems %v, want %v and %d", got, found, changed, problems)
		}
	}
	refresh(false, 0)
	want(t, s.status(store), RevocationUnknown, "no revocation list")
	path := filepath.Join(dir, "list.crl")
	writeFile(t, path, s.list(1, hour, nobody))
	refresh(true, 0)
	refresh(false, 0)
	want(t, s.status(store), RevocationGood, "")
	lists, _ := store.lists(s.cert.RawIssuer)
	held := lists[0]
	writeFile(t, filepath.Join(dir, "bad.crl"), []byte("x"))
	refresh(true, 1)
	refresh(false, 1)
	if now, _ := store.lists(s.cert.RawIssuer); now[0].crl != held.crl {
		t.Error("a file that did not change was read again")
	}
	if err := os.Remove(filepath.Join(dir, "bad.crl")); err != nil {
		t.Fatal(err)
	}
	refresh(true, 0)
	writeFile(t, path, s.list(2, hour, s.entry(hour, 1)))
	refresh(true, 0)
	want(t, s.status(store), RevocationRevoked, "")
	// The same size and another time.
	if err := os.Chtimes(path, labNow, labNow); err != nil {
		t.Fatal(err)
	}
	refresh(true, 0)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refresh(true, 0)
	want(t, s.status(store), RevocationUnknown, "no revocation list")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	refresh(false, 1)
}

// An unreadable file leaves its former lists in force until it is readable or gone.
func TestRefreshKeepsWhatWasRead(t *testing.T) {
	s := newScene(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "list.crl")
	revoked := s.list(1, hour, s.entry(hour, 1))
	writeFile(t, path, revoked)
	store := NewCRLStore()
	if problems := store.LoadDir(dir); problems != nil {
		t.Fatal(problems)
	}
	next := s.list(2, hour, s.entry(hour, 1), lab.IDP{URLs: []string{partURL}}.Extension())
	for _, broken := range [][]byte{nil, next[:200], next[:len(next)-1], []byte("<html>not found</html>"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: next})[:300]} {
		writeFile(t, path, broken)
		for range 2 {
			if _, problems := store.Refresh(); len(problems) != 1 || !strings.Contains(problems[0].Error(), path) {
				t.Errorf("the problems of a broken file are %v", problems)
			}
			want(t, s.status(store), RevocationRevoked, "keyCompromise")
		}
	}
	// A list stays in force until its own end.
	if status := store.checkOne(issue(t, s.p, "Rui").Leaf, []*x509.Certificate{s.ca.Cert}, labNow.Add(2*day), time.Time{}); status.Status != RevocationUnknown {
		t.Errorf("a list that ended says %s", status.Status)
	}
	writeFile(t, path, s.list(2, hour, nobody))
	if _, problems := store.Refresh(); problems != nil {
		t.Error(problems)
	}
	want(t, s.status(store), RevocationGood, "")

	// A directory that cannot be listed changes nothing either, nor one that is gone. An empty
	// one does.
	writeFile(t, path, revoked)
	store.Refresh()
	store.dirs[0] = path // listing a file fails for every user
	store.files = map[string]crlFile{filepath.Join(path, "list.crl"): store.files[path]}
	if _, problems := store.Refresh(); len(problems) != 1 {
		t.Errorf("the problems of a directory that cannot be listed are %v", problems)
	}
	want(t, s.status(store), RevocationRevoked, "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, problems := store.Refresh(); len(problems) != 1 {
		t.Errorf("the problems of a directory that is gone are %v", problems)
	}
	store.Reread()
	want(t, s.status(store), RevocationRevoked, "")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	store.Refresh()
	want(t, s.status(store), RevocationUnknown, "no revocation list")
}

// Reread also reads a file of the same size and time.
func TestReread(t *testing.T) {
	s := newScene(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "list.crl")
	// Lists differ in length. Empty lines before the PEM block make up for it.
	text := func(der []byte) []byte {
		block := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
		return append(bytes.Repeat([]byte("\n"), 4096-len(block)), block...)
	}
	write := func(list []byte) {
		t.Helper()
		writeFile(t, path, text(list))
		if err := os.Chtimes(path, labNow, labNow); err != nil {
			t.Fatal(err)
		}
	}
	write(s.list(1, hour, nobody))
	store := NewCRLStore()
	store.LoadDir(dir)
	want(t, s.status(store), RevocationGood, "")
	write(s.list(2, hour, s.entry(hour, 1)))
	if changed, _ := store.Refresh(); changed {
		t.Fatal("size and time are not as before")
	}
	if problems := store.Reread(); problems != nil {
		t.Error(problems)
	}
	want(t, s.status(store), RevocationRevoked, "")
}

// A fetched list counts at once and replaces the one before, but not a newer one.
func TestAdd(t *testing.T) {
	s := newScene(t)
	stranger := newLab(t)
	store := NewCRLStore()
	add := func(list []byte, issuer *x509.Certificate, says string) {
		t.Helper()
		before := store.generation()
		_, err := store.Add(bytes.NewReader(list), "http://a/list.crl", []*x509.Certificate{issuer}, labNow)
		if says == "" {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v, want one with %q", err, says)
		}
		if store.generation() != before {
			t.Error("a list that was refused changed something")
		}
	}
	count := func(n int) {
		t.Helper()
		if got := len(store.List()); got != n {
			t.Errorf("%d lists are held, want %d", got, n)
		}
	}
	issuer := s.ca.Cert
	add(s.list(1, 2*hour, nobody), issuer, "")
	want(t, s.status(store), RevocationGood, "")
	add(s.list(2, hour, s.entry(hour, 1)), issuer, "")
	want(t, s.status(store), RevocationRevoked, "")
	count(1)
	add(s.list(1, 2*hour, nobody), issuer, "newer")
	add(s.list(3, hour, nobody), stranger.Auth.Cert, "key")
	add(s.list(3, hour, nobody), s.p.CC.Cert, "another authority")
	add([]byte("<html>not found</html>"), issuer, "not a revocation list")
	add(nil, issuer, "not a revocation list")
	want(t, s.status(store), RevocationRevoked, "")
	add(s.list(3, hour, nobody, lab.DeltaIndicator(2)), issuer, "")
	add(s.list(1, hour, nobody, lab.IDP{URLs: []string{partURL}}.Extension()), issuer, "")
	count(3)
	same := s.list(4, hour, nobody)
	add(same, issuer, "")
	add(same, issuer, "")
	count(3)
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: same})
	add(slices.Concat(text, text), issuer, "")
	count(3)

	// A list from Add and from a directory is held once.
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a"), same)
	writeFile(t, filepath.Join(dir, "b"), same)
	if problems := store.LoadDir(dir); problems != nil {
		t.Fatal(problems)
	}
	count(3)
}

func TestAddIsBounded(t *testing.T) {
	s := newScene(t)
	store := NewCRLStore()
	for i := range maxAdded + 10 {
		point := lab.IDP{URLs: []string{fmt.Sprintf("http://a/%d", i)}}
		addCRL(t, store, s.list(1, hour, nobody, point.Extension()), s.ca.Cert)
	}
	infos := store.List()
	if len(infos) != maxAdded {
		t.Errorf("%d lists are held, at most %d may be", len(infos), maxAdded)
	}
	if lists, _ := store.lists(s.cert.RawIssuer); len(lists) != len(infos) {
		t.Error("the index differs from what is held")
	}
}

// A list in two directories is always held as the same one's.
func TestLoadDirTwice(t *testing.T) {
	s := newScene(t)
	a, b, list := t.TempDir(), t.TempDir(), s.list(1, hour, nobody)
	for _, dir := range []string{a, b} {
		writeFile(t, filepath.Join(dir, "list"), list)
	}
	for range 50 {
		store := NewCRLStore()
		store.LoadDir(b)
		store.LoadDir(a)
		if all := store.List(); len(all) != 1 || all[0].Source != filepath.Join(max(a, b), "list") {
			t.Fatalf("held are %+v", all)
		}
	}
}

// The places of lists: complete ones are lacking if nothing is known, deltas if there are some and
// none is current, none if all is known.
func TestPlaces(t *testing.T) {
	s := newScene(t, lab.Mutate(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, lab.FreshestCRL("http://a/delta.crl"))
	}))
	urls := func(store *CRLStore) (found []string) {
		all := 0
		for _, f := range store.check(s.path(), nil, labNow, time.Time{}).Places(labNow) {
			if f.Signers == nil || f.Delta != strings.Contains(f.URL, "delta") || !f.Lacking && !f.NextUpdate.After(labNow) {
				t.Errorf("a place is %+v", f)
			}
			if all++; f.Lacking {
				found = append(found, f.URL[strings.LastIndex(f.URL, "/")+1:])
			}
		}
		if all < 4 {
			t.Errorf("there are %d places", all)
		}
		return found
	}
	ofCC, err := s.p.CC.MakeCRL(lab.CRL{})
	if err != nil {
		t.Fatal(err)
	}
	ofRoot, err := s.p.Root.MakeCRL(lab.CRL{Extensions: nil})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		lists [][]byte
		want  []string
	}{
		"nothing held":        {nil, []string{"part7.crl", "delta.crl", "cc.crl", "root.crl"}},
		"leaf's base held":    {[][]byte{s.list(1, hour, nobody)}, []string{"delta.crl", "cc.crl", "root.crl"}},
		"leaf's stale":        {[][]byte{s.list(1, 30*hour, nobody), ofCC, ofRoot}, []string{"part7.crl", "delta.crl"}},
		"leaf revoked":        {[][]byte{s.list(1, hour, s.entry(hour, 1)), ofCC, ofRoot}, []string{"delta.crl"}},
		"leaf revoked, stale": {[][]byte{s.list(1, 30*hour, s.entry(hour, 6)), ofCC, ofRoot}, []string{"part7.crl", "delta.crl"}},
		"delta held":          {[][]byte{s.list(1, hour, nobody), s.list(2, hour, nobody, lab.DeltaIndicator(1)), ofCC, ofRoot}, nil},
		"delta stale":         {[][]byte{s.list(1, hour, nobody), s.list(2, 30*hour, nobody, lab.DeltaIndicator(1)), ofCC, ofRoot}, []string{"delta.crl"}},
		"base names a delta":  {[][]byte{s.list(1, hour, nobody, lab.FreshestCRL("http://a/delta2.crl")), ofCC, ofRoot}, []string{"delta.crl", "delta2.crl"}},
	} {
		if got := urls(s.holding(test.lists...)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Places have the dates of the lists at hand: of the complete one, and of the current delta.
func TestPlacesDates(t *testing.T) {
	s := newScene(t, lab.Mutate(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, lab.FreshestCRL("http://a/delta.crl"))
	}))
	store := s.holding(s.list(1, 3*hour, nobody), s.list(2, 2*hour, nobody, lab.DeltaIndicator(1)), s.list(3, hour, nobody, lab.DeltaIndicator(1)))
	for i, age := range []time.Duration{3 * hour, hour} {
		place, want := store.check(s.path(), nil, labNow, time.Time{}).Places(labNow)[i], labNow.Add(-age)
		if place.Delta != (i == 1) || !place.ThisUpdate.Equal(want) || !place.NextUpdate.Equal(want.Add(24*hour)) {
			t.Errorf("a place is %+v, want the dates of %v", place, want)
		}
	}
}

// A status keeps no list in memory that the store has given up: a person may be known for weeks, and a
// list may have a million entries.
func TestStatusKeepsNoList(t *testing.T) {
	s := newScene(t)
	for name, lists := range map[string][][]byte{
		"good":    {s.list(1, 2*hour, nobody), s.list(2, hour, nobody, lab.DeltaIndicator(1))},
		"revoked": {s.list(1, hour, s.entry(hour, 1))},
		"stale":   {s.list(1, 30*hour, nobody)},
	} {
		store := s.holding(lists...)
		status := store.check(s.path(), nil, labNow, time.Time{})
		var held []weak.Pointer[crl]
		for _, h := range store.held {
			held = append(held, weak.Make(h.crl))
		}
		runtime.GC()
		for _, list := range held {
			if list.Value() != nil {
				t.Errorf("%s: a list is still in memory", name)
			}
		}
		if len(status.Places(labNow)) == 0 {
			t.Errorf("%s: no places", name)
		}
	}
}

// placesOf returns the places of the lists about a certificate, whatever these say of it now.
func placesOf(v *Verifier, leaf []byte, chain [][]byte) ([]CRLFetch, error) {
	person, err := v.Certificate(leaf, chain)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Places != nil {
		return refused.Places, nil
	}
	if err != nil || person.Revocation.Status == RevocationOff {
		return nil, err
	}
	return person.Revocation.Places(v.now()), nil
}

// A verifier names the places of lists even for a certificate that its policy refuses without them,
// but not for one that leads nowhere.
func TestVerifierPlaces(t *testing.T) {
	s := newScene(t)
	var chain [][]byte
	for _, cert := range s.holder.Chain {
		chain = append(chain, cert.Raw)
	}
	trust := trustOf(t, s.p.Root.Cert)
	store := NewCRLStore()
	v := verifierAt(trust, store, PolicyRequire, labNow)
	_, err := v.Certificate(s.cert.Raw, chain)
	wantCode(t, err, proto.RevocationUnknown)
	fetches, err := placesOf(v, s.cert.Raw, chain)
	if err != nil || len(fetches) != 3 || fetches[0].URL != partURL {
		t.Fatalf("the places are %+v, %v", fetches, err)
	}
	for i, ca := range []*lab.CA{s.p.Auth, s.p.CC, s.p.Root} {
		der, err := ca.MakeCRL(lab.CRL{})
		if err != nil {
			t.Fatal(err)
		}
		addCRL(t, store, der, fetches[i].Signers[0])
	}
	person, err := v.Certificate(s.cert.Raw, chain)
	if err != nil || person.Revocation.Status != RevocationGood {
		t.Errorf("with the lists: %+v, %v", person, err)
	}
	fetches, err = placesOf(v, s.cert.Raw, chain)
	if err != nil || slices.ContainsFunc(fetches, func(f CRLFetch) bool { return f.Lacking }) {
		t.Errorf("still lacking: %+v, %v", fetches, err)
	}
	if fetches, err := placesOf(verifierAt(trust, nil, PolicyOff, labNow), s.cert.Raw, chain); err != nil || fetches != nil {
		t.Errorf("with the policy off the places are %+v, %v", fetches, err)
	}
	stranger := issue(t, s.p, "Ana", lab.Untrusted)
	_, err = placesOf(v, stranger.Leaf.Raw, nil)
	wantCode(t, err, proto.CertificateUntrusted)
	_, err = placesOf(v, []byte("x"), nil)
	wantCode(t, err, proto.BundleMalformed)
	_, err = placesOf(v, s.cert.Raw, [][]byte{[]byte("x")})
	wantCode(t, err, proto.BundleMalformed)
	_, err = verifierAt(trust, store, PolicyTry, labNow.AddDate(9, 0, 0)).Certificate(s.cert.Raw, chain)
	wantCode(t, err, proto.CertificateExpired)
}

// Lists may be looked up while they are replaced (run with -race).
func TestCRLStoreConcurrency(t *testing.T) {
	s := newScene(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "root"), s.list(1, hour, nobody))
	store := NewCRLStore()
	store.LoadDir(dir)
	fetched := s.list(2, hour, nobody)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 50 {
			if err := os.Chtimes(filepath.Join(dir, "root"), time.Time{}, labNow.Add(time.Duration(i)*time.Second)); err != nil {
				t.Error(err)
			}
			store.Refresh()
		}
	})
	wg.Go(func() {
		for range 50 {
			store.Add(bytes.NewReader(fetched), "x", []*x509.Certificate{s.ca.Cert}, labNow)
		}
	})
	for range 200 {
		if status := s.status(store); status.Status != RevocationGood {
			t.Errorf("status is %+v", status)
		}
		store.List()
		store.check(s.path(), nil, labNow, time.Time{}).Places(labNow)
	}
	wg.Wait()
}

func TestShownNumber(t *testing.T) {
	for want, extension := range map[string][]byte{"": nil, "00": {0}, "0a": {0, 10}, "0100": {1, 0}, "ff": {0, 0xff}} {
		r := newRawCRL()
		r.extensions = nil
		if extension != nil {
			r.extensions = der(0xa0, der(derSequence, rawExtension(idCRLNumber, false, der(derInteger, extension))))
		}
		c, err := parseCRL(bytes.NewReader(r.bytes()))
		must(t, err)
		if got := (heldCRL{crl: c}).info().Number; got != want {
			t.Errorf("%x is shown as %q, want %q", extension, got, want)
		}
	}
}

// TestAddKeepsLaterNumbers: of two fetched deltas the one of the higher number and the older date
// is neither refused nor replaced. A later one replaces both.
func TestAddKeepsLaterNumbers(t *testing.T) {
	s := newScene(t)
	two := s.list(2, hour, nobody, lab.DeltaIndicator(1))
	three := s.list(3, 3*hour, s.entry(4*hour, 1), lab.DeltaIndicator(1))
	for _, order := range [][][]byte{{two, three}, {three, two}} {
		store := NewCRLStore()
		add := func(der []byte) {
			t.Helper()
			_, err := store.Add(bytes.NewReader(der), "http://a/delta", []*x509.Certificate{s.ca.Cert}, labNow)
			must(t, err)
		}
		add(order[0])
		add(order[1])
		if n := len(store.List()); n != 2 {
			t.Errorf("%d lists are held", n)
		}
		want(t, s.status(store), RevocationRevoked, "keyCompromise")
		add(s.list(4, hour/2, nobody, lab.DeltaIndicator(1)))
		if n := len(store.List()); n != 1 {
			t.Errorf("%d lists are held after a later one", n)
		}
	}
}

// TestRefusedListsOfOneFile: each refused list of a file is told to the people of its own
// authority.
func TestRefusedListsOfOneFile(t *testing.T) {
	s := newScene(t)
	weak := func(name string) []byte {
		r := newRawCRL()
		issuer, err := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
		must(t, err)
		r.issuer, r.algorithm = issuer, []byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00") // SHA-1
		return r.bytes()
	}
	ours := newRawCRL()
	ours.issuer, ours.outer = s.ca.Cert.RawSubject, []byte(ecdsaSHA384)
	store, dir := NewCRLStore(), t.TempDir()
	path := filepath.Join(dir, "all.pem")
	writeFile(t, path, slices.Concat(crlText(weak("First")), crlText(weak("Second")), crlText(ours.bytes())))
	problems := store.LoadDir(dir)
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "line 1:") {
		t.Errorf("the file is told of with %v", problems)
	}
	want(t, s.status(store), RevocationUnknown, "two signature algorithms")
}

// TestTableIsBuiltLast: to read a list builds no table yet, which takes long for a long list and
// which nobody can interrupt. Its signature is checked before.
func TestTableIsBuiltLast(t *testing.T) {
	s := newScene(t)
	list := s.list(1, hour, s.entry(hour, 1))
	c, err := parseCRL(bytes.NewReader(list))
	must(t, err)
	if c.entries.table != nil {
		t.Error("the table is there before the signature is checked")
	}
	if _, ok := c.entries.find(s.cert.SerialNumber.Bytes()); !ok {
		t.Error("the entry is not found")
	}
	store := NewCRLStore()
	_, err = store.Add(bytes.NewReader(list), "http://a", []*x509.Certificate{s.ca.Cert}, labNow)
	must(t, err)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.crl"), s.list(2, hour, s.entry(hour, 1)))
	store.LoadDir(dir)
	for _, h := range store.held {
		if h.entries.table == nil {
			t.Errorf("the first person of the list of %s waits for its table", h.source)
		}
	}
}
