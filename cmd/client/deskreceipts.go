package main

import (
	"strings"
	"sync"

	"chatsecure"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// maxEarly bounds the receipts that are remembered although nobody asked for
// them yet: one can be faster than the function that sends.
const maxEarly = 256

// receipts keeps how far the last message got, for the status below the
// prompt. Its methods may be called from any goroutine.
type receipts struct {
	mu      sync.Mutex
	id      string // of the last message
	names   []string
	reached map[string]chatsecure.Status // by folded name
	early   []*chatsecure.ReceiptChange  // of other messages, oldest first
}

// sent begins with a new message and returns its status.
func (r *receipts) sent(id string, names []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id, r.names, r.reached = id, names, make(map[string]chatsecure.Status)
	for _, c := range r.early {
		r.note(c)
	}
	r.early = nil
	return r.status()
}

// changed takes note of a receipt. about says whether it is of the last
// message, whose status it returns then.
func (r *receipts) changed(c *chatsecure.ReceiptChange) (status string, about bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.note(c) {
		return r.status(), true
	}
	if len(r.early) == maxEarly {
		r.early = append(r.early[:0], r.early[1:]...)
	}
	r.early = append(r.early, c)
	return "", false
}

// note reports whether a receipt is of the last message. The furthest of a
// user's connections counts.
func (r *receipts) note(c *chatsecure.ReceiptChange) bool {
	if c.ID != r.id || r.id == "" {
		return false
	}
	if name := proto.FoldName(c.To); c.Status.AtLeast(r.reached[name]) {
		r.reached[name] = c.Status
	}
	return true
}

// status says who has read the last message and who has it. Of others there is
// nothing to say yet, or a notice has said it.
func (r *receipts) status() string {
	var read, delivered []string
	for _, name := range r.names {
		switch r.reached[proto.FoldName(name)] {
		case chatsecure.StatusRead:
			read = append(read, crypto.Visible(name))
		case chatsecure.StatusDelivered:
			delivered = append(delivered, crypto.Visible(name))
		}
	}
	var parts []string
	if len(read) > 0 {
		parts = append(parts, "read by "+strings.Join(read, ", "))
	}
	if len(delivered) > 0 {
		parts = append(parts, "delivered to "+strings.Join(delivered, ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	return "✓ " + strings.Join(parts, "; ")
}
