package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/wire"
)

// trustPrograms is the built relay and client, and where they run.
type trustPrograms struct {
	t   *testing.T
	bin string
	dir string // state directories
	ca  string // everybody's -ca-bundle
	env []string
}

// TestTrustByPrograms runs the built programs against sound and unsound hierarchies.
func TestTrustByPrograms(t *testing.T) {
	bin, err := town.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T, *trustPrograms){
		"Revocation":          testTrustRevocation,
		"Validity":            testTrustValidity,
		"CardWithoutIssuers":  testTrustCardWithoutIssuers,
		"ListsAreFetched":     testTrustListsAreFetched,
		"RevokedWhileTalking": testTrustRevokedWhileTalking,
		"PeerRevokesAlone":    testTrustPeerRevokesAlone,
		"DelegationIsRenewed": testTrustDelegationIsRenewed,
	} {
		t.Run(name, func(t *testing.T) { test(t, &trustPrograms{t: t, bin: bin, dir: t.TempDir()}) })
	}
}

// relay starts a relay. It returns the address, the process, and a function that ends it.
func (p *trustPrograms) relay(args ...string) (addr string, process *os.Process, stop func()) {
	p.t.Helper()
	dir, err := os.MkdirTemp(p.dir, "relay-")
	if err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Join(dir, "addr")
	base := []string{"-listen", "127.0.0.1:0", "-addr-file", file, "-state", filepath.Join(dir, "state"), "-ca-bundle", p.ca}
	cmd := exec.Command(filepath.Join(p.bin, "relay"), append(base, args...)...)
	log := new(bytes.Buffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := <-done; err != nil {
			p.t.Errorf("the relay ended with %v; it said\n%s", err, log)
		}
	})
	p.t.Cleanup(stop)
	for deadline := time.Now().Add(town.Patience); ; time.Sleep(time.Millisecond) { // the file is the barrier
		if text, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(text)), cmd.Process, stop
		}
		if time.Now().After(deadline) {
			p.t.Fatal("the relay does not listen")
		}
	}
}

// client is a client that can ask nobody.
func (p *trustPrograms) client(name, card, addr string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 5*town.Patience) // its life is many steps
	p.t.Cleanup(cancel)
	base := []string{"-relay", addr, "-name", name, "-card", card,
		"-state", filepath.Join(p.dir, "state-"+name), "-ca-bundle", p.ca, "-accept-new", "-batch"}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "client"), append(base, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), append(p.env, "CHATSECURE_RELAY=", "CHATSECURE_NAME=",
		"CHATSECURE_CARD=", "CHATSECURE_STATE=", "HOME="+p.dir)...)
	return cmd
}

// wantOK checks that a client succeeded in silence.
func (p *trustPrograms) wantOK(what string, r town.Result) {
	p.t.Helper()
	if r.Status != 0 || r.Stderr != "" {
		p.t.Errorf("%s: exit status %d; it said %q", what, r.Status, r.Stderr)
	}
}

// wantRefused checks that a client ended with 4 and said why. What the relay refused names no
// file of the relay's, and has no hint about this machine.
func (p *trustPrograms) wantRefused(what string, r town.Result, says ...string) {
	p.t.Helper()
	if r.Status != 4 {
		p.t.Errorf("%s: exit status %d, not 4", what, r.Status)
	}
	stderr := strings.ReplaceAll(r.Stderr, `\"`, `"`) // the relay's words are quoted
	for _, s := range append(says, "client: error: ") {
		if !strings.Contains(stderr, s) {
			p.t.Errorf("%s: nothing says %q in %q", what, s, r.Stderr)
		}
	}
	if strings.Contains(r.Stderr, "the relay refuses") && (strings.Contains(r.Stderr, "hint") || strings.Contains(r.Stderr, p.dir)) {
		p.t.Errorf("%s: the relay's refusal has a hint or a file: %q", what, r.Stderr)
	}
}

