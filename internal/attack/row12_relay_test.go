package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/relay"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
	"chatsecure/testdata/spoil"
)

// Row 12 between a real client and the real relay: every byte and field of every connect line, and
// of the first secure line each way, spoiled on the way. go test tries a sample, `make attack` all.
// The lines end to end are in row12_peer_test.go.

// A tap counts the four lines of connect by phase, then the first secure line each way.
const (
	tapToRelay  = 5
	tapToClient = 6
)

// tap is a man in the middle between clients and a real relay, one handshake at a time. It passes
// lines on and can spoil one.
type tap struct {
	relay string // address
	ln    net.Listener
	wg    sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	at    int        // the line to spoil, 0 for none
	spoil func(line []byte) []byte
	conns map[net.Conn]bool
}

func newTap(t testing.TB, relay string) *tap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &tap{relay: relay, ln: ln, conns: map[net.Conn]bool{}}
	m.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			m.wg.Go(func() { m.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		m.mu.Lock()
		for c := range m.conns {
			c.Close()
		}
		m.mu.Unlock()
		m.wg.Wait()
	})
	return m
}

func (m *tap) addr() string { return m.ln.Addr().String() }

// set chooses the line to spoil on later connections.
func (m *tap) set(at int, spoil func(line []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.spoil = at, spoil
}

// pass reads one line, spoils it if it is the chosen one, and passes it on. A line spoiled to nil
// loses its newline, and the connection ends there.
func (m *tap) pass(dst net.Conn, lines *proto.LineReader, at int) bool {
	line, err := lines.ReadLine(proto.MaxLine)
	if err != nil {
		return false
	}
	m.mu.Lock()
	spoiled := line
	if m.at == at {
		spoiled = m.spoil(bytes.Clone(line))
	}
	m.mu.Unlock()
	if spoiled == nil {
		dst.Write(line)
		return false
	}
	return proto.WriteLine(dst, spoiled) == nil
}

func (m *tap) serve(client net.Conn) {
	defer client.Close()
	relay, err := net.Dial("tcp", m.relay)
	if err != nil {
		return
	}
	defer relay.Close()
	m.mu.Lock()
	m.conns[client], m.conns[relay] = true, true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.conns, client)
		delete(m.conns, relay)
		m.mu.Unlock()
	}()

	fromClient, fromRelay := proto.NewLineReader(client), proto.NewLineReader(relay)
	if !m.pass(relay, fromClient, 1) || !m.pass(client, fromRelay, 2) || !m.pass(relay, fromClient, 3) || !m.pass(client, fromRelay, 4) {
		return
	}
	go func() {
		for at := tapToClient; m.pass(client, fromRelay, at); at = 0 {
		}
		client.Close()
	}()
	for at := tapToRelay; m.pass(relay, fromClient, at); at = 0 {
	}
}

// copiedKeys is a Config.Key that makes one key a suite and hands out copies: erasing a copy leaves
// the others. Spoiled handshakes do not need fresh keys.
func copiedKeys(t testing.TB) func(context.Context, crypto.Suite) (crypto.KEMKey, error) {
	t.Helper()
	var mu sync.Mutex
	made := map[string]crypto.KEMKey{}
	return func(_ context.Context, s crypto.Suite) (crypto.KEMKey, error) {
		mu.Lock()
		defer mu.Unlock()
		if made[s.Name()] == nil {
			key, err := s.GenerateKey()
			if err != nil {
				return nil, err
			}
			made[s.Name()] = key
		}
		key := reflect.ValueOf(made[s.Name()]).Elem()
		spare := reflect.New(key.Type())
		spare.Elem().Set(key)
		return spare.Interface().(crypto.KEMKey), nil
	}
}

// flipScene is a real relay, a man in the middle, the needs of a real client, and a witness whom
// the relay tells who comes and leaves.
type flipScene struct {
	*tap
	t       testing.TB
	suite   string
	cred    *state.Credential
	print   string // the relay's fingerprint
	rt      *server
	witness *wire.Client
}

func newFlipScene(t *testing.T, suite string) *flipScene {
	t.Helper()
	rt := startRelay(t, func(cfg *relay.Config) { cfg.Key = copiedKeys(t) })
	who := wire.Delegate(t, wire.Person(t, "flipped"), "flipped")
	s := &flipScene{
		tap: newTap(t, rt.Addr), t: t, suite: suite, rt: rt, print: rt.Fingerprint(),
		cred: &state.Credential{Key: who.Key, Bundle: who.Bundle}, witness: rt.Join("witness"),
	}
	return s
}

