package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// TestAttack20Identities: the relay refuses these certificates and delegations.
func TestAttack20Identities(t *testing.T) {
	good := wire.Person(t, "good")
	now := time.Now()
	const hour = time.Hour
	cases := []struct {
		why  string
		cred *wire.Cred
		code proto.Code
	}{
		{"expired", wire.DelegateAt(t, wire.Person(t, "expired", lab.Expired), "expired", now.Add(-48*hour), now.Add(-25*hour)), proto.CertificateExpired},
		{"not yet valid", wire.DelegateAt(t, wire.Person(t, "future", lab.NotYetValid), "future", now.Add(25*hour), now.Add(26*hour)), proto.CertificateNotYet},
		{"untrusted", wire.Delegate(t, wire.Person(t, "stranger", lab.Untrusted), "stranger"), proto.CertificateUntrusted},
		{"self-signed", wire.Delegate(t, wire.Person(t, "selfmade", lab.SelfSigned), "selfmade"), proto.CertificateUntrusted},
		{"forged", wire.Delegate(t, wire.Person(t, "forged", lab.Forged), "forged"), proto.CertificateUntrusted},
		{"revoked", wire.Delegate(t, wire.Person(t, "revoked", lab.Revoked), "revoked"), proto.CertificateRevoked},
		{"delegation over", wire.DelegateAt(t, good, "over", now.Add(-2*hour), now.Add(-hour)), proto.DelegationExpired},
		{"delegation to come", wire.DelegateAt(t, good, "early", now.Add(hour), now.Add(2*hour)), proto.DelegationNotYet},
		{"delegation too long", wire.DelegateAt(t, good, "long", now, now.Add(25*hour)), proto.DelegationInvalid},
	}
	rt := start(t) // after the issues, so its lists have all of them
	for _, c := range cases {
		if told := rt.Refused(c.cred); told.Code != c.code {
			t.Errorf("%s: refused with %s (%s), want %s", c.why, told.Code, told.Message, c.code)
		}
	}
}

// TestAttack20Hellos: the sealed parts of connect phase 3, spoiled one by one.
func TestAttack20Hellos(t *testing.T) {
	rt := start(t)
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	mallory := wire.Delegate(t, wire.Person(t, "mallory"), "mallory")
	for _, c := range []struct {
		why   string
		spoil func(*crypto.Hello)
		code  proto.Code
	}{
		{"no signature", func(h *crypto.Hello) { h.Signature = []byte{} }, proto.SignatureInvalid},
		{"signature of another", func(h *crypto.Hello) { h.Signature = mallory.Key.Sign([]byte("x")) }, proto.SignatureInvalid},
		{"bundle of another", func(h *crypto.Hello) { h.Bundle = mallory.Bundle }, proto.SignatureInvalid},
		{"name of another", func(h *crypto.Hello) { h.Name = "mallory" }, proto.SignatureInvalid},
		{"takes something else", func(h *crypto.Hello) { h.Takes = "everything" }, proto.Malformed},
		{"no bundle", func(h *crypto.Hello) { h.Bundle = nil }, proto.Malformed},
		{"bundle without certificate", func(h *crypto.Hello) { b := *h.Bundle; b.X509 = []byte{}; h.Bundle = &b }, proto.BundleMalformed},
		{"nine certificates", func(h *crypto.Hello) {
			b := *h.Bundle
			b.Chain = make([][]byte, trust.MaxCertificates)
			for i := range b.Chain {
				b.Chain[i] = []byte("x")
			}
			h.Bundle = &b
		}, proto.BundleMalformed},
		{"a thousand certificates", func(h *crypto.Hello) {
			b := *h.Bundle
			b.Chain = slices.Repeat([][]byte{{0x30}}, 1000)
			h.Bundle = &b
		}, proto.BundleMalformed},
		{"key of small order", func(h *crypto.Hello) {
			b := *h.Bundle
			b.PublicKey = bytes.Clone(b.PublicKey)
			clear(b.PublicKey[len(b.PublicKey)-32:])
			h.Bundle = &b
		}, proto.BundleMalformed},
	} {
		conn := rt.Dial()
		_, err := wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesMessages, Hello: c.spoil})
		if told, ok := errors.AsType[*proto.Error](err); !ok || told.Code != c.code {
			t.Errorf("%s: %v, want %s", c.why, err, c.code)
		}
	}
	// Somebody else's bundle under her own signature: K is not that of the
	// delegation.
	_, err := rt.Handshake(&wire.HandshakePlan{
		Cred: &wire.Cred{Key: mallory.Key, Bundle: cred.Bundle}, Takes: proto.TakesMessages,
	})
	if told, ok := errors.AsType[*proto.Error](err); !ok || told.Code != proto.SignatureInvalid {
		t.Errorf("a bundle without its K: %v", err)
	}
	b := *cred.Bundle
	b.PublicKey = mallory.Bundle.PublicKey
	_, err = rt.Handshake(&wire.HandshakePlan{Cred: &wire.Cred{Key: mallory.Key, Bundle: &b}, Takes: proto.TakesMessages})
	if told, ok := errors.AsType[*proto.Error](err); !ok || told.Code != proto.DelegationInvalid {
		t.Errorf("a K that the card did not sign for: %v", err)
	}
}

