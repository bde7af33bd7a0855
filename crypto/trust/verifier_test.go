package trust

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

func TestVerify(t *testing.T) {
	p := testLab(t)
	v := verifierAt(trustOf(t, p.Root.Cert), nil, PolicyTry, labNow)
	for _, kind := range []lab.KeyType{lab.P256, lab.P384, lab.P521, lab.RSA2048, lab.RSA3072} {
		t.Run(string(kind), func(t *testing.T) {
			h := issue(t, p, "Ana", kind)
			b := delegate(t, h)
			person, err := v.Verify(b, "Ana")
			if err != nil {
				t.Fatal(err)
			}
			if person.Name != "Ana" || !bytes.Equal(person.Leaf.Raw, h.Leaf.Raw) || len(person.Path) != 4 ||
				!bytes.Equal(person.Key.SPKI(), b.PublicKey) ||
				!person.Expires.Equal(labNow.Add(7*time.Hour)) ||
				person.Revocation.Status != RevocationUnknown || person.Identity == [32]byte{} {
				t.Errorf("person is %+v", person)
			}
		})
	}
}

// Row 13: a bundle without a delegation, with another's, or changed after it.
func TestRow13Delegation(t *testing.T) {
	p := testLab(t)
	ana, mallory := issue(t, p, "Ana"), issue(t, p, "Mallory")
	rsaHolder := issue(t, p, "Rui", lab.RSA2048)
	v := verifierAt(trustOf(t, p.Root.Cert), nil, PolicyTry, labNow)
	otherKey := newTestKey(t, KeyEd25519).Public().SPKI()
	later := func(f func(*Bundle)) func(*Bundle) { // f after the card has signed
		return func(b *Bundle) {
			b.Signature = cardSign(t, ana, b.DelegationMessage())
			f(b)
		}
	}
	box := bytes.Repeat([]byte{1}, sha256.Size)
	boxed := func(f func(*Bundle)) func(*Bundle) {
		return func(b *Bundle) {
			b.Mailbox, b.MailboxEnd = box, b.NotAfter+3600
			later(f)(b)
		}
	}
	for _, test := range []struct {
		name   string
		holder *lab.Holder
		edit   func(*Bundle)
		as     string // the name of the handshake; "" is the bundle's
		code   proto.Code
	}{
		{"none", ana, func(b *Bundle) { b.Signature = []byte{} }, "", proto.BundleMalformed},
		{"junk", ana, func(b *Bundle) { b.Signature = make([]byte, 70) }, "", proto.DelegationInvalid},
		{"by another card", ana, func(b *Bundle) { b.Signature = cardSign(t, mallory, b.DelegationMessage()) }, "", proto.DelegationInvalid},
		{"by K itself", ana, func(b *Bundle) { b.Signature = sharedKey(t).Sign(b.DelegationMessage()) }, "", proto.DelegationInvalid},
		{"other K", ana, later(func(b *Bundle) { b.PublicKey = otherKey }), "", proto.DelegationInvalid},
		{"other name", ana, later(func(b *Bundle) { b.Name = "Rui" }), "", proto.DelegationInvalid},
		{"other certificate", ana, later(func(b *Bundle) { b.X509 = mallory.Leaf.Raw }), "", proto.DelegationInvalid},
		{"earlier", ana, later(func(b *Bundle) { b.NotBefore-- }), "", proto.DelegationInvalid},
		{"longer", ana, later(func(b *Bundle) { b.NotAfter++ }), "", proto.DelegationInvalid},
		{"a mailbox", ana, later(func(b *Bundle) { b.Mailbox, b.MailboxEnd = box, b.NotAfter }), "", proto.DelegationInvalid},
		{"another mailbox", ana, boxed(func(b *Bundle) { b.Mailbox = make([]byte, sha256.Size) }), "", proto.DelegationInvalid},
		{"no mailbox", ana, boxed(func(b *Bundle) { b.Mailbox, b.MailboxEnd = []byte{}, 0 }), "", proto.DelegationInvalid},
		{"mailbox for longer", ana, boxed(func(b *Bundle) { b.MailboxEnd++ }), "", proto.DelegationInvalid},
		{"signature with a byte more", ana, later(func(b *Bundle) { b.Signature = append(b.Signature, 0) }), "", proto.DelegationInvalid},
		{"another handshake's name", ana, func(*Bundle) {}, "Rui", proto.NameMismatch},
		{"name in another case", ana, func(*Bundle) {}, "ana", proto.NameMismatch},
		{"over 24 hours", ana, func(b *Bundle) { b.NotAfter = b.NotBefore + 86401 }, "", proto.DelegationInvalid},
		{"K of small order", ana, func(b *Bundle) { b.PublicKey = edSPKI(make([]byte, 32)) }, "", proto.BundleMalformed},
		{"K is no key", ana, func(b *Bundle) { b.PublicKey = []byte("key") }, "", proto.BundleMalformed},
		{"certificate is none", ana, later(func(b *Bundle) { b.X509 = []byte("certificate") }), "", proto.BundleMalformed},
		{"certificate with a byte more", ana, func(b *Bundle) { b.X509 = append(bytes.Clone(b.X509), 0) }, "", proto.BundleMalformed},
		{"chain is none", ana, func(b *Bundle) { b.Chain = [][]byte{[]byte("certificate")} }, "", proto.BundleMalformed},
		{"SHA-384 under P-256", ana, func(b *Bundle) {
			sum := sha512.Sum384(b.DelegationMessage())
			b.Signature = signDigest(t, ana.Key, sum[:], crypto.SHA384)
		}, "", proto.DelegationInvalid},
		{"PSS under RSA", rsaHolder, func(b *Bundle) {
			sum := sha256.Sum256(b.DelegationMessage())
			b.Signature = signDigest(t, rsaHolder.Key, sum[:], &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256})
		}, "", proto.DelegationInvalid},
		{"SHA-512 under RSA", rsaHolder, func(b *Bundle) {
			sum := sha512.Sum512(b.DelegationMessage())
			b.Signature = signDigest(t, rsaHolder.Key, sum[:], crypto.SHA512)
		}, "", proto.DelegationInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := delegate(t, test.holder, test.edit)
			name := test.as
			if name == "" {
				name = b.Name
			}
			_, err := v.Verify(b, name)
			wantCode(t, err, test.code)
			_, err = v.verifyAt(b, name, labNow)
			wantCode(t, err, test.code)
		})
	}
}