// connect is the client's own: Dial and every reconnect call it.
func (s *flipScene) connect(ctx context.Context) (*client.Session, error) {
	check := func(fingerprint string) error {
		if fingerprint != s.print {
			return new(state.State).RelayChanged(s.addr(), s.print, fingerprint)
		}
		return nil
	}
	r := client.Relay{Addr: s.addr(), Dial: new(net.Dialer).DialContext, Ciphers: []string{s.suite}}
	return connect(ctx, &r, s.cred, proto.TakesMessages, check)
}

// connect runs the whole Connect handshake.
func connect(ctx context.Context, r *client.Relay, cred *state.Credential, takes string, check func(string) error) (*client.Session, error) {
	g, err := r.Greet(ctx)
	if err != nil {
		return nil, err
	}
	return g.Prove(cred, takes, client.Mailboxes{}, check)
}

// leave ends a session and waits for its goroutines.
func (s *flipScene) leave(sess *client.Session) {
	sess.Fail(nil)
	for range sess.In {
	}
	sess.Wait()
}

// wants connects with one line spoiled and checks that the client fails with one of these codes.
func (s *flipScene) wants(what string, at int, spoil func([]byte) []byte, codes ...proto.Code) {
	s.t.Helper()
	s.set(at, spoil)
	sess, err := s.connect(context.Background())
	if err == nil {
		s.leave(sess)
		s.t.Errorf("%s: connected", what)
		return
	}
	if e := fail.AsError(err); !slices.Contains(codes, e.Code) || e.Code == "" {
		s.t.Errorf("%s: %s (%v), want %v", what, e.Code, err, codes)
	}
}

// honest connects with nothing spoiled and returns the lines of connect.
func (s *flipScene) honest() (lines [7][]byte) {
	s.t.Helper()
	for at := 1; at <= 4; at++ {
		s.set(at, func(line []byte) []byte { lines[at] = line; return line })
		sess, err := s.connect(context.Background())
		if err != nil {
			s.t.Fatalf("an honest connection: %v", err)
		}
		s.leave(sess)
	}
	return lines
}

// nobody checks that the relay let in nobody whose line was spoiled.
func (s *flipScene) nobody(at int) {
	s.t.Helper()
	s.patient()
	if list := s.witness.List(""); list != "witness messages" {
		s.t.Errorf("with line %d spoiled the relay let in %s", at, list)
	}
}

// patient gives the witness time for its next line.
func (s *flipScene) patient() { s.witness.Conn.SetDeadline(time.Now().Add(wire.Timeout)) }

// alone waits until only the witness is on the relay.
func (s *flipScene) alone() {
	s.t.Helper()
	s.patient()
	deadline := time.Now().Add(wire.Timeout)
	for {
		list := s.witness.List("")
		if list == "witness messages" {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the relay has %s", list)
		}
	}
}

// left reads, as the witness, up to the other connection's leaving. Acks may come before it: that
// depends on the relay's writer.
func (s *flipScene) left() {
	s.t.Helper()
	m := s.witness.Next()
	for m.Type == proto.TypeAck {
		m = s.witness.Next()
	}
	if m.Type != proto.TypeDisconnect {
		s.t.Fatalf("the witness got %s", proto.MustMarshal(m.Header))
	}
}

// A client may fail with these codes when a byte in a field has changed on the way. "" stands for
// the bytes between the values. The relay's own codes reach it in clear.
var flipCodes = [5]map[string][]proto.Code{
	1: {
		"": {proto.Malformed}, "type": {proto.Malformed, proto.Unexpected}, "phase": {proto.Malformed, proto.Unexpected},
		"ciphers": {proto.Malformed, proto.NoCommonSuite}, "data": {proto.Malformed, proto.SignatureInvalid},
	},
	2: {
		"": {proto.Malformed}, "type": {proto.Malformed, proto.Unexpected}, "phase": {proto.Malformed, proto.Unexpected},
		"cipher": {proto.Malformed, proto.NoCommonSuite}, "data": {proto.Malformed, proto.SignatureInvalid},
		"public_key": {proto.Malformed, proto.SignatureInvalid}, "signature": {proto.Malformed, proto.SignatureInvalid},
	},
	3: {
		"": {proto.Malformed}, "type": {proto.Malformed, proto.Unexpected}, "phase": {proto.Malformed, proto.Unexpected},
		"data": {proto.Malformed, proto.DecryptFailed}, "payload": {proto.Malformed, proto.DecryptFailed},
	},
	4: {
		"": {proto.Malformed}, "type": {proto.Malformed, proto.Unexpected}, "phase": {proto.Malformed, proto.Unexpected},
		"payload": {proto.Malformed, proto.DecryptFailed},
	},
}

