package command

import (
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/proto"
)

// jsonVersion is the v of every object of -json.
const jsonVersion = 1

// jsonTime is written in RFC 3339, in UTC, to the millisecond.
type jsonTime struct{ time.Time }

// MarshalJSON writes the time.
func (t jsonTime) MarshalJSON() ([]byte, error) {
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z07:00"`)), nil
}

// head begins every object of -json.
type head struct {
	V    int      `json:"v"`
	Type string   `json:"type"`
	Time jsonTime `json:"time"`
}

func (d *display) head(typ string) head { return head{jsonVersion, typ, jsonTime{d.now()}} }

type errorObject struct {
	head
	Code    proto.Code `json:"code"`
	Exit    int        `json:"exit"`
	Message string     `json:"message"`
}

type connectedObject struct {
	head
	Name        string `json:"name"`
	Conn        string `json:"conn"`
	Fingerprint string `json:"fingerprint"`
	Suite       string `json:"suite"`
}

type backObject struct {
	head
	Conn string `json:"conn"`
}

type reasonObject struct { // of lost
	head
	Reason string `json:"reason"`
}

type messageObject struct {
	head
	From     string   `json:"from"`
	Conn     string   `json:"conn"`
	ID       string   `json:"id"`
	Seq      uint64   `json:"seq"`
	To       []string `json:"to"`
	Text     string   `json:"text"`
	Identity string   `json:"identity"`
	Known    bool     `json:"known"`            // the person is accepted under this name
	Sent     jsonTime `json:"sent"`             // time of writing, by its sender's clock
	Letter   bool     `json:"letter,omitempty"` // the relay kept it
	Again    bool     `json:"again,omitempty"`  // it may have been shown before
}

type sentObject struct {
	head
	ID string   `json:"id"`
	To []string `json:"to"`
}

type receiptObject struct {
	head
	To     string   `json:"to"`
	Conn   string   `json:"conn"`
	ID     string   `json:"id"`
	Status string   `json:"status"`
	Until  jsonTime `json:"until,omitzero"` // of KEPT
	Reason string   `json:"reason,omitempty"`
}

type peerObject struct {
	head
	Name       string            `json:"name"`
	Conn       string            `json:"conn"`
	What       string            `json:"what"`
	Identity   string            `json:"identity,omitempty"`
	Revocation *revocationObject `json:"revocation,omitempty"` // of a person just authenticated
	Reason     string            `json:"reason,omitempty"`
}

type gapObject struct {
	head
	Name   string `json:"name"`
	Conn   string `json:"conn"`
	Reason string `json:"reason"`
}

type revocationObject struct {
	Status string `json:"status"`
	Reason string `json:"reason"`
}

// eventObject returns the object of an event for -json, or nil: errors are
// written by display.fail, and notices are for people.
func eventObject(ev *client.Event) any {
	h := head{jsonVersion, string(ev.Type), jsonTime{ev.Time}}
	switch {
	case ev.Message != nil:
		m := ev.Message
		return messageObject{
			head: h, From: m.From, Conn: m.FromConn, ID: m.ID, Seq: m.Seq, To: m.To, Text: m.Text,
			Identity: proto.FormatHash(m.Identity), Known: m.Known, Sent: jsonTime{m.Sent},
			Letter: m.Letter, Again: m.Again,
		}
	case ev.Receipt != nil:
		r := ev.Receipt
		return receiptObject{h, r.To, r.Conn, r.ID, string(r.Status), jsonTime{r.Until}, r.Reason}
	case ev.Peer != nil:
		c := ev.Peer
		o := peerObject{head: h, Name: c.Name, Conn: c.Conn, What: c.What, Reason: c.Reason}
		if p := c.Person; p != nil {
			o.Identity, o.Revocation = proto.FormatHash(p.Identity), revocation(p.Revocation)
		}
		return o
	case ev.Gap != nil:
		return gapObject{head: h, Name: ev.Gap.Name, Conn: ev.Gap.Conn, Reason: ev.Gap.Reason}
	case ev.Type == client.EventBack:
		return backObject{head: h, Conn: ev.Conn}
	case ev.Type == client.EventLost:
		return reasonObject{head: h, Reason: ev.Err.Message}
	}
	return nil
}

// revocation returns the object of a revocation result.
func revocation(r trust.RevocationResult) *revocationObject {
	return &revocationObject{string(r.Status), r.Reason}
}
