package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab"
)

func TestSendAndReceive(t *testing.T) {
	w := newTown(t, map[string][]lab.IssueOption{"alice": {lab.P256}, "bob": {lab.RSA2048}})
	bob := w.start("bob", "recv", "-n", "3")
	id := strings.TrimSpace(w.must("", "alice", "send", "-wait", "read", "-wait-peer", "30s", "bob", "Bom", "dia!"))
	if len(id) != 32 {
		t.Errorf("the id is %q", id)
	}
	ids := w.must("second\nterceira é longa", "alice", "send", "-wait", "read", "Bob")
	if strings.Count(ids, "\n") != 2 {
		t.Errorf("the ids are %q", ids)
	}
	r := bob.end()
	if want := "alice: Bom dia!\nalice: second\nalice: terceira é longa\n"; r.status != 0 || r.stdout != want || r.stderr != "" {
		t.Errorf("bob: %+v", r)
	}
}

func TestSendToSeveral(t *testing.T) {
	w := newTown(t, people("alice", "bob", "carol"))
	bob, carol := w.receive("bob", "-n", "1"), w.receive("carol", "-n", "1")
	w.must("", "alice", "send", "-wait", "read", "carol,bob", "to both")
	for _, p := range []*running{bob, carol} {
		o := p.object("message")
		if o["from"] != "alice" || o["text"] != "to both" || len(o["to"].([]any)) != 2 {
			t.Errorf("the message is %v", o)
		}
		if r := p.end(); r.status != 0 {
			t.Errorf("it ended with %+v", r)
		}
	}
	carol = w.start("carol", "recv", "-n", "1")
	bob = w.start("bob", "recv", "-n", "1")
	w.must("", "alice", "send", "-wait-peer", "30s", "carol,bob", "again")
	for _, p := range []*running{bob, carol} {
		if r := p.end(); r.stdout != "[alice → bob, carol] alice: again\n" {
			t.Errorf("it wrote %q", r.stdout)
		}
	}
}

// TestSendToSome: 7, and who did not get it is named.
func TestSendToSome(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	bob := w.receive("bob", "-n", "1")
	r := w.run("", "alice", "send", "bob,nobody", "hello")
	if r.status != 7 || len(r.stdout) != 33 || !strings.Contains(r.stderr, "nobody by the name of nobody") || !strings.Contains(r.stderr, "client: hint: ") {
		t.Errorf("alice: %+v", r)
	}
	bob.object("message")
	if r := bob.end(); r.status != 0 {
		t.Errorf("bob: %+v", r)
	}
}

func TestUnknownRecipient(t *testing.T) {
	w := newTown(t, people("alice"))
	w.fails(6, "alice", []string{"send", "bob", "hello"}, "nobody by the name of bob")
	w.fails(6, "alice", []string{"whois", "bob"}, "nobody by the name of bob")
}

func TestListAndWhois(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	bob := w.receive("bob")
	list := w.must("", "alice", "list")
	if !regexp.MustCompile(`^User list:\n\n1\. ID: alice Level: 1 Since: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n2\. ID: bob Level: 0 Since: [-\d]{10} [:\d]{8}\n\n$`).MatchString(list) {
		t.Errorf("the list is %q", list)
	}
	var names []string
	for line := range strings.Lines(w.must("", "alice", "-json", "list")) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o["type"] == "list" {
			names = append(names, o["name"].(string))
		}
	}
	if slices.Sort(names); !slices.Equal(names, []string{"alice", "bob"}) {
		t.Errorf("as JSON: %v", names)
	}
	holder := w.pki.Holders()[slices.IndexFunc(w.pki.Holders(), func(h *lab.Holder) bool { return h.Name == "bob" })]
	whois := w.must("", "alice", "whois", "BOB")
	wantLines(t, whois, "Nome           : "+holder.Leaf.Subject.CommonName, "Organização    : ", "Identificação  : ", "Instituicao    : ", "País           : PT", "Válido até     : ", "Válido de      : ",
		"Chain          : EC de Autenticação do Cartão de Cidadão 0001 → Cartão de Cidadão 001 → ", "Identity       : ",
		"Revocation     : good: no revocation list names it ("+w.path("lab", "crl")+"/auth.crl, of ", "Known          : unknown")
	atPrompt := w.must("whois bob\n", "alice")
	wantLines(t, atPrompt, "Nome           : ", "Organização    : ", "Identificação  : ", "Instituicao    : ", "País           : PT", "Válido até     : ", "Válido de      : ")
	var o whoisObject
	out := w.must("", "alice", "-json", "whois", "bob")
	first, last, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(last), &o); err != nil || !bytes.Equal(o.Certificate, holder.Leaf.Raw) || len(o.Path) != 3 || o.Path[1] != "Cartão de Cidadão 001" || o.Revocation.Status != "good" || o.Known != "unknown" || len(o.Conns) != 1 || o.Name != "bob" || !strings.HasPrefix(first, `{"v":1,"type":"connected",`) {
		t.Errorf("as JSON: %s %v", out, err)
	}
	bob.cmd.Process.Signal(syscall.SIGTERM)
	if r := bob.end(); r.status != 143 || r.stderr != "" {
		t.Errorf("after SIGTERM: %+v", r)
	}
	if list := w.must("", "alice", "list"); strings.Contains(list, "bob") {
		t.Errorf("bob has left: %q", list)
	}
}

