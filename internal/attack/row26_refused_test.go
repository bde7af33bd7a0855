package attack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"net"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// A refusal has its own code and a reason, on both sides.

// TestRefusedPhase2Ends: where no answer holds, a send ends with the reason and its status, and
// not when its time is over. The other side is told, too.
func TestRefusedPhase2Ends(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice := town.client("alice", func(cfg *client.Config) { cfg.Timeout, cfg.Again = time.Hour, time.Millisecond })
	bob := town.client("bob")
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if crypto.PeekPhase(l.Body) != "p2" {
			return honest(l)
		}
		p2, with := phaseParts(t, l.Body)
		with[0][0] ^= 1
		return []wire.EvilLine{l.With(phaseBody(p2, with...))}
	})
	err := <-alice.sending("lost", "bob")
	if fail.ExitStatus(err) != fail.ExitIntegrity || fail.AsError(err).Code != proto.SignatureInvalid {
		t.Errorf("the send ends with %v, status %d", err, fail.ExitStatus(err))
	}
	bob.await("that alice refuses his answer", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.What == "refused" && strings.HasPrefix(ev.Peer.Reason, "alice refuses you: ")
	})
}

// TestLateRefusalEndsNothing: a refusal of the first attempt that comes during the second one, or a
// refusal of nothing, does not end the second.
func TestLateRefusalEndsNothing(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice := town.client("alice", func(cfg *client.Config) { cfg.Again = time.Millisecond })
	bob := town.client("bob")
	var first [32]byte
	attempts := 0
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if l.From.Hello.Name != "alice" || crypto.PeekPhase(l.Body) != "p1" {
			return honest(l)
		}
		refusal := func(code proto.Code, about []byte) wire.EvilLine {
			h := proto.Header{Type: proto.TypeError, Code: code, Message: "no"}
			return wire.EvilLine{From: l.To, To: l.From, Header: h, Body: about}
		}
		if attempts++; attempts == 1 {
			first = sha256.Sum256(l.Body)
			return []wire.EvilLine{refusal(proto.Busy, first[:])}
		}
		return []wire.EvilLine{refusal(proto.NotAccepted, first[:]), refusal(proto.NotAccepted, nil), l}
	})
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
	relay.Do(func() {
		if attempts != 2 {
			t.Errorf("alice began %d attempts", attempts)
		}
	})
	if n := alice.refusals("bob"); n != 0 {
		t.Errorf("alice is told %d refusals", n)
	}
}

// TestRefusedFormsHaveCodes: a p1 is refused with the code of its fault, and the user is told it.
func TestRefusedFormsHaveCodes(t *testing.T) {
	town := newTown(t, "bob", "mallory")
	bob := town.client("bob")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	_, body, err := crypto.Initiate(mallory.local, mallory.me(), end(bob))
	if err != nil {
		t.Fatal(err)
	}
	p1, with := phaseParts(t, body)
	form := swapped(t, p1, []byte(`"takes":"messages"`), []byte(`"takes":"all"`))
	// What costs most to read: 30 ms and 20 MB each, if it were read.
	long := swapped(t, p1, []byte(`"ciphers":[`), []byte(`"ciphers":[`+strings.Repeat(`"",`, proto.MaxHandshakeLine/3)))
	null := swapped(t, p1, []byte(`"takes":"messages"`), []byte(`"takes":null`))
	signed := func(p1 []byte) []byte { return phaseBody(p1, mallory.local.Key.Sign(proto.Tuple("cc-1", p1))) }
	for _, test := range []struct {
		what string
		body []byte
		code proto.Code
		told string
	}{
		{"an unknown takes", signed(form), proto.Malformed, "malformed p1"},
		{"more than its bound", signed(long), proto.Malformed, "too long"},
		{"null", signed(null), proto.Malformed, "malformed p1"},
		{"another's signature", phaseBody(form[:len(form)-1], with[0]), proto.Malformed, "malformed p1"},
		{"a signature of nothing", phaseBody(p1, make([]byte, 64)), proto.SignatureInvalid, "the signature does not hold"},
	} {
		mallory.phase(end(bob), 1, test.body)
		mallory.wantRefusal(test.what, test.code)
		bob.await(test.what+" is told", func(ev client.Event) bool {
			return ev.Peer != nil && ev.Peer.What == "refused" && strings.Contains(ev.Peer.Reason, test.told)
		})
	}
	mallory.call(end(bob))
}

