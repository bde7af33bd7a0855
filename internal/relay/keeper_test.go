package relay

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// The keeper's own seconds pass besides those of these tests. They are too few to
// matter.

func TestRelayBreaksSilence(t *testing.T) {
	rt := start(t)
	ana := rt.Join("ana")
	for range proto.KeepAlive/time.Second + 1 {
		rt.tick()
	}
	if m := ana.Want(proto.TypeAck); m.Answers != nil || m.DstID != "" || len(m.Body) != 0 {
		t.Errorf("got %+v", m.Header)
	}
}

func TestRelayLosesWhoIsSilent(t *testing.T) {
	rt := start(t)
	ana, bruno := rt.Join("ana"), rt.Join("bruno")
	ana.To(bruno, "hello")
	ana.Want(proto.TypeAck)
	bruno.Want(proto.TypeClientCom)
	conn := rt.conn(bruno)
	minute := func() {
		for range 60 {
			rt.tick()
		}
	}
	minute()
	// An ack keeps a connection, and nothing else does.
	ana.Say(&proto.Header{Type: proto.TypeAck}, nil)
	for {
		ana.Ask(&proto.Header{Type: proto.TypeList, Name: "ana"})
		if m := ana.Next(); m.Type == proto.TypeList {
			break
		}
	}
	conn.rests(t)
	minute()
	told := false
	for {
		m, err := bruno.Read()
		if err != nil {
			break
		}
		told = m.Type == proto.TypeError && m.Code == proto.Timeout
	}
	if !told {
		t.Error("bruno was not told why")
	}
	for m := ana.Next(); m.Type != proto.TypeDisconnect; m = ana.Next() {
		if m.Type != proto.TypeAck && m.Type != proto.TypeList {
			t.Fatalf("got %+v", m.Header)
		}
	}
}

func TestRelayEndsRevoked(t *testing.T) {
	for _, how := range []string{"reload", "directory"} {
		t.Run(how, func(t *testing.T) { testRelayEndsRevoked(t, how) })
	}
}

func testRelayEndsRevoked(t *testing.T, how string) {
	rt := start(t)
	h := wire.Person(t, "ana")
	ana, bruno := rt.Connect(wire.Delegate(t, h, "ana"), proto.TakesMessages), rt.Join("bruno")
	ana.To(bruno, "before")
	bruno.Want(proto.TypeClientCom)

	wire.Lab().Revoke(h, time.Now().Add(-time.Minute), 1)
	if err := wire.Lab().WriteCRLs(rt.dir); err != nil {
		t.Fatal(err)
	}
	if how == "reload" {
		rt.Reload()
	} else {
		for range listsEvery {
			rt.tick()
		}
	}
	ana.WantEnded(proto.CertificateRevoked)
	bruno.Want(proto.TypeDisconnect)
	if told := rt.Refused(ana.Cred); told.Code != proto.CertificateRevoked {
		t.Errorf("and then %v", told)
	}
	bruno.Barrier()
}

