package leaks

import (
	"strings"
	"testing"
)

// TestLeaksAreSeen: the check reads the runtime's text of goroutines, which may change.
// Here is a leak that it must see: a goroutine started by a goroutine of the test.
func TestLeaksAreSeen(t *testing.T) {
	Check(t)
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
