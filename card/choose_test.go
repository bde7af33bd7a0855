//go:build cgo

package card

import (
	"bytes"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"
)

// bare is a token without any object.
func bare(label string) *fakeToken {
	k := newToken(label, keys.p256())
	k.objects = nil
	return k
}

// object is a certificate on a token, with a key of its id unless it is a CA's.
type object struct {
	label string
	id    byte
	cert  []byte
}

// choiceCase is a token, and the certificate chosen by its id, or the kind of
// error and a part of its message.
type choiceCase struct {
	name    string
	objects []object
	spec    string
	id      byte
	kind    Kind
	says    string
}

// The certificate chosen on each token, by its id, or the kind of error.
func TestRow21Choice(t *testing.T) {
	auth := func(name string) []byte { return newCert(keys.p256(), name, forAuthentication) }
	sign := func(name string) []byte { return newCert(keys.p256(), name, forSignature) }
	both := func(name string) []byte { return newCert(keys.p256(), name, forAuthentication|forSignature) }
	const (
		ccAuth = "CITIZEN AUTHENTICATION CERTIFICATE"
		ccSign = "CITIZEN SIGNATURE CERTIFICATE"
	)
	cc := []object{{ccAuth, 0x45, auth("a")}, {ccSign, 0x46, sign("s")}, {"AUTHENTICATION SUB CA", 0x52, caCert()}}
	twins := []object{{"Same", 1, auth("a")}, {"Same", 2, auth("b")}}
	for _, tc := range []choiceCase{
		{"Cartão de Cidadão", cc, "pkcs11:", 0x45, "", ""},
		{"the order does not matter", []object{cc[2], cc[1], cc[0]}, "pkcs11:", 0x45, "", ""},
		{"Belgian eID", []object{{"Signature", 3, both("s")}, {"Authentication", 2, auth("a")}}, "pkcs11:", 2, "", ""},
		{"Estonian ID", []object{{"Isikutuvastus", 1, auth("a")}, {"Allkirjastamine", 2, sign("s")}}, "pkcs11:", 1, "", ""},
		{"Spanish DNIe", []object{{"CertAutenticacion", 1, auth("a")}, {"CertFirmaDigital", 2, both("s")}}, "pkcs11:", 1, "", ""},
		{"PIV by ykcs11", []object{{"X.509 Certificate for PIV Authentication", 1, auth("a")}, {"X.509 Certificate for Digital Signature", 2, both("s")},
			{"X.509 Certificate for Card Authentication", 4, auth("c")}}, "pkcs11:", 1, "", ""},
		{"PIV by OpenSC", []object{{"Certificate for PIV Authentication", 1, auth("a")},
			{"Certificate for Digital Signature", 2, both("s")}}, "pkcs11:", 1, "", ""},
		{"the only one", []object{{"my certificate", 9, auth("a")}, {"issuer", 8, caCert()}}, "pkcs11:", 9, "", ""},
		{"the only one that may", []object{{"one", 1, auth("a")}, {"two", 2, sign("s")}}, "pkcs11:", 1, "", ""},
		{"listed twice", []object{cc[0], cc[0]}, "pkcs11:", 0x45, "", ""},

		{"two without known labels", []object{{"one", 1, auth("a")}, {"two", 2, auth("b")}}, "pkcs11:", 0, Ambiguous, `"one" (id=%01), "two" (id=%02)`},
		{"two with one label", twins, "pkcs11:", 0, Ambiguous, "(id=%01)"},
		{"two with one label, by it", twins, "pkcs11:object=Same", 0, Ambiguous, "(id=%02)"},
		{"two with one label, by id", twins, "pkcs11:id=%02", 2, "", ""},
		{"by label and id", twins, "pkcs11:object=Same;id=%01", 1, "", ""},
		{"by label and another's id", twins, "pkcs11:object=Same;id=%03", 0, NoCertificate, "there are"},
		{"two with the known label", []object{cc[0], {ccAuth, 0x47, auth("b")}}, "pkcs11:", 0, Ambiguous, "%45"},

		{"never the signature certificate", []object{cc[1]}, "pkcs11:", 0, NoCertificate, ccSign},
		{"nor one that could do both", []object{{ccSign, 0x46, both("s")}}, "pkcs11:", 0, NoCertificate, ccSign},
		{"unless it is named", []object{cc[0], {ccSign, 0x46, both("s")}}, "pkcs11:object=CITIZEN%20SIGNATURE%20CERTIFICATE", 0x46, "", ""},
		{"and may authenticate", cc, "pkcs11:object=CITIZEN%20SIGNATURE%20CERTIFICATE", 0, Unsuitable, "digitalSignature"},
		{"also by id", cc, "pkcs11:id=F", 0, Unsuitable, "digitalSignature"},

		{"a CA by label", cc, "pkcs11:object=AUTHENTICATION%20SUB%20CA", 0, NoCertificate, "there are"},
		{"CAs only", []object{cc[2]}, "pkcs11:", 0, NoCertificate, "no certificate"},
		{"nothing", nil, "pkcs11:", 0, NoCertificate, "no certificate"},
		{"malformed", []object{{ccAuth, 0x45, []byte("junk")}}, "pkcs11:", 0, NoCertificate, "malformed"},
		{"huge", []object{{ccAuth, 0x45, make([]byte, maxCertificate+1)}}, "pkcs11:", 0, NoCertificate, "longer than"},
		{"malformed beside a good one", []object{{"x", 1, []byte("junk")}, cc[0]}, "pkcs11:", 0x45, "", ""},
		{"no such label", cc, "pkcs11:object=none", 0, NoCertificate, "there are"},
		{"by the key's label", cc, "pkcs11:object=key%20of%20CITIZEN%20AUTHENTICATION%20CERTIFICATE", 0x45, "", ""},
		{"by the key's label as a key", cc, "pkcs11:type=private;object=key%20of%20CITIZEN%20AUTHENTICATION%20CERTIFICATE", 0x45, "", ""},
		{"by the key's label as a certificate", cc,
			"pkcs11:type=cert;object=key%20of%20CITIZEN%20AUTHENTICATION%20CERTIFICATE", 0, NoCertificate, "there are"},
		{"by the certificate's label as a key", cc,
			"pkcs11:type=private;object=CITIZEN%20AUTHENTICATION%20CERTIFICATE", 0, NoCertificate, "there are"},
	} {
		t.Run(tc.name, tc.check)
	}
}

