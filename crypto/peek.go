package crypto

import "bytes"

// PeekConversation returns the conversation (T3) that a message body says it
// belongs to, or nil. Nothing about it has been checked: it serves to answer
// that the conversation is not known.
func PeekConversation(body []byte) []byte {
	header, _, ok := bytes.Cut(body, []byte("\n"))
	if !ok {
		return nil
	}
	h, err := ParseMessageHeader(header)
	if err != nil {
		return nil
	}
	return h.Conversation
}