// trustScene is a set of lists for a certificate, and the verdict on it under the policy require.
type trustScene struct {
	name    string
	lists   func(o *opensslTown, dir string, serial int64)
	code    string // "": accepted
	says    string // in the error
	unknown bool   // the policy try accepts it
}

var trustScenes = []trustScene{
	{"good", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{revoked: []opensslRevoked{{serial + 1000, "keyCompromise"}}})
	}, "", "", false},
	{"good by its partition", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{point: opensslPoint})
	}, "", "", false},
	{"revoked in the base", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{revoked: []opensslRevoked{{serial, "keyCompromise"}}})
	}, "certificate-revoked", "was revoked on", false},
	{"revoked in the delta only", func(o *opensslTown, dir string, serial int64) {
		base := o.list(dir+"/ca.crl", opensslList{})
		o.list(dir+"/delta.crl", opensslList{base: base, revoked: []opensslRevoked{{serial, "superseded"}}})
	}, "certificate-revoked", "superseded", false},
	{"on hold", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{revoked: []opensslRevoked{{serial, "certificateHold"}}})
	}, "certificate-revoked", "certificateHold", false},
	{"on hold, and released by the delta", func(o *opensslTown, dir string, serial int64) {
		base := o.list(dir+"/ca.crl", opensslList{revoked: []opensslRevoked{{serial, "certificateHold"}}})
		o.list(dir+"/delta.crl", opensslList{base: base, revoked: []opensslRevoked{{serial, "removeFromCRL"}}})
	}, "", "", false},
	{"on hold, and released by a delta for a later base", func(o *opensslTown, dir string, serial int64) {
		base := o.list(dir+"/ca.crl", opensslList{revoked: []opensslRevoked{{serial, "certificateHold"}}})
		o.number += 5
		o.list(dir+"/delta.crl", opensslList{base: base + 3, revoked: []opensslRevoked{{serial, "removeFromCRL"}}})
	}, "certificate-revoked", "certificateHold", false},
	{"a partition that is about others", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{point: "http://crls.example/part2.crl"})
	}, "revocation-unknown", "are about other certificates", true},
	{"a stale list", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{thisUpdate: time.Now().Add(-48 * time.Hour), nextUpdate: time.Now().Add(-24 * time.Hour)})
	}, "revocation-unknown", "was due to be replaced on", true},
	{"a stale list that names it", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{thisUpdate: time.Now().Add(-48 * time.Hour), nextUpdate: time.Now().Add(-24 * time.Hour),
			revoked: []opensslRevoked{{serial, "keyCompromise"}}})
	}, "certificate-revoked", "was revoked on", false},
	{"signed by another authority", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{key: "impostor"})
	}, "revocation-unknown", "signed with another key of its authority", true},
	{"missing", func(*opensslTown, string, int64) {}, "revocation-unknown", `no revocation list of "EC Independente" is at hand`, true},
	{"indirect", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{indirect: true})
	}, "revocation-unknown", "an indirect list", true},
	{"a critical extension that nobody knows", func(o *opensslTown, dir string, serial int64) {
		o.list(dir+"/ca.crl", opensslList{unknown: true})
	}, "revocation-unknown", "a critical extension that is not known", true},
}

