package chatsecure

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/relay"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/manual"
	"chatsecure/testdata/lab/town"
)

// asRelay in the environment makes this test binary the relay.
const asRelay = "RELAY_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asRelay) != "" {
		os.Exit(RelayMain(os.Args[1:], "dev", os.Stdout, os.Stderr))
	}
	os.Exit(town.Main(m))
}

func relayCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asRelay+"=1")
	return cmd
}

// runRelay runs a command line to its end.
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
		for _, flag := range []string{
			"listen", "state", "ca-bundle", "crl", "crl-policy", "fetch", "fetch-private", "ciphers", "max-conns", "addr-file", "log", "v",
			"fingerprint", "version", "only-ca", "allow", "deny", "names", "free", "letters=false", "letter-days", "letter-max",
		} {
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

// TestHome: ~ is the home directory in each path, as for the client: a shell takes it in -state ~/x,
// and not in -state=~/x.
func TestHome(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	if out, errs, status := runRelay(t, "-fingerprint", "-state=~/relay"); status != 0 || errs != "" || len(out) != 65 {
		t.Errorf("-state=~/relay: %q, %q, %d", out, errs, status)
	}
	if _, err := os.Stat(filepath.Join(home, "relay", "relay.key")); err != nil {
		t.Error(err)
	}
	flags := new(relayOptions).flags()
	flags.VisitAll(func(f *flag.Flag) {
		if !strings.Contains(relayUsage, "\n  -"+f.Name+" FILE ") && !strings.Contains(relayUsage, "\n  -"+f.Name+" DIR ") {
			return
		}
		if err := flags.Set(f.Name, "~/x"); err != nil || f.Value.String() != filepath.Join(home, "x") {
			t.Errorf("-%s=~/x is %s, %v", f.Name, f.Value, err)
		}
		if _, errs, status := runRelay(t, "-fingerprint", "-"+f.Name+"=~bob/x"); status != 2 || !strings.Contains(errs, "~ is your own home directory") {
			t.Errorf("-%s=~bob/x: %q, %d", f.Name, errs, status)
		}
	})
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"-nonsense"}, {"serve"}, {"-listen"}, {"-max-conns", "many"}, {"-max-conns", "0"}, {"-log", "xml"}, {"-crl-policy", "maybe"},
		{"-only-ca", "a", "-ca-bundle", "b"}, {"-only-ca", ""}, {"-allow", ""}, {"-deny="}, {"-crl", ""}, {"-free", ""},
		{"-names", "-free", "ana"}, {"-names", "-fingerprint"}, {"-names", "x"},
		{"-fingerprint", "x"}, {"-letter-days", "0"}, {"-letter-days", "15"}, {"-letter-max", "0"}, {"-letter-max", "64"}, {"-letter-max", "0GiB"},
		{"-letter-max", "16385MiB"}, {"-letter-max", "17179869185"}, {"-letter-max", "9223372036854775807GiB"},
		{"-letter-max", "-1MiB"}, {"-letter-max", "64mib"}, {"-letter-max", ""}, {"-ciphers", "ROT13"}, {"-ciphers", "MLKEM768X25519_AES256_GCM,"},
	} {
		out, errs, status := runRelay(t, append([]string{"-state", t.TempDir()}, args...)...)
		if status != 2 || out != "" || !strings.HasPrefix(errs, "relay: error: ") || !strings.Contains(errs, "\nrelay: hint: ") {
			t.Errorf("%q: status %d, %q, %q", args, status, out, errs)
		}
	}
}

func TestLetterMax(t *testing.T) {
	for value, want := range map[string]int64{"1048576": 1 << 20, "1024KiB": 1 << 20, "256MiB": 256 << 20, "16GiB": 16 << 30} {
		o, _, ok := parseRelay([]string{"-letter-max", value}, io.Discard, io.Discard)
		if !ok || o.cfg.LetterMax != want {
			t.Errorf("%s is %d", value, o.cfg.LetterMax)
		}
	}
	if o, _, _ := parseRelay(nil, io.Discard, io.Discard); o.cfg.LetterMax != relay.DefaultLetterMax {
		t.Errorf("without it %d", o.cfg.LetterMax)
	}
}

