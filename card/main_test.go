//go:build cgo

package card

import (
	"os"
	"testing"
	"time"
)

// TestMain has Close wait for a card's software as long as a machine may stand
// still under the tests.
func TestMain(m *testing.M) {
	closeWait = time.Minute
	os.Exit(m.Run())
}
