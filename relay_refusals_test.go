package chatsecure

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// TestAttack20Identities: certificates and delegations that the relay refuses.
func TestAttack20Identities(t *testing.T) {
	good := relayTestPerson(t, "good")
	now := time.Now()
	cases := []struct {
		why  string
		cred *relayTestCred
		code proto.Code
	}{
		{"expired", relayTestDelegateAt(t, relayTestPerson(t, "expired", lab.Expired), "expired", now.Add(-48*time.Hour), now.Add(-25*time.Hour)), proto.CertificateExpired},
		{"not yet valid", relayTestDelegateAt(t, relayTestPerson(t, "future", lab.NotYetValid), "future", now.Add(25*time.Hour), now.Add(26*time.Hour)), proto.CertificateNotYet},
		{"untrusted", relayTestDelegate(t, relayTestPerson(t, "stranger", lab.Untrusted), "stranger"), proto.CertificateUntrusted},
		{"self-signed", relayTestDelegate(t, relayTestPerson(t, "selfmade", lab.SelfSigned), "selfmade"), proto.CertificateUntrusted},
		{"forged", relayTestDelegate(t, relayTestPerson(t, "forged", lab.Forged), "forged"), proto.CertificateUntrusted},
		{"revoked", relayTestDelegate(t, relayTestPerson(t, "revoked", lab.Revoked), "revoked"), proto.CertificateRevoked},
		{"delegation over", relayTestDelegateAt(t, good, "over", now.Add(-2*time.Hour), now.Add(-time.Hour)), proto.DelegationExpired},
		{"delegation to come", relayTestDelegateAt(t, good, "early", now.Add(time.Hour), now.Add(2*time.Hour)), proto.DelegationNotYet},
		{"delegation too long", relayTestDelegateAt(t, good, "long", now, now.Add(25*time.Hour)), proto.DelegationInvalid},
	}
	rt := startRelayTest(t) // now its revocation lists have all of them
	for _, c := range cases {
		if told := rt.refused(c.cred); told.Code != c.code {
			t.Errorf("%s: refused with %s (%s), want %s", c.why, told.Code, told.Message, c.code)
		}
	}
}

// TestAttack20Hellos: what connect phase 3 seals, spoiled one by one.
func TestAttack20Hellos(t *testing.T) {
	rt := startRelayTest(t)
	cred := relayTestDelegate(t, relayTestPerson(t, "ana"), "ana")
	mallory := relayTestDelegate(t, relayTestPerson(t, "mallory"), "mallory")
	for _, c := range []struct {
		why   string
		spoil func(*hello)
		code  proto.Code
	}{
		{"no signature", func(h *hello) { h.Signature = nil }, proto.SignatureInvalid},
		{"signature of another", func(h *hello) { h.Signature = mallory.key.Sign([]byte("x")) }, proto.SignatureInvalid},
		{"bundle of another", func(h *hello) { h.Bundle = mallory.bundle }, proto.SignatureInvalid},
		{"name of another", func(h *hello) { h.Name = "mallory" }, proto.SignatureInvalid},
		{"takes something else", func(h *hello) { h.Takes = "everything" }, proto.Malformed},
		{"no bundle", func(h *hello) { h.Bundle = nil }, proto.Malformed},
		{"bundle without certificate", func(h *hello) { b := *h.Bundle; b.X509 = nil; h.Bundle = &b }, proto.BundleMalformed},
		{"nine certificates", func(h *hello) {
			b := *h.Bundle
			b.Chain = make([][]byte, crypto.MaxCertificates)
			for i := range b.Chain {
				b.Chain[i] = []byte("x")
			}
			h.Bundle = &b
		}, proto.BundleMalformed},
		{"a thousand certificates", func(h *hello) {
			b := *h.Bundle
			b.Chain = slices.Repeat([][]byte{{0x30}}, 1000)
			h.Bundle = &b
		}, proto.BundleMalformed},
		{"key of small order", func(h *hello) {
			b := *h.Bundle
			b.PublicKey = bytes.Clone(b.PublicKey)
			clear(b.PublicKey[len(b.PublicKey)-32:])
			h.Bundle = &b
		}, proto.BundleMalformed},
	} {
		conn := rt.dial()
		_, err := relayTestHandshake(t, conn, &relayTestHandshakePlan{cred: cred, takes: proto.TakesMessages, hello: c.spoil})
		if told, ok := err.(*proto.Error); !ok || told.Code != c.code {
			t.Errorf("%s: %v, want %s", c.why, err, c.code)
		}
	}
	// The bundle of somebody else under one's own signature: K is not that of
	// the delegation.
	_, err := relayTestHandshake(t, rt.dial(), &relayTestHandshakePlan{
		cred: &relayTestCred{mallory.key, cred.bundle}, takes: proto.TakesMessages,
	})
	if told, ok := err.(*proto.Error); !ok || told.Code != proto.SignatureInvalid {
		t.Errorf("a bundle without its K: %v", err)
	}
	b := *cred.bundle
	b.PublicKey = mallory.bundle.PublicKey
	_, err = relayTestHandshake(t, rt.dial(), &relayTestHandshakePlan{cred: &relayTestCred{mallory.key, &b}, takes: proto.TakesMessages})
	if told, ok := err.(*proto.Error); !ok || told.Code != proto.DelegationInvalid {
		t.Errorf("a K that the card did not sign for: %v", err)
	}
}

