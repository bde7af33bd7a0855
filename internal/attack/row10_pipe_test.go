package attack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 10: pipes with strangers, and ends of file that the relay makes up.

// slowAsker is a person who is slow to answer a question about another.
type slowAsker struct {
	testAsker
	asked  chan struct{}
	answer chan bool
}

func (*slowAsker) ConfirmMet(context.Context, *state.KnownPeer) (bool, error) { return false, nil }

func (a *slowAsker) ConfirmPeer(context.Context, string, *trust.Person) (bool, error) {
	close(a.asked)
	return <-a.answer, nil
}

// frame sends a frame of a pipe.
func (p *evilPeer) frame(to crypto.End, kind byte, stream uint64, rest string) {
	p.T.Helper()
	s, err := p.conv.SealPipe(append(binary.BigEndian.AppendUint64([]byte{kind}, stream), rest...), time.Now(), crypto.NewMemory)
	if err != nil {
		p.T.Fatal(err)
	}
	p.Say(headerTo(proto.TypeClientCom, to), s.Body)
}

// nextFrame returns the next frame, or nothing at the other side's end.
func (p *evilPeer) nextFrame() []byte {
	p.T.Helper()
	for {
		switch m := p.Next(); m.Type {
		case proto.TypeClientCom:
			return p.take(m.Body).Chunk
		case proto.TypeCommAck:
			p.take(m.Body)
		case proto.TypeDisconnect:
			return nil
		}
	}
}

// TestPipeWithAStranger opens a pipe for a stranger who waits for it. While the person is asked no
// stream is offered and none is taken, whichever side has to offer. After a no there is none.
func TestPipeWithAStranger(t *testing.T) {
	for _, c := range []struct {
		name    string
		offered bool // the stranger's connection has the higher id, so it gets the offer
	}{{"who offers", false}, {"who would be offered to", true}} {
		t.Run(c.name, func(t *testing.T) {
			town := newTown(t, "alice", "mallory")
			town.client("alice").leave() // and now she knows the relay
			cred := town.credential("mallory")
			asker := &slowAsker{asked: make(chan struct{}), answer: make(chan bool, 1)}
			strict := func(cfg *client.Config) { cfg.AcceptNew, cfg.Asker = false, asker }
			mallory := town.evilPeerTaking(proto.TakesPipe, town.addr, "mallory", cred)
			alice := town.client("alice", takesPipe, strict)
			for tries := 1; (mallory.ID > alice.Conn()) != c.offered; tries++ { // ids are random
				if tries > 64 {
					t.Fatal("the ids are never in that order")
				}
				alice.leave()
				mallory.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
				mallory.WantClosed()
				mallory = town.evilPeerTaking(proto.TakesPipe, town.addr, "mallory", cred)
				alice = town.client("alice", takesPipe, strict)
			}
			var out bytes.Buffer
			ended := make(chan error, 1)
			go func() {
				ended <- alice.Pipe(context.Background(), "mallory", strings.NewReader("for who is accepted"), &out, nil)
			}()
			mallory.answer(end(alice))
			soon(t, "the question", asker.asked)
			const stream = 7
			mallory.frame(end(alice), client.FrameOpen, stream, "")
			if got, want := mallory.nextFrame(), binary.BigEndian.AppendUint64([]byte{client.FrameBusy}, stream); !bytes.Equal(got, want) {
				t.Errorf("mallory's offer is answered with %.20q, want %q", got, want)
			}
			mallory.frame(end(alice), client.FrameData, stream, "from a stranger")
			asker.answer <- false
			if err := soon(t, "the end of the pipe", ended); err == nil || fail.AsError(err).Code != proto.UnknownPeer || fail.ExitStatus(err) != 4 {
				t.Errorf("the pipe ended with %v, exit status %d", err, fail.ExitStatus(err))
			}
			mallory.frame(end(alice), client.FrameOpen, stream+1, "")
			if got := mallory.nextFrame(); len(got) == 0 || got[0] != client.FrameBusy {
				t.Errorf("after a no mallory's offer is answered with %.20q", got)
			}
			if known, ok := alice.state.KnownPeer("mallory"); !ok || known.Accepted {
				t.Errorf("known is %+v", known)
			}
			alice.leave()
			if got := mallory.nextFrame(); got != nil {
				t.Errorf("and then comes %.20q", got)
			}
			if out.Len() != 0 {
				t.Errorf("alice has got %q", out.Bytes())
			}
		})
	}
}

