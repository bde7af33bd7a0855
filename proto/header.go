package proto

import (
	"crypto/sha256"
	"slices"
)

// The header types, as the original of 2016 calls them. PROTOCOL.md, "Requests
// and routing".
const (
	TypeConnect       = "connect"
	TypeList          = "list"
	TypeClientConnect = "client-connect"
	TypeClientCom     = "client-com"
	TypeCommAck       = "comm-ack"
	TypeDisconnect    = "client-disconnect"
	TypeAck           = "ack"
	TypeError         = "error"
	TypePeer          = "peer"
	TypeRelease       = "release"
	TypeLetterTo      = "letter-to"
	TypeLetter        = "letter"
	TypeLetterAck     = "letter-ack"
	TypeLetterEnd     = "letter-end"
)

// The kinds of message that a connection takes, as it says in connect phase 3.
const (
	TakesMessages = "messages"
	TakesPipe     = "pipe"
	TakesNone     = "none"
)

// The values of `done` in a peer header.
const (
	Came = "came"
	Left = "left"
)

// The kinds of letter.
const (
	LetterText    = "text"
	LetterReceipt = "receipt"
)

// The values of `done` about letters: the relay's answer, and the receiver's.
const (
	Kept    = "kept"
	Stored  = "stored"  // it is in the history; the relay erases it
	Refused = "refused" // for good; the relay erases it
	Later   = "later"   // the relay keeps it for another connection
)

// Header is the first line of a payload, in canonical JSON. The tables below fix
// the fields of each type; one too many or too few is refused.
type Header struct {
	Type     string  `json:"type"`
	Phase    int     `json:"phase,omitempty"`
	Name     string  `json:"name,omitempty"`
	ID       string  `json:"id,omitempty"` // a connection id
	Takes    string  `json:"takes,omitempty"`
	Watch    bool    `json:"watch,omitempty"`
	Src      string  `json:"src,omitempty"`
	SrcID    string  `json:"src-id,omitempty"`
	Dst      string  `json:"dst,omitempty"`
	DstID    string  `json:"dst-id,omitempty"`
	Done     string  `json:"done,omitempty"`
	Answers  *uint64 `json:"answers,omitempty"` // seq of the secure line that this answers
	Code     Code    `json:"code,omitempty"`
	Message  string  `json:"message,omitempty"`
	Kind     string  `json:"kind,omitempty"`     // of a letter
	Mailbox  string  `json:"mailbox,omitempty"`  // its hash, hex
	Identity string  `json:"identity,omitempty"` // of a letter's receiver or, once it is handed out, its sender; hex
	Letter   string  `json:"letter,omitempty"`   // its id, hex
	Left     int64   `json:"left,omitempty"`     // when a letter came, by the relay's clock; Unix milliseconds
	Until    int64   `json:"until,omitempty"`    // how long the relay keeps it, Unix milliseconds
}

type fieldSet uint32

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
	fKind
	fMailbox
	fIdentity
	fLetter
	fLeft
	fUntil
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
		{h.Kind != "", fKind}, {h.Mailbox != "", fMailbox}, {h.Identity != "", fIdentity}, {h.Letter != "", fLetter},
		{h.Left != 0, fLeft}, {h.Until != 0, fUntil},
	} {
		if f.set {
			s |= f.bit
		}
	}
	return s
}

// A form is the fields that a header must have and may have.
type form struct{ must, may fieldSet }

const (
	toPeer   = fDst | fDstID
	fromPeer = toPeer | fSrc | fSrcID
)

// fromClient and fromRelay are the forms in the two directions. A type may have
// two: an error is a peer's or the relay's, a letter is kept or handed out.
var fromClient = map[string][]form{
	TypeList:          {{may: fName | fWatch}},
	TypeRelease:       {{may: fMailbox}},
	TypeLetterTo:      {{must: fName}},
	TypeLetter:        {{must: fKind | fIdentity}},
	TypeLetterAck:     {{must: fDone | fLetter}},
	TypeClientConnect: {{must: toPeer | fPhase}},
	TypeClientCom:     {{must: toPeer}},
	TypeCommAck:       {{must: toPeer}},
	TypeDisconnect:    {{}, {must: toPeer}},
	TypeAck:           {{}},
	TypeError:         {{must: toPeer | fCode | fMessage}},
}

var fromRelay = map[string][]form{
	TypeList:          {{must: fAnswers, may: fDone}},
	TypeRelease:       {{must: fAnswers | fDone}},
	TypeLetterTo:      {{must: fAnswers | fDone}},
	TypeLetter:        {{must: fAnswers | fDone | fUntil}, {must: fKind | fIdentity | fLeft}},
	TypeLetterEnd:     {{must: fMailbox | fLeft}},
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
	if err := Unmarshal(b, &h); err != nil {
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

// check refuses bad values.
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
	for _, hash := range [...]string{h.Mailbox, h.Identity, h.Letter} {
		if hash != "" && !IsHex(hash, sha256.Size) {
			return Errorf(Malformed, "a %s header with a hash that is none", h.Type)
		}
	}
	switch {
	case h.Type == TypeClientConnect && (h.Phase < 1 || h.Phase > 3):
		return Errorf(Malformed, "an unknown client-connect phase %d", h.Phase)
	case h.Takes != "" && !ValidTakes(h.Takes):
		return Errorf(Malformed, "a peer that takes %.20q", h.Takes)
	case h.Kind != "" && h.Kind != LetterText && h.Kind != LetterReceipt:
		return Errorf(Malformed, "a letter of an unknown kind")
	case h.Left < 0 || h.Until < 0:
		return Errorf(Malformed, "a %s header with a time before 1970", h.Type)
	case h.Done != "" && !slices.Contains(doneOf(h.Type), h.Done):
		return Errorf(Malformed, "a %s header with an unknown done", h.Type)
	case len(h.Message) > MaxMessage || len(h.Code) > MaxCode:
		return Errorf(TooLong, "an error longer than %d bytes", MaxMessage)
	}
	return nil
}

// doneOf returns the values of `done` that a type may have.
func doneOf(typ string) []string {
	switch typ {
	case TypePeer:
		return []string{Came, Left}
	case TypeLetter:
		return []string{Kept}
	case TypeLetterAck:
		return []string{Stored, Refused, Later}
	}
	return []string{"ok"}
}

// ConnIDLen is the length of a connection id: 16 lower-case hex digits, which
// the relay draws at random and never uses again.
const ConnIDLen = 16

// ValidConnID reports whether s has the form of a connection id.
func ValidConnID(s string) bool { return IsHex(s, ConnIDLen/2) }

// ValidTakes reports whether s is a kind of message that a connection takes.
func ValidTakes(s string) bool {
	return s == TakesMessages || s == TakesPipe || s == TakesNone
}

// Listed is one connection in the body of a list answer, a JSON array.
type Listed struct {
	Name     string `json:"name"`
	ID       string `json:"id"`
	Takes    string `json:"takes"`
	Since    int64  `json:"since"`             // Unix seconds
	Identity string `json:"identity"`          // hex; the relay's claim, without proof
	Letters  bool   `json:"letters,omitempty"` // its device takes letters
}
