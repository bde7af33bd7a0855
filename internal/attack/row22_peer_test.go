package attack

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// Row 22 out of the relay's sight: bad input that a person with a valid card has properly signed
// and sealed.

// badJSON is bad input and the words of its refusal.
type badJSON struct{ what, text, says string }

// badForms makes bad input of a JSON object. number and text are two of its members, as they stand
// there.
func badForms(t testing.TB, good, number, text string) []badJSON {
	swap := func(old, new string) string { return string(swapped(t, []byte(good), []byte(old), []byte(new))) }
	numberIs := func(value string) string {
		name, _, _ := strings.Cut(number, ":")
		return swap(number, name+":"+value)
	}
	textIs := func(value string) string {
		name, _, _ := strings.Cut(text, ":")
		return swap(text, name+":"+value)
	}
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	const form, none = "not canonical JSON", "it is not JSON"
	return []badJSON{
		{"nothing", "", none},
		{"100,000 brackets", strings.Repeat("[", 100_000), none},
		{"100,000 deep objects", strings.Repeat(`{"a":`, 100_000), none},
		{"100,000 deep and whole", nested(100_000), none},
		{"100,000 deep in a field of its own", swap(number, `"a":`+nested(100_000)+","+number), none},
		{"100,000 deep where a number belongs", numberIs(nested(100_000)), none},
		{"9,000 deep where a number belongs", numberIs(nested(9_000)), "array"},
		{"a number beyond uint64", numberIs("18446744073709551616"), "number"},
		{"a number beyond int64", numberIs("9223372036854775808"), "number"},
		{"a number of 500,000 digits", numberIs(strings.Repeat("9", 500_000)), "number"},
		{"a number below nought", numberIs("-1"), "number"},
		{"a number with an exponent", numberIs("1e0"), "number"},
		{"a number with a nought before it", numberIs("01"), none},
		{"a number as a string", numberIs(`"1"`), "string"},
		{"a space", strings.Replace(good, ":", ": ", 1), form},
		{"a field twice", swap(number, number+","+number), form},
		{"a field too many", swap(number, `"a":1,`+number), form},
		{"a field in capitals", swap(number, strings.ToUpper(number)), form},
		{"bytes that are not UTF-8", textIs("\"\xff\""), ""}, // as text or as base64
		{"NUL", textIs("\"\x00\""), none},
		{"half a surrogate", textIs(`"\ud800"`), ""},
		{"null", textIs("null"), ""}, // or of the wrong length
		{"a byte behind it", good + "x", none},
		{"itself behind it", good + good, none},
	}
}

// sealedBadly is Mallory, who talks to Alice and seals whatever she likes.
type sealedBadly struct {
	*evilPeer
	self []crypto.Recipient // Alice
	now  int64              // the time of every receipt: the header's digest is made from a second one
}

// record is an encoded record with a text.
func (m *sealedBadly) record(text string) string {
	r := crypto.NewRecord(m.local.Identity, m.self, text, time.Now())
	r.Seq = 1
	return string(r.Encode())
}

func (m *sealedBadly) sealText(record string) []byte {
	return m.forge(crypto.KindText, []byte(record), func(h *crypto.MessageHeader) {
		d := crypto.NextDigest(crypto.FirstDigest(m.conv.T3, h.Direction), sha256.Sum256([]byte(record)))
		h.Seq, h.Count, h.Digest = 1, 1, d[:]
	})
}

// receipt says that nothing of Alice's is DELIVERED.
func (m *sealedBadly) receipt(conversation [32]byte) *crypto.Receipt {
	none := crypto.FirstDigest(conversation, otherDirection(crypto.DirectionAB))
	return &crypto.Receipt{DeliveredDigest: none[:], ReadDigest: none[:], Time: m.now, Salt: make([]byte, 16)}
}

func (m *sealedBadly) sealReceipt(text string) []byte {
	return m.forge(crypto.KindReceipt, []byte(text), func(h *crypto.MessageHeader) {
		d := m.receipt(m.conv.T3).Digest(m.conv.T3, h.Direction)
		h.Digest = d[:]
	})
}

// sayRefused sends a message and reads up to its refusal and the relay's ack. Alice may refuse it
// before the relay acks it, and a large one fills the window until then.
func (m *sealedBadly) sayRefused(what string, h *proto.Header, body []byte) {
	m.T.Helper()
	line := m.Say(h, body)
	for refused, acked := false, false; !refused || !acked; {
		switch answer := m.Next(); answer.Type {
		case proto.TypeError:
			if answer.Code != proto.NoConversation || answer.SrcID == "" {
				m.T.Errorf("%s is answered with %s %q, want %s", what, answer.Code, answer.Message, proto.NoConversation)
			}
			refused = true
		case proto.TypeAck:
			acked = acked || answer.Answers != nil && *answer.Answers >= line
		}
	}
}

