package proto

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// TestLookAlikesOfTheProtocol: doc/names.md has all that another program needs to refuse the same
// names: the scripts, the tables and the version of Unicode.
func TestLookAlikesOfTheProtocol(t *testing.T) {
	text, err := os.ReadFile("../doc/names.md")
	if err != nil {
		t.Fatal(err)
	}
	section := string(text)
	if !strings.Contains(section, " Unicode "+unicode.Version+".") {
		t.Errorf("the version of Unicode is %s", unicode.Version)
	}

	var ranges strings.Builder
	for _, s := range scripts {
		fmt.Fprintf(&ranges, "\n    %s", s.name)
		for _, span := range s.letters {
			if span[0] == span[1] {
				fmt.Fprintf(&ranges, " U+%04X", span[0])
			} else {
				fmt.Fprintf(&ranges, " U+%04X-%04X", span[0], span[1])
			}
		}
	}
	if _, printed, _ := strings.Cut(section, "\nScripts:\n"); !strings.HasPrefix(printed, ranges.String()+"\n\n") {
		t.Errorf("the scripts are not\n%s", ranges.String())
	}
	for _, mix := range together {
		if words := strings.Join(mix, ", "); !regexp.MustCompile(strings.ReplaceAll(words, ", ", `(,|\s+and)\s+`)).MatchString(section) {
			t.Errorf("%s may stand together", words)
		}
	}
	for head, table := range map[string]string{
		"Letters with marks, and their bases": markedLetters, "Shapes": letterShapes,
	} {
		_, printed, _ := strings.Cut(section, "\n"+head+":\n")
		if want := strings.ReplaceAll(table, "\n", "\n    ") + "\n\n"; !strings.HasPrefix(printed, want) {
			t.Errorf("%s: not %q", head, want)
		}
		seen := make(map[rune]int)
		for entry := range strings.FieldsSeq(table) {
			_, letters, _ := strings.Cut(entry, "=")
			for _, r := range letters {
				if seen[r]++; seen[r] > 1 && table == markedLetters || seen[r] > 2 || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
					t.Errorf("%s: %q stands too often, or is no letter", head, r)
				}
			}
		}
	}
}

// TestLookAlike is the table of names that people confuse, and of names that they do not.
func TestLookAlike(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{"alice", "aIice"}, {"alice", "a1ice"}, {"alice", "ALICE"}, {"alice", "alıce"}, {"admin", "aclmin"}, {"dora", "clora"},
		{"bob", "b0b"}, {"bob", "bọb"}, {"mallory", "ṃallory"}, {"bob", "ьоь"}, {"joão", "joao"}, {"Müller", "muller"},
		{"copa", "сора"}, {"HAKOH", "НАКОН"}, {"OXI", "ΟΧΙ"}, {"oxi", "οχι"}, {"modern", "rnodern"}, {"arnold", "amold"},
		{"wind", "vvind"}, {"user1", "user١"}, {"user1", "user१"}, {"paypal", "раураӏ"}, {"straße", "STRASSE"}, {"Łukasz", "lukasz"},
		{"андрей", "андреи"}, {"Søren", "soren"}, {"エロ", "工口"}, {"佐々木", "佐々木"}, {"Άννα", "ΑΝΝΑ"}, {"қанат", "канат"}, {"ёж", "еж"},
		{"İpek", "ipek"}, {"Maria", "Магіа"}, {"Nina", "Νιηα"}, {"Brian", "Вгіап"}, {"Hanna", "Наппа"}, {"Kevin", "Κενιη"},
		{"Milan", "Мііап"}, {"Martina", "Магтіпа"}, {"مريم", "مریم"}, {"べり", "ベリ"}, {"日", "曰"}, {"Susi", "5usi"}, {"gina", "9ina"},
		{"annaB", "anna8"}, {"Bob Maria Exemplo", "Bob  Магіа\u00a0Exemplo "}, {"Jose", "Jose\u0301"},
	} {
		if !LookAlike(FoldName(c.a), FoldName(c.b)) || !LookAlike(FoldName(c.b), FoldName(c.a)) {
			t.Errorf("%s and %s do not look alike", c.a, c.b)
		}
	}
	names := []string{
		"ana", "anna", "hanna", "João", "Joana", "joe", "jo", "jo.e", "jo-e", "user1", "user2", "user10", "user11", "bob", "rob", "mallory",
		"Жанна", "Ελένη", "דוד", "علي", "王小明", "たなかタナカ田中", "コーヒー", "김철수", "김哲洙", "Åsa", "Müller", "x", "y", "Þór", "Đặng", "Ağaoğlu",
		"nina", "uwe", "nuno", "佐々木", "Ευθυμία", "Νίκος", "Μαρία", "Андрей",
	}
	for i, a := range names {
		if err := CheckName(a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		if err := CheckName(FoldName(a)); err != nil {
			t.Errorf("%s folded: %v", a, err)
		}
		for _, b := range names[:i] {
			if LookAlike(FoldName(a), FoldName(b)) {
				t.Errorf("%s and %s look alike", a, b)
			}
		}
	}
	for _, name := range []string{
		"pаypal", "Jоhn", "αbc", "𝐚𝐧𝐚", "ᎪᎡ", "anaᵃ", "漢字abc", "김タ", "ℂara", "ꓐꓳꓐ", "gᴑᴑgle", "aliƈe", "bоb", "ʙᴏʙ", "ﬁnn", "ｂｏｂ", "laſſe",
		"ϲora", "ὀδός", "ԁora", "ǁama", "ɑna", "\u1100\u1175\u11b7", "\uf9e1明", "\ufecb\ufee0\ufef2", "ｱﾘ", "ηνμυηνμ", "ήνμύήνμ",
	} {
		if CheckName(name) == nil {
			t.Errorf("%s is a name", name)
		}
	}
}
