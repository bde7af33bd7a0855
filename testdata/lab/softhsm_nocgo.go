//go:build !cgo

package lab

import "errors"

// SoftHSM needs cgo, which this build is without.
func (p *PKI) SoftHSM(dir string, holders ...*Holder) (*Tokens, error) {
	return nil, errors.New("built without cgo: no PKCS#11 tokens")
}

// SoftHSMWith needs cgo, which this build is without.
func (p *PKI) SoftHSMWith(dir string, opts TokenOptions, holders ...*Holder) (*Tokens, error) {
	return p.SoftHSM(dir, holders...)
}
