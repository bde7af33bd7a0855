package relay

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"chatsecure/crypto"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// readBox reads the key and the bundle of a box.
func readBox(b *box) (*storedBox, error) {
	data, err := state.ReadFile(filepath.Join(b.path, boxFile), maxBoxFile)
	if err != nil {
		return nil, err
	}
	var s storedBox
	if err := proto.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if s.V != 1 || s.Bundle == nil || len(s.Before) != 0 && len(s.Before) != sha256.Size {
		return nil, errors.New("it lacks a field")
	}
	if err := s.Bundle.Check(); err != nil {
		return nil, err
	}
	if hash := crypto.MailboxHash(s.Key); hash != b.mailbox || !bytes.Equal(hash[:], s.Bundle.Mailbox) {
		return nil, errors.New("it is of another mailbox")
	}
	return &s, nil
}

// readLetter reads a letter from its file.
func readLetter(lt *letter) (body []byte, err error) {
	_, body, err = readLetterFile(lt.path())
	if err == nil && len(body) != lt.size {
		err = errors.New("it has another length than before")
	}
	return body, err
}

func readLetterFile(path string) (*storedLetter, []byte, error) {
	data, err := state.ReadFile(path, maxLetterFile)
	if err != nil {
		return nil, nil, err
	}
	line, body, _ := bytes.Cut(data, []byte("\n"))
	var s storedLetter
	if err := proto.Unmarshal(line, &s); err != nil {
		return nil, nil, err
	}
	if kindOf(s.Kind) < 0 || !proto.IsHex(s.Identity, sha256.Size) || s.Left <= 0 || s.Until <= 0 {
		return nil, nil, errors.New("it lacks a field")
	}
	return &s, body, nil
}

// setAside renames a damaged file, so that the next start does not find it again.
func setAside(path string) error {
	return os.Rename(path, filepath.Join(filepath.Dir(path), damaged+filepath.Base(path)))
}

// load reads the boxes and letters of an earlier relay. Damaged files are set aside.
func (l *letters) load() error {
	err := state.MakeDir(l.dir)
	if err != nil {
		return err
	}
	// Before a crash, files may have been renamed without their directories being forced to the
	// disk.
	dirs := []string{l.dir}
	for owner := range l.entries(l.dir, sha256.Size, true) {
		dirs = append(dirs, filepath.Join(l.dir, owner))
		for mailbox := range l.entries(filepath.Join(l.dir, owner), sha256.Size, true) {
			b := &box{boxKey: boxKey{proto.MustHash(owner), proto.MustHash(mailbox)}}
			b.path = l.boxPath(b.boxKey)
			l.loadBox(b)
			dirs = append(dirs, b.path)
		}
	}
	for _, b := range l.boxes {
		l.markSuperseded(b)
	}
	for _, dir := range dirs {
		if err := state.SyncDir(dir); err != nil {
			return err
		}
	}
	if len(l.boxes) > 0 {
		l.log.Info("letters", "boxes", len(l.boxes), "letters", len(l.ids), "bytes", l.rooms[texts].used+l.rooms[receipts].used)
	}
	return nil
}

// entries yields the names in a directory that are so many bytes in hex, in their order.
// Half-written files and half-removed boxes go.
func (l *letters) entries(dir string, size int, dirs bool) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		found, err := os.ReadDir(dir)
		if err != nil {
			l.log.Error("letters are not read", "directory", dir, "error", err)
		}
		for _, entry := range found {
			switch name := entry.Name(); {
			case state.IsTemp(name):
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					l.log.Warn("a half-written file stays", "file", filepath.Join(dir, name), "error", err)
				}
			case proto.IsHex(name, size) && entry.IsDir() == dirs:
				if !yield(name) {
					return
				}
			case name != boxFile && !strings.HasPrefix(name, damaged):
				l.log.Warn("not a file of letters; it stays", "file", filepath.Join(dir, name))
			}
		}
	}
}

// loadBox reads a box and its letters. Without a good file of its own its owner collects what
// is in it, and nobody is told of it.
func (l *letters) loadBox(b *box) {
	b.onDisk = true
	s, err := readBox(b)
	if err == nil {
		var issuers [][32]byte
		for _, hash := range s.Issuers {
			if len(hash) == sha256.Size {
				issuers = append(issuers, [32]byte(hash))
			}
		}
		b.refresh(s.Bundle, issuers)
		b.texts = s.Texts
		copy(b.before[:], s.Before)
	} else if !errors.Is(err, fs.ErrNotExist) { // as after a crash in the making of a box
		l.damagedFile(filepath.Join(b.path, boxFile), err)
	}
	l.insert(b)
	for name := range l.entries(b.path, 8, false) {
		path := filepath.Join(b.path, name)
		lt, err := l.loadLetter(b, path)
		if err != nil {
			l.damagedFile(path, err)
			continue
		}
		lt.number, _ = strconv.ParseUint(name, 16, 64)
		l.number = max(l.number, lt.number)
		l.enter(lt)
		if s == nil {
			b.end = max(b.end, lt.until/1000+1)
		}
	}
}

func (l *letters) loadLetter(b *box, path string) (*letter, error) {
	s, body, err := readLetterFile(path)
	if err != nil {
		return nil, err
	}
	outside, _, _, err := crypto.SplitLetter(body)
	if err != nil {
		return nil, err
	}
	lt := &letter{
		box: b, id: [32]byte(outside.Letter), sender: proto.MustHash(s.Identity), kind: kindOf(s.Kind),
		size: len(body), left: s.Left, until: s.Until, stored: true,
	}
	if [32]byte(outside.Mailbox) != b.mailbox || l.ids[lt.id] != nil {
		return nil, errors.New("it is another mailbox's, or there twice")
	}
	return lt, nil
}

func (l *letters) damagedFile(path string, err error) {
	aside := setAside(path)
	l.log.Error("a damaged file of letters is set aside", "file", path, "error", errors.Join(err, aside))
}
