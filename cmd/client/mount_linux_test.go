package main

import (
	"fmt"
	"syscall"
)

// mountTmpfs mounts a file system in memory with so many KiB of room.
func mountTmpfs(dir string, kib int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk,mode=0700", kib))
}

// remountReadOnly makes a mounted file system one that takes no writes.
func remountReadOnly(dir string) error {
	return syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
}

func unmount(dir string) error { return syscall.Unmount(dir, 0) }
