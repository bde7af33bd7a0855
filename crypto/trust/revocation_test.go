package trust

// x509.RevocationList makes no lists that break rules.
//
//lint:file-ignore SA1019 pkix.TBSCertificateList is the one type that does

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// scene is an authority, a certificate of it, and lists about that.
type scene struct {
	t      *testing.T
	p      *lab.PKI
	ca     *lab.CA
	holder *lab.Holder
	cert   *x509.Certificate // the holder's
}

// partURL is the address of the lists in the scene's certificate.
const partURL = "http://127.0.0.1:1/lab/part7.crl"

// newScene issues a certificate with one distribution point of its own.
func newScene(t *testing.T, opts ...lab.IssueOption) *scene {
	t.Helper()
	p := newLab(t)
	points := lab.Mutate(func(c *x509.Certificate) { c.CRLDistributionPoints = []string{partURL} })
	h := issue(t, p, "Ana", append([]lab.IssueOption{points}, opts...)...)
	return &scene{t, p, p.Auth, h, h.Leaf}
}

func (s *scene) path() []*x509.Certificate {
	return []*x509.Certificate{s.cert, s.p.Auth.Cert, s.p.CC.Cert, s.p.Root.Cert}
}

// entry is the certificate's entry on a list, dated ago before now.
func (s *scene) entry(ago time.Duration, reason int) []x509.RevocationListEntry {
	return []x509.RevocationListEntry{{SerialNumber: s.cert.SerialNumber, RevocationTime: labNow.Add(-ago), ReasonCode: reason}}
}

var nobody = []x509.RevocationListEntry{}

// List makes a list of the scene's authority: number n, age old, valid for a day.
func (s *scene) list(n int64, age time.Duration, entries []x509.RevocationListEntry, extensions ...pkix.Extension) []byte {
	s.t.Helper()
	der, err := s.ca.MakeCRL(lab.CRL{
		Number: big.NewInt(n), ThisUpdate: labNow.Add(-age), NextUpdate: labNow.Add(24*time.Hour - age),
		Entries: entries, Extensions: extensions,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return der
}

// holding is a store with lists as from a directory, not verified.
func (s *scene) holding(lists ...[]byte) *CRLStore {
	s.t.Helper()
	store := NewCRLStore()
	var held []heldCRL
	for _, der := range lists {
		list, err := parseCRL(bytes.NewReader(der))
		if err != nil {
			s.t.Fatal(err)
		}
		held = append(held, heldCRL{crl: list, source: "dir/list.crl"})
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	store.replaceLocked(held)
	return store
}

// status asks a store about the certificate, live.
func (s *scene) status(store *CRLStore) CertificateStatus {
	return store.checkOne(s.cert, []*x509.Certificate{s.ca.Cert}, labNow, time.Time{})
}

func want(t *testing.T, got CertificateStatus, status RevocationStatus, says string) {
	t.Helper()
	if got.Status != status || !strings.Contains(got.Reason, says) {
		t.Errorf("status is %s (%s), want %s (%s)", got.Status, got.Reason, status, says)
	}
	if got.Status == RevocationUnknown {
		wantSentence(t, got.Reason)
	}
	if got.Status == RevocationRevoked && got.Date.IsZero() {
		t.Error("revoked at no time")
	}
}

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// listCase is lists at hand and their answer about the scene's certificate.
type listCase struct {
	name   string
	lists  [][]byte
	status RevocationStatus
	says   string
}

// Row 20, revocation: the answer of each kind of list about a certificate, alone and together.
func TestRow20Revocation(t *testing.T) {
	s := newScene(t)
	for _, test := range slices.Concat(completeLists(s), unusableLists(s), partitionedLists(s), deltaLists(s), severalDeltas(s)) {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // the answer depends neither on earlier checks nor on the order
				want(t, s.status(s.holding(test.lists...)), test.status, test.says)
				slices.Reverse(test.lists)
			}
		})
	}
}

func lists(l ...[]byte) [][]byte { return l }

