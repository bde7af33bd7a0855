package client

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestCallersArePaced: a stranger's handshakes are counted over all connections, once they are
// proved. Beyond the bound nothing of a p1 is checked. Somebody who shows another's certificate
// uses up nothing of the other's, and nobody gets a key before the accounts say that there is room.
func TestCallersArePaced(t *testing.T) {
	e, pair, started := stepEngine(t)
	n := 0
	call := func(by *wire.User, bundle *trust.Bundle) *peerConn {
		t.Helper()
		n++
		pc := e.connFor(fmt.Sprintf("%016x", 0xb0+n), by.End.Name)
		local := *by.Local
		local.Bundle = bundle
		_, p1, err := crypto.Initiate(&local, pc.end(), e.myEnd())
		if err != nil {
			t.Fatal(err)
		}
		e.onPhase1(pc, p1)
		return pc
	}
	// finish ends the steps that are started, and tells how many there were.
	finish := func() (steps int) {
		for ; len(*started) > 0; steps++ {
			s := (*started)[0]
			*started = (*started)[1:]
			s.work(s)
			e.finish(s)
		}
		return steps
	}
	refused := func() (codes []proto.Code) {
		for _, out := range e.link.sess.queue {
			header, _, _, err := proto.SplitPayload(slices.Concat(out.head, out.body))
			if err != nil {
				t.Fatal(err)
			}
			if h, err := proto.ParseClientHeader(header); err == nil && h.Type == proto.TypeError {
				codes = append(codes, h.Code)
			}
		}
		e.link.sess.queue = nil
		return codes
	}
	bruno := pair.B
	counted := func() int { return len(e.callers) }

	forged := *bruno.Local.Bundle // her K under his certificate
	mallory := pair.User("Mallory", "conn-m")
	forged.PublicKey = mallory.Local.Bundle.PublicKey
	call(&wire.User{Local: mallory.Local, End: bruno.End}, &forged)
	if finish(); counted() != 0 {
		t.Errorf("who shows another's certificate counts as the other")
	}
	refused()

	if pc := call(bruno, bruno.Local.Bundle); finish() != 2 || pc.shake.resp == nil || counted() != 1 {
		t.Errorf("a stranger's p1 is not answered: %v", refused())
	}
	e.waiting.add(bruno.Local.Identity, MaxAllUnread)
	if pc := call(bruno, bruno.Local.Bundle); finish() != 1 || pc.shake.resp != nil {
		t.Error("somebody gets a key whose account is full")
	}
	e.waiting.add(bruno.Local.Identity, -MaxAllUnread)
	refused()

	for hash, p := range e.callers {
		p.next = time.Now().Add(2 * CallerBurst * CallerEvery)
		e.callers[hash] = p
	}
	call(bruno, bruno.Local.Bundle)
	if steps, codes := finish(), refused(); steps != 0 || !slices.Equal(codes, []proto.Code{proto.Busy}) {
		t.Errorf("beyond the bound %d steps are started, and the answer is %v", steps, codes)
	}
	call(mallory, mallory.Local.Bundle)
	if finish() != 2 {
		t.Error("another person's p1 is not answered")
	}
}
