package history

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// ProofComparison is the relation of two proofs.
type ProofComparison struct {
	Same      bool     // one record: the same id, text and recipients
	Conflict  bool     // the sender signed two versions of one thing
	different []string // the differences: sentences, safe to print
}

// CompareProofs compares two proofs that hold. Two members of a group learn from it
// whether the sender told them the same.
func CompareProofs(a, b *ProofReport) ProofComparison {
	var c ProofComparison
	differ := func(what string, differs bool, x, y string) {
		if differs {
			c.different = append(c.different, fmt.Sprintf("%s: %s and %s", what, x, y))
		}
	}
	differ("the ids differ", a.ID != b.ID, a.ID, b.ID)
	sender := a.From.Identity == b.From.Identity
	differ("the senders differ", !sender, personText(a.From), personText(b.From))
	text := a.Text == b.Text
	differ("the texts differ", !text, proofQuote(a.Text), proofQuote(b.Text))
	to := slices.Equal(a.To, b.To)
	differ("the recipients differ", !to, proofRecipients(a.To), proofRecipients(b.To))
	differ("the times of writing differ", !a.Written.Equal(b.Written), proofTime(a.Written), proofTime(b.Written))
	content := sender && text && to && a.Written.Equal(b.Written)
	c.Same = a.ID == b.ID && content
	switch {
	case a.ID == b.ID && !content:
		c.Conflict = true // the id is a hash of all of these
	case sender && a.Written.Equal(b.Written) && a.ID != b.ID && (text != to):
		c.Conflict = true // one moment, told in two ways
	case sender && a.header.Direction == b.header.Direction &&
		bytes.Equal(a.header.Conversation, b.header.Conversation):
		// One message has one number and one signature.
		c.Conflict = a.header.N == b.header.N && !bytes.Equal(a.exact, b.exact) || a.seq == b.seq && a.ID != b.ID
	}
	return c
}

// String returns the comparison for people, in one line or more.
func (c ProofComparison) String() string {
	switch {
	case c.Conflict:
		return "the proofs contradict each other: the sender signed two versions\n  " + strings.Join(c.different, "\n  ") + "\n"
	case c.Same:
		return "both prove the same message: same sender, recipients, time and text\n"
	}
	return "the proofs are of different messages\n  " + strings.Join(c.different, "\n  ") + "\n"
}

// maxProofQuote bounds a quoted text in characters.
const maxProofQuote = 200

func proofQuote(s string) string { return proto.QuoteShort(s, maxProofQuote) }

func proofRecipients(to []crypto.Recipient) string {
	var names []string
	for _, rc := range to {
		name := proto.Visible(rc.Name)
		if len(rc.Identity) >= 8 {
			name += " (" + rc.Identity[:8] + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
