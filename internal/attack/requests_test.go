package attack

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestRelayBusyWithWatches: a client asks a busy relay again until it answers.
func TestRelayBusyWithWatches(t *testing.T) {
	town, r := evilTown(t, "alice", "bob", "carol")
	bob, carol := town.client("bob"), town.client("carol")
	refused := map[string]int{}
	r.Do(func() {
		r.Busy = func(h *proto.Header) bool {
			refused[h.Name]++
			return h.Watch && refused[h.Name] <= 3
		}
	})
	alice := town.client("alice", func(cfg *client.Config) { cfg.Again = 20 * time.Millisecond })
	if err := alice.Watch(context.Background()); err != nil {
		t.Fatal(err)
	}
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
	alice.mustSend("hello", "carol")
	sees(t, alice, carol, "hello")
	wire.Until(t, "who is there at all to be asked again", func() (yes bool) {
		r.Do(func() { yes = refused[""] > 3 && refused["bob"] > 3 && refused["carol"] > 3 })
		return yes
	})
}

// TestRelayStaysBusy: if the relay stays busy, the error says so.
func TestRelayStaysBusy(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	relay.Do(func() { relay.Busy = func(*proto.Header) bool { return true } })
	alice := town.client("alice", func(cfg *client.Config) { cfg.Again, cfg.Timeout = 10*time.Millisecond, 3*time.Second })
	_, err := alice.Send(context.Background(), []string{"bob"}, "hello")
	if e := fail.AsError(err); e == nil || e.Code != proto.Busy || fail.ExitStatus(err) != 3 {
		t.Errorf("%v", err)
	}
	if _, err := alice.List(context.Background()); err == nil || fail.AsError(err).Code != proto.Busy {
		t.Errorf("list: %v", err)
	}
}

// TestQuestionMakesNoKeys: a client that only asks the relay makes no RSA keys for conversations.
func TestQuestionMakesNoKeys(t *testing.T) {
	town := newTown(t, "alice")
	makers := func() int {
		stacks := make([]byte, 8<<20)
		return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("crypto.(*KeySource).fill("))
	}
	ask := func(takes string) (makes int) {
		alice := town.client("alice", func(cfg *client.Config) { cfg.Takes, cfg.Ciphers = takes, []string{crypto.SuiteRSA256} })
		if _, err := alice.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		makes = makers()
		alice.leave()
		return makes - makers() // without the relay's
	}
	if none, messages := ask(proto.TakesNone), ask(proto.TakesMessages); none != 0 || messages != 1 {
		t.Errorf("keys are made by %d clients that ask, and by %d that take messages", none, messages)
	}
}
