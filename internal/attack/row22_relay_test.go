package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 22 from the other side: a malicious relay writes bad input to a real client.

// phase2 is a relay's connect phase 2 with a wrong signature.
func phase2(t testing.TB) string {
	t.Helper()
	key, err := trust.GenerateKey(trust.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	return string(proto.MustMarshal(&proto.Connect2{
		Type: proto.TypeConnect, Phase: 2, Cipher: crypto.SuiteMLKEM, Data: make([]byte, 1216),
		PublicKey: key.Public().SPKI(), Signature: make([]byte, 64),
	}))
}

// answering listens on a port and has answer respond to each first line.
func answering(t testing.TB, answer func(conn net.Conn, line []byte)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(wire.Timeout))
				line, err := proto.NewLineReader(conn).ReadLine(proto.MaxHandshakeLine)
				if err != nil {
					return
				}
				answer(conn, bytes.Clone(line))
				conn.Read(make([]byte, 1)) // until the client closes
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// TestAttack22AnswerToPhase1 answers a client's first line with bad input. The client says at once
// what is wrong, and connects to the next relay as usual.
func TestAttack22AnswerToPhase1(t *testing.T) {
	town := newTown(t, "alice")
	cfg := town.config("alice", "state-alice")
	good := phase2(t)
	closed := func(conn net.Conn) { conn.(*net.TCPConn).CloseWrite() }
	for _, c := range []struct {
		why, answer string
		then        func(net.Conn)
		code        proto.Code
		exit        int
	}{
		{"only the signature", good + "\n", nil, proto.SignatureInvalid, 8},
		{"a line without end", strings.Repeat("x", proto.MaxHandshakeLine+1), nil, proto.TooLong, 1},
		{"a line over the limit", strings.Repeat("x", 4*proto.MaxHandshakeLine) + "\n", nil, proto.TooLong, 1},
		{"100,000 deep", strings.Repeat("[", 100_000) + "\n", nil, proto.TooLong, 1},
		{"deep nesting", strings.Repeat("[", proto.MaxHandshakeLine-1) + "\n", nil, proto.Malformed, 1},
		{"deep objects", strings.Repeat(`{"a":`, proto.MaxHandshakeLine/5-1) + "\n", nil, proto.Malformed, 1},
		{"a field twice", strings.Replace(good, `"phase":2`, `"phase":2,"phase":2`, 1) + "\n", nil, proto.Malformed, 1},
		{"invalid UTF-8", strings.Replace(good, crypto.SuiteMLKEM, "\xff", 1) + "\n", nil, proto.Malformed, 1},
		{"NUL", strings.Replace(good, crypto.SuiteMLKEM, "\x00", 1) + "\n", nil, proto.Malformed, 1},
		{"a phase beyond int64", strings.Replace(good, `"phase":2`, `"phase":9223372036854775808`, 1) + "\n", nil, proto.Malformed, 1},
		{"base64 with junk", strings.Replace(good, `"data":"AAAA`, `"data":"A*AA`, 1) + "\n", nil, proto.Malformed, 1},
		{"a flood of blank lines", strings.Repeat("\n", 2*proto.MaxBlankLines), nil, proto.Malformed, 1},
		{"a closed half", "", closed, proto.Lost, 3},
		{"half a line, and a closed half", good[:len(good)/2], closed, proto.Lost, 3},
	} {
		cfg.Relay = answering(t, func(conn net.Conn, _ []byte) {
			conn.Write([]byte(c.answer))
			if c.then != nil {
				c.then(conn)
			}
		})
		_, err := client.Dial(context.Background(), cfg)
		if e := fail.AsError(err); e == nil || e.Code != c.code || fail.ExitStatus(err) != c.exit || e.Advice() == "" {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	// Single bytes do not prolong it.
	cfg.Relay = answering(t, drip)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Dial(ctx, cfg); fail.AsError(err) == nil || fail.AsError(err).Code != proto.Lost {
		t.Errorf("a byte now and then: %v", err)
	}
	cfg.Relay = town.addr
	if list, err := town.dial(cfg).List(context.Background()); err != nil || len(list) != 1 {
		t.Errorf("afterwards: %v, %v", list, err)
	}
}

// drip writes single bytes until the other side is gone.
func drip(conn net.Conn, _ []byte) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := conn.Write([]byte("{")); err != nil {
			return
		}
	}
}

// badLine is a relay's line to a connected client.
type badLine struct {
	why   string
	write func(c *wire.EvilConn)
	says  string // in the client's reason for leaving
}

func badLines() []badLine {
	const id = "0123456789abcdef"
	raw := func(line string) func(*wire.EvilConn) { return func(c *wire.EvilConn) { c.Conn.Write([]byte(line)) } }
	payload := func(payload string) func(*wire.EvilConn) {
		return func(c *wire.EvilConn) { c.Conn.Write(c.Sealer.Append(nil, []byte(payload), nil)) }
	}
	sealed := func(header string) func(*wire.EvilConn) { return payload(header + "\n\n") }
	spoiled := func(old, new string) func(*wire.EvilConn) {
		return func(c *wire.EvilConn) {
			line := c.Sealer.Append(nil, []byte(`{"type":"ack"}`+"\n\n"), nil)
			c.Conn.Write(bytes.Replace(line, []byte(old), []byte(new), 1))
		}
	}
	peer := func(name, id string) string {
		return `{"type":"peer","name":"` + name + `","id":"` + id + `","takes":"messages","done":"came"}`
	}
	return []badLine{
		{"a line without end", raw(strings.Repeat("x", proto.MaxLine+1)), "over the limit"},
		{"a line over the limit", raw(strings.Repeat("x", 2*proto.MaxLine) + "\n"), "over the limit"},
		{"100,000 deep", raw(strings.Repeat("[", 100_000) + "\n"), "not a secure line"},
		{"100,000 deep in a header", sealed(strings.Repeat(`{"a":`, 100_000)), "not canonical JSON"},
		{"a field twice", sealed(`{"type":"ack","type":"ack"}`), "not canonical JSON"},
		{"invalid UTF-8", sealed(peer("an\xffa", id)), "not canonical JSON"},
		{"NUL", sealed(peer("an\x00a", id)), "not canonical JSON"},
		{"a number beyond uint64", sealed(`{"type":"ack","dst-id":"` + id + `","answers":18446744073709551616}`), "not canonical JSON"},
		{"a number of 500,000 digits", sealed(`{"type":"ack","dst-id":"` + id + `","answers":` + strings.Repeat("9", 500_000) + `}`),
			"not canonical JSON"},
		{"a phase beyond int64", sealed(`{"type":"client-connect","phase":9223372036854775808,"src":"ana","src-id":"` + id + `","dst":"ana","dst-id":"` + id + `"}`), "not canonical JSON"},
		{"a seq beyond uint64", spoiled(`"seq":`, `"seq":18446744073709551616`), "not a secure line"},
		{"base64 with junk", spoiled(`"payload":"`, `"payload":"*`), "not a secure line"},
		{"base64 with junk in the signature line", payload(`{"type":"ack"}` + "\nA*AA\n"), "not base64"},
		{"a signature", payload(`{"type":"ack"}` + "\nAAAA\n"), "with a signature"},
		{"a body", payload(`{"type":"ack"}` + "\n\nx"), "with a body"},
		{"no header line", payload("x"), "without a header line"},
		{"a flood of blank lines", raw(strings.Repeat("\n", 2*proto.MaxBlankLines)), "blank lines"},
		{"a line again", func(c *wire.EvilConn) {
			line := c.Sealer.Append(nil, []byte(`{"type":"ack"}`+"\n\n"), nil)
			c.Conn.Write(append(bytes.Clone(line), line...))
		}, "decryption or authentication failed"},
		{"a header for the relay", sealed(`{"type":"client-disconnect"}`), "fields missing or too many"},
		{"a name that is none", sealed(peer(`a\u001b[2J`, id)), "a name that is none"},
		{"a name of a path", sealed(peer("../ana", id)), "a name that is none"},
		{"a name of 10 kB", sealed(peer(strings.Repeat("a", 10_000), id)), "a name that is none"},
		{"a name of the prompt", sealed(peer("all", id)), "a name that is none"},
		{"a connection id that is none", sealed(peer("ana", `\u001b]52;c;AAAA\u0007`)), "a connection id that is none"},
		{"an error of 2 kB", sealed(`{"type":"error","code":"busy","message":"` + strings.Repeat("a", 2<<10) + `"}`), "longer than"},
		{"half closed", func(c *wire.EvilConn) { c.Conn.(*net.TCPConn).CloseWrite() }, "EOF"},
		{"half a line, half closed", func(c *wire.EvilConn) { c.Conn.Write([]byte(`{"type":"sec`)); c.Conn.(*net.TCPConn).CloseWrite() }, "EOF"},
	}
}

// TestAttack22LinesFromTheRelay writes bad input to a client in conversation. The client leaves
// that connection, says why and returns. Its next message arrives once, and its peer notices
// nothing else.
func TestAttack22LinesFromTheRelay(t *testing.T) {
	lines := badLines()
	names := []string{"bob"}
	for i := range lines {
		names = append(names, fmt.Sprintf("user%d", i))
	}
	town, relay := evilTown(t, names...)
	bob := town.client("bob")
	conn := bob.Conn()
	var users []*testClient
	for _, name := range names[1:] {
		user := town.client(name)
		user.mustSend("before "+name, "bob")
		user.mustSettle(history.StatusRead)
		users = append(users, user)
	}
	for i, bad := range lines {
		relay.Do(func() { bad.write(relay.Named(names[i+1])) })
	}
	for i, bad := range lines {
		user := users[i]
		lost := user.await("the end of the connection, after "+bad.why, func(ev client.Event) bool { return ev.Type == client.EventLost })
		if !strings.Contains(lost.Err.Message, bad.says) || len(lost.Err.Message) > proto.MaxMessage {
			t.Errorf("%s: it leaves because %.200q (%d bytes), want %q", bad.why, lost.Err.Message, len(lost.Err.Message), bad.says)
		}
		user.await("a new connection, after "+bad.why, func(ev client.Event) bool { return ev.Type == client.EventBack })
		user.mustSend("after "+user.Name(), "bob")
	}
	for i, bad := range lines {
		users[i].mustSettle(history.StatusRead)
		if got := users[i].texts(); len(got) != 0 {
			t.Errorf("%s: it was shown %q", bad.why, got)
		}
	}
	var want []string
	for _, name := range names[1:] {
		want = append(want, "after "+name, "before "+name)
	}
	got := bob.texts()
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("bob saw %q", got)
	}
	if bob.Conn() != conn {
		t.Error("bob had to connect again")
	}
}

