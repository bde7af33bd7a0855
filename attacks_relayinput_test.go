package chatsecure

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

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Row 22 from the other side: what a malicious relay may write to a real
// client.

// phase2 is connect phase 2 of a relay, with a signature that does not hold.
func phase2(t testing.TB) string {
	t.Helper()
	key, err := crypto.GenerateKey(crypto.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	return string(canon.MustMarshal(&proto.Connect2{
		Type: proto.TypeConnect, Phase: 2, Cipher: crypto.SuiteMLKEM, Data: make([]byte, 1216), PublicKey: key.Public().SPKI(), Signature: make([]byte, 64),
	}))
}

// answering is a port where everybody who writes a line is answered by answer.
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
				conn.SetDeadline(time.Now().Add(relayTestTimeout))
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

// TestAttack22AnswerToPhase1 answers a client's first line with bad input. It
// says what is wrong, at once, and the next relay is served as ever.
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
		_, err := Dial(context.Background(), cfg)
		if e := AsError(err); e == nil || e.Code != c.code || ExitStatus(err) != c.exit || e.Advice() == "" {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	// A byte now and then does not make it last longer.
	cfg.Relay = answering(t, drip)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, cfg); AsError(err) == nil || AsError(err).Code != proto.Lost {
		t.Errorf("a byte now and then: %v", err)
	}
	cfg.Relay = town.addr
	if list, err := town.dial(cfg).List(context.Background()); err != nil || len(list) != 1 {
		t.Errorf("afterwards: %v, %v", list, err)
	}
}

// drip writes a byte now and then, until nobody is there any more.
func drip(conn net.Conn, _ []byte) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := conn.Write([]byte("{")); err != nil {
			return
		}
	}
}

// badLine is what a relay writes to a client that is connected.
type badLine struct {
	why   string
	write func(c *evilConn)
	says  string // in the reason for which the client leaves this relay
}

