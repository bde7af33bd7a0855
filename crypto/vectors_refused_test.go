package crypto

import (
	"slices"
	"strings"
	"testing"

	"chatsecure/proto"
)

// vectorName is a name as it is compared.
type vectorName struct {
	Name   string   `json:"name"`
	Folded string   `json:"folded"`
	Shapes []string `json:"shapes"` // sorted
}

// vectorHeader is the header of a line.
type vectorHeader struct {
	From   string `json:"from"` // client or relay
	Header string `json:"header"`
}

// vectorRefused is a header of a line that is refused.
type vectorRefused struct {
	Why string `json:"why"`
	vectorHeader
}

type vectorNotAName struct {
	Why  string `json:"why"`
	Name string `json:"name"`
}

type vectorNotAHeader struct {
	Why    string `json:"why"`
	Header string `json:"header"`
}

func (v *vectors) names(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"bob", "Bob", "b0b", "8ob", "ana.maria_2-x", "Illinois", "l111nois", "modern", "rnodern", "wind", "vvind", "dora", "clora",
		"João", "joao", "Straße", "strasse", "STRAẞE", "İpek", "ıpek", "Łukasz", "Þór", "Ağaoğlu", "ÆØÅ",
		"Άννα", "ΑΝΝΑ", "Ελένη", "Μαρία", "Σίσυφος", "Андрей", "андреи", "сора", "copa", "Магіа", "Հայկ", "აბგ", "ᲐᲑᲒ", "דוד",
		"مريم", "مریم", "user١", "user१", "አበበ", "김철수", "김哲洙", "ㄅㄆ王", "佐々木", "コーヒー", "べり", "ベリ", "日", "曰", "𠀀", strings.Repeat("é", 32), strings.Repeat("a.", 15) + "-a",
	} {
		Must(t, proto.CheckName(name))
		folded := proto.FoldName(name)
		v.Name = append(v.Name, vectorName{name, folded, slices.Sorted(slices.Values(proto.Shapes(folded)))})
	}
	for _, n := range []vectorNotAName{
		{"it is empty", ""}, {"33 letters", strings.Repeat("é", 33)}, {"33 characters", strings.Repeat("a.", 16) + "a"}, {"it begins with a period", ".bob"}, {"it ends with a hyphen", "bob-"},
		{"a space", "bob smith"}, {"a letter and a combining mark", "Jose\u0301"}, {"a control character", "bob\u0007"}, {"an emoji", "bob😀"},
		{"a number that is no digit", "bob²"}, {"a Hangul filler", "김\u3164수"}, {"Latin and Cyrillic", "p\u0430ypal"}, {"Han and Latin", "漢字abc"},
		{"Hangul and Katakana", "김タ"}, {"a modifier letter", "anaᵃ"}, {"a letter in no range", "ᎪᎡ"}, {"mathematical letters", "𝐚𝐧𝐚"},
		{"a full width letter", "ｂｏｂ"}, {"a Latin letter that is not of the table", "aliƈe"}, {"a long s", "laſſe"}, {"the Kelvin sign", "\u212aira"},
		{"128 shapes", "ηνμυηνμ"}, {"128 shapes of letters with marks", "ήνμύήνμ"}, {"a word of the prompt", "List"}, {"it looks like client", "c1ient"},
		{"it looks like client", "dient"}, {"it looks like relay", "Relaу"}, {"it looks like relay", "гelay"}, {"it is relay", "RELAY"},
	} {
		if proto.CheckName(n.Name) == nil {
			t.Errorf("the name %q, %s: taken", n.Name, n.Why)
		}
		v.NotNames = append(v.NotNames, n)
	}
}

