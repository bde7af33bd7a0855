package command

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/testdata/lab/manual"
	"chatsecure/testdata/lab/tty"
)

// TestManPageIsOfToday: doc/client.1 has the commands, options and exit statuses
// of -h, with their texts.
func TestManPageIsOfToday(t *testing.T) {
	page := document(t, "doc/client.1")
	inset := regexp.MustCompile(`(?s)\.RS\n.*?\.RE\n`)
	section := manual.Section(page, "COMMANDS")
	check := func(what string, page, help []manual.Entry) {
		if problem := manual.Differ(page, help); problem != "" {
			t.Errorf("%s of doc/client.1: %s", what, problem)
		}
	}
	check("commands", manual.Tagged(inset.ReplaceAllString(section, "")), manual.Commands(usage))
	check("options", manual.Tagged(manual.Section(page, "OPTIONS")), manual.Options(usage))
	check("exit statuses", manual.Tagged(manual.Section(page, "EXIT STATUS")), manual.Statuses(usage))
	insets := inset.FindAllString(section, -1)
	for _, c := range commands {
		if options := manual.Options(c.help()); len(options) > 0 {
			if len(insets) == 0 {
				t.Fatalf("doc/client.1 does not have the options of %s", c.name)
			}
			check("options of "+c.name, manual.Tagged(insets[0]), options)
			insets = insets[1:]
		}
	}
	if len(insets) > 0 {
		t.Errorf("doc/client.1 has options of no command: %q", insets)
	}
}

// flagsOf returns the flags of each command, and the global ones under "client". A flag that
// takes a value has "=" after its name.
func flagsOf() map[string][]string {
	sets := make(map[string][]string)
	for command, f := range flagSets() {
		f.VisitAll(func(o *flag.Flag) {
			name := "-" + o.Name
			if b, ok := o.Value.(interface{ IsBoolFlag() bool }); !ok || !b.IsBoolFlag() {
				name += "="
			}
			sets[command] = append(sets[command], name)
		})
		if sets[command] == nil {
			sets[command] = []string{}
		}
	}
	return sets
}

// flagSets returns the flag sets of the program, by the name of the command.
func flagSets() map[string]*flag.FlagSet {
	sets := map[string]*flag.FlagSet{"client": new(options).flags()}
	for _, c := range commands {
		f := newFlags(c.name)
		c.flags(f)
		sets[c.name] = f
	}
	return sets
}

// optionsOf returns the options of a usage text in the form of flagsOf.
func optionsOf(help string) (all []string) {
	for _, o := range manual.Options(help) {
		name := o.Name()
		if o.TakesValue() {
			name += "="
		}
		all = append(all, name)
	}
	return all
}

// TestManualHasEveryFlag: -h has exactly the flags that are parsed, and a
// command's usage line names its own.
func TestManualHasEveryFlag(t *testing.T) {
	sets := flagsOf()
	check := func(set, help string, also ...string) {
		want, got := append(slices.Clone(sets[set]), also...), optionsOf(help)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: -h has %q, the program takes %q", set, got, want)
		}
	}
	check("client", usage, "-h")
	for _, c := range commands {
		check(c.name, c.help())
		line, _, _ := strings.Cut(c.help(), "\n\n")
		for _, o := range manual.Options(c.help()) {
			if !strings.Contains(line, o.Name()) {
				t.Errorf("%q does not name %s", line, o.Name())
			}
		}
	}
}

// TestTextsNameNothingElse: no text names an option that does not exist.
func TestTextsNameNothingElse(t *testing.T) {
	known := []string{"-h"}
	for _, flags := range flagsOf() {
		for _, f := range flags {
			known = append(known, strings.TrimSuffix(f, "="))
		}
	}
	texts := map[string]string{"-h": usage, "doc/client.1": document(t, "doc/client.1")}
	for _, c := range commands {
		texts[c.name+" -h"] = c.help()
	}
	for where, text := range texts {
		for _, name := range manual.Named(text) {
			if !slices.Contains(known, name) {
				t.Errorf("%s names %s, which does not exist", where, name)
			}
		}
	}
}

// TestTextsHaveTheDefaults: -h has the default of each flag, and the names that
// other packages give.
func TestTextsHaveTheDefaults(t *testing.T) {
	text := strings.Join(strings.Fields(usage), " ")
	new(options).flags().VisitAll(func(f *flag.Flag) {
		switch f.DefValue {
		case "", "true", "false", "0s":
		default:
			if !strings.Contains(text, f.DefValue+" (default)") && !strings.Contains(text, "(default "+f.DefValue+")") {
				t.Errorf("-h does not have %s, the default of -%s", f.DefValue, f.Name)
			}
		}
	})
	if !strings.Contains(text, "default "+defaultRelay+")") {
		t.Errorf("-h does not have the relay %s", defaultRelay)
	}
	for _, shell := range shells {
		script := completion(t, shell)
		for _, words := range [][]string{
			crypto.SuiteNames(), {trust.KeyEd25519, trust.KeyRSA},
			{string(trust.PolicyTry), string(trust.PolicyRequire), string(trust.PolicyOff)},
			strings.Fields(strings.ToLower(fmt.Sprint(history.StatusSent, " ", history.StatusDelivered, " ", history.StatusRead))), shells,
		} {
			if !strings.Contains(script, strings.Join(words, " ")) {
				t.Errorf("%s does not complete %q", shell, words)
			}
		}
	}
}

