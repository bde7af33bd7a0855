package client

import (
	"context"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Bounds of the records that wait for a window, for all recipients.
const (
	maxQueuedRecords = 8192
	maxQueuedBytes   = 4 << 20
)

// outbox takes records from Send to the engine, in order and bounded.
type outbox struct {
	mu      sync.Mutex
	fresh   []*outRecord
	last    uint64 // number given
	records int
	bytes   int
	room    chan struct{} // closed and replaced when there is room again
	closed  bool
	targets map[string]*targets // by the names as given
}

// targets is a resolved list of names.
type targets struct {
	users []*user
	to    []crypto.Recipient // sorted, and shared by all records to them
}

// Send makes one record to all names, begins to send it, and returns its id.
// The record goes to every connection that takes messages, to those that were lost
// and come back within 40 s, and to names that connect within WaitPeer. A first contact is confirmed before. Send waits while
// too much is queued. An error means that nothing was sent to anyone: nobody has
// any of the names, or all are refused. A failure for some names is an event and
// stands in Wait's Outcome.
//
// Of a Persistent client Send waits for nothing. The record is PENDING for each
// recipient by itself until they are there and accepted, as long as the client
// runs, and is FAILED at once for a recipient who is refused. An error means that
// the record cannot be made, or that too much is PENDING already.
func (c *Client) Send(ctx context.Context, names []string, text string) (id string, err error) {
	e := c.engine
	if !utf8.ValidString(text) {
		return "", fail.Errorf(proto.Malformed, "the text is not UTF-8")
	}
	if len(text) > proto.MaxText {
		return "", fail.Errorf(proto.TooLong, "the text has %d bytes, at most %d are allowed", len(text), proto.MaxText)
	}
	t := &targets{}
	if e.cfg.Persistent {
		t.to, err = e.cfg.addressed(names)
	} else {
		t, err = e.targets(ctx, names)
	}
	if err != nil {
		return "", err
	}
	out := newOutRecord(crypto.NewRecord(e.self, t.to, text, e.now()), t.users)
	if out.size > proto.MaxBody-(64<<10) {
		return "", fail.Errorf(proto.TooLong, "the text and its list of recipients do not fit one message")
	}
	if e.cfg.Persistent {
		out.names = slices.Clone(names)
	}
	if err := e.outbox.add(ctx, out, !e.cfg.Persistent); err != nil {
		return "", err
	}
	e.nudge()
	return out.record.ID, nil
}

// errFull refuses a message of a client that does not wait for room.
var errFull error = &fail.Error{
	Code: proto.NotDelivered, Message: "too many messages are PENDING already, so this one was not taken",
	Hint: "send it again when some of them have gone",
}

// targets resolves names, or has them from the last Send to them.
func (e *engine) targets(ctx context.Context, names []string) (*targets, error) {
	key := strings.Join(names, ",")
	if t := e.outbox.resolved(key); t != nil {
		return t, nil
	}
	t, err := e.resolve(ctx, names)
	if err == nil {
		e.outbox.remember(key, t)
	}
	return t, err
}

// addressed returns the `to` list for names, with the identities of known people. Any goroutine
// may call it.
func (cfg *Config) addressed(names []string) (to []crypto.Recipient, err error) {
	if err := checkNames(names); err != nil {
		return nil, err
	}
	for _, name := range names {
		rc := crypto.Recipient{Name: proto.FoldName(name)}
		if slices.ContainsFunc(to, func(other crypto.Recipient) bool { return other.Name == rc.Name }) {
			continue
		}
		if k, ok := cfg.State.KnownPeer(rc.Name); ok {
			rc.Identity = proto.FormatHash(k.Identity)
		}
		to = append(to, rc)
	}
	crypto.SortRecipients(to)
	return to, nil
}

// Written returns once the history has all records from Send, except those that
// wait for a window.
func (c *Client) Written(ctx context.Context) error {
	e := c.engine
	return e.do(ctx, func() {
		e.takeOutbox()
		e.flush()
	})
}

// add queues a record. Without room it waits, or refuses.
func (o *outbox) add(ctx context.Context, out *outRecord, waits bool) error {
	for {
		room, err := o.tryAdd(out)
		if room == nil {
			return err
		}
		if !waits {
			return errFull
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryAdd queues a record if there is room. Otherwise it returns a channel that
// closes when there is.
func (o *outbox) tryAdd(out *outRecord) (room chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, fail.Errorf(proto.Lost, "the client is closed")
	}
	if o.records >= maxQueuedRecords || o.bytes >= maxQueuedBytes && o.records > 0 {
		if o.room == nil {
			o.room = make(chan struct{})
		}
		return o.room, nil
	}
	o.last++
	out.no = o.last
	o.fresh = append(o.fresh, out)
	o.records++
	o.bytes += out.size
	out.held = true
	return nil, nil
}

// released tells that records have left the queue, or, below 0, come back.
func (o *outbox) released(records, bytes int) {
	o.mu.Lock()
	o.records -= records
	o.bytes -= bytes
	if o.room != nil && o.records < maxQueuedRecords*3/4 && o.bytes < maxQueuedBytes*3/4 {
		close(o.room)
		o.room = nil
	}
	o.mu.Unlock()
}

func (o *outbox) take() []*outRecord {
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := o.fresh
	o.fresh = nil
	return fresh
}

func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.fresh) == 0
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	o.mu.Unlock()
}

// changed forgets resolved names: one of them was proved or refused.
func (o *outbox) changed() {
	o.mu.Lock()
	o.targets = nil
	o.mu.Unlock()
}

func (o *outbox) resolved(key string) *targets {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.targets[key]
}

func (o *outbox) remember(key string, t *targets) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.targets == nil || len(o.targets) > 64 {
		o.targets = map[string]*targets{}
	}
	o.targets[key] = t
}
