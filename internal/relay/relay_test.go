package relay

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
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

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

func TestRelayForwards(t *testing.T) {
	rt := start(t)
	ana, bruno := rt.Join("Ana"), rt.Join("João")
	if got := ana.List(""); got != "Ana messages,João messages" {
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
			h.Dst, h.DstID = spelling[1], bruno.ID
			seq := ana.Say(&h, []byte(c.body))
			m := bruno.Want(h.Type)
			h.Src, h.SrcID = "Ana", ana.ID
			if got, want := string(proto.MustMarshal(m.Header)), string(proto.MustMarshal(&h)); got != want || string(m.Body) != c.body {
				t.Errorf("got %s %.40q\nwant %s %.40q", got, m.Body, want, c.body)
			}
			ack := ana.Want(proto.TypeAck)
			if ack.DstID != bruno.ID || *ack.Answers != seq {
				t.Errorf("%s: ack %s, want %d", h.Type, proto.MustMarshal(ack.Header), seq)
			}
			// And back, from a name that is not plain ASCII.
			back := c.h
			back.Dst, back.DstID = spelling[0], ana.ID
			bruno.Say(&back, []byte(c.body))
			if m := ana.Want(back.Type); m.Src != "João" || m.SrcID != bruno.ID || string(m.Body) != c.body {
				t.Errorf("back: %s", proto.MustMarshal(m.Header))
			}
			bruno.Want(proto.TypeAck)
		}
	}
}

func TestRelayKeepsOrder(t *testing.T) {
	rt := start(t)
	ana, bruno, carla := rt.Join("ana"), rt.Join("bruno"), rt.Join("carla")
	// Both paths of forwarding, interleaved, and two senders.
	const n = 200
	var last uint64
	for i := range n {
		body := fmt.Appendf(nil, "%d", i)
		typ, phase := proto.TypeClientCom, 0
		if i%3 == 0 {
			typ, phase = proto.TypeClientConnect, 3
		}
		last = ana.Say(&proto.Header{Type: typ, Phase: phase, Dst: "bruno", DstID: bruno.ID}, body)
		carla.Say(&proto.Header{Type: typ, Phase: phase, Dst: "bruno", DstID: bruno.ID}, body)
	}
	next := map[string]int{}
	for range 2 * n {
		m := bruno.Next()
		if want := fmt.Sprint(next[m.Src]); string(m.Body) != want {
			t.Fatalf("%s: got %s, want %s", m.Src, m.Body, want)
		}
		next[m.Src]++
	}
	// Acks are coalesced, only grow, and reach the last line.
	seq := int64(-1)
	for seq < int64(last) {
		ack := ana.Want(proto.TypeAck)
		if int64(*ack.Answers) <= seq {
			t.Fatalf("ack of %d after %d", *ack.Answers, seq)
		}
		seq = int64(*ack.Answers)
	}
}

func TestRelayList(t *testing.T) {
	rt := start(t)
	h := wire.Person(t, "ana")
	one := rt.Connect(wire.Delegate(t, h, "ana"), proto.TakesMessages)
	two := rt.Connect(wire.Delegate(t, h, "Ana"), proto.TakesPipe)
	three := rt.Connect(wire.Delegate(t, h, "notebook"), proto.TakesNone)
	bruno := rt.Join("bruno")
	if got, want := bruno.List(""), "ana messages,Ana pipe,bruno messages,notebook none"; got != want {
		t.Errorf("list is %q, want %q", got, want)
	}
	if got, want := bruno.List("ANA"), "ana messages,Ana pipe"; got != want {
		t.Errorf("list ANA is %q, want %q", got, want)
	}
	if got := bruno.List("nobody"); got != "" {
		t.Errorf("list nobody is %q", got)
	}
	seq := bruno.Ask(&proto.Header{Type: proto.TypeList, Name: "notebook"})
	m := bruno.Want(proto.TypeList)
	var listed []proto.Listed
	if err := proto.Unmarshal(m.Body, &listed); err != nil || len(listed) != 1 {
		t.Fatalf("%s: %v", m.Body, err)
	}
	l := listed[0]
	if m.Done != "ok" || *m.Answers != seq || l.ID != three.ID || len(l.Identity) != 64 || time.Since(time.Unix(l.Since, 0)) > time.Hour {
		t.Errorf("got %+v %+v", m.Header, l)
	}
	for _, c := range []*wire.Client{one, two, three} {
		c.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
		c.WantClosed()
	}
	// A connection is off the list before it is closed.
	if got := bruno.List(""); got != "bruno messages" {
		t.Errorf("list is %q at the end", got)
	}
}

