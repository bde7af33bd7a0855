package proto

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"chatsecure/testdata/corpus"
)

// Row 23: characters that act on a terminal or hide from a reader are shown.
func TestRow23Visible(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"plain ASCII ~":              "plain ASCII ~",
		"João, Ação, €, 日本語, 😀":      "João, Ação, €, 日本語, 😀",
		"❤\ufe0f":                    "❤\ufe0f",
		"back\\slash":                "back\\slash",
		"a\nb\r\n":                   `a\x0ab\x0d\x0a`,
		"\x00\x07\b\t\x1b\x7f":       `\x00\x07\x08\x09\x1b\x7f`,
		"\x1b]52;c;AAAA\a":           `\x1b]52;c;AAAA\x07`,
		"\u0085\u009b":               `\u0085\u009b`,
		"\x80\xff":                   `\x80\xff`,
		"caf\xe9":                    `caf\xe9`,
		"\xed\xa0\x80":               `\xed\xa0\x80`,
		"\xc0\x8a":                   `\xc0\x8a`,
		"\xe2\x80":                   `\xe2\x80`,
		"\ufffd":                     "\ufffd",
		"\u202a\u202e\u2066\u2069":   `\u202a\u202e\u2066\u2069`,
		"\u200e\u200f\u061c":         `\u200e\u200f\u061c`,
		"a\u200b\u200c\u200d\ufeffb": `a\u200b\u200c\u200d\ufeffb`,
		"\u2028\u2029":               `\u2028\u2029`,
		"\u00ad\u2060\u180e":         `\u00ad\u2060\u180e`,
		"\u3164\uffa0\u115f\u034f":   `\u3164\uffa0\u115f\u034f`,
		"\ufe00\U000e0100":           `\ufe00\U000e0100`,
		"\U000e0041\U000e007f":       `\U000e0041\U000e007f`,
		"\U0001d173":                 `\U0001d173`,
		"e" + strings.Repeat("\u0301\u20dd", 5) + "e\u0301": "e" + strings.Repeat("\u0301\u20dd", 4) + `\u0301\u20dd` + "e\u0301",
	} {
		if got := Visible(in); got != want {
			t.Errorf("Visible(%+q) = %+q, want %+q", in, got, want)
		}
	}
}

// Row 23: in a message's text newlines and tabs stay, and the joiners of emoji and of
// scripts whose letters join. In names, certificates and errors none does.
func TestRow23VisibleText(t *testing.T) {
	for _, text := range []string{
		"plain", "a\tb\nc", "👨\u200d👩\u200d👧\u200d👦", "🏳\ufe0f\u200d🌈", "👩🏽\u200d🚀", "🧑🏿\u200d❤\ufe0f\u200d💋\u200d🧑🏻", "🙂\u200d↔\ufe0f", "🐦\u200d⬛",
		"می\u200cخواهم", "بَ\u200cر", "هَـ", "क्\u200dष", "क्\u200cष", "ශ්\u200dරී", "র\u200d্য", "ᠠ\u200dᠡ",
	} {
		if got := VisibleText(text); got != text {
			t.Errorf("VisibleText(%+q) = %+q", text, got)
		}
		if strings.ContainsAny(text, "\t\u200c\u200d") && Visible(text) == text {
			t.Errorf("Visible(%+q) changes nothing", text)
		}
	}
	for in, want := range map[string]string{
		"a\rb\x1b\u2028\u202e\u200b": `a\x0db\x1b\u2028\u202e\u200b`,
		"a\u200db\u200cc":            `a\u200db\u200cc`,
		"\u200d👩\u200d":              `\u200d👩\u200d`,
		"👩\u200d\u200d👩":             `👩\u200d\u200d👩`,
		"👩\u200c👩":                   `👩\u200c👩`,
		"👩\u200da👩 \u200d👩":          `👩\u200da👩 \u200d👩`,
		"🏽\u200d👩":                   `🏽\u200d👩`,
		"م\u200c م\u200c\u200cم":     `م\u200c م\u200c\u200cم`,
		"م\u200cक":                   `م\u200cक`,
		"a\u200cم":                   `a\u200cم`,
		"\u0301\u200c\u0301":         "\u0301" + `\u200c` + "\u0301",
		"א\u200dא":                   `א\u200dא`,
		"\xff\u200d\xff\u2800\u200d": `\xff\u200d\xff` + "\u2800" + `\u200d`,
	} {
		if got := VisibleText(in); got != want {
			t.Errorf("VisibleText(%+q) = %+q, want %+q", in, got, want)
		}
	}
}

