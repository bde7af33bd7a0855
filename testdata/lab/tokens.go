package lab

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// PIN is the PIN of every lab token. A card's has four to eight digits.
const PIN = "123456"

// soPIN is the security officer's PIN of every lab token.
const soPIN = "87654321"

// Tokens are SoftHSM2 tokens in a directory.
type Tokens struct {
	Module string // libsofthsm2.so
	Conf   string // the value for SOFTHSM2_CONF

	dir string
}

// modules are the usual places of SoftHSM2.
var modules = []string{
	"/usr/lib/softhsm/libsofthsm2.so", // Debian
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so", // Fedora
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// findSoftHSM returns the path of the module, from SOFTHSM2_MODULE or in a usual
// place. It fails without the programs that fill its tokens.
func findSoftHSM() (string, error) {
	for _, program := range []string{"softhsm2-util", "pkcs11-tool"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%w: install softhsm2 and opensc, as testdata/deps.sh does", err)
		}
	}
	if m := os.Getenv("SOFTHSM2_MODULE"); m != "" {
		_, err := os.Stat(m)
		return m, err
	}
	for _, m := range modules {
		if _, err := os.Stat(m); err == nil {
			return m, nil
		}
	}
	return "", fmt.Errorf("libsofthsm2.so is in none of the usual places (%s): install softhsm2 or set SOFTHSM2_MODULE",
		strings.Join(modules, ", "))
}

// NeedSoftHSM fails the test if SoftHSM2 is missing: it replaces a card, which is
// not optional. With CHATSECURE_NO_SOFTHSM=1 the test is skipped instead.
func NeedSoftHSM(t testing.TB) {
	t.Helper()
	_, err := findSoftHSM()
	if err == nil {
		return
	}
	if os.Getenv("CHATSECURE_NO_SOFTHSM") == "1" {
		fmt.Fprintf(os.Stderr, "SKIPPED %s: CHATSECURE_NO_SOFTHSM=1 and %v\n", t.Name(), err)
		t.Skip("no SoftHSM2")
	}
	t.Fatalf("%v (or set CHATSECURE_NO_SOFTHSM=1 to go without)", err)
}

// NewTokens prepares dir for tokens with a softhsm2.conf. A new dir has no tokens
// yet.
func NewTokens(dir string) (*Tokens, error) {
	module, err := findSoftHSM()
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir) // paths in softhsm2.conf must be absolute
	if err != nil {
		return nil, err
	}
	tokens := filepath.Join(dir, tokenDir)
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return nil, err
	}
	conf := "directories.tokendir = " + tokens + "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
	if err := replaceFile(dir, softHSMConf, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	return &Tokens{Module: module, Conf: filepath.Join(dir, softHSMConf), dir: dir}, nil
}

// SoftHSM makes a token for each of the holders (by default all): a softhsm2.conf
// and the tokens in dir, the PIN in dir/NAME. The label is the holder's name; an
// old token of that name is deleted. To use the tokens, set SOFTHSM2_CONF to
// Tokens.Conf.
func (p *PKI) SoftHSM(dir string, holders ...*Holder) (*Tokens, error) {
	if len(holders) == 0 {
		holders = p.Holders()
	}
	t, err := NewTokens(dir)
	if err != nil {
		return nil, err
	}
	for _, h := range holders {
		if err := p.makeToken(t, h); err != nil {
			return nil, fmt.Errorf("token of %s: %w", h.Name, err)
		}
	}
	return t, nil
}