func TestRelayListComesInPages(t *testing.T) {
	rt := start(t)
	ana := rt.Join("ana")
	// Connections in the hub alone: two thousand handshakes would show nothing more.
	const extra = proto.ListPage + 10
	for i := range extra {
		name := fmt.Sprintf("user%d", i)
		c := &conn{relay: rt.Relay, client: client{id: newID(), name: name, folded: name, takes: proto.TakesNone, bundle: &trust.Bundle{}}}
		binary.BigEndian.PutUint32(c.identity[:], uint32(i))
		if err := rt.hub.add(c); err != nil {
			t.Fatal(err)
		}
		defer rt.hub.leave(c)
	}
	ana.Ask(&proto.Header{Type: proto.TypeList})
	first, second := ana.Want(proto.TypeList), ana.Want(proto.TypeList)
	n := strings.Count(ana.Listed(first), ",") + 1
	if first.Done != "" || n != proto.ListPage {
		t.Errorf("the first page has done %q and %d connections", first.Done, n)
	}
	n = strings.Count(ana.Listed(second), ",") + 1
	if second.Done != "ok" || n != extra+1-proto.ListPage {
		t.Errorf("the second page has done %q and %d connections", second.Done, n)
	}
}

// TestRelayShowsNoCertificate: no request tells the civil number or certificate of somebody, who
// has not been asked. There is no other request about people than a list.
func TestRelayShowsNoCertificate(t *testing.T) {
	rt := start(t)
	cred := wire.Delegate(t, wire.Person(t, "ana"), "Ana")
	ana := rt.Connect(cred, proto.TakesPipe)
	bruno := rt.Join("bruno")
	bruno.Ask(&proto.Header{Type: proto.TypeList, Name: "ANA"})
	m := bruno.Want(proto.TypeList)
	identity := proto.FormatHash(rt.conn(ana).identity)
	for _, says := range []string{`"name":"Ana"`, ana.ID, proto.TakesPipe, identity} {
		if !strings.Contains(string(m.Body), says) {
			t.Errorf("the list lacks %s: %s", says, m.Body)
		}
	}
	var page []map[string]any
	if err := json.Unmarshal(m.Body, &page); err != nil || len(page) != 1 || len(page[0]) != 5 {
		t.Errorf("the list tells more: %s", m.Body)
	}
	header := []byte(`{"type":"whois-get","name":"Ana"}`)
	signature := bruno.Cred.Key.Sign(bruno.Send.RequestSigns(bruno.Send.Seq(), header))
	bruno.Conn.Write(bruno.Line(proto.AppendPayload(nil, header, signature, nil)))
	bruno.WantError(proto.Malformed)
	bruno.WantClosed()
}

