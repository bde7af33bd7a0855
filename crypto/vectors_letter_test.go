package crypto

import (
	"bytes"
	"testing"

	"chatsecure/proto"
)

// vectorLetter is a letter with the secrets that open it.
type vectorLetter struct {
	Private    string `json:"private"` // seed of the mailbox
	Mailbox    string `json:"mailbox"` // its hash
	Sender     string `json:"sender"`  // identity
	Body       string `json:"body"`
	Secret     string `json:"secret"` // ss
	MK         string `json:"mk"`
	Bundle     string `json:"bundle"`
	MailboxKey string `json:"mailbox_key"`
	Header     string `json:"header"`
	Signed     string `json:"signed"` // the message that K signs
	Signature  string `json:"signature"`
	Inside     string `json:"inside"` // records, a line each, or receipts
}

type vectorNotALetter struct {
	Why     string     `json:"why"`
	Code    proto.Code `json:"code"`
	Private string     `json:"private"`
	Sender  string     `json:"sender"`
	Body    string     `json:"body"`
}

// letters has good letters, and those of badLetters. All have one encapsulation, that of the file.
func (v *vectors) letters(t *testing.T, old *vectors) {
	t.Helper()
	var enc []byte
	if len(old.Letter) > 0 {
		o, _, _, err := SplitLetter(unhex(t, old.Letter[0].Body))
		Must(t, err)
		enc = o.Enc
	} else if !*Update {
		t.Fatal("no letter to take the encapsulation from")
	}
	p := newPost(t, enc)
	private, sender := hexOf(p.bob.box.Secret()), hexOf(p.alice.identity[:])
	for _, l := range p.letters(t) {
		o, outside, _, err := SplitLetter(l.Body)
		Must(t, err)
		v.Letter = append(v.Letter, vectorLetter{
			private, hexOf(l.Mailbox[:]), sender, hexOf(l.Body), hexOf(p.ss), hexOf(letterKey(p.ss, o.Letter, outside)),
			string(proto.MustMarshal(l.Bundle)), hexOf(l.MailboxKey), string(l.Exact), hexOf(LetterSigns(l.Exact)), hexOf(l.Signature),
			string(bytes.Join(append(l.ExactRecords, l.ExactReceipts), []byte("\n"))),
		})
	}
	v.Letter[0].Inside = string(bytes.TrimSuffix([]byte(v.Letter[0].Inside), []byte("\n")))
	for _, bad := range badLetters {
		if bad.code == proto.TooLong {
			continue // it would be a sixth of the file
		}
		body := p.forge(t, bad.kind, func(f *forgery) { bad.change(t, f) })
		v.NotLetters = append(v.NotLetters, vectorNotALetter{bad.why, bad.code, private, sender, hexOf(body)})
	}
}
