//go:build !linux

package attack

import (
	"fmt"
	"os"
	"testing"
)

func TestBadNetwork(t *testing.T) {
	fmt.Fprintf(os.Stderr, "*** %s is SKIPPED: it takes Linux. Bad networks are NOT tested. ***\n", t.Name())
	t.Skip("no network namespaces")
}