// made is a list unlike the scene's others.
func (s *scene) made(c lab.CRL) []byte {
	s.t.Helper()
	der, err := s.ca.MakeCRL(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return der
}

// stale is the age of a list that was due to be replaced an hour ago.
const stale = 25 * hour

func completeLists(s *scene) []listCase {
	return []listCase{
		{"none", nil, RevocationUnknown, "no revocation list"},
		{"base, not on it", lists(s.list(1, hour, nobody)), RevocationGood, ""},
		{"base, on it", lists(s.list(1, hour, s.entry(hour, 1))), RevocationRevoked, "keyCompromise"},
		{"base, without a reason", lists(s.list(1, hour, s.entry(hour, 0))), RevocationRevoked, "unspecified"},
		{"base, on hold", lists(s.list(1, hour, s.entry(hour, 6))), RevocationRevoked, "certificateHold"},
		{"base, removed from it", lists(s.list(1, hour, s.entry(hour, 8))), RevocationRevoked, "removeFromCRL"},
		{"base, revoked from tomorrow on", lists(s.list(1, hour, s.entry(-day, 1))), RevocationRevoked, ""},
		{"stale, not on it", lists(s.list(1, stale, nobody)), RevocationUnknown, "due to be replaced"},
		{"stale, on it", lists(s.list(1, stale, s.entry(26*hour, 1))), RevocationRevoked, ""},
		{"stale within the tolerance", lists(s.list(1, 24*hour+5*time.Minute, nobody)), RevocationGood, ""},
		{"stale by a second more", lists(s.list(1, 24*hour+5*time.Minute+time.Second, nobody)), RevocationUnknown, "due to be replaced"},
		{"from the future within the tolerance", lists(s.list(1, -5*time.Minute, nobody)), RevocationGood, ""},
		{"from the future by a second more", lists(s.list(1, -5*time.Minute-time.Second, nobody)), RevocationUnknown, "from the future"},
		{"just stale", lists(s.list(1, 24*hour+4*time.Minute, nobody)), RevocationGood, ""},
		{"from the future", lists(s.list(1, -hour, nobody)), RevocationUnknown, "from the future"},
		{"a little from the future", lists(s.list(1, -4*time.Minute, nobody)), RevocationGood, ""},
		{"stale, and a new one", lists(s.list(1, stale, nobody), s.list(2, hour, nobody)), RevocationGood, ""},
		{"old one on hold, new one not", lists(s.list(1, 2*hour, s.entry(3*hour, 6)), s.list(2, hour, nobody)), RevocationGood, ""},
		{"the same, other order", lists(s.list(2, hour, nobody), s.list(1, 2*hour, s.entry(3*hour, 6))), RevocationGood, ""},
		{"numbers beyond 64 bits", lists(s.made(lab.CRL{Number: new(big.Int).Lsh(big.NewInt(1), 100), Entries: s.entry(hour, 1)}),
			s.list(1<<62, hour, nobody)), RevocationRevoked, ""},
	}
}

func unusableLists(s *scene) []listCase {
	stranger := newLab(s.t)
	ofCC, err := s.p.CC.MakeCRL(lab.CRL{Entries: s.entry(hour, 1)})
	if err != nil {
		s.t.Fatal(err)
	}
	return []listCase{
		{"signed by a stranger of that name", lists(s.made(lab.CRL{Entries: nobody, Key: stranger.Auth.Key})), RevocationUnknown, "not signed by any key"},
		{"revoked by a stranger of that name", lists(s.made(lab.CRL{Entries: s.entry(hour, 1), Key: stranger.Auth.Key})), RevocationUnknown, "not signed by any key"},
		{"a stranger's newer one hides none", lists(s.list(1, hour, s.entry(hour, 1)),
			s.made(lab.CRL{Number: big.NewInt(9), Entries: nobody, Key: stranger.Auth.Key})), RevocationRevoked, ""},
		{"of another authority", lists(ofCC), RevocationUnknown, "no revocation list"},
		{"without nextUpdate", lists(s.made(lab.CRL{Entries: nobody, Edit: func(l *pkix.TBSCertificateList) { l.NextUpdate = time.Time{} }})), RevocationUnknown, "next one is due"},
		{"critical extension", lists(s.list(1, hour, nobody, unknownCritical)), RevocationUnknown, "critical extension"},
		{"critical extension, on it", lists(s.list(1, hour, s.entry(hour, 1), unknownCritical)), RevocationRevoked, "keyCompromise"},
		{"critical extension of an entry", lists(s.list(1, hour, []x509.RevocationListEntry{
			{SerialNumber: big.NewInt(1), RevocationTime: labNow, ExtraExtensions: []pkix.Extension{unknownCritical}}})), RevocationUnknown, "critical extension"},
		{"indirect", lists(s.list(1, hour, nobody, lab.IDP{Indirect: true}.Extension())), RevocationUnknown, "indirect"},
		{"indirect by an entry", lists(s.list(1, hour, []x509.RevocationListEntry{
			{SerialNumber: big.NewInt(1), RevocationTime: labNow, ExtraExtensions: []pkix.Extension{lab.CertificateIssuer(lab.DN("CN", "X"))}}})), RevocationUnknown, "indirect"},
	}
}

func partitionedLists(s *scene) []listCase {
	part := lab.IDP{URLs: []string{partURL}}
	otherPart := lab.IDP{URLs: []string{"http://127.0.0.1:1/lab/part8.crl"}}
	return []listCase{
		{"partition, not on it", lists(s.list(1, hour, nobody, part.Extension())), RevocationGood, ""},
		{"partition, on it", lists(s.list(1, hour, s.entry(hour, 4), part.Extension())), RevocationRevoked, "superseded"},
		{"another partition", lists(s.list(1, hour, nobody, otherPart.Extension())), RevocationUnknown, "other certificates"},
		{"another partition, on it", lists(s.list(1, hour, s.entry(hour, 1), otherPart.Extension())), RevocationRevoked, "keyCompromise"},
		{"both partitions", lists(s.list(1, hour, nobody, otherPart.Extension()), s.list(1, hour, s.entry(hour, 1), part.Extension())), RevocationRevoked, ""},
		{"a newer one of another partition", lists(s.list(1, hour, s.entry(hour, 1), part.Extension()), s.list(2, hour, nobody, otherPart.Extension())), RevocationRevoked, ""},
		{"complete and partition", lists(s.list(1, hour, nobody), s.list(2, hour, s.entry(hour, 1), part.Extension())), RevocationRevoked, ""},
		{"partition among names", lists(s.list(1, hour, nobody, lab.IDP{URLs: []string{"http://x", partURL}}.Extension())), RevocationGood, ""},
		{"for users", lists(s.list(1, hour, nobody, lab.IDP{OnlyUser: true}.Extension())), RevocationGood, ""},
		{"for users, in the partition", lists(s.list(1, hour, nobody, lab.IDP{URLs: []string{partURL}, OnlyUser: true}.Extension())), RevocationGood, ""},
		{"for authorities", lists(s.list(1, hour, s.entry(hour, 1), lab.IDP{OnlyCA: true}.Extension())), RevocationRevoked, "keyCompromise"},
		{"for attributes", lists(s.list(1, hour, s.entry(hour, 1), lab.IDP{OnlyAttr: true}.Extension())), RevocationUnknown, "other certificates"},
		{"some reasons, not on it", lists(s.list(1, hour, nobody, lab.IDP{Reasons: []int{1, 2}}.Extension())), RevocationUnknown, "some reasons"},
		{"some reasons, on it", lists(s.list(1, hour, s.entry(hour, 1), lab.IDP{Reasons: []int{1, 2}}.Extension())), RevocationRevoked, ""},
		{"some reasons and the others", lists(s.list(1, hour, nobody, lab.IDP{Reasons: []int{1, 2}}.Extension()),
			s.list(2, hour, nobody, lab.IDP{Reasons: []int{3, 4, 5, 6, 7, 8}}.Extension())), RevocationGood, ""},
		{"some reasons and most others", lists(s.list(1, hour, nobody, lab.IDP{Reasons: []int{1, 2}}.Extension()),
			s.list(2, hour, nobody, lab.IDP{Reasons: []int{3, 4, 5, 6, 8}}.Extension())), RevocationUnknown, "some reasons"},
	}
}

func deltaLists(s *scene) []listCase {
	stranger := newLab(s.t)
	part := lab.IDP{URLs: []string{partURL}}
	otherPart := lab.IDP{URLs: []string{"http://127.0.0.1:1/lab/part8.crl"}}
	delta := lab.DeltaIndicator
	return []listCase{
		{"delta alone", lists(s.list(2, hour, nobody, delta(1))), RevocationUnknown, "builds upon"},
		{"delta alone, on it", lists(s.list(2, hour, s.entry(hour, 1), delta(1))), RevocationRevoked, ""},
		{"base and delta", lists(s.list(1, 2*hour, nobody), s.list(2, hour, nobody, delta(1))), RevocationGood, ""},
		{"base, and on the delta", lists(s.list(1, 2*hour, nobody), s.list(2, hour, s.entry(hour, 1), delta(1))), RevocationRevoked, "keyCompromise"},
		{"delta before its base", lists(s.list(2, hour, s.entry(hour, 1), delta(1)), s.list(1, 2*hour, nobody)), RevocationRevoked, ""},
		{"stale base, delta", lists(s.list(1, stale, nobody), s.list(2, hour, nobody, delta(1))), RevocationGood, ""},
		{"base, stale delta", lists(s.list(5, hour, nobody), s.list(6, stale, nobody, delta(5))), RevocationGood, ""},
		{"both stale", lists(s.list(1, 27*hour, nobody), s.list(2, stale, nobody, delta(1))), RevocationUnknown, "due to be replaced"},
		{"held, then removed", lists(s.list(1, 3*hour, s.entry(4*hour, 6)), s.list(2, hour, s.entry(2*hour, 8), delta(1))), RevocationGood, ""},
		{"held, then removed by a stale delta", lists(s.list(1, 27*hour, s.entry(28*hour, 6)), s.list(2, stale, s.entry(26*hour, 8), delta(1))), RevocationRevoked, "certificateHold"},
		{"held, then revoked", lists(s.list(1, 3*hour, s.entry(4*hour, 6)), s.list(2, hour, s.entry(2*hour, 1), delta(1))), RevocationRevoked, "keyCompromise"},
		{"revoked for good, then removed", lists(s.list(1, 3*hour, s.entry(4*hour, 1)), s.list(2, hour, s.entry(2*hour, 8), delta(1))), RevocationRevoked, "keyCompromise"},
		{"removed, and never held", lists(s.list(1, 3*hour, nobody), s.list(2, hour, s.entry(2*hour, 8), delta(1))), RevocationGood, ""},
		{"delta of a newer base", lists(s.list(1, 3*hour, s.entry(4*hour, 6)), s.list(4, hour, s.entry(2*hour, 8), delta(3))), RevocationRevoked, "certificateHold"},
		{"on a delta of a newer base", lists(s.list(1, 3*hour, nobody), s.list(4, hour, s.entry(2*hour, 1), delta(3))), RevocationRevoked, ""},
		{"delta of an older base", lists(s.list(3, 3*hour, s.entry(4*hour, 6)), s.list(4, hour, s.entry(2*hour, 8), delta(1))), RevocationGood, ""},
		{"base newer than the delta", lists(s.list(3, hour, s.entry(hour, 6)), s.list(2, 2*hour, s.entry(2*hour, 8), delta(1))), RevocationRevoked, "certificateHold"},
		{"newest of two deltas", lists(s.list(1, 5*hour, nobody), s.list(2, 3*hour, s.entry(4*hour, 6), delta(1)), s.list(3, hour, s.entry(2*hour, 8), delta(1))), RevocationGood, ""},
		{"delta of another partition", lists(s.list(1, 3*hour, s.entry(4*hour, 6), part.Extension()), s.list(2, hour, s.entry(2*hour, 8), delta(1), otherPart.Extension())), RevocationRevoked, "certificateHold"},
		{"delta of a partition to a complete list", lists(s.list(1, 3*hour, s.entry(4*hour, 6)), s.list(2, hour, s.entry(2*hour, 8), delta(1), part.Extension())), RevocationRevoked, "certificateHold"},
		{"partition and its delta", lists(s.list(1, 3*hour, s.entry(4*hour, 6), part.Extension()), s.list(2, hour, s.entry(2*hour, 8), delta(1), part.Extension())), RevocationGood, ""},
		{"delta by a stranger", lists(s.list(1, 3*hour, s.entry(4*hour, 6)), s.made(lab.CRL{Number: big.NewInt(2), Entries: s.entry(hour, 8), Extensions: []pkix.Extension{delta(1)}, Key: stranger.Auth.Key})), RevocationRevoked, "certificateHold"},
		{"base without a number takes no delta", lists(s.made(lab.CRL{ThisUpdate: labNow.Add(-3 * hour), Entries: s.entry(4*hour, 6), Edit: dropNumber}), s.list(2, hour, s.entry(2*hour, 8), delta(1))), RevocationRevoked, "certificateHold"},
	}
}

// severalDeltas is the answer of several deltas of one scope: base 1 with deltas, each named by its
// number and, in brackets, by the lowest base that it takes. The newest applicable one is applied.
// An inapplicable or older one hides no newer revocation and lifts no hold.
func severalDeltas(s *scene) []listCase {
	const revoked, hold, remove = 1, 6, 8
	numbered := func(n, base int64, reason int) []byte {
		entries := nobody
		if reason != 0 {
			entries = s.entry(10*hour-time.Duration(n)*time.Minute, reason)
		}
		if base == 0 {
			return s.list(n, 10*hour-time.Duration(n)*time.Minute, entries)
		}
		return s.list(n, 10*hour-time.Duration(n)*time.Minute, entries, lab.DeltaIndicator(base))
	}
	base := numbered(1, 0, 0)
	onHold := numbered(1, 0, hold)
	staleDelta := s.list(6, stale, s.entry(26*hour, revoked), lab.DeltaIndicator(5))
	return []listCase{
		{"on 6(5)", lists(base, numbered(6, 5, revoked)), RevocationRevoked, "keyCompromise"},
		{"on 6(5), not on 2(1)", lists(base, numbered(2, 1, 0), numbered(6, 5, revoked)), RevocationRevoked, "keyCompromise"},
		{"held on 6(5), not on 2(1)", lists(base, numbered(2, 1, 0), numbered(6, 5, hold)), RevocationRevoked, "certificateHold"},
		{"on a stale 6(5), not on 2(1)", lists(s.list(1, stale+2*hour, nobody), s.list(2, stale+hour, nobody, lab.DeltaIndicator(1)), staleDelta), RevocationRevoked, "keyCompromise"},
		{"on 6(5), not on 7(5)", lists(base, numbered(6, 5, revoked), numbered(7, 5, 0)), RevocationRevoked, "keyCompromise"},
		{"on 6(5), not on 9(8), not on 2(1)", lists(base, numbered(2, 1, 0), numbered(6, 5, revoked), numbered(9, 8, 0)), RevocationRevoked, "keyCompromise"},
		{"held on 6(5), removed by 7(5)", lists(base, numbered(6, 5, hold), numbered(7, 5, remove)), RevocationRevoked, "certificateHold"},
		{"held, not on 2(1), removed by 6(5)", lists(onHold, numbered(2, 1, 0), numbered(6, 5, remove)), RevocationRevoked, "certificateHold"},
		{"held, removed by 2(1), revoked by 6(5)", lists(onHold, numbered(2, 1, remove), numbered(6, 5, revoked)), RevocationRevoked, "keyCompromise"},
		{"held, revoked by 6(5)", lists(onHold, numbered(6, 5, revoked)), RevocationRevoked, "keyCompromise"},
		{"held, removed by 2(1), not on 6(5)", lists(onHold, numbered(2, 1, remove), numbered(6, 5, 0)), RevocationGood, ""},
		{"held on 6(5), removed by 7(1)", lists(base, numbered(6, 5, hold), numbered(7, 1, remove)), RevocationGood, ""},
		{"held on 2(1), not on 3(1)", lists(base, numbered(2, 1, hold), numbered(3, 1, 0)), RevocationGood, ""},
		{"on 6(5), and the newer base 9 is not", lists(numbered(9, 0, 0), numbered(6, 5, hold)), RevocationGood, ""},
		{"on 6(1) and not on 6(5)", lists(base, numbered(6, 1, revoked), numbered(6, 5, 0)), RevocationRevoked, "keyCompromise"},
		{"on 6(5) and not on 6(1)", lists(base, numbered(6, 5, revoked), numbered(6, 1, 0)), RevocationRevoked, "keyCompromise"},
		{"on 3(2) of an older date", lists(s.list(2, hour, nobody), s.list(3, 3*hour, s.entry(4*hour, revoked), lab.DeltaIndicator(2))), RevocationRevoked, "keyCompromise"},
		{"on 3(2) with a flaw, of an older date", lists(s.list(2, hour, nobody), s.list(3, 3*hour, s.entry(4*hour, revoked), lab.DeltaIndicator(2), unknownCritical)), RevocationRevoked, "keyCompromise"},
		{"held, removed by 3(2) of an older date", lists(s.list(2, hour, s.entry(4*hour, hold)), s.list(3, 3*hour, s.entry(3*hour, remove), lab.DeltaIndicator(2))), RevocationRevoked, "certificateHold"},
		{"on 3(2) of an older date than 2(1)", lists(s.list(1, 2*hour, nobody), s.list(2, hour, nobody, lab.DeltaIndicator(1)), s.list(3, 3*hour, s.entry(4*hour, revoked), lab.DeltaIndicator(2))), RevocationRevoked, "keyCompromise"},
		{"on 2(1) of an older date than 3(1)", lists(s.list(1, 4*hour, nobody), s.list(2, 3*hour, s.entry(4*hour, hold), lab.DeltaIndicator(1)), s.list(3, hour, nobody, lab.DeltaIndicator(1))), RevocationGood, ""},
		{"on 100(99) of before the authority counted again", lists(s.list(1, hour, nobody), s.list(100, 3*hour, s.entry(4*hour, hold), lab.DeltaIndicator(99))), RevocationGood, ""},
		{"no base: on 6(5), not on 7(5)", lists(numbered(6, 5, revoked), numbered(7, 5, 0)), RevocationRevoked, "keyCompromise"},
		{"no base: removed by 6(5)", lists(numbered(6, 5, remove)), RevocationUnknown, "builds upon"},
	}
}

// dropNumber removes the CRLNumber of a list.
func dropNumber(l *pkix.TBSCertificateList) {
	l.Extensions = slices.DeleteFunc(l.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 20})
	})
}