// eachSuiteAtOnce runs a test for every suite, one beside the other.
func eachSuiteAtOnce(t *testing.T, f func(t *testing.T, suite string)) {
	for _, suite := range crypto.SuiteNames() {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			f(t, suite)
		})
	}
}

func TestAttack12ConnectBytes(t *testing.T) {
	eachSuiteAtOnce(t, func(t *testing.T, suite string) {
		s := newFlipScene(t, suite)
		lines := s.honest()
		for at := 1; at <= 4; at++ {
			sweep := spoil.NewSweep(t, fmt.Sprintf("%s, connect phase %d: bytes", suite, at))
			tried := 0
			for i := range sweep.Positions(len(lines[at]), 50) {
				if tried++; tried%500 == 0 && at < 4 {
					s.nobody(at)
				}
				codes := flipCodes[at][spoil.FieldAt(t, lines[at], i)]
				s.wants(fmt.Sprintf("phase %d, byte %d", at, i), at, func(line []byte) []byte { return spoil.Byte(line, min(i, len(line)-1)) },
					codes...)
			}
			if at < 4 { // with line 4 spoiled the relay has let the client in
				s.nobody(at)
			}
		}
		s.alone()
		s.honest()
	})
}

func TestAttack12ConnectFields(t *testing.T) {
	eachSuiteAtOnce(t, func(t *testing.T, suite string) {
		s := newFlipScene(t, suite)
		lines := s.honest()
		for at := 1; at <= 4; at++ {
			sweep := spoil.NewSweep(t, fmt.Sprintf("%s, connect phase %d: fields", suite, at))
			// A changed value of the right type goes as far as a flipped byte in that field.
			var codes []proto.Code
			for _, c := range flipCodes[at] {
				codes = append(codes, c...)
			}
			for what, bad := range sweep.Forms(t, lines[at], 20) {
				s.wants(fmt.Sprintf("phase %d, %s", at, what), at, func([]byte) []byte { return bad }, codes...)
			}
		}
		s.alone()
		s.honest()
	})
}

// TestAttack12SealedFields: the sealed part of phase 3, spoiled by a client with a card, and that
// of phase 4, by a relay.
func TestAttack12SealedFields(t *testing.T) {
	rt := startRelay(t)
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	var exact []byte
	try := func(sealed func([]byte) []byte) error {
		conn := rt.Dial()
		defer conn.Close()
		_, err := wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Sealed: sealed})
		return err
	}
	if err := try(func(b []byte) []byte { exact = bytes.Clone(b); return b }); err != nil {
		t.Fatal(err)
	}
	refused := []proto.Code{proto.Malformed, proto.BundleMalformed, proto.DelegationInvalid, proto.SignatureInvalid}
	check := func(what string, err error) {
		t.Helper()
		if told, ok := errors.AsType[*proto.Error](err); !ok || !slices.Contains(refused, told.Code) {
			t.Errorf("%s: %v, want one of %v", what, err, refused)
		}
	}
	sweep := spoil.NewSweep(t, "what connect phase 3 seals: fields")
	for what, bad := range sweep.Forms(t, exact, 60) {
		check(what, try(func([]byte) []byte { return bad }))
	}
	sweep = spoil.NewSweep(t, "what connect phase 3 seals: bytes")
	for i := range sweep.Positions(len(exact), 60) {
		check(fmt.Sprint("byte ", i), try(func(b []byte) []byte { return spoil.Byte(b, min(i, len(b)-1)) }))
	}
	if list := rt.Join("bruno").List(""); list != "bruno messages" {
		t.Errorf("the relay let in %s", list)
	}

	relay := wire.NewEvilRelay(t)
	person := &state.Credential{Key: cred.Key, Bundle: cred.Bundle}
	dial := func() error {
		r := client.Relay{Addr: relay.Ln.Addr().String(), Dial: new(net.Dialer).DialContext, Ciphers: []string{crypto.SuiteMLKEM}}
		sess, err := connect(context.Background(), &r, person, proto.TakesNone, func(string) error { return nil })
		if err == nil {
			(&flipScene{}).leave(sess)
		}
		return err
	}
	spoilWelcome := func(f func([]byte) []byte) { relay.Do(func() { relay.Welcome = f }) }
	spoilWelcome(func(b []byte) []byte { exact = bytes.Clone(b); return b })
	if err := dial(); err != nil {
		t.Fatal(err)
	}
	sweep = spoil.NewSweep(t, "what connect phase 4 seals: fields")
	for what, bad := range sweep.Forms(t, exact, 60) {
		spoilWelcome(func([]byte) []byte { return bad })
		if err := dial(); err == nil || fail.AsError(err).Code != proto.Malformed {
			t.Errorf("phase 4, %s: %v", what, err)
		}
	}
}

