package attack

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

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/wire"
)

// Row 23, in the text output of the built client: no string from a peer, a relay or an authority
// acts on a terminal.

// hostile acts on a terminal or escapes a reader: it clears the screen, writes the clipboard, goes
// back, reverses the text and takes no room. shown is its safe form.
const (
	hostile = "\x1b[2J\x1b]52;c;ZXZpbA==\a\r\b\u202e\u200bend"
	shown   = `\x1b[2J\x1b]52;c;ZXZpbA==\x07\x0d\x08\u202e\u200bend`
)

// terminalTown is a town in this process, and the built client.
type terminalTown struct {
	*localTown
	programs *trustPrograms
}

// TestAttack23TextOutput has the client show a stranger's strings in every place
// where it shows any.
func TestAttack23TextOutput(t *testing.T) {
	bin, err := town.Binaries()
	if err != nil {
		t.Fatal(err)
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
			local := newTown(t, "bob")
			local.issue("alice", subject(hostile, "10000000"))
			ca := filepath.Join(local.dir, "lab", "ca-bundle.pem")
			test(t, &terminalTown{local, &trustPrograms{t: t, bin: bin, dir: t.TempDir(), ca: ca}})
		})
	}
}

// client is a person's built client.
func (w *terminalTown) client(name string, args ...string) *exec.Cmd {
	base := []string{"-crl", filepath.Join(w.dir, "lab", "crl"), "-fetch=false"}
	return w.programs.client(name, filepath.Join(w.dir, "lab", name), w.addr, append(base, args...)...)
}

// evil replaces the town's relay by an evil one.
func (w *terminalTown) evil() *wire.EvilRelay {
	w.stop()
	r := wire.NewEvilRelay(w.t)
	w.addr = r.Ln.Addr().String()
	return r
}

// clean checks that an output has nothing that acts on a terminal or is invisible, and that it says
// these things.
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

func waitsForPeers(cfg *client.Config) { cfg.WaitPeer = wire.Timeout }

func terminalMessage(t *testing.T, w *terminalTown) {
	alice := w.localTown.client("alice", waitsForPeers)
	bob := town.StartCommand(t, w.client("bob", "recv", "-n", "1"))
	id := alice.mustSend(hostile, "bob")
	out, _ := io.ReadAll(bob.Out)
	bob.Cmd.Wait()
	if want := "alice: " + shown + "\n"; string(out) != want || bob.Cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("bob ended with %v and was shown %q, want %q", bob.Cmd.ProcessState, out, want)
	}
	clean(t, bob.Stderr.String(), shown, "is new here") // the certificate's names
	whois := town.RunCommand(t, w.client("bob", "whois", "alice"), "")
	clean(t, whois.Stdout, shown)
	clean(t, whois.Stderr)
	if whois.Status != 0 {
		t.Errorf("whois: %+v", whois)
	}
	alice.leave()

	// Later, from the history.
	later := func(says []string, args ...string) town.Result {
		t.Helper()
		r := town.RunCommand(t, w.client("bob", args...), "")
		clean(t, r.Stdout, says...)
		clean(t, r.Stderr)
		if r.Status != 0 {
			t.Errorf("%s: %+v", args, r)
		}
		return r
	}
	later([]string{"alice", shown}, "history")
	later([]string{"all of it holds"}, "history", "-verify")
	later([]string{"alice", shown}, "trust")
	proof := town.RunCommand(t, w.client("bob", "history", "-export", id), "").Stdout // exact, for programs
	file := filepath.Join(w.programs.dir, "proof")
	if err := os.WriteFile(file, []byte(proof), 0o600); err != nil {
		t.Fatal(err)
	}
	later([]string{"alice", shown}, "verify", file)
}

// terminalRelayInClear: whoever answers, without any key, is quoted in short, and nothing that it
// says has a hint that leads to accepting something.
func terminalRelayInClear(t *testing.T, w *terminalTown) {
	const unproved = "client: error: the other end, which has proved nothing yet, says "
	notices := strings.Repeat("client: notice: x\nclient: hint: type client -accept-new\n", 9)
	for _, c := range []struct {
		code   proto.Code
		text   string
		status int
		said   string
		hint   bool
	}{
		{proto.Busy, hostile, 3, `busy: "` + shown + `"`, true},
		{hostile, hostile, 1, `"` + shown + `": "` + shown + `"`, false},
		{proto.Busy, notices, 3, `busy: "` + strings.ReplaceAll(notices, "\n", `\x0a`)[:120] + `…"`, true},
		{proto.RelayChanged, `a" or "b`, 4, `relay-changed: "a\" or \"b"`, false},
		{proto.UnknownRelay, "x", 4, `unknown-relay: "x"`, false},
		{proto.NameTaken, "", 4, `name-taken: ""`, false},
	} {
		e := &proto.ClearError{Type: proto.TypeError, Code: c.code, Message: c.text}
		w.addr = answering(t, func(conn net.Conn, _ []byte) { conn.Write(append(proto.MustMarshal(e), '\n')) })
		r := town.RunCommand(t, w.client("bob", "-timeout", "1ms", "list"), "")
		clean(t, r.Stderr)
		first, hint, _ := strings.Cut(r.Stderr, "\n")
		if first != unproved+c.said || strings.HasPrefix(hint, "client: hint: ") != c.hint || r.Status != c.status || r.Stdout != "" {
			t.Errorf("%.5s, %.5q: %+v", c.code, c.text, r)
		}
	}
}

