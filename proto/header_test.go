package proto

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"chatsecure/testdata/corpus"
)

const testID = "0123456789abcdef"

var testHash = strings.Repeat("0123456789abcdef", 4)

func answers(n uint64) *uint64 { return &n }

// goodHeaders is one header or more of every form, by its sender.
var goodHeaders = map[string][]Header{
	"client": {
		{Type: TypeList},
		{Type: TypeList, Name: "ana", Watch: true},
		{Type: TypeRelease},
		{Type: TypeRelease, Mailbox: testHash},
		{Type: TypeLetterTo, Name: "ana"},
		{Type: TypeLetter, Kind: LetterText, Identity: testHash},
		{Type: TypeLetter, Kind: LetterReceipt, Identity: testHash},
		{Type: TypeLetterAck, Done: Stored, Letter: testHash},
		{Type: TypeLetterAck, Done: Refused, Letter: testHash},
		{Type: TypeLetterAck, Done: Later, Letter: testHash},
		{Type: TypeClientConnect, Phase: 1, Dst: "ana", DstID: testID},
		{Type: TypeClientConnect, Phase: 3, Dst: "ana", DstID: testID},
		{Type: TypeClientCom, Dst: "ana", DstID: testID},
		{Type: TypeCommAck, Dst: "João", DstID: testID},
		{Type: TypeDisconnect},
		{Type: TypeDisconnect, Dst: "ana", DstID: testID},
		{Type: TypeAck},
		{Type: TypeError, Dst: "ana", DstID: testID, Code: NoConversation, Message: "it is not known"},
	},
	"relay": {
		{Type: TypeList, Answers: answers(0)},
		{Type: TypeList, Answers: answers(1<<63 - 1), Done: "ok"},
		{Type: TypeRelease, Answers: answers(7), Done: "ok"},
		{Type: TypeLetterTo, Answers: answers(7), Done: "ok"},
		{Type: TypeLetter, Answers: answers(7), Done: Kept, Until: 1},
		{Type: TypeLetter, Kind: LetterText, Identity: testHash, Left: 1},
		{Type: TypeLetter, Kind: LetterReceipt, Identity: testHash, Left: 1<<63 - 1},
		{Type: TypeLetterEnd, Mailbox: testHash, Left: 1},
		{Type: TypePeer, Name: "ana", ID: testID, Takes: TakesPipe, Done: Came},
		{Type: TypePeer, Name: "ana", ID: testID, Takes: TakesNone, Done: Left},
		{Type: TypeClientConnect, Phase: 2, Src: "ana", SrcID: testID, Dst: "bruno", DstID: testID},
		{Type: TypeClientCom, Src: "ana", SrcID: testID, Dst: "bruno", DstID: testID},
		{Type: TypeCommAck, Src: "ana", SrcID: testID, Dst: "bruno", DstID: testID},
		{Type: TypeDisconnect, Src: "ana", SrcID: testID},
		{Type: TypeDisconnect, Src: "ana", SrcID: testID, Dst: "bruno", DstID: testID},
		{Type: TypeAck},
		{Type: TypeAck, Answers: answers(3), DstID: testID},
		{Type: TypeError, Code: Shutdown, Message: "the relay is stopping"},
		{Type: TypeError, Answers: answers(3), DstID: testID, Code: Gone, Message: "it is not there"},
		{Type: TypeError, Src: "ana", SrcID: testID, Dst: "bruno", DstID: testID, Code: NotTaking, Message: "no"},
	},
}

var headerParsers = map[string]func([]byte) (*Header, error){"client": ParseClientHeader, "relay": ParseRelayHeader}

func TestHeadersOfEveryForm(t *testing.T) {
	for who, parse := range headerParsers {
		seen := make(map[string]bool)
		for _, h := range goodHeaders[who] {
			b := MustMarshal(&h)
			got, err := parse(b)
			if err != nil || !bytes.Equal(MustMarshal(got), b) {
				t.Errorf("%s: %s: %v", who, b, err)
			}
			seen[h.Type] = true
		}
		forms := fromClient
		if who == "relay" {
			forms = fromRelay
		}
		for typ := range maps.Keys(forms) {
			if !seen[typ] {
				t.Errorf("no %s of a %s is tried", typ, who)
			}
		}
	}
}

