//go:build !linux

package chatsecure

import "errors"

func (d *tinyDisk) mount() { d.cannot(errors.ErrUnsupported) }
