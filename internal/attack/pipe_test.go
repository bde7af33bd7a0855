package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

func takesPipe(cfg *client.Config) {
	cfg.Takes, cfg.WaitPeer, cfg.Persistent = proto.TakesPipe, wire.Timeout, false
}

func TestPipeBothWays(t *testing.T) {
	town := newTown(t, "alice", "bob")
	there, back := make([]byte, 5<<20+17), make([]byte, 3<<20+1)
	rand.Read(there)
	rand.Read(back)
	var toAlice, toBob bytes.Buffer
	var wg sync.WaitGroup
	run := func(name, peer string, in []byte, out io.Writer) {
		c := town.client(name, takesPipe)
		wg.Go(func() {
			if err := c.Pipe(context.Background(), peer, bytes.NewReader(in), out, nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			c.leave()
		})
	}
	run("alice", "bob", there, &toAlice)
	run("bob", "alice", back, &toBob)
	wg.Wait()
	if !bytes.Equal(toBob.Bytes(), there) || !bytes.Equal(toAlice.Bytes(), back) {
		t.Errorf("%d of %d bytes came there, %d of %d back, or other ones", toBob.Len(), len(there), toAlice.Len(), len(back))
	}
}

// TestPipesDoNotMix opens two pipes and a chat between the same two people.
func TestPipesDoNotMix(t *testing.T) {
	town := newTown(t, "alice", "bob")
	chatA, chatB := town.client("alice"), town.clientIn("bob", "chat-bob")
	var wg sync.WaitGroup
	outs := make([]bytes.Buffer, 2)
	for i := range 2 {
		c := town.clientIn("alice", "pipe-alice"+string(rune('0'+i)), takesPipe)
		wg.Go(func() {
			if err := c.Pipe(context.Background(), "bob", bytes.NewReader(bytes.Repeat([]byte{byte('a' + i)}, 1<<20)), nil, nil); err != nil {
				t.Error(err)
			}
			c.leave()
		})
		d := town.clientIn("bob", "pipe-bob"+string(rune('0'+i)), takesPipe)
		wg.Go(func() {
			if err := d.Pipe(context.Background(), "alice", nil, &outs[i], nil); err != nil {
				t.Error(err)
			}
			d.leave()
		})
	}
	chatA.mustSend("beside the pipes", "bob")
	chatB.awaitText("beside the pipes")
	wg.Wait()
	seen := map[byte]bool{}
	for i := range outs {
		b := outs[i].Bytes()
		if len(b) != 1<<20 || bytes.Count(b, b[:1]) != len(b) {
			t.Errorf("stream %d has %d bytes, or of both", i, len(b))
			continue
		}
		seen[b[0]] = true
	}
	if len(seen) != 2 {
		t.Errorf("the two streams came as %v", seen)
	}
}

func TestPipeCutShort(t *testing.T) {
	for _, c := range []struct {
		what string
		cut  func(town *localTown, alice, bob *testClient, stopAlice func())
	}{
		{"the receiver is killed", func(_ *localTown, _, bob *testClient, _ func()) { bob.Inside().Kill() }},
		{"the sender is killed", func(_ *localTown, alice, _ *testClient, _ func()) { alice.Inside().Kill() }},
		{"the sender stops", func(_ *localTown, _, _ *testClient, stopAlice func()) { stopAlice() }},
		{"the relay stops", func(town *localTown, _, _ *testClient, _ func()) { town.stop() }},
	} {
		t.Run(c.what, func(t *testing.T) {
			town := newTown(t, "alice", "bob")
			alice, bob := town.client("alice", takesPipe), town.client("bob", takesPipe)
			never, hold := io.Pipe() // gives a little, and then nothing
			defer hold.Close()
			go hold.Write([]byte("the beginning"))
			var got lockedBuffer
			sent, received := make(chan error, 1), make(chan error, 1)
			ctx, stopAlice := context.WithCancel(context.Background())
			defer stopAlice()
			go func() { sent <- alice.Pipe(ctx, "bob", never, nil, nil) }()
			go func() { received <- bob.Pipe(context.Background(), "alice", nil, &got, nil) }()
			got.await(t, "the beginning")
			c.cut(town, alice, bob, stopAlice)
			if err := soon(t, "the end of the receiver's side", received); fail.ExitStatus(err) != 3 {
				t.Errorf("the receiver's side ended with %v, exit status %d", err, fail.ExitStatus(err))
			}
			if err := soon(t, "the end of the sender's side", sent); fail.ExitStatus(err) != 3 &&
				!(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
				t.Errorf("the sender's side ended with %v, exit status %d", err, fail.ExitStatus(err))
			}
		})
	}
}

// TestPipePeerEnds: a peer that ends its part of the conversation without the end of file cuts the
// pipe short, though it stays.
func TestPipePeerEnds(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice", takesPipe), town.client("bob", takesPipe)
	never, hold := io.Pipe()
	defer hold.Close()
	go hold.Write([]byte("the beginning"))
	var got lockedBuffer
	received := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	var sent sync.WaitGroup
	sent.Go(func() { alice.Pipe(ctx, "bob", never, nil, nil) })
	go func() { received <- bob.Pipe(context.Background(), "alice", nil, &got, nil) }()
	got.await(t, "the beginning")
	alice.Inside().SendEnds()
	if err := soon(t, "the end of the receiver's side", received); fail.ExitStatus(err) != 3 {
		t.Errorf("the receiver's side ended with %v, exit status %d", err, fail.ExitStatus(err))
	}
	stop()
	sent.Wait()
}

// lockedBuffer is a buffer that a pipe writes and a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.Now().Add(wire.Timeout)
	for time.Now().Before(deadline) {
		b.mu.Lock()
		got := b.buf.String()
		b.mu.Unlock()
		if got == want {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%q did not come", want)
}

// BenchmarkPipe carries 64 MiB one way. The bytes are counted, not kept.
func BenchmarkPipe(b *testing.B) {
	town := newBenchTown(b, "alice", "bob")
	const size = 64 << 20
	b.SetBytes(size)
	zeros := make([]byte, 1<<20)
	for range b.N {
		b.StopTimer()
		alice, bob := town.client("alice", takesPipe), town.client("bob", takesPipe)
		b.StartTimer()
		var wg sync.WaitGroup
		wg.Go(func() {
			var rs []io.Reader
			for range size / len(zeros) {
				rs = append(rs, bytes.NewReader(zeros))
			}
			if err := alice.Pipe(context.Background(), "bob", io.MultiReader(rs...), nil, nil); err != nil {
				b.Error(err)
			}
		})
		wg.Go(func() {
			if err := bob.Pipe(context.Background(), "alice", nil, io.Discard, nil); err != nil {
				b.Error(err)
			}
		})
		wg.Wait()
		b.StopTimer()
		alice.leave()
		bob.leave()
		b.StartTimer()
	}
}
