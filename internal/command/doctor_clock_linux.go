package command

import "syscall"

// synchronized asks the kernel whether the clock is kept right: adjtimex(2),
// which changes nothing without a mode.
func synchronized() (kept, known bool) {
	const unsynchronized = 0x40 // STA_UNSYNC
	var t syscall.Timex
	_, err := syscall.Adjtimex(&t)
	return t.Status&unsynchronized == 0, err == nil
}
