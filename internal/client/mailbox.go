package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// mail is the directory `mailbox` of a state directory: the keys that letters to this
// device are sealed to, and the letters on their way from it. Several clients may use it at
// once: each change holds a lock. Any goroutine may call its methods. doc/state.md has the
// forms.
type mail struct {
	dir string

	mu  sync.Mutex // guards due
	due map[[32]byte]time.Time
}

const (
	mailDir     = "mailbox"
	mailLock    = "lock"
	boxVersion  = 1
	maxBoxFile  = 1 << 10 // bytes: a key takes 32 in base64
	mailboxHalf = trust.MaxMailbox / 2
	// mailboxSpare is the least life of a mailbox that a card's delegation still names: the
	// delegation lasts as long.
	mailboxSpare = trust.MaxDelegation
	// maxCollects bounds the mailboxes that a connection lists: the newest, and the one before.
	maxCollects = proto.MaxCollects
)

// boxFile is a mailbox on the disk. The file is written once, so that its key stands in one
// place, where it is overwritten.
type boxFile struct {
	V      int    `json:"v"`
	Begins int64  `json:"begins"` // Unix seconds
	Ends   int64  `json:"ends"`
	Key    []byte `json:"key"` // the private half
}

// ownBox is a mailbox of this device.
type ownBox struct {
	Hash         [32]byte
	Begins, Ends time.Time
	Key          *crypto.Mailbox // these two only from mail.box; its caller erases the key
	log          []byte          // see boxlog.go
}

// openMail makes nothing until a mailbox or a letter is to be kept. dir is the state
// directory.
func openMail(dir string) *mail {
	return &mail{dir: filepath.Join(dir, mailDir), due: map[[32]byte]time.Time{}}
}

// make makes the directory.
func (m *mail) make() error {
	if err := state.MakeDir(m.dir); err != nil {
		return state.Failure(err)
	}
	return nil
}

// locked runs f while no other client changes the directory. Without a directory f does not
// run.
func (m *mail) locked(f func() error) error {
	path := filepath.Join(m.dir, mailLock)
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, state.FileMode)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return state.Failure(err)
	}
	defer lock.Close() // and with it the lock
	if err = state.Flock(lock, syscall.LOCK_EX); err == nil {
		err = f()
	}
	if err != nil {
		return state.Failure(err)
	}
	return nil
}

func (m *mail) path(mailbox [32]byte) string {
	return filepath.Join(m.dir, proto.FormatHash(mailbox))
}

// newest returns the mailbox for a card to name. It is made when there is none, or half of
// its life is over, and is on the disk then.
func (m *mail) newest(now time.Time) (box *ownBox, err error) {
	if err := m.make(); err != nil {
		return nil, err
	}
	err = m.locked(func() error {
		removeStrays(m.dir)
		boxes, err := m.boxes(now)
		if err != nil {
			return err
		}
		if len(boxes) == 0 || !boxes[0].serves(now, boxes[1:]) {
			made, err := m.makeBox(now)
			if err != nil {
				return err
			}
			boxes = append([]*ownBox{made}, boxes...)
		}
		for i, old := range boxes {
			if i >= maxCollects && now.After(old.Ends) {
				err = errors.Join(err, m.erase(old.Hash)) // no connection lists it any more
			}
		}
		box = boxes[0]
		if log, never := os.Lstat(m.logPath(box.Hash)); never != nil || log.Size() == 0 {
			// No card has signed its name yet: a crash may have come before the directory was synced.
			err = errors.Join(err, state.SyncDir(m.dir), state.SyncDir(filepath.Dir(m.dir)))
		}
		return err
	})
	if err == nil && box == nil {
		err = state.Failure(fs.ErrNotExist) // the directory has just been removed
	}
	if err != nil {
		return nil, err
	}
	return box, nil
}

