package trust

import (
	"bytes"
	"testing"

	"chatsecure/proto"
)

// No other signed message begins as a delegation does, not in a context that begins or ends alike,
// nor with any first item.
func TestDelegationBeginsAsNothingElse(t *testing.T) {
	message := bytesBundle().DelegationMessage()
	begin := proto.Tuple("delegation")
	if !bytes.HasPrefix(message, begin) {
		t.Fatalf("a delegation is %x", message)
	}
	for _, context := range []string{"", "delegatio", "delegations", "elegation", "d", "cc-1", "cc-2", "cc-3", "cc-retry", "connect-2", "connect-3", "message", "request"} {
		for _, item := range []string{"", "delegation", "n", string(message), string(begin)} {
			if bytes.HasPrefix(proto.Tuple(context, item), begin) {
				t.Errorf("a tuple of %q begins as a delegation", context)
			}
		}
	}
}
