package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// scheduledMallory is the insider. She has a valid card, which signs any name for
// her, and the relay hands her every line. She keeps to no rule. One value is one
// handshake of hers, under her own name or another, and its conversation.
type scheduledMallory struct {
	t        testing.TB
	cast     *scheduleCast
	clock    time.Time
	as, with crypto.End
	init     *crypto.Initiator
	resp     *crypto.Responder
	conv     *crypto.Conversation
	sent     []scheduledLine
	facts    scheduledFacts
}

// malloryText is the only text of her own.
const malloryText = "mallory speaks"

func newScheduledMallory(t testing.TB, cast *scheduleCast) *scheduledMallory {
	m := &scheduledMallory{t: t, cast: cast, clock: wire.Epoch}
	m.facts.secrets = map[string][32]byte{}
	return m
}

func (m *scheduledMallory) close() {}

func (m *scheduledMallory) say(typ string, phase int, body []byte) {
	m.sent = append(m.sent, scheduledLine{header: proto.Header{Type: typ, Phase: phase}, body: body, from: m.as, to: m.with, hers: true})
}

// begin says p1 to an honest client.
func (m *scheduledMallory) begin(with, as crypto.End) {
	m.as, m.with = as, with
	var body []byte
	var err error
	m.init, body, err = crypto.Initiate(m.cast.malloryAs(as.Name), as, with)
	m.must(err)
	m.say(proto.TypeClientConnect, 1, body)
}

// take handles a line as its addressee would. It returns false if nothing came
// of it.
func (m *scheduledMallory) take(l *scheduledLine) bool {
	verify := m.cast.pair.Verifier.Verify
	switch phase := crypto.PeekPhase(l.body); {
	case phase == "p1":
		m.as, m.with = l.to, l.from
		o, err := crypto.ReadOffer(l.body, m.as, m.with)
		if err != nil {
			return false
		}
		body, r, _, err := o.Answer(m.cast.malloryAs(m.as.Name), nil, verify)
		if err != nil || r == nil {
			return false
		}
		m.resp = r
		addSecrets(m.facts.secrets, r)
		m.say(proto.TypeClientConnect, 2, body)
		return true
	case phase == "p2" && m.init != nil && m.conv == nil:
		body, conv, err := m.init.Phase2(l.body, verify)
		if err != nil {
			return false
		}
		m.say(proto.TypeClientConnect, 3, body)
		m.converse(conv, m.with.Name)
		return true
	case phase == "p3" && m.resp != nil && m.conv == nil:
		conv, err := m.resp.Phase3(l.body)
		if err != nil {
			return false
		}
		// As the one who was asked she writes to somebody else.
		m.converse(conv, m.cast.other(m.with.Name))
		return true
	}
	return m.conv != nil && m.message(l)
}

// converse takes a conversation into use and says something in it.
func (m *scheduledMallory) converse(c *crypto.Conversation, to string) {
	m.conv = c
	m.facts.convs = append(m.facts.convs, shownConv{t3: c.T3, me: m.as, peer: m.with, name: m.with.Name})
	m.record(crypto.NewRecord(c.MyIdentity(), []crypto.Recipient{{Name: to}}, malloryText, m.clock))
}

func (m *scheduledMallory) record(r *crypto.Record) {
	s, _, err := m.conv.SealRecords([]*crypto.Record{r}, m.clock)
	m.must(err)
	addSecrets(m.facts.secrets, m.conv)
	m.say(proto.TypeClientCom, 0, s.Body)
}

// message opens a message to her and gives a receipt.
func (m *scheduledMallory) message(l *scheduledLine) bool {
	o, err := m.conv.Open(bytes.Clone(l.body), m.clock)
	if err != nil {
		return false
	}
	m.conv.Commit(o)
	addSecrets(m.facts.secrets, m.conv)
	for _, r := range o.Records {
		m.cast.opened[l.id] = r
		m.facts.shown = append(m.facts.shown, shownText{id: r.ID, name: m.with.Name, text: r.Text, t3: m.conv.T3})
	}
	if n := m.conv.ReceivedSeq(); len(o.Records) > 0 {
		s, err := m.conv.SealReceipt(n, n, m.clock)
		m.must(err)
		m.say(proto.TypeCommAck, 0, s.Body)
	}
	return true
}

// pass repeats a record from another conversation of hers in this one, unchanged.
func (m *scheduledMallory) pass(l *scheduledLine) bool {
	if m.conv == nil {
		return false
	}
	m.clock = m.clock.Add(clockStep)
	again := *m.cast.opened[l.id]
	m.record(&again)
	return true
}

