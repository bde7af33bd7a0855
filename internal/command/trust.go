package command

import (
	"context"
	"fmt"
	"slices"
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
	said, next, err := changeTrust(open, args)
	if err == nil && next != "" {
		said += "; " + a.out.words(next)
	}
	if err == nil {
		a.out.notice("%s", said)
	}
	return err
}

// trustVerbs has the words that follow each verb.
var trustVerbs = map[string]string{
	"accept": "NAME IDENTITY, or HOST:PORT FINGERPRINT", "forget": "NAME, or HOST:PORT",
	"block": "NAME, or NAME IDENTITY", "unblock": "NAME, or NAME IDENTITY",
}

// changeTrust accepts, forgets, blocks or unblocks a relay or person. It returns a sentence about
// that, and advice where something else may have been meant.
func changeTrust(open func() (*state.State, error), args []string) (said, next string, err error) {
	verb := args[0]
	needs := trustVerbs[verb]
	switch {
	case needs == "":
		return "", "", usageError("trust takes accept, forget, block or unblock, not %q", verb)
	case len(args) != 2 && (verb == "forget" || len(args) != 3):
		return "", "", usageError("trust %s needs %s", verb, needs)
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
		return "", "", usageError("a relay's address is %v, not %q", err, args[1])
	case err != nil:
		return "", "", usageError("%q is neither a name nor HOST:PORT: %v", args[1], err)
	case relay && verb != "accept" && verb != "forget":
		return "", "", usageError("trust %s needs %s, not an address", verb, needs)
	}
	value := state.NormalFingerprint(strings.Join(args[2:], ""))
	whole := value
	if verb == "unblock" && shortest <= len(value) && len(value) < 64 { // it is one of the blocked
		whole += strings.Repeat("0", 64-len(value))
	}
	if value != "" && !proto.IsHex(whole, 32) {
		return "", "", usageError("an identity or fingerprint has 64 hex digits, with or without colons, not %q", args[2])
	}
	st, err := open()
	switch {
	case err != nil:
	case verb == "block":
		return block(st, target, value)
	case verb == "unblock":
		said, err = unblock(st, target, value)
	case verb == "forget":
		return forget(st, target, relay)
	case value == "":
		err = whatToAccept(st, target, relay)
	case relay:
		said, err = acceptRelay(st, target, value)
	default:
		said, err = acceptPeer(st, target, value)
	}
	return said, "", err
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
	const nothing = "nothing is known yet"
	known := nothing
	for _, o := range trustObjects(head{}, st) {
		if known == nothing && proto.SameName(o.Name, target) {
			known = "known is " + strings.TrimSpace(o.text())
		}
	}
	message := fmt.Sprintf("trust accept %s needs the whole %s after it; %s", target, value, known)
	return &fail.Error{Code: proto.Usage, Message: message, Hint: hint}
}

// notFound is the error about a name or address that means nothing here.
func notFound(unknown, target string) error {
	return &fail.Error{
		Code: proto.Internal, Message: unknown + proto.Visible(target), Hint: "client trust shows the known relays and people",
	}
}

// block blocks an identity, or else the one that a name is known for: maybe not the one who uses it.
func block(st *state.State, name, identity string) (said, next string, err error) {
	known, ok := st.KnownPeer(proto.FoldName(name))
	shown := proto.Visible(name)
	switch {
	case identity == "" && !ok:
		return "", "", notFound("nothing is known of ", name)
	case identity == "":
		identity = proto.FormatHash(known.Identity)
		next = "it is for this person only; for another who uses the name: client trust block " + shown + " IDENTITY"
	}
	who, accepted, err := st.Block(name, proto.MustHash(identity))
	if err != nil {
		return "", "", err
	}
	said = shown + " is blocked under every name: " + who.Shown()
	if ok && known.Identity != who.Identity {
		said = "blocked under every name is " + who.Shown() + "; " + shown + " stays " + known.Shown()
	}
	if len(accepted) > 0 {
		said += ", who was accepted as " + strings.Join(accepted, ", ")
	}
	return said, next, nil
}

// unblock takes the block of an identity back, or else the only block of a name.
func unblock(st *state.State, name, identity string) (said string, err error) {
	blocked := st.BlockedAs(name)
	if identity != "" {
		blocked = slices.DeleteFunc(st.BlockedPeers(), func(k state.KnownPeer) bool { return !strings.HasPrefix(proto.FormatHash(k.Identity), identity) })
	}
	switch len(blocked) {
	case 0:
		if identity != "" {
			return "", notFound("nobody is blocked whose identity is ", identity)
		}
		return "", notFound("nobody is blocked who used the name ", name)
	case 1:
		_, err := st.Unblock(blocked[0].Identity)
		return proto.Visible(name) + " is not blocked any more, and not accepted: " + blocked[0].Shown(), err
	}
	e := &fail.Error{Code: proto.Usage, Message: fmt.Sprintf("%d people are blocked who used the name %s", len(blocked), proto.Visible(name))}
	for i, k := range blocked {
		command := state.Refused{Target: name, Value: proto.FormatHash(k.Identity)}
		e.Message += [...]string{": ", "; "}[min(i, 1)] + k.Shown()
		e.Hint += [...]string{"", ", or "}[min(i, 1)] + command.Unblock()
	}
	return "", e
}

// forget makes a name or a relay unknown. A block stays.
func forget(st *state.State, target string, relay bool) (said, next string, err error) {
	blocked := st.BlockedAs(target)
	change := st.ForgetPeer
	if relay {
		change = st.ForgetRelay
	}
	ok, err := change(target)
	switch {
	case err != nil:
		return "", "", err
	case !ok:
		return "", "", notFound("nothing is known of ", target)
	}
	said = proto.Visible(target) + " is forgotten: the next meeting counts as the first"
	for _, k := range blocked {
		said += "; " + k.Shown() + " stays blocked"
		next = "to take that back: " + (&state.Refused{Target: k.Name, Value: proto.FormatHash(k.Identity)}).Unblock()
	}
	return said, next, nil
}

// showTrust writes the known relays, then the known people, then those whose block is left.
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
	type line struct {
		name     string
		identity [32]byte
	}
	shown := make(map[line]bool) // the name of a block is mostly known as well
	for _, p := range append(state.KnownPeers(), state.BlockedPeers()...) {
		if shown[line{p.Name, p.Identity}] {
			continue
		}
		shown[line{p.Name, p.Identity}] = true
		objects = append(objects, trustObject{
			head: h, Kind: "peer", Name: p.Name, Identity: proto.FormatHash(p.Identity), CommonName: p.CommonName,
			Accepted: p.Accepted, Blocked: p.Blocked, First: jsonTime{p.First},
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
