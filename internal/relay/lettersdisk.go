package relay

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// The files of letters, in STATE/letters/IDENTITY/MAILBOX: `box` and one for each letter. Each
// is written beside its place, forced to the disk and renamed.
const (
	lettersDir = "letters"
	boxFile    = "box"
	damaged    = "damaged-" // before the name of a file that cannot be read
)

// storedBox is the content of the file `box`.
type storedBox struct {
	V       int           `json:"v"`
	Key     []byte        `json:"key"`
	Bundle  *trust.Bundle `json:"bundle"`
	Issuers [][]byte      `json:"issuers"` // SHA-256 of the SPKI of the authorities above
	Texts   bool          `json:"texts"`
	Before  []byte        `json:"before"` // the mailbox that it supersedes, or empty
}

// storedLetter is the first line of a letter's file. The letter follows.
type storedLetter struct {
	Kind     string `json:"kind"`
	Identity string `json:"identity"`
	Left     int64  `json:"left"`
	Until    int64  `json:"until"`
}

const (
	// maxBoxFile bounds a box's file in bytes: a bundle and a mailbox key in base64, and the
	// hashes of authorities.
	maxBoxFile = 64 << 10
	// maxLetterFile bounds that of a letter.
	maxLetterFile = proto.MaxLetter + 1<<10
)

func leafHash(b *trust.Bundle) [32]byte { return sha256.Sum256(b.X509) }

func (l *letters) boxPath(key boxKey) string {
	return filepath.Join(l.dir, proto.FormatHash(key.owner), proto.FormatHash(key.mailbox))
}

// path returns the name of a letter's file: names sort in the order of coming.
func (lt *letter) path() string { return filepath.Join(lt.box.path, fmt.Sprintf("%016x", lt.number)) }

// job is a file to be written: a letter's, or without one a box's.
type job struct {
	box    *box
	letter *letter
}

// groupMax bounds the files that are forced to the disk together.
const groupMax = 64

// storeLocked has a file written, by a goroutine that exists while there are some. l.mu is
// held.
func (l *letters) storeLocked(j job) {
	l.waiting = append(l.waiting, j)
	if !l.storing {
		l.storing = true
		l.spawn(l.store)
	}
}

// store writes what waits, in groups. Files that come during the work on one share the next.
func (l *letters) store() {
	for {
		l.disk.Lock()
		l.mu.Lock()
		group := l.waiting[:min(len(l.waiting), groupMax)]
		l.waiting = l.waiting[len(group):]
		if len(group) == 0 {
			l.waiting, l.storing = nil, false
			l.mu.Unlock()
			l.disk.Unlock()
			return
		}
		files := l.prepare(group)
		l.mu.Unlock()
		l.write(files)
		for _, f := range files {
			l.stored(f)
		}
		l.disk.Unlock()
	}
}

// file is a file on its way to the disk.
type file struct {
	job
	content storedBox // of a box; without a bundle it changes that on the disk
	makes   bool      // the box has no directory yet
	temp    *os.File
	err     error
}

// prepare takes what the files of a group hold. A box that is removed meanwhile gets none.
func (l *letters) prepare(group []job) (files []*file) {
	for _, j := range group {
		f := &file{job: j}
		if j.letter == nil {
			f.makes = !j.box.onDisk
			f.content = storedBox{V: 1, Issuers: [][]byte{}, Texts: j.box.texts, Before: []byte{}}
			for _, hash := range j.box.issuers {
				f.content.Issuers = append(f.content.Issuers, slices.Clone(hash[:]))
			}
			if j.box.before != [32]byte{} {
				f.content.Before = slices.Clone(j.box.before[:])
			}
			if j.box.fresh != nil {
				f.content.Key, f.content.Bundle = j.box.fresh.Key, j.box.fresh.Bundle
			}
		}
		if j.box.gone {
			f.err = fs.ErrNotExist
		}
		files = append(files, f)
	}
	return files
}