// testTrustRevocation asks all three judges about every scene: the person's own client, the relay,
// and another person.
func testTrustRevocation(t *testing.T, p *trustPrograms) {
	o := newOpensslTown(t)
	p.ca = o.path("root.pem")
	from, to := time.Now().Add(-time.Hour), time.Now().Add(12*time.Hour)
	o.card("alice", "root", from, to)
	blind, _, _ := p.relay("-crl-policy", "off", "-fetch=false") // accepts everybody
	for i, s := range trustScenes {
		t.Run(s.name, func(t *testing.T) {
			p := &trustPrograms{t: t, bin: p.bin, dir: p.dir, ca: p.ca}
			o.t = t
			name := fmt.Sprintf("h%d", i)
			serial := o.card(name, "ca", from, to)
			card, dir := o.path("card-"+name), t.TempDir()
			o.list(dir+"/root.crl", opensslList{ca: "root"})
			s.lists(o, dir, serial)
			require := []string{"-fetch=false", "-crl", dir, "-crl-policy", "require"}

			own := town.RunCommand(p.t, p.client(name, card, blind, append(require, "list")...), "")
			strict, _, stop := p.relay(require...)
			relay := town.RunCommand(p.t, p.client(name, card, strict, "-crl-policy", "off", "list"), "")
			stop()

			// Once Alice has talked with the person, whois has the certificate.
			person := town.StartCommand(p.t, p.client(name, card, blind, "-crl-policy", "off", "-json", "recv"))
			person.Object("connected")
			peer := town.RunCommand(p.t, p.client("alice", o.path("card-alice"), blind, append(require, "send", name, "hello")...), "")
			p.wantOK("without a look", town.RunCommand(p.t, p.client("alice", o.path("card-alice"), blind, "-crl-policy", "off", "send", name, "hello"), ""))
			asJSON := town.RunCommand(p.t, p.client("alice", o.path("card-alice"), blind, append(require, "-json", "whois", name)...), "")
			try := town.RunCommand(p.t, p.client("alice", o.path("card-alice"), blind, "-fetch=false",
				"-crl", dir, "-crl-policy", "try", "-json", "whois", name), "")
			person.Cmd.Process.Signal(syscall.SIGTERM)
			person.End()

			if s.code == "" {
				p.wantOK("its own client", own)
				p.wantOK("the relay", relay)
				p.wantOK("another person", peer)
				p.wantOK("whois", asJSON)
				for what, r := range map[string]town.Result{"require": asJSON, "try": try} {
					if !strings.Contains(r.Stdout, `"revocation":{"status":"good"`) {
						t.Errorf("whois under %s: %s", what, r.Stdout)
					}
				}
				return
			}
			p.wantRefused("its own client", own, s.says)
			p.wantRefused("the relay", relay, s.says)
			p.wantRefused("another person", peer, s.says)
			p.wantRefused("whois", asJSON, s.says)
			if !strings.Contains(asJSON.Stdout, `"code":"`+s.code+`","exit":4,`) && !strings.Contains(asJSON.Stdout, s.code) {
				t.Errorf("whois in JSON does not say %s: %s", s.code, asJSON.Stdout)
			}
			if !s.unknown {
				p.wantRefused("under try", try, s.says)
			} else if try.Status != 0 || !strings.Contains(try.Stdout, `"revocation":{"status":"unknown"`) {
				t.Errorf("under try it is not accepted as unknown: %+v", try)
			}
		})
	}
}

// testTrustValidity: certificates that have expired or not begun.
func testTrustValidity(t *testing.T, p *trustPrograms) {
	o := newOpensslTown(t)
	p.ca = o.path("root.pem")
	now := time.Now()
	o.card("past", "ca", now.Add(-50*time.Minute), now.Add(-10*time.Minute))
	o.card("future", "ca", now.Add(time.Hour), now.Add(2*time.Hour))
	dir := t.TempDir()
	o.list(dir+"/root.crl", opensslList{ca: "root"})
	o.list(dir+"/ca.crl", opensslList{})
	addr, _, _ := p.relay("-crl", dir, "-crl-policy", "require", "-fetch=false")
	for name, says := range map[string]string{"past": "ended on", "future": "begins on"} {
		p.wantRefused(name, town.RunCommand(p.t, p.client(name, o.path("card-"+name), addr, "-crl", dir, "-fetch=false", "list"), ""), says)
	}
}

// trustLab is a lab with a web server for its authorities' files, and a card for Alice.
func trustLab(t *testing.T, p *trustPrograms) (*wire.Lists, string) {
	t.Helper()
	s := wire.NewLists(t)
	dir := filepath.Join(s.Dir, "lab")
	p.ca = filepath.Join(dir, "ca-bundle.pem")
	return s, dir
}

