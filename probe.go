package chatsecure

import (
	"context"
	"errors"
	"net"

	"chatsecure/crypto"
)

// ProbeRelay asks the relay at addr (HOST:PORT) who it is, checks its signature
// and hangs up: phases 1 and 2 of PROTOCOL.md, "Connect", before anything that
// names a person. ciphers are the suites to offer, none means all. Whether the
// fingerprint is the right one is the caller's to say. The errors are Dial's.
func ProbeRelay(ctx context.Context, addr string, ciphers []string) (fingerprint string, err error) {
	if len(ciphers) == 0 {
		ciphers = crypto.SuiteNames()
	}
	_, err = connect(ctx, new(net.Dialer).DialContext, addr, ciphers, nil, "", func(shown string) error { return &errAskRelay{shown} })
	if ask, ok := errors.AsType[*errAskRelay](err); ok {
		return ask.fingerprint, nil
	}
	return "", AsError(err)
}
