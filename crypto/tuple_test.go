package crypto

import (
	"bytes"
	"testing"
)

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

func TestTupleOfAnUnknownType(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an int was taken, whose size is the machine's")
		}
	}()
	tuple("x", 1)
}
