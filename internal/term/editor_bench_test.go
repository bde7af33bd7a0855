package term

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"chatsecure/proto"
)

// BenchmarkKey types a key into texts of some lengths, up to the longest.
func BenchmarkKey(b *testing.B) {
	line := "a pasted line with an accented e\u0301 and some more, so that it is 70 columns\n"
	for _, size := range []int{100, 10_000, proto.MaxText - 100} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			e := editorOn(io.Discard, noDevice{})
			e.begin(&e.prompt)
			e.prompt.line.set(strings.Repeat(line, size/len(line)+1)[:size])
			for range b.N {
				e.feed([]byte("x\x7f"))
			}
		})
	}
}