// makeToken makes a token with the objects of a Cartão de Cidadão.
func (p *PKI) makeToken(t *Tokens, h *Holder) error {
	if err := CheckName(h.Name); err != nil {
		return err
	}
	if _, err := os.Stat(t.PINFile(h.Name)); err == nil {
		if err := t.run(nil, "softhsm2-util", "--module", t.Module, "--delete-token", "--token", h.Name); err != nil {
			return err
		}
	}
	signature, err := p.signatureHolder(h)
	if err != nil {
		return err
	}
	objects := []Object{
		{Label: "CITIZEN AUTHENTICATION CERTIFICATE", ID: []byte{0x45}, Cert: h.Leaf.Raw},
		{Label: "CITIZEN SIGNATURE CERTIFICATE", ID: []byte{0x46}, Cert: signature.Leaf.Raw},
		{Label: "CITIZEN AUTHENTICATION KEY", ID: []byte{0x45}, Key: h.Key},
		{Label: "CITIZEN SIGNATURE KEY", ID: []byte{0x46}, Key: signature.Key, Always: true},
	}
	if n := len(h.Chain); n > 0 { // cards since 2024 carry no CA certificates
		objects = append(objects,
			Object{Label: "ROOT CA", ID: []byte{0x50}, Cert: h.Chain[n-1].Raw},
			Object{Label: "SIGNATURE SUB CA", ID: []byte{0x51}, Cert: signature.Chain[0].Raw},
			Object{Label: "AUTHENTICATION SUB CA", ID: []byte{0x52}, Cert: h.Chain[0].Raw})
	}
	if err := t.Make(h.Name, objects...); err != nil {
		return err
	}
	return t.writePIN(h.Name)
}

// signatureHolder makes the second certificate and key of a card, for qualified
// signatures. Programs must not use them.
func (p *PKI) signatureHolder(h *Holder) (*Holder, error) {
	ca, err := p.NewCA(p.CC, DN("C", "PT", "O", "Instituto dos Registos e do Notariado I.P.",
		"OU", "Cartão de Cidadão", "OU", "subECEstado",
		"CN", "EC de Assinatura Digital Qualificada do Cartão de Cidadão 0001"), pathLen(0))
	if err != nil {
		return nil, err
	}
	apart := empty(p.opts) // not one of p's holders
	return apart.Issue(h.Name, By(ca), Window(h.Leaf.NotBefore, h.Leaf.NotAfter),
		WithSubject(DN("C", "PT", "O", "Cartão de Cidadão", "OU", "Cidadão Português", "OU", "Assinatura Qualificada do Cidadão",
			"serialNumber", h.Leaf.Subject.SerialNumber, "CN", h.Leaf.Subject.CommonName)),
		Mutate(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }))
}

// An Object is a certificate, or a private key that never leaves the token.
type Object struct {
	Label  string
	ID     []byte        // CKA_ID
	Cert   []byte        // DER; nil for a key
	Key    crypto.Signer // RSA or ECDSA; nil for a certificate
	Always bool          // the key asks for the PIN at every signature
}

// Make makes a token with these objects. Its label must be new.
func (t *Tokens) Make(label string, objects ...Object) error {
	if err := t.run(nil, "softhsm2-util", "--module", t.Module, "--init-token", "--free", "--label", label,
		"--so-pin", soPIN, "--pin", PIN); err != nil {
		return err
	}
	for _, o := range objects {
		der, args := o.Cert, []string{"--type", "cert"}
		if o.Key != nil {
			var err error
			if der, err = x509.MarshalPKCS8PrivateKey(o.Key); err != nil {
				return err
			}
			args = []string{"--type", "privkey", "--usage-sign", "--login", "--pin", PIN}
		}
		if o.Always {
			args = append(args, "--always-auth")
		}
		args = append(args, "--module", t.Module, "--token-label", label, "--label", o.Label, "--id", hex.EncodeToString(o.ID),
			"--write-object", "/dev/stdin")
		if err := t.run(der, "pkcs11-tool", args...); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program on these tokens.
func (t *Tokens) run(stdin []byte, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), t.Env())
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// Env sets SOFTHSM2_CONF in a child's environment.
func (t *Tokens) Env() string { return "SOFTHSM2_CONF=" + t.Conf }

// PINFile is the path of the PIN of a holder's token.
func (t *Tokens) PINFile(name string) string { return filepath.Join(t.dir, name, pinFile) }

// URI is the PKCS#11 URI (RFC 7512) of a holder's token, with the module and
// without the PIN.
func (t *Tokens) URI(name string) string {
	return "pkcs11:token=" + url.PathEscape(name) + "?module-path=" + (&url.URL{Path: t.Module}).EscapedPath()
}

// writePIN writes one line to dir/NAME/pin.
func (t *Tokens) writePIN(name string) error {
	if err := os.MkdirAll(filepath.Join(t.dir, name), 0o700); err != nil {
		return err
	}
	return replaceFile(t.dir, filepath.Join(name, pinFile), []byte(PIN+"\n"), 0o600)
}