// Distribution points of the certificate beyond a plain URL.
func TestRow20DistributionPoints(t *testing.T) {
	points := func(list ...lab.Point) lab.IssueOption {
		return lab.Mutate(func(c *x509.Certificate) {
			c.CRLDistributionPoints = nil
			c.ExtraExtensions = append(c.ExtraExtensions, lab.CDP(list...))
		})
	}
	part := lab.IDP{URLs: []string{partURL}}.Extension()
	t.Run("point for some reasons", func(t *testing.T) {
		s := newScene(t, points(lab.Point{URLs: []string{partURL}, Reasons: []int{1, 2}}))
		want(t, s.status(s.holding(s.list(1, hour, nobody, part))), RevocationUnknown, "some reasons")
		want(t, s.status(s.holding(s.list(1, hour, s.entry(hour, 1), part))), RevocationRevoked, "")
		want(t, s.status(s.holding(s.list(1, hour, nobody))), RevocationGood, "")
	})
	t.Run("two points for all reasons", func(t *testing.T) {
		s := newScene(t, points(lab.Point{URLs: []string{partURL}, Reasons: []int{1, 2}},
			lab.Point{URLs: []string{"http://127.0.0.1:1/b"}, Reasons: []int{3, 4, 5, 6, 7, 8}}))
		other := lab.IDP{URLs: []string{"http://127.0.0.1:1/b"}}.Extension()
		want(t, s.status(s.holding(s.list(1, hour, nobody, part), s.list(1, hour, nobody, other))), RevocationGood, "")
		want(t, s.status(s.holding(s.list(1, hour, nobody, part))), RevocationUnknown, "some reasons")
	})
	t.Run("point of another authority", func(t *testing.T) {
		s := newScene(t, points(lab.Point{URLs: []string{partURL}, Issuer: lab.DN("CN", "Other")}))
		want(t, s.status(s.holding(s.list(1, hour, nobody, part))), RevocationUnknown, "other certificates")
		want(t, s.status(s.holding(s.list(1, hour, nobody))), RevocationGood, "")
	})
	t.Run("no points", func(t *testing.T) {
		s := newScene(t, lab.Mutate(func(c *x509.Certificate) { c.CRLDistributionPoints = nil }))
		want(t, s.status(s.holding(s.list(1, hour, nobody, part))), RevocationUnknown, "other certificates")
		want(t, s.status(s.holding(s.list(1, hour, nobody))), RevocationGood, "")
	})
	t.Run("two points, one list", func(t *testing.T) {
		s := newScene(t, points(lab.Point{URLs: []string{"http://127.0.0.1:1/b"}}, lab.Point{URLs: []string{partURL}}))
		want(t, s.status(s.holding(s.list(1, hour, nobody, part))), RevocationGood, "")
	})
}

