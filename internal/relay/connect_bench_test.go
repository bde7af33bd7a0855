package relay

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// BenchmarkRelayConnect is the whole handshake, eight clients at a time, with an
// RSA-2048 certificate under two authorities, its delegation, its chain and its
// revocation list. It includes the clients' half of the work. Every bundle is new to
// the relay. Its certificate is either known, as of people who come back, or new, and
// then checked from the leaf to the root. The authorities have RSA-4096 keys, like
// those of cards with RSA keys, or P-384 keys, like those of later cards.
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
			p, err := benchLab(sub.ca)
			if err != nil {
				b.Fatal(err)
			}
			first, err := p.Issue("ana", lab.RSA2048)
			if err != nil {
				b.Fatal(err)
			}
			creds := make([]*wire.Cred, b.N)
			for i := range creds {
				h := first
				if sub.fresh {
					if h, err = p.Issue("ana", lab.RenewalOf(first), lab.WithKey(first.Key)); err != nil {
						b.Fatal(err)
					}
				}
				creds[i] = wire.Delegate(b, h, "ana")
			}
			dir := b.TempDir()
			if err := p.Write(dir); err != nil {
				b.Fatal(err)
			}
			rt := startIn(b, dir, benchSuite)
			rt.Connect(wire.Delegate(b, first, "ana"), proto.TakesNone).Close() // takes the name
			b.ResetTimer()
			benchConnect(b, rt.Addr, creds)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connects/s")
		})
	}
}

// benchLab makes a lab, once for each kind of key.
var benchLab = func() func(lab.KeyType) (*lab.PKI, error) {
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

// benchConnect shakes hands with each credential, eight at a time. With fewer, the
// processors are idle while clients wait for answers.
func benchConnect(b *testing.B, addr string, creds []*wire.Cred) {
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
				_, err = wire.Handshake(b, conn, &wire.HandshakePlan{Cred: creds[i], Takes: proto.TakesNone})
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
