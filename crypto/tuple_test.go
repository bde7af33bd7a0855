package crypto

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestTuple(t *testing.T) {
	// "chatsecure/1 x" is 14 bytes.
	head := "0000000e" + hex.EncodeToString([]byte("chatsecure/1 x"))
	for _, test := range []struct {
		name  string
		items []any
		want  string
	}{
		{"nothing", nil, ""},
		{"empty bytes", []any{[]byte{}}, "00000000"},
		{"nil bytes", []any{[]byte(nil)}, "00000000"},
		{"bytes", []any{[]byte{1, 2}}, "00000002" + "0102"},
		{"string", []any{"é"}, "00000002" + "c3a9"},
		{"integer", []any{uint64(258)}, "00000008" + "0000000000000102"},
		{"largest integer", []any{^uint64(0)}, "00000008" + "ffffffffffffffff"},
		{"hash", []any{[32]byte{31: 1}}, "00000020" + strings.Repeat("00", 31) + "01"},
		{"empty list", []any{list{}}, "00000000"},
		{"list", []any{list{"a", []byte{2}}}, "0000000a" + "0000000161" + "0000000102"},
		{"list of lists", []any{list{list{"a"}, list{}}, "b"}, "0000000d" + "00000005" + "0000000161" + "00000000" + "0000000162"},
	} {
		if got := hex.EncodeToString(tuple("x", test.items...)); got != head+test.want {
			t.Errorf("%s: %s, want %s", test.name, got, head+test.want)
		}
	}
}

// Nothing that is divided otherwise has the same bytes.
func TestTupleIsInjective(t *testing.T) {
	seen := map[string]int{}
	for i, b := range [][]byte{
		tuple("x", "ab", "c"), tuple("x", "a", "bc"), tuple("x", "abc"), tuple("x", "abc", ""), tuple("x", "", "abc"),
		tuple("x", list{"ab", "c"}), tuple("x", list{"a", "bc"}), tuple("x", list{list{"a", "bc"}}),
		tuple("xa", "b", "c"), tuple("x"), tuple(""), tuple("x", uint64(0)), tuple("x", uint64(0), ""),
	} {
		if j, ok := seen[string(b)]; ok {
			t.Errorf("tuples %d and %d have the same bytes", i, j)
		}
		seen[string(b)] = i
	}
}

// What a card signs begins as nothing else does, be it another context that
// begins or ends alike, or anything as a context's first item.
func TestDelegationBeginsAsNothingElse(t *testing.T) {
	message := DelegationMessage([]byte("leaf"), "Ana", []byte("key"), 1000, 2000)
	begin := tuple("delegation")
	if !bytes.HasPrefix(message, begin) {
		t.Fatalf("a delegation is %x", message)
	}
	for _, context := range []string{"", "delegatio", "delegations", "elegation", "d", "cc-1", "cc-2", "cc-3", "cc-retry", "connect-2", "connect-3", "message", "request"} {
		for _, item := range []string{"", "delegation", "n", string(message), string(begin)} {
			if bytes.HasPrefix(tuple(context, item), begin) {
				t.Errorf("a tuple of %q begins as a delegation", context)
			}
		}
	}
}

func TestAppendedTuple(t *testing.T) {
	b := appendContext(nil, "x")
	b = appendBytes(b, []byte{1})
	b = appendBytes(b, "two")
	b = appendUint(b, 3)
	if want := tuple("x", []byte{1}, "two", uint64(3)); !bytes.Equal(b, want) {
		t.Errorf("%x, want %x", b, want)
	}
}

func TestTupleOfAnUnknownType(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an int was taken, whose size is the machine's")
		}
	}()
	tuple("x", 1)
}
