package history

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"chatsecure/proto"
)

// Head says how far a file of lines goes, so that lines cut off its end are
// missed. It is written in place after each line. It never gets shorter, as the
// count only grows.
type Head struct {
	V     int    `json:"v"`
	Count uint64 `json:"count"` // lines
	Hash  string `json:"hash"`  // hex SHA-256 of the last line, without its newline; zeros if there is none
}

// maxHead bounds a head in bytes: the count has at most 20 digits.
const maxHead = 128

func appendHead(b []byte, count uint64, last *[sha256.Size]byte) []byte {
	b = append(b, `{"v":1,"count":`...)
	b = strconv.AppendUint(b, count, 10)
	b = append(b, `,"hash":"`...)
	b = hex.AppendEncode(b, last[:])
	return append(b, `"}`...)
}

func parseHead(b []byte) (*Head, error) {
	var h Head
	if err := proto.Unmarshal(b, &h); err != nil {
		return nil, err
	}
	if h.V != version || !proto.IsHex(h.Hash, sha256.Size) {
		return nil, errors.New("malformed head")
	}
	return &h, nil
}

// readHead returns nil without an error if there is no head.
func readHead(path string) (*Head, error) {
	f, err := openFile(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHead+1))
	if err != nil {
		return nil, err
	}
	head, err := parseHead(b)
	if err != nil {
		return nil, &damageError{0, "its head file is malformed"}
	}
	return head, nil
}

// passed checks the head against a file that has been read up to at. It is called
// after every line.
func (h *Head) passed(at *position) *damageError {
	if h == nil || at.count != h.Count || proto.FormatHash(at.last) == h.Hash {
		return nil
	}
	return &damageError{at.count, "it is not the one that the head file says it is"}
}

// finish checks the head against a whole file. A nil head is a missing one.
func (h *Head) finish(end *position) *damageError {
	switch {
	case h == nil && end.count > 0:
		return &damageError{0, "its head file is gone"}
	case h != nil && end.count < h.Count:
		return &damageError{0, fmt.Sprintf("it has %d lines where its head file says %d: the end is cut off", end.count, h.Count)}
	case h != nil && h.Count == 0 && h.Hash != strings.Repeat("0", 2*sha256.Size):
		return &damageError{0, "its head file is malformed"}
	}
	return nil
}
