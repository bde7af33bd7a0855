//go:build cgo

package card

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/pkcs11"
)

// fakeModule is a PKCS#11 module in memory, for behaviour that SoftHSM lacks. It
// is as strict as real modules: calls must not overlap, handles must be live,
// and a search must be ended before the next.
type fakeModule struct {
	t     testing.TB
	busy  atomic.Int32
	calls callLog

	mu          sync.Mutex // guards the fields below: tests change the slots between calls
	initialized bool
	initErrs    []error // of the first calls of C_Initialize
	flags       []int   // number of options of each C_Initialize
	slots       []*fakeSlot
	sessions    map[pkcs11.SessionHandle]*fakeSession
	last        pkcs11.SessionHandle
}

// callLog lists the calls in order.
type callLog struct {
	mu  sync.Mutex
	all []string
}

func (l *callLog) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
}

// count returns the number of calls that begin with prefix.
func (l *callLog) count(prefix string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.all {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// of returns the calls whose names begin with one of names, in order.
func (l *callLog) of(names ...string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, c := range l.all {
		for _, n := range names {
			if strings.HasPrefix(c, n) {
				out = append(out, c)
			}
		}
	}
	return strings.Join(out, " ")
}

type fakeSlot struct {
	id    uint
	desc  string
	token *fakeToken
	err   error // of C_GetTokenInfo without a token; nil: CKR_TOKEN_NOT_PRESENT
}

type fakeToken struct {
	label, manufacturer, model, serial string
	flags                              uint
	pin                                string
	tries                              int // wrong PINs until it locks
	mechanisms                         []uint
	objects                            []*fakeObject
	loggedIn                           bool

	// Hooks run inside the call, with the module unlocked. Their error is the answer.
	onOpen, onLogin, onSignInit, onSign func() error
	spoil                               bool   // sign another input
	signed                              []byte // input of the last C_Sign
}

type fakeObject struct {
	class, keyType uint
	label          string
	id             []byte
	value          []byte
	key            crypto.Signer
	private        *bool
	always         bool
	hidden         bool // until login
	lacks          []uint
}

type fakeSession struct {
	slot    *fakeSlot
	token   *fakeToken
	found   []pkcs11.ObjectHandle
	finding bool
	mech    uint
	key     *fakeObject
	ctxOK   bool // CKU_CONTEXT_SPECIFIC was given for this signature
}

func newFake(t testing.TB, tokens ...*fakeToken) *fakeModule {
	m := &fakeModule{t: t, sessions: map[pkcs11.SessionHandle]*fakeSession{}}
	for i, token := range tokens {
		m.slots = append(m.slots, &fakeSlot{id: uint(i), desc: fmt.Sprintf("Reader %d", i), token: token})
	}
	return m
}

// enter begins a call: no two may overlap.
func (m *fakeModule) enter(format string, args ...any) func() {
	if m.busy.Add(1) != 1 {
		m.t.Error("two PKCS#11 calls at once")
	}
	m.calls.add(fmt.Sprintf(format, args...))
	m.mu.Lock()
	return func() {
		m.mu.Unlock()
		m.busy.Add(-1)
	}
}

// hook runs f with the module unlocked, so that it may change the slots.
func (m *fakeModule) hook(f func() error) error {
	if f == nil {
		return nil
	}
	m.mu.Unlock()
	defer m.mu.Lock()
	return f()
}

// set changes the module from a test.
func (m *fakeModule) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func ckr(code uint) error { return pkcs11.Error(code) }

func (m *fakeModule) Initialize(opts ...pkcs11.InitializeOption) error {
	defer m.enter("Initialize")()
	m.flags = append(m.flags, len(opts))
	if len(m.initErrs) > 0 {
		err := m.initErrs[0]
		m.initErrs = m.initErrs[1:]
		if err != nil {
			return err
		}
	}
	m.initialized = true
	return nil
}

func (m *fakeModule) Finalize() error {
	defer m.enter("Finalize")()
	if len(m.sessions) != 0 {
		m.t.Errorf("%d sessions were left open", len(m.sessions))
	}
	m.initialized = false
	return nil
}

func (m *fakeModule) GetInfo() (pkcs11.Info, error) {
	defer m.enter("GetInfo")()
	return pkcs11.Info{ManufacturerID: "Fakes", LibraryDescription: "Fake module", LibraryVersion: pkcs11.Version{Major: 3}}, nil
}

func (m *fakeModule) GetSlotList(present bool) (ids []uint, err error) {
	defer m.enter("GetSlotList")()
	for _, s := range m.slots {
		if s.token != nil || !present {
			ids = append(ids, s.id)
		}
	}
	return ids, nil
}

func (m *fakeModule) slot(id uint) *fakeSlot {
	for _, s := range m.slots {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (m *fakeModule) GetSlotInfo(id uint) (pkcs11.SlotInfo, error) {
	defer m.enter("GetSlotInfo")()
	s := m.slot(id)
	if s == nil {
		return pkcs11.SlotInfo{}, ckr(pkcs11.CKR_SLOT_ID_INVALID)
	}
	return pkcs11.SlotInfo{SlotDescription: s.desc, ManufacturerID: "Fakes"}, nil
}

func (m *fakeModule) GetTokenInfo(id uint) (pkcs11.TokenInfo, error) {
	defer m.enter("GetTokenInfo")()
	s := m.slot(id)
	switch {
	case s == nil:
		return pkcs11.TokenInfo{}, ckr(pkcs11.CKR_SLOT_ID_INVALID)
	case s.token == nil && s.err != nil:
		return pkcs11.TokenInfo{}, s.err
	case s.token == nil:
		return pkcs11.TokenInfo{}, ckr(pkcs11.CKR_TOKEN_NOT_PRESENT)
	}
	k := s.token
	// Fixed fields are padded, by some modules with NULs.
	return pkcs11.TokenInfo{Label: k.label, ManufacturerID: k.manufacturer, Model: k.model, SerialNumber: k.serial + "\x00", Flags: k.flags}, nil
}

func (m *fakeModule) GetMechanismList(id uint) (list []*pkcs11.Mechanism, err error) {
	defer m.enter("GetMechanismList")()
	if s := m.slot(id); s == nil || s.token == nil {
		return nil, ckr(pkcs11.CKR_TOKEN_NOT_PRESENT)
	} else {
		for _, typ := range s.token.mechanisms {
			list = append(list, pkcs11.NewMechanism(typ, nil))
		}
	}
	return list, nil
}

func (m *fakeModule) OpenSession(id uint, flags uint) (pkcs11.SessionHandle, error) {
	defer m.enter("OpenSession")()
	s := m.slot(id)
	if flags != pkcs11.CKF_SERIAL_SESSION {
		m.t.Errorf("a session with flags %x", flags)
	}
	if s == nil || s.token == nil {
		return 0, ckr(pkcs11.CKR_TOKEN_NOT_PRESENT)
	}
	if s.token.flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
		return 0, ckr(pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
	}
	if err := m.hook(s.token.onOpen); err != nil {
		return 0, err
	}
	m.last++
	m.sessions[m.last] = &fakeSession{slot: s, token: s.token}
	return m.last, nil
}

func (m *fakeModule) CloseSession(h pkcs11.SessionHandle) error {
	defer m.enter("CloseSession")()
	if s := m.sessions[h]; s == nil {
		m.t.Error("a session closed twice")
	} else if s.finding {
		m.t.Error("a search was not ended")
	}
	delete(m.sessions, h)
	return nil
}

// live returns the session if its card is still in.
func (m *fakeModule) live(h pkcs11.SessionHandle) (*fakeSession, error) {
	s := m.sessions[h]
	if s == nil {
		return nil, ckr(pkcs11.CKR_SESSION_HANDLE_INVALID)
	}
	if s.slot.token != s.token {
		return nil, ckr(pkcs11.CKR_DEVICE_REMOVED)
	}
	return s, nil
}

func (m *fakeModule) Login(h pkcs11.SessionHandle, user uint, pin string) error {
	defer m.enter("Login(%d,%q)", user, strings.Clone(pin))()
	s, err := m.live(h)
	if err != nil {
		return err
	}
	if err := m.hook(s.token.onLogin); err != nil {
		return err
	}
	k := s.token
	switch {
	case k.flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return ckr(pkcs11.CKR_PIN_LOCKED)
	case user == pkcs11.CKU_CONTEXT_SPECIFIC && s.key == nil:
		return ckr(pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	case user == pkcs11.CKU_USER && k.loggedIn:
		return ckr(pkcs11.CKR_USER_ALREADY_LOGGED_IN)
	case pin == "" && k.flags&pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH == 0:
		m.t.Error("a NULL PIN for a token without a keypad")
	case pin != "" && pin != k.pin:
		k.tries--
		k.flags |= pkcs11.CKF_USER_PIN_COUNT_LOW
		if k.tries == 1 {
			k.flags |= pkcs11.CKF_USER_PIN_FINAL_TRY
		}
		if k.tries <= 0 {
			k.flags |= pkcs11.CKF_USER_PIN_LOCKED
		}
		return ckr(pkcs11.CKR_PIN_INCORRECT)
	}
	if user == pkcs11.CKU_CONTEXT_SPECIFIC {
		s.ctxOK = true
	} else {
		k.loggedIn = true
	}
	return nil
}

func (m *fakeModule) Logout(h pkcs11.SessionHandle) error {
	defer m.enter("Logout")()
	s, err := m.live(h)
	if err == nil {
		s.token.loggedIn = false
	}
	return err
}

func (m *fakeModule) FindObjectsInit(h pkcs11.SessionHandle, template []*pkcs11.Attribute) error {
	defer m.enter("FindObjectsInit")()
	s, err := m.live(h)
	if err != nil {
		return err
	}
	if s.finding {
		m.t.Error("a search within a search")
		return ckr(pkcs11.CKR_OPERATION_ACTIVE)
	}
	s.finding, s.found = true, nil
	for i, o := range s.token.objects {
		fits := !o.hidden || s.token.loggedIn
		for _, a := range template {
			v, ok := o.attribute(a.Type)
			fits = fits && ok && bytes.Equal(v, a.Value)
		}
		if fits {
			s.found = append(s.found, pkcs11.ObjectHandle(i+1))
		}
	}
	return nil
}

func (m *fakeModule) FindObjects(h pkcs11.SessionHandle, max int) ([]pkcs11.ObjectHandle, bool, error) {
	defer m.enter("FindObjects(")()
	s, err := m.live(h)
	if err != nil {
		return nil, false, err
	}
	n := min(max, len(s.found))
	some := s.found[:n]
	s.found = s.found[n:]
	return some, false, nil
}

func (m *fakeModule) FindObjectsFinal(h pkcs11.SessionHandle) error {
	defer m.enter("FindObjectsFinal")()
	if s := m.sessions[h]; s != nil {
		s.finding = false
	}
	_, err := m.live(h)
	return err
}

func (o *fakeObject) attribute(typ uint) ([]byte, bool) {
	for _, l := range o.lacks {
		if l == typ {
			return nil, false
		}
	}
	switch typ {
	case pkcs11.CKA_CLASS:
		return ulong(o.class), true
	case pkcs11.CKA_LABEL:
		return []byte(o.label), true
	case pkcs11.CKA_ID:
		return o.id, true
	}
	key := o.class == pkcs11.CKO_PRIVATE_KEY
	switch {
	case typ == pkcs11.CKA_VALUE && !key:
		return o.value, true
	case typ == pkcs11.CKA_KEY_TYPE && key:
		return ulong(o.keyType), true
	case typ == pkcs11.CKA_PRIVATE && o.private != nil:
		return pkcs11.NewAttribute(typ, *o.private).Value, true
	case typ == pkcs11.CKA_ALWAYS_AUTHENTICATE && o.always:
		return []byte{1}, true
	}
	return nil, false
}

func (m *fakeModule) object(h pkcs11.SessionHandle, o pkcs11.ObjectHandle) (*fakeSession, *fakeObject, error) {
	s, err := m.live(h)
	if err != nil {
		return nil, nil, err
	}
	if o < 1 || int(o) > len(s.token.objects) || s.token.objects[o-1].hidden && !s.token.loggedIn {
		return nil, nil, ckr(pkcs11.CKR_OBJECT_HANDLE_INVALID)
	}
	return s, s.token.objects[o-1], nil
}

func (m *fakeModule) GetAttributeValue(h pkcs11.SessionHandle, o pkcs11.ObjectHandle, as []*pkcs11.Attribute) ([]*pkcs11.Attribute, error) {
	defer m.enter("GetAttributeValue")()
	_, object, err := m.object(h, o)
	if err != nil {
		return nil, err
	}
	var out []*pkcs11.Attribute
	for _, a := range as {
		v, ok := object.attribute(a.Type)
		if !ok {
			return nil, ckr(pkcs11.CKR_ATTRIBUTE_TYPE_INVALID)
		}
		out = append(out, &pkcs11.Attribute{Type: a.Type, Value: v})
	}
	return out, nil
}

func (m *fakeModule) SignInit(h pkcs11.SessionHandle, mechs []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error {
	defer m.enter("SignInit")()
	s, object, err := m.object(h, o)
	if err != nil {
		return err
	}
	if err := m.hook(s.token.onSignInit); err != nil {
		return err
	}
	if s, err = m.live(h); err != nil {
		return err
	}
	offered := false
	for _, typ := range s.token.mechanisms {
		offered = offered || typ == mechs[0].Mechanism
	}
	switch {
	case !offered:
		m.t.Errorf("mechanism %#x was not offered", mechs[0].Mechanism)
		return ckr(pkcs11.CKR_MECHANISM_INVALID)
	case s.token.flags&pkcs11.CKF_LOGIN_REQUIRED != 0 && !s.token.loggedIn && (object.private == nil || *object.private):
		return ckr(pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	s.mech, s.key, s.ctxOK = mechs[0].Mechanism, object, false
	return nil
}

func (m *fakeModule) Sign(h pkcs11.SessionHandle, input []byte) ([]byte, error) {
	defer m.enter("Sign(")()
	s, err := m.live(h)
	if err != nil {
		return nil, err
	}
	if s.key == nil {
		return nil, ckr(pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	}
	if err := m.hook(s.token.onSign); err != nil {
		return nil, err
	}
	if s, err = m.live(h); err != nil {
		return nil, err
	}
	if s.key.always && !s.ctxOK {
		return nil, ckr(pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	s.token.signed = bytes.Clone(input)
	if s.token.spoil {
		input = append([]byte("not "), input...)
	}
	return fakeSign(s.key.key, s.mech, input)
}

// fakeSign signs like PKCS#11: ECDSA gives r and s, and bare mechanisms do not hash
// their input.
func fakeSign(key crypto.Signer, mech uint, input []byte) ([]byte, error) {
	hashes := map[uint]crypto.Hash{
		pkcs11.CKM_SHA256_RSA_PKCS: crypto.SHA256, pkcs11.CKM_ECDSA_SHA256: crypto.SHA256,
		pkcs11.CKM_ECDSA_SHA384: crypto.SHA384, pkcs11.CKM_ECDSA_SHA512: crypto.SHA512,
	}
	h, whole := hashes[mech]
	if whole {
		input = digest(h, input)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(nil, key, h, input) // h 0: input is a DigestInfo
	case *ecdsa.PrivateKey:
		der, err := ecdsa.SignASN1(rand.Reader, key, input)
		if err != nil {
			return nil, err
		}
		var sig struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &sig); err != nil {
			return nil, err
		}
		n := (key.Curve.Params().BitSize + 7) / 8
		return append(sig.R.FillBytes(make([]byte, n)), sig.S.FillBytes(make([]byte, n))...), nil
	}
	return nil, ckr(pkcs11.CKR_KEY_TYPE_INCONSISTENT)
}

// allMechanisms are the mechanisms known to this package.
var allMechanisms = []uint{pkcs11.CKM_RSA_PKCS, pkcs11.CKM_SHA256_RSA_PKCS, pkcs11.CKM_ECDSA,
	pkcs11.CKM_ECDSA_SHA256, pkcs11.CKM_ECDSA_SHA384, pkcs11.CKM_ECDSA_SHA512}

const fakePIN = "4711"

// newToken makes a token with a PIN, an authentication certificate, and its key,
// which is hidden until login.
func newToken(label string, key crypto.Signer) *fakeToken {
	k := &fakeToken{label: label, manufacturer: "Fakes", model: "Fake v1", serial: "SN-" + label,
		flags: pkcs11.CKF_TOKEN_INITIALIZED | pkcs11.CKF_USER_PIN_INITIALIZED | pkcs11.CKF_LOGIN_REQUIRED,
		pin:   fakePIN, tries: 3, mechanisms: allMechanisms}
	k.add("CITIZEN AUTHENTICATION CERTIFICATE", "CITIZEN AUTHENTICATION KEY", []byte{0x45}, key,
		newCert(key, label, forAuthentication)).hidden = true
	return k
}

// add puts a certificate and its key on a token and returns the key.
func (k *fakeToken) add(certLabel, keyLabel string, id []byte, key crypto.Signer, cert []byte) *fakeObject {
	k.addCert(certLabel, id, cert)
	typ := uint(pkcs11.CKK_EC)
	if _, ok := key.(*rsa.PrivateKey); ok {
		typ = pkcs11.CKK_RSA
	}
	o := &fakeObject{class: pkcs11.CKO_PRIVATE_KEY, keyType: typ, label: keyLabel, id: id, key: key}
	k.objects = append(k.objects, o)
	return o
}

func (k *fakeToken) addCert(label string, id, cert []byte) *fakeObject {
	o := &fakeObject{class: pkcs11.CKO_CERTIFICATE, label: label, id: id, value: cert}
	k.objects = append(k.objects, o)
	return o
}

// newCC2 makes a Cartão de Cidadão of 2024 as shown by its own module: EC P-256, no
// CA certificates, CKA_ID a native CK_ULONG, visible keys, no login, and a PIN
// dialog at C_Sign.
func newCC2() *fakeToken {
	yes := true
	k := &fakeToken{label: "CARTAO DE CIDADAO", manufacturer: "Portuguese Government", model: "Portuguese eID N", serial: "0006016523456789",
		flags:      pkcs11.CKF_TOKEN_INITIALIZED | pkcs11.CKF_USER_PIN_INITIALIZED | pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH,
		mechanisms: []uint{pkcs11.CKM_ECDSA, pkcs11.CKM_ECDSA_SHA256}}
	auth, sign := keys.p256(), keys.p256b()
	k.add("CITIZEN AUTHENTICATION CERTIFICATE", "CITIZEN AUTHENTICATION KEY", ulong(0x45), auth,
		newCert(auth, "CC2", forAuthentication)).private = &yes
	k.add("CITIZEN SIGNATURE CERTIFICATE", "CITIZEN SIGNATURE KEY", ulong(0x46), sign,
		newCert(sign, "CC2", forSignature)).private = &yes
	return k
}

// fakeLibraries are libraries that load these modules, by path.
func fakeLibraries(modules map[string]*fakeModule) *libraries {
	return newLibraries(func(path string) (module, error) {
		if m := modules[path]; m != nil {
			return m, nil
		}
		return nil, fail(ModuleLoad, "", "the PKCS#11 module %s cannot be loaded", path)
	})
}

// openFake opens the card named by spec through one fake module.
func openFake(t *testing.T, m *fakeModule, spec string, opt Options) (Card, error) {
	t.Helper()
	u, err := parseURI(spec)
	if err != nil {
		t.Fatal(err)
	}
	c, err := fakeLibraries(map[string]*fakeModule{"/fake.so": m}).openFirst(t.Context(), []string{"/fake.so"}, u, opt)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

// mustOpen opens a fake card, with fakePIN unless opt has a PIN or is Batch.
func mustOpen(t *testing.T, m *fakeModule, spec string, opt Options) Card {
	t.Helper()
	if opt.PIN == nil && !opt.Batch {
		opt.PIN = givePIN(fakePIN)
	}
	c, err := openFake(t, m, spec, opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func givePIN(pin string) func(context.Context, PINRequest) ([]byte, error) {
	return func(context.Context, PINRequest) ([]byte, error) { return []byte(pin), nil }
}
