package attack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/relay"
	"chatsecure/testdata/lab/wire"
)

// These tests hold relay and client against testdata/second_client.py, which was written from
// PROTOCOL.md alone. Where the two disagree, the text or the code is wrong.

const secondPython = "/usr/bin/python3" // the system's, with Debian's python3-cryptography

var (
	secondScript = filepath.Join(root, "testdata", "second_client.py")
	cryptoData   = filepath.Join(root, "crypto", "testdata")
	historyData  = filepath.Join(root, "internal", "history", "testdata")
)

// needPython checks that the second client can run. Without its Python library the tests fail,
// unless CHATSECURE_NO_PYTHON=1 leaves them out.
func needPython(t *testing.T) {
	t.Helper()
	if os.Getenv("CHATSECURE_NO_PYTHON") == "1" {
		t.Skip("CHATSECURE_NO_PYTHON=1: the second client was NOT run, so nothing here shows that PROTOCOL.md is what the code does")
	}
	if out, err := exec.Command(secondPython, "-c", "import cryptography").CombinedOutput(); err != nil {
		t.Fatalf("the second client needs %s with python3-cryptography: %v\n%sInstall it with testdata/deps.sh, or set CHATSECURE_NO_PYTHON=1", secondPython, err, out)
	}
	for _, pattern := range []string{filepath.Join(root, "testdata", "second_*.py"), filepath.Join(cryptoData, "*"), filepath.Join(historyData, "*")} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			if _, err := os.ReadFile(file); err != nil { // go test's cache depends on files that are read
				t.Fatal(err)
			}
		}
	}
	t.Parallel() // Python and its RSA keys take most of the time
}

// secondTown is a town in which the second client can run.
func secondTown(t *testing.T, names ...string) *localTown {
	t.Helper()
	needPython(t)
	return newTown(t, names...)
}

// TestSecondClientReadsVectors has the second client compute the test vectors by the formulas of
// PROTOCOL.md. An agreement of the two is the protocol, not one mistake made once.
func TestSecondClientReadsVectors(t *testing.T) {
	secondReads(t, "second_vectors.py", filepath.Join(cryptoData, "vectors.json"))
}

// TestSecondClientReadsHistories has the second client verify the histories and proofs of the vectors,
// also the spoilt ones. It must find what the first one finds.
func TestSecondClientReadsHistories(t *testing.T) {
	secondReads(t, "second_history.py", "vectors", filepath.Join(historyData, "vectors.json"))
}

// TestSecondClientReadsGolden has both sides of the second client play the golden transcripts again.
// Each must accept the lines of the other and say its own, byte for byte.
func TestSecondClientReadsGolden(t *testing.T) {
	secondReads(t, "second_golden.py", cryptoData)
}

func secondReads(t *testing.T, script string, args ...string) {
	t.Helper()
	needPython(t)
	if out, err := secondRun(script, args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// secondRun is a script of the second client.
func secondRun(script string, args ...string) *exec.Cmd {
	return exec.Command(secondPython, append([]string{filepath.Join(root, "testdata", script)}, args...)...)
}

// secondClient is a run of second_client.py.
type secondClient struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer
	said *bufio.Reader // standard error
	log  strings.Builder
}

// secondInput is what the second client puts into a pipe.
var secondInput = bytes.Repeat([]byte("from the second client\x00\xff\n"), 20_000)

// second starts the second client under a name, with its options, command and arguments.
func (town *localTown) second(t *testing.T, name string, args ...string) *secondClient {
	t.Helper()
	fingerprint, err := relay.Fingerprint(filepath.Join(town.dir, "relay"))
	if err != nil {
		t.Fatal(err)
	}
	return town.secondAt(t, town.addr, fingerprint, name, args...)
}

func (town *localTown) secondAt(t *testing.T, addr, fingerprint, name string, args ...string) *secondClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*wire.Timeout) // its life is many steps
	lab := filepath.Join(town.dir, "lab")
	s := &secondClient{t: t, cmd: exec.CommandContext(ctx, secondPython, append([]string{secondScript,
		"-relay", addr, "-fingerprint", fingerprint, "-name", name, "-card",
		filepath.Join(lab, name), "-ca-bundle", filepath.Join(lab, "ca-bundle.pem"),
	}, args...)...)}
	s.cmd.Stdin, s.cmd.Stdout = bytes.NewReader(secondInput), &s.out
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.said = bufio.NewReader(stderr)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		io.Copy(io.Discard, s.said)
		s.cmd.Wait()
	})
	return s
}

