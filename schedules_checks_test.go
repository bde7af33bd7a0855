package chatsecure

import "testing"

// TestSchedulesClientsAreApart: what one run of a client has met and refused is
// nothing to another run of it, which may be going on at the same time.
func TestSchedulesClientsAreApart(t *testing.T) {
	cast := newScheduleCast(t)
	for _, sc := range []*scenario{{strangers: true}, {}} {
		first := newScheduledClient(t, cast, sc, alice)
		known := len(first.e.cfg.State.KnownPeers())
		met := KnownPeer{Name: "zoe", Identity: cast.users[bob].local.Identity, CommonName: "zoe", First: historyTime}
		if err := first.e.cfg.State.SetKnownPeer(met); err != nil {
			t.Fatal(err)
		}
		second := newScheduledClient(t, cast, sc, alice)
		if n := len(second.e.cfg.State.KnownPeers()); n != known {
			t.Errorf("strangers %t: the second begins with %d people who are known, the first with %d", sc.strangers, n, known)
		}
		if n := len(first.e.cfg.State.KnownPeers()); n != known+1 {
			t.Errorf("strangers %t: the first knows %d people when the second has begun, and knew %d", sc.strangers, n, known+1)
		}
		first.close()
		second.close()
	}
}
