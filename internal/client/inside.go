package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// Inside is a client as tests with a relay and several clients see it, behind
// its API. The programs have no use for it.
type Inside struct{ e *engine }

// Snapshot is the state of a client between two turns of its engine.
type Snapshot struct {
	Users        map[string]UserSnapshot // by folded name
	Conns        map[string]ConnSnapshot // by connection id
	Dialing      bool                    // the relay is lost, and an attempt under way
	Goodbye      bool                    // the relay has been told that the client leaves
	OwesReceipts bool                    // a receipt waits for its time
	Waiting      int                     // bytes that are received from all people and not READ
	EventsFull   bool                    // DELIVERED is withheld
	PipeAgreed   bool                    // with a peer
}

// UserSnapshot counts the bytes and records of one name.
type UserSnapshot struct {
	Waiting          int // bytes that are received from the person and not READ
	Total, Delivered int // records to this name
	Awaited          int // records that wait for a connection
}

// ConnSnapshot is one connection of a peer's.
type ConnSnapshot struct {
	Name          string
	Conversation  *crypto.Conversation // or nil
	HalfOpen      bool                 // a p2 of ours waits for its p3
	Tries         int                  // failed handshakes on end
	Queued        int                  // records that wait for a window
	Unread        int                  // records that are sent and not READ
	Delivered     uint64
	UnackBytes    int // sent and not DELIVERED
	UnreadBytes   int // sent and not READ
	Lines         []LineSnapshot
	SaidDelivered uint64 // of our last receipt
}

// LineSnapshot is a line that the relay has not acked.
type LineSnapshot struct{ Number, LastRecord uint64 }

// Inside gives tests a look behind the API.
func (c *Client) Inside() Inside { return Inside{c.engine} }

// do runs f once: in the engine's goroutine or, once the engine has ended, in
// this one.
func (i Inside) do(f func()) {
	once := sync.OnceFunc(f)
	if i.e.do(context.Background(), once) != nil {
		<-i.e.ended
		once()
	}
}

// Look calls f between two turns of the engine.
func (i Inside) Look(f func(Snapshot)) {
	i.do(func() { f(i.e.snapshot()) })
}

func (e *engine) snapshot() Snapshot {
	s := Snapshot{
		Users: map[string]UserSnapshot{}, Conns: map[string]ConnSnapshot{},
		Dialing: e.link.dialing, Goodbye: e.goodbye, OwesReceipts: !e.inbox.receiptAt.IsZero(),
		Waiting: e.waiting.all, EventsFull: e.events.full(),
		PipeAgreed: e.pipe != nil && e.pipe.peer != nil,
	}
	for name, u := range e.users {
		s.Users[name] = UserSnapshot{e.waiting.of[u.identity], u.counts.total, u.counts.delivered, len(u.orphans)}
	}
	for id, pc := range e.conns {
		c := ConnSnapshot{
			Name: pc.name, Conversation: pc.conv, HalfOpen: pc.shake.resp != nil, Tries: pc.shake.tries,
			Queued: len(pc.out.queue), Unread: len(pc.out.sent), Delivered: pc.out.delivered,
			UnackBytes: pc.out.unackBytes, UnreadBytes: pc.out.unreadBytes, SaidDelivered: pc.in.saidDelivered,
		}
		for _, f := range pc.lines.inflight {
			c.Lines = append(c.Lines, LineSnapshot{f.line, f.seq})
		}
		s.Conns[id] = c
	}
	return s
}

// Identity returns what the client's credential proves.
func (i Inside) Identity() [32]byte { return i.e.self }

// Credential returns what the client proves itself with now.
func (i Inside) Credential() (cred *state.Credential) {
	i.do(func() { cred = i.e.cfg.Credential })
	return cred
}

// Accepted tells whether somebody said yes to the person of a name.
func (i Inside) Accepted(name string) (yes bool) {
	i.do(func() { yes = i.e.userFor(name).accepted })
	return yes
}

// Kill ends the client at once, as if it were killed.
func (i Inside) Kill() { i.e.abort() }

// Stop ends the client in order, without a word to anybody.
func (i Inside) Stop() { i.do(func() { i.e.end(nil) }) }

// Leave begins what Close does, and does not wait.
func (i Inside) Leave() { i.do(i.e.leave) }

// Ended is closed when the client has ended, but for goroutines that wait for
// the outside.
func (i Inside) Ended() <-chan struct{} { return i.e.ended }

// Join waits for those, too.
func (i Inside) Join() { i.e.wg.Wait() }

// CutOff closes the connection to the relay under the client.
func (i Inside) CutOff() { i.do(func() { i.e.link.sess.conn.Close() }) }

// Tick makes the client look at its time-outs as if it were now. It returns the
// state right after that.
func (i Inside) Tick(now time.Time) (after Snapshot) {
	i.do(func() {
		i.e.onTick(now)
		after = i.e.snapshot()
	})
	return after
}

// Renew makes the delegation anew if it is due, also shortly after a failure.
// It tells whether the card is being asked.
func (i Inside) Renew() (asked bool) {
	i.do(func() {
		i.e.renewal.next = time.Time{}
		i.e.renewIfDue(time.Now())
		asked = i.e.renewal.running
	})
	return asked
}

// EndConversations ends every conversation, and tells the peers.
func (i Inside) EndConversations(reason string) {
	i.do(func() {
		for _, pc := range i.e.conns {
			t3 := pc.conv.T3
			i.e.breakConversation(pc, reason)
			i.e.sayEnded(pc, t3, endedHere)
		}
	})
}

// SendEnds sends the sealed end of every conversation, and nothing else: the connection stays.
func (i Inside) SendEnds() {
	i.do(func() {
		for _, pc := range i.e.conns {
			if s, err := pc.conv.SealEnd(i.e.now()); err == nil {
				i.e.sendTo(pc, proto.TypeDisconnect, s.Body, 0)
			}
		}
	})
}

// HoldHandshakes lets the peers whose p3 is awaited take any time.
func (i Inside) HoldHandshakes() {
	i.do(func() {
		for _, pc := range i.e.conns {
			if pc.shake.resp != nil {
				pc.shake.deadline = time.Time{}
			}
		}
	})
}

// AbortPipe ends the pipe with a reason for the peer.
func (i Inside) AbortPipe(reason string) { i.do(func() { i.e.pipe.abort(reason) }) }

// Ask asks the relay who is there by a name, and to be told of them.
func (i Inside) Ask(name string) { i.do(func() { i.e.requestWatch(name) }) }

// Tell adds an event to those of the client.
func (i Inside) Tell(ev Event) { i.e.events.add(ev) }

// Meet has the client know n names, user0 and so on.
func (i Inside) Meet(n int) {
	i.do(func() {
		for k := range n {
			name := fmt.Sprintf("user%d", k)
			i.e.users[name] = &user{name: name}
		}
	})
}

// Count adds bytes to those that are received from the person of a name and not READ.
func (i Inside) Count(name string, bytes int) {
	i.do(func() { i.e.waiting.add(i.e.users[name].identity, bytes) })
}

// CountSent adds bytes to those that are sent over a connection and not READ.
func (i Inside) CountSent(conn string, bytes int) {
	i.do(func() { i.e.conns[conn].out.unreadBytes += bytes })
}
