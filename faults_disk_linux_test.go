package chatsecure

import "syscall"

// mount puts a file system of 64 pages in place, until the test ends.
func (d *tinyDisk) mount() {
	d.t.Helper()
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "size=256k,mode=0700"); err != nil {
		d.cannot(err)
	}
	d.t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, 0); err != nil {
			d.t.Errorf("unmount: %v", err)
			syscall.Unmount(d.dir, syscall.MNT_DETACH)
		}
	})
}
