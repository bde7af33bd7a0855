package chatsecure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

func TestRelayForwards(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("Ana"), rt.join("João")
	if got := ana.list(""); got != "Ana messages,João messages" {
		t.Errorf("list is %q", got)
	}
	for _, c := range []struct {
		h    proto.Header
		body string
	}{
		{proto.Header{Type: proto.TypeClientConnect, Phase: 1}, "p1"},
		{proto.Header{Type: proto.TypeClientConnect, Phase: 2}, "p2"},
		{proto.Header{Type: proto.TypeClientConnect, Phase: 3}, "p3"},
		{proto.Header{Type: proto.TypeClientCom}, "bytes\n\n\x00\xff"},
		{proto.Header{Type: proto.TypeCommAck}, "receipt"},
		{proto.Header{Type: proto.TypeClientCom}, ""},
		{proto.Header{Type: proto.TypeClientCom}, strings.Repeat("x", proto.MaxBody)},
		{proto.Header{Type: proto.TypeError, Code: proto.NoConversation, Message: "that one is unknown"}, ""},
		{proto.Header{Type: proto.TypeDisconnect}, "the end"},
	} {
		for _, spelling := range [][2]string{{"Ana", "João"}, {"ANA", "joÃo"}} {
			h := c.h
			h.Dst, h.DstID = spelling[1], bruno.id
			seq := ana.say(&h, []byte(c.body))
			m := bruno.want(h.Type)
			h.Src, h.SrcID = "Ana", ana.id
			if got, want := string(canon.MustMarshal(m.Header)), string(canon.MustMarshal(&h)); got != want || string(m.body) != c.body {
				t.Errorf("got %s %.40q\nwant %s %.40q", got, m.body, want, c.body)
			}
			ack := ana.want(proto.TypeAck)
			if ack.DstID != bruno.id || *ack.Answers != seq {
				t.Errorf("%s: ack %s, want %d", h.Type, canon.MustMarshal(ack.Header), seq)
			}
			// And the other way, from the one whose name is not plain ASCII.
			back := c.h
			back.Dst, back.DstID = spelling[0], ana.id
			bruno.say(&back, []byte(c.body))
			if m := ana.want(back.Type); m.Src != "João" || m.SrcID != bruno.id || string(m.body) != c.body {
				t.Errorf("back: %s", canon.MustMarshal(m.Header))
			}
			bruno.want(proto.TypeAck)
		}
	}
}

func TestRelayKeepsOrder(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno, carla := rt.join("ana"), rt.join("bruno"), rt.join("carla")
	// Both ways of forwarding, interleaved, and two senders.
	const n = 200
	var last uint64
	for i := range n {
		body := fmt.Appendf(nil, "%d", i)
		typ, phase := proto.TypeClientCom, 0
		if i%3 == 0 {
			typ, phase = proto.TypeClientConnect, 3
		}
		last = ana.say(&proto.Header{Type: typ, Phase: phase, Dst: "bruno", DstID: bruno.id}, body)
		carla.say(&proto.Header{Type: typ, Phase: phase, Dst: "bruno", DstID: bruno.id}, body)
	}
	next := map[string]int{}
	for range 2 * n {
		m := bruno.next()
		if want := fmt.Sprint(next[m.Src]); string(m.body) != want {
			t.Fatalf("%s: got %s, want %s", m.Src, m.body, want)
		}
		next[m.Src]++
	}
	// Acks are coalesced, never go back, and come to the last line.
	seq := int64(-1)
	for seq < int64(last) {
		ack := ana.want(proto.TypeAck)
		if int64(*ack.Answers) <= seq {
			t.Fatalf("ack of %d after %d", *ack.Answers, seq)
		}
		seq = int64(*ack.Answers)
	}
}

