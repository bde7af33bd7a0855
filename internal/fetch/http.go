package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"

	"chatsecure/proto"
)

// newClient returns an HTTP client that follows no redirect and uses no proxy, which
// would hide the dialled address. It dials public addresses only, unless private is
// set. The check is made on the address at the moment of dialling, whatever its name
// resolved to before.
func newClient(private bool) *http.Client {
	dialer := &net.Dialer{
		Timeout: dialTimeout,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if kind := privateKind(addr.Addr()); kind != "" && !private {
				return &privateError{addr.Addr().String(), kind}
			}
			return nil
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true, // one file an hour
			DisableCompression:     true, // a small answer must not become a large file
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       timeout,
	}
}

// get asks for an address that parseURL takes, and returns the body of its answer, of at
// most max bytes. The caller closes it.
func (f *Fetcher) get(ctx context.Context, address string, max int64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "chatsecure")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch status := resp.StatusCode; {
	case status >= 300 && status < 400:
		err = errors.New("it leads elsewhere, which is not followed")
	case status != http.StatusOK:
		err = fmt.Errorf("it answered %d %s", status, http.StatusText(status))
	case resp.Header.Get("Content-Encoding") != "":
		err = errors.New("it answered in an encoding that was not asked for")
	case resp.ContentLength > max:
		err = errTooLong
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return &bounded{resp.Body, ctx, max}, nil
}

var errTooLong = errors.New("it is over the limit")

// bounded is the body of an answer. It fails if it is too long, and as soon as its fetch is
// given up: bytes that have come already are not read any more.
type bounded struct {
	io.ReadCloser
	ctx  context.Context
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// failed returns, as a sentence, the reason why an address could not be fetched.
func failed(address string, err error) error {
	if refused, ok := errors.AsType[*privateError](err); ok {
		err = refused
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		err = fmt.Errorf("it took longer than %v", timeout)
	} else if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fmt.Errorf("%s cannot be fetched: %s", proto.Visible(address), proto.Visible(err.Error()))
}