// relayTestPair is two who talk while a relay is attacked.
type relayTestPair [2]*relayTestClient

// others connects two who have nothing to do with the attack.
func (rt *relayTest) others() relayTestPair {
	rt.t.Helper()
	return relayTestPair{rt.join("other"), rt.join("another")}
}

// served checks that a message goes through each way, and that nothing else
// has come.
func (p relayTestPair) served(after string) {
	for i, from := range p {
		to := p[1-i]
		from.t.Helper()
		seq := from.to(to, after)
		if m := to.want(proto.TypeClientCom); string(m.body) != after {
			from.t.Errorf("after %s, the others got %q", after, m.body)
		}
		if m := from.want(proto.TypeAck); m.Answers == nil || *m.Answers != seq {
			from.t.Errorf("after %s, the others got the ack %+v", after, m.Header)
		}
	}
}

func (rt *relayTest) dial() net.Conn {
	rt.t.Helper()
	conn, err := net.Dial("tcp", rt.addr)
	if err != nil {
		rt.t.Fatal(err)
	}
	rt.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(relayTestTimeout))
	return conn
}

// TestAttack22FirstLines: what strangers send instead of connect phase 1 is
// answered in clear, and those who are there notice nothing.
func TestAttack22FirstLines(t *testing.T) {
	rt := startRelayTest(t)
	others := rt.others()
	line1 := func(ciphers []string, random int) string {
		return string(canon.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: ciphers, Data: make([]byte, random)}))
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
		conn := rt.dial()
		fmt.Fprintf(conn, "%s\n", c.line)
		lines := proto.NewLineReader(conn)
		line, err := lines.ReadLine(proto.MaxHandshakeLine)
		if err != nil {
			t.Errorf("%s: %v", c.why, err)
			continue
		}
		var e proto.ClearError
		if err := canon.Unmarshal(line, &e); err != nil || e.Type != proto.TypeError || e.Code != c.code {
			t.Errorf("%s: answered %s, want %s", c.why, line, c.code)
		}
		conn.(*net.TCPConn).CloseWrite()
		if extra, err := lines.ReadLine(proto.MaxHandshakeLine); err == nil {
			t.Errorf("%s: and then %s", c.why, extra)
		}
		others.served(c.why)
	}
	// Lines that end twice are no fault.
	conn := rt.dial()
	cred := relayTestDelegate(t, relayTestPerson(t, "ana"), "ana")
	if _, err := relayTestHandshake(t, conn, &relayTestHandshakePlan{cred: cred, takes: proto.TakesNone, line3: nil, line1: func(b []byte) []byte {
		conn.Write([]byte("\n\n"))
		return b
	}}); err != nil {
		t.Error(err)
	}
}