// TestAttack22FirstLines: lines of strangers in place of connect phase 1 are answered
// in clear, and connected clients notice nothing.
func TestAttack22FirstLines(t *testing.T) {
	rt := start(t)
	others := rt.Others()
	line1 := func(ciphers []string, random int) string {
		return string(proto.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: ciphers, Data: make([]byte, random)}))
	}
	good := line1(crypto.SuiteNames(), proto.RandomSize)
	many := make([]string, proto.MaxCiphers+1)
	for _, c := range []struct {
		why, line string
		code      proto.Code
	}{
		{"garbage", "GET / HTTP/1.1\r", proto.Malformed},
		{"no suite in common", line1([]string{"ROT13"}, proto.RandomSize), proto.NoCommonSuite},
		{"no suite", line1([]string{}, proto.RandomSize), proto.Malformed},
		{"too many suites", line1(many, proto.RandomSize), proto.Malformed},
		{"short random", line1(crypto.SuiteNames(), 31), proto.Malformed},
		{"spaces", strings.Replace(good, ",", ", ", 1), proto.Malformed},
		{"a field twice", strings.Replace(good, `"phase":1`, `"phase":1,"phase":1`, 1), proto.Malformed},
		{"another case", strings.Replace(good, `"data"`, `"dAtA"`, 1), proto.Malformed},
		{"a field too many", strings.Replace(good, `"phase":1`, `"phase":1,"name":"ana"`, 1), proto.Malformed},
		{"phase 3", strings.Replace(good, `"phase":1`, `"phase":3`, 1), proto.Unexpected},
		{"a secure line", `{"type":"secure","sa-data":{"seq":0,"random":"AAAA"},"payload":""}`, proto.Malformed},
		{"a phase beyond int64", strings.Replace(good, `"phase":1`, `"phase":9223372036854775808`, 1), proto.Malformed},
		{"base64 with junk", strings.Replace(good, `"data":"AAAA`, `"data":"A!AA`, 1), proto.Malformed},
		{"base64 with a newline escaped", strings.Replace(good, `"data":"AAAA`, `"data":"AAAA\n`, 1), proto.Malformed},
		{"NUL in a string", strings.Replace(good, `"connect"`, "\"connect\x00\"", 1), proto.Malformed},
		{"invalid UTF-8 in a string", strings.Replace(good, `"connect"`, "\"connect\xff\"", 1), proto.Malformed},
		{"deep nesting", strings.Repeat("[", proto.MaxHandshakeLine-1), proto.Malformed},
		{"deep objects", strings.Repeat(`{"type":`, proto.MaxHandshakeLine/8-1), proto.Malformed},
		{"100,000 deep", strings.Repeat("[", 100_000), proto.TooLong},
		{"NUL", "\x00", proto.Malformed},
		{"invalid UTF-8", "\xff\xfe", proto.Malformed},
		{"oversize", strings.Repeat("x", proto.MaxHandshakeLine+1), proto.TooLong},
		{"oversize by far", strings.Repeat("x", 4*proto.MaxHandshakeLine), proto.TooLong},
		{"blank lines", strings.Repeat("\n", 2*proto.MaxBlankLines), proto.Malformed},
	} {
		conn := rt.Dial()
		fmt.Fprintf(conn, "%s\n", c.line)
		lines := proto.NewLineReader(conn)
		line, err := lines.ReadLine(proto.MaxHandshakeLine)
		if err != nil {
			t.Errorf("%s: %v", c.why, err)
			continue
		}
		var e proto.ClearError
		if err := proto.Unmarshal(line, &e); err != nil || e.Type != proto.TypeError || e.Code != c.code {
			t.Errorf("%s: answered %s, want %s", c.why, line, c.code)
		}
		conn.(*net.TCPConn).CloseWrite()
		if extra, err := lines.ReadLine(proto.MaxHandshakeLine); err == nil {
			t.Errorf("%s: and then %s", c.why, extra)
		}
		others.Served(c.why)
	}
	// Blank lines are no fault.
	conn := rt.Dial()
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	if _, err := wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: nil, Line1: func(b []byte) []byte {
		conn.Write([]byte("\n\n"))
		return b
	}}); err != nil {
		t.Error(err)
	}
}

