package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is the relay when it is told to be.
func TestMain(m *testing.M) {
	if os.Getenv("RELAY_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

func relayCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RELAY_TEST_MAIN=1")
	return cmd
}

// runRelay runs a command line that ends by itself.
func runRelay(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := relayCommand(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestHelpAndVersion(t *testing.T) {
	for _, arg := range []string{"-h", "-help", "--help"} {
		out, errs, status := runRelay(t, arg)
		if status != 0 || errs != "" {
			t.Errorf("%s: status %d, standard error %q", arg, status, errs)
		}
		for _, flag := range []string{"listen", "state", "ca-bundle", "crl", "crl-policy", "fetch", "fetch-private", "ciphers", "max-conns", "addr-file", "log", "v", "fingerprint", "version"} {
			if !strings.Contains(out, "\n  -"+flag) {
				t.Errorf("%s does not show -%s", arg, flag)
			}
		}
	}
	out, errs, status := runRelay(t, "-version")
	if status != 0 || errs != "" || out != "relay dev\n" {
		t.Errorf("-version: %q, %q, %d", out, errs, status)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"-nonsense"}, {"serve"}, {"-listen"}, {"-max-conns", "many"}, {"-max-conns", "0"}, {"-log", "xml"}, {"-crl-policy", "maybe"},
		{"-fingerprint", "x"}, {"-ciphers", "ROT13"}, {"-ciphers", "MLKEM768X25519_AES256_GCM,"},
	} {
		out, errs, status := runRelay(t, append([]string{"-state", t.TempDir()}, args...)...)
		if status != 2 || out != "" || !strings.HasPrefix(errs, "relay: error: ") || !strings.Contains(errs, "\nrelay: hint: ") {
			t.Errorf("%q: status %d, %q, %q", args, status, out, errs)
		}
	}
}

func TestFingerprint(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	out, errs, status := runRelay(t, "-fingerprint", "-state", state)
	if status != 0 || errs != "" || !regexp.MustCompile(`^[0-9a-f]{64}\n$`).MatchString(out) {
		t.Errorf("%q, %q, %d", out, errs, status)
	}
	if again, _, _ := runRelay(t, "-state", state, "-fingerprint"); again != out {
		t.Errorf("the second time %q, not %q", again, out)
	}
	t.Setenv("XDG_STATE_HOME", filepath.Join(t.TempDir(), "xdg"))
	if other, errs, status := runRelay(t, "-fingerprint"); status != 0 || other == out {
		t.Errorf("without -state: %q, %q, %d", other, errs, status)
	}
	if err := os.WriteFile(filepath.Join(state, "relay.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, status = runRelay(t, "-fingerprint", "-state", state)
	if status != 1 || out != "" || !strings.HasPrefix(errs, "relay: error: ") {
		t.Errorf("with a broken key: %q, %q, %d", out, errs, status)
	}
}

// startRelay starts a relay and waits until it listens.
func startRelay(t *testing.T, args ...string) (cmd *exec.Cmd, addr string, log *bytes.Buffer) {
	t.Helper()
	addrFile := filepath.Join(t.TempDir(), "addr")
	cmd = relayCommand(append([]string{"-listen", "127.0.0.1:0", "-addr-file", addrFile}, args...)...)
	log = new(bytes.Buffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		text, err := os.ReadFile(addrFile)
		if err == nil {
			if !bytes.HasSuffix(text, []byte("\n")) {
				t.Fatalf("the address file has %q", text)
			}
			return cmd, strings.TrimSuffix(string(text), "\n"), log
		}
		if time.Now().After(deadline) {
			t.Fatal("the relay does not listen")
		}
	}
}

func TestServesUntilASignal(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		state := t.TempDir()
		want, _, _ := runRelay(t, "-fingerprint", "-state", state)
		cmd, addr, log := startRelay(t, "-state", state, "-log", "json")
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		// One relay a state directory, and one listener an address.
		if _, errs, status := runRelay(t, "-state", state, "-listen", "127.0.0.1:0"); status != 1 || !strings.Contains(errs, "another relay") || !strings.Contains(errs, "\nrelay: hint: ") {
			t.Errorf("a second relay: %d, %q", status, errs)
		}
		if _, errs, status := runRelay(t, "-state", t.TempDir(), "-listen", addr); status != 1 || !strings.HasPrefix(errs, "relay: error: ") || !strings.Contains(errs, "\nrelay: hint: another program listens there") {
			t.Errorf("a second listener: %d, %q", status, errs)
		}
		// A hang-up is no end: the answer to what is no handshake comes after it.
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte("hello\n"))
		answer := make([]byte, 1000)
		n, err := conn.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:n]), `{"type":"error","code":"malformed"`) {
			t.Errorf("answered %q, %v", answer[:n], err)
		}
		conn.Close()
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
		if _, err := net.Dial("tcp", addr); err == nil {
			t.Error("it still listens")
		}
		var first struct{ Msg, Addr, Fingerprint string }
		for i, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
			if !json.Valid([]byte(line)) {
				t.Errorf("log line %q", line)
			}
			if i == 0 {
				json.Unmarshal([]byte(line), &first)
			}
		}
		if first.Addr != addr || first.Fingerprint+"\n" != want {
			t.Errorf("the log begins with %+v", first)
		}
	}
}

func TestGarbagePercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 4 << 20: 400, 8 << 20: 200, 16 << 20: 100, 32 << 20: 50, 1 << 30: 50} {
		if got := garbagePercent(live); got != want {
			t.Errorf("%d bytes alive: %d, want %d", live, got, want)
		}
	}
}