// hurried shortens each minute of a reader's patience to a few milliseconds.
type hurried struct{ net.Conn }

func (h hurried) SetReadDeadline(t time.Time) error {
	return h.Conn.SetReadDeadline(t.Add(300*time.Millisecond - proto.LostAfter))
}

// TestAttack22SlowRelay: single bytes from the relay do not keep a client waiting for the rest of a
// line.
func TestAttack22SlowRelay(t *testing.T) {
	town, r := evilTown(t, "alice")
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return hurried{conn}, err
	}
	accept := func(string) error { return nil }
	client := client.Relay{Addr: town.addr, Dial: dial, Ciphers: crypto.SuiteNames()}
	s, err := connect(t.Context(), &client, town.credential("alice"), proto.TakesMessages, accept)
	if err != nil {
		t.Fatal(err)
	}
	var alice net.Conn
	wire.Until(t, "alice", func() (is bool) {
		r.Do(func() {
			if is = len(r.Conns) > 0; is {
				alice = r.Conns[0].Conn
			}
		})
		return is
	})
	var wg sync.WaitGroup
	wg.Go(func() { drip(alice, nil) })
	select {
	case <-s.Done:
	case <-time.After(wire.Timeout):
		t.Error("the client still waits")
		s.Fail(nil)
	}
	var ne net.Error
	if reason := s.Reason(); !errors.As(reason, &ne) || !ne.Timeout() {
		t.Errorf("it ended with %v", reason)
	}
	s.Wait()
	wg.Wait()
}
