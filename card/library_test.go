//go:build cgo

package card

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/miekg/pkcs11"
)

// C_Initialize and C_Finalize act on the whole process: they are called once for
// all that share a module, and again for the next user.
func TestModuleIsShared(t *testing.T) {
	m := newFake(t, newToken("alice", keys.p256()))
	libs := fakeLibraries(map[string]*fakeModule{"/fake.so": m})
	open := func() Card {
		c, err := libs.openFirst(t.Context(), []string{"/fake.so"}, must(parseURI("")), Options{PIN: givePIN(fakePIN)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for round := 1; round <= 2; round++ {
		a, b := open(), open()
		for _, c := range []Card{a, b} {
			if _, err := c.Sign(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		a.Close()
		a.Close() // a second Close has no effect
		if i, f := m.calls.count("Initialize"), m.calls.count("Finalize"); i != round || f != round-1 {
			t.Errorf("round %d: %d initializations, %d finalizations", round, i, f)
		}
		if _, err := b.Sign(t.Context(), nil); err != nil {
			t.Errorf("another's Close took it away: %v", err)
		}
		_, err := a.Sign(t.Context(), nil)
		wantKind(t, err, Failed)
		b.Close()
		if f := m.calls.count("Finalize"); f != round {
			t.Errorf("round %d: %d finalizations", round, f)
		}
	}
	if len(libs.open) != 0 {
		t.Error("a library was left open")
	}
}

func TestModuleInitialization(t *testing.T) {
	for _, tc := range []struct {
		name      string
		errs      []error
		kind      Kind
		finalized int
		flags     []int // options of each C_Initialize
	}{
		{"plain", nil, "", 1, []int{0}},
		{"initialized by others", []error{ckr(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)}, "", 0, []int{0}},
		{"cannot lock", []error{ckr(pkcs11.CKR_CANT_LOCK)}, "", 1, []int{0, 1}},
		{"no service", []error{ckr(pkcs11.CKR_GENERAL_ERROR)}, ModuleLoad, 0, []int{0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newFake(t, newToken("alice", keys.p256()))
			m.initErrs = tc.errs
			libs := fakeLibraries(map[string]*fakeModule{"/fake.so": m})
			c, err := libs.openFirst(t.Context(), []string{"/fake.so"}, must(parseURI("")), Options{})
			if tc.kind != "" {
				wantKind(t, err, tc.kind)
				if !errors.Is(err, tc.errs[0]) {
					t.Errorf("behind it is %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if m.calls.count("Finalize") != tc.finalized || len(m.flags) != len(tc.flags) || m.flags[len(m.flags)-1] != tc.flags[len(tc.flags)-1] {
				t.Errorf("%d finalizations, initialized with %v", m.calls.count("Finalize"), m.flags)
			}
		})
	}
}

func TestFirstModuleWithACard(t *testing.T) {
	without, empty := newFake(t, bare("no certificates")), newFake(t, nil)
	with, later := newFake(t, newToken("alice", keys.p256())), newFake(t, newToken("bob", keys.p384()))
	libs := fakeLibraries(map[string]*fakeModule{"/without": without, "/empty": empty, "/with": with, "/later": later})
	u := must(parseURI(""))
	c, err := libs.openFirst(t.Context(), []string{"/missing", "/empty", "/without", "/with", "/later"}, u, Options{})
	if err != nil || c.Describe() != `token "alice" (Fake v1) in slot 0` {
		t.Fatal(c, err)
	}
	if later.calls.count("") != 0 {
		t.Error("a module was loaded that was not needed")
	}
	c.Close()
	// Of several failures, the most telling one is returned.
	_, err = libs.openFirst(t.Context(), []string{"/missing", "/empty", "/without"}, u, Options{})
	wantKind(t, err, NoCertificate)
	_, err = libs.openFirst(t.Context(), []string{"/missing", "/empty"}, u, Options{})
	if e := wantKind(t, err, NoCard); !bytes.Contains([]byte(e.Hint), []byte("/missing cannot be loaded")) {
		t.Errorf("the hint does not say what was not asked: %q", e.Hint)
	}
	_, err = libs.openFirst(t.Context(), []string{"/missing"}, u, Options{})
	wantKind(t, err, ModuleLoad)
}

// Many users at once: the fake fails the test if two calls overlap.
func TestManyAtOnce(t *testing.T) {
	m := newFake(t, newToken("alice", keys.p256()))
	libs := fakeLibraries(map[string]*fakeModule{"/fake.so": m})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				c, err := libs.openFirst(t.Context(), []string{"/fake.so"}, must(parseURI("")), Options{PIN: givePIN(fakePIN)})
				if err != nil {
					t.Error(err)
					return
				}
				wg.Go(func() { c.Leaf(); c.Describe() })
				if sig, err := c.Sign(t.Context(), []byte("m")); err != nil {
					t.Error(err)
				} else {
					checkSignature(t, c.Leaf(), []byte("m"), sig)
				}
				c.Close()
			}
		})
	}
	wg.Wait()
}

// slowToken is a token whose C_Sign lasts until release is closed.
func slowToken(release chan struct{}) (token *fakeToken, signing chan struct{}) {
	token, signing = newToken("alice", keys.p256()), make(chan struct{})
	token.onSign = func() error { close(signing); <-release; return nil }
	return token, signing
}

// An unfinished C_Sign does not block a caller whose context ends. Close waits a
// bounded time for it, and the next Open until the module is free.
func TestSlowSign(t *testing.T) {
	keys.p256() // made outside the bubble
	caCert()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		token, signing := slowToken(release)
		m := newFake(t, token)
		libs := fakeLibraries(map[string]*fakeModule{"/fake.so": m})
		pin := []byte(fakePIN)
		u := must(parseURI(""))
		c, err := libs.openFirst(t.Context(), []string{"/fake.so"}, u, Options{
			PIN: func(context.Context, PINRequest) ([]byte, error) { return pin, nil }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-signing; cancel() }()
		message := []byte("one delegation")
		_, err = c.Sign(ctx, message)
		wantKind(t, err, Cancelled)
		if !errors.Is(err, context.Canceled) {
			t.Error("the context's error is not reachable")
		}
		clear(message) // it is the caller's again; the message signed stays

		// The module is busy: others wait until their own context ends.
		_, err = c.Sign(ctx, []byte("m"))
		wantKind(t, err, Cancelled)
		short, stop := context.WithTimeout(t.Context(), closeWait)
		_, err = libs.openFirst(short, []string{"/fake.so"}, u, Options{})
		wantKind(t, err, Cancelled)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error("the deadline is not reachable")
		}
		stop()

		err = c.Close() // closeWait by the bubble's clock
		wantKind(t, err, Failed)
		short, stop = context.WithTimeout(t.Context(), closeWait)
		_, err = libs.openFirst(short, []string{"/fake.so"}, u, Options{})
		wantKind(t, err, Cancelled)
		stop()

		close(release)
		synctest.Wait()
		if m.calls.count("Finalize") != 1 || len(libs.open) != 0 {
			t.Error("the module was not let go of in the end")
		}
		if m.calls.count("Sign(") != 1 || m.calls.count("Login") != 1 {
			t.Error("more was asked of the card than one signature")
		}
		if !bytes.Equal(pin, make([]byte, len(pin))) {
			t.Error("the PIN was not erased")
		}
		if string(token.signed) != "one delegation" {
			t.Errorf("what was signed changed to %q", token.signed)
		}
		m.set(func() { token.onSign = nil })
		pin = []byte(fakePIN)
		c, err = libs.openFirst(t.Context(), []string{"/fake.so"}, u, Options{PIN: givePIN(fakePIN)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Sign(t.Context(), []byte("m")); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// After a context that ends while the PIN is typed, no try is spent and nothing is
// signed.
func TestCancelledBeforeTheCardIsTried(t *testing.T) {
	m := newFake(t, newToken("alice", keys.p256()))
	ctx, cancel := context.WithCancel(t.Context())
	pin := []byte(fakePIN)
	c := mustOpen(t, m, "", Options{PIN: func(context.Context, PINRequest) ([]byte, error) { cancel(); return pin, nil }})
	_, err := c.Sign(ctx, nil)
	wantKind(t, err, Cancelled)
	if m.calls.count("Login")+m.calls.count("Sign") != 0 {
		t.Error("the card was tried")
	}
	if !bytes.Equal(pin, make([]byte, len(pin))) {
		t.Error("the PIN was not erased")
	}
}

// Cancelled once the module has begun to look at the card again.
func TestCancelledWhileLooking(t *testing.T) {
	token := newToken("alice", keys.p256())
	m := newFake(t, token)
	ctx, cancel := context.WithCancel(t.Context())
	c := mustOpen(t, m, "", Options{PIN: func(context.Context, PINRequest) ([]byte, error) {
		m.set(func() { token.onOpen = func() error { cancel(); return nil } })
		return []byte(fakePIN), nil
	}})
	_, err := c.Sign(ctx, nil)
	wantKind(t, err, Cancelled)
	m.set(func() { token.onOpen = nil })
	if err := c.Close(); err != nil { // it waits for the call
		t.Fatal(err)
	}
	if m.calls.count("Login")+m.calls.count("Sign") != 0 {
		t.Error("the card was tried")
	}
}

// Cancelled inside C_Login: the login is undone and nothing is signed.
func TestCancelledAtLogin(t *testing.T) {
	token := newToken("alice", keys.p256())
	m := newFake(t, token)
	ctx, cancel := context.WithCancel(t.Context())
	token.onLogin = func() error { cancel(); return nil }
	c := mustOpen(t, m, "", Options{})
	_, err := c.Sign(ctx, nil)
	wantKind(t, err, Cancelled)
	m.set(func() { token.onLogin = nil })
	// The next signature is made after the end of this one.
	if _, err := c.Sign(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := m.calls.of("Login", "Sign(", "Logout"), `Login(1,"4711") Logout Login(1,"4711") Sign( Logout`; got != want {
		t.Errorf("calls were %s", got)
	}
}

// A module that hangs in C_Initialize does not block its caller.
func TestSlowInitialize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := newFake(t)
		libs := newLibraries(func(string) (module, error) { <-release; return m, nil })
		ctx, cancel := context.WithTimeout(t.Context(), closeWait)
		defer cancel()
		_, err := libs.openFirst(ctx, []string{"/slow.so"}, must(parseURI("")), Options{})
		wantKind(t, err, Cancelled)
		close(release)
		synctest.Wait()
		if len(libs.open) != 0 || m.calls.count("Initialize") != m.calls.count("Finalize") {
			t.Error("the module was not let go of in the end")
		}
	})
}

// The last Close and the next Open at once: the module is never initialized during
// its finalization.
func TestCloseAndOpenAtOnce(t *testing.T) {
	m := newFake(t, newToken("alice", keys.p256()))
	libs := fakeLibraries(map[string]*fakeModule{"/fake.so": m})
	open := func() Card {
		return must(libs.openFirst(t.Context(), []string{"/fake.so"}, must(parseURI("")), Options{PIN: givePIN(fakePIN)}))
	}
	for range 50 {
		a := open()
		var b Card
		var wg sync.WaitGroup
		wg.Go(func() { a.Close() })
		wg.Go(func() { b = open() })
		wg.Wait()
		if _, err := b.Sign(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		m.set(func() {
			if !m.initialized {
				t.Error("the module was finalized under its user")
			}
		})
		b.Close()
	}
}

// p11-kit's proxy finalizes other modules. So it is not used beside an open one,
// and the search opens one module at a time.
func TestProxy(t *testing.T) {
	direct, proxy := newFake(t, newToken("alice", keys.p256())), newFake(t, newToken("bob", keys.p384()))
	libs := fakeLibraries(map[string]*fakeModule{"/direct.so": direct, "/p11-kit-proxy.so": proxy})
	both := []string{"/missing.so", "/direct.so", "/p11-kit-proxy.so"}
	open := func(spec string) (Card, error) {
		return libs.openFirst(t.Context(), both, must(parseURI(spec)), Options{})
	}
	alice, err := open("pkcs11:token=alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open("pkcs11:token=bob"); err == nil {
		t.Error("the proxy was used beside a module that it may stand for")
	}
	alice.Close()
	bob, err := open("pkcs11:token=bob")
	if err != nil {
		t.Fatal(err)
	}
	if direct.calls.count("Initialize") != direct.calls.count("Finalize") {
		t.Error("the proxy was started before the module tried first had ended")
	}
	bob.Close()
}
