package command

import (
	"strings"
	"testing"
	"time"

	"chatsecure/internal/client"
)

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		sent, received int64
		took           time.Duration
		want           string
	}{
		{0, 0, 0, "sent 0 B, received 0 B, 0 B/s, 0:00"},
		{1023, 1024, time.Second, "sent 1023 B, received 1.0 KiB, 2.0 KiB/s, 0:01"},
		{10 << 20, 0, 2 * time.Second, "sent 10 MiB, received 0 B, 5.0 MiB/s, 0:02"},
		{1 << 30, 1, 125 * time.Second, "sent 1.0 GiB, received 1 B, 8.2 MiB/s, 2:05"},
		{5 << 50, 0, 25*time.Hour + 61*time.Second, "sent 5120 TiB, received 0 B, 58 GiB/s, 25:01:01"},
	} {
		if got := progressLine(client.PipeProgress{Peer: "bob", Sent: c.sent, Received: c.received}, c.took); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestStatusLine: a notice goes above the progress line.
func TestStatusLine(t *testing.T) {
	sys, _, stderr := fakeSystem("")
	d := newDisplay(sys, options{})
	d.status("one")
	d.notice("hello")
	d.status("two")
	d.status("")
	d.notice("bye")
	const want = "client: notice: hello\ntwo\nclient: notice: bye\n" // as on a screen
	if got := stderr.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	d.status("")
	if !strings.HasSuffix(stderr.String(), "bye\n") {
		t.Error("the end of a status that never was is written")
	}
}
