package command

import (
	"runtime/debug"
	"syscall"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// writable returns an error if this user cannot make files in a directory. It
// makes none.
func writable(dir string) error {
	const writeAndSearch = 2 | 1 // W_OK and X_OK of access(2)
	if err := syscall.Access(dir, writeAndSearch); err != nil {
		return fail.Errorf(proto.Internal, "%s cannot be written: %w", dir, err).
			With("check its owner and permissions")
	}
	return nil
}

// freeBytes returns the room for this user on a directory's disk.
func freeBytes(dir string) (n uint64, ok bool) {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0, false
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize), true
}

// buildTime returns the commit time of the program's source, zero if it is
// unknown.
func buildTime() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				at, _ := time.Parse(time.RFC3339, s.Value)
				return at
			}
		}
	}
	return time.Time{}
}