// Every byte of phase 3 flipped: refused, and never let in.
func TestRelayRefusesFlippedPhase3(t *testing.T) {
	rt := start(t)
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	var size int
	measure := func(b []byte) []byte { size = len(b); return b }
	if _, err := rt.Handshake(&wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: measure}); err != nil {
		t.Fatal(err)
	}
	// One handshake costs a millisecond. Steps of 101 reach all places of the
	// base64 and most of the frame.
	for at := 0; at < size; at += 101 {
		_, err := rt.Handshake(&wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: func(b []byte) []byte {
			b = bytes.Clone(b)
			if at < len(b) {
				b[at] ^= 1
			}
			return b
		}})
		told, ok := errors.AsType[*proto.Error](err)
		if !ok || told.Code != proto.Malformed && told.Code != proto.DecryptFailed && told.Code != proto.Unexpected {
			t.Errorf("byte %d of phase 3 flipped: %v", at, err)
		}
	}
}

func TestRelayRefusesHandshakeReplay(t *testing.T) {
	rt := start(t)
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	var line3 []byte
	plan := &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: func(b []byte) []byte { line3 = bytes.Clone(b); return b }}
	if _, err := rt.Handshake(plan); err != nil {
		t.Fatal(err)
	}
	replay := &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: func([]byte) []byte { return line3 }}
	_, err := rt.Handshake(replay)
	if told, ok := errors.AsType[*proto.Error](err); !ok || told.Code != proto.DecryptFailed {
		t.Errorf("phase 3 of another handshake: %v", err)
	}
}

