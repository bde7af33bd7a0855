// Package client is one user's connection to a relay, and the conversations over
// it with the connections of other users: the client's side of PROTOCOL.md,
// "Connect", "Requests and routing", "Client-connect", "Messages", "Who is judged when"
// and "Pipes". It keeps a record until it is READ, and stores a received one
// before the receipt.
//
// It reads no command line, shows nothing and asks nobody: Config, Asker and events
// are its only ways in and out. Keys and message formats are in package crypto,
// files in packages state and history. Inside is for the tests of internal/attack.
package client

import (
	"context"
	"net"
	"os"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// Client is one user's connection to a relay, and its conversations with other
// users' connections. Its methods may be called from any goroutine.
type Client struct {
	cfg    Config
	events *eventQueue
	engine *engine
}

// Dial connects to the relay, proves who the client is, and returns when phase
// 4 is over. A first connection that fails is an error at once, unless the relay is busy. That
// and one that is lost later is tried again (see Config.Timeout and Persistent).
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	c := &Client{cfg: cfg, events: newEventQueue()}

	// The client checks itself as a peer would, before it tells anybody its name.
	looking, cancel := context.WithTimeout(ctx, fetch.Wait)
	defer cancel()
	self, err := cfg.Fetcher.VerifyWait(looking, cfg.Verifier, cfg.Credential.Bundle, cfg.Name)
	if err != nil {
		return nil, err
	}
	e := newEngine(&c.cfg, c.events, self.Identity)
	e.me = e.party(cfg.Credential.Bundle, self)
	c.engine = e
	sess, err := e.connectFirst(ctx)
	if err == nil {
		if err = cfg.State.Claim(cfg.Name); err != nil {
			sess.Fail(nil)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, name := range cfg.Seek {
		e.userFor(name).watching = true
	}
	e.begin(sess) // the relay answers while the history is opened
	receiving := cfg.Takes == proto.TakesMessages
	var waiting lettersWaiting
	if cfg.Takes != proto.TakesPipe {
		waiting = e.claimLetters()
	}
	history, notices, err := history.Open(history.Config{
		Dir: cfg.State.HistoryDir(), Receiving: receiving, Since: sess.since, Now: cfg.Now, Through: cfg.Through,
		Waiting: waiting.has,
		Owner:   history.Owner{Name: cfg.Name, Identity: self.Identity},
		Bundle:  cfg.Credential.Bundle, Key: cfg.Credential.Key,
	})
	if err != nil {
		sess.Fail(nil)
		return nil, err
	}
	e.history, history.Admit, history.Holds = history, e.admit, e.holds
	history.Tell = func(notice string) { e.event(Event{Type: EventNotice, Notice: notice}) }
	if cfg.Ciphers[0] != crypto.SuiteMLKEM && cfg.Takes != proto.TakesNone { // mostly one question to the relay
		e.local.Keys.Fill()
	}
	if err := history.OwnBundle(cfg.Credential.Bundle); err != nil {
		e.problem(err)
	}
	e.local.Letter = e.lastLetter
	for _, n := range notices {
		e.event(Event{Type: EventNotice, Notice: n})
	}
	if receiving {
		e.showStored()
	}
	if cfg.Refresh != nil {
		e.wg.Go(e.watchLists)
	}
	e.wg.Go(e.watchPeers)
	go e.run()
	return c, nil
}

// Conn returns the present connection id.
func (c *Client) Conn() string { return c.engine.info().conn }

// Fingerprint returns the fingerprint of the relay's key.
func (c *Client) Fingerprint() string { return c.engine.info().fingerprint }

// Suite returns the cipher suite of the connection to the relay.
func (c *Client) Suite() string { return c.engine.info().suite }

// Name returns the client's name.
func (c *Client) Name() string { return c.cfg.Name }

// Next returns the events that have come since the last call, at least one. It
// waits for one if there is none. It ends with io.EOF once the client is
// closed and every event has been returned, or with the *fail.Error that ended
// the client.
//
// A message of a person who has been blocked meanwhile is left out.
func (c *Client) Next(ctx context.Context) ([]Event, error) {
	for {
		events, err := c.events.next(ctx)
		blocked := map[[32]byte]bool{} // each is looked up once
		events = slices.DeleteFunc(events, func(ev Event) bool {
			if ev.Message == nil {
				return false
			}
			is, looked := blocked[ev.Message.Identity]
			if !looked {
				is = c.cfg.State.Blocked(ev.Message.Identity)
				blocked[ev.Message.Identity] = is
			}
			return is
		})
		if len(events) > 0 || err != nil {
			return events, err
		}
	}
}

// Config holds the settings and the surroundings of a Client. The zero value
// of an optional field means its default.
type Config struct {
	Relay string // HOST:PORT
	Name  string // as the credential's bundle has it
	Takes string // one of proto.Takes*

	// State is the state directory: known relays, known peers, and the history.
	State *state.State

	// Verifier finds the person that a bundle proves.
	Verifier *trust.Verifier

	// Fetcher fetches the revocation lists that the Verifier lacks. It is optional.
	// The caller closes it after the Client.
	Fetcher *fetch.Fetcher

	// Refresh reads the revocation lists again if they have changed. The client
	// calls it every few seconds. It is optional.
	Refresh func() (changed bool, problems []error)

	// Credential proves the client's identity.
	Credential *state.Credential

	// Renew asks the card for the next Credential before the delegation ends.
	// Without it the client ends with the delegation. The client calls it again
	// after an error, except a RenewalOver or a missing or locked PIN.
	Renew func(ctx context.Context) (*state.Credential, error)

	Ciphers     []string // allowed suites, best first; default all
	Fingerprint string   // the relay key's, if it is pinned
	// FingerprintFrom is the place of Fingerprint, for people: an option, a variable or a line of a file.
	FingerprintFrom string
	AcceptNew       bool  // trust an unknown relay and an unknown peer, never a changed one
	ReadAnyone      bool  // say READ to people who are not accepted, too
	Asker           Asker // nil: refuse instead of asking
	// Timeout bounds the wait of a sent record for a connection that takes it, and
	// the time of a reconnect, or of tries at a relay that is busy. The default is 30 s.
	Timeout    time.Duration
	Busy       func(*fail.Error) // called once when Dial must wait for a busy relay; optional
	Seek       []string          // names that Send is about to be called with, if these are known
	WaitPeer   time.Duration     // how long Send waits for a recipient to connect
	Live       bool              // leave no letters: only to who is there
	Persistent bool              // a prompt: messages and a lost relay are tried again without end, and Send never waits
	NoLetters  bool              // name no mailbox to the relay, and collect none
	Receipts   bool              // report every change of a message's status as an event

	Now func() time.Time // default time.Now

	// For tests: a network and a disk that fail, slow certificates, and less patience.
	Dial      DialFunc                     // default a net.Dialer's
	Through   func(*os.File) history.Store // the history is written through this; default the file itself
	Look      func(name string)            // called before each look at a peer's certificates, outside of the engine
	Again     time.Duration                // the first wait before another try; default backoffMin
	Strangers int                          // records that all strangers leave in a day; default StrangersRecords
	Offers    int                          // p1 of a connection that are looked at without a pause; default OfferBurst
	Callers   int                          // the same over all connections, of a stranger or of what fails; default CallerBurst

	early *early // of GreetEarly, or nil
}

// Asker is the person at the client. Answers are yes or no. An error means that
// nobody could be asked.
type Asker interface {
	// ConfirmRelay asks whether the relay with this fingerprint is the right
	// one.
	ConfirmRelay(ctx context.Context, addr, fingerprint string) (bool, error)
	// ConfirmPeer asks, before the first record to a new name, whether the
	// person in the certificate is the right one. A Persistent client asks one
	// question at a time, from a goroutine of its own, while all else goes on.
	ConfirmPeer(ctx context.Context, name string, p *trust.Person) (bool, error)
	// ConfirmMet asks about a person whom an earlier run has met: the certificate
	// is not at hand any more.
	ConfirmMet(ctx context.Context, met *state.KnownPeer) (bool, error)
}

func (cfg *Config) check() error {
	if err := proto.CheckName(cfg.Name); err != nil {
		return err
	}
	if !proto.ValidTakes(cfg.Takes) {
		return fail.Errorf(proto.Usage, "a connection takes messages, pipe or none, not %q", cfg.Takes)
	}
	return nil
}

func (cfg *Config) setDefaults() {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if len(cfg.Ciphers) == 0 {
		cfg.Ciphers = crypto.SuiteNames()
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Again == 0 {
		cfg.Again = backoffMin
	}
	if cfg.Strangers == 0 {
		cfg.Strangers = StrangersRecords
	}
	if cfg.Offers == 0 {
		cfg.Offers = OfferBurst
	}
	if cfg.Callers == 0 {
		cfg.Callers = CallerBurst
	}
}
