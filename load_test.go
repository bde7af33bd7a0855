package chatsecure

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// What puts a load on a relay: this test program again, started with loadEnv,
// which speaks the wire format by many light connections.

// loadEnv names the load that this process is, with _RELAY its address and with
// _CARDS the directory of the cards.
const loadEnv = "CHATSECURE_LOAD"

// What the process says, each with a number: that the load is there, and, when
// its standard input has ended, how much was done.
const (
	loadReady = "ready"
	loadDone  = "done"
)

// loadNames is how many people the connections of a load belong to: the crowd
// is more than a relay takes of a few.
const loadNames = 64

func loadName(i int) string { return fmt.Sprintf("load%02d", i%loadNames) }

func TestMain(m *testing.M) {
	if name := os.Getenv(loadEnv); name != "" {
		os.Exit(runLoad(name))
	}
	os.Exit(checkDescriptors(m.Run))
}

// load is one kind of load. start returns when it is there; it goes on until
// the process ends.
type load struct {
	name   string
	rounds int    // with and without it, for one operation of the benchmark
	counts string // what generator.done counts
	start  func(g *generator)
}

var loads = []load{
	{"Crowd", 1, "lines", (*generator).crowd},
	{"NeverReads", 3, "lines", (*generator).neverReads},
	{"Flood", 3, "lines", (*generator).flood},
	{"HalfOpen", 3, "conns", (*generator).halfOpen},
	{"Garbage", 3, "conns", (*generator).garbage},
	{"Handshakes", 3, "conns", (*generator).handshakes},
}

// generator is the process of a load.
type generator struct {
	testing.TB // what the light clients want of a test; only what is below may be called
	addr       string
	cards      []card.Card
	done       atomic.Int64
	stopping   atomic.Bool
}

func (g *generator) Helper()        {}
func (g *generator) Cleanup(func()) {}
func (g *generator) Fatalf(format string, args ...any) {
	if g.stopping.Load() {
		select {} // connections end with the process
	}
	fmt.Fprintf(os.Stderr, "load: "+format+"\n", args...)
	os.Exit(1)
}

func runLoad(name string) int {
	g := &generator{addr: os.Getenv(loadEnv + "_RELAY")}
	for i := range loadNames {
		c, err := card.Open(context.Background(), filepath.Join(os.Getenv(loadEnv+"_CARDS"), loadName(i)), card.Options{})
		if err != nil {
			g.Fatalf("%v", err)
		}
		g.cards = append(g.cards, c)
	}
	for _, l := range loads {
		if l.name == name {
			l.start(g)
			fmt.Println(loadReady, 0)
			before := g.done.Load()
			io.Copy(io.Discard, os.Stdin)
			g.stopping.Store(true)
			fmt.Println(loadDone, g.done.Load()-before)
			return 0
		}
	}
	g.Fatalf("there is no load %q", name)
	return 1
}

// cred is a new K of one of the people.
func (g *generator) cred(i int) *relayTestCred {
	c, err := NewCredential(context.Background(), g.cards[i%loadNames], loadName(i), crypto.KeyEd25519, time.Hour, nil, time.Now())
	if err != nil {
		g.Fatalf("%v", err)
	}
	return &relayTestCred{c.Key, c.Bundle}
}

// join connects, with no deadline from then on.
func (g *generator) join(i int) *relayTestClient {
	c, err := relayTestDial(g, g.addr, g.cred(i), proto.TakesMessages)
	if err != nil {
		g.Fatalf("%s: %v", loadName(i), err)
	}
	c.conn.SetDeadline(time.Time{})
	return c
}

// dial connects and says nothing.
func (g *generator) dial() net.Conn {
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.Fatalf("%v", err)
	}
	return conn
}

// workers calls do again and again, by so many goroutines, each with a number.
func (g *generator) workers(n int, do func(i int)) {
	for i := range n {
		go func() {
			for {
				do(i)
			}
		}()
	}
}

// The crowd: so many connections at rest, and so many that say a line a second
// to each other. A process may have the descriptors for fewer at rest.
const (
	loadIdle    = 10000
	loadTalking = 1000
)

