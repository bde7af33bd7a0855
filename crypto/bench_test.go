package crypto

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

func benchHops(b *testing.B, suite Suite) (seal, open *Hop) {
	b.Helper()
	prk, t4 := bytes.Repeat([]byte{1}, secretSize), [32]byte{2}
	return newHop(suite, prk, t4, "c2s"), newHop(suite, prk, t4, "c2s")
}

// A line of 200 bytes between client and relay, sealed and opened.
func BenchmarkHop(b *testing.B) {
	for _, suite := range suites {
		b.Run(suite.Name(), func(b *testing.B) {
			seal, open := benchHops(b, suite)
			payload := bytes.Repeat([]byte{'x'}, 200)
			buf := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				line := proto.SecureLine{Seq: seal.Seq()}
				buf = seal.Seal(buf[:0], &line.Random, payload, nil)
				line.Payload = buf
				if _, err := open.Open(&line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A message of n records, each with 100 bytes of text, sealed, opened and committed.
func BenchmarkMessage(b *testing.B) {
	for _, n := range []int{1, 300} {
		p := newPair(b, SuiteMLKEM)
		texts := make([]string, n)
		for i := range texts {
			texts[i] = fmt.Sprintf("line %d of a text as people and programs write", i)
		}
		records := newRecords(p.a, p.b, texts...)
		b.Run(fmt.Sprintf("seal-%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := p.ca.SealRecords(records, people.Now); err != nil {
					b.Fatal(err)
				}
				p.ca.sent.trim(p.ca.SentSeq())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
		b.Run(fmt.Sprintf("open-%d", n), func(b *testing.B) {
			q := newPair(b, SuiteMLKEM)
			s, _, err := q.ca.SealRecords(newRecords(q.a, q.b, texts...), people.Now)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			body := make([]byte, len(s.Body))
			for b.Loop() {
				copy(body, s.Body)
				o, err := q.cb.Open(body, people.Now)
				if err != nil {
					b.Fatal(err)
				}
				o.Discard()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

func BenchmarkRecord(b *testing.B) {
	alice, bob := newParty(b, "alice", "a1"), newParty(b, "bob", "b1")
	for _, test := range []struct{ name, text string }{
		{"plain", strings.Repeat("x", 100)},
		{"quotes", strings.Repeat(`{"a": "b"}`, 10)},
		{"accents", strings.Repeat("não há ", 12)},
	} {
		r := newRecords(alice, bob, test.text)[0]
		r.Seq = 12345
		encoded := r.Encode()
		b.Run("encode-"+test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Encode()
			}
		})
		b.Run("parse-"+test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseRecord(encoded, alice.Identity); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		list := to(bob)
		for b.Loop() {
			NewRecord(alice.Identity, list, "text", people.Now)
		}
	})
}

// A whole client-connect handshake, both sides.
func BenchmarkHandshake(b *testing.B) {
	alice, bob := newParty(b, "alice", "a1", SuiteMLKEM), newParty(b, "bob", "b1", SuiteMLKEM)
	// Chains are verified once and remembered for seconds. This is about keys.
	verify := func(bundle *trust.Bundle, name string) (*trust.Person, error) {
		return map[string]*trust.Person{"alice": alice.person, "bob": bob.person}[name], nil
	}
	b.ReportAllocs()
	for b.Loop() {
		i, p1, err := Initiate(alice.Local, alice.end, bob.end)
		Must(b, err)
		offer, err := ReadOffer(p1, bob.end, alice.end)
		Must(b, err)
		p2, r, _, err := offer.Answer(bob.Local, nil, verify)
		Must(b, err)
		p3, _, err := i.Phase2(p2, verify)
		Must(b, err)
		_, err = r.Phase3(p3)
		Must(b, err)
	}
}

// A ratchet step, both sides.
func BenchmarkStep(b *testing.B) {
	p := newPair(b, SuiteMLKEM)
	now, fromA := people.Now, false
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(stepAge)
		dst := p.ca
		if fromA {
			dst = p.cb
		}
		take(b, dst, p.text(b, fromA, now, "text"), now)
		fromA = !fromA
	}
}
