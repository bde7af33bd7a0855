package relay

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// joinTaking is Join for a connection that takes something else.
func (rt *server) joinTaking(name, takes string) *wire.Client {
	rt.T.Helper()
	return rt.Connect(wire.Delegate(rt.T, wire.Person(rt.T, name), name), takes)
}

func pipeTo(dst *wire.Client) *proto.Header {
	return &proto.Header{Type: proto.TypeClientCom, Dst: dst.Name, DstID: dst.ID}
}

// TestRelayPassesPipes: the text of a pipe's line comes as it was sent, under a payload that the
// relay has sealed anew, also to a name that is not ASCII.
func TestRelayPassesPipes(t *testing.T) {
	rt := start(t)
	ana, joao := rt.joinTaking("ana", proto.TakesPipe), rt.joinTaking("João", proto.TakesPipe)
	for _, n := range []int{1, 2, 3, 88 << 10, proto.MaxBody} {
		sealed := bytes.Repeat([]byte{0xfb, byte(n)}, n)[:n]
		text := base64.StdEncoding.EncodeToString(sealed)
		for _, way := range [][2]*wire.Client{{ana, joao}, {joao, ana}} {
			seq := way[0].Beside(pipeTo(way[1]), []byte("head\n"), text)
			m := way[1].Want(proto.TypeClientCom)
			if m.Text != text || string(m.Body) != "head\n"+string(sealed) || m.SrcID != way[0].ID {
				t.Fatalf("%d bytes come as %d, %+v", n, len(m.Body), m.Header)
			}
			if ack := way[0].Want(proto.TypeAck); *ack.Answers != seq {
				t.Errorf("ack of %d, want %d", *ack.Answers, seq)
			}
		}
	}
	ana.Say(pipeTo(joao), []byte("all in the payload"))
	if m := joao.Want(proto.TypeClientCom); m.Text != "" || string(m.Body) != "all in the payload" {
		t.Errorf("without a body it comes as %q with %q", m.Body, m.Text)
	}
}

