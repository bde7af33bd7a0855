package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
)

// proofVersion and proofType begin every proof, so that nothing else passes for one.
const (
	proofVersion = 1
	proofType    = "chatsecure-proof"
)

// MaxProof bounds a proof in bytes: a record of 640 KiB, two bundles, and 47
// bytes for each of maxProofAhead hashes.
const MaxProof = 2 << 20

// maxProofAhead bounds the records between a message and the receipt in its proof.
// Receipts come after 8192 records at most.
const maxProofAhead = 16384

// Proof is one message that proves itself, in canonical JSON: PROTOCOL.md, "Proofs".
// The names from signature to x509_chain are those of the original's table 3. All of
// it is signed, or hashes to a signed value, or names the format.
type Proof struct {
	V         int       `json:"v"`
	Type      string    `json:"type"`
	Data      proofData `json:"data"`
	Signature []byte    `json:"signature"`
	trust.Bundle
	Digests   proofDigests  `json:"digests"`
	Recipient *trust.Bundle `json:"recipient"`
	Receipt   *proofReceipt `json:"receipt,omitempty"`
}

// proofData is the statement: the message's header and the one record, in their exact
// bytes.
type proofData struct {
	Header json.RawMessage `json:"header"`
	Record json.RawMessage `json:"record"`
}

// proofDigests leads from the record to the signed digest. It has only the hashes of
// the message's other records, whose salts keep their texts secret.
type proofDigests struct {
	Ciphertext []byte   `json:"ciphertext"`        // H(ciphertext)
	Before     []byte   `json:"before"`            // the digest before the message
	Earlier    [][]byte `json:"earlier,omitempty"` // H of the message's records before this one
	Later      [][]byte `json:"later,omitempty"`   // and of those after it
}

// proofReceipt is a receipt by the recipient, with the hashes that lead from the
// message to it.
type proofReceipt struct {
	Header     json.RawMessage `json:"header"`
	Receipt    json.RawMessage `json:"receipt"`
	Signature  []byte          `json:"signature"`
	Ciphertext []byte          `json:"ciphertext"`        // H(ciphertext)
	Records    [][]byte        `json:"records,omitempty"` // H of the records after the message, up to the last delivered one
}

// checkedProof is the content of a proof whose signatures and hashes hold. The persons
// behind the keys are not checked.
type checkedProof struct {
	header  *crypto.MessageHeader
	receipt *crypto.MessageHeader // of the receipt; nil if there is none
	status  Status                // the receipt proves it
}

var errProofForm = errors.New("it is not a proof in its one form")

// check checks all of a proof that needs no certificate.
func (p *Proof) check() (*checkedProof, error) {
	if p.V != proofVersion || p.Type != proofType || p.Recipient == nil {
		return nil, errProofForm
	}
	for _, b := range [...]*trust.Bundle{&p.Bundle, p.Recipient} {
		if err := b.Check(); err != nil {
			return nil, err
		}
	}
	h, err := proofSigned(p.Data.Header, p.Digests.Ciphertext, p.Signature, &p.Bundle, p.Recipient)
	if err != nil {
		return nil, err
	}
	if h.Kind != crypto.KindText {
		return nil, errors.New("the signed bytes are no text message")
	}
	before, err := proofHash(p.Digests.Before)
	if err != nil {
		return nil, err
	}
	own := sha256.Sum256(p.Data.Record)
	hashes := append(append([][]byte{}, p.Digests.Earlier...), own[:])
	hashes = append(hashes, p.Digests.Later...)
	if h.Count != uint64(len(hashes)) {
		return nil, fmt.Errorf("its message has %d records, and the proof %d", h.Count, len(hashes))
	}
	chain, err := proofChain(before, hashes)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(h.Digest, chain[len(chain)-1][:]) {
		return nil, errors.New("the text differs from the signed text, or stands in another place")
	}
	checked := &checkedProof{header: h}
	if p.Receipt != nil {
		checked.receipt, checked.status, err = p.checkReceipt(h, chain)
	}
	return checked, err
}

// proofSigned checks a signature by one bundle's K over a header that names
// both bundles.
func proofSigned(exact, ciphertext, signature []byte, from, to *trust.Bundle) (*crypto.MessageHeader, error) {
	h, err := crypto.ParseMessageHeader(exact)
	if err != nil {
		return nil, err
	}
	fromHash, toHash := from.Hash(), to.Hash()
	if !bytes.Equal(h.SrcBundle, fromHash[:]) || !bytes.Equal(h.DstBundle, toHash[:]) {
		return nil, errors.New("the certificates and delegations in it are not those that the message names")
	}
	cipherHash, err := proofHash(ciphertext)
	if err != nil {
		return nil, err
	}
	key, err := trust.ParsePublicKey(from.PublicKey)
	if err != nil {
		return nil, err
	}
	if !key.Verify(crypto.MessageSigns(exact, cipherHash), signature) {
		return nil, errors.New("the signature does not hold")
	}
	return h, nil
}

func proofHash(b []byte) (h [sha256.Size]byte, err error) {
	if len(b) != sha256.Size {
		return h, errProofForm
	}
	return [sha256.Size]byte(b), nil
}

// proofChain returns d and the digests after it, over these hashes.
func proofChain(d [32]byte, hashes [][]byte) ([][32]byte, error) {
	chain := [][32]byte{d}
	for _, b := range hashes {
		h, err := proofHash(b)
		if err != nil {
			return nil, err
		}
		d = crypto.NextDigest(d, h)
		chain = append(chain, d)
	}
	return chain, nil
}

// checkReceipt checks the receipt in a proof, and returns its header and the status
// that it proves. h is the message's header, and chain has the message's digests from
// the one before its first record on.
func (p *Proof) checkReceipt(h *crypto.MessageHeader, chain [][32]byte) (*crypto.MessageHeader, Status, error) {
	rh, err := proofSigned(p.Receipt.Header, p.Receipt.Ciphertext, p.Receipt.Signature, p.Recipient, &p.Bundle)
	if err != nil {
		return nil, "", fmt.Errorf("the receipt: %w", err)
	}
	r, err := crypto.ParseReceipt(p.Receipt.Receipt)
	if err != nil {
		return nil, "", err
	}
	if rh.Kind != crypto.KindReceipt || !bytes.Equal(rh.Conversation, h.Conversation) || rh.Direction == h.Direction {
		return nil, "", errors.New("the receipt is of another conversation, or none")
	}
	if d := r.Digest([32]byte(rh.Conversation), rh.Direction); !bytes.Equal(rh.Digest, d[:]) {
		return nil, "", errors.New("the receipt differs from the signed receipt")
	}
	more, err := proofChain(chain[len(chain)-1], p.Receipt.Records)
	if err != nil {
		return nil, "", err
	}
	chain = append(chain, more[1:]...)
	base := h.Seq - 1 // chain[0] is the digest after this record
	seq := h.Seq + uint64(len(p.Digests.Earlier))
	batchEnd := base + h.Count
	if end := base + uint64(len(chain)) - 1; r.Delivered < seq || end != max(r.Delivered, batchEnd) {
		return nil, "", errors.New("the receipt is not for this message")
	}
	if !bytes.Equal(chain[r.Delivered-base][:], r.DeliveredDigest) || r.Read >= base && !bytes.Equal(chain[r.Read-base][:], r.ReadDigest) {
		return nil, "", errors.New("the receipt is for other records")
	}
	if r.Read >= seq {
		return rh, StatusRead, nil
	}
	return rh, StatusDelivered, nil
}
