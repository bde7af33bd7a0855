package attack

import (
	"fmt"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// TestAttack26ManyCallers: one card holder, who is a stranger, has forty connections under four names,
// and each begins handshakes as fast as it may. The pace of the certificate holds over all of them,
// every p1 has one answer, and a friend is served meanwhile.
func TestAttack26ManyCallers(t *testing.T) {
	const conns, names = 40, 4
	town := newTown(t, "bob", "carol", "mallory")
	carol := town.client("carol")
	bob := town.client("bob", strict(carol))
	bob.accept(carol)
	carol.leave()

	callers := make([]*evilPeer, conns)
	for i := range callers {
		name := fmt.Sprint("mallory", i%names)
		callers[i] = town.evilPeer(town.addr, name, town.credentialAs("mallory", name, time.Now()))
	}
	begun := time.Now()
	answered, busy := 0, 0
	round := func(meanwhile func()) {
		for _, m := range callers {
			m.offer(end(bob))
		}
		meanwhile()
		for _, m := range callers {
			for told := false; !told; {
				switch x := m.Next(); {
				case x.Type == proto.TypeClientConnect && crypto.PeekPhase(x.Body) == "p2":
					answered, told = answered+1, true
				case x.Type == proto.TypeError && x.Code == proto.Busy:
					busy, told = busy+1, true
				case x.Type == proto.TypeError:
					t.Fatalf("a p1 is refused: %s %s", x.Code, x.Message)
				}
			}
		}
	}
	for i := range client.OfferBurst - 1 {
		round(func() {
			if i%5 != 4 {
				return
			}
			carol := town.client("carol") // with a handshake of her own
			carol.mustSend(fmt.Sprint("a friend ", i), "bob")
			bob.awaitText(fmt.Sprint("a friend ", i))
			carol.mustSettle(history.StatusRead)
			carol.leave()
		})
	}
	most := client.CallerBurst + int(time.Since(begun)/client.CallerEvery) + 1
	t.Logf("of %d p1, %d are answered by a p2, at most %d, and %d by busy", answered+busy, answered, most, busy)
	if answered > most || busy == 0 || answered+busy != conns*(client.OfferBurst-1) {
		t.Error("the pace of a certificate does not hold")
	}
	if n := len(bob.texts()); n != (client.OfferBurst-1)/5 {
		t.Errorf("bob has %d texts", n)
	}
}
