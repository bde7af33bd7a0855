package chatsecure

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// BenchmarkRelayConnect is the whole handshake, four clients at a time, with an
// RSA-2048 certificate under two authorities, its delegation, its chain and its
// revocation list. The clients' half of the work is in it. Every connection
// brings a bundle that the relay has not seen before: under a certificate that
// it has, as people come back, or under one that it has not, whose chain is
// then checked from the leaf to the root. Keys of authorities are RSA-4096, as
// those of cards with RSA keys are, or P-384, as those of later cards.
func BenchmarkRelayConnect(b *testing.B) {
	for _, sub := range []struct {
		name  string
		ca    lab.KeyType
		fresh bool
	}{
		{"rsa4096/known", lab.RSA4096, false},
		{"rsa4096/new", lab.RSA4096, true},
		{"p384/known", lab.P384, false},
		{"p384/new", lab.P384, true},
	} {
		b.Run(sub.name, func(b *testing.B) {
			p, err := relayBenchLab(sub.ca)
			if err != nil {
				b.Fatal(err)
			}
			first, err := p.Issue("ana", lab.RSA2048)
			if err != nil {
				b.Fatal(err)
			}
			creds := make([]*relayTestCred, b.N)
			for i := range creds {
				h := first
				if sub.fresh {
					if h, err = p.Issue("ana", lab.RenewalOf(first), lab.WithKey(first.Key)); err != nil {
						b.Fatal(err)
					}
				}
				creds[i] = relayTestDelegate(b, h, "ana")
			}
			dir := b.TempDir()
			if err := p.Write(dir); err != nil {
				b.Fatal(err)
			}
			rt := startRelayTestIn(b, dir, relayBenchSuite)
			rt.connect(relayTestDelegate(b, first, "ana"), proto.TakesNone).close() // takes the name
			b.ResetTimer()
			relayBenchConnect(b, rt.addr, creds)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connects/s")
		})
	}
}

// relayBenchLab makes a lab, once for each kind of key.
var relayBenchLab = func() func(lab.KeyType) (*lab.PKI, error) {
	labs := map[lab.KeyType]*lab.PKI{}
	return func(ca lab.KeyType) (p *lab.PKI, err error) {
		if labs[ca] == nil {
			if labs[ca], err = lab.New(lab.Options{CAKey: ca}); err != nil {
				return nil, err
			}
		}
		return labs[ca], nil
	}
}()

// relayBenchConnect shakes hands with each credential, eight at a time: with
// fewer the processors wait for the clients, each of which waits for answers.
func relayBenchConnect(b *testing.B, addr string, creds []*relayTestCred) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(creds)); i = next.Add(1) - 1 {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = relayTestHandshake(b, conn, &relayTestHandshakePlan{cred: creds[i], takes: proto.TakesNone})
				conn.Close()
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
