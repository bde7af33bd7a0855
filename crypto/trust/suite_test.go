package trust_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// The makers of suite_cases_test.go: certificates and lists in DER by hand, with every
// fault that a library would not make.

// suiteNow is the time of the suite.
var suiteNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// suiteKeys are keys that all cases share, each for one authority or person of a case.
var suiteKeys = sync.OnceValue(func() (keys [12]*ecdsa.PrivateKey) {
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// pkiCase is the files of one case.
type pkiCase struct {
	t      *testing.T
	keys   int // of suiteKeys, used
	serial int
	root   *holding
	roots  [][]byte // trust anchors
	chain  [][]byte // other authorities
	lists  [][]byte
	leaf   []byte
}

// holding is a certificate with its key.
type holding struct {
	name   []byte // Name
	key    *ecdsa.PrivateKey
	serial []byte
	der    []byte
}

// draft is a certificate or a list before it is signed.
type draft struct {
	version    []byte
	serial     []byte // body of an INTEGER
	algorithm  []byte // the inner one
	outer      []byte
	issuer     []byte
	from, till []byte // Time
	subject    []byte
	key        *ecdsa.PrivateKey // the subject's
	signer     *ecdsa.PrivateKey
	hash       crypto.Hash
	spoilt     bool // its signature
	extensions []suiteExtension
	entries    [][]byte // of a list
}

type suiteExtension struct {
	oid   []byte // OBJECT IDENTIFIER
	value []byte // the whole Extension
}

type edit func(*draft)

// The tags of DER (X.690).
const (
	derBoolean         = 0x01
	derInteger         = 0x02
	derBitString       = 0x03
	derOctetString     = 0x04
	derOID             = 0x06
	derEnumerated      = 0x0a
	derUTF8String      = 0x0c
	derPrintableString = 0x13
	derTeletexString   = 0x14
	derIA5String       = 0x16
	derUTCTime         = 0x17
	derGeneralizedTime = 0x18
	derBMPString       = 0x1e
	derSequence        = 0x30
	derSet             = 0x31
)

func derContext(n byte, constructed bool) byte {
	if constructed {
		return 0xa0 | n
	}
	return 0x80 | n
}

func der(tag byte, parts ...[]byte) []byte {
	b, err := asn1.Marshal(asn1.RawValue{
		Class: int(tag >> 6), IsCompound: tag&0x20 != 0, Tag: int(tag & 0x1f), Bytes: slices.Concat(parts...)})
	if err != nil {
		panic(err)
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	ecdsaSHA256 = der(derSequence, der(derOID, []byte("\x2a\x86\x48\xce\x3d\x04\x03\x02")))
	ecdsaSHA1   = der(derSequence, der(derOID, []byte("\x2a\x86\x48\xce\x3d\x04\x01")))
)

func ceOID(id byte) []byte { return der(derOID, []byte{0x55, 0x1d, id}) }

// extOID sets an extension.
func extOID(oid []byte, critical bool, value []byte) edit {
	return func(d *draft) {
		d.extensions = slices.DeleteFunc(d.extensions, func(e suiteExtension) bool { return bytes.Equal(e.oid, oid) })
		var flag []byte
		if critical {
			flag = der(derBoolean, []byte{0xff})
		}
		d.extensions = append(d.extensions, suiteExtension{oid, der(derSequence, oid, flag, der(derOctetString, value))})
	}
}

func ext(id byte, critical bool, value []byte) edit { return extOID(ceOID(id), critical, value) }

// without takes an extension away.
func without(id byte) edit {
	return func(d *draft) {
		d.extensions = slices.DeleteFunc(d.extensions, func(e suiteExtension) bool { return bytes.Equal(e.oid, ceOID(id)) })
	}
}

func suiteTime(t time.Time) []byte {
	if t.Year() < 2050 {
		return der(derUTCTime, []byte(t.UTC().Format("060102150405Z")))
	}
	return der(derGeneralizedTime, []byte(t.UTC().Format("20060102150405Z")))
}

func from(t time.Time) edit { return func(d *draft) { d.from = suiteTime(t) } }
func till(t time.Time) edit { return func(d *draft) { d.till = suiteTime(t) } }

func serialNumber(body ...byte) edit   { return func(d *draft) { d.serial = body } }
func spoilt(d *draft)                  { d.spoilt = true }
func issuer(name []byte) edit          { return func(d *draft) { d.issuer = name } }
func signedBy(h *holding) edit         { return func(d *draft) { d.signer = h.key } }
func version1(d *draft)                { d.version, d.extensions = nil, nil }
func raw(field func(d *draft)) edit    { return field }
func small(n int) []byte               { return der(derInteger, []byte{byte(n)}) }
func implicit(n byte, v []byte) []byte { return der(derContext(n, false), v) }
func explicit(n byte, v ...[]byte) []byte {
	return der(derContext(n, true), v...)
}

// dn is a Name: C=PT, O=Suite and this CN, in strings of these types.
func dn(cn string) []byte { return dnOf(derPrintableString, cn) }

func dnOf(tag byte, cn string) []byte {
	return der(derSequence, rdn(6, derPrintableString, "PT"), rdn(10, tag, "Suite"), rdn(3, tag, cn))
}

// rdn is one attribute under id-at.
func rdn(id, tag byte, text string) []byte {
	return der(derSet, der(derSequence, der(derOID, []byte{0x55, 4, id}), der(tag, []byte(text))))
}

func keyID(key *ecdsa.PrivateKey) []byte {
	public, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(public)
	return sum[:20]
}

// newSuite has a root that is trusted.
func newSuite(t *testing.T, edits ...edit) *pkiCase {
	s := &pkiCase{t: t}
	s.root = s.newRoot("Root", edits...)
	return s
}

func (s *pkiCase) newKey() *ecdsa.PrivateKey {
	s.keys++
	return suiteKeys()[s.keys-1]
}

// newRoot makes a root and trusts it.
func (s *pkiCase) newRoot(name string, edits ...edit) *holding {
	h := s.make(nil, dn(name), append([]edit{basic(true, -1), usage(5, 6)}, edits...)...)
	s.roots = append(s.roots, h.der)
	return h
}

// ca makes an authority under by.
func (s *pkiCase) ca(by *holding, name string, edits ...edit) *holding {
	return s.caNamed(by, dn(name), edits...)
}

func (s *pkiCase) caNamed(by *holding, name []byte, edits ...edit) *holding {
	h := s.make(by, name, append([]edit{basic(true, -1), usage(5, 6)}, edits...)...)
	s.chain = append(s.chain, h.der)
	return h
}

// ee makes the certificate that the case is about.
func (s *pkiCase) ee(by *holding, edits ...edit) *holding {
	return s.eeNamed(by, dn("Person"), edits...)
}

func (s *pkiCase) eeNamed(by *holding, name []byte, edits ...edit) *holding {
	h := s.make(by, name, append([]edit{usage(0)}, edits...)...)
	s.leaf = h.der
	return h
}

// make signs a certificate.
func (s *pkiCase) make(by *holding, name []byte, edits ...edit) *holding {
	s.serial++
	d := &draft{
		version: explicit(0, small(2)), serial: []byte{byte(s.serial)}, algorithm: ecdsaSHA256, outer: ecdsaSHA256, hash: crypto.SHA256,
		from: suiteTime(suiteNow.AddDate(-1, 0, 0)), till: suiteTime(suiteNow.AddDate(1, 0, 0)), subject: name, key: s.newKey(),
	}
	own := by == nil
	if own {
		by = &holding{name: name, key: d.key}
	}
	d.issuer, d.signer = by.name, by.key
	for _, e := range edits { // the keys, of which others are made
		e(d)
	}
	if own && d.key != by.key {
		d.signer = d.key
	}
	ids := []edit{ext(14, false, der(derOctetString, keyID(d.key))), ext(35, false, der(derSequence, implicit(0, keyID(d.signer))))}
	d.extensions = nil
	for _, e := range append(ids, edits...) {
		e(d)
	}
	spki, err := x509.MarshalPKIXPublicKey(d.key.Public())
	must(s.t, err)
	var extensions []byte
	if len(d.extensions) > 0 {
		extensions = explicit(3, der(derSequence, d.extensionBytes()...))
	}
	signed := der(derSequence, d.version, der(derInteger, d.serial), d.algorithm, d.issuer, der(derSequence, d.from, d.till), d.subject, spki, extensions)
	return &holding{name: d.subject, key: d.key, serial: d.serial, der: d.sign(s.t, signed)}
}

func (d *draft) extensionBytes() (all [][]byte) {
	for _, e := range d.extensions {
		all = append(all, e.value)
	}
	return all
}

func (d *draft) sign(t *testing.T, signed []byte) []byte {
	signature, err := crypto.SignMessage(d.signer, rand.Reader, signed, d.hash)
	must(t, err)
	if d.spoilt {
		signature[len(signature)-1] ^= 1
	}
	return der(derSequence, signed, d.outer, der(derBitString, append([]byte{0}, signature...)))
}

// list makes a list of by's.
func (s *pkiCase) list(by *holding, edits ...edit) {
	d := &draft{
		version: small(1), algorithm: ecdsaSHA256, outer: ecdsaSHA256, hash: crypto.SHA256, issuer: by.name, signer: by.key,
		from: suiteTime(suiteNow.Add(-time.Hour)), till: suiteTime(suiteNow.AddDate(0, 1, 0)),
	}
	numbered(1)(d)
	for _, e := range edits {
		e(d)
	}
	if len(d.extensions) > 0 || d.version != nil {
		ext(35, false, der(derSequence, implicit(0, keyID(d.signer))))(d)
	}
	var entries, extensions []byte
	if len(d.entries) > 0 {
		entries = der(derSequence, d.entries...)
	}
	if len(d.extensions) > 0 {
		extensions = explicit(0, der(derSequence, d.extensionBytes()...))
	}
	s.lists = append(s.lists, d.sign(s.t, der(derSequence, d.version, d.algorithm, d.issuer, d.from, d.till, entries, extensions)))
}

// The parts of lists.

func numbered(n int) edit { return ext(20, false, small(n)) }

// delta makes a list a delta: number n, on the base of that number.
func delta(n, base int) edit {
	return func(d *draft) { numbered(n)(d); ext(27, true, small(base))(d) }
}

// revoked puts a certificate on a list, for a reason, or none if it is negative.
func revoked(h *holding, reason int, extensions ...[]byte) edit {
	if reason >= 0 {
		extensions = append(extensions, der(derSequence, ceOID(21), der(derOctetString, der(derEnumerated, []byte{byte(reason)}))))
	}
	entry := [][]byte{der(derInteger, h.serial), suiteTime(suiteNow.Add(-2 * time.Hour))}
	if len(extensions) > 0 {
		entry = append(entry, der(derSequence, extensions...))
	}
	return func(d *draft) { d.entries = append(d.entries, der(derSequence, entry...)) }
}

// The parts of certificates.

func basic(isCA bool, pathLen int) edit {
	var body [][]byte
	if isCA {
		body = append(body, der(derBoolean, []byte{0xff}))
	}
	if pathLen >= 0 {
		body = append(body, small(pathLen))
	}
	return ext(19, true, der(derSequence, body...))
}

// bitString has these bits of at most 16.
func bitString(bits ...int) []byte {
	var b [2]byte
	last := -1
	for _, bit := range bits {
		b[bit/8] |= 0x80 >> (bit % 8)
		last = max(last, bit)
	}
	if last < 0 {
		return der(derBitString, []byte{0})
	}
	return der(derBitString, []byte{byte(7 - last%8)}, b[:last/8+1])
}

func usage(bits ...int) edit { return ext(15, true, bitString(bits...)) }

// The certificate policies of the suite.
var (
	anyPolicyOID = der(derOID, []byte("\x55\x1d\x20\x00"))
	policy1      = der(derOID, []byte("\x2b\x06\x01\x04\x01\x86\x8d\x1f\x01"))
	policy2      = der(derOID, []byte("\x2b\x06\x01\x04\x01\x86\x8d\x1f\x02"))
)

func hasPolicies(oids ...[]byte) edit {
	var infos [][]byte
	for _, oid := range oids {
		infos = append(infos, der(derSequence, oid))
	}
	return ext(32, false, der(derSequence, infos...))
}

func maps(from, to []byte) edit {
	return ext(33, true, der(derSequence, der(derSequence, from, to)))
}

// constrains sets PolicyConstraints; a negative number is left out.
func constrains(explicitPolicy, inhibitMapping int) edit {
	var body [][]byte
	for i, n := range []int{explicitPolicy, inhibitMapping} {
		if n >= 0 {
			body = append(body, implicit(byte(i), []byte{byte(n)}))
		}
	}
	return ext(36, true, der(derSequence, body...))
}

func inhibitsAny(n int) edit { return ext(54, true, small(n)) }

// GeneralNames.
func gnMail(s string) []byte     { return implicit(1, []byte(s)) }
func gnDNS(s string) []byte      { return implicit(2, []byte(s)) }
func gnDir(name []byte) []byte   { return explicit(4, name) }
func gnURI(s string) []byte      { return implicit(6, []byte(s)) }
func gnIP(b ...byte) []byte      { return implicit(7, b) }
func alsoNamed(n ...[]byte) edit { return ext(17, false, der(derSequence, n...)) }

// vouchesFor sets NameConstraints with one permitted and one excluded subtree, of which one
// may be nil.
func vouchesFor(permitted, excluded []byte) edit {
	var body [][]byte
	for i, base := range [][]byte{permitted, excluded} {
		if base != nil {
			body = append(body, explicit(byte(i), der(derSequence, base)))
		}
	}
	return ext(30, true, der(derSequence, body...))
}

// place is a DistributionPoint of these names.
func place(names ...[]byte) []byte { return explicit(0, explicit(0, names...)) }

func placeRelative(id, tag byte, text string) []byte {
	return explicit(0, explicit(1, rdn(id, tag, text)[2:]))
}

func someReasons(n byte, bits ...int) []byte {
	return implicit(n, bitString(bits...)[2:])
}

// points sets CRLDistributionPoints, each of the parts given.
func points(each ...[]byte) edit {
	var all [][]byte
	for _, p := range each {
		all = append(all, der(derSequence, p))
	}
	return ext(31, false, der(derSequence, all...))
}

// covers sets IssuingDistributionPoint.
func covers(parts ...[]byte) edit { return ext(28, true, der(derSequence, parts...)) }

func flag(n byte) []byte { return implicit(n, []byte{0xff}) }

// suiteCase is a row of the suite.
type suiteCase struct {
	name string
	rfc  bool       // accepted by RFC 5280
	ours proto.Code // of the refusal here, "" if it is accepted
	why  string     // RFC 5280 and we differ
	// openssl says why OpenSSL and we differ, "" if it agrees.
	openssl string
	lists   bool // revocation is looked at, and must be known
	make    func(s *pkiCase)
	root    []edit
}

// verdict is ours, under a policy.
func (s *pkiCase) verdict(t *testing.T, policy trust.Policy) proto.Code {
	t.Helper()
	text := func(label string, ders [][]byte) (all []byte) {
		for _, b := range ders {
			all = append(all, pem.EncodeToMemory(&pem.Block{Type: label, Bytes: b})...)
		}
		return all
	}
	store, err := trust.NewStore(nil, text("CERTIFICATE", s.roots))
	must(t, err)
	lists := trust.NewCRLStore()
	dir := t.TempDir()
	for i, list := range s.lists { // each alone: one that cannot be read spoils no other
		must(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)+".crl"), list, 0o600))
	}
	lists.LoadDir(dir)
	v := trust.NewVerifier(trust.VerifierConfig{Trust: store, CRLs: lists, Policy: policy, Now: func() time.Time { return suiteNow }})
	_, err = v.Certificate(s.leaf, s.chain)
	if err == nil {
		return ""
	}
	refused, ok := errors.AsType[*trust.Error](err)
	if !ok {
		t.Fatalf("the error is %v, no *Error", err)
	}
	t.Logf("%s: %s", policy, refused.Reason)
	return refused.Code
}

