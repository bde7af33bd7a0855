package proto

import (
	"bytes"

	"chatsecure/canon"
)

// Connect1 is connect phase 1, client to relay: nothing in it names a person.
type Connect1 struct {
	Type    string   `json:"type"`
	Phase   int      `json:"phase"`
	Ciphers []string `json:"ciphers"`
	Data    []byte   `json:"data"` // 32 random bytes
}

// Connect2 is connect phase 2, relay to client.
type Connect2 struct {
	Type      string `json:"type"`
	Phase     int    `json:"phase"`
	Cipher    string `json:"cipher"`
	Data      []byte `json:"data"`       // ephemeral KEM public key
	PublicKey []byte `json:"public_key"` // SPKI of the relay's identity key
	Signature []byte `json:"signature"`
}

// Connect3 is connect phase 3, client to relay. Payload is the sealed Hello.
type Connect3 struct {
	Type    string `json:"type"`
	Phase   int    `json:"phase"`
	Data    []byte `json:"data"` // KEM encapsulation
	Payload []byte `json:"payload"`
}

// Connect4 is connect phase 4, relay to client. Payload is the sealed Welcome.
type Connect4 struct {
	Type    string `json:"type"`
	Phase   int    `json:"phase"`
	Payload []byte `json:"payload"`
}

// Welcome is what connect phase 4 seals: either done and the connection id, or
// an error.
type Welcome struct {
	Done  string `json:"done,omitempty"`
	ID    string `json:"id,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// ClearError is an error told before there is a key to seal it under. It
// proves nothing; a client reports it and trusts it in no other way.
type ClearError struct {
	Type    string `json:"type"` // "error"
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Listed is one connection in the body of a list answer, which is a JSON array
// of these.
type Listed struct {
	Name     string `json:"name"`
	ID       string `json:"id"`
	Takes    string `json:"takes"`
	Since    int64  `json:"since"`    // Unix seconds
	Identity string `json:"identity"` // hex; the relay's word, proved by no one
}

// ReadWelcome decodes what connect phase 4 seals. It returns the connection id,
// or the *Error in it.
func ReadWelcome(opened []byte) (id string, err error) {
	var w Welcome
	if err := canon.Unmarshal(opened, &w); err == nil {
		switch {
		case w.Error != nil && w.Error.inBounds() && w.Done == "" && w.ID == "":
			return "", w.Error
		case w.Error == nil && w.Done == "ok" && ValidConnID(w.ID):
			return w.ID, nil
		}
	}
	return "", Errorf(Malformed, "connect phase 4 seals what is malformed")
}

// ReadConnect decodes a connect line of the given phase into v, one of the
// ConnectN types, or returns the *Error that a clear error line holds.
func ReadConnect(line []byte, phase int, v any) error {
	if bytes.HasPrefix(line, []byte(`{"type":"error"`)) {
		var c ClearError
		err := canon.Unmarshal(line, &c)
		e := &Error{Code: c.Code, Message: c.Message}
		if err != nil || !e.inBounds() {
			return Errorf(Malformed, "an error line that cannot be read")
		}
		return e
	}
	if v, ok := v.(*Connect3); ok && phase == 3 && scanConnect3(line, v) {
		return nil
	}
	if err := canon.Unmarshal(line, v); err != nil {
		return Errorf(Malformed, "connect phase %d is not in its canonical form", phase)
	}
	var typ string
	var got int
	switch v := v.(type) {
	case *Connect1:
		typ, got = v.Type, v.Phase
		if len(v.Data) != RandomSize || len(v.Ciphers) == 0 || len(v.Ciphers) > MaxCiphers {
			return Errorf(Malformed, "connect phase 1 needs ciphers and %d random bytes", RandomSize)
		}
	case *Connect2:
		typ, got = v.Type, v.Phase
	case *Connect3:
		typ, got = v.Type, v.Phase
	case *Connect4:
		typ, got = v.Type, v.Phase
	}
	if typ != TypeConnect || got != phase {
		return Errorf(Unexpected, "connect phase %d was expected", phase)
	}
	return nil
}

const (
	connect3Data    = `{"type":"connect","phase":3,"data":"`
	connect3Payload = `","payload":"`
	connect3End     = `"}`
)

// scanConnect3 decodes connect phase 3 in its canonical form, and tells whether
// it was that. It is a client's certificates, and encoding/json was a tenth of
// what a relay spends on a handshake.
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
	c := Connect3{TypeConnect, 3, make([]byte, decodedLen(data)), make([]byte, decodedLen(payload))}
	if !decodeExact(c.Data, data) || !decodeExact(c.Payload, payload) {
		return false
	}
	*v = c
	return true
}
