package proto

import (
	"bytes"
	"fmt"
)

// The lines of the connect handshake. PROTOCOL.md, "Connect".

// Connect1 is phase 1, client to relay. It names no person.
type Connect1 struct {
	Type    string   `json:"type"`
	Phase   int      `json:"phase"`
	Ciphers []string `json:"ciphers"`
	Data    []byte   `json:"data"` // 32 random bytes
}

// Connect2 is phase 2, relay to client.
type Connect2 struct {
	Type      string `json:"type"`
	Phase     int    `json:"phase"`
	Cipher    string `json:"cipher"`
	Data      []byte `json:"data"`       // ephemeral KEM public key
	PublicKey []byte `json:"public_key"` // SPKI of the relay's identity key
	Signature []byte `json:"signature"`
}

// Connect3 is phase 3, client to relay.
type Connect3 struct {
	Type    string `json:"type"`
	Phase   int    `json:"phase"`
	Data    []byte `json:"data"`    // KEM encapsulation
	Payload []byte `json:"payload"` // name, what the client takes, bundle and signature, sealed
}

// Connect4 is phase 4, relay to client.
type Connect4 struct {
	Type    string `json:"type"`
	Phase   int    `json:"phase"`
	Payload []byte `json:"payload"` // a Welcome, sealed
}

// Welcome is the payload of phase 4: either done and the connection id, or an
// error.
type Welcome struct {
	Done  string `json:"done,omitempty"`
	ID    string `json:"id,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// ClearError is an error line from before there is a key. It proves nothing: a
// client may only show it, as words of the other end.
type ClearError struct {
	Type    string `json:"type"` // "error"
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Error returns the sentence.
func (c *ClearError) Error() string { return c.Message }

// Unwrap returns the line's error.
func (c *ClearError) Unwrap() error { return &Error{Code: c.Code, Message: c.Message} }

// ReadWelcome decodes the opened payload of phase 4. It returns the connection
// id, or the relay's refusal.
func ReadWelcome(opened []byte) (id string, refusal *Error, err error) {
	var w Welcome
	if err := Unmarshal(opened, &w); err == nil {
		switch {
		case w.Error != nil && inBounds(w.Error.Code, w.Error.Message) && w.Done == "" && w.ID == "":
			return "", w.Error, nil
		case w.Error == nil && w.Done == "ok" && ValidConnID(w.ID):
			return w.ID, nil, nil
		}
	}
	return "", nil, Errorf(Malformed, "the sealed part of connect phase 4 is malformed")
}

// ReadConnect decodes a connect line of this phase into v, one of the ConnectN
// types. An error line is a *ClearError.
func ReadConnect(line []byte, phase int, v any) error {
	if bytes.HasPrefix(line, []byte(`{"type":"error"`)) {
		var c ClearError
		err := Unmarshal(line, &c)
		if err != nil || !inBounds(c.Code, c.Message) {
			return Errorf(Malformed, "an error line that cannot be read")
		}
		return &c
	}
	if v, ok := v.(*Connect3); ok && phase == 3 && scanConnect3(line, v) {
		return nil
	}
	if err := Unmarshal(line, v); err != nil {
		return Errorf(Malformed, "connect phase %d is not in its canonical form", phase)
	}
	if v, ok := v.(*Connect1); ok && (len(v.Data) != RandomSize || len(v.Ciphers) == 0 || len(v.Ciphers) > MaxCiphers) {
		return Errorf(Malformed, "connect phase 1 needs ciphers and %d random bytes", RandomSize)
	}
	// Type and phase are the first fields of the canonical form.
	if !bytes.HasPrefix(line, fmt.Appendf(nil, `{"type":"connect","phase":%d,`, phase)) {
		return Errorf(Unexpected, "connect phase %d was expected", phase)
	}
	return nil
}

const (
	connect3Data    = `{"type":"connect","phase":3,"data":"`
	connect3Payload = `","payload":"`
	connect3End     = `"}`
)

// scanConnect3 decodes connect phase 3 in its canonical form, and reports
// whether it was that. The payload has a client's certificates: in
// encoding/json it took a tenth of a handshake's time in the relay.
func scanConnect3(line []byte, v *Connect3) bool {
	rest, ok := bytes.CutPrefix(line, []byte(connect3Data))
	if !ok {
		return false
	}
	data, rest, ok := bytes.Cut(rest, []byte(connect3Payload))
	if !ok {
		return false
	}
	payload, ok := bytes.CutSuffix(rest, []byte(connect3End))
	if !ok {
		return false
	}
	enc, ok := DecodeBase64([]byte{}, data)
	if !ok {
		return false
	}
	hello, ok := DecodeBase64([]byte{}, payload)
	if !ok {
		return false
	}
	*v = Connect3{Type: TypeConnect, Phase: 3, Data: enc, Payload: hello}
	return true
}
