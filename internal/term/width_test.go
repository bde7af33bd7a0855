package term

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode"
)

// TestTextWidth is the table of widths.
func TestTextWidth(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "olá": 3, "ola\u0301": 3, "Ãçñß": 4, "привет": 6, "Ωμέγα": 5, "שלום": 4, "سلام": 4,
		"王": 2, "日本語": 6, "ｆｕｌｌ": 8, "ﾊﾝｶｸ": 4, "한글": 4, "\u1112\u1161\u11ab": 2, "ไทย": 3, "ที่": 1, "हि": 2,
		"😀": 2, "👍🏽": 2, "🏽": 2, "a🏽": 3, "🇵🇹": 2, "🇵🇹🇵🇹": 4, "🇵": 1, "❤": 1, "❤\ufe0f": 2, "❤\ufe0e": 1, "⌚": 2, "1\ufe0f\u20e3": 2, "✓": 1,
		"→": 1, "…": 1, "\u3000": 2, "𠀀": 2, "𝒳": 1, "\ue000": 1, "a\u0300\u0301\u0302": 1, "é\ufe0f": 1,
	} {
		if got := TextWidth(text); got != want {
			t.Errorf("%q (%+q) takes %d columns, want %d", text, text, got, want)
		}
	}
}

// TestClusters is the table of code points that are one character.
func TestClusters(t *testing.T) {
	for _, want := range []string{
		"a|b", "e\u0301|x", "王|人", "👍🏽|👍", "a|🏽", "🇵🇹|🇧🇷|🇵|x", "👨\u200d👩\u200d👧|x", "a\u200d|b", "\u0301|a", "\n|\u0301",
		"한|글", "\u1112\u1161\u11ab|\u1112",
		"हि|न्|दी", "1\ufe0f\u20e3|2", "\r|\n", "\x1b|[", "\u202e|a",
	} {
		var got []string
		text := []byte(strings.ReplaceAll(want, "|", ""))
		for rest := text; len(rest) > 0; {
			n := clusterLen(rest)
			got = append(got, string(rest[:n]))
			rest = rest[n:]
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%+q is divided as %+q", want, got)
		}
		line := editLine{text: text, cursor: len(text)}
		if last := got[len(got)-1]; line.left() != len(text)-len(last) {
			t.Errorf("%+q: the last one begins at %d, and has %d bytes", want, line.left(), len(last))
		}
	}
}

// TestWideTable: the table is sorted as package unicode needs it, and has every
// character of some scripts.
func TestWideTable(t *testing.T) {
	last := rune(-1)
	check := func(lo, hi rune, stride int) {
		if lo <= last || hi < lo || stride != 1 {
			t.Errorf("%U to %U does not follow %U", lo, hi, last)
		}
		last = hi
	}
	for _, r := range wide.R16 {
		check(rune(r.Lo), rune(r.Hi), int(r.Stride))
	}
	for _, r := range wide.R32 {
		check(rune(r.Lo), rune(r.Hi), int(r.Stride))
	}
	for _, script := range []string{"Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Tangut"} {
		for r := rune(0x1100); r < 0x40000; r++ {
			half := 0xff61 <= r && r <= 0xffdc
			if unicode.Is(unicode.Scripts[script], r) && !unicode.Is(unicode.Mn, r) && !half && ownWidth(r) != 2 {
				t.Fatalf("%U of %s takes %d columns", r, script, ownWidth(r))
			}
		}
	}
	for _, script := range []string{"Latin", "Greek", "Cyrillic", "Arabic", "Hebrew", "Thai"} {
		for r := rune(0x20); r < 0xff00; r++ {
			if unicode.Is(unicode.Scripts[script], r) && !unicode.Is(unicode.M, r) && ownWidth(r) != 1 {
				t.Fatalf("%U of %s takes %d columns", r, script, ownWidth(r))
			}
		}
	}
	if wide.LatinOffset != 0 {
		t.Error("nothing in Latin-1 is wide")
	}
}

