package chatsecure

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
	"chatsecure/testdata/lab/town"
)

func TestSendAndReceive(t *testing.T) {
	w := town.New(t, map[string][]lab.IssueOption{"alice": {lab.P256}, "bob": {lab.RSA2048}})
	bob := w.Start("bob", "recv", "-n", "3")
	id := strings.TrimSpace(w.Must("", "alice", "send", "-wait", "read", "-wait-peer", "30s", "bob", "Bom", "dia!"))
	if len(id) != 32 {
		t.Errorf("the id is %q", id)
	}
	ids := w.Must("second\nterceira é longa", "alice", "send", "-wait", "read", "Bob")
	if strings.Count(ids, "\n") != 2 {
		t.Errorf("the ids are %q", ids)
	}
	r := bob.End()
	if want := "alice: Bom dia!\nalice: second\nalice: terceira é longa\n"; r.Status != 0 || r.Stdout != want || r.Stderr != "" {
		t.Errorf("bob: %+v", r)
	}
}

func TestSendToSeveral(t *testing.T) {
	w := town.New(t, town.People("alice", "bob", "carol"))
	bob, carol := w.Receive("bob", "-n", "1"), w.Receive("carol", "-n", "1")
	w.Must("", "alice", "send", "-wait", "read", "carol,bob", "to both")
	for _, p := range []*town.Running{bob, carol} {
		o := p.Object("message")
		if o["from"] != "alice" || o["text"] != "to both" || len(o["to"].([]any)) != 2 {
			t.Errorf("the message is %v", o)
		}
		if r := p.End(); r.Status != 0 {
			t.Errorf("it ended with %+v", r)
		}
	}
	carol = w.Start("carol", "recv", "-n", "1")
	bob = w.Start("bob", "recv", "-n", "1")
	w.Must("", "alice", "send", "-wait-peer", "30s", "carol,bob", "again")
	for _, p := range []*town.Running{bob, carol} {
		if r := p.End(); r.Stdout != "[alice → bob, carol] alice: again\n" {
			t.Errorf("it wrote %q", r.Stdout)
		}
	}
}

// TestSendToSome: status 7, and the failed recipient is named.
func TestSendToSome(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob", "-n", "1")
	r := w.Run("", "alice", "send", "bob,nobody", "hello")
	if r.Status != 7 || len(r.Stdout) != 33 || !strings.Contains(r.Stderr, "nobody by the name of nobody") ||
		!strings.Contains(r.Stderr, "client: hint: ") {
		t.Errorf("alice: %+v", r)
	}
	bob.Object("message")
	if r := bob.End(); r.Status != 0 {
		t.Errorf("bob: %+v", r)
	}
}

func TestUnknownRecipient(t *testing.T) {
	w := town.New(t, town.People("alice"))
	w.Fails(6, "alice", []string{"send", "bob", "hello"}, "nobody by the name of bob")
	w.Fails(6, "alice", []string{"whois", "bob"}, "nobody by the name of bob")
	for _, command := range [][]string{{"send", "alice", "hello"}, {"pipe", "Alice"}} {
		w.Fails(2, "alice", command, "is you, and messages and pipes go to others")
	}
}

