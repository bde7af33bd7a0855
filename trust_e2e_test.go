package chatsecure

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
)

// trustPatience bounds every wait: far more than any step takes on a busy
// machine.
const trustPatience = 60 * time.Second

// trustPrograms is relay and client as they are shipped, and where they run.
type trustPrograms struct {
	t   *testing.T
	bin string
	dir string // state directories
	ca  string // -ca-bundle of everybody
	env []string
}

// TestTrustByPrograms runs the built programs against hierarchies that are
// sound and against such that are not.
func TestTrustByPrograms(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin+"/", "./cmd/relay", "./cmd/client").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
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

// relay starts a relay and returns its address and what ends it.
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
	for deadline := time.Now().Add(trustPatience); ; time.Sleep(time.Millisecond) { // the file is the barrier
		if text, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(text)), cmd.Process, stop
		}
		if time.Now().After(deadline) {
			p.t.Fatal("the relay does not listen")
		}
	}
}

// client is a client that nobody can be asked at.
func (p *trustPrograms) client(name, card, addr string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 5*trustPatience) // its life is many steps
	p.t.Cleanup(cancel)
	base := []string{"-relay", addr, "-name", name, "-card", card, "-state", filepath.Join(p.dir, "state-"+name), "-ca-bundle", p.ca, "-accept-new", "-batch"}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "client"), append(base, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), append(p.env, "CHATSECURE_RELAY=", "CHATSECURE_NAME=", "CHATSECURE_CARD=", "CHATSECURE_STATE=", "HOME="+p.dir)...)
	return cmd
}

// trustResult is how a client ended.
type trustResult struct {
	status         int
	stdout, stderr string
}

func (p *trustPrograms) run(cmd *exec.Cmd) trustResult {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		p.t.Fatal(err)
	}
	return trustResult{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// wantOK checks that a client has ended well, and in silence.
func (p *trustPrograms) wantOK(what string, r trustResult) {
	p.t.Helper()
	if r.status != 0 || r.stderr != "" {
		p.t.Errorf("%s: exit status %d; it said %q", what, r.status, r.stderr)
	}
}

// wantRefused checks that a client has ended with 4, and that it says why.
func (p *trustPrograms) wantRefused(what string, r trustResult, says ...string) {
	p.t.Helper()
	if r.status != 4 {
		p.t.Errorf("%s: exit status %d, not 4", what, r.status)
	}
	for _, s := range append(says, "client: error: ", "client: hint: ") {
		if !strings.Contains(r.stderr, s) {
			p.t.Errorf("%s: nothing says %q in %q", what, s, r.stderr)
		}
	}
}

// trustScene is a set of lists, made for a certificate with a serial number,
// and what is to be thought of it under the policy require.
type trustScene struct {
	name    string
	lists   func(o *opensslTown, dir string, serial int64)
	code    string // "" if it is accepted
	says    string // in the error
	unknown bool   // try accepts it
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

// testTrustRevocation takes every scene to the three who judge: the person's
// own client, the relay, and somebody who talks with the person.
func testTrustRevocation(t *testing.T, p *trustPrograms) {
	o := newOpensslTown(t)
	p.ca = o.path("root.pem")
	from, to := time.Now().Add(-time.Hour), time.Now().Add(12*time.Hour)
	o.card("alice", "root", from, to)
	blind, _, _ := p.relay("-crl-policy", "off", "-fetch=false") // it believes everybody
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

			own := p.run(p.client(name, card, blind, append(require, "list")...))
			strict, _, stop := p.relay(require...)
			relay := p.run(p.client(name, card, strict, "-crl-policy", "off", "list"))
			stop()

			person := p.start(p.client(name, card, blind, "-crl-policy", "off", "-json", "recv"))
			person.object("connected")
			peer := p.run(p.client("alice", o.path("card-alice"), blind, append(require, "send", name, "hello")...))
			asJSON := p.run(p.client("alice", o.path("card-alice"), blind, append(require, "-json", "whois", name)...))
			try := p.run(p.client("alice", o.path("card-alice"), blind, "-fetch=false", "-crl", dir, "-crl-policy", "try", "-json", "whois", name))
			person.stop()

			if s.code == "" {
				p.wantOK("its own client", own)
				p.wantOK("the relay", relay)
				p.wantOK("another person", peer)
				p.wantOK("whois", asJSON)
				for what, r := range map[string]trustResult{"require": asJSON, "try": try} {
					if !strings.Contains(r.stdout, `"revocation":{"status":"good"`) {
						t.Errorf("whois under %s: %s", what, r.stdout)
					}
				}
				return
			}
			p.wantRefused("its own client", own, s.says)
			p.wantRefused("the relay", relay, s.says)
			p.wantRefused("another person", peer, s.says)
			p.wantRefused("whois", asJSON, s.says)
			if !strings.Contains(asJSON.stdout, `"code":"`+s.code+`","exit":4,`) && !strings.Contains(asJSON.stdout, s.code) {
				t.Errorf("whois in JSON does not say %s: %s", s.code, asJSON.stdout)
			}
			if !s.unknown {
				p.wantRefused("under try", try, s.says)
			} else if try.status != 0 || !strings.Contains(try.stdout, `"revocation":{"status":"unknown"`) {
				t.Errorf("under try it is not accepted as unknown: %+v", try)
			}
		})
	}
}

