package wire

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"chatsecure/proto"
)

// Server is a relay under test, as clients reach it.
type Server struct {
	T        testing.TB
	Addr     string
	Stop     func() // asks the relay to stop
	Shutdown func() // stops it and waits for that; a second call does nothing
}

// Serve runs a relay in this process, on a loopback port. At the end of the test it
// is shut down, and then closed by release.
func Serve(t testing.TB, serve func(context.Context, net.Listener) error, release func()) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln) }()
	s := &Server{T: t, Addr: ln.Addr().String(), Stop: stop}
	s.Shutdown = sync.OnceFunc(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(Timeout):
			t.Fatal("the relay does not stop")
		}
		release()
	})
	t.Cleanup(s.Shutdown)
	return s
}

// Files writes Lab to a new directory.
func Files(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := Lab().Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Dial opens a connection, whose deadline is set, and says nothing.
func (s *Server) Dial() net.Conn {
	s.T.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(Timeout))
	return conn
}

// Handshake shakes hands by a plan. A refusal is a *proto.Error.
func (s *Server) Handshake(plan *HandshakePlan) (*Client, error) {
	s.T.Helper()
	return Handshake(s.T, s.Dial(), plan)
}

// Connect shakes hands. A refusal fails the test.
func (s *Server) Connect(cred *Cred, takes string) *Client {
	s.T.Helper()
	c, err := Dial(s.T, s.Addr, cred, takes)
	if err != nil {
		s.T.Fatalf("connect %s: %v", cred.Bundle.Name, err)
	}
	return c
}

// Join connects a new person of that name.
func (s *Server) Join(name string) *Client {
	s.T.Helper()
	return s.Connect(Delegate(s.T, Person(s.T, name), name), proto.TakesMessages)
}

// Refused shakes hands and returns the relay's refusal. A welcome fails the test.
func (s *Server) Refused(cred *Cred) *proto.Error {
	s.T.Helper()
	c, err := Dial(s.T, s.Addr, cred, proto.TakesMessages)
	if err == nil {
		c.Close()
		s.T.Fatalf("%s was let in", cred.Bundle.Name)
	}
	told, ok := errors.AsType[*proto.Error](err)
	if !ok {
		s.T.Fatalf("refused with %T %v", err, err)
	}
	return told
}

// Others connects two bystanders of an attack.
func (s *Server) Others() Bystanders {
	s.T.Helper()
	return Bystanders{s.Join("other"), s.Join("another")}
}

// Bystanders are two people who talk while a relay is attacked.
type Bystanders [2]*Client

// Served checks that one message passes each way and that nothing else has come.
func (p Bystanders) Served(after string) {
	for i, from := range p {
		to := p[1-i]
		from.T.Helper()
		seq := from.To(to, after)
		if m := to.Want(proto.TypeClientCom); string(m.Body) != after {
			from.T.Errorf("after %s, the others got %q", after, m.Body)
		}
		if m := from.Want(proto.TypeAck); m.Answers == nil || *m.Answers != seq {
			from.T.Errorf("after %s, the others got the ack %+v", after, m.Header)
		}
	}
}

// Until waits for the work of other goroutines: until is is true.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Timeout); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TextSize is the length in bytes of a benchmark's message: a line of a chat.
const TextSize = 200
