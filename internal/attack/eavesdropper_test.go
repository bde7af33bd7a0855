package attack

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab/town"
)

// eavesdropper stands between clients and the relay and keeps all bytes that pass.
type eavesdropper struct {
	t        testing.TB
	listener net.Listener
	passing  sync.WaitGroup

	mu       sync.Mutex
	up, down bytes.Buffer // to the relay, and from it
}

// eavesdrop listens in the relay's place.
func eavesdrop(w *town.Town) *eavesdropper {
	w.T.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.T.Fatal(err)
	}
	p := &eavesdropper{t: w.T, listener: listener}
	w.T.Cleanup(func() { listener.Close() })
	p.passing.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			relay, err := net.Dial("tcp", w.Addr)
			if err != nil {
				client.Close()
				continue
			}
			p.passing.Go(func() { p.pass(relay, client, &p.up) })
			p.passing.Go(func() { p.pass(client, relay, &p.down) })
		}
	})
	return p
}

// pass copies one direction of a connection.
func (p *eavesdropper) pass(to, from net.Conn, kept *bytes.Buffer) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		kept.Write(buf[:n])
		p.mu.Unlock()
		if _, err2 := to.Write(buf[:n]); err != nil || err2 != nil {
			return
		}
	}
}

// directions waits until both sides have hung up and returns all that passed, by direction.
func (p *eavesdropper) directions() map[string][]byte {
	p.listener.Close()
	p.passing.Wait()
	return map[string][]byte{"to the relay": p.up.Bytes(), "from the relay": p.down.Bytes()}
}

var base64Run = regexp.MustCompile(`[A-Za-z0-9+/]{8,}={0,2}`)

// shows reports whether a text occurs in tapped bytes, in either case: plain, in base64, or in
// base64 inside base64.
func shows(tapped, text []byte) bool {
	if bytes.Contains(bytes.ToLower(tapped), bytes.ToLower(text)) {
		return true
	}
	for _, run := range base64Run.FindAll(tapped, -1) {
		inner, err := base64.StdEncoding.DecodeString(string(run))
		if err == nil && shows(inner, text) {
			return true
		}
	}
	return false
}

// TestNothingPassesInClear listens on both hops of a conversation, in every suite: neither texts
// nor names nor certificate fields can be read there.
func TestNothingPassesInClear(t *testing.T) {
	// These names are too long to occur in ciphertext by chance.
	const alice, bob, text = "alice-pimenta", "bob-figueiredo", "o texto que ninguém mais lê"
	w := town.New(t, town.People(alice, bob))
	secrets := map[string][]byte{"the text": []byte(text), "the sender's name": []byte(alice), "the recipient's name": []byte(bob)}
	for _, h := range w.PKI.Holders() {
		subject := h.Leaf.Subject
		secrets[h.Name+"'s common name"] = []byte(subject.CommonName)
		secrets[h.Name+"'s civil number"] = []byte(strings.TrimPrefix(subject.SerialNumber, "BI"))
		secrets[h.Name+"'s subject"] = h.Leaf.RawSubject
		secrets[h.Name+"'s issuer"] = []byte(h.Leaf.Issuer.CommonName)
	}
	for what, secret := range secrets {
		nested := fmt.Sprintf(`{"payload":"%s"}`, base64.StdEncoding.EncodeToString(fmt.Appendf(nil,
			`{"x509":"%s"}`, base64.StdEncoding.EncodeToString(secret))))
		if len(secret) < 8 || !shows([]byte("{"+string(secret)+"}"), secret) || !shows([]byte(nested), secret) {
			t.Fatalf("%s, %q, would not be found", what, secret)
		}
	}
	for _, suite := range crypto.SuiteNames() {
		t.Run(suite, func(t *testing.T) {
			here, there := eavesdrop(w), eavesdrop(w)
			as := func(hop *eavesdropper, args ...string) []string {
				return append([]string{"-relay", hop.listener.Addr().String(), "-ciphers", suite}, args...)
			}
			// The relay makes RSA keys one after the other: the first may not be ready yet.
			settled := func(name string, hop *eavesdropper) {
				for deadline := time.Now().Add(town.Patience); ; {
					r := w.Run("", name, as(hop, "list")...)
					if r.Status == 0 {
						return
					}
					if r.Status != 3 || time.Now().After(deadline) {
						t.Fatalf("%s: %+v", name, r)
					}
				}
			}
			settled(bob, there)
			recv := w.Start(bob, as(there, "recv", "-n", "1")...)
			settled(alice, here)
			w.Must("", alice, as(here, "send", "-wait", "read", "-wait-peer", "30s", bob, text)...)
			if r := recv.End(); r.Status != 0 || r.Stdout != alice+": "+text+"\n" {
				t.Fatalf("bob: %+v", r)
			}
			w.Run("", alice, as(here, "whois", bob)...)
			for hop, tapped := range map[string]*eavesdropper{"alice's hop": here, "bob's hop": there} {
				for direction, data := range tapped.directions() {
					for _, clear := range []string{`"type":"connect"`, `"type":"secure"`} {
						if !shows(data, []byte(clear)) {
							t.Errorf("%s, %s: %s is not there, in %d bytes", hop, direction, clear, len(data))
						}
					}
					for what, secret := range secrets {
						if shows(data, secret) {
							t.Errorf("%s, %s: %s can be read", hop, direction, what)
						}
					}
				}
			}
		})
	}
}