// TestAttack22SecureLines: after phase 4, a client's fault ends its connection, with
// the reason, and nobody else's.
func TestAttack22SecureLines(t *testing.T) {
	rt := start(t)
	others := rt.Others()
	bruno := rt.Join("bruno")
	ping := proto.AppendPayload(nil, proto.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil)
	payload := func(s string) []byte { return []byte(s) }
	header := func(h proto.Header) []byte { return proto.AppendPayload(nil, proto.MustMarshal(&h), nil, nil) }
	sealed := func(header, signature string) func(c *wire.Client) {
		return func(c *wire.Client) { c.Write(c.Line(payload(header + "\n" + signature + "\n"))) }
	}
	com := `{"type":"client-com","dst":"bruno","dst-id":"` + bruno.ID + `"}`
	for i, c := range []struct {
		why  string
		do   func(c *wire.Client)
		code proto.Code
	}{
		{"a line again", func(c *wire.Client) { line := c.Line(ping); c.Write(line); c.Write(line) }, proto.DecryptFailed},
		{"a line left out", func(c *wire.Client) { c.Line(ping); c.Write(c.Line(ping)) }, proto.DecryptFailed},
		{"two lines swapped", func(c *wire.Client) { a, b := c.Line(ping), c.Line(ping); c.Write(append(b, a...)) }, proto.DecryptFailed},
		{"another number", func(c *wire.Client) {
			c.Write(bytes.Replace(c.Line(ping), []byte(`"seq":0`), []byte(`"seq":1`), 1))
		}, proto.DecryptFailed},
		{"another byte", func(c *wire.Client) {
			b := c.Line(ping)
			at := bytes.Index(b, []byte(`"payload":"`)) + len(`"payload":"`)
			b[at] = map[bool]byte{true: 'B', false: 'A'}[b[at] == 'A'] // base64 all the same
			c.Write(b)
		}, proto.DecryptFailed},
		{"its own line reflected", func(c *wire.Client) {
			bruno.To(c, "x")
			line, err := c.Lines.ReadLine(proto.MaxLine)
			if err != nil {
				t.Fatal(err)
			}
			bruno.Want(proto.TypeAck)
			c.Write(append(bytes.Clone(line), '\n'))
			if _, _, _, err := crypto.OpenLine(c.Recv, line); err != nil {
				t.Fatal(err)
			}
			bruno.Want(proto.TypeDisconnect)
		}, proto.DecryptFailed},
		{"not a secure line", func(c *wire.Client) { c.Write([]byte("{}\n")) }, proto.Malformed},
		{"connect again", func(c *wire.Client) { c.Write([]byte(`{"type":"connect","phase":1}` + "\n")) }, proto.Malformed},
		{"oversize", func(c *wire.Client) { c.Write(bytes.Repeat([]byte("x"), proto.MaxLine+1)) }, proto.TooLong},
		{"no header line", func(c *wire.Client) { c.Write(c.Line(payload("x"))) }, proto.Malformed},
		{"no signature line", func(c *wire.Client) { c.Write(c.Line(payload("{}\n"))) }, proto.Malformed},
		{"unknown type", func(c *wire.Client) { c.Write(c.Line(payload(`{"type":"shout"}` + "\n\n"))) }, proto.Malformed},
		{"a header of the relay's", func(c *wire.Client) {
			c.Write(c.Line(header(proto.Header{Type: proto.TypePeer, Name: "ana", ID: c.ID, Takes: "none", Done: "came"})))
		}, proto.Malformed},
		{"src given", func(c *wire.Client) {
			c.Write(c.Line(header(proto.Header{Type: proto.TypeClientCom, Src: "carla", SrcID: c.ID, Dst: "bruno", DstID: bruno.ID})))
		}, proto.Malformed},
		{"an unsigned request", func(c *wire.Client) { c.Write(c.Line(header(proto.Header{Type: proto.TypeList}))) }, proto.SignatureInvalid},
		{"a request signed by another key", func(c *wire.Client) { c.Cred = bruno.Cred; c.Ask(&proto.Header{Type: proto.TypeRelease}) }, proto.SignatureInvalid},
		{"a request signed for another line", func(c *wire.Client) {
			h := proto.MustMarshal(&proto.Header{Type: proto.TypeRelease})
			c.Write(c.Line(proto.AppendPayload(nil, h, c.Cred.Key.Sign(c.Send.RequestSigns(7, h)), nil)))
		}, proto.SignatureInvalid},
		{"a request with a body", func(c *wire.Client) {
			h := proto.MustMarshal(&proto.Header{Type: proto.TypeList})
			c.Write(c.Line(proto.AppendPayload(nil, h, c.Cred.Key.Sign(c.Send.RequestSigns(0, h)), []byte("x"))))
		}, proto.Malformed},
		{"a signed message", func(c *wire.Client) {
			h := proto.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: "bruno", DstID: bruno.ID})
			c.Write(c.Line(proto.AppendPayload(nil, h, []byte("x"), nil)))
		}, proto.Malformed},
		{"an ack with a body", func(c *wire.Client) { c.Say(&proto.Header{Type: proto.TypeAck}, []byte("x")) }, proto.Malformed},
		{"a good-bye with a body", func(c *wire.Client) { c.Say(&proto.Header{Type: proto.TypeDisconnect}, []byte("x")) }, proto.Malformed},
		{"too many blank lines", func(c *wire.Client) { c.Write(bytes.Repeat([]byte("\n"), 2*proto.MaxBlankLines)) }, proto.Malformed},
		{"100,000 deep", func(c *wire.Client) { c.Write(append(bytes.Repeat([]byte("["), 100_000), '\n')) }, proto.Malformed},
		{"100,000 deep in a header", sealed(strings.Repeat(`{"a":`, 100_000), ""), proto.Malformed},
		{"a field twice", sealed(strings.Replace(com, `"dst":`, `"dst":"bruno","dst":`, 1), ""), proto.Malformed},
		{"invalid UTF-8", sealed(strings.Replace(com, "bruno", "brun\xff", 1), ""), proto.Malformed},
		{"NUL", sealed(strings.Replace(com, "bruno", "brun\x00", 1), ""), proto.Malformed},
		{"a phase beyond int64", sealed(`{"type":"client-connect","phase":9223372036854775809,"dst":"bruno","dst-id":"`+bruno.ID+`"}`, ""), proto.Malformed},
		{"a seq beyond uint64", func(c *wire.Client) {
			c.Write(bytes.Replace(c.Line(ping), []byte(`"seq":0`), []byte(`"seq":18446744073709551616`), 1))
		}, proto.Malformed},
		{"base64 with junk", func(c *wire.Client) {
			c.Write(bytes.Replace(c.Line(ping), []byte(`"payload":"`), []byte(`"payload":"*`), 1))
		}, proto.Malformed},
		{"base64 with junk in the signature line", sealed(`{"type":"list"}`, "A*AA"), proto.Malformed},
		{"base64 without padding in the signature line", sealed(`{"type":"list"}`, "AA"), proto.Malformed},
	} {
		c2 := rt.Join(fmt.Sprintf("user%d", i))
		c.do(c2)
		if m, err := c2.Read(); err != nil || m.Type != proto.TypeError || m.Code != c.code {
			t.Errorf("%s: got %+v, %v; want %s", c.why, m.Header, err, c.code)
		}
		if m, err := c2.Read(); err == nil {
			t.Errorf("%s: and then %+v", c.why, m.Header)
		}
		c2.Close()
		others.Served(c.why)
	}
	// None of it reached the others.
	if got := bruno.List("bruno"); got != "bruno messages" {
		t.Errorf("bruno's list is %q", got)
	}
}

