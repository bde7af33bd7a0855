package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"chatsecure/internal/state"
)

const (
	Ext     = ".jsonl" // of a file of lines
	headExt = ".head"  // of its head
	// gateFile is locked for microseconds while slots are taken or looked at: a
	// look must never make a slot seem taken.
	gateFile = "lock"
	// MaxSlots bounds the search for a free slot. More clients than this on one
	// state directory are a mistake.
	MaxSlots = 1024
)

// slotName names the i-th slot of clients that take messages, "0", "1" and so on,
// or of one-shot senders, "s0", "s1" and so on.
func slotName(receiving bool, i int) string {
	if receiving {
		return strconv.Itoa(i)
	}
	return "s" + strconv.Itoa(i)
}

func slotNumber(slot string) (receiving bool, n int) {
	digits, sender := strings.CutPrefix(slot, "s")
	n, err := strconv.Atoi(digits)
	if err != nil || strconv.Itoa(n) != digits {
		n = -1
	}
	return !sender, n
}

func validSlot(slot string) bool {
	_, n := slotNumber(slot)
	return n >= 0 && n < MaxSlots
}

// withGate runs f while no other process takes or looks at a slot. A reader runs f
// in any case: no client has ever written to a directory without a gate, and a gate
// that cannot be opened must not keep anybody from reading.
func withGate(dir string, create bool, f func() error) error {
	flag := os.O_RDONLY
	if create {
		flag = os.O_RDWR | os.O_CREATE
	}
	gate, err := openFile(filepath.Join(dir, gateFile), flag)
	if err != nil {
		if create {
			return err
		}
		return f()
	}
	defer gate.Close() // and with it the lock
	if err := state.Flock(gate, syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", gate.Name(), err)
	}
	return f()
}

// listSlots returns the slots with a file of lines or a head: those of clients
// that take messages in order, then those of one-shot senders.
func listSlots(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool)
	for _, e := range entries {
		for _, ext := range [...]string{Ext, headExt} {
			if slot, ok := strings.CutSuffix(e.Name(), ext); ok && validSlot(slot) {
				there[slot] = true
			}
		}
	}
	var slots []string
	for _, receiving := range [...]bool{true, false} {
		for i := range MaxSlots {
			if slot := slotName(receiving, i); there[slot] {
				slots = append(slots, slot)
			}
		}
	}
	return slots, nil
}

// heldSlots returns the slots that a process has taken.
func heldSlots(dir string, slots []string) (map[string]bool, error) {
	held := make(map[string]bool)
	err := withGate(dir, false, func() error {
		for _, slot := range slots {
			held[slot] = slotHeld(dir, slot)
		}
		return nil
	})
	return held, err
}

// slotHeld reports whether a process has taken the slot. The gate is held.
func slotHeld(dir, slot string) bool {
	f, err := openFile(filepath.Join(dir, slot+Ext), os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(state.Flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