var shells = []string{"bash", "zsh", "fish"}

// completion returns the script for a shell.
func completion(t *testing.T, shell string) string {
	t.Helper()
	script, err := scripts.ReadFile("completion/client." + shell)
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// completed are the options that a script completes after each command, and
// before one under "", where the commands follow them.
type completed map[string]string

func (c completed) add(command, word string) { c[command] = strings.TrimSpace(c[command] + " " + word) }

func completedInBash(script string) completed {
	all, values := make(completed), make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\t(\w*):(-[\w-]+)\|(\w*):-(-[\w-]+)\) `).FindAllStringSubmatch(script, -1) {
		if m[1] == m[3] && m[2] == m[4] {
			values[m[1]+m[2]] = true
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+|'')\) COMPREPLY=\(\$\(compgen -W "([^"$]*)`).FindAllStringSubmatch(script, -1) {
		command := strings.Trim(m[1], "'")
		all.add(command, "")
		for _, word := range strings.Fields(m[2]) {
			if values[command+word] {
				word += "="
			}
			if command == "" || strings.HasPrefix(word, "-") {
				all.add(command, word)
			}
		}
	}
	return all
}

func completedInZsh(script string) completed {
	all := make(completed)
	option := regexp.MustCompile(`'(-[\w-]+)\[(?:[^'\]]|'\\'')*\](:?)`)
	add := func(command, text string) {
		for _, m := range option.FindAllStringSubmatch(text, -1) {
			all.add(command, m[1]+strings.ReplaceAll(m[2], ":", "="))
		}
	}
	global, _, _ := strings.Cut(script, "\tcase $state in")
	add("", global)
	for _, m := range regexp.MustCompile(`(?m)^\t\t'([a-z]+):`).FindAllStringSubmatch(global, -1) {
		all.add("", m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^\t\t(\w+)\) _arguments(.*) ;;$`).FindAllStringSubmatch(script, -1) {
		all.add(m[1], "")
		add(m[1], m[2])
	}
	return all
}

func completedInFish(script string) completed {
	all := make(completed)
	line := regexp.MustCompile(`(?m)^complete -c client -n '?__fish_(?:use_subcommand|seen_subcommand_from (\w+))'? ` +
		`-([oa]) ([\w-]+) -d '(?:[^'\\]|\\.)*'( -[xr])?`)
	var names []string
	for _, m := range line.FindAllStringSubmatch(script, -1) {
		switch {
		case m[2] == "a":
			names = append(names, m[3])
			all.add(m[3], "")
		case m[4] != "":
			all.add(m[1], "-"+m[3]+"=")
		default:
			all.add(m[1], "-"+m[3])
		}
	}
	all.add("", strings.Join(names, " "))
	return all
}

// TestCompletionHasEveryOption: each script completes the options and commands
// of -h, in its order, and no others, and tells of them in its words.
func TestCompletionHasEveryOption(t *testing.T) {
	want, texts := completed{"": strings.Join(optionsOf(usage), " ")}, append(manual.Commands(usage), manual.Options(usage)...)
	for _, c := range commands {
		want.add("", c.name)
		want[c.name] = strings.Join(optionsOf(c.help()), " ")
		texts = append(texts, manual.Options(c.help())...)
	}
	var values []string
	for _, o := range manual.Options(usage) {
		if o.TakesValue() {
			values = append(values, o.Name(), "-"+o.Name())
		}
	}
	bash, zsh, fish := completion(t, "bash"), completion(t, "zsh"), completion(t, "fish")
	for shell, got := range map[string]completed{"bash": completedInBash(bash), "zsh": completedInZsh(zsh), "fish": completedInFish(fish)} {
		if !maps.Equal(got, want) {
			t.Errorf("%s completes %q, and -h has %q", shell, got, want)
		}
	}
	if skipped := strings.Join(values, "|") + "|:|=)"; !strings.Contains(bash, "\t"+skipped) {
		t.Errorf("bash does not skip the values of %s", skipped)
	}
	inZsh := strings.NewReplacer("'", `'\''`, "[", "(", "]", ")", ":", ";")
	for _, e := range texts {
		name, option := strings.CutPrefix(e.Name(), "-")
		zshLine, fishLine := "'-"+name+"["+inZsh.Replace(e.Text)+"]", " -o "+name+" -d '"+strings.ReplaceAll(e.Text, "'", `\'`)+"'"
		if !option {
			zshLine = "'" + name + ":" + strings.ReplaceAll(e.Text, "'", `'\''`) + "'"
			fishLine = strings.Replace(fishLine, "-o", "-a", 1)
		}
		if !strings.Contains(zsh, zshLine) || !strings.Contains(fish, fishLine) {
			t.Errorf("zsh or fish has other words for %s than %q", e.Term, e.Text)
		}
	}
}