func signDigest(t *testing.T, key crypto.Signer, digest []byte, opts crypto.SignerOpts) []byte {
	t.Helper()
	signature, err := key.Sign(rand.Reader, digest, opts)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// Row 13 and row 30: each limit of time, with five minutes of tolerance, and the clock in the error
// if it may be the cause.
func TestRow13Times(t *testing.T) {
	p := testLab(t)
	trust := trustOf(t, p.Root.Cert)
	whole := issue(t, p, "Ana")
	const second = time.Second
	edge := ClockTolerance
	begin, end := labNow, labNow.Add(8*time.Hour)
	span := func(from, to time.Time) func(*Bundle) {
		return func(b *Bundle) { b.NotBefore, b.NotAfter = from.Unix(), to.Unix() }
	}
	delegation := delegate(t, whole, span(begin, end))
	// A certificate of the delegation's own hours. Its times are reported first.
	short := delegate(t, issue(t, p, "Ana", lab.Window(begin, end)), span(begin, end))
	// An authority that begins with the leaf.
	young := newCA(t, p, p.Root, "Young", lab.Window(begin, end.AddDate(1, 0, 0)))
	under := delegate(t, issue(t, p, "Ana", lab.By(young), lab.Window(begin, end.AddDate(1, 0, 0))), span(begin, end))
	// One that ends before another begins. Only within the tolerance do both hold.
	ending := newCA(t, p, p.Root, "Ending", lab.Window(begin.AddDate(-1, 0, 0), begin.Add(2*time.Minute)))
	between := delegate(t, issue(t, p, "Ana", lab.By(ending), lab.Window(begin.Add(time.Minute), end)), span(begin.Add(time.Minute), end))

	// An expired leaf, beside an unrelated certificate that expired later.
	stray := newCA(t, p, p.Root, "Stray", lab.Window(begin.AddDate(-1, 0, 0), end.Add(time.Minute)))
	beside := delegate(t, issue(t, p, "Ana", lab.Window(begin, end)), span(begin, end),
		func(b *Bundle) { b.Chain = append(b.Chain, stray.Cert.Raw) })

	for _, test := range []struct {
		name   string
		bundle *Bundle
		at     time.Time
		code   proto.Code
	}{
		{"beside a stray", beside, end.Add(2 * time.Minute), ""},
		{"at its start", delegation, begin, ""},
		{"at its end", delegation, end, ""},
		{"5 minutes early", delegation, begin.Add(-edge), ""},
		{"5 minutes late", delegation, end.Add(edge), ""},
		{"too early", delegation, begin.Add(-edge - second), proto.DelegationNotYet},
		{"too late", delegation, end.Add(edge + second), proto.DelegationExpired},
		{"an hour early", delegation, begin.Add(-time.Hour), proto.DelegationNotYet},
		{"certificate 5 minutes early", short, begin.Add(-edge), ""},
		{"certificate 5 minutes late", short, end.Add(edge), ""},
		{"certificate too early", short, begin.Add(-edge - second), proto.CertificateNotYet},
		{"certificate too late", short, end.Add(edge + second), proto.CertificateExpired},
		{"authority 5 minutes early", under, begin.Add(-edge), ""},
		{"authority too early", under, begin.Add(-edge - second), proto.CertificateNotYet},
		{"between two", between, begin.Add(90 * second), ""},
		{"after one of two", between, begin.Add(6 * time.Minute), ""},
		{"long after one of two", between, begin.Add(8 * time.Minute), proto.CertificateExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := verifierAt(trust, nil, PolicyTry, test.at).Verify(test.bundle, "Ana")
			_, past := verifierAt(trust, nil, PolicyTry, test.at.AddDate(1, 0, 0)).verifyAt(test.bundle, "Ana", test.at)
			if test.code == "" {
				if err != nil || past != nil {
					t.Errorf("live: %v; in the past: %v", err, past)
				}
				return
			}
			wantCode(t, err, test.code)
			wantCode(t, past, test.code)
			if err != nil && !strings.Contains(err.Error(), "the clock here says "+shownTime(test.at)) {
				t.Errorf("%q does not name the clock", err)
			}
			if refused, ok := errors.AsType[*Error](err); ok && refused.Hint == "" {
				t.Error("no hint at the clocks")
			}
			if past != nil && strings.Contains(past.Error(), "this machine's clock") {
				t.Errorf("%q blames the clock for the past", past)
			}
		})
	}
	boxUntil := func(until time.Time) func(*Bundle) {
		return func(b *Bundle) {
			span(begin, begin.Add(2*time.Hour))(b)
			b.Mailbox, b.MailboxEnd = make([]byte, sha256.Size), until.Unix()
		}
	}
	for name, edit := range map[string]func(*Bundle){
		"before the certificate":         span(begin.Add(-second), end),
		"after the certificate":          span(begin, end.Add(second)),
		"mailbox beyond the certificate": boxUntil(end.Add(second)),
	} {
		t.Run(name, func(t *testing.T) {
			h := issue(t, p, "Ana", lab.Window(begin, end))
			_, err := verifierAt(trust, nil, PolicyTry, begin.Add(time.Hour)).Verify(delegate(t, h, edit), "Ana")
			wantCode(t, err, proto.DelegationInvalid)
		})
	}
}

