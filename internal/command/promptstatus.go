package command

import (
	"strings"
	"sync"

	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// maxEarly bounds the receipts kept for a message whose Send has not returned
// yet.
const maxEarly = 256

// receipts keeps the progress of the last message, for the status below the
// prompt. Its methods may be called from any goroutine.
type receipts struct {
	mu      sync.Mutex
	id      string // of the last message
	names   []string
	reached map[string]history.Status // by folded name
	early   []*client.ReceiptChange   // of other messages, oldest first
}

// sent begins with a new message and returns its status.
func (r *receipts) sent(id string, names []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id, r.names, r.reached = id, names, make(map[string]history.Status)
	for _, c := range r.early {
		r.note(c)
	}
	r.early = nil
	return r.status()
}

// changed adds a receipt. If it is about the last message, about is true and
// status is the new status.
func (r *receipts) changed(c *client.ReceiptChange) (status string, about bool) {
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

// note adds a receipt and reports whether it is about the last message. The
// furthest of a user's connections counts.
func (r *receipts) note(c *client.ReceiptChange) bool {
	if c.ID != r.id || r.id == "" {
		return false
	}
	if name := proto.FoldName(c.To); c.Status.AtLeast(r.reached[name]) {
		r.reached[name] = c.Status
	}
	return true
}

// status lists readers and receivers of the last message. Failures have their
// own notices.
func (r *receipts) status() string {
	var read, delivered []string
	for _, name := range r.names {
		switch r.reached[proto.FoldName(name)] {
		case history.StatusRead:
			read = append(read, proto.Visible(name))
		case history.StatusDelivered:
			delivered = append(delivered, proto.Visible(name))
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
