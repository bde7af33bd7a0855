package attack

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// overheard is a connection whose lines to the relay and whose end are known.
type overheard struct {
	net.Conn
	mu     sync.Mutex
	sent   bytes.Buffer
	closed chan struct{}
	once   sync.Once
}

func (o *overheard) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent.Write(b)
	return o.Conn.Write(b)
}

func (o *overheard) Close() error {
	o.once.Do(func() { close(o.closed) })
	return o.Conn.Close()
}

// lines counts the lines to the relay.
func (o *overheard) lines() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Count(o.sent.Bytes(), []byte("\n"))
}

// TestEarlyGreeting: Dial goes on with a greeting that has just begun, and with none that the relay
// has waited for. Before the relay's key is found right, and without Dial, the relay learns no name.
func TestEarlyGreeting(t *testing.T) {
	town := newTown(t, "alice")
	cfg := town.config("alice", "state-alice")
	conns := make(chan *overheard, 4)
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		o := &overheard{Conn: conn, closed: make(chan struct{})}
		conns <- o
		return o, nil
	}
	unknown := cfg
	unknown.AcceptNew = false
	drop := unknown.GreetEarly(t.Context())
	if _, err := client.Dial(t.Context(), unknown); !fail.HasCode(err, proto.UnknownRelay) {
		t.Errorf("a relay that nobody knows: %v", err)
	}
	drop()
	left := func(why string) {
		t.Helper()
		o := <-conns
		<-o.closed
		if o.lines() != 1 {
			t.Errorf("%s: the relay was told %d lines", why, o.lines())
		}
	}
	left("an unknown key")
	drop = cfg.GreetEarly(t.Context())
	drop()
	if len(conns) > 0 { // it was not too early for that
		<-(<-conns).closed
	}
	drop = cfg.GreetEarly(t.Context())
	left("no Dial in time")
	leaves(t, town.dial(cfg))
	drop()
	<-conns
	drop = cfg.GreetEarly(t.Context())
	leaves(t, town.dial(cfg))
	drop()
	<-conns
	if len(conns) > 0 {
		t.Error("Dial has not taken the greeting")
	}
}
