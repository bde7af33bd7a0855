//go:build !linux

package main

import "errors"

// Elsewhere there is no file system in memory that a test could mount.
func mountTmpfs(string, int) error { return errors.ErrUnsupported }
func remountReadOnly(string) error { return errors.ErrUnsupported }
func unmount(string) error         { return errors.ErrUnsupported }
