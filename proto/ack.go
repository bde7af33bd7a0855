package proto

import (
	"bytes"
	"strconv"
)

// After client-com the relay's ack is the most frequent line of a busy client. It
// has one form and is scanned by hand.
//
//	{"type":"ack","dst-id":"ID","answers":N}
var (
	ackPrefix  = []byte(`{"type":"ack","dst-id":"`)
	ackAnswers = []byte(`","answers":`)
)

// ScanAck recognises a relay's ack header in its canonical form. Everything else
// is for ParseRelayHeader.
func ScanAck(header []byte) (h *Header, ok bool) {
	rest, ok := bytes.CutPrefix(header, ackPrefix)
	if !ok || len(rest) <= ConnIDLen {
		return nil, false
	}
	id := string(rest[:ConnIDLen])
	rest, ok = bytes.CutPrefix(rest[ConnIDLen:], ackAnswers)
	if !ok || !ValidConnID(id) {
		return nil, false
	}
	digits, ok := bytes.CutSuffix(rest, []byte("}"))
	if !ok || len(digits) == 0 || len(digits) > 1 && digits[0] == '0' || digits[0] == '+' {
		return nil, false
	}
	n, err := strconv.ParseUint(string(digits), 10, 63)
	if err != nil {
		return nil, false
	}
	return &Header{Type: TypeAck, DstID: id, Answers: &n}, true
}

// AppendAck appends the payload of an ack: the relay has written everything for
// connection dstID up to line answers.
func AppendAck(dst []byte, dstID string, answers uint64) []byte {
	dst = append(dst, ackPrefix...)
	dst = append(dst, dstID...)
	dst = append(dst, ackAnswers...)
	dst = strconv.AppendUint(dst, answers, 10)
	return append(dst, "}\n\n"...)
}
