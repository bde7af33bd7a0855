//go:build cgo

package card

import (
	"os"
	"testing"
	"time"
)

// TestMain lets Close wait for a card's software longer than a busy machine may
// stand still.
func TestMain(m *testing.M) {
	closeWait = time.Minute
	os.Exit(m.Run())
}
