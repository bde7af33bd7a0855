package lab

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Names inside a lab's directory. The files of a holder are in a directory of the
// holder's name, so that no holder has one of these.
const (
	bundleFile       = "ca-bundle.pem"     // the root alone, for -ca-bundle
	intermediateFile = "intermediates.pem" // the CAs below it
	caDir            = "ca"                // FILE.pem, FILE.key.pem and last FILE.crl of each CA
	aiaDir           = "aia"               // FILE.crt, DER, named by AIA
	crlDir           = "crl"               // FILE.crl, DER, for -crl
	tokenDir         = "tokens"            // of SoftHSM2
	softHSMConf      = "softhsm2.conf"
	certFile         = "cert.pem" // leaf first, then the chain without the root
	keyFile          = "key.pem"  // PKCS#8
	pinFile          = "pin"
	stateDir         = "state" // of pki: state directories
	relayName        = "relay" // of pki: the relay's among them
	relayScript      = "relay.sh"
)

// reserved are the lab's own names in its directory.
var reserved = []string{bundleFile, intermediateFile, caDir, aiaDir, crlDir, tokenDir, stateDir, relayName, relayScript, softHSMConf}

// Write puts the lab into dir and makes dir if needed: the bundle, CAs, CRLs and a
// software card for every holder (the last card issued to a name). Each file is
// replaced at once, so that programs may read the directory meanwhile.
func (p *PKI) Write(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, caDir), filepath.Join(dir, aiaDir), filepath.Join(dir, crlDir)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := replaceFile(dir, bundleFile, pemCerts(p.Root.Cert), 0o644); err != nil {
		return err
	}
	if err := replaceFile(dir, intermediateFile, pemCerts(p.Auth.Cert, p.CC.Cert), 0o644); err != nil {
		return err
	}
	for _, ca := range p.CAs() {
		if err := ca.write(dir); err != nil {
			return err
		}
	}
	if err := p.WriteCRLs(dir); err != nil {
		return err
	}
	for _, h := range p.Holders() {
		if err := CheckName(h.Name); err != nil {
			return err
		}
		if err := h.WriteCard(filepath.Join(dir, h.Name)); err != nil {
			return err
		}
	}
	return nil
}

// CheckName refuses names that cannot be a holder's directory in a lab.
func CheckName(name string) error {
	if !filepath.IsLocal(name) || filepath.Base(name) != name || name[0] == '.' || slices.Contains(reserved, name) {
		return fmt.Errorf("%q cannot be the name of a card's directory in the lab", name)
	}
	return nil
}

// WriteCRLs writes new complete lists of all CAs to dir/crl.
func (p *PKI) WriteCRLs(dir string) error {
	lists, err := p.CRLs()
	if err != nil {
		return err
	}
	for name, der := range lists {
		// The copy in ca/ is for Load: tests may change those in crl/.
		for _, d := range []string{caDir, crlDir} {
			if err := replaceFile(dir, filepath.Join(d, name+".crl"), der, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// write puts a CA's certificate and key into ca/ for Load, and its certificate
// into aia/.
func (ca *CA) write(dir string) error {
	key, err := pemKey(ca.Key)
	if err != nil {
		return err
	}
	if err := replaceFile(dir, filepath.Join(caDir, ca.File+".key.pem"), key, 0o600); err != nil {
		return err
	}
	if err := replaceFile(dir, filepath.Join(caDir, ca.File+".pem"), pemCerts(ca.Cert), 0o644); err != nil {
		return err
	}
	return replaceFile(dir, filepath.Join(aiaDir, ca.File+".crt"), ca.Cert.Raw, 0o644)
}

// WriteCard writes the software card of h to dir: cert.pem and key.pem (0600).
func (h *Holder) WriteCard(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := pemKey(h.Key)
	if err != nil {
		return err
	}
	if err := replaceFile(dir, keyFile, key, 0o600); err != nil {
		return err
	}
	return replaceFile(dir, certFile, pemCerts(append([]*x509.Certificate{h.Leaf}, h.Chain...)...), 0o644)
}

// replaceFile writes dir/name completely or not at all. The temporary file is in
// dir and not beside the target: a relay that reads crl/ never finds half a list.
func replaceFile(dir, name string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(dir, ".lab-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no effect after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

// pemCerts encodes certificates in PEM.
func pemCerts(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

// pemKey encodes a private key as PKCS#8 in PEM.
func pemKey(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Listing returns the names in a directory, separated by spaces.
func Listing(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