// testTrustCardWithoutIssuers connects with a token of 2024: an EC key and no CA certificate.
func testTrustCardWithoutIssuers(t *testing.T, p *trustPrograms) {
	lab.NeedSoftHSM(t)
	s, dir := trustLab(t, p)
	bob, err := s.PKI.Issue("bob", lab.NoCA, lab.P256)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := s.PKI.SoftHSM(dir, bob)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PKI.Write(dir); err != nil {
		t.Fatal(err)
	}
	p.env = []string{tokens.Env()}
	crl := filepath.Join(dir, "crl")
	addr, _, _ := p.relay("-crl", crl, "-crl-policy", "require", "-fetch=false")
	list := func(more ...string) town.Result {
		args := append([]string{"-pin-file", tokens.PINFile("bob"), "-crl", crl, "-crl-policy", "require"}, more...)
		return town.RunCommand(p.t, p.client("bob", tokens.URI("bob"), addr, append(args, "list")...), "")
	}
	p.wantRefused("without -fetch-private", list(), "EC de Autenticação do Cartão de Cidadão 0001",
		s.Web.URL+"/aia/auth.crt", "a loopback address", "-fetch-private")
	p.wantRefused("with -fetch=false", list("-fetch=false", "-fetch-private"), s.Web.URL+"/aia/auth.crt", "-fetch=false")
	s.WantRequests() // no request
	p.wantOK("with -fetch-private", list("-fetch-private"))
	if asked := s.Requests(); !slices.Contains(asked, "200 /aia/auth.crt") || !slices.Contains(asked, "200 /aia/cc.crt") {
		t.Errorf("the server was asked %q", asked)
	}
	s.Web.Close()
	p.wantOK("with the server gone", list("-fetch-private"))
	p.wantOK("and with -fetch=false", list("-fetch=false"))
}

// testTrustListsAreFetched: relay and client have only fetched lists, under the policy require.
func testTrustListsAreFetched(t *testing.T, p *trustPrograms) {
	s, dir := trustLab(t, p)
	card := filepath.Join(dir, "alice")
	addr, process, _ := p.relay("-crl-policy", "require", "-fetch-private")
	require := []string{"-crl-policy", "require"}
	alice := func(args ...string) town.Result {
		return town.RunCommand(p.t, p.client("alice", card, addr, append(require, args...)...), "")
	}
	p.wantRefused("without -fetch-private", alice("list"), s.Web.URL+"/crl/auth.crl", "a loopback address", "-fetch-private")
	s.WantRequests()
	p.wantOK("the first time", alice("-fetch-private", "list"))
	asked := s.Requests()
	for _, want := range []string{"200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl"} {
		// one from the client, one from the relay
		if n := len(slices.DeleteFunc(slices.Clone(asked), func(a string) bool { return a != want })); n != 2 {
			t.Errorf("%q was asked %d times: %q", want, n, asked)
		}
	}
	shown := alice("crl")
	p.wantOK("crl", shown)
	for _, want := range []string{`"EC de Autenticação do Cartão de Cidadão 0001": base list 02`,
		"(1 hour ago), 0 entries, next by", s.Web.URL + "/crl/auth.crl, fetched just now, signature checked"} {
		if !strings.Contains(shown.Stdout, want) {
			t.Errorf("crl does not show %q: %s", want, shown.Stdout)
		}
	}

	// A new list appears; crl refresh and SIGHUP fetch it.
	s.PKI.Revoke(s.Alice, time.Now().Add(-time.Minute), 1)
	s.Publish()
	p.wantOK("from the cache", alice("-fetch-private", "-crl-policy", "off", "list"))
	fresh := alice("-fetch-private", "-json", "crl", "refresh")
	p.wantOK("crl refresh", fresh)
	var last map[string]any
	for line := range strings.Lines(fresh.Stdout) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o["source"] == s.Web.URL+"/crl/auth.crl" {
			last = o
		}
	}
	if last["type"] != "crl" || last["number"] != "03" || last["entries"] != 1.0 || last["verified"] != true || last["fetched"] == "" {
		t.Errorf("crl refresh shows %v", last)
	}
	p.wantRefused("after crl refresh", alice("-fetch-private", "list"), "was revoked on")

	process.Signal(syscall.SIGHUP)
	p.untilRefused("the relay", func() town.Result { return alice("-crl-policy", "off", "list") }, "was revoked on")

	// The error says that the server has gone.
	s.Serve("/crl/auth.crl", http.NotFound)
	gone := alice("-fetch-private", "crl", "refresh")
	if gone.Status != 1 || !strings.Contains(gone.Stderr, "404 Not Found") || !strings.Contains(gone.Stdout, "Cartão de Cidadão") {
		t.Errorf("crl refresh without a server: %+v", gone)
	}
	if off := alice("-fetch=false", "crl", "refresh"); off.Status != 2 {
		t.Errorf("crl refresh with -fetch=false: %+v", off)
	}
}

