package proto

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"chatsecure/testdata/corpus"
)

// everything has a field of each kind in the messages.
type everything struct {
	Text   string            `json:"text"`
	Number int64             `json:"number"`
	Count  *uint64           `json:"count,omitempty"`
	Yes    bool              `json:"yes,omitempty"`
	Data   []byte            `json:"data"`
	List   []string          `json:"list"`
	Exact  json.RawMessage   `json:"exact,omitempty"`
	All    []json.RawMessage `json:"all,omitempty"`
	Below  *everything       `json:"below,omitempty"`
}

// FuzzUnmarshal: an accepted text is in its one form, and encoding/json reads the same value in it.
func FuzzUnmarshal(f *testing.F) {
	take := func(b []byte) (*everything, error) {
		v := new(everything)
		return v, Unmarshal(b, v)
	}
	big := uint64(1<<63 - 1)
	full := &everything{
		Text: "\x00\b\t\n\f\r\"\\<&>\u2028\u2029\u007fé\U0001f600", Number: 1 - 1<<63, Count: &big, Yes: true, Data: []byte("data"), List: []string{"", "a"},
		Exact: json.RawMessage(`{"a":[1,true,{}]}`), All: []json.RawMessage{[]byte("1"), []byte(`"x"`)}, Below: &everything{List: []string{}, Data: []byte{}},
	}
	corpus.Add(f, func(b []byte) bool { _, err := take(b); return err == nil },
		[][]byte{MustMarshal(full), MustMarshal(&everything{List: []string{}, Data: []byte{}})},
		[]byte(`{"text":"","number":01,"data":"","list":[]}`), []byte(`{"text":"","number":1e0,"data":"","list":[]}`),
		[]byte(`{"text":"","tExt":"","number":0,"data":"","list":[]}`), []byte(`{"text":"\u0041","number":0,"data":"","list":[]}`),
		[]byte("{\"text\":\"\xff\",\"number\":0,\"data\":\"\",\"list\":[]}"), []byte("null"), []byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := take(b)
		if err == nil {
			if again := MustMarshal(v); !bytes.Equal(again, b) {
				t.Fatalf("%q was taken for %q", b, again)
			}
			var want everything
			if err := json.Unmarshal(b, &want); err != nil || !reflect.DeepEqual(v, &want) || !utf8.Valid(b) {
				t.Fatalf("%q: encoding/json reads %+v, %v", b, want, err)
			}
		}
		// Any input survives as bytes, and as text if it is UTF-8.
		in := everything{Text: string(b), Data: append([]byte{}, b...), List: []string{string(b)}}
		out, err := take(MustMarshal(&in))
		if utf8.Valid(b) && (err != nil || out.Text != in.Text || !bytes.Equal(out.Data, b) || out.List[0] != in.Text) {
			t.Fatalf("%q comes back as %+v, %v", b, out, err)
		}
	})
}
