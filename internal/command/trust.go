package command

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

type trustObject struct {
	head
	Kind        string   `json:"kind"` // relay or peer
	Name        string   `json:"name"` // HOST:PORT, or the peer's name
	Fingerprint string   `json:"fingerprint,omitempty"`
	Identity    string   `json:"identity,omitempty"`
	CommonName  string   `json:"common_name,omitempty"`
	Accepted    bool     `json:"accepted"`
	First       jsonTime `json:"first"`
	Offered     string   `json:"offered,omitempty"` // the refused fingerprint or identity

	offeredName string // the common name of a refused person
}

// runTrust lists and changes the known relays and peers.
func runTrust(a *app, _ context.Context, args []string) error {
	if len(args) == 0 {
		state, err := a.readState()
		if err != nil {
			return err
		}
		showTrust(a.out, state)
		return nil
	}
	verb := args[0]
	if verb != "accept" && verb != "forget" {
		return usageError("trust takes accept or forget, not %q", verb)
	}
	if len(args) != 2 {
		return usageError("trust %s needs one name, or one HOST:PORT", verb)
	}
	// A colon tells an address from a name.
	target := args[1]
	isRelay := strings.Contains(target, ":")
	if err := proto.CheckName(target); err != nil && !isRelay {
		return usageError("%q is neither a name nor HOST:PORT: %v", target, err)
	}
	state, err := a.openState()
	if err != nil {
		return err
	}
	switch {
	case isRelay && verb == "accept":
		return a.acceptRelay(state, target)
	case verb == "accept":
		return a.acceptPeer(state, target)
	case isRelay:
		return a.forget(target, state.ForgetRelay)
	}
	return a.forget(target, state.ForgetPeer)
}

// showTrust writes the known relays, then the known peers.
func showTrust(out *display, state *state.State) {
	for _, r := range state.KnownRelays() {
		out.show(trustObject{
			head: out.head("trust"), Kind: "relay", Name: r.Addr, Fingerprint: r.Fingerprint, Accepted: true,
			First: jsonTime{r.First}, Offered: r.Offered,
		})
	}
	for _, p := range state.KnownPeers() {
		o := trustObject{
			head: out.head("trust"), Kind: "peer", Name: p.Name, Identity: hex.EncodeToString(p.Identity[:]), CommonName: p.CommonName,
			Accepted: p.Accepted, First: jsonTime{p.First},
		}
		if p.Offered != nil {
			o.Offered, o.offeredName = hex.EncodeToString(p.Offered.Identity[:]), p.Offered.CommonName
		}
		out.show(o)
	}
}

func (o trustObject) text() string {
	text := "relay " + proto.Visible(o.Name) + "  " + o.Fingerprint
	refused := "another key, " + o.Offered
	if o.Kind == "peer" {
		how := "seen"
		if o.Accepted {
			how = "accepted"
		}
		text = fmt.Sprintf("peer %s  %s  %s  %s", proto.Visible(o.Name), how, o.Identity, proto.Quote(o.CommonName))
		refused = "another person, " + o.Offered + "  " + proto.Quote(o.offeredName)
	}
	text += "  since " + day(o.First.Time) + "\n"
	if o.Offered != "" {
		text += "  refused: " + refused + "\n"
	}
	return text
}

// acceptRelay accepts the key given with -fingerprint, or else the key for
// which the relay was refused.
func (a *app) acceptRelay(state *state.State, addr string) error {
	if a.opt.fingerprint != "" {
		if err := state.PinRelay(addr, a.opt.fingerprint); err != nil {
			return err
		}
		a.out.notice("the relay at %s is known by that fingerprint now", proto.Visible(addr))
		return nil
	}
	fingerprint, ok, err := state.AcceptRelay(addr)
	if err != nil {
		return err
	}
	if !ok {
		return &fail.Error{
			Code: proto.Internal, Message: "no other key of a relay at " + addr + " has been refused, so there is none to accept",
			Hint: "give its fingerprint: client -fingerprint HEX trust accept " + addr,
		}
	}
	a.out.notice("the relay at %s is known by the fingerprint %s now", proto.Visible(addr), fingerprint)
	return nil
}

func (a *app) acceptPeer(state *state.State, name string) error {
	now, ok, err := state.AcceptPeer(name)
	if err != nil {
		return err
	}
	if !ok {
		return &fail.Error{
			Code: proto.Internal, Message: "nobody by the name of " + proto.Visible(name) + " is waiting to be accepted",
			Hint: "client whois " + proto.Visible(name) + " meets the present owner of the name; client trust shows who is known",
		}
	}
	a.out.notice("%s is %s now, identity %x", proto.Visible(name), proto.Quote(now.CommonName), now.Identity)
	return nil
}

// forget forgets a relay or person by its function of the state.
func (a *app) forget(target string, forget func(string) (bool, error)) error {
	ok, err := forget(target)
	if err != nil {
		return err
	}
	if !ok {
		return &fail.Error{
			Code: proto.Internal, Message: "nothing is known of " + proto.Visible(target),
			Hint: "client trust shows the known relays and people",
		}
	}
	a.out.notice("%s is forgotten: the next meeting counts as the first", proto.Visible(target))
	return nil
}
