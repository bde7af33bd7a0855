package main

import (
	"syscall"
	"unsafe"
)

// isTerminal reports whether a file is a terminal.
func isTerminal(fd uintptr) bool {
	var modes syscall.Termios
	return ioctl(fd, getModes, &modes) == nil
}

// setEcho makes a terminal show what is typed, or not. Lines are still read
// whole.
func setEcho(fd uintptr, on bool) error {
	var modes syscall.Termios
	if err := ioctl(fd, getModes, &modes); err != nil {
		return err
	}
	modes.Lflag |= syscall.ICANON
	if on {
		modes.Lflag |= syscall.ECHO
	} else {
		modes.Lflag &^= syscall.ECHO
	}
	return ioctl(fd, setModes, &modes)
}

func ioctl(fd, request uintptr, modes *syscall.Termios) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(modes)))
	if errno != 0 {
		return errno
	}
	return nil
}
