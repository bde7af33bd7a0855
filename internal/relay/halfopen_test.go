package relay

import (
	"net"
	"testing"
	"time"
)

// from is a connection from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// TestDebtorsGiveWay: addresses whose handshakes fail have a part of the places together. They
// go for anybody else at once, though they wait for their turn, and nobody waits for them.
func TestDebtorsGiveWay(t *testing.T) {
	const places = 4 * DebtorsPart
	turns := newTurns(1, MaxFailures)
	half := newHalfOpen(places, places, turns)
	enter := func(n int) *visitor {
		socket, other := net.Pipe()
		t.Cleanup(func() { socket.Close(); other.Close() })
		v := half.enter(t.Context(), from{socket, &net.TCPAddr{IP: network(n).Addr().AsSlice()}})
		if v != nil {
			v.waiting = time.Now().Add(time.Hour) // a moment ago, for as long as this test takes
		}
		return v
	}
	for n := range places / DebtorsPart {
		turns.fail(enter(n).addr, 1e6)
		woken := false
		half.order.Back().Value.(*visitor).wakes(func() { woken = true })
		defer func() {
			if !woken {
				t.Errorf("debtor %d waits on", n)
			}
		}()
	}
	if enter(0) != nil {
		t.Error("the debtors have more places than their part")
	}
	for n := range places {
		if enter(1000+n) == nil {
			t.Fatalf("newcomer %d was sent away", n)
		}
	}
	for e := half.order.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*visitor); turns.owes(v.addr, time.Now()) {
			t.Error("a debtor is still there")
		}
	}
	if enter(0) != nil {
		t.Error("a debtor has another's place")
	}
}
