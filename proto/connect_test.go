package proto

import (
	"errors"
	"strings"
	"testing"

	"chatsecure/canon"
)

func TestReadConnect(t *testing.T) {
	random := make([]byte, RandomSize)
	line1 := string(canon.MustMarshal(&Connect1{TypeConnect, 1, []string{"A", "B"}, random}))
	line2 := string(canon.MustMarshal(&Connect2{TypeConnect, 2, "A", []byte("k"), []byte("p"), []byte("s")}))
	line3 := string(canon.MustMarshal(&Connect3{TypeConnect, 3, []byte("e"), []byte("p")}))
	line4 := string(canon.MustMarshal(&Connect4{TypeConnect, 4, []byte("p")}))
	busy := string(canon.MustMarshal(&ClearError{TypeError, Busy, "try again"}))
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
		{"a long error", strings.Replace(busy, "try again", strings.Repeat("x", MaxMessage+1), 1), 2, Malformed},
		{"phase 1 for 3", strings.Replace(line3, `"phase":3`, `"phase":1`, 1), 3, Unexpected},
		{"phase 2 where 4 is due", line2, 4, Malformed},
		{"another type", strings.Replace(line4, "connect", "list", 1), 4, Unexpected},
		{"no ciphers", string(canon.MustMarshal(&Connect1{TypeConnect, 1, nil, random})), 1, Malformed},
		{"too many ciphers", string(canon.MustMarshal(&Connect1{TypeConnect, 1, make([]string, MaxCiphers+1), random})), 1, Malformed},
		{"short random", string(canon.MustMarshal(&Connect1{TypeConnect, 1, []string{"A"}, random[1:]})), 1, Malformed},
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
