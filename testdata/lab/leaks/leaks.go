// Package leaks checks that a test ends without goroutines of this module and
// without open descriptors.
package leaks

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// label marks a goroutine with the name of its test. Goroutines inherit it, so tests
// that run side by side can be told apart, which a count could not do.
const label = "test"

// patience bounds the wait for goroutines to end: none takes nearly so long.
const patience = time.Minute

// checked has the names of the tests under a check.
var checked sync.Map

// Check fails the test, after all its other cleanup, for each goroutine of this
// module that the test started, however indirectly, and that has not ended. A test
// calls it first.
func Check(t testing.TB) {
	if _, again := checked.LoadOrStore(t.Name(), true); again {
		return // the first call registers the last cleanup
	}
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(label, t.Name())))
	t.Cleanup(func() {
		checked.Delete(t.Name())
		var left []string
		// Some take a moment to end after their work.
		for deadline := time.Now().Add(patience); ; runtime.Gosched() {
			if left = goroutinesOf(t.Name()); len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				break
			}
		}
		t.Errorf("%d kinds of goroutines are left behind:\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

// goroutinesOf returns the stacks of the goroutines that a test started.
func goroutinesOf(test string) (left []string) {
	var all bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&all, 1)
	mark := fmt.Sprintf("%q:%q", label, test)
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		testing := strings.Contains(stack, "\ttesting.tRunner") || strings.Contains(stack, "\ttesting.(*B)")
		if !testing && strings.Contains(stack, mark) && strings.Contains(stack, "\tchatsecure") {
			left = append(left, stack)
		}
	}
	return left
}

// Descriptors returns the open descriptors of this process, each with its number and
// its target. It is nil where the system does not tell.
func Descriptors() map[string]bool {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	open := make(map[string]bool)
	for _, e := range entries {
		// The descriptor that read the directory is closed by now.
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil {
			open[e.Name()+" "+target] = true
		}
	}
	return open
}

// CheckDescriptors runs the tests, and fails them if a descriptor is left open at the
// end. It returns the exit status.
func CheckDescriptors(run func() int) int {
	before := Descriptors()
	status := run()
	after := Descriptors()
	ends := make(map[string]int)
	for fd := range after {
		_, target, _ := strings.Cut(fd, " ")
		ends[target]++
	}
	for fd := range after {
		_, target, _ := strings.Cut(fd, " ")
		// The runtime and the testing package open some once. So does package
		// net, for pipes between sockets: of these both ends are here.
		if before[fd] || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/dev/") || strings.HasPrefix(target, "/proc/") ||
			strings.HasSuffix(target, ".test") || strings.HasPrefix(target, "/sys/") || strings.HasPrefix(target, "pipe:") && ends[target] == 2 {
			continue
		}
		fmt.Fprintf(os.Stderr, "*** a descriptor is left open: %s ***\n", fd)
		status = max(status, 1)
	}
	return status
}

// Resident returns the resident memory of a process in bytes.
func Resident(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