func (tc *choiceCase) check(t *testing.T) {
	token := bare("alice")
	for _, o := range tc.objects {
		if bytes.Equal(o.cert, caCert()) || token.has(pkcs11.CKO_PRIVATE_KEY, o.id) {
			token.addCert(o.label, []byte{o.id}, o.cert)
		} else {
			token.add(o.label, "key of "+o.label, []byte{o.id}, keys.p256(), o.cert)
		}
	}
	c, err := openFake(t, newFake(t, token), tc.spec, Options{})
	if tc.kind != "" {
		if e := wantKind(t, err, tc.kind); !strings.Contains(e.Message, tc.says) {
			t.Errorf("said %q, which does not mention %q", e.Message, tc.says)
		} else if e.Kind == Ambiguous && !strings.Contains(e.Hint, "id=%") {
			t.Errorf("the hint does not say how to choose: %q", e.Hint)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range tc.objects {
		if o.id == tc.id && !bytes.Equal(c.Leaf(), o.cert) {
			t.Errorf("another certificate than that with id %x", tc.id)
		}
	}
}

func (k *fakeToken) has(class uint, id byte) bool {
	for _, o := range k.objects {
		if o.class == class && bytes.Equal(o.id, []byte{id}) {
			return true
		}
	}
	return false
}

// Only the exact bytes of CKA_ID find the key.
func TestRow21KeyOfTheCertificate(t *testing.T) {
	cert := newCert(keys.p256(), "alice", forAuthentication)
	build := func(certID []byte, more func(*fakeToken)) *fakeToken {
		k := bare("alice")
		k.addCert("Authentication", certID, cert)
		more(k)
		return k
	}
	key := func(k *fakeToken, label string, id []byte) *fakeObject {
		o := &fakeObject{class: pkcs11.CKO_PRIVATE_KEY, keyType: pkcs11.CKK_EC, label: label, id: id, key: keys.p256()}
		k.objects = append(k.objects, o)
		return o
	}
	for _, tc := range []struct {
		name  string
		token *fakeToken
		spec  string
		open  Kind // of the error of Open, or ""
		sign  Kind // of the error of Sign, or ""
	}{
		{"two keys with one label", build([]byte{2}, func(k *fakeToken) {
			key(k, "key", []byte{1}).key = keys.p256b()
			key(k, "key", []byte{2})
		}), "", "", ""},
		{"a native id is not a short one", build(ulong(2), func(k *fakeToken) {
			k.flags &^= pkcs11.CKF_LOGIN_REQUIRED
			key(k, "key", []byte{2})
		}), "", NoKey, ""},
		{"no key, and none can be hidden", build([]byte{2}, func(k *fakeToken) { k.flags &^= pkcs11.CKF_LOGIN_REQUIRED }), "", NoKey, ""},
		{"no key after login either", build([]byte{2}, func(*fakeToken) {}), "", "", NoKey},
		{"a certificate without id", build(nil, func(k *fakeToken) { key(k, "key", nil) }), "", NoKey, ""},
		{"two keys with one id", build([]byte{2}, func(k *fakeToken) {
			key(k, "first", []byte{2})
			key(k, "second", []byte{2})
		}), "", Ambiguous, ""},
		{"two keys with one id, by label", build([]byte{2}, func(k *fakeToken) {
			key(k, "first", []byte{2}).key = keys.p256b()
			key(k, "second", []byte{2})
		}), "pkcs11:type=private;object=second", "", ""},
		{"two keys with one id, hidden", build([]byte{2}, func(k *fakeToken) {
			key(k, "first", []byte{2}).hidden = true
			key(k, "second", []byte{2}).hidden = true
		}), "", "", Ambiguous},
		{"a key of another kind", build([]byte{2}, func(k *fakeToken) { key(k, "key", []byte{2}).keyType = pkcs11.CKK_RSA }), "", NoKey, ""},
		{"a key of another kind beside it", build([]byte{2}, func(k *fakeToken) {
			key(k, "key", []byte{2}).keyType = pkcs11.CKK_RSA
			key(k, "key", []byte{2})
		}), "", "", ""},
		{"attributes that are not there", build([]byte{2}, func(k *fakeToken) {
			key(k, "key", []byte{2}).lacks = []uint{pkcs11.CKA_LABEL, pkcs11.CKA_PRIVATE, pkcs11.CKA_ALWAYS_AUTHENTICATE}
		}), "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newFake(t, tc.token)
			c, err := openFake(t, m, tc.spec, Options{PIN: givePIN(fakePIN)})
			if tc.open != "" {
				wantKind(t, err, tc.open)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			message := []byte("one delegation")
			sig, err := c.Sign(t.Context(), message)
			if tc.sign != "" {
				wantKind(t, err, tc.sign)
				if m.calls.count("SignInit") != 0 {
					t.Error("signed with some key")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkSignature(t, c.Leaf(), message, sig)
		})
	}
}

func TestTokenChosenByURI(t *testing.T) {
	first, second := newToken("alice", keys.p256()), newToken("bob", keys.p384())
	for spec, want := range map[string]*fakeToken{
		"pkcs11:token=bob":                                        second,
		"pkcs11:serial=SN-alice":                                  first,
		"pkcs11:slot-id=1":                                        second,
		"pkcs11:slot-description=Reader%200":                      first,
		"pkcs11:slot-manufacturer=Fakes;token=alice":              first,
		"pkcs11:manufacturer=Fakes;model=Fake%20v1;serial=SN-bob": second,
		"pkcs11:library-manufacturer=Fakes;library-description=Fake%20module;library-version=3.0;token=bob": second,
		"pkcs11:library-version=3;token=bob": second,
		"pkcs11:token=carol":                 nil,
		"pkcs11:token=alice;serial=SN-bob":   nil,
		"pkcs11:slot-id=2":                   nil,
		"pkcs11:library-version=3.1":         nil,
		"pkcs11:library-description=Other":   nil,
	} {
		c, err := openFake(t, newFake(t, first, second), spec, Options{})
		if want == nil {
			if e := wantKind(t, err, NoCard); !strings.Contains(e.Message, `"alice"`) {
				t.Errorf("%s: does not say which there are: %q", spec, e.Message)
			}
			continue
		}
		if err != nil || !bytes.Equal(c.Leaf(), want.objects[0].value) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

func TestTwoReaders(t *testing.T) {
	m := newFake(t, newToken("alice", keys.p256()), newToken("bob", keys.p384()))
	_, err := openFake(t, m, "", Options{})
	e := wantKind(t, err, Ambiguous)
	for _, s := range []string{`"alice"`, `"bob"`, "SN-alice"} {
		if !strings.Contains(e.Message, s) {
			t.Errorf("%q does not mention %s", e.Message, s)
		}
	}
	if !strings.Contains(e.Hint, "pkcs11:token=alice;serial=SN-alice") {
		t.Errorf("the hint does not say how to choose: %q", e.Hint)
	}
	// An unusable card does not hide a usable one.
	if _, err := openFake(t, newFake(t, bare("empty"), newToken("bob", keys.p384())), "", Options{}); err != nil {
		t.Error(err)
	}
}

// A card shown as one slot for each PIN: the slot with the key is used.
func TestOneCardInTwoSlots(t *testing.T) {
	whole := newToken("alice", keys.p256())
	whole.objects[1].hidden = false
	half := newToken("alice (other PIN)", keys.p256())
	half.objects = whole.objects[:1:1]
	c, err := openFake(t, newFake(t, half, whole), "", Options{PIN: givePIN(fakePIN)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sign(t.Context(), nil); err != nil || !strings.Contains(c.Describe(), "slot 1") {
		t.Errorf("signed with %s: %v", c.Describe(), err)
	}
}

func TestNoCard(t *testing.T) {
	m := newFake(t, nil, nil)
	_, err := openFake(t, m, "", Options{})
	wantKind(t, err, NoCard)
	// A token that was never initialized counts as none.
	blank := bare("")
	blank.flags = 0
	_, err = openFake(t, newFake(t, blank), "", Options{})
	wantKind(t, err, NoCard)
	// A card unknown to the module is reported.
	m.slots[1].err = ckr(pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
	_, err = openFake(t, m, "", Options{})
	if e := wantKind(t, err, NoCard); !strings.Contains(e.Message, "slot 1") || !strings.Contains(e.Message, "CKR_TOKEN_NOT_RECOGNIZED") {
		t.Errorf("said %q", e.Message)
	}
}

// A token that lists objects without end is read within bounds.
func TestManyObjects(t *testing.T) {
	token := newToken("alice", keys.p256())
	for range 3 * maxObjects {
		token.objects = append(token.objects, &fakeObject{class: pkcs11.CKO_PRIVATE_KEY, keyType: pkcs11.CKK_EC, id: []byte{1}, key: keys.p256()})
		token.addCert("CA", []byte{0x50}, caCert())
	}
	m := newFake(t, token)
	c, err := openFake(t, m, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Chain()); n == 0 || n >= maxCertificates {
		t.Errorf("a chain of %d", n)
	}
	if n := m.calls.count("FindObjects("); n > 2*maxObjects/findBatch {
		t.Errorf("%d searches", n)
	}
	if i, f := m.calls.count("FindObjectsInit"), m.calls.count("FindObjectsFinal"); i != f {
		t.Errorf("%d searches begun, %d ended", i, f)
	}
}

func TestSurvey(t *testing.T) {
	alice, other := newToken("alice", keys.p256()), newToken("bob", keys.rsa2048())
	alice.flags |= pkcs11.CKF_USER_PIN_FINAL_TRY
	alice.addCert("ROOT CA", []byte{0x50}, caCert())
	alice.addCert("broken", []byte{0x51}, []byte("junk"))
	other.objects[1].hidden = false
	other.flags |= pkcs11.CKF_USER_PIN_LOCKED
	m := newFake(t, alice, nil, other)
	u := must(parseURI("pkcs11:token=alice"))
	libs := fakeLibraries(map[string]*fakeModule{"/fake.so": m})
	r, err := libs.survey(t.Context(), []string{"/missing.so", "/fake.so"}, u)
	if err != nil || r.Err != nil || len(r.Modules) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r.Modules[0].Err == nil || r.Modules[0].Err.Kind != ModuleLoad {
		t.Errorf("the missing module: %v", r.Modules[0].Err)
	}
	got := r.Modules[1]
	if got.Err != nil || got.Description != "Fake module" || len(got.Slots) != 3 {
		t.Fatalf("%+v", got)
	}
	a, b := got.Slots[0].Token, got.Slots[1].Token
	if a.Err != nil || b.Err != nil || got.Slots[2].Token != nil || got.Slots[2].ID != 1 {
		t.Error("the URI matches the wrong slots")
	}
	const want = "login required, PIN set, initialized, final PIN try"
	if strings.Join(a.Flags, ", ") != want || a.Locked != nil || !strings.Contains(a.Warning, "last try") {
		t.Errorf("flags are %q: %v, %q", a.Flags, a.Locked, a.Warning)
	}
	if b.Locked == nil || b.Locked.Kind != PINLocked {
		t.Errorf("a locked token: %v", b.Locked)
	}
	if c := a.Certificates; len(c) != 3 || !c[0].Used || c[0].ID != "45" || c[0].CA || !c[1].CA || c[1].Used || c[2].Err == nil {
		t.Errorf("certificates are %+v", c)
	}
	if len(a.Keys) != 0 || len(b.Keys) != 1 || b.Keys[0] != (KeyReport{Label: "CITIZEN AUTHENTICATION KEY", ID: "45", Type: "RSA"}) {
		t.Errorf("keys are %+v and %+v", a.Keys, b.Keys)
	}
	if b.Certificates[0].Used {
		t.Error("the certificate of another token is used")
	}
	if m.calls.count("Login") != 0 {
		t.Error("a survey logged in")
	}
	// The report has the error of Open.
	r, err = libs.survey(t.Context(), []string{"/fake.so"}, must(parseURI("")))
	if err != nil || r.Err == nil || r.Err.Kind != Ambiguous || r.Modules[0].Slots[0].Token.Certificates[0].Used {
		t.Errorf("%+v, %v", r.Err, err)
	}
}

// A survey marks the one certificate that Open would choose: the first that can
// be used, and none after cards that Open could not choose among.
func TestSurveyOfSeveralModules(t *testing.T) {
	one := newFake(t, newToken("alice", keys.p256()))
	two := newFake(t, newToken("bob", keys.p384()), newToken("carol", keys.p384()))
	libs := fakeLibraries(map[string]*fakeModule{"/one.so": one, "/two.so": two, "/empty.so": newFake(t)})
	for _, tc := range []struct {
		paths, spec, used string
		kind              Kind
	}{
		{"/one.so /two.so", "", "alice", ""},
		{"/two.so /one.so", "", "", Ambiguous},
		{"/empty.so /one.so", "", "alice", ""},
		{"/one.so /two.so", "pkcs11:token=carol", "carol", ""},
		{"/two.so /one.so", "pkcs11:token=dave", "", NoCard},
	} {
		paths, u := strings.Fields(tc.paths), must(parseURI(tc.spec))
		r := must(libs.survey(t.Context(), paths, u))
		used := ""
		for _, m := range r.Modules {
			for _, s := range m.Slots {
				if s.Token.Certificates[0].Used {
					used += s.Token.Label
				}
			}
		}
		if used != tc.used || (tc.kind != "") != (r.Err != nil) || r.Err != nil && r.Err.Kind != tc.kind {
			t.Errorf("%s, %q: %q is used, %v", tc.paths, tc.spec, used, r.Err)
		}
		c, err := libs.openFirst(t.Context(), paths, u, Options{})
		if err != nil {
			wantKind(t, err, tc.kind)
		} else if c.Close(); !strings.Contains(c.Describe(), `"`+tc.used+`"`) {
			t.Errorf("%s, %q: Open chose %s", tc.paths, tc.spec, c.Describe())
		}
	}
}
