package card

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"chatsecure/proto"
)

// readStart returns the first size bytes of a file, or all of a shorter one. The
// buffer never grows, so that erasing the result erases every copy. If others can
// read the file, a notice calls it what ("PIN file") and it is used nevertheless.
// The mode of a pipe has no meaning.
func readStart(path string, size int, what string, opt Options) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		opt.notice(what + " " + proto.Quote(path) + " can be read by others: chmod 600 protects it")
	}
	data := make([]byte, size)
	n, err := io.ReadFull(f, data)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(data)
		return nil, err
	}
	return data[:n], nil
}

// isMissing reports whether err means that a file does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
