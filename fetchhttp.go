package chatsecure

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"

	"chatsecure/canon"
	"chatsecure/crypto"
)

// fetchParseURL checks an address out of a certificate. Only plain HTTP is
// followed: what comes is signed, and HTTPS would need a certificate checked to
// check a certificate.
func fetchParseURL(address string) (*url.URL, error) {
	if len(address) > fetchMaxURL {
		return nil, fmt.Errorf("an address of %d characters is too long", len(address))
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not an address to fetch from: it must be http://HOST/PATH", crypto.Visible(address))
	}
	return u, nil
}

// fetchPrivate says what kind of address is not asked without -fetch-private:
// a certificate's author must not make this machine send requests into its own
// network. "" means that anybody's server can be there.
func fetchPrivate(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is6() && fetchNAT64.Contains(addr) {
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
	for _, p := range fetchSpecial {
		if p.Contains(addr) {
			return "an address for special use"
		}
	}
	if addr.Is6() && !fetchGlobal.Contains(addr) {
		return "an address for special use"
	}
	return ""
}

var (
	fetchNAT64  = netip.MustParsePrefix("64:ff9b::/96")
	fetchGlobal = netip.MustParsePrefix("2000::/3") // all that is global unicast yet: RFC 4291
	// fetchSpecial is what the IANA special-purpose registries (RFC 6890) have
	// besides, as far as it is not reachable or leads somewhere else.
	fetchSpecial = []netip.Prefix{
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

// errFetchPrivate refuses to dial.
type errFetchPrivate struct{ addr, kind string }

func (e *errFetchPrivate) Error() string {
	return "it is at " + e.addr + ", " + e.kind + ", which is asked with -fetch-private only"
}

// NotAsked says why an address out of a certificate is not asked without
// FetcherConfig.Private: every place of its host is one that fetchPrivate
// refuses. It is "" where one is not, or where the host is not found now.
func NotAsked(ctx context.Context, address string) string {
	u, err := fetchParseURL(address)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, fetchDialTimeout)
	defer cancel()
	places, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return ""
	}
	why := ""
	for _, addr := range places {
		kind := fetchPrivate(addr)
		if kind == "" {
			return ""
		}
		why = (&errFetchPrivate{addr.Unmap().String(), kind}).Error()
	}
	return why
}

// fetchClient is an HTTP client that follows no redirect, uses no proxy (which
// would hide the address that is dialled) and dials public addresses only,
// whatever a name resolves to when it is dialled.
func fetchClient(private bool) *http.Client {
	dialer := &net.Dialer{
		Timeout: fetchDialTimeout,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if kind := fetchPrivate(addr.Addr()); kind != "" && !private {
				return &errFetchPrivate{addr.Addr().String(), kind}
			}
			return nil
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true, // one file an hour
			DisableCompression:     true, // a small answer must not become a large file
			MaxResponseHeaderBytes: fetchMaxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       fetchTimeout,
	}
}

// get asks for an address. The answer is 200, with a body of at most max bytes,
// or 304 if side is not nil. Its body must be closed.
func (f *Fetcher) get(ctx context.Context, address string, max int64, side *fetchSidecar) (*http.Response, error) {
	if _, err := fetchParseURL(address); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "chatsecure")
	if side != nil && side.ETag != "" {
		req.Header.Set("If-None-Match", side.ETag)
	}
	if side != nil && side.LastModified != "" {
		req.Header.Set("If-Modified-Since", side.LastModified)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	status := resp.StatusCode
	if status == http.StatusNotModified && side != nil {
		return resp, nil
	}
	switch {
	case status >= 300 && status < 400:
		err = errors.New("it leads elsewhere, which is not followed")
	case status != http.StatusOK:
		err = fmt.Errorf("it answered %d %s", status, http.StatusText(status))
	case resp.Header.Get("Content-Encoding") != "":
		err = errors.New("it answered in an encoding that was not asked for")
	}
	if err == nil && resp.ContentLength > max {
		err = errFetchLong
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	resp.Body = &fetchBody{resp.Body, max}
	return resp, nil
}

var errFetchLong = errors.New("it is longer than what is taken")

// fetchBody is the body of an answer, which fails if it is too long.
type fetchBody struct {
	io.ReadCloser
	left int64
}

func (b *fetchBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errFetchLong
	}
	return n, err
}

// fetchFailed says in a sentence why an address could not be fetched.
func fetchFailed(address string, err error) error {
	if refused, ok := errors.AsType[*errFetchPrivate](err); ok {
		err = refused
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		err = fmt.Errorf("it took longer than %v", fetchTimeout)
	} else if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fmt.Errorf("%s cannot be fetched: %s", crypto.Visible(address), crypto.Visible(err.Error()))
}

// fetchWant is what a fetch needs of a fetchList.
type fetchWant struct {
	url    string
	issuer *x509.Certificate
	delta  bool
	cached *fetchSidecar
}

// fetchList fetches a list, if there is a new one, checks it and puts it to
// the others and into the cache.
func (f *Fetcher) fetchList(want fetchWant) (*fetchSidecar, error) {
	side, err := f.tryList(want)
	if err != nil {
		err = fetchFailed(want.url, err)
	}
	if f.ctx.Err() == nil {
		f.notice("revocation list "+crypto.Visible(want.url), err)
	}
	return side, err
}

func (f *Fetcher) tryList(want fetchWant) (*fetchSidecar, error) {
	cached := want.cached
	if cached != nil && !f.isIntact(cached) {
		cached = nil // it is fetched again, whatever the server says
	}
	resp, err := f.get(f.ctx, want.url, crypto.MaxCRL, cached)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	now := f.cfg.Now()
	if resp.StatusCode == http.StatusNotModified {
		side := *cached
		side.Fetched = now.Unix()
		return &side, replaceStateFile(f.sidePath(want.url), canon.MustMarshal(&side))
	}

	temp, err := os.CreateTemp(f.listDir(), stateTemp) // 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	defer temp.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(temp, sum), resp.Body)
	if err != nil {
		return nil, err
	}
	if _, err := temp.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	info, err := f.cfg.Lists.Add(temp, want.url, want.issuer)
	if err != nil {
		return nil, err
	}
	side := &fetchSidecar{
		V: fetchVersion, URL: want.url, ETag: fetchTag(resp.Header.Get("ETag")), LastModified: fetchTag(resp.Header.Get("Last-Modified")),
		Fetched: now.Unix(), ThisUpdate: info.ThisUpdate.Unix(), NextUpdate: info.NextUpdate.Unix(), Delta: want.delta,
		Size: n, SHA256: hex.EncodeToString(sum.Sum(nil)), Issuer: want.issuer.Raw,
	}
	if err := syncFile(temp); err != nil {
		return nil, err
	}
	return side, f.place(temp, side)
}
