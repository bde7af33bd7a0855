package crypto

import (
	"bytes"
	"errors"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab/people"
)

func FuzzHello(f *testing.F) {
	bundle := people.Bundle(f, people.Card(f, "ana"), "ana", people.AnyKey(f))
	good := proto.MustMarshal(&Hello{Name: "ana", Takes: proto.TakesMessages, Bundle: bundle, Mailbox: []byte{}, Collects: [][]byte{}, Signature: make([]byte, 64)})
	boxed := fixedDevice(f, "bob", 20).hello()
	corpus.Add(f, func(b []byte) bool { _, err := ReadHello(b); return err == nil }, [][]byte{good, proto.MustMarshal(&boxed)},
		[]byte("{}"), bytes.Replace(good, []byte("messages"), []byte("all"), 1), []byte(`{"name":"ana","takes":"none","bundle":null,"mailbox":"","collects":[],"data_signature":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHello(b)
		if err != nil {
			// The relay tells the client of these two kinds, and of no other.
			_, ofProto := errors.AsType[*proto.Error](err)
			_, ofTrust := errors.AsType[*trust.Error](err)
			if !ofProto && !ofTrust || h != nil && h.Bundle == nil {
				t.Fatalf("%v is not told", err)
			}
			return
		}
		if again := proto.MustMarshal(h); !bytes.Equal(again, b) {
			t.Fatalf("%q was taken for %q", b, again)
		}
		hash := MailboxHash(h.Mailbox)
		if len(h.Bundle.Chain) > 8 || !proto.ValidTakes(h.Takes) || len(h.Collects) > proto.MaxCollects ||
			len(h.Mailbox) > 0 && !bytes.Equal(hash[:], h.Bundle.Mailbox) {
			t.Fatalf("%+v", h)
		}
	})
}
