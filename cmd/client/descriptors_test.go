package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// openIn returns what a process has open, sorted; nil where the system does not
// tell.
func openIn(pid int) (open []string) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		// One that has been closed meanwhile leads nowhere.
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			open = append(open, target)
		}
	}
	slices.Sort(open)
	return open
}

var sayOpenUnknown = sync.OnceFunc(func() {
	fmt.Fprintln(os.Stderr, "*** this system does not tell what a process has open: relays are NOT checked for descriptors ***")
})

// checkOpen waits until a relay whose clients have gone has no more open than it
// had before they came, and fails the test if that does not come to pass. The
// relay lingers over connections that have ended.
func checkOpen(t testing.TB, pid int, before []string) {
	t.Helper()
	if before == nil {
		sayOpenUnknown()
		return
	}
	var open []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) { // it tells nobody
		if open = openIn(pid); len(open) <= len(before) {
			return
		}
	}
	t.Errorf("its clients have gone, and the relay has open\n%q, and had\n%q", open, before)
}
