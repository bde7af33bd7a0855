//go:build cgo

package card

import (
	"encoding/hex"

	"github.com/miekg/pkcs11"
)

// slotReports turns the sight of a module into reports. ch is the choice of Open.
func slotReports(seen sight, all []choice, ch choice) []SlotReport {
	reports := []SlotReport{}
	for _, c := range all {
		var used *certificate
		if c.token == ch.token {
			used = ch.cert
		}
		reports = append(reports, c.token.report(used, c.err))
	}
	return append(reports, seen.empty...)
}

// flagWords names the set flags of interest to people.
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

// report returns the report of a token, with the certificate used from it, if
// any, and the reason if it cannot be used.
func (t *token) report(used *certificate, err error) SlotReport {
	r := &TokenReport{Label: t.info.Label, Manufacturer: t.info.ManufacturerID, Model: t.info.Model, Serial: t.info.SerialNumber,
		Flags: flagWords(t.info.Flags), Certificates: []CertificateReport{}}
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