func TestRelayEndsUntrusted(t *testing.T) {
	rt := start(t)
	ana := rt.Join("ana")
	// A bundle that cannot be read changes nothing.
	bundle := filepath.Join(rt.dir, "ca-bundle.pem")
	if err := os.WriteFile(bundle, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rt.identities.reload(); err == nil {
		t.Error("a bundle without certificates was read")
	}
	rt.recheck(rt.hub.all())
	ana.Barrier()

	other, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Write(rt.dir); err != nil {
		t.Fatal(err)
	}
	rt.Reload()
	ana.WantEnded(proto.CertificateUntrusted)
}

func TestRelayEndsWhenADelegationDoes(t *testing.T) {
	var ahead atomic.Int64
	rt := start(t, func(cfg *Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	h := wire.Person(t, "ana")
	short := rt.Connect(wire.Delegate(t, h, "ana"), proto.TakesMessages)
	now := time.Now()
	long := rt.Connect(wire.DelegateAt(t, h, "ana", now.Add(-time.Minute), now.Add(3*time.Hour)), proto.TakesMessages)
	ahead.Store(int64(time.Hour + trust.ClockTolerance + time.Minute))
	for range expiryEvery {
		rt.tick()
	}
	short.WantEnded(proto.DelegationExpired)
	long.Barrier()
}

// TestRecheckHoldsUpNobody: while a check of all goes on, the relay's seconds pass, and
// messages too.
func TestRecheckHoldsUpNobody(t *testing.T) {
	var hold atomic.Bool
	begun, goOn := make(chan struct{}), make(chan struct{})
	rt := start(t, func(cfg *Config) {
		cfg.Now = func() time.Time {
			if hold.CompareAndSwap(true, false) {
				close(begun)
				<-goOn
			}
			return time.Now()
		}
	})
	others := rt.Others()
	hold.Store(true)
	rt.Reload()
	<-begun
	now := rt.seconds.Load()
	wire.Until(t, "the next second", func() bool { return rt.seconds.Load() > now })
	others.Served("a check that does not end")
	close(goOn)
}

// TestGroupChangesDuringAHandshake: a person who is denied between the check of the
// certificate and the welcome is found by the next look.
func TestGroupChangesDuringAHandshake(t *testing.T) {
	begun, goOn, sync := make(chan struct{}), make(chan struct{}), state.SyncFile
	t.Cleanup(func() { state.SyncFile = sync }) // once the relay's goroutines have ended
	deny := filepath.Join(t.TempDir(), "deny")
	write := func(text string) {
		if err := os.WriteFile(deny, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	rt := start(t, func(cfg *Config) { cfg.Deny = deny })
	h := wire.Person(t, "ana")
	ana := rt.Connect(wire.Delegate(t, h, "ana"), proto.TakesNone)
	identity := proto.FormatHash(rt.conn(ana).identity)

	state.SyncFile = func(f *os.File) error { // of the name, which comes after the check
		select {
		case begun <- struct{}{}:
			<-goOn
		case <-goOn:
		}
		return sync(f)
	}
	second := make(chan *wire.Client, 1)
	conn, cred := rt.Dial(), wire.Delegate(t, h, "anita")
	go func() {
		c, err := wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone})
		if err != nil {
			t.Error(err)
		}
		second <- c
	}()
	<-begun
	write(identity)
	rt.Reload()
	ana.WantEnded(proto.NotAllowed)
	wire.Until(t, "the end of the check", func() bool { return rt.identities.version.Load() > 0 })
	close(goOn)
	anita := <-second
	if anita == nil {
		return
	}
	for range expiryEvery {
		rt.tick()
	}
	anita.WantEnded(proto.NotAllowed)
}

// TestGroupNeedsNoSignature: people whom the relay serves no longer, by name or by authority, go
// while the check of all has not begun: every worker is at other work.
func TestGroupNeedsNoSignature(t *testing.T) {
	authority := ""
	for _, ca := range wire.Lab().CAs() {
		hash := sha256.Sum256(ca.Cert.RawSubjectPublicKeyInfo)
		authority += "issuer " + proto.FormatHash(hash) + "\n"
	}
	for _, c := range []struct{ why, before, allow, deny string }{
		{"denied by authority", "", "", authority},
		{"allowed no longer", authority, "# nobody\n", ""},
	} {
		dir := t.TempDir()
		allow, deny := filepath.Join(dir, "allow"), filepath.Join(dir, "deny")
		write := func(allowed, denied string) {
			if err := errors.Join(os.WriteFile(allow, []byte(allowed), 0o600), os.WriteFile(deny, []byte(denied), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		write(c.before, "")
		rt := start(t, func(cfg *Config) {
			cfg.Deny = deny
			if c.before != "" {
				cfg.Allow = allow
			}
		})
		ana := rt.Join("ana")
		var busy []*turn
		for range (runtime.GOMAXPROCS(0) + 1) / 2 {
			turn, err := rt.turns.take(t.Context(), &account{}, false)
			if err != nil {
				t.Fatal(err)
			}
			busy = append(busy, turn)
		}
		write(c.allow, c.deny)
		rt.Reload()
		t.Log(c.why)
		ana.WantEnded(proto.NotAllowed)
		for _, turn := range busy {
			rt.turns.give(turn)
		}
	}
}

// TestCheckOfAllBreaksOff: changed files do not wait for a check of all that is under way.
func TestCheckOfAllBreaksOff(t *testing.T) {
	deny := filepath.Join(t.TempDir(), "deny")
	if err := os.WriteFile(deny, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var hold atomic.Bool
	begun, goOn := make(chan struct{}), make(chan struct{})
	rt := start(t, func(cfg *Config) {
		cfg.Deny = deny
		cfg.Now = func() time.Time {
			if hold.CompareAndSwap(true, false) {
				close(begun)
				<-goOn
			}
			return time.Now()
		}
	})
	first, second := rt.Join("ana"), rt.Join("bruno") // in the order of the check
	identity := proto.FormatHash(rt.conn(second).identity)
	hold.Store(true)
	rt.checks.add(checkAll)
	<-begun
	if err := os.WriteFile(deny, []byte(identity), 0o600); err != nil {
		t.Fatal(err)
	}
	rt.Reload()
	var busy []*turn // all the workers from then on
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		for range (runtime.GOMAXPROCS(0) + 1) / 2 {
			if turn, err := rt.turns.take(t.Context(), &account{}, false); err == nil {
				busy = append(busy, turn)
			}
		}
	}()
	wire.Until(t, "the wait for the worker", func() bool {
		rt.turns.mu.Lock()
		defer rt.turns.mu.Unlock()
		return rt.turns.order.Len() > 0
	})
	close(goOn)
	<-taken
	second.WantEnded(proto.NotAllowed)
	for _, turn := range busy {
		rt.turns.give(turn)
	}
	first.Barrier()
}