// Every byte of phase 3 flipped: refused, and never let in.
func TestRelayRefusesFlippedPhase3(t *testing.T) {
	rt := startRelayTest(t)
	cred := relayTestDelegate(t, relayTestPerson(t, "ana"), "ana")
	var size int
	if _, err := relayTestHandshake(t, rt.dial(), &relayTestHandshakePlan{cred: cred, takes: proto.TakesNone, line3: func(b []byte) []byte { size = len(b); return b }}); err != nil {
		t.Fatal(err)
	}
	// One handshake costs a millisecond; a step of 101 goes through all places
	// of the base64 and most of the frame.
	for at := 0; at < size; at += 101 {
		_, err := relayTestHandshake(t, rt.dial(), &relayTestHandshakePlan{cred: cred, takes: proto.TakesNone, line3: func(b []byte) []byte {
			b = bytes.Clone(b)
			if at < len(b) {
				b[at] ^= 1
			}
			return b
		}})
		told, ok := err.(*proto.Error)
		if !ok || told.Code != proto.Malformed && told.Code != proto.DecryptFailed && told.Code != proto.Unexpected {
			t.Errorf("byte %d of phase 3 flipped: %v", at, err)
		}
	}
}

func TestRelayRefusesHandshakeReplay(t *testing.T) {
	rt := startRelayTest(t)
	cred := relayTestDelegate(t, relayTestPerson(t, "ana"), "ana")
	var line3 []byte
	plan := &relayTestHandshakePlan{cred: cred, takes: proto.TakesNone, line3: func(b []byte) []byte { line3 = bytes.Clone(b); return b }}
	if _, err := relayTestHandshake(t, rt.dial(), plan); err != nil {
		t.Fatal(err)
	}
	replay := &relayTestHandshakePlan{cred: cred, takes: proto.TakesNone, line3: func([]byte) []byte { return line3 }}
	_, err := relayTestHandshake(t, rt.dial(), replay)
	if told, ok := err.(*proto.Error); !ok || told.Code != proto.DecryptFailed {
		t.Errorf("phase 3 of another handshake: %v", err)
	}
}