func TestRelayList(t *testing.T) {
	rt := startRelayTest(t)
	h := relayTestPerson(t, "ana")
	one := rt.connect(relayTestDelegate(t, h, "ana"), proto.TakesMessages)
	two := rt.connect(relayTestDelegate(t, h, "Ana"), proto.TakesPipe)
	three := rt.connect(relayTestDelegate(t, h, "notebook"), proto.TakesNone)
	bruno := rt.join("bruno")
	if got, want := bruno.list(""), "ana messages,Ana pipe,bruno messages,notebook none"; got != want {
		t.Errorf("list is %q, want %q", got, want)
	}
	if got, want := bruno.list("ANA"), "ana messages,Ana pipe"; got != want {
		t.Errorf("list ANA is %q, want %q", got, want)
	}
	if got := bruno.list("nobody"); got != "" {
		t.Errorf("list nobody is %q", got)
	}
	seq := bruno.ask(&proto.Header{Type: proto.TypeList, Name: "notebook"})
	m := bruno.want(proto.TypeList)
	var listed []proto.Listed
	if err := canon.Unmarshal(m.body, &listed); err != nil || len(listed) != 1 {
		t.Fatalf("%s: %v", m.body, err)
	}
	l := listed[0]
	if m.Done != "ok" || *m.Answers != seq || l.ID != three.id || len(l.Identity) != 64 || time.Since(time.Unix(l.Since, 0)) > time.Hour {
		t.Errorf("got %+v %+v", m.Header, l)
	}
	for _, c := range []*relayTestClient{one, two, three} {
		c.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
		c.wantClosed()
	}
	// Whoever has left is off the list before the connection is closed.
	if got := bruno.list(""); got != "bruno messages" {
		t.Errorf("list is %q at the end", got)
	}
}

func TestRelayListComesInPages(t *testing.T) {
	rt := startRelayTest(t)
	ana := rt.join("ana")
	// Connections in the hub alone: two thousand handshakes would show nothing more.
	const extra = proto.ListPage + 10
	for i := range extra {
		c := &relayConn{relay: rt.Relay, id: newRelayConnID(), name: fmt.Sprintf("user%d", i), folded: fmt.Sprintf("user%d", i), takes: proto.TakesNone, bundle: &crypto.Bundle{}}
		binary.BigEndian.PutUint32(c.identity[:], uint32(i))
		if err := rt.hub.add(c); err != nil {
			t.Fatal(err)
		}
		defer rt.hub.leave(c)
	}
	ana.ask(&proto.Header{Type: proto.TypeList})
	first, second := ana.want(proto.TypeList), ana.want(proto.TypeList)
	n := strings.Count(ana.listed(first), ",") + 1
	if first.Done != "" || n != proto.ListPage {
		t.Errorf("the first page has done %q and %d connections", first.Done, n)
	}
	n = strings.Count(ana.listed(second), ",") + 1
	if second.Done != "ok" || n != extra+1-proto.ListPage {
		t.Errorf("the second page has done %q and %d connections", second.Done, n)
	}
}

func TestRelayWhois(t *testing.T) {
	rt := startRelayTest(t)
	h := relayTestPerson(t, "ana")
	cred := relayTestDelegate(t, h, "Ana")
	ana := rt.connect(cred, proto.TakesPipe)
	bruno := rt.join("bruno")
	seq := bruno.ask(&proto.Header{Type: proto.TypeWhoisGet, Name: "ANA"})
	m := bruno.want(proto.TypeWhoisResponse)
	var entries []whoisEntry
	if err := canon.Unmarshal(m.body, &entries); err != nil || len(entries) != 1 {
		t.Fatalf("%s: %v", m.body, err)
	}
	if e := entries[0]; e.ID != ana.id || e.Takes != proto.TakesPipe || e.Bundle.Hash() != cred.bundle.Hash() || *m.Answers != seq || m.Name != "ANA" {
		t.Errorf("got %+v of %+v", e, m.Header)
	}
	for range proto.MaxWhois + 3 {
		rt.connect(cred, proto.TakesMessages)
	}
	bruno.ask(&proto.Header{Type: proto.TypeWhoisGet, Name: "ana"})
	if err := canon.Unmarshal(bruno.want(proto.TypeWhoisResponse).body, &entries); err != nil || len(entries) != proto.MaxWhois {
		t.Errorf("%d connections, want %d (%v)", len(entries), proto.MaxWhois, err)
	}
	seq = bruno.ask(&proto.Header{Type: proto.TypeWhoisGet, Name: "carla"})
	if m := bruno.wantError(proto.NoSuchName); *m.Answers != seq {
		t.Errorf("answers %d, want %d", *m.Answers, seq)
	}
}