// The signer of a list: the authority's own key, if it may sign lists at all.
func TestRow20ListSigner(t *testing.T) {
	p := newLab(t)
	sign := func(ca *lab.CA, c lab.CRL) []byte {
		t.Helper()
		if c.Entries == nil {
			c.Entries = nobody
		}
		der, err := ca.MakeCRL(c)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	status := func(ca *lab.CA, list []byte) CertificateStatus {
		h := issue(t, p, "Ana", lab.By(ca))
		s := &scene{t, p, ca, h, h.Leaf}
		return s.status(s.holding(list))
	}
	usage := func(u x509.KeyUsage) lab.IssueOption {
		return lab.Mutate(func(c *x509.Certificate) { c.KeyUsage = u })
	}
	maySign := newCA(t, p, p.Root, "Lists")
	want(t, status(maySign, sign(maySign, lab.CRL{})), RevocationGood, "")
	// The same name and key, but the certificate in the path forbids it.
	noCRL := newCA(t, p, p.Root, "Lists", lab.WithKey(maySign.Key), usage(x509.KeyUsageCertSign))
	want(t, status(noCRL, sign(maySign, lab.CRL{})), RevocationUnknown, "may not sign")
	noUsage := newCA(t, p, p.Root, "Lists", lab.WithKey(maySign.Key), usage(0))
	want(t, status(noUsage, sign(maySign, lab.CRL{})), RevocationGood, "")
	// Another key of the same authority.
	second := newCA(t, p, p.Root, "Lists")
	want(t, status(maySign, sign(second, lab.CRL{})), RevocationUnknown, "another key")
	// An algorithm of another kind of key.
	rsaCA := newCA(t, p, p.Root, "Lists", lab.RSA2048)
	h := issue(t, p, "Ana", lab.By(maySign))
	s := &scene{t, p, maySign, h, h.Leaf}
	forged := s.holding(sign(rsaCA, lab.CRL{Edit: func(l *pkix.TBSCertificateList) {
		l.Extensions = slices.DeleteFunc(l.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 35}) })
	}}))
	want(t, s.status(forged), RevocationUnknown, "not signed by any key")
}

