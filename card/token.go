//go:build cgo

package card

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"

	"chatsecure/proto"
)

const (
	maxSlots       = 64       // only a broken module has more readers
	maxObjects     = 256      // certificates, and keys, read from one token
	findBatch      = 16       // handles requested in one call
	maxCertificate = 64 << 10 // bytes
)

const readerHint = "check that the reader's service (pcscd) is running"

// sight is the contents of one module.
type sight struct {
	info   pkcs11.Info
	tokens []*token
	empty  []SlotReport // without a token, or with an unreadable one
}

// token is one token as read without login.
type token struct {
	slot     uint
	slotName string
	info     pkcs11.TokenInfo
	matches  bool // the URI's token and slot attributes match
	certs    []certificate
	keys     []privateKey
	err      error // of reading it
}

// certificate is one X.509 certificate on a token.
type certificate struct {
	label  string
	id     []byte // CKA_ID; modules differ in its form, so every byte counts
	der    []byte
	parsed *x509.Certificate // nil if err is set
	err    error
}

// privateKey is one private key on a token.
type privateKey struct {
	handle  pkcs11.ObjectHandle
	label   string
	id      []byte
	kind    string // as returned by keyType
	private bool   // CKA_PRIVATE: its use needs a login
	always  bool   // CKA_ALWAYS_AUTHENTICATE: each use needs its own login
}

// name names the token for people.
func (t *token) name() string {
	return fmt.Sprintf("token %s (%s) in slot %d", proto.Quote(t.info.Label), strings.Trim(proto.Quote(t.info.Model), `"`), t.slot)
}

// initialized reports whether the token has been set up. SoftHSM always shows one
// that has not.
func (t *token) initialized() bool { return t.info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 }

// look reads all slots of a module.
func look(m module, u *uri) (sight, error) {
	var seen sight
	if info, err := m.GetInfo(); err == nil { // it only describes the module
		seen.info = info
	}
	slots, err := m.GetSlotList(false)
	if err != nil {
		return sight{}, fail(Failed, readerHint, "the card readers cannot be listed: %s", words(err)).because(err)
	}
	for _, slot := range slots[:min(len(slots), maxSlots)] {
		si, err := m.GetSlotInfo(slot)
		if err != nil {
			continue // the reader was unplugged
		}
		ti, err := m.GetTokenInfo(slot)
		if err != nil {
			seen.empty = append(seen.empty, emptySlot(slot, si, err))
			continue
		}
		t := &token{slot: slot, slotName: trim(si.SlotDescription), info: trimmed(ti)}
		t.matches = matchesLibrary(u, seen.info) && matchesSlot(u, slot, si) && matchesToken(u, t.info)
		t.err = t.read(m)
		seen.tokens = append(seen.tokens, t)
	}
	return seen, nil
}

// emptySlot reports a slot whose token cannot be described, with err as the
// reason.
func emptySlot(slot uint, info pkcs11.SlotInfo, err error) SlotReport {
	r := SlotReport{ID: slot, Description: trim(info.SlotDescription)}
	if !errors.Is(err, pkcs11.Error(pkcs11.CKR_TOKEN_NOT_PRESENT)) {
		r.Err = fail(NoCard, "check that the card is the right way round, and that this is its own software",
			"the card in slot %d cannot be read: %s", slot, words(err)).because(err)
	}
	return r
}

// read lists the token's certificates and its visible private keys.
func (t *token) read(m module) error {
	sh, err := m.OpenSession(t.slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		hint := ""
		if !t.initialized() {
			hint = "it has not been set up: initialize it with the card's own software"
		}
		return fail(NoCard, hint, "%s cannot be opened: %s", t.name(), words(err)).because(err)
	}
	defer m.CloseSession(sh)
	if t.certs, err = readCerts(m, sh, nil); err == nil {
		t.keys, err = readKeys(m, sh, nil)
	}
	if err != nil {
		return fail(Failed, "", "%s cannot be read: %s", t.name(), words(err)).because(err)
	}
	return nil
}

