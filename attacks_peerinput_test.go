package chatsecure

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Row 22 where the relay sees nothing: bad input inside of what a person with a
// valid card has signed and sealed as it ought to be.

// badJSON is bad input, and what is said of it.
type badJSON struct{ what, text, says string }

// badForms makes bad input of a JSON object. number and text are members of it,
// as they stand there.
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
	const form, depth = "not canonical JSON", "max depth"
	return []badJSON{
		{"nothing", "", "unexpected end"},
		{"100,000 brackets", strings.Repeat("[", 100_000), depth},
		{"100,000 deep objects", strings.Repeat(`{"a":`, 100_000), depth},
		{"100,000 deep and whole", nested(100_000), depth},
		{"100,000 deep in a field of its own", swap(number, `"a":`+nested(100_000)+","+number), depth},
		{"100,000 deep where a number belongs", numberIs(nested(100_000)), depth},
		{"9,000 deep where a number belongs", numberIs(nested(9_000)), "array"},
		{"a number beyond uint64", numberIs("18446744073709551616"), "number"},
		{"a number of 500,000 digits", numberIs(strings.Repeat("9", 500_000)), "number"},
		{"a number below nought", numberIs("-1"), "number"},
		{"a number with an exponent", numberIs("1e0"), "number"},
		{"a number with a nought before it", numberIs("01"), "invalid character"},
		{"a number as a string", numberIs(`"1"`), "string"},
		{"a space", strings.Replace(good, ":", ": ", 1), form},
		{"a field twice", swap(number, number+","+number), form},
		{"a field too many", swap(number, `"a":1,`+number), form},
		{"a field in capitals", swap(number, strings.ToUpper(number)), form},
		{"bytes that are not UTF-8", textIs("\"\xff\""), ""}, // as a text or as base64
		{"NUL", textIs("\"\x00\""), "invalid character"},
		{"half a surrogate", textIs(`"\ud800"`), ""},
		{"null", textIs("null"), ""}, // or a length that is wrong
		{"a byte behind it", good + "x", "invalid character"},
		{"itself behind it", good + good, "invalid character"},
	}
}

// TestAttack22SealedByAPeer has Mallory, who is accepted, put bad input where
// only Alice opens it: into records and receipts. The conversation ends and says
// why, in few words; nothing is shown; what Mallory sends rightly is taken.
func TestAttack22SealedByAPeer(t *testing.T) {
	const mostSaid = 300 // bytes, whatever a peer sends
	town := newTown(t, "alice", "mallory")
	alice := town.client("alice")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	self := []crypto.Recipient{{Name: "alice", Identity: hexIdentity(alice.engine.self)}}
	record := func(text string) string {
		r := crypto.NewRecord(mallory.local.Identity, self, text, time.Now())
		r.Seq = 1
		return string(r.Encode())
	}
	sealText := func(record string) []byte {
		return mallory.forge(crypto.KindText, []byte(record), func(h *crypto.MessageHeader) {
			d := crypto.NextDigest(crypto.FirstDigest(mallory.conv.T3, h.Direction), sha256.Sum256([]byte(record)))
			h.Seq, h.Count, h.Digest = 1, 1, d[:]
		})
	}
	// receipt is one that says nothing is DELIVERED of what Alice sends. All of
	// them have one time: the digest in the header is made of a second one.
	now := time.Now().UnixMilli()
	receipt := func(conversation [32]byte) *crypto.Receipt {
		none := crypto.FirstDigest(conversation, otherDirection(crypto.DirectionAB))
		return &crypto.Receipt{DeliveredDigest: none[:], ReadDigest: none[:], Time: now, Salt: make([]byte, 16)}
	}
	sealReceipt := func(text string) []byte {
		return mallory.forge(crypto.KindReceipt, []byte(text), func(h *crypto.MessageHeader) {
			d := receipt(mallory.conv.T3).Digest(mallory.conv.T3, h.Direction)
			h.Digest = d[:]
		})
	}

	const bad = "must not be shown"
	good := record(bad)
	records := append(badForms(t, good, `"seq":1`, `"text":"`+bad+`"`),
		badJSON{"base64 with junk", strings.Replace(good, `"salt":"`, `"salt":"*`, 1), "base64"},
		badJSON{"base64 with a newline", strings.Replace(good, `"salt":"`, `"salt":"\n`, 1), "not canonical JSON"},
		badJSON{"a time beyond int64", strings.Replace(good, `"time":`, `"time":9999999`, 1), "number"},
		badJSON{"300 recipients", strings.Replace(good, `"to":[`, `"to":[`+strings.Repeat(`{"name":"a","identity":""},`, 300), 1), "recipients"},
		badJSON{"no recipients", strings.Replace(good, string(canon.MustMarshal(self)), "[]", 1), "recipients"},
		badJSON{"a text over the limit", record(strings.Repeat("x", proto.MaxText+1)), "at most"},
	)
	whole := string(canon.MustMarshal(receipt([32]byte{})))
	salt := `"salt":"` + strings.Repeat("A", 22) + `=="`
	receipts := append(badForms(t, whole, `"read":0`, salt),
		badJSON{"base64 with junk", strings.Replace(whole, salt, `"salt":"*`+strings.Repeat("A", 22)+`=="`, 1), "base64"},
		badJSON{"a salt of 15 bytes", strings.Replace(whole, salt, `"salt":"`+strings.Repeat("A", 20)+`"`, 1), "malformed"},
		badJSON{"a time beyond int64", strings.Replace(whole, `"time":`, `"time":9999999`, 1), "number"},
	)
	gaps := 0
	for _, c := range []struct {
		kind, typ string
		forms     []badJSON
		seal      func(plaintext string) []byte
	}{
		{"record", proto.TypeClientCom, records, sealText},
		{"receipt", proto.TypeCommAck, receipts, sealReceipt},
	} {
		for _, f := range c.forms {
			if f.text == good || f.text == whole {
				t.Fatalf("a %s with %s is as it was", c.kind, f.what)
			}
			mallory.call(end(alice))
			mallory.say(headerTo(c.typ, end(alice)), c.seal(f.text))
			mallory.wantRefusal(c.kind+": "+f.what, proto.NoConversation)
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
	// What is sealed in the same way and is in order is taken.
	mallory.call(end(alice))
	mallory.say(headerTo(proto.TypeClientCom, end(alice)), sealText(record("honest")))
	alice.awaitText("honest")
	mallory.call(end(alice))
	mallory.say(headerTo(proto.TypeCommAck, end(alice)), sealReceipt(string(canon.MustMarshal(receipt(mallory.conv.T3)))))
	if _, ended := mallory.answered(end(alice)); ended != nil {
		t.Error("a receipt that is in order ends the conversation")
	}
	if got := alice.texts(); !slices.Equal(got, []string{"honest"}) || len(alice.gaps()) != gaps {
		t.Errorf("alice saw %q, with the gaps %q", got, alice.gaps()[gaps:])
	}
}
