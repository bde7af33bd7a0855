package crypto

import (
	"crypto/sha256"
	"slices"

	"chatsecure/proto"
)

// MaxLetterEntries bounds the records or receipts of one letter.
const MaxLetterEntries = 512

// LetterHeader is the header of a letter. K signs its exact bytes.
type LetterHeader struct {
	Letter    []byte `json:"letter"`
	Kind      string `json:"kind"`
	SrcBundle []byte `json:"src-bundle"` // bundle hash of the sender
	DstBundle []byte `json:"dst-bundle"` // that of the receiver, which names the mailbox
	Mailbox   []byte `json:"mailbox"`
	EncHash   []byte `json:"enc-hash"`
	Time      int64  `json:"time"` // Unix milliseconds
	N         uint64 `json:"n"`    // of the texts from the mailbox of src-bundle to this one, from 1; of receipts it says nothing
	Count     uint64 `json:"count"`
	Digest    []byte `json:"digest"`
}

// ParseLetterHeader decodes a letter's header and checks its form. Errors are a
// *proto.Error.
func ParseLetterHeader(b []byte) (*LetterHeader, error) {
	var h LetterHeader
	if err := proto.Unmarshal(b, &h); err != nil {
		return nil, letterError("its header: %v", err)
	}
	for _, hash := range [...][]byte{h.Letter, h.SrcBundle, h.DstBundle, h.Mailbox, h.EncHash, h.Digest} {
		if len(hash) != sha256.Size {
			return nil, letterError("its header has a hash of another length")
		}
	}
	switch {
	case h.Kind != LetterText && h.Kind != LetterReceipt:
		return nil, letterError("it is of no known kind")
	case h.Count == 0 || h.Count > MaxLetterEntries:
		return nil, letterError("%d entries, 1 to %d are allowed", h.Count, MaxLetterEntries)
	case h.Time < 0 || h.N == 0:
		return nil, letterError("its header has a time or number that no letter has")
	}
	return &h, nil
}

// LetterSigns returns the tuple that K signs for a letter, of its exact header.
func LetterSigns(header []byte) []byte { return proto.Tuple("letter", header) }

// FirstLetterDigest returns d0 of a letter. NextDigest goes on from it.
func FirstLetterDigest(letter, mailbox [32]byte) [32]byte {
	return proto.HashTuple("letter-records", letter, mailbox)
}

// LetterReceiptEntry says of one record how far it came.
type LetterReceiptEntry struct {
	ID    []byte `json:"id"`    // FullRecordID
	Level string `json:"level"` // DELIVERED or READ
	Time  int64  `json:"time"`  // Unix milliseconds
}

// The levels of a receipt in a letter.
const (
	LevelDelivered = "DELIVERED" // checked and stored
	LevelRead      = "READ"      // shown, or written to standard output
)

// LetterReceipts are the receipts of one letter.
type LetterReceipts []LetterReceiptEntry

// Digest returns the digest in the header of their letter.
func (r LetterReceipts) Digest(letter, mailbox [32]byte) [32]byte {
	list := make(proto.List, len(r))
	for i, e := range r {
		list[i] = proto.List{e.ID, e.Level, uint64(e.Time)}
	}
	return proto.HashTuple("letter-receipts", letter, mailbox, list)
}

// ParseLetterReceipts decodes the receipts of a letter and checks their form. Errors are a
// *proto.Error.
func ParseLetterReceipts(b []byte) (LetterReceipts, error) {
	var r LetterReceipts
	if err := proto.Unmarshal(b, &r); err != nil {
		return nil, letterError("its receipts: %v", err)
	}
	if len(r) == 0 || len(r) > MaxLetterEntries {
		return nil, letterError("%d receipts, 1 to %d are allowed", len(r), MaxLetterEntries)
	}
	if slices.ContainsFunc(r, func(e LetterReceiptEntry) bool {
		return len(e.ID) != sha256.Size || e.Level != LevelDelivered && e.Level != LevelRead || e.Time < 0
	}) {
		return nil, letterError("a malformed receipt")
	}
	return r, nil
}
