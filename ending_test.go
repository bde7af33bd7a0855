package chatsecure

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/proto"
)

// watchedConn knows whether it has been closed.
type watchedConn struct {
	net.Conn
	closed atomic.Bool
}

func (c *watchedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// TestDialedWhileLeaving: a session that comes about when the client has ended
// belongs to nobody, and is ended.
func TestDialedWhileLeaving(t *testing.T) {
	town := newTown(t, "alice")
	for i := range 8 { // whoever takes it was a matter of chance
		var dials atomic.Int32
		dialed, letGo := make(chan *watchedConn, 1), make(chan struct{})
		alice := town.clientIn("alice", fmt.Sprintf("state-%d", i), func(cfg *ClientConfig) {
			cfg.again = time.Millisecond
			cfg.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
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
		alice.engine.do(context.Background(), alice.engine.leave)
		soon(t, "the end of the client", alice.engine.ended)
		close(letGo)
		alice.engine.wg.Wait()
		if !conn.closed.Load() {
			t.Errorf("client %d has ended, and its connection to the relay is open", i)
			conn.Close()
		}
		alice.leave()
	}
}

// TestRenewedWhileLeaving: a key that the card has signed for when the client
// has ended is erased.
func TestRenewedWhileLeaving(t *testing.T) {
	town := newTown(t, "alice")
	asked, typed := make(chan struct{}), make(chan struct{})
	late := town.credential("alice")
	alice := town.client("alice", func(cfg *ClientConfig) {
		cfg.Renew = func(context.Context) (*Credential, error) {
			close(asked)
			<-typed
			return late, nil
		}
	})
	alice.delegationEnds(time.Minute)
	soon(t, "a question for the PIN", asked)
	alice.engine.do(context.Background(), func() { alice.engine.end(nil) })
	soon(t, "the end of the client", alice.engine.ended)
	close(typed)
	alice.engine.wg.Wait()
	if late.Key.Sign([]byte("x")) != nil {
		t.Error("a K that nobody uses still signs")
	}
}

// TestRenewedKeysAreErased: a K that was made anew is erased when the client
// closes, and at once if it is of no use.
func TestRenewedKeysAreErased(t *testing.T) {
	town := newTown(t, "alice", "bob")
	made := make(chan *Credential)
	alice := town.client("alice", func(cfg *ClientConfig) {
		cfg.Renew = func(context.Context) (*Credential, error) { return <-made, nil }
	})
	erased := func(cred *Credential) bool { return cred.Key.Sign([]byte("x")) == nil }
	alice.delegationEnds(time.Minute)
	others := town.credentialAs("bob", "alice", time.Now())
	made <- others
	alice.await("that it is another person's", func(ev Event) bool { return ev.Err != nil && ev.Err.Code == proto.Card })
	if !erased(others) {
		t.Error("a K that was refused still signs")
	}
	alice.engine.do(context.Background(), func() {
		alice.engine.renewNext = time.Time{} // the minute is over
		alice.engine.renewIfDue(time.Now())
	})
	own := town.credential("alice")
	made <- own
	alice.await("the new delegation", func(ev Event) bool { return ev.Type == EventNotice })
	if erased(own) {
		t.Error("the new K is erased while it is in use")
	}
	alice.leave()
	if !erased(own) {
		t.Error("the new K still signs after the client has closed")
	}
}
