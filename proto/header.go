package proto

import (
	"bytes"
	"encoding/base64"

	"chatsecure/canon"
)

// The header types, in the words of 2016.
const (
	TypeConnect       = "connect"
	TypeList          = "list"
	TypeWhoisGet      = "whois-get"
	TypeWhoisResponse = "whois-response"
	TypeClientConnect = "client-connect"
	TypeClientCom     = "client-com"
	TypeCommAck       = "comm-ack"
	TypeDisconnect    = "client-disconnect"
	TypeAck           = "ack"
	TypeError         = "error"
	TypePeer          = "peer"
	TypeRelease       = "release"
)

// What a connection takes, told in connect phase 3.
const (
	TakesMessages = "messages"
	TakesPipe     = "pipe"
	TakesNone     = "none"
)

// Came and Left are the two things a peer line can say in `done`.
const (
	Came = "came"
	Left = "left"
)

// Header is the first line inside a secure line's payload, as canonical JSON.
// Which fields a type has is fixed by the tables below; a field too many or
// too few is refused.
type Header struct {
	Type    string  `json:"type"`
	Phase   int     `json:"phase,omitempty"`
	Name    string  `json:"name,omitempty"`
	ID      string  `json:"id,omitempty"` // a connection id
	Takes   string  `json:"takes,omitempty"`
	Watch   bool    `json:"watch,omitempty"`
	Src     string  `json:"src,omitempty"`
	SrcID   string  `json:"src-id,omitempty"`
	Dst     string  `json:"dst,omitempty"`
	DstID   string  `json:"dst-id,omitempty"`
	Done    string  `json:"done,omitempty"`
	Answers *uint64 `json:"answers,omitempty"` // the seq of the secure line that this answers
	Code    Code    `json:"code,omitempty"`
	Message string  `json:"message,omitempty"`
}

type fieldSet uint16

const (
	fPhase fieldSet = 1 << iota
	fName
	fID
	fTakes
	fWatch
	fSrc
	fSrcID
	fDst
	fDstID
	fDone
	fAnswers
	fCode
	fMessage
)

func (h *Header) fields() fieldSet {
	var s fieldSet
	for _, f := range [...]struct {
		set bool
		bit fieldSet
	}{
		{h.Phase != 0, fPhase}, {h.Name != "", fName}, {h.ID != "", fID}, {h.Takes != "", fTakes}, {h.Watch, fWatch},
		{h.Src != "", fSrc}, {h.SrcID != "", fSrcID}, {h.Dst != "", fDst}, {h.DstID != "", fDstID},
		{h.Done != "", fDone}, {h.Answers != nil, fAnswers}, {h.Code != "", fCode}, {h.Message != "", fMessage},
	} {
		if f.set {
			s |= f.bit
		}
	}
	return s
}

// A form is the fields that a type must have and may have.
type form struct{ must, may fieldSet }

const (
	toPeer   = fDst | fDstID
	fromPeer = toPeer | fSrc | fSrcID
)

// fromClient and fromRelay are the forms in the two directions. A type with
// two forms (an error may be a peer's or the relay's) has both.
var fromClient = map[string][]form{
	TypeList:          {{may: fName | fWatch}},
	TypeWhoisGet:      {{must: fName}},
	TypeRelease:       {{}},
	TypeClientConnect: {{must: toPeer | fPhase}},
	TypeClientCom:     {{must: toPeer}},
	TypeCommAck:       {{must: toPeer}},
	TypeDisconnect:    {{}, {must: toPeer}},
	TypeAck:           {{}},
	TypeError:         {{must: toPeer | fCode | fMessage}},
}

var fromRelay = map[string][]form{
	TypeList:          {{must: fAnswers, may: fDone}},
	TypeWhoisResponse: {{must: fAnswers | fName}},
	TypeRelease:       {{must: fAnswers | fDone}},
	TypePeer:          {{must: fName | fID | fTakes | fDone}},
	TypeClientConnect: {{must: fromPeer | fPhase}},
	TypeClientCom:     {{must: fromPeer}},
	TypeCommAck:       {{must: fromPeer}},
	TypeDisconnect:    {{must: fSrc | fSrcID}, {must: fromPeer}},
	TypeAck:           {{}, {must: fAnswers | fDstID}},
	TypeError:         {{must: fCode | fMessage, may: fAnswers | fDstID}, {must: fromPeer | fCode | fMessage}},
}

// ParseClientHeader decodes a header that a client sent to the relay.
func ParseClientHeader(b []byte) (*Header, error) { return parseHeader(b, fromClient) }

// ParseRelayHeader decodes a header that the relay sent to a client.
func ParseRelayHeader(b []byte) (*Header, error) { return parseHeader(b, fromRelay) }

func parseHeader(b []byte, forms map[string][]form) (*Header, error) {
	var h Header
	if err := canon.Unmarshal(b, &h); err != nil {
		return nil, Errorf(Malformed, "a header that is not canonical JSON: %v", err)
	}
	allowed, ok := forms[h.Type]
	if !ok {
		return nil, Errorf(Malformed, "an unknown message type %.40q", h.Type)
	}
	have := h.fields()
	for _, f := range allowed {
		if have&f.must == f.must && have&^(f.must|f.may) == 0 {
			return &h, h.check()
		}
	}
	return nil, Errorf(Malformed, "a %s header with fields missing or too many", h.Type)
}

