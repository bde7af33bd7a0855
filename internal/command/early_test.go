package command

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// TestRelayWaitsForNoToken: a client greets the relay while it reads a software card, and where a
// key is kept. A token may take its time, and the relay charges an address for waiting in vain.
func TestRelayWaitsForNoToken(t *testing.T) {
	for _, c := range []struct {
		name, card string
		kept, want bool
	}{
		{"software card", t.TempDir(), false, true},
		{"token", "pkcs11:token=alice", false, false},
		{"the first token", "", false, false},
		{"token, and a kept key", "pkcs11:token=alice", true, true},
	} {
		relay, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		greeted := make(chan bool, 1)
		go func() {
			conn, err := relay.Accept()
			if err == nil {
				defer conn.Close()
			}
			greeted <- err == nil
		}()
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if c.kept { // of another name, so that the card is asked all the same
			key, err := trust.GenerateKey(trust.KeyEd25519)
			if err != nil {
				t.Fatal(err)
			}
			bundle := &trust.Bundle{
				Name: "bob", NotAfter: time.Now().Add(time.Hour).Unix(), PublicKey: key.Public().SPKI(),
				Mailbox: []byte{}, Signature: []byte{}, X509: []byte{}, Chain: [][]byte{},
			}
			if err := state.New(dir, "").Keep(&state.Credential{Key: key, Bundle: bundle}, c.card); err != nil {
				t.Fatal(err)
			}
		}
		sys, _, _ := fakeSystem("")
		was := false
		sys.cards = func(context.Context, string, card.Options) (card.Card, error) {
			patience := time.Minute
			if !c.want {
				patience = 200 * time.Millisecond
			}
			select {
			case was = <-greeted:
			case <-time.After(patience):
			}
			return nil, errors.New("no card")
		}
		args := strings.Fields("-batch -fetch=false -crl-policy off -name alice -relay " + relay.Addr().String() + " -state " + dir)
		if c.card != "" {
			args = append(args, "-card", c.card)
		}
		opt, _, err := parseGlobal(args, sys.Env)
		if err != nil {
			t.Fatal(err)
		}
		a := &app{System: sys, opt: opt, out: newDisplay(sys, opt)}
		if _, err := a.connect(t.Context(), proto.TakesNone, nil); err == nil || !strings.Contains(err.Error(), "no card") {
			t.Errorf("%s: %v", c.name, err)
		}
		relay.Close()
		if was != c.want {
			t.Errorf("%s: greeted early %v, want %v", c.name, was, c.want)
		}
	}
}