// readCerts reads the certificates of a token; with an id, only those with it.
func readCerts(m module, sh pkcs11.SessionHandle, id []byte) ([]certificate, error) {
	handles, err := find(m, sh, pkcs11.CKO_CERTIFICATE, id)
	if err != nil {
		return nil, err
	}
	var certs []certificate
	for _, h := range handles[:min(len(handles), maxCertificates)] {
		var c certificate
		label, err := attribute(m, sh, h, pkcs11.CKA_LABEL)
		if err == nil {
			c.id, err = attribute(m, sh, h, pkcs11.CKA_ID)
		}
		if err == nil {
			c.der, err = attribute(m, sh, h, pkcs11.CKA_VALUE)
		}
		if err != nil {
			return nil, err
		}
		c.label = trim(string(label))
		if len(c.der) > maxCertificate {
			c.der, c.err = nil, fail(NoCertificate, "", "the certificate %s is longer than %d bytes", c.name(), maxCertificate)
		} else if c.parsed, err = x509.ParseCertificate(c.der); err != nil {
			c.err = fail(NoCertificate, "", "the certificate %s is malformed: %v", c.name(), err).because(err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// readKeys reads the visible private keys of a token; with an id, only those with
// it.
func readKeys(m module, sh pkcs11.SessionHandle, id []byte) ([]privateKey, error) {
	handles, err := find(m, sh, pkcs11.CKO_PRIVATE_KEY, id)
	if err != nil {
		return nil, err
	}
	var keys []privateKey
	for _, h := range handles {
		k := privateKey{handle: h}
		var v [5][]byte
		for i, typ := range []uint{pkcs11.CKA_LABEL, pkcs11.CKA_ID, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_PRIVATE, pkcs11.CKA_ALWAYS_AUTHENTICATE} {
			if v[i], err = attribute(m, sh, h, typ); err != nil {
				return nil, err
			}
		}
		k.label, k.id = trim(string(v[0])), v[1]
		switch {
		case bytes.Equal(v[2], ulong(pkcs11.CKK_RSA)):
			k.kind = "RSA"
		case bytes.Equal(v[2], ulong(pkcs11.CKK_EC)):
			k.kind = "EC"
		default:
			k.kind = "other"
		}
		// Without these attributes a key counts as private, and as usable
		// several times after one login (PKCS#11 v2.40, section 4.9).
		k.private = len(v[3]) != 1 || v[3][0] != 0
		k.always = len(v[4]) == 1 && v[4][0] != 0
		keys = append(keys, k)
	}
	return keys, nil
}

// find lists the objects of a class; with an id, only those with it.
func find(m module, sh pkcs11.SessionHandle, class uint, id []byte) ([]pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if len(id) > 0 {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	}
	if err := m.FindObjectsInit(sh, template); err != nil {
		return nil, err
	}
	var all []pkcs11.ObjectHandle
	for len(all) < maxObjects {
		some, _, err := m.FindObjects(sh, findBatch)
		if err != nil {
			m.FindObjectsFinal(sh) // the first error is the useful one
			return nil, err
		}
		if len(some) == 0 {
			break
		}
		all = append(all, some...)
	}
	return all, m.FindObjectsFinal(sh)
}

// attribute reads one attribute, or nil if there is none. Attributes are read one
// by one: if one is missing, some modules refuse the whole request.
func attribute(m module, sh pkcs11.SessionHandle, h pkcs11.ObjectHandle, typ uint) ([]byte, error) {
	got, err := m.GetAttributeValue(sh, h, []*pkcs11.Attribute{{Type: typ}})
	switch {
	case errors.Is(err, pkcs11.Error(pkcs11.CKR_ATTRIBUTE_TYPE_INVALID)), errors.Is(err, pkcs11.Error(pkcs11.CKR_ATTRIBUTE_SENSITIVE)):
		return nil, nil
	case err != nil:
		return nil, err
	case len(got) != 1:
		return nil, nil
	}
	return got[0].Value, nil
}

// ulong encodes a CK_ULONG like an attribute.
func ulong(n uint) []byte { return pkcs11.NewAttribute(0, n).Value }

// name names the certificate for people.
func (c *certificate) name() string {
	if len(c.id) == 0 {
		return proto.Quote(c.label) + " (without id)"
	}
	return labelled(c.label, c.id)
}

func labelled(label string, id []byte) string {
	return proto.Quote(label) + " (id=" + escapeAll(id) + ")"
}

func matchesLibrary(u *uri, info pkcs11.Info) bool {
	v := info.LibraryVersion
	version, ok := u.path["library-version"]
	if ok && !strings.Contains(version, ".") {
		version += ".0" // RFC 7512, section 2.3: no minor version means 0
	}
	return u.want("library-manufacturer", trim(info.ManufacturerID)) &&
		u.want("library-description", trim(info.LibraryDescription)) &&
		(!ok || version == fmt.Sprintf("%d.%d", v.Major, v.Minor))
}

func matchesSlot(u *uri, slot uint, info pkcs11.SlotInfo) bool {
	_, byID := u.path["slot-id"]
	return (!byID || u.slotID == slot) &&
		u.want("slot-manufacturer", trim(info.ManufacturerID)) &&
		u.want("slot-description", trim(info.SlotDescription))
}

func matchesToken(u *uri, info pkcs11.TokenInfo) bool {
	return u.want("token", info.Label) && u.want("manufacturer", info.ManufacturerID) &&
		u.want("serial", info.SerialNumber) && u.want("model", info.Model)
}

// trim removes the padding of PKCS#11's fixed fields: blanks by the standard,
// NULs in some modules.
func trim(s string) string { return strings.TrimRight(s, " \x00") }

func trimmed(ti pkcs11.TokenInfo) pkcs11.TokenInfo {
	ti.Label, ti.ManufacturerID = trim(ti.Label), trim(ti.ManufacturerID)
	ti.Model, ti.SerialNumber = trim(ti.Model), trim(ti.SerialNumber)
	return ti
}

// sameToken reports whether two token infos describe the same card.
func sameToken(a, b pkcs11.TokenInfo) bool {
	return a.SerialNumber == b.SerialNumber && a.Label == b.Label && a.ManufacturerID == b.ManufacturerID && a.Model == b.Model
}