// check looks at the values that have a form of their own.
func (h *Header) check() error {
	for _, id := range [...]string{h.ID, h.SrcID, h.DstID} {
		if id != "" && !ValidConnID(id) {
			return Errorf(Malformed, "a %s header with a connection id that is none", h.Type)
		}
	}
	for _, name := range [...]string{h.Name, h.Src, h.Dst} {
		if name != "" && CheckName(name) != nil {
			return Errorf(Malformed, "a %s header with a name that is none", h.Type)
		}
	}
	switch {
	case h.Type == TypeClientConnect && (h.Phase < 1 || h.Phase > 3):
		return Errorf(Malformed, "an unknown client-connect phase %d", h.Phase)
	case h.Takes != "" && !ValidTakes(h.Takes):
		return Errorf(Malformed, "a peer that takes %.20q", h.Takes)
	case h.Type == TypePeer && h.Done != Came && h.Done != Left, h.Type != TypePeer && h.Done != "" && h.Done != "ok":
		return Errorf(Malformed, "a %s header with an unknown done", h.Type)
	case len(h.Message) > MaxMessage || len(h.Code) > MaxCode:
		return Errorf(TooLong, "an error longer than %d bytes", MaxMessage)
	}
	return nil
}

// MaxMessage bounds the sentence of an error in bytes, MaxCode its code.
const (
	MaxMessage = 1 << 10
	MaxCode    = 64
)

// ConnIDLen is the length of a connection id: 16 lower-case hex digits, drawn
// at random by the relay and never used again by it.
const ConnIDLen = 16

// ValidConnID tells whether s has the form of a connection id.
func ValidConnID(s string) bool {
	if len(s) != ConnIDLen {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// ValidTakes tells whether s is one of the three things a connection takes.
func ValidTakes(s string) bool {
	return s == TakesMessages || s == TakesPipe || s == TakesNone
}

// AppendPayload appends header line, signature line (empty without one) and
// body to dst: the plaintext of a secure line.
func AppendPayload(dst, header, signature, body []byte) []byte {
	dst = append(dst, header...)
	dst = append(dst, '\n')
	dst = base64.StdEncoding.AppendEncode(dst, signature)
	dst = append(dst, '\n')
	return append(dst, body...)
}

// SplitPayload takes a payload apart. The parts share its memory, but for the
// signature, which is nil where its line is empty.
func SplitPayload(payload []byte) (header, signature, body []byte, err error) {
	header, rest, ok := bytes.Cut(payload, newline)
	if !ok {
		return nil, nil, nil, Errorf(Malformed, "a payload without a header line")
	}
	sig, body, ok := bytes.Cut(rest, newline)
	if !ok {
		return nil, nil, nil, Errorf(Malformed, "a payload without a signature line")
	}
	if len(sig) > 0 {
		signature = make([]byte, decodedLen(sig))
		if !decodeExact(signature, sig) {
			return nil, nil, nil, Errorf(Malformed, "a signature line that is not base64")
		}
	}
	return header, signature, body, nil
}

var newline = []byte("\n")

// A Route is a header that is only forwarded, as the relay's hot path sees it:
// what ParseClientHeader would give, without its allocations. That name and id
// are such is not checked: the relay compares them with those it knows.
type Route struct {
	typ, Dst, DstID []byte
}

// ScanRoute recognises the two forwarded headers that fill a busy line, in
// their canonical form with a plain name:
//
//	{"type":"client-com","dst":"NAME","dst-id":"ID"}
//	{"type":"comm-ack","dst":"NAME","dst-id":"ID"}
//
// What it does not recognise goes through ParseClientHeader.
func ScanRoute(header []byte) (r Route, ok bool) {
	rest, ok := bytes.CutPrefix(header, routeType)
	if !ok {
		return r, false
	}
	switch {
	case bytes.HasPrefix(rest, routeCom):
		r.typ, rest = rest[:len(TypeClientCom)], rest[len(routeCom):]
	case bytes.HasPrefix(rest, routeAck):
		r.typ, rest = rest[:len(TypeCommAck)], rest[len(routeAck):]
	default:
		return r, false
	}
	end := bytes.IndexByte(rest, '"')
	if end <= 0 || end > 4*maxName {
		return r, false
	}
	for _, c := range rest[:end] {
		if !plainNameByte(c) {
			return r, false
		}
	}
	r.Dst, rest = rest[:end], rest[end:]
	rest, ok = bytes.CutPrefix(rest, routeDstID)
	if !ok || len(rest) != ConnIDLen+len(secureSuffix) || string(rest[ConnIDLen:]) != secureSuffix {
		return r, false
	}
	r.DstID = rest[:ConnIDLen]
	return r, true
}

var (
	routeType  = []byte(`{"type":"`)
	routeCom   = []byte(TypeClientCom + `","dst":"`)
	routeAck   = []byte(TypeCommAck + `","dst":"`)
	routeDstID = []byte(`","dst-id":"`)
)

// AppendStamped appends the header that the destination sees: the route with
// who it came from, which only the relay says.
func AppendStamped(dst []byte, r Route, src, srcID string) []byte {
	dst = append(dst, routeType...)
	dst = append(dst, r.typ...)
	dst = append(dst, `","src":"`...)
	dst = append(dst, src...)
	dst = append(dst, `","src-id":"`...)
	dst = append(dst, srcID...)
	dst = append(dst, `","dst":"`...)
	dst = append(dst, r.Dst...)
	dst = append(dst, routeDstID...)
	dst = append(dst, r.DstID...)
	return append(dst, secureSuffix...)
}