// byOpenSSL asks openssl.
func (s *pkiCase) byOpenSSL(t *testing.T, openssl string, lists bool) (accepted bool, said string) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"verify", "-policy", "anyPolicy", "-attime", strconv.FormatInt(suiteNow.Unix(), 10)}
	write := func(option, label string, ders [][]byte) {
		if len(ders) == 0 {
			return
		}
		var text []byte
		for _, b := range ders {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: label, Bytes: b})...)
		}
		path := filepath.Join(dir, label+option+".pem")
		must(t, os.WriteFile(path, text, 0o600))
		if option != "" {
			args = append(args, option)
		}
		args = append(args, path)
	}
	if lists {
		args = append(args, "-crl_check_all", "-extended_crl", "-use_deltas")
		write("-CRLfile", "X509 CRL", s.lists)
	}
	write("-CAfile", "CERTIFICATE", s.roots)
	write("-untrusted", "CERTIFICATE", s.chain)
	write("", "CERTIFICATE", [][]byte{s.leaf})
	cmd := exec.Command(openssl, args...)
	cmd.Env = append(os.Environ(), "OPENSSL_CONF=/dev/null", "SSL_CERT_DIR=/nonexistent", "SSL_CERT_FILE=/nonexistent")
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 2) {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return err == nil, string(out)
}

