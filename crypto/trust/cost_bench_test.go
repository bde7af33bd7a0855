package trust

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"chatsecure/testdata/lab"
)

// BenchmarkCostliestBundle looks at an honest bundle and at the costliest ones of 20 KiB that
// strangers can make, by turns, without any memory. A refusal costs at most three honest looks,
// except under a trusted authority with P-521, of which one false signature is checked: that costs
// as much as an honest look at a person of that authority.
func BenchmarkCostliestBundle(b *testing.B) {
	p := testLab(b)
	small, large, huge := newCA(b, p, nil, "Small"), newCA(b, p, nil, "Large", lab.P384), newCA(b, p, nil, "Huge", lab.P521)
	roots := []*x509.Certificate{p.Root.Cert}
	for _, test := range []struct {
		name  string
		h     *lab.Holder
		trust []*x509.Certificate
	}{
		{"honest", issue(b, p, "Ana"), roots},
		{"honest P-521", issue(b, p, "Ana", lab.By(huge)), []*x509.Certificate{huge.Cert}},
		{"stranger", issue(b, p, "Ana", lab.Untrusted), roots},
		{"mesh of P-521", meshOf(b, p, lab.P521), roots},
		{"mesh of RSA-2048", meshOf(b, p, lab.RSA2048), roots},
		{"false P-256", falseOf(b, p, small, lab.P256), []*x509.Certificate{small.Cert}},
		{"false P-256 without key identifiers", falseOf(b, p, small, lab.P256, noKeyID), []*x509.Certificate{small.Cert}},
		{"false P-384", falseOf(b, p, large, lab.P384), []*x509.Certificate{large.Cert}},
		{"false P-521", falseOf(b, p, huge, lab.P521), []*x509.Certificate{huge.Cert}},
		{"addresses", stuffed(b, p, func(c *x509.Certificate, i int) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "a", Host: fmt.Sprint(i)})
		}), roots},
		{"names", stuffed(b, p, func(c *x509.Certificate, i int) { c.DNSNames = append(c.DNSNames, fmt.Sprint("a", i)) }), roots},
		{"mail", stuffed(b, p, func(c *x509.Certificate, i int) { c.EmailAddresses = append(c.EmailAddresses, fmt.Sprintf("a@%d", i)) }), roots},
		{"policies", stuffed(b, p, func(c *x509.Certificate, i int) {
			oid, _ := x509.OIDFromInts([]uint64{1, 2, uint64(i)})
			c.Policies = append(c.Policies, oid)
		}), roots},
		{"extensions", stuffed(b, p, func(c *x509.Certificate, i int) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, i}, Value: []byte{5, 0}})
		}), roots},
		{"points", stuffed(b, p, func(c *x509.Certificate, i int) {
			c.CRLDistributionPoints = append(c.CRLDistributionPoints, fmt.Sprint("http://a/", i))
		}), roots},
		{"subject", issue(b, p, "Ana", lab.Untrusted, lab.WithSubject(lab.DN(slices.Repeat([]string{"CN", "a b"}, 1200)...))), roots},
	} {
		b.Run(strings.ReplaceAll(test.name, " ", "-"), func(b *testing.B) {
			bundle := delegate(b, test.h)
			size := len(bundle.X509)
			for _, der := range bundle.Chain {
				size += len(der)
			}
			trust := trustOf(b, test.trust...)
			v := verifierAt(trust, nil, PolicyTry, labNow)
			for b.Loop() {
				v.Reload(trust, nil, PolicyTry)
				held.of = nil
				_, err := v.Verify(bundle, "Ana")
				if (err == nil) != strings.HasPrefix(test.name, "honest") {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

// stuffed is a stranger whose certificate is filled up to the bound with one kind of thing.
func stuffed(b *testing.B, p *lab.PKI, add func(c *x509.Certificate, i int)) *lab.Holder {
	b.Helper()
	fill := func(n int) *lab.Holder {
		return issue(b, p, "Ana", lab.Untrusted, lab.NoCA, lab.Mutate(func(c *x509.Certificate) {
			for i := range n {
				add(c, i)
			}
		}))
	}
	few, many := len(fill(100).Leaf.Raw), len(fill(200).Leaf.Raw)
	return fill(100 + (MaxChainBytes-1024-few)*100/(many-few)*9/10)
}
