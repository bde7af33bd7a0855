//go:build cgo

package card

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"
)

const (
	// maxSlots bounds the readers looked at: a module that invents more is
	// broken.
	maxSlots = 64

	// maxObjects bounds the certificates, and the keys, looked at on one token;
	// findBatch is how many handles are asked for at once.
	maxObjects = 256
	findBatch  = 16

	// maxCertificate bounds one certificate in bytes.
	maxCertificate = 64 << 10
)

// token is what was seen of one token without login.
type token struct {
	slot     uint
	slotName string
	info     pkcs11.TokenInfo
	matches  bool // the URI's token and slot attributes fit
	certs    []certificate
	keys     []privateKey
	err      error // why it could not be read
}

// certificate is one X.509 certificate on a token.
type certificate struct {
	label  string
	id     []byte // CKA_ID: compared byte by byte, for modules differ in its form
	der    []byte
	parsed *x509.Certificate // nil if err is set
	err    error
}

// privateKey is one private key on a token.
type privateKey struct {
	handle  pkcs11.ObjectHandle
	label   string
	id      []byte
	kind    string // as keyType has it
	private bool   // CKA_PRIVATE: using it needs a login
	always  bool   // CKA_ALWAYS_AUTHENTICATE: every use needs a login of its own
}

// name says which token this is, for people.
func (t *token) name() string {
	return fmt.Sprintf("token %s (%s) in slot %d", quote(t.info.Label), strings.Trim(quote(t.info.Model), `"`), t.slot)
}

// initialized reports whether the token was ever set up. SoftHSM always shows
// one that was not.
func (t *token) initialized() bool { return t.info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 }

// look reads all slots of a module. Those without a token are returned apart.
func look(m module, u *uri) (tokens []*token, empty []SlotReport, info pkcs11.Info, err error) {
	info, err = m.GetInfo()
	if err != nil {
		info = pkcs11.Info{} // it only describes
	}
	slots, err := m.GetSlotList(false)
	if err != nil {
		return nil, nil, info, fail(Failed, "is the reader's service running? (pcscd)", "the card readers cannot be listed: %s", words(err)).because(err)
	}
	for _, slot := range slots[:min(len(slots), maxSlots)] {
		si, err := m.GetSlotInfo(slot)
		if err != nil {
			continue // a reader that was pulled out
		}
		ti, err := m.GetTokenInfo(slot)
		if err != nil {
			empty = append(empty, emptySlot(slot, si, err))
			continue
		}
		t := &token{slot: slot, slotName: trim(si.SlotDescription), info: trimmed(ti)}
		t.matches = matchesLibrary(u, info) && matchesSlot(u, slot, si) && matchesToken(u, t.info)
		t.err = t.read(m)
		tokens = append(tokens, t)
	}
	return tokens, empty, info, nil
}

func emptySlot(slot uint, info pkcs11.SlotInfo, err error) SlotReport {
	r := SlotReport{ID: slot, Description: trim(info.SlotDescription)}
	if !errors.Is(err, pkcs11.Error(pkcs11.CKR_TOKEN_NOT_PRESENT)) {
		r.Err = fail(NoCard, "is the card in the right way round, and is this its own software?", "the card in slot %d cannot be read: %s", slot, words(err)).because(err)
	}
	return r
}

// read lists the token's certificates and the private keys it shows.
func (t *token) read(m module) error {
	sh, err := m.OpenSession(t.slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		hint := ""
		if !t.initialized() {
			hint = "it was never set up: initialize it with the card's own software"
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

// readCerts reads the certificates of a token, those with an id if one is given.
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

// readKeys reads the private keys that a token shows, those with an id if one
// is given.
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
		// A token that does not say is taken to keep its keys private, and not
		// to want a PIN for every use (PKCS#11 v2.40, section 4.9).
		k.private = len(v[3]) != 1 || v[3][0] != 0
		k.always = len(v[4]) == 1 && v[4][0] != 0
		keys = append(keys, k)
	}
	return keys, nil
}

// find lists the objects of a class, those with an id if one is given.
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
			m.FindObjectsFinal(sh) // the first error is the one to tell
			return nil, err
		}
		if len(some) == 0 {
			break
		}
		all = append(all, some...)
	}
	return all, m.FindObjectsFinal(sh)
}

