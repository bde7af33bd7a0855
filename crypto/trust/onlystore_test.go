package trust

import (
	"crypto/x509"
	"slices"
	"testing"

	"chatsecure/proto"
)

// TestOnlyStore: a store of these roots has no others, and not the pinned ones. A pinned root
// among them is the pinned one still.
func TestOnlyStore(t *testing.T) {
	p, other := testLab(t), newLab(t)
	h := issue(t, p, "Ana")
	root := p.Root.Cert
	with := append(slices.Clone(h.Chain), root)
	anchors, states := pinnedAnchors, stateRoots
	t.Cleanup(func() { pinnedAnchors, stateRoots = anchors, states })
	pinned := pinnedTo(t, root)
	pinnedAnchors, stateRoots = pinned.pinned, pinned.stateRoots
	only := func(certs ...*x509.Certificate) *Store {
		store, err := NewOnlyStore(pemOf(certs...))
		must(t, err)
		return store
	}
	usual, err := NewStore(nil, pemOf(other.Root.Cert))
	must(t, err)
	for _, c := range []struct {
		name  string
		store *Store
		ok    bool
	}{
		{"another root, as -ca-bundle", usual, true},
		{"another root and no others", only(other.Root.Cert), false},
		{"another root, and intermediates of the pinned one", only(other.Root.Cert, p.CC.Cert, p.Auth.Cert), false},
		{"the pinned root", only(root), true},
	} {
		person, err := lookAt(c.store, h.Leaf, with)
		if !c.ok {
			wantCode(t, err, proto.CertificateUntrusted)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if pinned, err := lookAt(pinnedTo(t, root), h.Leaf, with); err != nil || person.Identity != pinned.Identity {
			t.Errorf("%s: the person is another than under the pinned root alone: %v", c.name, err)
		}
	}
	if _, err := NewOnlyStore(pemOf(p.CC.Cert)); err == nil {
		t.Error("a store without a root is made")
	}
}
