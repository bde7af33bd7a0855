package relay

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab/leaks"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/wire"
)

func TestMain(m *testing.M) { os.Exit(leaks.CheckDescriptors(func() int { return town.Main(m) })) }

// server is a relay in this process, on a loopback port.
type server struct {
	*Relay
	*wire.Server
	dir string // of the lab's files
}

// start starts a relay that trusts the lab. When the test ends, the relay stops and
// must leave no goroutine behind.
func start(t testing.TB, change ...func(*Config)) *server {
	t.Helper()
	return startIn(t, wire.Files(t), change...)
}

// startIn is start with the files of another lab, or with the state of an
// earlier relay.
func startIn(t testing.TB, dir string, change ...func(*Config)) *server {
	t.Helper()
	leaks.Check(t)
	cfg := Config{State: filepath.Join(dir, "relay-state"), CABundle: filepath.Join(dir, "ca-bundle.pem"), CRLDir: filepath.Join(dir, "crl")}
	if os.Getenv("RELAY_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for _, f := range change {
		f(&cfg)
	}
	relay, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &server{relay, wire.Serve(t, relay.Serve, relay.Close), dir}
}

// pipe connects without a network and its buffers: the relay cannot write a byte
// that the client does not read.
func (rt *server) pipe(cred *wire.Cred, takes string) *wire.Client {
	rt.T.Helper()
	ours, theirs := net.Pipe()
	rt.T.Cleanup(func() { ours.Close() })
	v := rt.halfOpen.enter(context.Background(), theirs)
	rt.conns.Go(func() { rt.greet(v) })
	c, err := wire.Handshake(rt.T, ours, &wire.HandshakePlan{Cred: cred, Takes: takes})
	if err != nil {
		rt.T.Fatal(err)
	}
	return c
}

// joinPipe is Join over a pipe.
func (rt *server) joinPipe(name string) *wire.Client {
	rt.T.Helper()
	return rt.pipe(wire.Delegate(rt.T, wire.Person(rt.T, name), name), proto.TakesMessages)
}

// conn returns the relay's side of a client's connection.
func (rt *server) conn(c *wire.Client) *conn {
	rt.T.Helper()
	rt.hub.mu.RLock()
	defer rt.hub.mu.RUnlock()
	conn := rt.hub.conns[c.ID]
	if conn == nil {
		rt.T.Fatalf("%s is not connected", c.Name)
	}
	return conn
}
