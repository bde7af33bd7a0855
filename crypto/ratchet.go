package crypto

import (
	"crypto/sha256"
	"time"

	"chatsecure/proto"
)

// The age of the last step at which the side that has the turn takes the next. A
// leak closes within seconds of talk, and a flood does not pay for a KEM with every
// message. An RSA key costs 50 ms, so those steps wait longer, and until a key is
// ready.
const (
	stepAge      = time.Second
	stepMessages = 100
	stepAgeRSA   = time.Minute
)

// ratchet mixes fresh KEM secrets into the root key, in turns: the side that holds
// an unused key of the peer's has the turn. It is never stored. PROTOCOL.md,
// "Ratchet".
type ratchet struct {
	root   []byte
	mine   KEMKey    // unused; the peer has its public half and the turn
	theirs []byte    // unused public key of the peer's: our turn
	steps  uint64    // of both directions together
	last   time.Time // of the last step; before the first, of the first message sealed
	since  int       // messages since then, both ways
}

// stepKeys derives the root and the chain key of a step and clears secret.
func (r *ratchet) stepKeys(c *Conversation, secret []byte, direction string, used, enc, next []byte) (root, ck []byte) {
	prk := extract(secret, r.root)
	clear(secret)
	part := func(label string) []byte {
		info := proto.Tuple("step", c.suite.Name(), c.T3, direction, r.steps+1,
			sha256.Sum256(used), sha256.Sum256(enc), sha256.Sum256(next), label)
		return expand(prk, info, secretSize)
	}
	root, ck = part("root"), part("chain")
	clear(prk)
	return root, ck
}

// stepIfDue takes a step if this side has the turn and the step is due, and puts it
// into the header. The message with it is sealed under the new chain.
func (r *ratchet) stepIfDue(c *Conversation, h *MessageHeader, now time.Time) error {
	if r.last.IsZero() {
		r.last = now // the handshake was the step before the first
	}
	if r.theirs == nil {
		return nil
	}
	// A clock that was set back makes the age negative, which counts as old.
	age := now.Sub(r.last)
	if c.suite.Name() == SuiteMLKEM {
		if age >= 0 && age < stepAge && r.since < stepMessages {
			return nil
		}
	} else if age >= 0 && age < stepAgeRSA {
		return nil
	}
	key, ok := c.local.Keys.Ready(c.suite)
	if !ok {
		return nil
	}
	enc, secret, err := c.suite.Encapsulate(r.theirs, c.T3[:])
	if err != nil {
		key.Erase()
		return errStepKey
	}
	root, ck := r.stepKeys(c, secret, c.SendDirection(), r.theirs, enc, key.Public())
	clear(r.root)
	r.root = root
	c.send.replace(ck)
	h.Step = &Step{Enc: enc, Key: key.Public()}
	r.mine, r.theirs = key, nil
	r.steps++
	r.last, r.since = now, 0
	return nil
}

// openedStep is a step of the peer's before its commit.
type openedStep struct {
	root  []byte
	chain *kdfChain
	key   []byte
	at    time.Time
}

func (s *openedStep) erase() {
	clear(s.root)
	s.chain.erase()
}

// tryStep derives the keys of a step of the peer's, and changes nothing. Bytes that
// are no key fail here, with the peer's message. A key that cannot be used fails with
// our next step, and ends the conversation then.
func (r *ratchet) tryStep(c *Conversation, s *Step, now time.Time) (*openedStep, error) {
	if r.mine == nil {
		return nil, ErrDecrypt // out of turn
	}
	if c.suite.CheckKey(s.Key) != nil {
		return nil, ErrDecrypt
	}
	secret, err := c.suite.Decapsulate(r.mine, s.Enc, c.T3[:])
	if err != nil {
		return nil, err
	}
	root, ck := r.stepKeys(c, secret, c.recvDirection(), r.mine.Public(), s.Enc, s.Key)
	chain := newKDFChain(c.suite, ck, c.T3, c.recvDirection())
	chain.n = c.recv.n
	return &openedStep{root: root, chain: chain, key: s.Key, at: now}, nil
}

// commitStep takes a step of the peer's into the state.
func (r *ratchet) commitStep(s *openedStep) {
	r.mine.Erase()
	r.mine = nil
	clear(r.root)
	r.root = s.root
	r.theirs = s.key
	r.steps++
	r.last, r.since = s.at, 0
}

func (r *ratchet) erase() {
	clear(r.root)
	if r.mine != nil {
		r.mine.Erase()
	}
	r.root, r.mine, r.theirs = nil, nil, nil
}
