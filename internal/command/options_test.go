package command

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/testdata/lab/manual"
)

func noEnv(string) string { return "" }

func TestGlobalFlags(t *testing.T) {
	hex := strings.Repeat("0A", 32)
	base := options{relay: defaultRelay, prompt: promptShort, fetch: true, key: "ed25519", timeout: 30 * time.Second, policy: trust.PolicyTry, letters: true}
	with := func(change func(*options)) options {
		o := base
		change(&o)
		return o
	}
	cases := []struct {
		args string
		want options
		rest []string
	}{
		{"", base, nil},
		{"-relay h:1 -name bob -card dir -state s list", with(func(o *options) {
			o.relay, o.name, o.card, o.state = "h:1",
				"bob", "dir", "s"
		}), []string{"list"}},
		{"-name a -name b", with(func(o *options) { o.name = "b" }), nil},
		{"--name=a", with(func(o *options) { o.name = "a" }), nil},
		{"-pin-file p -ca-bundle c -crl d", with(func(o *options) { o.pinFile, o.caBundle, o.crlDir = "p", "c", "d" }), nil},
		{"-crl-policy off -crl-policy require", with(func(o *options) { o.policy = trust.PolicyRequire }), nil},
		{"-fetch=false -fetch-private -accept-new -batch", with(func(o *options) {
			o.fetch, o.fetchPrivate, o.acceptNew,
				o.batch = false, true, true, true
		}), nil},
		{"-letters=false", with(func(o *options) { o.letters = false }), nil},
		{"-fingerprint " + hex, with(func(o *options) { o.fingerprint = hex }), nil},
		{"-keep 8h -key rsa -timeout 5s", with(func(o *options) {
			o.keep, o.key, o.keyGiven, o.timeout = 8*time.Hour, "rsa",
				true, 5*time.Second
		}), nil},
		{"-key ed25519", with(func(o *options) { o.keyGiven = true }), nil},
		{"-ciphers RSA_AES128_CBC_HMAC,MLKEM768X25519_AES256_GCM", with(func(o *options) { o.ciphers = []string{"RSA_AES128_CBC_HMAC", "MLKEM768X25519_AES256_GCM"} }), nil},
		{"-json -v", with(func(o *options) { o.json, o.verbose = true, true }), nil},
		{"-q send -wait read bob -q", with(func(o *options) { o.quiet = true }), []string{"send", "-wait", "read", "bob", "-q"}},
		{"-version list", with(func(o *options) { o.version = true }), []string{"list"}},
	}
	for _, c := range cases {
		got, rest, err := parseGlobal(strings.Fields(c.args), noEnv)
		got.file, got.typed, got.places = nil, nil, nil
		if err != nil || !reflect.DeepEqual(got, c.want) || !slices.Equal(rest, c.rest) {
			t.Errorf("%q: %+v %q %v, want %+v %q", c.args, got, rest, err, c.want, c.rest)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := map[string]string{"CHATSECURE_RELAY": "h:1", "CHATSECURE_NAME": "ana", "CHATSECURE_CARD": "dir", "CHATSECURE_STATE": "s"}
	get := func(name string) string { return env[name] }
	o, _, err := parseGlobal(nil, get)
	if err != nil || o.relay != "h:1" || o.name != "ana" || o.card != "dir" || o.state != "s" {
		t.Errorf("the environment: %+v %v", o, err)
	}
	env["CHATSECURE_ONLY_CA"] = "roots"
	if o, _, err := parseGlobal(nil, get); err != nil || o.onlyCA != "roots" {
		t.Errorf("CHATSECURE_ONLY_CA: %+v %v", o, err)
	}
	if o, _, err := parseGlobal([]string{"-ca-bundle", "more"}, get); err != nil || o.caBundle != "more" || o.onlyCA != "" {
		t.Errorf("-ca-bundle over CHATSECURE_ONLY_CA: %+v %v", o, err)
	}
	if o, _, err := parseGlobal([]string{"-only-ca", "", "-ca-bundle", "more"}, get); err != nil || o.onlyCA != "" {
		t.Errorf("-only-ca over the environment: %+v %v", o, err)
	}
	if o, _, err = parseGlobal([]string{"-relay", "h:2", "-name", "bob"}, get); err != nil || o.relay != "h:2" ||
		o.name != "bob" || o.card != "dir" {
		t.Errorf("flags over the environment: %+v %v", o, err)
	}
}

func TestStateDir(t *testing.T) {
	for _, c := range []struct {
		state, xdg, home, want string
	}{
		{"/s", "/x", "/h", "/s"},
		{"", "/x", "/h", "/x/chatsecure"},
		{"", "relative", "/h", "/h/.local/state/chatsecure"},
		{"", "", "/h", "/h/.local/state/chatsecure"},
	} {
		a := &app{opt: options{state: c.state}}
		a.Env = func(name string) string { return map[string]string{"XDG_STATE_HOME": c.xdg, "HOME": c.home}[name] }
		if got, err := a.stateDir(); err != nil || got != c.want {
			t.Errorf("%+v: %s %v", c, got, err)
		}
	}
	a := &app{}
	a.Env = noEnv
	if _, err := a.stateDir(); err == nil {
		t.Error("without a home there is no state directory")
	}
}

// TestUsageErrors: every one is named, has a hint, and ends with 2.
func TestUsageErrors(t *testing.T) {
	for _, line := range []string{
		"-nonsense", "-timeout", "-timeout soon", "-timeout 0s", "-timeout -1s", "-keep 25h", "-keep -1h", "-key dsa", "-crl-policy maybe",
		"-ciphers NONE", "-fingerprint 12", "-fingerprint " + strings.Repeat("0g", 32), "-q -v list", "-name a/b list",
		"-name all list", "-name \x1b list",
		"nonsense", "-state /none -batch list", // no name
		"-name ana list bob", "-name ana list -x", "-name ana whois", "-name ana whois a b", "-name ana whois a/b",
		"-name ana send", "-name ana send a,,b hi", "-name ana send list hi", "-name ana send -wait seen bob hi",
		"-name ana send -wait-peer -1s bob hi",
		"-name ana recv bob", "-name ana recv -n 0", "-name ana recv -n x", "-name ana recv -for 0s", "-name ana recv -from a/b",
		"history a/b", "history bob x", "history bob 0", "history bob 2 3", "history -n x", "history -since yesterday",
		"history -peer a/b", "history -verify bob", "history -peer bob carol", "history -verify -export 00", "history -peer bob -verify",
		"history -verify -n 5", "history -verify -n 50", "history -verify -n 0", "history -n 1 -export 00", "history -grep x -verify",
		"history -since 1h -verify",
		"verify", "card x", "crl everything", "trust x", "trust accept", "trust accept a b", "trust forget a/b", "logout x",
		"-name ana release x",
		"-ca-bundle /none verify x", "-only-ca /none verify x", "-only-ca a -ca-bundle b verify x", "-crl /none verify x",
		"-name ana -relay 127.0.0.1 list", "-name ana -relay 127.0.0.1:99999 list", "-name ana -relay h:0 list",
		"-name ana -relay ::1 list", "-relay 127.0.0.1 doctor", "history -json",
	} {
		sys, stdout, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		status := Run(strings.Fields(line), sys)
		said := stderr.String()
		if status != 2 || stdout.String() != "" || !strings.HasPrefix(said, "client: error: ") ||
			!strings.Contains(said, "\nclient: hint: ") || strings.Contains(said, "\x1b") {
			t.Errorf("client %q: exit status %d, said %q %q", line, status, stdout.String(), said)
		}
	}
}

// TestRelayMattersWhereItIsNeeded: -relay without a port is a usage error of
// commands that go online, and of no others.
func TestRelayMattersWhereItIsNeeded(t *testing.T) {
	dir := t.TempDir()
	if _, err := state.Open(dir, "ana"); err != nil {
		t.Fatal(err)
	}
	proof := filepath.Join(t.TempDir(), "proof")
	if err := os.WriteFile(proof, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, needed := range map[string]bool{
		"-version": false, "-h": false, "completion bash": false, "trust": false, "trust forget bob": false, "crl": false,
		"history": false, "logout": false,
		"verify " + proof: false,
		"":                true, "list": true, "whois bob": true, "send bob hello": true, "recv -n 1": true, "pipe bob": true,
		"release": true, "doctor": true,
	} {
		for _, from := range []string{"the environment", "-relay"} {
			sys, _, stderr := fakeSystem("")
			sys.OpenTTY = noTTY
			env := map[string]string{"CHATSECURE_NAME": "ana", "CHATSECURE_STATE": dir, "CHATSECURE_RELAY": "relay.example"}
			args := strings.Fields(line)
			if from == "-relay" {
				env["CHATSECURE_RELAY"] = ""
				args = append([]string{"-relay", "relay.example"}, args...)
			}
			sys.Env = func(name string) string { return env[name] }
			status := Run(args, sys)
			said := strings.Contains(stderr.String(), " is HOST:PORT")
			if said != needed || (status == 2) != needed {
				t.Errorf("client %s, with a relay without a port from %s: exit status %d, %q", line, from, status, stderr.String())
			}
		}
	}
}

// TestGlobalFlagAfterTheCommand: the hint tells its right place.
func TestGlobalFlagAfterTheCommand(t *testing.T) {
	for line, want := range map[string]string{
		"history -json": "stands before the command: client -json history", "send -q bob x": "stands before the command: client -q send",
		"list -nonsense": "client list -h", "-nonsense list": "client -h",
	} {
		sys, _, stderr := fakeSystem("")
		Run(strings.Fields(line), sys)
		if _, hint, _ := strings.Cut(stderr.String(), "client: hint: "); !strings.Contains(hint, want) {
			t.Errorf("client %s: %q is said, want %q", line, stderr.String(), want)
		}
	}
}

// TestUsageErrorNamesItsHelp: the hint of a usage error is the help of its command, which has the
// command's options, and help COMMAND is the same. An error of the options of all commands is told
// in the help of all.
func TestUsageErrorNamesItsHelp(t *testing.T) {
	said := func(line string) (status int, out, err string) {
		sys, stdout, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		status = Run(strings.Fields(line), sys)
		return status, stdout.String(), stderr.String()
	}
	for line, want := range map[string]string{
		"-name ana list bob": "list", "history -peer bob -verify": "history", "-name ana send -wait seen bob hi": "send", "trust x": "trust",
		"pipe": "pipe", "list -nonsense": "list", "help a b": "help", "help -nonsense": "help",
	} {
		_, _, err := said("-relay h:1 " + line)
		if !strings.Contains(err, "client: hint: client "+want+" -h shows how it is used\n") {
			t.Errorf("client %s: %s", line, err)
		}
	}
	for _, line := range []string{"-nonsense list", "nonsense", "-timeout soon list", "help nonsense"} {
		if status, _, err := said(line); status != 2 || !strings.Contains(err, "client: hint: client -h shows how it is used\n") {
			t.Errorf("client %s: exit status %d, %s", line, status, err)
		}
	}
	for _, c := range commands {
		_, want, _ := said(c.name + " -h")
		if status, out, err := said("help " + c.name); status != 0 || out != want || out == "" || err != "" {
			t.Errorf("client help %s: exit status %d, %q %q", c.name, status, out, err)
		}
	}
	if status, out, err := said("help"); status != 0 || out != usage || err != "" {
		t.Errorf("client help: exit status %d, %q %q", status, out, err)
	}
}

// TestNoStateDirectory: a directory that is named and is not there is told, as it may be a slip.
func TestNoStateDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, from := range []string{"-state", "CHATSECURE_STATE"} {
		sys, _, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		args := []string{"list"}
		if from == "-state" {
			args = []string{"-state", dir, "list"}
		} else {
			sys.Env = func(name string) string { return map[string]string{from: dir}[name] }
		}
		if status := Run(args, sys); status != 2 || !strings.Contains(stderr.String(), "there is no state directory "+dir+" ("+from+")") ||
			!strings.Contains(stderr.String(), " -name NAME init") {
			t.Errorf("%s: exit status %d, %s", from, status, stderr.String())
		}
	}
	sys, _, stderr := fakeSystem("")
	sys.OpenTTY = noTTY
	if Run([]string{"-state", t.TempDir(), "list"}, sys); !strings.Contains(stderr.String(), "a name is needed") {
		t.Errorf("a directory without a name: %s", stderr.String())
	}
}

var errNoTTY = errors.New("no terminal")

func TestHelpAndVersion(t *testing.T) {
	for line, want := range map[string]string{
		"-h": "usage: client [options] [COMMAND]", "-help": "usage: client", "-version": "client dev\n", "-name x -h list": "usage: client",
		"send -h": "usage: client [options] send [-wait", "recv -h": "usage: client [options] recv",
		"history -h": "history [-peer", "verify -h": "verify FILE",
		"list -h": "list", "whois -h": "whois NAME", "card -h": "card", "crl -h": "crl", "trust -h": "trust",
		"logout -h": "logout", "release -h": "release",
	} {
		sys, stdout, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		if status := Run(strings.Fields(line), sys); status != 0 || !strings.Contains(stdout.String(), want) || stderr.String() != "" {
			t.Errorf("client %s: exit status %d, %q %q", line, status, stdout.String(), stderr.String())
		}
	}
}

// TestUsageNamesEverything: -h has every command and every global flag.
func TestUsageNamesEverything(t *testing.T) {
	text := usage
	for _, flag := range []string{
		"-relay", "-name", "-card", "-pin-file", "-state", "-ca-bundle", "-only-ca", "-crl", "-crl-policy", "-fetch=false", "-fetch-private", "-fingerprint",
		"-accept-new", "-keep", "-key", "-ciphers", "-batch", "-timeout", "-json", "-q", "-v", "-version", "-h",
	} {
		if !strings.Contains(text, "  "+flag+" ") && !strings.Contains(text, "  "+flag+"\n") &&
			!strings.Contains(text, flag+",") && !strings.Contains(text, ", "+flag) {
			t.Errorf("-h does not have %s", flag)
		}
	}
	listed := manual.Commands(text)
	if len(listed) != len(commands) {
		t.Fatalf("-h has %d commands of %d", len(listed), len(commands))
	}
	for i, c := range commands {
		line, rest, _ := strings.Cut(c.help(), "\n\n")
		line = strings.Join(strings.Fields(line), " ")
		told, _, _ := strings.Cut(rest, "\n\n")
		told = strings.Join(strings.Fields(told), " ")
		if listed[i].Name() != c.name || line != "usage: client [options] "+listed[i].Term || !strings.EqualFold(told, listed[i].Text+".") {
			t.Errorf("%s -h says %q, and -h %q", c.name, c.help(), listed[i])
		}
	}
	for line := range strings.Lines(text) {
		if len(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("longer than a terminal: %q", line)
		}
	}
}

func TestSendFlags(t *testing.T) {
	parse := func(args ...string) (o sendOptions, err error) {
		f := newFlags("send")
		o.flags(f)
		if err = parseFlags(f, args); err == nil {
			err = o.take(f.Args())
		}
		return o, err
	}
	o, err := parse(strings.Fields("-wait sent -wait-peer 3s Bob,carol,bob a  b -c")...)
	if err != nil || sendLevels[o.level] != history.StatusSent || o.waitPeer != 3*time.Second ||
		!slices.Equal(o.names, []string{"Bob", "carol"}) || !o.hasText || o.text != "a b -c" {
		t.Errorf("%+v %v", o, err)
	}
	if o, err = parse("bob"); err != nil || sendLevels[o.level] != history.StatusDelivered || o.hasText {
		t.Errorf("%+v %v", o, err)
	}
	if o, err = parse("bob", ""); err != nil || !o.hasText {
		t.Errorf("%+v %v", o, err)
	}
}
