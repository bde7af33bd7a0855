package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chatsecure/proto"
)

// schema is a JSON Schema (draft 2020-12), as far as doc/schema.json uses it.
// An unknown keyword is an error.
type schema struct {
	root map[string]any
}

func loadSchema(t testing.TB) *schema {
	t.Helper()
	data, err := os.ReadFile("../../doc/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	s := &schema{}
	if err := json.Unmarshal(data, &s.root); err != nil {
		t.Fatal(err)
	}
	if s.root["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Fatalf("the schema is of %v", s.root["$schema"])
	}
	return s
}

// defs are the schemas by name.
func (s *schema) defs() map[string]any { return s.root["$defs"].(map[string]any) }

// checkLines checks every line of -json output and counts the types.
func (s *schema) checkLines(t testing.TB, output string) map[string]int {
	t.Helper()
	types := make(map[string]int)
	for line := range strings.Lines(output) {
		text, whole := strings.CutSuffix(line, "\n")
		if !whole || !utf8.ValidString(text) {
			t.Errorf("not a line of UTF-8: %.200q", line)
		}
		if proto.Visible(text) != text {
			t.Errorf("it acts on a terminal, or hides: %.200q", text)
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Errorf("%v: %.200q", err, text)
			continue
		}
		typ, _ := v["type"].(string)
		types[typ]++
		if def := s.defs()[typ]; def == nil {
			t.Errorf("an object of the type %q", typ)
		} else if err := s.check(def, v, typ); err != nil { // a better error than that of oneOf
			t.Errorf("%v in %.400s", err, text)
		} else if err := s.check(s.root, v, "root"); err != nil {
			t.Errorf("%v in %.400s", err, text)
		}
	}
	return types
}

// check checks a value against a schema. at is its place.
func (s *schema) check(def, v any, at string) error {
	rules, ok := def.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: the schema is no object", at)
	}
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		if err := s.rule(rules, rule, v, at); err != nil {
			return err
		}
	}
	return nil
}

func (s *schema) rule(rules map[string]any, rule string, v any, at string) error {
	want := rules[rule]
	no := func() error { return fmt.Errorf("%s: %.80v is not as %s %v says", at, v, rule, want) }
	good := true
	switch rule {
	case "$schema", "$id", "$defs", "title", "description", "contentEncoding": // no rules
	case "$ref":
		name, _ := strings.CutPrefix(want.(string), "#/$defs/")
		return s.check(s.defs()[name], v, at)
	case "oneOf":
		passed := 0
		for _, one := range want.([]any) {
			if s.check(one, v, at) == nil {
				passed++
			}
		}
		good = passed == 1
	case "type":
		good = hasType(v, want.(string))
	case "const":
		good = v == want
	case "enum":
		good = slices.Contains(want.([]any), v)
	case "pattern":
		text, isText := v.(string)
		good = !isText || regexp.MustCompile(want.(string)).MatchString(text)
	case "minLength", "maxLength":
		text, isText := v.(string)
		n := float64(utf8.RuneCountInString(text))
		good = !isText || (rule == "minLength") == (n >= want.(float64)) || n == want.(float64)
	case "minimum":
		n, isNumber := v.(float64)
		good = !isNumber || n >= want.(float64)
	case "maximum":
		n, isNumber := v.(float64)
		good = !isNumber || n <= want.(float64)
	case "minItems":
		items, isArray := v.([]any)
		good = !isArray || float64(len(items)) >= want.(float64)
	case "items":
		items, _ := v.([]any)
		for i, item := range items {
			if err := s.check(want, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case "required", "properties", "additionalProperties":
		return s.fields(rules, rule, v, at)
	default:
		return fmt.Errorf("%s: the schema has %q, which nobody here checks", at, rule)
	}
	if !good {
		return no()
	}
	return nil
}

// fields checks an object's fields.
func (s *schema) fields(rules map[string]any, rule string, v any, at string) error {
	object, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	properties, _ := rules["properties"].(map[string]any)
	switch rule {
	case "required":
		for _, name := range rules["required"].([]any) {
			if _, there := object[name.(string)]; !there {
				return fmt.Errorf("%s: there is no %s", at, name)
			}
		}
	case "properties":
		for name, def := range properties {
			if field, there := object[name]; there {
				if err := s.check(def, field, at+"."+name); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		if rules[rule] != false {
			return fmt.Errorf("%s: additionalProperties is false or nothing here", at)
		}
		for name := range object {
			if properties[name] == nil {
				return fmt.Errorf("%s: %s should not be there", at, name)
			}
		}
	}
	return nil
}

func hasType(v any, typ string) bool {
	switch typ {
	case "object":
		_, ok := v.(map[string]any)
		return ok
	case "array":
		_, ok := v.([]any)
		return ok
	case "string":
		_, ok := v.(string)
		return ok
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "integer":
		n, ok := v.(float64)
		return ok && n == math.Trunc(n)
	}
	return false
}

// TestSchemaRefuses: a validator that lets everything pass proves nothing.
func TestSchemaRefuses(t *testing.T) {
	s := loadSchema(t)
	good := `{"v":1,"type":"sent","time":"2026-11-22T10:00:00.000Z","id":"00112233445566778899aabbccddeeff","to":["bob"]}`
	refused := func(line string) bool {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		return s.check(s.root, v, "root") != nil
	}
	if refused(good) {
		t.Fatal("a good line is refused")
	}
	for _, change := range [][2]string{
		{`"v":1`, `"v":2`}, {`"sent"`, `"send"`}, {`.000Z`, `Z`}, {`"00112233`, `"0011223`}, {`["bob"]`, `[]`}, {`["bob"]`, `["bob",1]`}, {`["bob"]`, `"bob"`},
		{`["bob"]`, `["` + strings.Repeat("b", 33) + `"]`}, {`["bob"]`, `[""]`}, {`["bob"]`, `["bob"],"more":1`}, {`,"to":["bob"]`, ``}, {good, `[]`}, {good, `{}`}, {good, `null`},
	} {
		if line := strings.Replace(good, change[0], change[1], 1); !refused(line) {
			t.Errorf("%s passes", line)
		}
	}
}
