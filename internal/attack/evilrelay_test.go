package attack

import (
	"testing"

	"chatsecure/testdata/lab/wire"
)

// evilTown is a town with an evil relay.
func evilTown(t testing.TB, names ...string) (*localTown, *wire.EvilRelay) {
	t.Helper()
	town := newTown(t, names...)
	town.stop()
	r := wire.NewEvilRelay(t)
	town.addr = r.Ln.Addr().String()
	return town, r
}

// honest forwards lines unchanged.
func honest(l wire.EvilLine) []wire.EvilLine { return []wire.EvilLine{l} }

// hangUp ends a client's connection, as a lost network does.
func hangUp(r *wire.EvilRelay, tc *testClient) {
	r.Do(func() { r.ByID(tc.Conn()).Conn.Close() })
}