// All certificates but the anchor count, and the worst decides.
func TestRevocationOfThePath(t *testing.T) {
	list := func(ca *lab.CA) []byte {
		der, err := ca.MakeCRL(lab.CRL{})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, test := range []struct {
		name   string
		setup  func(s *scene) [][]byte
		try    proto.Code // code under the policy, "" if accepted
		need   proto.Code
		status RevocationStatus
		says   string
	}{
		{"all lists", func(s *scene) [][]byte { return [][]byte{list(s.p.Auth), list(s.p.CC), list(s.p.Root)} }, "", "", RevocationGood, ""},
		{"none", func(s *scene) [][]byte { return nil }, "", proto.RevocationUnknown, RevocationUnknown, "no revocation list"},
		{"leaf's missing", func(s *scene) [][]byte { return [][]byte{list(s.p.CC), list(s.p.Root)} }, "", proto.RevocationUnknown, RevocationUnknown, "MARIA"},
		{"authority's missing", func(s *scene) [][]byte { return [][]byte{list(s.p.Auth), list(s.p.Root)} }, "", proto.RevocationUnknown, RevocationUnknown, "EC de Autenticação"},
		{"leaf revoked, nothing else known", func(s *scene) [][]byte {
			s.p.Auth.Revoke(s.cert, labNow.Add(-hour), 1)
			return [][]byte{list(s.p.Auth)}
		}, proto.CertificateRevoked, proto.CertificateRevoked, RevocationRevoked, "was revoked on 2026-11-22 11:00:00 UTC (keyCompromise)"},
		{"authority revoked, leaf unknown", func(s *scene) [][]byte {
			s.p.CC.Revoke(s.p.Auth.Cert, labNow.Add(-hour), 2)
			return [][]byte{list(s.p.CC)}
		}, proto.CertificateRevoked, proto.CertificateRevoked, RevocationRevoked, "cACompromise"},
		{"authority's authority revoked", func(s *scene) [][]byte {
			s.p.Root.Revoke(s.p.CC.Cert, labNow.Add(-hour), 2)
			return [][]byte{list(s.p.Auth), list(s.p.CC), list(s.p.Root)}
		}, proto.CertificateRevoked, proto.CertificateRevoked, RevocationRevoked, "Cartão de Cidadão 001"},
		{"anchor on its own list", func(s *scene) [][]byte {
			s.p.Root.Revoke(s.p.Root.Cert, labNow.Add(-hour), 1)
			return [][]byte{list(s.p.Auth), list(s.p.CC), list(s.p.Root)}
		}, "", "", RevocationGood, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			store := s.holding(test.setup(s)...)
			b := delegate(t, s.holder)
			trust := trustOf(t, s.p.Root.Cert)
			result := store.check(s.path(), nil, labNow, time.Time{})
			if result.Status != test.status || !strings.Contains(result.Reason, test.says) || len(result.Certificates) != 3 {
				t.Errorf("result is %+v, want %s (%s)", result, test.status, test.says)
			}
			wantSentence(t, result.Reason)
			for policy, code := range map[Policy]proto.Code{PolicyTry: test.try, PolicyRequire: test.need, PolicyOff: ""} {
				person, err := verifierAt(trust, store, policy, labNow).Verify(b, "Ana")
				if code != "" {
					wantCode(t, err, code)
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", policy, err)
				} else if policy != PolicyOff && person.Revocation.Status != test.status {
					t.Errorf("%s: person says %s", policy, person.Revocation.Status)
				}
			}
		})
	}
}

