package proto

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Names that look alike: a small part of Unicode's confusables (UTS #39). It keeps one person
// from a name that others take for another person's, written in letters that people confuse.
// Relay and client have the same rules. They say nothing about an identity. doc/names.md prints
// the tables.

// script is a script of names, by the ranges of its letters. It has no letters of scholars and
// phoneticians, no parts of letters and no second forms of them: one name has one spelling.
type script struct {
	name    string
	letters [][2]rune
}

// scripts are those in everyday use (UAX #31, table 5) that need no combining marks, which names
// do not have. Of the Latin letters beyond ASCII only those of markedLetters are allowed.
var scripts = []script{
	{"Latin", [][2]rune{{'A', 'Z'}, {'a', 'z'}, {'À', 'ɏ'}, {'Ḁ', 'ỿ'}}},
	{"Greek", [][2]rune{{'µ', 'µ'}, {'Ά', 'ώ'}}}, // the micro sign is the folded form of μ
	{"Cyrillic", [][2]rune{{'Ѐ', 'џ'}, {'Ҋ', 'ӿ'}}},
	{"Armenian", [][2]rune{{'Ա', 'ֆ'}}},
	{"Georgian", [][2]rune{{'ა', 'ჺ'}, {'Ა', 'Ჺ'}}},
	{"Hebrew", [][2]rune{{'א', 'ת'}}},
	{"Arabic", [][2]rune{{'ؠ', 'ۓ'}}},
	{"Ethiopic", [][2]rune{{'ሀ', 'ፚ'}}},
	{"Hangul", [][2]rune{{'가', '힣'}}},
	{"Bopomofo", [][2]rune{{'ㄅ', 'ㄯ'}}},
	{"Hiragana", [][2]rune{{'ぁ', 'ゖ'}}},
	{"Katakana", [][2]rune{{'ァ', 'ヺ'}, {'ー', 'ー'}}},
	{"Han", [][2]rune{{'々', '々'}, {'㐀', '䶿'}, {'一', '鿿'}, {0x20000, 0x323af}}},
}

// together are the scripts that one name may mix, like the languages themselves:
// Japanese, Korean, and Chinese with its phonetic letters.
var together = [][]string{{"Han", "Hiragana", "Katakana"}, {"Han", "Hangul"}, {"Han", "Bopomofo"}}

// maxShapes bounds the shapes of a name. Each Greek letter that looks like two Latin ones doubles
// them.
const maxShapes = 64

// checkScripts refuses a name with letters of several scripts (UTS #39, section 5.2), with
// a letter outside everyday use, or with too many shapes.
func checkScripts(name string) error {
	var used []string
	shapes := 1
	for _, r := range name {
		if !unicode.IsLetter(r) {
			continue
		}
		script := scriptOf(r)
		if script == "" {
			return Errorf(NameInvalid, "a name cannot have the letter %q, which is not in everyday use or looks like another", r)
		}
		if !slices.Contains(used, script) {
			used = append(used, script)
		}
		for _, r := range baseOf(unicode.ToLower(r)) {
			shapes *= max(1, len(tables().shapes[r]))
		}
	}
	mixed := func(mix []string) bool {
		return !slices.ContainsFunc(used, func(s string) bool { return !slices.Contains(mix, s) })
	}
	switch {
	case len(used) > 1 && !slices.ContainsFunc(together, mixed):
		return Errorf(NameInvalid, "a name has the letters of one script, such as all Latin or all Cyrillic")
	case shapes > maxShapes:
		return Errorf(NameInvalid, "a name has too many letters that look like two others each")
	}
	return nil
}

// scriptOf returns the script of an allowed letter, or "".
func scriptOf(r rune) string {
	for _, s := range scripts {
		if slices.ContainsFunc(s.letters, func(span [2]rune) bool { return span[0] <= r && r <= span[1] }) {
			lower := unicode.ToLower(r)
			sign := unicode.Is(unicode.Lm, r) && r != 'ー' && r != '々' // it only stands for letters
			if sign || s.name == "Latin" && lower > unicode.MaxASCII && tables().bases[lower] == "" {
				return ""
			}
			return s.name
		}
	}
	return ""
}

// LookAlike reports whether two texts share a shape.
func LookAlike(a, b string) bool {
	shapes := Shapes(b)
	return slices.ContainsFunc(Shapes(a), func(shape string) bool { return slices.Contains(shapes, shape) })
}

