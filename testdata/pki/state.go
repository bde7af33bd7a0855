package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"chatsecure/internal/state"
	"chatsecure/testdata/lab"
)

// relayAddr is where the lab's relay listens.
const relayAddr = "127.0.0.1:8080"

// options returns what each relay and client of the lab needs beside a card, as lines of a file
// config. Their paths begin at the lab's directory.
func (c *config) options(p *lab.PKI, dir string) []string {
	fetching := "fetch false"
	if p.BaseURL() != lab.DefaultBaseURL {
		fetching = "fetch-private true"
	}
	return []string{"only-ca " + filepath.Join(dir, "ca-bundle.pem"), "crl " + filepath.Join(dir, "crl"), fetching}
}

// writeStates writes what makes the commands short: a state directory with options for each new
// person, and a script that starts the relay. A file config that is there is its person's own.
func (c *config) writeStates(p *lab.PKI, made []*lab.Holder) error {
	var flags strings.Builder
	for _, line := range c.options(p, "") {
		name, value, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(name, "fetch") {
			value = `"$lab"/` + value
		}
		fmt.Fprintf(&flags, " -%s=%s", name, value)
	}
	script := "#!/bin/sh\n# The lab's relay: sh relay.sh [OPTION...], in the directory with bin/relay.\n" +
		"lab=$(dirname -- \"$0\")\n" +
		"exec bin/relay -listen " + relayAddr + " -state \"$lab\"/state/relay" + flags.String() + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(c.out, "relay.sh"), []byte(script), 0o755); err != nil {
		return err
	}
	for _, h := range made {
		dir := filepath.Join(c.out, "state", h.Name)
		if err := state.MakeDir(dir); err != nil {
			return err
		}
		path := filepath.Join(dir, "config")
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		lines := append([]string{
			"# Options of client, see client(1). Relative paths begin at this directory.",
			"relay " + relayAddr, "name " + h.Name, "card ../../" + h.Name,
		}, c.options(p, "../..")...)
		if err := state.CreateFile(path, []byte(strings.Join(lines, "\n")+"\n")); err != nil {
			return err
		}
	}
	return nil
}
