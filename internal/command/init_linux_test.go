package command

import (
	"strings"
	"testing"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// TestInitShowsTokens: the tokens at hand are chosen by their number, and the URI that is written
// names the right one.
func TestInitShowsTokens(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := town.New(t, town.People("alice", "bob"))
	tokens, err := w.PKI.SoftHSM(w.Path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.Env = []string{tokens.Env()}
	p := tty.OpenPTY(t)
	cmd := w.Client("")
	cmd.Args = append(cmd.Args[:1:1], "-relay", w.Addr, "-name", "bob", "-state", w.Path("state-init"), "-pin-file", tokens.PINFile("bob"),
		"-only-ca", w.Path("lab", "ca-bundle.pem"), "-crl", w.Path("lab", "crl"), "-fetch=false", "-accept-new", "init")
	p.Control(cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Slave, p.Slave, p.Slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.Expect("2. ")
	p.Expect("Card, by its number")
	number := "1"
	if strings.Contains(p.All(), `2. "bob"`) {
		number = "2"
	}
	p.Types(number)
	p.Expect("The card of BOB")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("it ended with %v; shown was %q", err, p.All())
	}
	bare := w.Client("")
	bare.Args = append(bare.Args[:1:1], "-state", w.Path("state-init"), "-batch", "list")
	if r := town.RunCommand(t, bare, ""); r.Status != 0 || !strings.Contains(r.Stdout, "bob") {
		t.Errorf("client list: %+v\n%s", r, readConfigText(t, w.Path("state-init")))
	}
}
