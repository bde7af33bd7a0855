package card

import (
	"slices"
	"strconv"
)

// Report is what Survey found. Text in it is as the token or module gives it
// and may hold any character: whoever shows it makes it visible.
type Report struct {
	Modules []ModuleReport
	Err     *Error // what Open would fail with, or nil
}

// Used returns the token with the certificate that Open would choose, or nil.
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
	Description string // the module's own, or "software card"
	Slots       []SlotReport
	Err         *Error // why it could not be looked at, or nil
}

// SlotReport is one slot: a reader, mostly.
type SlotReport struct {
	ID          uint
	Description string
	Token       *TokenReport // nil if the slot is empty
	Err         *Error       // why what is in it cannot be read, or nil
}

// TokenReport is one card or token.
type TokenReport struct {
	Label        string
	Manufacturer string
	Model        string
	Serial       string
	Flags        []string // the flags that are set, as words
	matches      bool     // it is one that the URI asked for
	Certificates []CertificateReport
	Keys         []KeyReport // those visible without login
	Locked       *Error      // that a PIN is wanted, and it is locked; or nil
	Warning      string      // that PINs were wrong before, "" if all tries are there
	Err          *Error      // why it cannot be used, or nil
}

// CertificateReport is one certificate on a token.
type CertificateReport struct {
	Label string
	ID    string // CKA_ID in hex
	DER   []byte
	CA    bool
	Used  bool   // this is the one that Open would choose
	Err   *Error // why it cannot be read, or nil
}

// KeyReport is one private key on a token.
type KeyReport struct {
	Label string
	ID    string // CKA_ID in hex
	Type  string // "RSA", "EC" or "other"
}

// quote makes text from a card safe to stand in a sentence: control, bidi and
// zero-width characters become visible escapes.
func quote(s string) string { return strconv.Quote(s) }
