package spoil

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestFields(t *testing.T) {
	object := []byte(`{"a":1,"b":{"c":"x","d":[]}}`)
	forms := map[string]string{}
	for _, f := range Fields(t, object) {
		if string(f.Line) == string(object) {
			t.Errorf("%s is no wrong form", f.What)
		}
		if _, twice := forms[f.What]; twice {
			t.Errorf("two forms %s", f.What)
		}
		forms[f.What] = string(f.Line)
	}
	for what, want := range map[string]string{
		"a removed":        `{"b":{"c":"x","d":[]}}`,
		"b doubled":        `{"a":1,"b":{"c":"x","d":[]},"b":{"c":"x","d":[]}}`,
		"a moved":          `{"b":{"c":"x","d":[]},"a":1}`,
		"b as -1":          `{"a":1,"b":-1}`,
		"b with c removed": `{"a":1,"b":{"d":[]}}`,
		"b with d as null": `{"a":1,"b":{"c":"x","d":null}}`,
	} {
		if forms[what] != want {
			t.Errorf("%s: %q, want %q", what, forms[what], want)
		}
	}
	if _, is := forms["a as 1"]; is {
		t.Error("the right value among the wrong forms")
	}
}

func TestFieldAt(t *testing.T) {
	object := []byte(`{"a":1,"b":{"c":"x"}}`)
	got := ""
	for i := range object {
		got += (FieldAt(t, object, i) + "-")[:1]
	}
	if want := "-----a-----bbbbbbbbb-"; got != want || !json.Valid(object) {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestPositions(t *testing.T) {
	for _, whole := range []string{"", "1"} {
		t.Setenv("CHATSECURE_ATTACK", whole)
		s := new(Sweep)
		at := slices.Collect(s.Positions(1000, 10))
		want := 10
		if whole == "1" {
			want = 1000
		}
		if len(at) != want || s.tried != want || s.of != 1000 || at[len(at)-1] < 900 {
			t.Errorf("whole %q: %d positions %v", whole, len(at), s)
		}
		if n := len(slices.Collect(s.Positions(3, 10))); n != 3 {
			t.Errorf("%d of 3 positions", n)
		}
	}
}
