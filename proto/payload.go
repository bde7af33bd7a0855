package proto

import "bytes"

// AppendPayload appends a payload to dst: header line, signature line, which may
// be empty, and body. It is the plaintext of a secure line.
func AppendPayload(dst, header, signature, body []byte) []byte {
	dst = append(dst, header...)
	dst = append(dst, '\n')
	dst = AppendBase64(dst, signature)
	dst = append(dst, '\n')
	return append(dst, body...)
}

// SplitPayload takes a payload apart. Header and body share its memory. The
// signature is nil where its line is empty.
func SplitPayload(payload []byte) (header, signature, body []byte, err error) {
	header, rest, ok := bytes.Cut(payload, newline)
	if !ok {
		return nil, nil, nil, Errorf(Malformed, "a payload without a header line")
	}
	sig, body, ok := bytes.Cut(rest, newline)
	if !ok {
		return nil, nil, nil, Errorf(Malformed, "a payload without a signature line")
	}
	if signature, ok = DecodeBase64(nil, sig); !ok {
		return nil, nil, nil, Errorf(Malformed, "a signature line that is not base64")
	}
	return header, signature, body, nil
}

var newline = []byte("\n")

// UnsignedPayload makes a payload of a header without a signature. A body may
// be appended to it.
func UnsignedPayload(h *Header) []byte { return append(MustMarshal(h), "\n\n"...) }
