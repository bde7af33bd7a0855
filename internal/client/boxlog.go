package client

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"chatsecure/internal/state"
)

// The log of a mailbox tells which bundles of one's own have named it, and when each relay had
// handed out all its letters: a line each, appended at every start and every collection. The
// key's file would leave a copy of the key on the disk each time it is written anew.

// maxLog bounds a log in bytes: some 13,000 bundles, one in a minute and a half of the mailbox's
// life. Of more, the older half is forgotten, and letters to those are refused.
const maxLog = 1 << 20

func (m *mail) logPath(mailbox [32]byte) string { return m.path(mailbox) + ".log" }

func namedLine(bundle [32]byte) string { return fmt.Sprintf("{\"bundle\":\"%x\"}\n", bundle) }

func emptyLine(relay string, at time.Time) string {
	return emptyBegin(relay) + strconv.FormatInt(at.UnixMilli(), 10) + "}\n"
}

func emptyBegin(relay string) string { return fmt.Sprintf(`{"relay":"%s","empty":`, relay) }

// Named tells whether a bundle of one's own has named the mailbox.
func (b *ownBox) Named(bundle [32]byte) bool {
	return bytes.Contains(b.log, []byte(namedLine(bundle)))
}

// Empty returns the last time, by its clock, at which a relay had handed out all letters, or the
// zero time. Each relay has letters of its own.
func (b *ownBox) Empty(relay string) time.Time {
	begin := []byte(emptyBegin(relay))
	at := bytes.LastIndex(b.log, begin)
	if at < 0 {
		return time.Time{}
	}
	digits, _, _ := bytes.Cut(b.log[at+len(begin):], []byte("}"))
	ms, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// readLog returns the whole lines of a log: a crash may have cut off the last one.
func readLog(path string) ([]byte, error) {
	log, err := state.ReadFile(path, maxLog)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return log[:bytes.LastIndexByte(log, '\n')+1], nil
}

// note appends a line to the log of a mailbox, and forces it to the disk. The lock is held.
func (m *mail) note(mailbox [32]byte, line string) error {
	return m.appendTo(m.logPath(mailbox), line, shortened, true)
}

// appendTo appends whole lines to a log of less than maxLog, which is shortened where there is no room.
// The lock is held.
func (m *mail) appendTo(path, lines string, shorten func(log []byte) []byte, sync bool) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, state.FileMode)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := wholeLines(f)
	if err == nil && end == 0 && sync { // a log with a line stands in its directory for good
		err = state.SyncDir(m.dir)
	}
	if err != nil {
		return err
	}
	if end+int64(len(lines)) > maxLog {
		log, err := readLog(path)
		if err != nil {
			return err
		}
		return state.ReplaceFile(path, append(shorten(log), lines...))
	}
	if _, err = f.WriteAt([]byte(lines), end); err == nil {
		err = f.Truncate(end + int64(len(lines))) // what a crash has left may be longer
	}
	if err == nil && sync {
		err = state.SyncFile(f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, errors.Join(err, f.Truncate(end)))
	}
	return nil
}

// wholeLines returns the length of the whole lines of a log. A line is shorter than the part at the end
// that is read.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	begin := max(0, info.Size()-256)
	tail := make([]byte, info.Size()-begin)
	if n, err := f.ReadAt(tail, begin); n < len(tail) {
		return 0, err
	}
	return begin + int64(bytes.LastIndexByte(tail, '\n')) + 1, nil
}

// shortened returns the later half of a log, and each relay's last line of the earlier one.
func shortened(log []byte) []byte {
	half := bytes.LastIndexByte(log[:len(log)/2], '\n') + 1
	last := map[string][]byte{}
	for line := range bytes.Lines(log[:half]) {
		if begin, _, is := bytes.Cut(line, []byte(`,"empty":`)); is {
			last[string(begin)] = line
		}
	}
	var short []byte
	for _, line := range last {
		short = append(short, line...)
	}
	return append(short, log[half:]...)
}
