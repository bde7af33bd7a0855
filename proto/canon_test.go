package proto

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

type sample struct {
	Type string          `json:"type"`
	N    uint64          `json:"n,omitempty"`
	Data []byte          `json:"data,omitempty"`
	To   []string        `json:"to,omitempty"`
	Raw  json.RawMessage `json:"raw,omitempty"`
}

func TestRoundTrip(t *testing.T) {
	for _, want := range []sample{
		{Type: "a"},
		{Type: "<&>\u2028\x7f\x00\"\\é€😀", N: 1<<63 - 1, Data: []byte{0, 255}, To: []string{"", `"null"\`, `\"`, "[null,99999999999999999999]"}},
	} {
		b := MustMarshal(want)
		var got sample
		if err := Unmarshal(b, &got); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":             ``,
		"case":              `{"Type":"a"}`,
		"duplicate":         `{"type":"a","type":"b"}`,
		"unknown":           `{"type":"a","x":1}`,
		"order":             `{"n":1,"type":"a"}`,
		"space":             `{"type": "a"}`,
		"leading space":     ` {"type":"a"}`,
		"newline":           "{\"type\":\"a\"}\n",
		"trailing":          `{"type":"a"}{}`,
		"invalid UTF-8":     "{\"type\":\"\xff\"}",
		"lone surrogate":    `{"type":"\ud800"}`,
		"needless escape":   `{"type":"\u0061"}`,
		"HTML escape":       `{"type":"\u003c"}`,
		"zero given":        `{"type":"a","n":0}`,
		"null":              `{"type":null}`,
		"exponent":          `{"type":"a","n":1e2}`,
		"negative":          `{"type":"a","n":-1}`,
		"beyond uint64":     `{"type":"a","n":18446744073709551616}`,
		"beyond int64":      `{"type":"a","n":9223372036854775808}`,
		"a null string":     `{"type":null}`,
		"null in a list":    `{"type":"a","to":[null]}`,
		"null embedded":     `{"type":"\\\"","raw":{"a":null}}`,
		"number embedded":   `{"type":"\"","raw":[9223372036854775808]}`,
		"base64 newline":    `{"type":"a","data":"AA\nE="}`,
		"base64 pad bits":   `{"type":"a","data":"AB=="}`,
		"base64 unpadded":   `{"type":"a","data":"AA"}`,
		"wrong type":        `{"type":1}`,
		"top-level null":    `null`,
		"top-level array":   `[]`,
		"missing last byte": `{"type":"a"`,
	} {
		var got sample
		if err := Unmarshal([]byte(in), &got); err == nil {
			t.Errorf("%s: %q was accepted as %+v", name, in, got)
		}
	}
	if err := Unmarshal([]byte(`{"type": "a"}`), &sample{}); !errors.Is(err, errNotCanonical) {
		t.Errorf("error for a space is %v, want errNotCanonical", err)
	}
}

// An error describes the fault without repeating a stranger's whole text: it is shown, stored and
// logged.
func TestErrorsAreShort(t *testing.T) {
	for _, long := range []string{
		`{"type":"a","n":` + strings.Repeat("9", 1<<20) + `}`,
		`{"type":"a","n":"` + strings.Repeat("9", 1<<20) + `"}`,
		`{"type":"a","n":0.` + strings.Repeat("9", 1<<20) + `}`,
		`{"type":"a","data":"` + strings.Repeat("*", 1<<20) + `"}`,
		`{"` + strings.Repeat("n", 1<<20) + `":1}`,
		strings.Repeat("x", 1<<20),
		strings.Repeat("[", 1<<20),
	} {
		err := Unmarshal([]byte(long), &sample{})
		if err == nil || len(err.Error()) > 200 {
			t.Errorf("%.30s: an error of %d bytes: %.200v", long, len(fmt.Sprint(err)), err)
		}
		if err != nil && (strings.Contains(err.Error(), "json:") || strings.Contains(err.Error(), "Go ")) {
			t.Errorf("%.30s: the error is not for people: %v", long, err)
		}
	}
}
