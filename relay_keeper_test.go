package chatsecure

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// The keeper's own seconds go on beside those that these tests let pass; they
// are too few to matter.

func TestRelayBreaksSilence(t *testing.T) {
	rt := startRelayTest(t)
	ana := rt.join("ana")
	for range proto.KeepAlive/time.Second + 1 {
		rt.tick()
	}
	if m := ana.want(proto.TypeAck); m.Answers != nil || m.DstID != "" || len(m.body) != 0 {
		t.Errorf("got %+v", m.Header)
	}
}

func TestRelayLosesWhoIsSilent(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("ana"), rt.join("bruno")
	ana.to(bruno, "hello")
	ana.want(proto.TypeAck)
	bruno.want(proto.TypeClientCom)
	conn := rt.conn(bruno)
	minute := func() {
		for range 60 {
			rt.tick()
		}
	}
	minute()
	// An ack keeps a connection, and nothing else does.
	ana.say(&proto.Header{Type: proto.TypeAck}, nil)
	for {
		ana.ask(&proto.Header{Type: proto.TypeList, Name: "ana"})
		if m := ana.next(); m.Type == proto.TypeList {
			break
		}
	}
	conn.rests(t)
	minute()
	told := false
	for {
		m, err := bruno.read()
		if err != nil {
			break
		}
		told = m.Type == proto.TypeError && m.Code == proto.Timeout
	}
	if !told {
		t.Error("bruno was not told why")
	}
	for m := ana.next(); m.Type != proto.TypeDisconnect; m = ana.next() {
		if m.Type != proto.TypeAck && m.Type != proto.TypeList {
			t.Fatalf("got %+v", m.Header)
		}
	}
}

// wantEnded reads up to the error that ends a connection.
func (c *relayTestClient) wantEnded(code proto.Code) {
	c.t.Helper()
	for {
		m := c.next()
		if m.Type == proto.TypeError {
			if m.Code != code {
				c.t.Errorf("%s got %s (%s), want %s", c.name, m.Code, m.Message, code)
			}
			c.wantClosed()
			return
		}
	}
}

func TestRelayEndsRevoked(t *testing.T) {
	for _, how := range []string{"reload", "directory"} {
		t.Run(how, func(t *testing.T) { testRelayEndsRevoked(t, how) })
	}
}

func testRelayEndsRevoked(t *testing.T, how string) {
	rt := startRelayTest(t)
	h := relayTestPerson(t, "ana")
	ana, bruno := rt.connect(relayTestDelegate(t, h, "ana"), proto.TakesMessages), rt.join("bruno")
	ana.to(bruno, "before")
	bruno.want(proto.TypeClientCom)

	relayTestLab().Revoke(h, time.Now().Add(-time.Minute), 1)
	if err := relayTestLab().WriteCRLs(rt.dir); err != nil {
		t.Fatal(err)
	}
	if how == "reload" {
		rt.Reload()
	} else {
		for range relayListsEvery {
			rt.tick()
		}
	}
	ana.wantEnded(proto.CertificateRevoked)
	bruno.want(proto.TypeDisconnect)
	if told := rt.refused(ana.cred); told.Code != proto.CertificateRevoked {
		t.Errorf("and then %v", told)
	}
	bruno.barrier()
}

func TestRelayEndsUntrusted(t *testing.T) {
	rt := startRelayTest(t)
	ana := rt.join("ana")
	// A bundle that cannot be read changes nothing.
	bundle := filepath.Join(rt.dir, "ca-bundle.pem")
	if err := os.WriteFile(bundle, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rt.trust.reload(rt.log); err == nil {
		t.Error("a bundle without certificates was read")
	}
	rt.recheck(rt.hub.all())
	ana.barrier()

	other, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Write(rt.dir); err != nil {
		t.Fatal(err)
	}
	rt.Reload()
	ana.wantEnded(proto.CertificateUntrusted)
}

func TestRelayEndsWhenADelegationDoes(t *testing.T) {
	var ahead atomic.Int64
	rt := startRelayTest(t, func(cfg *RelayConfig) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	h := relayTestPerson(t, "ana")
	short := rt.connect(relayTestDelegate(t, h, "ana"), proto.TakesMessages)
	now := time.Now()
	long := rt.connect(relayTestDelegateAt(t, h, "ana", now.Add(-time.Minute), now.Add(3*time.Hour)), proto.TakesMessages)
	ahead.Store(int64(time.Hour + crypto.ClockTolerance + time.Minute))
	for range relayExpiryEvery {
		rt.tick()
	}
	short.wantEnded(proto.DelegationExpired)
	long.barrier()
}