// A bundle that names a mailbox is accepted, also where the mailbox ends with the certificate or
// outlives the delegation; the delegation ends when it says, whatever the mailbox's end.
func TestMailbox(t *testing.T) {
	p := testLab(t)
	trust := trustOf(t, p.Root.Cert)
	end := labNow.Add(8 * time.Hour)
	h := issue(t, p, "Ana", lab.Window(labNow.AddDate(-1, 0, 0), end))
	for _, until := range []time.Time{labNow, end} {
		b := delegate(t, h, func(b *Bundle) { b.Mailbox, b.MailboxEnd = make([]byte, sha256.Size), until.Unix() })
		if _, err := verifierAt(trust, nil, PolicyTry, labNow.Add(time.Hour)).Verify(b, "Ana"); err != nil {
			t.Errorf("a mailbox until %v: %v", until, err)
		}
		_, err := verifierAt(trust, nil, PolicyTry, end.Add(-30*time.Minute)).Verify(b, "Ana")
		wantCode(t, err, proto.DelegationExpired)
	}
}

// Rows 2 and 15: under any name a bundle has the identity of its card. Mallory cannot have Ana's
// identity, and Ana's K under Mallory's certificate is Mallory's.
func TestRow15Identity(t *testing.T) {
	p := testLab(t)
	ana, mallory := issue(t, p, "Ana"), issue(t, p, "Mallory")
	v := verifierAt(trustOf(t, p.Root.Cert), nil, PolicyTry, labNow)
	genuine, err := v.Verify(delegate(t, ana), "Ana")
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := v.Verify(delegate(t, mallory, func(b *Bundle) { b.Name = "Ana" }), "Ana")
	if err != nil {
		t.Fatal(err)
	}
	if genuine.Identity == claimed.Identity || !bytes.Equal(claimed.Leaf.Raw, mallory.Leaf.Raw) {
		t.Error("Mallory passes for Ana")
	}
	// Ana's certificate beside Mallory's delegation.
	b := delegate(t, mallory, func(b *Bundle) { b.Name = "Ana" })
	b.X509 = ana.Leaf.Raw
	_, err = v.Verify(b, "Ana")
	wantCode(t, err, proto.DelegationInvalid)
}

