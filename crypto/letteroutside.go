package crypto

import (
	"bytes"
	"crypto/sha256"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// LetterOutside is the part of a letter that the relay sees. Its exact bytes are the
// additional data of the seal.
type LetterOutside struct {
	Letter  []byte `json:"letter"` // 32 random bytes
	Suite   string `json:"suite"`
	Mailbox []byte `json:"mailbox"` // hash
	Enc     []byte `json:"enc"`
}

// letterEncSize is the length of an encapsulation of the default suite: RFC 9180's Nenc,
// the ciphertext of ML-KEM-768 and an X25519 point.
const letterEncSize = 1120

// SplitLetter takes a letter apart at the newline behind its outside, and checks form and
// sizes. The relay does no more. Errors are a *proto.Error.
func SplitLetter(body []byte) (o *LetterOutside, exact, sealed []byte, err error) {
	if len(body) > proto.MaxLetter {
		return nil, nil, nil, tooLongLetter(body)
	}
	exact, sealed, ok := bytes.Cut(body, []byte("\n"))
	if !ok || len(sealed) <= letterTag {
		return nil, nil, nil, letterError("nothing is sealed in it")
	}
	o = new(LetterOutside)
	if err := proto.Unmarshal(exact, o); err != nil {
		return nil, nil, nil, letterError("its outside: %v", err)
	}
	if o.Suite != SuiteMLKEM {
		return nil, nil, nil, proto.Errorf(proto.NoCommonSuite, "letter: it is sealed under another suite than %s", SuiteMLKEM)
	}
	if len(o.Letter) != sha256.Size || len(o.Mailbox) != sha256.Size || len(o.Enc) != letterEncSize {
		return nil, nil, nil, letterError("its outside has a field of another length")
	}
	return o, exact, sealed, nil
}

// letterTag is how much longer than the plaintext the sealed bytes are: GCM's tag.
const letterTag = 16

// LetterRoom returns how many bytes of records, each with a newline, or of receipts a
// letter of this sender's has room for.
func LetterRoom(b *trust.Bundle) int {
	const header, signature = 640, 256 // bounds: without base64 the signature of an RSA key
	outside := proto.MustMarshal(&LetterOutside{
		Letter: make([]byte, sha256.Size), Suite: SuiteMLKEM, Mailbox: make([]byte, sha256.Size), Enc: make([]byte, letterEncSize),
	})
	const mailboxKey = 1216
	return proto.MaxLetter - len(outside) - letterTag - len(proto.MustMarshal(b)) - header -
		proto.Base64Len(signature) - proto.Base64Len(mailboxKey) - 5
}
