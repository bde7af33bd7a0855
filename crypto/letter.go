package crypto

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// A letter is a message to a mailbox, for somebody who is not there. It is sealed to a
// key that lives for days, under a secret that serves once. letteropen.go opens it, what
// lies around the seal is in letteroutside.go, the signed header and the receipts are in
// letterheader.go.
// PROTOCOL.md, "Letters".

// The kinds of letter.
const (
	LetterText    = proto.LetterText
	LetterReceipt = proto.LetterReceipt
)

// LetterDraft is a letter before it is sealed. It has records or receipts, and not both.
type LetterDraft struct {
	Key        *trust.Key
	Bundle     *trust.Bundle
	MailboxKey []byte   // of one's own mailbox, which Bundle names, or empty
	To         [32]byte // hash of the receiver's bundle
	ToKey      []byte   // the mailbox key that this bundle names
	N          uint64   // of the texts left from one's own mailbox in that one, from 1; any number for receipts
	Time       time.Time
	Records    []*Record // their seq does not count
	Receipts   LetterReceipts
}

// Letter is a letter as its sender has sealed it or its receiver has opened it.
type Letter struct {
	ID, Mailbox      [32]byte
	Header           *LetterHeader
	Exact, Signature []byte // the header's exact bytes, and K's signature over LetterSigns of them
	Bundle           *trust.Bundle
	MailboxKey       []byte // of the sender's mailbox, or empty

	Records       []*Record // of a letter that was opened, only after ReadRecords; so are Receipts
	ExactRecords  [][]byte
	Receipts      LetterReceipts
	ExactReceipts []byte

	Body []byte // as it crosses

	inside []byte // records or receipts of a letter that was opened, before ReadRecords
}

// SealLetter seals and signs a letter. The caller has verified the receiver's bundle. One
// that is too long for its sender's bundle is a *proto.Error with the code too-long; see
// LetterRoom.
func SealLetter(d LetterDraft) (*Letter, error) {
	var id [32]byte
	rand.Read(id[:])
	enc, ss, err := mailboxSuite().Encapsulate(d.ToKey, letterInfo(id, MailboxHash(d.ToKey)))
	if err != nil {
		return nil, err
	}
	defer clear(ss)
	return d.seal(id, enc, ss)
}

// seal is SealLetter after the encapsulation.
func (d *LetterDraft) seal(id [32]byte, enc, ss []byte) (*Letter, error) {
	if err := checkOwnMailbox(d.Bundle, d.MailboxKey); err != nil {
		return nil, err
	}
	l := &Letter{ID: id, Mailbox: MailboxHash(d.ToKey), Bundle: d.Bundle, MailboxKey: d.MailboxKey}
	src, encHash := d.Bundle.Hash(), sha256.Sum256(enc)
	l.Header = &LetterHeader{
		Letter: l.ID[:], SrcBundle: src[:], DstBundle: d.To[:], Mailbox: l.Mailbox[:], EncHash: encHash[:],
		Time: d.Time.UnixMilli(), N: d.N,
	}
	inside, err := l.enclose(d)
	if err != nil {
		return nil, err
	}
	l.Exact = proto.MustMarshal(l.Header)
	if _, err := ParseLetterHeader(l.Exact); err != nil {
		return nil, err
	}
	l.Signature = d.Key.Sign(LetterSigns(l.Exact))
	if len(l.Signature) != d.Key.SignatureSize() {
		return nil, errors.New("the signing key has been erased")
	}
	plaintext := joinLetter(proto.MustMarshal(l.Bundle), l.MailboxKey, l.Exact, l.Signature, inside)
	defer clear(plaintext)
	l.Body = sealLetterBody(&LetterOutside{Letter: l.ID[:], Suite: SuiteMLKEM, Mailbox: l.Mailbox[:], Enc: enc}, ss, plaintext)
	if len(l.Body) > proto.MaxLetter {
		return nil, tooLongLetter(l.Body)
	}
	return l, nil
}

// enclose sets kind, count and digest of the header, and returns the records or receipts as
// they are sealed. No receiver would ever take bad ones.
func (l *Letter) enclose(d *LetterDraft) (inside []byte, err error) {
	h := l.Header
	if (len(d.Records) == 0) == (len(d.Receipts) == 0) {
		return nil, letterError("it needs records or receipts, and has both or none")
	}
	if len(d.Records) == 0 {
		inside = proto.MustMarshal(d.Receipts)
		if l.Receipts, err = ParseLetterReceipts(inside); err != nil {
			return nil, err
		}
		digest := l.Receipts.Digest(l.ID, l.Mailbox)
		h.Kind, h.Count, h.Digest = LetterReceipt, uint64(len(l.Receipts)), digest[:]
		l.ExactReceipts = inside
		return inside, nil
	}
	digest := FirstLetterDigest(l.ID, l.Mailbox)
	for i, r := range d.Records {
		if err := r.check(); err != nil {
			return nil, err
		}
		numbered := *r // in a conversation the record has another seq
		numbered.Seq = uint64(i) + 1
		exact := numbered.Encode()
		l.Records, l.ExactRecords = append(l.Records, &numbered), append(l.ExactRecords, exact)
		digest = NextDigest(digest, sha256.Sum256(exact))
	}
	h.Kind, h.Count, h.Digest = LetterText, uint64(len(d.Records)), digest[:]
	return bytes.Join(l.ExactRecords, []byte("\n")), nil
}

// joinLetter makes the plaintext.
func joinLetter(bundle, mailboxKey, header, signature, inside []byte) []byte {
	return bytes.Join([][]byte{bundle, proto.AppendBase64(nil, mailboxKey), header, proto.AppendBase64(nil, signature), inside}, []byte("\n"))
}

// sealLetterBody makes the letter as it crosses.
func sealLetterBody(o *LetterOutside, ss, plaintext []byte) []byte {
	outside := proto.MustMarshal(o)
	key := letterKey(ss, o.Letter, outside)
	defer clear(key)
	body := make([]byte, 0, len(outside)+1+len(plaintext)+sealOverhead)
	return mailboxSuite().Seal(append(append(body, outside...), '\n'), key, outside, plaintext)
}

// mailboxSuite is the suite of every mailbox.
func mailboxSuite() Suite { return SuiteByName(SuiteMLKEM) }

// letterInfo is the info of the encapsulation.
func letterInfo(letter, mailbox [32]byte) []byte { return proto.Tuple("letter-kem", letter, mailbox) }

// letterKey is the message key of a letter. The exact outside, which has enc, is in it.
func letterKey(ss, letter, outside []byte) []byte {
	prk := extract(ss, letter)
	defer clear(prk)
	return expand(prk, proto.Tuple("letter-key", SuiteMLKEM, sha256.Sum256(outside)), secretSize)
}

// letterError is the refusal of a letter that is malformed, or another than it says.
func letterError(format string, args ...any) error {
	return proto.Errorf(proto.Malformed, "letter: %s", fmt.Sprintf(format, args...))
}

// tooLongLetter is the refusal of a letter that no relay takes.
func tooLongLetter(body []byte) error {
	return proto.Errorf(proto.TooLong, "a letter of %d bytes, at most %d are allowed", len(body), proto.MaxLetter)
}
