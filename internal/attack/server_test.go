package attack

import (
	"path/filepath"
	"testing"

	"chatsecure/internal/relay"
	"chatsecure/testdata/lab/leaks"
	"chatsecure/testdata/lab/wire"
)

// server is a relay in this process, on a loopback port.
type server struct {
	*relay.Relay
	*wire.Server
}

// startRelay starts a relay that trusts wire.Lab and ends with the test.
func startRelay(t testing.TB, change ...func(*relay.Config)) *server {
	t.Helper()
	leaks.Check(t)
	dir := wire.Files(t)
	cfg := relay.Config{State: filepath.Join(dir, "relay-state"),
		CABundle: filepath.Join(dir, "ca-bundle.pem"), CRLDir: filepath.Join(dir, "crl"), Failures: 1e6}
	for _, f := range change {
		f(&cfg)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &server{r, wire.Serve(t, r.Serve, r.Close)}
}
