//go:build cgo

package card

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"
)

func TestTokenSigns(t *testing.T) {
	for _, tc := range []struct {
		name  string
		key   crypto.Signer
		mechs []uint
	}{
		{"rsa", keys.rsa2048(), allMechanisms},
		{"rsa bare", keys.rsa2048(), []uint{pkcs11.CKM_RSA_PKCS}},
		{"p256", keys.p256(), allMechanisms},
		{"p256 bare", keys.p256(), []uint{pkcs11.CKM_ECDSA}},
		{"p384", keys.p384(), allMechanisms},
		{"p384 bare", keys.p384(), []uint{pkcs11.CKM_ECDSA, pkcs11.CKM_ECDSA_SHA256}},
		{"p521", keys.p521(), allMechanisms},
		{"p521 bare", keys.p521(), []uint{pkcs11.CKM_ECDSA}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token := newToken("alice", tc.key)
			token.mechanisms = tc.mechs
			token.addCert("ROOT CA", []byte{0x50}, caCert())
			m := newFake(t, token)
			c := mustOpen(t, m, "", Options{})
			if n := m.calls.count("Login"); n != 0 {
				t.Error("Open logged in")
			}
			if !bytes.Equal(c.Leaf(), token.objects[0].value) || len(c.Chain()) != 1 || !bytes.Equal(c.Chain()[0], caCert()) {
				t.Error("leaf or chain are not those on the token")
			}
			if want := `token "alice" (Fake v1) in slot 0`; c.Describe() != want {
				t.Errorf("described as %s", c.Describe())
			}
			message := []byte("one delegation")
			for range 2 { // with a logout in between: each signature needs a PIN
				sig, err := c.Sign(t.Context(), message)
				if err != nil {
					t.Fatal(err)
				}
				checkSignature(t, c.Leaf(), message, sig)
			}
			const want = `Login(1,"4711") SignInit Sign( Logout Login(1,"4711") SignInit Sign( Logout`
			if got := m.calls.of("Login", "SignInit", "Sign(", "Logout"); got != want {
				t.Errorf("calls were %s", got)
			}
		})
	}
}

func TestTokenWithoutMechanism(t *testing.T) {
	token := newToken("alice", keys.p384())
	token.mechanisms = []uint{pkcs11.CKM_RSA_PKCS, pkcs11.CKM_ECDSA_SHA256}
	m := newFake(t, token)
	_, err := mustOpen(t, m, "", Options{}).Sign(t.Context(), nil)
	wantKind(t, err, Unsuitable)
	if m.calls.count("Login")+m.calls.count("SignInit") != 0 {
		t.Error("a PIN was given for a signature that cannot be made")
	}
}

// A Cartão de Cidadão of 2024 through its own module.
func TestCC2(t *testing.T) {
	m := newFake(t, newCC2())
	var notices []string
	c := mustOpen(t, m, "", Options{
		PIN:    func(context.Context, PINRequest) ([]byte, error) { t.Error("asked for a PIN"); return nil, nil },
		Notice: func(s string) { notices = append(notices, s) },
	})
	if len(c.Chain()) != 0 {
		t.Error("a chain from a card without CA certificates")
	}
	message := []byte("one delegation")
	sig, err := c.Sign(t.Context(), message)
	if err != nil {
		t.Fatal(err)
	}
	checkSignature(t, c.Leaf(), message, sig)
	if got := m.calls.of("Login", "SignInit", "Sign("); got != "SignInit Sign(" {
		t.Errorf("calls were %s", got)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "the card's own software") {
		t.Errorf("said %q", notices)
	}
}

// With Batch nothing may ask, not even the card's own dialog.
func TestCC2Batch(t *testing.T) {
	m := newFake(t, newCC2())
	_, err := mustOpen(t, m, "", Options{Batch: true}).Sign(t.Context(), nil)
	wantKind(t, err, PINNeeded)
	if m.calls.count("Sign") != 0 {
		t.Error("the card was asked to sign")
	}
}

func TestPINNeededAndNobodyToAsk(t *testing.T) {
	m := newFake(t, newToken("alice", keys.p256()))
	_, err := mustOpen(t, m, "", Options{Batch: true}).Sign(t.Context(), nil)
	wantKind(t, err, PINNeeded)
	if m.calls.count("Login") != 0 {
		t.Error("the card was tried")
	}
}

