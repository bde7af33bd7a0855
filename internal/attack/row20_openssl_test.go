package attack

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// opensslTown is a hierarchy made by openssl alone: a root and an authority under it. Our code does
// not judge its own work.
type opensslTown struct {
	t      *testing.T
	dir    string
	serial int64 // of the last certificate
	number int64 // of the last list
}

// opensslRevoked is one entry of a list.
type opensslRevoked struct {
	serial int64
	reason string // as openssl names it: keyCompromise, certificateHold, removeFromCRL
}

// opensslList describes a list. The zero value is a complete list of the authority, current and
// empty.
type opensslList struct {
	ca         string // "ca", or "root"
	key        string // the signer's name, by default ca
	revoked    []opensslRevoked
	base       int64     // of a delta
	point      string    // issuing distribution point
	indirect   bool      // for other authorities too
	unknown    bool      // with an unknown critical extension
	thisUpdate time.Time // by default an hour ago
	nextUpdate time.Time // by default in a day
}

const (
	opensslPoint = "http://crls.example/part1.crl" // the distribution point of every card
	opensslTime  = "20060102150405Z"
)

func newOpensslTown(t *testing.T) *opensslTown {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("%v: sh testdata/deps.sh installs it", err)
	}
	o := &opensslTown{t: t, dir: t.TempDir()}
	o.write("index.txt", "")
	o.write("req.cnf", `[req]
distinguished_name=none
prompt=no
[none]
[root]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
`)
	// The impostor has the authority's name and another key.
	for name, cn := range map[string]string{"root": "Raiz Independente", "impostor": "EC Independente"} {
		o.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name+".key", "-out", name+".pem",
			"-days", "3650", "-config", "req.cnf", "-extensions", "root", "-subj", "/C=PT/O=Independente/CN="+cn)
	}
	o.issue("ca", "root", "EC Independente", time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour), `basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
crlDistributionPoints=URI:http://crls.example/root.crl
`)
	return o
}

// issue makes a key and a certificate, and returns the serial number.
func (o *opensslTown) issue(name, ca, cn string, from, to time.Time, extensions string) int64 {
	o.t.Helper()
	o.serial++
	o.write("serial", fmt.Sprintf("%04X\n", 0x1000+o.serial))
	o.write("ca.cnf", o.config()+"[ext]\n"+extensions)
	o.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name+".key", "-out", "req.csr",
		"-config", "req.cnf", "-subj", "/C=PT/O=Independente/CN="+cn)
	o.openssl("ca", "-batch", "-config", "ca.cnf", "-extensions", "ext", "-notext", "-preserveDN", "-in", "req.csr", "-out", name+".pem",
		"-keyfile", ca+".key", "-cert", ca+".pem", "-startdate", from.UTC().Format(opensslTime), "-enddate", to.UTC().Format(opensslTime))
	return 0x1000 + o.serial
}

// card makes the software card of a person: certificate, chain and key. The
// authority is "ca" or "root".
func (o *opensslTown) card(name, ca string, from, to time.Time) (serial int64) {
	o.t.Helper()
	serial = o.issue(name, ca, "Pessoa "+name, from, to, `basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
crlDistributionPoints=URI:`+opensslPoint+"\n")
	text := o.read(name + ".pem")
	if ca != "root" {
		text += o.read(ca + ".pem")
	}
	if err := os.Mkdir(o.path("card-"+name), 0o700); err != nil {
		o.t.Fatal(err)
	}
	o.write("card-"+name+"/cert.pem", text)
	o.write("card-"+name+"/key.pem", o.read(name+".key"))
	return serial
}

// list makes a list in a file and returns its number.
func (o *opensslTown) list(path string, l opensslList) int64 {
	o.t.Helper()
	if l.ca == "" {
		l.ca = "ca"
	}
	if l.key == "" {
		l.key = l.ca
	}
	if l.thisUpdate.IsZero() {
		l.thisUpdate = time.Now().Add(-time.Hour)
	}
	if l.nextUpdate.IsZero() {
		l.nextUpdate = time.Now().Add(24 * time.Hour)
	}
	var index strings.Builder
	for _, r := range l.revoked {
		at := time.Now().Add(-2 * time.Hour).UTC().Format("060102150405Z")
		fmt.Fprintf(&index, "R\t491231235959Z\t%s,%s\t%04X\tunknown\t/CN=x\n", at, r.reason, r.serial)
	}
	extensions := "authorityKeyIdentifier=keyid\n"
	if l.base != 0 {
		der := big.NewInt(l.base).Bytes()
		extensions += fmt.Sprintf("2.5.29.27=critical,DER:02%02x%s\n", len(der), hex.EncodeToString(der))
	}
	if l.point != "" || l.indirect {
		extensions += "issuingDistributionPoint=critical,@point\n"
	}
	if l.unknown {
		extensions += "1.2.3.4.5=critical,ASN1:NULL\n"
	}
	extensions += "[point]\n"
	if l.point != "" {
		extensions += "fullname=URI:" + l.point + "\n"
	}
	if l.indirect {
		extensions += "indirectCRL=TRUE\n"
	}
	o.number++
	o.write("index.txt", index.String())
	o.write("crlnumber", fmt.Sprintf("%02X\n", o.number))
	o.write("crl.cnf", o.config()+"[ext]\n"+extensions)
	o.openssl("ca", "-gencrl", "-config", "crl.cnf", "-crlexts", "ext", "-out", path, "-keyfile", l.key+".key", "-cert", l.key+".pem",
		"-crl_lastupdate", l.thisUpdate.UTC().Format(opensslTime), "-crl_nextupdate", l.nextUpdate.UTC().Format(opensslTime))
	o.write("index.txt", "")
	return o.number
}

// config is the configuration of openssl ca.
func (o *opensslTown) config() string {
	return fmt.Sprintf(`[ca]
default_ca=this
[this]
database=%[1]s/index.txt
serial=%[1]s/serial
crlnumber=%[1]s/crlnumber
new_certs_dir=%[1]s
default_md=sha256
default_days=30
default_crl_days=30
unique_subject=no
policy=any
[any]
commonName=supplied
countryName=optional
organizationName=optional
`, o.dir)
}

func (o *opensslTown) path(name string) string { return filepath.Join(o.dir, name) }

func (o *opensslTown) write(name, text string) {
	o.t.Helper()
	if err := os.WriteFile(o.path(name), []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o *opensslTown) read(name string) string {
	o.t.Helper()
	data, err := os.ReadFile(o.path(name))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(data)
}

func (o *opensslTown) openssl(args ...string) {
	o.t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = o.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		o.t.Fatalf("openssl %q: %v\n%s", args, err, out)
	}
}
