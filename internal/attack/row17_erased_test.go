package attack

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/testdata/lab/wire"
)

// heldKeys are the chain keys and the root in a conversation's own memory.
func heldKeys(c *crypto.Conversation) (keys [][]byte) {
	v := reflect.ValueOf(c).Elem()
	for _, f := range []reflect.Value{v.FieldByName("send").Elem().FieldByName("ck"),
		v.FieldByName("recv").Elem().FieldByName("ck"), v.FieldByName("ratchet").FieldByName("root")} {
		keys = append(keys, f.Bytes())
	}
	return keys
}

// TestConversationsAreErased: however a conversation ends, neither side keeps its keys.
func TestConversationsAreErased(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(town *localTown, alice, bob *testClient)
	}{
		{"the peer leaves", func(_ *localTown, _, bob *testClient) { bob.leave() }},
		{"the client closes", func(_ *localTown, alice, _ *testClient) { alice.leave() }},
		{"the peer dies", func(_ *localTown, _, bob *testClient) { bob.Inside().Kill() }},
		{"the relay is lost", func(town *localTown, _, _ *testClient) { town.stop() }},
		{"the relay's connection breaks", func(_ *localTown, alice, _ *testClient) { alice.cutOff() }},
		{"the peer ends it", func(_ *localTown, _, bob *testClient) {
			bob.Inside().EndConversations("a test")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			town := newTown(t, "alice", "bob")
			alice, bob := town.client("alice"), town.client("bob")
			alice.mustSend("hello", "bob")
			sees(t, alice, bob, "hello")
			alice.mustSettle(history.StatusRead)
			var conv *crypto.Conversation
			var keys [][]byte
			alice.Inside().Look(func(s client.Snapshot) {
				for _, pc := range s.Conns {
					conv, keys = pc.Conversation, heldKeys(pc.Conversation)
				}
			})
			if len(keys) != 3 || slices.ContainsFunc(keys, func(k []byte) bool { return len(k) != 32 || bytes.Equal(k, make([]byte, 32)) }) {
				t.Fatalf("the keys of a conversation are %x: this shows nothing", keys)
			}
			c.end(town, alice, bob)
			over := func() (over bool) {
				alice.Inside().Look(func(s client.Snapshot) {
					over = true
					for _, pc := range s.Conns {
						over = over && pc.Conversation != conv
					}
				})
				return over
			}
			alice.await("the end of the conversation", func(client.Event) bool { return over() })
			for i, k := range keys {
				if !bytes.Equal(k, make([]byte, 32)) {
					t.Errorf("key %d of an ended conversation is still in memory", i)
				}
			}
		})
	}
}

// TestNothingKeptOpensWhatWasCaptured: no chain key and no root of a conversation, from any step,
// stands in a history or a proof.
func TestNothingKeptOpensWhatWasCaptured(t *testing.T) {
	p := wire.NewPair(t)
	dirs, closed := map[*wire.User]string{p.A: t.TempDir(), p.B: t.TempDir()}, map[*wire.User]func() error{}
	for u, dir := range dirs {
		h, _, err := history.Open(history.Config{
			Dir: dir, Receiving: true, Now: p.Clock.Now, Bundle: u.Local.Bundle, Key: u.Local.Key,
			Owner: history.Owner{Name: u.End.Name, Identity: u.Local.Identity},
		})
		p.Must(err)
		u.Keeps, closed[u] = h, h.Close
	}
	p.Connect()
	keys := map[string]bool{}
	collect := func() {
		for _, c := range []*crypto.Conversation{p.Ca, p.Cb} {
			for _, k := range heldKeys(c) {
				keys[string(k)] = true
			}
		}
	}
	var ids []string
	for n := range uint64(5) {
		collect()
		ids = append(ids, p.Send("one", "two")...)
		collect()
		p.Receipt(2*n+2, 2*n)
	}
	collect()
	if len(keys) <= 3+10 { // three at the beginning, and one more for each message
		t.Fatalf("%d keys in all: the talk has no steps", len(keys))
	}
	kept := map[string][]byte{}
	for _, id := range ids {
		for u, dir := range dirs {
			if data, err := history.ExportProof(dir, id, p.Verifier); err == nil {
				kept["a proof by "+u.Local.FoldedName] = append(kept["a proof by "+u.Local.FoldedName], data...)
			}
		}
	}
	for u, dir := range dirs {
		p.Must(closed[u]())
		files, err := os.ReadDir(dir)
		p.Must(err)
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(dir, f.Name()))
			p.Must(err)
			kept[u.Local.FoldedName+"'s "+f.Name()] = data
		}
	}
	if len(kept) < 4 {
		t.Fatalf("only %d files and proofs were looked at", len(kept))
	}
	for where, data := range kept {
		for k := range keys {
			for _, form := range []string{k, hex.EncodeToString([]byte(k)), base64.RawStdEncoding.EncodeToString([]byte(k)),
				base64.RawURLEncoding.EncodeToString([]byte(k))} {
				if bytes.Contains(data, []byte(form)) {
					t.Errorf("%s has a key of the conversation", where)
				}
			}
		}
	}
}
