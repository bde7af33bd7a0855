package proto

import (
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Names that look alike: a small part of Unicode's confusables (UTS #39). It keeps one person
// from a name that others take for another person's, written in letters that people confuse.
// Relay and client have the same rules. They say nothing about an identity. PROTOCOL.md,
// "Names that look alike", prints the tables.

// scripts are the allowed scripts of a name, those in everyday use: UAX #31, table
// 5. The other scripts are full of letters that look Latin.
var scripts = []struct {
	name  string
	table *unicode.RangeTable
}{
	{"Latin", unicode.Latin}, {"Greek", unicode.Greek}, {"Cyrillic", unicode.Cyrillic},
	{"Arabic", unicode.Arabic}, {"Armenian", unicode.Armenian}, {"Bengali", unicode.Bengali}, {"Bopomofo", unicode.Bopomofo},
	{"Devanagari", unicode.Devanagari}, {"Ethiopic", unicode.Ethiopic}, {"Georgian", unicode.Georgian},
	{"Gujarati", unicode.Gujarati}, {"Gurmukhi", unicode.Gurmukhi}, {"Han", unicode.Han}, {"Hangul", unicode.Hangul},
	{"Hebrew", unicode.Hebrew}, {"Hiragana", unicode.Hiragana}, {"Kannada", unicode.Kannada}, {"Katakana", unicode.Katakana},
	{"Khmer", unicode.Khmer}, {"Lao", unicode.Lao}, {"Malayalam", unicode.Malayalam}, {"Myanmar", unicode.Myanmar},
	{"Oriya", unicode.Oriya}, {"Sinhala", unicode.Sinhala}, {"Tamil", unicode.Tamil}, {"Telugu", unicode.Telugu},
	{"Thaana", unicode.Thaana}, {"Thai", unicode.Thai}, {"Tibetan", unicode.Tibetan},
}

// together are the scripts that one name may mix, like the languages themselves:
// Japanese, Korean, and Chinese with its phonetic letters.
var together = [][]string{{"Han", "Hiragana", "Katakana"}, {"Han", "Hangul"}, {"Han", "Bopomofo"}}

// longVowel belongs to no single script, but Japanese needs it.
const longVowel = 'ー'

// checkScripts refuses a name with letters of several scripts (UTS #39, section 5.2), or with
// a letter outside everyday use.
func checkScripts(name string) error {
	var used []string
	for _, r := range name {
		if !unicode.IsLetter(r) || r == longVowel {
			continue
		}
		script := scriptOf(r)
		if script == "" {
			return Errorf(NameInvalid, "a name cannot have the letter %q, which is not in everyday use or looks like another", r)
		}
		if !slices.Contains(used, script) {
			used = append(used, script)
		}
	}
	mixed := func(mix []string) bool {
		return !slices.ContainsFunc(used, func(s string) bool { return !slices.Contains(mix, s) })
	}
	if len(used) > 1 && !slices.ContainsFunc(together, mixed) {
		return Errorf(NameInvalid, "a name has the letters of one script, such as all Latin or all Cyrillic")
	}
	return nil
}

// scriptOf returns the script of an allowed letter, or "". Of the alphabets with many letters
// for scholars and phoneticians it allows the everyday ones.
func scriptOf(r rune) string {
	if r == 'µ' { // the micro sign is of no script, and the folded form of the Greek μ
		r = 'μ'
	}
	for _, s := range scripts {
		if !unicode.Is(s.table, r) {
			continue
		}
		lower := unicode.ToLower(r)
		everyday := true
		switch s.name {
		case "Latin":
			everyday = lower <= unicode.MaxASCII || tables().bases[lower] != ""
		case "Greek":
			everyday = 'Ά' <= r && r <= 'ώ'
		case "Cyrillic":
			everyday = r <= 'џ' || 'Ҋ' <= r && r <= 'ӿ'
		}
		if everyday && !unicode.Is(unicode.Lm, r) {
			return s.name
		}
		return ""
	}
	return ""
}

// LookAlike reports whether two folded names share a shape, in small letters or in capitals,
// since a name may be shown either way.
func LookAlike(a, b string) bool {
	x, y := Shapes(a), Shapes(b)
	return x[0] == y[0] || x[1] == y[1]
}

// Shapes returns the shapes of a folded name, in small letters and in capitals. Marks do not
// tell names apart, so they are not part of a shape.
func Shapes(folded string) [2]string {
	t := tables()
	return [2]string{"small " + t.shape(folded, unicode.ToLower, t.small), "capital " + t.shape(folded, unicode.ToUpper, t.capital)}
}

func (t *shapeTables) shape(folded string, toCase func(rune) rune, shapes map[rune]string) string {
	var b strings.Builder
	for _, r := range folded {
		r = unicode.ToLower(plainDigit(r))
		base, ok := t.bases[r]
		if !ok {
			base = string(r)
		}
		for _, r := range base {
			r = toCase(r)
			if s, ok := shapes[r]; ok {
				b.WriteString(s)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}

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

// The tables, as PROTOCOL.md prints them: a base or shape, and the letters that become it.
const (
	// markedLetters are small letters with marks (those of canonical decompositions, and
	// strokes, hooks and descenders), and ligatures, each under its base.
	markedLetters = `
a=àáâãäåāăąǎǟǡǻȁȃȧḁạảấầẩẫậắằẳẵặ ae=æǣǽӕ b=ḃḅḇ c=çćĉċčḉ d=ďḋḍḏḑḓđð e=èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệəәӛ f=ḟ
g=ĝğġģǧǵḡ h=ĥȟḣḥḧḩḫẖħ i=ìíîïĩīĭįǐȉȋḭḯỉịı j=ĵǰ k=ķǩḱḳḵ l=ĺļľḷḹḻḽł m=ḿṁṃ n=ñńņňǹṅṇṉṋŋ
o=òóôõöōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợøǿ oe=œ p=ṕṗþ r=ŕŗřȑȓṙṛṝṟ s=śŝşšșṡṣṥṧṩ ss=ß t=ţťțṫṭṯṱẗŧ
u=ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự v=ṽṿ w=ŵẁẃẅẇẉẘ x=ẋẍ y=ýÿŷȳẏẙỳỵỷỹ z=źżžẑẓẕ α=ά ε=έ η=ή ι=ΐίϊ ο=ό υ=ΰϋύ
ω=ώ а=ӑӓ г=ѓґғҕӷ е=ѐёӗҽҿ ж=ӂӝҗ з=ӟҙ и=йѝӣӥҋ к=ќқҝҟҡӄ л=ӆ м=ӎ н=ңҥӈӊ о=ӧөӫ п=ҧ р=ҏ с=ҫ т=ҭ у=ўӯӱӳұ х=ҳӽӿ
ч=ӵҷҹӌ ы=ӹ ь=ҍ э=ӭ і=ї`
	// smallShapes and capitalShapes join letters that people confuse. A capital I looks like a
	// small l, so i and l share a shape among the small letters.
	smallShapes = `
l=i1ӏіιוןا o=0оοσօסهഠଠဝዐ rn=m vv=wω a=аα b=ь c=с cl=d e=е g=ց h=һհ j=јյ k=кκ n=пηո p=рρ q=զ r=г s=ѕ t=тτ u=υս
v=ν x=хχ y=уγү エ=工 カ=力 タ=夕 ト=卜 ニ=二 ハ=八 ヘ=へ ロ=口 ー=一`
	capitalShapes = `
A=АΑ B=ВΒ C=С E=ЕΕ H=НΗ I=1ІΙӀ J=Ј K=КΚ L=Լ M=МΜ N=Ν O=0ОΟՕ P=РΡ S=ЅՏ T=ТΤ U=Ս VV=W X=ХΧ Y=УΥҮ Z=Ζ 3=З`
)

// shapeTables has the tables by letter.
type shapeTables struct {
	bases          map[rune]string // by small letter
	small, capital map[rune]string
}

// tables are made at their first use: most names are plain, and most programs end soon.
var tables = sync.OnceValue(func() *shapeTables {
	return &shapeTables{byLetter(markedLetters), byLetter(smallShapes), byLetter(capitalShapes)}
})

func byLetter(table string) map[rune]string {
	letters := make(map[rune]string)
	for entry := range strings.FieldsSeq(table) {
		shape, alike, _ := strings.Cut(entry, "=")
		for _, r := range alike {
			letters[r] = shape
		}
	}
	return letters
}
