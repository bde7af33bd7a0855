package chatsecure

import (
	"context"
	"crypto/x509/pkix"
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// The attacks that are bad input to real clients, from a peer or from a
// malicious relay. What the relay refuses is in relay_refusals_test.go.

// issue makes cards for a town that is there already.
func (town *testTown) issue(name string, opts ...lab.IssueOption) {
	town.t.Helper()
	_, err := town.pki.Issue(name, opts...)
	if err == nil {
		err = town.pki.Write(filepath.Join(town.dir, "lab"))
	}
	if err != nil {
		town.t.Fatal(err)
	}
}

// subject is a citizen's, with any common name.
func subject(commonName, civil string) lab.IssueOption {
	return lab.WithSubject(pkix.Name{Country: []string{"PT"}, CommonName: commonName, SerialNumber: "BI" + civil}.ToRDNSequence())
}

// TestAttack23LongCertificateFields: a certificate with long names in it makes
// for a long refusal. However it is cut to its limit, the one who refuses is
// not closed by the relay for what it says.
func TestAttack23LongCertificateFields(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	conn := alice.Conn()
	for i, prefix := range []string{"", "a", "aa"} { // the limit falls between two characters once in three
		name := "eva" + prefix
		town.issue(name, subject(prefix+strings.Repeat("€", 700), "10000000"+string(rune('0'+i))))
		known := knownBob()
		known.Name = name
		if err := alice.state.SetKnownPeer(known); err != nil {
			t.Fatal(err)
		}
		eva := town.client(name)
		_, err := eva.Send(context.Background(), []string{"alice"}, "hello")
		if e := AsError(err); e == nil || e.Code != proto.IdentityChanged || strings.Contains(e.Message, `\x`) {
			t.Errorf("%s: the stranger is told %v", name, err)
		}
		eva.leave()
	}
	alice.mustSend("still here", "bob")
	sees(t, alice, bob, "still here")
	if now := alice.Conn(); now != conn {
		t.Errorf("alice had to connect again: %s", describe(alice.seen()))
	}
}