// write writes a group of files. Each file, and then each directory, is forced to the disk by
// itself, several at a time: one call for the whole disk would be quicker on a disk at rest,
// and on one with other work it waits for all of that.
func (l *letters) write(files []*file) {
	dirs := make(map[string][]*file)
	for _, f := range files {
		if f.err == nil && f.makes {
			f.err = os.MkdirAll(f.box.path, 0o700)
			for _, dir := range []string{l.dir, filepath.Dir(f.box.path)} {
				dirs[dir] = append(dirs[dir], f)
			}
		}
		dirs[f.box.path] = append(dirs[f.box.path], f)
	}
	for _, f := range files {
		if f.err == nil {
			f.err = f.writeTemp()
		}
	}
	inParallel(files, func(f *file) {
		if f.temp != nil {
			f.err = errors.Join(f.err, state.SyncFile(f.temp), f.temp.Close())
		}
	})
	for _, f := range files {
		if f.err == nil {
			f.err = os.Rename(f.temp.Name(), f.path())
		}
		if f.err != nil && f.temp != nil {
			os.Remove(f.temp.Name())
		}
	}
	var names []string
	for dir := range dirs {
		if slices.ContainsFunc(dirs[dir], func(f *file) bool { return f.err == nil }) {
			names = append(names, dir)
		}
	}
	var mu sync.Mutex
	inParallel(names, func(dir string) {
		if err := state.SyncDir(dir); err != nil {
			mu.Lock()
			defer mu.Unlock()
			for _, f := range dirs[dir] {
				f.err = errors.Join(f.err, err)
			}
		}
	})
}

// inParallel calls do for all, a few at a time.
func inParallel[T any](all []T, do func(T)) {
	const atOnce = 16
	var wg sync.WaitGroup
	defer wg.Wait()
	if len(all) == 1 {
		do(all[0])
		return
	}
	places := make(chan struct{}, atOnce)
	for _, one := range all {
		places <- struct{}{}
		wg.Go(func() {
			do(one)
			<-places
		})
	}
}

func (f *file) path() string {
	if f.letter == nil {
		return filepath.Join(f.box.path, boxFile)
	}
	return f.letter.path()
}

// writeTemp writes the file beside its place. Many at a time would wait for each other in the
// directory.
func (f *file) writeTemp() error {
	data, err := f.encode()
	if err != nil {
		return err
	}
	if f.temp, err = os.CreateTemp(f.box.path, state.Temp); err != nil {
		return err
	}
	_, err = f.temp.Write(data)
	return err
}

func (f *file) encode() ([]byte, error) {
	if lt := f.letter; lt != nil {
		line := proto.MustMarshal(&storedLetter{kindNames[lt.kind], proto.FormatHash(lt.sender), lt.left, lt.until})
		return slices.Concat(line, []byte("\n"), lt.body), nil
	}
	if f.content.Bundle == nil {
		old, err := readBox(f.box)
		if err != nil {
			return nil, err
		}
		f.content.Key, f.content.Bundle = old.Key, old.Bundle
	}
	return proto.MustMarshal(&f.content), nil
}

// stored takes note of a file that is on the disk, or could not be stored. A letter is handed
// on before its sender has the answer.
func (l *letters) stored(f *file) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.err != nil && !f.box.gone {
		l.complainLocked(f.err)
	}
	if f.letter == nil {
		l.boxStored(f)
		return
	}
	lt := f.letter
	senders := lt.senders
	lt.senders = nil
	l.unstored -= lt.size
	var refused *refusal
	switch {
	case lt.gone:
		refused = noMailbox()
	case f.err != nil:
		os.Remove(lt.path()) // the disk may have it all the same
		l.takeOut(lt)
		refused = &refusal{told: proto.Errorf(proto.Busy, cannotStore)}
	default:
		lt.stored = true
	}
	for _, k := range lt.box.collectors() {
		l.hand(k)
	}
	lt.body = nil
	for _, s := range senders {
		if refused != nil {
			s.conn.sayRefused(s.seq, refused)
		} else {
			s.conn.sayKept(s.seq, lt.until)
		}
	}
}

// collectors returns the connections to which letters of a box may go on.
func (b *box) collectors() (all []*collector) {
	for kind := range b.piles {
		if takers := b.piles[kind].takers; len(takers) > 0 && !slices.Contains(all, takers[0]) {
			all = append(all, takers[0])
		}
	}
	return all
}

// boxStored takes note of a box's file. A box without a directory is none: the next connection
// of its owner makes it.
func (l *letters) boxStored(f *file) {
	b := f.box
	switch {
	case b.gone:
	case f.err == nil:
		b.onDisk = true
	case !b.onDisk:
		l.detach(b)
		os.RemoveAll(b.path)
	default:
		b.bundle = [32]byte{} // it is written again when it comes again
	}
	if b.fresh != nil && b.fresh.Bundle == f.content.Bundle {
		b.fresh = nil
	}
}

// complainLocked logs a failed write, now and then. l.mu is held.
func (l *letters) complainLocked(err error) {
	if now := l.cfg.Now(); now.Sub(l.logged).Abs() > failuresEvery {
		l.logged = now
		l.log.Error("letters cannot be stored or read", "error", err)
	}
}

// erase removes the file of a letter that its receiver has, or that is too old. Without a sync:
// one that comes again after a crash is known to the receiver.
func (l *letters) erase(lt *letter) {
	if err := os.Remove(lt.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.complainLocked(err)
	}
}