func TestCompletionKnowsItsShells(t *testing.T) {
	for _, shell := range shells {
		sys, stdout, stderr := fakeSystem("")
		if status := Run([]string{"completion", shell}, sys); status != 0 || stderr.String() != "" {
			t.Fatalf("%s: exit status %d, %q", shell, status, stderr.String())
		}
		for _, c := range commands {
			if !strings.Contains(stdout.String(), c.name) {
				t.Errorf("%s is not completed in %s", c.name, shell)
			}
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Errorf("there is no %s here, so nothing says that its script is one: make deps installs it", shell)
			continue
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = strings.NewReader(stdout.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s does not take its script: %v\n%s", shell, err, out)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
		sys, stdout, _ := fakeSystem("")
		if status := Run(args, sys); status != 2 || stdout.String() != "" {
			t.Errorf("%q: exit status %d, wrote %q", args, status, stdout.String())
		}
	}
}

// TestCompletionInFish asks fish itself for completions, which must not be
// files.
func TestCompletionInFish(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "completion")
	if err := os.WriteFile(script, []byte(completion(t, "fish")), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"client send -wait ":    "delivered\nread\nsent",
		"client -crl-policy ":   "off\nrequire\ntry",
		"client -name ":         "",
		"client history -peer ": "",
		"client verify comp":    "completion",
		"client -pin-file comp": "completion",
	} {
		cmd := exec.Command("fish", "--no-config", "-c", "source completion; complete -C"+strconv.Quote(line)+" | string split -f1 \\t | sort")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", line, got, err, want)
		}
	}
}

// TestCompletionInBash asks bash itself for completions.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: there is no bash here")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "completion")
	if err := os.WriteFile(script, []byte(completion(t, "bash")), 0o600); err != nil {
		t.Fatal(err)
	}
	// This client knows one person.
	if err := os.WriteFile(filepath.Join(dir, "client"), []byte("#!/bin/sh\necho 'peer bob  accepted  00'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"client -crl-p":                      "-crl-policy",
		"client -crl-policy r":               "require",
		"client -relay localhost : 8080 wh":  "whois",
		"client -batch -name alice his":      "history",
		"client send -wait del":              "delivered",
		"client send b":                      "bob",
		"client -json recv -f":               "-from\n-from-anyone\n-for",
		"client trust f":                     "forget",
		"client -pin-file compl":             "completion",
		"client verify compl":                "completion",
		"client -name alice -crl-policy":     "-crl-policy",
		"client completion z":                "zsh",
		"client pipe -wait-peer 30s -se":     "-send",
		"client -name al":                    "",
		"client --crl-policy o":              "off",
		"client history -verify -e":          "-export",
		"client -timeout 3s trust accept bo": "bob",
	} {
		words := strings.Fields(line)
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+w+"'")
		}
		text := "source " + script + "; COMP_WORDS=(" + strings.Join(quoted, " ") + "); COMP_CWORD=" +
			strconv.Itoa(len(words)-1) + "; _chatsecure_client; printf '%s\\n' \"${COMPREPLY[@]}\""
		cmd := exec.Command(bash, "--norc", "-c", text)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q completes to %q, want %q (%v)", line, got, want, err)
		}
	}
}

// TestNoTextIsWiderThanATerminal: usage, help, first steps and questions are not broken in 80 columns, of which the last
// stays free.
func TestNoTextIsWiderThanATerminal(t *testing.T) {
	texts := map[string]string{"-h": usage, "help of the prompt": promptHelp}
	for _, c := range commands {
		texts[c.name+" -h"] = c.help()
	}
	for _, card := range []bool{false, true} {
		for _, relay := range []bool{false, true} {
			texts[fmt.Sprint("first steps ", card, relay)] = firstSteps("localhost:8080", card, relay, "no reader is found")
		}
	}
	source, err := os.ReadFile("init.go")
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile(`s\.tell\("([^"]*)"`).FindAllStringSubmatch(string(source), -1)
	for _, call := range told {
		texts["init"] += "  " + call[1] + "\n"
	}
	out := new(tty.Paper)
	a := &app{tty: fakeTerminal(out, tty.Step{Types: "y"}, tty.Step{Types: "y"})}
	asked := asker{a, state.New(t.TempDir(), "")}
	asked.ConfirmRelay(t.Context(), "localhost:8080", strings.Repeat("0a", 32))
	asked.ConfirmPeer(t.Context(), "bob", fakePerson("bob", 1))
	if texts["questions"] = out.String(); len(told) == 0 || strings.Count(out.String(), "(y/n)") != 2 {
		t.Errorf("%d sentences of init, and the questions %q", len(told), out.String())
	}
	for name, text := range texts {
		for line := range strings.Lines(text) {
			if width := term.TextWidth(strings.TrimSuffix(line, "\n")); width > 79 {
				t.Errorf("%s: %d columns in %q", name, width, line)
			}
		}
	}
}
