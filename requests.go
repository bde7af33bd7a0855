package chatsecure

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// request sends a request that the relay itself answers, signed by K, and
// registers who takes the answer. It runs in the engine's goroutine.
func (e *engine) request(h *proto.Header, answer func(inbound, error)) {
	if e.sess == nil {
		answer(inbound{}, Errorf(proto.Lost, "the relay is not connected just now"))
		return
	}
	header := canon.MustMarshal(h)
	sig := e.local.Key.Sign(e.sess.sends.RequestSigns(e.nextLine, header))
	e.answers[e.nextLine] = answer
	e.sendLine(proto.AppendPayload(nil, header, sig, nil), nil)
}

// ask is request from another goroutine, with its answers collected until the
// last.
func (e *engine) ask(ctx context.Context, h *proto.Header) ([]inbound, error) {
	type result struct {
		in  inbound
		err error
	}
	results := make(chan result, 64)
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	err := e.do(ctx, func() {
		e.request(h, func(in inbound, err error) {
			select {
			case results <- result{in, err}:
			default: // more pages than anybody has users
			}
		})
	})
	if err != nil {
		return nil, err
	}
	var all []inbound
	for {
		select {
		case r := <-results:
			if r.err != nil {
				return nil, r.err
			}
			all = append(all, r.in)
			if r.in.header.Type != proto.TypeList || r.in.header.Done != "" {
				return all, nil
			}
		case <-e.ended:
			return nil, e.endError()
		case <-ctx.Done():
			return nil, Errorf(proto.Lost, "the relay did not answer within %v", e.cfg.Timeout)
		}
	}
}

// readListed decodes a page of a list answer and refuses what is malformed.
func readListed(body []byte) ([]proto.Listed, error) {
	var page []proto.Listed
	if err := canon.Unmarshal(body, &page); err != nil {
		return nil, Errorf(proto.Malformed, "the relay's list is malformed")
	}
	for _, l := range page {
		if proto.CheckName(l.Name) != nil || !proto.ValidConnID(l.ID) || !proto.ValidTakes(l.Takes) || !isHash(l.Identity) {
			return nil, Errorf(proto.Malformed, "the relay's list is malformed")
		}
	}
	return page, nil
}

// readWhois decodes an answer to whois and refuses what is malformed. Whose the
// bundles are has not been checked.
func readWhois(body []byte) ([]whoisEntry, error) {
	var entries []whoisEntry
	malformed := Errorf(proto.Malformed, "the relay's answer to whois is malformed")
	if err := canon.Unmarshal(body, &entries); err != nil || len(entries) > proto.MaxWhois {
		return nil, malformed
	}
	for _, entry := range entries {
		if entry.Bundle == nil || !proto.ValidConnID(entry.ID) || !proto.ValidTakes(entry.Takes) {
			return nil, malformed
		}
	}
	return entries, nil
}

// list is Client.List.
func (e *engine) list(ctx context.Context) ([]Online, error) {
	pages, err := e.ask(ctx, &proto.Header{Type: proto.TypeList})
	if err != nil {
		return nil, err
	}
	var out []Online
	for _, p := range pages {
		page, err := readListed(p.body)
		if err != nil {
			return nil, err
		}
		for _, l := range page {
			out = append(out, Online{Name: l.Name, Conn: l.ID, Takes: l.Takes, Since: time.Unix(l.Since, 0), Identity: l.Identity})
		}
	}
	err = e.do(ctx, func() {
		for i := range out {
			o := &out[i]
			o.Self = e.sess != nil && o.Conn == e.sess.id
			o.Level, o.Identity = e.level(o.Conn, o.Self, o.Identity)
		}
	})
	return out, err
}

// level tells whether a connection has proved itself end to end, and then its
// proved identity in the place of the relay's word.
func (e *engine) level(conn string, self bool, word string) (int, string) {
	if self {
		return 1, hexIdentity(e.self)
	}
	if pc := e.conns[conn]; pc != nil && pc.conv != nil {
		return 1, hexIdentity(pc.conv.Person.Identity)
	}
	return 0, word
}

// watch is Client.Watch.
func (e *engine) watch(ctx context.Context) error {
	return e.do(ctx, func() {
		e.watchAll = true
		e.requestWatch("")
	})
}

// requestWatch asks who is there, all or one name, and to be told who comes
// and leaves from now on.
func (e *engine) requestWatch(name string) { e.tryWatch(name, e.cfg.again) }

// tryWatch is requestWatch, which is made again after about wait, and then
// twice that, where the relay has been asked for too much.
func (e *engine) tryWatch(name string, wait time.Duration) {
	var u *user
	if name != "" {
		u = e.userFor(name)
		u.watching = true
	}
	e.request(&proto.Header{Type: proto.TypeList, Name: name, Watch: true}, func(in inbound, err error) {
		if err != nil {
			switch ee := AsError(err); {
			case ee.Code == proto.Lost: // it is asked again once the relay is back
			case ee.Code == proto.Busy && e.watched() <= proto.MaxWatches:
				if u != nil {
					u.refusal = ee // to who does not wait so long
				}
				e.watchLater(name, wait)
			case u != nil:
				u.listed, u.refusal = true, ee
			}
			return
		}
		page, err := readListed(in.body)
		if err != nil {
			e.event(Event{Type: EventError, Err: AsError(err)})
		}
		for _, l := range page {
			e.connCame(l.ID, l.Name, l.Takes)
		}
		if u != nil && in.header.Done != "" {
			u.listed = true
			if u.refusal != nil && AsError(u.refusal).Code == proto.Busy {
				u.refusal = nil
			}
		}
	})
}

