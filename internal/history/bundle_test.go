package history

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// TestLastBundle: of a person's bundles the newest is found, and nobody else's.
func TestLastBundle(t *testing.T) {
	p := newPair(t)
	holders := p.PKI.Holders()
	bruno := holders[slices.IndexFunc(holders, func(h *lab.Holder) bool {
		return bytes.Equal(h.Leaf.Raw, p.B.Local.Bundle.X509)
	})]
	last := func(of, want *wire.User) {
		t.Helper()
		b, err := LastBundle(p.a.dir, of.Local.Identity)
		p.Must(err)
		if (b == nil) != (want == nil) || b != nil && b.Hash() != want.Local.Bundle.Hash() {
			t.Errorf("the last bundle is %+v, want that of %+v", b, want)
		}
	}
	carla := p.User("Carla", "conn-c")
	last(p.B, p.B)
	last(carla, nil)
	last(p.A, nil) // one's own is no other person's

	p.Clock.Add(time.Hour)
	renewed := p.Delegate(bruno, "Bruno", "conn-d")
	for _, talks := range []*wire.User{renewed, carla, p.B} { // p.B's is in the file already
		p.Clock.Add(time.Second)
		conv, _ := p.Shake(p.A, talks)
		p.Must(p.a.h.Begin(conv, p.A.Local.Bundle))
	}
	last(p.B, renewed)
	last(carla, carla)

	if b, err := LastBundle(t.TempDir()+"/none", carla.Local.Identity); b != nil || err != nil {
		t.Errorf("without a history: %v %v", b, err)
	}
}