// Every field of every header is removed, and every other field added. The result is refused,
// unless it is another form of the type.
func TestHeaderFieldsMissingOrTooMany(t *testing.T) {
	set := []func(h *Header, on bool){
		func(h *Header, on bool) { h.Phase = pick(on, 1, 0) },
		func(h *Header, on bool) { h.Name = pick(on, "ana", "") },
		func(h *Header, on bool) { h.ID = pick(on, testID, "") },
		func(h *Header, on bool) { h.Takes = pick(on, TakesNone, "") },
		func(h *Header, on bool) { h.Watch = on },
		func(h *Header, on bool) { h.Src = pick(on, "ana", "") },
		func(h *Header, on bool) { h.SrcID = pick(on, testID, "") },
		func(h *Header, on bool) { h.Dst = pick(on, "ana", "") },
		func(h *Header, on bool) { h.DstID = pick(on, testID, "") },
		func(h *Header, on bool) { h.Done = pick(on, "ok", "") },
		func(h *Header, on bool) { h.Answers = pick(on, answers(1), nil) },
		func(h *Header, on bool) { h.Code = pick(on, Gone, "") },
		func(h *Header, on bool) { h.Message = pick(on, "x", "") },
		func(h *Header, on bool) { h.Kind = pick(on, LetterText, "") },
		func(h *Header, on bool) { h.Mailbox = pick(on, testHash, "") },
		func(h *Header, on bool) { h.Identity = pick(on, testHash, "") },
		func(h *Header, on bool) { h.Letter = pick(on, testHash, "") },
		func(h *Header, on bool) { h.Left = pick(on, int64(1), 0) },
		func(h *Header, on bool) { h.Until = pick(on, int64(1), 0) },
	}
	for who, parse := range headerParsers {
		good := make(map[string]map[fieldSet]bool)
		for _, h := range goodHeaders[who] {
			if good[h.Type] == nil {
				good[h.Type] = make(map[fieldSet]bool)
			}
			good[h.Type][h.fields()] = true
		}
		// Forms with optional fields that no example has alone.
		good[TypeList][fName], good[TypeList][fWatch] = who == "client", who == "client"
		if who == "relay" {
			for _, s := range []fieldSet{fCode | fMessage | fAnswers, fCode | fMessage | fDstID} {
				good[TypeError][s] = true
			}
		}
		for _, h := range goodHeaders[who] {
			for _, f := range set {
				for _, on := range []bool{false, true} {
					changed := h
					f(&changed, on)
					_, err := parse(MustMarshal(&changed))
					known := good[changed.Type][changed.fields()]
					if err == nil && !known {
						t.Errorf("%s: %s was taken", who, MustMarshal(&changed))
					}
					// The result is another form of the type, or the same one, which the new value
					// may not fit.
					if err != nil && known && changed.fields() != h.fields() {
						t.Errorf("%s: %s: %v", who, MustMarshal(&changed), err)
					}
				}
			}
		}
	}
}

func pick[T any](on bool, yes, no T) T {
	if on {
		return yes
	}
	return no
}

