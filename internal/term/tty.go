package term

import (
	"syscall"
	"unsafe"
)

// IsTerminal reports whether a file is a terminal.
func IsTerminal(fd uintptr) bool {
	var modes syscall.Termios
	return ioctl(fd, getModes, &modes) == nil
}

// echo shows typed text, or hides it. Lines are still read whole.
func (r *rawMode) echo(on bool) error {
	var modes syscall.Termios
	if err := ioctl(r.fd, getModes, &modes); err != nil {
		return err
	}
	modes.Lflag |= syscall.ICANON
	if on {
		modes.Lflag |= syscall.ECHO
	} else {
		modes.Lflag &^= syscall.ECHO
	}
	return ioctl(r.fd, setModes, &modes)
}

func ioctl(fd, request uintptr, modes *syscall.Termios) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(modes)))
	if errno != 0 {
		return errno
	}
	return nil
}
