package chatsecure

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"chatsecure/canon"
	"chatsecure/proto"
)

const (
	historyExt     = ".jsonl" // of a file of lines
	historyHeadExt = ".head"  // of what stands beside it
	// historyGate is the file whose lock is held, for microseconds, while slots
	// are taken or looked at: a look must never make a slot seem taken.
	historyGate = "lock"
	// maxHistorySlots bounds the search for a free slot: more clients than this
	// on one state directory are a mistake.
	maxHistorySlots = 1024
)

// historyHead says how far a file of lines goes, so that lines cut off its end
// are missed. It is written in place after each line: its length never
// shrinks, as the count only grows.
type historyHead struct {
	V     int    `json:"v"`
	Count uint64 `json:"count"` // lines
	Hash  string `json:"hash"`  // hex SHA-256 of the last line, without its newline; zeros if there is none
}

func appendHistoryHead(b []byte, count uint64, last *[sha256.Size]byte) []byte {
	b = append(b, `{"v":1,"count":`...)
	b = strconv.AppendUint(b, count, 10)
	b = append(b, `,"hash":"`...)
	b = hex.AppendEncode(b, last[:])
	return append(b, `"}`...)
}

func parseHistoryHead(b []byte) (*historyHead, error) {
	var h historyHead
	if err := canon.Unmarshal(b, &h); err != nil {
		return nil, err
	}
	if h.V != historyVersion || !historyHex(h.Hash, sha256.Size) {
		return nil, errors.New("malformed head")
	}
	return &h, nil
}

// historyError is what cannot be done with the history, and what to do then.
func historyError(err error, hint, format string, args ...any) *Error {
	return &Error{Code: proto.History, Message: fmt.Sprintf(format, args...), Hint: hint, Err: err}
}

// historyOwned refuses a file or directory that somebody else could have put
// there or could change: what the client acknowledges must stay.
func historyOwned(path string, info fs.FileInfo, directory bool) error {
	what, chmod := "file", "600"
	if directory {
		what, chmod = "directory", "700"
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return historyError(nil, "name the real place with -state", "%s is a symbolic link, where the history's own %s must be", path, what)
	case info.IsDir() != directory, !directory && !info.Mode().IsRegular():
		return historyError(nil, "move it away, or name another state directory with -state", "%s is not a %s", path, what)
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return historyError(nil, "use a state directory of your own with -state", "%s belongs to another user", path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return historyError(nil, fmt.Sprintf("chmod %s %s, if nobody else was there", chmod, path), "%s can be written by others", path)
	}
	return nil
}

// checkHistoryDir refuses a directory that is not safely ours. One that is not
// there is fs.ErrNotExist.
func checkHistoryDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	return historyOwned(dir, info, true)
}