// watched is how many names are watched: from more than MaxWatches on a relay
// that is busy stays so.
func (e *engine) watched() (n int) {
	for _, u := range e.users {
		if u.watching {
			n++
		}
	}
	return n
}

// watchLater asks again after a while, unless the relay has been lost or has
// answered another request meanwhile.
func (e *engine) watchLater(name string, wait time.Duration) {
	sess := e.sess
	e.wg.Go(func() {
		select {
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		case <-e.ended:
			return
		case <-e.ctx.Done():
			return
		}
		e.do(e.ctx, func() {
			if e.sess == sess && (name == "" || !e.userFor(name).listed) {
				e.tryWatch(name, min(2*wait, backoffMax))
			}
		})
	})
}

// whois is Client.Whois.
func (e *engine) whois(ctx context.Context, name string) (*Whois, error) {
	if err := proto.CheckName(name); err != nil {
		return nil, err
	}
	answer, err := e.ask(ctx, &proto.Header{Type: proto.TypeWhoisGet, Name: name})
	if err != nil {
		return nil, err
	}
	entries, err := readWhois(answer[0].body)
	if err != nil {
		return nil, err
	}
	w := &Whois{Name: name}
	if k, ok := e.cfg.State.KnownPeer(proto.FoldName(name)); ok {
		w.Known = k
	}
	looking, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	for _, entry := range entries {
		c := WhoisConn{Conn: entry.ID, Takes: entry.Takes, Since: time.Unix(entry.Since, 0), Bundle: entry.Bundle}
		switch {
		case !proto.SameName(entry.Bundle.Name, name):
			c.Err = Errorf(proto.NameMismatch, "the relay showed a bundle of another name")
		default:
			c.Person, c.Err = e.cfg.Fetcher.VerifyWait(looking, e.cfg.Verifier, entry.Bundle, entry.Bundle.Name)
			w.Name = entry.Bundle.Name
		}
		w.Conns = append(w.Conns, c)
	}
	if len(w.Conns) == 0 {
		return nil, errNobody(name)
	}
	err = e.do(ctx, func() {
		for i := range w.Conns {
			c := &w.Conns[i]
			var proved string
			c.Level, proved = e.level(c.Conn, e.sess != nil && c.Conn == e.sess.id, "")
			// The relay's word must not stand under what was proved.
			if c.Err == nil && c.Level > 0 && hexIdentity(c.Person.Identity) != proved {
				c.Person, c.Err = nil, Errorf(proto.IdentityChanged, "it is another person's than the one who that connection has proved to be")
			}
		}
	})
	return w, err
}

// release is Client.Release.
func (e *engine) release(ctx context.Context) error {
	_, err := e.ask(ctx, &proto.Header{Type: proto.TypeRelease})
	return err
}

// everyone is Client.Everyone.
func (e *engine) everyone() []string {
	var names []string
	e.do(context.Background(), func() {
		for _, u := range e.users {
			for _, pc := range e.connsOf(u) {
				if pc.conv != nil && !slices.Contains(names, u.shown) {
					names = append(names, u.shown)
				}
			}
		}
	})
	slices.Sort(names)
	return names
}

// resolvePoll is how often resolve looks whether handshakes have settled; it
// is woken by nothing else, since handshakes take longer than this.
const resolvePoll = 2 * time.Millisecond

