package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

func TestConversation(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		if p.ca.T3 != p.cb.T3 || p.ca.Suite() != suite || !p.ca.Initiated() || p.cb.Initiated() {
			t.Fatal("the two ends are not of one conversation")
		}
		if p.ca.Person.Identity != p.b.Identity || p.cb.Person.Identity != p.a.Identity || p.ca.Peer != p.b.end || p.cb.Peer != p.a.end {
			t.Fatal("the ends do not know each other")
		}
		// B answers p3 with a receipt for nothing.
		o := take(t, p.ca, receipt(t, p.cb, 0, 0, people.Now), people.Now)
		if o.Receipt.Delivered != 0 || o.Receipt.Read != 0 {
			t.Errorf("receipt %+v", o.Receipt)
		}
		s, exact, err := p.ca.SealRecords(newRecords(p.a, p.b, "one", "dois\n\"três\"", ""), people.Now)
		if err != nil {
			t.Fatal(err)
		}
		o = take(t, p.cb, s, people.Now)
		if len(o.Records) != 3 || o.Records[1].Text != "dois\n\"três\"" || o.Records[2].Seq != 3 || o.Before != s.Before || o.CipherHash != s.CipherHash {
			t.Errorf("opened %+v", o)
		}
		for i, r := range exact {
			if !bytes.Equal(r, o.ExactRecords[i]) {
				t.Errorf("record %d arrived as other bytes", i)
			}
		}
		take(t, p.ca, receipt(t, p.cb, 3, 2, people.Now), people.Now)
		if s, err := p.cb.SealPipe([]byte{0, 1, 255}, people.Now, NewMemory); err != nil {
			t.Error(err)
		} else if o := take(t, p.ca, s, people.Now); !bytes.Equal(o.Chunk, []byte{0, 1, 255}) {
			t.Errorf("chunk %x", o.Chunk)
		}
		take(t, p.ca, p.text(t, false, people.Now, "back"), people.Now)
		if s, err := p.ca.SealEnd(people.Now); err != nil {
			t.Error(err)
		} else if o := take(t, p.cb, s, people.Now); o.Header.Seq != 3 {
			t.Errorf("end after %d", o.Header.Seq)
		}
		if p.ca.SentSeq() != 3 || p.cb.ReceivedSeq() != 3 || p.ca.ReceivedSeq() != 1 || p.cb.SentSeq() != 1 {
			t.Error("the ends count differently")
		}
	})
}

// The largest batch and the largest text arrive.
func TestConversationBounds(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	texts := make([]string, maxBatch)
	if o := take(t, p.cb, p.text(t, true, people.Now, texts...), people.Now); len(o.Records) != maxBatch {
		t.Errorf("%d records", len(o.Records))
	}
	if _, _, err := p.ca.SealRecords(newRecords(p.a, p.b, make([]string, maxBatch+1)...), people.Now); err == nil {
		t.Error("a batch over the limit was sealed")
	}
	if _, _, err := p.ca.SealRecords(nil, people.Now); err == nil {
		t.Error("a batch of nothing was sealed")
	}
	long := strings.Repeat("ã", 128<<10)
	if o := take(t, p.cb, p.text(t, true, people.Now, long), people.Now); o.Records[0].Text != long {
		t.Error("a text of 256 KiB changed")
	}
}

// Row 7: a repeated message, at once or in a later conversation.
func TestRow07Replay(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		first := p.text(t, true, people.Now, "one")
		take(t, p.cb, first, people.Now)
		if err := refused(t, p.cb, first.Body, people.Now); !errors.Is(err, ErrReplay) {
			t.Errorf("replay: %v", err)
		}
		take(t, p.cb, p.text(t, true, people.Now, "two"), people.Now)
		if err := refused(t, p.cb, first.Body, people.Now); !errors.Is(err, ErrReplay) {
			t.Errorf("replay later: %v", err)
		}
		_, again := shake(t, p.a, p.b)
		if err := refused(t, again, first.Body, people.Now); !errors.Is(err, ErrOtherConversation) {
			t.Errorf("replay in the next conversation: %v", err)
		}
	})
}

