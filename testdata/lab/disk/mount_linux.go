package disk

import (
	"fmt"
	"syscall"
)

func mount(dir string, kib int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("size=%dk,mode=0700", kib))
}

func remountReadOnly(dir string) error {
	return syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
}

// unmount takes the file system away in any case, and returns an error if
// somebody still had a file open.
func unmount(dir string) error {
	err := syscall.Unmount(dir, 0)
	if err != nil {
		syscall.Unmount(dir, syscall.MNT_DETACH)
	}
	return err
}