// Shapes returns the shapes of a text: the Latin letters that its letters look like, small or
// capital, since a name may be shown either way. Case, marks and signs that names do not have do
// not tell texts apart, so they are not part of a shape.
func Shapes(text string) []string {
	t := tables()
	shapes := []string{""}
	for _, r := range text {
		if r = unicode.ToLower(plainDigit(r)); !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r) {
			continue
		}
		for _, r := range baseOf(r) {
			looks, ok := t.shapes[r]
			if !ok || len(shapes)*len(looks) > maxShapes {
				looks = append(looks, string(r))[:1]
			}
			var longer []string
			for _, shape := range shapes {
				for _, look := range looks {
					longer = append(longer, shape+look)
				}
			}
			shapes = longer
		}
	}
	return shapes
}

// baseOf returns a lower-case letter without its marks. It may become two letters.
func baseOf(r rune) string { return cmp.Or(tables().bases[r], string(r)) }

// plainDigit returns the ASCII digit for a digit of any script, and other characters as they are.
func plainDigit(r rune) rune {
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

// The tables, as doc/names.md prints them: a base or shape, and the letters that become it.
const (
	// markedLetters are small letters with marks (those of canonical decompositions, and
	// strokes, hooks and descenders), ligatures and second forms, each under its base.
	markedLetters = `
a=àáâãäåāăąǎǟǡǻȁȃȧḁạảấầẩẫậắằẳẵặ ae=æǣǽӕ b=ḃḅḇ c=çćĉċčḉ d=ďḋḍḏḑḓđð e=èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệəәӛ f=ḟ
g=ĝğġģǧǵḡ h=ĥȟḣḥḧḩḫẖħ i=ìíîïĩīĭįǐȉȋḭḯỉịı j=ĵǰ k=ķǩḱḳḵ l=ĺļľḷḹḻḽł m=ḿṁṃ n=ñńņňǹṅṇṉṋŋ
o=òóôõöōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợøǿ oe=œ p=ṕṗþ r=ŕŗřȑȓṙṛṝṟ s=śŝşšșṡṣṥṧṩ ss=ß t=ţťțṫṭṯṱẗŧ
u=ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự v=ṽṿ w=ŵẁẃẅẇẉẘ x=ẋẍ y=ýÿŷȳẏẙỳỵỷỹ z=źżžẑẓẕ α=ά ε=έ η=ή ι=ΐίϊ ο=ό υ=ΰϋύ
ω=ώ а=ӑӓ г=ѓґғҕӷ е=ѐёӗҽҿ ж=ӂӝҗ з=ӟҙ и=йѝӣӥҋ к=ќқҝҟҡӄ л=ӆ м=ӎ н=ңҥӈӊ о=ӧөӫ п=ҧ р=ҏ с=ҫ т=ҭ у=ўӯӱӳұ х=ҳӽӿ
ч=ӵҷҹӌ ы=ӹ ь=ҍ э=ӭ і=ї
ا=أإآٱ ه=ةہھەۀ و=ؤ ك=ک ی=يىئې`
	// letterShapes joins letters that people confuse, whether small or capital. A capital I looks
	// like a small l, so i and l share a shape. A letter may stand in two.
	letterShapes = `
l=i1ӏіιլוןا o=0оοσօסهዐ rn=mмμµ vv=wω a=аα b=8ьвβ c=с cl=d e=еε g=9ց h=һнհη j=јյ k=кκ n=пոην p=рρ q=զ r=г s=5ѕտ
t=тτ u=սυμµ v=ν x=хχ y=уүγυ z=2ζ 3=з エ=工 カ=力 タ=夕 ト=卜 ニ=二 ハ=八 ヘ=へ ベ=べ ペ=ぺ リ=り ロ=口 ー=一
日=曰 土=士 末=未 己=已巳 人=入`
)

// shapeTables has the tables by small letter.
type shapeTables struct {
	bases  map[rune]string
	shapes map[rune][]string
}

// tables are made at their first use: most names are plain, and most programs end soon.
var tables = sync.OnceValue(func() *shapeTables {
	t := &shapeTables{make(map[rune]string), make(map[rune][]string)}
	eachEntry(markedLetters, func(base string, r rune) { t.bases[r] = base })
	eachEntry(letterShapes, func(shape string, r rune) { t.shapes[r] = append(t.shapes[r], shape) })
	return t
})

func eachEntry(table string, f func(shape string, r rune)) {
	for entry := range strings.FieldsSeq(table) {
		shape, alike, _ := strings.Cut(entry, "=")
		for _, r := range alike {
			f(shape, r)
		}
	}
}
