package chatsecure

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
	"chatsecure/proto"
)

// Pipes with who is not accepted, and ends of file that are the relay's.

// slowAsker is a person who is asked about another one and takes their time.
type slowAsker struct {
	testAsker
	asked  chan struct{}
	answer chan bool
}

func (a *slowAsker) ConfirmPeer(context.Context, string, *crypto.Person) (bool, error) {
	close(a.asked)
	return <-a.answer, nil
}

// frame sends a frame of a pipe.
func (p *evilPeer) frame(to crypto.End, kind byte, stream uint64, rest string) {
	p.t.Helper()
	s, err := p.conv.SealPipe(append(binary.BigEndian.AppendUint64([]byte{kind}, stream), rest...), time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	p.say(headerTo(proto.TypeClientCom, to), s.Body)
}

// nextFrame reads the next frame that comes, or returns nothing at the end of
// the other side.
func (p *evilPeer) nextFrame() []byte {
	p.t.Helper()
	for {
		switch m := p.next(); m.Type {
		case proto.TypeClientCom:
			return p.take(m.body).Chunk
		case proto.TypeCommAck:
			p.take(m.body)
		case proto.TypeDisconnect:
			return nil
		}
	}
}

// TestPipeWithAStranger opens a pipe for somebody whom nobody has accepted, and
// who waits for it: while a person is asked, no stream is offered and none is
// taken, whichever side is the one to offer, and after a no there is none.
func TestPipeWithAStranger(t *testing.T) {
	for _, c := range []struct {
		name    string
		offered bool // the stranger's connection has the higher id: it is offered to
	}{{"who offers", false}, {"who would be offered to", true}} {
		t.Run(c.name, func(t *testing.T) {
			town := newTown(t, "alice", "mallory")
			town.client("alice").leave() // and now she knows the relay
			cred := town.credential("mallory")
			asker := &slowAsker{asked: make(chan struct{}), answer: make(chan bool, 1)}
			strict := func(cfg *ClientConfig) { cfg.AcceptNew, cfg.Asker = false, asker }
			mallory := town.evilPeerTaking(proto.TakesPipe, town.addr, "mallory", cred)
			alice := town.client("alice", takesPipe, strict)
			for tries := 1; (mallory.id > alice.Conn()) != c.offered; tries++ { // the ids are chance's
				if tries > 64 {
					t.Fatal("the ids are never in that order")
				}
				alice.leave()
				mallory.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
				mallory.wantClosed()
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
			mallory.frame(end(alice), frameOpen, stream, "")
			if got, want := mallory.nextFrame(), binary.BigEndian.AppendUint64([]byte{frameBusy}, stream); !bytes.Equal(got, want) {
				t.Errorf("mallory's offer is answered with %.20q, want %q", got, want)
			}
			mallory.frame(end(alice), frameData, stream, "from a stranger")
			asker.answer <- false
			if err := soon(t, "the end of the pipe", ended); err == nil || AsError(err).Code != proto.UnknownPeer || ExitStatus(err) != 4 {
				t.Errorf("the pipe ended with %v, exit status %d", err, ExitStatus(err))
			}
			mallory.frame(end(alice), frameOpen, stream+1, "")
			if got := mallory.nextFrame(); len(got) == 0 || got[0] != frameBusy {
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

// TestPipeForgedEnd has the relay say, in every way that it can, that the
// sender is gone, while the sender is there and has more: who only receives is
// told that the pipe was cut short, before the first byte and after it.
func TestPipeForgedEnd(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	for _, c := range []struct {
		name  string
		exit  int
		forge func(alice, bob *evilConn, last []byte) // last is what Alice sent last
	}{
		{"that she left", 3, func(alice, bob *evilConn, _ []byte) {
			relay.write(bob, &proto.Header{Type: proto.TypePeer, Name: "alice", ID: alice.id, Takes: proto.TakesPipe, Done: proto.Left}, nil)
		}},
		{"that her connection is gone", 3, func(alice, bob *evilConn, _ []byte) {
			relay.write(bob, &proto.Header{Type: proto.TypeDisconnect, Src: "alice", SrcID: alice.id}, nil)
		}},
		{"that nothing can be sent to her", 3, func(alice, bob *evilConn, _ []byte) {
			relay.write(bob, &proto.Header{Type: proto.TypeError, DstID: alice.id, Code: proto.Gone, Message: "there is no such connection"}, nil)
		}},
		{"in her name, that the conversation is over", 3, func(alice, bob *evilConn, last []byte) {
			relay.forward(evilLine{from: alice, to: bob, header: proto.Header{Type: proto.TypeError, Code: proto.NoConversation, Message: "it is over"}, body: crypto.PeekConversation(last)})
		}},
		{"with her last message as her end", 8, func(alice, bob *evilConn, last []byte) {
			relay.forward(evilLine{from: alice, to: bob, header: proto.Header{Type: proto.TypeDisconnect}, body: last})
		}},
	} {
		for _, beginning := range []string{"", "the beginning"} {
			t.Run(c.name+" after "+cmp.Or(beginning, "nothing"), func(t *testing.T) {
				// Bob has nothing to send: once a stream is agreed he sends his end of
				// file, the one frame with a number.
				agreed := make(chan struct{})
				agree := sync.OnceFunc(func() { close(agreed) })
				var last []byte
				relay.tampering(func(l evilLine) []evilLine {
					if l.header.Type == proto.TypeClientCom && l.from.hello.Name == "alice" {
						last = l.body
					} else if l.header.Type == proto.TypeClientCom && len(sealedPart(l.body)) == frameHeader+8+16 {
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
				relay.do(func() { c.forge(relay.byID(alice.Conn()), relay.byID(bob.Conn()), last) })
				if err := soon(t, "the end of bob's side", received); ExitStatus(err) != c.exit {
					t.Errorf("bob's side ended with %v, exit status %d, want %d", err, ExitStatus(err), c.exit)
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

// sealedPart is what a message's body has sealed.
func sealedPart(body []byte) []byte {
	parts := bytes.SplitN(body, []byte("\n"), 3)
	return parts[len(parts)-1]
}

// TestPipeEndIsConfirmed: who sends is done when the other side has said that it
// has the end, not when everything before the end has been written out.
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
			mallory.frame(end(alice), frameOpen, 7, "")
			var stream uint64
			next := func(kinds string) byte {
				t.Helper()
				f := mallory.nextFrame()
				if len(f) < frameHeader || !strings.ContainsRune(kinds, rune(f[0])) {
					t.Fatalf("alice says %.20q, want one of %s", f, kinds)
				}
				stream = binary.BigEndian.Uint64(f[1:])
				return f[0]
			}
			for kind := next("OAB"); kind != frameAccept; kind = next("OAB") {
				if kind == frameOpen {
					mallory.frame(end(alice), frameAccept, stream, "")
					break
				}
				time.Sleep(10 * time.Millisecond) // refused: alice has not accepted her yet
				mallory.frame(end(alice), frameOpen, 7, "")
			}
			mallory.frame(end(alice), frameEnd, stream, "\x00\x00\x00\x00\x00\x00\x00\x00")
			if c.in != "" {
				feed.Write([]byte(c.in))
				for next("BFD") != frameData {
				}
				mallory.frame(end(alice), frameCredit, stream, string(binary.BigEndian.AppendUint64(nil, uint64(len(c.in)))))
			}
			if !c.early {
				feed.Close()
				for next("BFE") != frameEnd { // F: she has mallory's end
				}
			}
			if c.confirms != "" {
				mallory.frame(end(alice), frameDone, stream, c.confirms)
			} else {
				mallory.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
			}
			if err := soon(t, "the end of the pipe", ended); ExitStatus(err) != c.exit {
				t.Errorf("the pipe ended with %v, exit status %d, want %d", err, ExitStatus(err), c.exit)
			}
		})
	}
}
