package card

import "slices"

// Report is the result of Survey. Its text comes from the token or module and
// may hold any character, so that it must be made visible before it is shown.
type Report struct {
	Modules []ModuleReport
	Err     *Error // Open would fail with this; nil if it would not
}

// Used returns the token whose certificate Open would choose, or nil.
func (r *Report) Used() *TokenReport {
	for _, m := range r.Modules {
		for _, s := range m.Slots {
			if s.Token != nil && slices.ContainsFunc(s.Token.Certificates, func(c CertificateReport) bool { return c.Used }) {
				return s.Token
			}
		}
	}
	return nil
}

// ModuleReport is one PKCS#11 module, or one software card.
type ModuleReport struct {
	Path        string
	Description string // by the module, or "software card"
	Slots       []SlotReport
	Err         *Error // the reason if it could not be read, or nil
}

// SlotReport is one slot, which is a reader in most modules.
type SlotReport struct {
	ID          uint
	Description string
	Token       *TokenReport // nil if the slot is empty
	Err         *Error       // the reason if the card in it cannot be read, or nil
}

// TokenReport is one card or token.
type TokenReport struct {
	Label        string
	Manufacturer string
	Model        string
	Serial       string
	Flags        []string // set flags, as words
	Certificates []CertificateReport
	Keys         []KeyReport // visible without login
	Locked       *Error      // set if the token needs a PIN and it is locked
	Warning      string      // about earlier wrong PINs, "" if there were none
	Err          *Error      // the reason if it cannot be used, or nil
}

// CertificateReport is one certificate on a token.
type CertificateReport struct {
	Label string
	ID    string // CKA_ID in hex
	DER   []byte
	CA    bool
	Used  bool   // Open would choose it
	Err   *Error // the reason if it cannot be read, or nil
}

// KeyReport is one private key on a token.
type KeyReport struct {
	Label string
	ID    string // CKA_ID in hex
	Type  string // "RSA", "EC" or "other"
}
