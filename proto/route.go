package proto

import "bytes"

// A Route is a forwarded header on the relay's hot path: the fields that
// ParseClientHeader would give, without its allocations. Name and id are not
// checked, since the relay compares them with those it knows.
type Route struct {
	Type, Dst, DstID []byte
}

// ScanRoute recognises the two forwarded headers of a busy connection, in their
// canonical form and with an ASCII name:
//
//	{"type":"client-com","dst":"NAME","dst-id":"ID"}
//	{"type":"comm-ack","dst":"NAME","dst-id":"ID"}
//
// Everything else is for ParseClientHeader.
func ScanRoute(header []byte) (r Route, ok bool) {
	rest, ok := bytes.CutPrefix(header, routeType)
	if !ok {
		return r, false
	}
	switch {
	case bytes.HasPrefix(rest, routeCom):
		r.Type, rest = rest[:len(TypeClientCom)], rest[len(routeCom):]
	case bytes.HasPrefix(rest, routeAck):
		r.Type, rest = rest[:len(TypeCommAck)], rest[len(routeAck):]
	default:
		return r, false
	}
	end := bytes.IndexByte(rest, '"')
	if end <= 0 || end > 4*maxName {
		return r, false
	}
	for _, c := range rest[:end] {
		if !plainNameByte(c) {
			return r, false
		}
	}
	r.Dst, rest = rest[:end], rest[end:]
	rest, ok = bytes.CutPrefix(rest, routeDstID)
	if !ok || len(rest) != ConnIDLen+len(secureSuffix) || string(rest[ConnIDLen:]) != secureSuffix {
		return r, false
	}
	r.DstID = rest[:ConnIDLen]
	return r, true
}

var (
	routeType  = []byte(`{"type":"`)
	routeCom   = []byte(TypeClientCom + `","dst":"`)
	routeAck   = []byte(TypeCommAck + `","dst":"`)
	routeDstID = []byte(`","dst-id":"`)
)

// AppendStamped appends the header for the destination: the route and its
// source, which only the relay sets.
func AppendStamped(dst []byte, r Route, src, srcID string) []byte {
	dst = append(dst, routeType...)
	dst = append(dst, r.Type...)
	dst = append(dst, `","src":"`...)
	dst = append(dst, src...)
	dst = append(dst, `","src-id":"`...)
	dst = append(dst, srcID...)
	dst = append(dst, `","dst":"`...)
	dst = append(dst, r.Dst...)
	dst = append(dst, routeDstID...)
	dst = append(dst, r.DstID...)
	return append(dst, secureSuffix...)
}
