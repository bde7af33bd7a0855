package crypto

import (
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// These forms stand here and not in package proto because a bundle is in them.

// Hello is the payload of connect phase 3: the client's identity, and the kind of
// message that it takes.
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

// WhoisEntry is one connection in the body of a whois answer, a JSON array.
type WhoisEntry struct {
	ID     string        `json:"id"`
	Takes  string        `json:"takes"`
	Since  int64         `json:"since"` // Unix seconds
	Bundle *trust.Bundle `json:"bundle"`
}
