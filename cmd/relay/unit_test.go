package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unitKeys reads a unit: the values of each key of [Service], in their order.
func unitKeys(t *testing.T, file string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../doc", file))
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

// TestUnitIsHardened: the unit has every lock, and its command line is one that
// the relay takes.
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
		if o, status, ok := parse(args, &bytes.Buffer{}, &stderr); !ok || o.cfg.State != "%S/private/chatsecure-relay" {
			t.Errorf("%q: status %d, %q", args, status, stderr.String())
		}
	}
}

// TestUnitBySystemd has systemd itself read the unit, and rate it.
func TestUnitBySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("NOT CHECKED: there is no systemd-analyze here, so only TestUnitIsHardened has looked at the unit")
		return
	}
	const name = "chatsecure-relay.service"
	for _, file := range []string{"", "chatsecure-relay-low-port.conf"} {
		dir := t.TempDir()
		place := func(from, to string) {
			data, err := os.ReadFile(filepath.Join("../../doc", from))
			if err != nil {
				t.Fatal(err)
			}
			// The program is not installed where this runs.
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
		// Exposure of at most 2.0 of 10: "OK" by its own words.
		security := exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", filepath.Join(dir, name))
		if out, err := security.CombinedOutput(); err != nil {
			t.Errorf("%s: systemd-analyze security: %v\n%s", file, err, out)
		}
	}
}
