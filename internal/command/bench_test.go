package command

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"chatsecure/internal/client"
)

// idleTalker accepts everything at once.
type idleTalker struct{ *fakeTalker }

func (idleTalker) Send(context.Context, []string, string) (string, error) {
	return "00112233445566778899aabbccddeeff", nil
}

// BenchmarkSendLines measures send for each line of standard input, without the
// client below it.
func BenchmarkSendLines(b *testing.B) {
	for name, json := range map[string]bool{"text": false, "json": true} {
		b.Run(name, func(b *testing.B) {
			in := bytes.Repeat([]byte("a line of log as programs write them, of some eighty characters or so, and\n"), b.N)
			sys := System{Stdout: io.Discard, Stderr: io.Discard, Now: time.Now}
			s := &sender{out: newDisplay(sys, options{json: json}), c: idleTalker{newFakeTalker()}, names: []string{"bob"}}
			b.ReportAllocs()
			b.ResetTimer()
			if err := s.sendAll(context.Background(), newPipedLines(bytes.NewReader(in), '\n')); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkRecvLines measures recv for each message, in batches of 256.
func BenchmarkRecvLines(b *testing.B) {
	for name, json := range map[string]bool{"text": false, "json": true} {
		b.Run(name, func(b *testing.B) {
			events := make([]client.Event, 256)
			for i := range events {
				events[i] = message("bob", "a line of log as programs write them, of some eighty characters or so, and", "ana")
			}
			sys := System{Stdout: io.Discard, Stderr: io.Discard, Now: time.Now}
			r := &receiver{presenter: &presenter{out: newDisplay(sys, options{json: json, quiet: true}), c: newFakeTalker()}}
			r.take = r.wants
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N/len(events) + 1 {
				if _, err := r.present(events); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