// Of several paths the one with the best status is taken: a revoked certificate of an authority
// does not hurt a person under another of it.
func TestRevocationPrefersTheGoodPath(t *testing.T) {
	p := newLab(t)
	a := newCA(t, p, p.Root, "Cross")
	b := newCA(t, p, p.Root, "Cross", lab.WithKey(a.Key))
	s := &scene{t: t, p: p, ca: a, holder: issue(t, p, "Ana", lab.By(a))}
	s.cert = s.holder.Leaf
	chain := []*x509.Certificate{a.Cert, b.Cert}
	trust := trustOf(t, p.Root.Cert)
	look := func(store *CRLStore, policy Policy) error {
		for range chain {
			chain[0], chain[1] = chain[1], chain[0]
			c := check{trust: trust, crls: store, policy: policy}
			if _, err := c.look(s.cert, chain); err != nil {
				return err
			}
		}
		return nil
	}
	rootList := func(revoked ...*lab.CA) []byte {
		entries := nobody
		for _, ca := range revoked {
			entries = append(entries, x509.RevocationListEntry{SerialNumber: ca.Cert.SerialNumber, RevocationTime: labNow.Add(-hour), ReasonCode: 5})
		}
		der, err := p.Root.MakeCRL(lab.CRL{Entries: entries})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	own := s.list(1, hour, nobody)
	if err := look(s.holding(own, rootList(a)), PolicyRequire); err != nil {
		t.Errorf("one of two revoked: %v", err)
	}
	wantCode(t, look(s.holding(own, rootList(a, b)), PolicyTry), proto.CertificateRevoked)
	wantCode(t, look(s.holding(s.list(1, hour, s.entry(hour, 1)), rootList(a)), PolicyTry), proto.CertificateRevoked)
}

// History: a revocation counts from its date on, and the newest list decides about the past.
func TestVerifyAtRevocation(t *testing.T) {
	now := labNow
	then := labNow.Add(-2 * hour) // the time of the message
	delta := lab.DeltaIndicator(1)
	for _, test := range []struct {
		name  string
		lists func(s *scene) [][]byte
		now   time.Time
		code  proto.Code // at that time
		today proto.Code // the code of a look at the certificate now
		after RevocationStatus
	}{
		{"never revoked", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, nobody)} }, now, "", "", RevocationGood},
		{"revoked before", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(3*hour, 1))} }, now, proto.CertificateRevoked, "", ""},
		{"revoked at that second", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(2*hour, 1))} }, now, proto.CertificateRevoked, "", ""},
		{"revoked a second later", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(2*hour-time.Second, 1))} }, now, "", proto.CertificateRevoked, RevocationGood},
		{"revoked after", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(hour, 1))} }, now, "", proto.CertificateRevoked, RevocationGood},
		{"revoked after, on a delta", func(s *scene) [][]byte {
			return [][]byte{s.list(1, 3*hour, nobody), s.list(2, hour, s.entry(hour, 1), delta)}
		}, now, "", proto.CertificateRevoked, RevocationGood},
		{"revoked before, on a delta", func(s *scene) [][]byte {
			return [][]byte{s.list(1, 4*hour, nobody), s.list(2, hour, s.entry(3*hour, 1), delta)}
		}, now, proto.CertificateRevoked, "", ""},
		{"on hold since before", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(3*hour, 6))} }, now, proto.CertificateRevoked, "", ""},
		{"on hold then, removed since", func(s *scene) [][]byte {
			return [][]byte{s.list(1, 3*hour, s.entry(4*hour, 6)), s.list(2, hour, s.entry(hour, 8), delta)}
		}, now, "", "", RevocationGood},
		{"on hold then, revoked since", func(s *scene) [][]byte {
			return [][]byte{s.list(1, 3*hour, s.entry(4*hour, 6)), s.list(2, hour, s.entry(hour, 1), delta)}
		}, now, proto.CertificateRevoked, "", ""},
		{"list of that time, stale now", func(s *scene) [][]byte { return [][]byte{s.list(1, 3*hour, nobody)} }, now.AddDate(0, 1, 0), "", "", RevocationGood},
		{"list stale by then", func(s *scene) [][]byte { return [][]byte{s.list(1, 30*hour, nobody)} }, now, "", "", RevocationUnknown},
		{"stale list names it before", func(s *scene) [][]byte { return [][]byte{s.list(1, 30*hour, s.entry(31*hour, 1))} }, now, proto.CertificateRevoked, "", ""},
		{"nothing at hand", func(s *scene) [][]byte { return nil }, now, "", "", RevocationUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			store := s.holding(test.lists(s)...)
			b := delegate(t, s.holder, func(b *Bundle) { b.NotBefore = then.Add(-hour).Unix() })
			v := verifierAt(trustOf(t, s.p.Root.Cert), store, PolicyTry, test.now)
			person, err := v.verifyAt(b, "Ana", then)
			if test.code != "" {
				wantCode(t, err, test.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.today != "" {
				wantCode(t, v.today(b), test.today)
			} else if err := v.today(b); err != nil {
				t.Errorf("now: %v", err)
			}
			if got := person.Revocation.Certificates[0].Status; got != test.after {
				t.Errorf("status is %s, want %s", got, test.after)
			}
		})
	}
}

