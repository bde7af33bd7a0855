package proto

import (
	"testing"
)

// Items that are divided differently have different bytes.
func TestTupleIsInjective(t *testing.T) {
	seen := map[string]int{}
	for i, b := range [][]byte{
		Tuple("x", "ab", "c"), Tuple("x", "a", "bc"), Tuple("x", "abc"), Tuple("x", "abc", ""), Tuple("x", "", "abc"),
		Tuple("x", List{"ab", "c"}), Tuple("x", List{"a", "bc"}), Tuple("x", List{List{"a", "bc"}}),
		Tuple("xa", "b", "c"), Tuple("x"), Tuple(""), Tuple("x", uint64(0)), Tuple("x", uint64(0), ""),
	} {
		if j, ok := seen[string(b)]; ok {
			t.Errorf("tuples %d and %d have the same bytes", i, j)
		}
		seen[string(b)] = i
	}
}

func TestTupleOfAnUnknownType(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an int was taken, whose size is the machine's")
		}
	}()
	Tuple("x", 1)
}
