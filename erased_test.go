package chatsecure

import (
	"bytes"
	"context"
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