// Row 8: a message dropped in the middle is a gap, and none after it is accepted.
func TestRow08Gap(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		one, two, three := p.text(t, true, people.Now, "1"), p.text(t, true, people.Now, "2"), p.text(t, true, people.Now, "3")
		if err := refused(t, p.cb, two.Body, people.Now); !errors.Is(err, ErrGap) {
			t.Errorf("the second first: %v", err)
		}
		take(t, p.cb, one, people.Now)
		if err := refused(t, p.cb, three.Body, people.Now); !errors.Is(err, ErrGap) {
			t.Errorf("the third after the first: %v", err)
		}
		// Nothing is spoiled: in order they pass.
		take(t, p.cb, two, people.Now)
		take(t, p.cb, three, people.Now)
	})
}

// Row 8: a dropped tail shows at the end, whose digest and seq cover it.
func TestRow08LostTail(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	take(t, p.cb, p.text(t, true, people.Now, "1"), people.Now)
	p.text(t, true, people.Now, "lost")
	end, err := p.ca.SealEnd(people.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := refused(t, p.cb, end.Body, people.Now); !errors.Is(err, ErrGap) {
		t.Errorf("an end after a lost tail: %v", err)
	}
}

// Row 9: a reflected message is not the peer's.
func TestRow09ReflectedMessage(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		s := p.text(t, true, people.Now, "mine")
		if err := refused(t, p.ca, s.Body, people.Now); !errors.Is(err, ErrDecrypt) {
			t.Errorf("reflection: %v", err)
		}
		// Also between two connections of one person, with one K.
		self := &pair{a: p.a, b: newParty(t, "alice", "a2", suite)}
		self.ca, self.cb = shake(t, self.a, self.b)
		s = self.text(t, true, people.Now, "to myself")
		if err := refused(t, self.ca, s.Body, people.Now); !errors.Is(err, ErrDecrypt) {
			t.Errorf("reflection to the same K: %v", err)
		}
		// And with the other direction in its header.
		header, _, sealed := cutBody(t, s.Body)
		turned := bytes.Replace(header, []byte(`"direction":"AB"`), []byte(`"direction":"BA"`), 1)
		if err := refused(t, self.ca, sign(self.ca, turned, sealed), people.Now); !errors.Is(err, ErrDecrypt) {
			t.Errorf("reflection, turned round: %v", err)
		}
		take(t, self.cb, s, people.Now)
	})
}

// Row 10: parts of one message in another, of another conversation, kind or direction; with the old
// signature, and with one by the holder of K.
func TestRow10Splice(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		other := &pair{a: p.a, b: p.b}
		other.ca, other.cb = shake(t, p.a, p.b)

		text := p.text(t, true, people.Now, "text")
		header, signature, sealed := cutBody(t, text.Body)
		pipe := forge(p.ca, KindPipe, []byte("pipe"), func(h *MessageHeader) { h.N = 0 })
		pipeHeader, pipeSignature, pipeSealed := cutBody(t, pipe)
		elsewhere := other.text(t, true, people.Now, "text")
		otherHeader, otherSignature, otherSealed := cutBody(t, elsewhere.Body)
		back := p.text(t, false, people.Now, "back")
		_, backSignature, backSealed := cutBody(t, back.Body)

		join := func(parts ...[]byte) []byte { return bytes.Join(parts, []byte("\n")) }
		for name, body := range map[string][]byte{
			"ciphertext of a pipe":                      join(header, signature, pipeSealed),
			"ciphertext of a pipe, signed":              sign(p.ca, header, pipeSealed),
			"ciphertext and signature of a pipe":        join(header, pipeSignature, pipeSealed),
			"header of a pipe":                          join(pipeHeader, pipeSignature, sealed),
			"header of a pipe, signed":                  sign(p.ca, pipeHeader, sealed),
			"kind of a pipe, signed":                    sign(p.ca, rekind(t, header, KindPipe), sealed),
			"kind of a receipt, signed":                 sign(p.ca, rekind(t, header, KindReceipt), sealed),
			"kind of an end, signed":                    sign(p.ca, rekind(t, header, KindEnd), sealed),
			"ciphertext of another conversation":        join(header, otherSignature, otherSealed),
			"ciphertext of another conversation signed": sign(p.ca, header, otherSealed),
			"header moved to this conversation, signed": sign(p.ca, bytes.Replace(otherHeader, b64(other.ca.T3[:]), b64(p.ca.T3[:]), 1), otherSealed),
			"ciphertext of the other direction":         join(header, backSignature, backSealed),
			"ciphertext of the other direction, signed": sign(p.ca, header, backSealed),
			"signed by the receiver":                    sign(p.cb, header, sealed),
		} {
			if err := refused(t, p.cb, body, people.Now); !errors.Is(err, ErrDecrypt) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := refused(t, p.cb, elsewhere.Body, people.Now); !errors.Is(err, ErrOtherConversation) {
			t.Errorf("a message of another conversation: %v", err)
		}
		take(t, p.cb, text, people.Now)
	})
}