// History: a revocation after the time in question is told with its reason, and whether it leaves
// that time in doubt.
func TestLaterRevocation(t *testing.T) {
	then := labNow.Add(-2 * hour)
	delta := lab.DeltaIndicator(1)
	for _, test := range []struct {
		name   string
		lists  func(s *scene) [][]byte
		doubts bool
		says   string // "": nothing is told
	}{
		{"none", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, nobody)} }, false, ""},
		{"key compromise", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(hour, 1))} }, true, "11:00:00 UTC because of keyCompromise"},
		{"no reason", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(hour, 0))} }, true, "11:00:00 UTC with no reason given"},
		{"hold", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(hour, 6))} }, true, "because of certificateHold"},
		{"superseded", func(s *scene) [][]byte { return [][]byte{s.list(1, hour, s.entry(hour, 4))} }, false, "because of superseded"},
		{"on a delta", func(s *scene) [][]byte {
			return [][]byte{s.list(1, 3*hour, nobody), s.list(2, hour, s.entry(hour, 1), delta)}
		}, true, "because of keyCompromise"},
		{"a hold that is lifted", func(s *scene) [][]byte {
			return [][]byte{s.list(1, hour, s.entry(90*time.Minute, 6)), s.list(2, 30*time.Minute, s.entry(30*time.Minute, 8), delta)}
		}, false, ""},
		{"of an older authority's list, too", func(s *scene) [][]byte {
			older, err := s.p.CC.MakeCRL(lab.CRL{Entries: []x509.RevocationListEntry{
				{SerialNumber: s.p.Auth.Cert.SerialNumber, RevocationTime: labNow.Add(-90 * time.Minute), ReasonCode: 4},
			}})
			must(t, err)
			return [][]byte{older, s.list(1, hour, s.entry(hour, 1))}
		}, true, "because of keyCompromise"},
	} {
		s := newScene(t)
		b := delegate(t, s.holder, func(b *Bundle) { b.NotBefore = then.Add(-hour).Unix() })
		v := verifierAt(trustOf(t, s.p.Root.Cert), s.holding(test.lists(s)...), PolicyTry, labNow)
		person, err := v.verifyAt(b, "Ana", then)
		must(t, err)
		later := person.Revocation.Later
		if later.Doubts() != test.doubts || (later != nil) != (test.says != "") {
			t.Errorf("%s: told is %v, in doubt: %t", test.name, later, later.Doubts())
		}
		if later != nil && !strings.HasSuffix(later.String(), test.says) {
			t.Errorf("%s: told is %q, want %q", test.name, later, test.says)
		}
	}
}