// testTrustValidity has certificates that are over, or not yet begun.
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
	for name, says := range map[string]string{"past": "expired", "future": "begins on"} {
		p.wantRefused(name, p.run(p.client(name, o.path("card-"+name), addr, "-crl", dir, "-fetch=false", "list")), says)
	}
}

// trustLab is a lab whose authorities' files a server of this test has.
func trustLab(t *testing.T, p *trustPrograms) (*fetchScene, string) {
	t.Helper()
	s := newFetchScene(t)
	dir := filepath.Join(s.dir, "lab")
	p.ca = filepath.Join(dir, "ca-bundle.pem")
	return s, dir
}

// testTrustCardWithoutIssuers connects with a token of 2024: an EC key, and no
// CA certificate on it.
func testTrustCardWithoutIssuers(t *testing.T, p *trustPrograms) {
	lab.NeedSoftHSM(t)
	s, dir := trustLab(t, p)
	bob, err := s.pki.Issue("bob", lab.NoCA, lab.P256)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := s.pki.SoftHSM(dir, bob)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.pki.Write(dir); err != nil {
		t.Fatal(err)
	}
	p.env = []string{tokens.Env()}
	crl := filepath.Join(dir, "crl")
	addr, _, _ := p.relay("-crl", crl, "-crl-policy", "require", "-fetch=false")
	list := func(more ...string) trustResult {
		args := append([]string{"-pin-file", tokens.PINFile("bob"), "-crl", crl, "-crl-policy", "require"}, more...)
		return p.run(p.client("bob", tokens.URI("bob"), addr, append(args, "list")...))
	}
	p.wantRefused("without -fetch-private", list(), "EC de Autenticação do Cartão de Cidadão 0001", s.web.URL+"/aia/auth.crt", "a loopback address", "-fetch-private")
	p.wantRefused("with -fetch=false", list("-fetch=false", "-fetch-private"), s.web.URL+"/aia/auth.crt", "-fetch=false")
	s.wantRequests() // nobody asked
	p.wantOK("with -fetch-private", list("-fetch-private"))
	if asked := s.requests(); !slices.Contains(asked, "200 /aia/auth.crt") || !slices.Contains(asked, "200 /aia/cc.crt") {
		t.Errorf("the server was asked %q", asked)
	}
	s.web.Close()
	p.wantOK("with the server gone", list("-fetch-private"))
	p.wantOK("and with -fetch=false", list("-fetch=false"))
}

// testTrustListsAreFetched has relay and client know nothing but what they
// fetch, under the policy that requires to know.
func testTrustListsAreFetched(t *testing.T, p *trustPrograms) {
	s, dir := trustLab(t, p)
	card := filepath.Join(dir, "alice")
	addr, process, _ := p.relay("-crl-policy", "require", "-fetch-private")
	require := []string{"-crl-policy", "require"}
	alice := func(args ...string) trustResult {
		return p.run(p.client("alice", card, addr, append(require, args...)...))
	}
	p.wantRefused("without -fetch-private", alice("list"), s.web.URL+"/crl/auth.crl", "a loopback address", "-fetch-private")
	s.wantRequests()
	p.wantOK("the first time", alice("-fetch-private", "list"))
	asked := s.requests()
	for _, want := range allLists {
		if n := len(slices.DeleteFunc(slices.Clone(asked), func(a string) bool { return a != want })); n != 2 { // client and relay
			t.Errorf("%q was asked %d times: %q", want, n, asked)
		}
	}
	shown := alice("crl")
	p.wantOK("crl", shown)
	for _, want := range []string{`"EC de Autenticação do Cartão de Cidadão 0001": base list 02`, "(1 hour ago), 0 entries, next by", s.web.URL + "/crl/auth.crl, fetched just now, signature checked"} {
		if !strings.Contains(shown.stdout, want) {
			t.Errorf("crl does not show %q: %s", want, shown.stdout)
		}
	}

	// The list moves on; crl refresh and SIGHUP go and get it.
	s.pki.Revoke(s.alice, time.Now().Add(-time.Minute), 1)
	s.publish()
	p.wantOK("from the cache", alice("-fetch-private", "-crl-policy", "off", "list"))
	fresh := alice("-fetch-private", "-json", "crl", "refresh")
	p.wantOK("crl refresh", fresh)
	var last map[string]any
	for line := range strings.Lines(fresh.stdout) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o["source"] == s.web.URL+"/crl/auth.crl" {
			last = o
		}
	}
	if last["type"] != "crl" || last["number"] != "03" || last["entries"] != 1.0 || last["verified"] != true || last["fetched"] == "" {
		t.Errorf("crl refresh shows %v", last)
	}
	p.wantRefused("after crl refresh", alice("-fetch-private", "list"), "was revoked on")

	process.Signal(syscall.SIGHUP)
	p.untilRefused("the relay", func() trustResult { return alice("-crl-policy", "off", "list") }, "was revoked on")

	// A server that has gone says so.
	s.serve("/crl/auth.crl", http.NotFound)
	gone := alice("-fetch-private", "crl", "refresh")
	if gone.status != 1 || !strings.Contains(gone.stderr, "404 Not Found") || !strings.Contains(gone.stdout, "Cartão de Cidadão") {
		t.Errorf("crl refresh without a server: %+v", gone)
	}
	if off := alice("-fetch=false", "crl", "refresh"); off.status != 2 {
		t.Errorf("crl refresh with -fetch=false: %+v", off)
	}
}

