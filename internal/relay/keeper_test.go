package relay

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto/trust"
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
