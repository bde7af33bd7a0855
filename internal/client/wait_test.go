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
		{"lost before anything was sent", Outcome{Failed: []*fail.Error{lost}}, 3},
	}
	for _, c := range cases {
		if got := c.out.ExitStatus(); got != c.want {
			t.Errorf("%s: exit status %d, want %d", c.name, got, c.want)
		}
	}
}
