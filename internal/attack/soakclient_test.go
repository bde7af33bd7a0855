//go:build soak

package attack

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// soakClient is one client process of the soak.
type soakClient struct {
	soak   *soak
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	read   chan struct{} // closed when its output has ended
	killed bool
	termed bool
}

// soakPatience bounds a client's end once nothing holds it: its own -timeout and some more.
const soakPatience = 2 * time.Minute

// start starts a client of this name and passes each line of its output to hear.
func (s *soak) start(name string, hear func(line string), args ...string) *soakClient {
	c := s.command(name, args...)
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.run()
	}
	if err != nil {
		s.ledger.fault("%s: client %q: %v", name, args, err)
		close(c.read)
		return c
	}
	go func() {
		defer close(c.read)
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return // a killed client may leave half a line
			}
			hear(line)
		}
	}()
	return c
}

func (s *soak) command(name string, args ...string) *soakClient {
	c := &soakClient{soak: s, name: name, cmd: s.town.ClientFor(context.Background(), name, args...), read: make(chan struct{})}
	c.cmd.Stderr = &c.stderr
	return c
}

func (c *soakClient) run() (err error) {
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	if err = c.cmd.Start(); err == nil {
		c.soak.starts.Add(1)
		c.soak.running.Add(1)
	}
	return err
}

// talk starts a client with -json.
func (s *soak) talk(name string, args ...string) *soakClient {
	return s.start(name, func(line string) { s.ledger.hear(name, line) }, append([]string{"-json"}, args...)...)
}

func (c *soakClient) say(format string, args ...any) { fmt.Fprintf(c.stdin, format+"\n", args...) }

// kill kills the client at any moment.
func (c *soakClient) kill() {
	c.killed = true
	c.soak.ledger.kill(c.name)
	c.cmd.Process.Kill()
}

func (c *soakClient) terminate() {
	c.termed = true
	c.cmd.Process.Signal(syscall.SIGTERM)
}

// end waits for the end. The status must be allowed or belong to the client's signal, which may
// have come too late. If only success is allowed, the client must have been silent.
func (c *soakClient) end(allowed ...int) {
	if c.cmd.Process == nil {
		return
	}
	c.stdin.Close()
	var late atomic.Bool
	timer := time.AfterFunc(soakPatience, func() {
		late.Store(true)
		c.cmd.Process.Signal(syscall.SIGQUIT)
	})
	<-c.read
	c.cmd.Wait()
	timer.Stop()
	c.soak.running.Add(-1)
	status := c.cmd.ProcessState.ExitCode()
	allow := slices.Contains(allowed, status) || c.killed && status == -1 || c.termed && status == 143
	silent := c.stderr.Len() == 0 || len(allowed) > 1
	switch {
	case late.Load():
		c.soak.ledger.fault("%s: client %q does not end: %s", c.name, c.cmd.Args[1:], c.stderr.String())
	case !allow || !silent:
		c.soak.ledger.fault("%s: client %q ended with %d (killed: %v, terminated: %v), not %v; it said %q",
			c.name, c.cmd.Args[1:], status, c.killed, c.termed, allowed, c.stderr.String())
	}
	c.soak.ledger.count(fmt.Sprintf("exit %d", status))
}
