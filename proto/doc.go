// Package proto is the forms that cross the wire: lines, headers and payloads,
// the connect handshake's JSON, names, error codes and limits, and what these
// are made of: canonical JSON, tuples, base64 and hexadecimal. It holds no key,
// checks no signature and opens no socket.
//
// The forms are set out in PROTOCOL.md, "Notation", "Lines" to "Requests and
// routing", "Limits" and "Error codes".
package proto