func TestRelayWatch(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("ana"), rt.join("bruno")
	ana.ask(&proto.Header{Type: proto.TypeList, Watch: true})
	if got := ana.listed(ana.want(proto.TypeList)); got != "ana messages,bruno messages" {
		t.Errorf("list is %q", got)
	}
	bruno.ask(&proto.Header{Type: proto.TypeList, Name: "Carla", Watch: true})
	bruno.want(proto.TypeList)

	diogo, carla := rt.join("diogo"), rt.join("carla")
	wantPeer := func(c, peer *relayTestClient, what string) {
		t.Helper()
		if m := c.want(proto.TypePeer); m.Name != peer.name || m.ID != peer.id || m.Done != what || m.Takes != proto.TakesMessages {
			t.Errorf("%s was told %+v, want %s %s", c.name, m.Header, peer.name, what)
		}
	}
	wantPeer(ana, diogo, proto.Came)
	wantPeer(ana, carla, proto.Came)
	wantPeer(bruno, carla, proto.Came)
	diogo.close()
	wantPeer(ana, diogo, proto.Left)
	carla.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	wantPeer(ana, carla, proto.Left)
	wantPeer(bruno, carla, proto.Left)

	for i := range proto.MaxWatches - 1 {
		bruno.ask(&proto.Header{Type: proto.TypeList, Name: fmt.Sprintf("user%d", i), Watch: true})
		bruno.want(proto.TypeList)
	}
	bruno.ask(&proto.Header{Type: proto.TypeList, Name: "Carla", Watch: true}) // again is no more
	bruno.want(proto.TypeList)
	bruno.ask(&proto.Header{Type: proto.TypeList, Name: "onemore", Watch: true})
	bruno.wantError(proto.Busy)
}

// Who talked with a connection is told when it ends, after everything it sent.
func TestRelayTellsPartners(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno, carla, diogo := rt.join("ana"), rt.join("bruno"), rt.join("carla"), rt.join("diogo")
	carla.to(ana, "to her")
	ana.want(proto.TypeClientCom)
	ana.to(bruno, "first")
	ana.to(bruno, "last")
	ana.want(proto.TypeAck)
	ana.close()
	for _, body := range []string{"first", "last"} {
		if m := bruno.want(proto.TypeClientCom); string(m.body) != body {
			t.Errorf("got %q, want %q", m.body, body)
		}
	}
	carla.want(proto.TypeAck)
	for _, c := range []*relayTestClient{bruno, carla} {
		if m := c.want(proto.TypeDisconnect); m.Src != "ana" || m.SrcID != ana.id || m.DstID != "" || len(m.body) != 0 {
			t.Errorf("%s was told %+v", c.name, m.Header)
		}
	}
	// Who did not talk with her is not told, and who writes to her now is.
	seq := diogo.to(ana, "late")
	if m := diogo.wantError(proto.Gone); m.DstID != ana.id || *m.Answers != seq {
		t.Errorf("got %+v", m.Header)
	}
	bruno.to(ana, "late")
	bruno.wantError(proto.Gone)
}

func TestRelayRefusesOneMessage(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("ana"), rt.join("bruno")
	sender := rt.connect(relayTestDelegate(t, relayTestPerson(t, "carla"), "carla"), proto.TakesNone)
	for _, c := range []struct {
		why  string
		h    proto.Header
		code proto.Code
	}{
		{"no such connection", proto.Header{Type: proto.TypeClientCom, Dst: "bruno", DstID: "0123456789abcdef"}, proto.Gone},
		{"the name is not that connection's", proto.Header{Type: proto.TypeClientCom, Dst: "ana", DstID: bruno.id}, proto.Gone},
		{"the same, not on the busy way", proto.Header{Type: proto.TypeClientConnect, Phase: 1, Dst: "carla", DstID: bruno.id}, proto.Gone},
		{"it takes nothing", proto.Header{Type: proto.TypeClientConnect, Phase: 1, Dst: "carla", DstID: sender.id}, proto.NotTaking},
	} {
		seq := ana.say(&c.h, []byte("x"))
		if m := ana.wantError(c.code); *m.Answers != seq || m.DstID != c.h.DstID {
			t.Errorf("%s: %+v", c.why, m.Header)
		}
	}
	// It began the conversation, so it gets what answers.
	ana.say(&proto.Header{Type: proto.TypeClientConnect, Phase: 2, Dst: "carla", DstID: sender.id}, []byte("p2"))
	sender.want(proto.TypeClientConnect)
	ana.want(proto.TypeAck)
	// And the connection goes on.
	ana.to(bruno, "still here")
	bruno.want(proto.TypeClientCom)
}

