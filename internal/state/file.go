package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Safe files. They hold keys and names: only their owner reads them, a crash
// leaves the old content or the new one and nothing between, and a file that was
// written stays written.
const (
	dirMode  = 0o700
	FileMode = 0o600
	// Temp is the pattern of files that a crash may leave behind. They are never read.
	Temp = ".new-*"
)

// IsTemp reports whether a name is that of such a file.
func IsTemp(name string) bool { return strings.HasPrefix(name, strings.TrimSuffix(Temp, "*")) }

// SyncFile forces a file to the disk. Tests put a failing one in its place.
var SyncFile = (*os.File).Sync

// MakeDir makes dir and its missing parents, and refuses one that is not safe.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return checkDir(dir)
}

// checkDir refuses a directory that somebody else could change: a symbolic link,
// another user's, or one that others may write to.
func checkDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("state directory %s is a symbolic link; name the directory it leads to", dir)
	case !info.IsDir():
		return fmt.Errorf("state directory %s is not a directory", dir)
	case IsForeign(info):
		return fmt.Errorf("state directory %s belongs to another user", dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("state directory %s can be written by others; "+
			"take that away with chmod go-w", dir)
	}
	return nil
}

// IsForeign reports whether a file or directory belongs to another user.
func IsForeign(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) != os.Geteuid()
}

// ReplaceFile writes a file anew: all of it or, after an error or a crash, none
// of it.
func ReplaceFile(path string, data []byte) error { return placeFile(path, data, os.Rename) }

// CreateFile writes a file that must not exist yet, else the error is
// fs.ErrExist. Of several callers at once, one succeeds.
func CreateFile(path string, data []byte) error { return placeFile(path, data, os.Link) }

// placeFile writes a temporary file beside path and has place move it there. The
// content is on the disk before place is called.
func placeFile(path string, data []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, Temp) // O_EXCL and 0600
	if err != nil {
		return fail.Errorf(proto.Internal, "the state directory %s cannot be written: %w",
			proto.Visible(dir), Cause(err)).With("make it writable, or name another with -state")
	}
	defer os.Remove(f.Name()) // after a rename there is nothing left to remove
	_, err = f.Write(data)
	if err == nil {
		err = SyncFile(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// EraseFile overwrites a file with a secret, and removes it. A file system that writes
// elsewhere, or a backup, may still have the secret.
func EraseFile(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && info.Mode().IsRegular() {
		err = overwrite(path, info.Size())
	}
	// The file is removed even if it cannot be overwritten.
	if removeErr := os.Remove(path); removeErr != nil {
		return errors.Join(removeErr, err)
	}
	return SyncDir(filepath.Dir(path))
}

// overwrite fills a file with zeros and forces them to the disk.
func overwrite(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, min(size, maxKept)), 0)
	return errors.Join(err, SyncFile(f), f.Close())
}

// SyncDir forces a directory's entries to the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(SyncFile(d), d.Close())
}

// ReadFile reads a regular file of this user's, of at most max bytes. Anything
// else is refused.
func ReadFile(path string, max int64) ([]byte, error) {
	data, info, err := readRegular(path, syscall.O_NOFOLLOW, max)
	if err == nil && IsForeign(info) {
		return nil, fmt.Errorf("%s belongs to another user", path)
	}
	return data, err
}

// ReadGiven reads a regular file that the command line names: a link may lead to it, and it
// may be another user's.
func ReadGiven(path string, max int64) ([]byte, error) {
	data, _, err := readRegular(path, 0, max)
	return data, err
}

func readRegular(path string, flags int, max int64) ([]byte, fs.FileInfo, error) {
	// O_NONBLOCK: a FIFO in the file's place must not hang the program.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > max:
		return nil, nil, fmt.Errorf("%s has %d bytes, at most %d are allowed", path, info.Size(), max)
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if int64(n) != info.Size() {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, info, nil
}

// Flock locks an open file as how says, until it is closed. It returns
// syscall.EWOULDBLOCK if another process has the lock.
func Flock(f *os.File, how int) (err error) {
	for err = syscall.EINTR; err == syscall.EINTR; {
		err = syscall.Flock(int(f.Fd()), how)
	}
	return err
}

// Cause returns the system's own reason of a file error, for a sentence that
// names the path already.
func Cause(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
