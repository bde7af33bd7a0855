package client

import (
	"bytes"
	"encoding/base64"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// scheduledClient is an honest client of the search: the shipped engine, without
// sockets, timers or goroutines. The search hands it the relay's lines. Its acts
// are a function of these lines, their order, and the random numbers.
type scheduledClient struct {
	t     testing.TB
	e     *engine
	cast  *scheduleCast
	sc    *scenario
	acked uint64 // lines, by the relay
	clock time.Time
	sent  []scheduledLine // and not fetched
	facts scheduledFacts
	print uint64 // its fingerprint
}

// scheduledFacts are the visible facts of a player: the texts that a client has
// shown, the secrets that Mallory has learnt.
type scheduledFacts struct {
	wrote   []writtenText // to be sent, in order
	convs   []shownConv   // that were shown as authenticated, in order
	shown   []shownText
	status  map[[2]string]history.Status // by id and name
	secrets map[string][32]byte          // keys of open conversations and handshakes, and the peer of each
}

type writtenText struct{ id, to, text string }

// shownConv is one event that names an authenticated peer.
type shownConv struct {
	t3        [32]byte
	me, peer  crypto.End
	name      string
	identity  [32]byte
	initiated bool
	on        *scheduledLine // the line that led to it
}

// shownText is one text that was shown as authentic.
type shownText struct {
	id, name, text string
	to             []string
	identity       [32]byte
	t3             [32]byte
	on             *scheduledLine // the line that it came in
}

// clockStep is the step of a client's clock with each line: every turn of the
// ratchet takes its own.
const clockStep = 2 * time.Second

// keepsNothing is a history's file that keeps nothing.
type keepsNothing struct{}

func (keepsNothing) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

func (keepsNothing) Truncate(int64) error { return nil }

func (keepsNothing) Sync() error { return nil }

func (keepsNothing) Close() error { return nil }

// noConn is the connection of a session that only queues.
type noConn struct{ net.Conn }

func (noConn) Close() error { return nil }

func newScheduledClient(t testing.TB, cast *scheduleCast, sc *scenario, who int) *scheduledClient {
	c := &scheduledClient{t: t, cast: cast, sc: sc, clock: wire.Epoch}
	c.facts.status = map[[2]string]history.Status{}
	u := cast.users[who]
	now := func() time.Time { return c.clock }
	cfg := &Config{
		Name: u.End.Name, Takes: proto.TakesMessages, State: cast.state(who, sc.strangers), Verifier: cast.pair.Verifier,
		Credential: &state.Credential{Key: u.Local.Key, Bundle: u.Local.Bundle}, Ciphers: []string{crypto.SuiteMLKEM},
		AcceptNew: true, Live: true, Offers: 1 << 20, Callers: 1 << 20, Strangers: StrangersRecords, Timeout: 10 * time.Second, Receipts: true, Now: now,
	}
	c.e = newEngine(cfg, newEventQueue(), u.Local.Identity)
	c.e.start = func(s *step) {
		s.work(s)
		c.e.finish(s)
	}
	c.e.history = history.NewOn(now, keepsNothing{})
	c.e.begin(newSession(noConn{}, u.End.Conn, nil, nil))
	for _, text := range sc.texts[who] {
		c.write(text)
	}
	for _, told := range sc.told[who] {
		end := cast.end(told.end)
		c.e.userFor(end.Name).watching = told.begin
		c.relay(&proto.Header{Type: proto.TypePeer, Name: end.Name, ID: end.Conn, Takes: proto.TakesMessages, Done: proto.Came}, nil)
	}
	c.settle(nil)
	c.print = c.fingerprint()
	return c
}

// close frees the files.
func (c *scheduledClient) close() {
	c.e.history.Close()
	os.RemoveAll(c.e.cfg.State.Dir())
}

// write does the work of Client.Send after the name is resolved.
func (c *scheduledClient) write(text scheduledText) {
	u := c.e.userFor(c.cast.users[text.to].End.Name)
	rc := crypto.Recipient{Name: u.name}
	if u.identity != [32]byte{} {
		rc.Identity = proto.FormatHash(u.identity)
	}
	record := crypto.NewRecord(c.e.self, []crypto.Recipient{rc}, text.text, c.clock)
	if err := c.e.outbox.add(c.t.Context(), newOutRecord(record, []*user{u}), true); err != nil {
		c.t.Fatal(err)
	}
	c.facts.wrote = append(c.facts.wrote, writtenText{record.ID, u.name, text.text})
}

// relay hands the engine a line of the relay's, as the session would.
func (c *scheduledClient) relay(h *proto.Header, body []byte) {
	parsed, err := proto.ParseRelayHeader(proto.MustMarshal(h))
	if err != nil {
		c.t.Fatalf("%+v: %v", h, err)
	}
	c.e.onInbound(Inbound{parsed, bytes.Clone(body)}, true)
}

// deliver hands over a line as the relay stamps it.
func (c *scheduledClient) deliver(l *scheduledLine, from crypto.End) {
	c.clock = c.clock.Add(clockStep)
	h := l.header
	h.Src, h.SrcID, h.Dst, h.DstID = from.Name, from.Conn, c.e.cfg.Name, c.e.link.sess.ID
	body := l.body
	if pc := c.e.conns[from.Conn]; h.Type == proto.TypeError && body == nil && pc != nil {
		body = pc.shake.attempt[:] // the relay has seen it
	}
	c.relay(&h, body)
	c.settle(l)
}

// wait lets enough time pass to end every handshake under way. New ones begin.
func (c *scheduledClient) wait() {
	c.clock = c.clock.Add(clockStep)
	for _, pc := range c.inOrder() {
		pc.shake.again = time.Now().Add(time.Hour)
		c.e.tickConn(pc, time.Now().Add(proto.PhaseTimeout+time.Second))
	}
	for _, pc := range c.inOrder() {
		pc.shake.again = time.Time{}
		c.e.tickConn(pc, time.Now())
	}
	c.settle(nil)
}

func (c *scheduledClient) inOrder() []*peerConn {
	var conns []*peerConn
	for _, u := range c.e.users {
		conns = append(conns, c.e.connsOf(u)...)
	}
	slices.SortFunc(conns, func(a, b *peerConn) int { return bytes.Compare([]byte(a.id), []byte(b.id)) })
	return conns
}

// settle repeats the turn of run, shows all messages, and has the relay take all
// lines, until nothing more happens.
func (c *scheduledClient) settle(on *scheduledLine) {
	for busy := true; busy; {
		c.e.takeMarks()
		c.e.takeOutbox()
		if !c.e.inbox.receiptAt.IsZero() {
			c.e.inbox.receiptAt = time.Now()
		}
		c.e.flush()
		busy = c.fetchLines()
		if c.e.fatal != nil {
			c.t.Fatalf("%s ended: %v", c.e.cfg.Name, c.e.fatal)
		}
		busy = c.show(on) || busy
	}
	c.look()
}

// fetchLines takes and acks the lines that the engine has queued.
func (c *scheduledClient) fetchLines() bool {
	queue := c.e.link.sess.queue
	c.e.link.sess.queue, c.e.link.sess.bytes = nil, 0
	for _, out := range queue {
		header, _, body, err := proto.SplitPayload(slices.Concat(out.head, out.body))
		if err != nil {
			c.t.Fatal(err)
		}
		h, err := proto.ParseClientHeader(header)
		if err != nil {
			c.t.Fatal(err)
		}
		line := c.acked
		c.acked++
		c.sent = append(c.sent, scheduledLine{header: *h, body: body, to: crypto.End{Name: h.Dst, Conn: h.DstID}, from: c.e.myEnd()})
		c.relay(&proto.Header{Type: proto.TypeAck, DstID: h.DstID, Answers: &line}, nil)
	}
	return len(queue) > 0
}

// show handles events as a terminal does, and remembers them.
func (c *scheduledClient) show(on *scheduledLine) bool {
	events := c.e.events.events
	c.e.events.events, c.e.events.bytes = nil, 0
	for _, ev := range events {
		switch {
		case ev.Message != nil:
			m := ev.Message
			c.facts.shown = append(c.facts.shown, shownText{m.ID, m.From, m.Text, m.To, m.Identity, m.mark.of.t3, on})
			c.e.marks.put([]*shownMark{m.mark})
		case ev.Receipt != nil:
			c.facts.status[[2]string{ev.Receipt.ID, ev.Receipt.To}] = ev.Receipt.Status
		case ev.Peer != nil && (ev.Peer.What == "authenticated" || ev.Peer.What == "renewed"):
			conv := c.e.conns[ev.Peer.Conn].conv
			shown := shownConv{conv.T3, conv.Me, conv.Peer, ev.Peer.Name, ev.Peer.Person.Identity, conv.Initiated(), on}
			c.facts.convs = append(c.facts.convs, shown)
		}
	}
	return len(events) > 0
}

// look notes the facts that no event tells.
func (c *scheduledClient) look() {
	before := c.facts.secrets
	c.facts.secrets = map[string][32]byte{}
	for _, pc := range c.e.conns {
		addSecrets(c.facts.secrets, pc.conv)
		addSecrets(c.facts.secrets, pc.shake.resp)
	}
	for _, l := range c.sent {
		for _, secrets := range [...]map[string][32]byte{before, c.facts.secrets} {
			for s := range secrets {
				if bytes.Contains(l.body, []byte(s)) || bytes.Contains(l.body, []byte(base64.StdEncoding.EncodeToString([]byte(s)))) {
					c.t.Fatalf("%s sends a secret of its own: %s", c.e.cfg.Name, l.body)
				}
			}
		}
		for _, w := range c.facts.wrote {
			if bytes.Contains(l.body, []byte(w.text)) {
				c.t.Fatalf("%s sends %q in clear: %s", c.e.cfg.Name, w.text, l.body)
			}
		}
	}
}

// addSecrets adds the root and chain keys of a conversation or a handshake. Only
// reflection reaches them in package crypto.
func addSecrets(secrets map[string][32]byte, of any) {
	v := reflect.ValueOf(of)
	if v.IsNil() {
		return
	}
	v = v.Elem()
	var keys []reflect.Value
	var person reflect.Value
	switch of.(type) {
	case *crypto.Conversation:
		person = v.FieldByName("Person")
		keys = append(keys, v.FieldByName("root"), v.FieldByName("send").Elem().FieldByName("ck"), v.FieldByName("recv").Elem().FieldByName("ck"))
	case *crypto.Responder:
		person = v.FieldByName("person")
		keys = append(keys, v.FieldByName("root0"))
	}
	var with [32]byte
	for i := range with {
		with[i] = byte(person.Elem().FieldByName("Identity").Index(i).Uint())
	}
	for _, key := range keys {
		if key.Len() > 0 {
			secrets[string(key.Bytes())] = with
		}
	}
}

// clone copies the present facts.
func (f *scheduledFacts) clone() *scheduledFacts {
	c := *f
	c.wrote, c.convs, c.shown = slices.Clone(f.wrote), slices.Clone(f.convs), slices.Clone(f.shown)
	c.status, c.secrets = maps.Clone(f.status), maps.Clone(f.secrets)
	return &c
}

// secretsOf returns the secret of a half-open handshake, where it stands in memory.
func secretsOf(r *crypto.Responder) []byte {
	return reflect.ValueOf(r).Elem().FieldByName("root0").Bytes()
}
