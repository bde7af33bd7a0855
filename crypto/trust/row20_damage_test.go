package trust

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/testdata/lab"
)

// damageSeed makes the same damages in every run. CHATSECURE_SEED asks for others.
const damageSeed = 20

// defended are the reasons for which a person may not be found revoked though OpenSSL says so, by a
// part of what is said here.
var defended = map[string]string{
	// RFC 5280, section 5.1.1.2: the signed bytes must name the algorithm of the signature. OpenSSL
	// does not look there in a list; in a certificate it does, as crypto/x509.
	"signed with an algorithm that is unknown or not safe": "(the signed bytes do not name the signature's algorithm)",
	"gives two signature algorithms":                       "(the signed bytes name another algorithm)",
}

// TestRow20DamagedLists damages lists that name somebody, signs them anew and asks OpenSSL. Whoever is
// revoked to OpenSSL is revoked here. CHATSECURE_ATTACK tries all forms and not a sample.
func TestRow20DamagedLists(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl to ask: sh testdata/deps.sh installs it")
	}
	all, tried := 2000, 150
	if os.Getenv("CHATSECURE_ATTACK") != "" {
		tried = all
	}
	seed := uint64(damageSeed)
	if text := os.Getenv("CHATSECURE_SEED"); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	start := time.Now()
	s := newScene(t)
	d := &damager{scene: s, openssl: openssl, dir: t.TempDir(), forms: s.damageable(), older: s.made(lab.CRL{
		Number: big.NewInt(900), ThisUpdate: labNow.Add(-60 * day), NextUpdate: labNow.Add(30 * day), Entries: nobody})}
	writeFile(t, filepath.Join(d.dir, "ca.pem"), pemOf(s.ca.Cert))
	writeFile(t, filepath.Join(d.dir, "leaf.pem"), pemOf(s.cert))

	results := make([]damageResult, tried)
	var wg sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := worker; i < tried; i += runtime.GOMAXPROCS(0) {
				results[i] = d.try(rand.New(rand.NewPCG(seed, uint64(i))), i)
			}
		})
	}
	wg.Wait()

	count := make(map[string]int)
	for i, r := range results {
		if r.innocent {
			t.Errorf("form %d (%s) revokes somebody whom it does not name\n%x", i, r.damage, r.list)
		}
		switch {
		case r.err != nil:
			t.Fatalf("form %d: %v", i, r.err)
		case !r.revoked:
			count["OpenSSL does not say revoked"]++
		case r.status == RevocationRevoked:
			count["both say revoked"]++
		default:
			reason := ""
			for part := range defended {
				if strings.Contains(r.says, part) {
					reason = part
				}
			}
			if reason == "" {
				t.Errorf("form %d (%s): OpenSSL says revoked, and here it is %s: %s\n%x", i, r.damage, r.status, r.says, r.list)
			}
			count["defended: "+reason]++
		}
	}
	if count["both say revoked"] < tried/4 {
		t.Errorf("only %d lists of %d were of use", count["both say revoked"], tried)
	}
	for _, what := range slices.Sorted(maps.Keys(count)) {
		t.Logf("%d: %s %s", count[what], what, defended[strings.TrimPrefix(what, "defended: ")])
	}
	t.Logf("damaged lists: tried %d of %d in %v, with the seed %d", tried, all, time.Since(start).Round(time.Millisecond), seed)
}

// damager damages lists and asks for judgements.
type damager struct {
	*scene
	openssl, dir string
	forms        []lab.CRL
	older        []byte // a sound list that names nobody, 60 days old
}

type damageResult struct {
	damage  string // for people
	list    []byte
	revoked bool // to OpenSSL
	status  RevocationStatus
	says    string
	// innocent tells that somebody else is revoked.
	innocent bool
	err      error
}