func TestRow21WrongPIN(t *testing.T) {
	for _, tc := range []struct {
		tries int
		kind  Kind
		says  string
	}{
		{3, PINIncorrect, "the PIN was wrong"},
		{2, PINIncorrect, "one last try"},
		{1, PINLocked, "locked now"},
	} {
		token := newToken("alice", keys.p256())
		token.tries = tc.tries
		m := newFake(t, token)
		pin := []byte("0000")
		asked := 0
		c := mustOpen(t, m, "", Options{PIN: func(context.Context, PINRequest) ([]byte, error) { asked++; return pin, nil }})
		_, err := c.Sign(t.Context(), nil)
		e := wantKind(t, err, tc.kind)
		if !strings.Contains(e.Message, tc.says) || e.Hint == "" || strings.Contains(e.Message+e.Hint, "0000") {
			t.Errorf("said %q, hint %q", e.Message, e.Hint)
		}
		var code pkcs11.Error
		if !errors.As(err, &code) || code != pkcs11.CKR_PIN_INCORRECT {
			t.Errorf("behind it is %v", code)
		}
		if n := m.calls.count("Login"); n != 1 || asked != 1 || m.calls.count("Sign(") != 0 {
			t.Errorf("%d logins, asked %d times", n, asked)
		}
		if !bytes.Equal(pin, make([]byte, 4)) {
			t.Error("the PIN was not erased")
		}
	}
}

