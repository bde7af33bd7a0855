package term

import "syscall"

// The ioctl requests for a terminal's modes.
const (
	getModes      = syscall.TIOCGETA
	setModes      = syscall.TIOCSETAF // drops pending input, which was not meant for the question
	setModesNow   = syscall.TIOCSETA
	setModesLater = syscall.TIOCSETAW // after all output, and keeps pending input
)