// line returns the next line of its output.
func (s *secondClient) line() string {
	s.t.Helper()
	line, err := s.said.ReadString('\n')
	s.log.WriteString(line)
	if err != nil {
		s.t.Fatalf("the second client ended after saying %q", s.log.String())
	}
	return strings.TrimSuffix(line, "\n")
}

// ready waits until it is connected and receives.
func (s *secondClient) ready() *secondClient {
	s.t.Helper()
	if line := s.line(); line != "ready" {
		s.t.Fatalf("the second client says %q", line)
	}
	return s
}

// end waits for the end and returns exit status and standard output.
func (s *secondClient) end() (status int, out string) {
	s.t.Helper()
	io.Copy(&s.log, s.said)
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return s.cmd.ProcessState.ExitCode(), s.out.String()
}

func (s *secondClient) mustEnd(status int) (out string) {
	s.t.Helper()
	got, out := s.end()
	if got != status {
		s.t.Fatalf("the second client ends with %d, want %d; it says %q and prints %q", got, status, s.log.String(), out)
	}
	return out
}

// clientOf connects as name with these suites.
func (town *localTown) clientOf(t *testing.T, name string, ciphers []string, opts ...clientOption) *testClient {
	t.Helper()
	cfg := town.config(name, "state-"+name)
	cfg.Ciphers = ciphers
	for _, o := range opts {
		o(&cfg)
	}
	return town.dial(cfg)
}

