package chatsecure

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"testing"
	"time"

	"chatsecure/canon"
	cs "chatsecure/crypto"
	"chatsecure/proto"
)

// scheduledMallory is the insider: she has a valid card, which signs for her
// any name, and the relay hands her every line. She keeps to no rule. One of
// these is one handshake of hers, as herself or in another's name, and the
// conversation that it leads to.
type scheduledMallory struct {
	t        testing.TB
	cast     *scheduleCast
	clock    time.Time
	as, with cs.End
	init     *cs.Initiator
	resp     *cs.Responder
	conv     *cs.Conversation
	sent     []scheduledLine
	facts    scheduledFacts
}

// malloryText is all that she writes herself.
const malloryText = "mallory speaks"

func newScheduledMallory(t testing.TB, cast *scheduleCast) *scheduledMallory {
	m := &scheduledMallory{t: t, cast: cast, clock: historyTime}
	m.facts.secrets = map[string][32]byte{}
	return m
}

func (m *scheduledMallory) close() {}

func (m *scheduledMallory) say(typ string, phase int, body []byte) {
	m.sent = append(m.sent, scheduledLine{header: proto.Header{Type: typ, Phase: phase}, body: body, from: m.as, to: m.with, hers: true})
}

// begin says p1 to an honest client.
func (m *scheduledMallory) begin(with, as cs.End) {
	m.as, m.with = as, with
	var body []byte
	var err error
	m.init, body, err = cs.Initiate(m.cast.malloryAs(as.Name), as, with)
	m.must(err)
	m.say(proto.TypeClientConnect, 1, body)
}

// take does with a line what whoever it is for would do. It tells whether
// that led anywhere.
func (m *scheduledMallory) take(l *scheduledLine) bool {
	verify := m.cast.pair.verifier.Verify
	switch phase := cs.PeekPhase(l.body); {
	case phase == "p1":
		m.as, m.with = l.to, l.from
		o, err := cs.ReadOffer(l.body, m.as, m.with)
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
		// What she says as one who was asked is for somebody else.
		m.converse(conv, m.cast.other(m.with.Name))
		return true
	}
	return m.conv != nil && m.message(l)
}

// converse takes a conversation into use and says something in it.
func (m *scheduledMallory) converse(c *cs.Conversation, to string) {
	m.conv = c
	m.facts.convs = append(m.facts.convs, shownConv{t3: c.T3, me: m.as, peer: m.with, name: m.with.Name})
	m.record(cs.NewRecord(c.MyIdentity(), []cs.Recipient{{Name: to}}, malloryText, m.clock))
}

func (m *scheduledMallory) record(r *cs.Record) {
	s, _, err := m.conv.SealRecords([]*cs.Record{r}, m.clock)
	m.must(err)
	addSecrets(m.facts.secrets, m.conv)
	m.say(proto.TypeClientCom, 0, s.Body)
}

// message opens what is for her, and gives a receipt.
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

// pass sends what she has opened elsewhere on in this conversation, as it is.
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
	Type    string     `json:"type"`
	Nonce   []byte     `json:"data"`
	Ciphers []string   `json:"ciphers"`
	Cipher  string     `json:"cipher"`
	Key     []byte     `json:"key"`
	Src     string     `json:"src"`
	SrcID   string     `json:"src-id"`
	Dst     string     `json:"dst"`
	DstID   string     `json:"dst-id"`
	Bundle  *cs.Bundle `json:"bundle"`
}

type wireP2 struct {
	Type   string     `json:"type"`
	Cipher string     `json:"cipher"`
	Enc    []byte     `json:"data"`
	Key    []byte     `json:"key"`
	Bundle *cs.Bundle `json:"bundle"`
}