func TestListAndWhois(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob")
	list := w.Must("", "alice", "list")
	if !regexp.MustCompile(`^User list:\n\n1\. ID: alice Level: 1 Since: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(you\)\n2\. ID: bob Level: 0 Since: [-\d]{10} [:\d]{8} Letters: yes\n\n$`).MatchString(list) {
		t.Errorf("the list is %q", list)
	}
	var names []string
	for line := range strings.Lines(w.Must("", "alice", "-json", "list")) {
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
	before := w.Must("", "alice", "whois", "BOB")
	wantLines(t, before, "Name           : bob\n", "Identity       : ", "Proved         : no: before a conversation the identity is only the relay's word\n",
		"Connected      : since 20", "Known          : unknown\n", "Certificate    : not here yet: it comes from the person, in the first conversation. ")
	if atPrompt := w.Must("whois bob\n", "alice"); atPrompt != before {
		t.Errorf("at the prompt: %q", atPrompt)
	}
	if out := w.Must("", "alice", "-json", "whois", "bob"); !strings.Contains(out, `"identity":"`) || strings.Contains(out, "certificate") {
		t.Errorf("as JSON, before a conversation: %s", out)
	}
	w.Must("", "alice", "send", "bob", "hello")
	holder := w.PKI.Holders()[slices.IndexFunc(w.PKI.Holders(), func(h *lab.Holder) bool { return h.Name == "bob" })]
	whois := w.Must("", "alice", "whois", "BOB")
	wantLines(t, whois, "Nome           : "+holder.Leaf.Subject.CommonName, "Organização    : ", "Identificação  : ",
		"Instituicao    : ", "País           : PT", "Válido até     : ", "Válido de      : ",
		"Chain          : EC de Autenticação do Cartão de Cidadão 0001 → Cartão de Cidadão 001 → ",
		"Root           : Lab Raiz do Estado 001, from -ca-bundle", "Citizen's card : no",
		"Revocation     : good: no revocation list names it ("+w.Path("lab", "crl")+"/auth.crl, of ", "Name           : bob\n", "Identity       : ",
		"Proved         : no: ", "Connected      : since ", "Known          : accepted, since ")
	atPrompt := w.Must("whois bob\n", "alice")
	wantLines(t, atPrompt, "Nome           : ", "Organização    : ", "Identificação  : ", "Instituicao    : ",
		"País           : PT", "Válido até     : ", "Válido de      : ")
	var o struct {
		Name, Known string
		Certificate []byte
		Path        []string
		Revocation  struct{ Status string }
		Conns       []any
	}
	out := w.Must("", "alice", "-json", "whois", "bob")
	first, last, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(last), &o); err != nil || !bytes.Equal(o.Certificate, holder.Leaf.Raw) ||
		len(o.Path) != 3 || o.Path[1] != "Cartão de Cidadão 001" || o.Revocation.Status != "good" || o.Known != "accepted" ||
		len(o.Conns) != 1 || o.Name != "bob" || !strings.HasPrefix(first, `{"v":1,"type":"connected",`) {
		t.Errorf("as JSON: %s %v", out, err)
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	if r := bob.End(); r.Status != 143 || r.Stderr != "" {
		t.Errorf("after SIGTERM: %+v", r)
	}
	if list := w.Must("", "alice", "list"); strings.Contains(list, "bob") {
		t.Errorf("bob has left: %q", list)
	}
}

// TestPersonWithoutACommonName: the whole subject stands where the name would.
func TestPersonWithoutACommonName(t *testing.T) {
	w := town.New(t, map[string][]lab.IssueOption{
		"alice": nil, "bob": {lab.WithSubject(lab.DN("C", "PT", "O", "Lab", "serialNumber", "X1"))}, "gone": {
			lab.WithSubject(lab.DN("C", "PT", "O", "Lab", "serialNumber", "123456789")), lab.Untrusted}})
	bob := w.Receive("bob", "-n", "1")
	const whole = "SERIALNUMBER=X1,O=Lab,C=PT"
	w.Must("", "alice", "send", "bob", "hello")
	bob.End()
	bob = w.Receive("bob")
	if whois := w.Must("", "alice", "whois", "bob"); !strings.HasPrefix(whois, "Nome           : "+whole+"\nOrganização    : Lab\n") {
		t.Errorf("whois is %q", whois)
	}
	bob.Cmd.Process.Kill()
	bob.End()
	if known := w.Must("", "alice", "trust"); !strings.Contains(known, `"`+whole+`"`) {
		t.Errorf("known is %q", known)
	}
	w.Fails(4, "gone", []string{"list"}, `the certificate of "SERIALNUMBER=*********,O=Lab,C=PT", issued by`)
}

// wantLines checks the beginning of every line of text.
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
	w := town.New(t, town.People("alice", "mallory"))
	w.Must("", "alice", "list")
	w.Fails(4, "mallory", []string{"-name", "ALICE", "list"}, "-name")
	w.Must("", "alice", "release")
	w.Must("", "mallory", "-name", "alice", "-state", w.Path("state-other"), "list")
}

func TestNoCard(t *testing.T) {
	w := town.New(t, town.People("alice"))
	w.Fails(5, "alice", []string{"-card", w.Path("none"), "list"}, "card")
	w.Fails(5, "alice", []string{"-card", "pkcs11:?module-path=/none.so", "list"}, "/none.so")
	w.Fails(5, "alice", []string{"-card", "pkcs11:nonsense", "list"})
	w.Fails(5, "alice", []string{"-card", "pkcs11:?pin-value=1234", "list"}, "never taken from an argument")
}

