package history

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// longRead is the length of lines from which on it is told that they were all read: it takes a
// while.
const longRead = 256 << 20

// Open opens the history of the owner, or begins it. It repairs the traces of killed clients.
// notices tell people of that, in sentences. The caller closes the History.
func Open(cfg Config) (h *History, notices []string, err error) {
	if cfg.Through == nil {
		cfg.Through = func(f *os.File) Store { return f }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, nil, failure(err, "name a state directory that can be written with -state",
			"the history cannot be kept in %s: %v", cfg.Dir, state.Cause(err))
	}
	if err := checkDir(cfg.Dir); err != nil {
		return nil, nil, err
	}
	file, err := openFile(filepath.Join(cfg.Dir, linesName), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, nil, openFailure(cfg.Dir, err)
	}
	h = newHistory(cfg)
	h.writer = newWriter(cfg.Through(file), file, file.Name())
	h.known = newIndex(cfg.Dir, file, cfg.Through)
	h.known.light = !cfg.Receiving
	h.Tell = func(notice string) { notices = append(notices, notice) }
	if err := h.open(); err != nil {
		h.run.close()
		h.known.close()
		h.writer.close()
		return nil, nil, openFailure(cfg.Dir, err)
	}
	h.Tell, h.wrote, h.known.receipts = nil, false, nil
	return h, notices, nil
}

// open does what must be done before another client writes.
func (h *History) open() error {
	if err := h.writer.lock(); err != nil {
		return err
	}
	defer h.unlock()
	h.known.locked = true
	if !h.cfg.Since.IsZero() {
		h.Connected(h.cfg.Since)
	}
	h.known.load()
	begin := h.known.base
	if err := h.catchUp(); err != nil {
		return err
	}
	if h.known.end-begin > longRead {
		h.tell(fmt.Sprintf(
			"all lines of the history %s have been read, since there was no index to them",
			h.writer.path))
	}
	if h.known.base == 0 && coveredSize(h.cfg.Dir) > h.known.end {
		h.tell(fmt.Sprintf("lines are gone from the end of the history %s: its index knows of more",
			h.writer.path))
		h.known.forget()
	}
	if err := h.owned(); err != nil {
		return err
	}
	others, err := h.settleKilled()
	if err != nil {
		return err
	}
	if h.cfg.Receiving {
		h.findUnshown(others)
	}
	return h.run.begin(h, len(h.unshown) > 0)
}

// owned writes the first line of a new history, and refuses the history of somebody else. A first
// line that is damaged is for verification to find.
func (h *History) owned() error {
	owner := h.cfg.Owner
	if h.known.end == 0 {
		err := h.line(lineOwner, cause{}, func(b []byte) []byte {
			b = appendLineJSON(b, "name", quoteJSON(owner.Name))
			return appendLineJSON(b, "identity", quoteJSON(proto.FormatHash(owner.Identity)))
		})
		if err != nil {
			return err
		}
		// It must not be lost when what is in there stays.
		return state.SyncDir(h.cfg.Dir)
	}
	of, ok := ownerOf(h.known.lines)
	if ok && (!proto.SameName(of.Name, owner.Name) || of.Identity != owner.Identity) {
		return fail.Errorf(proto.Usage, "the history in %s is of %s (%.16s), and not of %s (%.16s)",
			h.cfg.Dir, proto.Visible(of.Name), proto.FormatHash(of.Identity),
			proto.Visible(owner.Name), proto.FormatHash(owner.Identity)).
			With("name another state directory with -state")
	}
	return nil
}

// ownerOf returns the owner that the first line names.
func ownerOf(lines io.ReaderAt) (owner Owner, ok bool) {
	first, _ := readLine(lines, 0)
	l, err := parseLine(first)
	if err != nil || l.Type != lineOwner {
		return owner, false
	}
	return Owner{l.Name, proto.MustHash(l.Identity)}, true
}

// flushTail writes the index if the next start would have much to read. Nobody needs the index, so
// an error is none.
func (h *History) flushTail() {
	if h.known.end-h.known.base <= flushBytes || h.writer.lock() != nil {
		return
	}
	defer h.unlock()
	x := h.known
	if x.light { // it knows too little
		x = newIndex(x.dir, x.lines, x.through)
		x.locked = true
		x.load()
		defer x.close()
	}
	x.locked = true
	if x.catchUp() == nil {
		_ = x.flush()
	}
}
