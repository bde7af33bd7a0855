package term

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"chatsecure/testdata/corpus"
)

// keysOf decodes pieces in turn. It joins runs of characters, since their
// division has no meaning.
func keysOf(t testing.TB, pieces ...[]byte) (keys []key) {
	var d keyDecoder
	for _, piece := range pieces {
		d.decode(bytes.Clone(piece), func(k key) {
			if k.action != keyText {
				k.text = nil
			} else if len(k.text) == 0 || !utf8.Valid(k.text) {
				t.Fatalf("a text of %q", k.text)
			}
			if n := len(keys); n > 0 && k.action == keyText && keys[n-1].action == keyText && k.pasted == keys[n-1].pasted {
				keys[n-1].text = append(keys[n-1].text, k.text...)
				return
			}
			k.text = bytes.Clone(k.text)
			keys = append(keys, k)
		})
		if len(d.carry) >= 32 {
			t.Fatalf("%d bytes wait for more", len(d.carry))
		}
	}
	return keys
}

// inWords describes keys.
func inWords(keys []key) string {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "(%p %q %v)", k.action, k.text, k.pasted)
	}
	return b.String()
}

// TestDecoder is the table of a terminal's bytes. TestKeys has most keys.
func TestDecoder(t *testing.T) {
	text := func(s string) key { return key{action: keyText, text: []byte(s)} }
	pasted := func(s string) key { return key{action: keyText, text: []byte(s), pasted: true} }
	line, end := key{action: keyNewline, pasted: true}, key{action: keyPasteEnd, pasted: true}
	k := func(action *action) key { return key{action: action} }
	for _, test := range []struct {
		sent string
		want []key
	}{
		{"a", []key{text("a")}},
		{"aé王😀", []key{text("aé王😀")}},
		{"a\rb\n", []key{text("a"), k(keyEnter), text("b"), k(keyEnter)}},
		{"\xe7\x8e\x8b", []key{text("王")}},
		{"\xe7\x8e", nil}, // incomplete
		{"\xe7\x8ea", []key{k(keyBad), k(keyBad), text("a")}},
		{"\xc0\x80", []key{k(keyBad), k(keyBad)}}, // an overlong NUL
		{"\xf4\x90\x80\x80", []key{k(keyBad), k(keyBad), k(keyBad), k(keyBad)}},
		{"\ufffd", []key{text("\ufffd")}},
		{"\u0085x", []key{k(keyBad), text("x")}},
		{"\x1b", nil},
		{"\x1b[", nil},
		{"\x1b[1;", nil},
		{"\x1b[A", []key{k(keyUp)}},
		{"\x1b\x1b[A", []key{k(keyUp)}},
		{"\x1b[1;5C", []key{k(keyWordRight)}},
		{"\x1b[99;99u", []key{k(keyBad)}},
		{"\x1b[?1;2c", []key{k(keyBad)}},
		{"\x1b[12\rx", []key{k(keyBad), k(keyEnter), text("x")}},
		{"\x1b[" + strings.Repeat("1", 100) + "Ax", []key{k(keyBad), text(strings.Repeat("1", 71) + "Ax")}},
		{"\x1b[[Ax", []key{k(keyBad), text("x")}},
		{"\x1bOx\x1bOA", []key{k(keyBad), k(keyUp)}},
		{"\x1bO\x1b[A", []key{k(keyBad), k(keyUp)}},
		{"\x1b\r\x1b\n", []key{k(keyNewline), k(keyNewline)}},
		{"\x1b[I\x1b[O", []key{k(keyFocus), k(keyNoFocus)}},
		{"\x1b\x03", []key{k(keyInterrupt)}},
		{"\x1bb\x1bf", []key{k(keyWordLeft), k(keyWordRight)}},
		{"\x1b[201~x", []key{k(keyBad), text("x")}}, // an end without a start
		{"\x1b[200~a\tb\x03\x1b[A\x1b[201~c", []key{k(keyPasteStart), pasted("a\tb\x03\x1b[A"), end, text("c")}},
		{"\x1b[200~a\rb\nc\r\nd\n\re\x1b[201~", []key{
			k(keyPasteStart), pasted("a"), line, pasted("b"), line, pasted("c"), line, pasted("d"), line, line, pasted("e"), end}},
		{"\x1b[200~\x1b[200~\x1b[20\x1b[201~", []key{k(keyPasteStart), pasted("\x1b[200~\x1b[20"), end}},
		{"\x1b[200~\xff\u0085\xc3\x1b[201~", []key{k(keyPasteStart), {action: keyBad, pasted: true}, pasted("\u0085"),
			{action: keyBad, pasted: true}, end}},
		{"\x1b[200~a\r\x1b[201~\x03", []key{k(keyPasteStart), pasted("a"), line, end, k(keyInterrupt)}},
	} {
		got := keysOf(t, []byte(test.sent))
		if inWords(got) != inWords(test.want) {
			t.Errorf("%q: %s, want %s", test.sent, inWords(got), inWords(test.want))
		}
	}
}

