package command

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/internal/fail"
)

// sample returns a value that an option takes, and that is not its default, "" for none.
func sample(o *flag.Flag) string {
	if b, ok := o.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return fmt.Sprint(o.DefValue != "true")
	}
	if _, ok := o.Value.(*relayAddr); ok {
		return "h:1" // the file wants one
	}
	for _, value := range []string{"7m0s", "7", "rsa", "off", "read", "long", "RSA_AES128_CBC_HMAC", strings.Repeat("0a", 32)} {
		if value != o.DefValue && o.Value.Set(value) == nil {
			return value
		}
	}
	return ""
}

// TestEveryOptionEverywhere: each option of each flag set comes from the environment, or else from
// the file. The command line counts first and the file last.
func TestEveryOptionEverywhere(t *testing.T) {
	for command, f := range flagSets() {
		f.VisitAll(func(o *flag.Flag) {
			if commandLineOnly[o.Name] {
				return
			}
			value := sample(flagSets()[command].Lookup(o.Name))
			if value == "" {
				t.Errorf("%s -%s takes none of the samples: add one", command, o.Name)
				return
			}
			env := func(name string) string {
				if name == "CHATSECURE_"+strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_")) {
					return value
				}
				return ""
			}
			fresh := func() *flag.FlagSet { return flagSets()[command] }
			f := fresh()
			if err := make(places).fromEnvironment(f, env); err != nil || f.Lookup(o.Name).Value.String() != value {
				t.Errorf("%s -%s of the environment: %v %v", command, o.Name, f.Lookup(o.Name).Value, err)
			}
			f = fresh()
			if err := parseFlags(f, []string{"-" + o.Name + "=" + o.DefValue}); err == nil {
				if err := make(places).fromEnvironment(f, env); err != nil || f.Lookup(o.Name).Value.String() != o.DefValue {
					t.Errorf("%s -%s of the command line: %v %v", command, o.Name, f.Lookup(o.Name).Value, err)
				}
			}
			dir := t.TempDir()
			if o.Name == "state" {
				return
			}
			writeConfig(t, dir, o.Name+" "+value)
			file, err := readConfig(dir)
			if err != nil {
				t.Errorf("%s %s in the file: %v", o.Name, value, err)
				return
			}
			if _, isPath := o.Value.(*Path); isPath {
				value = filepath.Join(dir, value)
			}
			f = fresh()
			if err := make(places).fromFile(f, file); err != nil || f.Lookup(o.Name).Value.String() != value {
				t.Errorf("%s %s of the file: %v %v", command, o.Name, f.Lookup(o.Name).Value, err)
			}
		})
	}
}

