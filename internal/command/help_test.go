package command

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestManPageIsOfToday: doc/client.1 is made from the present tables.
func TestManPageIsOfToday(t *testing.T) {
	const path = "../../doc/client.1"
	want := manpage().Man()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not what the tables make (%v): go test ./internal/command -run ManPage -update", path, err)
	}
}

// flagsOf finds the flags in the source, by the name of their set.
func flagsOf(t *testing.T, dir string) map[string][]string {
	t.Helper()
	sets := make(map[string][]string)
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		set := ""
		ast.Inspect(tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "newFlags" {
				set = literal(call.Args[0])
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := f.X.(*ast.Ident); !ok || x.Name != "f" || strings.HasPrefix(f.Sel.Name, "Lookup") {
				return true
			}
			at := -1
			switch name := f.Sel.Name; {
			case strings.HasSuffix(name, "Var"):
				at = 1
			case slices.Contains([]string{"String", "Int", "Bool", "Duration"}, name):
				at = 0
			}
			if at >= 0 && at < len(call.Args) && literal(call.Args[at]) != "" {
				sets[set] = append(sets[set], literal(call.Args[at]))
			}
			return true
		})
	}
	return sets
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok {
		s, _ := strconv.Unquote(l.Value)
		return s
	}
	return ""
}

// TestManualHasEveryFlag: the tables have exactly the flags that are parsed,
// and a command's usage line names its own.
func TestManualHasEveryFlag(t *testing.T) {
	sets := flagsOf(t, ".")
	check := func(set string, flags []Flag, also ...string) {
		want := append(slices.Clone(sets[set]), also...)
		var got []string
		for _, f := range flags {
			got = append(got, f.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the manual has %q, the program takes %q", set, got, want)
		}
	}
	check("client", globalFlags, "h")
	for _, c := range commands {
		check(c.name, c.flags)
		for _, f := range c.flags {
			if !strings.Contains(c.usage, "-"+f.Name) {
				t.Errorf("%q does not name -%s", c.usage, f.Name)
			}
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
	if err := os.WriteFile(script, []byte(manpage().Completion("fish")), 0o600); err != nil {
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
	if err := os.WriteFile(script, []byte(manpage().Completion("bash")), 0o600); err != nil {
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
		"client -json recv -f":               "-from\n-for",
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
