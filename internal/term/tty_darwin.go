package term

import (
	"syscall"
	"unsafe"
)

// The ioctl requests for a terminal's modes.
const (
	getModes      = syscall.TIOCGETA
	setModes      = syscall.TIOCSETAF // drops pending input, which was not meant for the question
	setModesNow   = syscall.TIOCSETA
	setModesLater = syscall.TIOCSETAW // after all output, and keeps pending input
	bytesWaiting  = 0x4004667f        // FIONREAD
)

// drop drops what was typed and has not been read.
func (r *rawMode) drop() {
	input := int32(1) // FREAD
	syscall.Syscall(syscall.SYS_IOCTL, r.fd, syscall.TIOCFLUSH, uintptr(unsafe.Pointer(&input)))
}
