package relay

import (
	"fmt"
	"net"
	"testing"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestRSAClientsAfterTheStart: twenty clients that allow an RSA suite alone come as soon as the
// relay listens. All wait for a key within their handshake's time, and none is refused.
func TestRSAClientsAfterTheStart(t *testing.T) {
	const clients = 20
	creds := make([]*wire.Cred, clients)
	for i := range creds {
		name := fmt.Sprint("rsa", i)
		creds[i] = wire.Delegate(t, wire.Person(t, name), name)
	}
	addr, _ := wire.Program(t)
	ended := make(chan error, clients)
	for _, cred := range creds {
		go func() {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				defer conn.Close()
				_, err = wire.Handshake(t, conn, &wire.HandshakePlan{
					Cred: cred, Takes: proto.TakesNone, Ciphers: []string{crypto.SuiteRSA256},
				})
			}
			ended <- err
		}()
	}
	for range creds {
		if err := <-ended; err != nil {
			t.Errorf("a client with an RSA suite alone: %v", err)
		}
	}
}
