package crypto

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"slices"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// The client-connect handshake, end to end between two connections: A begins
// (initiator.go), B answers (responder.go). The relay copies the bodies: the exact
// bytes of p1, p2, p3 or a retry, then the signature and the confirmation in
// base64, a line each. PROTOCOL.md, "Client-connect".

const nonceSize = 32

// An End is one end of a conversation: a name, spelt as in its bundle, and a
// connection id.
type End struct {
	Name, Conn string
}

// A Local is this client's side of every handshake. Its fields do not change.
type Local struct {
	Key        *trust.Key
	Bundle     *trust.Bundle
	Identity   [32]byte // that the bundle proves
	FoldedName string   // the bundle's name, folded
	Suites     []string // allowed, best first
	Takes      string   // the kind of message that this connection takes
	// Letter returns the number of the last letter left for an identity in a mailbox, 0 for
	// none. Any goroutine may call it. Nil stands for a side that leaves none.
	Letter func(identity [32]byte, mailbox []byte) uint64
	Keys   *KeySource
}

// VerifyFunc checks a bundle as trust.Verifier.Verify does, and may demand more of
// its person. The handshakes verify the signature by the bundle's K before they
// call it.
type VerifyFunc func(b *trust.Bundle, name string) (*trust.Person, error)

type phase1 struct {
	Type    string        `json:"type"` // p1
	Nonce   []byte        `json:"data"`
	Ciphers []string      `json:"ciphers"`
	Cipher  string        `json:"cipher"` // the suite of Key: the first, or the retry's
	Key     []byte        `json:"key"`
	Src     string        `json:"src"`
	SrcID   string        `json:"src-id"`
	Dst     string        `json:"dst"`
	DstID   string        `json:"dst-id"`
	Bundle  *trust.Bundle `json:"bundle"`
	Takes   string        `json:"takes"`
	Retry   []byte        `json:"retry,omitempty"` // H(tuple("cc-retried", old p1, retry))
}

type retry struct {
	Type   string        `json:"type"` // retry
	Cipher string        `json:"cipher"`
	Bundle *trust.Bundle `json:"bundle"`
}

type phase2 struct {
	Type   string        `json:"type"` // p2
	Cipher string        `json:"cipher"`
	Enc    []byte        `json:"data"`
	Key    []byte        `json:"key"`
	Bundle *trust.Bundle `json:"bundle"`
	Takes  string        `json:"takes"`
	Letter uint64        `json:"letter"` // n of B's last letter to A's mailbox
}

type phase3 struct {
	Type string `json:"type"` // p3
	Enc  []byte `json:"data"`
	Key  []byte `json:"key"`
	// Letter is the n of A's last letter to B's mailbox, which A knows from p2 only.
	Letter uint64 `json:"letter"`
}

// letterTo returns the n of the last letter to a person in the mailbox that a bundle names.
func (l *Local) letterTo(p *trust.Person, b *trust.Bundle) uint64 {
	if l.Letter == nil || len(b.Mailbox) == 0 {
		return 0
	}
	return l.Letter(p.Identity, b.Mailbox)
}

// PeekPhase returns the type that a client-connect body claims: "p1", "p2", "p3",
// "retry", or "" for anything else.
func PeekPhase(body []byte) string {
	for _, typ := range [...]string{"p1", "p2", "p3", "retry"} {
		if bytes.HasPrefix(body, []byte(`{"type":"`+typ+`"`)) {
			return typ
		}
	}
	return ""
}

// Attempt names the handshake of a p1 in an error. It is made of the body as it is, so that a
// malformed one has a name, too.
func Attempt(p1 []byte) [32]byte { return sha256.Sum256(p1) }

// joinBody makes a body of the exact bytes of a phase and the parts that go with
// them.
func joinBody(p []byte, with ...[]byte) []byte {
	b := slices.Clone(p)
	for _, w := range with {
		b = append(b, '\n')
		b = proto.AppendBase64(b, w)
	}
	return b
}

// splitBody takes a body of a phase and n parts apart. Strangers send it, so its length is
// bounded before anything is decoded.
func splitBody(body []byte, n int) (p []byte, with [][]byte, err error) {
	if len(body) > proto.MaxHandshakeLine {
		return nil, nil, handshakeError("a body that is too long")
	}
	lines := bytes.SplitN(body, []byte("\n"), n+2) // one more line than allowed
	if len(lines) != n+1 {
		return nil, nil, handshakeError("malformed body")
	}
	for _, line := range lines[1:] {
		w, ok := proto.DecodeBase64(nil, line)
		if !ok {
			return nil, nil, handshakeError("malformed body")
		}
		with = append(with, w)
	}
	return lines[0], with, nil
}

// verifyBundle checks the bundle's form, a signature by its K, then the bundle: the
// cheap checks first.
func verifyBundle(b *trust.Bundle, name string, signed, sig []byte, verify VerifyFunc) (*trust.Person, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	k, err := b.Key()
	if err != nil {
		return nil, err
	}
	if !k.Verify(signed, sig) {
		return nil, ErrSignature
	}
	return verify(b, name)
}

// confirmB is the confirmation in p2.
func confirmB(root0 []byte, t2 [32]byte) []byte {
	key := expandLabel(root0, "confirm B", secretSize)
	defer clear(key)
	return confirm(key, t2)
}

// confirm is HMAC-SHA256 over a transcript hash.
func confirm(key []byte, t [32]byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(t[:])
	return h.Sum(nil)
}
