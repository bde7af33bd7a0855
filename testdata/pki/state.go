package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"chatsecure/internal/relay"
	"chatsecure/internal/state"
	"chatsecure/testdata/lab"
)

// defaultRelay is where the lab's relay listens without -relay.
const defaultRelay = "127.0.0.1:8080"

// options returns what each relay and client of the lab needs beside a card, as lines of a file
// config. Their paths begin at the lab's directory.
func (c *config) options(p *lab.PKI, dir string) []string {
	fetching := "fetch false"
	if p.BaseURL() != lab.DefaultBaseURL {
		fetching = "fetch-private true"
	}
	return []string{"only-ca " + filepath.Join(dir, "ca-bundle.pem"), "crl " + filepath.Join(dir, "crl"), fetching}
}

// listens finds the relay's address in relay.sh.
var listens = regexp.MustCompile(` -listen '?([^' ]+)`)

// writeStates writes what makes the commands short: the relay's key and a script that starts the
// relay, and a state directory with options for each new person. A file config that is there is its
// person's own, except that its relay moves with the lab's.
func (c *config) writeStates(p *lab.PKI, made []*lab.Holder) error {
	scriptPath := filepath.Join(c.out, "relay.sh")
	old, err := os.ReadFile(scriptPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before := defaultRelay
	if m := listens.FindSubmatch(old); m != nil {
		before = string(m[1])
	}
	if c.relay == "" {
		c.relay = before
	}
	if err := os.WriteFile(scriptPath, []byte(c.script(p)), 0o755); err != nil {
		return err
	}
	fingerprint, err := relay.Fingerprint(filepath.Join(c.out, "state", "relay"))
	if err != nil {
		return err
	}
	if err := c.move(before); err != nil {
		return err
	}
	for _, h := range made {
		dir := filepath.Join(c.out, "state", h.Name)
		if err := state.MakeDir(dir); err != nil {
			return err
		}
		lines := append([]string{
			"# Options of client, see client(1). Relative paths begin at this directory.",
			"relay " + c.relay, "fingerprint " + fingerprint, "name " + h.Name, "card ../../" + h.Name,
		}, c.options(p, "../..")...)
		err := state.CreateFile(filepath.Join(dir, "config"), []byte(strings.Join(lines, "\n")+"\n"))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// script returns relay.sh. The relay itself knows nothing of the people's configs.
func (c *config) script(p *lab.PKI) string {
	var flags strings.Builder
	for _, line := range c.options(p, "") {
		name, value, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(name, "fetch") {
			value = `"$lab"/` + value
		}
		fmt.Fprintf(&flags, " -%s=%s", name, value)
	}
	return "#!/bin/sh\n# The lab's relay: sh relay.sh [OPTION...], in the directory with bin/relay.\n" +
		"lab=$(dirname -- \"$0\")\n" +
		"echo \"relay.sh: the lab's relay is at " + c.relay + "; to move it, and its people with it:\" >&2\n" +
		"echo \"  go run ./testdata/pki -out $lab -append -relay HOST:PORT\" >&2\n" +
		"exec bin/relay -listen " + quote(c.relay) + " -state \"$lab\"/state/relay" + flags.String() + " \"$@\"\n"
}

// move changes the relay of everybody who is at the lab's own.
func (c *config) move(before string) error {
	paths, err := filepath.Glob(filepath.Join(c.out, "state", "*", "config"))
	if err != nil || before == c.relay {
		return err
	}
	for _, path := range paths {
		file, err := state.ReadConfig(filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, s := range file.Settings {
			if s.Name != "relay" || s.Value != before {
				continue
			}
			text, err := file.Change([]state.Setting{{Name: "relay", Value: c.relay}})
			if err == nil {
				err = state.ReplaceFile(path, text)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