func badLines() []badLine {
	const id = "0123456789abcdef"
	raw := func(line string) func(*evilConn) { return func(c *evilConn) { c.conn.Write([]byte(line)) } }
	payload := func(payload string) func(*evilConn) {
		return func(c *evilConn) { c.conn.Write(c.sealer.append(nil, []byte(payload))) }
	}
	sealed := func(header string) func(*evilConn) { return payload(header + "\n\n") }
	spoiled := func(old, new string) func(*evilConn) {
		return func(c *evilConn) {
			line := c.sealer.append(nil, []byte(`{"type":"ack"}`+"\n\n"))
			c.conn.Write(bytes.Replace(line, []byte(old), []byte(new), 1))
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
		{"a number of 500,000 digits", sealed(`{"type":"ack","dst-id":"` + id + `","answers":` + strings.Repeat("9", 500_000) + `}`), "not canonical JSON"},
		{"a phase beyond int64", sealed(`{"type":"client-connect","phase":9223372036854775808,"src":"ana","src-id":"` + id + `","dst":"ana","dst-id":"` + id + `"}`), "not canonical JSON"},
		{"a seq beyond uint64", spoiled(`"seq":`, `"seq":18446744073709551616`), "not a secure line"},
		{"base64 with junk", spoiled(`"payload":"`, `"payload":"*`), "not a secure line"},
		{"base64 with junk in the signature line", payload(`{"type":"ack"}` + "\nA*AA\n"), "not base64"},
		{"no header line", payload("x"), "without a header line"},
		{"a flood of blank lines", raw(strings.Repeat("\n", 2*proto.MaxBlankLines)), "blank lines"},
		{"a line again", func(c *evilConn) {
			line := c.sealer.append(nil, []byte(`{"type":"ack"}`+"\n\n"))
			c.conn.Write(append(bytes.Clone(line), line...))
		}, "decryption or authentication failed"},
		{"a header for the relay", sealed(`{"type":"client-disconnect"}`), "fields missing or too many"},
		{"a name that is none", sealed(peer(`a\u001b[2J`, id)), "a name that is none"},
		{"a name of a path", sealed(peer("../ana", id)), "a name that is none"},
		{"a name of 10 kB", sealed(peer(strings.Repeat("a", 10_000), id)), "a name that is none"},
		{"a name of the prompt", sealed(peer("all", id)), "a name that is none"},
		{"a connection id that is none", sealed(peer("ana", `\u001b]52;c;AAAA\u0007`)), "a connection id that is none"},
		{"an error of 2 kB", sealed(`{"type":"error","code":"busy","message":"` + strings.Repeat("a", 2<<10) + `"}`), "longer than"},
		{"half closed", func(c *evilConn) { c.conn.(*net.TCPConn).CloseWrite() }, "EOF"},
		{"half a line, half closed", func(c *evilConn) { c.conn.Write([]byte(`{"type":"sec`)); c.conn.(*net.TCPConn).CloseWrite() }, "EOF"},
	}
}

// TestAttack22LinesFromTheRelay writes bad input to a client that talks. It
// leaves that connection, says why, comes back, and what it sends then arrives
// once; the one it talks with notices nothing else.
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
		user.mustSettle(StatusRead)
		users = append(users, user)
	}
	for i, bad := range lines {
		relay.do(func() { bad.write(relay.named(names[i+1])) })
	}
	for i, bad := range lines {
		user := users[i]
		lost := user.await("the end of the connection, after "+bad.why, func(ev Event) bool { return ev.Type == EventLost })
		if !strings.Contains(lost.Err.Message, bad.says) || len(lost.Err.Message) > proto.MaxMessage {
			t.Errorf("%s: it leaves because %.200q (%d bytes), want %q", bad.why, lost.Err.Message, len(lost.Err.Message), bad.says)
		}
		user.await("a new connection, after "+bad.why, func(ev Event) bool { return ev.Type == EventBack })
		user.mustSend("after "+user.Name(), "bob")
	}
	for i, bad := range lines {
		users[i].mustSettle(StatusRead)
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

// hurried makes every minute that a reader would wait a few milliseconds.
type hurried struct{ net.Conn }

func (h hurried) SetReadDeadline(t time.Time) error {
	return h.Conn.SetReadDeadline(t.Add(300*time.Millisecond - proto.LostAfter))
}

// TestAttack22SlowRelay: a byte now and then from the relay does not keep a
// client waiting for the rest of a line.
func TestAttack22SlowRelay(t *testing.T) {
	town, relay := evilTown(t, "alice")
	conn, err := net.Dial("tcp", town.addr)
	if err != nil {
		t.Fatal(err)
	}
	accept := func(string) error { return nil }
	s, err := handshake(t.Context(), hurried{conn}, crypto.SuiteNames(), town.credential("alice"), proto.TakesMessages, accept)
	if err != nil {
		t.Fatal(err)
	}
	var alice net.Conn
	relayTestUntil(t, "alice", func() (is bool) {
		relay.do(func() {
			if is = len(relay.conns) > 0; is {
				alice = relay.conns[0].conn
			}
		})
		return is
	})
	var wg sync.WaitGroup
	wg.Go(func() { drip(alice, nil) })
	select {
	case <-s.done:
	case <-time.After(relayTestTimeout):
		t.Error("the client still waits")
		s.fail(nil)
	}
	var ne net.Error
	if reason := s.reason(); !errors.As(reason, &ne) || !ne.Timeout() {
		t.Errorf("it ended with %v", reason)
	}
	s.wg.Wait()
	wg.Wait()
}

// TestAttack24Lists has the relay list what is no name, no connection id, or
// takes what there is not: the list is refused as a whole, and the connection
// goes on.
func TestAttack24Lists(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	lie := func(spoil func(c *evilConn)) {
		relay.do(func() {
			relay.listed = func(conns []*evilConn) (listed []*evilConn) {
				for _, c := range conns {
					fake := *c
					if c.hello.Name == "bob" && spoil != nil {
						spoil(&fake)
					}
					listed = append(listed, &fake)
				}
				return listed
			}
		})
	}
	refused := func(what string, spoil func(c *evilConn)) {
		t.Helper()
		lie(spoil)
		list, err := alice.List(context.Background())
		if e := AsError(err); e == nil || e.Code != proto.Malformed || ExitStatus(err) != 1 {
			t.Errorf("%.40q: %v, %v", what, list, err)
		}
	}
	for _, name := range []string{
		"", "bob,carol", "bob:", "bob\n", "bo/b", "..", "../bob", "all", "list", "LIST", strings.Repeat("b", 10_000), "bo\x1b[2Jb", "bo\u202eb", "bo\u200bb", "bob ", "bo\x00b", "e\u0301",
	} {
		refused(name, func(c *evilConn) { c.hello.Name = name })
	}
	for _, id := range []string{"", "../../etc/passwd", "0123456789ABCDEF", "0123456789abcdef0", "\x1b]52;c;AAAA\x07aaa"} {
		refused(id, func(c *evilConn) { c.id = id })
	}
	refused("takes", func(c *evilConn) { c.hello.Takes = "\x1b[2J" })
	lie(nil)
	if list, err := alice.List(context.Background()); err != nil || len(list) != 2 {
		t.Errorf("the true list: %v, %v", list, err)
	}
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
}

// TestAttack24InventedNames has the relay tell of ever new people who come and
// leave: the client keeps nothing of who is not there.
func TestAttack24InventedNames(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("before", "bob")
	sees(t, alice, bob, "before")
	relay.do(func() {
		for i := range 2000 {
			for _, what := range []string{proto.Came, proto.Left} {
				relay.write(relay.named("alice"), &proto.Header{
					Type: proto.TypePeer, Name: fmt.Sprintf("nobody%d", i), ID: fmt.Sprintf("%016x", i), Takes: proto.TakesNone, Done: what,
				}, nil)
			}
		}
	})
	alice.mustSend("after", "bob") // what comes back comes behind all those lines
	sees(t, alice, bob, "before", "after")
	alice.engine.do(context.Background(), func() {
		if users, conns := len(alice.engine.users), len(alice.engine.conns); users > 2 || conns > 2 {
			t.Errorf("%d people and %d connections are kept", users, conns)
		}
	})
}
