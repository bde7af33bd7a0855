package term

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/proto"
)

var update = flag.Bool("update", false, "write the golden files anew")

// pasteOf is a bracketed paste of numbered lines, some of which take several rows.
func pasteOf(lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "%d of %d, 王%s\n", i+1, lines, strings.Repeat(" and more", i%10*2))
	}
	return "\x1b[200~" + b.String() + pasteEnd
}

// TestScreens compares screens with testdata/*.screen, which -update writes. |
// is the cursor, and a row that ends in a backslash goes on in the next one.
func TestScreens(t *testing.T) {
	steps := map[string][]func(b *bench){
		"paste": {
			func(b *bench) { b.press("bob: " + pasteOf(200)) },
			func(b *bench) { b.SetStatus("✓ read by bob") },
			func(b *bench) { b.Print("[bob]: hello\n") },
			func(b *bench) { b.press(strings.Repeat(up, 100)) },
			func(b *bench) { b.press(strings.Repeat(up, 98) + "\x05, or not") },
			func(b *bench) { b.press(strings.Repeat(down, 200) + " and that is all") },
			func(b *bench) { b.press("\r") },
		},
		"rows": {
			func(b *bench) { b.press("bob: " + pasteOf(12)) },
			func(b *bench) { b.SetStatus("✓ read by bob") },
			func(b *bench) { b.press(strings.Repeat(up, 3) + "\x01<here>") },
			func(b *bench) { b.PrintMarked("[bob]: 1\n", newRow); b.PrintMarked("[bob]: 2\n", newRow) },
			func(b *bench) { b.PrintMarked("[bob]: 3\n", newRow) },
			func(b *bench) { b.vt.Resize(b.vt.Cols/2, b.vt.Rows, true); b.resized() },
			func(b *bench) { b.vt.Resize(b.vt.Cols*2, b.vt.Rows, true); b.resized() },
			func(b *bench) { b.vt.Resize(b.vt.Cols, 5, true); b.resized() },
		},
		"completion": {
			func(b *bench) { b.press("bru\t\t") },
			func(b *bench) { b.press("\x1b\r\t") },
			func(b *bench) { b.press("jo\tolá\x1b\rana,jo\t") },
		},
		"recall": {
			func(b *bench) { b.press("bob: " + pasteOf(3) + "\rlist\rcarla: hi\r" + up + up + up) },
			func(b *bench) { b.press(up + up + "<up>" + down + down + "<down>") },
			func(b *bench) { b.press("\x032 of\x12") },
			func(b *bench) { b.press("\r") },
		},
		"wide": {
			func(b *bench) {
				b.press(strings.Repeat("王さん, 한글 and e\u0301 ", 5) + "\x1b\r" + strings.Repeat("王", 60))
			},
			func(b *bench) { b.press(up + "<here>") },
			func(b *bench) {
				b.press("\x05\x1b\r" + strings.Repeat("family 👨\u200d👩\u200d👧, ", 6) + left + left + left)
			},
			func(b *bench) { b.press("👍🏽🇵🇹❤\ufe0f") },
			func(b *bench) { b.Print("[bob]: 👨\u200d👩\u200d👧 می\u200cخواهم\n") },
			func(b *bench) { b.press("\r") },
		},
		"question": {
			func(b *bench) { b.press("bob: " + pasteOf(4)) },
			func(b *bench) {
				b.Print("carla is new here\n")
				b.begin(newField(questionField, fixed("Is this the carla you mean? (y/n) "), proto.MaxText))
			},
			func(b *bench) { b.press("n") },
			func(b *bench) { b.press("\r") },
		},
	}
	for name, steps := range steps {
		for _, size := range []struct{ cols, rows int }{{80, 24}, {40, 10}} {
			b := newBench(t, size.cols, size.rows)
			b.Print("[bob]: above\n")
			b.ask()
			var got strings.Builder
			for _, step := range steps {
				step(b)
				rule := strings.Repeat("=", b.vt.Cols)
				fmt.Fprintf(&got, "%s\n%s\n", rule, b.vt.Screen())
			}
			path := filepath.Join("testdata", fmt.Sprintf("%s-%dx%d.screen", name, size.cols, size.rows))
			if *update {
				if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if want, err := os.ReadFile(path); err != nil || got.String() != string(want) {
				t.Errorf("%s (%v): the terminal shows\n%s\nwant\n%s", path, err, got.String(), want)
			}
		}
	}
}