// untilRefused runs a client until it is refused, which must happen soon.
func (p *trustPrograms) untilRefused(what string, run func() town.Result, says string) {
	p.t.Helper()
	var r town.Result
	for deadline := time.Now().Add(town.Patience); time.Now().Before(deadline); {
		if r = run(); r.Status == 4 {
			break
		}
	}
	p.wantRefused(what, r, says)
}

// testTrustRevokedWhileTalking revokes Bob during a conversation. Relay and clients look at the
// lists every few seconds.
func testTrustRevokedWhileTalking(t *testing.T, p *trustPrograms) {
	s, dir := trustLab(t, p)
	bob := trustIssue(s, "bob", dir)
	crl := filepath.Join(dir, "crl")
	addr, _, _ := p.relay("-crl", crl, "-crl-policy", "require", "-fetch=false")
	a, b := p.talk(addr, dir, "-fetch=false", "-crl", crl, "-crl-policy", "require")

	s.PKI.Revoke(bob, time.Now().Add(-time.Minute), 1)
	if err := s.PKI.WriteCRLs(dir); err != nil {
		t.Fatal(err)
	}
	// Bob gets the code and the reason, and his client ends.
	if e := b.Object("error"); e["code"] != "certificate-revoked" || e["exit"] != 4.0 ||
		!strings.Contains(fmt.Sprint(e["message"]), "was revoked on") {
		t.Errorf("bob is told %v", e)
	}
	if r := b.End(); r.Status != 4 {
		t.Errorf("bob's client ended with %+v", r)
	}
	gone(a, "bob")
	// Alice's next message goes nowhere, and she learns that.
	fmt.Fprintln(a.Stdin, "bob: are you there?")
	r := a.End()
	if r.Status != 4 && r.Status != 6 || !strings.Contains(r.Stderr, "bob") {
		t.Errorf("alice's client ended with %+v", r)
	}
	p.wantRefused("bob, who comes again", town.RunCommand(p.t, p.client("bob", filepath.Join(dir, "bob"),
		addr, "-crl-policy", "off", "-fetch=false", "list"), ""), "was revoked on")
}

// testTrustPeerRevokesAlone: the relay does not check. Alice's client closes the conversation by
// itself, and Bob's is told.
func testTrustPeerRevokesAlone(t *testing.T, p *trustPrograms) {
	s, dir := trustLab(t, p)
	bob := trustIssue(s, "bob", dir)
	crl := filepath.Join(dir, "crl")
	addr, _, _ := p.relay("-crl-policy", "off", "-fetch=false")
	a, b := p.talk(addr, dir, "-fetch=false", "-crl", crl, "-crl-policy", "require")

	s.PKI.Revoke(bob, time.Now().Add(-time.Minute), 1)
	if err := s.PKI.WriteCRLs(dir); err != nil {
		t.Fatal(err)
	}
	refused(a, "bob", "was revoked on")
	fmt.Fprintln(b.Stdin, "alice: it is still me")
	refused(b, "alice", "was revoked on")
	// She stays until he has given up: with nobody there the reason would be that.
	b.Until(func(o map[string]any) bool {
		return o["type"] == "receipt" && strings.Contains(fmt.Sprint(o["reason"]), "was revoked on")
	})
	fmt.Fprintln(a.Stdin, "bob: no")
	if r := a.End(); r.Status != 4 || !strings.Contains(r.Stderr, "was revoked on") {
		t.Errorf("alice's client ended with %+v", r)
	}
	if r := b.End(); r.Status != 4 {
		t.Errorf("bob's client ended with %+v", r)
	}
}

