package client

import (
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

func TestOutcomeExitStatus(t *testing.T) {
	reached := func(name string) NameOutcome { return NameOutcome{Name: name, Reached: 2} }
	partly := NameOutcome{Name: "p", Reached: 1, Open: 1}
	failed := NameOutcome{Name: "f", Failed: 2}
	kept := NameOutcome{Name: "k", Kept: 1, Reached: 1}
	late := fail.Errorf(proto.NotDelivered, "late")
	revoked, broken, lost := fail.Errorf(proto.CertificateRevoked, ""), fail.Errorf(proto.SignatureInvalid, ""), fail.Errorf(proto.Lost, "")
	nobody := fail.Errorf(proto.NoSuchName, "nobody")
	cases := []struct {
		name string
		out  Outcome
		want int
	}{
		{"nothing was sent", Outcome{}, 0},
		{"all", Outcome{Names: []NameOutcome{reached("a"), reached("b")}}, 0},
		{"none", Outcome{Names: []NameOutcome{failed}, Failed: []*fail.Error{nobody}}, 6},
		{"one recipient, part of it", Outcome{Names: []NameOutcome{partly}, Failed: []*fail.Error{late}}, 6},
		{"some", Outcome{Names: []NameOutcome{reached("a"), failed}, Failed: []*fail.Error{nobody}}, 7},
		{"some, one late", Outcome{Names: []NameOutcome{reached("a"), partly}, Failed: []*fail.Error{late}}, 7},
		{"some, one refused", Outcome{Names: []NameOutcome{reached("a"), failed}, Failed: []*fail.Error{late, revoked}}, 4},
		{"none, the relay lost", Outcome{Names: []NameOutcome{partly}, Failed: []*fail.Error{late, lost}}, 3},
		{"none, and a signature broken", Outcome{Names: []NameOutcome{partly}, Failed: []*fail.Error{lost, broken}}, 8},
		{"all, and then the relay lost", Outcome{Names: []NameOutcome{reached("a")}, Failed: []*fail.Error{lost}}, 0},
		{"the relay keeps it", Outcome{Names: []NameOutcome{kept}}, 9},
		{"delivered and kept", Outcome{Names: []NameOutcome{kept, reached("a")}}, 9},
		{"kept, and nobody by the other name", Outcome{Names: []NameOutcome{kept, failed}, Failed: []*fail.Error{nobody}}, 6},
		{"one kept in part", Outcome{Names: []NameOutcome{{Name: "k", Kept: 1, Open: 1}}, Failed: []*fail.Error{late}}, 6},
		{"delivered, kept, and nobody by the third name", Outcome{Names: []NameOutcome{reached("a"), kept, failed}, Failed: []*fail.Error{nobody}}, 7},
		{"kept, and the relay lost", Outcome{Names: []NameOutcome{kept}, Failed: []*fail.Error{lost}}, 3},
		{"lost before anything was sent", Outcome{Failed: []*fail.Error{lost}}, 3},
	}
	for _, c := range cases {
		if got := c.out.ExitStatus(); got != c.want {
			t.Errorf("%s: exit status %d, want %d", c.name, got, c.want)
		}
	}
}
