package client

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// Two identities, as in the relay's list.
var (
	identityA = strings.Repeat("0a", 32)
	identityB = strings.Repeat("0b", 32)
)

// oneForm fails unless v, read from b, is written as b again.
func oneForm(t *testing.T, b []byte, v any) {
	t.Helper()
	if again := proto.MustMarshal(v); !bytes.Equal(again, b) {
		t.Fatalf("%q was taken for %q", b, again)
	}
}

func FuzzListed(f *testing.F) {
	page := []proto.Listed{
		{Name: "João", ID: "0123456789abcdef", Takes: proto.TakesPipe, Since: 1, Identity: identityA},
		{Name: "b", ID: "0123456789abcdee", Takes: proto.TakesNone, Identity: identityB},
	}
	good := proto.MustMarshal(page)
	corpus.Add(f, func(b []byte) bool { _, err := readListed(b); return err == nil }, [][]byte{good, []byte("[]")},
		[]byte("null"), bytes.Replace(good, []byte("pipe"), []byte("PIPE"), 1), bytes.Replace(good, []byte(identityA), []byte("\\u001b]0;x"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		page, err := readListed(b)
		if err != nil {
			return
		}
		oneForm(t, b, page)
		for _, l := range page {
			if proto.CheckName(l.Name) != nil || !proto.ValidConnID(l.ID) || !proto.ValidTakes(l.Takes) || !proto.IsHex(l.Identity, 32) {
				t.Fatalf("taken: %+v", l)
			}
		}
	})
}

// FuzzHeaderCache: the cache and the parser agree about every header.
func FuzzHeaderCache(f *testing.F) {
	const id = "0123456789abcdef"
	seven := uint64(7)
	seen := headerCache{}
	var good [][]byte
	for _, h := range []proto.Header{
		{Type: proto.TypeAck, DstID: id, Answers: &seven}, {Type: proto.TypePeer, Name: "ana", ID: id, Takes: proto.TakesPipe, Done: proto.Came},
		{Type: proto.TypeClientCom, Src: "ana", SrcID: id, Dst: "bruno", DstID: id},
		{Type: proto.TypeCommAck, Src: "ana", SrcID: id, Dst: "bruno", DstID: id},
	} {
		good = append(good, proto.MustMarshal(&h))
	}
	corpus.Add(f, func(b []byte) bool { _, err := seen.parse(b); return err == nil }, good, []byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wantErr := proto.ParseRelayHeader(b)
		for range 2 {
			h, err := seen.parse(b)
			if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(h, want) {
				t.Fatalf("%q is %+v, %v, want %+v, %v", b, h, err, want, wantErr)
			}
		}
		if len(seen) > maxCachedHeaders {
			t.Fatalf("%d headers are kept", len(seen))
		}
	})
}

// TestListsRefused: forms of the relay's list that are none.
func TestListsRefused(t *testing.T) {
	list := string(proto.MustMarshal([]proto.Listed{{
		Name: "ana", ID: "0123456789abcdef", Takes: proto.TakesMessages, Since: 7, Identity: strings.Repeat("0", 64),
	}}))
	if _, err := readListed([]byte(list)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"null", "[null]", strings.Replace(list, `"since":7`, `"since":-1`, 1),
		strings.Replace(list, `"since":7`, `"since":9223372036854775808`, 1),
		strings.Replace(list, `"since":7`, `"since":null`, 1),
	} {
		if _, err := readListed([]byte(bad)); err == nil {
			t.Errorf("%.60s is taken", bad)
		}
	}
}