func writeConfig(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNearerPlaceCounts: for values, and for options that exclude each other.
func TestNearerPlaceCounts(t *testing.T) {
	dir := t.TempDir()
	writeConfig(t, dir, "# mine\n\n\trelay  h:3 \r\nname file\nonly-ca roots of mine.pem\nfetch no\naccept-new\nq\ntimeout 7s\nwait-peer 1h")
	env := map[string]string{
		"CHATSECURE_STATE": dir, "CHATSECURE_RELAY": "h:2", "CHATSECURE_NAME": "env", "CHATSECURE_KEEP": "", "CHATSECURE_VERSION": "1.2",
	}
	parse := func(args ...string) options {
		o, _, err := parseGlobal(args, func(name string) string { return env[name] })
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return o
	}
	o := parse("-relay", "h:1")
	if o.relay != "h:1" || o.name != "env" || o.onlyCA != filepath.Join(dir, "roots of mine.pem") || o.fetch || !o.acceptNew || !o.quiet ||
		o.timeout != 7*time.Second || o.keep != 0 || o.version {
		t.Errorf("%+v", o)
	}
	if o := parse("-ca-bundle", "b", "-v"); o.caBundle != "b" || o.onlyCA != "" || o.quiet || !o.verbose {
		t.Errorf("the file's -only-ca and -q stay beside the command line's -ca-bundle and -v: %+v", o)
	}
	if o := parse("-q=false", "-ca-bundle", ""); o.quiet || o.onlyCA == "" {
		t.Errorf("an empty -ca-bundle rules out -only-ca: %+v", o)
	}
	env["CHATSECURE_CA_BUNDLE"] = "of env"
	if o := parse(); o.caBundle != "of env" || o.onlyCA != "" {
		t.Errorf("%+v", o)
	}
	env["CHATSECURE_ONLY_CA"] = "of env too"
	if _, _, err := parseGlobal(nil, func(name string) string { return env[name] }); fail.ExitStatus(err) != 2 {
		t.Errorf("both from the environment: %v", err)
	}
}

// TestHomeInPaths: ~ is the home directory wherever a path is given, as in ssh_config, since not every place is read by a
// shell. Another user's is refused, and so is one that is nowhere.
func TestHomeInPaths(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	for given, want := range map[string]string{
		"~": home, "~/pin": filepath.Join(home, "pin"), "pin": filepath.Join(dir, "pin"), "a~b": filepath.Join(dir, "a~b"),
		"./~": filepath.Join(dir, "~"), "~bob/pin": "", "~\x1b[2J": "",
	} {
		for _, place := range []string{"file", "environment", "option"} {
			args, env := []string{"-state", dir}, map[string]string{}
			switch place {
			case "file":
				writeConfig(t, dir, "pin-file "+given)
			case "environment":
				env["CHATSECURE_PIN_FILE"] = given
			default:
				args = append(args, "-pin-file="+given)
			}
			relative := want != "" && !strings.HasPrefix(given, "~") && place != "file"
			o, _, err := parseGlobal(args, func(name string) string { return env[name] })
			if relative {
				want = given
			}
			if want == "" && fail.ExitStatus(err) != 2 || want != "" && (err != nil || o.pinFile != want) {
				t.Errorf("%q in the %s is %q, %v; want %q", given, place, o.pinFile, err, want)
			}
			if err := os.RemoveAll(filepath.Join(dir, "config")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if o, _, err := parseGlobal([]string{"-state=~/state"}, noEnv); err != nil || o.state != filepath.Join(home, "state") {
		t.Errorf("the state directory is %s, %v", o.state, err)
	}
	t.Setenv("HOME", "")
	if o, _, err := parseGlobal([]string{"-state", dir, "-pin-file", "~/pin"}, noEnv); fail.ExitStatus(err) != 2 {
		t.Errorf("without a home: %q, %v", o.pinFile, err)
	}
}

// TestInterfaceMayBeGone: a relay on an interface that is not there now holds up only commands that go online.
func TestInterfaceMayBeGone(t *testing.T) {
	dir := t.TempDir()
	writeConfig(t, dir, "relay [fe80::1%no-such-if]:1\nname ana")
	for line, want := range map[string]int{"trust": 0, "list": 2} {
		sys, _, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		if status := Run([]string{"-state", dir, "-batch", line}, sys); status != want || want == 2 && !strings.Contains(stderr.String(), "interface") {
			t.Errorf("%s: exit status %d, %q", line, status, stderr.String())
		}
	}
}

// TestConfigRefused: a file that cannot be meant ends with 2, and its line is named. The help
// stays.
func TestConfigRefused(t *testing.T) {
	for text, want := range map[string]string{
		"relay h:1\n# c\nrely h:1": ", line 3: ", "-relay h:1": ", line 1: ", "relay h:1\n\nrelay h:2": ", line 3: relay stands in line 1",
		"timeout soon": ", line 1: ", "timeout 5": "as 5s, 10m", "fetch maybe": ", line 1: ", "relay": ", line 1: ", "key dsa": ", line 1: ",
		"relay h":  ", line 1: invalid value \"h\" for relay: HOST:PORT",
		"name a/b": ", line 1: ", "state /elsewhere": ", line 1: ", "version": ", line 1: ", "wait seen": ", line 1: ", "n 0": ", line 1: ",
		"help": ", line 1: ", "keep 25h": ", line 1: ", "relay=h:1": ", line 1: ", "only-ca a\nca-bundle b": "line 1: only-ca and ",
		"fetch no\nrelya h:1": "as: relay VALUE",
		"q\nv":                "exclude", "verify\npeer bob": "exclude", "\x1b[2J x": ", line 1: ", strings.Repeat("#", 70_000): "at most",
	} {
		dir := t.TempDir()
		writeConfig(t, dir, text)
		sys, stdout, stderr := fakeSystem("")
		status := Run([]string{"-state", dir, "trust"}, sys)
		said := stderr.String()
		if status != 2 || stdout.String() != "" || !strings.Contains(said, filepath.Join(dir, "config")) || !strings.Contains(said, want) ||
			!strings.Contains(said, "\nclient: hint: ") || strings.Contains(said, "\x1b") {
			t.Errorf("%.40q: exit status %d, %q, want %q", text, status, said, want)
		}
		for _, args := range [][]string{{"-state", dir, "-h"}, {"-state", dir, "send", "-h"}, {"-state", dir, "-version"}} {
			if sys, stdout, stderr := fakeSystem(""); Run(args, sys) != 0 || stdout.String() == "" {
				t.Errorf("%q with %.40q: %s", args, text, stderr.String())
			}
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	for what, prepare := range map[string]func() error{
		"can be written": func() error { writeConfig(t, dir, "batch"); return os.Chmod(file, 0o620) },
		"symbolic link":  func() error { return os.Symlink("/dev/null", file) },
		"not a regular":  func() error { return syscall.Mkfifo(file, 0o600) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		sys, _, stderr := fakeSystem("")
		if status := Run([]string{"-state", dir, "trust"}, sys); status != 2 || !strings.Contains(stderr.String(), what) {
			t.Errorf("%s: exit status %d, %q", what, status, stderr.String())
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{"CHATSECURE_TIMEOUT": "soon", "CHATSECURE_BATCH": "maybe", "CHATSECURE_WAIT": "seen"} {
		sys, _, stderr := fakeSystem("")
		sys.Env = func(n string) string { return map[string]string{name: value, "HOME": dir}[n] }
		if status := Run([]string{"send", "bob", "x"}, sys); status != 2 || !strings.Contains(stderr.String(), name+": ") {
			t.Errorf("%s=%s: exit status %d, %q", name, value, status, stderr.String())
		}
	}
}

// TestPlacesAreNamed: every later error about an option begins with the place that it comes from, and
// no hint sends anybody to the command line's help instead.
func TestPlacesAreNamed(t *testing.T) {
	home := t.TempDir()
	for _, c := range []struct{ option, value, command string }{
		{"relay", "h", "list"}, {"relay", "h", "doctor"}, {"only-ca", "/none", "verify x"}, {"ca-bundle", "/none", "list"}, {"crl", "/none", "list"},
		{"fetch", "false", "crl refresh"}, {"timeout", "soon", "list"}, {"wait", "seen", "send bob x"},
	} {
		for _, from := range []string{"environment", "file", "line"} {
			dir := t.TempDir()
			env := map[string]string{"HOME": home, "CHATSECURE_NAME": "ana"}
			args, want := []string{"-state", dir, "-batch"}, ""
			command := strings.Fields(c.command)
			switch from {
			case "environment":
				env[variable(c.option)] = c.value
				want = variable(c.option)
			case "file":
				writeConfig(t, dir, "# mine\n"+c.option+" "+c.value)
				want = filepath.Join(dir, "config") + ", line 2: "
			case "line":
				if c.option == "wait" || c.option == "timeout" {
					continue // package flag's own words
				}
				args = append(args, "-"+c.option+"="+c.value)
				want = "-" + c.option
			}
			sys, _, stderr := fakeSystem("")
			sys.OpenTTY = noTTY
			sys.Env = func(name string) string { return env[name] }
			status := Run(append(args, command...), sys)
			said := stderr.String()
			if status != 2 || !strings.Contains(said, want) || from != "line" && strings.Contains(said, "-"+c.option+" ") && !strings.Contains(said, "or give") ||
				from != "line" && strings.Contains(said, "client -h shows how") {
				t.Errorf("%s %s from the %s, %s: exit status %d, %s, want %s", c.option, c.value, from, c.command, status, said, want)
			}
		}
	}
}

// TestUnknownVariable: a slip in the name of a variable is refused, and the right one is named. Those
// of make and of the tests are no slips, and neither keeps anybody from the help.
func TestUnknownVariable(t *testing.T) {
	run := func(args []string, environ ...string) (int, string) {
		sys, _, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		sys.Environ = environ
		return Run(args, sys), stderr.String()
	}
	for given, meant := range map[string]string{
		"CHATSECURE_ONLYCA": "CHATSECURE_ONLY_CA", "CHATSECURE_FINGER_PRINT": "CHATSECURE_FINGERPRINT", "CHATSECURE_WAITPEER": "CHATSECURE_WAIT_PEER",
		"CHATSECURE_only_ca": "CHATSECURE_ONLY_CA", "CHATSECURE_RELAYS": "CHATSECURE_RELAY",
	} {
		if status, said := run([]string{"completion", "bash"}, "HOME=/", given+"=x"); status != 2 || !strings.Contains(said, given) || !strings.Contains(said, " "+meant+";") {
			t.Errorf("%s: exit status %d, %s", given, status, said)
		}
		if status, said := run([]string{"send", "-h"}, given+"=x"); status != 0 {
			t.Errorf("%s keeps from the help: %s", given, said)
		}
	}
	if status, said := run([]string{"completion", "bash"}, "CHATSECURE_="+strings.Repeat("x", 99)); status != 2 {
		t.Errorf("no name: exit status %d, %s", status, said)
	}
	used := map[string]bool{"CHATSECURE_ONLYCA=": false}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil {
			return err
		}
		if d.IsDir() && name == ".git" {
			return fs.SkipDir
		}
		if d.IsDir() || name != "Makefile" && filepath.Ext(name) != ".sh" && filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?:Getenv\("|\$\{|\s)(CHATSECURE_[A-Z_]+)(?:"|:-|=1)`).FindAllSubmatch(text, -1) {
			used[string(m[1])+"=1"] = true
		}
		return err
	})
	if err != nil || len(used) < 6 {
		t.Errorf("the tests use the variables %v: %v", used, err)
	}
	for v, fine := range used {
		if status, said := run([]string{"completion", "bash"}, v, "CHATSECURE_NAME=ana", "CHATSECURE_ONLYCA="); fine && status != 0 {
			t.Errorf("%s: exit status %d, %s", v, status, said)
		}
	}
}

// TestPlaceOfTheCard: a card or PIN file that cannot be used is named by its place, if that is not the
// command line.
func TestPlaceOfTheCard(t *testing.T) {
	dir := t.TempDir()
	writeConfig(t, dir, "name ana\ncard none")
	for _, command := range []string{"list", "doctor", "card"} {
		for _, from := range []string{filepath.Join(dir, "config") + ", line 2: card: ", "CHATSECURE_CARD: ", ""} {
			sys, stdout, stderr := fakeSystem("")
			sys.OpenTTY = noTTY
			args := []string{"-state", dir, "-batch", command}
			switch from {
			case "CHATSECURE_CARD: ":
				sys.Env = func(name string) string { return map[string]string{"CHATSECURE_CARD": "/none"}[name] }
			case "":
				args = append([]string{"-card", "/none"}, args...)
			}
			status := Run(args, sys)
			said := stdout.String() + stderr.String()
			placed := strings.Contains(said, "card: there is no software card") || strings.Contains(said, "CARD: there is no software card")
			if status != 5 || !strings.Contains(said, from+"there is no software card") || placed != (from != "") {
				t.Errorf("%s, card from %q: exit status %d, %s", command, from, status, said)
			}
		}
	}
}
