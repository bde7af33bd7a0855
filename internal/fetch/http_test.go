package fetch

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"strings"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

func extensions(list ...pkix.Extension) []pkix.Extension { return list }

func TestFetchPrivateAddresses(t *testing.T) {
	for addr, kind := range map[string]string{
		"8.8.8.8": "", "193.136.0.1": "", "2001:4860:4860::8888": "", "64:ff9b::808:808": "",
		"127.0.0.1": "loopback", "127.8.9.10": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback", "64:ff9b::7f00:1": "loopback",
		"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private",
		"fd00::1": "private", "::ffff:10.0.0.1": "private",
		"169.254.169.254": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"0.0.0.0": "unspecified", "::": "unspecified", "::ffff:0.0.0.0": "unspecified",
		"224.0.0.1": "multicast", "239.1.2.3": "multicast", "ff02::1": "multicast",
		"0.1.2.3": "special", "100.64.0.1": "special", "192.0.0.8": "special", "192.0.2.1": "special",
		"198.18.0.1": "special", "203.0.113.5": "special",
		"255.255.255.255": "special", "240.0.0.1": "special",
		"2002:7f00:1::": "special", "2001::1": "special", "2001:db8::1": "special", "::7f00:1": "special",
		"fec0::1": "special", "64:ff9b:1::1": "special", "100::1": "special",
	} {
		got := privateKind(netip.MustParseAddr(addr))
		if kind == "" && got != "" || !strings.Contains(got, kind) {
			t.Errorf("%s is %q, not %q", addr, got, kind)
		}
	}
}

// TestFetchPrivateRefused has lists on a loopback server, by address and by name. It is
// not asked unless it may be, and the error says so.
func TestFetchPrivateRefused(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost"} {
		t.Run(host, func(t *testing.T) {
			s := newScene(t, lab.Mutate(func(c *x509.Certificate) {
				c.CRLDistributionPoints = []string{strings.Replace(c.CRLDistributionPoints[0], "127.0.0.1", host, 1)}
			}))
			side := s.open(trust.PolicyRequire, func(cfg *Config) { cfg.Private = false })
			_, err := side.verifyWait()
			wire.WantCode(t, err, proto.RevocationUnknown, host, "a loopback address", "-fetch-private")
			_, err = side.Issuers(context.Background(), s.Alice.Leaf.Raw, nil, false)
			wire.WantCode(t, err, proto.CertificateUntrusted, "a loopback address", "-fetch-private")
			s.WantRequests()
		})
	}
}

func TestFetchAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"http://crls.example/a.crl": true, "http://crls.example:8080/a?b=c": true, "HTTP://crls.example/": true, "http://[2001:db8::1]/x": true,
		"https://crls.example/a.crl": false, "ldap://x/y": false, "file:///etc/passwd": false, "http:///a": false, "http:a": false, "": false,
		"http://user:pw@crls.example/": false, "http://crls.example/#x": false, "http://crls.example/\x00": false, "http://:80/": false,
		"http://crls.example/" + strings.Repeat("a", maxURL): false,
	} {
		if _, err := parseURL(address); (err == nil) != ok {
			t.Errorf("%.40q: %v", address, err)
		}
	}
}
