package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// failure says that the history cannot do something, and advises.
func failure(err error, hint, format string, args ...any) *fail.Error {
	return &fail.Error{Code: proto.History, Message: fmt.Sprintf(format, args...), Hint: hint, Err: err}
}

// openFailure says that the history in dir cannot be opened, unless err says so
// already.
func openFailure(dir string, err error) error {
	if _, ok := errors.AsType[*fail.Error](err); ok {
		return err
	}
	hint := hintWritable
	if errors.Is(err, syscall.ENOSPC) {
		hint = hintRoom
	}
	return failure(err, hint, "the history in %s cannot be opened: %v", dir, err)
}

// The hints about a state directory in which nothing can be written.
const (
	hintWritable = "make the state directory writable, or name another with -state"
	hintRoom     = "make room on the disk, or name another state directory with -state"
)

// checkOwned refuses a file or directory that somebody else could have put there
// or could change: acknowledged messages must stay.
func checkOwned(path string, info fs.FileInfo, directory bool) error {
	what, chmod := "file", "600"
	if directory {
		what, chmod = "directory", "700"
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return failure(nil, "name the real place with -state", "%s is a symbolic link, where the history's own %s must be", path, what)
	case info.IsDir() != directory, !directory && !info.Mode().IsRegular():
		return failure(nil, "move it away, or name another state directory with -state", "%s is not a %s", path, what)
	case state.IsForeign(info):
		return failure(nil, "use a state directory of your own with -state", "%s belongs to another user", path)
	case info.Mode().Perm()&0o022 != 0:
		return failure(nil, fmt.Sprintf("chmod %s %s, if nobody else was there", chmod, path), "%s can be written by others", path)
	}
	return nil
}

// checkDir refuses a directory that is not safely ours. A missing one is
// fs.ErrNotExist.
func checkDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	return checkOwned(dir, info, true)
}

// openFile opens a file of the history without following a link, and refuses a
// file that is not ours.
func openFile(path string, flag int) (*os.File, error) {
	// O_NONBLOCK: a FIFO in the file's place must not hang the client.
	f, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, failure(err, "move the link away", "%s is a symbolic link, where the history's own file must be", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkOwned(path, info, false)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
