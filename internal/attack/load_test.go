package attack

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

	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// The load on a relay: this test program started again with loadEnv, which speaks the wire format
// over many light connections.

// loadEnv is the variable with the name of the load. loadEnv_RELAY has the relay's address,
// loadEnv_CARDS the directory of cards.
const loadEnv = "CHATSECURE_LOAD"

// The process writes these words, each with a number: the load is there; after the end of standard
// input, the amount done.
const (
	loadReady = "ready"
	loadDone  = "done"
)

// loadNames counts the people behind the connections of a load: a relay takes the crowd from many
// people only.
const loadNames = 64

func loadName(i int) string { return fmt.Sprintf("load%02d", i%loadNames) }

// load is one kind of load. start returns once it is there; it lasts until the process ends.
type load struct {
	name   string
	rounds int    // pairs of rounds, with and without it, in one operation
	counts string // the unit of generator.done
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
	testing.TB // for the light clients, which call only the methods below
	addr       string
	cards      []card.Card
	done       atomic.Int64
	stopping   atomic.Bool
}

func (g *generator) Helper() {}

func (g *generator) Cleanup(func()) {}

func (g *generator) Fatalf(format string, args ...any) {
	if g.stopping.Load() {
		select {} // the process is about to end, and connections with it
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

// cred is a new K for one of the people.
func (g *generator) cred(i int) *wire.Cred {
	c, err := client.NewCredential(context.Background(), g.cards[i%loadNames], client.Delegation{
		Name: loadName(i), Key: people.Key(g, trust.KeyEd25519), Lifetime: time.Hour, Now: time.Now(),
	})
	if err != nil {
		g.Fatalf("%v", err)
	}
	return &wire.Cred{Key: c.Key, Bundle: c.Bundle}
}

// join connects, without a deadline from then on.
func (g *generator) join(i int) *wire.Client {
	c, err := wire.Dial(g, g.addr, g.cred(i), proto.TakesMessages)
	if err != nil {
		g.Fatalf("%s: %v", loadName(i), err)
	}
	c.Conn.SetDeadline(time.Time{})
	return c
}

// dial connects and stays silent.
func (g *generator) dial() net.Conn {
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.Fatalf("%v", err)
	}
	return conn
}

// workers starts n goroutines that call do in a loop, each with its number.
func (g *generator) workers(n int, do func(i int)) {
	for i := range n {
		go func() {
			for {
				do(i)
			}
		}()
	}
}

// The crowd: connections at rest, and connections that send one line a second each. The limit on
// descriptors may allow fewer at rest.
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
		fmt.Fprintf(os.Stderr, "*** only %d of %d connections at rest: a process may have %d descriptors (ulimit -n) ***\n",
			most, idle, limit.Cur)
		idle = most
	}
	var mu sync.Mutex
	var resting []*wire.Client
	go func() { // keeps them connected while the others come
		ack := proto.AppendPayload(nil, proto.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil)
		for ; ; time.Sleep(proto.KeepAlive) {
			mu.Lock()
			for _, c := range resting {
				c.Write(c.Line(ack))
			}
			mu.Unlock()
		}
	}()
	g.joinAll(idle, func(_ int, c *wire.Client) {
		mu.Lock()
		resting = append(resting, c)
		mu.Unlock()
	})
	talking := make([]*wire.Client, loadTalking)
	g.joinAll(loadTalking, func(i int, c *wire.Client) { talking[i] = c })
	text := make([]byte, wire.TextSize)
	for i, c := range talking {
		other := talking[i^1]
		say := proto.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: other.Name, DstID: other.ID})
		go io.Copy(io.Discard, c.Conn)
		go func() {
			time.Sleep(time.Duration(i) * time.Second / loadTalking) // spread over the second
			for ; ; time.Sleep(time.Second) {
				c.Write(c.Line(proto.AppendPayload(nil, say, nil, text)))
				g.done.Add(1)
			}
		}()
	}
}

// joinAll joins n times, eight at once, and passes each client on.
func (g *generator) joinAll(n int, take func(i int, c *wire.Client)) {
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

// stream sends lines of so many bytes from one connection to another, as fast as the window allows,
// until the relay ends one of them.
func (g *generator) stream(from, to *wire.Client, body int) {
	header := proto.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: to.Name, DstID: to.ID})
	payload := proto.AppendPayload(nil, header, nil, make([]byte, body))
	window := min(proto.RelayWindow/body, proto.RelayMessages)
	first, sent, acked := from.Send.Seq(), 0, 0
	for {
		for sent-acked < window {
			if _, err := from.Conn.Write(from.Line(payload)); err != nil {
				return
			}
			sent++
			g.done.Add(1)
		}
		m, err := from.Read()
		if err != nil || m.Type == proto.TypeError || m.Type == proto.TypeDisconnect {
			return
		}
		if m.Type == proto.TypeAck && m.Answers != nil {
			acked = int(*m.Answers-first) + 1
		}
	}
}

// neverReads sends people all that the window allows; they read nothing.
func (g *generator) neverReads() {
	g.workers(16, func(i int) {
		from, deaf := g.join(i), g.join(i+1)
		g.stream(from, deaf, 16<<10)
		from.Close()
		deaf.Close()
	})
}

// flood fills the windows, with short lines and with long ones.
func (g *generator) flood() {
	g.workers(8, func(i int) {
		from, to := g.join(i), g.join(i+1)
		go io.Copy(io.Discard, to.Conn)
		body := wire.TextSize
		if i%2 == 1 {
			body = 64 << 10
		}
		g.stream(from, to, body)
		from.Close()
		to.Close()
	})
}

// halfOpen is a thousand connections that begin the handshake and wait. Connections that the relay
// closes come again.
func (g *generator) halfOpen() {
	var begun sync.WaitGroup
	begin := func() net.Conn {
		conn := g.dial()
		random := make([]byte, proto.RandomSize)
		rand.Read(random)
		line := proto.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: crypto.SuiteNames(), Data: random})
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

// garbage is random bytes of all lengths.
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

// handshakes are complete, each with a new key and delegation.
func (g *generator) handshakes() {
	g.workers(8, func(i int) {
		g.join(i).Close()
		g.done.Add(1)
	})
}
