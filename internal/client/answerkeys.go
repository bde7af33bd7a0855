package client

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// The mailbox keys of those who have left letters stand in `from` of the mailbox directory, for the
// receipts of what is shown later, perhaps by another client. They are public.

const (
	fromDir     = "from"
	fromVersion = 1
	maxFromFile = 4 << 10 // bytes: a key takes 1,622 in base64
)

type fromFile struct {
	V    int    `json:"v"`
	Ends int64  `json:"ends"` // of the mailbox, Unix seconds
	Key  []byte `json:"key"`
}

func (m *mail) fromPath(mailbox []byte) string {
	return filepath.Join(m.dir, fromDir, proto.FormatHash([32]byte(mailbox)))
}

// keepKeys keeps the mailbox keys of letters that are stored. Nothing is kept of others'.
func (m *mail) keepKeys(letters []*collected, now time.Time) (err error) {
	for _, it := range letters {
		if it.kind == crypto.LetterText && err == nil {
			err = m.keepKey(it.letter.Bundle, it.letter.MailboxKey, now)
		}
	}
	return err
}

// keepKey keeps the mailbox key of a letter, and forgets those of mailboxes that have ended.
func (m *mail) keepKey(b *trust.Bundle, key []byte, now time.Time) error {
	if len(key) == 0 || now.After(time.Unix(b.MailboxEnd, 0)) {
		return nil
	}
	dir, path := filepath.Join(m.dir, fromDir), m.fromPath(b.Mailbox)
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := state.MakeDir(dir); err != nil {
		return state.Failure(err)
	}
	return m.locked(func() error {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			name := filepath.Join(dir, entry.Name())
			if file, err := readFrom(name); err != nil || now.After(time.Unix(file.Ends, 0)) {
				os.Remove(name)
			}
		}
		return state.ReplaceFile(path, proto.MustMarshal(&fromFile{fromVersion, b.MailboxEnd, key}))
	})
}

// keyOf returns the key of the mailbox that another's bundle names, or nil.
func (m *mail) keyOf(b *trust.Bundle) []byte {
	if b == nil || len(b.Mailbox) == 0 {
		return nil
	}
	file, err := readFrom(m.fromPath(b.Mailbox))
	if err != nil || crypto.MailboxHash(file.Key) != [32]byte(b.Mailbox) {
		return nil
	}
	return file.Key
}

func readFrom(path string) (file fromFile, err error) {
	data, err := state.ReadFile(path, maxFromFile)
	if err == nil {
		err = proto.Unmarshal(data, &file)
	}
	if err == nil && file.V != fromVersion {
		err = errors.New("it has another form")
	}
	return file, err
}
