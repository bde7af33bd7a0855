package town

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// PeakResident is the largest resident memory that a process has had, in bytes,
// as /proc has it. The number that wait4 gives for a child is at least its
// parent's own size.
func PeakResident(pid int) (n int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(peak, &n)
	return n << 10, err
}

// openIn returns the targets of a process's descriptors, sorted, or nil where
// the system has no /proc.
func openIn(pid int) (open []string) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		// A descriptor closed meanwhile leads nowhere.
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			open = append(open, target)
		}
	}
	slices.Sort(open)
	return open
}

// Pause stops a client by SIGSTOP, and waits until each of its threads stands still: on a busy
// machine one may go on for a while. SIGCONT has it go on.
func (p *Running) Pause() {
	p.T.Helper()
	p.Cmd.Process.Signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) { // nothing announces it
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Cmd.Process.Pid))
		if !slices.ContainsFunc(threads, func(file string) bool {
			stat, err := os.ReadFile(file)
			_, state, _ := strings.Cut(string(stat), ") ") // the name before it is that of the program
			return err == nil && !strings.HasPrefix(state, "T")
		}) {
			return
		}
		if time.Now().After(deadline) {
			p.T.Fatal("a client does not stop")
		}
	}
}

var sayOpenUnknown = sync.OnceFunc(func() {
	fmt.Fprintln(os.Stderr, "*** this system does not tell what a process has open: relays are NOT checked for descriptors ***")
})

// checkOpen waits until a relay whose clients have gone has no more open than
// before they came, since it lingers over ended connections. It fails the test
// if that does not happen within Patience.
func checkOpen(t testing.TB, pid int, before []string) {
	t.Helper()
	if before == nil {
		sayOpenUnknown()
		return
	}
	var open []string
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) { // nothing announces it
		if open = openIn(pid); len(open) <= len(before) {
			return
		}
	}
	t.Errorf("its clients have gone, and the relay has open\n%q, and had\n%q", open, before)
}