// TestAttack22HalfClosed: a connection that ends inside a line, or closes one half,
// leaves.
func TestAttack22HalfClosed(t *testing.T) {
	rt := start(t)
	bruno := rt.Join("bruno")
	// A visitor that closes its half gets the answer to its line, if any, and is
	// gone.
	for _, rest := range []string{"", `{"type":"conn`} {
		conn := rt.Dial()
		conn.Write([]byte(rest))
		conn.(*net.TCPConn).CloseWrite()
		if line, err := proto.NewLineReader(conn).ReadLine(proto.MaxHandshakeLine); err == nil {
			t.Errorf("half a handshake is answered %s", line)
		} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("half a handshake stays open: %v", err)
		}
	}
	for _, rest := range []string{"", `{"type":"sec`} {
		ana := rt.Join("ana" + fmt.Sprint(len(rest)))
		ana.To(bruno, "hello")
		bruno.Want(proto.TypeClientCom)
		ana.Write([]byte(rest))
		ana.Conn.(*net.TCPConn).CloseWrite()
		if m := bruno.Want(proto.TypeDisconnect); m.SrcID != ana.ID {
			t.Errorf("got %+v", m.Header)
		}
	}
}

func TestRelayIsFull(t *testing.T) {
	rt := start(t, func(cfg *Config) { cfg.MaxConns = 2 })
	one := rt.Join("one")
	rt.Join("two")
	if told := rt.Refused(wire.Delegate(t, wire.Person(t, "three"), "three")); told.Code != proto.Busy {
		t.Errorf("refused with %v", told)
	}
	one.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	one.WantClosed()
	rt.Join("three")
}

