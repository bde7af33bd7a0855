package chatsecure

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Finding is something in the history that does not hold.
type Finding struct {
	File string // base name
	Line uint64 // from 1; 0: the file as a whole
	What string // a sentence, safe to print
}

// String returns the finding as one line for people.
func (f Finding) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.What
	}
	return fmt.Sprintf("%s, line %d: %s", f.File, f.Line, f.What)
}

// historyWalk reads the whole history without changing anything, while clients
// may be writing. It goes on after a damage.
type historyWalk struct {
	dir   string
	each  func(slot string, number uint64, line []byte) error // the line is only valid in the call
	found func(Finding)
	note  func(string) // what is no damage and still worth saying

	torn int // findings that a killed writer explains
}

// run walks all files. A directory that is not there is fs.ErrNotExist.
func (w *historyWalk) run() error {
	if err := checkHistoryDir(w.dir); err != nil {
		return err
	}
	slots, err := historySlots(w.dir)
	if err != nil {
		return err
	}
	next := make(map[bool]int) // the lowest number not seen, by whether it is a receiver's
	for _, slot := range slots {
		// Slots are taken from the lowest on, and never given back.
		receiving, n := slotNumber(slot)
		for ; next[receiving] < n; next[receiving]++ {
			w.found(Finding{slotName(receiving, next[receiving]) + historyExt, 0, "it is gone, and its head with it"})
		}
		next[receiving] = n + 1
		if err := w.file(slot); err != nil {
			return err
		}
	}
	return nil
}

// file walks one file. The head is read first: a writer at work only makes the
// file longer than that head says.
func (w *historyWalk) file(slot string) error {
	name := slot + historyExt
	head, err := w.head(slot)
	headless := w.damage(name, &err) // and said
	if err != nil {
		return err
	}
	f, err := openHistoryPath(filepath.Join(w.dir, name), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		w.found(Finding{name, 0, "it is gone, and only its head is left"})
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()

	var tail historyTail
	check := headCheck{head: head}
	read := func() (torn int64, err error) {
		return tail.scan(f, func(d *historyDamage) { w.found(Finding{name, d.line, d.what}) }, func(line []byte, offset int64) error {
			for _, err := range [...]error{checkFirstLine(slot, line, offset), check.passed(&tail)} {
				w.damage(name, &err)
			}
			return w.each(slot, tail.count, line)
		})
	}
	torn, err := read()
	if err == nil && torn > 0 {
		torn, err = w.tornTail(slot, read)
	}
	if w.damage(name, &err) || err != nil {
		return err
	}
	if torn > 0 {
		w.torn++
		w.found(Finding{name, 0, fmt.Sprintf("it ends in the middle of a line (%d bytes), as a killed client leaves it; a client that opens it cuts them off", torn)})
	}
	if !headless {
		err := check.finish(&tail)
		w.damage(name, &err)
	}
	if head != nil && head.Count < tail.count {
		w.lag(slot, head, &tail)
	}
	return nil
}

// damage tells a damage and takes it out of err.
func (w *historyWalk) damage(name string, err *error) bool {
	d, ok := errors.AsType[*historyDamage](*err)
	if ok {
		w.found(Finding{name, d.line, d.what})
		*err = nil
	}
	return ok
}

// head reads a head, again where a writer was just in it.
func (w *historyWalk) head(slot string) (head *historyHead, err error) {
	const tries = 5 // each is far shorter than a writer's way from one line to the next
	for range tries {
		head, err = readHistoryHead(filepath.Join(w.dir, slot+historyHeadExt))
		if _, damaged := errors.AsType[*historyDamage](err); !damaged {
			break
		}
	}
	return head, err
}

// tornTail tells a line that a writer is still at from one that a killed
// writer left: nobody holds the file, and it stays as it is.
func (w *historyWalk) tornTail(slot string, read func() (int64, error)) (torn int64, err error) {
	held, err := heldSlots(w.dir, []string{slot})
	if err != nil || held[slot] {
		return 0, err
	}
	return read()
}

// lag tells of lines that the head does not know, unless they have only just
// been written.
func (w *historyWalk) lag(slot string, before *historyHead, tail *historyTail) {
	held, err := heldSlots(w.dir, []string{slot})
	now, err2 := w.head(slot)
	if err != nil || err2 != nil || held[slot] || now == nil || now.Count != before.Count {
		return
	}
	w.note(fmt.Sprintf("%s%s: its head is behind by %d, as a killed client leaves it", slot, historyExt, tail.count-before.Count))
}
