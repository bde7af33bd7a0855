//go:build !linux

package command

// synchronized cannot ask other kernels than Linux.
func synchronized() (kept, known bool) { return false, false }
