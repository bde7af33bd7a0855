package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// signerOf is the signer of a client with these options.
func signerOf(t *testing.T, sys System, args ...string) *signer {
	t.Helper()
	opt, _, err := parseGlobal(args, sys.Env)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{app: &app{System: sys, opt: opt, out: newDisplay(sys, opt)}, state: state.New(t.TempDir(), ""), name: opt.name}
	if s.trusted, err = s.trust(""); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWrongPINIsNotTriedAgain: the engine asks for a new delegation every
// minute, and three tries lock a card. A wrong PIN from a file is not given to
// the card again, even if the file has changed. A person is asked again.
func TestWrongPINIsNotTriedAgain(t *testing.T) {
	lab.NeedSoftHSM(t)
	pki, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "source", "person"} {
		if _, err := pki.Issue(name); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	tokens, err := pki.SoftHSM(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.Write(dir); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", tokens.Conf)
	pin := filepath.Join(dir, "given")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(pin, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := func(name string, more ...string) []string {
		return append([]string{"-name", name, "-ca-bundle", filepath.Join(dir, "ca-bundle.pem"), "-crl-policy", "off"}, more...)
	}
	// warning is the remark of the token on its remaining tries, which the right
	// PIN restores.
	warning := func(name string) string {
		t.Helper()
		report, err := card.Survey(t.Context(), tokens.URI(name), card.Options{})
		if err != nil || report.Used() == nil {
			t.Fatalf("%s: %v", name, err)
		}
		return report.Used().Warning
	}
	for name, given := range map[string][]string{
		"file":   {"-batch", "-card", tokens.URI("file"), "-pin-file", pin},
		"source": {"-batch", "-card", tokens.URI("source") + "&pin-source=file:" + pin},
	} {
		t.Run(name, func(t *testing.T) {
			sys, _, stderr := fakeSystem("")
			s := signerOf(t, sys, flags(name, given...)...)
			write("999999")
			_, first := s.sign(t.Context())
			if !errors.Is(first, card.PINIncorrect) || fail.ExitStatus(first) != 5 {
				t.Fatalf("a wrong PIN: %v", first)
			}
			if _, over := errors.AsType[*client.RenewalOver](first); !over {
				t.Error("the engine is not told that asking again is no use")
			}
			said := stderr.String()
			write(lab.PIN)
			cred, again := s.sign(t.Context())
			if cred != nil || again != first {
				t.Errorf("the second time: %v; the first time: %v", again, first)
			}
			if warning(name) == "" || stderr.String() != said {
				t.Errorf("the card was asked; it was said %q", stderr)
			}
			// A new client takes the same file.
			if _, err := signerOf(t, sys, flags(name, given...)...).sign(t.Context()); err != nil || warning(name) != "" {
				t.Errorf("a new client with the right PIN: %v", err)
			}
		})
	}
	t.Run("person", func(t *testing.T) {
		sys, stdout, _ := fakeSystem("")
		s := signerOf(t, sys, flags("person", "-card", tokens.URI("person"))...)
		s.tty = fakeTerminal(stdout, tty.Step{Types: "999999", Hidden: true}, tty.Step{Types: lab.PIN, Hidden: true})
		_, err := s.sign(t.Context())
		if _, over := errors.AsType[*client.RenewalOver](err); !errors.Is(err, card.PINIncorrect) || over {
			t.Errorf("a wrong PIN: %v", err)
		}
		if _, err := s.sign(t.Context()); err != nil {
			t.Errorf("the right PIN after it: %v", err)
		}
	})
}

// A delegation names a mailbox unless the options say that there is none. Nothing is kept then.
func TestDelegationNamesAMailbox(t *testing.T) {
	w := town.New(t, town.People("alice"))
	for _, c := range []struct {
		more  []string
		named bool
	}{
		{nil, true},
		{[]string{"-letters=false"}, false},
		{[]string{"-ciphers", "RSA_AES256_CBC_HMAC"}, false},
		{[]string{"-ciphers", "RSA_AES256_CBC_HMAC,MLKEM768X25519_AES256_GCM"}, true},
	} {
		sys, _, _ := fakeSystem("")
		s := signerOf(t, sys, append(w.Client("alice").Args[1:], c.more...)...)
		if err := os.Mkdir(s.state.Dir(), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		cred, err := s.sign(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, there := os.Lstat(filepath.Join(s.state.Dir(), "mailbox"))
		if named := len(cred.Bundle.Mailbox) > 0; named != c.named || named != (there == nil) {
			t.Errorf("%v: named %v, the directory %v", c.more, named, there)
		}
	}
}

// notedCard notes the data that it signs.
type notedCard struct {
	card.Card
	signs func(message []byte)
}

func (c *notedCard) Sign(ctx context.Context, message []byte) ([]byte, error) {
	c.signs(bytes.Clone(message))
	return c.Card.Sign(ctx, message)
}

// TestCardSignsOneDelegation: a client that sends, loses its relay and sends
// again needs one signature of its card, for the delegation.
func TestCardSignsOneDelegation(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob")
	sys, _, _ := fakeSystem("")
	var mu sync.Mutex
	var signed [][]byte
	sys.cards = func(ctx context.Context, spec string, opt card.Options) (card.Card, error) {
		c, err := card.Open(ctx, spec, opt)
		return &notedCard{c, func(message []byte) {
			mu.Lock()
			defer mu.Unlock()
			signed = append(signed, message)
		}}, err
	}
	opt, _, err := parseGlobal(w.Client("alice").Args[1:], sys.Env)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{System: sys, opt: opt, out: newDisplay(sys, opt)}
	ctx := bounded(t)
	c, err := a.connect(ctx, proto.TakesMessages, func(cfg *client.Config) { cfg.Persistent = true })
	if err != nil {
		t.Fatal(err)
	}
	send := func(text string) {
		t.Helper()
		if _, err := c.Send(ctx, []string{"bob"}, text); err != nil {
			t.Fatal(err)
		}
		if o := bob.Object("message"); o["text"] != text {
			t.Errorf("bob got %v", o)
		}
		if o := c.Wait(ctx, history.StatusDelivered); o.ExitStatus() != 0 {
			t.Errorf("of what was sent became %+v", o)
		}
	}
	send("before")
	w.Stop()
	w.StartRelay("relay")
	for back := false; !back; {
		events, err := c.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			back = back || ev.Type == client.EventBack
		}
	}
	bob.Object("back")
	send("after")
	b := *c.cred.Bundle
	b.Name, b.PublicKey = "alice", c.cred.Key.Public().SPKI()
	if err := c.leave(closeWait); err != nil {
		t.Error(err)
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	bob.End()
	mu.Lock()
	defer mu.Unlock()
	if want := b.DelegationMessage(); len(signed) != 1 || !bytes.Equal(signed[0], want) {
		t.Errorf("the card signed %q, want only %q", signed, want)
	}
	if life := time.Duration(b.NotAfter-b.NotBefore) * time.Second; life > trust.MaxDelegation {
		t.Errorf("the delegation lives %v", life)
	}
}