// damageable are lists that name the scene's certificate, of many kinds.
func (s *scene) damageable() []lab.CRL {
	other := func(n int64, extensions ...pkix.Extension) x509.RevocationListEntry {
		return x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: labNow.Add(-30 * day), ReasonCode: int(n % 6), ExtraExtensions: extensions}
	}
	invalid := lab.Extension([]int{2, 5, 29, 24}, false, labNow)
	own := s.entry(hour, 1)[0]
	own.ExtraExtensions = []pkix.Extension{invalid}
	part := lab.IDP{URLs: []string{partURL, "ldap://x"}}
	return []lab.CRL{
		{Entries: s.entry(hour, 1)},
		{Entries: []x509.RevocationListEntry{other(5), own, other(6, invalid)}},
		{Entries: []x509.RevocationListEntry{other(5), own}, Extensions: []pkix.Extension{part.Extension(), lab.FreshestCRL("http://a/d")}},
		{Entries: []x509.RevocationListEntry{own, other(7)}, Extensions: []pkix.Extension{lab.IDP{OnlyUser: true}.Extension()}},
		{Entries: s.entry(hour, 6), Damage: func(tbs *lab.DER) { tbs.Parts = tbs.Parts[1:6] }},
		{Entries: []x509.RevocationListEntry{own}, Damage: func(tbs *lab.DER) { tbs.Parts = slices.Delete(tbs.Parts, 4, 5) }},
	}
}

// try makes one list and has both judge it.
func (d *damager) try(random *rand.Rand, i int) (r damageResult) {
	form := d.forms[random.IntN(len(d.forms))]
	if form.ThisUpdate = labNow.Add(-time.Hour); random.IntN(10) == 0 {
		form.ThisUpdate = form.ThisUpdate.AddDate(0, 0, random.IntN(80)-40)
	}
	var damages []string
	before := form.Damage
	form.Damage = func(tbs *lab.DER) {
		if before != nil {
			before(tbs)
		}
		for range []int{1, 1, 1, 2, 2, 3}[random.IntN(6)] {
			damages = append(damages, damageDER(random, tbs))
		}
	}
	var algorithm []byte
	form.Outer = func(outer *lab.DER) {
		if algorithm != nil && random.IntN(4) > 0 {
			*outer = *lab.ParseDER(algorithm)
		}
	}
	inner := form.Damage
	form.Damage = func(tbs *lab.DER) {
		inner(tbs)
		for _, part := range tbs.Parts {
			if part.Tag == 0x30 {
				algorithm = part.Bytes()
				break
			}
		}
	}
	r.list, r.err = d.ca.MakeCRL(form)
	r.damage = strings.Join(damages, ", ")
	if r.err != nil {
		return r
	}
	text := crlText(r.list)
	if random.IntN(3) == 0 {
		text = append(text, crlText(d.older)...)
	}
	if r.revoked, r.err = d.ask(text, i, random.IntN(2) == 0); r.err != nil {
		return r
	}
	lists, err := readList(bytes.NewReader(text))
	if err != nil {
		r.status, r.says = "refused", err.Error()
		return r
	}
	store := NewCRLStore()
	var held []heldCRL
	for _, list := range lists {
		held = append(held, heldCRL{crl: list, source: "list.crl"})
	}
	store.mu.Lock()
	store.replaceLocked(held)
	store.mu.Unlock()
	status := store.checkOne(d.cert, []*x509.Certificate{d.ca.Cert}, labNow, time.Time{})
	r.status, r.says = status.Status, status.Reason
	other := *d.cert
	other.SerialNumber = new(big.Int).Add(d.cert.SerialNumber, big.NewInt(1))
	r.innocent = store.checkOne(&other, []*x509.Certificate{d.ca.Cert}, labNow, time.Time{}).Status == RevocationRevoked
	return r
}

// ask asks OpenSSL, with its support of indirect lists and deltas or without.
func (d *damager) ask(text []byte, i int, extended bool) (revoked bool, err error) {
	path := filepath.Join(d.dir, fmt.Sprintf("%d.crl", i))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return false, err
	}
	defer os.Remove(path)
	args := []string{"verify", "-crl_check", "-partial_chain", "-attime", strconv.FormatInt(labNow.Unix(), 10),
		"-CAfile", filepath.Join(d.dir, "ca.pem"), "-CRLfile", path, filepath.Join(d.dir, "leaf.pem")}
	if extended {
		args = slices.Insert(args, 1, "-extended_crl")
	}
	out, err := exec.Command(d.openssl, args...).CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return false, err
	}
	return bytes.Contains(out, []byte("certificate revoked")), nil
}