// keySeeds are input from people, terminals and others.
var keySeeds = []string{
	"bob: hello\r", "\x1b[A\x1b[B\x1b[C\x1b[D", "\x1b[200~a\r\nb\x1b[201~c\r", "王人\x7fé\x01\x1b[3~\x17\x19", "\x1b[1;5D\x1bOH\x1b\x7f",
	"\xff\xc3\x1b[200~\xe7\x8e", "\t\t\x12\x12\x03\x04", "\x1b[200~\x1b[201", strings.Repeat("\x1b[", 20),
	"e\u0301👍🏽🇵🇹👨\u200d👩\u202e\x01\x06\x0b",
	"one two\x1bb\x1bd\x19\r\x10\x10\x0e\x0cabc", strings.Repeat("abcdefgh", 40) + "\x01\x1b[3~x",
}

// FuzzKeys: the keys are the same however the stream is split, and the waiting
// rest is bounded.
func FuzzKeys(f *testing.F) {
	corpus.Check(f, len(keySeeds))
	for i, seed := range keySeeds {
		f.Add([]byte(seed), []byte{byte(i)})
	}
	f.Fuzz(func(t *testing.T, sent, steps []byte) {
		var pieces [][]byte
		for rest, i := sent, 0; len(rest) > 0; i++ {
			n := len(rest)
			if len(steps) > 0 {
				n = min(n, 1+int(steps[i%len(steps)]))
			}
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		got, want := inWords(keysOf(t, pieces...)), inWords(keysOf(t, sent))
		if got != want {
			t.Fatalf("%q in pieces %q: %s, want %s", sent, pieces, got, want)
		}
	})
}

// FuzzEditor: the line is always text. Only the editor's own sequences act on
// the terminal. The screen is that of a new editor with the same line.
func FuzzEditor(f *testing.F) {
	corpus.Check(f, len(keySeeds))
	for i, seed := range keySeeds {
		f.Add([]byte(seed), uint8(3*i))
	}
	f.Fuzz(func(t *testing.T, sent []byte, width uint8) {
		cols := 1 + int(width)%100
		b := newBench(t, cols, 30)
		b.ask()
		for i := range sent {
			b.press(string(sent[i : i+1]))
			if b.err != nil {
				return
			}
			if i%7 == 0 {
				b.Print("message\n")
			}
		}
		line := &b.prompt.line
		if !utf8.Valid(line.text) || line.cursor > len(line.text) || line.cursor < len(line.text) && !utf8.RuneStart(line.text[line.cursor]) {
			t.Fatalf("the line is %q, with the cursor at %d", line.text, line.cursor)
		}
		for rest := line.text; len(rest) > 0; {
			n := clusterLen(rest)
			if own, most := clusterWidth(rest[:n]); own != most || own == 0 {
				return // terminals differ here, and the emulator is none of them
			}
			rest = rest[n:]
		}
		fresh := newBench(t, cols, 30)
		fresh.ask()
		fresh.prompt.line.set(string(line.text))
		fresh.prompt.line.cursor = line.cursor
		fresh.change(func() {})
		if got, want := b.vt.All(), fresh.vt.All(); !strings.HasSuffix(got, want) {
			t.Fatalf("%q shows\n%s\nand not in the end\n%s", sent, got, want)
		}
	})
}