// TestPipeForgedEnd: the relay says, in every way it has, that the sender is gone, while the sender
// is there and has more. A receiver is told that the pipe was cut short, before the first byte and
// after it.
func TestPipeForgedEnd(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	for _, c := range []struct {
		name  string
		exit  int
		forge func(alice, bob *wire.EvilConn, last []byte) // last is Alice's last line
	}{
		{"that she left", 3, func(alice, bob *wire.EvilConn, _ []byte) {
			relay.Write(bob, &proto.Header{Type: proto.TypePeer, Name: "alice", ID: alice.ID, Takes: proto.TakesPipe, Done: proto.Left}, nil)
		}},
		{"that her connection is gone", 3, func(alice, bob *wire.EvilConn, _ []byte) {
			relay.Write(bob, &proto.Header{Type: proto.TypeDisconnect, Src: "alice", SrcID: alice.ID}, nil)
		}},
		{"that nothing can be sent to her", 3, func(alice, bob *wire.EvilConn, _ []byte) {
			relay.Write(bob, &proto.Header{Type: proto.TypeError, DstID: alice.ID, Code: proto.Gone, Message: "there is no such connection"}, nil)
		}},
		{"in her name, that the conversation is over", 3, func(alice, bob *wire.EvilConn, last []byte) {
			relay.Forward(wire.EvilLine{From: alice, To: bob, Header: proto.Header{Type: proto.TypeError,
				Code: proto.NoConversation, Message: "it is over"}, Body: crypto.PeekConversation(last)})
		}},
		{"with her last message as her end", 8, func(alice, bob *wire.EvilConn, last []byte) {
			relay.Forward(wire.EvilLine{From: alice, To: bob, Header: proto.Header{Type: proto.TypeDisconnect}, Body: last})
		}},
	} {
		for _, beginning := range []string{"", "the beginning"} {
			t.Run(c.name+" after "+cmp.Or(beginning, "nothing"), func(t *testing.T) {
				// Bob has nothing to send. Once a stream is agreed he sends his end of file, the
				// one frame with a number.
				agreed := make(chan struct{})
				agree := sync.OnceFunc(func() { close(agreed) })
				var last []byte
				relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
					if l.Header.Type == proto.TypeClientCom && l.From.Hello.Name == "alice" {
						last = l.Body
					} else if l.Header.Type == proto.TypeClientCom && len(sealedPart(l.Body)) == client.FrameHeader+8+16 {
						agree()
					}
					return honest(l)
				})
				alice, bob := town.client("alice", takesPipe), town.client("bob", takesPipe)
				ctx, stopAlice := context.WithCancel(context.Background())
				defer stopAlice()
				in, feed := io.Pipe()
				defer feed.Close()
				var got lockedBuffer
				sent, received := make(chan error, 1), make(chan error, 1)
				go func() { sent <- alice.Pipe(ctx, "bob", in, nil, nil) }()
				go func() { received <- bob.Pipe(context.Background(), "alice", nil, &got, nil) }()
				soon(t, "the stream", agreed)
				if beginning != "" {
					feed.Write([]byte(beginning))
				}
				got.await(t, beginning)
				relay.Do(func() { c.forge(relay.ByID(alice.Conn()), relay.ByID(bob.Conn()), last) })
				if err := soon(t, "the end of bob's side", received); fail.ExitStatus(err) != c.exit {
					t.Errorf("bob's side ended with %v, exit status %d, want %d", err, fail.ExitStatus(err), c.exit)
				}
				got.await(t, beginning)
				stopAlice()
				if err := soon(t, "the end of alice's side", sent); err == nil {
					t.Error("alice's side ended well")
				}
				alice.leave()
				bob.leave()
			})
		}
	}
}

// sealedPart returns the sealed bytes of a message's body.
func sealedPart(body []byte) []byte {
	parts := bytes.SplitN(body, []byte("\n"), 3)
	return parts[len(parts)-1]
}

// TestPipeEndIsConfirmed: a sender is done when the other side has confirmed the end of file, not
// when all bytes before it are written out.
func TestPipeEndIsConfirmed(t *testing.T) {
	for _, c := range []struct {
		name, in string
		early    bool // before alice's end, not after it
		confirms string
		exit     int
	}{
		{"confirmed", "something", false, "\x00\x00\x00\x00\x00\x00\x00\x09", 0},
		{"confirmed, of nothing", "", false, "\x00\x00\x00\x00\x00\x00\x00\x00", 0},
		{"written out, and no more", "something", false, "", 3},
		{"nothing to write out", "", false, "", 3},
		{"less", "something", false, "\x00\x00\x00\x00\x00\x00\x00\x08", 1},
		{"before the end", "something", true, "\x00\x00\x00\x00\x00\x00\x00\x09", 1},
		{"not a number", "something", false, "9", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			town := newTown(t, "alice", "mallory")
			alice := town.client("alice", takesPipe)
			mallory := town.evilPeerTaking(proto.TakesPipe, town.addr, "mallory", town.credential("mallory"))
			in, feed := io.Pipe()
			defer feed.Close()
			ended := make(chan error, 1)
			go func() { ended <- alice.Pipe(context.Background(), "mallory", in, nil, nil) }()
			mallory.answer(end(alice))
			mallory.frame(end(alice), client.FrameOpen, 7, "")
			var stream uint64
			next := func(kinds string) byte {
				t.Helper()
				f := mallory.nextFrame()
				if len(f) < client.FrameHeader || !strings.ContainsRune(kinds, rune(f[0])) {
					t.Fatalf("alice says %.20q, want one of %s", f, kinds)
				}
				stream = binary.BigEndian.Uint64(f[1:])
				return f[0]
			}
			for kind := next("OAB"); kind != client.FrameAccept; kind = next("OAB") {
				if kind == client.FrameOpen {
					mallory.frame(end(alice), client.FrameAccept, stream, "")
					break
				}
				time.Sleep(10 * time.Millisecond) // refused: alice has not accepted her yet
				mallory.frame(end(alice), client.FrameOpen, 7, "")
			}
			mallory.frame(end(alice), client.FrameEnd, stream, "\x00\x00\x00\x00\x00\x00\x00\x00")
			if c.in != "" {
				feed.Write([]byte(c.in))
				for next("BFD") != client.FrameData {
				}
				mallory.frame(end(alice), client.FrameCredit, stream, string(binary.BigEndian.AppendUint64(nil, uint64(len(c.in)))))
			}
			if !c.early {
				feed.Close()
				for next("BFE") != client.FrameEnd { // F: she has mallory's end
				}
			}
			if c.confirms != "" {
				mallory.frame(end(alice), client.FrameDone, stream, c.confirms)
			} else {
				mallory.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
			}
			if err := soon(t, "the end of the pipe", ended); fail.ExitStatus(err) != c.exit {
				t.Errorf("the pipe ended with %v, exit status %d, want %d", err, fail.ExitStatus(err), c.exit)
			}
		})
	}
}
