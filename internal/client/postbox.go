package client

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// Letters of texts on their way stand in `out` of the mailbox directory, from before the first attempt
// until the relay has answered. The client that has stored a letter holds a lock on its file,
// so that the next one takes over what a killed one has left.

const (
	outDir     = "out"
	outVersion = 1
	maxOut     = 512 << 10 // bytes of a file: a letter twice, and two bundles
)

// outLetter is a letter on its way, with all that the history needs of it.
type outLetter struct {
	V         int           `json:"v"`
	Name      string        `json:"name"`      // the receiver's
	Identity  string        `json:"identity"`  // the receiver's, hex
	Theirs    *trust.Bundle `json:"theirs"`    // which names the mailbox
	TheirKey  []byte        `json:"their_key"` // the mailbox's
	Own       *trust.Bundle `json:"own"`
	OwnKey    []byte        `json:"own_key"` // of one's own mailbox, or empty
	Header    []byte        `json:"header"`  // these three are exact bytes
	Signature []byte        `json:"signature"`
	Entries   [][]byte      `json:"entries"` // its records
	Body      []byte        `json:"body"`

	path string
	file *os.File // locked
	h    *crypto.LetterHeader
}

// newOutLetter describes a sealed letter to somebody.
func newOutLetter(l *crypto.Letter, name string, identity [32]byte, theirs *trust.Bundle, theirKey []byte) *outLetter {
	return &outLetter{
		V: outVersion, Name: name, Identity: proto.FormatHash(identity), Theirs: theirs, TheirKey: theirKey,
		Own: l.Bundle, OwnKey: append([]byte{}, l.MailboxKey...),
		Header: l.Exact, Signature: l.Signature, Entries: l.ExactRecords, Body: l.Body, h: l.Header,
	}
}

// letter returns the letter as crypto.SealLetter has made it. sender is one's own identity.
func (o *outLetter) letter(sender [32]byte) (l *crypto.Letter, err error) {
	l = &crypto.Letter{
		ID: [32]byte(o.h.Letter), Mailbox: [32]byte(o.h.Mailbox), Header: o.h, Exact: o.Header,
		Signature: o.Signature, Bundle: o.Own, MailboxKey: o.OwnKey, Body: o.Body,
	}
	l.ExactRecords = o.Entries
	for _, exact := range o.Entries {
		r, err := crypto.ParseRecord(exact, sender)
		if err != nil {
			return nil, err
		}
		l.Records = append(l.Records, r)
	}
	return l, nil
}

// between tells whether the letter is to an identity, between these mailboxes. A sender without one is zero.
func (o *outLetter) between(identity, own, theirs [32]byte) bool {
	var src [32]byte
	copy(src[:], o.Own.Mailbox)
	return o.Identity == proto.FormatHash(identity) && src == own && [32]byte(o.h.Mailbox) == theirs
}

