package attack

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/testdata/lab/town"
)

// Bad networks. Each test has a pair of network namespaces of its own: the relay at one end, both
// clients at the other.

// badLink describes a link. It does the same each way.
type badLink struct {
	delay, jitter time.Duration
	loss          int // percent
	kbit          int // 0: unlimited
}

// netem describes the link to tc.
func (l badLink) netem() []string {
	args := []string{"netem", "delay", fmt.Sprintf("%dus", l.delay.Microseconds()),
		fmt.Sprintf("%dus", l.jitter.Microseconds()), "loss", fmt.Sprintf("%d%%", l.loss)}
	if l.kbit > 0 {
		args = append(args, "rate", fmt.Sprintf("%dkbit", l.kbit))
	}
	return args
}

const (
	relayEnd  = "10.77.0.1"
	clientEnd = "10.77.0.2"
)

// namespaces is two network namespaces with a bad link between them.
type namespaces struct{ relay, clients string }

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// newNamespaces makes both. A test that may make none is skipped, loudly. Where only netem is
// missing, a stand-in takes its place and says so.
func newNamespaces(t *testing.T, link badLink) namespaces {
	t.Helper()
	prefix := fmt.Sprintf("cs%d%s", os.Getpid(), t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])
	ns := namespaces{prefix + "r", prefix + "c"}
	for _, name := range []string{ns.relay, ns.clients} {
		if err := ip("netns", "add", name); err != nil {
			fmt.Fprintf(os.Stderr, "*** %s is SKIPPED: no network namespace can be made here (%v); it takes Linux, root and iproute2. Bad networks are NOT tested. ***\n", t.Name(), err)
			t.Skip("no network namespaces")
		}
		t.Cleanup(func() {
			if err := ip("netns", "delete", name); err != nil {
				t.Error(err)
			}
		})
	}
	if err := ns.veth(link); err != nil {
		fmt.Fprintf(os.Stderr, "*** %s: tc netem does not work here (%v); a stand-in delays, loses and limits packets between two TUN devices instead ***\n", t.Name(), err)
		if err := newTunLink(t, ns, link); err != nil {
			fmt.Fprintf(os.Stderr, "*** %s is SKIPPED: neither does the stand-in (%v). Bad networks are NOT tested. ***\n", t.Name(), err)
			t.Skip("no bad network")
		}
	}
	return ns
}

// veth joins the namespaces by a pair of devices, both with netem.
func (ns namespaces) veth(link badLink) error {
	if err := ip("link", "add", "bad", "netns", ns.relay, "type", "veth", "peer", "name", "bad", "netns", ns.clients); err != nil {
		return err
	}
	for name, addr := range map[string]string{ns.relay: relayEnd, ns.clients: clientEnd} {
		if err := setUp(name, addr+"/24"); err != nil {
			return err
		}
		args := append([]string{"-n", name, "qdisc", "add", "dev", "bad", "root"}, link.netem()...)
		if out, err := exec.Command("tc", args...).CombinedOutput(); err != nil {
			ip("-n", name, "link", "delete", "bad") // the other end goes with it
			return fmt.Errorf("tc: %w: %s", err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// setUp gives a namespace's end of the link an address.
func setUp(ns, addr string) error {
	if err := ip("-n", ns, "addr", "add", addr, "dev", "bad"); err != nil {
		return err
	}
	return ip("-n", ns, "link", "set", "bad", "up")
}

// TestBadNetwork sends messages and a pipe over links with delay, loss and a low rate: all arrive
// once and in order.
func TestBadNetwork(t *testing.T) {
	for _, c := range []struct {
		name  string
		link  badLink
		lines int
		pipe  int
	}{
		{"Delay", badLink{delay: 100 * time.Millisecond, jitter: 20 * time.Millisecond}, 2000, 3 << 20},
		{"Loss", badLink{delay: 5 * time.Millisecond, jitter: time.Millisecond, loss: 5}, 2000, 3 << 20},
		{"Rate", badLink{delay: time.Millisecond, kbit: 1000}, 500, 512 << 10},
		{"All", badLink{delay: 100 * time.Millisecond, jitter: 20 * time.Millisecond, loss: 5, kbit: 1000}, 200, 128 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ns := newNamespaces(t, c.link)
			w := town.New(t, town.People("alice", "bob"))
			w.Stop()
			w.Addr, w.RelayIn, w.ClientsIn = relayEnd+":0", ns.relay, ns.clients
			w.StartRelay("far")

			bob := collect(w.Receive("bob", "-n", fmt.Sprint(c.lines)))
			var lines strings.Builder
			for i := range c.lines {
				fmt.Fprintf(&lines, "line %d\n", i)
			}
			r := w.Run(lines.String(), "alice", "-timeout", "50s", "send", "-wait", "read", "bob")
			if r.Status != 0 || r.Stderr != "" || strings.Count(r.Stdout, "\n") != c.lines {
				t.Fatalf("send ended with %d and said %q; it wrote %d ids", r.Status, r.Stderr, strings.Count(r.Stdout, "\n"))
			}
			texts := bob.rest()
			if len(texts) != c.lines {
				t.Errorf("%d of %d lines came", len(texts), c.lines)
			}
			for i, text := range texts {
				if text != fmt.Sprintf("line %d", i) {
					t.Fatalf("line %d is %q", i, text)
				}
			}

			data := make([]byte, c.pipe)
			rand.Read(data)
			var sent, got town.Result
			var wg sync.WaitGroup
			wg.Go(func() { sent = w.Run(string(data), "alice", "pipe", "-send", "-wait-peer", "30s", "bob") })
			wg.Go(func() { got = w.Run("", "bob", "pipe", "-recv", "-wait-peer", "30s", "alice") })
			wg.Wait()
			if sent.Status != 0 || got.Status != 0 || got.Stdout != string(data) {
				t.Errorf("%d of %d bytes came; the pipe ended with %d, %q and %d, %q", len(got.Stdout),
					len(data), sent.Status, sent.Stderr, got.Status, got.Stderr)
			}
			statusesAreTrue(w, "alice", "bob")
		})
	}
}