// attribute reads one attribute, alone because a module that lacks one refuses
// all that were asked for with it. One that is not there is nil.
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

// ulong is a CK_ULONG as attributes hold it.
func ulong(n uint) []byte { return pkcs11.NewAttribute(0, n).Value }

func (c *certificate) name() string {
	if len(c.id) == 0 {
		return quote(c.label) + " (without id)"
	}
	return quote(c.label) + " (id=" + escapeAll(c.id) + ")"
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
// NULs by some modules.
func trim(s string) string { return strings.TrimRight(s, " \x00") }

func trimmed(ti pkcs11.TokenInfo) pkcs11.TokenInfo {
	ti.Label, ti.ManufacturerID = trim(ti.Label), trim(ti.ManufacturerID)
	ti.Model, ti.SerialNumber = trim(ti.Model), trim(ti.SerialNumber)
	return ti
}

// sameToken reports whether two token infos are of one card.
func sameToken(a, b pkcs11.TokenInfo) bool {
	return a.SerialNumber == b.SerialNumber && a.Label == b.Label && a.ManufacturerID == b.ManufacturerID && a.Model == b.Model
}

// flagWords names the token flags that tell a person something.
func flagWords(flags uint) []string {
	words := []string{}
	for _, f := range []struct {
		flag uint
		word string
	}{
		{pkcs11.CKF_LOGIN_REQUIRED, "login required"},
		{pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH, "asks for the PIN itself"},
		{pkcs11.CKF_USER_PIN_INITIALIZED, "PIN set"},
		{pkcs11.CKF_TOKEN_INITIALIZED, "initialized"},
		{pkcs11.CKF_WRITE_PROTECTED, "write-protected"},
		{pkcs11.CKF_USER_PIN_COUNT_LOW, "fewer PIN tries left"},
		{pkcs11.CKF_USER_PIN_FINAL_TRY, "final PIN try"},
		{pkcs11.CKF_USER_PIN_LOCKED, "PIN locked"},
		{pkcs11.CKF_USER_PIN_TO_BE_CHANGED, "PIN must be changed"},
		{pkcs11.CKF_ERROR_STATE, "in an error state"},
	} {
		if flags&f.flag != 0 {
			words = append(words, f.word)
		}
	}
	return words
}

// pinRequest is what a token's flags say of its PIN.
func pinRequest(flags uint) PINRequest {
	return PINRequest{fewTries: flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0, finalTry: flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0}
}

// report turns what was seen into a SlotReport.
func (t *token) report(used *certificate, err error) SlotReport {
	r := &TokenReport{Label: t.info.Label, Manufacturer: t.info.ManufacturerID, Model: t.info.Model, Serial: t.info.SerialNumber,
		Flags: flagWords(t.info.Flags), matches: t.matches, Certificates: []CertificateReport{}}
	if err != nil {
		r.Err = asError(err)
	}
	if flags := t.info.Flags; flags&(pkcs11.CKF_LOGIN_REQUIRED|pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH) != 0 {
		r.Warning = pinRequest(flags).Warning()
		if flags&pkcs11.CKF_USER_PIN_LOCKED != 0 {
			r.Locked = errLocked()
		}
	}
	for i := range t.certs {
		c := &t.certs[i]
		cr := CertificateReport{Label: c.label, ID: hex.EncodeToString(c.id), DER: c.der, CA: c.parsed != nil && isCA(c.parsed), Used: c == used}
		if c.err != nil {
			cr.Err = asError(c.err)
		}
		r.Certificates = append(r.Certificates, cr)
	}
	r.Keys = keyReports(t.keys)
	return SlotReport{ID: t.slot, Description: t.slotName, Token: r}
}

func keyReports(keys []privateKey) []KeyReport {
	reports := []KeyReport{}
	for _, k := range keys {
		reports = append(reports, KeyReport{Label: k.label, ID: hex.EncodeToString(k.id), Type: k.kind})
	}
	return reports
}