// Row 22: headers.
func TestRow22Headers(t *testing.T) {
	good := `{"type":"client-com","dst":"ana","dst-id":"` + testID + `"}`
	if _, err := ParseClientHeader([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for why, b := range map[string]string{
		"empty":              "",
		"null":               "null",
		"a number":           "1",
		"a list":             "[]",
		"deep nesting":       strings.Repeat(`{"type":`, 100_000),
		"deep lists":         strings.Repeat("[", 100_000),
		"bytes after":        good + "x",
		"two":                good + good,
		"a space":            strings.Replace(good, ",", ", ", 1),
		"a field twice":      strings.Replace(good, `"dst":"ana"`, `"dst":"ana","dst":"ana"`, 1),
		"another case":       strings.Replace(good, `"dst":`, `"dSt":`, 1),
		"another order":      `{"dst":"ana","dst-id":"` + testID + `","type":"client-com"}`,
		"an unknown field":   strings.Replace(good, `"dst":`, `"x":1,"dst":`, 1),
		"an empty field":     strings.Replace(good, `"dst":`, `"src":"","dst":`, 1),
		"an escape":          strings.Replace(good, "ana", `\u0061na`, 1),
		"invalid UTF-8":      strings.Replace(good, "ana", "an\xff", 1),
		"NUL":                strings.Replace(good, "ana", "an\x00", 1),
		"a name as a number": strings.Replace(good, `"ana"`, "7", 1),
		"a name with ESC":    strings.Replace(good, "ana", `an\u001b[2J`, 1),
		"a reserved name":    strings.Replace(good, "ana", "all", 1),
		"a long name":        strings.Replace(good, "ana", strings.Repeat("a", 10_000), 1),
		"id too short":       strings.Replace(good, testID, testID[1:], 1),
		"id too long":        strings.Replace(good, testID, testID+"0", 1),
		"id in capitals":     strings.Replace(good, testID, strings.ToUpper(testID), 1),
		"id with a path":     strings.Replace(good, testID, "../../etc/passwd", 1),
		"id with ESC":        strings.Replace(good, testID, `\u001b[2J0123456789a`, 1),
		"type unknown":       strings.Replace(good, "client-com", "shout", 1),
		"type missing":       `{"dst":"ana","dst-id":"` + testID + `"}`,
		"phase 0":            `{"type":"client-connect","phase":0,"dst":"ana","dst-id":"` + testID + `"}`,
		"phase 4":            `{"type":"client-connect","phase":4,"dst":"ana","dst-id":"` + testID + `"}`,
		"phase -1":           `{"type":"client-connect","phase":-1,"dst":"ana","dst-id":"` + testID + `"}`,
		"phase beyond int64": `{"type":"client-connect","phase":92233720368547758080,"dst":"ana","dst-id":"` + testID + `"}`,
		"phase 1.0":          `{"type":"client-connect","phase":1.0,"dst":"ana","dst-id":"` + testID + `"}`,
		"phase as text":      `{"type":"client-connect","phase":"1","dst":"ana","dst-id":"` + testID + `"}`,
		"watch false":        `{"type":"list","watch":false}`,
		"watch 1":            `{"type":"list","watch":1}`,
		"connect":            `{"type":"connect","phase":1}`,
		"secure":             `{"type":"secure"}`,
	} {
		_, err := ParseClientHeader([]byte(b))
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != Malformed {
			t.Errorf("%s: %v", why, err)
		}
	}
	for why, h := range map[string]Header{
		"answers beyond uint64": {},
		"a peer that dances":    {Type: TypePeer, Name: "ana", ID: testID, Takes: TakesNone, Done: "danced"},
		"a peer that takes all": {Type: TypePeer, Name: "ana", ID: testID, Takes: "all", Done: Came},
		"a list done halfway":   {Type: TypeList, Answers: answers(1), Done: "half"},
		"a list kept":           {Type: TypeList, Answers: answers(1), Done: Kept},
		"a letter ok":           {Type: TypeLetter, Answers: answers(1), Done: "ok", Until: 1},
		"a letter of no kind":   {Type: TypeLetter, Kind: "pipe", Identity: testHash, Left: 1},
		"a letter of nobody":    {Type: TypeLetter, Kind: LetterText, Identity: testHash[1:], Left: 1},
		"a letter from before":  {Type: TypeLetter, Kind: LetterText, Identity: testHash, Left: -1},
		"a letter kept before":  {Type: TypeLetter, Answers: answers(1), Done: Kept, Until: -1},
		"a mailbox in capitals": {Type: TypeLetterEnd, Mailbox: strings.ToUpper(testHash), Left: 1},
		"a long error":          {Type: TypeError, Code: Gone, Message: strings.Repeat("x", MaxMessage+1)},
		"a long code":           {Type: TypeError, Code: Code(strings.Repeat("x", 65)), Message: "x"},
	} {
		b := MustMarshal(&h)
		if h.Type == "" {
			b = []byte(`{"type":"ack","dst-id":"` + testID + `","answers":18446744073709551616}`)
		}
		if _, err := ParseRelayHeader(b); err == nil {
			t.Errorf("%s was taken", why)
		}
	}
}

// FuzzHeader: an accepted header is in its one form and has the fields of its type.
func FuzzHeader(f *testing.F) {
	for who, all := range goodHeaders {
		var good [][]byte
		for _, h := range all {
			good = append(good, MustMarshal(&h))
		}
		corpus.Add(f, func(b []byte) bool { _, err := headerParsers[who](b); return err == nil }, good)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for who, parse := range headerParsers {
			h, err := parse(b)
			if err != nil {
				if e, ok := errors.AsType[*Error](err); !ok || len(e.Message) > 2*MaxMessage {
					t.Fatalf("%s: %T of %d bytes", who, err, len(err.Error()))
				}
				continue
			}
			if again := MustMarshal(h); !bytes.Equal(again, b) {
				t.Fatalf("%s: %q was taken for %q", who, b, again)
			}
			for _, name := range []string{h.Name, h.Src, h.Dst} {
				if name != "" && CheckName(name) != nil {
					t.Fatalf("%s: the name %q was taken", who, name)
				}
			}
			for _, id := range []string{h.ID, h.SrcID, h.DstID} {
				if id != "" && !ValidConnID(id) {
					t.Fatalf("%s: the id %q was taken", who, id)
				}
			}
			for _, hash := range []string{h.Mailbox, h.Identity, h.Letter} {
				if hash != "" && !IsHex(hash, 32) {
					t.Fatalf("%s: the hash %q was taken", who, hash)
				}
			}
		}
	})
}
