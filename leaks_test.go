package chatsecure

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"
)

// leakLabel marks a goroutine with the test that it comes from. A goroutine
// hands its labels on to those that it starts, so that tests which run side by
// side can be told apart, where a count could not.
const leakLabel = "test"

// leakChecked has the names of the tests that are being watched.
var leakChecked sync.Map

// checkLeaks fails the test, after all its other cleanup, for each goroutine of
// this module that it started, however indirectly, and that has not ended. It
// is called before anything else is.
func checkLeaks(t testing.TB) {
	if _, again := leakChecked.LoadOrStore(t.Name(), true); again {
		return // the first to be asked for comes last of all cleanup
	}
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(leakLabel, t.Name())))
	t.Cleanup(func() {
		leakChecked.Delete(t.Name())
		var left []string
		// Some take a moment to end after what they did is over.
		for deadline := time.Now().Add(relayTestTimeout); ; runtime.Gosched() {
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

// goroutinesOf returns the stacks of a test's goroutines, but for the tests'
// own.
func goroutinesOf(test string) (left []string) {
	var all bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&all, 1)
	label := fmt.Sprintf("%q:%q", leakLabel, test)
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, label) && strings.Contains(stack, "\tchatsecure") && !strings.Contains(stack, "\ttesting.tRunner") && !strings.Contains(stack, "\ttesting.(*B)") {
			left = append(left, stack)
		}
	}
	return left
}

// descriptors returns what this process has open: what each leads to, with its
// number. It is nil where the system does not tell.
func descriptors() map[string]bool {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	open := make(map[string]bool)
	for _, e := range entries {
		// The one that reads the directory is gone by now.
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil {
			open[e.Name()+" "+target] = true
		}
	}
	return open
}

// checkDescriptors looks, when all tests are over and nothing runs beside it any more,
// whether a descriptor was left open.
func checkDescriptors(run func() int) int {
	before := descriptors()
	status := run()
	after := descriptors()
	ends := make(map[string]int)
	for fd := range after {
		_, target, _ := strings.Cut(fd, " ")
		ends[target]++
	}
	for fd := range after {
		_, target, _ := strings.Cut(fd, " ")
		// What the runtime and the testing package open once is theirs, and so
		// is a pipe of which both ends are here: package net keeps some to move
		// bytes from one socket to another.
		if before[fd] || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/dev/") || strings.HasPrefix(target, "/proc/") ||
			strings.HasSuffix(target, ".test") || strings.HasPrefix(target, "/sys/") || strings.HasPrefix(target, "pipe:") && ends[target] == 2 {
			continue
		}
		fmt.Fprintf(os.Stderr, "*** a descriptor is left open: %s ***\n", fd)
		status = max(status, 1)
	}
	return status
}

// TestLeaksAreSeen: the runtime's text of a goroutine may change, and then
// nothing would be seen any more. Here one is, that a goroutine of the test's
// started.
func TestLeaksAreSeen(t *testing.T) {
	checkLeaks(t)
	hold, started, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		go func() { defer close(done); close(started); <-hold }()
	}()
	<-started
	// The outer one may not have returned yet.
	if left := goroutinesOf(t.Name()); len(left) == 0 || len(left) > 2 || !strings.Contains(left[0], t.Name()) {
		t.Errorf("it sees %q", left)
	}
	close(hold)
	<-done
}