// untilRefused runs something until it is refused, as it must be before long.
func (p *trustPrograms) untilRefused(what string, run func() trustResult, says string) {
	p.t.Helper()
	var r trustResult
	for deadline := time.Now().Add(trustPatience); time.Now().Before(deadline); {
		if r = run(); r.status == 4 {
			break
		}
	}
	p.wantRefused(what, r, says)
}

// testTrustRevokedWhileTalking revokes Bob in the middle of a conversation:
// relay and clients look at the lists every few seconds.
func testTrustRevokedWhileTalking(t *testing.T, p *trustPrograms) {
	s, dir := trustLab(t, p)
	bob := trustIssue(s, "bob", dir)
	crl := filepath.Join(dir, "crl")
	addr, _, _ := p.relay("-crl", crl, "-crl-policy", "require", "-fetch=false")
	a, b := p.talk(addr, dir, "-fetch=false", "-crl", crl, "-crl-policy", "require")

	s.pki.Revoke(bob, time.Now().Add(-time.Minute), 1)
	if err := s.pki.WriteCRLs(dir); err != nil {
		t.Fatal(err)
	}
	// Bob is told by code and sentence, and his client ends.
	if e := b.object("error"); e["code"] != "certificate-revoked" || e["exit"] != 4.0 || !strings.Contains(fmt.Sprint(e["message"]), "was revoked on") {
		t.Errorf("bob is told %v", e)
	}
	if r := b.end(); r.status != 4 {
		t.Errorf("bob's client ended with %+v", r)
	}
	a.gone("bob")
	// What Alice writes now goes nowhere, and she learns that.
	fmt.Fprintln(a.stdin, "bob: are you there?")
	r := a.end()
	if r.status != 4 && r.status != 6 || !strings.Contains(r.stderr, "bob") {
		t.Errorf("alice's client ended with %+v", r)
	}
	p.wantRefused("bob, who comes again", p.run(p.client("bob", filepath.Join(dir, "bob"), addr, "-crl-policy", "off", "-fetch=false", "list")), "was revoked on")
}

// testTrustPeerRevokesAlone has a relay that does not care: Alice's client
// closes the conversation by itself, and Bob's hears of it.
func testTrustPeerRevokesAlone(t *testing.T, p *trustPrograms) {
	s, dir := trustLab(t, p)
	bob := trustIssue(s, "bob", dir)
	crl := filepath.Join(dir, "crl")
	addr, _, _ := p.relay("-crl-policy", "off", "-fetch=false")
	a, b := p.talk(addr, dir, "-fetch=false", "-crl", crl, "-crl-policy", "require")

	s.pki.Revoke(bob, time.Now().Add(-time.Minute), 1)
	if err := s.pki.WriteCRLs(dir); err != nil {
		t.Fatal(err)
	}
	a.refused("bob", "was revoked on")
	fmt.Fprintln(b.stdin, "alice: it is still me")
	b.refused("alice", "was revoked on")
	fmt.Fprintln(a.stdin, "bob: no")
	if r := a.end(); r.status != 4 || !strings.Contains(r.stderr, "was revoked on") {
		t.Errorf("alice's client ended with %+v", r)
	}
	if r := b.end(); r.status != 4 {
		t.Errorf("bob's client ended with %+v", r)
	}
}

