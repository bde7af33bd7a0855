// Package people is somebody in a test: a card of a lab, a key K, the
// delegation between the two, and a verifier that believes them. It knows
// crypto/trust and proto, and neither a relay, nor a client, nor a handshake.
package people

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// Now is the time of the shared lab, and of the tests that need no other.
var Now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// at is the clock of a lab or of a verifier that stands still.
func at(now time.Time) func() time.Time { return func() time.Time { return now } }

var shared = sync.OnceValues(func() (*lab.PKI, error) {
	return lab.New(lab.Options{CAKey: lab.P256, Now: at(Now)})
})

// Lab is one lab for every test that only adds holders to it.
func Lab(t testing.TB) *lab.PKI {
	t.Helper()
	p, err := shared()
	must(t, err)
	return p
}

// Card issues a card of the shared lab.
func Card(t testing.TB, name string, opts ...lab.IssueOption) *lab.Holder {
	t.Helper()
	h, err := Lab(t).Issue(name, opts...)
	must(t, err)
	return h
}

// Key makes a new key of this kind.
func Key(t testing.TB, kind string) *trust.Key {
	t.Helper()
	k, err := trust.GenerateKey(kind)
	must(t, err)
	return k
}

var sharedKey = sync.OnceValues(func() (*trust.Key, error) { return trust.GenerateKey(trust.KeyEd25519) })

// AnyKey is one K for the tests that do not care which.
func AnyKey(t testing.TB) *trust.Key {
	t.Helper()
	k, err := sharedKey()
	must(t, err)
	return k
}

// Bundle is a delegation by a holder's card, for key and name, of 8 hours
// around Now.
func Bundle(t testing.TB, h *lab.Holder, name string, key *trust.Key) *trust.Bundle {
	t.Helper()
	return Delegate(t, h, name, key, Now.Add(-time.Hour), Now.Add(7*time.Hour))
}

// Delegate has a holder's card sign that key acts for it under name from begin
// to end. It names a mailbox, which ends with it.
func Delegate(t testing.TB, h *lab.Holder, name string, key *trust.Key, begin, end time.Time) *trust.Bundle {
	t.Helper()
	b := &trust.Bundle{
		Name: name, PublicKey: key.Public().SPKI(), NotBefore: begin.Unix(), NotAfter: end.Unix(),
		Mailbox: bytes.Repeat([]byte{0xb0}, 32), MailboxEnd: end.Unix(),
		X509: h.Leaf.Raw, Chain: h.ChainDER(),
	}
	var err error
	b.Signature, err = h.Sign(b.DelegationMessage())
	must(t, err)
	return b
}

// NameMailbox has the card sign the delegation again, with this mailbox.
func NameMailbox(t testing.TB, h *lab.Holder, b *trust.Bundle, mailbox [32]byte, end time.Time) {
	t.Helper()
	b.Mailbox, b.MailboxEnd = mailbox[:], end.Unix()
	var err error
	b.Signature, err = h.Sign(b.DelegationMessage())
	must(t, err)
}

// Trust is the roots of a lab, and nobody else.
func Trust(t testing.TB, p *lab.PKI) *trust.Store {
	t.Helper()
	s, err := trust.NewStore(nil, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Root.Cert.Raw}))
	must(t, err)
	return s
}

// Verifier believes the shared lab at a time, and asks for no revocation list.
func Verifier(t testing.TB, now time.Time) *trust.Verifier {
	t.Helper()
	return trust.NewVerifier(trust.VerifierConfig{Trust: Trust(t, Lab(t)), Policy: trust.PolicyOff, Now: at(now)})
}

// SPKI is a public key of the standard library in DER.
func SPKI(t testing.TB, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	return der
}

// WantCode fails unless trust refused with this code.
func WantCode(t testing.TB, err error, code proto.Code) {
	t.Helper()
	if refused, ok := errors.AsType[*trust.Error](err); !ok || refused.Code != code {
		t.Errorf("error is %v, want a *trust.Error with the code %s", err, code)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
