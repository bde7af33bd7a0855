package chatsecure

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"chatsecure/crypto"
)

// heldKeys are the chain keys and the root of a conversation, in its own memory.
func heldKeys(c *crypto.Conversation) (keys [][]byte) {
	v := reflect.ValueOf(c).Elem()
	for _, f := range []reflect.Value{v.FieldByName("send").Elem().FieldByName("ck"), v.FieldByName("recv").Elem().FieldByName("ck"), v.FieldByName("ratchet").FieldByName("root")} {
		keys = append(keys, f.Bytes())
	}
	return keys
}

// TestConversationsAreErased: however a conversation ends, neither side keeps a
// key of it.
func TestConversationsAreErased(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(town *testTown, alice, bob *testClient)
	}{
		{"the peer leaves", func(_ *testTown, _, bob *testClient) { bob.leave() }},
		{"the client closes", func(_ *testTown, alice, _ *testClient) { alice.leave() }},
		{"the peer dies", func(_ *testTown, _, bob *testClient) { bob.engine.abort() }},
		{"the relay is lost", func(town *testTown, _, _ *testClient) { town.stop() }},
		{"the relay's connection breaks", func(_ *testTown, alice, _ *testClient) { alice.cutOff() }},
		{"the peer ends it", func(_ *testTown, _, bob *testClient) {
			bob.engine.do(context.Background(), func() {
				for _, pc := range bob.engine.conns {
					t3 := pc.conv.T3
					bob.engine.breakConversation(pc, "a test")
					bob.engine.sayEnded(pc, t3)
				}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			town := newTown(t, "alice", "bob")
			alice, bob := town.client("alice"), town.client("bob")
			alice.mustSend("hello", "bob")
			sees(t, alice, bob, "hello")
			alice.mustSettle(StatusRead)
			var conv *crypto.Conversation
			var keys [][]byte
			alice.engine.do(context.Background(), func() {
				for _, pc := range alice.engine.conns {
					conv, keys = pc.conv, heldKeys(pc.conv)
				}
			})
			if len(keys) != 3 || slices.ContainsFunc(keys, func(k []byte) bool { return len(k) != 32 || bytes.Equal(k, make([]byte, 32)) }) {
				t.Fatalf("the keys of a conversation are %x: this shows nothing", keys)
			}
			c.end(town, alice, bob)
			over := func() (over bool) {
				if alice.engine.do(context.Background(), func() {
					over = true
					for _, pc := range alice.engine.conns {
						over = over && pc.conv != conv
					}
				}) != nil {
					return true // the client has ended
				}
				return over
			}
			alice.await("the end of the conversation", func(Event) bool { return over() })
			for i, k := range keys {
				if !bytes.Equal(k, make([]byte, 32)) {
					t.Errorf("key %d of an ended conversation is still in memory", i)
				}
			}
		})
	}
}

// TestNothingKeptOpensWhatWasCaptured: no chain key and no root of a whole talk,
// with its steps, stands in either history or in a proof.
func TestNothingKeptOpensWhatWasCaptured(t *testing.T) {
	p := newHistoryPair(t)
	keys := map[string]bool{}
	collect := func() {
		for _, c := range []*crypto.Conversation{p.ca, p.cb} {
			for _, k := range heldKeys(c) {
				keys[string(k)] = true
			}
		}
	}
	var ids []string
	for n := range uint64(5) {
		collect()
		ids = append(ids, p.send("one", "two")...)
		collect()
		p.receipt(2*n+2, 2*n)
	}
	collect()
	if len(keys) <= 3+10 { // of the beginning, and one more for each message
		t.Fatalf("%d keys in all: the talk has no steps", len(keys))
	}
	kept := map[string][]byte{}
	for _, id := range ids {
		for _, u := range []*historyUser{p.a, p.b} {
			if data, err := ExportProof(u.dir, id); err == nil {
				kept["a proof by "+u.local.FoldedName] = append(kept["a proof by "+u.local.FoldedName], data...)
			}
		}
	}
	p.close(p.a)
	p.close(p.b)
	for _, u := range []*historyUser{p.a, p.b} {
		files, err := os.ReadDir(u.dir)
		p.must(err)
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(u.dir, f.Name()))
			p.must(err)
			kept[u.local.FoldedName+"'s "+f.Name()] = data
		}
	}
	if len(kept) < 4 {
		t.Fatalf("only %d files and proofs were looked at", len(kept))
	}
	for where, data := range kept {
		for k := range keys {
			for _, form := range []string{k, hex.EncodeToString([]byte(k)), base64.RawStdEncoding.EncodeToString([]byte(k)), base64.RawURLEncoding.EncodeToString([]byte(k))} {
				if bytes.Contains(data, []byte(form)) {
					t.Errorf("%s has a key of the conversation", where)
				}
			}
		}
	}
}
