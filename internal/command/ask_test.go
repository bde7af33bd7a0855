package command

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"regexp"
	"strings"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/testdata/lab/tty"
)

// wrappedRow begins each further row of a line.
var wrappedRow = regexp.MustCompile(`\n *\| `)

// TestQuestionsSayWhatAYesMeans: a certificate of a company with Bruno's subject does not look
// as his card's does, and people and relays that are known already are named.
func TestQuestionsSayWhatAYesMeans(t *testing.T) {
	st, err := state.Open(t.TempDir(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []state.KnownPeer{
		{Name: "bruno", Identity: [32]byte{1}, CommonName: "bruno miguel exemplo", Accepted: true},
		{Name: "carla", Identity: [32]byte{2}, CommonName: "CARLA", Accepted: true},
		{Name: "stranger", Identity: [32]byte{3}, CommonName: "BRUNO MIGUEL EXEMPLO"},
	} {
		if err := st.SetKnownPeer(k); err != nil {
			t.Fatal(err)
		}
	}
	fingerprint := strings.Repeat("0a", 32)
	if err := st.SetKnownRelay("10.0.0.5:8080", fingerprint); err != nil {
		t.Fatal(err)
	}
	under := func(anchor string, citizen bool, identity byte, names ...string) *trust.Person {
		p := fakePerson("bob", identity)
		p.Anchor, p.Citizen, p.Path = anchor, citizen, []*x509.Certificate{p.Leaf}
		for _, name := range names {
			p.Path = append(p.Path, &x509.Certificate{Subject: pkix.Name{CommonName: name}})
		}
		return p
	}
	state := []string{"EC de Autenticação do Cartão de Cidadão 0012", "Cartão de Cidadão 003", "ECRaizEstado 002"}
	company := under(trust.AnchorMozilla, false, 4, "Acme Staff CA", "Public Root")
	card := under(trust.AnchorPinned, true, 2, state...)
	given := under(trust.AnchorGiven, false, 5, "Lab Root")
	ask := func(opt options, p *trust.Person) string {
		t.Helper()
		out := new(tty.Paper)
		a := &app{opt: opt, tty: fakeTerminal(out, tty.Step{Types: "y"})}
		if yes, err := (asker{a, st}).ConfirmPeer(context.Background(), "bob", p); !yes || err != nil {
			t.Fatal(yes, err)
		}
		return out.String()
	}
	for _, c := range []struct {
		asked       string
		says, hides []string
	}{
		{
			ask(options{}, company), []string{
				"bob is new here", "\nNome           : BRUNO MIGUEL EXEMPLO\n", "\nChain          : Acme Staff CA → Public Root\n",
				"\nRoot           : Public Root, in Mozilla's public list\n", "\nCitizen's card : no\n",
				"\nRevocation     : good: ", "\nAttention      : another person, known as bruno, has such a name too: \"bruno miguel exemplo\" (identity 01",
				"\nA yes takes this identity as bob's for good; client card there shows the same:\n04" + strings.Repeat("0", 62) + "\nIs this the bob you mean? (y/n) ",
			}, []string{"stranger", "carla", "Identity  ", "0400000000000000..."},
		},
		{
			ask(options{}, card), []string{
				"\nRoot           : ECRaizEstado 002, known to this program by its hash\n", "\nCitizen's card : yes\n", "\nAlso known as  : carla\n",
			}, []string{"stranger"},
		},
		{ask(options{}, given), []string{"\nRoot           : Lab Root, from -ca-bundle\n"}, nil},
		{ask(options{onlyCA: "file"}, given), []string{"\nRoot           : Lab Root, from -only-ca\n"}, nil},
	} {
		for _, want := range c.says {
			if !strings.Contains(wrappedRow.ReplaceAllString(c.asked, ""), want) {
				t.Errorf("the question does not say %q:\n%s", want, c.asked)
			}
		}
		for _, hidden := range c.hides {
			if strings.Contains(c.asked, hidden) {
				t.Errorf("the question says %q:\n%s", hidden, c.asked)
			}
		}
	}
	out := new(tty.Paper)
	a := &app{tty: fakeTerminal(out, tty.Step{Types: "n"})}
	if yes, err := (asker{a, st}).ConfirmRelay(context.Background(), "localhost:8080", fingerprint); yes || err != nil {
		t.Fatal(yes, err)
	}
	for _, want := range []string{
		"The relay at localhost:8080 is new.", "who talks with whom", "relay -fingerprint", "\nThe key is known as 10.0.0.5:8080's.\n",
		"\nServer cipher sha256 fingerprint is:\n" + fingerprint + "\nConfirm (y/n)? ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the question does not say %q:\n%s", want, out)
		}
	}
}

// TestConfirmMet: about a person of an earlier run there is a question, with the whole identity.
func TestConfirmMet(t *testing.T) {
	out := new(tty.Paper)
	a := &app{tty: fakeTerminal(out, tty.Step{Types: "y"})}
	met := &state.KnownPeer{Name: "bob", CommonName: "BOB\x1b", Identity: [32]byte{1}}
	yes, err := (asker{a, state.New(t.TempDir(), "")}).ConfirmMet(t.Context(), met)
	for _, want := range []string{"bob has written before", `"BOB\x1b"`, "01" + strings.Repeat("00", 31), "(y/n)"} {
		if !yes || err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v %v: nothing says %q in %q", yes, err, want, out.String())
		}
	}
}