// wantLines fails unless the lines of text begin so.
func wantLines(t *testing.T, text string, begin ...string) {
	t.Helper()
	lines := slices.Collect(strings.Lines(text))
	same := len(lines) == len(begin)
	for i := 0; same && i < len(lines); i++ {
		same = strings.HasPrefix(lines[i], begin[i])
	}
	if !same {
		t.Errorf("it wrote %q, want lines that begin with %q", text, begin)
	}
}

func TestNameTaken(t *testing.T) {
	w := newTown(t, people("alice", "mallory"))
	w.must("", "alice", "list")
	w.fails(4, "mallory", []string{"-name", "ALICE", "list"}, "-name")
	w.must("", "alice", "release")
	w.must("", "mallory", "-name", "alice", "-state", w.path("state-other"), "list")
}

func TestNoCard(t *testing.T) {
	w := newTown(t, people("alice"))
	w.fails(5, "alice", []string{"-card", w.path("none"), "list"}, "card")
	w.fails(5, "alice", []string{"-card", "pkcs11:?module-path=/none.so", "list"}, "/none.so")
	w.fails(5, "alice", []string{"-card", "pkcs11:nonsense", "list"})
	w.fails(5, "alice", []string{"-card", "pkcs11:?pin-value=1234", "list"}, "never taken from an argument")
}

func TestCertificatesThatAreRefused(t *testing.T) {
	w := newTown(t, map[string][]lab.IssueOption{
		"untrusted": {lab.Untrusted}, "expired": {lab.Expired}, "revoked": {lab.Revoked}, "future": {lab.NotYetValid}, "selfsigned": {lab.SelfSigned}, "good": nil,
	})
	for name, says := range map[string]string{"untrusted": "-ca-bundle", "expired": "expire", "revoked": "revoked", "future": "clock", "selfsigned": ""} {
		t.Run(name, func(t *testing.T) {
			checkFails(t, w.run("", name, "list"), 4, says)
		})
	}
	w.must("", "good", "list")
	// A client that would let it pass is refused by the relay, and says so.
	w.fails(4, "revoked", []string{"-crl-policy", "off", "list"}, "revoked")
}