// headers has a header of each form, and some that are refused.
func (v *vectors) headers(t *testing.T) {
	t.Helper()
	parse := map[string]func([]byte) (*proto.Header, error){"client": proto.ParseClientHeader, "relay": proto.ParseRelayHeader}
	const dst, src = `"dst":"Bob","dst-id":"b0b0b0b0b0b0b0b0"`, `"src":"alice","src-id":"a0a0a0a0a0a0a0a0"`
	hash := strings.Repeat("0123456789abcdef", 4)
	for _, h := range []vectorHeader{
		{"client", `{"type":"list"}`}, {"client", `{"type":"list","name":"bob","watch":true}`},
		{"client", `{"type":"release"}`}, {"client", `{"type":"release","mailbox":"` + hash + `"}`}, {"client", `{"type":"letter-to","name":"bob"}`},
		{"client", `{"type":"letter","kind":"text","identity":"` + hash + `"}`}, {"client", `{"type":"letter-ack","done":"later","letter":"` + hash + `"}`}, {"client", `{"type":"client-connect","phase":1,` + dst + `}`}, {"client", `{"type":"client-com",` + dst + `}`},
		{"client", `{"type":"comm-ack",` + dst + `}`}, {"client", `{"type":"client-disconnect",` + dst + `}`}, {"client", `{"type":"client-disconnect"}`},
		{"client", `{"type":"ack"}`}, {"client", `{"type":"error",` + dst + `,"code":"busy","message":"later"}`},
		{"relay", `{"type":"list","answers":0}`}, {"relay", `{"type":"list","done":"ok","answers":9223372036854775807}`},
		{"relay", `{"type":"release","done":"ok","answers":3}`}, {"relay", `{"type":"letter-to","done":"ok","answers":3}`},
		{"relay", `{"type":"letter","done":"kept","answers":3,"until":1796136527000}`},
		{"relay", `{"type":"letter","kind":"receipt","identity":"` + hash + `","left":1796136527000}`},
		{"relay", `{"type":"letter-end","mailbox":"` + hash + `","left":1796136527000}`},
		{"relay", `{"type":"peer","name":"João","id":"b0b0b0b0b0b0b0b0","takes":"pipe","done":"left"}`},
		{"relay", `{"type":"client-connect","phase":3,` + src + `,` + dst + `}`}, {"relay", `{"type":"client-com",` + src + `,` + dst + `}`},
		{"relay", `{"type":"comm-ack",` + src + `,` + dst + `}`}, {"relay", `{"type":"client-disconnect",` + src + `,` + dst + `}`},
		{"relay", `{"type":"client-disconnect",` + src + `}`}, {"relay", `{"type":"ack"}`},
		{"relay", `{"type":"ack","dst-id":"b0b0b0b0b0b0b0b0","answers":4}`}, {"relay", `{"type":"error","code":"shutdown","message":"it stops"}`},
		{"relay", `{"type":"error","dst-id":"b0b0b0b0b0b0b0b0","answers":4,"code":"gone","message":"it is not there"}`},
		{"relay", `{"type":"error",` + src + `,` + dst + `,"code":"busy","message":"later"}`},
	} {
		if _, err := parse[h.From]([]byte(h.Header)); err != nil {
			t.Errorf("a header from the %s: %s: %v", h.From, h.Header, err)
		}
		v.Header = append(v.Header, h)
	}
	for _, r := range []vectorRefused{
		{"a type that is not known", vectorHeader{"client", `{"type":"hello"}`}},
		{"a type of the relay's", vectorHeader{"client", `{"type":"peer","name":"bob","id":"b0b0b0b0b0b0b0b0","takes":"pipe","done":"left"}`}},
		{"a space", vectorHeader{"client", `{"type": "ack"}`}},
		{"a newline at the end", vectorHeader{"client", "{\"type\":\"ack\"}\n"}},
		{"another order", vectorHeader{"client", `{"type":"list","watch":true,"name":"bob"}`}},
		{"a field doubled", vectorHeader{"client", `{"type":"list","name":"bob","name":"bob"}`}},
		{"a field that is not known", vectorHeader{"client", `{"type":"list","name":"bob","names":"all"}`}},
		{"a field in another case", vectorHeader{"client", `{"type":"list","Name":"bob"}`}},
		{"a needless escape", vectorHeader{"client", `{"type":"list","name":"\u0062ob"}`}},
		{"null", vectorHeader{"client", `{"type":"list","name":null}`}},
		{"an empty field", vectorHeader{"client", `{"type":"list","name":""}`}},
		{"watch is false", vectorHeader{"client", `{"type":"list","watch":false}`}},
		{"a field too many", vectorHeader{"client", `{"type":"release","name":"bob"}`}},
		{"src, which the relay sets", vectorHeader{"client", `{"type":"client-com",` + src + `,` + dst + `}`}},
		{"no dst-id", vectorHeader{"client", `{"type":"client-com","dst":"Bob"}`}},
		{"no dst", vectorHeader{"client", `{"type":"comm-ack","dst-id":"b0b0b0b0b0b0b0b0"}`}},
		{"no src", vectorHeader{"relay", `{"type":"client-com",` + dst + `}`}},
		{"a phase of 0", vectorHeader{"client", `{"type":"client-connect","phase":0,` + dst + `}`}},
		{"a phase of 4", vectorHeader{"client", `{"type":"client-connect","phase":4,` + dst + `}`}},
		{"a phase in quotes", vectorHeader{"client", `{"type":"client-connect","phase":"1",` + dst + `}`}},
		{"a connection id in capitals", vectorHeader{"client", `{"type":"client-com","dst":"Bob","dst-id":"B0B0B0B0B0B0B0B0"}`}},
		{"a connection id of 15 digits", vectorHeader{"client", `{"type":"client-com","dst":"Bob","dst-id":"b0b0b0b0b0b0b0b"}`}},
		{"a name that is none", vectorHeader{"client", `{"type":"list","name":"bob-"}`}},
		{"a dst that is no name", vectorHeader{"client", `{"type":"client-com","dst":"all","dst-id":"b0b0b0b0b0b0b0b0"}`}},
		{"takes of another kind", vectorHeader{"relay", `{"type":"peer","name":"bob","id":"b0b0b0b0b0b0b0b0","takes":"letters","done":"came"}`}},
		{"a peer that is done", vectorHeader{"relay", `{"type":"peer","name":"bob","id":"b0b0b0b0b0b0b0b0","takes":"pipe","done":"ok"}`}},
		{"a list that came", vectorHeader{"relay", `{"type":"list","done":"came","answers":0}`}},
		{"no answers", vectorHeader{"relay", `{"type":"list","done":"ok"}`}},
		{"answers below 0", vectorHeader{"relay", `{"type":"list","answers":-1}`}},
		{"answers beyond 2^63 - 1", vectorHeader{"relay", `{"type":"list","answers":9223372036854775808}`}},
		{"answers with an exponent", vectorHeader{"relay", `{"type":"list","answers":1e1}`}},
		{"a letter of another kind", vectorHeader{"client", `{"type":"letter","kind":"pipe","identity":"` + hash + `"}`}},
		{"a letter for nobody", vectorHeader{"client", `{"type":"letter","kind":"text"}`}},
		{"a letter that is kept and handed out", vectorHeader{"relay", `{"type":"letter","done":"kept","answers":3,"kind":"text"}`}},
		{"a letter that is done, and not kept", vectorHeader{"relay", `{"type":"letter","done":"ok","answers":3,"until":1796136527000}`}},
		{"a letter that was answered in another way", vectorHeader{"client", `{"type":"letter-ack","done":"kept","letter":"` + hash + `"}`}},
		{"the id of a letter in capitals", vectorHeader{"client", `{"type":"letter-ack","done":"later","letter":"` + strings.ToUpper(hash) + `"}`}},
		{"a mailbox of 63 digits", vectorHeader{"relay", `{"type":"letter-end","mailbox":"` + hash[1:] + `","left":1796136527000}`}},
		{"left at 0", vectorHeader{"relay", `{"type":"letter-end","mailbox":"` + hash + `","left":0}`}},
		{"until below 0", vectorHeader{"relay", `{"type":"letter","done":"kept","answers":3,"until":-1}`}},
		{"an error without a code", vectorHeader{"relay", `{"type":"error","message":"no"}`}},
		{"an error without a message", vectorHeader{"client", `{"type":"error",` + dst + `,"code":"busy"}`}},
		{"a code of 65 bytes", vectorHeader{"relay", `{"type":"error","code":"` + strings.Repeat("a", 65) + `","message":"no"}`}},
		{"a message of 1,025 bytes", vectorHeader{"relay", `{"type":"error","code":"busy","message":"` + strings.Repeat("a", 1025) + `"}`}},
	} {
		if _, err := parse[r.From]([]byte(r.Header)); err == nil {
			t.Errorf("a header from the %s, %s: taken", r.From, r.Why)
		}
		v.NotHeaders = append(v.NotHeaders, r)
	}
}

