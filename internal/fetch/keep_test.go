package fetch

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// answers has the address of Alice's list answer with this list, and has a program fetch it.
func (side *program) answers(ca *lab.CA, list lab.CRL) {
	s := side.scene
	s.T.Helper()
	der, err := ca.MakeCRL(list)
	if err != nil {
		s.T.Fatal(err)
	}
	s.ServeFile("/crl/auth.crl", der)
	results, err := side.refresh()
	if problem, ok := results[s.Web.URL+"/crl/auth.crl"]; !ok || problem != nil || err != nil {
		s.T.Errorf("the list was not fetched: %v, %v", results, err)
	}
}

// revoked opens a program that fetches a list which names Alice.
func (s *scene) revoked() *program {
	s.T.Helper()
	s.PKI.Revoke(s.Alice, time.Now().Add(-time.Minute), 1)
	side := s.open(trust.PolicyTry)
	side.answers(s.PKI.Auth, lab.CRL{ThisUpdate: time.Now().Add(-30 * time.Minute)})
	return side
}

// staysRevoked checks that the next program knows of Alice's revocation, without the server and
// with this list from it.
func (s *scene) staysRevoked(replayed []byte) {
	s.T.Helper()
	s.ServeFile("/crl/auth.crl", replayed)
	for _, off := range []bool{true, false} {
		side := s.open(trust.PolicyTry, func(cfg *Config) { cfg.Off = off })
		_, err := side.verifyWait()
		wire.WantCode(s.T, err, proto.CertificateRevoked)
		side.refresh()
		_, err = side.verify()
		wire.WantCode(s.T, err, proto.CertificateRevoked)
		side.Close()
	}
}

// TestFetchOtherLists: whoever answers in the place of a server has other lists of the authority,
// and older ones. The list that names somebody stays all the same, also for the next program.
func TestFetchOtherLists(t *testing.T) {
	with := func(e ...pkix.Extension) lab.CRL {
		return lab.CRL{ThisUpdate: time.Now(), Entries: []x509.RevocationListEntry{}, Extensions: e}
	}
	delta := with(lab.DeltaIndicator(40))
	delta.Number = big.NewInt(50)
	var partitions []lab.CRL
	for i := range 2 * maxOfAddress {
		partitions = append(partitions, with(lab.IDP{URLs: []string{fmt.Sprint("http://lists.example/", i)}}.Extension()))
	}
	for _, c := range []struct {
		name  string
		lists []lab.CRL
	}{
		{"about authorities", []lab.CRL{with(lab.IDP{OnlyCA: true}.Extension())}},
		{"delta", []lab.CRL{delta}},
		{"flawed", []lab.CRL{with(pkix.Extension{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})}},
		{"many partitions", partitions},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			before := s.File("/crl/auth.crl")
			side := s.revoked()
			for _, list := range c.lists {
				s.pass(time.Second)
				side.answers(s.PKI.Auth, list)
			}
			side.Close()
			if n := len(readDir(t, side.crls.dir)); n > 2+maxOfAddress {
				t.Errorf("%d files are kept", n)
			}
			s.staysRevoked(before)
		})
	}
	t.Run("another key's", func(t *testing.T) {
		s := newScene(t)
		before := s.File("/crl/auth.crl")
		renewed, err := s.PKI.NewCA(s.PKI.CC, lab.DN("CN", "x"), lab.Mutate(func(c *x509.Certificate) { c.RawSubject = s.PKI.Auth.Cert.RawSubject }))
		if err != nil {
			t.Fatal(err)
		}
		side := s.revoked()
		side.bundle.Chain = append(side.bundle.Chain, renewed.Cert.Raw)
		side.answers(renewed, with())
		side.Close()
		s.staysRevoked(before)
	})
}

// TestFetchTwoPrograms: a program that has not seen the newer list, and is answered with an older
// one, takes nothing from the other programs on its state directory. A still newer list takes the
// place of both.
func TestFetchTwoPrograms(t *testing.T) {
	s := newScene(t)
	before := s.File("/crl/auth.crl")
	second := s.open(trust.PolicyTry)
	s.revoked().Close()
	s.ServeFile("/crl/auth.crl", before)
	second.refresh()
	second.wantStatus(trust.RevocationGood) // it has fetched that
	second.Close()
	s.staysRevoked(before)
	s.pass(time.Second)
	third := s.open(trust.PolicyTry)
	third.answers(s.PKI.Auth, lab.CRL{ThisUpdate: time.Now().Add(-time.Minute)})
	third.Close()
	if n := len(readDir(t, third.crls.dir)); n != 3 {
		t.Errorf("%d files are kept", n)
	}
	s.staysRevoked(before)
}