// The suites of 2016 are there on request. A client that comes before an RSA key is ready waits
// for it.
func TestRelaySuites(t *testing.T) {
	rt := start(t)
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	bruno := rt.Join("bruno")
	for _, suite := range crypto.SuiteNames() {
		ana, err := rt.Handshake(&wire.HandshakePlan{Cred: cred, Takes: proto.TakesMessages, Ciphers: []string{"ROT13", suite}})
		if err != nil {
			t.Fatalf("%s: %v", suite, err)
		}
		ana.To(bruno, suite)
		if m := bruno.Want(proto.TypeClientCom); string(m.Body) != suite {
			t.Errorf("%s: got %q", suite, m.Body)
		}
		ana.Want(proto.TypeAck)
	}
	only := start(t, func(cfg *Config) { cfg.Ciphers = []string{crypto.SuiteMLKEM} })
	_, err := only.Handshake(&wire.HandshakePlan{Cred: cred, Takes: proto.TakesMessages, Ciphers: []string{crypto.SuiteRSA256, crypto.SuiteRSA128}})
	if told, ok := errors.AsType[*proto.Error](err); !ok || told.Code != proto.NoCommonSuite {
		t.Errorf("suites that are not allowed: %v", err)
	}
}

// TestRareKeysGoRound: RSA keys go to the addresses in turn. A crowd of one address that waits
// for them keeps a neighbour waiting for one of its visitors only.
func TestRareKeysGoRound(t *testing.T) {
	suite := crypto.SuiteByName(crypto.SuiteRSA256)
	generate := func() crypto.KEMKey {
		key, err := suite.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	first, second := generate(), generate()    // each is erased by the visitor that gets it
	asked := make(chan chan crypto.KEMKey, 30) // who asks for a key, in turn
	rt := start(t, func(cfg *Config) {
		cfg.Failures = 1 << 20
		cfg.Key = func(ctx context.Context, _ crypto.Suite) (crypto.KEMKey, error) {
			mine := make(chan crypto.KEMKey, 1)
			asked <- mine
			select {
			case key := <-mine:
				return key, nil
			case <-ctx.Done():
				return nil, crypto.ErrBusy
			}
		}
	})
	line1 := proto.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: []string{crypto.SuiteRSA256}, Data: make([]byte, 32)})
	visit := func(addr string) net.Conn {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close() })
		go rt.greet(rt.halfOpen.enter(t.Context(), from{far, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}))
		near.Write(append(line1, '\n'))
		return near
	}
	for range 20 {
		visit("192.0.2.1:1")
	}
	one := <-asked // of the crowd
	neighbour := visit("192.0.2.2:1")
	two := <-asked
	one <- first
	two <- second
	neighbour.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := neighbour.Read(make([]byte, 10)); n == 0 {
		t.Errorf("the neighbour's key is not the second: %v", err)
	}
}

// Silent visitors do not keep others out: the one waited for longest goes. Where all of an
// address have just come, its next one goes, and nobody waits for that.
func TestRelayHalfOpen(t *testing.T) {
	const max = 4
	rt := start(t)
	rt.halfOpen.mu.Lock()
	rt.halfOpen.max, rt.halfOpen.maxAddr = 2*max, max
	rt.halfOpen.mu.Unlock()
	silent := make([]net.Conn, max)
	for i := range silent {
		silent[i] = rt.Dial()
		if i%2 == 0 {
			silent[i].Write([]byte(`{"type":"conn`))
		}
	}
	came := func(at time.Time) {
		wire.Until(t, "the silent", func() bool {
			rt.halfOpen.mu.Lock()
			defer rt.halfOpen.mu.Unlock()
			for e := rt.halfOpen.order.Front(); e != nil; e = e.Next() {
				if v := e.Value.(*visitor); !v.waiting.IsZero() {
					v.waiting = at
				}
			}
			return rt.halfOpen.order.Len() == max
		})
	}
	busy := func(conn net.Conn) {
		t.Helper()
		line, err := proto.NewLineReader(conn).ReadLine(proto.MaxHandshakeLine)
		var e proto.ClearError
		if err != nil || proto.Unmarshal(line, &e) != nil || e.Code != proto.Busy {
			t.Errorf("got %s, %v", line, err)
		}
	}
	came(time.Now().Add(time.Hour)) // a moment ago, for as long as this test takes
	for range max {
		busy(rt.Dial())
	}
	came(time.Now().Add(-time.Hour))
	rt.Join("ana")
	busy(silent[0])
	for _, conn := range silent {
		conn.Close()
	}
	rt.Join("bruno")
}