// TestAttack22SecureLines: after phase 4, what a client does wrong ends its
// connection, with the reason, and nobody else's.
func TestAttack22SecureLines(t *testing.T) {
	rt := startRelayTest(t)
	others := rt.others()
	bruno := rt.join("bruno")
	ping := proto.AppendPayload(nil, canon.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil)
	payload := func(s string) []byte { return []byte(s) }
	header := func(h proto.Header) []byte { return proto.AppendPayload(nil, canon.MustMarshal(&h), nil, nil) }
	sealed := func(header, signature string) func(c *relayTestClient) {
		return func(c *relayTestClient) { c.write(c.line(payload(header + "\n" + signature + "\n"))) }
	}
	com := `{"type":"client-com","dst":"bruno","dst-id":"` + bruno.id + `"}`
	for i, c := range []struct {
		why  string
		do   func(c *relayTestClient)
		code proto.Code
	}{
		{"a line again", func(c *relayTestClient) { line := c.line(ping); c.write(line); c.write(line) }, proto.DecryptFailed},
		{"a line left out", func(c *relayTestClient) { c.line(ping); c.write(c.line(ping)) }, proto.DecryptFailed},
		{"two lines swapped", func(c *relayTestClient) { a, b := c.line(ping), c.line(ping); c.write(append(b, a...)) }, proto.DecryptFailed},
		{"another number", func(c *relayTestClient) {
			c.write(bytes.Replace(c.line(ping), []byte(`"seq":0`), []byte(`"seq":1`), 1))
		}, proto.DecryptFailed},
		{"another byte", func(c *relayTestClient) {
			b := c.line(ping)
			at := bytes.Index(b, []byte(`"payload":"`)) + len(`"payload":"`)
			b[at] = map[bool]byte{true: 'B', false: 'A'}[b[at] == 'A'] // base64 all the same
			c.write(b)
		}, proto.DecryptFailed},
		{"its own line reflected", func(c *relayTestClient) {
			bruno.to(c, "x")
			line, err := c.lines.ReadLine(proto.MaxLine)
			if err != nil {
				t.Fatal(err)
			}
			bruno.want(proto.TypeAck)
			c.write(append(bytes.Clone(line), '\n'))
			if _, _, err := openLine(c.recv, line); err != nil {
				t.Fatal(err)
			}
			bruno.want(proto.TypeDisconnect)
		}, proto.DecryptFailed},
		{"not a secure line", func(c *relayTestClient) { c.write([]byte("{}\n")) }, proto.Malformed},
		{"connect again", func(c *relayTestClient) { c.write([]byte(`{"type":"connect","phase":1}` + "\n")) }, proto.Malformed},
		{"oversize", func(c *relayTestClient) { c.write(bytes.Repeat([]byte("x"), proto.MaxLine+1)) }, proto.TooLong},
		{"no header line", func(c *relayTestClient) { c.write(c.line(payload("x"))) }, proto.Malformed},
		{"no signature line", func(c *relayTestClient) { c.write(c.line(payload("{}\n"))) }, proto.Malformed},
		{"unknown type", func(c *relayTestClient) { c.write(c.line(payload(`{"type":"shout"}` + "\n\n"))) }, proto.Malformed},
		{"a header of the relay's", func(c *relayTestClient) {
			c.write(c.line(header(proto.Header{Type: proto.TypePeer, Name: "ana", ID: c.id, Takes: "none", Done: "came"})))
		}, proto.Malformed},
		{"src given", func(c *relayTestClient) {
			c.write(c.line(header(proto.Header{Type: proto.TypeClientCom, Src: "carla", SrcID: c.id, Dst: "bruno", DstID: bruno.id})))
		}, proto.Malformed},
		{"an unsigned request", func(c *relayTestClient) { c.write(c.line(header(proto.Header{Type: proto.TypeList}))) }, proto.SignatureInvalid},
		{"a request signed by another key", func(c *relayTestClient) { c.cred = bruno.cred; c.ask(&proto.Header{Type: proto.TypeRelease}) }, proto.SignatureInvalid},
		{"a request signed for another line", func(c *relayTestClient) {
			h := canon.MustMarshal(&proto.Header{Type: proto.TypeRelease})
			c.write(c.line(proto.AppendPayload(nil, h, c.cred.key.Sign(c.send.RequestSigns(7, h)), nil)))
		}, proto.SignatureInvalid},
		{"a request with a body", func(c *relayTestClient) {
			h := canon.MustMarshal(&proto.Header{Type: proto.TypeList})
			c.write(c.line(proto.AppendPayload(nil, h, c.cred.key.Sign(c.send.RequestSigns(0, h)), []byte("x"))))
		}, proto.Malformed},
		{"a signed message", func(c *relayTestClient) {
			h := canon.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: "bruno", DstID: bruno.id})
			c.write(c.line(proto.AppendPayload(nil, h, []byte("x"), nil)))
		}, proto.Malformed},
		{"an ack with a body", func(c *relayTestClient) { c.say(&proto.Header{Type: proto.TypeAck}, []byte("x")) }, proto.Malformed},
		{"a good-bye with a body", func(c *relayTestClient) { c.say(&proto.Header{Type: proto.TypeDisconnect}, []byte("x")) }, proto.Malformed},
		{"too many blank lines", func(c *relayTestClient) { c.write(bytes.Repeat([]byte("\n"), 2*proto.MaxBlankLines)) }, proto.Malformed},
		{"100,000 deep", func(c *relayTestClient) { c.write(append(bytes.Repeat([]byte("["), 100_000), '\n')) }, proto.Malformed},
		{"100,000 deep in a header", sealed(strings.Repeat(`{"a":`, 100_000), ""), proto.Malformed},
		{"a field twice", sealed(strings.Replace(com, `"dst":`, `"dst":"bruno","dst":`, 1), ""), proto.Malformed},
		{"invalid UTF-8", sealed(strings.Replace(com, "bruno", "brun\xff", 1), ""), proto.Malformed},
		{"NUL", sealed(strings.Replace(com, "bruno", "brun\x00", 1), ""), proto.Malformed},
		{"a phase beyond int64", sealed(`{"type":"client-connect","phase":9223372036854775809,"dst":"bruno","dst-id":"`+bruno.id+`"}`, ""), proto.Malformed},
		{"a seq beyond uint64", func(c *relayTestClient) {
			c.write(bytes.Replace(c.line(ping), []byte(`"seq":0`), []byte(`"seq":18446744073709551616`), 1))
		}, proto.Malformed},
		{"base64 with junk", func(c *relayTestClient) {
			c.write(bytes.Replace(c.line(ping), []byte(`"payload":"`), []byte(`"payload":"*`), 1))
		}, proto.Malformed},
		{"base64 with junk in the signature line", sealed(`{"type":"list"}`, "A*AA"), proto.Malformed},
		{"base64 without padding in the signature line", sealed(`{"type":"list"}`, "AA"), proto.Malformed},
	} {
		c2 := rt.join(fmt.Sprintf("user%d", i))
		c.do(c2)
		if m, err := c2.read(); err != nil || m.Type != proto.TypeError || m.Code != c.code {
			t.Errorf("%s: got %+v, %v; want %s", c.why, m.Header, err, c.code)
		}
		if m, err := c2.read(); err == nil {
			t.Errorf("%s: and then %+v", c.why, m.Header)
		}
		c2.close()
		others.served(c.why)
	}
	// None of it was the others' business.
	if got := bruno.list("bruno"); got != "bruno messages" {
		t.Errorf("bruno's list is %q", got)
	}
}

