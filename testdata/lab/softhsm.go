//go:build cgo

package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"

	"github.com/miekg/pkcs11"
)

// soPIN is the security officer's on every lab token: needed to make a token
// anew.
const soPIN = "87654321"

// Objects of a Cartão de Cidadão: label and CKA_ID.
const (
	authCertLabel  = "CITIZEN AUTHENTICATION CERTIFICATE"
	authKeyLabel   = "CITIZEN AUTHENTICATION KEY"
	signCertLabel  = "CITIZEN SIGNATURE CERTIFICATE"
	signKeyLabel   = "CITIZEN SIGNATURE KEY"
	authSubCALabel = "AUTHENTICATION SUB CA"
	signSubCALabel = "SIGNATURE SUB CA"
	rootCALabel    = "ROOT CA"

	authID      = 0x45
	signID      = 0x46
	rootCAID    = 0x50
	signSubCAID = 0x51
	authSubCAID = 0x52
	twinID      = 0x47 // no object of a real card
)

// softHSM is held while this package has the module initialised: there is one
// C_Initialize, and one SOFTHSM2_CONF, in a process.
var softHSM sync.Mutex

// SoftHSM makes a token for each of the holders (all, if none is given): in
// dir a softhsm2.conf and the tokens, in dir/NAME the PIN. The label is the
// holder's name; a token of that name is made anew.
//
// SoftHSM2 reads SOFTHSM2_CONF when it is initialised, and a process can
// initialise it once: call this before anything in the process uses the
// module. It is finalised, and the environment as before, on return; set
// SOFTHSM2_CONF to Tokens.Conf to use the tokens.
func (p *PKI) SoftHSM(dir string, holders ...*Holder) (*Tokens, error) {
	return p.SoftHSMWith(dir, TokenOptions{}, holders...)
}

// SoftHSMWith is SoftHSM for cards that differ from the usual.
func (p *PKI) SoftHSMWith(dir string, opts TokenOptions, holders ...*Holder) (*Tokens, error) {
	if len(holders) == 0 {
		holders = p.Holders()
	}
	t, err := prepareTokens(dir)
	if err != nil {
		return nil, err
	}
	softHSM.Lock()
	defer softHSM.Unlock()
	defer setEnv("SOFTHSM2_CONF", t.Conf)()
	ctx := pkcs11.New(t.Module)
	if ctx == nil {
		return nil, fmt.Errorf("%s cannot be loaded", t.Module)
	}
	defer ctx.Destroy()
	if err := ctx.Initialize(); err != nil {
		if errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
			return nil, errors.New("this process has SoftHSM2 in use: make the lab's tokens before, or finalize it")
		}
		return nil, fmt.Errorf("%s: %w", t.Module, err)
	}
	defer ctx.Finalize()
	for _, h := range holders {
		if err := p.makeToken(ctx, h, opts); err != nil {
			return nil, fmt.Errorf("token of %s: %w", h.Name, err)
		}
		if err := t.writePIN(h.Name); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// setEnv sets a variable and returns what puts it back.
func setEnv(name, value string) func() {
	old, was := os.LookupEnv(name)
	os.Setenv(name, value)
	return func() {
		if was {
			os.Setenv(name, old)
		} else {
			os.Unsetenv(name)
		}
	}
}

// prepareTokens finds the module and writes the configuration.
func prepareTokens(dir string) (*Tokens, error) {
	module, err := FindSoftHSM()
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir) // SoftHSM2 takes nothing relative to its conf
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

// makeToken initialises a slot for h and puts a card's objects on it.
func (p *PKI) makeToken(ctx *pkcs11.Ctx, h *Holder, opts TokenOptions) error {
	if len(h.Name) > 32 { // CK_TOKEN_INFO.label
		return errors.New("a token's label holds 32 bytes")
	}
	slot, err := findSlot(ctx, h.Name, true)
	if err != nil {
		return err
	}
	if err := ctx.InitToken(slot, soPIN, h.Name); err != nil {
		return fmt.Errorf("C_InitToken: %w", err)
	}
	if slot, err = findSlot(ctx, h.Name, false); err != nil { // it has a new number now
		return err
	}
	s, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return fmt.Errorf("C_OpenSession: %w", err)
	}
	defer ctx.CloseSession(s)
	if err := ctx.Login(s, pkcs11.CKU_SO, soPIN); err != nil {
		return fmt.Errorf("C_Login of the security officer: %w", err)
	}
	err = ctx.InitPIN(s, PIN)
	ctx.Logout(s)
	if err != nil {
		return fmt.Errorf("C_InitPIN: %w", err)
	}
	if err := ctx.Login(s, pkcs11.CKU_USER, PIN); err != nil {
		return fmt.Errorf("C_Login: %w", err)
	}
	defer ctx.Logout(s)
	objects, err := p.cardObjects(h, opts)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if _, err := ctx.CreateObject(s, o); err != nil {
			return fmt.Errorf("C_CreateObject: %w", err)
		}
	}
	return nil
}

// findSlot returns the slot of the token with this label or, where free
// permits, one that has no token yet.
func findSlot(ctx *pkcs11.Ctx, label string, free bool) (uint, error) {
	slots, err := ctx.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("C_GetSlotList: %w", err)
	}
	empty, found := uint(0), false
	for _, s := range slots {
		info, err := ctx.GetTokenInfo(s)
		if err != nil {
			return 0, fmt.Errorf("C_GetTokenInfo: %w", err)
		}
		initialized := info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0
		if initialized && info.Label == label {
			return s, nil
		}
		if !initialized {
			empty, found = s, true
		}
	}
	if free && found {
		return empty, nil
	}
	return 0, errors.New("no slot for it")
}

