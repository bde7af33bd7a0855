//go:build cgo

package lab

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"
)

// withTokens makes tokens, opens the module as a program would, and hands
// over a session that is logged in on each holder's token.
func withTokens(t *testing.T, p *PKI, opts TokenOptions, use func(h *Holder, ctx *pkcs11.Ctx, s pkcs11.SessionHandle)) {
	t.Helper()
	NeedSoftHSM(t)
	tokens, err := p.SoftHSMWith(t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", tokens.Conf)
	ctx := pkcs11.New(tokens.Module)
	defer ctx.Destroy()
	if err := ctx.Initialize(); err != nil {
		t.Fatal(err)
	}
	defer ctx.Finalize()
	for _, h := range p.Holders() {
		slot, err := findSlot(ctx, h.Name, false)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			t.Fatal(err)
		}
		pin, err := os.ReadFile(tokens.PINFile(h.Name))
		if err != nil {
			t.Fatal(err)
		}
		if err := ctx.Login(s, pkcs11.CKU_USER, strings.TrimSpace(string(pin))); err != nil {
			t.Fatal(err)
		}
		use(h, ctx, s)
		ctx.CloseSession(s)
	}
}

// find returns the objects that have these attributes.
func find(t *testing.T, ctx *pkcs11.Ctx, s pkcs11.SessionHandle, class uint, label string) []pkcs11.ObjectHandle {
	t.Helper()
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}
	if err := ctx.FindObjectsInit(s, template); err != nil {
		t.Fatal(err)
	}
	found, _, err := ctx.FindObjects(s, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := ctx.FindObjectsFinal(s); err != nil {
		t.Fatal(err)
	}
	return found
}

// attribute reads one attribute.
func attribute(t *testing.T, ctx *pkcs11.Ctx, s pkcs11.SessionHandle, o pkcs11.ObjectHandle, kind uint) []byte {
	t.Helper()
	a, err := ctx.GetAttributeValue(s, o, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil {
		t.Fatal(err)
	}
	return a[0].Value
}

func TestTokenHoldsTheCardAndSigns(t *testing.T) {
	p := newLab(t, Options{})
	issue(t, p, "alice", RSA2048)
	issue(t, p, "bruno", P256, NoCA)
	issue(t, p, "carla", P384)
	withTokens(t, p, TokenOptions{}, func(h *Holder, ctx *pkcs11.Ctx, s pkcs11.SessionHandle) {
		certs := map[string][]byte{authCertLabel: h.Leaf.Raw}
		if h.Name != "bruno" {
			certs[authSubCALabel], certs[rootCALabel] = p.Auth.Cert.Raw, p.CC.Cert.Raw
		} else if n := len(find(t, ctx, s, pkcs11.CKO_CERTIFICATE, rootCALabel)); n != 0 {
			t.Errorf("%s: %d root CA on a card without", h.Name, n)
		}
		for label, raw := range certs {
			found := find(t, ctx, s, pkcs11.CKO_CERTIFICATE, label)
			if len(found) != 1 || !bytes.Equal(attribute(t, ctx, s, found[0], pkcs11.CKA_VALUE), raw) {
				t.Errorf("%s: %d objects %q, want one with the lab's certificate", h.Name, len(found), label)
			}
		}
		keys := find(t, ctx, s, pkcs11.CKO_PRIVATE_KEY, authKeyLabel)
		if len(keys) != 1 || !bytes.Equal(attribute(t, ctx, s, keys[0], pkcs11.CKA_ID), []byte{0x45}) {
			t.Fatalf("%s: %d authentication keys, want one with CKA_ID 45", h.Name, len(keys))
		}
		checkSignature(t, h, ctx, s, keys[0])
	})
}

// checkSignature has the token sign and verifies with the certificate.
func checkSignature(t *testing.T, h *Holder, ctx *pkcs11.Ctx, s pkcs11.SessionHandle, key pkcs11.ObjectHandle) {
	t.Helper()
	data := []byte("something to sign")
	switch pub := h.Leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		sig := tokenSign(t, ctx, s, key, pkcs11.CKM_SHA256_RSA_PKCS, data)
		digest := sha256.Sum256(data)
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig); err != nil {
			t.Errorf("%s: %v", h.Name, err)
		}
	case *ecdsa.PublicKey:
		d := sha256.Sum256(data)
		digest := d[:]
		if pub.Curve == elliptic.P384() {
			d := sha512.Sum384(data)
			digest = d[:]
		}
		sig := tokenSign(t, ctx, s, key, pkcs11.CKM_ECDSA, digest)
		half := len(sig) / 2
		if !ecdsa.Verify(pub, digest, new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:])) {
			t.Errorf("%s: the token's signature does not verify", h.Name)
		}
	default:
		t.Fatalf("%s: unexpected key %T", h.Name, pub)
	}
}

