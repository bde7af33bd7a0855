package client

import (
	"bytes"
	"slices"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// user is one name that this client talks with or watches. The engine's
// goroutine owns it.
type user struct {
	name     string // folded
	shown    string // as the user's own bundle has it
	conns    int    // connections that are known of
	watching bool   // the relay tells who comes and leaves
	listed   bool   // the relay has answered once
	accepted bool   // a person said yes to this one, now or earlier
	met      bool   // the name was known before, accepted or only seen
	greeted  bool   // a message of this person's has been shown since the start

	identity [32]byte
	person   *trust.Person     // the last one proved
	refusal  error             // why the last attempt with any connection failed
	bundles  map[[32]byte]bool // that have been proved since the start, up to maxBundles

	boxes   boxes
	orphans []*delivery // waiting for a connection that takes them
	away    []*device   // the last one lost comes last
	counts  statusCounts
}

const (
	// maxBundles bounds the remembered bundles of a user. The devices and
	// delegations of a day are far fewer.
	maxBundles = 256
	// MaxUsers bounds the names that were only met, and the paces of callers. The
	// file of known peers has the names as well.
	MaxUsers = 4096
)

func (e *engine) userFor(name string) *user {
	folded := proto.FoldName(name)
	u := e.users[folded]
	if u == nil {
		u = &user{name: folded, shown: name}
		if k, ok := e.cfg.State.KnownPeer(folded); ok {
			u.met, u.accepted, u.identity = true, k.Accepted, k.Identity
		}
		e.users[folded] = u
	}
	return u
}

// connsOf returns a user's connections, in the order of their ids.
func (e *engine) connsOf(u *user) []*peerConn {
	var out []*peerConn
	for _, pc := range e.conns {
		if pc.user == u {
			out = append(out, pc)
		}
	}
	slices.SortFunc(out, func(a, b *peerConn) int { return bytes.Compare([]byte(a.id), []byte(b.id)) })
	return out
}

// talks tells whether there is a conversation with a user.
func (e *engine) talks(u *user) bool {
	return slices.ContainsFunc(e.connsOf(u), func(pc *peerConn) bool { return pc.conv != nil })
}

// forgetUser drops a name of no meaning: the relay could invent any number. A name
// stays that is watched, connected, accepted, met, or has a record here.
func (e *engine) forgetUser(u *user) {
	if u.watching || u.accepted || len(u.orphans) > 0 || u.counts.total > 0 || u.conns > 0 {
		return
	}
	if (u.met || u.person != nil) && len(e.users) <= MaxUsers {
		return
	}
	delete(e.users, u.name)
}

// hasNew remembers a proved bundle. It returns true if the user has proved
// others since the start, and never this one.
func (u *user) hasNew(bundle [32]byte) bool {
	if u.bundles[bundle] || len(u.bundles) >= maxBundles {
		return false
	}
	first := u.bundles == nil
	if first {
		u.bundles = map[[32]byte]bool{}
	}
	u.bundles[bundle] = true
	return !first
}
