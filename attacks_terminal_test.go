package chatsecure

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Row 23 on the text output of the client as it is shipped: whatever a peer, a
// relay or an authority puts into a string, a terminal acts on none of it.

// hostile is what a terminal acts on or a reader does not see: clear the
// screen, write the clipboard, go back, turn the text round, take no room.
// shown is what is to be shown in its place.
const (
	hostile = "\x1b[2J\x1b]52;c;ZXZpbA==\a\r\b\u202e\u200bend"
	shown   = `\x1b[2J\x1b]52;c;ZXZpbA==\x07\x0d\x08\u202e\u200bend`
)

// terminalTown is a town, and the client as it is shipped.
type terminalTown struct {
	*testTown
	programs *trustPrograms
}

// TestAttack23TextOutput builds the client once for all places where a string
// of somebody else's is shown.
func TestAttack23TextOutput(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin+"/", "./cmd/client").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for name, test := range map[string]func(*testing.T, *terminalTown){
		"MessageAndCertificate": terminalMessage,
		"RelayInClear":          terminalRelayInClear,
		"RelaySealed":           terminalRelaySealed,
		"RelayLive":             terminalRelayLive,
		"PeerRefuses":           terminalPeerRefuses,
		"PeerCutsThePipe":       terminalPipe,
	} {
		t.Run(name, func(t *testing.T) {
			town := newTown(t, "bob")
			town.issue("alice", subject(hostile, "10000000"))
			ca := filepath.Join(town.dir, "lab", "ca-bundle.pem")
			test(t, &terminalTown{town, &trustPrograms{t: t, bin: bin, dir: t.TempDir(), ca: ca}})
		})
	}
}

// client is the built client of a person of the town.
func (w *terminalTown) client(name string, args ...string) *exec.Cmd {
	base := []string{"-crl", filepath.Join(w.dir, "lab", "crl"), "-fetch=false"}
	return w.programs.client(name, filepath.Join(w.dir, "lab", name), w.addr, append(base, args...)...)
}

// evil puts an evil relay in the place of the town's.
func (w *terminalTown) evil() *evilRelay {
	w.stop()
	r := newEvilRelay(w.t)
	w.addr = r.ln.Addr().String()
	return r
}

// clean checks that nothing in an output could act on a terminal or be
// overlooked, and that it says these things.
func clean(t *testing.T, out string, says ...string) {
	t.Helper()
	if !utf8.ValidString(out) {
		t.Errorf("not UTF-8: %q", out)
	}
	for _, r := range out {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			t.Errorf("%U in %q", r, out)
			break
		}
	}
	for _, want := range says {
		if !strings.Contains(out, want) {
			t.Errorf("nothing says %q in %q", want, out)
		}
	}
}

func waitsForPeers(cfg *ClientConfig) { cfg.WaitPeer = relayTestTimeout }

func terminalMessage(t *testing.T, w *terminalTown) {
	alice := w.testTown.client("alice", waitsForPeers)
	whois := w.programs.run(w.client("bob", "whois", "alice"))
	clean(t, whois.stdout, shown)
	clean(t, whois.stderr)
	if whois.status != 0 {
		t.Errorf("whois: %+v", whois)
	}
	bob := w.programs.start(w.client("bob", "recv", "-n", "1"))
	id := alice.mustSend(hostile, "bob")
	out, _ := io.ReadAll(bob.out)
	bob.cmd.Wait()
	if want := "alice: " + shown + "\n"; string(out) != want || bob.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("bob ended with %v and was shown %q, want %q", bob.cmd.ProcessState, out, want)
	}
	clean(t, bob.stderr.String(), shown, "is new here") // the certificate's names
	alice.leave()

	// And what is kept of it, looked at later.
	later := func(says []string, args ...string) trustResult {
		t.Helper()
		r := w.programs.run(w.client("bob", args...))
		clean(t, r.stdout, says...)
		clean(t, r.stderr)
		if r.status != 0 {
			t.Errorf("%s: %+v", args, r)
		}
		return r
	}
	later([]string{"alice", shown}, "history")
	later([]string{"all of it holds"}, "history", "-verify")
	later([]string{"alice", shown}, "trust")
	proof := w.programs.run(w.client("bob", "history", "-export", id)).stdout // exact, as a program reads it
	file := filepath.Join(w.programs.dir, "proof")
	if err := os.WriteFile(file, []byte(proof), 0o600); err != nil {
		t.Fatal(err)
	}
	later([]string{"alice", shown}, "verify", file)
}

