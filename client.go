package chatsecure

import (
	"context"
	"os"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// ClientConfig is what a Client needs. The zero value of an optional field
// means its default.
type ClientConfig struct {
	Relay string // HOST:PORT
	Name  string // as the credential's bundle has it
	Takes string // one of proto.Takes*

	// State is the open state directory: what is known of relays and peers,
	// and the history. The caller closes it after the Client.
	State *State

	// Verifier decides who a peer is.
	Verifier *crypto.Verifier

	// Fetcher fetches the revocation lists that the Verifier lacks. Optional; the
	// caller closes it after the Client.
	Fetcher *Fetcher

	// Refresh looks whether the revocation lists have changed and reads them
	// again; it is called every few seconds. Optional.
	Refresh func() (changed bool, problems []error)

	// Credential is what the client proves itself with.
	Credential *Credential

	// Renew makes the next one before its delegation ends: it asks the card
	// again. Without it the client ends when the delegation does. After an error it
	// is called again, but for a RenewalOver and where no PIN was to be had.
	Renew func(ctx context.Context) (*Credential, error)

	Ciphers     []string      // allowed suites, best first; default all
	Fingerprint string        // the relay key's, if it is pinned on the command line
	AcceptNew   bool          // take an unknown relay and an unknown peer, never a changed one
	Asker       Asker         // nil never asks: what would need a question is refused
	Timeout     time.Duration // how long what was sent may wait for a connection that takes it, and a reconnect may take; default 30 s
	WaitPeer    time.Duration // how long Send waits for a recipient to turn up
	Persistent  bool          // a lost relay is tried again without end (a prompt), not only until Timeout
	Receipts    bool          // report every change of a message's status as an event

	Now func() time.Time // tests own the clock

	// Tests have a network and a disk that fail, and less patience.
	dial    dialFunc                    // default a net.Dialer's
	through func(*os.File) historyStore // the history is written through this; default the file itself
	again   time.Duration               // the first wait before another try; default backoffMin
}

// Asker is the person, where there is one. Answers are yes or no; an error
// means that nobody could be asked.
type Asker interface {
	// ConfirmRelay asks whether the relay with this fingerprint is the one
	// that is meant.
	ConfirmRelay(ctx context.Context, addr, fingerprint string) (bool, error)
	// ConfirmPeer asks, before the first record is sent to a new name, whether
	// the person that the certificate names is the one that is meant.
	ConfirmPeer(ctx context.Context, name string, p *crypto.Person) (bool, error)
}

// Status is how far a message got. The order is that of progress.
type Status string

// The statuses, as `history` shows them.
const (
	StatusPending   Status = "PENDING"   // not taken by the relay yet
	StatusSent      Status = "SENT"      // the relay took it
	StatusDelivered Status = "DELIVERED" // checked, and in the receiver's history
	StatusRead      Status = "READ"      // shown, or flushed to standard output
	StatusFailed    Status = "FAILED"    // given up, with a reason
)

// AtLeast tells whether s is as far as want. Nothing is further than READ, and
// FAILED is nowhere.
func (s Status) AtLeast(want Status) bool { return statusRank(s) >= statusRank(want) }

func statusRank(s Status) int {
	switch s {
	case StatusPending:
		return 1
	case StatusSent:
		return 2
	case StatusDelivered:
		return 3
	case StatusRead:
		return 4
	}
	return 0
}

// An Event is something that a person or a script may want to know. Exactly
// one of the pointers is set, by Type.
type Event struct {
	Type    EventType
	Time    time.Time
	Message *Message       // EventMessage
	Receipt *ReceiptChange // EventReceipt
	Peer    *PeerChange    // EventPeer
	Gap     *Gap           // EventGap
	Err     *Error         // EventLost, EventError
	Notice  string         // EventNotice: a sentence for people
	Conn    string         // EventBack: our new connection id
}

// EventType says which kind of Event it is, in the words of -json.
type EventType string

// The kinds of Event.
const (
	EventMessage EventType = "message"
	EventReceipt EventType = "receipt"
	EventPeer    EventType = "peer"
	EventGap     EventType = "gap"
	EventLost    EventType = "lost" // the relay is gone; the client tries again
	EventBack    EventType = "back" // and has it again
	EventError   EventType = "error"
	EventNotice  EventType = "notice"
)

// Message is a text that was received, checked and stored. It is READ once
// Client.Shown has been told of it.
type Message struct {
	ID       string
	From     string // the sender's name
	FromConn string
	Seq      uint64
	Sent     time.Time // the record's own time
	To       []string  // folded names, all recipients, sorted
	Text     string
	Identity [32]byte
	Person   *crypto.Person // nil for one that was stored before this start
	First    bool           // the first message from this person since the client began, and the person is new to it
	Again    bool           // stored before this start and not marked shown: it may have been shown

	mark *shownMark
}

// ReceiptChange is a change of one message's status for one recipient.
type ReceiptChange struct {
	ID     string
	No     uint64 // which of the client's Sends it is, from 1: it may come before Send returns
	To     string // name
	Conn   string // the connection that reached it, if one did
	Status Status
	Reason string // FAILED
}

// PeerChange is a known user's connection coming, leaving or proving itself.
type PeerChange struct {
	Name   string
	Conn   string
	What   string // came, left, authenticated, ended, refused, renewed
	Person *crypto.Person
	Reason string
}

// Gap tells that messages of a conversation are missing.
type Gap struct {
	Name, Conn string
	Reason     string
}

// Online is one connection in the relay's list.
type Online struct {
	Name     string
	Conn     string
	Takes    string
	Since    time.Time
	Identity string // hex; the relay's word until Level is 1
	Level    int    // 1: proved end to end to this client, or this client itself
	Self     bool   // this very connection
}

// Whois is what is known of a name, with where each part comes from.
type Whois struct {
	Name  string
	Conns []WhoisConn
	Known *KnownPeer // what is remembered locally, or nil
}

// WhoisConn is one connection of the name and what its bundle proves.
type WhoisConn struct {
	Conn   string
	Takes  string
	Since  time.Time
	Level  int
	Bundle *crypto.Bundle
	Person *crypto.Person // nil where Err is set
	Err    error          // why the bundle proves nobody
}

// Outcome is how a Wait ended: for each recipient name, how many records got
// to the level asked, and what failed.
type Outcome struct {
	Names  []NameOutcome // sorted by name
	Failed []*Error      // reasons, most severe first, each code once
}

// NameOutcome counts one recipient's records.
type NameOutcome struct {
	Name          string
	Reached, Open int // Open: neither there nor failed when the wait ended
	Failed        int

	// How far they got whatever was waited for. What is READ is counted as
	// DELIVERED and SENT, too.
	Sent, Delivered, Read int
}

// Dial connects to the relay, proves who the client is, and returns when phase
// 4 is over. A first connection that fails is an error at once; one that is
// lost later is tried again (see ClientConfig.Timeout and Persistent).
func Dial(ctx context.Context, cfg ClientConfig) (*Client, error) { return dial(ctx, cfg) }

// Conn returns the present connection id, Fingerprint the relay's, and Suite
// that of the connection to the relay.
func (c *Client) Conn() string        { return c.engine.info().conn }
func (c *Client) Fingerprint() string { return c.engine.info().fingerprint }
func (c *Client) Suite() string       { return c.engine.info().suite }

// Name returns the client's name.
func (c *Client) Name() string { return c.cfg.Name }

// Next returns the events that have come since the last call, at least one. It
// waits for one if there is none. It ends with io.EOF once the client is
// closed and every event has been returned, or with the *Error that ended the
// client.
func (c *Client) Next(ctx context.Context) ([]Event, error) { return c.events.next(ctx) }

// Shown tells that these messages have been shown to a person, or written and
// flushed to standard output: their senders get a READ receipt.
func (c *Client) Shown(messages ...*Message) { c.engine.shown(messages) }

// Send fixes one record to all names and begins to send it: to every
// connection that takes messages, of those who are there, and to the others if
// they come within WaitPeer. It waits while a window is full, which is the
// back-pressure, and returns the record's id. A first contact is confirmed
// first. An *Error says that nothing was sent to anyone: nobody by any of the
// names, or all of them refused; a failure for some is an event and stands in
// Wait's Outcome.
func (c *Client) Send(ctx context.Context, names []string, text string) (id string, err error) {
	return c.engine.send(ctx, names, text)
}

// Written returns when all that was given to Send stands in the history, but
// for what waits for a window to open.
func (c *Client) Written(ctx context.Context) error { return c.engine.written(ctx) }

// Everyone returns the names with which there is a conversation.
func (c *Client) Everyone() []string { return c.engine.everyone() }

// Wait waits until everything sent has reached level or failed for every
// recipient, or ctx ends; then up to two seconds more until the recipients'
// other connections have been sent it, too.
func (c *Client) Wait(ctx context.Context, level Status) Outcome { return c.engine.wait(ctx, level) }

// List asks the relay who is connected, sorted as the relay gives it.
func (c *Client) List(ctx context.Context) ([]Online, error) { return c.engine.list(ctx) }

// Watch makes the relay tell who comes and leaves: events of type peer for
// names that are known here.
func (c *Client) Watch(ctx context.Context) error { return c.engine.watch(ctx) }

// Whois asks for a name's connections and checks what their bundles prove.
func (c *Client) Whois(ctx context.Context, name string) (*Whois, error) {
	return c.engine.whois(ctx, name)
}

// Release gives this client's name up at the relay, so that another identity
// may take it.
func (c *Client) Release(ctx context.Context) error { return c.engine.release(ctx) }

// Close ends the conversations, leaves the relay's list and waits, no longer
// than ctx, until what is on its way is with the relay. The key of the
// Credential that Dial was given stays the caller's to erase.
func (c *Client) Close(ctx context.Context) error { return c.close(ctx) }

// maxClientName keeps the configuration honest before anything is opened.
func (cfg *ClientConfig) check() error {
	if err := proto.CheckName(cfg.Name); err != nil {
		return err
	}
	if !proto.ValidTakes(cfg.Takes) {
		return Errorf(proto.Usage, "a connection takes messages, pipe or none, not %q", cfg.Takes)
	}
	return nil
}
