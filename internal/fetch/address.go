package fetch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"

	"chatsecure/proto"
)

// parseURL checks an address out of a certificate. Only plain HTTP is followed: the
// file is signed, and HTTPS would need a certificate to check a certificate.
func parseURL(address string) (*url.URL, error) {
	if len(address) > maxURL {
		return nil, fmt.Errorf("an address of %d characters is too long", len(address))
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not an address to fetch from: it must be http://HOST/PATH", proto.Visible(address))
	}
	return u, nil
}

// privateKind names the kind of an address that is not asked without -fetch-private: a
// certificate's author must not make this machine send requests into its own network.
// It is "" for a public address.
func privateKind(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is6() && nat64.Contains(addr) {
		// An IPv4 address behind the network's translator: RFC 6052.
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case addr.IsUnspecified():
		return "an unspecified address"
	case addr.IsLoopback():
		return "a loopback address"
	case addr.IsPrivate():
		return "a private address"
	case addr.IsLinkLocalUnicast():
		return "a link-local address"
	case addr.IsMulticast():
		return "a multicast address"
	}
	if slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(addr) }) || addr.Is6() && !global.Contains(addr) {
		return "an address for special use"
	}
	return ""
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	global = netip.MustParsePrefix("2000::/3") // all that is global unicast yet: RFC 4291
	// special has the other unreachable or diverted blocks of the IANA special-purpose
	// registries (RFC 6890).
	special = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),       // this network
		netip.MustParsePrefix("100.64.0.0/10"),   // carriers' own
		netip.MustParsePrefix("192.0.0.0/24"),    // protocols
		netip.MustParsePrefix("192.0.2.0/24"),    // documentation, as the next two
		netip.MustParsePrefix("198.51.100.0/24"), //
		netip.MustParsePrefix("203.0.113.0/24"),  //
		netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
		netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
		netip.MustParsePrefix("2001::/23"),       // protocols, Teredo
		netip.MustParsePrefix("2001:db8::/32"),   // documentation
		netip.MustParsePrefix("2002::/16"),       // 6to4: carries an IPv4 address
		netip.MustParsePrefix("3fff::/20"),       // documentation
	}
)

// privateError refuses to dial.
type privateError struct{ addr, kind string }

func (e *privateError) Error() string {
	return "it is at " + e.addr + ", " + e.kind + ", which is asked with -fetch-private only"
}

// NotAsked returns the reason why an address out of a certificate is not asked without
// Config.Private: all IP addresses of its host are private. It is "" if one of them is
// public, or if the host cannot be found now.
func NotAsked(ctx context.Context, address string) string {
	u, err := parseURL(address)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	places, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	why := ""
	for _, addr := range places {
		kind := privateKind(addr)
		if kind == "" {
			return ""
		}
		why = (&privateError{addr.Unmap().String(), kind}).Error()
	}
	return why
}
