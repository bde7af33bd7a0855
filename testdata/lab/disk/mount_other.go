//go:build !linux

package disk

import "errors"

// Only Linux has a file system in memory that a test can mount.
func mount(string, int) error      { return errors.ErrUnsupported }
func remountReadOnly(string) error { return errors.ErrUnsupported }
func unmount(string) error         { return errors.ErrUnsupported }