// cardObjects are the templates of what a Cartão de Cidadão carries.
func (p *PKI) cardObjects(h *Holder, opts TokenOptions) ([][]*pkcs11.Attribute, error) {
	signature, err := p.signatureHolder(h)
	if err != nil {
		return nil, err
	}
	objects := [][]*pkcs11.Attribute{
		certObject(h.Leaf, authCertLabel, opts.id(authID)),
		certObject(signature.Leaf, signCertLabel, opts.id(signID)),
	}
	if len(h.Chain) > 0 { // cards since 2024 carry no CA certificates
		objects = append(objects,
			certObject(h.Chain[0], authSubCALabel, opts.id(authSubCAID)),
			certObject(signature.Chain[0], signSubCALabel, opts.id(signSubCAID)),
			certObject(h.Chain[len(h.Chain)-1], rootCALabel, opts.id(rootCAID)))
	}
	type pair struct {
		key    crypto.Signer
		label  string
		id     []byte
		always bool
	}
	pairs := []pair{{signature.Key, signKeyLabel, opts.id(signID), true}}
	if !opts.NoKey {
		pairs = append(pairs, pair{h.Key, authKeyLabel, opts.id(authID), opts.AlwaysAuthenticate})
	}
	if opts.TwinKey {
		twin, err := P256.Generate()
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{twin, authKeyLabel, opts.id(twinID), false})
	}
	for _, k := range pairs {
		private, public, err := keyObjects(k.key, k.label, k.id, k.always)
		if err != nil {
			return nil, err
		}
		objects = append(objects, private, public)
	}
	return objects, nil
}

// signatureHolder makes the second pair of a card, for qualified signatures:
// the one that a program must leave alone.
func (p *PKI) signatureHolder(h *Holder) (*Holder, error) {
	ca, err := p.NewCA(p.CC, DN("C", "PT", "O", "Instituto dos Registos e do Notariado I.P.",
		"OU", "Cartão de Cidadão", "OU", "subECEstado",
		"CN", "EC de Assinatura Digital Qualificada do Cartão de Cidadão 0001"), PathLen(0))
	if err != nil {
		return nil, err
	}
	kind := P256
	if _, ok := h.Key.(*rsa.PrivateKey); ok {
		kind = RSA2048
	}
	key, err := kind.Generate()
	if err != nil {
		return nil, err
	}
	r := &request{key: key, issuer: ca, notBefore: h.Leaf.NotBefore, notAfter: h.Leaf.NotAfter,
		subject: DN("C", "PT", "O", "Cartão de Cidadão", "OU", "Cidadão Português", "OU", "Assinatura Qualificada do Cidadão",
			"serialNumber", h.Leaf.Subject.SerialNumber, "CN", h.Leaf.Subject.CommonName)}
	leaf, _, err := p.sign(r, &x509.Certificate{KeyUsage: x509.KeyUsageContentCommitment, BasicConstraintsValid: true})
	if err != nil {
		return nil, err
	}
	return &Holder{Name: h.Name, Leaf: leaf, Chain: ca.Path(), Key: key, Issuer: ca}, nil
}

// id is a CKA_ID: one byte, or the native CK_ULONG of the official module.
func (o TokenOptions) id(n byte) []byte {
	if !o.WideID {
		return []byte{n}
	}
	return binary.NativeEndian.AppendUint64(nil, uint64(n))
}

func certObject(c *x509.Certificate, label string, id []byte) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE),
		pkcs11.NewAttribute(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
		pkcs11.NewAttribute(pkcs11.CKA_SUBJECT, c.RawSubject),
		pkcs11.NewAttribute(pkcs11.CKA_ISSUER, c.RawIssuer),
		pkcs11.NewAttribute(pkcs11.CKA_SERIAL_NUMBER, mustMarshal(c.SerialNumber)),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, c.Raw),
	}
}

// keyObjects are both halves of a pair that only signs, and never leaves.
func keyObjects(key crypto.Signer, label string, id []byte, always bool) (private, public []*pkcs11.Attribute, err error) {
	both := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
	}
	private = append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_AUTHENTICATE, always),
	}, both...)
	public = append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
	}, both...)
	switch k := key.(type) {
	case *rsa.PrivateKey:
		n, e := k.N.Bytes(), big.NewInt(int64(k.E)).Bytes()
		half := []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA),
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS, n),
			pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, e),
		}
		public = append(public, half...)
		private = append(append(private, half...),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE_EXPONENT, k.D.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_PRIME_1, k.Primes[0].Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_PRIME_2, k.Primes[1].Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_1, k.Precomputed.Dp.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_2, k.Precomputed.Dq.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_COEFFICIENT, k.Precomputed.Qinv.Bytes()))
		return private, public, nil
	case *ecdsa.PrivateKey:
		curve, ok := curveIDs[k.Curve.Params().Name]
		if !ok {
			return nil, nil, fmt.Errorf("no card has curve %s", k.Curve.Params().Name)
		}
		d, err := k.Bytes()
		if err != nil {
			return nil, nil, err
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return nil, nil, err
		}
		half := []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
			pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, mustMarshal(curve)),
		}
		private = append(append(private, half...), pkcs11.NewAttribute(pkcs11.CKA_VALUE, d))
		public = append(append(public, half...), pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, mustMarshal(point)))
		return private, public, nil
	}
	return nil, nil, fmt.Errorf("no card has a %T", key)
}

var curveIDs = map[string]asn1.ObjectIdentifier{
	"P-256": {1, 2, 840, 10045, 3, 1, 7},
	"P-384": {1, 3, 132, 0, 34},
	"P-521": {1, 3, 132, 0, 35},
}