// messageHeaders has headers of messages that are refused. good is one that is not.
func (v *vectors) messageHeaders(t *testing.T, good string) {
	t.Helper()
	digest := good[strings.Index(good, `,"digest"`) : len(good)-1]
	for _, test := range []struct{ why, old, new string }{
		{"another direction", `"AB"`, `"ab"`},
		{"another kind", `"text"`, `"letter"`},
		{"a conversation of 31 bytes", `"conversation":"`, `"conversation":"FhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNA==","was":"`},
		{"an empty random", `"random":"`, `"random":"","was":"`},
		{"a time below 0", `"time":`, `"time":-`},
		{"n beyond 2^63 - 1", `"n":7`, `"n":9223372036854775808`},
		{"a step in another place", `"direction":"AB"`, `"direction":"AB","step":{"enc":"","key":""}`},
		{"a text with the first seq 0", `"seq":1`, `"seq":0`},
		{"a text without records", `"count":3`, `"count":0`},
		{"a text of 1,025 records", `"count":3`, `"count":1025`},
		{"a text without a digest", digest, ``},
		{"a receipt with a seq", `"text"`, `"receipt"`},
		{"a pipe with a digest", `"kind":"text"`, `"kind":"pipe"`},
		{"an end with a count", `"kind":"text"`, `"kind":"end"`},
		{"a space at the end", digest + `}`, digest + `} `},
	} {
		bad := strings.Replace(good, test.old, test.new, 1)
		switch before, after, found := strings.Cut(bad, `","was":"`); {
		case found:
			_, rest, _ := strings.Cut(after, `"`)
			bad = before + `"` + rest
		case strings.Contains(bad, `"pipe"`):
			bad = strings.NewReplacer(`"seq":1`, `"seq":0`, `"count":3`, `"count":0`).Replace(bad)
		case strings.Contains(bad, `"receipt"`):
			bad = strings.Replace(bad, `"count":3`, `"count":0`, 1)
		}
		if bad == good {
			t.Fatalf("%s: nothing changed in %s", test.why, good)
		}
		if _, err := ParseMessageHeader([]byte(bad)); err == nil {
			t.Errorf("a message's header, %s: taken", test.why)
		}
		v.NotMessageHeaders = append(v.NotMessageHeaders, vectorNotAHeader{test.why, bad})
	}
}