// mustVerify verifies the history of a state directory, and a message's proof from it.
func (town *localTown) mustVerify(t *testing.T, stateDir, id string) *history.ProofReport {
	t.Helper()
	dir := filepath.Join(town.dir, stateDir, "history")
	report, err := history.Verify(dir, town.verifier())
	if err != nil || !report.OK() {
		t.Fatalf("the history does not verify: %v\n%+v", err, report)
	}
	data, err := history.ExportProof(dir, id, town.verifier())
	if err != nil {
		t.Fatal(err)
	}
	proof, err := history.VerifyProof(data, town.verifier())
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// secondVerifies has the second client verify a history and a proof from it, which the first one
// holds to be whole. It must find the same in them, and that they are spoilt if they are.
func (town *localTown) secondVerifies(t *testing.T, stateDir string, proof *history.ProofReport) {
	t.Helper()
	dir := filepath.Join(town.dir, stateDir, "history")
	report, err := history.Verify(dir, town.verifier())
	if err != nil {
		t.Fatal(err)
	}
	exported, err := history.ExportProof(dir, proof.ID, town.verifier())
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join(dir, "lines.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	verdict := "no receipt"
	if proof.Receipt != nil {
		verdict = string(proof.Receipt.Status)
	}
	for what, data := range map[string][]byte{"history": lines, "proof": exported} {
		var got struct {
			Lines, Records, Receipts, Heads, After int
			Head                                   uint64
			Text, Verdict                          string
		}
		want := got
		if what == "proof" {
			want.Text, want.Verdict = proof.Text, verdict
		} else {
			want.Lines, want.Records, want.Receipts, want.Heads = report.Lines, report.Records, report.Receipts, report.Heads
			want.Head, want.After = report.Head.Line, report.After
		}
		run := func(data []byte) ([]byte, error) {
			file := filepath.Join(t.TempDir(), what)
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return secondRun("second_history.py", "-ca-bundle", filepath.Join(town.dir, "lab", "ca-bundle.pem"), what, file).Output()
		}
		out, err := run(data)
		if err != nil {
			t.Errorf("the second client does not hold the %s to be whole: %v\n%s", what, err, out)
		} else if err := json.Unmarshal(out, &got); err != nil || got != want {
			t.Errorf("the second client finds %+v in the %s, want %+v, %v", got, what, want, err)
		}
		if out, err := run(bytes.Replace(data, []byte("Bob"), []byte("Rob"), 1)); err == nil {
			t.Errorf("the second client holds a spoilt %s to be whole: %s", what, out)
		}
	}
}

func TestSecondClientSends(t *testing.T) {
	town := secondTown(t, "alice", "bob")
	for _, c := range []struct {
		name string
		args []string
		bob  []string
	}{
		{"MLKEM", nil, nil},
		{"RSA_AES256", []string{"-ciphers", crypto.SuiteRSA256}, nil},
		{"RSA_AES128", []string{"-ciphers", crypto.SuiteRSA128}, nil},
		{"retry: B lacks the first suite", nil, []string{crypto.SuiteRSA128}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bob := town.clientOf(t, "bob", c.bob)
			defer bob.leave()
			text := "Olá, \"Bob\" <\u2028> " + c.name
			out := town.second(t, "alice", append(c.args, "send", "bob", text)...).mustEnd(0)
			m := bob.awaitText(text)
			if out != m.ID+"\nREAD\n" {
				t.Errorf("the second client prints %q of message %s", out, m.ID)
			}
			alice, err := town.verifier().Verify(town.credential("alice").Bundle, "alice")
			if err != nil {
				t.Fatal(err)
			}
			if m.From != "alice" || m.Identity != alice.Identity {
				t.Errorf("the message came as %+v", *m)
			}
			bob.leave()
			proof := town.mustVerify(t, "state-bob", m.ID)
			if proof.Text != text {
				t.Errorf("the proof is of %q", proof.Text)
			}
			town.secondVerifies(t, "state-bob", proof)
		})
	}
}

func TestSecondClientReceives(t *testing.T) {
	town := secondTown(t, "alice", "bob")
	for _, c := range []struct {
		name  string
		alice []string
		bob   string
	}{
		{"MLKEM", nil, crypto.SuiteMLKEM},
		{"RSA_AES256", []string{crypto.SuiteRSA256}, crypto.SuiteRSA256},
		{"RSA_AES128", []string{crypto.SuiteRSA128}, crypto.SuiteRSA128},
		{"retry: B lacks the first suite", nil, crypto.SuiteRSA256},
	} {
		t.Run(c.name, func(t *testing.T) {
			bob := town.second(t, "bob", "-ciphers", c.bob, "recv").ready()
			alice := town.clientOf(t, "alice", c.alice)
			defer alice.leave()
			text := "Olá, \"Bob\" <\u2028> " + c.name
			id := alice.mustSend(text, "bob")
			alice.mustSettle(history.StatusRead)
			if out := bob.mustEnd(0); out != "alice: "+text+"\n" {
				t.Errorf("the second client prints %q", out)
			}
			alice.leave()
			proof := town.mustVerify(t, "state-alice", id)
			if proof.Receipt == nil || proof.Receipt.Status != history.StatusRead || proof.Recipient.Name != "bob" {
				t.Errorf("the proof says\n%s", proof)
			}
			town.secondVerifies(t, "state-alice", proof)
		})
	}
}

// TestSecondClientPipes: bytes cross both ways, as text that the relay passes on.
func TestSecondClientPipes(t *testing.T) {
	town := secondTown(t, "alice", "bob")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"MLKEM", nil},
		{"RSA_AES256", []string{"-ciphers", crypto.SuiteRSA256}},
		{"RSA_AES128", []string{"-ciphers", crypto.SuiteRSA128}},
		{"with steps", []string{"-step"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bob := town.second(t, "bob", append(c.args, "pipe", "alice")...).ready()
			alice := town.clientOf(t, "alice", nil, takesPipe)
			defer alice.leave()
			input := bytes.Repeat([]byte("\r\nfrom the first\x00"), 40_000)
			var got bytes.Buffer
			if err := alice.Pipe(t.Context(), "bob", bytes.NewReader(input), &got, nil); err != nil {
				t.Fatal(err)
			}
			if out := bob.mustEnd(0); out != string(input) {
				t.Errorf("%d bytes came to the second client, and other ones than %d", len(out), len(input))
			}
			if !bytes.Equal(got.Bytes(), secondInput) {
				t.Errorf("%d bytes came from the second client, and other ones than %d", got.Len(), len(secondInput))
			}
		})
	}
}

