package chatsecure

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/wire"
)

// department is a town whose relay has options of the test's.
type department struct {
	*town.Town
	t     *testing.T
	relay *exec.Cmd
	log   *bytes.Buffer // of the relay; to be read once it has ended
}

func newDepartment(t *testing.T, names ...string) *department {
	w := town.New(t, town.People(names...))
	w.Stop()
	return &department{Town: w, t: t}
}

// start starts the relay.
func (d *department) start(args ...string) {
	d.t.Helper()
	args = append([]string{"-state", d.Path("relay"), "-fetch=false", "-crl", d.Path("lab", "crl")}, args...)
	d.relay, d.Addr, d.log = startRelay(d.t, args...)
}

func (d *department) hangup() {
	d.t.Helper()
	if err := d.relay.Process.Signal(syscall.SIGHUP); err != nil {
		d.t.Fatal(err)
	}
}

// stop ends the relay and returns its log.
func (d *department) stop() string {
	d.t.Helper()
	d.relay.Process.Signal(syscall.SIGTERM)
	if err := d.relay.Wait(); err != nil {
		d.t.Errorf("the relay ended with %v", err)
	}
	return d.log.String()
}

// file writes a file of the operator's and returns its path.
func (d *department) file(name string, lines ...string) string {
	d.t.Helper()
	path := d.Path(name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// names returns the identity of each name, as relay -names has it.
func (d *department) names() map[string]string {
	d.t.Helper()
	out, errs, status := runRelay(d.t, "-names", "-state", d.Path("relay"))
	if status != 0 || errs != "" {
		d.t.Fatalf("-names: %d, %q", status, errs)
	}
	owners := make(map[string]string)
	for line := range strings.Lines(out) {
		words := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(words) != 3 || len(words[1]) != 64 || !strings.HasSuffix(words[2], "Z") {
			d.t.Fatalf("-names prints %q", line)
		}
		owners[words[0]] = words[1]
	}
	return owners
}

// here fails the test unless a person can connect.
func (d *department) here(name string, args ...string) {
	d.t.Helper()
	d.Must("", name, append(args, "list")...)
}

// ended fails the test unless a person's live client ends because it is refused.
func (d *department) ended(p *town.Running, code, says string) {
	d.t.Helper()
	if e := p.Object("error"); e["code"] != code || e["exit"] != 4.0 || !strings.Contains(fmt.Sprint(e["message"]), says) {
		d.t.Errorf("the client is told %v, want %s and %q", e, code, says)
	}
	if r := p.End(); r.Status != 4 {
		d.t.Errorf("the client ended with %+v", r)
	}
}

func authority(ca *lab.CA) string {
	sum := sha256.Sum256(ca.Cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

const closed, shut = "this relay serves a closed group, and you are not in it", "the operator of this relay has shut you out"

// TestOnlyCA: a relay with -only-ca serves the people of that file, and when the file
// changes, of the changed one.
func TestOnlyCA(t *testing.T) {
	d := newDepartment(t, "alice")
	other, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Issue("eve"); err != nil {
		t.Fatal(err)
	}
	if err := other.Write(d.Path("other")); err != nil {
		t.Fatal(err)
	}
	read := func(path ...string) string {
		text, err := os.ReadFile(d.Path(path...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	ours, theirs := read("lab", "ca-bundle.pem"), read("other", "ca-bundle.pem")
	eve := []string{"-card", d.Path("other", "eve"), "-ca-bundle", d.Path("other", "ca-bundle.pem"), "-crl", d.Path("other", "crl")}

	roots := d.file("roots.pem", ours, theirs)
	d.start("-only-ca", roots)
	d.here("alice")
	live := town.StartCommand(t, d.Client("eve", append(eve, "-json", "recv")...))
	live.Object("connected")
	d.file("roots.pem", ours)
	d.hangup()
	d.ended(live, "certificate-untrusted", "")
	d.here("alice")
	d.Fails(4, "eve", append(eve, "list"))

	// A file without a root changes nothing. The list of the denied is read all the same.
	d.stop()
	deny := d.file("deny")
	d.start("-only-ca", roots, "-deny", deny)
	live = d.Receive("alice")
	d.file("roots.pem", read("lab", "intermediates.pem"))
	d.file("deny", d.names()["alice"])
	d.hangup()
	d.ended(live, "not-allowed", shut)
	if log := d.stop(); !strings.Contains(log, "its former content stays in force\" option=-only-ca file="+roots) || !strings.Contains(log, "no root in it") ||
		!strings.Contains(log, "reloaded, but for 1 file") || !strings.Contains(log, "roots=1 intermediates=0") {
		t.Errorf("the log says\n%s", log)
	}
	// At the start it is a failure.
	_, errs, status := runRelay(t, "-state", d.Path("relay"), "-listen", "127.0.0.1:0", "-only-ca", roots)
	if status != 1 || !strings.Contains(errs, "-only-ca "+roots+": no root in it") {
		t.Errorf("without a root: %d, %q", status, errs)
	}
}

// TestAllowAndDeny: by person and by authority, for newcomers and for live connections.
// What -deny names is refused whatever -allow names, and a refused person takes no name.
func TestAllowAndDeny(t *testing.T) {
	d := newDepartment(t, "alice", "bob", "carol")
	lab := []string{"-ca-bundle", d.Path("lab", "ca-bundle.pem")}
	d.start(lab...)
	d.here("alice")
	d.here("bob")
	id := d.names()
	d.stop()

	// By person, with comments, blank lines and capitals.
	allow := d.file("allow", "# the department", "", id["alice"]+" # since May", strings.ToUpper(id["bob"]), "")
	deny := d.file("deny")
	d.start(append(lab, "-allow", allow, "-deny", deny)...)
	live := d.Receive("bob")
	d.here("alice")
	d.Fails(4, "carol", []string{"list"}, closed, "client card shows your identity")
	if owner, ok := d.names()["carol"]; ok {
		t.Errorf("carol was refused, and %s has her name", owner)
	}
	// Who is denied goes at once, allowed or not.
	d.file("deny", id["bob"])
	d.hangup()
	d.ended(live, "not-allowed", shut)
	d.Fails(4, "bob", []string{"list"}, shut)
	d.here("alice")
	// So does who is not allowed any more.
	live = d.Receive("alice")
	d.file("allow", id["bob"])
	d.hangup()
	d.ended(live, "not-allowed", closed)
	// A list without an entry allows nobody, and the log says so.
	log := d.stop()
	d.file("allow", id["alice"])
	d.file("deny")
	d.start(append(lab, "-allow", allow, "-deny", deny)...)
	live = d.Receive("alice")
	d.file("allow", "# nobody")
	d.hangup()
	d.ended(live, "not-allowed", closed)
	d.Fails(4, "bob", []string{"list"}, closed)
	log += d.stop()
	var issuers []string
	for _, ca := range slices.Backward(d.PKI.CAs()) {
		issuers = append(issuers, authority(ca))
	}
	for _, says := range []string{
		"nobody may connect", "identity=" + id["bob"] + " issuers=" + strings.Join(issuers, ",") + " code=not-allowed", "(identity " + id["alice"] + ")",
	} {
		if !strings.Contains(log, says) {
			t.Errorf("nothing says %q in the log\n%s", says, log)
		}
	}

	// By authority, of any height.
	for _, ca := range d.PKI.CAs() {
		issuer := "issuer " + authority(ca)
		d.file("allow", issuer)
		d.file("deny")
		d.start(append(lab, "-allow", allow, "-deny", deny)...)
		d.here("carol")
		live := d.Receive("alice")
		d.file("deny", issuer)
		d.hangup()
		d.ended(live, "not-allowed", shut)
		d.Fails(4, "carol", []string{"list"}, shut)
		d.stop()
	}
}

// TestGroupFiles: a file with a fault stops the start, and changes nothing later.
func TestGroupFiles(t *testing.T) {
	d := newDepartment(t, "alice", "bob")
	lab := []string{"-ca-bundle", d.Path("lab", "ca-bundle.pem")}
	d.start(lab...)
	d.here("alice")
	d.here("bob")
	id := d.names()
	d.stop()
	good := "issuer " + id["alice"]
	for _, option := range []string{"-allow", "-deny"} {
		for _, bad := range []string{"alice", id["alice"][1:], id["alice"] + "0", id["alice"] + " " + id["bob"], "issuer", "issuer alice", "person " + id["alice"],
			strings.Replace(id["alice"], id["alice"][:1], "g", 1)} {
			path := d.file("faulty", "# comment", good, "", bad, good)
			_, errs, status := runRelay(t, append(lab, "-state", d.Path("relay"), "-listen", "127.0.0.1:0", option, path)...)
			if status != 1 || !strings.Contains(errs, option+" "+path+": line 4 ") || !strings.Contains(errs, "\nrelay: hint: a line is an identity") {
				t.Errorf("%s with %q: %d, %q", option, bad, status, errs)
			}
		}
		gone := d.Path("gone")
		_, errs, status := runRelay(t, append(lab, "-state", d.Path("relay"), "-listen", "127.0.0.1:0", option, gone)...)
		if status != 1 || !strings.Contains(errs, option+" "+gone+": no such file") {
			t.Errorf("%s without a file: %d, %q", option, status, errs)
		}
	}

	allow, deny := d.file("allow", id["alice"], id["bob"]), d.file("deny")
	d.start(append(lab, "-allow", allow, "-deny", deny)...)
	live := d.Receive("bob")
	d.file("allow", id["alice"], "bob", "", "b", "c", "d", "e", "f")
	d.file("deny", id["bob"])
	d.hangup()
	d.ended(live, "not-allowed", shut)
	d.here("alice") // by the former list
	d.file("deny", "nobody")
	d.file("allow", id["bob"])
	live = d.Receive("alice")
	d.hangup()
	d.ended(live, "not-allowed", closed)
	d.Fails(4, "bob", []string{"list"}, shut) // by the former list
	log := d.stop()
	for _, fault := range []string{
		`option=-allow file=` + allow + ` reason="lines 2, 4, 5, 6, 7, more name neither people nor authorities" hint="a line is`,
		`option=-deny file=` + deny + ` reason="line 1 names neither a person nor an authority"`,
		`msg="reloaded, but for 1 file"`,
	} {
		if !strings.Contains(log, fault) {
			t.Errorf("nothing says %q in the log\n%s", fault, log)
		}
	}
}

// TestUnknownRevocationIsOneLine: a connection with an unknown revocation has one line in the
// log, a warning with the reason, and -crl needs its directory at the start.
func TestUnknownRevocationIsOneLine(t *testing.T) {
	d := newDepartment(t, "alice")
	empty := d.Path("empty")
	args := []string{"-ca-bundle", d.Path("lab", "ca-bundle.pem"), "-crl", empty}
	_, errs, status := runRelay(t, append([]string{"-state", d.Path("relay"), "-listen", "127.0.0.1:0"}, args...)...)
	if status != 1 || !strings.Contains(errs, "-crl "+empty+": no such file") {
		t.Errorf("without the directory: %d, %q", status, errs)
	}
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	d.start(args...)
	d.here("alice")
	log := d.stop()
	var lines []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "no revocation list") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "level=WARN msg=connected name=alice") || !strings.Contains(lines[0], "revocation=unknown reason=") {
		t.Errorf("the log says\n%s", log)
	}
}

// TestNamesAreFreed: a leaver's name is freed by a running relay and where none runs, and
// another person takes it.
func TestNamesAreFreed(t *testing.T) {
	d := newDepartment(t, "alice", "bob", "carol")
	lab := []string{"-ca-bundle", d.Path("lab", "ca-bundle.pem"), "-deny", d.file("deny")}
	d.start(lab...)
	d.here("alice")
	d.here("bob")
	d.here("carol")
	before := d.names()
	asCarol := []string{"-card", d.Path("lab", "carol")}
	free := func(status int, says, name string) {
		t.Helper()
		out, errs, got := runRelay(t, "-free", name, "-state", d.Path("relay"))
		if got != status || !strings.Contains(out+errs, says) || status == 0 && errs != "" {
			t.Errorf("-free %s: %d, %q, %q", name, got, out, errs)
		}
	}
	taken := []string{"-name", "alice", "-state", d.Path("state-taker")}
	d.Fails(4, "carol", append(taken, "list"), "belongs to another identity", "the relay's operator can free it")

	// Where a relay runs, and the leaver is still connected.
	live := d.Receive("alice")
	free(1, "nobody has the name dora", "dora")
	free(0, "send it SIGHUP", "ALICE")
	free(0, "is to be freed already: send the relay SIGHUP", "alice")
	if now := d.names(); now["alice"] != before["alice"] {
		t.Errorf("before SIGHUP alice is %q's", now["alice"])
	}
	d.file("deny", before["alice"])
	d.hangup()
	d.ended(live, "not-allowed", shut)
	wire.Until(t, "the end of STATE/free", func() bool {
		_, err := os.Stat(d.Path("relay", "free"))
		return os.IsNotExist(err)
	})
	d.here("carol", append(asCarol, taken...)...)
	if now := d.names(); now["alice"] == before["alice"] || now["bob"] != before["bob"] {
		t.Errorf("the names are %v, and were %v", now, before)
	}

	// What was asked for one owner does not take the name from the next.
	free(0, "send it SIGHUP", "bob")
	d.Must("", "bob", "release")
	d.here("bob", append(asCarol, "-name", "bob", "-state", d.Path("state-heir"))...)
	log := d.stop()
	if !strings.Contains(log, "code=name-taken") || !strings.Contains(log, "identity="+before["carol"]) {
		t.Errorf("the log does not say who wanted the name\n%s", log)
	}
	if strings.Contains(log, "not freed") {
		t.Errorf("a name that was asked for twice is complained of\n%s", log)
	}
	if !strings.Contains(log, "freed") || !strings.Contains(log, before["alice"]) {
		t.Errorf("the log says\n%s", log)
	}
	d.start(lab...) // takes STATE/free too
	if now := d.names(); now["bob"] == "" || now["bob"] == before["bob"] {
		t.Errorf("bob is %q's", now["bob"])
	}
	d.stop()

	// Where none runs, at once.
	free(1, "nobody has the name dora", "dora")
	free(0, "Bob is free", "Bob")
	if _, ok := d.names()["bob"]; ok {
		t.Error("bob has an owner")
	}
	d.start(lab...)
	d.here("bob")
	if now := d.names(); now["bob"] != before["bob"] {
		t.Errorf("bob is %q's", now["bob"])
	}
	// A state directory that is not there is no relay without names.
	for _, args := range [][]string{{"-names"}, {"-free", "bob"}} {
		if out, errs, status := runRelay(t, append(args, "-state", d.Path("nowhere"))...); status != 1 || out != "" || !strings.HasPrefix(errs, "relay: error: ") ||
			!strings.Contains(errs, "\nrelay: hint: give the relay's own with -state") {
			t.Errorf("%q of nothing: %d, %q, %q", args, status, out, errs)
		}
	}
	// A symbolic link is refused, by every use.
	link := d.Path("link")
	if err := os.Symlink(d.Path("relay"), link); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-names"}, {"-free", "bob"}, {"-fingerprint"}, {"-listen", "127.0.0.1:0"}} {
		if out, errs, status := runRelay(t, append(args, "-state", link)...); status != 1 || out != "" || !strings.Contains(errs, "is a symbolic link") {
			t.Errorf("%q through a link: %d, %q, %q", args, status, out, errs)
		}
	}
}

// TestRootActsAsTheOwner: what root asks of a service's state directory leaves no file of
// root's there, which the service would refuse.
func TestRootActsAsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "*** this needs root: -names and -free are NOT tried on a service's state directory ***")
		t.SkipNow()
	}
	const service = 65533
	above := t.TempDir() // which the service cannot enter
	state := filepath.Join(above, "state")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(state, "names"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(state, "names"), service, service); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, service, service); err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("ab", 32)
	write(`{"name":"ana","identity":"` + id + `","since":1}` + "\n")
	for _, step := range []struct {
		args []string
		says string
	}{
		{[]string{"-names"}, "ana\t" + id + "\t1970-01-01T00:00:01Z\n"}, {[]string{"-free", "Ana"}, "Ana is free\n"}, {[]string{"-names"}, ""},
	} {
		if out, errs, status := runRelay(t, append(step.args, "-state", state)...); status != 0 || out != step.says || errs != "" {
			t.Errorf("%q: %d, %q, %q", step.args, status, out, errs)
		}
	}
	entries, err := os.ReadDir(state)
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Sys().(*syscall.Stat_t).Uid != service {
			t.Errorf("%s is not the service's: %v", entry.Name(), err)
		}
	}
}