// The bodies of p1 and p2, which she takes apart.
type wireP1 struct {
	Type    string        `json:"type"`
	Nonce   []byte        `json:"data"`
	Ciphers []string      `json:"ciphers"`
	Cipher  string        `json:"cipher"`
	Key     []byte        `json:"key"`
	Src     string        `json:"src"`
	SrcID   string        `json:"src-id"`
	Dst     string        `json:"dst"`
	DstID   string        `json:"dst-id"`
	Bundle  *trust.Bundle `json:"bundle"`
	Takes   string        `json:"takes"`
}

type wireP2 struct {
	Type   string        `json:"type"`
	Cipher string        `json:"cipher"`
	Enc    []byte        `json:"data"`
	Key    []byte        `json:"key"`
	Bundle *trust.Bundle `json:"bundle"`
	Takes  string        `json:"takes"`
	Letter uint64        `json:"letter"`
}

// forge makes other lines of a line, without a handshake of her own: she signs it
// as hers, with its keys and secrets as they are, and the relay denies its
// conversation.
func (c *scheduleCast) forge(t testing.TB, l *scheduledLine) []scheduledLine {
	lines := bytes.Split(l.body, []byte("\n"))
	exact, with := lines[0], make([][]byte, 0, 2)
	for _, line := range lines[1:] {
		b, _ := base64.StdEncoding.DecodeString(string(line))
		with = append(with, b)
	}
	me, key := c.users[mallory], c.users[mallory].Local.Key
	line := func(from, to crypto.End, phase int, body ...[]byte) []scheduledLine {
		h := proto.Header{Type: proto.TypeClientConnect, Phase: phase}
		return []scheduledLine{{header: h, body: joinBase64(body...), from: from, to: to, hers: true, made: l}}
	}
	switch crypto.PeekPhase(l.body) {
	case "p1":
		// She shows its key to the other honest client as her own.
		var p wireP1
		if err := proto.Unmarshal(exact, &p); err != nil {
			t.Fatal(err)
		}
		to := c.end(c.byName(c.other(l.from.Name)))
		p.Src, p.SrcID, p.Dst, p.DstID, p.Bundle = me.End.Name, me.End.Conn, to.Name, to.Conn, me.Local.Bundle
		p1 := proto.MustMarshal(&p)
		return line(me.End, to, 1, p1, key.Sign(proto.Tuple("cc-1", p1)))
	case "p2":
		// It answers a p1 that she had stolen. She gives it to the maker of that
		// p1 as her own answer.
		stolen := l.on
		if stolen == nil || stolen.made == nil {
			return nil
		}
		var p wireP2
		if err := proto.Unmarshal(exact, &p); err != nil {
			t.Fatal(err)
		}
		as := c.malloryAs(stolen.made.to.Name)
		p.Bundle = as.Bundle
		p2 := proto.MustMarshal(&p)
		t2 := proto.HashTuple("cc-T2", transcript1(stolen.made.body), p2)
		return line(stolen.made.to, stolen.made.from, 2, p2, as.Key.Sign(proto.Tuple("cc-2", t2)), with[1])
	case "p3":
		// She gives that one's p3 to the other as her own.
		if l.on == nil || l.on.made == nil || l.on.made.on == nil {
			return nil
		}
		p2 := bytes.Split(l.on.made.body, []byte("\n"))
		t2 := proto.HashTuple("cc-T2", transcript1(l.on.made.on.body), p2[0])
		sig2, _ := base64.StdEncoding.DecodeString(string(p2[1]))
		confirm2, _ := base64.StdEncoding.DecodeString(string(p2[2]))
		t3 := proto.HashTuple("cc-T3", t2, sig2, confirm2, exact)
		return line(me.End, l.on.made.from, 3, exact, key.Sign(proto.Tuple("cc-3", t3)), with[1])
	}
	sealed := bytes.Join(lines[2:], []byte("\n"))
	forged := append(joinBase64(exact, key.Sign(crypto.MessageSigns(exact, sha256.Sum256(sealed)))), '\n')
	deny := proto.Header{Type: proto.TypeError, Code: proto.NoConversation, Message: "no"}
	return []scheduledLine{
		{header: proto.Header{Type: l.header.Type}, body: append(forged, sealed...), from: l.from, to: l.to, hers: true},
		{header: deny, body: crypto.PeekConversation(l.body), from: l.to, to: l.from, hers: true},
	}
}

// transcript1 is T1 of a p1's body.
func transcript1(body []byte) []byte {
	p1, sig, _ := bytes.Cut(body, []byte("\n"))
	b, _ := base64.StdEncoding.DecodeString(string(sig))
	t1 := proto.HashTuple("cc-T1", p1, b)
	return t1[:]
}

func joinBase64(parts ...[]byte) []byte {
	p := bytes.Clone(parts[0])
	for _, w := range parts[1:] {
		p = base64.StdEncoding.AppendEncode(append(p, '\n'), w)
	}
	return p
}

func (m *scheduledMallory) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}