// TestSecondClientRatchets: both sides take steps in turn. B's are in its first message and in its
// receipt; A's comes when the suite's time is over by A's clock.
func TestSecondClientRatchets(t *testing.T) {
	town := secondTown(t, "alice", "bob")
	for _, suite := range []string{crypto.SuiteMLKEM, crypto.SuiteRSA256} {
		t.Run(suite, func(t *testing.T) {
			bob := town.second(t, "bob", "-step", "-ciphers", suite, "recv").ready()
			var later atomic.Int64
			begun := time.Now() // A's clock stands still
			alice := town.clientOf(t, "alice", []string{suite}, func(cfg *client.Config) {
				cfg.Now = func() time.Time { return begun.Add(time.Duration(later.Load())) }
			})
			defer alice.leave()
			alice.mustSend("too early for a step", "bob")
			alice.mustSettle(history.StatusRead)
			if said := bob.line(); said != "a message without" {
				t.Fatalf("the second client says %q", said)
			}
			later.Store(int64(61 * time.Second))
			// RSA keys are made in the background, and no step comes before one is ready.
			for said := ""; said != "a message with a step"; said = bob.line() {
				alice.mustSend("a minute later", "bob")
				alice.mustSettle(history.StatusRead)
			}
			bob.mustEnd(0)
		})
	}
}

// TestSecondClientRefuses: the second client talks with itself, one side spoils its lines, and the
// other must notice.
func TestSecondClientRefuses(t *testing.T) {
	town := secondTown(t, "alice", "bob")
	const text = "must not be shown"
	for _, c := range []struct {
		spoils string
		status int
	}{
		{"sig1", 8}, {"sig3", 8}, {"confirm3", 8}, {"signature-text", 8}, {"seal-text", 8}, {"digest-text", 8}, {"id", 1},
	} {
		t.Run("A spoils "+c.spoils, func(t *testing.T) {
			bob := town.second(t, "bob", "recv").ready()
			alice := town.second(t, "alice", "-spoil", c.spoils, "send", "bob", text)
			if out := bob.mustEnd(c.status); out != "" {
				t.Errorf("the second client prints %q", out)
			}
			if c.spoils == "sig1" { // a refused p1 has an answer
				alice.mustEnd(c.status)
			}
		})
	}
	for _, spoils := range []string{"retry", "sig2", "confirm2", "signature-receipt", "seal-receipt", "digest-receipt"} {
		t.Run("B spoils "+spoils, func(t *testing.T) {
			bob := town.second(t, "bob", "-ciphers", crypto.SuiteRSA128, "-spoil", spoils, "recv").ready()
			out := town.second(t, "alice", "send", "bob", text).mustEnd(8)
			if strings.Contains(out, "READ") {
				t.Errorf("the second client prints %q", out)
			}
			if !strings.HasSuffix(spoils, "-receipt") { // a refused p2 or retry has an answer
				bob.mustEnd(8)
			}
		})
	}
}

