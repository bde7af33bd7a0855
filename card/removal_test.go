//go:build cgo

package card

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/miekg/pkcs11"
)

func TestCardTakenOut(t *testing.T) {
	m := newFake(t, newToken("alice", keys.p256()))
	c := mustOpen(t, m, "", Options{})
	m.set(func() { m.slots[0].token = nil })
	_, err := c.Sign(t.Context(), nil)
	wantKind(t, err, CardRemoved)
	if !errors.Is(err, ckr(pkcs11.CKR_TOKEN_NOT_PRESENT)) {
		t.Errorf("behind it is %v", errors.Unwrap(err))
	}
	if m.calls.count("Login") != 0 {
		t.Error("a PIN was given")
	}
}

func TestCardPutBack(t *testing.T) {
	token := newToken("alice", keys.p256())
	m := newFake(t, token, nil)
	c := mustOpen(t, m, "", Options{})
	m.set(func() { m.slots[0].token = nil })
	_, err := c.Sign(t.Context(), nil)
	wantKind(t, err, CardRemoved)
	for slot := range 2 { // into the same reader, then into the other
		m.set(func() { m.slots[0].token, m.slots[1].token = nil, nil; m.slots[slot].token = token })
		if sig, err := c.Sign(t.Context(), []byte("m")); err != nil {
			t.Errorf("in slot %d: %v", slot, err)
		} else {
			checkSignature(t, c.Leaf(), []byte("m"), sig)
		}
	}
}

// The card is pulled at every step of a signature. Whatever the module answers,
// the error is that the card was taken out.
func TestRow21TakenOutWhileSigning(t *testing.T) {
	for _, answer := range []error{nil, ckr(pkcs11.CKR_DEVICE_REMOVED), ckr(pkcs11.CKR_GENERAL_ERROR),
		ckr(pkcs11.CKR_OBJECT_HANDLE_INVALID), ckr(pkcs11.CKR_PIN_LOCKED), ckr(pkcs11.CKR_FUNCTION_CANCELED)} {
		for _, where := range []string{"pin", "login", "signinit", "sign"} {
			token := newToken("alice", keys.p256())
			m := newFake(t, token)
			pull := func() error { m.set(func() { m.slots[0].token = nil }); return answer }
			opt := Options{PIN: givePIN(fakePIN)}
			switch where {
			case "pin":
				opt.PIN = func(context.Context, PINRequest) ([]byte, error) { pull(); return []byte(fakePIN), nil }
			case "login":
				token.onLogin = pull
			case "signinit": // between the login and the signature
				token.onSignInit = pull
			case "sign":
				token.onSign = pull
			}
			_, err := mustOpen(t, m, "", opt).Sign(t.Context(), nil)
			if e := wantKind(t, err, CardRemoved); e.Hint == "" {
				t.Errorf("at %s, %v: no hint", where, answer)
			}
		}
	}
}

// Another card is put in while the PIN is typed: it never gets that PIN.
func TestRow21AnotherCardPutIn(t *testing.T) {
	alice := newToken("alice", keys.p256())
	bob := newToken("bob", keys.p384())
	sameSerial := newToken("alice", keys.p256b()) // a clone with another certificate
	renewed := newToken("alice", keys.p256())     // the same key under a new certificate
	for name, other := range map[string]*fakeToken{"bob's": bob, "one with the same serial": sameSerial, "a renewed one": renewed} {
		m := newFake(t, alice)
		pin := []byte(fakePIN)
		c := mustOpen(t, m, "", Options{PIN: func(context.Context, PINRequest) ([]byte, error) {
			m.set(func() { m.slots[0].token = other })
			return pin, nil
		}})
		_, err := c.Sign(t.Context(), nil)
		wantKind(t, err, CardChanged)
		if m.calls.count("Login")+m.calls.count("Sign") != 0 {
			t.Errorf("%s: it was given the PIN", name)
		}
		if !bytes.Equal(pin, make([]byte, len(pin))) {
			t.Errorf("%s: the PIN was not erased", name)
		}
		// No PIN is asked for while another card is in.
		_, err = c.Sign(t.Context(), nil)
		wantKind(t, err, CardChanged)
	}
}

// Another card in the first reader does not hide the first card in the second.
func TestCardMovedAndReplaced(t *testing.T) {
	alice, bob := newToken("alice", keys.p256()), newToken("bob", keys.p384())
	m := newFake(t, alice, nil)
	c := mustOpen(t, m, "", Options{})
	m.set(func() { m.slots[0].token, m.slots[1].token = bob, alice })
	if _, err := c.Sign(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// The card is swapped within C_Sign: the wrong signature is not blamed on the
// PIN.
func TestCardSwappedWhileSigning(t *testing.T) {
	alice, bob := newToken("alice", keys.p256()), newToken("bob", keys.p384())
	m := newFake(t, alice)
	alice.onSign = func() error { m.set(func() { m.slots[0].token = bob }); return nil }
	_, err := mustOpen(t, m, "", Options{}).Sign(t.Context(), nil)
	wantKind(t, err, CardChanged)
}
