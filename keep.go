package chatsecure

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// keptFile is a credential on disk: with it, and until its delegation ends,
// whoever reads it is the user. So only the owner reads it, and it goes when
// its time is over or on logout.
type keptFile struct {
	V      int            `json:"v"`
	Card   string         `json:"card"` // as it was named when it signed
	Key    []byte         `json:"key"`  // K, PKCS #8
	Bundle *crypto.Bundle `json:"bundle"`
}

const (
	keptVersion = 1
	// maxKept bounds the file in bytes: a bundle of 27 KiB and an RSA key.
	maxKept = 64 << 10
)

// Keep stores a credential, in the place of one that was stored before. card
// is how the card was named; LoadKept compares it.
func (s *State) Keep(c *Credential, card string) error {
	key := c.Key.PKCS8()
	defer clear(key)
	data, err := canon.Marshal(&keptFile{V: keptVersion, Card: card, Key: key, Bundle: c.Bundle})
	if err != nil {
		return AsError(err)
	}
	defer clear(data)
	if err := replaceStateFile(s.keptPath(), data); err != nil {
		return stateError(err)
	}
	return nil
}

func (s *State) keptPath() string { return filepath.Join(s.dir, stateKept) }

// LoadKept returns the credential that was stored, or nil if there is none for
// this name and card ("" stands for any card). One whose delegation has ended
// is erased. A file that others could read is refused: the key in it may not
// be the user's alone any more.
func (s *State) LoadKept(name, card string, now time.Time) (*Credential, error) {
	info, err := os.Lstat(s.keptPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, &Error{
			Code:    proto.Card,
			Message: fmt.Sprintf("the kept key %s has the mode %04o, so others may have read it", s.keptPath(), info.Mode().Perm()),
			Hint:    "client logout erases it; then have the card sign a new one",
		}
	}
	data, err := readStateFile(s.keptPath(), maxKept)
	if err != nil {
		return nil, stateError(err)
	}
	defer clear(data)
	var kept keptFile
	err = canon.Unmarshal(data, &kept)
	defer clear(kept.Key)
	if err != nil || kept.V != keptVersion || kept.Bundle == nil {
		return nil, s.badKept(nil)
	}
	if now.Unix() > kept.Bundle.NotAfter {
		_, err := s.EraseKept()
		return nil, err
	}
	if kept.Bundle.Name != name || card != "" && kept.Card != card {
		return nil, nil
	}
	key, err := crypto.ParseKey(kept.Key)
	if err != nil {
		return nil, s.badKept(err)
	}
	if string(key.Public().SPKI()) != string(kept.Bundle.PublicKey) {
		key.Erase()
		return nil, s.badKept(nil)
	}
	return &Credential{Key: key, Bundle: kept.Bundle}, nil
}

func (s *State) badKept(err error) *Error {
	return &Error{
		Code:    proto.Card,
		Message: "the kept key " + s.keptPath() + " is damaged",
		Hint:    "client logout erases it; then have the card sign a new one",
		Err:     err,
	}
}

// EraseKept erases the stored credential, and returns false if there was none.
// It is overwritten before it is removed; a file system that writes elsewhere,
// or a backup, may still have it until its delegation ends.
func (s *State) EraseKept() (bool, error) {
	info, err := os.Lstat(s.keptPath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && info.Mode().IsRegular() {
		err = overwrite(s.keptPath(), info.Size())
	}
	// A file that cannot be overwritten is removed all the same.
	if removeErr := os.Remove(s.keptPath()); removeErr != nil {
		return false, stateError(errors.Join(removeErr, err))
	}
	if err := syncStateDir(s.dir); err != nil {
		return false, stateError(err)
	}
	return true, nil
}

// overwrite fills a file with zeros and forces them to the disk.
func overwrite(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, min(size, maxKept)), 0)
	return errors.Join(err, syncFile(f), f.Close())
}