// TestAttack12ConnectUnended: a line's newline does not come before the connection's end.
func TestAttack12ConnectUnended(t *testing.T) {
	s := newFlipScene(t, crypto.SuiteMLKEM)
	for at := 1; at <= 4; at++ {
		s.wants(fmt.Sprintf("phase %d without its end", at), at, func([]byte) []byte { return nil }, proto.Lost)
	}
	s.alone()
	s.honest()
}

// secureBody is carried by the line that TestAttack12SecureBytes spoils.
const secureBody = "this is what would be sealed end to end"

// TestAttack12SecureBytes: a spoiled first secure line ends the connection, and its content reaches
// nobody.
func TestAttack12SecureBytes(t *testing.T) {
	eachSuiteAtOnce(t, func(t *testing.T, suite string) {
		s := newFlipScene(t, suite)
		header := proto.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: s.witness.Name, DstID: s.witness.ID})
		payload := proto.AppendPayload(nil, header, nil, []byte(secureBody))
		var size int
		talk := func(at int, spoil func([]byte) []byte) (*client.Session, []client.Inbound) {
			s.patient()
			s.set(at, spoil)
			sess, err := s.connect(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if at == tapToClient {
				s.witness.Say(&proto.Header{Type: proto.TypeClientCom, Dst: s.cred.Bundle.Name, DstID: sess.ID}, []byte(secureBody))
			} else {
				sess.Send(payload, nil, nil)
			}
			var got []client.Inbound
			for in := range sess.In {
				got = append(got, in)
				if in.Header.Type == proto.TypeClientCom || in.Header.Type == proto.TypeAck {
					break // the honest one
				}
			}
			return sess, got
		}
		for _, at := range []int{tapToRelay, tapToClient} {
			honest := func() {
				t.Helper()
				sess, got := talk(at, func(line []byte) []byte { size = len(line); return line })
				if len(got) != 1 || at == tapToClient && string(got[0].Body) != secureBody {
					t.Fatalf("an honest line: %v, %v", got, sess.Reason())
				}
				if at == tapToRelay {
					m := s.witness.Next()
					for m.Type == proto.TypeAck {
						m = s.witness.Next()
					}
					if m.Type != proto.TypeClientCom || string(m.Body) != secureBody {
						t.Fatalf("an honest line: %+v", m)
					}
				}
				s.leave(sess)
				s.left()
			}
			honest()
			sweep := spoil.NewSweep(t, fmt.Sprintf("%s, secure line %d: bytes", suite, at))
			for i := range sweep.Positions(size, 30) {
				sess, got := talk(at, func(line []byte) []byte { return spoil.Byte(line, min(i, len(line)-1)) })
				var told *proto.Error
				if at == tapToRelay {
					if len(got) == 1 && got[0].Header.Type == proto.TypeError {
						told = &proto.Error{Code: got[0].Header.Code}
					}
					if told == nil || told.Code != proto.DecryptFailed && told.Code != proto.Malformed {
						t.Errorf("to the relay, byte %d: the client got %v", i, got)
					}
				} else {
					if len(got) != 0 || sess.Reason() == nil || sess.Reason() == io.EOF {
						t.Errorf("to the client, byte %d: it got %v, and ended with %v", i, got, sess.Reason())
					}
					s.left()
				}
				s.leave(sess)
			}
			honest() // and nothing before it has come
		}
	})
}