// badRecords are bad forms of a record with this text.
func (m *sealedBadly) badRecords(t *testing.T, text string) []badJSON {
	good := m.record(text)
	return changed(t, good, append(badForms(t, good, `"seq":1`, `"text":"`+text+`"`),
		badJSON{"base64 with junk", strings.Replace(good, `"salt":"`, `"salt":"*`, 1), "base64"},
		badJSON{"base64 with a newline", strings.Replace(good, `"salt":"`, `"salt":"\n`, 1), "not canonical JSON"},
		badJSON{"a time beyond int64", strings.Replace(good, `"time":`, `"time":9999999`, 1), "number"},
		badJSON{"300 recipients", strings.Replace(good, `"to":[`, `"to":[`+strings.Repeat(`{"name":"a","identity":""},`, 300), 1), "recipients"},
		badJSON{"no recipients", strings.Replace(good, string(proto.MustMarshal(m.self)), "[]", 1), "recipients"},
		badJSON{"a text over the limit", m.record(strings.Repeat("x", proto.MaxText+1)), "at most"},
	))
}

// badReceipts are bad forms of a receipt.
func (m *sealedBadly) badReceipts(t *testing.T) []badJSON {
	good := string(proto.MustMarshal(m.receipt([32]byte{})))
	salt := `"salt":"` + strings.Repeat("A", 22) + `=="`
	return changed(t, good, append(badForms(t, good, `"read":0`, salt),
		badJSON{"base64 with junk", strings.Replace(good, salt, `"salt":"*`+strings.Repeat("A", 22)+`=="`, 1), "base64"},
		badJSON{"a salt of 15 bytes", strings.Replace(good, salt, `"salt":"`+strings.Repeat("A", 20)+`"`, 1), "malformed"},
		badJSON{"a time beyond int64", strings.Replace(good, `"time":`, `"time":9999999`, 1), "number"},
	))
}

// changed checks that every form is another than the good one.
func changed(t *testing.T, good string, forms []badJSON) []badJSON {
	t.Helper()
	for _, f := range forms {
		if f.text == good {
			t.Fatalf("%.40s with %s is as it was", good, f.what)
		}
	}
	return forms
}

// TestAttack22SealedByAPeer: Mallory, who is accepted, puts bad input where only Alice opens it:
// into records and receipts. The conversation ends with a short reason, nothing is shown, and
// Mallory's correct messages are still accepted.
func TestAttack22SealedByAPeer(t *testing.T) {
	const mostSaid = 300 // bytes, for any input
	town := newTown(t, "alice", "mallory")
	alice := town.client("alice", manyOffers)
	mallory := &sealedBadly{
		evilPeer: town.evilPeer(town.addr, "mallory", town.credential("mallory")), now: time.Now().UnixMilli(),
		self: []crypto.Recipient{{Name: "alice", Identity: proto.FormatHash(alice.Inside().Identity())}},
	}
	gaps := 0
	for _, c := range []struct {
		kind, typ string
		forms     []badJSON
		seal      func(plaintext string) []byte
	}{
		{"record", proto.TypeClientCom, mallory.badRecords(t, "must not be shown"), mallory.sealText},
		{"receipt", proto.TypeCommAck, mallory.badReceipts(t), mallory.sealReceipt},
	} {
		for _, f := range c.forms {
			mallory.call(end(alice))
			mallory.sayRefused(c.kind+": "+f.what, headerTo(c.typ, end(alice)), c.seal(f.text))
			gaps++
			alice.awaitGap(gaps, "a message is refused: "+c.kind+": ")
			if got := alice.gaps()[gaps-1]; !strings.Contains(got, f.says) || len(got) > mostSaid {
				t.Errorf("a %s with %s is refused in %d bytes: %.*q, want %q", c.kind, f.what, len(got), mostSaid, got, f.says)
			}
		}
	}
	if got := alice.texts(); len(got) != 0 {
		t.Errorf("alice saw %.100q", got)
	}
	// A correct message, sealed in the same way, is accepted.
	mallory.call(end(alice))
	mallory.Say(headerTo(proto.TypeClientCom, end(alice)), mallory.sealText(mallory.record("honest")))
	alice.awaitText("honest")
	mallory.call(end(alice))
	mallory.Say(headerTo(proto.TypeCommAck, end(alice)), mallory.sealReceipt(string(proto.MustMarshal(mallory.receipt(mallory.conv.T3)))))
	if _, ended := mallory.answered(end(alice)); ended != nil {
		t.Error("a receipt that is in order ends the conversation")
	}
	if got := alice.texts(); !slices.Equal(got, []string{"honest"}) || len(alice.gaps()) != gaps {
		t.Errorf("alice saw %q, with the gaps %q", got, alice.gaps()[gaps:])
	}
}
