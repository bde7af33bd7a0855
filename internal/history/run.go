package history

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"chatsecure/proto"
)

// The reasons of a run line.
const (
	runBegins = "messages of earlier runs are shown"
	runEnded  = "the client has ended, and what it has shown is marked"
	runUnsure = "the client has ended while it was showing messages"
	runKilled = "the client was killed"
)

// neverSent is the reason of a message that a killed client had not sent.
const neverSent = "the client was killed before it sent this"

// lastRun has what is open of the run whose lines have been read: all that a killed client leaves.
type lastRun struct {
	open  map[string][]string // the names that a pending record waits for, by its id
	order []string            // those ids
	convs map[[32]byte]*sentPart
	ended bool // no line but of an ended run, or none
}

// sentPart is our part of a conversation.
type sentPart struct {
	peer      string
	sent, got uint64 // got: the relay or the peer says so
}

func newLastRun() lastRun {
	return lastRun{open: make(map[string][]string), convs: make(map[[32]byte]*sentPart), ended: true}
}

// line takes in one line. It decodes few: a start must not decode years of talk.
func (r *lastRun) line(line []byte) {
	typ, rest, ok := peekType(line)
	if !ok {
		return
	}
	r.ended = r.ended && string(typ) == lineFile
	switch string(typ) {
	case lineRun:
		reason := peekReason(rest)
		if reason != runBegins {
			*r = newLastRun()
		}
	case lineConversation:
		if l, err := parseLine(line); err == nil {
			r.convs[[32]byte(l.Conversation)] = &sentPart{peer: l.Peer.Name}
		}
	case linePending:
		r.pending(line)
	case lineFailed:
		if l, err := parseLine(line); err == nil {
			r.settle(l.ID, l.Name)
		}
	case lineSent:
		if of, rest, ok := peekFlow(rest, `,"header":{"conversation":"`); ok && r.convs[of.t3] != nil {
			r.sent(r.convs[of.t3], rest)
		}
	case lineTaken:
		if l, err := parseLine(line); err == nil {
			r.got([32]byte(l.Conversation), l.Seq)
		}
	case lineReceipt:
		of, rest, ok := peekFlow(rest, `,"header":{"conversation":"`)
		_, rest, found := bytes.Cut(rest, []byte(`,"receipt":{"delivered":`))
		if seq, _, isNumber := peekNumber(rest); ok && found && isNumber {
			r.got(of.t3, seq)
		}
	}
}

// afterRuns returns the place after the last run that has ended: nothing before it is open.
func afterRuns(lines []byte) int {
	const start = `,"type":"run"`
	for end := len(lines); ; {
		i := bytes.LastIndex(lines[:end], []byte(start))
		if i < 0 {
			return 0
		}
		if peekReason(lines[i+len(start):]) != runBegins {
			if next := bytes.IndexByte(lines[i:], '\n'); next >= 0 {
				return i + next + 1
			}
			return len(lines)
		}
		end = i
	}
}

func (r *lastRun) pending(line []byte) {
	l, err := parseLine(line)
	if err != nil {
		return
	}
	m, _ := newView().message(l.Record, true)
	if m == nil || r.open[m.ID] != nil {
		return
	}
	r.open[m.ID] = m.To
	r.order = append(r.order, m.ID)
}

// settle tells that a record does not wait for a name any more.
func (r *lastRun) settle(id, name string) {
	if names := r.open[id]; names != nil {
		r.open[id] = slices.DeleteFunc(names, func(other string) bool { return proto.SameName(other, name) })
	}
}

func (r *lastRun) sent(c *sentPart, rest []byte) {
	for id, seq := range peekRecords(rest) {
		c.sent = seq
		r.settle(id, c.peer)
	}
}

func (r *lastRun) got(t3 [32]byte, seq uint64) {
	if c := r.convs[t3]; c != nil {
		c.got = max(c.got, seq)
	}
}

// settleKilled ends the run of a killed client: what it had not sent is FAILED. notice tells of that,
// and of what may have arrived.
func (h *History) settleKilled(r *lastRun) (notice string, err error) {
	last := h.known.open[h.slot]
	delete(h.known.open, h.slot)
	if r.ended {
		return "", nil
	}
	h.known.doubt = max(h.known.doubt, last)
	failed, left := make(map[string]int), make(map[string]int)
	for _, id := range r.order {
		for _, name := range r.open[id] {
			if err := h.Failed(id, name, neverSent); err != nil {
				return "", err
			}
			failed[name]++
		}
	}
	for _, c := range r.convs {
		if c.sent > c.got { // what was sent again counts once, in the conversation with most of it
			left[c.peer] = max(left[c.peer], int(c.sent-c.got))
		}
	}
	if err := h.run(runKilled); err != nil {
		return "", err
	}
	h.ended = true
	var parts []string
	if len(failed) > 0 {
		parts = append(parts, "FAILED, because they never left: "+counts(failed))
	}
	if len(left) > 0 {
		parts = append(parts, "PENDING, because they may have arrived: "+counts(left))
	}
	if len(parts) == 0 {
		return "", nil
	}
	return "a client was killed, and of its messages are " + strings.Join(parts, "; "), nil
}

// counts lists names with a number each.
func counts(of map[string]int) string {
	var parts []string
	for name, n := range of {
		parts = append(parts, fmt.Sprintf("%d to %s", n, proto.Visible(name)))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// run writes down that a run begins, or how one ended.
func (h *History) run(reason string) error {
	return h.appendLine(lineRun, cause{}, func(b []byte) []byte { return appendLineJSON(b, "reason", quoteJSON(reason)) })
}

func peekReason(rest []byte) string {
	rest, _ = bytes.CutPrefix(rest, []byte(`,"reason":"`))
	reason, _, _ := cutQuote(rest)
	return string(reason)
}
