package crypto

import (
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// Hello is the payload of connect phase 3: the client's identity, and the kind of
// message that it takes. It is not in package proto because a bundle is in it.
type Hello struct {
	Name      string        `json:"name"`
	Takes     string        `json:"takes"`
	Bundle    *trust.Bundle `json:"bundle"`
	Signature []byte        `json:"data_signature"` // K over Connect.ClientSigns
}

// ReadHello decodes the opened payload of connect phase 3 and checks the bundle's
// form. Neither the identity nor the signature has been verified. Errors are a
// *proto.Error or a *trust.Error.
func ReadHello(opened []byte) (*Hello, error) {
	var hi Hello
	if err := proto.Unmarshal(opened, &hi); err != nil || hi.Bundle == nil || !proto.ValidTakes(hi.Takes) {
		return nil, proto.Errorf(proto.Malformed, "the sealed part of connect phase 3 is malformed")
	}
	return &hi, hi.Bundle.Check()
}