// TestAttack22HalfClosed: a connection that ends inside a line, or half, leaves.
func TestAttack22HalfClosed(t *testing.T) {
	rt := startRelayTest(t)
	bruno := rt.join("bruno")
	// A visitor that closes its half has the answer to what it sent, if anything,
	// and is gone.
	for _, rest := range []string{"", `{"type":"conn`} {
		conn := rt.dial()
		conn.Write([]byte(rest))
		conn.(*net.TCPConn).CloseWrite()
		if line, err := proto.NewLineReader(conn).ReadLine(proto.MaxHandshakeLine); err == nil {
			t.Errorf("half a handshake is answered %s", line)
		} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("half a handshake stays open: %v", err)
		}
	}
	for _, rest := range []string{"", `{"type":"sec`} {
		ana := rt.join("ana" + fmt.Sprint(len(rest)))
		ana.to(bruno, "hello")
		bruno.want(proto.TypeClientCom)
		ana.write([]byte(rest))
		ana.conn.(*net.TCPConn).CloseWrite()
		if m := bruno.want(proto.TypeDisconnect); m.SrcID != ana.id {
			t.Errorf("got %+v", m.Header)
		}
	}
}

func TestRelayIsFull(t *testing.T) {
	rt := startRelayTest(t, func(cfg *RelayConfig) { cfg.MaxConns = 2 })
	one := rt.join("one")
	rt.join("two")
	if told := rt.refused(relayTestDelegate(t, relayTestPerson(t, "three"), "three")); told.Code != proto.Busy {
		t.Errorf("refused with %v", told)
	}
	one.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	one.wantClosed()
	rt.join("three")
}

// The suites of 2016 are there when asked for. Whoever comes when no RSA key
// is ready is told to try again.
func TestRelaySuites(t *testing.T) {
	rt := startRelayTest(t)
	cred := relayTestDelegate(t, relayTestPerson(t, "ana"), "ana")
	bruno := rt.join("bruno")
	for _, suite := range crypto.SuiteNames() {
		var ana *relayTestClient
		for ana == nil {
			c, err := relayTestHandshake(t, rt.dial(), &relayTestHandshakePlan{cred: cred, takes: proto.TakesMessages, ciphers: []string{"ROT13", suite}})
			if told, ok := err.(*proto.Error); ok && told.Code == proto.Busy {
				continue
			} else if err != nil {
				t.Fatalf("%s: %v", suite, err)
			}
			ana = c
		}
		ana.to(bruno, suite)
		if m := bruno.want(proto.TypeClientCom); string(m.body) != suite {
			t.Errorf("%s: got %q", suite, m.body)
		}
		ana.want(proto.TypeAck)
	}
	only := startRelayTest(t, func(cfg *RelayConfig) { cfg.Ciphers = []string{crypto.SuiteMLKEM} })
	_, err := relayTestHandshake(t, only.dial(), &relayTestHandshakePlan{cred: cred, takes: proto.TakesMessages, ciphers: []string{crypto.SuiteRSA256, crypto.SuiteRSA128}})
	if told, ok := err.(*proto.Error); !ok || told.Code != proto.NoCommonSuite {
		t.Errorf("suites that are not allowed: %v", err)
	}
}

