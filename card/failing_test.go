//go:build cgo

package card

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/miekg/pkcs11"
)

// failing is a module whose nth call fails, of the calls that can fail.
type failing struct {
	*fakeModule
	left int
	err  error
}

func (f *failing) fail() error {
	f.left--
	if f.left == 0 {
		return f.err
	}
	return nil
}

func or[T any](f *failing, call func() (T, error)) (T, error) {
	if err := f.fail(); err != nil {
		var zero T
		return zero, err
	}
	return call()
}

func (f *failing) Initialize(o ...pkcs11.InitializeOption) error {
	_, err := or(f, func() (int, error) { return 0, f.fakeModule.Initialize(o...) })
	return err
}

func (f *failing) GetInfo() (pkcs11.Info, error) { return or(f, f.fakeModule.GetInfo) }

func (f *failing) GetSlotList(p bool) ([]uint, error) {
	return or(f, func() ([]uint, error) { return f.fakeModule.GetSlotList(p) })
}

func (f *failing) GetSlotInfo(s uint) (pkcs11.SlotInfo, error) {
	return or(f, func() (pkcs11.SlotInfo, error) { return f.fakeModule.GetSlotInfo(s) })
}

func (f *failing) GetTokenInfo(s uint) (pkcs11.TokenInfo, error) {
	return or(f, func() (pkcs11.TokenInfo, error) { return f.fakeModule.GetTokenInfo(s) })
}

func (f *failing) GetMechanismList(s uint) ([]*pkcs11.Mechanism, error) {
	return or(f, func() ([]*pkcs11.Mechanism, error) { return f.fakeModule.GetMechanismList(s) })
}

func (f *failing) OpenSession(s, flags uint) (pkcs11.SessionHandle, error) {
	return or(f, func() (pkcs11.SessionHandle, error) { return f.fakeModule.OpenSession(s, flags) })
}

func (f *failing) Login(h pkcs11.SessionHandle, user uint, pin string) error {
	_, err := or(f, func() (int, error) { return 0, f.fakeModule.Login(h, user, pin) })
	return err
}

// Calls that end something take effect even if they fail.

func (f *failing) CloseSession(h pkcs11.SessionHandle) error {
	return errors.Join(f.fakeModule.CloseSession(h), f.fail())
}

func (f *failing) Logout(h pkcs11.SessionHandle) error {
	return errors.Join(f.fakeModule.Logout(h), f.fail())
}

func (f *failing) FindObjectsFinal(h pkcs11.SessionHandle) error {
	return errors.Join(f.fakeModule.FindObjectsFinal(h), f.fail())
}

func (f *failing) FindObjectsInit(h pkcs11.SessionHandle, a []*pkcs11.Attribute) error {
	_, err := or(f, func() (int, error) { return 0, f.fakeModule.FindObjectsInit(h, a) })
	return err
}

func (f *failing) FindObjects(h pkcs11.SessionHandle, n int) ([]pkcs11.ObjectHandle, bool, error) {
	some, err := or(f, func() ([]pkcs11.ObjectHandle, error) {
		some, _, err := f.fakeModule.FindObjects(h, n)
		return some, err
	})
	return some, false, err
}

func (f *failing) GetAttributeValue(h pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error) {
	return or(f, func() ([]*pkcs11.Attribute, error) { return f.fakeModule.GetAttributeValue(h, o, a) })
}

func (f *failing) SignInit(h pkcs11.SessionHandle, m []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error {
	_, err := or(f, func() (int, error) { return 0, f.fakeModule.SignInit(h, m, o) })
	return err
}

func (f *failing) Sign(h pkcs11.SessionHandle, in []byte) ([]byte, error) {
	return or(f, func() ([]byte, error) { return f.fakeModule.Sign(h, in) })
}

// Every call of a module fails once. Each time there is an *Error or a correct
// signature, nothing is left open, and nothing is tried twice.
func TestEveryCallFailsOnce(t *testing.T) {
	for _, code := range []uint{pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_PIN_LOCKED} {
		failures := 0
		for n := 1; ; n++ {
			token := newToken("alice", keys.p256())
			token.objects[1].always = true
			fake := newFake(t, token, nil)
			f := &failing{fakeModule: fake, left: n, err: ckr(code)}
			libs := newLibraries(func(string) (module, error) { return f, nil })
			pin := []byte(fakePIN)
			gave := false
			c, err := libs.openFirst(t.Context(), []string{"/fake.so"}, must(parseURI("")), Options{
				PIN: func(context.Context, PINRequest) ([]byte, error) { gave = true; return pin, nil }})
			if err == nil {
				var sig []byte
				if sig, err = c.Sign(t.Context(), []byte("m")); err == nil {
					checkSignature(t, c.Leaf(), []byte("m"), sig)
				} else if sig != nil {
					t.Errorf("call %d: a signature beside an error", n)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
			if err != nil {
				failures++
				if _, ok := errors.AsType[*Error](err); !ok {
					t.Errorf("call %d: %v", n, err)
				}
			}
			if gave && !bytes.Equal(pin, make([]byte, len(pin))) {
				t.Errorf("call %d: the PIN was not erased", n)
			}
			if token.loggedIn {
				t.Errorf("call %d: still logged in", n)
			}
			if fake.calls.count("Login(1") > 1 || fake.calls.count("Login(2") > 1 || fake.calls.count("Sign(") > 1 {
				t.Errorf("call %d: something was tried twice", n)
			}
			if i, e := fake.calls.count("OpenSession"), fake.calls.count("CloseSession"); i != e {
				t.Errorf("call %d: %d sessions opened, %d closed", n, i, e)
			}
			if f.left > 0 {
				break // all was done in fewer than n calls
			}
		}
		if failures < 50 {
			t.Errorf("only %d calls failed: the test does not reach them", failures)
		}
	}
}