// Of several paths one without an authority in doubt is enough, but the leaf is in doubt on all.
func TestLaterRevocationOfPaths(t *testing.T) {
	p := newLab(t)
	a := newCA(t, p, p.Root, "Cross")
	b := newCA(t, p, p.Root, "Cross", lab.WithKey(a.Key))
	s := &scene{t: t, p: p, ca: a, holder: issue(t, p, "Ana", lab.By(a))}
	s.cert = s.holder.Leaf
	for name, test := range map[string]struct {
		authorities []*lab.CA
		leaf        []x509.RevocationListEntry
		doubts      bool
	}{
		"one of two":            {[]*lab.CA{a}, nobody, false},
		"the other":             {[]*lab.CA{b}, nobody, false},
		"both":                  {[]*lab.CA{a, b}, nobody, true},
		"the leaf":              {nil, s.entry(hour, 1), true},
		"the leaf, and one too": {[]*lab.CA{a}, s.entry(hour, 1), true},
	} {
		entries := nobody
		for _, ca := range test.authorities {
			entries = append(entries, x509.RevocationListEntry{SerialNumber: ca.Cert.SerialNumber, RevocationTime: labNow.Add(-hour), ReasonCode: 2})
		}
		root, err := p.Root.MakeCRL(lab.CRL{Entries: entries})
		must(t, err)
		c := check{trust: trustOf(t, p.Root.Cert), crls: s.holding(s.list(1, hour, test.leaf), root), policy: PolicyTry, now: labNow}
		paths, err := c.trust.paths(s.cert, []*x509.Certificate{a.Cert, b.Cert})
		must(t, err)
		for range paths {
			paths = append(paths[1:], paths[0])
			person, err := c.holder(paths, labNow.Add(-2*hour))
			must(t, err)
			if person.Revocation.Later.Doubts() != test.doubts {
				t.Errorf("%s: told is %v", name, person.Revocation.Later)
			}
		}
	}
}

// Lists drop expired certificates. Then a newer list without one leaves its status unknown, and an
// older list still counts.
func TestListsAfterTheCertificate(t *testing.T) {
	s := newScene(t, lab.Window(labNow.Add(-10*day), labNow.Add(-day)))
	then := labNow.Add(-3 * day)
	at := func(lists ...[]byte) CertificateStatus {
		return s.holding(lists...).checkOne(s.cert, []*x509.Certificate{s.ca.Cert}, then, labNow)
	}
	want(t, at(s.list(9, hour, nobody)), RevocationUnknown, "after the certificate ended")
	want(t, at(s.list(9, hour, s.entry(4*day, 1))), RevocationRevoked, "")
	want(t, at(s.list(9, hour, s.entry(2*day, 1))), RevocationGood, "")
	want(t, at(s.list(9, hour, nobody), s.list(1, 2*day, s.entry(4*day, 1))), RevocationRevoked, "")
	want(t, at(s.list(9, hour, nobody), s.list(1, 2*day, nobody)), RevocationGood, "")
	want(t, at(s.list(9, hour, s.entry(4*day, 1)), s.list(1, 2*day, nobody)), RevocationRevoked, "")
}

func TestSerialBeyondLists(t *testing.T) {
	s := newScene(t)
	long := *s.cert
	long.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 8*maxSerial)
	s.cert = &long
	want(t, s.status(s.holding(s.list(1, hour, nobody))), RevocationUnknown, "serial number")
}

func TestParsePolicy(t *testing.T) {
	for _, name := range []string{"try", "require", "off"} {
		if p, err := ParsePolicy(name); err != nil || string(p) != name {
			t.Errorf("%s: %s, %v", name, p, err)
		}
	}
	for _, name := range []string{"", "Try", "on"} {
		if _, err := ParsePolicy(name); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}