// TestErrorsAreSafeToShow: a name on the command line can hold anything, and an
// error is one line all the same.
func TestErrorsAreSafeToShow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "st\x1b[31m\nrelay: error: made up")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "names"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, status := runRelay(t, "-state", dir, "-listen", "127.0.0.1:0")
	lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
	if status != 1 || len(lines) != 2 || strings.ContainsRune(errs, 0x1b) || !strings.HasPrefix(lines[1], "relay: hint: put the file back") {
		t.Errorf("status %d, %q", status, errs)
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

// TestBundleIsReadWhole: a damaged bundle is refused, by its path and line, and a block of no
// use is warned of. Nothing of it is lost in silence.
func TestBundleIsReadWhole(t *testing.T) {
	p, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	encode := func(label string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
	}
	root := encode("CERTIFICATE", p.Root.Cert.Raw)
	path := filepath.Join(t.TempDir(), "roots.pem")
	args := []string{"-state", t.TempDir(), "-fetch=false", "-listen", "127.0.0.1:0", "-ca-bundle", path}
	for name, c := range map[string]struct{ text, says string }{
		"spoilt": {"\n" + strings.Replace(root, "MII", "M*I", 1), "-ca-bundle " + path + ": line 3: "},
		"quoted": {root + "> " + root, "-ca-bundle " + path + ": line "},
		"cut":    {root[:200], "does not end"},
		"DER":    {string(p.Root.Cert.Raw), "openssl x509 -inform DER -in FILE -out FILE.pem"},
		"of OpenSSL's": {encode("TRUSTED CERTIFICATE", p.Root.Cert.Raw), "line 1: a certificate in a form of OpenSSL's own; " +
			"openssl x509 -in FILE -out FILE.pem"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, errs, status := runRelay(t, args...); status != 1 || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%s: status %d, %q, want %q", name, status, errs, c.says)
		}
	}
	for name, c := range map[string]struct{ text, warns string }{
		"marked":  {"\ufeff" + root, ""},
		"joined":  {strings.TrimSpace(encode("CERTIFICATE", p.CC.Cert.Raw)) + root, ""},
		"a list":  {encode("X509 CRL", []byte{1}) + root, `problem="line 1: \"X509 CRL\" is left out`},
		"a key":   {encode("PRIVATE KEY", []byte{1}) + root, `problem="line 1: a private key is left out`},
		"damaged": {encode("CERTIFICATE", append(p.Root.Cert.Raw[:len(p.Root.Cert.Raw)-1:len(p.Root.Cert.Raw)-1], 0x55)) + root, "is no root"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd, _, log := startRelay(t, args...)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if warned := strings.Contains(log.String(), "level=WARN"); warned != (c.warns != "") || !strings.Contains(log.String(), c.warns) {
			t.Errorf("%s: the log is %q, want %q", name, log, c.warns)
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
		// A state directory is for one relay, and an address for one listener.
		_, errs, status := runRelay(t, "-state", state, "-listen", "127.0.0.1:0")
		if status != 1 || !strings.Contains(errs, "another relay") || !strings.Contains(errs, "\nrelay: hint: ") {
			t.Errorf("a second relay: %d, %q", status, errs)
		}
		_, errs, status = runRelay(t, "-state", t.TempDir(), "-listen", addr)
		if status != 1 || !strings.HasPrefix(errs, "relay: error: ") || !strings.Contains(errs, "\nrelay: hint: another program listens there") {
			t.Errorf("a second listener: %d, %q", status, errs)
		}
		// A hang-up does not end it: it still answers a line that is no handshake.
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

// TestManPageIsOfToday: doc/relay.1 has the options and exit statuses of -h, with
// their texts.
func TestManPageIsOfToday(t *testing.T) {
	text, err := os.ReadFile("doc/relay.1")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	if problem := manual.Differ(manual.Tagged(manual.Section(page, "OPTIONS")), manual.Options(relayUsage)); problem != "" {
		t.Errorf("options of doc/relay.1: %s", problem)
	}
	if problem := manual.Differ(manual.Tagged(manual.Section(page, "EXIT STATUS")), manual.Statuses(relayUsage)); problem != "" {
		t.Errorf("exit statuses of doc/relay.1: %s", problem)
	}
	for _, name := range manual.Named(relayUsage + page) {
		if name != "-h" && new(relayOptions).flags().Lookup(name[1:]) == nil {
			t.Errorf("-h or doc/relay.1 names %s, which does not exist", name)
		}
	}
}

// TestManualHasEveryFlag: -h has exactly the flags of the program, and their
// defaults.
func TestManualHasEveryFlag(t *testing.T) {
	text, want := strings.Join(strings.Fields(relayUsage), " "), []string{"-h"}
	new(relayOptions).flags().VisitAll(func(f *flag.Flag) {
		want = append(want, "-"+f.Name)
		switch f.DefValue {
		case "", "true", "false":
		default:
			if !strings.Contains(text, f.DefValue+" (default)") && !strings.Contains(text, "(default "+f.DefValue+")") {
				t.Errorf("-h does not have %s, the default of -%s", f.DefValue, f.Name)
			}
		}
	})
	if suites := strings.Join(crypto.SuiteNames(), ","); !strings.Contains(text, "(default "+suites+")") {
		t.Errorf("-h does not have %s", suites)
	}
	var got []string
	for _, o := range manual.Options(relayUsage) {
		got = append(got, o.Name())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("-h has %q, the program takes %q", got, want)
	}
}

// unitKeys reads a unit and returns the values of each key of [Service], in order.
func unitKeys(t *testing.T, file string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("doc", file))
	if err != nil {
		t.Fatal(err)
	}
	keys, section := make(map[string][]string), ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		key, value, pair := strings.Cut(line, "=")
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = line
		case !pair:
			t.Errorf("%s: what is %q?", file, line)
		case section == "[Service]":
			keys[key] = append(keys[key], value)
		}
	}
	return keys
}

// TestUnitIsHardened: the unit has every restriction, and the relay accepts its command
// line.
func TestUnitIsHardened(t *testing.T) {
	unit, low := unitKeys(t, "chatsecure-relay.service"), unitKeys(t, "chatsecure-relay-low-port.conf")
	for key, want := range map[string]string{
		"DynamicUser": "yes", "StateDirectory": "chatsecure-relay", "StateDirectoryMode": "0700", "UMask": "0077", "ExecReload": "/bin/kill -HUP $MAINPID",
		"ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "PrivateUsers": "yes", "NoNewPrivileges": "yes",
		"CapabilityBoundingSet": "", "AmbientCapabilities": "", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "RestrictNamespaces": "yes",
		"RestrictRealtime": "yes", "RestrictSUIDSGID": "yes", "LockPersonality": "yes", "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native",
		"ProtectClock": "yes", "ProtectControlGroups": "yes", "ProtectHostname": "yes", "ProtectKernelLogs": "yes", "ProtectKernelModules": "yes",
		"ProtectKernelTunables": "yes", "ProtectProc": "invisible", "ProcSubset": "pid", "RemoveIPC": "yes", "KeyringMode": "private",
	} {
		if got := unit[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, not %q", key, got, want)
		}
	}
	for key, want := range map[string]string{"CapabilityBoundingSet": "CAP_NET_BIND_SERVICE", "AmbientCapabilities": "CAP_NET_BIND_SERVICE", "PrivateUsers": "no"} {
		if got := low[key]; len(got) != 1 || got[0] != want {
			t.Errorf("below 1024, %s is %q, not %q", key, got, want)
		}
	}
	if got := low["ExecStart"]; len(got) != 2 || got[0] != "" || !strings.Contains(got[1], "-listen :443 ") {
		t.Errorf("below 1024, ExecStart is %q", got)
	}
	for _, start := range []string{unit["ExecStart"][0], low["ExecStart"][1]} {
		args := strings.Fields(strings.TrimSuffix(start, " $RELAY_OPTIONS"))[1:]
		var stderr bytes.Buffer
		if o, status, ok := parseRelay(args, &bytes.Buffer{}, &stderr); !ok || o.cfg.State != "%S/private/chatsecure-relay" {
			t.Errorf("%q: status %d, %q", args, status, stderr.String())
		}
	}
}

// TestUnitBySystemd has systemd itself read and rate the unit.
func TestUnitBySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here, so only TestUnitIsHardened has looked at the unit")
	}
	const name = "chatsecure-relay.service"
	for _, file := range []string{"", "chatsecure-relay-low-port.conf"} {
		dir := t.TempDir()
		place := func(from, to string) {
			data, err := os.ReadFile(filepath.Join("doc", from))
			if err != nil {
				t.Fatal(err)
			}
			// The program is not installed here.
			data = bytes.ReplaceAll(data, []byte("/usr/local/bin/chatsecure-relay"), []byte("/bin/true"))
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, to), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		place(name, name)
		if file != "" {
			place(file, name+".d/low-port.conf")
		}
		verify := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", filepath.Join(dir, name))
		if out, err := verify.CombinedOutput(); err != nil || strings.Contains(string(out), name) {
			t.Errorf("%s: systemd-analyze verify: %v\n%s", file, err, out)
		}
		// An exposure of at most 2.0 of 10, which systemd calls "OK".
		security := exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", filepath.Join(dir, name))
		if out, err := security.CombinedOutput(); err != nil {
			t.Errorf("%s: systemd-analyze security: %v\n%s", file, err, out)
		}
	}
}
