package lab

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// PIN opens every lab token. A card's has four to eight digits.
const PIN = "123456"

// Tokens is what SoftHSM made.
type Tokens struct {
	Module string // libsofthsm2.so
	Conf   string // what SOFTHSM2_CONF has to name

	dir string
}

// TokenOptions makes cards that differ from the usual one.
type TokenOptions struct {
	WideID             bool // CKA_ID is a native CK_ULONG of 8 bytes, as in the official module; else one byte
	AlwaysAuthenticate bool // the authentication key asks for the PIN at every signature
	NoKey              bool // the certificate's key is not there
	TwinKey            bool // a second key with the authentication key's label and another CKA_ID
}

// modules is where systems put SoftHSM2.
var modules = []string{
	"/usr/lib/softhsm/libsofthsm2.so", // Debian
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so", // Fedora
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// FindSoftHSM returns the path of the module, from SOFTHSM2_MODULE or the
// usual places.
func FindSoftHSM() (string, error) {
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

// NeedSoftHSM fails the test where SoftHSM2 is missing: what stands in for a
// card is not optional. CHATSECURE_NO_SOFTHSM=1 turns that into a skip.
func NeedSoftHSM(t testing.TB) {
	t.Helper()
	_, err := FindSoftHSM()
	if err == nil {
		return
	}
	if os.Getenv("CHATSECURE_NO_SOFTHSM") == "1" {
		fmt.Fprintf(os.Stderr, "SKIPPED %s: CHATSECURE_NO_SOFTHSM=1 and %v\n", t.Name(), err)
		t.Skip("no SoftHSM2")
	}
	t.Fatalf("%v (or set CHATSECURE_NO_SOFTHSM=1 to go without)", err)
}

// Env is SOFTHSM2_CONF for a child's environment.
func (t *Tokens) Env() string { return "SOFTHSM2_CONF=" + t.Conf }

// PINFile is where the PIN of a holder's token stands.
func (t *Tokens) PINFile(name string) string { return filepath.Join(t.dir, name, pinFile) }

// URI names a holder's token as RFC 7512 does, with the module and without
// the PIN.
func (t *Tokens) URI(name string) string {
	return "pkcs11:token=" + url.PathEscape(name) + "?module-path=" + (&url.URL{Path: t.Module}).EscapedPath()
}

// writePIN writes dir/NAME/pin, one line.
func (t *Tokens) writePIN(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(t.dir, name), 0o700); err != nil {
		return err
	}
	return replaceFile(t.dir, filepath.Join(name, pinFile), []byte(PIN+"\n"), 0o600)
}
