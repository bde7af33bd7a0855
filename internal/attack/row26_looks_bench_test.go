package attack

import (
	gocrypto "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// BenchmarkCostlyHandshakes times the texts of Alice to Bob, and handshakes of Carol's with Bob,
// for three seconds, or longer if he is not done with it: Mallory sends him p1 whose certificates
// are as costly to look at as hers can be, evenly in that time, over one connection or many:
//
//	go test -run - -bench CostlyHandshakes -benchtime 1x ./internal/attack
func BenchmarkCostlyHandshakes(b *testing.B) {
	for _, c := range []struct {
		name      string
		p1, conns int
	}{{"alone", 0, 1}, {"50", 50, 1}, {"500", 500, 1}, {"500-of-50-connections", 500, 50}} {
		b.Run(c.name, func(b *testing.B) {
			town := newBenchTown(b, "alice", "bob", "carol", "mallory")
			alice, bob := town.client("alice"), town.client("bob")
			alice.mustSend("hello", "bob")
			alice.mustSettle(history.StatusRead)
			var conns []*evilPeer
			cred := town.credential("mallory")
			for range c.conns {
				conns = append(conns, town.evilPeer(town.addr, "mallory", cred))
			}
			var attack [][]byte
			for n := range c.p1 {
				mallory, cred := conns[n%c.conns], costlyCredential(b, "mallory")
				local := *mallory.local
				local.Key, local.Bundle, local.Suites = cred.Key, cred.Bundle, []string{crypto.SuiteMLKEM}
				_, p1, err := crypto.Initiate(&local, mallory.me(), end(bob))
				if err != nil {
					b.Fatal(err)
				}
				attack = append(attack, p1)
			}
			const least = 20 // texts and handshakes for every result
			for b.Loop() {
				over := make(chan struct{})
				var texts, shakes []time.Duration
				var all sync.WaitGroup
				all.Go(func() {
					for n := 0; n < least || !isClosed(over); n++ {
						start := time.Now()
						alice.mustSend("text", "bob")
						alice.mustSettle(history.StatusRead)
						texts = append(texts, time.Since(start))
					}
				})
				carol := town.credential("carol")
				all.Go(func() {
					for n := 0; n < least || !isClosed(over); n++ {
						p := town.evilPeer(town.addr, "carol", carol)
						p.Conn.SetDeadline(time.Now().Add(10 * time.Minute))
						start := time.Now()
						p.call(end(bob))
						shakes = append(shakes, time.Since(start))
						p.Close()
					}
				})
				start := time.Now()
				for n, p1 := range attack {
					mallory := conns[n%c.conns]
					mallory.Conn.SetDeadline(start.Add(10 * time.Minute))
					time.Sleep(time.Until(start.Add(3 * time.Second / time.Duration(c.p1) * time.Duration(n))))
					h := headerTo(proto.TypeClientConnect, end(bob))
					h.Phase = 1
					mallory.relayed(mallory.Say(h, p1))
				}
				for _, mallory := range conns[:min(c.p1, c.conns)] {
					mallory.answered(end(bob)) // behind the last p1
				}
				if c.p1 == 0 {
					time.Sleep(3 * time.Second)
				}
				took := time.Since(start)
				close(over)
				all.Wait()
				b.ReportMetric(p95(texts), "p95-text-ms")
				b.ReportMetric(p95(shakes), "p95-handshake-ms")
				b.ReportMetric(float64(slices.Max(texts).Milliseconds()), "longest-text-ms")
				b.ReportMetric(float64(took.Milliseconds()), "attack-ms")
			}
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func p95(times []time.Duration) float64 {
	slices.Sort(times)
	return float64(times[len(times)*95/100].Microseconds()) / 1000
}

// costlyCredential has a certificate below seven authorities with P-521 that nobody trusts. All
// have one name, and each is signed by the next, so that only their signatures tell the way. No
// two credentials have a certificate in common.
func costlyCredential(b *testing.B, name string) *state.Credential {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	random := func() *big.Int {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
		must(err)
		return n.Add(n, big.NewInt(1))
	}
	now := time.Now()
	authority := func(key *ecdsa.PrivateKey) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: random(), Subject: pkix.Name{CommonName: "Maze"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, PublicKey: &key.PublicKey,
		}
	}
	keys := make([]*ecdsa.PrivateKey, 7)
	for i := range keys {
		var err error
		keys[i], err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		must(err)
	}
	var chain [][]byte
	for i, key := range keys {
		signer := keys[(i+1)%len(keys)]
		der, err := x509.CreateCertificate(rand.Reader, authority(key), authority(signer), &key.PublicKey, signer)
		must(err)
		chain = append(chain, der)
	}
	card, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: random(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority(keys[0]), &card.PublicKey, keys[0])
	must(err)
	k, err := trust.GenerateKey(trust.KeyEd25519)
	must(err)
	bundle := &trust.Bundle{
		Name: name, PublicKey: k.Public().SPKI(), NotBefore: now.Add(-time.Minute).Unix(), NotAfter: now.Add(time.Hour).Unix(),
		Mailbox: []byte{}, X509: leaf, Chain: chain,
	}
	bundle.Signature, err = sha256Signer(card, bundle.DelegationMessage())
	must(err)
	must(bundle.Check())
	return &state.Credential{Key: k, Bundle: bundle}
}

func sha256Signer(card *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	return gocrypto.SignMessage(card, rand.Reader, message, gocrypto.SHA256)
}
