package command

import (
	"context"
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
		return a.trustIn(a.readState, args)
	}
	return a.trustIn(a.openState, args)
}

// trustIn lists and changes those of a state directory.
func (a *app) trustIn(open func() (*state.State, error), args []string) error {
	if len(args) == 0 {
		state, err := open()
		if err == nil {
			showTrust(a.out, state)
		}
		return err
	}
	said, err := changeTrust(open, args)
	if err == nil {
		a.out.notice("%s", said)
	}
	return err
}

// trustVerbs has the words that follow each verb.
var trustVerbs = map[string]string{
	"accept": "NAME IDENTITY, or HOST:PORT FINGERPRINT", "forget": "NAME, or HOST:PORT", "block": "NAME", "unblock": "NAME",
}

// changeTrust accepts, forgets, blocks or unblocks a relay or person. It returns a sentence about
// that.
func changeTrust(open func() (*state.State, error), args []string) (said string, err error) {
	verb := args[0]
	needs := trustVerbs[verb]
	switch {
	case needs == "":
		return "", usageError("trust takes accept, forget, block or unblock, not %q", verb)
	case len(args) != 2 && (verb != "accept" || len(args) != 3):
		return "", usageError("trust %s needs %s", verb, needs)
	}
	target, relay := args[1], strings.Contains(args[1], ":") // no name has a colon
	if relay {
		target, err = state.RelayAddr(target)
	} else {
		err = proto.CheckName(target)
	}
	if err != nil && relay && verb == "forget" { // an interface that is gone, or an earlier program's spelling
		if st, openErr := open(); openErr == nil {
			if _, ok := st.KnownRelay(args[1]); ok {
				target, err = args[1], nil
			}
		}
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
		return restrict(st, verb, target, relay)
	case value == "":
		return "", whatToAccept(st, target, relay)
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
func whatToAccept(st *state.State, target string, relay bool) error {
	value, hint := "identity", "ask the person, by another way, what identity client card shows there"
	if relay {
		value, hint = "fingerprint", "ask the relay's operator, by another way, what relay -fingerprint prints there"
	}
	known := "nothing is known yet"
	for _, o := range trustObjects(head{}, st) {
		if proto.SameName(o.Name, target) && !o.Blocked {
			known = "known is " + strings.TrimSpace(o.text())
		}
	}
	return &fail.Error{Code: proto.Usage, Message: fmt.Sprintf("trust accept %s needs the whole %s after it; %s", target, value, known), Hint: hint}
}

// restrict forgets, blocks or unblocks.
func restrict(st *state.State, verb, target string, relay bool) (said string, err error) {
	ok := false
	said, unknown := "is forgotten: the next meeting counts as the first", "nothing is known of "
	switch {
	case verb == "block":
		var who *state.KnownPeer
		if who, ok, err = st.Block(target); ok {
			said = "is blocked under every name: " + who.Shown()
		}
	case verb == "unblock":
		ok, err = st.Unblock(target)
		said, unknown = "is not blocked any more: the next meeting counts as the first", "nobody is blocked who used the name "
	case relay:
		ok, err = st.ForgetRelay(target)
	default:
		ok, err = st.ForgetPeer(target)
	}
	if err == nil && !ok {
		err = &fail.Error{
			Code: proto.Internal, Message: unknown + proto.Visible(target), Hint: "client trust shows the known relays and people",
		}
	}
	return proto.Visible(target) + " " + said, err
}

// showTrust writes the known relays, then the known people, then the blocked ones.
func showTrust(out *display, state *state.State) {
	for _, o := range trustObjects(out.head("trust"), state) {
		out.show(o)
	}
}

func trustObjects(h head, state *state.State) (objects []trustObject) {
	for _, r := range state.KnownRelays() {
		objects = append(objects, trustObject{
			head: h, Kind: "relay", Name: r.Addr, Fingerprint: r.Fingerprint, Accepted: true, First: jsonTime{r.First},
		})
	}
	people := state.KnownPeers()
	for i, p := range append(people, state.BlockedPeers()...) {
		objects = append(objects, trustObject{
			head: h, Kind: "peer", Name: p.Name, Identity: proto.FormatHash(p.Identity), CommonName: p.CommonName,
			Accepted: p.Accepted, Blocked: i >= len(people), First: jsonTime{p.First},
		})
	}
	return objects
}

func (o trustObject) text() string {
	since := "  since " + day(o.First.Time) + "\n"
	if o.Kind == "relay" {
		return "relay " + proto.Visible(o.Name) + "  " + o.Fingerprint + since
	}
	how, who := "seen", "not met yet"
	switch {
	case o.Blocked:
		how = "blocked"
	case o.Accepted:
		how = "accepted"
	}
	if o.CommonName != "" {
		who = proto.Quote(o.CommonName)
	}
	return fmt.Sprintf("peer %s  %s  %s  %s", proto.Visible(o.Name), how, o.Identity, who) + since
}