func TestRelayWatch(t *testing.T) {
	rt := start(t)
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	ana.Ask(&proto.Header{Type: proto.TypeList, Watch: true})
	if got := ana.Listed(ana.Want(proto.TypeList)); got != "ana messages,bruno messages" {
		t.Errorf("list is %q", got)
	}
	bruno.Ask(&proto.Header{Type: proto.TypeList, Name: "Carla", Watch: true})
	bruno.Want(proto.TypeList)

	diogo, carla := rt.Join("diogo"), rt.Join("carla")
	wantPeer := func(c, peer *wire.Client, what string) {
		t.Helper()
		if m := c.Want(proto.TypePeer); m.Name != peer.Name || m.ID != peer.ID || m.Done != what || m.Takes != proto.TakesMessages {
			t.Errorf("%s was told %+v, want %s %s", c.Name, m.Header, peer.Name, what)
		}
	}
	wantPeer(ana, diogo, proto.Came)
	wantPeer(ana, carla, proto.Came)
	wantPeer(bruno, carla, proto.Came)
	diogo.Close()
	wantPeer(ana, diogo, proto.Left)
	carla.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	wantPeer(ana, carla, proto.Left)
	wantPeer(bruno, carla, proto.Left)

	for i := range proto.MaxWatches - 1 {
		bruno.Ask(&proto.Header{Type: proto.TypeList, Name: fmt.Sprintf("user%d", i), Watch: true})
		bruno.Want(proto.TypeList)
	}
	bruno.Ask(&proto.Header{Type: proto.TypeList, Name: "Carla", Watch: true}) // again is no more
	bruno.Want(proto.TypeList)
	bruno.Ask(&proto.Header{Type: proto.TypeList, Name: "onemore", Watch: true})
	bruno.WantError(proto.Busy)
}

// The partners of a connection are told of its end, after everything it sent.
func TestRelayTellsPartners(t *testing.T) {
	rt := start(t)
	ana, bruno, carla, diogo := rt.Join("ana"), rt.Join("bruno"), rt.Join("carla"), rt.Join("diogo")
	carla.To(ana, "to her")
	ana.Want(proto.TypeClientCom)
	ana.To(bruno, "first")
	ana.To(bruno, "last")
	ana.Want(proto.TypeAck)
	ana.Close()
	for _, body := range []string{"first", "last"} {
		if m := bruno.Want(proto.TypeClientCom); string(m.Body) != body {
			t.Errorf("got %q, want %q", m.Body, body)
		}
	}
	carla.Want(proto.TypeAck)
	for _, c := range []*wire.Client{bruno, carla} {
		if m := c.Want(proto.TypeDisconnect); m.Src != "ana" || m.SrcID != ana.ID || m.DstID != "" || len(m.Body) != 0 {
			t.Errorf("%s was told %+v", c.Name, m.Header)
		}
	}
	// Others are not told until they write to her.
	seq := diogo.To(ana, "late")
	if m := diogo.WantError(proto.Gone); m.DstID != ana.ID || *m.Answers != seq {
		t.Errorf("got %+v", m.Header)
	}
	bruno.To(ana, "late")
	bruno.WantError(proto.Gone)
}

func TestRelayRefusesOneMessage(t *testing.T) {
	rt := start(t)
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	sender := rt.Connect(wire.Delegate(t, wire.Person(t, "carla"), "carla"), proto.TakesNone)
	for _, c := range []struct {
		why  string
		h    proto.Header
		code proto.Code
	}{
		{"no such connection", proto.Header{Type: proto.TypeClientCom, Dst: "bruno", DstID: "0123456789abcdef"}, proto.Gone},
		{"the name is not that connection's", proto.Header{Type: proto.TypeClientCom, Dst: "ana", DstID: bruno.ID}, proto.Gone},
		{"the same, not on the busy way", proto.Header{Type: proto.TypeClientConnect, Phase: 1, Dst: "carla", DstID: bruno.ID}, proto.Gone},
		{"it takes nothing", proto.Header{Type: proto.TypeClientConnect, Phase: 1, Dst: "carla", DstID: sender.ID}, proto.NotTaking},
	} {
		seq := ana.Say(&c.h, []byte("x"))
		if m := ana.WantError(c.code); *m.Answers != seq || m.DstID != c.h.DstID {
			t.Errorf("%s: %+v", c.why, m.Header)
		}
	}
	// As the one who began, it gets the answer.
	ana.Say(&proto.Header{Type: proto.TypeClientConnect, Phase: 2, Dst: "carla", DstID: sender.ID}, []byte("p2"))
	sender.Want(proto.TypeClientConnect)
	ana.Want(proto.TypeAck)
	// And the connection goes on.
	ana.To(bruno, "still here")
	bruno.Want(proto.TypeClientCom)
}