// The flags are shown before the question, without a number.
func TestPINRequest(t *testing.T) {
	for _, tc := range []struct {
		flags uint
		few   bool
		final bool
	}{
		{0, false, false},
		{pkcs11.CKF_USER_PIN_COUNT_LOW, true, false},
		{pkcs11.CKF_USER_PIN_COUNT_LOW | pkcs11.CKF_USER_PIN_FINAL_TRY, true, true},
	} {
		token := newToken("alice", keys.p256())
		m := newFake(t, token)
		var got PINRequest
		c := mustOpen(t, m, "", Options{PIN: func(_ context.Context, req PINRequest) ([]byte, error) {
			got = req
			return []byte(fakePIN), nil
		}})
		m.set(func() { token.flags |= tc.flags }) // after Open: they are read again at each signature
		if _, err := c.Sign(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if want := (PINRequest{Card: c.Describe(), fewTries: tc.few, finalTry: tc.final}); got != want {
			t.Errorf("asked with %+v", got)
		}
		if (got.Warning() != "") != tc.few || strings.ContainsAny(got.Warning(), "0123456789") {
			t.Errorf("warned %q", got.Warning())
		}
	}
}

func TestRow21Locked(t *testing.T) {
	for name, token := range map[string]*fakeToken{"login": newToken("alice", keys.p256()), "dialog": newCC2()} {
		token.flags |= pkcs11.CKF_USER_PIN_LOCKED
		m := newFake(t, token)
		c := mustOpen(t, m, "", Options{PIN: func(context.Context, PINRequest) ([]byte, error) { t.Error("asked for a PIN"); return nil, nil }})
		_, err := c.Sign(t.Context(), nil)
		wantKind(t, err, PINLocked)
		if m.calls.count("Login")+m.calls.count("Sign") != 0 {
			t.Errorf("%s: the card was tried", name)
		}
	}
}

// The keys are listed after one login, which is followed by a logout. One try at
// most is spent, and none if it is useless.
func TestKeysAfterLogin(t *testing.T) {
	hidden := func(flags uint) *fakeToken {
		token := newToken("alice", keys.p256())
		token.flags |= flags
		for _, o := range token.objects {
			o.hidden = o.class == pkcs11.CKO_PRIVATE_KEY
		}
		return token
	}
	for name, test := range map[string]struct {
		token  *fakeToken
		pin    string
		kind   Kind
		keys   int
		logins int
	}{
		"right PIN": {hidden(0), fakePIN, "", 1, 1},
		"wrong PIN": {hidden(0), "999999", PINIncorrect, 0, 1},
		"locked":    {hidden(pkcs11.CKF_USER_PIN_LOCKED), fakePIN, PINLocked, 0, 0},
		"pinpad":    {hidden(pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH), fakePIN, "", 0, 0},
	} {
		m := newFake(t, test.token)
		c := mustOpen(t, m, "", Options{PIN: givePIN(test.pin)})
		got, err := c.(*tokenCard).keys(t.Context())
		if test.kind != "" {
			wantKind(t, err, test.kind)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(got) != test.keys || m.calls.count("Login") != test.logins || test.token.loggedIn || m.calls.count("Sign") != 0 {
			t.Errorf("%s: %d keys after %d logins, still logged in: %v", name, len(got), m.calls.count("Login"), test.token.loggedIn)
		}
	}
}

// A module answers CKR_PIN_LOCKED after the card was pulled. The token is looked at
// before it is reported as locked.
func TestPINLockedOrPulled(t *testing.T) {
	for _, pulled := range []bool{false, true} {
		token := newCC2()
		m := newFake(t, token)
		token.onSign = func() error {
			if pulled {
				m.set(func() { m.slots[0].token = nil })
			}
			return ckr(pkcs11.CKR_PIN_LOCKED)
		}
		_, err := mustOpen(t, m, "", Options{}).Sign(t.Context(), nil)
		if pulled {
			wantKind(t, err, CardRemoved)
		} else {
			wantKind(t, err, PINLocked)
		}
		if !errors.Is(err, ckr(pkcs11.CKR_PIN_LOCKED)) {
			t.Error("the code is not reachable")
		}
	}
}

func TestPinpad(t *testing.T) {
	token := newToken("alice", keys.p256())
	token.flags |= pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH | pkcs11.CKF_USER_PIN_COUNT_LOW
	m := newFake(t, token)
	var notices []string
	c := mustOpen(t, m, "", Options{
		PIN:    func(context.Context, PINRequest) ([]byte, error) { t.Error("asked for a PIN"); return nil, nil },
		Notice: func(s string) { notices = append(notices, s) },
	})
	if _, err := c.Sign(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := m.calls.of("Login"); got != `Login(1,"")` {
		t.Errorf("logins were %s", got)
	}
	if len(notices) != 2 || !strings.Contains(notices[0], "fewer tries") || !strings.Contains(notices[1], "card reader") {
		t.Errorf("said %q", notices)
	}
}

func TestAlwaysAuthenticate(t *testing.T) {
	for _, hidden := range []bool{true, false} {
		token := newToken("alice", keys.p256())
		token.objects[1].always, token.objects[1].hidden = true, hidden
		m := newFake(t, token)
		if _, err := mustOpen(t, m, "", Options{}).Sign(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got, want := m.calls.of("Login", "Sign"), `Login(1,"4711") SignInit Login(2,"4711") Sign(`; got != want {
			t.Errorf("calls were %s", got)
		}
	}
}

// There is no login for a public key or on an open token.
func TestNoLoginWhereNoneIsWanted(t *testing.T) {
	no := false
	public := newToken("alice", keys.p256())
	public.objects[1].hidden, public.objects[1].private = false, &no
	open := newToken("alice", keys.p256())
	open.objects[1].hidden = false
	open.flags &^= pkcs11.CKF_LOGIN_REQUIRED
	for name, token := range map[string]*fakeToken{"public key": public, "open token": open} {
		m := newFake(t, token)
		if _, err := mustOpen(t, m, "", Options{Batch: true}).Sign(t.Context(), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m.calls.count("Login")+m.calls.count("Logout") != 0 {
			t.Errorf("%s: logged in", name)
		}
	}
}

func TestAlreadyLoggedIn(t *testing.T) {
	token := newToken("alice", keys.p256())
	token.loggedIn = true
	m := newFake(t, token)
	if _, err := mustOpen(t, m, "", Options{}).Sign(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !token.loggedIn || m.calls.count("Logout") != 0 {
		t.Error("someone else's login was ended")
	}
}

func TestEmptyPINIsNotGiven(t *testing.T) {
	for pin, kind := range map[string]Kind{"": PINNeeded, strings.Repeat("9", maxPIN+1): PINIncorrect} {
		m := newFake(t, newToken("alice", keys.p256()))
		_, err := mustOpen(t, m, "", Options{PIN: givePIN(pin)}).Sign(t.Context(), nil)
		wantKind(t, err, kind)
		if m.calls.count("Login") != 0 {
			t.Error("the card was tried")
		}
	}
}

func TestPINNotGiven(t *testing.T) {
	sentinel := errors.New("end of file")
	m := newFake(t, newToken("alice", keys.p256()))
	c := mustOpen(t, m, "", Options{PIN: func(context.Context, PINRequest) ([]byte, error) { return []byte("47"), sentinel }})
	_, err := c.Sign(t.Context(), nil)
	wantKind(t, err, PINNeeded)
	if !errors.Is(err, sentinel) || m.calls.count("Login") != 0 {
		t.Errorf("got %v", err)
	}
}

func TestPINSourceInURI(t *testing.T) {
	path := t.TempDir() + "/my pin"
	writeFile(t, path, []byte(fakePIN+"\nnot this\n"), 0o600)
	m := newFake(t, newToken("alice", keys.p256()))
	c := mustOpen(t, m, "pkcs11:token=alice?pin-source=file:"+strings.ReplaceAll(path, " ", "%20"), Options{Batch: true})
	if _, err := c.Sign(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := m.calls.of("Login"); got != `Login(1,"4711")` {
		t.Errorf("logins were %s", got)
	}
}

// The kind of each error of a module; its code can be unwrapped.
func TestModuleErrors(t *testing.T) {
	for code, kind := range map[uint]Kind{
		pkcs11.CKR_FUNCTION_CANCELED:        Cancelled,
		pkcs11.CKR_CANCEL:                   Cancelled,
		pkcs11.CKR_FUNCTION_REJECTED:        Cancelled,
		pkcs11.CKR_PIN_INCORRECT:            PINIncorrect,
		pkcs11.CKR_PIN_LEN_RANGE:            PINIncorrect,
		pkcs11.CKR_PIN_INVALID:              PINIncorrect,
		pkcs11.CKR_PIN_LOCKED:               PINLocked,
		pkcs11.CKR_PIN_EXPIRED:              Failed,
		pkcs11.CKR_USER_PIN_NOT_INITIALIZED: Failed,
		pkcs11.CKR_DEVICE_REMOVED:           CardRemoved,
		pkcs11.CKR_SESSION_HANDLE_INVALID:   CardRemoved,
		pkcs11.CKR_DEVICE_ERROR:             Failed,
		pkcs11.CKR_GENERAL_ERROR:            Failed,
		pkcs11.CKR_VENDOR_DEFINED + 7:       Failed,
	} {
		for _, where := range []string{"login", "signinit", "sign"} {
			token := newToken("alice", keys.p256())
			answer := func() error { return ckr(code) }
			switch where {
			case "login":
				token.onLogin = answer
			case "signinit":
				token.onSignInit = answer
			case "sign":
				token.onSign = answer
			}
			m := newFake(t, token)
			_, err := mustOpen(t, m, "", Options{}).Sign(t.Context(), nil)
			e := wantKind(t, err, kind)
			if got, ok := errors.AsType[pkcs11.Error](err); !ok || uint(got) != code {
				t.Errorf("%x: behind it is %v", code, got)
			}
			if strings.Contains(e.Message, "pkcs11:") {
				t.Errorf("%x: said %q", code, e.Message)
			}
			if m.calls.count("Login") > 1 || m.calls.count("SignInit") > 1 || m.calls.count("Sign(") > 1 {
				t.Errorf("%x: something was tried twice", code)
			}
		}
	}
}

func TestSignatureThatDoesNotFit(t *testing.T) {
	token := newToken("alice", keys.p256())
	token.spoil = true
	_, err := mustOpen(t, newFake(t, token), "", Options{}).Sign(t.Context(), []byte("one delegation"))
	wantKind(t, err, BadSignature)
	token = newToken("alice", keys.p256())
	token.objects[1].key = keys.p256b() // the right id, another key
	_, err = mustOpen(t, newFake(t, token), "", Options{}).Sign(t.Context(), []byte("one delegation"))
	wantKind(t, err, BadSignature)
}

func TestCharactersFromTheTokenAreMadeVisible(t *testing.T) {
	token := newToken("a\x1b[2J\u202e\nb", keys.p256())
	c := mustOpen(t, newFake(t, token), "", Options{})
	if strings.ContainsAny(c.Describe(), "\x1b\u202e\n") {
		t.Errorf("described as %q", c.Describe())
	}
	token.objects[1].id = []byte{1}
	token.flags &^= pkcs11.CKF_LOGIN_REQUIRED
	_, err := openFake(t, newFake(t, token), "", Options{})
	if e := wantKind(t, err, NoKey); strings.ContainsAny(e.Message+e.Hint, "\x1b\u202e\n") {
		t.Errorf("said %q", e.Message)
	}
}