// secureParts returns the payloads of the tapped secure lines, opened from base64, and the texts of
// their bodies.
func secureParts(t *testing.T, tapped []byte) (payloads [][]byte, texts []string) {
	t.Helper()
	for line := range bytes.Lines(tapped) {
		if !bytes.HasPrefix(line, []byte(`{"type":"secure"`)) {
			continue
		}
		s, err := proto.ScanSecure(bytes.TrimSuffix(bytes.Clone(line), []byte("\n")))
		if err != nil {
			t.Fatalf("%v: %.200q", err, line)
		}
		payloads = append(payloads, s.Payload)
		if s.Text != nil {
			texts = append(texts, string(s.Text))
		}
	}
	return payloads, texts
}

// sharedWindow returns 12 bytes that are in payloads on both sides of the relay, or nothing.
func sharedWindow(these, those [][]byte) []byte {
	const window = 12
	seen := map[[window]byte]bool{}
	for _, p := range these {
		for i := 0; i+window <= len(p); i++ {
			seen[[window]byte(p[i:])] = true
		}
	}
	for _, p := range those {
		for i := 0; i+window <= len(p); i++ {
			if seen[[window]byte(p[i:])] {
				return p[i : i+window]
			}
		}
	}
	return nil
}

// TestOnlyPipesAreLinked listens on both sides of the relay. A pipe's sealed bytes are the same text
// there, in order. Nothing else is: handshakes, texts, receipts and the headers of a pipe have no 12
// bytes in common.
func TestOnlyPipesAreLinked(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	input := make([]byte, 50_000) // what a system's pipe holds
	rand.Read(input)
	for _, c := range []struct {
		name        string
		here, there []string
		input       string
		pipe        bool
	}{
		{"a text", []string{"send", "-wait", "read", "-wait-peer", "30s", "bob", strings.Repeat("a text that is not linked. ", 100)}, []string{"recv", "-n", "1"}, "", false},
		{"a pipe", []string{"pipe", "-send", "-wait-peer", "30s", "bob"}, []string{"pipe", "-recv", "-wait-peer", "30s", "alice"}, string(input), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			here, there := eavesdrop(w), eavesdrop(w)
			via := func(hop *eavesdropper, args []string) []string {
				return append([]string{"-relay", hop.listener.Addr().String(), "-accept-new"}, args...)
			}
			recv := w.Start("bob", via(there, c.there)...)
			w.Must(c.input, "alice", via(here, c.here)...)
			if r := recv.End(); r.Status != 0 || c.pipe && r.Stdout != c.input {
				t.Fatalf("bob: %d, %.300s", r.Status, r.Stderr)
			}
			up, down := here.directions(), there.directions()
			linked := 0
			for _, way := range [][2][]byte{
				{up["to the relay"], down["from the relay"]}, {down["to the relay"], up["from the relay"]},
			} {
				these, sent := secureParts(t, way[0])
				those, came := secureParts(t, way[1])
				if len(these) < 3 || len(those) < 3 {
					t.Fatalf("%d lines on this side, %d on that", len(these), len(those))
				}
				if shared := sharedWindow(these, those); shared != nil {
					t.Errorf("both sides have %x in a payload", shared)
				}
				if !slices.Equal(sent, came) {
					t.Errorf("%d bodies on this side, %d on that, or others", len(sent), len(came))
				}
				for _, text := range sent {
					linked += len(text)
				}
			}
			if (linked > len(c.input)) != c.pipe {
				t.Errorf("%d characters are equal on both sides", linked)
			}
		})
	}
}
