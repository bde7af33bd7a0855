package trust

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"chatsecure/proto"
)

// TestStoredVectors holds this package against the vectors of identities and of the signatures of
// cards. TestVectors in package crypto makes them.
func TestStoredVectors(t *testing.T) {
	text, err := os.ReadFile("../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Identity []struct {
			Why       string
			Path      []string
			StateRoot string `json:"state_root"`
			Identity  string
		}
		Signature []struct {
			Why, By, SPKI, Message, Signature string
			Holds                             bool
		}
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, id := range v.Identity {
		var p path
		for _, der := range id.Path {
			cert, err := x509.ParseCertificate(unhex(der))
			if err != nil {
				t.Fatal(err)
			}
			p.certs = append(p.certs, cert)
		}
		if id.StateRoot != "" {
			p.stateRoots = [][32]byte{proto.MustHash(id.StateRoot)}
		}
		if got, err := identify(p); err != nil || proto.FormatHash(got) != id.Identity {
			t.Errorf("the identity, %s: %x, %v", id.Why, got, err)
		}
	}
	held, not := 0, 0
	for _, s := range v.Signature {
		if s.By != "card" {
			continue
		}
		public, err := x509.ParsePKIXPublicKey(unhex(s.SPKI))
		if err != nil {
			t.Fatal(err)
		}
		holds := verifyLeaf(&x509.Certificate{PublicKey: public}, unhex(s.Message), unhex(s.Signature))
		if holds != s.Holds {
			t.Errorf("a signature by a card, %s: holds: %v", s.Why, holds)
		}
		if holds {
			held++
		} else {
			not++
		}
	}
	if len(v.Identity) < 3 || held < 4 || not < 9 {
		t.Errorf("%d vectors of identities, %d signatures of cards that hold and %d that do not", len(v.Identity), held, not)
	}
}