// Row 18: the holder of Ana's K has her name until the delegation ends, and cannot make another
// delegation, for her or for Bruno.
func TestRow18LeakedK(t *testing.T) {
	p := testLab(t)
	ana, bruno := issue(t, p, "Ana"), issue(t, p, "Bruno")
	trust := trustOf(t, p.Root.Cert)
	stolen := newTestKey(t, KeyEd25519)
	b := delegate(t, ana, func(b *Bundle) { b.PublicKey = stolen.Public().SPKI() })
	if _, err := verifierAt(trust, nil, PolicyTry, labNow).Verify(b, "Ana"); err != nil {
		t.Fatal(err)
	}
	_, err := verifierAt(trust, nil, PolicyTry, labNow.Add(8*time.Hour)).Verify(b, "Ana")
	wantCode(t, err, proto.DelegationExpired)

	for name, edit := range map[string]func(*Bundle){
		"Bruno":          func(b *Bundle) { b.Name = "Bruno" },
		"Bruno's card":   func(b *Bundle) { b.Name, b.X509 = "Bruno", bruno.Leaf.Raw },
		"a later end":    func(b *Bundle) { b.NotAfter += 3600 },
		"a key at will":  func(b *Bundle) { b.PublicKey = sharedKey(t).Public().SPKI() },
		"a fresh period": func(b *Bundle) { b.NotBefore, b.NotAfter = b.NotAfter, b.NotAfter+3600 },
	} {
		again := *b
		edit(&again)
		for _, signature := range [][]byte{b.Signature, stolen.Sign(again.DelegationMessage())} {
			again.Signature = signature
			if _, err := verifierAt(trust, nil, PolicyTry, labNow).Verify(&again, again.Name); err == nil {
				t.Errorf("%s: accepted", name)
			} else {
				wantCode(t, err, proto.DelegationInvalid)
			}
		}
	}
}

// Row 20: a chain of 1,000 certificates is refused before any is parsed.
func TestRow20ThousandCertificates(t *testing.T) {
	p := testLab(t)
	v := verifierAt(trustOf(t, p.Root.Cert), nil, PolicyTry, labNow)
	b := delegate(t, issue(t, p, "Ana"), func(b *Bundle) {
		for range 1000 {
			b.Chain = append(b.Chain, []byte{0x30})
		}
	})
	_, err := v.Verify(b, "Ana")
	wantCode(t, err, proto.BundleMalformed)
}