// TestAttack22SlowHandshake: a byte now and then does not prolong a handshake.
func TestAttack22SlowHandshake(t *testing.T) {
	const patience = 300 * time.Millisecond
	rt := start(t, func(cfg *Config) { cfg.handshakeTimeout = patience })
	conn := rt.Dial()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		line, err := proto.NewLineReader(conn).ReadLine(proto.MaxHandshakeLine)
		var e proto.ClearError
		if err != nil || proto.Unmarshal(line, &e) != nil || e.Code != proto.Timeout {
			t.Errorf("got %s, %v", line, err)
		}
	}()
	ticker := time.NewTicker(patience / 10)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			conn.Write([]byte("{"))
		case <-answered:
			return
		}
	}
}

// TestAttack22SlowLine: nor does it keep a connection alive.
func TestAttack22SlowLine(t *testing.T) {
	rt := start(t)
	others, ana := rt.Others(), rt.Join("ana")
	conn := rt.conn(ana)
	line := ana.Line(proto.AppendPayload(nil, proto.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil))
	for i := range int(proto.LostAfter/time.Second) + 2 {
		ana.Conn.Write(line[i : i+1]) // fails in the end
		if i%10 == 0 {
			others.Served("a byte a second")
			conn.rests(t)
		}
		rt.tick()
	}
	m := ana.Next()
	for m.Type == proto.TypeAck { // the relay keeps its own side alive
		m = ana.Next()
	}
	if m.Type != proto.TypeError || m.Code != proto.Timeout {
		t.Errorf("got %+v", m.Header)
	}
	ana.WantClosed()
	others.Served("the end of it")
}

// TestAttack26VisitorsVanish: hundreds of visitors vanish at every point of the
// handshake. None of them stays, and connected clients notice nothing.
func TestAttack26VisitorsVanish(t *testing.T) {
	rt := start(t, func(cfg *Config) { cfg.Failures = 1000 })
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	cred := wire.Delegate(t, wire.Person(t, "carla"), "carla")
	for i := range 200 {
		conn := rt.Dial()
		switch i % 5 {
		case 0: // says nothing
		case 1:
			conn.Write([]byte(`{"type":"connect"`))
		case 2: // does not wait for phase 2
			line1 := &proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: crypto.SuiteNames(), Data: make([]byte, proto.RandomSize)}
			conn.Write(append(proto.MustMarshal(line1), '\n'))
		case 3: // in the middle of phase 3
			_, err := wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: func(b []byte) []byte {
				conn.Write(b[:len(b)/2])
				conn.Close()
				return b
			}})
			if err == nil {
				t.Error("let in without having waited")
			}
		case 4: // does not wait for phase 4
			_, err := wire.Handshake(t, &deaf{conn, 1}, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone})
			if err == nil {
				t.Error("let in without having waited")
			}
		}
		conn.Close()
		if i%10 == 0 {
			ana.To(bruno, "hello")
			bruno.Want(proto.TypeClientCom)
			ana.Want(proto.TypeAck)
		}
	}
	wire.Until(t, "the end of all", func() bool {
		rt.halfOpen.mu.Lock()
		defer rt.halfOpen.mu.Unlock()
		return rt.halfOpen.order.Len() == 0 && rt.hub.count() == 2
	})
}

// deaf is a connection that fails after some reads.
type deaf struct {
	net.Conn
	reads int
}

func (d *deaf) Read(p []byte) (int, error) {
	if d.reads--; d.reads < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return d.Conn.Read(p)
}