func TestAttack24RelayNames(t *testing.T) {
	rt := startRelayTest(t)
	ana, other := relayTestPerson(t, "ana"), relayTestPerson(t, "other")
	rt.connect(relayTestDelegate(t, ana, "Ana"), proto.TakesMessages).close()
	renewed := relayTestPerson(t, "ana", lab.RenewalOf(ana))
	rt.connect(relayTestDelegate(t, renewed, "aNa"), proto.TakesMessages).close()
	for name, code := range map[string]proto.Code{
		"ana": proto.NameTaken, "ANA": proto.NameTaken, "Аna": proto.NameInvalid, "ａｎａ": proto.NameTaken,
		"АНА": "", "": proto.BundleMalformed, "list": proto.NameInvalid, "a,b": proto.NameInvalid,
		"../ana": proto.NameInvalid, strings.Repeat("x", 33): proto.NameInvalid, "ana\n": proto.NameInvalid,
	} {
		cred := relayTestDelegate(t, other, name)
		if code == "" {
			rt.connect(cred, proto.TakesMessages).close()
		} else if told := rt.refused(cred); told.Code != code {
			t.Errorf("name %q is refused with %s (%s), want %s", name, told.Code, told.Message, code)
		}
	}
	// Another state of the same directory, after a restart.
	rt.shutdown()
	fingerprint := rt.Fingerprint()
	rt = startRelayTestIn(t, rt.dir)
	if rt.Fingerprint() != fingerprint {
		t.Error("another key after a restart")
	}
	if told := rt.refused(relayTestDelegate(t, other, "ana")); told.Code != proto.NameTaken {
		t.Errorf("after a restart: %v", told)
	}
	c := rt.connect(relayTestDelegate(t, renewed, "ana"), proto.TakesMessages)
	c.ask(&proto.Header{Type: proto.TypeRelease})
	if m := c.want(proto.TypeRelease); m.Done != "ok" {
		t.Errorf("got %+v", m.Header)
	}
	// Given up, but somebody of that name is still there.
	if told := rt.refused(relayTestDelegate(t, other, "ana")); told.Code != proto.NameTaken {
		t.Errorf("while it is in use: %v", told)
	}
	c.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	c.wantClosed()
	rt.connect(relayTestDelegate(t, other, "ana"), proto.TakesMessages)
	if told := rt.refused(relayTestDelegate(t, renewed, "ana")); told.Code != proto.NameTaken {
		t.Errorf("after release: %v", told)
	}
}

func TestRelayShutdownIsTold(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("ana"), rt.join("bruno")
	ana.to(bruno, "before")
	ana.want(proto.TypeAck)
	rt.stop()
	if m := bruno.want(proto.TypeClientCom); string(m.body) != "before" {
		t.Errorf("got %q", m.body)
	}
	for _, c := range []*relayTestClient{ana, bruno} {
		c.wantError(proto.Shutdown)
		c.wantClosed()
		c.close()
	}
	rt.shutdown()
	if _, err := net.Dial("tcp", rt.addr); err == nil {
		t.Error("the relay still listens")
	}
}

