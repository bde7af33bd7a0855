package proto

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"chatsecure/testdata/corpus"
)

func TestReadConnect(t *testing.T) {
	random := make([]byte, RandomSize)
	line1 := string(MustMarshal(&Connect1{TypeConnect, 1, []string{"A", "B"}, random}))
	line2 := string(MustMarshal(&Connect2{TypeConnect, 2, "A", []byte("k"), []byte("p"), []byte("s")}))
	line3 := string(MustMarshal(&Connect3{TypeConnect, 3, []byte("e"), []byte("p")}))
	line4 := string(MustMarshal(&Connect4{TypeConnect, 4, []byte("p")}))
	busy := string(MustMarshal(&ClearError{TypeError, Busy, "try again"}))
	read := func(line string, phase int) error {
		return ReadConnect([]byte(line), phase, []any{&Connect1{}, &Connect2{}, &Connect3{}, &Connect4{}}[phase-1])
	}
	for i, line := range []string{line1, line2, line3, line4} {
		if err := read(line, i+1); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, c := range []struct {
		why, line string
		phase     int
		code      Code
	}{
		{"an error instead", busy, 2, Busy},
		{"an error instead, at the end", busy, 4, Busy},
		{"an error with more", strings.Replace(busy, "}", `,"x":1}`, 1), 2, Malformed},
		{"an error without code", `{"type":"error","code":"","message":"x"}`, 2, Malformed},
		{"a long code", strings.Replace(busy, "busy", strings.Repeat("x", MaxCode+1), 1), 2, Malformed},
		{"a long error", strings.Replace(busy, "try again", strings.Repeat("x", MaxMessage+1), 1), 2, Malformed},
		{"phase 1 for 3", strings.Replace(line3, `"phase":3`, `"phase":1`, 1), 3, Unexpected},
		{"phase 2 where 4 is due", line2, 4, Malformed},
		{"another type", strings.Replace(line4, "connect", "list", 1), 4, Unexpected},
		{"no ciphers", string(MustMarshal(&Connect1{TypeConnect, 1, nil, random})), 1, Malformed},
		{"too many ciphers", string(MustMarshal(&Connect1{TypeConnect, 1, make([]string, MaxCiphers+1), random})), 1, Malformed},
		{"short random", string(MustMarshal(&Connect1{TypeConnect, 1, []string{"A"}, random[1:]})), 1, Malformed},
		{"a field removed", strings.Replace(line2, `"cipher":"A",`, "", 1), 2, Malformed},
		{"a field twice", strings.Replace(line2, `"cipher":"A",`, `"cipher":"A","cipher":"A",`, 1), 2, Malformed},
		{"a field of another type", strings.Replace(line2, `"cipher":"A"`, `"cipher":1`, 1), 2, Malformed},
		{"a name in clear", strings.Replace(line1, `"phase":1`, `"phase":1,"name":"ana"`, 1), 1, Malformed},
		{"base64 with junk", strings.Replace(line4, `"payload":"`, `"payload":"!`, 1), 4, Malformed},
		{"base64 with a newline", strings.Replace(line4, `"payload":"`, `"payload":"\n`, 1), 4, Malformed},
		{"nothing", "", 1, Malformed},
		{"deep nesting", strings.Repeat("[", 100_000), 1, Malformed},
	} {
		err := read(c.line, c.phase)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.why, err, c.code)
		}
	}
}

func TestReadWelcome(t *testing.T) {
	good := string(MustMarshal(&Welcome{Done: "ok", ID: testID}))
	refusal := string(MustMarshal(&Welcome{Error: &Error{NameTaken, "it is another's"}}))
	if id, told, err := ReadWelcome([]byte(good)); err != nil || told != nil || id != testID {
		t.Errorf("%q, %v, %v", id, told, err)
	}
	if id, told, err := ReadWelcome([]byte(refusal)); err != nil || told == nil || *told != (Error{NameTaken, "it is another's"}) || id != "" {
		t.Errorf("%q, %v, %v", id, told, err)
	}
	for _, c := range []struct {
		why, text string
		code      Code
	}{
		{"both", strings.Replace(good, "}", `,"error":{"code":"busy","message":""}}`, 1), Malformed},
		{"neither", `{}`, Malformed},
		{"a refusal without code", strings.Replace(refusal, "name-taken", "", 1), Malformed},
		{"a long code", strings.Replace(refusal, "name-taken", strings.Repeat("x", MaxCode+1), 1), Malformed},
		{"a long sentence", strings.Replace(refusal, "it is another's", strings.Repeat("x", MaxMessage+1), 1), Malformed},
		{"another done", strings.Replace(good, "ok", "OK", 1), Malformed},
		{"no id", `{"done":"ok"}`, Malformed},
		{"an id that is none", strings.Replace(good, "0", "O", 1), Malformed},
		{"a space", good + " ", Malformed},
	} {
		id, told, err := ReadWelcome([]byte(c.text))
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != c.code || id != "" || told != nil {
			t.Errorf("%s: %q, %v, %v", c.why, id, told, err)
		}
	}
}

