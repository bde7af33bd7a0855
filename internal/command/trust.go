package command

import (
	"cmp"
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
	Blocked     bool     `json:"blocked,omitempty"`
	First       jsonTime `json:"first"`
}

// runTrust lists and changes the known relays and people.
func runTrust(a *app, _ context.Context, args []string) error {
	if len(args) == 0 {
		state, err := a.readState()
		if err != nil {
			return err
		}
		showTrust(a.out, state)
		return nil
	}
	said, err := changeTrust(a.openState, args)
	if err == nil {
		a.out.notice("%s", said)
	}
	return err
}

// changeTrust accepts, forgets, blocks or unblocks a relay or person. It returns a sentence about
// that.
func changeTrust(open func() (*state.State, error), args []string) (said string, err error) {
	verb, target := args[0], ""
	if len(args) > 1 {
		target = args[1]
	}
	change, needs, most := forget, "NAME, or HOST:PORT", 2
	switch verb {
	case "forget":
	case "accept":
		needs, most = "NAME IDENTITY, or HOST:PORT FINGERPRINT", 3
	case "block":
		change, needs = block, "NAME"
	case "unblock":
		change, needs = unblock, "NAME"
	default:
		return "", usageError("trust takes accept, forget, block or unblock, not %q", verb)
	}
	if len(args) < 2 || len(args) > most {
		return "", usageError("trust %s needs %s", verb, needs)
	}
	relay := strings.Contains(target, ":") // no name has a colon
	if relay {
		target, err = state.RelayAddr(target)
	} else {
		err = proto.CheckName(target)
	}
	switch {
	case err != nil && relay:
		return "", usageError("a relay's address is %v, not %q", err, args[1])
	case err != nil:
		return "", usageError("%q is neither a name nor HOST:PORT: %v", args[1], err)
	case relay && needs == "NAME":
		return "", usageError("trust %s needs %s, not an address", verb, needs)
	}
	value := state.NormalFingerprint(strings.Join(args[2:], ""))
	if value != "" && !proto.IsHex(value, 32) {
		return "", usageError("an identity or fingerprint has 64 hex digits, with or without colons, not %q", args[2])
	}
	st, err := open()
	switch {
	case err != nil:
		return "", err
	case verb != "accept":
		return change(st, target)
	case value == "":
		return "", whatToAccept(st, target)
	case relay:
		return acceptRelay(st, target, value)
	}
	return acceptPeer(st, target, value)
}

// acceptRelay accepts a key that somebody has compared. It need not have been seen here.
func acceptRelay(st *state.State, addr, fingerprint string) (string, error) {
	before, err := st.AcceptRelay(addr, fingerprint)
	said := fmt.Sprintf("the relay at %s is known by the fingerprint %s now", addr, fingerprint)
	if before != "" && before != fingerprint {
		said += ", and no longer by " + before
	}
	return said, err
}

// acceptPeer accepts an identity that somebody has compared. It need not have been seen here.
func acceptPeer(st *state.State, name, identity string) (string, error) {
	before, err := st.AcceptPeer(name, proto.MustHash(identity))
	said := proto.Visible(name) + " is accepted with the identity " + identity
	if before != nil && proto.FormatHash(before.Identity) != identity {
		said += ", and is no longer " + before.Shown()
	} else if before != nil && before.CommonName != "" {
		said += ": " + proto.Quote(before.CommonName)
	}
	return said, err
}

// whatToAccept says which value is missing, and what is known.
func whatToAccept(st *state.State, target string) error {
	e := &fail.Error{Code: proto.Usage}
	if strings.Contains(target, ":") {
		e.Message = "trust accept " + target + " needs the whole fingerprint after it: "
		e.Hint = "ask the relay's operator, by another way, what relay -fingerprint prints there"
		if fingerprint, ok := st.KnownRelay(target); ok {
			e.Message += "known is " + fingerprint
			return e
		}
	} else {
		e.Message = "trust accept " + target + " needs the whole identity after it: "
		e.Hint = "ask the person, by another way, what identity client card shows there"
		if k, ok := st.KnownPeer(proto.FoldName(target)); ok {
			e.Message += fmt.Sprintf("known is %s, %s, identity %x", commonName(k.CommonName), peerStatus(k.Accepted, false), k.Identity)
			return e
		}
	}
	e.Message += "nothing is known yet"
	return e
}

func block(st *state.State, name string) (string, error) {
	who, ok, err := st.Block(name)
	if err != nil || !ok {
		return "", cmp.Or(err, nothing("nothing is known of "+proto.Visible(name)))
	}
	return fmt.Sprintf("%s is blocked under every name: %s", proto.Visible(name), who.Shown()), nil
}

func unblock(st *state.State, name string) (string, error) {
	ok, err := st.Unblock(name)
	if err != nil || !ok {
		return "", cmp.Or(err, nothing("nobody is blocked who used the name "+proto.Visible(name)))
	}
	return proto.Visible(name) + " is not blocked any more: the next meeting counts as the first", nil
}

func forget(st *state.State, target string) (string, error) {
	change := st.ForgetPeer
	if strings.Contains(target, ":") {
		change = st.ForgetRelay
	}
	ok, err := change(target)
	if err != nil || !ok {
		return "", cmp.Or(err, nothing("nothing is known of "+proto.Visible(target)))
	}
	return proto.Visible(target) + " is forgotten: the next meeting counts as the first", nil
}

func nothing(message string) error {
	return &fail.Error{Code: proto.Internal, Message: message, Hint: "client trust shows the known relays and people"}
}

// showTrust writes the known relays, then the known people, then the blocked ones.
func showTrust(out *display, state *state.State) {
	for _, r := range state.KnownRelays() {
		out.show(trustObject{
			head: out.head("trust"), Kind: "relay", Name: r.Addr, Fingerprint: r.Fingerprint, Accepted: true, First: jsonTime{r.First},
		})
	}
	people := state.KnownPeers()
	for i, p := range append(people, state.BlockedPeers()...) {
		out.show(trustObject{
			head: out.head("trust"), Kind: "peer", Name: p.Name, Identity: hex.EncodeToString(p.Identity[:]), CommonName: p.CommonName,
			Accepted: p.Accepted, Blocked: i >= len(people), First: jsonTime{p.First},
		})
	}
}

func (o trustObject) text() string {
	since := "  since " + day(o.First.Time) + "\n"
	if o.Kind == "relay" {
		return "relay " + proto.Visible(o.Name) + "  " + o.Fingerprint + since
	}
	return fmt.Sprintf("peer %s  %s  %s  %s%s",
		proto.Visible(o.Name), peerStatus(o.Accepted, o.Blocked), o.Identity, commonName(o.CommonName), since)
}

func peerStatus(accepted, blocked bool) string {
	switch {
	case blocked:
		return "blocked"
	case accepted:
		return "accepted"
	}
	return "seen"
}

func commonName(name string) string {
	if name == "" {
		return "not met yet"
	}
	return proto.Quote(name)
}