// reserve stores the letter that seal makes with the next n to an identity, from one's own mailbox to theirs:
// one more than last and the letters on their way have. last is the n of the last letter that
// was kept, as the history has it, and is asked while no other client can store a letter; so
// LetterSent comes before answered. own is zero for a sender without a mailbox.
func (m *mail) reserve(identity, own, theirs [32]byte, last func() uint64, seal func(n uint64) (*outLetter, error)) (o *outLetter, err error) {
	if err := m.make(); err != nil {
		return nil, err
	}
	if err := state.MakeDir(filepath.Join(m.dir, outDir)); err != nil {
		return nil, state.Failure(err)
	}
	err = m.locked(func() error {
		names, err := m.outNames()
		if err != nil {
			return err
		}
		n := last()
		for _, name := range names {
			waiting, err := readOut(m.outPath(name))
			if err == nil && waiting.between(identity, own, theirs) { // claim tells of a damaged one
				n = max(n, waiting.h.N)
			}
		}
		if o, err = seal(n + 1); err != nil {
			return err
		}
		o.path = m.outPath(proto.FormatHash([32]byte(o.h.Letter)))
		return o.store()
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// replace stores a letter that was sealed anew in the place of the one that was not answered.
// That has the same n.
func (m *mail) replace(old, o *outLetter) error {
	return m.locked(func() error {
		o.path = old.path
		if err := o.store(); err != nil {
			return err
		}
		return old.file.Close()
	})
}

// answered removes a letter that the relay keeps or has refused for good.
func (m *mail) answered(o *outLetter) error {
	return m.locked(func() error {
		err := os.Remove(o.path)
		return errors.Join(err, o.file.Close())
	})
}

// claim takes over the letters that clients have left which run no more, the oldest first. others are
// those of clients that run. One that cannot be read stays where it is; the error tells of it, and the
// others are claimed.
func (m *mail) claim() (letters, others []*outLetter, err error) {
	var damaged []error
	err = m.locked(func() error {
		removeStrays(filepath.Join(m.dir, outDir))
		names, err := m.outNames()
		if err != nil {
			return err
		}
		for _, name := range names {
			o, err := claimOut(m.outPath(name))
			switch {
			case err != nil:
				damaged = append(damaged, err)
			case o.file == nil:
				others = append(others, o)
			default:
				letters = append(letters, o)
			}
		}
		return nil
	})
	slices.SortFunc(letters, func(a, b *outLetter) int {
		return cmp.Or(cmp.Compare(a.h.Time, b.h.Time), cmp.Compare(a.h.N, b.h.N))
	})
	return letters, others, cmp.Or(err, errors.Join(damaged...))
}

// release leaves a letter to the next client.
func (o *outLetter) release() { o.file.Close() }

// claimOut returns the letter in a file, without the file while another client holds it.
func claimOut(path string) (*outLetter, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := state.Flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return readOut(path)
		}
		return nil, err
	}
	o, err := readOut(path)
	if err != nil {
		f.Close()
		return nil, err
	}
	o.path, o.file = path, f
	return o, nil
}

func readOut(path string) (*outLetter, error) {
	data, err := state.ReadFile(path, maxOut)
	if err != nil {
		return nil, err
	}
	o := new(outLetter)
	err = proto.Unmarshal(data, o)
	if err == nil && (o.V != outVersion || o.Theirs == nil || o.Own == nil || !proto.IsHex(o.Identity, 32)) {
		err = errors.New("it has another form")
	}
	if err == nil {
		o.h, err = crypto.ParseLetterHeader(o.Header)
	}
	if err == nil && !bytes.Equal(o.Theirs.Mailbox, o.h.Mailbox) {
		err = errors.New("it is to another mailbox than the one in its bundle")
	}
	if err != nil {
		return nil, fail.Errorf(proto.Internal, "the letter %s is damaged, and cannot be sent: %w",
			proto.Visible(path), err).With("remove the file, and send the message again")
	}
	return o, nil
}

func (m *mail) outPath(name string) string { return filepath.Join(m.dir, outDir, name) }

// outNames returns the files of the letters on their way.
func (m *mail) outNames() (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(m.dir, outDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if proto.IsHex(entry.Name(), len(ownBox{}.Hash)) {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// store writes a letter into its place. The file is locked before it can be seen there, and
// on the disk before store returns.
func (o *outLetter) store() error {
	dir := filepath.Dir(o.path)
	f, err := os.CreateTemp(dir, state.Temp)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing left to remove
	if err = state.Flock(f, syscall.LOCK_EX); err == nil {
		_, err = f.Write(proto.MustMarshal(o))
	}
	if err == nil {
		err = state.SyncFile(f)
	}
	if err == nil {
		err = os.Rename(f.Name(), o.path)
	}
	if err == nil {
		if err = state.SyncDir(dir); err != nil {
			err = errors.Join(err, os.Remove(o.path)) // nobody may send a letter that is said to have failed
		}
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	o.file = f
	return nil
}