// TestFitting: a text is cut before the first character without room.
func TestFitting(t *testing.T) {
	for _, test := range []struct {
		text string
		cols int
		want string
	}{
		{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"abc", 0, ""}, {"abc", -1, ""}, {"", 5, ""}, {"王王", 3, "王"}, {"e\u0301e\u0301", 3, "e\u0301"},
		{"\u3248\u3248", 3, "\u3248"}, {"éé", 3, "é"},
	} {
		if got := fitting(test.text, test.cols); got != test.want {
			t.Errorf("%q in %d columns is %q, want %q", test.text, test.cols, got, test.want)
		}
	}
}

// ownWidth is the width of a code point on the usual terminal.
func ownWidth(r rune) int {
	own, _ := runeWidth(r)
	return own
}

// TestNoTerminalIsWider: no terminal gives a code point more columns than a row is made for. The C
// library is asked about all of them, as many programs do, and the list has those about which
// terminals disagree with it.
func TestNoTerminalIsWider(t *testing.T) {
	for _, span := range []struct {
		what   string
		lo, hi rune
	}{
		{"circled numbers, wide in glibc, tmux and xterm", 0x3248, 0x324f},
		{"counting rods, wide since Unicode 16", 0x1d360, 0x1d376},
		{"trigrams and hexagrams, wide since Unicode 16", 0x2630, 0x2637}, {"the same", 0x4dc0, 0x4dff}, {"the same", 0x1d300, 0x1d356},
		{"pictographs without a default in colour", 0x1f321, 0x1f32c}, {"two are a flag, or four columns", 0x1f1e6, 0x1f1ff},
		{"private characters with a font of symbols", 0xe000, 0xf8ff},
		{"ambiguous: letters", 0xe8, 0xea}, {"ambiguous: Greek", 0x3b1, 0x3c1}, {"ambiguous: Cyrillic", 0x410, 0x44f},
		{"ambiguous: punctuation", 0x2013, 0x2016}, {"ambiguous: circled", 0x2460, 0x24e9}, {"ambiguous: boxes", 0x2500, 0x254b},
		{"a ligature of many letters", 0xfdfa, 0xfdfd}, {"long dashes", 0x2e3a, 0x2e3b}, {"Korean vowels alone", 0x1160, 0x11a7},
		{"of a later Unicode", 0x1fae9, 0x1faef}, {"of a later Unicode, in an old block", 0x0c5c, 0x0c5c},
	} {
		for r := span.lo; r <= span.hi; r++ {
			if most := mostWidth([]byte(string(r))); most != 2 {
				t.Errorf("%s: a row has %d columns for %U", span.what, most, r)
			}
		}
	}
	if os.Getenv("CHATSECURE_NO_PYTHON") == "1" {
		t.Skip("CHATSECURE_NO_PYTHON=1: the C library was NOT asked, so nothing here shows that rows are short enough for it")
	}
	out, err := exec.Command("/usr/bin/python3", "-c", `import ctypes, locale
locale.setlocale(locale.LC_ALL, "C.UTF-8")
library = ctypes.CDLL(None)
for c in range(0x20, 0x110000):
    if library.wcwidth(c) > 0: print(c, library.wcwidth(c))`).Output()
	if err != nil {
		t.Fatalf("the C library is asked by /usr/bin/python3, or set CHATSECURE_NO_PYTHON=1: %v", err)
	}
	known := 0
	for line := range strings.Lines(string(out)) {
		var r rune
		var cols int
		if _, err := fmt.Sscan(line, &r, &cols); err != nil {
			t.Fatal(err)
		}
		if 0xd800 <= r && r <= 0xdfff {
			continue
		}
		known++
		if most := mostWidth([]byte(string(r))); most < cols {
			t.Errorf("a row has %d columns for %U, and the C library %d", most, r, cols)
		}
	}
	if known < 100000 {
		t.Errorf("the C library knows %d characters", known)
	}
}