// damageDER damages one element below d and says how. Each field of d has its share, whatever
// its length.
func damageDER(random *rand.Rand, d *lab.DER) string {
	type place struct {
		parent *lab.DER
		i      int
	}
	var places []place
	var walk func(*lab.DER)
	walk = func(parent *lab.DER) {
		for i, part := range parent.Parts {
			places = append(places, place{parent, i})
			walk(part)
		}
	}
	if len(d.Parts) == 0 {
		return "nothing left"
	}
	field := random.IntN(len(d.Parts))
	places = append(places, place{d, field})
	walk(d.Parts[field])
	at := places[random.IntN(len(places))]
	e := at.parent.Parts[at.i]
	where := fmt.Sprintf("%x", clipBytes(e.Bytes(), 12))
	pick := func(from string) byte { return from[random.IntN(len(from))] }
	if _, _, ok := derNext(e.Body); ok && e.Tag == derOctetString && random.IntN(4) > 0 {
		value := lab.ParseDER(der(derSequence, e.Body)) // the value of an extension is DER too
		how := damageDER(random, value)
		e.Body = nil
		for _, part := range value.Parts {
			e.Body = append(e.Body, part.Bytes()...)
		}
		return how
	}
	switch random.IntN(12) {
	case 0:
		tags := "\x01\x02\x03\x04\x05\x06\x0a\x0c\x13\x14\x16\x17\x18\x1e\x80\x81\x82"
		if len(e.Body) == 0 {
			tags = "\x30\x31\xa0\xa1\xa2\xa4"
		}
		e.Tag = pick(tags)
		return where + " gets the tag " + strconv.Itoa(int(e.Tag))
	case 1:
		at.parent.Parts = slices.Insert(at.parent.Parts, at.i, e.Clone())
		return where + " twice"
	case 2:
		at.parent.Parts = slices.Delete(at.parent.Parts, at.i, at.i+1)
		return where + " is gone"
	case 3:
		j := random.IntN(len(at.parent.Parts))
		at.parent.Parts[at.i], at.parent.Parts[j] = at.parent.Parts[j], e
		return where + " moved"
	case 4:
		more := []*lab.DER{{Tag: 5}, {Tag: 2, Body: []byte{7}}, {Tag: 1, Body: []byte{0xff}}, {Tag: 4, Body: []byte{5, 0}}, {Tag: 0xa1}, {Tag: 0x30}}
		at.parent.Parts = slices.Insert(at.parent.Parts, at.i+random.IntN(2), more[random.IntN(len(more))])
		return "something beside " + where
	case 5: // an extension is critical, or not
		if len(e.Parts) < 2 || e.Parts[0].Tag != 6 {
			return "nothing"
		}
		if e.Parts[1].Tag == 1 {
			e.Parts[1].Body = []byte{pick("\x00\x01\xff")}
		} else {
			e.Parts = slices.Insert(e.Parts, 1, &lab.DER{Tag: 1, Body: []byte{0xff}})
		}
		return where + " is critical or not"
	}
	if len(e.Parts) > 0 {
		return "nothing"
	}
	switch random.IntN(6) {
	case 0:
		e.Body = nil
	case 1:
		e.Body = e.Body[:random.IntN(len(e.Body)+1)]
	case 2:
		e.Body = append(e.Body, bytes.Repeat([]byte{byte(random.IntN(256))}, 1+random.IntN(30))...)
	case 3:
		e.Body = append(bytes.Repeat([]byte{pick("\x00\xff\x01")}, 1+random.IntN(25)), e.Body...)
	case 4:
		times := []string{"261122110000Z", "20261122110000Z", "2611221100Z", "261122120000+0100", "20261122110000.5Z", "991122110000Z", "200101000000Z", "x"}
		e.Body = []byte(times[random.IntN(len(times))])
	default:
		if len(e.Body) > 0 {
			e.Body[random.IntN(len(e.Body))] = byte(random.IntN(256))
		}
	}
	return where + " gets other contents"
}

func clipBytes(b []byte, most int) []byte { return b[:min(len(b), most)] }
