package command

import (
	"os"
	"runtime/debug"
	"syscall"
	"time"
)

// clockState is the system's word on its clock.
type clockState int

const (
	clockUnknown clockState = iota // no answer
	clockKept                      // set over the network
	clockAdrift                    // left to itself
)

// writable returns an error if this user cannot make files in a directory. It
// makes none.
func writable(dir string) error {
	const writeAndSearch = 2 | 1 // W_OK and X_OK of access(2)
	return syscall.Access(dir, writeAndSearch)
}

// freeBytes returns the room for this user on a directory's disk.
func freeBytes(dir string) (n uint64, ok bool) {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0, false
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize), true
}

// modified returns the time of the last change of a file or directory, zero if
// it does not exist.
func modified(path string) time.Time {
	info, err := os.Lstat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// buildTime returns the commit time of the program's source, zero if it is
// unknown.
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