// TestSuite is a test of paths and lists in the sections of NIST's PKITS, with certificates of our
// own. Each case has the verdict of RFC 5280, ours and, where openssl is there, OpenSSL's. A
// difference stands in the case with its reason.
func TestSuite(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("*** openssl is not installed: the suite of certificates is not compared with it ***")
	}
	for _, c := range suiteCases {
		t.Run(c.name, func(t *testing.T) {
			s := newSuite(t, c.root...)
			c.make(s)
			policy := trust.PolicyTry
			if c.lists {
				policy = trust.PolicyRequire
				// Without the requirement only an unknown status is another verdict.
				want := c.ours
				if want == proto.RevocationUnknown {
					want = ""
				}
				if got := s.verdict(t, trust.PolicyTry); got != want {
					t.Errorf("with policy try the verdict is %q, want %q", got, want)
				}
			}
			ours := s.verdict(t, policy)
			if ours != c.ours {
				t.Errorf("the verdict is %q, want %q", ours, c.ours)
			}
			if differ := (ours == "") != c.rfc; differ != (c.why != "") {
				t.Errorf("RFC 5280 accepts: %v, we accept: %v, and the reason is %q", c.rfc, ours == "", c.why)
			}
			if openssl == "" {
				return
			}
			accepts, said := s.byOpenSSL(t, openssl, c.lists)
			revokes := strings.Contains(said, "certificate revoked")
			switch differ := accepts != (ours == "") || revokes != (ours == proto.CertificateRevoked); {
			case differ && c.openssl == "":
				t.Errorf("OpenSSL accepts: %v, and finds it revoked: %v; our verdict is %q, and no reason is given\n%s", accepts, revokes, ours, said)
			case !differ && c.openssl != "":
				// Of another version of OpenSSL this may be true.
				t.Logf("this OpenSSL agrees, although: %s\n%s", c.openssl, said)
			}
		})
	}
}