// A result is remembered for seconds: not longer, not beyond a reload or a new revocation list, not
// if the clock was set back, and never a refusal.
func TestVerifierCache(t *testing.T) {
	p := newLab(t)
	ana := issue(t, p, "Ana")
	now := labNow
	crls := NewCRLStore()
	trust := trustOf(t, p.Root.Cert)
	v := NewVerifier(VerifierConfig{Trust: trust, CRLs: crls, Policy: PolicyTry, Now: func() time.Time { return now }})
	b := delegate(t, ana)
	verify := func() *Person {
		t.Helper()
		person, err := v.Verify(b, "Ana")
		if err != nil {
			t.Fatal(err)
		}
		return person
	}
	last := verify()
	step := func(name string, same bool, change func()) {
		t.Helper()
		change()
		person := verify()
		if (person == last) != same {
			t.Errorf("%s: remembered is %v, want %v", name, person == last, same)
		}
		last = person
	}
	step("at once", true, func() {})
	step("almost 5 s", true, func() { now = now.Add(cacheFor - 1) })
	step("5 s", false, func() { now = now.Add(1) })
	step("clock set back", false, func() { now = now.Add(-time.Hour / 2) })
	step("reload", false, func() { v.Reload(trust, crls, PolicyTry) })
	step("again", true, func() {})
	list, err := p.Auth.MakeCRL(lab.CRL{})
	if err != nil {
		t.Fatal(err)
	}
	step("new list", false, func() { addCRL(t, crls, list, p.Auth.Cert) })

	if _, err := v.Verify(b, "Rui"); err == nil {
		t.Error("a remembered identity passes under another name")
	}
	p.Revoke(ana, labNow.Add(-time.Hour), 1)
	if list, err = p.Auth.MakeCRL(lab.CRL{}); err != nil {
		t.Fatal(err)
	}
	addCRL(t, crls, list, p.Auth.Cert)
	for range 2 {
		_, err = v.Verify(b, "Ana")
		wantCode(t, err, proto.CertificateRevoked)
	}
	v.Reload(trustOf(t, newLab(t).Root.Cert), nil, PolicyOff)
	_, err = v.Verify(b, "Ana")
	wantCode(t, err, proto.CertificateUntrusted)
	v.Reload(trust, nil, PolicyOff)
	if last = verify(); last.Revocation.Status != RevocationOff {
		t.Errorf("status is %s under the policy off", last.Revocation.Status)
	}
	v.Reload(nil, nil, "")
	_, err = v.Verify(b, "Ana")
	wantCode(t, err, proto.CertificateUntrusted)
}

// Without a clock or a policy a verifier has this machine's clock and PolicyTry.
func TestVerifierDefaults(t *testing.T) {
	p, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	b := delegate(t, issue(t, p, "Ana"), func(b *Bundle) { b.NotBefore, b.NotAfter = now.Unix()-60, now.Unix()+60 })
	person, err := NewVerifier(VerifierConfig{Trust: trustOf(t, p.Root.Cert)}).Verify(b, "Ana")
	if err != nil || person.Revocation.Status != RevocationUnknown {
		t.Errorf("%+v, %v", person, err)
	}
}

// A result is not remembered if the state was replaced during its check.
func TestVerifierForgetsTheReplaced(t *testing.T) {
	p := testLab(t)
	trust, crls := trustOf(t, p.Root.Cert), NewCRLStore()
	for name, reload := range map[string]func(v *Verifier){
		"trust":  func(v *Verifier) { v.Reload(trustOf(t, p.Root.Cert), crls, PolicyTry) },
		"lists":  func(v *Verifier) { v.Reload(trust, NewCRLStore(), PolicyTry) },
		"policy": func(v *Verifier) { v.Reload(trust, crls, PolicyRequire) },
	} {
		v := verifierAt(trust, crls, PolicyTry, labNow)
		before := v.current()
		reload(v)
		v.remember([32]byte{1}, remembered{at: labNow}, before)
		if !v.recall([32]byte{1}).at.IsZero() {
			t.Errorf("%s replaced, and a result of before is remembered", name)
		}
		v.remember([32]byte{1}, remembered{at: labNow}, v.current())
		if v.recall([32]byte{1}).at.IsZero() {
			t.Errorf("%s replaced, and a result of after is not remembered", name)
		}
	}
}

func TestVerifierCacheIsBounded(t *testing.T) {
	p := testLab(t)
	ana := issue(t, p, "Ana")
	v := verifierAt(trustOf(t, p.Root.Cert), nil, PolicyTry, labNow)
	for i := range int64(2*cacheSize + 1) {
		b := delegate(t, ana, func(b *Bundle) { b.NotAfter -= i })
		if _, err := v.Verify(b, "Ana"); err != nil {
			t.Fatal(err)
		}
		if len(v.known) > cacheSize || len(v.known) == 0 {
			t.Fatalf("%d identities are remembered, at most %d may be", len(v.known), cacheSize)
		}
	}
}