// connectForms are the four phases as ReadConnect reads them.
var connectForms = []func() any{
	func() any { return new(Connect1) }, func() any { return new(Connect2) }, func() any { return new(Connect3) }, func() any { return new(Connect4) },
}

func FuzzConnect(f *testing.F) {
	random := make([]byte, RandomSize)
	corpus.Add(f, func(line []byte) bool {
		for i, form := range connectForms {
			if ReadConnect(line, i+1, form()) == nil {
				return true
			}
		}
		return false
	}, [][]byte{
		MustMarshal(&Connect1{TypeConnect, 1, []string{"A", "B"}, random}),
		MustMarshal(&Connect2{TypeConnect, 2, "A", []byte("k"), []byte("p"), []byte("s")}),
		MustMarshal(&Connect3{TypeConnect, 3, []byte("e"), []byte("p")}),
		MustMarshal(&Connect3{TypeConnect, 3, []byte{}, []byte{}}),
		MustMarshal(&Connect4{TypeConnect, 4, []byte("p")}),
	},
		[]byte(`{"type":"connect","phase":3,"data":"","payload":""},"payload":""}`), []byte(`{"type":"connect","phase":3,"data":"QQ==","payload":"QR=="}`),
		MustMarshal(&ClearError{TypeError, Busy, "try again"}), []byte(`{"type":"error"`),
		MustMarshal(&ClearError{TypeError, Code(strings.Repeat("c", MaxCode+1)), "it is long"}))
	f.Fuzz(func(t *testing.T, line []byte) {
		taken := 0
		for i, form := range connectForms {
			v := form()
			err := ReadConnect(line, i+1, v)
			if v, ok := v.(*Connect3); ok {
				// The scanner and encoding/json accept the same lines.
				var scanned, slow Connect3
				fast := scanConnect3(line, &scanned)
				same := Unmarshal(line, &slow) == nil && slow.Type == TypeConnect && slow.Phase == 3 && slow.Data != nil && slow.Payload != nil
				if fast != same || fast && !reflect.DeepEqual(scanned, slow) || fast && !reflect.DeepEqual(*v, slow) {
					t.Fatalf("%q: scanned: %v, %+v; decoded: %v, %+v", line, fast, scanned, same, slow)
				}
			}
			if err == nil {
				taken++
				if again := MustMarshal(v); !bytes.Equal(again, line) {
					t.Fatalf("%q was taken for %q", line, again)
				}
				continue
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Code == "" || len(e.Code) > MaxCode || len(e.Message) > MaxMessage {
				t.Fatalf("%q: %#v", line, err)
			}
			own := e.Code == Malformed || e.Code == Unexpected
			if again := MustMarshal(&ClearError{TypeError, e.Code, e.Message}); !own && !bytes.Equal(again, line) {
				t.Fatalf("%q was taken for the error %q", line, again)
			}
		}
		if taken > 1 {
			t.Fatalf("%q is of %d phases", line, taken)
		}
	})
}

func FuzzWelcome(f *testing.F) {
	corpus.Add(f, func(b []byte) bool { id, _, _ := ReadWelcome(b); return id != "" },
		[][]byte{MustMarshal(&Welcome{Done: "ok", ID: testID})},
		MustMarshal(&Welcome{Error: &Error{NameTaken, "it is another's"}}), []byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, told, err := ReadWelcome(b)
		w := Welcome{Done: "ok", ID: id}
		switch {
		case err != nil:
			if e, ok := errors.AsType[*Error](err); !ok || e.Code != Malformed || told != nil || id != "" {
				t.Fatalf("%q: %#v", b, err)
			}
			return
		case told != nil:
			if told.Code == "" || len(told.Code) > MaxCode || len(told.Message) > MaxMessage {
				t.Fatalf("%q: %#v", b, told)
			}
			w = Welcome{Error: told}
		}
		if again := MustMarshal(&w); !bytes.Equal(again, b) {
			t.Fatalf("%q was taken for %q", b, again)
		}
	})
}