// TestRevocationUnknown: policy require refuses, try accepts and says so, to
// people and to programs, and off says nothing.
func TestRevocationUnknown(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	empty := w.path("empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	w.fails(4, "alice", []string{"-crl", empty, "list"}, "-crl")
	w.must("", "alice", "-crl", empty, "-crl-policy", "try", "list")
	w.must("", "alice", "-crl", empty, "-crl-policy", "off", "list")
	w.fails(2, "alice", []string{"-crl", w.path("none"), "list"}, "-crl")

	bob := w.receive("bob")
	if whois := w.must("whois bob\n", "alice", "-crl", empty, "-crl-policy", "try"); !strings.Contains(whois, "\nRevocation     : unknown: whether the certificate of ") {
		t.Errorf("whois is %q", whois)
	}
	bob.cmd.Process.Signal(syscall.SIGTERM)
	bob.end()
	for _, test := range []struct {
		policy, status string
		notes          int
	}{{"try", "unknown", 1}, {"off", "off", 0}} {
		bob := w.start("bob", "-q=false", "-crl", empty, "-crl-policy", test.policy, "-json", "recv", "-n", "2")
		bob.object("connected")
		for _, command := range []string{"-json=false", "-json"} {
			r := w.run("", "alice", "-q=false", "-crl", empty, "-crl-policy", test.policy, command, "send", "bob", "hello")
			if notes := strings.Count(r.stderr, "bob is accepted, although whether the certificate of"); r.status != 0 || notes != test.notes {
				t.Errorf("policy %s: exit status %d, said %q", test.policy, r.status, r.stderr)
			}
		}
		o := bob.object("peer")
		for o["what"] != "authenticated" {
			o = bob.object("peer")
		}
		if r, ok := o["revocation"].(map[string]any); !ok || r["status"] != test.status || r["reason"] == "" {
			t.Errorf("policy %s: bob is told %v", test.policy, o)
		}
		if r := bob.end(); strings.Count(r.stderr, "alice is accepted, although") != test.notes {
			t.Errorf("policy %s: bob is told %q", test.policy, r.stderr)
		}
	}
}

// TestCardWithoutAuthorities: since 2024 the chain comes from elsewhere.
func TestCardWithoutAuthorities(t *testing.T) {
	w := newTown(t, map[string][]lab.IssueOption{"alice": {lab.NoCA}, "bob": nil})
	w.fails(4, "alice", []string{"list"})
	var bundle []byte
	for _, file := range []string{"ca-bundle.pem", "intermediates.pem"} {
		data, err := os.ReadFile(w.path("lab", file))
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, data...)
	}
	both := w.path("both.pem")
	if err := os.WriteFile(both, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	bob := w.receive("bob", "-n", "1")
	w.must("", "alice", "-ca-bundle", both, "send", "bob", "hello")
	if o := bob.object("message"); o["from"] != "alice" {
		t.Errorf("the message is %v", o)
	}
	bob.end()
}

// TestRelayNotThere: 3, at once.
func TestRelayNotThere(t *testing.T) {
	w := newTown(t, people("alice"))
	w.stop()
	w.fails(3, "alice", []string{"list"}, w.addr, "refused")
	w.fails(3, "alice", []string{"-relay", "nowhere.invalid:1", "send", "bob", "x"}, "nowhere.invalid:1")
}

// TestAttack22GarbageOnThePort: row 22. Whoever sends it is closed; the
// next honest client works.
func TestAttack22GarbageOnThePort(t *testing.T) {
	w := newTown(t, people("alice"))
	for name, garbage := range map[string]string{
		"http":          "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"binary":        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n",
		"oversize line": strings.Repeat("a", 2<<20) + "\n",
		"deep":          `{"type":"connect","phase":1,"ciphers":` + strings.Repeat("[", 50000) + "\n",
		"blank lines":   strings.Repeat("\n", 1000),
		"wrong phase":   `{"type":"secure","sa-data":{"seq":0,"random":""},"payload":""}` + "\n",
	} {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(garbage)) // the relay may have closed before it has all
		if _, err := bufio.NewReader(c).WriteTo(new(bytes.Buffer)); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	w.must("", "alice", "list")
}

// TestAttack22NotARelay: a port that answers something else.
func TestAttack22NotARelay(t *testing.T) {
	w := newTown(t, people("alice"))
	for name, answer := range map[string]string{
		"http": "HTTP/1.1 400 Bad Request\r\n\r\n", "oversize": strings.Repeat("a", 1<<20), "nothing": "", "half a line": `{"type":"connect"`,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				bufio.NewReader(c).ReadString('\n')
				c.Write([]byte(answer))
				c.Close()
			}
		}()
		r := w.run("", "alice", "-relay", l.Addr().String(), "list")
		if r.status != 1 && r.status != 3 || r.stdout != "" || !strings.Contains(r.stderr, "client: hint: ") || strings.Contains(r.stderr, "shorter messages") {
			t.Errorf("%s: %+v", name, r)
		}
		l.Close()
	}
}

