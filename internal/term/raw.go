package term

import (
	"errors"
	"sync"
	"syscall"
	"unsafe"
)

// rawMode is the device of a real terminal. Raw, it passes on every key as it
// is pressed. Its methods may be called from any goroutine.
type rawMode struct {
	fd uintptr

	mu    sync.Mutex // guards the fields below
	saved *syscall.Termios
	raw   bool
	mute  bool // without echo
	over  bool // it has been given back for good
}

var errGivenBack = errors.New("the terminal has been given back")

// enter makes the terminal raw. Output keeps its mode: a newline goes to the
// start of the next line for all programs. The modes saved at the first call
// are restored at the end, since another program may have had the terminal
// meanwhile.
func (r *rawMode) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return errGivenBack
	}
	if r.saved == nil {
		var now syscall.Termios
		if err := ioctl(r.fd, getModes, unsafe.Pointer(&now)); err != nil {
			return err
		}
		r.saved = &now
	}
	modes := *r.saved
	modes.Iflag &^= syscall.IGNBRK | syscall.BRKINT | syscall.PARMRK | syscall.ISTRIP
	modes.Iflag &^= syscall.INLCR | syscall.IGNCR | syscall.ICRNL | syscall.IXON
	modes.Lflag &^= syscall.ECHO | syscall.ECHONL | syscall.ICANON | syscall.ISIG | syscall.IEXTEN
	modes.Cc[syscall.VMIN], modes.Cc[syscall.VTIME] = 1, 0
	if err := ioctl(r.fd, setModesLater, unsafe.Pointer(&modes)); err != nil {
		return err
	}
	r.raw = true
	return nil
}

// leave restores the modes and reports whether the terminal was raw. Pending
// input is dropped: the rest of a paste, or of a PIN, is not for the shell.
func (r *rawMode) leave(forGood bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.raw
	if was || r.mute {
		ioctl(r.fd, setModes, unsafe.Pointer(r.saved))
	}
	r.raw, r.mute = false, false
	r.over = r.over || forGood
	return was
}

// interruptible leaves Ctrl-C of a raw terminal to the kernel, or takes it back.
func (r *rawMode) interruptible(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var modes syscall.Termios
	if !r.raw || ioctl(r.fd, getModes, unsafe.Pointer(&modes)) != nil {
		return
	}
	if modes.Lflag &^= syscall.ISIG; on {
		modes.Lflag |= syscall.ISIG
	}
	ioctl(r.fd, setModesNow, unsafe.Pointer(&modes))
}

// lineWaits reports whether a whole line can be read, while lines are read whole.
func (r *rawMode) lineWaits() bool {
	var bytes int32
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, r.fd, bytesWaiting, uintptr(unsafe.Pointer(&bytes)))
	return errno == 0 && bytes > 0
}

// The assumed size of a terminal that does not know its own.
const (
	unknownCols = 80
	unknownRows = 24
)

// size returns the terminal's columns and rows.
func (r *rawMode) size() (cols, rows int) {
	var size struct{ rows, cols, x, y uint16 } // struct winsize
	if err := ioctl(r.fd, syscall.TIOCGWINSZ, unsafe.Pointer(&size)); err != nil || size.cols == 0 || size.rows == 0 {
		return unknownCols, unknownRows
	}
	return int(size.cols), int(size.rows)
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(fd uintptr) bool {
	var modes syscall.Termios
	return ioctl(fd, getModes, unsafe.Pointer(&modes)) == nil
}

// echo shows typed text, or hides it. Lines are still read whole.
func (r *rawMode) echo(on bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var modes syscall.Termios
	if err := ioctl(r.fd, getModes, unsafe.Pointer(&modes)); err != nil {
		return err
	}
	if r.saved == nil {
		before := modes
		r.saved = &before
	}
	r.mute = !on
	modes.Lflag |= syscall.ICANON
	if on {
		modes.Lflag |= syscall.ECHO
	} else {
		modes.Lflag &^= syscall.ECHO
	}
	return ioctl(r.fd, setModes, unsafe.Pointer(&modes))
}

func ioctl(fd, request uintptr, value unsafe.Pointer) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(value))
	if errno != 0 {
		return errno
	}
	return nil
}