func terminalRelayInClear(t *testing.T, w *terminalTown) {
	for _, e := range []*proto.ClearError{
		{Type: proto.TypeError, Code: proto.Busy, Message: hostile},
		{Type: proto.TypeError, Code: hostile, Message: hostile},
	} {
		w.addr = answering(t, func(conn net.Conn, _ []byte) { conn.Write(append(canon.MustMarshal(e), '\n')) })
		r := w.programs.run(w.client("bob", "list"))
		clean(t, r.stderr, "client: error: ", shown)
		if want := map[proto.Code]int{proto.Busy: 3}[e.Code]; r.status == 0 || want != 0 && r.status != want || r.stdout != "" {
			t.Errorf("%.5s: %+v", e.Code, r)
		}
	}
}

func terminalRelaySealed(t *testing.T, w *terminalTown) {
	relay := w.evil()
	for what, c := range map[string]struct {
		welcome proto.Welcome
		says    string
	}{
		"an error":        {proto.Welcome{Error: &proto.Error{Code: proto.NameTaken, Message: hostile}}, shown},
		"a connection id": {proto.Welcome{Done: "ok", ID: hostile}, "malformed"},
	} {
		relay.do(func() { relay.welcome = func([]byte) []byte { return canon.MustMarshal(&c.welcome) } })
		r := w.programs.run(w.client("bob", "list"))
		clean(t, r.stderr, "client: error: ", c.says)
		if r.status == 0 || r.stdout != "" {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// terminalRelayLive has the relay speak to a client that is connected: of a
// peer that is gone, of something that passes, and of what is final.
func terminalRelayLive(t *testing.T, w *terminalTown) {
	relay := w.evil()
	alice := w.testTown.client("alice", waitsForPeers)
	bob := w.programs.start(w.client("bob", "recv"))
	alice.mustSend("hello", "bob")
	alice.mustSettle(StatusRead)
	relay.do(func() {
		c := relay.named("bob")
		relay.write(c, &proto.Header{Type: proto.TypeError, Code: proto.Gone, DstID: alice.Conn(), Message: hostile}, nil)
		relay.write(c, &proto.Header{Type: proto.TypeError, Code: proto.Busy, Message: hostile}, nil)
		relay.write(c, &proto.Header{Type: proto.TypeError, Code: proto.CertificateRevoked, Message: hostile}, nil)
	})
	out, _ := io.ReadAll(bob.out)
	bob.cmd.Wait()
	if string(out) != "alice: hello\n" || bob.cmd.ProcessState.ExitCode() != 4 {
		t.Errorf("bob ended with %v and was shown %q", bob.cmd.ProcessState, out)
	}
	stderr := bob.stderr.String()
	clean(t, stderr, "the relay refuses this connection: "+shown, "cut short: "+shown)
	if n := strings.Count(stderr, shown); n < 4 { // the certificate's too
		t.Errorf("only %d of 4 are shown in %q", n, stderr)
	}
	// A program that uses the library gets the sentence as safe.
	relay.do(func() {
		relay.write(relay.named("alice"), &proto.Header{Type: proto.TypeError, Code: proto.CertificateRevoked, Message: hostile}, nil)
	})
	e := alice.awaitEnd()
	if e.Code != proto.CertificateRevoked {
		t.Errorf("alice ended with %v", e)
	}
	clean(t, e.Message, shown)
}

func terminalPeerRefuses(t *testing.T, w *terminalTown) {
	relay := w.evil()
	w.testTown.client("bob")
	relay.tampering(func(l evilLine) []evilLine {
		if crypto.PeekPhase(l.body) != "p1" {
			return honest(l)
		}
		return []evilLine{{from: l.to, to: l.from, header: proto.Header{Type: proto.TypeError, Code: proto.CertificateUntrusted, Message: hostile}}}
	})
	r := w.programs.run(w.client("alice", "send", "bob", "hello"))
	clean(t, r.stderr, "bob refuses: "+shown)
	if r.status != 4 || r.stdout != "" {
		t.Errorf("alice: %+v", r)
	}
}

func terminalPipe(t *testing.T, w *terminalTown) {
	alice := w.testTown.client("alice", takesPipe)
	bob := w.programs.start(w.client("bob", "pipe", "-wait-peer", "30s", "alice"))
	in, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := alice.Pipe(context.Background(), "bob", in, new(bytes.Buffer), nil)
		in.CloseWithError(err) // or what feeds it waits for ever
		done <- err
	}()
	if _, err := feed.Write([]byte("there\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bob.out.ReadString('\n'); line != "there\n" {
		t.Fatalf("bob got %q, %v; he said %s", line, err, bob.stderr.String())
	}
	alice.engine.do(context.Background(), func() { alice.engine.pipe.abort(hostile) })
	out, _ := io.ReadAll(bob.out)
	bob.cmd.Wait()
	if len(out) != 0 || bob.cmd.ProcessState.ExitCode() == 0 {
		t.Errorf("bob ended with %v and got %q more", bob.cmd.ProcessState, out)
	}
	clean(t, bob.stderr.String(), "cut short", shown)
	feed.Close()
	alice.leave()
	<-done
}