func TestAttack24RelayNames(t *testing.T) {
	rt := start(t)
	ana, other := wire.Person(t, "ana"), wire.Person(t, "other")
	rt.Connect(wire.Delegate(t, ana, "Ana"), proto.TakesMessages).Close()
	renewed := wire.Person(t, "ana", lab.RenewalOf(ana))
	rt.Connect(wire.Delegate(t, renewed, "aNa"), proto.TakesMessages).Close()
	for name, code := range map[string]proto.Code{
		"ana": proto.NameTaken, "ANA": proto.NameTaken, "Аna": proto.NameInvalid, "ａｎａ": proto.NameInvalid,
		"ạna": proto.NameTaken, "АННА": "", "": proto.BundleMalformed, "list": proto.NameInvalid, "a,b": proto.NameInvalid,
		"../ana": proto.NameInvalid, strings.Repeat("x", 33): proto.NameInvalid, "ana\n": proto.NameInvalid,
	} {
		cred := wire.Delegate(t, other, name)
		if code == "" {
			rt.Connect(cred, proto.TakesMessages).Close()
		} else if told := rt.Refused(cred); told.Code != code {
			t.Errorf("name %q is refused with %s (%s), want %s", name, told.Code, told.Message, code)
		}
	}
	// A restart finds the same names.
	rt.Shutdown()
	fingerprint := rt.Fingerprint()
	rt = startIn(t, rt.dir)
	if rt.Fingerprint() != fingerprint {
		t.Error("another key after a restart")
	}
	if told := rt.Refused(wire.Delegate(t, other, "ana")); told.Code != proto.NameTaken {
		t.Errorf("after a restart: %v", told)
	}
	c := rt.Connect(wire.Delegate(t, renewed, "ana"), proto.TakesMessages)
	c.Ask(&proto.Header{Type: proto.TypeRelease})
	if m := c.Want(proto.TypeRelease); m.Done != "ok" {
		t.Errorf("got %+v", m.Header)
	}
	// Released, but a connection still has the name.
	if told := rt.Refused(wire.Delegate(t, other, "ana")); told.Code != proto.NameTaken {
		t.Errorf("while it is in use: %v", told)
	}
	c.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	c.WantClosed()
	rt.Connect(wire.Delegate(t, other, "ana"), proto.TakesMessages)
	if told := rt.Refused(wire.Delegate(t, renewed, "ana")); told.Code != proto.NameTaken {
		t.Errorf("after release: %v", told)
	}
}

func TestRelayShutdownIsTold(t *testing.T) {
	rt := start(t)
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	ana.To(bruno, "before")
	ana.Want(proto.TypeAck)
	rt.Stop()
	if m := bruno.Want(proto.TypeClientCom); string(m.Body) != "before" {
		t.Errorf("got %q", m.Body)
	}
	for _, c := range []*wire.Client{ana, bruno} {
		c.WantError(proto.Shutdown)
		c.WantClosed()
		c.Close()
	}
	rt.Shutdown()
	if _, err := net.Dial("tcp", rt.Addr); err == nil {
		t.Error("the relay still listens")
	}
}

