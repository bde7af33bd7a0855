package chatsecure

import (
	"strings"
	"unicode"

	"chatsecure/proto"
)

// Which names look alike: a small part of what Unicode's confusables are about
// (UTS #39, section 4), enough that nobody takes the name of somebody else on
// the same relay in letters that people do not tell apart. It decides who may
// take a new name, never who somebody is.

// registryScripts are those that names may be in: the ones in everyday use, of
// UAX #31, table 5. Those beside them are full of letters that look Latin.
var registryScripts = map[string]*unicode.RangeTable{
	"Arabic": unicode.Arabic, "Armenian": unicode.Armenian, "Bengali": unicode.Bengali, "Bopomofo": unicode.Bopomofo,
	"Cyrillic": unicode.Cyrillic, "Devanagari": unicode.Devanagari, "Ethiopic": unicode.Ethiopic, "Georgian": unicode.Georgian,
	"Greek": unicode.Greek, "Gujarati": unicode.Gujarati, "Gurmukhi": unicode.Gurmukhi, "Han": unicode.Han,
	"Hangul": unicode.Hangul, "Hebrew": unicode.Hebrew, "Hiragana": unicode.Hiragana, "Kannada": unicode.Kannada,
	"Katakana": unicode.Katakana, "Khmer": unicode.Khmer, "Lao": unicode.Lao, "Latin": unicode.Latin,
	"Malayalam": unicode.Malayalam, "Myanmar": unicode.Myanmar, "Oriya": unicode.Oriya, "Sinhala": unicode.Sinhala,
	"Tamil": unicode.Tamil, "Telugu": unicode.Telugu, "Thaana": unicode.Thaana, "Thai": unicode.Thai, "Tibetan": unicode.Tibetan,
}

// registryTogether are the scripts that one name may mix, because a language
// does: Japanese, Korean, and Chinese with its phonetic letters.
var registryTogether = [][]string{{"Han", "Hiragana", "Katakana"}, {"Han", "Hangul"}, {"Han", "Bopomofo"}}

// registryLongVowel is of no one script, but Japanese cannot do without it.
const registryLongVowel = 'ー'

// registryCheckScripts refuses a new name whose letters are of several scripts
// (UTS #39, section 5.2), or are signs that only stand for letters.
func registryCheckScripts(name string) error {
	scripts := make(map[string]bool)
	for _, r := range name {
		if !unicode.IsLetter(r) || r == registryLongVowel {
			continue
		}
		script := registryScript(r)
		alphabet := script == "Latin" || script == "Greek" || script == "Cyrillic"
		if script == "" || alphabet && unicode.Is(unicode.Lm, r) {
			return proto.Errorf(proto.NameInvalid, "a new name cannot have the letter %q, which is not in everyday use or looks like another", r)
		}
		scripts[script] = true
	}
	if len(scripts) <= 1 {
		return nil
	}
	for _, together := range registryTogether {
		n := 0
		for _, s := range together {
			if scripts[s] {
				n++
			}
		}
		if n == len(scripts) {
			return nil
		}
	}
	return proto.Errorf(proto.NameInvalid, "a new name has the letters of one script, such as all Latin or all Cyrillic")
}

func registryScript(r rune) string {
	for name, table := range registryScripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return ""
}

// registrySkeletons returns what a folded name looks like, in small letters and
// in capitals; it may be shown either way. Two names with one skeleton in
// common look alike.
func registrySkeletons(folded string) [2]string {
	return [2]string{
		"small " + registrySkeleton(folded, unicode.ToLower, registrySmall),
		"capital " + registrySkeleton(folded, unicode.ToUpper, registryCapital),
	}
}

func registrySkeleton(folded string, toCase func(rune) rune, looks map[rune]string) string {
	var b strings.Builder
	for _, r := range folded {
		r = toCase(registryPlain(r))
		if s, ok := looks[r]; ok {
			b.WriteString(s)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// registryPlain returns the ASCII character of a full-width form, and the ASCII
// digit of the same value for a digit of any script.
func registryPlain(r rune) rune {
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

// registrySmall and registryCapital say what looks like what. A capital I looks
// like a small l, so i and l are the same among small letters.
var (
	registrySmall = registryLooks(map[string]string{
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
	registryCapital = registryLooks(map[string]string{
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

func registryLooks(alike map[string]string) map[rune]string {
	looks := make(map[rune]string)
	for shape, letters := range alike {
		for _, r := range letters {
			looks[r] = shape
		}
	}
	return looks
}
