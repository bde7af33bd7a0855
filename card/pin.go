package card

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxPIN bounds a PIN in bytes. Cards take 4 to 16; SoftHSM takes up to 255.
const maxPIN = 255

// PINFile returns an Options.PIN that answers with the first line of a file,
// without its newline: what -pin-file and a URI's pin-source mean. The file is
// read only when a PIN is asked for. A file that others may read is used and
// told of by notice, which may be nil. The last try before a card locks is not
// spent on a file: a script that has a wrong PIN would take the card with it.
func PINFile(path string, notice func(sentence string)) func(context.Context, PINRequest) ([]byte, error) {
	return func(_ context.Context, req PINRequest) ([]byte, error) {
		opt := Options{Notice: notice}
		if req.finalTry {
			return nil, fail(PINNeeded, "type the PIN once at a terminal: the right one brings back all tries",
				"the next wrong PIN locks the card, so the one in the PIN file was not tried")
		}
		if w := req.Warning(); w != "" {
			opt.notice(w)
		}
		return readPINFile(path, opt)
	}
}

func readPINFile(path string, opt Options) ([]byte, error) {
	const hint = "the PIN is to be its first line; without a PIN file it is asked for at a terminal"
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(PINNeeded, hint, "the PIN file cannot be read: %v", err).because(err)
	}
	defer f.Close()
	warnIfShared(f, "PIN file", opt)

	// One byte more than the longest line shows a line that is too long.
	buf := make([]byte, maxPIN+len("\r\n")+1)
	n, err := io.ReadFull(f, buf)
	defer clear(buf)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fail(PINNeeded, hint, "the PIN file cannot be read: %v", err).because(err)
	}
	line, _, _ := bytes.Cut(buf[:n], []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) == 0 {
		return nil, fail(PINNeeded, hint, "the first line of the PIN file %s is empty, so the card was not asked", quote(path))
	}
	if err := checkPIN(line); err != nil {
		return nil, err
	}
	return bytes.Clone(line), nil
}

// checkPIN refuses what must never reach C_Login. An empty PIN is not a wrong
// one: as a NULL pointer it would start the card's own PIN dialog.
func checkPIN(pin []byte) error {
	switch {
	case len(pin) == 0:
		return fail(PINNeeded, "", "the PIN is empty, so the card was not asked")
	case len(pin) > maxPIN:
		return fail(PINIncorrect, "", "the PIN is longer than %d bytes, so the card was not asked", maxPIN)
	}
	return nil
}

// pinSourcePath returns the file that a pin-source names. Of what RFC 7512,
// section 2.4 leaves open, only a file is taken: never a command to run.
func pinSourcePath(source string) (string, error) {
	rest, ok := strings.CutPrefix(source, "file:")
	if after, slashes := strings.CutPrefix(rest, "//"); slashes {
		// file://HOST/PATH; only this host can be meant (RFC 8089).
		after = strings.TrimPrefix(after, "localhost")
		ok = ok && strings.HasPrefix(after, "/")
		rest = after
	}
	if !ok || rest == "" {
		return "", fail(BadSpec, "write it as pin-source=file:/PATH", "pin-source in the card's URI is not a file")
	}
	return filepath.FromSlash(rest), nil
}

// warnIfShared tells of a secret file that its owner shares. A pipe has no
// meaningful mode.
func warnIfShared(f *os.File, what string, opt Options) {
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		opt.notice(what + " " + quote(f.Name()) + " can be read by others: chmod 600 protects it")
	}
}

// notThere reports whether err says that a file is missing.
func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