// Row 23: JSON has the same value, and nothing in it acts on a terminal or hides.
func TestRow23VisibleJSON(t *testing.T) {
	for value, want := range map[string]string{
		"plain, Ação, 王, 😀, ❤\ufe0f":        `"plain, Ação, 王, 😀, ❤` + "\ufe0f" + `"`,
		"\n\x1b\"":                          `"\n\u001b\""`,
		"\x7f\u0080\u009b\u009f\u00a0":      `"\u007f\u0080\u009b\u009f` + "\u00a0" + `"`,
		"\u202a\u202e\u2066\u2069":          `"\u202a\u202e\u2066\u2069"`,
		"\u200e\u200f\u061c\u2028\u2029":    `"\u200e\u200f\u061c\u2028\u2029"`,
		"\u200b\u200d\ufeff\u00ad":          `"\u200b\u200d\ufeff\u00ad"`,
		"\U000e0041\U0001d173\U000e0100":    `"\udb40\udc41\ud834\udd73\udb40\udd00"`,
		`\u202e \\u202e`:                    `"\\u202e \\\\u202e"`,
		"👨\u200d👩" + `\` + "\u200d" + `"\n`: `"👨\u200d👩\\\u200d\"\\n"`,
	} {
		got := VisibleJSON(string(MustMarshal(value)))
		var again string
		if err := json.Unmarshal([]byte(got), &again); err != nil || again != value || got != want {
			t.Errorf("%+q is written as %+q, want %+q; it means %+q, %v", value, got, want, again, err)
		}
	}
}

// FuzzVisible: the shown text acts on nothing and stands for one text.
func FuzzVisible(f *testing.F) {
	corpus.Add(f, func(s string) bool { return Visible(s) == s }, []string{"João, 日本語, ❤\ufe0f"},
		"\x1b]52;c;AAAA\a", "\u202e\u200b\u00ad\U000e0041", "\xff\xc3", "a\r\nb", "e\u0301", "\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		shown := Visible(s)
		if again := Visible(shown); again != shown {
			t.Fatalf("%q is shown as %q, and that as %q", s, shown, again)
		}
		if len(shown) > 4*len(s) {
			t.Fatalf("%d bytes are shown in %d", len(s), len(shown))
		}
		text := VisibleText(s)
		if again := VisibleText(text); again != text || Visible(text) != shown {
			t.Fatalf("%q is shown as the text %q, and that as %q", s, text, again)
		}
		valid, again := strings.ToValidUTF8(s, "?"), ""
		if err := json.Unmarshal([]byte(VisibleJSON(string(MustMarshal(valid)))), &again); err != nil || again != valid {
			t.Fatalf("%q is %q in JSON, %v", valid, again, err)
		}
		for _, r := range shown {
			if r < ' ' || r == 0x7f || !unicode.IsGraphic(r) && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("%q is shown as %q, with %U", s, shown, r)
			}
		}
	})
}

func TestClip(t *testing.T) {
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{{"", 4, ""}, {"abcd", 4, "abcd"}, {"abcde", 4, "abcd"}, {"abc\u20ac", 4, "abc"}, {"abc\u20ac", 5, "abc"}, {"abc\u20ac", 6, "abc\u20ac"}, {"ab\xffcd", 4, "abc"}} {
		if got := Clip(test.in, test.n); got != test.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", test.in, test.n, got, test.want)
		}
	}
}

// Row 23: a quoted text cannot end its quotes, and it stands for one text.
func TestRow23Quote(t *testing.T) {
	for in, want := range map[string]string{
		"":                    `""`,
		"Ação ❤\ufe0f":        "\"Ação ❤\ufe0f\"",
		`Ana" and "Rui`:       `"Ana\" and \"Rui"`,
		`Ana\`:                `"Ana\\"`,
		"a\nb\x1b[2J\u202e":   `"a\x0ab\x1b[2J\u202e"`,
		"\xff\u200b\u3164":    `"\xff\u200b\u3164"`,
		"\ufe00\U000e0100end": `"\ufe00\U000e0100end"`,
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%+q) = %+q, want %+q", in, got, want)
		}
	}
}
