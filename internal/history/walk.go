package history

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

// walk reads the whole history without changing anything, while clients may be
// writing. It goes on after a damage.
type walk struct {
	dir   string
	each  func(slot string, number uint64, line []byte) // the line is only valid in the call
	found func(Finding)
	note  func(string) // told of oddities that are no damage

	torn int // findings that a killed writer explains
}

// run walks all files. A missing directory is fs.ErrNotExist.
func (w *walk) run() error {
	if err := checkDir(w.dir); err != nil {
		return err
	}
	slots, err := listSlots(w.dir)
	if err != nil {
		return err
	}
	next := make(map[bool]int) // the lowest number not seen, by whether it is a receiver's
	for _, slot := range slots {
		// Slots are taken from the lowest on, and never given back.
		receiving, n := slotNumber(slot)
		for ; next[receiving] < n; next[receiving]++ {
			w.found(Finding{slotName(receiving, next[receiving]) + Ext, 0, "it is gone, and its head with it"})
		}
		next[receiving] = n + 1
		if err := w.file(slot); err != nil {
			return err
		}
	}
	return nil
}

// file walks one file. It reads the head first: a writer at work only makes the file
// longer than that head says.
func (w *walk) file(slot string) error {
	name := slot + Ext
	head, headErr := w.head(slot)
	if err := w.undamaged(name, headErr); err != nil {
		return err
	}
	f, err := openFile(filepath.Join(w.dir, name), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		w.found(Finding{name, 0, "it is gone, and only its head is left"})
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()

	var end position
	read := func() (torn int64, err error) {
		return end.scan(f, func(d *damageError) { w.damage(name, d) }, func(line []byte, offset int64) error {
			w.damage(name, checkFirstLine(slot, line, offset))
			w.damage(name, head.passed(&end))
			w.each(slot, end.count, line)
			return nil
		})
	}
	torn, err := read()
	if err == nil && torn > 0 {
		torn, err = w.tornTail(slot, read)
	}
	if err != nil {
		return w.undamaged(name, err)
	}
	if torn > 0 {
		w.torn++
		w.found(Finding{name, 0, fmt.Sprintf("it ends in the middle of a line (%d bytes), as a killed client leaves it; "+
			"a client that opens it cuts them off", torn)})
	}
	if headErr == nil {
		w.damage(name, head.finish(&end))
	}
	if head != nil && head.Count < end.count {
		w.lag(slot, head, &end)
	}
	return nil
}

// damage makes a finding of a damage, if there is one.
func (w *walk) damage(name string, d *damageError) {
	if d != nil {
		w.found(Finding{name, d.line, d.what})
	}
}

// undamaged makes a finding of an error that is a damage, and returns any other.
func (w *walk) undamaged(name string, err error) error {
	if d, ok := errors.AsType[*damageError](err); ok {
		w.damage(name, d)
		return nil
	}
	return err
}

// head reads a head, again while a writer is in the middle of it.
func (w *walk) head(slot string) (head *Head, err error) {
	const tries = 5 // each is far shorter than a writer's way from one line to the next
	for range tries {
		head, err = readHead(filepath.Join(w.dir, slot+headExt))
		if _, damaged := errors.AsType[*damageError](err); !damaged {
			break
		}
	}
	return head, err
}

// tornTail tells a line that a writer is at from one that a killed writer left: no
// process holds the file, and it stays as it is.
func (w *walk) tornTail(slot string, read func() (int64, error)) (torn int64, err error) {
	held, err := heldSlots(w.dir, []string{slot})
	if err != nil || held[slot] {
		return 0, err
	}
	return read()
}

// lag notes that the head does not know of the last lines, unless they have only just
// been written.
func (w *walk) lag(slot string, before *Head, end *position) {
	held, err := heldSlots(w.dir, []string{slot})
	now, err2 := w.head(slot)
	if err != nil || err2 != nil || held[slot] || now == nil || now.Count != before.Count {
		return
	}
	w.note(fmt.Sprintf("%s%s: its head is behind by %d, as a killed client leaves it", slot, Ext, end.count-before.Count))
}
