package relay

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/contest"
	"chatsecure/testdata/lab/wire"
)

// BenchmarkRelayConnect is the whole handshake with the built relay, eight clients at
// a time, with an RSA-2048 certificate under two authorities, its delegation, its chain
// and its revocation list. Every bundle is new to the relay. Its certificate is either
// known, as of people who come back, or new, and then checked from the leaf to the
// root. The authorities have RSA-4096 keys, like those of cards with RSA keys, or P-384
// keys, like those of later cards. connects/s includes the clients' half of the work,
// and cpu-us is the relay's alone.
func BenchmarkRelayConnect(b *testing.B) {
	const n = 400 // connects in a turn
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
			dir := b.TempDir()
			if err := p.Write(dir); err != nil {
				b.Fatal(err)
			}
			addr, pid := wire.ProgramIn(b, dir, "-crl", filepath.Join(dir, "crl"), "-ciphers", crypto.SuiteMLKEM)
			benchConnect(b, addr, []*wire.Cred{wire.Delegate(b, first, "ana")}) // takes the name
			contest.Measure(b, func(report contest.Report) {
				creds := make([]*wire.Cred, n)
				for i := range creds {
					h := first
					if sub.fresh {
						if h, err = p.Issue("ana", lab.RenewalOf(first), lab.WithKey(first.Key)); err != nil {
							b.Fatal(err)
						}
					}
					creds[i] = wire.Delegate(b, h, "ana")
				}
				used, start := contest.Processor(b, pid), time.Now()
				benchConnect(b, addr, creds)
				rate := n / time.Since(start).Seconds()
				report("now-connects/s", rate)
				report("now-cpu-us", (contest.Processor(b, pid)-used)/1e3/n)
				then := contest.Then(b, ".", "^BenchmarkThenConnect$/^"+strings.ReplaceAll(sub.name, "/", "$/^")+"$", fmt.Sprint(n, "x"))
				if then != nil {
					report("then-connects/s", then["connects/s"])
					report("then-cpu-us", then["cpu-us"])
					report("now/then", rate/then["connects/s"])
				}
			})
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
