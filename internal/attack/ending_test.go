package attack

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// watchedConn records its Close.
type watchedConn struct {
	net.Conn
	closed atomic.Bool
}

func (c *watchedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// TestDialedWhileLeaving: a session whose dial succeeds after the client has ended is ended too.
func TestDialedWhileLeaving(t *testing.T) {
	town := newTown(t, "alice")
	for i := range 8 { // both are ready: chance decided between them
		var dials atomic.Int32
		dialed, letGo := make(chan *watchedConn, 1), make(chan struct{})
		alice := town.clientIn("alice", fmt.Sprintf("state-%d", i), func(cfg *client.Config) {
			cfg.Again = time.Millisecond
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				if dials.Add(1) == 1 || err != nil {
					return conn, err
				}
				watched := &watchedConn{Conn: conn}
				dialed <- watched
				<-letGo
				return watched, nil
			}
		})
		alice.cutOff()
		conn := soon(t, "another connection", dialed)
		alice.Inside().Leave()
		soon(t, "the end of the client", alice.Inside().Ended())
		close(letGo)
		alice.Inside().Join()
		if !conn.closed.Load() {
			t.Errorf("client %d has ended, and its connection to the relay is open", i)
			conn.Close()
		}
		alice.leave()
	}
}

// TestRenewedWhileLeaving: a key is erased if the client has ended before the card signed for it.
func TestRenewedWhileLeaving(t *testing.T) {
	town := newTown(t, "alice")
	asked, typed := make(chan struct{}), make(chan struct{})
	late := town.credential("alice")
	alice := town.client("alice", func(cfg *client.Config) {
		cfg.Renew = func(context.Context) (*state.Credential, error) {
			close(asked)
			<-typed
			return late, nil
		}
	})
	alice.delegationEnds(time.Minute)
	soon(t, "a question for the PIN", asked)
	alice.Inside().Stop()
	soon(t, "the end of the client", alice.Inside().Ended())
	close(typed)
	alice.Inside().Join()
	if late.Key.Sign([]byte("x")) != nil {
		t.Error("a K that nobody uses still signs")
	}
}

// TestRenewedKeysAreErased: a renewed K is erased when the client closes, and at once if it is of
// no use.
func TestRenewedKeysAreErased(t *testing.T) {
	town := newTown(t, "alice", "bob")
	made := make(chan *state.Credential)
	alice := town.client("alice", func(cfg *client.Config) {
		cfg.Renew = func(context.Context) (*state.Credential, error) { return <-made, nil }
	})
	erased := func(cred *state.Credential) bool { return cred.Key.Sign([]byte("x")) == nil }
	alice.delegationEnds(time.Minute)
	others := town.credentialAs("bob", "alice", time.Now())
	made <- others
	alice.await("that it is another person's", func(ev client.Event) bool { return ev.Err != nil && ev.Err.Code == proto.Card })
	if !erased(others) {
		t.Error("a K that was refused still signs")
	}
	alice.Inside().Renew() // the minute is over
	own := town.credential("alice")
	made <- own
	alice.await("the new delegation", func(ev client.Event) bool { return ev.Type == client.EventNotice })
	if erased(own) {
		t.Error("the new K is erased while it is in use")
	}
	alice.leave()
	if !erased(own) {
		t.Error("the new K still signs after the client has closed")
	}
}