func TestRelayStateDirectory(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "a", "state")
	one, err := Fingerprint(state)
	if err != nil || len(one) != 64 || strings.Trim(one, "0123456789abcdef") != "" {
		t.Fatalf("fingerprint %q, %v", one, err)
	}
	if two, err := Fingerprint(state); err != nil || two != one {
		t.Errorf("the second time %q, %v", two, err)
	}
	info, err := os.Stat(filepath.Join(state, "relay.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	relay, err := New(Config{State: state})
	if err != nil {
		t.Fatal(err)
	}
	if relay.Fingerprint() != one {
		t.Error("the relay has another fingerprint")
	}
	if _, err := New(Config{State: state}); err == nil || !strings.Contains(err.Error(), "another relay") {
		t.Errorf("two relays on one state directory: %v", err)
	}
	// The fingerprint can be read while the relay runs.
	if two, err := Fingerprint(state); err != nil || two != one {
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
		if _, err := Fingerprint(dir); err == nil {
			t.Errorf("%s was taken for a state directory", dir)
		}
	}
	if err := os.WriteFile(filepath.Join(state, "relay.key"), []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Fingerprint(state); err == nil {
		t.Error("a key file that is none was read or replaced")
	}
}

// A crash during a write leaves a file behind. The next relay removes it, but not
// while another relay holds the lock.
func TestRelayRemovesHalfWrittenFiles(t *testing.T) {
	dir := t.TempDir()
	stray, other := filepath.Join(dir, ".new-123"), filepath.Join(dir, ".newer")
	write := func() {
		t.Helper()
		for _, path := range []string{stray, other} {
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	there := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	write()
	// A name like that of a half-written file, which the relay cannot remove.
	if err := os.MkdirAll(filepath.Join(dir, ".new-dir", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	relay, err := New(Config{State: dir})
	if err != nil {
		t.Fatal(err)
	}
	if there(stray) || !there(other) {
		t.Errorf("after the start the half-written file is there: %v, another: %v", there(stray), there(other))
	}
	write()
	if _, err := New(Config{State: dir}); err == nil || !there(stray) {
		t.Errorf("a second relay removes the file of the first: %v", err)
	}
	relay.Close()
}

func TestRelayConfig(t *testing.T) {
	for _, cfg := range []Config{
		{State: t.TempDir(), Ciphers: []string{"ROT13"}},
		{State: t.TempDir(), CABundle: filepath.Join(t.TempDir(), "none.pem")},
		{State: filepath.Join("/dev/null", "state")},
	} {
		if r, err := New(cfg); err == nil {
			r.Close()
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// The log has the revocation status of each connection, and the reason where it is
// unknown.
func TestRelayLogsRevocation(t *testing.T) {
	ana := wire.Person(t, "ana")
	authority := ana.Leaf.Issuer.CommonName
	for _, c := range []struct {
		change func(*Config)
		want   []string
	}{
		{func(*Config) {}, []string{`"revocation":"good"}`}},
		{func(cfg *Config) { cfg.CRLPolicy = trust.PolicyOff }, []string{`"revocation":"off"}`}},
		{func(cfg *Config) { cfg.CRLDir = "" }, []string{`"revocation":"unknown"`, `"reason":"no revocation list of \"` + authority + `\" is at hand"}`}},
	} {
		var log bytes.Buffer
		rt := start(t, c.change, func(cfg *Config) { cfg.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
		rt.Connect(wire.Delegate(t, ana, "ana"), proto.TakesNone).Close()
		rt.Shutdown() // the last writer of the log has ended
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

// TestRelayLogsUnusualLists: the log has the oddities and flaws of lists, at the start and when a file
// changes.
func TestRelayLogsUnusualLists(t *testing.T) {
	pki, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(form lab.ListForm) {
		t.Helper()
		lists, err := form.Lists(pki.Auth)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, form.Name+".crl"), lists[0], 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	forms := make(map[string]lab.ListForm)
	for _, form := range lab.ListForms {
		forms[form.Name] = form
	}
	var log bytes.Buffer
	says := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("the log does not say %q: %s", w, &log)
			}
		}
		if len(want) == 0 && log.Len() > 0 {
			t.Errorf("the log says %s", &log)
		}
		log.Reset()
	}
	put(forms["version 1"])
	put(forms["plain"])
	ids, err := newIdentities(&Config{State: t.TempDir(), CRLDir: dir, Log: slog.New(slog.NewJSONHandler(&log, nil)), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer ids.fetcher.Close()
	says(`version 1.crl","authority":"CN=`, `"remark":"unusual: it is of version 1"`)
	ids.listsChanged()
	says()
	put(forms["no nextUpdate"])
	ids.listsChanged()
	says(`no nextUpdate.crl","authority":`, `"remark":"clears nobody: it does not say when the next one is due"`)
	put(forms["of tomorrow"])
	ids.listsChanged()
	says(`of tomorrow.crl","authority":`, `"remark":"from the future: it clears nobody before `)
}

// TestRelayWarnsOnceOfUselessLists: of a list that is overdue, of one with a false signature,
// once that is known, and of one that is gone. A directory that is gone changes nothing.
func TestRelayWarnsOnceOfUselessLists(t *testing.T) {
	files := wire.Files(t)
	dir, state := filepath.Join(t.TempDir(), "crl"), t.TempDir()
	path := filepath.Join(dir, "auth.crl")
	crls, err := wire.Lab().CRLs()
	if err != nil {
		t.Fatal(err)
	}
	list := crls["auth"]
	forged := bytes.Clone(list)
	forged[len(forged)-1] ^= 1
	var authorities [][]byte
	for _, ca := range wire.Lab().CAs() {
		authorities = append(authorities, ca.Cert.Raw)
	}
	put := func(list []byte) {
		t.Helper()
		if err := os.WriteFile(path, list, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	now := time.Now()
	open := func() (*identities, error) {
		return newIdentities(&Config{
			State: state, CRLDir: dir, CABundle: filepath.Join(files, "ca-bundle.pem"), Log: slog.New(slog.NewJSONHandler(&log, nil)),
			Now: func() time.Time { return now },
		})
	}
	if _, err := open(); err == nil || err.Error() != "-crl "+dir+": no such file or directory" {
		t.Errorf("without the directory: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	put(list)
	log.Reset()
	ids, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer ids.fetcher.Close()
	warns := func(of string) {
		t.Helper()
		n := strings.Count(log.String(), `"WARN"`) + strings.Count(log.String(), `"ERROR"`)
		if !strings.Contains(log.String(), of) || n != min(len(of), 1) {
			t.Errorf("%d warnings, want one that says %q: %s", n, of, &log)
		}
		log.Reset()
	}
	look := func() { ids.listsChanged() }
	auth := ids.lists.List()[0]
	warns("")

	now = auth.NextUpdate.Add(time.Hour)
	look()
	warns("overdue: it clears nobody since " + auth.NextUpdate.UTC().Format(time.RFC3339))
	look()
	warns("")
	ids.remarks.again() // as on SIGHUP
	look()
	warns("overdue")
	now = time.Now()

	put(forged)
	look()
	warns("") // the certificate of its authority is in no bundle
	held := ids.lists.List()
	ids.lists.CheckSignatures(authorities) // as a connection does
	look()
	warns("counts for nobody")
	look()
	warns("")

	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	look()
	warns("file not read; its former content stays in force")
	look()
	warns("")
	if now := ids.lists.List(); len(now) != len(held) {
		t.Errorf("without the directory there are %d lists, and were %d", len(now), len(held))
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look()
	warns("revocation list is gone; it counts no more")
	look()
	warns("")
}

// failingListener fails a few times before it accepts.
type failingListener struct {
	net.Listener
	failures int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// A lack of descriptors passes. A broken listener ends Serve.
func TestRelayAcceptFails(t *testing.T) {
	rt := start(t) // for its files; another relay serves
	rt.Shutdown()
	relay, err := New(Config{State: rt.cfg.State, CABundle: rt.cfg.CABundle})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- relay.Serve(t.Context(), &failingListener{ln, 3}) }()
	rt.Addr = ln.Addr().String()
	rt.Join("ana").Close()
	ln.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	relay.Close()
}

// The requests that the relay carries out itself must be signed.
func TestRelaySignedRequests(t *testing.T) {
	for typ, handler := range handlers {
		if want := typ == proto.TypeList || typ == proto.TypeRelease || typ == proto.TypeLetterTo; handler.signed != want {
			t.Errorf("%s: signed is %v, want %v", typ, handler.signed, want)
		}
	}
}
