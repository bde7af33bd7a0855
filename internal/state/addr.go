package state

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	hostBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	maxHost   = 253 // bytes, as in the DNS
)

var (
	errAddr = errors.New("HOST:PORT with a port from 1 to 65535, " +
		"as 192.0.2.1:8080 or [2001:db8::1]:8080")
	errHost = errors.New("HOST:PORT with an IP address or a name of ASCII letters, digits, " +
		"- and _ as HOST; an international name has an ASCII form, which begins with xn--")
	errZone = errors.New("HOST:PORT with an interface after a % for a link-local address, " +
		"and for no other, as [fe80::1%eth0]:8080 or [2001:db8::1]:8080")
	// ErrInterface is of an address on an interface that is not there now.
	ErrInterface = errors.New("HOST:PORT with a network interface that is there now after the %")
)

// RelayAddr returns the one form of a relay's address, HOST:PORT. The address is what a key is
// known for: in another spelling, a relay with another key would count as a new one. An error
// says what an address is.
func RelayAddr(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", errAddr
	}
	number, err := net.LookupPort("tcp", port) // a service's name is allowed
	if err != nil || number <= 0 {
		return "", errAddr
	}
	if host, err = relayHost(host); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

func relayHost(host string) (string, error) {
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip.Unmap().IsUnspecified():
		return "localhost", nil // as net.Dial has it
	case strings.Trim(host, hostBytes+":%") != "" || len(host) > maxHost:
		return "", errHost
	case err == nil && (ip.Zone() != "" || ip.IsLinkLocalUnicast() && ip.Is6()):
		return zoned(ip)
	case err == nil:
		return ip.Unmap().String(), nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	last := host[strings.LastIndexByte(host, '.')+1:]
	_, notNumber := strconv.ParseUint(last, 0, 64)
	// The system may take 127.1 or 0x7f.0.0.1 for another spelling of an IP address.
	if last == "" || notNumber == nil || strings.ContainsAny(host, ":%") {
		return "", errHost
	}
	return host, nil
}

// zoned returns the one form of an address with a zone: the name of the interface, which stays when
// its number changes. The system ignores a zone where it means nothing, so there it is refused.
func zoned(ip netip.Addr) (string, error) {
	if ip.Zone() == "" || !ip.IsLinkLocalUnicast() || ip.Is4In6() {
		return "", errZone
	}
	found, err := net.InterfaceByName(ip.Zone())
	number, notNumber := strconv.ParseUint(ip.Zone(), 10, 31)
	if err != nil && notNumber == nil && number > 0 {
		found, err = net.InterfaceByIndex(int(number))
	}
	if err != nil {
		return "", ErrInterface
	}
	return ip.WithZone(found.Name).String(), nil
}

// sameAddr is RelayAddr for a file or a caller that has another form.
func sameAddr(s string) string {
	if addr, err := RelayAddr(s); err == nil {
		return addr
	}
	return s
}
