package crypto

import (
	"bytes"
	"testing"
)

// A mailbox comes back from its secret, and keeps its key when the caller clears the copy that it
// has stored. After Erase it has no secret, and opens nothing.
func TestMailbox(t *testing.T) {
	m, err := NewMailbox()
	Must(t, err)
	first := m.Secret()
	again, err := ParseMailbox(first)
	Must(t, err)
	clear(first)
	for who, box := range map[string]*Mailbox{"the new one": m, "the stored one": again} {
		if bytes.Equal(box.Secret(), first) || !bytes.Equal(box.Secret(), m.Secret()) {
			t.Errorf("%s: its secret was cleared with the caller's copy", who)
		}
		if box.Hash() != MailboxHash(m.Public()) || !bytes.Equal(box.Public(), m.Public()) {
			t.Errorf("%s: another public half", who)
		}
	}
	Must(t, CheckMailboxKey(m.Public()))

	enc, _, err := mlkemSuite{}.Encapsulate(m.Public(), []byte("info"))
	Must(t, err)
	if _, err := (mlkemSuite{}).Decapsulate(m.key, enc, []byte("info")); err != nil {
		t.Fatal(err)
	}
	m.Erase()
	if m.Secret() != nil {
		t.Error("an erased mailbox has its secret")
	}
	if _, err := (mlkemSuite{}).Decapsulate(m.key, enc, []byte("info")); err != ErrDecrypt {
		t.Errorf("an erased mailbox opens: %v", err)
	}
}

func TestMailboxRefused(t *testing.T) {
	m, err := NewMailbox()
	Must(t, err)
	for why, secret := range map[string][]byte{
		"nothing": nil, "31 bytes": m.Secret()[1:], "33 bytes": append(m.Secret(), 0),
	} {
		if _, err := ParseMailbox(secret); err == nil {
			t.Errorf("a secret, %s: taken", why)
		}
	}
	for why, key := range map[string][]byte{
		"nothing": nil, "a byte less": m.Public()[1:], "a byte more": append(m.Public(), 0),
		"a coefficient beyond q": append([]byte{255, 255, 255}, m.Public()[3:]...),
	} {
		if CheckMailboxKey(key) == nil {
			t.Errorf("a key, %s: taken", why)
		}
	}
}