// openHistoryPath opens a file of the history without following a link, and
// refuses it if it is not ours.
func openHistoryPath(path string, flag int) (*os.File, error) {
	// O_NONBLOCK: a FIFO in the file's place must not hang the client.
	f, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, historyError(err, "move the link away", "%s is a symbolic link, where the history's own file must be", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = historyOwned(path, info, false)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// withHistoryGate runs f while no other process takes or looks at a slot. For
// a reader of a directory without a gate, which no client has ever written to
// or which cannot be opened, f just runs.
func withHistoryGate(dir string, create bool, f func() error) error {
	flag := os.O_RDONLY
	if create {
		flag = os.O_RDWR | os.O_CREATE
	}
	gate, err := openHistoryPath(filepath.Join(dir, historyGate), flag)
	if err != nil {
		if create {
			return err
		}
		return f()
	}
	defer gate.Close() // and with it the lock
	if err := flock(gate, syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", gate.Name(), err)
	}
	return f()
}

// historySlots returns the slots of which a file of lines or a head is there:
// "0", "1" ... in order, then those of one-shot senders, "s0", "s1" ...
func historySlots(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool)
	for _, e := range entries {
		for _, ext := range [...]string{historyExt, historyHeadExt} {
			if slot, ok := strings.CutSuffix(e.Name(), ext); ok && validSlot(slot) {
				there[slot] = true
			}
		}
	}
	var slots []string
	for _, receiving := range [...]bool{true, false} {
		for i := range maxHistorySlots {
			if slot := slotName(receiving, i); there[slot] {
				slots = append(slots, slot)
			}
		}
	}
	return slots, nil
}

func slotName(receiving bool, i int) string {
	if receiving {
		return strconv.Itoa(i)
	}
	return "s" + strconv.Itoa(i)
}

func slotNumber(slot string) (receiving bool, n int) {
	digits, sender := strings.CutPrefix(slot, "s")
	n, err := strconv.Atoi(digits)
	if err != nil || strconv.Itoa(n) != digits {
		n = -1
	}
	return !sender, n
}

func validSlot(slot string) bool {
	_, n := slotNumber(slot)
	return n >= 0 && n < maxHistorySlots
}

// slotHeld reports whether a process has the slot. The gate is held.
func slotHeld(dir, slot string) bool {
	f, err := openHistoryPath(filepath.Join(dir, slot+historyExt), os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// heldSlots reports which slots a process has.
func heldSlots(dir string, slots []string) (map[string]bool, error) {
	held := make(map[string]bool)
	err := withHistoryGate(dir, false, func() error {
		for _, slot := range slots {
			held[slot] = slotHeld(dir, slot)
		}
		return nil
	})
	return held, err
}

// historyTail is how far a file of lines has been read, and the chain up to
// there.
type historyTail struct {
	size  int64 // bytes of whole lines
	count uint64
	last  [sha256.Size]byte
}

// historyDamage is a file that was changed by something else than this
// program, or that lost what it had.
type historyDamage struct {
	line uint64 // from 1; 0: the file as a whole
	what string
}

func (d *historyDamage) Error() string {
	if d.line == 0 {
		return d.what
	}
	return fmt.Sprintf("line %d: %s", d.line, d.what)
}

// ExitStatus returns that of a failed verification. A history has one code and
// two ways to fail: it cannot be written, or its lines do not verify.
func (d *historyDamage) ExitStatus() int { return exitIntegrity }

// scan reads whole lines from t on and calls each with every one and its
// offset in the file. It moves t. torn is the length of what follows the last
// newline. The line is only valid in the call. A line that does not chain on is
// an error, or, where damaged is given, told to it and taken all the same.
func (t *historyTail) scan(r io.ReaderAt, damaged func(*historyDamage), each func(line []byte, offset int64) error) (torn int64, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, t.size, 1<<62), 256<<10)
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(long)+len(part) > maxHistoryLine+1 {
			return 0, &historyDamage{t.count + 1, "it is longer than any line can be"}
		}
		line := part
		if len(long) > 0 || err == bufio.ErrBufferFull {
			long = append(long, part...)
			line = long
		}
		switch err {
		case nil:
		case bufio.ErrBufferFull:
			continue
		case io.EOF:
			return int64(len(line)), nil
		default:
			return 0, err
		}
		body := line[:len(line)-1]
		if damage := t.chains(body); damage != nil {
			if damaged == nil {
				return 0, damage
			}
			damaged(damage)
		}
		offset := t.size
		t.last = sha256.Sum256(body)
		t.size += int64(len(line))
		t.count++
		if err := each(body, offset); err != nil {
			return 0, err
		}
		long = long[:0]
	}
}

// chains tells what is wrong with a line in this place, or nil.
func (t *historyTail) chains(line []byte) *historyDamage {
	prev, ok := peekPrev(line)
	switch {
	case !ok:
		return &historyDamage{t.count + 1, "it is not a line of the history"}
	case prev != t.last:
		return &historyDamage{t.count + 1, "it does not follow the line before it: one of the two was changed, or lines are missing or in another order"}
	}
	return nil
}

const historyPrevStart = `{"v":1,"prev":"`

// peekPrev returns the hash with which a line begins.
func peekPrev(line []byte) (prev [sha256.Size]byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(historyPrevStart))
	if !ok || len(rest) < 2*sha256.Size+1 || rest[2*sha256.Size] != '"' {
		return prev, false
	}
	_, err := hex.Decode(prev[:], rest[:2*sha256.Size])
	return prev, err == nil
}

// readHistoryHead returns nil without an error if there is no head.
func readHistoryHead(path string) (*historyHead, error) {
	f, err := openHistoryPath(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHistoryHead+1))
	if err != nil {
		return nil, err
	}
	head, err := parseHistoryHead(b)
	if err != nil {
		return nil, &historyDamage{0, "its head file is malformed"}
	}
	return head, nil
}

// maxHistoryHead bounds a head in bytes: the count has at most 20 digits.
const maxHistoryHead = 128

// headCheck compares what a file has with what its head says it has.
type headCheck struct {
	head *historyHead // nil: there is none
	seen bool         // the head's line has been passed, and is the one
}

// passed is called at every line, after it.
func (c *headCheck) passed(t *historyTail) error {
	if c.head == nil || t.count != c.head.Count {
		return nil
	}
	if hex.EncodeToString(t.last[:]) != c.head.Hash {
		return &historyDamage{t.count, "it is not the one that the head file says it is"}
	}
	c.seen = true
	return nil
}

// finish is called at the end of the lines.
func (c *headCheck) finish(t *historyTail) error {
	switch {
	case c.head == nil && t.count > 0:
		return &historyDamage{0, "its head file is gone"}
	case c.head != nil && t.count < c.head.Count:
		return &historyDamage{0, fmt.Sprintf("it has %d lines where its head file says %d: the end is cut off", t.count, c.head.Count)}
	case c.head != nil && c.head.Count == 0 && c.head.Hash != strings.Repeat("0", 2*sha256.Size):
		return &historyDamage{0, "its head file is malformed"}
	}
	return nil
}
