package relay

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// DefaultMaxConns is the default bound on simultaneous connections: twice the
// number for which the relay's memory at rest is measured.
const DefaultMaxConns = 20000

// Config holds the settings of a Relay. The zero value of an optional field
// means its default.
type Config struct {
	State      string       // directory of the relay's key and of the names; made if it is missing
	Roots      []byte       // trusted authorities in PEM, as Mozilla lists them; optional
	CABundle   string       // PEM file with more trusted authorities; optional
	OnlyCA     string       // PEM file with all the trusted authorities, in place of Roots and CABundle; optional
	Allow      string       // file that names the people to serve, and nobody else; optional
	Deny       string       // file that names people not to serve; optional
	CRLDir     string       // directory with revocation lists; optional
	CRLPolicy  trust.Policy // default trust.PolicyTry
	Fetch      bool         // fetch the revocation lists that certificates name, by HTTP
	Ciphers    []string     // allowed suites; default all
	MaxConns   int          // simultaneous connections; default DefaultMaxConns
	Letters    bool         // keep letters for people who are not connected
	LetterDays int          // for so many days; default DefaultLetterDays
	LetterMax  int64        // so many bytes in all; default DefaultLetterMax
	Log        *slog.Logger // default: nothing is logged

	// FetchPrivate allows fetches from loopback, link-local and private addresses.
	FetchPrivate bool

	Now func() time.Time // the clock; default time.Now

	// Key returns a KEM key for a handshake, and waits for it until ctx ends. Tests
	// replace it, since ten thousand RSA keys take too long to make. The default is
	// KeySource.Await.
	Key func(ctx context.Context, suite crypto.Suite) (crypto.KEMKey, error)

	// Failures is the number of handshakes of one address that may fail at once, before all
	// others come first. Tests of many failures set it. The default is MaxFailures.
	Failures int

	// Tests set these bounds.
	maxHeld          int64         // default maxHeld
	ofPerson         int           // default MaxOfPerson
	handshakeTimeout time.Duration // default proto.HandshakeTimeout
	lettersAtOnce    int           // default LettersAtOnce
}

// SetCiphers allows the suites of a comma-separated list. An empty list allows
// all suites.
func (cfg *Config) SetCiphers(list string) error {
	cfg.Ciphers = nil
	if list != "" {
		cfg.Ciphers = strings.Split(list, ",")
	}
	return cfg.checkCiphers()
}

func (cfg *Config) checkCiphers() error {
	for _, name := range cfg.Ciphers {
		if crypto.SuiteByName(name) == nil {
			return fmt.Errorf("-ciphers: there is no suite %q", name)
		}
	}
	return nil
}

// SetPolicy sets CRLPolicy from its word: try, require or off.
func (cfg *Config) SetPolicy(word string) (err error) {
	cfg.CRLPolicy, err = trust.ParsePolicy(word)
	return err
}

// complete fills in the defaults, except that of Key, and checks the suites.
func (cfg *Config) complete() error {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	cfg.MaxConns = cmp.Or(max(cfg.MaxConns, 0), DefaultMaxConns)
	cfg.LetterDays = cmp.Or(max(cfg.LetterDays, 0), DefaultLetterDays)
	cfg.LetterMax = cmp.Or(max(cfg.LetterMax, 0), DefaultLetterMax)
	cfg.Failures = cmp.Or(cfg.Failures, MaxFailures)
	cfg.maxHeld = cmp.Or(cfg.maxHeld, maxHeld)
	cfg.ofPerson = cmp.Or(cfg.ofPerson, MaxOfPerson)
	cfg.lettersAtOnce = cmp.Or(cfg.lettersAtOnce, LettersAtOnce)
	cfg.handshakeTimeout = cmp.Or(cfg.handshakeTimeout, proto.HandshakeTimeout)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if len(cfg.Ciphers) == 0 {
		cfg.Ciphers = crypto.SuiteNames()
	}
	return cfg.checkCiphers()
}