func b64(b []byte) []byte { return base64.StdEncoding.AppendEncode(nil, b) }

// rekind gives a header another kind, with the numbers of that kind.
func rekind(t testing.TB, header []byte, kind string) []byte {
	t.Helper()
	h, err := ParseMessageHeader(header)
	if err != nil {
		t.Fatal(err)
	}
	h.Kind, h.Count = kind, 0
	if kind != KindEnd {
		h.Seq = 0
	}
	if kind == KindPipe {
		h.Digest = nil
	}
	return proto.MustMarshal(h)
}

// Row 11: receipts that are not by the receiver of the records, and wrong ones by a dishonest
// receiver.
func TestRow11Receipts(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		for _, text := range []string{"1", "2", "3", "4"} {
			take(t, p.cb, p.text(t, true, people.Now, text), people.Now)
		}
		d := func(seq uint64) []byte { d, _ := p.cb.received.at(seq); return d[:] }
		digests := [][]byte{d(0), d(1), d(2), d(3), d(4)}
		applied := receipt(t, p.cb, 3, 2, people.Now)
		take(t, p.ca, applied, people.Now)

		good := func() *Receipt {
			return &Receipt{Delivered: 4, DeliveredDigest: digests[4], Read: 3, ReadDigest: digests[3], Time: people.Now.UnixMilli(), Salt: newSalt()}
		}
		body := func(r *Receipt, edit func(h *MessageHeader)) []byte {
			return forge(p.cb, KindReceipt, proto.MustMarshal(r), func(h *MessageHeader) {
				digest := r.Digest(p.cb.T3, DirectionBA)
				h.Digest = digest[:]
				if edit != nil {
					edit(h)
				}
			})
		}
		for name, edit := range map[string]func(r *Receipt){
			"delivered goes back":         func(r *Receipt) { r.Delivered, r.DeliveredDigest, r.Read, r.ReadDigest = 2, digests[2], 2, digests[2] },
			"read goes back":              func(r *Receipt) { r.Read, r.ReadDigest = 1, digests[1] },
			"more than was sent":          func(r *Receipt) { r.Delivered = 5 },
			"the largest number":          func(r *Receipt) { r.Delivered = ^uint64(0) },
			"more read than delivered":    func(r *Receipt) { r.Delivered, r.DeliveredDigest, r.Read, r.ReadDigest = 3, digests[3], 4, digests[4] },
			"another digest of delivered": func(r *Receipt) { r.DeliveredDigest = digests[3] },
			"another digest of read":      func(r *Receipt) { r.ReadDigest = digests[2] },
			"a short digest":              func(r *Receipt) { r.ReadDigest = digests[3][:31] },
			"no salt":                     func(r *Receipt) { r.Salt = nil },
			"a time before 1970":          func(r *Receipt) { r.Time = -1 },
		} {
			r := good()
			edit(r)
			if err := refused(t, p.ca, body(r, nil), people.Now); err == nil {
				t.Errorf("%s: applied", name)
			}
		}
		direction := good().Digest(p.cb.T3, DirectionAB)
		conversation := good().Digest([32]byte{}, DirectionBA)
		for name, digest := range map[string][]byte{"direction": direction[:], "conversation": conversation[:], "nothing": digests[0]} {
			if err := refused(t, p.ca, body(good(), func(h *MessageHeader) { h.Digest = digest }), people.Now); !errors.Is(err, ErrDigest) {
				t.Errorf("a header with the digest of another %s: %v", name, err)
			}
		}
		// Neither the sender nor a third can give receipts.
		mallory := newParty(t, "mallory", "m1", suite)
		stranger := *p.cb
		stranger.local = mallory.Local
		r := good()
		for name, c := range map[string]*Conversation{"the sender": p.ca, "a third person": &stranger} {
			if err := refused(t, p.ca, forge(c, KindReceipt, proto.MustMarshal(r), func(h *MessageHeader) {
				digest := r.Digest(p.cb.T3, DirectionBA)
				h.Direction, h.SrcBundle, h.DstBundle, h.Digest, h.N = DirectionBA, p.cb.myHash[:], p.ca.myHash[:], digest[:], p.ca.recv.n
			}), people.Now); !errors.Is(err, ErrDecrypt) {
				t.Errorf("a receipt of %s: %v", name, err)
			}
		}
		if err := refused(t, p.ca, applied.Body, people.Now); !errors.Is(err, ErrReplay) {
			t.Errorf("a receipt again: %v", err)
		}
		// A good receipt is applied, and may come twice.
		take(t, p.ca, receipt(t, p.cb, 4, 3, people.Now), people.Now)
		take(t, p.ca, receipt(t, p.cb, 4, 3, people.Now), people.Now)
		take(t, p.ca, receipt(t, p.cb, 4, 4, people.Now), people.Now)
	})
}

