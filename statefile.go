package chatsecure

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"chatsecure/proto"
)

// Files below a state directory hold keys and names: only their owner reads
// them, a crash leaves the old content or the new one and nothing between, and
// what was written stays written.
const (
	stateDirMode  = 0o700
	stateFileMode = 0o600
	stateTemp     = ".new-*" // what a crash may leave behind; never read
)

// syncFile forces a file to the disk; tests have one that fails.
var syncFile = (*os.File).Sync

// makeStateDir makes dir and what is missing above it, and refuses one that
// somebody else could change: a symbolic link, another user's, or one that
// others may write to.
func makeStateDir(dir string) error {
	if err := os.MkdirAll(dir, stateDirMode); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("state directory %s is a symbolic link; name the directory it leads to", dir)
	case !info.IsDir():
		return fmt.Errorf("state directory %s is not a directory", dir)
	case ok && int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("state directory %s belongs to another user", dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("state directory %s can be written by others; take that away with chmod go-w", dir)
	}
	return nil
}

// replaceStateFile writes a file anew: all of it or, after an error or a
// crash, none of it.
func replaceStateFile(path string, data []byte) error {
	return placeStateFile(path, data, os.Rename)
}

// createStateFile writes a file that must not be there yet, else the error is
// fs.ErrExist. Of several that try at once, one succeeds.
func createStateFile(path string, data []byte) error {
	return placeStateFile(path, data, os.Link)
}

func placeStateFile(path string, data []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, stateTemp) // O_EXCL and 0600
	if err != nil {
		return &Error{
			Code: proto.Internal, Message: fmt.Sprintf("the state directory %s cannot be written: %v", dir, historyCause(err)),
			Hint: "make it writable, or name another with -state", Err: err,
		}
	}
	defer os.Remove(f.Name()) // after a rename there is nothing left to remove
	_, err = f.Write(data)
	if err == nil {
		err = syncFile(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncStateDir(dir)
}

// syncStateDir makes a directory's entries last.
func syncStateDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncFile(d), d.Close())
}

// readStateFile reads a file of ours that is at most max bytes long. What is
// not a regular file of this user's is refused.
func readStateFile(path string, max int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case ok && int(owner.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%s belongs to another user", path)
	case info.Size() > max:
		return nil, fmt.Errorf("%s has %d bytes, at most %d are allowed", path, info.Size(), max)
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if int64(n) != info.Size() {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// flock locks an open file as how says, for as long as it is open. A signal
// that comes in between does not matter. syscall.EWOULDBLOCK: another has it.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			return err
		}
	}
}
