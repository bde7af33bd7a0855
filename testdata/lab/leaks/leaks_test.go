package leaks

import (
	"os"
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

// TestDescriptorsAreSeen: an open file is among the descriptors of this process,
// and is gone once it is closed.
func TestDescriptorsAreSeen(t *testing.T) {
	if Descriptors() == nil {
		t.Skip("this system does not tell what is open: descriptors are NOT checked")
	}
	f, err := os.Create(t.TempDir() + "/left-open")
	if err != nil {
		t.Fatal(err)
	}
	seen := func() bool {
		for fd := range Descriptors() {
			if strings.HasSuffix(fd, " "+f.Name()) {
				return true
			}
		}
		return false
	}
	if !seen() {
		t.Error("an open file is not seen")
	}
	f.Close()
	if seen() {
		t.Error("a closed file is seen")
	}
}