func tokenSign(t *testing.T, ctx *pkcs11.Ctx, s pkcs11.SessionHandle, key pkcs11.ObjectHandle, mechanism uint, data []byte) []byte {
	t.Helper()
	if err := ctx.SignInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, key); err != nil {
		t.Fatal(err)
	}
	sig, err := ctx.Sign(s, data)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestOddTokens(t *testing.T) {
	p := newLab(t, Options{})
	issue(t, p, "alice")
	for _, c := range []struct {
		opts TokenOptions
		keys int
		id   int // bytes in the certificate's CKA_ID
	}{
		{TokenOptions{NoKey: true}, 0, 1},
		{TokenOptions{TwinKey: true}, 2, 1},
		{TokenOptions{WideID: true}, 1, 8},
	} {
		withTokens(t, p, c.opts, func(h *Holder, ctx *pkcs11.Ctx, s pkcs11.SessionHandle) {
			if n := len(find(t, ctx, s, pkcs11.CKO_PRIVATE_KEY, authKeyLabel)); n != c.keys {
				t.Errorf("%+v: %d authentication keys, want %d", c.opts, n, c.keys)
			}
			cert := find(t, ctx, s, pkcs11.CKO_CERTIFICATE, authCertLabel)
			if len(cert) != 1 || len(attribute(t, ctx, s, cert[0], pkcs11.CKA_ID)) != c.id {
				t.Errorf("%+v: the certificate's CKA_ID has not %d bytes", c.opts, c.id)
			}
		})
	}
}

func TestAlwaysAuthenticateAsksAgain(t *testing.T) {
	p := newLab(t, Options{})
	issue(t, p, "alice")
	withTokens(t, p, TokenOptions{AlwaysAuthenticate: true}, func(h *Holder, ctx *pkcs11.Ctx, s pkcs11.SessionHandle) {
		key := find(t, ctx, s, pkcs11.CKO_PRIVATE_KEY, authKeyLabel)[0]
		digest := sha256.Sum256([]byte("x"))
		mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}
		if err := ctx.SignInit(s, mechanism, key); err != nil {
			t.Fatal(err)
		}
		if _, err := ctx.Sign(s, digest[:]); err == nil {
			t.Error("it signed without asking again")
		}
		if err := ctx.SignInit(s, mechanism, key); err != nil {
			t.Fatal(err)
		}
		if err := ctx.Login(s, pkcs11.CKU_CONTEXT_SPECIFIC, PIN); err != nil {
			t.Fatal(err)
		}
		if _, err := ctx.Sign(s, digest[:]); err != nil {
			t.Errorf("after the PIN: %v", err)
		}
	})
}

func TestTokenMadeAnewHasTheNewCard(t *testing.T) {
	NeedSoftHSM(t)
	p := newLab(t, Options{})
	dir := t.TempDir()
	old := issue(t, p, "alice")
	if _, err := p.SoftHSM(dir, old); err != nil {
		t.Fatal(err)
	}
	renewed := issue(t, p, "alice", RenewalOf(old))
	tokens, err := p.SoftHSM(dir, renewed)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", tokens.Conf)
	ctx := pkcs11.New(tokens.Module)
	defer ctx.Destroy()
	if err := ctx.Initialize(); err != nil {
		t.Fatal(err)
	}
	defer ctx.Finalize()

	// While it is in use here, no lab may touch it.
	if _, err := p.SoftHSM(t.TempDir(), old); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("tokens made while the module is in use: %v", err)
	}
	slot, err := findSlot(ctx, "alice", false)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	certs := find(t, ctx, s, pkcs11.CKO_CERTIFICATE, authCertLabel)
	if len(certs) != 1 {
		t.Fatalf("%d authentication certificates", len(certs))
	}
	leaf, err := x509.ParseCertificate(attribute(t, ctx, s, certs[0], pkcs11.CKA_VALUE))
	if err != nil || !leaf.Equal(renewed.Leaf) {
		t.Errorf("the token has not the renewed certificate (%v)", err)
	}
}