// TestGarbageEndsNothing: a body that names no conversation, or another one, leaves the live one
// as it is. One that names it and does not hold ends it, with the reason.
func TestGarbageEndsNothing(t *testing.T) {
	town := newTown(t, "bob", "mallory")
	bob := town.client("bob")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	mallory.call(end(bob))
	live := mallory.conv.T3
	for _, typ := range []string{proto.TypeClientCom, proto.TypeCommAck, proto.TypeDisconnect} {
		for _, garbage := range []string{"", "x", "\n\n", "{}\n\nx", `{"conversation":"","n":0}` + "\n\n", `{"conversation":null}` + "\n\n"} {
			mallory.Say(headerTo(typ, end(bob)), []byte(garbage))
		}
	}
	other := bytes.Repeat([]byte{1}, 32)
	mallory.Say(headerTo(proto.TypeClientCom, end(bob)), append(proto.AppendBase64([]byte(`{"conversation":"`), other), `"`...))
	if m := mallory.wantRefusal("another conversation", proto.NoConversation); !bytes.Equal(m.Body, other) {
		t.Errorf("the answer names %x", m.Body)
	}
	mallory.receipt(end(bob), 0, 0) // still the next message
	mallory.Say(headerTo(proto.TypeClientCom, end(bob)), append(proto.AppendBase64([]byte(`{"conversation":"`), live[:]), `"`...))
	if m := mallory.wantRefusal("this one, and nothing more", proto.NoConversation); !bytes.Equal(m.Body, live[:]) {
		t.Errorf("the answer names %x", m.Body)
	}

	mallory.call(end(bob))
	late := mallory.forge(crypto.KindReceipt, []byte("{}"), func(h *crypto.MessageHeader) {
		h.Time += 6 * time.Minute.Milliseconds()
		h.Digest = make([]byte, 32)
	})
	mallory.Say(headerTo(proto.TypeCommAck, end(bob)), late)
	if m := mallory.wantRefusal("a clock", proto.NoConversation); !strings.Contains(m.Message, "clock") {
		t.Errorf("a wrong clock is told as %q", m.Message)
	}
	bob.await("the clock", func(ev client.Event) bool { return ev.Gap != nil && strings.Contains(ev.Gap.Reason, "clock") })
}

// TestBusyRelayIsTriedAgain: a relay that is busy when a client comes, as while it makes RSA keys, is
// tried again until Timeout is over, which is told once, and one that refuses is not.
func TestBusyRelayIsTriedAgain(t *testing.T) {
	town := newTown(t, "alice")
	for _, c := range []struct {
		code    proto.Code
		timeout time.Duration
		lasts   bool // the relay is never better
		tries   func(n int) bool
	}{
		{proto.Busy, time.Minute, false, func(n int) bool { return n == 4 }},
		{proto.Busy, 2 * time.Second, true, func(n int) bool { return n > 1 }},
		{proto.Slow, time.Minute, true, func(n int) bool { return n == 1 }},
		{proto.NameTaken, time.Minute, true, func(n int) bool { return n == 1 }},
	} {
		tries, told := 0, 0
		cfg := town.config("alice", "state-alice")
		cfg.Timeout, cfg.Again = c.timeout, time.Millisecond
		cfg.Busy = func(*fail.Error) { told++ }
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if tries++; tries == 4 && !c.lasts {
				return new(net.Dialer).DialContext(ctx, network, addr)
			}
			here, there := net.Pipe()
			go func() {
				bufio.NewReader(there).ReadSlice('\n')
				there.Write(append(proto.MustMarshal(&proto.ClearError{Type: proto.TypeError, Code: c.code, Message: "x"}), '\n'))
				there.Close()
			}()
			return here, nil
		}
		alice, err := client.Dial(t.Context(), cfg)
		if alice != nil {
			alice.Close(t.Context())
		}
		if (err != nil) != c.lasts || err != nil && fail.AsError(err).Code != c.code || !c.tries(tries) || told != min(tries-1, 1) {
			t.Errorf("%s: %d tries, told %d times, %v", c.code, tries, told, err)
		}
	}
}
