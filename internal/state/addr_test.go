package state

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// addresses has the one form of each spelling, or "" for those that are refused.
var addresses = map[string]string{
	"localhost:7811":            "localhost:7811",
	"LOCALHOST:7811":            "localhost:7811",
	"localhost:07811":           "localhost:7811",
	"localhost.:7811":           "localhost:7811",
	"[localhost]:7811":          "localhost:7811",
	":8080":                     "localhost:8080",
	"0.0.0.0:8080":              "localhost:8080",
	"[::]:8080":                 "localhost:8080",
	"relay.Example.ORG:http":    "relay.example.org:80",
	"[::1]:1":                   "[::1]:1",
	"[0:0:0:0:0:0:0:1]:1":       "[::1]:1",
	"[2001:DB8::000A]:65535":    "[2001:db8::a]:65535",
	"[::ffff:10.0.0.5]:8080":    "10.0.0.5:8080",
	"[::ffff:a00:5]:8080":       "10.0.0.5:8080",
	"[10.0.0.5]:8080":           "10.0.0.5:8080",
	"[fe80::1]:8080":            "",
	"[fe80::1%]:8080":           "",
	"[fe80::1%0]:8080":          "",
	"[fe80::1%no-such-if]:8080": "",
	"[::1%lo]:8080":             "",
	"[::1%1]:8080":              "",
	"[::%1]:8080":               "",
	"[2001:db8::1%1]:8080":      "",
	"[::ffff:10.0.0.5%1]:8080":  "",
	"10.0.0.5%1:8080":           "",
	"xn--bcher-kva.example:1":   "xn--bcher-kva.example:1",
	"7a3f_2b:1":                 "7a3f_2b:1",
	"":                          "",
	"localhost":                 "",
	"localhost:":                "",
	"localhost:0":               "",
	"localhost:-1":              "",
	"localhost:65536":           "",
	"localhost:no-such-service": "",
	"http://localhost:80":       "",
	"::1:80":                    "",
	"bücher.example:1":          "",
	"\u212aelvin.example:1":     "", // the lower case of the Kelvin sign is k
	"bad host:1":                "",
	"host\x00:1":                "",
	"127.1:80":                  "",
	"010.0.0.1:80":              "",
	"0x7f.0.0.0x1:80":           "",
	"2130706433:80":             "",
	"..:80":                     "",
	"[fe80::1%bad zone]:80":     "",
	"a%b:80":                    "",
}

// init adds the spellings of a link-local address on an interface that is there.
func init() {
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) == 0 {
		panic(fmt.Sprintf("no network interface is there: %v", err))
	}
	name, index := interfaces[0].Name, strconv.Itoa(interfaces[0].Index)
	one := "[fe80::1%" + name + "]:8080"
	for _, zone := range []string{name, index, "00" + index} {
		addresses["[FE80::0:1%"+zone+"]:8080"] = one
	}
	for _, zone := range []string{index + "x", "+" + index, name + "x", strings.ToUpper(name), " " + index} {
		addresses["[fe80::1%"+zone+"]:8080"] = ""
	}
}

func TestRelayAddr(t *testing.T) {
	for given, want := range addresses {
		got, err := RelayAddr(given)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q (%v), not %q", given, got, err, want)
		}
	}
	if _, err := RelayAddr(strings.Repeat("a", maxHost+1) + ":1"); err == nil {
		t.Error("a host of any length is taken")
	}
	// Only an interface may come back: a config that names it holds up no command that stays offline.
	for given, want := range map[string]bool{"[fe80::1%no-such-if]:1": true, "[fe80::1]:1": false, "[::1%no-such-if]:1": false} {
		if _, err := RelayAddr(given); errors.Is(err, ErrInterface) != want {
			t.Errorf("%s: %v", given, err)
		}
	}
}

// FuzzRelayAddr: the one form is the one form of itself, and can be dialled.
func FuzzRelayAddr(f *testing.F) {
	var good, bad [][]byte
	for given, want := range addresses {
		if want == "" {
			bad = append(bad, []byte(given))
		} else {
			good = append(good, []byte(given))
		}
	}
	corpus.Add(f, func(b []byte) bool { _, err := RelayAddr(string(b)); return err == nil }, good, bad...)
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, err := RelayAddr(string(b))
		if err != nil {
			return
		}
		if again, err := RelayAddr(addr); again != addr || err != nil {
			t.Errorf("%q is %q, and that is %q (%v)", b, addr, again, err)
		}
		if host, port, err := net.SplitHostPort(addr); host == "" || port == "" || err != nil || proto.Visible(addr) != addr {
			t.Errorf("%q is %q", b, addr)
		}
	})
}

// TestOneRelayInEverySpelling: a changed key is refused, forgotten and accepted whatever the
// spelling, also that of a line by an earlier program.
func TestOneRelayInEverySpelling(t *testing.T) {
	s := mustState(t)
	old := newKnownRelay("localhost:7811", fingerprintA)
	old.Addr = "LocalHost:07811"
	path := filepath.Join(s.Dir(), relaysFile)
	if err := os.WriteFile(path, append(proto.MustMarshal(old), '\n'), FileMode); err != nil {
		t.Fatal(err)
	}
	for given, want := range addresses {
		if want != "localhost:7811" {
			continue
		}
		if fp, ok := s.KnownRelay(given); !ok || fp != fingerprintA {
			t.Errorf("%s is not known", given)
		}
		if err := s.SetKnownRelay(given, fingerprintB); fail.ExitStatus(err) != 4 {
			t.Errorf("%s takes a changed key: %v", given, err)
		}
		if _, err := s.AcceptRelay(given, fingerprintB); err != nil {
			t.Fatal(err)
		}
		if relays := s.KnownRelays(); len(relays) != 1 || relays[0].Addr != want || relays[0].Fingerprint != fingerprintB {
			t.Errorf("after %s was accepted, known are %+v", given, relays)
		}
		if ok, err := s.ForgetRelay(given); !ok || err != nil {
			t.Errorf("%s is not forgotten: %v", given, err)
		}
		if err := os.WriteFile(path, append(proto.MustMarshal(old), '\n'), FileMode); err != nil {
			t.Fatal(err)
		}
	}
	if other := s.Elsewhere("10.0.0.5:8080", fingerprintA); other != "localhost:7811" {
		t.Errorf("the key is known for %q", other)
	}
	if other := s.Elsewhere("LOCALHOST:7811", fingerprintA); other != "" {
		t.Errorf("the key is known for the same relay elsewhere: %q", other)
	}
}
