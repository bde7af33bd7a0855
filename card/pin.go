package card

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"

	"chatsecure/proto"
)

// maxPIN bounds a PIN in bytes. Cards take 4 to 16, SoftHSM up to 255.
const maxPIN = 255

// PINFile returns an Options.PIN that answers with the first line of a file,
// without its newline, for -pin-file and for a URI's pin-source. The file is
// read only when a PIN is asked for. A file that others can read is used after a
// notice; notice may be nil. The last try before the card locks is never spent
// on a file: a script with a wrong PIN would lock the card.
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
	const hint = "put the PIN into its first line, or leave the PIN file out and type the PIN at a terminal"
	// One byte more than the longest line reveals a longer one.
	data, err := readStart(path, maxPIN+len("\r\n")+1, "PIN file", opt)
	if err != nil {
		return nil, fail(PINNeeded, hint, "the PIN file cannot be read: %v", err).because(err)
	}
	defer clear(data)
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) == 0 {
		return nil, fail(PINNeeded, hint, "the first line of the PIN file %s is empty, so the card was not asked", proto.Quote(path))
	}
	if err := checkPIN(line); err != nil {
		return nil, err
	}
	return bytes.Clone(line), nil
}

// checkPIN refuses PINs that must not reach C_Login. An empty one becomes a NULL
// pointer there, which opens the card's own PIN dialog.
func checkPIN(pin []byte) error {
	switch {
	case len(pin) == 0:
		return fail(PINNeeded, "", "the PIN is empty, so the card was not asked")
	case len(pin) > maxPIN:
		return fail(PINIncorrect, "", "the PIN is longer than %d bytes, so the card was not asked", maxPIN)
	}
	return nil
}

// pinSourcePath returns the path in a pin-source. RFC 7512, section 2.4 allows
// more, such as a command to run; here only a file is accepted.
func pinSourcePath(source string) (string, error) {
	rest, ok := strings.CutPrefix(source, "file:")
	if after, slashes := strings.CutPrefix(rest, "//"); slashes {
		// file://HOST/PATH, where HOST can only be this host (RFC 8089).
		after = strings.TrimPrefix(after, "localhost")
		ok = ok && strings.HasPrefix(after, "/")
		rest = after
	}
	if !ok || rest == "" {
		return "", fail(BadSpec, "write it as pin-source=file:/PATH", "pin-source in the card's URI is not a file")
	}
	return filepath.FromSlash(rest), nil
}