func TestRelayStateDirectory(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "a", "state")
	one, err := RelayFingerprint(state)
	if err != nil || len(one) != 64 || strings.Trim(one, "0123456789abcdef") != "" {
		t.Fatalf("fingerprint %q, %v", one, err)
	}
	if two, err := RelayFingerprint(state); err != nil || two != one {
		t.Errorf("the second time %q, %v", two, err)
	}
	info, err := os.Stat(filepath.Join(state, relayKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	relay, err := NewRelay(RelayConfig{State: state})
	if err != nil {
		t.Fatal(err)
	}
	if relay.Fingerprint() != one {
		t.Error("the relay has another fingerprint")
	}
	if _, err := NewRelay(RelayConfig{State: state}); err == nil || !strings.Contains(err.Error(), "another relay") {
		t.Errorf("two relays on one state directory: %v", err)
	}
	// The fingerprint is to be had while the relay runs.
	if two, err := RelayFingerprint(state); err != nil || two != one {
		t.Errorf("while the relay runs: %q, %v", two, err)
	}
	relay.Close()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(state, link); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{link, open, file} {
		if _, err := RelayFingerprint(dir); err == nil {
			t.Errorf("%s was taken for a state directory", dir)
		}
	}
	if err := os.WriteFile(filepath.Join(state, relayKeyFile), []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RelayFingerprint(state); err == nil {
		t.Error("a key file that is none was read or replaced")
	}
}

func TestRelayConfig(t *testing.T) {
	for _, cfg := range []RelayConfig{
		{State: t.TempDir(), Ciphers: []string{"ROT13"}},
		{State: t.TempDir(), CABundle: filepath.Join(t.TempDir(), "none.pem")},
		{State: filepath.Join("/dev/null", "state")},
	} {
		if r, err := NewRelay(cfg); err == nil {
			r.Close()
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// The log says of each connection what was decided about revocation, and why
// where nothing is known.
func TestRelayLogsRevocation(t *testing.T) {
	ana := relayTestPerson(t, "ana")
	authority := ana.Leaf.Issuer.CommonName
	for _, c := range []struct {
		change func(*RelayConfig)
		want   []string
	}{
		{func(*RelayConfig) {}, []string{`"revocation":"good"}`}},
		{func(cfg *RelayConfig) { cfg.CRLPolicy = crypto.PolicyOff }, []string{`"revocation":"off"}`}},
		{func(cfg *RelayConfig) { cfg.CRLDir = "" }, []string{`"revocation":"unknown"`, `"reason":"no revocation list of \"` + authority + `\" is at hand"}`}},
	} {
		var log bytes.Buffer
		rt := startRelayTest(t, c.change, func(cfg *RelayConfig) { cfg.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
		rt.connect(relayTestDelegate(t, ana, "ana"), proto.TakesNone).close()
		rt.shutdown() // nobody writes to the log any more
		var line string
		for l := range strings.Lines(log.String()) {
			if strings.Contains(l, `"msg":"connected"`) {
				line = l
			}
		}
		for _, want := range c.want {
			if !strings.Contains(line, want) {
				t.Errorf("the line %q does not say %s", line, want)
			}
		}
		if serial := ana.Leaf.Subject.SerialNumber; serial == "" || strings.Contains(log.String(), serial) {
			t.Errorf("the civil number %q may stand in the log\n%s", serial, &log)
		}
	}
}

// relayTestListener fails a few times before it accepts.
type relayTestListener struct {
	net.Listener
	failures int
}

func (l *relayTestListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// A lack of descriptors passes; a listener that is broken ends Serve.
func TestRelayAcceptFails(t *testing.T) {
	rt := startRelayTest(t) // for its files; another relay serves
	rt.shutdown()
	relay, err := NewRelay(RelayConfig{State: rt.cfg.State, CABundle: rt.cfg.CABundle})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- relay.Serve(t.Context(), &relayTestListener{ln, 3}) }()
	rt.addr = ln.Addr().String()
	rt.join("ana").close()
	ln.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	relay.Close()
}

// The relay wants those requests signed that it carries out itself.
func TestRelaySignedRequests(t *testing.T) {
	for typ, handler := range relayHandlers {
		if want := typ == proto.TypeList || typ == proto.TypeWhoisGet || typ == proto.TypeRelease; handler.signed != want {
			t.Errorf("%s: signed is %v, want %v", typ, handler.signed, want)
		}
	}
}
