package proto

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"chatsecure/testdata/corpus"
)

// Row 24: bad names.
func TestRow24Names(t *testing.T) {
	for _, name := range []string{
		"a", "7", "ana", "Ana", "ana.maria", "a_b-c.d", "João", "Ελένη", "Ιωάννης", "Жанна", "王小明", "김철수", "علي",
		"x" + strings.Repeat(".", 30) + "x", strings.Repeat("x", maxName), strings.Repeat("王", maxName), "listing", "al-l",
	} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", " ", "a b", "ana ", "ana\n", "ana\r", "ana\x00", "a\x1b[2Jb", "a,b", "a:b", "a/b", "..", ".", ".a", "a.", "-a", "a-", "_", "a_",
		"../etc", "a\u202eb", "a\u200db", "a\u200b", "e\u0301", "a\u0345", "\xff", "a\xc0\xafb", "\ufffd", "a@b", "a+b", "😀", "½", "Ⅷ", "a\u3164", "\u115f\u1160",
		strings.Repeat("x", maxName+1), strings.Repeat("x", 10_000), strings.Repeat("王", maxName+1),
		"all", "ALL", "list", "whois", "history", "help", "exit", "quit", "Quit", "li\u017ft",
		"client", "Client", "c1ient", "сlient", "clíent", "dient", "relay", "RELAY", "re1ay",
	} {
		err := CheckName(name)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != NameInvalid {
			t.Errorf("%.40q: %v, want %s", name, err, NameInvalid)
		}
	}
}

func TestFoldName(t *testing.T) {
	for _, same := range [][]string{
		{"ana", "ANA", "aNa"}, {"joão", "JOÃO", "João"}, {"ΣΊΣΥΦΟΣ", "σίσυφος"}, {"ιωάννης", "ΙΩΆΝΝΗΣ"}, {"жанна", "ЖАННА"},
		{"kelvin", "\u212aelvin"}, {"lasse", "la\u017f\u017fe"}, {"straße", "STRAẞE"},
	} {
		for _, name := range same[1:] {
			if !SameName(same[0], name) {
				t.Errorf("%s and %s are two names: %q, %q", same[0], name, FoldName(same[0]), FoldName(name))
			}
		}
	}
	for _, pair := range [][2]string{{"ana", "anna"}, {"joao", "joão"}, {"a.b", "a-b"}, {"strasse", "straße"}} {
		if SameName(pair[0], pair[1]) {
			t.Errorf("%s and %s are one name", pair[0], pair[1])
		}
	}
	if got := FoldName("Ana.Maria-7"); got != "ana.maria-7" {
		t.Errorf("folded to %q", got)
	}
}

// FuzzName checks the property behind the registry and the `to` lists: a folded name is a name, and
// folding it again changes nothing.
func FuzzName(f *testing.F) {
	corpus.Add(f, func(s string) bool { return CheckName(s) == nil },
		[]string{"ana", "Ιωάννης", "Ana.Maria-7", "Şule", "王", "İpek", "ΐ"}, "\u0345", "", "a\x00")
	f.Fuzz(func(t *testing.T, name string) {
		folded := FoldName(name)
		if again := FoldName(folded); again != folded {
			t.Fatalf("%q folds to %q, and that to %q", name, folded, again)
		}
		if CheckName(name) != nil {
			return
		}
		if err := CheckName(folded); err != nil {
			t.Fatalf("%q is a name, and folded, %q, it is none: %v", name, folded, err)
		}
		if utf8.RuneCountInString(folded) != utf8.RuneCountInString(name) {
			t.Fatalf("%q folds to %q", name, folded)
		}
	})
}

// Every letter of Unicode, since the fuzzer does not reach all of them.
func TestEveryLetterFoldsToALetter(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if name := string(r); CheckName(name) == nil {
			if folded := FoldName(name); CheckName(folded) != nil || FoldName(folded) != folded {
				t.Errorf("%q (%U) folds to %q (%U)", name, r, folded, []rune(folded))
			}
		}
	}
}