// TestAttack22Bodies: a line's body is for pipes. Anywhere else, and in another form, it is refused,
// and nothing of it is passed on.
func TestAttack22Bodies(t *testing.T) {
	const good = "Ym9keQ=="
	to := func(typ string, phase int) func(dst *wire.Client) *proto.Header {
		return func(dst *wire.Client) *proto.Header {
			h := &proto.Header{Type: typ, Phase: phase, Dst: dst.Name, DstID: dst.ID}
			if typ == proto.TypeError {
				h.Code, h.Message = proto.Busy, "not now"
			}
			return h
		}
	}
	com, bare := to(proto.TypeClientCom, 0), func(typ string) func(*wire.Client) *proto.Header {
		return func(*wire.Client) *proto.Header { return &proto.Header{Type: typ} }
	}
	rt := start(t)
	ana, bruno := wire.Delegate(t, wire.Person(t, "ana"), "ana"), wire.Delegate(t, wire.Person(t, "bruno"), "bruno")
	for _, c := range []struct {
		why        string
		from, dst  string // what they take
		header     func(dst *wire.Client) *proto.Header
		text       string
		code       proto.Code
		goes, says string // "on": the connection does
	}{
		{"a text", "messages", "messages", com, good, proto.Malformed, "", "takes no pipe"},
		{"from who takes no pipe", "none", "pipe", com, good, proto.Malformed, "", "takes no pipe"},
		{"to who takes messages", "pipe", "messages", com, good, proto.NotTaking, "on", "takes no pipe"},
		{"to who takes nothing", "pipe", "none", com, good, proto.NotTaking, "on", "takes no pipe"},
		{"p1", "pipe", "pipe", to(proto.TypeClientConnect, 1), good, proto.Malformed, "", "client-connect in a line with a body"},
		{"p3", "pipe", "pipe", to(proto.TypeClientConnect, 3), good, proto.Malformed, "", "client-connect in a line with a body"},
		{"a receipt", "pipe", "pipe", to(proto.TypeCommAck, 0), good, proto.Malformed, "", "comm-ack in a line with a body"},
		{"an end", "pipe", "pipe", to(proto.TypeDisconnect, 0), good, proto.Malformed, "", "client-disconnect in a line with a body"},
		{"an error", "pipe", "pipe", to(proto.TypeError, 0), good, proto.Malformed, "", "error in a line with a body"},
		{"to the relay: a keep-alive", "pipe", "pipe", bare(proto.TypeAck), good, proto.Malformed, "", "ack in a line with a body"},
		{"to the relay: a list", "pipe", "pipe", bare(proto.TypeList), good, proto.Malformed, "", "list in a line with a body"},
		{"to the relay: leaving", "pipe", "pipe", bare(proto.TypeDisconnect), good, proto.Malformed, "", "client-disconnect in a line"},
		{"spaces", "pipe", "pipe", com, "Ym9k eQ==", proto.Malformed, "", "not base64"},
		{"a blank block", "pipe", "pipe", com, "Ym9k    ", proto.Malformed, "", "not base64"},
		{"CRs", "pipe", "pipe", com, "Ym9k\r\r\r\reQ==", proto.Malformed, "", "not base64"},
		{"the alphabet of URLs", "pipe", "pipe", com, "Ym_keQ--", proto.Malformed, "", "not base64"},
		{"no padding", "pipe", "pipe", com, "Ym9keQ", proto.Malformed, "", "not base64"},
		{"spare bits", "pipe", "pipe", com, "Ym9keR==", proto.Malformed, "", "not base64"},
		{"padding inside", "pipe", "pipe", com, "Yg==Ym9k", proto.Malformed, "", "not base64"},
		{"an escape", "pipe", "pipe", com, `Ym9k\u0051`, proto.Malformed, "", "not base64"},
		{"a quote", "pipe", "pipe", com, `Ym9"`, proto.Malformed, "", "not a secure line"},
		{"a field more", "pipe", "pipe", com, `Ym9k","x":"Ym9k`, proto.Malformed, "", "not a secure line"},
		{"1 MiB", "pipe", "pipe", com, strings.Repeat("A", proto.MaxLine), proto.TooLong, "", "over the limit"},
		{"1 MiB to who takes messages", "pipe", "messages", com, strings.Repeat("A", proto.MaxLine-1024), proto.NotTaking, "on", "takes no pipe"},
	} {
		t.Run(c.why, func(t *testing.T) {
			from, dst := rt.Connect(ana, c.from), rt.Connect(bruno, c.dst)
			defer from.Close()
			defer dst.Close()
			h := c.header(dst)
			seq := from.Beside(h, []byte("head\n"), c.text)
			m := from.WantError(c.code)
			if !strings.Contains(m.Message, c.says) {
				t.Errorf("it is refused with %q", m.Message)
			}
			if c.goes == "on" {
				if m.DstID != dst.ID || *m.Answers != seq {
					t.Errorf("it is refused by %+v", m.Header)
				}
				from.Barrier()
				from.To(dst, "and a message goes on")
				if m := dst.Want(proto.TypeClientCom); string(m.Body) != "and a message goes on" {
					t.Errorf("%q was passed on", m.Body)
				}
				return
			}
			from.WantClosed()
			dst.Ask(&proto.Header{Type: proto.TypeList, Name: "bruno"})
			m = dst.Next()
			if m.Type == proto.TypeDisconnect && m.DstID == "" { // they have met
				m = dst.Next()
			}
			if m.Type != proto.TypeList {
				t.Errorf("%s was passed on", proto.MustMarshal(m.Header))
			}
		})
	}
}

// TestAttack22EmptyBody: a body is never empty. The sealer makes no such line.
func TestAttack22EmptyBody(t *testing.T) {
	rt := start(t)
	ana, bruno := rt.joinTaking("ana", proto.TakesPipe), rt.joinTaking("bruno", proto.TakesPipe)
	line := ana.Line(proto.AppendPayload(nil, proto.MustMarshal(pipeTo(bruno)), nil, nil))
	ana.Write(append(bytes.TrimSuffix(line, []byte("}\n")), `,"body":""}`+"\n"...))
	ana.WantError(proto.Malformed)
	ana.WantClosed()
	bruno.Barrier()
}

// TestRelayWindowOfPipes: the window counts what the text encodes, and not its third more.
func TestRelayWindowOfPipes(t *testing.T) {
	const quarter = proto.RelayWindow / 4
	rt := start(t)
	ana := rt.joinTaking("ana", proto.TakesPipe)
	slow := rt.pipe(wire.Delegate(t, wire.Person(t, "slow"), "slow"), proto.TakesPipe)
	text := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, quarter-4))
	for range 4 {
		ana.Beside(pipeTo(slow), []byte("four"), text)
	}
	ana.Barrier()
	ana.Beside(pipeTo(slow), nil, "AA==")
	ana.WantError(proto.Flood)
	ana.WantClosed()
	for range 4 {
		if m := slow.Want(proto.TypeClientCom); len(m.Body) != quarter || m.Text != text {
			t.Errorf("%d bytes came, want %d", len(m.Body), quarter)
		}
	}
	slow.Want(proto.TypeDisconnect)
}
