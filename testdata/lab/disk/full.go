package disk

import (
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// Full is a stand-in for a disk that fills up: it passes writes on until its
// room is used up, through all its files together. Of the write that does not
// fit a part is written. Bytes that are overwritten take no room.
type Full struct {
	mu     sync.Mutex
	room   int
	broken bool
}

// NewFull returns a disk with so many bytes of room.
func NewFull(room int) *Full { return &Full{room: room} }

// Set changes the room. On a broken disk files cannot be truncated either.
func (d *Full) Set(room int, broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room, d.broken = room, broken
}

// Through puts a file on the disk.
func (d *Full) Through(f *os.File) *FullFile { return &FullFile{f, d} }

// FullFile is a file on a disk that fills up.
type FullFile struct {
	*os.File
	disk *Full
}

// WriteAt writes as much of b as there is room for.
func (f *FullFile) WriteAt(b []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	over := int(min(max(info.Size()-at, 0), int64(len(b)))) // bytes that are overwritten
	n := min(len(b), over+f.disk.room)
	f.disk.room -= n - over
	written, err := f.File.WriteAt(b[:n], at)
	if err == nil && n < len(b) {
		err = &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return written, err
}

// Truncate fails on a broken disk.
func (f *FullFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.broken {
		return syscall.EIO
	}
	return f.File.Truncate(size)
}