// TestRelayUnknownAndChanged: row 5.
func TestRelayUnknownAndChanged(t *testing.T) {
	w := newTown(t, people("alice"))
	w.fails(4, "alice", []string{"-accept-new=false", "list"}, "-fingerprint")
	w.fails(4, "alice", []string{"-fingerprint", strings.Repeat("00", 32), "list"}, strings.Repeat("00", 32))
	if r := w.run("", "alice", "-fingerprint", strings.Repeat("00", 32), "list"); strings.Contains(r.stderr, "trust accept") || !strings.Contains(r.stderr, "given with -fingerprint") {
		t.Errorf("another key than the one given: %+v", r)
	}
	fingerprint := strings.TrimSpace(w.fingerprint("relay"))
	w.must("", "alice", "-accept-new=false", "-fingerprint", fingerprint, "list") // known from here on
	w.must("", "alice", "-accept-new=false", "list")

	w.stop()
	w.startRelay("another-relay")
	w.fails(4, "alice", []string{"list"}, "client trust accept "+w.addr, "between you and it")
	w.fails(4, "alice", []string{"list"}) // and again: being refused is not being accepted
	if trust := w.must("", "alice", "trust"); !strings.Contains(trust, "refused: another key") {
		t.Errorf("trust shows %q", trust)
	}
	w.must("", "alice", "trust", "accept", w.addr)
	w.must("", "alice", "-accept-new=false", "list")
	w.fails(1, "alice", []string{"trust", "accept", w.addr}, "none to accept")
	w.must("", "alice", "-fingerprint", strings.Repeat("0A", 32), "trust", "accept", w.addr)
	w.fails(4, "alice", []string{"list"}, strings.Repeat("0a", 32))
	// What is given counts for this run, and that another is known is said.
	fingerprint = strings.TrimSpace(w.fingerprint("another-relay"))
	if r := w.run("", "alice", "-q=false", "-fingerprint", fingerprint, "list"); r.status != 0 || !strings.Contains(r.stderr, "another is known") || !strings.Contains(r.stderr, "client -fingerprint "+fingerprint+" trust accept "+w.addr) {
		t.Errorf("with -fingerprint: %+v", r)
	}
	w.fails(4, "alice", []string{"list"}, strings.Repeat("0a", 32))
	w.must("", "alice", "trust", "forget", w.addr)
	w.fails(4, "alice", []string{"-accept-new=false", "list"})
}

// TestPeerUnknownAndChanged: nobody is sent to who has not been accepted.
func TestPeerUnknownAndChanged(t *testing.T) {
	w := newTown(t, people("alice", "bob", "mallory"))
	w.must("", "alice", "list")
	bob := w.receive("bob", "-n", "1")
	w.fails(4, "alice", []string{"-accept-new=false", "send", "bob", "hello"}, "-accept-new", "client whois bob")
	w.must("", "alice", "send", "bob", "hello")
	bob.object("message")
	bob.end()
	w.must("", "bob", "release")

	mallory := w.receive("mallory", "-from", "nobody")
	mallory.cmd.Process.Kill()
	mallory.end()
	as := func(name string) *running {
		p := w.start("mallory", "-name", name, "-state", w.path("state-as-"+name), "-json", "recv")
		p.object("connected")
		return p
	}
	mallory = as("bob")
	w.fails(4, "alice", []string{"send", "bob", "for bob alone"}, "another person", "client trust accept bob")
	if whois := w.run("", "alice", "-json", "whois", "bob"); !strings.Contains(whois.stdout, `"known":"another","known_since":"`) {
		t.Errorf("whois: %+v", whois)
	}
	if whois := w.run("whois bob\n", "alice"); !strings.Contains(whois.stdout, "\nKnown          : another person than the one who is known, since ") {
		t.Errorf("whois at the prompt: %+v", whois)
	}
	w.must("", "alice", "trust", "accept", "bob")
	w.must("", "alice", "send", "bob", "for whoever it is")
	if o := mallory.object("message"); o["text"] != "for whoever it is" {
		t.Errorf("mallory got %v", o)
	}
	mallory.cmd.Process.Signal(syscall.SIGINT)
	if r := mallory.end(); r.status != 130 {
		t.Errorf("after SIGINT: %+v", r)
	}
}