func (g *generator) crowd() {
	idle := loadIdle
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		g.Fatalf("%v", err)
	}
	if most := int(limit.Cur) - loadTalking - 100; most < idle {
		fmt.Fprintf(os.Stderr, "*** only %d of %d connections at rest: a process may have %d descriptors (ulimit -n) ***\n", most, idle, limit.Cur)
		idle = most
	}
	var mu sync.Mutex
	var resting []*relayTestClient
	go func() { // which are not lost, however long the others take to come
		ack := proto.AppendPayload(nil, canon.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil)
		for ; ; time.Sleep(proto.KeepAlive) {
			mu.Lock()
			for _, c := range resting {
				c.write(c.line(ack))
			}
			mu.Unlock()
		}
	}()
	g.joinAll(idle, func(_ int, c *relayTestClient) {
		mu.Lock()
		resting = append(resting, c)
		mu.Unlock()
	})
	talking := make([]*relayTestClient, loadTalking)
	g.joinAll(loadTalking, func(i int, c *relayTestClient) { talking[i] = c })
	text := make([]byte, relayBenchText)
	for i, c := range talking {
		other := talking[i^1]
		say := canon.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: other.name, DstID: other.id})
		go io.Copy(io.Discard, c.conn)
		go func() {
			time.Sleep(time.Duration(i) * time.Second / loadTalking) // not all at one moment
			for ; ; time.Sleep(time.Second) {
				c.write(c.line(proto.AppendPayload(nil, say, nil, text)))
				g.done.Add(1)
			}
		}()
	}
}

// joinAll joins n times, some at once, and passes each on.
func (g *generator) joinAll(n int, take func(i int, c *relayTestClient)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				take(i, g.join(i))
			}
		})
	}
	wg.Wait()
}

// stream sends lines of that many bytes from one connection to another, as
// fast as the window allows, until the relay ends one of them.
func (g *generator) stream(from, to *relayTestClient, body int) {
	header := canon.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: to.name, DstID: to.id})
	payload := proto.AppendPayload(nil, header, nil, make([]byte, body))
	window := min(proto.RelayWindow/body, proto.RelayMessages)
	first, sent, acked := from.send.Seq(), 0, 0
	for {
		for sent-acked < window {
			if _, err := from.conn.Write(from.line(payload)); err != nil {
				return
			}
			sent++
			g.done.Add(1)
		}
		m, err := from.read()
		if err != nil || m.Type == proto.TypeError || m.Type == proto.TypeDisconnect {
			return
		}
		if m.Type == proto.TypeAck && m.Answers != nil {
			acked = int(*m.Answers-first) + 1
		}
	}
}

// neverReads is people who are sent all that is allowed and read nothing.
func (g *generator) neverReads() {
	g.workers(16, func(i int) {
		from, deaf := g.join(i), g.join(i+1)
		g.stream(from, deaf, 16<<10)
		from.close()
		deaf.close()
	})
}

// flood is as much as the windows allow, short lines and long ones.
func (g *generator) flood() {
	g.workers(8, func(i int) {
		from, to := g.join(i), g.join(i+1)
		go io.Copy(io.Discard, to.conn)
		body := relayBenchText
		if i%2 == 1 {
			body = 64 << 10
		}
		g.stream(from, to, body)
		from.close()
		to.close()
	})
}

// halfOpen is a thousand connections that begin the handshake and wait; who is
// sent away comes again.
func (g *generator) halfOpen() {
	var begun sync.WaitGroup
	begin := func() net.Conn {
		conn := g.dial()
		random := make([]byte, proto.RandomSize)
		rand.Read(random)
		line := canon.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: crypto.SuiteNames(), Data: random})
		conn.Write(append(line, '\n'))
		g.done.Add(1)
		return conn
	}
	for range 1000 {
		begun.Add(1)
		go func() {
			conn := begin()
			begun.Done()
			for ; ; conn = begin() {
				io.Copy(io.Discard, conn)
				conn.Close()
			}
		}()
	}
	begun.Wait()
}

// garbage is bytes that mean nothing, of all lengths.
func (g *generator) garbage() {
	g.workers(8, func(i int) {
		junk := make([]byte, 1<<(8+i)) // up to half a handshake line
		rand.Read(junk)
		conn := g.dial()
		conn.Write(junk)
		conn.Write([]byte("\n"))
		io.Copy(io.Discard, conn)
		conn.Close()
		g.done.Add(1)
	})
}

// handshakes is whole ones, each with a key and a delegation of its own.
func (g *generator) handshakes() {
	g.workers(8, func(i int) {
		g.join(i).close()
		g.done.Add(1)
	})
}