// resolve finds who the names are before the first record is fixed to them:
// it waits until those who are there have proved themselves or been refused,
// and asks about those who are new. It fails where nobody is left.
func (e *engine) resolve(ctx context.Context, names []string) (*targets, error) {
	if len(names) == 0 || len(names) > proto.MaxRecipients {
		return nil, Errorf(proto.Usage, "a message goes to 1 to %d names", proto.MaxRecipients)
	}
	for _, name := range names {
		if err := proto.CheckName(name); err != nil {
			return nil, err
		}
	}
	var users []*user
	err := e.do(ctx, func() {
		for _, name := range names {
			u := e.userFor(name)
			if slices.Contains(users, u) {
				continue
			}
			users = append(users, u)
			u.refusal = nil
			asks := !u.watching
			u.watching = true
			there := false
			for _, pc := range e.connsOf(u) {
				there = there || pc.takes == proto.TakesMessages
				pc.again = time.Time{}
				e.approach(pc)
			}
			// Where nobody is there the relay's word of one who has just come
			// may be on its way; its answer comes after it.
			if asks || !there {
				u.listed = false
				if e.sess != nil {
					e.requestWatch(name)
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if err := e.awaitSettled(ctx, users); err != nil {
		return nil, err
	}
	refusals, err := e.confirmAll(ctx, users)
	if err != nil {
		return nil, err
	}
	t := &targets{users: users}
	err = e.do(ctx, func() {
		for i, u := range users {
			if refusals[i] != nil {
				u.refusal = refusals[i]
			}
			rc := crypto.Recipient{Name: u.name}
			if u.identity != [32]byte{} {
				rc.Identity = hexIdentity(u.identity)
			}
			t.to = append(t.to, rc)
		}
	})
	if err != nil {
		return nil, err
	}
	crypto.SortRecipients(t.to)
	if slices.ContainsFunc(refusals, func(r *Error) bool { return r == nil }) {
		return t, nil
	}
	// Nobody is left to send to. The most severe reason is told.
	slices.SortStableFunc(refusals, func(a, b *Error) int { return severity(ExitStatus(a)) - severity(ExitStatus(b)) })
	return nil, refusals[0]
}

// awaitSettled waits until each user has a conversation, or is known not to be
// there, or has been refused. Where nobody at all is there it goes on waiting,
// up to WaitPeer.
func (e *engine) awaitSettled(ctx context.Context, users []*user) error {
	start := time.Now()
	for {
		settled, anybody := true, false
		err := e.do(ctx, func() {
			for _, u := range users {
				there := false
				done := final(u.refusal)
				for _, pc := range e.connsOf(u) {
					if pc.takes != proto.TakesMessages {
						continue
					}
					there = true
					done = done || pc.conv != nil
				}
				anybody = anybody || there || done
				// Without the relay nobody knows who is there; who has proved
				// himself before can be written to all the same.
				away := e.sess == nil && u.person == nil
				if away || !u.listed || there && !done {
					settled = false
				}
			}
		})
		if err != nil {
			return err
		}
		waited := time.Since(start)
		if settled && (anybody || waited >= e.cfg.WaitPeer) || waited > e.cfg.Timeout+e.cfg.WaitPeer {
			return nil
		}
		select {
		case <-time.After(resolvePoll):
		case <-ctx.Done():
			return ctx.Err()
		case <-e.ended:
			return e.endError()
		}
	}
}

// final tells whether a refusal stays: of who somebody is. What else may fail
// in a handshake, a lost or spoiled line or a revocation list that is still
// being fetched, is tried again.
func final(refusal error) bool {
	return refusal != nil && ExitStatus(refusal) == exitRefused && !errors.Is(refusal, errFetching)
}

// confirmAll asks about those who are new, and returns for each user why
// nothing can be sent to it, or nil.
func (e *engine) confirmAll(ctx context.Context, users []*user) ([]*Error, error) {
	refusals := make([]*Error, len(users))
	for i, u := range users {
		var person *crypto.Person
		var accepted, there, away bool
		var refusal error
		var shown string
		err := e.do(ctx, func() {
			person, accepted, refusal, shown = u.person, u.accepted, u.refusal, u.shown
			away = e.sess == nil
			for _, pc := range e.connsOf(u) {
				there = there || pc.takes == proto.TakesMessages
			}
		})
		if err != nil {
			return nil, err
		}
		absent := errNobody(shown)
		if away {
			absent = Errorf(proto.Lost, "the relay at %s is lost, so nobody knows whether %s is there", e.cfg.Relay, shown)
		}
		switch {
		case person == nil && refusal != nil:
			refusals[i] = AsError(refusal)
		case person == nil && !there && e.cfg.WaitPeer == 0:
			refusals[i] = absent
		case person == nil && !there && accepted, person == nil && !there && e.cfg.AcceptNew:
			// Absent, and waited for: the record is bound to who is known, or
			// to the first who is accepted.
		case person == nil && there && !away:
			refusals[i] = Errorf(proto.Timeout, "%s does not answer the handshake", shown)
		case person == nil:
			refusals[i] = absent
		case !accepted:
			if err := e.accept(ctx, u, shown, person); err != nil {
				refusals[i] = AsError(err)
			}
		}
	}
	return refusals, nil
}

// accept decides about a person who is new: by -accept-new, or by asking.
func (e *engine) accept(ctx context.Context, u *user, name string, p *crypto.Person) error {
	if !e.cfg.AcceptNew {
		if e.cfg.Asker == nil {
			return errPeerUnknown(name, p)
		}
		yes, err := e.cfg.Asker.ConfirmPeer(ctx, name, p)
		if err != nil {
			return err
		}
		if !yes {
			return errPeerUnknown(name, p)
		}
	}
	if err := e.rememberAccepted(u, p); err != nil {
		return err
	}
	return e.do(ctx, func() { u.accepted = true })
}

// rememberAccepted writes down that this person is who the name means.
func (e *engine) rememberAccepted(u *user, p *crypto.Person) error {
	k := KnownPeer{Name: u.name, Identity: p.Identity, Accepted: true, CommonName: p.Leaf.Subject.CommonName, Leaf: sha256.Sum256(p.Leaf.Raw), First: e.now()}
	if old, ok := e.cfg.State.KnownPeer(u.name); ok {
		k.First = old.First
	}
	return e.cfg.State.SetKnownPeer(k)
}
