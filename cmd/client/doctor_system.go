package main

import (
	"os"
	"runtime/debug"
	"syscall"
	"time"
)

// What the system says of its clock.
type clockState int

const (
	clockUnknown clockState = iota // it cannot be asked
	clockKept                      // set over the network
	clockAdrift                    // left to itself
)

// writable reports why this user may not make files in a directory. It makes
// none.
func writable(dir string) error {
	const writeAndSearch = 2 | 1 // W_OK and X_OK of access(2)
	return syscall.Access(dir, writeAndSearch)
}

// freeBytes is the room on the disk of dir for this user.
func freeBytes(dir string) (n uint64, ok bool) {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0, false
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize), true
}

// modified is when a directory or file was last changed, zero if it is not
// there.
func modified(path string) time.Time {
	info, err := os.Lstat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// buildTime is when the source that this program is made of was committed,
// zero if the program does not say.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			at, _ := time.Parse(time.RFC3339, s.Value)
			return at
		}
	}
	return time.Time{}
}
