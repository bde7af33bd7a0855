package client

import (
	"cmp"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// heldLines are lines of one connection that wait, in order, for its step: messages for a look
// at their sender's certificates, or for the p3 before them. The engine's goroutine owns them.
type heldLines struct {
	lines []Inbound
	bytes int
}

// MaxHeld bounds the bytes that wait over all connections. A sender that keeps to its windows
// never has more than a quarter on its way.
const MaxHeld = 64 << 20

// heldCost is about the memory of a held line, without its body.
const heldCost = 512

func (m *Inbound) cost() int { return heldCost + len(m.Body) }

// subject returns the id of the connection that a line is about, whose lines keep their order,
// or "". An ack is about our own lines.
func subject(h *proto.Header) string {
	if h.Type == proto.TypeAck {
		return ""
	}
	return cmp.Or(h.SrcID, h.ID, h.DstID)
}

// mustWait tells whether a connection's next line waits for a step. A message begins a look if
// the last one is too old: it is shown only if its sender is trusted still.
func (e *engine) mustWait(pc *peerConn, h *proto.Header) bool {
	waits := func() bool { return pc.look != nil || pc.shake.step != nil }
	message := h.Type == proto.TypeClientCom || h.Type == proto.TypeCommAck || h.Type == proto.TypeDisconnect && h.DstID != ""
	if message && pc.conv != nil && !waits() && !pc.isFresh(time.Now()) {
		e.look(pc)
	}
	return waits() || e.waitsForLetters(pc, h)
}

// waitsForLetters tells whether a line waits for letters of its sender's that came before it: a p1 for
// those that may have been left, and a message for those that are being checked.
func (e *engine) waitsForLetters(pc *peerConn, h *proto.Header) bool {
	switch {
	case h.Type == proto.TypeClientConnect && h.Phase == 1:
		return e.collect.precedes(time.Now())
	case h.Type == proto.TypeClientCom && pc != nil && pc.conv != nil:
		return e.collect.has(proto.FormatHash(pc.conv.Person.Identity))
	}
	return false
}

// hold keeps a line. Beyond MaxHeld the connection with most is given up, a stranger's first: a
// stranger could else spread lines over many connections, and a friend would have the most in one.
func (e *engine) hold(pc *peerConn, m Inbound) {
	pc.held.lines = append(pc.held.lines, m)
	pc.held.bytes += m.cost()
	if e.held += m.cost(); e.held <= MaxHeld {
		return
	}
	for _, other := range e.conns {
		friend, most := other.user.accepted, other.held.bytes > pc.held.bytes
		if friend == pc.user.accepted && most || pc.user.accepted && !friend && other.held.bytes > 0 {
			pc = other
		}
	}
	const reason = "more of its messages wait here than the window allows"
	if pc.conv != nil {
		e.refuseMessage(pc, fail.Errorf(proto.Flood, reason))
	}
	e.connGone(pc.id, reason)
}

func (e *engine) dropHeld(pc *peerConn) {
	e.held -= pc.held.bytes
	pc.held = heldLines{}
}

// releaseHeld hands on the lines that need not wait any more, in order, a burst of each
// connection in a turn.
func (e *engine) releaseHeld() {
	if e.held == 0 {
		return
	}
	for _, pc := range e.conns {
		for n := 0; len(pc.held.lines) > 0 && !e.mustWait(pc, pc.held.lines[0].Header); n++ {
			if n == burst {
				e.nudge() // for the rest
				break
			}
			m := pc.held.lines[0]
			pc.held.lines[0] = Inbound{} // for the garbage collector
			pc.held.lines = pc.held.lines[1:]
			pc.held.bytes -= m.cost()
			e.held -= m.cost()
			e.dispatch(m)
			if e.fatal != nil {
				return
			}
		}
	}
}
