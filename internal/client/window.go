package client

import (
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// lineWindow holds the lines to one connection that the relay has not acked.
type lineWindow struct {
	inflight []inflightLine
	bytes    int // of their bodies
}

// inflightLine is a line that the relay has not acked.
type inflightLine struct {
	line  uint64
	bytes int
	seq   uint64 // last record in it, or 0
	since time.Time
}

// One share of the relay's window. Records leave two free: receipts and answers
// always find room.
const (
	receiptRoom  = 32 << 10 // bytes
	receiptLines = 32       // messages
)

// roomFor tells whether the relay's window has room for a record's message of n
// bytes. One message always goes when nothing is un-acked.
func (w *lineWindow) roomFor(n int) bool { return w.fits(n, 2) }

// answerRoom tells whether the relay's window has room for receipts and answers. A
// peer that does not read must not make this client say more than the relay
// takes.
func (w *lineWindow) answerRoom() bool { return w.fits(0, 1) }

// fits tells whether n more bytes of body keep to the relay's window and leave a
// number of shares of it free: none for rare lines that no peer provokes, one for
// answers, two for records.
func (w *lineWindow) fits(n, shares int) bool {
	return len(w.inflight) == 0 ||
		w.bytes+n <= proto.RelayWindow-shares*receiptRoom && len(w.inflight) < proto.RelayMessages-shares*receiptLines
}

func (w *lineWindow) add(f inflightLine) {
	w.inflight = append(w.inflight, f)
	w.bytes += f.bytes
}

// acked takes out everything up to a line. It returns the last record in that, or 0.
func (w *lineWindow) acked(line uint64) (seq uint64) {
	for len(w.inflight) > 0 && w.inflight[0].line <= line {
		seq = max(seq, w.inflight[0].seq)
		w.bytes -= w.inflight[0].bytes
		w.inflight = w.inflight[1:]
	}
	return seq
}

// refused takes out one line.
func (w *lineWindow) refused(line uint64) {
	if i := slices.IndexFunc(w.inflight, func(f inflightLine) bool { return f.line == line }); i >= 0 {
		w.bytes -= w.inflight[i].bytes
		w.inflight = slices.Delete(w.inflight, i, i+1)
	}
}

// overdue tells whether the relay has taken too long to ack the oldest line.
func (w *lineWindow) overdue(now time.Time) bool {
	return len(w.inflight) > 0 && now.Sub(w.inflight[0].since) > proto.AckTimeout
}

// excuse gives every line its time again. The relay still counts them.
func (w *lineWindow) excuse(now time.Time) {
	for i := range w.inflight {
		w.inflight[i].since = now
	}
}

// forgetRecords separates the lines from records: the next conversation numbers
// its records from 1 again.
func (w *lineWindow) forgetRecords() {
	for i := range w.inflight {
		w.inflight[i].seq = 0
	}
}

// headerLines keeps the header and signature lines to a connection, by type:
// they are the same bytes for every message.
type headerLines struct {
	name  string // that the lines were made for
	lines map[string][]byte
}

func (h *headerLines) of(typ string, pc *peerConn) []byte {
	if h.lines == nil || h.name != pc.name {
		h.lines, h.name = map[string][]byte{}, pc.name
	}
	head := h.lines[typ]
	if head == nil {
		head = proto.UnsignedPayload(&proto.Header{Type: typ, Dst: pc.name, DstID: pc.id})
		h.lines[typ] = head
	}
	return head
}

// sendTo sends an end-to-end body. seq is the last record in it, or 0.
func (e *engine) sendTo(pc *peerConn, typ string, body []byte, seq uint64) {
	e.sendBytes(pc, pc.headers.of(typ, pc), body, nil, seq)
}

// sendPipe sends a message of a pipe, whose sealed bytes cross as text.
func (e *engine) sendPipe(pc *peerConn, s *crypto.Sealed) {
	e.sendBytes(pc, pc.headers.of(proto.TypeClientCom, pc), s.Body[:s.Start], s.Body[s.Start:], 0)
}

func (e *engine) sendHeader(pc *peerConn, h *proto.Header, body []byte) {
	e.sendBytes(pc, proto.UnsignedPayload(h), body, nil, 0)
}

// sendBytes sends a body that fits into the relay's window, and drops it
// otherwise: beyond the window the relay would end this client's connection.
// Messages wait for room before they come here. Only a peer whose relay does not
// ack makes other lines stop here, and it sees that as the relay's doing.
func (e *engine) sendBytes(pc *peerConn, head, body, sealed []byte, seq uint64) {
	n := len(body) + len(sealed)
	if !pc.lines.fits(n, 0) {
		return
	}
	line := e.link.send(head, body, sealed)
	pc.lines.add(inflightLine{line, n, seq, time.Now()})
}

// onRelayAck takes the relay's ack: it has written everything up to line to that
// connection.
func (e *engine) onRelayAck(dstID string, line uint64) {
	pc := e.conns[dstID]
	if pc == nil {
		return
	}
	if seq := pc.lines.acked(line); seq > pc.out.taken {
		e.markSent(pc, seq)
	}
}

// onRefusedLine takes the relay's refusal to pass a line on: there will be no ack.
// A lie gains the relay less than a false ack, which also claims that it took the
// records.
func (e *engine) onRefusedLine(dstID string, line uint64) {
	if pc := e.conns[dstID]; pc != nil {
		pc.lines.refused(line)
	}
}