func TestPipedPrompt(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	bob := w.start("bob")
	bob.stdin.Write([]byte("list\n"))
	for !strings.HasPrefix(bob.line(), "1. ID: bob Level: 1 Since: ") {
	}
	bob.line() // the blank one after the list
	alice := w.start("alice")
	alice.stdin.Write([]byte("whois bob\nbob: Bom dia!\n"))
	if line := bob.line(); !strings.HasSuffix(line, "] [alice]: Bom dia!\n") {
		t.Errorf("bob saw %q", line)
	}
	bob.stdin.Write([]byte("alice: olá\nnonsense\n"))
	for range 7 {
		alice.line()
	}
	if line := alice.line(); !strings.HasSuffix(line, "] [bob]: olá\n") {
		t.Errorf("alice saw %q", line)
	}
	if r := alice.end(); r.status != 0 || r.stderr != "" {
		t.Errorf("alice: %+v", r)
	}
	if r := bob.end(); r.status != 2 || !strings.Contains(r.stderr, `there is no command "nonsense"`) {
		t.Errorf("bob: %+v", r)
	}
	if r := w.run("nobody: hello\n", "alice"); r.status != 6 || !strings.Contains(r.stderr, "nobody by the name") {
		t.Errorf("to nobody: %+v", r)
	}
}