// testTrustDelegationIsRenewed has delegations of seconds: a client with nobody
// to ask has the card sign again, and what is sent afterwards still comes.
func testTrustDelegationIsRenewed(t *testing.T, p *trustPrograms) {
	lab.NeedSoftHSM(t)
	s, dir := trustLab(t, p)
	bob := trustIssue(s, "bob", dir)
	tokens, err := s.pki.SoftHSM(dir, bob)
	if err != nil {
		t.Fatal(err)
	}
	p.env = []string{tokens.Env()}
	addr, _, _ := p.relay("-fetch=false")
	b := p.start(p.client("bob", tokens.URI("bob"), addr, "-fetch=false", "-keep", "5s", "-pin-file", tokens.PINFile("bob"), "-json", "recv", "-n", "1"))
	first := b.object("connected")["conn"]
	if second := b.object("back")["conn"]; second == first {
		t.Errorf("the connection is %v still", second)
	}
	send := p.run(p.client("alice", filepath.Join(dir, "alice"), addr, "-fetch=false", "-crl-policy", "off", "send", "-wait-peer", "20s", "bob", "hello"))
	// Bob may be on his way to the next delegation just then, of which she is told.
	if send.status != 0 {
		t.Errorf("alice's send ended with %+v", send)
	}
	if m := b.object("message"); m["text"] != "hello" {
		t.Errorf("bob got %v", m)
	}
	if r := b.end(); r.status != 0 {
		t.Errorf("bob's client ended with %+v", r)
	}
}

func trustIssue(s *fetchScene, name, dir string) *lab.Holder {
	s.t.Helper()
	h, err := s.pki.Issue(name)
	if err == nil {
		err = s.pki.Write(dir)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// talk brings Alice and Bob into a conversation, each with a session.
func (p *trustPrograms) talk(addr, dir string, args ...string) (a, b *trustSession) {
	p.t.Helper()
	args = append(args, "-json")
	b = p.start(p.client("bob", filepath.Join(dir, "bob"), addr, append(args, "-crl-policy", "off")...))
	b.object("connected")
	// What Alice sends at the end reaches nobody, and she need not wait long.
	a = p.start(p.client("alice", filepath.Join(dir, "alice"), addr, append(args, "-timeout", "5s")...))
	a.object("connected")
	fmt.Fprintln(a.stdin, "bob: hello")
	if m := b.object("message"); m["text"] != "hello" {
		p.t.Fatalf("bob got %v", m)
	}
	fmt.Fprintln(b.stdin, "alice: hello yourself")
	if m := a.object("message"); m["text"] != "hello yourself" {
		p.t.Fatalf("alice got %v", m)
	}
	return a, b
}

// trustSession is a client in the background with -json.
type trustSession struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

func (p *trustPrograms) start(cmd *exec.Cmd) *trustSession {
	p.t.Helper()
	s := &trustSession{t: p.t, cmd: cmd}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	s.stdin, s.out, cmd.Stderr = stdin, bufio.NewReader(out), &s.stderr
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// object reads until an object of a type comes.
func (s *trustSession) object(typ string) map[string]any {
	s.t.Helper()
	return s.until(typ, func(o map[string]any) bool { return o["type"] == typ })
}

// gone reads until it is told that a peer has left or is refused.
func (s *trustSession) gone(name string) {
	s.t.Helper()
	s.until(name+" gone", func(o map[string]any) bool {
		return o["type"] == "peer" && o["name"] == name && (o["what"] == "left" || o["what"] == "refused")
	})
}

// refused reads until it is told that a peer is refused, or refuses, and why.
func (s *trustSession) refused(name, why string) {
	s.t.Helper()
	s.until(name+" refused", func(o map[string]any) bool {
		return o["type"] == "peer" && o["name"] == name && o["what"] == "refused" && strings.Contains(fmt.Sprint(o["reason"]), why)
	})
}

func (s *trustSession) until(what string, found func(map[string]any) bool) map[string]any {
	s.t.Helper()
	for {
		line, err := s.out.ReadBytes('\n')
		if err != nil {
			s.cmd.Wait()
			s.t.Fatalf("%s did not come: %v; the client said %q", what, err, s.stderr.String())
		}
		var o map[string]any
		if err := json.Unmarshal(line, &o); err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		if found(o) {
			return o
		}
	}
}

// end waits for the client's end after the end of its input.
func (s *trustSession) end() trustResult {
	s.t.Helper()
	s.stdin.Close()
	rest, _ := io.ReadAll(s.out)
	s.cmd.Wait()
	return trustResult{s.cmd.ProcessState.ExitCode(), string(rest), s.stderr.String()}
}

// stop ends the client by a signal.
func (s *trustSession) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.end()
}
