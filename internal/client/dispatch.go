package client

import (
	"chatsecure/proto"
)

// onInbound takes one payload from the relay, or the end of the session. What must wait for a
// step does so, and all that is about the same connection behind it.
func (e *engine) onInbound(m Inbound, ok bool) {
	if !ok {
		e.link.over = true
		for _, pc := range e.conns {
			e.abandon(&pc.shake.step) // nothing can be answered
		}
		return
	}
	pc := e.conns[subject(m.Header)]
	if pc == nil && e.waitsForLetters(pc, m.Header) {
		pc = e.connFor(m.Header.SrcID, m.Header.Src)
	}
	if pc != nil && (len(pc.held.lines) > 0 || e.mustWait(pc, m.Header)) {
		e.hold(pc, m)
		return
	}
	e.dispatch(m)
}

// dispatch hands a payload to its handler.
func (e *engine) dispatch(m Inbound) {
	h := m.Header
	switch h.Type {
	case proto.TypeClientCom, proto.TypeCommAck:
		e.onMessage(h, m.Body)
	case proto.TypeAck:
		if h.DstID != "" {
			e.onRelayAck(h.DstID, *h.Answers)
		}
	case proto.TypeClientConnect:
		e.onClientConnect(h, m.Body)
	case proto.TypeDisconnect:
		if h.DstID != "" {
			e.onMessage(h, m.Body)
		} else {
			e.connGone(h.SrcID, "the relay says that the connection is gone")
		}
	case proto.TypePeer:
		e.onPeer(h)
	case proto.TypeError:
		e.onError(h, m.Body)
	case proto.TypeLetterEnd:
		e.onCollected(m)
	case proto.TypeLetter:
		if h.Answers != nil {
			e.link.answered(m)
		} else {
			e.onCollected(m)
		}
	case proto.TypeList, proto.TypeRelease, proto.TypeLetterTo:
		e.link.answered(m)
	}
}

// onError takes an error from the relay or, relayed, from a peer.
func (e *engine) onError(h *proto.Header, body []byte) {
	if h.SrcID != "" {
		e.onPeerError(h, body)
		return
	}
	// Its text may stand in any event, and any program may show it.
	perr := &proto.Error{Code: h.Code, Message: "the relay says " + proto.Quote(h.Message)}
	if h.Answers != nil {
		if e.link.refused(*h.Answers, perr) {
			return
		}
		if h.DstID != "" {
			e.onRefusedLine(h.DstID, *h.Answers)
		}
	}
	switch {
	case h.DstID != "" && (h.Code == proto.Gone || h.Code == proto.Slow):
		e.connGone(h.DstID, perr.Message)
	case h.DstID != "":
		if pc := e.conns[h.DstID]; pc != nil && pc.shake.init != nil {
			e.attemptFailed(pc, perr)
		}
	case h.Code == proto.Shutdown:
		e.event(Event{Type: EventNotice, Notice: "the relay says that it stops"})
	case final(perr):
		e.refused(refusedByRelay(&proto.Error{Code: h.Code, Message: h.Message}))
	default:
		e.problem(perr)
	}
}