// A receiver does not seal a receipt that its peer would refuse.
func TestReceiptNotGiven(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	for _, text := range []string{"1", "2", "3"} {
		take(t, p.cb, p.text(t, true, people.Now, text), people.Now)
	}
	receipt(t, p.cb, 2, 1, people.Now)
	before := stateOf(p.cb)
	for _, n := range [][2]uint64{{4, 0}, {3, 4}, {1, 1}, {2, 0}, {2, 3}, {^uint64(0), 1}} {
		if _, err := p.cb.SealReceipt(n[0], n[1], people.Now); err == nil {
			t.Errorf("a receipt for %d and %d after one for 2 and 1 of 3", n[0], n[1])
		}
	}
	if after := stateOf(p.cb); after != before {
		t.Error("a receipt that was not given changed the state")
	}
	receipt(t, p.cb, 3, 3, people.Now)
}

// Row 11: a record without the receiver in `to`, and other wrong ones of a dishonest sender.
func TestRow11Records(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	carol := newParty(t, "carol", "c1")
	nowMilli := people.Now.UnixMilli()
	for _, test := range []struct {
		name string
		edit func(r *Record)
		keep bool // keep the id from before the edit
		good bool
	}{
		{name: "as it should be", good: true},
		{name: "for several", good: true, edit: func(r *Record) { r.To = to(p.b, carol) }},
		{name: "to a name whose identity was not known", good: true, edit: func(r *Record) { r.To = []Recipient{{Name: "bob"}} }},
		{name: "written long ago", good: true, edit: func(r *Record) { r.Time = earliestRecord }},
		{name: "five minutes ahead", good: true, edit: func(r *Record) { r.Time = nowMilli + trust.ClockTolerance.Milliseconds() }},
		{name: "further ahead", edit: func(r *Record) { r.Time = nowMilli + trust.ClockTolerance.Milliseconds() + 1 }},
		{name: "at the end of time", edit: func(r *Record) { r.Time = 1<<63 - 1 }},
		{name: "before 1970", edit: func(r *Record) { r.Time = -1 }},
		{name: "for another", edit: func(r *Record) { r.To = to(carol) }},
		{name: "for another of this name", edit: func(r *Record) { r.To = []Recipient{{"bob", to(carol)[0].Identity}} }},
		{name: "for this identity under another name", edit: func(r *Record) { r.To = []Recipient{{"carol", to(p.b)[0].Identity}} }},
		{name: "for the name unfolded", edit: func(r *Record) { r.To = []Recipient{{"Bob", to(p.b)[0].Identity}} }},
		{name: "for nobody", edit: func(r *Record) { r.To = []Recipient{} }},
		{name: "for null", edit: func(r *Record) { r.To = nil }},
		{name: "out of order", edit: func(r *Record) { r.To = []Recipient{to(carol)[0], to(p.b)[0]} }},
		{name: "for one twice", edit: func(r *Record) { r.To = []Recipient{to(p.b)[0], to(p.b)[0]} }},
		{name: "for one name under two identities", edit: func(r *Record) { r.To = []Recipient{{Name: "bob"}, to(p.b)[0]} }},
		{name: "for an empty name", edit: func(r *Record) { r.To = []Recipient{{}, to(p.b)[0]} }},
		{name: "identity in capitals", edit: func(r *Record) { r.To[0].Identity = strings.ToUpper(r.To[0].Identity) }},
		{name: "identity of 31 bytes", edit: func(r *Record) { r.To = []Recipient{{"alice", strings.Repeat("00", 31)}, to(p.b)[0]} }},
		{name: "salt of 15 bytes", edit: func(r *Record) { r.Salt = r.Salt[:15] }},
		{name: "id of another text", keep: true, edit: func(r *Record) { r.Text = "other" }},
		{name: "id of another time", keep: true, edit: func(r *Record) { r.Time-- }},
		{name: "id of another salt", keep: true, edit: func(r *Record) { r.Salt[0] ^= 1 }},
		{name: "id of another to", keep: true, edit: func(r *Record) { r.To = to(p.b, carol) }},
		{name: "id of another sender", keep: true, edit: func(r *Record) { r.ID = RecordID(p.b.Identity, r) }},
		{name: "id in capitals", keep: true, edit: func(r *Record) { r.ID = "A" + r.ID[1:] }},
		{name: "seq of another", edit: func(r *Record) { r.Seq = 2 }},
		{name: "seq 0", edit: func(r *Record) { r.Seq = 0 }},
		{name: "the largest seq", edit: func(r *Record) { r.Seq = ^uint64(0) }},
	} {
		r := newRecords(p.a, p.b, "text")[0]
		r.Seq = 1
		if test.edit != nil {
			test.edit(r)
		}
		if !test.keep {
			r.ID = RecordID(p.a.Identity, r)
		}
		body := textBody(p.ca, [][]byte{proto.MustMarshal(r)}, nil)
		if test.good {
			if o, err := p.cb.Open(body, people.Now); err != nil {
				t.Errorf("%s: %v", test.name, err)
			} else {
				o.Discard()
			}
		} else if err := refused(t, p.cb, body, people.Now); err == nil {
			t.Errorf("%s: accepted", test.name)
		}
	}
}