// forge is what she makes of a line with no handshake of her own: she puts her
// name under it, with the keys and secrets in it as they are; and the relay
// denies what it is about.
func (c *scheduleCast) forge(t testing.TB, l *scheduledLine) []scheduledLine {
	lines := bytes.Split(l.body, []byte("\n"))
	exact, with := lines[0], make([][]byte, 0, 2)
	for _, line := range lines[1:] {
		b, _ := base64.StdEncoding.DecodeString(string(line))
		with = append(with, b)
	}
	me, key := c.users[mallory], c.users[mallory].local.Key
	line := func(from, to cs.End, phase int, body ...[]byte) []scheduledLine {
		h := proto.Header{Type: proto.TypeClientConnect, Phase: phase}
		return []scheduledLine{{header: h, body: joinBase64(body...), from: from, to: to, hers: true, made: l}}
	}
	switch cs.PeekPhase(l.body) {
	case "p1":
		// The key in it becomes hers, towards the other honest client.
		var p wireP1
		if err := canon.Unmarshal(exact, &p); err != nil {
			t.Fatal(err)
		}
		to := c.end(c.byName(c.other(l.from.Name)))
		p.Src, p.SrcID, p.Dst, p.DstID, p.Bundle = me.end.Name, me.end.Conn, to.Name, to.Conn, me.local.Bundle
		p1 := canon.MustMarshal(&p)
		return line(me.end, to, 1, p1, key.Sign(scheduleTuple("cc-1", p1)))
	case "p2":
		// It answers a p1 that she had made hers: now it is her answer to who
		// made that p1.
		stolen := l.on
		if stolen == nil || stolen.made == nil {
			return nil
		}
		var p wireP2
		if err := canon.Unmarshal(exact, &p); err != nil {
			t.Fatal(err)
		}
		as := c.malloryAs(stolen.made.to.Name)
		p.Bundle = as.Bundle
		p2 := canon.MustMarshal(&p)
		t2 := sha256.Sum256(scheduleTuple("cc-T2", transcript1(stolen.made.body), p2))
		return line(stolen.made.to, stolen.made.from, 2, p2, as.Key.Sign(scheduleTuple("cc-2", t2[:])), with[1])
	case "p3":
		// And that one's p3 is hers to the other.
		if l.on == nil || l.on.made == nil || l.on.made.on == nil {
			return nil
		}
		p2 := bytes.Split(l.on.made.body, []byte("\n"))
		t2 := sha256.Sum256(scheduleTuple("cc-T2", transcript1(l.on.made.on.body), p2[0]))
		sig2, _ := base64.StdEncoding.DecodeString(string(p2[1]))
		confirm2, _ := base64.StdEncoding.DecodeString(string(p2[2]))
		t3 := sha256.Sum256(scheduleTuple("cc-T3", t2[:], sig2, confirm2, exact))
		return line(me.end, l.on.made.from, 3, exact, key.Sign(scheduleTuple("cc-3", t3[:])), with[1])
	}
	sealed := bytes.Join(lines[2:], []byte("\n"))
	forged := append(joinBase64(exact, key.Sign(cs.MessageSigns(exact, sha256.Sum256(sealed)))), '\n')
	deny := proto.Header{Type: proto.TypeError, Code: proto.NoConversation, Message: "no"}
	return []scheduledLine{
		{header: proto.Header{Type: l.header.Type}, body: append(forged, sealed...), from: l.from, to: l.to, hers: true},
		{header: deny, body: cs.PeekConversation(l.body), from: l.to, to: l.from, hers: true},
	}
}

// transcript1 is T1 of a p1's body.
func transcript1(body []byte) []byte {
	p1, sig, _ := bytes.Cut(body, []byte("\n"))
	b, _ := base64.StdEncoding.DecodeString(string(sig))
	t1 := sha256.Sum256(scheduleTuple("cc-T1", p1, b))
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

// scheduleTuple is PROTOCOL.md's tuple, of byte strings.
func scheduleTuple(context string, items ...[]byte) []byte {
	var b []byte
	for _, it := range append([][]byte{[]byte("chatsecure/1 " + context)}, items...) {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(it))), it...)
	}
	return b
}
