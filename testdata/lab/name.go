package lab

import (
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
)

// attributes are the object identifiers of DN's short names.
var attributes = map[string]asn1.ObjectIdentifier{
	"C":            {2, 5, 4, 6},
	"O":            {2, 5, 4, 10},
	"OU":           {2, 5, 4, 11},
	"SN":           {2, 5, 4, 4},
	"GN":           {2, 5, 4, 42},
	"serialNumber": {2, 5, 4, 5},
	"CN":           {2, 5, 4, 3},
}

// DN builds a distinguished name from pairs of short name and value: one attribute
// in each RDN, in this order, like the real certificates. (pkix.Name would join
// two OU in one RDN, and sort.) It panics on an unknown short name, which is a
// mistake in a test.
func DN(pairs ...string) pkix.RDNSequence {
	if len(pairs)%2 != 0 {
		panic("lab.DN: a name without a value")
	}
	var dn pkix.RDNSequence
	for i := 0; i < len(pairs); i += 2 {
		oid, ok := attributes[pairs[i]]
		if !ok {
			panic(fmt.Sprintf("lab.DN: unknown attribute %q", pairs[i]))
		}
		dn = append(dn, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: pairs[i+1]}})
	}
	return dn
}

// citizen is the subject of an authentication certificate on a card.
func citizen(name, civil string) pkix.RDNSequence {
	given, surname := strings.ToUpper(name)+" MARIA", "EXEMPLO"
	return DN("C", "PT", "O", "Cartão de Cidadão", "OU", "Cidadão Português", "OU", "Autenticação do Cidadão",
		"SN", surname, "GN", given, "serialNumber", civil, "CN", given+" "+surname)
}

// civilNumber completes eight digits to the serialNumber on a card: "BI", the
// digits, and the check digit (weights 9 to 2, modulo 11, ten as 0).
func civilNumber(digits string) string {
	sum := 0
	for i, d := range digits {
		sum += int(d-'0') * (9 - i)
	}
	check := (11 - sum%11) % 11 % 10
	return fmt.Sprintf("BI%s%d", digits, check)
}

// newCivilNumber returns a number unused in this lab. It begins with 9, like no
// real civil number yet.
func (p *PKI) newCivilNumber() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		n, err := rand.Int(rand.Reader, big.NewInt(10_000_000))
		if err != nil {
			return "", err
		}
		civil := civilNumber(fmt.Sprintf("9%07d", n))
		if !p.civil[civil] {
			p.civil[civil] = true
			return civil, nil
		}
	}
}