// TestTalkBetweenTokens: an RSA card as until 2024 and an EC card as since.
func TestTalkBetweenTokens(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := newTown(t, map[string][]lab.IssueOption{"alice": {lab.RSA2048}, "bob": {lab.P256}, "carol": {lab.P256}})
	tokens, err := w.pki.SoftHSM(w.path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{tokens.Env()}
	with := func(name string, args ...string) []string {
		return append([]string{"-card", tokens.URI(name), "-pin-file", tokens.PINFile(name)}, args...)
	}
	bob := w.receive("bob", "-n", "1")
	bob.cmd.Process.Kill() // with the software card: the same person
	bob.end()
	bob = w.start("bob", with("bob", "recv", "-n", "1")...)
	w.must("", "alice", with("alice", "send", "-wait", "read", "-wait-peer", "30s", "bob", "from the card")...)
	if r := bob.end(); r.status != 0 || r.stdout != "alice: from the card\n" || r.stderr != "" {
		t.Errorf("bob: %+v", r)
	}
	if out := w.must("", "alice", with("alice", "card")...); !strings.Contains(out, "CITIZEN AUTHENTICATION CERTIFICATE, id ") || !strings.Contains(out, "this one is used") || strings.Count(out, "    Key: ") != 2 || strings.Count(out, "none is shown without the PIN") != 2 {
		t.Errorf("card shows %q", out)
	}
	if out := w.must("", "alice", "-card", tokens.URI("alice"), "card"); strings.Count(out, "none is shown without the PIN") != 3 {
		t.Errorf("card without a PIN shows %q", out)
	}

	// row 21: a wrong PIN is not tried again.
	wrong := w.path("wrong")
	if err := os.WriteFile(wrong, []byte("999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.run("", "carol", "-card", tokens.URI("carol"), "-pin-file", wrong, "card"); r.status != 5 || !strings.Contains(r.stdout, "this one is used") || !strings.Contains(r.stderr, "the PIN was wrong") {
		t.Errorf("card with a wrong PIN: %+v", r)
	}
	if r := w.run("", "carol", append(with("carol"), "-q=false", "card")...); r.status != 0 || !strings.Contains(r.stderr, "a wrong PIN was given before") {
		t.Errorf("card after one wrong PIN: %+v", r)
	}
	w.fails(5, "carol", []string{"-card", tokens.URI("carol"), "-pin-file", wrong, "list"}, "the PIN was wrong")
	w.fails(5, "carol", []string{"-card", tokens.URI("carol"), "list"}, "PIN") // nobody to ask
	w.fails(5, "carol", []string{"-card", tokens.URI("nobody"), "list"})
	if r := w.run("", "carol", append(with("carol"), "-q=false", "list")...); r.status != 0 || !strings.Contains(r.stderr, "a wrong PIN was given before") {
		t.Errorf("after one wrong PIN: %+v", r)
	}
	w.must("", "carol", with("carol", "list")...)
}

// TestKeep: with a kept key neither card nor PIN is needed, until logout.
func TestKeep(t *testing.T) {
	w := newTown(t, people("alice"))
	card := w.path("lab", "alice")
	w.must("", "alice", "-keep", "1h", "list")
	if err := os.Rename(card, card+"-away"); err != nil {
		t.Fatal(err)
	}
	w.must("", "alice", "list")
	kept := filepath.Join(w.path("state-alice"), "kept")
	if err := os.Chmod(kept, 0o644); err != nil {
		t.Fatal(err)
	}
	w.fails(5, "alice", []string{"list"}, "client logout")
	w.must("", "alice", "logout")
	w.fails(5, "alice", []string{"list"}, "card")
	if _, err := os.Lstat(kept); !os.IsNotExist(err) {
		t.Errorf("the kept key: %v", err)
	}
}

func TestHistoryAndProof(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	bob := w.receive("bob", "-n", "2")
	ids := strings.Fields(w.must("one\ntwo\n", "alice", "send", "-wait", "read", "bob"))
	bob.end()
	w.stop() // neither relay nor card from here on
	if err := os.Rename(w.path("lab", "alice"), w.path("lab", "gone")); err != nil {
		t.Fatal(err)
	}
	history := w.must("", "alice", "history")
	if !strings.HasPrefix(history, "History for bob:\nID ") || !strings.Contains(history, ids[1]+"  two") || strings.Count(history, "READ") != 2 {
		t.Errorf("the history is %q", history)
	}
	if with := w.must("", "alice", "history", "-peer", "BOB"); with != history {
		t.Errorf("with bob it is %q", with)
	}
	if with := w.must("", "alice", "history", "-peer", "carol"); with != "" {
		t.Errorf("with carol it is %q", with)
	}
	if json := w.must("", "bob", "-json", "history"); strings.Count(json, `"type":"history"`) != 2 || !strings.Contains(json, `"direction":"in"`) {
		t.Errorf("as JSON it is %q", json)
	}
	if verified := w.must("", "alice", "history", "-verify"); !strings.Contains(verified, "all of it holds") {
		t.Errorf("verified: %q", verified)
	}
	proof := w.must("", "alice", "history", "-export", ids[0])
	if out := w.must(proof, "nobody", "verify", "-"); !strings.Contains(out, "one") || !strings.Contains(out, ids[0]) {
		t.Errorf("the proof proves %q", out)
	}
	if _, err := os.Lstat(w.path("state-nobody")); !os.IsNotExist(err) {
		t.Errorf("verify made a state directory: %v", err)
	}
	empty := t.TempDir() // without lists what is whole is not called damaged
	checkFails(t, w.run(proof, "nobody", "-crl", empty, "verify", "-"), 8, "the signatures and certificates of the proof hold", "-crl DIR")
	if r := w.run("", "alice", "-crl", empty, "history", "-verify"); r.status != 8 || !strings.Contains(r.stderr, "all signatures and certificates of the history hold") || strings.Contains(r.stdout, "all of it holds") {
		t.Errorf("without lists: %+v", r)
	}
	checkFails(t, w.run(strings.Replace(proof, `\"text\":\"one\"`, `\"text\":\"six\"`, 1)+" ", "nobody", "verify", "-"), 8)
	w.fails(1, "nobody", []string{"verify", w.path("none")}, "none")
	w.fails(1, "nobody", []string{"history"}, "no state directory")

	// row 25: an edited history is found.
	file := ""
	for _, name := range []string{"0.jsonl", "s0.jsonl"} {
		if path := filepath.Join(w.path("state-alice"), "history", name); file == "" {
			if _, err := os.Stat(path); err == nil {
				file = path
			}
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(data, []byte(`"two"`), []byte(`"2wo"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.run("", "alice", "history", "-verify"); r.status != 8 || !strings.Contains(r.stderr, "does not verify") || strings.Contains(r.stdout, "all of it holds") {
		t.Errorf("edited: %+v", r)
	}
}

// TestOutputThatNobodyReads ends quietly.
func TestOutputThatNobodyReads(t *testing.T) {
	w := newTown(t, people("alice"))
	cmd := w.client("alice", "list")
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer wr.Close()
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = wr, &stderr
	if err := cmd.Run(); err != nil || stderr.String() != "" {
		t.Errorf("it ended with %v and said %q", err, stderr.String())
	}
}

// TestStateOfAnotherName: a state directory belongs to one name.
func TestStateOfAnotherName(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	w.must("", "alice", "list")
	w.fails(2, "bob", []string{"-state", w.path("state-alice"), "list"}, "belongs to the name alice")
}

// TestManyLines: order, back-pressure and the end of a long pipe.
func TestManyLines(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	const n = 20000
	var in strings.Builder
	for i := range n {
		in.WriteString(strings.Repeat("x", i%50))
		in.WriteByte('\n')
	}
	bob := w.start("bob", "recv", "-n", "20000")
	done := make(chan result, 1)
	go func() { done <- bob.end() }()
	ids := w.must(in.String(), "alice", "send", "-wait", "read", "-wait-peer", "30s", "bob")
	if strings.Count(ids, "\n") != n {
		t.Errorf("%d ids", strings.Count(ids, "\n"))
	}
	r := <-done
	if got := strings.ReplaceAll(r.stdout, "alice: ", ""); r.status != 0 || got != in.String() {
		t.Errorf("bob ended with %d, %d bytes of %d", r.status, len(got), in.Len())
	}
}

// TestPipe: binary both ways, and one way.
func TestPipe(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	there, back := make([]byte, 1<<20+7), make([]byte, 3<<17)
	rand.Read(there)
	rand.Read(back)
	done := make(chan result, 1)
	bob := w.client("bob", "pipe", "-wait-peer", "30s", "alice")
	go func() { done <- runCommand(t, bob, string(back)) }()
	if got := w.must(string(there), "alice", "pipe", "-wait-peer", "30s", "bob"); got != string(back) {
		t.Errorf("alice got %d bytes of %d, or others", len(got), len(back))
	}
	if r := <-done; r.status != 0 || r.stdout != string(there) || r.stderr != "" {
		t.Errorf("bob got %d bytes of %d, or others; he ended with %d and said %q", len(r.stdout), len(there), r.status, r.stderr)
	}
	bob = w.client("bob", "pipe", "-recv", "-wait-peer", "30s", "alice")
	go func() { done <- runCommand(t, bob, "not this") }()
	if got := w.must(string(there), "alice", "pipe", "-send", "-wait-peer", "30s", "bob"); got != "" {
		t.Errorf("alice got %q", got)
	}
	if r := <-done; r.status != 0 || r.stdout != string(there) {
		t.Errorf("bob got %d bytes of %d, or others; he ended with %d and said %q", len(r.stdout), len(there), r.status, r.stderr)
	}
	w.fails(6, "alice", []string{"pipe", "bob"}, "pipe")
	if r := w.run("", "alice", "-json", "pipe", "bob"); r.status != 2 {
		t.Errorf("-json: %+v", r)
	}
	w.fails(2, "alice", []string{"pipe", "-send", "-recv", "bob"})
}

// TestPipeCutShort ends non-zero, also while standard input gives nothing.
func TestPipeCutShort(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	for _, way := range []struct{ bob, alice []string }{{nil, nil}, {[]string{"-send"}, []string{"-recv"}}} {
		bob := w.start("bob", slices.Concat([]string{"pipe"}, way.bob, []string{"-wait-peer", "30s", "alice"})...)
		alice := w.start("alice", slices.Concat([]string{"pipe"}, way.alice, []string{"-wait-peer", "30s", "bob"})...)
		bob.stdin.Write([]byte("a beginning\n"))
		if line := alice.line(); line != "a beginning\n" {
			t.Errorf("%s: alice got %q", way.alice, line)
		}
		bob.cmd.Process.Kill()
		rest, err := io.ReadAll(alice.out)
		if err != nil || len(rest) != 0 {
			t.Errorf("%s: alice got %q %v", way.alice, rest, err)
		}
		alice.cmd.Wait()
		if status := alice.cmd.ProcessState.ExitCode(); status != 3 || !strings.Contains(alice.stderr.String(), "client: error: ") {
			t.Errorf("%s: alice ended with %d and said %q", way.alice, status, alice.stderr.String())
		}
		bob.end()
	}
}

// TestHistoryOfOneBreath: a message and the question for it, piped together.
func TestHistoryOfOneBreath(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	w.receive("bob")
	if out := w.must("bob: of one breath\nhistory\n", "alice"); !strings.Contains(out, "of one breath") {
		t.Errorf("the history is %q", out)
	}
}