// serves tells whether a card may go on naming b, the newest mailbox. older are the others.
func (b *ownBox) serves(now time.Time, older []*ownBox) bool {
	if b.ahead(now) || now.After(b.Ends.Add(-mailboxSpare)) {
		return false
	}
	// One that is past its end must be collected before it falls out of the list.
	return now.Before(b.Begins.Add(mailboxHalf)) || len(older) > 0 && now.After(older[0].Ends)
}

// ahead tells that a mailbox was made under a clock that was wrong.
func (b *ownBox) ahead(now time.Time) bool { return b.Begins.Sub(now) > trust.ClockTolerance }

func (m *mail) makeBox(now time.Time) (*ownBox, error) {
	key, err := crypto.NewMailbox()
	if err != nil {
		return nil, err
	}
	secret := key.Secret()
	key.Erase()
	defer clear(secret)
	begins := now.Truncate(time.Second)
	box := &ownBox{Hash: key.Hash(), Begins: begins, Ends: begins.Add(trust.MaxMailbox)}
	data := proto.MustMarshal(&boxFile{V: boxVersion, Begins: begins.Unix(), Ends: box.Ends.Unix(), Key: secret})
	defer clear(data)
	return box, state.ReplaceFile(m.path(box.Hash), data)
}

// boxes returns the mailboxes, the newest first. The lock is held.
func (m *mail) boxes(now time.Time) (boxes []*ownBox, err error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !proto.IsHex(entry.Name(), len(ownBox{}.Hash)) {
			continue
		}
		box, secret, err := m.read(proto.MustHash(entry.Name()))
		if err != nil {
			return nil, err
		}
		clear(secret)
		boxes = append(boxes, box)
	}
	slices.SortStableFunc(boxes, func(a, b *ownBox) int {
		if a.ahead(now) != b.ahead(now) {
			if a.ahead(now) {
				return 1
			}
			return -1
		}
		return b.Begins.Compare(a.Begins)
	})
	return boxes, nil
}

// read reads a mailbox's file. The caller clears the secret. The lock is held.
func (m *mail) read(mailbox [32]byte) (box *ownBox, secret []byte, err error) {
	path := m.path(mailbox)
	info, err := os.Lstat(path)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fail.Errorf(proto.Internal, "the mailbox key %s has the mode %04o, so others may "+
			"have read it", proto.Visible(path), info.Mode().Perm()).
			With("remove the file, and letters to it with it; or keep it with " +
				fail.Command("chmod 600 "+fail.ShellWord(path)))
	}
	data, err := state.ReadFile(path, maxBoxFile)
	if err != nil {
		return nil, nil, err
	}
	defer clear(data)
	var file boxFile
	if err = proto.Unmarshal(data, &file); err != nil || file.V != boxVersion {
		clear(file.Key)
		return nil, nil, m.damaged(mailbox)
	}
	return &ownBox{Hash: mailbox, Begins: time.Unix(file.Begins, 0), Ends: time.Unix(file.Ends, 0)}, file.Key, nil
}

func (m *mail) damaged(mailbox [32]byte) error {
	return fail.Errorf(proto.Internal, "the mailbox key %s is damaged", proto.Visible(m.path(mailbox))).
		With("bring the file back from a copy, or remove it: nobody can read the letters to it")
}

// box returns one's own mailbox of this hash with its key, or nil.
func (m *mail) box(mailbox [32]byte) (box *ownBox, err error) {
	err = m.locked(func() error {
		read, secret, err := m.read(mailbox)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			defer clear(secret)
			read.log, err = readLog(m.logPath(mailbox))
		}
		if err != nil {
			return err
		}
		read.Key, err = crypto.ParseMailbox(secret)
		if err != nil || read.Key.Hash() != mailbox {
			return m.damaged(mailbox)
		}
		box = read
		return nil
	})
	return box, err
}

// named writes down that a bundle of one's own names a mailbox: after the card has signed,
// before anybody sees the bundle.
func (m *mail) named(mailbox, bundle [32]byte) error {
	return m.locked(func() error { return m.note(mailbox, namedLine(bundle)) })
}