func TestCertificatesThatAreRefused(t *testing.T) {
	w := town.New(t, map[string][]lab.IssueOption{
		"untrusted": {lab.Untrusted}, "expired": {lab.Expired}, "revoked": {lab.Revoked}, "future": {lab.NotYetValid},
		"selfsigned": {lab.SelfSigned}, "good": nil,
	})
	for name, says := range map[string]string{"untrusted": "-ca-bundle", "expired": "ended on", "revoked": "revoked",
		"future": "clock", "selfsigned": ""} {
		t.Run(name, func(t *testing.T) {
			town.CheckFails(t, w.Run("", name, "list"), 4, says)
		})
	}
	w.Must("", "good", "list")
	// The relay refuses it to a client that does not look.
	w.Fails(4, "revoked", []string{"-crl-policy", "off", "list"}, "revoked")
}

// TestRevocationUnknown: policy require refuses, try accepts and tells people
// and programs, and off tells nothing.
func TestRevocationUnknown(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	empty := w.Path("empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	w.Fails(4, "alice", []string{"-crl", empty, "list"}, "-crl")
	w.Must("", "alice", "-crl", empty, "-crl-policy", "try", "list")
	w.Must("", "alice", "-crl", empty, "-crl-policy", "off", "list")
	w.Fails(2, "alice", []string{"-crl", w.Path("none"), "list"}, "-crl")

	bob := w.Receive("bob")
	w.Must("", "alice", "send", "bob", "hello")
	if whois := w.Must("whois bob\n", "alice", "-crl", empty, "-crl-policy", "try"); !strings.Contains(whois,
		"\nRevocation     : unknown: whether the certificate of ") {
		t.Errorf("whois is %q", whois)
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	bob.End()
	for _, test := range []struct {
		policy, status string
		notes          int
	}{{"try", "unknown", 1}, {"off", "off", 0}} {
		bob := w.Start("bob", "-q=false", "-crl", empty, "-crl-policy", test.policy, "-json", "recv", "-n", "2")
		bob.Object("connected")
		for _, command := range []string{"-json=false", "-json"} {
			r := w.Run("", "alice", "-q=false", "-crl", empty, "-crl-policy", test.policy, command, "send", "bob", "hello")
			if notes := strings.Count(r.Stderr, "bob is accepted, although whether the certificate of"); r.Status != 0 || notes != test.notes {
				t.Errorf("policy %s: exit status %d, said %q", test.policy, r.Status, r.Stderr)
			}
		}
		o := bob.Object("peer")
		for o["what"] != "authenticated" {
			o = bob.Object("peer")
		}
		if r, ok := o["revocation"].(map[string]any); !ok || r["status"] != test.status || r["reason"] == "" {
			t.Errorf("policy %s: bob is told %v", test.policy, o)
		}
		if r := bob.End(); strings.Count(r.Stderr, "alice is accepted, although") != test.notes {
			t.Errorf("policy %s: bob is told %q", test.policy, r.Stderr)
		}
	}
}

// TestCardWithoutAuthorities: cards since 2024 carry no CA certificates.
func TestCardWithoutAuthorities(t *testing.T) {
	w := town.New(t, map[string][]lab.IssueOption{"alice": {lab.NoCA}, "bob": nil})
	w.Fails(4, "alice", []string{"list"})
	var bundle []byte
	for _, file := range []string{"ca-bundle.pem", "intermediates.pem"} {
		data, err := os.ReadFile(w.Path("lab", file))
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, data...)
	}
	both := w.Path("both.pem")
	if err := os.WriteFile(both, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	bob := w.Receive("bob", "-n", "1")
	// A byte order mark and a missing line end lose nothing, and a key in the file is spoken of.
	text := "\ufeff" + strings.ReplaceAll(string(bundle), "-----\n-----", "----------") + "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
	if err := os.WriteFile(both, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.Run("", "alice", "-q=false", "-ca-bundle", both, "send", "bob", "hello"); r.Status != 0 ||
		!strings.Contains(r.Stderr, "-ca-bundle "+both+": line ") || !strings.Contains(r.Stderr, "a private key is left out") {
		t.Errorf("exit status %d, said %q", r.Status, r.Stderr)
	}
	if o := bob.Object("message"); o["from"] != "alice" {
		t.Errorf("the message is %v", o)
	}
	bob.End()
	spoilt := strings.Replace(string(bundle), "MII", "M*I", 1)
	if err := os.WriteFile(both, []byte(spoilt), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Fails(2, "alice", []string{"-ca-bundle", both, "crl"}, "-ca-bundle "+both+": line 2: the block that begins in line 1 is damaged")
}

// TestRelayNotThere: status 3, at once.
func TestRelayNotThere(t *testing.T) {
	w := town.New(t, town.People("alice"))
	w.Stop()
	w.Fails(3, "alice", []string{"list"}, w.Addr, "refused")
	w.Fails(3, "alice", []string{"-relay", "nowhere.invalid:1", "send", "bob", "x"}, "nowhere.invalid:1")
}

// TestAttack22GarbageOnThePort: row 22. The relay closes such a connection, and
// the next honest client works.
func TestAttack22GarbageOnThePort(t *testing.T) {
	w := town.New(t, town.People("alice"))
	for name, garbage := range map[string]string{
		"http":          "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"binary":        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n",
		"oversize line": strings.Repeat("a", 2<<20) + "\n",
		"deep":          `{"type":"connect","phase":1,"ciphers":` + strings.Repeat("[", 50000) + "\n",
		"blank lines":   strings.Repeat("\n", 1000),
		"wrong phase":   `{"type":"secure","sa-data":{"seq":0,"random":""},"payload":""}` + "\n",
	} {
		c, err := net.Dial("tcp", w.Addr)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(garbage)) // the relay may have closed already
		if _, err := bufio.NewReader(c).WriteTo(new(bytes.Buffer)); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	w.Must("", "alice", "list")
}

// TestAttack22NotARelay: a port with another protocol.
func TestAttack22NotARelay(t *testing.T) {
	w := town.New(t, town.People("alice"))
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
		r := w.Run("", "alice", "-relay", l.Addr().String(), "list")
		if r.Status != 1 && r.Status != 3 || r.Stdout != "" || !strings.Contains(r.Stderr, "client: hint: ") ||
			strings.Contains(r.Stderr, "shorter messages") {
			t.Errorf("%s: %+v", name, r)
		}
		l.Close()
	}
}

// TestRelayUnknownAndChanged: row 5.
func TestRelayUnknownAndChanged(t *testing.T) {
	w := town.New(t, town.People("alice"))
	w.Fails(4, "alice", []string{"-accept-new=false", "list"}, "-fingerprint")
	w.Fails(4, "alice", []string{"-fingerprint", strings.Repeat("00", 32), "list"}, strings.Repeat("00", 32))
	if r := w.Run("", "alice", "-fingerprint", strings.Repeat("00", 32), "list"); strings.Contains(r.Stderr,
		"trust accept") || !strings.Contains(r.Stderr, "given (-fingerprint)") {
		t.Errorf("another key than the one given: %+v", r)
	}
	fingerprint := w.Fingerprint("relay")
	w.Must("", "alice", "-accept-new=false", "-fingerprint", fingerprint, "list") // known from here on
	w.Must("", "alice", "-accept-new=false", "list")

	w.Stop()
	w.StartRelay("another-relay")
	another := w.Fingerprint("another-relay")
	_, port, _ := net.SplitHostPort(w.Addr)
	accept := "client -state " + w.Path("state-alice") + " trust accept " + w.Addr + " " + another
	w.Fails(4, "alice", []string{"list"}, accept, "between you and it", fingerprint)
	w.Fails(4, "alice", []string{"list"}) // a second try changes nothing
	for _, spelling := range []string{"LOCALHOST:" + port, "localhost:0" + port} {
		w.Must("", "alice", "trust", "accept", spelling, fingerprint)
		for _, spelling := range []string{"localhost:" + port, "LOCALHOST.:" + port, "localhost:00" + port} {
			w.Fails(4, "alice", []string{"-relay", spelling, "list"}, "the relay at localhost:"+port+" ", fingerprint)
		}
	}
	w.Fails(2, "alice", []string{"trust", "accept", w.Addr}, "whole fingerprint", fingerprint, "relay -fingerprint")
	w.Fails(2, "alice", []string{"trust", "accept", w.Addr, another[:8]}, "64 hex digits")
	if r := w.Run("", "alice", append([]string{"-q=false"}, strings.Fields(accept)[3:]...)...); r.Status != 0 ||
		!strings.Contains(r.Stderr, "no longer by "+fingerprint) {
		t.Errorf("accept: %+v", r)
	}
	w.Must("", "alice", "-accept-new=false", "list")
	w.Must("", "alice", "trust", "accept", w.Addr, strings.Repeat("0A:", 31)+"0A") // never offered
	w.Fails(4, "alice", []string{"list"}, strings.Repeat("0a", 32))
	// The given fingerprint counts for this run, and the known one is told.
	if r := w.Run("", "alice", "-q=false", "-fingerprint", another, "list"); r.Status != 0 ||
		!strings.Contains(r.Stderr, "another is known") || !strings.Contains(r.Stderr, accept) {
		t.Errorf("with -fingerprint: %+v", r)
	}
	w.Fails(4, "alice", []string{"list"}, strings.Repeat("0a", 32))
	w.Must("", "alice", "trust", "forget", w.Addr)
	w.Must("", "alice", "trust", "accept", "LOCALHOST:"+port, another)
	w.Fails(4, "alice", []string{"-accept-new=false", "list"}, "known for localhost:"+port, accept)
}

// TestPeerUnknownAndChanged: nothing is sent to a person who was not accepted.
func TestPeerUnknownAndChanged(t *testing.T) {
	w := town.New(t, town.People("alice", "bob", "mallory"))
	w.Must("", "alice", "list")
	bob := w.Receive("bob", "-n", "1")
	w.Fails(4, "alice", []string{"-accept-new=false", "send", "bob", "hello"}, "-accept-new", " whois bob shows")
	w.Must("", "alice", "send", "bob", "hello")
	bob.Object("message")
	bob.End()
	w.Must("", "bob", "release")

	mallory := w.Receive("mallory", "-from", "nobody")
	mallory.Cmd.Process.Kill()
	mallory.End()
	as := func(name string) *town.Running {
		p := w.Start("mallory", "-name", name, "-state", w.Path("state-as-"+name), "-json", "recv")
		p.Object("connected")
		return p
	}
	mallory = as("bob")
	r := w.Run("", "alice", "send", "bob", "for bob alone")
	_, accept, _ := strings.Cut(r.Stderr, "client -state "+w.Path("state-alice")+" trust accept bob ")
	if accept, _, _ = strings.Cut(accept, "; "); r.Status != 4 || !strings.Contains(r.Stderr, "another person") || len(accept) != 64 {
		t.Fatalf("another person under the name: %+v", r)
	}
	w.Fails(2, "alice", []string{"trust", "accept", "bob"}, "whole identity", "known is peer bob  accepted  ", "client card")
	if whois := w.Run("", "alice", "-json", "whois", "bob"); !strings.Contains(whois.Stdout, `"known":"another","known_since":"`) {
		t.Errorf("whois: %+v", whois)
	}
	if whois := w.Run("whois bob\n", "alice"); !strings.Contains(whois.Stdout,
		"\nKnown          : another person than the one who is known, since ") {
		t.Errorf("whois at the prompt: %+v", whois)
	}
	if r := w.Run("", "alice", "-q=false", "trust", "accept", "bob", strings.ToUpper(accept)); r.Status != 0 ||
		!strings.Contains(r.Stderr, "and is no longer ") {
		t.Errorf("accept: %+v", r)
	}
	w.Must("", "alice", "send", "bob", "for whoever it is")
	if o := mallory.Object("message"); o["text"] != "for whoever it is" {
		t.Errorf("mallory got %v", o)
	}
	mallory.Cmd.Process.Signal(syscall.SIGINT)
	if r := mallory.End(); r.Status != 130 {
		t.Errorf("after SIGINT: %+v", r)
	}
}

func TestPipedPrompt(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Start("bob")
	bob.Stdin.Write([]byte("list\n"))
	for !strings.HasPrefix(bob.Line(), "1. ID: bob Level: 1 Since: ") {
	}
	bob.Line() // the blank line after the list
	alice := w.Start("alice")
	alice.Stdin.Write([]byte("bob: Bom dia!\n"))
	if line := bob.Line(); !strings.HasSuffix(line, "] [alice]: Bom dia!\n") {
		t.Errorf("bob saw %q", line)
	}
	alice.Stdin.Write([]byte("whois bob\n"))
	for range 7 {
		alice.Line()
	}
	bob.Stdin.Write([]byte("alice: olá\nnonsense\n"))
	if line := alice.Line(); !strings.HasSuffix(line, "] [bob]: olá\n") {
		t.Errorf("alice saw %q", line)
	}
	if r := alice.End(); r.Status != 0 || r.Stderr != "" {
		t.Errorf("alice: %+v", r)
	}
	if r := bob.End(); r.Status != 2 || !strings.Contains(r.Stderr, `there is no command "nonsense"`) {
		t.Errorf("bob: %+v", r)
	}
	if r := w.Run("nobody: hello\n", "alice"); r.Status != 6 || !strings.Contains(r.Stderr, "nobody by the name") {
		t.Errorf("to nobody: %+v", r)
	}
}

// TestTalkBetweenTokens: an RSA card as issued until 2024, and an EC card as
// since.
func TestTalkBetweenTokens(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := town.New(t, map[string][]lab.IssueOption{"alice": {lab.RSA2048}, "bob": {lab.P256}, "carol": {lab.P256}})
	tokens, err := w.PKI.SoftHSM(w.Path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.Env = []string{tokens.Env()}
	with := func(name string, args ...string) []string {
		return append([]string{"-card", tokens.URI(name), "-pin-file", tokens.PINFile(name)}, args...)
	}
	bob := w.Receive("bob", "-n", "1")
	bob.Cmd.Process.Kill() // with the software card: the same person
	bob.End()
	bob = w.Start("bob", with("bob", "recv", "-n", "1")...)
	w.Must("", "alice", with("alice", "send", "-wait", "read", "-wait-peer", "30s", "bob", "from the card")...)
	if r := bob.End(); r.Status != 0 || r.Stdout != "alice: from the card\n" || r.Stderr != "" {
		t.Errorf("bob: %+v", r)
	}
	if out := w.Must("", "alice", with("alice", "card")...); !strings.Contains(out,
		"CITIZEN AUTHENTICATION CERTIFICATE, id ") || !strings.Contains(out, "this one is used") ||
		strings.Count(out, "    Key: ") != 2 || strings.Count(out, "none is shown without the PIN") != 2 {
		t.Errorf("card shows %q", out)
	}
	if out := w.Must("", "alice", "-card", tokens.URI("alice"), "card"); strings.Count(out, "none is shown without the PIN") != 3 {
		t.Errorf("card without a PIN shows %q", out)
	}

	// row 21: a wrong PIN is not retried.
	wrong := w.Path("wrong")
	if err := os.WriteFile(wrong, []byte("999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.Run("", "carol", "-card", tokens.URI("carol"), "-pin-file", wrong, "card"); r.Status != 5 ||
		!strings.Contains(r.Stdout, "this one is used") || !strings.Contains(r.Stderr, "the PIN was wrong") {
		t.Errorf("card with a wrong PIN: %+v", r)
	}
	if r := w.Run("", "carol", append(with("carol"), "-q=false", "card")...); r.Status != 0 ||
		!strings.Contains(r.Stderr, "a wrong PIN was given before") {
		t.Errorf("card after one wrong PIN: %+v", r)
	}
	w.Fails(5, "carol", []string{"-card", tokens.URI("carol"), "-pin-file", wrong, "list"}, "the PIN was wrong")
	w.Fails(5, "carol", []string{"-card", tokens.URI("carol"), "list"}, "PIN") // no one to ask
	w.Fails(5, "carol", []string{"-card", tokens.URI("nobody"), "list"})
	if r := w.Run("", "carol", append(with("carol"), "-q=false", "list")...); r.Status != 0 ||
		!strings.Contains(r.Stderr, "a wrong PIN was given before") {
		t.Errorf("after one wrong PIN: %+v", r)
	}
	w.Must("", "carol", with("carol", "list")...)
}

// TestKeep: a kept key replaces card and PIN until logout.
func TestKeep(t *testing.T) {
	w := town.New(t, town.People("alice"))
	card := w.Path("lab", "alice")
	w.Must("", "alice", "-keep", "1h", "list")
	if err := os.Rename(card, card+"-away"); err != nil {
		t.Fatal(err)
	}
	w.Must("", "alice", "list")
	kept := filepath.Join(w.Path("state-alice"), "kept")
	if err := os.Chmod(kept, 0o644); err != nil {
		t.Fatal(err)
	}
	w.Fails(5, "alice", []string{"list"}, " logout erases it")
	w.Must("", "alice", "logout")
	w.Fails(5, "alice", []string{"list"}, "card")
	if _, err := os.Lstat(kept); !os.IsNotExist(err) {
		t.Errorf("the kept key: %v", err)
	}
}

func TestHistoryAndProof(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob", "-n", "2")
	ids := strings.Fields(w.Must("one\ntwo\n", "alice", "send", "-wait", "read", "bob"))
	bob.End()
	w.Stop() // no relay and no card from here on
	if err := os.Rename(w.Path("lab", "alice"), w.Path("lab", "gone")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ args, has, hasNot string }{
		{"history", "READ       [alice → bob]: one\n", ids[0]},
		{"history", "READ       [alice → bob]: two\n", "History for"},
		{"history -ids", ids[1] + "  READ       [alice → bob]: two\n", "History for"},
		{"history -peer BOB", "History for BOB:\nTime  ", "→"},
		{"history bob", "[alice]: one\n", "→"},
		{"history bob 1", "[alice]: two\n", "one"},
		{"history -n 1 bob", "[alice]: two\n", "one"},
		{"history -grep TW", ": two\n", "one"},
		{"history -since 2d", ": one\n", ids[0]},
		{"history -grep three", "", "READ"},
		{"history -since 00:00", "Time  ", "one\ntwo"},
	} {
		if got := w.Must("", "alice", strings.Fields(test.args)...); !strings.Contains(got, test.has) || strings.Contains(got, test.hasNot) {
			t.Errorf("%s shows %q", test.args, got)
		}
	}
	if r := w.Run("", "alice", "-q=false", "history", "-n", "1"); !strings.Contains(r.Stderr, "earlier") {
		t.Errorf("nothing tells of earlier messages: %+v", r)
	}
	w.Fails(6, "alice", []string{"history", "carol"}, "carol", " trust lists")
	if json := w.Must("", "bob", "-json", "history"); strings.Count(json, `"type":"history"`) != 2 ||
		!strings.Contains(json, `"direction":"in"`) {
		t.Errorf("as JSON it is %q", json)
	}
	if verified := w.Must("", "alice", "history", "-verify"); !strings.Contains(verified, "all of it holds\nIt is the history of alice (") ||
		!strings.Contains(verified, "It is whole up to the head that alice signed on ") {
		t.Errorf("verified: %q", verified)
	}
	proof := w.Must("", "alice", "history", "-export", ids[0])
	if out := w.Must(proof, "nobody", "verify", "-"); !strings.Contains(out, "one") || !strings.Contains(out, ids[0]) {
		t.Errorf("the proof proves %q", out)
	}
	if _, err := os.Lstat(w.Path("state-nobody")); !os.IsNotExist(err) {
		t.Errorf("verify made a state directory: %v", err)
	}
	empty := t.TempDir() // without lists a sound history is not called damaged
	town.CheckFails(t, w.Run(proof, "nobody", "-crl", empty, "verify", "-"), 8,
		"the signatures and certificates of the proof hold", "-crl DIR")
	if r := w.Run("", "alice", "-crl", empty, "history", "-verify"); r.Status != 8 ||
		!strings.Contains(r.Stderr, "all signatures and certificates of the history hold") || strings.Contains(r.Stdout, "all of it holds") {
		t.Errorf("without lists: %+v", r)
	}
	town.CheckFails(t, w.Run(strings.Replace(proof, `\"text\":\"one\"`, `\"text\":\"six\"`, 1)+" ", "nobody", "verify", "-"), 8)
	w.Fails(1, "nobody", []string{"verify", w.Path("none")}, "none")
	w.Fails(1, "nobody", []string{"history"}, "no state directory")

	// row 25: an edited history is detected.
	file := filepath.Join(w.Path("state-alice"), "history", "lines.jsonl")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(data, []byte(`"two"`), []byte(`"2wo"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.Run("", "alice", "history", "-verify"); r.Status != 8 || !strings.Contains(r.Stderr, "does not verify") ||
		strings.Contains(r.Stdout, "all of it holds") {
		t.Errorf("edited: %+v", r)
	}

	// Somebody else's history holds by itself, and is not this directory's.
	if data, err = os.ReadFile(filepath.Join(w.Path("state-bob"), "history", "lines.jsonl")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.Run("", "alice", "history", "-verify"); r.Status != 8 || !strings.Contains(r.Stdout, "it is a history of bob") ||
		strings.Contains(r.Stdout, "all of it holds") {
		t.Errorf("of bob: %+v", r)
	}
	if r := w.Run("", "alice", "-json", "history", "-verify"); r.Status != 8 || !strings.Contains(r.Stdout, `"ok":false`) {
		t.Errorf("of bob, as JSON: %+v", r)
	}
	for _, args := range [][]string{{"history"}, {"history", "-n", "1", "alice"}, {"-json", "history"}} {
		if r := w.Run("", "alice", args...); r.Status != 8 || !strings.Contains(r.Stderr, "it is a history of bob, and the state directory is alice's") {
			t.Errorf("of bob, by %q: %+v", args, r)
		}
	}
}

// TestOutputThatNobodyReads: the client ends quietly.
func TestOutputThatNobodyReads(t *testing.T) {
	w := town.New(t, town.People("alice"))
	cmd := w.Client("alice", "list")
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
	w := town.New(t, town.People("alice", "bob"))
	w.Must("", "alice", "list")
	w.Fails(2, "bob", []string{"-state", w.Path("state-alice"), "list"}, "belongs to the name alice")
}

// TestManyLines: order, back-pressure and the end of a long pipe.
func TestManyLines(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	const n = 20000
	var in strings.Builder
	for i := range n {
		in.WriteString(strings.Repeat("x", i%50))
		in.WriteByte('\n')
	}
	bob := w.Start("bob", "recv", "-n", "20000")
	done := make(chan town.Result, 1)
	go func() { done <- bob.End() }()
	ids := w.Must(in.String(), "alice", "send", "-wait", "read", "-wait-peer", "30s", "bob")
	if strings.Count(ids, "\n") != n {
		t.Errorf("%d ids", strings.Count(ids, "\n"))
	}
	r := <-done
	if got := strings.ReplaceAll(r.Stdout, "alice: ", ""); r.Status != 0 || got != in.String() {
		t.Errorf("bob ended with %d, %d bytes of %d", r.Status, len(got), in.Len())
	}
}

// TestPipe carries binary data both ways, and one way.
func TestPipe(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	there, back := make([]byte, 1<<20+7), make([]byte, 3<<17)
	rand.Read(there)
	rand.Read(back)
	done := make(chan town.Result, 1)
	bob := w.Client("bob", "pipe", "-wait-peer", "30s", "alice")
	go func() { done <- town.RunCommand(t, bob, string(back)) }()
	if got := w.Must(string(there), "alice", "pipe", "-wait-peer", "30s", "bob"); got != string(back) {
		t.Errorf("alice got %d bytes of %d, or others", len(got), len(back))
	}
	if r := <-done; r.Status != 0 || r.Stdout != string(there) || r.Stderr != "" {
		t.Errorf("bob got %d bytes of %d, or others; he ended with %d and said %q", len(r.Stdout), len(there), r.Status, r.Stderr)
	}
	bob = w.Client("bob", "pipe", "-recv", "-wait-peer", "30s", "alice")
	go func() { done <- town.RunCommand(t, bob, "not this") }()
	if got := w.Must(string(there), "alice", "pipe", "-send", "-wait-peer", "30s", "bob"); got != "" {
		t.Errorf("alice got %q", got)
	}
	if r := <-done; r.Status != 0 || r.Stdout != string(there) {
		t.Errorf("bob got %d bytes of %d, or others; he ended with %d and said %q", len(r.Stdout), len(there), r.Status, r.Stderr)
	}
	w.Fails(6, "alice", []string{"pipe", "bob"}, "pipe")
	if r := w.Run("", "alice", "-json", "pipe", "bob"); r.Status != 2 {
		t.Errorf("-json: %+v", r)
	}
	w.Fails(2, "alice", []string{"pipe", "-send", "-recv", "bob"})
}

// TestPipeCutShortBetweenPrograms: the status is not 0, also while standard input gives
// nothing.
func TestPipeCutShortBetweenPrograms(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	for _, way := range []struct{ bob, alice []string }{{nil, nil}, {[]string{"-send"}, []string{"-recv"}}} {
		bob := w.Start("bob", slices.Concat([]string{"pipe"}, way.bob, []string{"-wait-peer", "30s", "alice"})...)
		alice := w.Start("alice", slices.Concat([]string{"pipe"}, way.alice, []string{"-wait-peer", "30s", "bob"})...)
		bob.Stdin.Write([]byte("a beginning\n"))
		if line := alice.Line(); line != "a beginning\n" {
			t.Errorf("%s: alice got %q", way.alice, line)
		}
		bob.Cmd.Process.Kill()
		rest, err := io.ReadAll(alice.Out)
		if err != nil || len(rest) != 0 {
			t.Errorf("%s: alice got %q %v", way.alice, rest, err)
		}
		alice.Cmd.Wait()
		if status := alice.Cmd.ProcessState.ExitCode(); status != 3 || !strings.Contains(alice.Stderr.String(), "client: error: ") {
			t.Errorf("%s: alice ended with %d and said %q", way.alice, status, alice.Stderr.String())
		}
		bob.End()
	}
}

// TestHistoryOfOneBreath: a message and the history after it, in one pipe.
func TestHistoryOfOneBreath(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	w.Receive("bob")
	if out := w.Must("bob: of one breath\nhistory\n", "alice"); !strings.Contains(out, "of one breath") {
		t.Errorf("the history is %q", out)
	}
}