// TestFetchNewerOutdates: of one series of lists the newest is kept. A delta stays while a later one
// does not build upon it.
func TestFetchNewerOutdates(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyTry)
	entries, at := []x509.RevocationListEntry{}, s.now().Add(-time.Hour)
	list := func(number int64, minute int, e ...pkix.Extension) lab.CRL {
		return lab.CRL{Number: big.NewInt(number), Entries: entries, ThisUpdate: at.Add(time.Duration(minute) * time.Minute), Extensions: e}
	}
	for _, c := range []struct {
		list  lab.CRL
		files int
	}{
		{list(255, 1), 3},
		{list(256, 2), 3},
		{list(7, 3), 3}, // it counts anew
		{list(8, 3), 3},
		{list(70, 9, lab.DeltaIndicator(60)), 4},
		{list(90, 8, lab.DeltaIndicator(60)), 5}, // an older date, a later number
		{list(91, 10, lab.DeltaIndicator(80)), 4},
	} {
		side.answers(s.PKI.Auth, c.list)
		side.lists.Refresh() // as every program does, time and again
		if n := len(readDir(t, side.crls.dir)); n != c.files {
			t.Errorf("after the list number %d, %d files are kept, not %d", c.list.Number, n, c.files)
		}
	}
}

// TestFetchSeveralInOneFile: an answer with several lists takes no list's own file, and so takes none
// away when one of the others is outdated.
func TestFetchSeveralInOneFile(t *testing.T) {
	s := newScene(t)
	before := s.File("/crl/auth.crl")
	side := s.revoked()
	side.lists.Refresh()
	names := s.File("/crl/auth.crl")
	part := func(minutes time.Duration) lab.CRL {
		return lab.CRL{ThisUpdate: time.Now().Add(-minutes * time.Minute), Entries: []x509.RevocationListEntry{},
			Extensions: []pkix.Extension{lab.IDP{URLs: []string{"http://lists.example/1"}}.Extension()}}
	}
	old, err := s.PKI.Auth.MakeCRL(part(20))
	if err != nil {
		t.Fatal(err)
	}
	s.ServeFile("/crl/auth.crl", append(pemOf("X509 CRL", names), pemOf("X509 CRL", old)...))
	s.pass(time.Second)
	if results, err := side.refresh(); err != nil || results[s.Web.URL+"/crl/auth.crl"] != nil {
		t.Fatalf("the lists were not fetched: %v, %v", results, err)
	}
	files := len(readDir(t, side.crls.dir))
	side.lists.Refresh()
	side.answers(s.PKI.Auth, part(10))
	if n := len(readDir(t, side.crls.dir)); n != files {
		t.Errorf("%d files are kept, not %d: the newer part has taken the place of the file with two", n, files)
	}
	side.Close()
	s.staysRevoked(before)
}

// TestFetchLongAddress: the list of an address is kept, however long that is.
func TestFetchLongAddress(t *testing.T) {
	for _, n := range []int{20, 215, 225, maxURL - 50} {
		s := newScene(t)
		place := "/crl/" + strings.Repeat("ã", n/2)
		holder, err := s.PKI.Issue("alice", lab.Mutate(func(c *x509.Certificate) { c.CRLDistributionPoints = []string{s.Web.URL + place} }))
		if err != nil {
			t.Fatal(err)
		}
		s.Alice = holder
		s.PKI.Revoke(holder, time.Now().Add(-time.Minute), 1)
		list, err := s.PKI.Auth.MakeCRL(lab.CRL{})
		if err != nil {
			t.Fatal(err)
		}
		s.ServeFile(place, list)
		side := s.open(trust.PolicyTry)
		side.refresh()
		side.Close()
		for what := range side.crls.files() {
			if strings.Contains(what, "%C3%A3") && strings.Contains(what, "~") != (n > 20) {
				t.Errorf("%d: the name is %s", n, what)
			}
		}
		for _, notice := range side.notices {
			if !strings.HasSuffix(notice, ": <nil>") {
				t.Error(notice)
			}
		}
		s.Serve(place, nil)
		s.staysRevoked(nil)
	}
}

// TestFetchFar: a list that is good for ever is fetched anew every day, also by the next program.
func TestFetchFar(t *testing.T) {
	s := newScene(t)
	s.publishFor(50 * 365 * 24 * time.Hour)
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests(allLists...)
	look := func(want ...string) {
		t.Helper()
		side.bundle = s.bundle()
		side.wantStatus(trust.RevocationGood)
		side.settle()
		s.WantRequests(want...)
	}
	s.pass(16 * time.Hour)
	look()
	for range 3 {
		s.pass(4 * time.Hour)
		look(allLists...)
		s.pass(16 * time.Hour)
		look()
		side.Close()
		side = s.open(trust.PolicyRequire)
		look()
	}
	s.PKI.Revoke(s.Alice, s.now(), 1)
	s.publishFor(50 * 365 * 24 * time.Hour)
	s.pass(4 * time.Hour)
	look(allLists...)
	_, err := side.verify()
	wire.WantCode(t, err, proto.CertificateRevoked)
}
