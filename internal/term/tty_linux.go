package term

import (
	"syscall"
)

// The ioctl requests for a terminal's modes.
const (
	getModes      = syscall.TCGETS
	setModes      = syscall.TCSETS + 2 // TCSETSF: drops pending input, which was not meant for the question
	setModesNow   = syscall.TCSETS
	setModesLater = syscall.TCSETS + 1 // TCSETSW: after all output, and keeps pending input
	bytesWaiting  = syscall.TIOCINQ
)

// drop drops what was typed and has not been read.
func (r *rawMode) drop() {
	const flush, input = 0x540b, 0 // TCFLSH, TCIFLUSH
	syscall.Syscall(syscall.SYS_IOCTL, r.fd, flush, input)
}