// TestVerifierLooksAgain: a person who is looked at again after some seconds is not parsed again,
// and changes by time or by a list count.
func TestVerifierLooksAgain(t *testing.T) {
	p := newLab(t)
	ana := issue(t, p, "Ana")
	b := delegate(t, ana)
	now := time.Unix(b.NotAfter, 0).Add(ClockTolerance - cacheFor)
	crls := NewCRLStore()
	v := NewVerifier(VerifierConfig{Trust: trustOf(t, p.Root.Cert), CRLs: crls, Policy: PolicyTry, Now: func() time.Time { return now }})
	first, err := v.Verify(b, "Ana")
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(cacheFor)
	again, err := v.Verify(b, "Ana")
	if err != nil {
		t.Fatal(err)
	}
	if again == first || again.Leaf != first.Leaf {
		t.Errorf("after %v the result is new: %v, its certificate parsed anew: %v; want a new one of the same certificate", cacheFor, again != first, again.Leaf != first.Leaf)
	}

	now = now.Add(time.Second)
	for range 2 {
		_, err = v.Verify(b, "Ana")
		wantCode(t, err, proto.DelegationExpired)
	}
	now = labNow
	p.Revoke(ana, labNow.Add(-time.Hour), 1)
	list, err := p.Auth.MakeCRL(lab.CRL{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(b, "Ana"); err != nil {
		t.Fatal(err)
	}
	addCRL(t, crls, list, p.Auth.Cert)
	_, err = v.Verify(b, "Ana")
	wantCode(t, err, proto.CertificateRevoked)
}

// TestVerifierForgetsWhatIsOld: an unused identity does not keep its 20 kB until 256 others have
// come.
func TestVerifierForgetsWhatIsOld(t *testing.T) {
	p := testLab(t)
	ana := issue(t, p, "Ana")
	now := labNow
	v := NewVerifier(VerifierConfig{Trust: trustOf(t, p.Root.Cert), Now: func() time.Time { return now }})
	for i, want := range []int{1, 2, 2, 2} { // the last is of now, and that before it was two thirds as old as it may be
		b := delegate(t, ana, func(b *Bundle) { b.NotAfter -= int64(i) })
		if _, err := v.Verify(b, "Ana"); err != nil {
			t.Fatal(err)
		}
		if len(v.known) != want {
			t.Errorf("after %d identities %d are remembered, want %d", i+1, len(v.known), want)
		}
		now = now.Add(forgetAfter * 2 / 3)
	}
}

// Verify is safe while all is replaced (run with -race).
func TestVerifierConcurrency(t *testing.T) {
	p := testLab(t)
	b := delegate(t, issue(t, p, "Ana"))
	trust := trustOf(t, p.Root.Cert)
	v := verifierAt(trust, NewCRLStore(), PolicyTry, labNow)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := v.Verify(b, "Ana"); err != nil {
					t.Error(err)
				}
				if _, err := v.verifyAt(b, "Ana", labNow); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		v.Reload(trust, NewCRLStore(), PolicyTry)
	}
	wg.Wait()
}

// History: a bundle that was valid then is accepted, and Certificate tells whether it would be now.
func TestVerifyAt(t *testing.T) {
	p := testLab(t)
	trust := trustOf(t, p.Root.Cert)
	year := labNow.AddDate(1, 0, 0)
	h := issue(t, p, "Ana", lab.Window(labNow.AddDate(0, -1, 0), labNow.AddDate(0, 1, 0)))
	b := delegate(t, h)
	if _, err := verifierAt(trust, nil, PolicyTry, year).Verify(b, "Ana"); err == nil {
		t.Error("an expired certificate is accepted live")
	}
	later := verifierAt(trust, nil, PolicyTry, year)
	if _, err := later.verifyAt(b, "Ana", labNow); err != nil {
		t.Fatal(err)
	}
	wantCode(t, later.today(b), proto.CertificateExpired)
	// The delegation ended long ago, and the certificate still holds.
	later = verifierAt(trust, nil, PolicyTry, labNow.AddDate(0, 0, 20))
	if _, err := later.verifyAt(b, "Ana", labNow); err != nil {
		t.Fatal(err)
	}
	if err := later.today(b); err != nil {
		t.Errorf("now: %v", err)
	}
	// A time in the future is not history.
	if _, err := verifierAt(trust, nil, PolicyTry, labNow.Add(-ClockTolerance)).verifyAt(b, "Ana", labNow); err != nil {
		t.Error(err)
	}
	_, err := verifierAt(trust, nil, PolicyTry, labNow.Add(-ClockTolerance-time.Second)).verifyAt(b, "Ana", labNow)
	wantCode(t, err, proto.DelegationNotYet)
	// Not remembered for the live check.
	_, err = verifierAt(trust, nil, PolicyTry, labNow.AddDate(0, 0, 20)).Verify(b, "Ana")
	wantCode(t, err, proto.DelegationExpired)
}