// Visitors that say nothing do not keep others out: the one that has waited
// longest goes.
func TestRelayHalfOpen(t *testing.T) {
	rt := startRelayTest(t)
	rt.halfOpen.mu.Lock()
	rt.halfOpen.max, rt.halfOpen.maxAddr = 8, 4
	rt.halfOpen.mu.Unlock()
	silent := make([]net.Conn, 12)
	for i := range silent {
		silent[i] = rt.dial()
		if i%2 == 0 {
			silent[i].Write([]byte(`{"type":"conn`))
		}
	}
	rt.join("ana")
	// The first ones had to go, and were told.
	lines := proto.NewLineReader(silent[0])
	line, err := lines.ReadLine(proto.MaxHandshakeLine)
	var e proto.ClearError
	if err != nil || canon.Unmarshal(line, &e) != nil || e.Code != proto.Busy {
		t.Errorf("got %s, %v", line, err)
	}
	for _, conn := range silent {
		conn.Close()
	}
	rt.join("bruno")
}

// TestAttack22SlowHandshake: a byte now and then does not make a handshake last
// longer.
func TestAttack22SlowHandshake(t *testing.T) {
	const patience = 300 * time.Millisecond
	rt := startRelayTest(t, func(cfg *RelayConfig) { cfg.patience = patience })
	conn := rt.dial()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		line, err := proto.NewLineReader(conn).ReadLine(proto.MaxHandshakeLine)
		var e proto.ClearError
		if err != nil || canon.Unmarshal(line, &e) != nil || e.Code != proto.Timeout {
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

// TestAttack22SlowLine: nor does it keep a connection, once it is there.
func TestAttack22SlowLine(t *testing.T) {
	rt := startRelayTest(t)
	others, ana := rt.others(), rt.join("ana")
	conn := rt.conn(ana)
	line := ana.line(proto.AppendPayload(nil, canon.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil))
	for i := range int(proto.LostAfter/time.Second) + 2 {
		ana.conn.Write(line[i : i+1]) // fails in the end
		if i%10 == 0 {
			others.served("a byte a second")
			conn.rests(t)
		}
		rt.tick()
	}
	m := ana.next()
	for m.Type == proto.TypeAck { // the relay keeps its own side alive
		m = ana.next()
	}
	if m.Type != proto.TypeError || m.Code != proto.Timeout {
		t.Errorf("got %+v", m.Header)
	}
	ana.wantClosed()
	others.served("the end of it")
}

// TestAttack26VisitorsVanish: hundreds that connect and vanish at every point
// of the handshake are gone, and those who are there notice nothing.
func TestAttack26VisitorsVanish(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("ana"), rt.join("bruno")
	cred := relayTestDelegate(t, relayTestPerson(t, "carla"), "carla")
	for i := range 200 {
		conn := rt.dial()
		switch i % 5 {
		case 0: // says nothing
		case 1:
			conn.Write([]byte(`{"type":"connect"`))
		case 2: // does not wait for phase 2
			conn.Write(append(canon.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: crypto.SuiteNames(), Data: make([]byte, proto.RandomSize)}), '\n'))
		case 3: // in the middle of phase 3
			_, err := relayTestHandshake(t, conn, &relayTestHandshakePlan{cred: cred, takes: proto.TakesNone, line3: func(b []byte) []byte {
				conn.Write(b[:len(b)/2])
				conn.Close()
				return b
			}})
			if err == nil {
				t.Error("let in without having waited")
			}
		case 4: // does not wait for phase 4
			_, err := relayTestHandshake(t, &relayTestDeaf{conn, 1}, &relayTestHandshakePlan{cred: cred, takes: proto.TakesNone})
			if err == nil {
				t.Error("let in without having waited")
			}
		}
		conn.Close()
		if i%10 == 0 {
			ana.to(bruno, "hello")
			bruno.want(proto.TypeClientCom)
			ana.want(proto.TypeAck)
		}
	}
	relayTestUntil(t, "the end of all", func() bool {
		rt.halfOpen.mu.Lock()
		defer rt.halfOpen.mu.Unlock()
		return rt.halfOpen.order.Len() == 0 && rt.hub.count() == 2
	})
}

// relayTestDeaf is a connection that fails after some reads.
type relayTestDeaf struct {
	net.Conn
	reads int
}

func (d *relayTestDeaf) Read(p []byte) (int, error) {
	if d.reads--; d.reads < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return d.Conn.Read(p)
}
