package relay

import (
	"strings"
	"unicode"

	"chatsecure/proto"
)

// Names that look alike: a small part of Unicode's confusables (UTS #39, section
// 4). It keeps a newcomer from another person's name on the same relay, written in
// letters that people confuse. It decides about new names, and never about an
// identity.

// scripts are the allowed scripts of a name, those in everyday use: UAX #31, table
// 5. The other scripts are full of letters that look Latin.
var scripts = map[string]*unicode.RangeTable{
	"Arabic": unicode.Arabic, "Armenian": unicode.Armenian, "Bengali": unicode.Bengali, "Bopomofo": unicode.Bopomofo,
	"Cyrillic": unicode.Cyrillic, "Devanagari": unicode.Devanagari, "Ethiopic": unicode.Ethiopic, "Georgian": unicode.Georgian,
	"Greek": unicode.Greek, "Gujarati": unicode.Gujarati, "Gurmukhi": unicode.Gurmukhi, "Han": unicode.Han,
	"Hangul": unicode.Hangul, "Hebrew": unicode.Hebrew, "Hiragana": unicode.Hiragana, "Kannada": unicode.Kannada,
	"Katakana": unicode.Katakana, "Khmer": unicode.Khmer, "Lao": unicode.Lao, "Latin": unicode.Latin,
	"Malayalam": unicode.Malayalam, "Myanmar": unicode.Myanmar, "Oriya": unicode.Oriya, "Sinhala": unicode.Sinhala,
	"Tamil": unicode.Tamil, "Telugu": unicode.Telugu, "Thaana": unicode.Thaana, "Thai": unicode.Thai, "Tibetan": unicode.Tibetan,
}

// together are the scripts that one name may mix, like the languages themselves:
// Japanese, Korean, and Chinese with its phonetic letters.
var together = [][]string{{"Han", "Hiragana", "Katakana"}, {"Han", "Hangul"}, {"Han", "Bopomofo"}}

// longVowel belongs to no single script, but Japanese needs it.
const longVowel = 'ー'

// checkScripts refuses a new name with letters of several scripts (UTS #39, section
// 5.2), or with signs that only stand for letters.
func checkScripts(name string) error {
	used := make(map[string]bool)
	for _, r := range name {
		if !unicode.IsLetter(r) || r == longVowel {
			continue
		}
		script := scriptOf(r)
		alphabet := script == "Latin" || script == "Greek" || script == "Cyrillic"
		if script == "" || alphabet && unicode.Is(unicode.Lm, r) {
			return proto.Errorf(proto.NameInvalid, "a new name cannot have the letter %q, which is not in everyday use or looks like another", r)
		}
		used[script] = true
	}
	if len(used) <= 1 {
		return nil
	}
	for _, mix := range together {
		n := 0
		for _, script := range mix {
			if used[script] {
				n++
			}
		}
		if n == len(used) {
			return nil
		}
	}
	return proto.Errorf(proto.NameInvalid, "a new name has the letters of one script, such as all Latin or all Cyrillic")
}

func scriptOf(r rune) string {
	for name, table := range scripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return ""
}

// skeletons returns the shapes of a folded name in small letters and in capitals,
// since it may be shown either way. Two names that share a skeleton look alike.
func skeletons(folded string) [2]string {
	return [2]string{
		"small " + skeleton(folded, unicode.ToLower, small),
		"capital " + skeleton(folded, unicode.ToUpper, capital),
	}
}

func skeleton(folded string, toCase func(rune) rune, shapes map[rune]string) string {
	var b strings.Builder
	for _, r := range folded {
		r = toCase(plain(r))
		if s, ok := shapes[r]; ok {
			b.WriteString(s)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// plain returns the ASCII character of a full-width form, and the ASCII digit for
// a digit of any script.
func plain(r rune) rune {
	if 0xff01 <= r && r <= 0xff5e {
		return r - 0xff01 + '!'
	}
	if r > unicode.MaxASCII && unicode.IsDigit(r) {
		for _, span := range unicode.Nd.R16 {
			if rune(span.Lo) <= r && r <= rune(span.Hi) {
				return '0' + (r-rune(span.Lo))%10
			}
		}
		for _, span := range unicode.Nd.R32 {
			if rune(span.Lo) <= r && r <= rune(span.Hi) {
				return '0' + (r-rune(span.Lo))%10
			}
		}
	}
	return r
}

// small and capital map each letter to its shape. A capital I looks like a small l,
// so i and l share a shape among the small letters.
var (
	small = shapes(map[string]string{
		"l":   "i1ıɩɪǀӏіιɭ",
		"o":   "0оοσօᴏ",
		"rn":  "mᴍ",
		"vv":  "wԝᴡѡω",
		"a":   "аαɑᴀ\u00aa",
		"b":   "ьƅʙ",
		"c":   "сϲᴄ",
		"d":   "ԁᴅ",
		"e":   "еᴇ",
		"f":   "ꜰ",
		"g":   "ɡցɢ",
		"h":   "һհʜ",
		"j":   "јϳȷյᴊ",
		"k":   "кκᴋ",
		"n":   "пηոɴ",
		"p":   "рρᴘ",
		"q":   "ԛզ",
		"r":   "гʀ",
		"s":   "ѕꜱ",
		"t":   "тτᴛ",
		"u":   "υսᴜ",
		"v":   "ѵνᴠ",
		"x":   "хχ",
		"y":   "уγүʏ",
		"z":   "ᴢ",
		"ll":  "ǁ",
		"ff":  "ﬀ",
		"fl":  "ﬁﬂ",
		"ffl": "ﬃﬄ",
		"st":  "ﬅﬆ",
		"lj":  "ĳǉ",
		"nj":  "ǌ",
		"ë":   "ё",
		"ï":   "ї",
		"æ":   "ӕ",
		"ə":   "ә",
	})
	capital = shapes(map[string]string{
		"A": "АΑ",
		"B": "ВΒ",
		"C": "СϹ",
		"E": "ЕΕ",
		"F": "ҒϜ",
		"H": "НΗ",
		"I": "1ІΙӀƖǀ",
		"J": "ЈͿ",
		"K": "КΚ",
		"L": "Լ",
		"M": "МΜ",
		"N": "Ν",
		"O": "0ОΟՕ",
		"P": "РΡ",
		"Q": "Ԛ",
		"S": "ЅՏ",
		"T": "ТΤ",
		"U": "Ս",
		"V": "Ѵ",
		"W": "Ԝ",
		"X": "ХΧ",
		"Y": "УΥҮ",
		"Z": "Ζ",
		"3": "ЗӠ",
		"Ë": "Ё",
		"Ï": "Ї",
		"Æ": "Ӕ",
	})
)

func shapes(letters map[string]string) map[rune]string {
	shapes := make(map[rune]string)
	for shape, alike := range letters {
		for _, r := range alike {
			shapes[r] = shape
		}
	}
	return shapes
}