func TestSecondClientRefusesRelay(t *testing.T) {
	town := secondTown(t, "alice")
	fingerprint, err := relay.Fingerprint(filepath.Join(town.dir, "relay"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("another relay", func(t *testing.T) {
		town.secondAt(t, town.addr, strings.Repeat("0", 64), "alice", "list").mustEnd(4)
	})
	for _, c := range []struct {
		name, field string
		line        int
		status      int
	}{
		{"nothing spoiled", "", 0, 0},
		{"phase 2's signature", `"signature":"`, 1, 8},
		{"phase 2's key, which the signature covers", `"data":"`, 1, 8},
		{"phase 4's seal", `"payload":"`, 2, 8},
		{"a secure line's seal", `"payload":"`, 3, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := spoilingProxy(t, town.addr, c.line, c.field)
			out := town.secondAt(t, addr, fingerprint, "alice", "list").mustEnd(c.status)
			if listed := strings.HasPrefix(out, "alice "); listed != (c.status == 0) {
				t.Errorf("the second client prints %q", out)
			}
		})
	}
}

// spoilingProxy stands before a relay and changes a base64 field in the n-th line of every
// connection.
func spoilingProxy(t *testing.T, relay string, n int, field string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go spoilLine(client, relay, n, field)
		}
	}()
	return ln.Addr().String()
}

func spoilLine(client net.Conn, relay string, n int, field string) {
	defer client.Close()
	server, err := net.Dial("tcp", relay)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	}()
	from := bufio.NewReader(server)
	for i := 1; ; i++ {
		line, err := from.ReadBytes('\n')
		if at := bytes.Index(line, []byte(field)); i == n && at >= 0 {
			at += len(field) + 4 // well inside, so that it remains base64
			if line[at] == 'A' {
				line[at] = 'B'
			} else {
				line[at] = 'A'
			}
		}
		if _, werr := client.Write(line); err != nil || werr != nil {
			return
		}
	}
}

// TestSecondClientIsRefused: the second client spoils its lines to relay and client.
func TestSecondClientIsRefused(t *testing.T) {
	town := secondTown(t, "alice", "bob")
	for _, c := range []struct {
		spoils string
		status int
	}{
		{"connect", 8}, {"delegation", 4}, {"request", 8},
	} {
		t.Run("by the relay: "+c.spoils, func(t *testing.T) {
			town.second(t, "alice", "-spoil", c.spoils, "list").mustEnd(c.status)
		})
	}
	for _, spoils := range []string{"sig1", "sig3", "confirm3", "signature-text", "seal-text", "digest-text", "id"} {
		t.Run("by B: "+spoils, func(t *testing.T) {
			bob := town.clientOf(t, "bob", nil)
			defer bob.leave()
			status, out := town.second(t, "alice", "-spoil", spoils, "send", "bob", "must not be shown").end()
			if status == 0 || strings.Contains(out, "READ") {
				t.Errorf("the second client ends with %d and prints %q", status, out)
			}
			bob.leave()
			if texts := bob.texts(); len(texts) > 0 {
				t.Errorf("bob saw %q", texts)
			}
		})
	}
	for _, spoils := range []string{"sig2", "confirm2", "retry"} {
		t.Run("by A: "+spoils, func(t *testing.T) {
			suite := crypto.SuiteMLKEM
			if spoils == "retry" {
				suite = crypto.SuiteRSA256
			}
			town.second(t, "bob", "-ciphers", suite, "-spoil", spoils, "recv").ready()
			alice := town.clientOf(t, "alice", nil)
			defer alice.leave()
			if _, err := alice.Send(context.Background(), []string{"bob"}, "must not be sent"); fail.ExitStatus(err) != 8 {
				t.Errorf("sending gives %v, exit status %d", err, fail.ExitStatus(err))
			}
		})
	}
	for _, spoils := range []string{"signature-receipt", "seal-receipt", "digest-receipt"} {
		t.Run("by A: "+spoils, func(t *testing.T) {
			town.second(t, "bob", "-spoil", spoils, "recv").ready()
			alice := town.clientOf(t, "alice", nil)
			defer alice.leave()
			alice.mustSend("never READ", "bob")
			gap := alice.await("the refusal", func(ev client.Event) bool { return ev.Gap != nil }).Gap
			if gap.Name != "bob" {
				t.Errorf("the gap is %+v", *gap)
			}
			for _, ev := range alice.seen() {
				if ev.Receipt != nil && ev.Receipt.Status.AtLeast(history.StatusDelivered) {
					t.Errorf("it counts as %v", ev.Receipt.Status)
				}
			}
		})
	}
}
