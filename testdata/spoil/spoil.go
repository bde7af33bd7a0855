// Package spoil makes wrong forms of valid lines for tests: with a flipped byte,
// or a field removed, doubled or of another type. It knows JSON, and nothing of
// the meaning of the lines.
package spoil

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whole reports whether all forms are tried, as by `make attack`, and not only a
// sample.
func Whole() bool { return os.Getenv("CHATSECURE_ATTACK") == "1" }

// Byte returns line with one bit of byte i flipped. The bit changes with i and is
// never the highest. So ASCII stays ASCII, and more lines parse and reach the
// deeper checks.
func Byte(line []byte, i int) []byte {
	bad := bytes.Clone(line)
	bad[i] ^= 1 << (i % 7)
	return bad
}

// LastBit returns line with the lowest bit of byte i flipped, which turns most
// letters of base64 into others.
func LastBit(line []byte, i int) []byte {
	bad := bytes.Clone(line)
	bad[i] ^= 1
	return bad
}

// A Sweep goes through all positions of lines, or a sample of them, and logs their
// numbers at the end of the test. It fails a test in which it tried none.
type Sweep struct {
	tried, of int
}

// NewSweep begins a sweep; what describes it in the log.
func NewSweep(t testing.TB, what string) *Sweep {
	s := new(Sweep)
	start := time.Now()
	t.Cleanup(func() {
		t.Logf("%s: tried %d of %d in %.1f s", what, s.tried, s.of, time.Since(start).Seconds())
		if s.tried == 0 {
			t.Errorf("%s: nothing was tried", what)
		}
	})
	return s
}

// Positions are 0 to n-1, or about sample of them at equal distances, with a
// random start.
func (s *Sweep) Positions(n, sample int) iter.Seq[int] {
	if Whole() {
		return s.every(1, n)
	}
	return s.Some(n, sample)
}

// Some is the sample of Positions even if Whole is true.
func (s *Sweep) Some(n, sample int) iter.Seq[int] { return s.every(max(1, n/sample), n) }

func (s *Sweep) every(step, n int) iter.Seq[int] {
	s.of += n
	return func(yield func(int) bool) {
		for i := rand.N(step); i < n; i += step {
			s.tried++
			if !yield(i) {
				return
			}
		}
	}
}

// Forms are the wrong forms of a line with their names: all of them, or about
// sample of them.
func (s *Sweep) Forms(t testing.TB, object []byte, sample int) iter.Seq2[string, []byte] {
	t.Helper()
	forms := Fields(t, object)
	return func(yield func(string, []byte) bool) {
		for i := range s.Positions(len(forms), sample) {
			if !yield(forms[i].What, forms[i].Line) {
				return
			}
		}
	}
}

// Form is one wrong form of a line.
type Form struct {
	What string
	Line []byte
}

type field struct {
	key   string
	value json.RawMessage
}

// wrongValues replace each value of an object.
var wrongValues = []string{
	`null`, `1`, `-1`, `1e3`, `true`, `""`, `"x"`, `"AA==="`, `"AB=="`, `"AA\n=="`,
	`[]`, `["x"]`, `{}`, `{"x":1}`, `[[]]`,
}

// Fields returns wrong forms of a JSON object: of the whole, and of each of its
// fields and those of inner objects.
func Fields(t testing.TB, object []byte) []Form {
	t.Helper()
	fields := parse(t, object)
	if !bytes.Equal(build(fields), object) {
		t.Fatalf("taken apart and put together: %s", build(fields))
	}
	forms := []Form{
		{"a space", append([]byte{' '}, object...)},
		{"a space after", append(bytes.Clone(object), ' ')},
		{"two", slices.Concat(object, object)},
		{"an array", slices.Concat([]byte("["), object, []byte("]"))},
		{"null", []byte("null")},
	}
	for i, f := range fields {
		add := func(what string, fields []field) {
			forms = append(forms, Form{f.key + " " + what, build(fields)})
		}
		edit := func(what, key string, value []byte) {
			changed := slices.Clone(fields)
			changed[i] = field{key, value}
			add(what, changed)
		}
		without := slices.Delete(slices.Clone(fields), i, i+1)
		add("removed", without)
		add("doubled", slices.Insert(slices.Clone(fields), i, f))
		if i < len(fields)-1 {
			add("moved", append(without, f))
		}
		add("and one more", slices.Insert(slices.Clone(fields), i, field{"x", json.RawMessage("1")}))
		edit("in capitals", strings.ToUpper(f.key), f.value)
		for _, value := range wrongValues {
			if value != string(f.value) {
				edit("as "+value, f.key, []byte(value))
			}
		}
		if f.value[0] == '{' {
			for _, inner := range Fields(t, f.value) {
				edit("with "+inner.What, f.key, inner.Line)
			}
		}
	}
	return forms
}

// parse takes a JSON object apart.
func parse(t testing.TB, object []byte) (fields []field) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		f := field{key: key.(string)}
		if err := dec.Decode(&f.value); err != nil {
			t.Fatal(err)
		}
		fields = append(fields, f)
	}
	return fields
}

// build puts an object together without blanks.
func build(fields []field) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", f.key, f.value)
	}
	return append(b.Bytes(), '}')
}

// FieldAt returns the key of the top-level field with byte i of a canonical object
// in its value, or "" if byte i is between values.
func FieldAt(t testing.TB, object []byte, i int) string {
	t.Helper()
	at := 1
	for _, f := range parse(t, object) {
		at += len(f.key) + 3 // two quotes and a colon
		if i >= at && i < at+len(f.value) {
			return f.key
		}
		at += len(f.value) + 1 // a comma
	}
	return ""
}
