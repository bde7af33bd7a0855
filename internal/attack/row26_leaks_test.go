package attack

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/leaks"
	"chatsecure/testdata/lab/town"
)

// leakRelay is a built relay that tells what it holds.
type leakRelay struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{} // closed when it has ended
}

// startLeakRelay starts one in the place of the town's relay.
func startLeakRelay(local *localTown, t *testing.T, program, state string) *leakRelay {
	t.Helper()
	addr := filepath.Join(local.dir, "addr-"+state)
	r := &leakRelay{t: t, done: make(chan struct{})}
	// The other suites would make keys in the background for a while.
	r.cmd = exec.Command(program, "-listen", "127.0.0.1:0", "-addr-file", addr,
		"-state", filepath.Join(local.dir, state), "-ciphers", crypto.SuiteMLKEM,
		"-ca-bundle", filepath.Join(local.dir, "lab", "ca-bundle.pem"), "-crl", filepath.Join(local.dir, "lab", "crl"))
	r.cmd.Stderr = &r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.cmd.Wait(); close(r.done) }()
	t.Cleanup(func() { r.cmd.Process.Kill(); <-r.done })
	for deadline := time.Now().Add(town.Patience); ; time.Sleep(time.Millisecond) { // the file is the barrier
		text, err := os.ReadFile(addr)
		if err == nil {
			local.addr = strings.TrimSpace(string(text))
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("the relay does not listen; it said\n%s", &r.log)
		}
	}
}

// descriptors returns the targets of the relay's descriptors, sorted.
func (r *leakRelay) descriptors() []string {
	r.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			open = append(open, target)
		}
	}
	slices.Sort(open)
	return open
}

// rest waits until the relay is idle: it closes a descriptor shortly before the goroutine behind it
// ends, and writes its address shortly before the first goroutine accepts. rest gives up after a
// while.
func (r *leakRelay) rest() {
	r.t.Helper()
	const looks = 20
	asleep := 0
	// nothing tells that it is idle
	for deadline := time.Now().Add(town.Patience / 2); asleep < looks && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", r.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			r.t.Fatalf("the relay has no threads (%v); it said\n%s", err, &r.log)
		}
		asleep++
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if err == nil && !bytes.Contains(stat, []byte(") S ")) {
				asleep = 0
			}
		}
	}
}

// goroutines ends the idle relay. It returns, for each goroutine of this module, the function at
// the bottom of its stack.
func (r *leakRelay) goroutines() (all []string) {
	r.t.Helper()
	r.rest()
	r.cmd.Process.Signal(syscall.SIGQUIT) // Go answers with all stacks
	<-r.done
	for stack := range strings.SplitSeq(r.log.String(), "\n\n") {
		if !strings.HasPrefix(stack, "goroutine ") || strings.HasPrefix(stack, "goroutine 0 ") {
			continue
		}
		bottom := ""
		for line := range strings.Lines(stack) {
			if name, ok := strings.CutPrefix(line, "created by "); ok {
				bottom += " by " + strings.Fields(name)[0]
			} else if strings.HasPrefix(line, "chatsecure") || strings.HasPrefix(line, "main.") {
				bottom, _, _ = strings.Cut(line, "(0x")
				bottom = strings.TrimSpace(bottom)
			}
		}
		if !strings.HasPrefix(bottom, " ") { // the runtime's own come and go
			all = append(all, bottom)
		}
	}
	slices.Sort(all)
	return all
}

// TestRelayAfterTwoHundredClients: 200 clients list, talk, die, send garbage or leave during the
// handshake. Then a built relay holds no more than a fresh one.
func TestRelayAfterTwoHundredClients(t *testing.T) {
	if leaks.Descriptors() == nil {
		fmt.Fprintf(os.Stderr, "*** %s is SKIPPED: this system does not tell what a process has open ***\n", t.Name())
		t.Skip("no /proc")
	}
	bin, err := town.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	town := newTown(t, "alice", "bob")
	town.stop()
	program := filepath.Join(bin, "relay")
	fresh := startLeakRelay(town, t, program, "fresh").goroutines()
	if !slices.ContainsFunc(fresh, func(g string) bool { return strings.Contains(g, "(*Relay).Serve") }) {
		t.Fatalf("a new relay has the goroutines %q", fresh)
	}

	relay := startLeakRelay(town, t, program, "busy")
	bob := town.client("bob")
	bob.leave() // the first client makes the relay create its lasting state
	before := relay.settled(nil)
	bob = town.client("bob")
	cfg := town.config("alice", "state-alice")
	visits := []func(){
		func() {
			c := town.dial(cfg)
			if _, err := c.List(context.Background()); err != nil {
				t.Error(err)
			}
			leaves(t, c)
		},
		func() {
			c := town.dial(cfg)
			c.mustSend("hello", "bob")
			c.mustSettle(history.StatusRead)
			leaves(t, c)
		},
		func() { town.dial(cfg).Inside().Kill() }, // as if it were killed
		func() { visit(t, town.addr, "garbage\n") },
		func() {
			visit(t, town.addr, `{"type":"connect","phase":1,"ciphers":["`+crypto.SuiteMLKEM+`"],"data":"`+strings.Repeat("A", 43)+"=\"}\n")
		},
	}
	const clients, atOnce = 200, 4
	var wg sync.WaitGroup
	for worker := range atOnce {
		wg.Go(func() {
			for i := worker; i < clients; i += atOnce {
				visits[i/atOnce%len(visits)]()
			}
		})
	}
	wg.Wait()
	leaves(t, bob)
	if after := relay.settled(before); !slices.Equal(after, before) {
		t.Errorf("it has open %q, and had %q", after, before)
	}
	if after := relay.goroutines(); !slices.Equal(after, fresh) {
		t.Errorf("it has the goroutines %q, and a new one %q", after, fresh)
	}
}

// settled waits until the relay has the wanted descriptors open or, if want is nil, no connection.
// It gives up after a while and returns the descriptors.
func (r *leakRelay) settled(want []string) (open []string) {
	r.t.Helper()
	for deadline := time.Now().Add(town.Patience / 2); ; time.Sleep(10 * time.Millisecond) { // the relay lingers a little
		open = r.descriptors()
		sockets := 0
		for _, target := range open {
			if strings.HasPrefix(target, "socket:") {
				sockets++
			}
		}
		if want == nil && sockets == 1 || slices.Equal(open, want) || time.Now().After(deadline) {
			return open
		}
	}
}

// visit sends something to the relay, waits for an answer, and leaves.
func visit(t *testing.T, addr, line string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(town.Patience))
	if _, err := conn.Write([]byte(line)); err != nil {
		t.Error(err)
	}
	if answer, err := bufio.NewReaderSize(conn, proto.MaxHandshakeLine).ReadString('\n'); err != nil || !strings.HasPrefix(answer, "{") {
		t.Errorf("the answer to %.20q is %q, %v", line, answer, err)
	}
}