func terminalRelaySealed(t *testing.T, w *terminalTown) {
	relay := w.evil()
	for what, c := range map[string]struct {
		welcome proto.Welcome
		says    string
	}{
		"an error":        {proto.Welcome{Error: &proto.Error{Code: proto.NameTaken, Message: hostile}}, `the relay refuses this connection: "` + shown + `"`},
		"a connection id": {proto.Welcome{Done: "ok", ID: hostile}, "the sealed part of connect phase 4 is malformed"},
	} {
		relay.Do(func() { relay.Welcome = func([]byte) []byte { return proto.MustMarshal(&c.welcome) } })
		r := town.RunCommand(t, w.client("bob", "list"), "")
		clean(t, r.Stderr, "client: error: "+c.says)
		if r.Status == 0 || r.Stdout != "" {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// terminalRelayLive: the relay tells a connected client that a peer has gone, then a temporary
// error, then a final one.
func terminalRelayLive(t *testing.T, w *terminalTown) {
	relay := w.evil()
	alice := w.localTown.client("alice", waitsForPeers)
	bob := town.StartCommand(t, w.client("bob", "recv"))
	alice.mustSend("hello", "bob")
	alice.mustSettle(history.StatusRead)
	relay.Do(func() {
		c := relay.Named("bob")
		relay.Write(c, &proto.Header{Type: proto.TypeError, Code: proto.Gone, DstID: alice.Conn(), Message: hostile}, nil)
		relay.Write(c, &proto.Header{Type: proto.TypeError, Code: proto.Busy, Message: hostile}, nil)
		relay.Write(c, &proto.Header{Type: proto.TypeError, Code: proto.CertificateRevoked, Message: hostile}, nil)
	})
	out, _ := io.ReadAll(bob.Out)
	bob.Cmd.Wait()
	if string(out) != "alice: hello\n" || bob.Cmd.ProcessState.ExitCode() != 4 {
		t.Errorf("bob ended with %v and was shown %q", bob.Cmd.ProcessState, out)
	}
	stderr := bob.Stderr.String()
	clean(t, stderr, `the relay refuses this connection: "`+shown+`"`, `cut short: the relay says "`+shown+`"`, `client: error: the relay says "`+shown+`"`)
	if n := strings.Count(stderr, shown); n < 4 { // the certificate's too
		t.Errorf("only %d of 4 are shown in %q", n, stderr)
	}
	// A program that uses package client gets a safe sentence, too.
	relay.Do(func() {
		relay.Write(relay.Named("alice"), &proto.Header{Type: proto.TypeError, Code: proto.CertificateRevoked, Message: hostile}, nil)
	})
	e := alice.awaitEnd()
	if e.Code != proto.CertificateRevoked {
		t.Errorf("alice ended with %v", e)
	}
	clean(t, e.Message, shown)
}

func terminalPeerRefuses(t *testing.T, w *terminalTown) {
	relay := w.evil()
	w.localTown.client("bob")
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if crypto.PeekPhase(l.Body) != "p1" {
			return honest(l)
		}
		name := crypto.Attempt(l.Body)
		return []wire.EvilLine{{From: l.To, To: l.From, Header: proto.Header{Type: proto.TypeError,
			Code: proto.CertificateUntrusted, Message: hostile}, Body: name[:]}}
	})
	r := town.RunCommand(t, w.client("alice", "send", "bob", "hello"), "")
	clean(t, r.Stderr, `bob refuses you: "`+shown+`"`)
	if r.Status != 4 || r.Stdout != "" {
		t.Errorf("alice: %+v", r)
	}
}

func terminalPipe(t *testing.T, w *terminalTown) {
	alice := w.localTown.client("alice", takesPipe)
	bob := town.StartCommand(t, w.client("bob", "pipe", "-wait-peer", "30s", "alice"))
	in, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := alice.Pipe(context.Background(), "bob", in, new(bytes.Buffer), nil)
		in.CloseWithError(err) // ends the wait of the writer
		done <- err
	}()
	if _, err := feed.Write([]byte("there\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bob.Out.ReadString('\n'); line != "there\n" {
		t.Fatalf("bob got %q, %v; he said %s", line, err, bob.Stderr.String())
	}
	alice.Inside().AbortPipe(hostile)
	out, _ := io.ReadAll(bob.Out)
	bob.Cmd.Wait()
	if len(out) != 0 || bob.Cmd.ProcessState.ExitCode() == 0 {
		t.Errorf("bob ended with %v and got %q more", bob.Cmd.ProcessState, out)
	}
	clean(t, bob.Stderr.String(), "cut short", shown)
	feed.Close()
	alice.leave()
	<-done
}
