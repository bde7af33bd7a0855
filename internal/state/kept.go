package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Credential is a K with the delegation that a card signed for it. A client
// proves itself with it until the delegation ends.
type Credential struct {
	Key    *trust.Key
	Bundle *trust.Bundle
}

// keptFile is a credential on disk. Until its delegation ends, anybody who reads
// it can act as the user. So only the owner can read it, and it is erased on logout
// and when its time is over.
type keptFile struct {
	V      int           `json:"v"`
	Card   string        `json:"card"` // the name that the card was opened by
	Key    []byte        `json:"key"`  // K, PKCS #8
	Bundle *trust.Bundle `json:"bundle"`
}

const (
	keptVersion = 1
	maxKept     = 64 << 10 // bytes of the file: a bundle of 27 KiB and an RSA key
)

// Keep stores a credential in place of an earlier one. card is the name that the
// card was opened by, which LoadKept compares.
func (s *State) Keep(c *Credential, card string) error {
	key := c.Key.PKCS8()
	defer clear(key)
	data, err := proto.Marshal(&keptFile{V: keptVersion, Card: card, Key: key, Bundle: c.Bundle})
	if err != nil {
		return fail.AsError(err)
	}
	defer clear(data)
	if err := ReplaceFile(s.keptPath(), data); err != nil {
		return Failure(err)
	}
	return nil
}

func (s *State) keptPath() string { return filepath.Join(s.dir, keptName) }

// HasKept tells whether there is a stored credential, without a look at it.
func (s *State) HasKept() bool {
	_, err := os.Lstat(s.keptPath())
	return err == nil
}

// LoadKept returns the stored credential, or nil if there is none for this name
// and card ("" stands for any card). It erases one whose delegation has ended. It
// refuses a file that others could read: they may have the key.
func (s *State) LoadKept(name, card string, now time.Time) (*Credential, error) {
	info, err := os.Lstat(s.keptPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, fail.Errorf(proto.Card, "the kept key %s has the mode %04o, "+
			"so others may have read it", s.keptPath(), info.Mode().Perm()).With(eraseKept)
	}
	data, err := ReadFile(s.keptPath(), maxKept)
	if err != nil {
		return nil, Failure(err)
	}
	defer clear(data)
	var kept keptFile
	err = proto.Unmarshal(data, &kept)
	defer clear(kept.Key)
	damaged := fail.Errorf(proto.Card, "the kept key %s is damaged", s.keptPath()).With(eraseKept)
	if err != nil || kept.V != keptVersion || kept.Bundle == nil {
		return nil, damaged
	}
	if now.Unix() > kept.Bundle.NotAfter {
		_, err := s.EraseKept()
		return nil, err
	}
	if kept.Bundle.Name != name || card != "" && kept.Card != card {
		return nil, nil
	}
	key, err := trust.ParseKey(kept.Key)
	if err != nil {
		return nil, damaged
	}
	if string(key.Public().SPKI()) != string(kept.Bundle.PublicKey) {
		key.Erase()
		return nil, damaged
	}
	return &Credential{Key: key, Bundle: kept.Bundle}, nil
}

const eraseKept = "client logout erases it; then have the card sign a new one"

// EraseKept erases the stored credential, and returns false if there is none.
func (s *State) EraseKept() (bool, error) {
	switch err := EraseFile(s.keptPath()); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, Failure(err)
	}
	return true, nil
}