// collects returns the mailboxes that a connection lists, the newest first: also one past its
// end, until it has been collected.
func (m *mail) collects(now time.Time) (mailboxes [][32]byte, err error) {
	err = m.locked(func() error {
		boxes, err := m.boxes(now)
		for i, box := range boxes {
			if i < maxCollects {
				mailboxes = append(mailboxes, box.Hash)
			}
		}
		return err
	})
	return mailboxes, err
}

// mailboxes returns one's own for a connection that proves itself with a bundle. A kept
// credential may name one that is not there any more, as in a copy of the state directory without
// it: letters to that are for another copy. A pipe has no use for letters. Any goroutine may call
// it.
func (e *engine) mailboxes(bundle *trust.Bundle) (own Mailboxes, err error) {
	if e.cfg.NoLetters || e.cfg.Takes == proto.TakesPipe {
		return own, nil
	}
	if len(bundle.Mailbox) > 0 {
		box, err := e.mail.box([32]byte(bundle.Mailbox))
		if err != nil {
			return own, err
		}
		if box != nil {
			own.Key = box.Key.Public()
			box.Key.Erase()
		}
	}
	own.Collects, err = e.mail.collects(e.now())
	return own, err
}

// emptied takes it that a relay, known by its fingerprint, had handed out all letters of a
// mailbox at a time of its clock, and that each is answered for good. A mailbox past its end
// is erased. The clocks of both must say so: neither can erase a key early.
func (m *mail) emptied(relay string, mailbox [32]byte, at, now time.Time) error {
	if most := now.Add(trust.ClockTolerance); at.After(most) {
		at = most
	}
	return m.locked(func() error {
		box, secret, err := m.read(mailbox)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		clear(secret)
		if !at.Before(box.Ends) {
			return m.erase(mailbox)
		}
		m.mu.Lock()
		m.due[mailbox] = time.Now().Add(box.Ends.Sub(at) + trust.ClockTolerance)
		m.mu.Unlock()
		if box.log, err = readLog(m.logPath(mailbox)); err != nil || !at.After(box.Empty(relay)) {
			return err
		}
		return m.note(mailbox, emptyLine(relay, at))
	})
}

// expireMail erases the mailboxes that have come to their end since they were emptied. It does so
// aside: the goroutine that holds the lock may wait for the engine.
func (e *engine) expireMail() {
	over := e.mail.expired()
	if len(over) == 0 {
		return
	}
	var err error
	e.aside(func() { err = e.mail.expire(over) }, func() {
		if err != nil {
			e.problem(err)
		}
	})
}

// expired returns the mailboxes that have come to their end since they were emptied, each once. It
// goes by the time that has passed: a clock that jumps erases nothing.
func (m *mail) expired() (over [][32]byte) {
	m.mu.Lock()
	for mailbox, due := range m.due {
		if time.Now().After(due) {
			over = append(over, mailbox)
			delete(m.due, mailbox)
		}
	}
	m.mu.Unlock()
	return over
}

func (m *mail) expire(over [][32]byte) error {
	return m.locked(func() (err error) {
		for _, mailbox := range over {
			err = errors.Join(err, m.erase(mailbox))
		}
		return err
	})
}

// erase removes a mailbox, whose key is overwritten: under another name, as nobody may find half
// of it. Another client may have been first. The lock is held.
func (m *mail) erase(mailbox [32]byte) error {
	stray := filepath.Join(m.dir, strings.Replace(state.Temp, "*", proto.FormatHash(mailbox), 1))
	err := errors.Join(os.Rename(m.path(mailbox), stray), os.Remove(m.logPath(mailbox)))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = state.EraseFile(stray)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeStrays removes half-written files of a client that was killed, and keys that it has not
// erased to the end: nobody writes while the lock is held.
func removeStrays(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if state.IsTemp(entry.Name()) {
			state.EraseFile(filepath.Join(dir, entry.Name()))
		}
	}
}