// testTrustDelegationIsRenewed: delegations last seconds. A client without a user has the card sign
// again, and later messages still arrive.
func testTrustDelegationIsRenewed(t *testing.T, p *trustPrograms) {
	lab.NeedSoftHSM(t)
	s, dir := trustLab(t, p)
	bob := trustIssue(s, "bob", dir)
	tokens, err := s.PKI.SoftHSM(dir, bob)
	if err != nil {
		t.Fatal(err)
	}
	p.env = []string{tokens.Env()}
	addr, _, _ := p.relay("-fetch=false")
	b := town.StartCommand(p.t, p.client("bob", tokens.URI("bob"), addr, "-fetch=false",
		"-keep", "5s", "-pin-file", tokens.PINFile("bob"), "-json", "recv", "-n", "1"))
	first := b.Object("connected")["conn"]
	if second := b.Object("back")["conn"]; second == first {
		t.Errorf("the connection is %v still", second)
	}
	send := town.RunCommand(p.t, p.client("alice", filepath.Join(dir, "alice"), addr, "-fetch=false",
		"-crl-policy", "off", "send", "-wait-peer", "20s", "bob", "hello"), "")
	// Bob may be between two delegations just then, and Alice is told of that.
	if send.Status != 0 {
		t.Errorf("alice's send ended with %+v", send)
	}
	if m := b.Object("message"); m["text"] != "hello" {
		t.Errorf("bob got %v", m)
	}
	if r := b.End(); r.Status != 0 {
		t.Errorf("bob's client ended with %+v", r)
	}
}

func trustIssue(s *wire.Lists, name, dir string) *lab.Holder {
	s.T.Helper()
	h, err := s.PKI.Issue(name)
	if err == nil {
		err = s.PKI.Write(dir)
	}
	if err != nil {
		s.T.Fatal(err)
	}
	return h
}

// talk starts a conversation of Alice and Bob.
func (p *trustPrograms) talk(addr, dir string, args ...string) (a, b *town.Running) {
	p.t.Helper()
	args = append(args, "-json")
	b = town.StartCommand(p.t, p.client("bob", filepath.Join(dir, "bob"), addr, append(args, "-crl-policy", "off")...))
	b.Object("connected")
	// Her last message reaches nobody, so her client need not wait long.
	a = town.StartCommand(p.t, p.client("alice", filepath.Join(dir, "alice"), addr, append(args, "-timeout", "5s")...))
	a.Object("connected")
	fmt.Fprintln(a.Stdin, "bob: hello")
	if m := b.Object("message"); m["text"] != "hello" {
		p.t.Fatalf("bob got %v", m)
	}
	fmt.Fprintln(b.Stdin, "alice: hello yourself")
	if m := a.Object("message"); m["text"] != "hello yourself" {
		p.t.Fatalf("alice got %v", m)
	}
	return a, b
}

// gone reads up to the event that a peer has left or is refused.
func gone(p *town.Running, name string) {
	p.T.Helper()
	p.Until(func(o map[string]any) bool {
		return o["type"] == "peer" && o["name"] == name && (o["what"] == "left" || o["what"] == "refused")
	})
}

// refused reads up to the event that a peer is refused, or refuses, for this reason.
func refused(p *town.Running, name, why string) {
	p.T.Helper()
	p.Until(func(o map[string]any) bool {
		return o["type"] == "peer" && o["name"] == name && o["what"] == "refused" && strings.Contains(fmt.Sprint(o["reason"]), why)
	})
}