// textBody is a well-sealed message with these exact records.
func textBody(c *Conversation, records [][]byte, edit func(h *MessageHeader)) []byte {
	seq, d := c.sent.last()
	for _, r := range records {
		d = NextDigest(d, sha256.Sum256(r))
	}
	return forge(c, KindText, bytes.Join(records, []byte("\n")), func(h *MessageHeader) {
		h.Seq, h.Count, h.Digest = seq+1, uint64(len(records)), d[:]
		if edit != nil {
			edit(h)
		}
	})
}

// A batch that contradicts its header, or is not canonical.
func TestBatchAgainstHeader(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	records := newRecords(p.a, p.b, "one", "two")
	records[0].Seq, records[1].Seq = 1, 2
	one, two := records[0].Encode(), records[1].Encode()
	for name, body := range map[string][]byte{
		"order":           textBody(p.ca, [][]byte{two, one}, nil),
		"one twice":       textBody(p.ca, [][]byte{one, one}, nil),
		"count too low":   textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Count = 1 }),
		"count too high":  textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Count = 3 }),
		"count huge":      textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Count = 1 << 62 }),
		"count 0":         textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Count = 0 }),
		"seq 0":           textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Seq = 0 }),
		"seq ahead":       textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Seq = 2 }),
		"largest seq":     textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Seq = ^uint64(0) }),
		"digest":          textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Digest = unknownSecret() }),
		"short digest":    textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Digest = h.Digest[:31] }),
		"no digest":       textBody(p.ca, [][]byte{one, two}, func(h *MessageHeader) { h.Digest = nil }),
		"digest of one":   textBody(p.ca, [][]byte{one}, func(h *MessageHeader) { h.Count = 2 }),
		"an empty line":   textBody(p.ca, [][]byte{one, {}}, nil),
		"a space more":    textBody(p.ca, [][]byte{append([]byte(" "), one...), two}, nil),
		"a needless \\u":  textBody(p.ca, [][]byte{bytes.Replace(one, []byte("one"), []byte(`\u006fne`), 1), two}, nil),
		"a field doubled": textBody(p.ca, [][]byte{bytes.Replace(one, []byte(`"seq":1`), []byte(`"seq":1,"seq":1`), 1), two}, nil),
		"a field more":    textBody(p.ca, [][]byte{bytes.Replace(one, []byte(`"seq":1`), []byte(`"seq":1,"x":1`), 1), two}, nil),
		"another case":    textBody(p.ca, [][]byte{bytes.Replace(one, []byte(`"seq"`), []byte(`"Seq"`), 1), two}, nil),
		"invalid UTF-8":   textBody(p.ca, [][]byte{bytes.Replace(one, []byte("one"), []byte("on\xff"), 1), two}, nil),
		"a number as 1.0": textBody(p.ca, [][]byte{bytes.Replace(one, []byte(`"seq":1`), []byte(`"seq":1.0`), 1), two}, nil),
	} {
		if err := refused(t, p.cb, body, people.Now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if o, err := p.cb.Open(textBody(p.ca, [][]byte{one, two}, nil), people.Now); err != nil || len(o.Records) != 2 {
		t.Errorf("the batch as it should be: %v", err)
	}
}

// Headers of every wrong form, well signed and sealed.
func TestHeaderForms(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	one := newRecords(p.a, p.b, "one")
	one[0].Seq = 1
	text := func(edit func(h *MessageHeader)) []byte { return textBody(p.ca, [][]byte{one[0].Encode()}, edit) }
	milli := trust.ClockTolerance.Milliseconds()
	for _, test := range []struct {
		name string
		edit func(h *MessageHeader)
		want error // nil: any
	}{
		{"n of the one after", func(h *MessageHeader) { h.N = 1 }, ErrGap},
		{"largest n", func(h *MessageHeader) { h.N = 1<<63 - 1 }, ErrGap},
		{"a larger n", func(h *MessageHeader) { h.N = 1 << 63 }, nil},
		{"another conversation", func(h *MessageHeader) { h.Conversation = unknownSecret() }, ErrOtherConversation},
		{"a short conversation", func(h *MessageHeader) { h.Conversation = h.Conversation[:31] }, nil},
		{"the other direction", func(h *MessageHeader) { h.Direction = DirectionBA }, ErrDecrypt},
		{"no direction", func(h *MessageHeader) { h.Direction = "" }, nil},
		{"an unknown kind", func(h *MessageHeader) { h.Kind = "Text" }, nil},
		{"random of 31 bytes", func(h *MessageHeader) { h.Random = h.Random[:31] }, nil},
		{"another bundle of the sender", func(h *MessageHeader) { h.SrcBundle = unknownSecret() }, ErrDecrypt},
		{"another bundle of the receiver", func(h *MessageHeader) { h.DstBundle = unknownSecret() }, ErrDecrypt},
		{"bundles exchanged", func(h *MessageHeader) { h.SrcBundle, h.DstBundle = h.DstBundle, h.SrcBundle }, ErrDecrypt},
		{"a time too late", func(h *MessageHeader) { h.Time += milli + 1 }, ErrClock},
		{"a time too early", func(h *MessageHeader) { h.Time -= milli + 1 }, ErrClock},
		{"the end of time", func(h *MessageHeader) { h.Time = 1<<63 - 1 }, ErrClock},
		{"a time before 1970", func(h *MessageHeader) { h.Time = -1 }, nil},
		{"the beginning of time", func(h *MessageHeader) { h.Time = -1 << 63 }, nil},
		{"an empty step", func(h *MessageHeader) { h.Step = &Step{[]byte{}, []byte{}} }, ErrDecrypt},
		{"a header over the limit", func(h *MessageHeader) { h.Step = &Step{Enc: make([]byte, maxHeader)} }, nil},
	} {
		if err := refused(t, p.cb, text(test.edit), people.Now); test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	for _, d := range []time.Duration{-trust.ClockTolerance, trust.ClockTolerance} {
		if o, err := p.cb.Open(text(nil), people.Now.Add(d)); err != nil {
			t.Errorf("clocks %v apart: %v", d, err)
		} else {
			o.Discard()
		}
	}
	for name, body := range map[string][]byte{
		"an end with a long text":  forge(p.ca, KindEnd, make([]byte, proto.MaxMessage+1), func(h *MessageHeader) { d := p.ca.sent.d[0]; h.Digest = d[:] }),
		"an end with bytes":        forge(p.ca, KindEnd, []byte{0xff}, func(h *MessageHeader) { d := p.ca.sent.d[0]; h.Digest = d[:] }),
		"an end of more":           forge(p.ca, KindEnd, nil, func(h *MessageHeader) { d := p.ca.sent.d[0]; h.Seq, h.Digest = 1, d[:] }),
		"an end of another digest": forge(p.ca, KindEnd, nil, func(h *MessageHeader) { h.Digest = unknownSecret() }),
		"a pipe with a digest":     forge(p.ca, KindPipe, nil, func(h *MessageHeader) { h.Digest = unknownSecret() }),
		"a pipe with a seq":        forge(p.ca, KindPipe, nil, func(h *MessageHeader) { h.Seq = 1 }),
		"a receipt with a count":   forge(p.ca, KindReceipt, nil, func(h *MessageHeader) { h.Digest, h.Count = unknownSecret(), 1 }),
		"a receipt of nothing":     forge(p.ca, KindReceipt, nil, func(h *MessageHeader) { h.Digest = unknownSecret() }),
		"nothing":                  nil,
		"one line":                 []byte("{}"),
		"two lines":                []byte("{}\n"),
		"empty lines":              []byte("\n\n"),
	} {
		if err := refused(t, p.cb, body, people.Now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A message is committed once, and only while it is the next.
func TestCommit(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	s := p.text(t, true, people.Now, "one")
	before := stateOf(p.cb)
	first, err := p.cb.Open(bytes.Clone(s.Body), people.Now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.cb.Open(bytes.Clone(s.Body), people.Now)
	if err != nil {
		t.Fatal(err)
	}
	if stateOf(p.cb) != before {
		t.Error("Open changed the state")
	}
	p.cb.Commit(first)
	after := stateOf(p.cb)
	p.cb.Commit(first)
	p.cb.Commit(second)
	if stateOf(p.cb) != after {
		t.Error("a message was committed twice")
	}
	take(t, p.cb, p.text(t, true, people.Now, "two"), people.Now)
}

// What was discarded, or opened before the conversation was erased, is not committed: its keys are
// cleared, and everybody knows a cleared key.
func TestCommitTooLate(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		for _, step := range []bool{false, true} {
			p := newPair(t, suite)
			now := people.Now
			if step {
				take(t, p.ca, receipt(t, p.cb, 0, 0, now), now)
				now = now.Add(stepAgeRSA)
			}
			s := p.text(t, false, now, "text")
			if stepped(t, s) != step {
				t.Fatalf("step %v, want %v", !step, step)
			}
			open := func() *Opened {
				o, err := p.ca.Open(bytes.Clone(s.Body), now)
				if err != nil {
					t.Fatal(err)
				}
				return o
			}
			before := stateOf(p.ca)
			o := open()
			o.Discard()
			p.ca.Commit(o)
			if stateOf(p.ca) != before {
				t.Errorf("a discarded message was committed, step %v", step)
			}
			o = open()
			next := o.next
			p.ca.Erase()
			p.ca.Commit(o)
			if p.ca.recv.ck != nil || p.ca.root != nil || len(secrets(o)) != 0 || !bytes.Equal(next, make([]byte, secretSize)) {
				t.Errorf("an erased conversation took a key, step %v", step)
			}
		}
	})
}

func TestErasedConversation(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		p := newPair(t, suite)
		s := p.text(t, false, people.Now, "too late")
		p.ca.Erase()
		p.ca.Erase()
		if _, _, err := p.ca.SealRecords(newRecords(p.a, p.b, "x"), people.Now); err == nil {
			t.Error("records sealed after Erase")
		}
		if _, err := p.ca.SealEnd(people.Now); err == nil {
			t.Error("an end sealed after Erase")
		}
		if err := refused(t, p.ca, s.Body, people.Now); !errors.Is(err, ErrDecrypt) {
			t.Errorf("opened after Erase: %v", err)
		}
	})
}

// A record that no receiver accepts is not sealed: it would end one conversation after the other.
func TestRecordNotSealed(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	before := stateOf(p.ca)
	for name, edit := range map[string]func(r *Record){
		"invalid UTF-8": func(r *Record) { r.Text = "\xff" },
		"no recipient":  func(r *Record) { r.To = nil },
		"before 1970":   func(r *Record) { r.Time = -1 },
		"no salt":       func(r *Record) { r.Salt = nil },
	} {
		r := newRecords(p.a, p.b, "text")
		edit(r[0])
		if _, _, err := p.ca.SealRecords(r, people.Now); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	if stateOf(p.ca) != before {
		t.Error("a record that was refused changed the state")
	}
}

// With an erased K nothing is sealed.
func TestSealWithErasedKey(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	key := people.Key(t, trust.KeyEd25519)
	local := *p.ca.local
	local.Key = key
	p.ca.local = &local
	key.Erase()
	if _, err := p.ca.SealEnd(people.Now); err == nil {
		t.Error("sealed without a signature")
	}
}

// With an RSA K signatures have another length. All else is the same.
func TestConversationWithRSAKey(t *testing.T) {
	a, b := newParty(t, "alice", "a1", SuiteRSA128), newParty(t, "bob", "b1", SuiteRSA128)
	local := *a.Local
	local.Key = people.Key(t, trust.KeyRSA)
	local.Bundle = people.Bundle(t, people.Card(t, "alice"), "alice", local.Key)
	person, err := labVerify(t)(local.Bundle, "alice")
	if err != nil {
		t.Fatal(err)
	}
	local.Identity = person.Identity
	p := &pair{a: &party{Local: &local, end: a.end, person: person}, b: b}
	p.ca, p.cb = shake(t, p.a, p.b)
	later := people.Now.Add(stepAgeRSA)
	take(t, p.ca, receipt(t, p.cb, 0, 0, people.Now), people.Now)
	s := p.text(t, true, people.Now, "text")
	if len(s.Signature) != 256 {
		t.Errorf("a signature of %d bytes", len(s.Signature))
	}
	take(t, p.cb, s, people.Now)
	take(t, p.ca, receipt(t, p.cb, 1, 1, later), later)
	p.agree(t)
	header, signature, sealed := cutBody(t, p.text(t, true, later, "text").Body)
	signature[5] ^= 1
	if err := refused(t, p.cb, bytes.Join([][]byte{header, signature, sealed}, []byte("\n")), later); !errors.Is(err, ErrDecrypt) {
		t.Errorf("a wrong signature: %v", err)
	}
}
