package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// allLists is the requests for every list of Alice's path.
var allLists = []string{"200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl"}

func TestFetchUnderTry(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyTry)
	// The first look does without the lists, and begins to fetch them.
	side.wantStatus(trust.RevocationUnknown)
	side.settle()
	s.WantRequests(allLists...)
	side.wantStatus(trust.RevocationGood)
	side.settle()
	s.WantRequests() // nothing is missing
}

func TestFetchUnderRequire(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyRequire)
	_, err := side.verify()
	wire.WantCode(t, err, proto.RevocationUnknown, "is being fetched")
	if !errors.Is(err, ErrFetching) {
		t.Errorf("%v is not one that passes", err)
	}
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests(allLists...)
	side.wantStatus(trust.RevocationGood)
}

// TestFetchedRevocation revokes after the first fetch: the next list has it.
func TestFetchedRevocation(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	side.wantStatus(trust.RevocationGood)
	s.Requests()

	s.PKI.Revoke(s.Alice, time.Now().Add(-time.Minute), 1)
	s.Publish()
	results, err := side.refresh()
	if len(results) != 3 || err != nil {
		t.Fatalf("%d lists were fetched again: %v, %v", len(results), results, err)
	}
	for address, err := range results {
		if err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	_, err = side.verify()
	wire.WantCode(t, err, proto.CertificateRevoked)
}

// TestFetchRefusedAgain: a refusal is remembered with the places of its lists, as long as there is no
// other list. To look again at somebody revoked, or of an unknown status, costs no search for paths.
func TestFetchRefusedAgain(t *testing.T) {
	for _, code := range []proto.Code{proto.RevocationUnknown, proto.CertificateRevoked} {
		s := newScene(t)
		s.PKI.Revoke(s.Alice, time.Now().Add(-time.Minute), 6)
		s.Publish()
		side := s.open(trust.PolicyRequire)
		if code == proto.CertificateRevoked {
			side.refresh()
		} else {
			side.Close()
		}
		look := func() *trust.CRLFetch {
			t.Helper()
			person, err := side.verifier.Verify(side.bundle, "alice")
			wire.WantCode(t, err, code)
			places := side.places(person, err)
			if len(places) != 3 || places[0].URL != s.Web.URL+"/crl/auth.crl" || places[0].Lacking != (code == proto.RevocationUnknown) {
				t.Fatalf("%s: the places are %+v", code, places)
			}
			return &places[0]
		}
		first := look()
		if look() != first {
			t.Errorf("%s: the places were looked for again", code)
		}
		s.pass(time.Hour)
		if look() == first {
			t.Errorf("%s: the places are those of an hour ago", code)
		}
	}
}

// BenchmarkRefusedAgain looks again at somebody revoked.
func BenchmarkRefusedAgain(b *testing.B) {
	s := &scene{Lists: wire.NewLists(b), clock: time.Now()}
	s.PKI.Revoke(s.Alice, time.Now().Add(-time.Minute), 1)
	s.Publish()
	side := s.open(trust.PolicyRequire)
	side.refresh()
	for b.Loop() {
		if _, err := side.verify(); !fail.HasCode(err, proto.CertificateRevoked) {
			b.Fatal(err)
		}
	}
}

func TestFetchNothingForStrangers(t *testing.T) {
	for _, who := range []struct {
		name   string
		option lab.IssueOption
	}{{"untrusted", lab.Untrusted}, {"forged", lab.Forged}, {"expired", lab.Expired}} {
		t.Run(who.name, func(t *testing.T) {
			s := newScene(t)
			stranger, err := s.PKI.Issue("stranger", who.option)
			if err != nil {
				t.Fatal(err)
			}
			side := s.open(trust.PolicyTry)
			bundle := *side.bundle
			bundle.X509 = stranger.Leaf.Raw
			bundle.Chain = nil
			for _, c := range stranger.Chain {
				bundle.Chain = append(bundle.Chain, c.Raw)
			}
			if _, err := side.Verify(side.verifier, &bundle, "alice"); err == nil {
				t.Error("the stranger was accepted")
			}
			// The bundle is another's, which is refused first. This is about the certificate alone.
			if results, err := side.Refresh(context.Background(), side.verifier, bundle.X509, bundle.Chain); len(results) > 0 || err == nil {
				t.Error("a list is fetched for a certificate that leads to no anchor, or is over")
			}
			side.settle()
			s.WantRequests()
		})
	}
}

// TestFetchFailures has the server misbehave in every way. Each time the reason is told,
// and nothing is kept.
func TestFetchFailures(t *testing.T) {
	const place = "/crl/auth.crl"
	other, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	alien, err := other.Auth.MakeCRL(lab.CRL{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }
	}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		why    string
	}{
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/crl/cc.crl", http.StatusFound)
		}, "it leads elsewhere, which is not followed"},
		{"missing", http.NotFound, "it answered 404 Not Found"},
		{"error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "it answered 502 Bad Gateway"},
		{"not modified, unasked", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, "which is not followed"},
		{"declared oversize", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(trust.MaxCRL+1))
			w.Write([]byte("0"))
		}, "it is over the limit"},
		{"encoded", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("0"))
		}, "an encoding that was not asked for"},
		{"header bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", maxHeader))
		}, "server response headers exceeded"},
		{"cut short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Write([]byte("0"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "unexpected EOF"},
		{"empty", write(nil), "not a revocation list"},
		{"a page", write([]byte("<html>it works</html>")), "not a revocation list"},
		{"another authority's", write(alien), "cannot be used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			s.Serve(place, c.answer)
			side := s.open(trust.PolicyRequire)
			_, err := side.verifyWait()
			wire.WantCode(t, err, proto.RevocationUnknown, c.why, s.Web.URL+place)
			if kept := side.fileOf(place); kept != "" {
				t.Errorf("%s was kept", kept)
			}
			if left, _ := filepath.Glob(filepath.Join(side.crls.dir, ".new-*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestFetchOversize has an answer that is too long, and whose header does not say so.
func TestFetchOversize(t *testing.T) {
	body := &bounded{readCloser{neverEnding{}}, t.Context(), 1000}
	n := 0
	for {
		m, err := body.Read(make([]byte, 300))
		n += m
		if err != nil {
			if !errors.Is(err, errTooLong) {
				t.Error(err)
			}
			break
		}
	}
	if n > 1000 {
		t.Errorf("%d bytes were taken", n)
	}
	s := newScene(t)
	s.Serve("/aia/auth.crt", func(w http.ResponseWriter, _ *http.Request) {
		for range 2 * maxIssuerFile / 1024 {
			w.Write(make([]byte, 1024))
			w.(http.Flusher).Flush()
		}
	})
	side := s.open(trust.PolicyTry)
	_, err := side.Issuers(context.Background(), s.Alice.Leaf.Raw, nil, false)
	wire.WantCode(t, err, proto.CertificateUntrusted, "it is over the limit")
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

type readCloser struct{ neverEnding }

func (readCloser) Close() error { return nil }

// TestFetchSlow has a server that never answers. Only callers that want to wait do, and
// no longer than they want to.
func TestFetchSlow(t *testing.T) {
	s := newScene(t)
	release := make(chan struct{})
	entered := make(chan struct{}, 8)
	stuck := func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	t.Cleanup(func() { close(release) })
	for _, place := range []string{"/crl/auth.crl", "/crl/cc.crl", "/crl/root.crl"} {
		s.Serve(place, stuck)
	}

	try := s.open(trust.PolicyTry)
	try.wantStatus(trust.RevocationUnknown)
	<-entered
	// One fetch of a host is at work at once.
	try.Fetcher.mu.Lock()
	running, waiting := len(try.atWork), len(try.waiting)
	try.Fetcher.mu.Unlock()
	if running != 1 || waiting != 2 {
		t.Errorf("%d fetches of one host at work, %d waiting", running, waiting)
	}
	try.wantStatus(trust.RevocationUnknown)
	try.Close() // ends the fetches at work

	require := s.open(trust.PolicyRequire)
	_, err := require.verify()
	wire.WantCode(t, err, proto.RevocationUnknown, "is being fetched")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = require.VerifyWait(ctx, require.verifier, require.bundle, "alice")
	wire.WantCode(t, err, proto.RevocationUnknown, "is being fetched")
	require.Close()

	// A fetch has a bound of its own, which is shorter here.
	quick := s.open(trust.PolicyRequire)
	quick.client.Timeout = 10 * time.Millisecond
	_, err = quick.verifyWait()
	wire.WantCode(t, err, proto.RevocationUnknown, "it took longer than 10s")
}

func TestFetchBackOff(t *testing.T) {
	s := newScene(t)
	s.Serve("/crl/auth.crl", http.NotFound)
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	s.WantRequests("200 /crl/cc.crl", "200 /crl/root.crl", "404 /crl/auth.crl")

	// Each wait is twice as long, and drawn between half and all of it.
	wait := backoffMin
	for range 10 {
		side.wantStatus(trust.RevocationUnknown)
		side.settle()
		s.WantRequests()
		s.pass(wait/2 - time.Second)
		side.wantStatus(trust.RevocationUnknown)
		side.settle()
		s.WantRequests()
		s.pass(wait/2 + 2*time.Second)
		side.wantStatus(trust.RevocationUnknown)
		side.settle()
		s.WantRequests("404 /crl/auth.crl")
		wait = min(2*wait, backoffMax)
	}
	s.Serve("/crl/auth.crl", nil)
	s.pass(backoffMax)
	side.verify()
	side.settle()
	side.wantStatus(trust.RevocationGood)
	s.WantRequests("200 /crl/auth.crl")
}

// TestFetchUseless has a server that goes on serving a list that clears nobody. It is not
// asked all the time.
func TestFetchUseless(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		list lab.CRL
		why  string
	}{
		{"stale", lab.CRL{ThisUpdate: now.Add(-48 * time.Hour), NextUpdate: now.Add(-24 * time.Hour)}, "was due to be replaced"},
		{"future", lab.CRL{ThisUpdate: now.Add(24 * time.Hour), NextUpdate: now.Add(48 * time.Hour)}, "from the future"},
		{"partial", lab.CRL{Extensions: extensions(lab.IDP{Reasons: []int{1}}.Extension())}, "some reasons only"},
		{"flawed", lab.CRL{Extensions: extensions(pkix.Extension{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})}, "clears nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			der, err := s.PKI.Auth.MakeCRL(c.list)
			if err != nil {
				t.Fatal(err)
			}
			s.ServeFile("/crl/auth.crl", der)
			side := s.open(trust.PolicyRequire)
			look := func(want ...string) {
				t.Helper()
				_, err = side.verifyWait()
				wire.WantCode(t, err, proto.RevocationUnknown, c.why)
				s.WantRequests(want...)
			}
			look(allLists...)
			look()
			s.pass(backoffMin + time.Second)
			look("200 /crl/auth.crl")
			s.pass(2*backoffMin + time.Second)
			look("200 /crl/auth.crl")
			s.pass(2*backoffMin - time.Second)
			look()
		})
	}
}

// TestFetchOften: a list that ends in a moment is not asked for all the time.
func TestFetchOften(t *testing.T) {
	s := newScene(t)
	s.publishFor(backoffMin / 4)
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests(allLists...)
	for _, want := range [][]string{nil, allLists} {
		s.pass(backoffMin/2 - time.Second)
		side.wantStatus(trust.RevocationGood)
		side.settle()
		s.WantRequests(want...)
		s.pass(backoffMin/2 + 2*time.Second)
	}
}

// TestFetchAheadIsNotAwaited: nobody waits for the next list of one that still decides.
func TestFetchAheadIsNotAwaited(t *testing.T) {
	s := newScene(t)
	s.publishFor(16 * time.Hour)
	s.Serve("/crl/auth.crl", http.NotFound)
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	side.Close()

	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.Serve("/crl/cc.crl", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	s.pass(15 * time.Hour)
	require := s.open(trust.PolicyRequire)
	require.client.Timeout = 0
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := require.VerifyWait(ctx, require.verifier, require.bundle, "alice")
	wire.WantCode(t, err, proto.RevocationUnknown, "404 Not Found")
}

// publishFor puts new lists on the server that end after some time.
func (s *scene) publishFor(d time.Duration) {
	s.T.Helper()
	for _, ca := range s.PKI.CAs() {
		der, err := ca.MakeCRL(lab.CRL{ThisUpdate: s.now(), NextUpdate: s.now().Add(d)})
		if err != nil {
			s.T.Fatal(err)
		}
		s.ServeFile("/crl/"+ca.File+".crl", der)
	}
}

// TestFetchAhead fetches a list anew before it ends, while it is in use.
func TestFetchAhead(t *testing.T) {
	s := newScene(t)
	s.publishFor(16 * time.Hour)
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests(allLists...)
	look := func(want ...string) {
		t.Helper()
		side.wantStatus(trust.RevocationGood) // nobody waits for it
		side.settle()
		s.WantRequests(want...)
	}

	s.pass(10*time.Hour + 59*time.Minute)
	look()
	s.pass(2*time.Hour + 2*time.Minute)
	look(allLists...)
	look()
	// It is the same list. It is asked for again in the rest of its time, also by the next
	// program.
	s.pass(2 * time.Hour)
	look()
	side.Close()
	side = s.open(trust.PolicyRequire)
	look()
	// There is a new one now.
	s.publishFor(16 * time.Hour)
	s.pass(30 * time.Minute)
	look(allLists...)
	s.pass(time.Hour) // the one before would have ended
	look()
}

// TestFetchAheadFails: a server that fails is asked again before the list at hand ends.
func TestFetchAheadFails(t *testing.T) {
	s := newScene(t)
	s.publishFor(16 * time.Hour)
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests(allLists...)
	look := func(want string) {
		t.Helper()
		side.wantStatus(trust.RevocationGood)
		side.settle()
		asked := slices.DeleteFunc(s.Requests(), func(a string) bool { return !strings.HasSuffix(a, " /crl/auth.crl") })
		if strings.Join(asked, "") != want {
			t.Errorf("asked were %q, not %q", asked, want)
		}
	}
	s.Serve("/crl/auth.crl", http.NotFound)
	s.pass(15 * time.Hour)
	for i := range 3 {
		look("404 /crl/auth.crl")
		s.pass(backoffMin<<i + time.Second)
	}
	look("404 /crl/auth.crl")
	s.publishFor(16 * time.Hour)
	s.Serve("/crl/auth.crl", nil)
	s.pass(4*backoffMin - time.Second)
	look("") // each time it is left alone for longer
	s.pass(5 * backoffMin)
	look("200 /crl/auth.crl")
}

func TestFetchOff(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyRequire, func(cfg *Config) { cfg.Off = true })
	_, err := side.verifyWait()
	wire.WantCode(t, err, proto.RevocationUnknown, "-fetch=false")
	if results, err := side.refresh(); len(results) != 0 || err != nil {
		t.Errorf("fetched: %v, %v", results, err)
	}
	cached := filepath.Join(side.crls.dir, nameOf(s.Web.URL+"/crl/auth.crl"))
	if err := os.WriteFile(cached, s.File("/crl/auth.crl"), 0o600); err != nil {
		t.Fatal(err)
	}
	side.Refetch()
	if side.crls.fetched(s.Web.URL + "/crl/auth.crl").Equal(outdated) {
		t.Error("a list is to be fetched anew, and nothing is fetched")
	}
	_, err = side.Issuers(context.Background(), s.Alice.Leaf.Raw, nil, false)
	wire.WantCode(t, err, proto.CertificateUntrusted, "-fetch=false")
	s.WantRequests()

	var none *Fetcher
	if _, err := none.Verify(side.verifier, side.bundle, "alice"); fail.AsError(err).Code != proto.RevocationUnknown {
		t.Error(err)
	}
	if _, err := none.VerifyWait(context.Background(), side.verifier, side.bundle, "alice"); fail.AsError(err).Code != proto.RevocationUnknown {
		t.Error(err)
	}
	none.Close()
}

// TestFetchCloses closes during a fetch, and so ends all waits: before the answer, and within
// a list without an end.
func TestFetchCloses(t *testing.T) {
	for _, begins := range []bool{false, true} {
		t.Run(fmt.Sprint("the list begins: ", begins), func(t *testing.T) {
			s := newScene(t)
			entered := make(chan struct{}, 8)
			s.Serve("/crl/auth.crl", func(w http.ResponseWriter, r *http.Request) {
				if begins {
					writeEndless(w, s.File("/crl/auth.crl"))
				}
				entered <- struct{}{}
				<-r.Context().Done()
			})
			side := s.open(trust.PolicyRequire)
			side.client.Timeout = 0 // only Close ends it
			waited := make(chan error, 1)
			go func() {
				_, err := side.verifyWait()
				waited <- err
			}()
			<-entered
			side.Close()
			wire.WantCode(t, <-waited, proto.RevocationUnknown)
			_, err := side.verify()
			wire.WantCode(t, err, proto.RevocationUnknown)
			other := trust.CRLFetch{URL: "http://crls.example/", Signers: []*x509.Certificate{{}}, Lacking: true}
			if side.begin([]trust.CRLFetch{other}) != nil {
				t.Error("a closed Fetcher fetches")
			}
		})
	}
}

// writeEndless writes the start of a list like this one, and a megabyte of equal entries.
func writeEndless(w http.ResponseWriter, list []byte) {
	long := []byte{0x30, 0x83, 0x30, 0, 0}          // the header of 3 MiB
	issuer := bytes.Index(list, []byte{0x17, 0x0d}) // thisUpdate: the issuer ends here
	head := list[8:issuer]                          // after the headers of two sequences
	entry := slices.Concat([]byte{0x30, 0x12, 0x02, 0x01, 0x07}, list[issuer:issuer+15])
	w.Write(slices.Concat(long, long, head, list[issuer:issuer+30], long, bytes.Repeat(entry, 1<<20/len(entry))))
	w.(http.Flusher).Flush()
}

// TestFetchGivenUp: once a fetch is given up, not even the bytes that have come are read.
func TestFetchGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	body := &bounded{readCloser{neverEnding{}}, ctx, 1000}
	if n, err := body.Read(make([]byte, 10)); n != 10 || err != nil {
		t.Error(n, err)
	}
	cancel()
	if n, err := body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes were read, and the error is %v", n, err)
	}
}

// TestFetchSlowHost: a server with many lists that never answers keeps nobody waiting for
// those of another.
func TestFetchSlowHost(t *testing.T) {
	s := newScene(t)
	entered := make(chan struct{}, maxLists)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(slow.Close)
	side := s.open(trust.PolicyRequire)
	side.client.Timeout = 0
	t.Cleanup(side.Close) // before the server's, which waits for its requests
	var places []trust.CRLFetch
	for i := range 4 * maxAtOnce {
		places = append(places, trust.CRLFetch{URL: fmt.Sprint(slow.URL, "/", i), Signers: []*x509.Certificate{{}}, Lacking: true})
	}
	side.begin(places)
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := side.VerifyWait(ctx, side.verifier, side.bundle, "alice"); err != nil {
		t.Error(err)
	}
	if len(entered) > 0 {
		t.Errorf("the slow server has %d more requests", len(entered))
	}
}

// TestFetchOtherPlaces has a certificate with three addresses of one list. The second is
// asked as the first fails, and the third never.
func TestFetchOtherPlaces(t *testing.T) {
	s := newScene(t, lab.Mutate(func(c *x509.Certificate) {
		at := strings.TrimSuffix(c.CRLDistributionPoints[0], "/crl/auth.crl")
		c.CRLDistributionPoints = []string{"ldap://x/y", at + "/gone.crl", at + "/crl/auth.crl", at + "/third.crl"}
	}))
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests("200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl", "404 /gone.crl")

	// Nor is the third asked for the next list, even while the second has none.
	list, err := x509.ParseRevocationList(s.File("/crl/auth.crl"))
	if err != nil {
		t.Fatal(err)
	}
	s.pass(list.NextUpdate.Sub(s.now()) - 2*time.Hour)
	side.bundle = s.bundle()
	for range 3 {
		side.wantStatus(trust.RevocationGood)
		side.settle()
	}
	s.WantRequests("200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl", "404 /gone.crl")
}

// TestFetchOtherSigner: certificates of two keys of an authority name one list, which only one
// has signed. The people of the other keep nobody from fetching it.
func TestFetchOtherSigner(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyRequire)
	other, err := s.PKI.NewCA(s.PKI.CC, lab.DN("CN", "Other"))
	if err != nil {
		t.Fatal(err)
	}
	place := trust.CRLFetch{URL: s.Web.URL + "/crl/auth.crl", Signers: []*x509.Certificate{other.Cert}, Lacking: true}
	for _, b := range side.begin([]trust.CRLFetch{place}) {
		<-b.done
	}
	s.WantRequests("200 /crl/auth.crl")
	if why := side.unfetched([]trust.CRLFetch{place}); !strings.Contains(why, "cannot be used") {
		t.Errorf("the reason is %q", why)
	}
	if _, err := side.verifyWait(); err != nil {
		t.Error(err)
	}
	s.WantRequests(allLists...)
}

// TestFetchDelta finds the delta that the certificate names beside the
// complete list.
func TestFetchDelta(t *testing.T) {
	s := newScene(t, lab.Mutate(func(c *x509.Certificate) {
		at := strings.TrimSuffix(c.CRLDistributionPoints[0], "/crl/auth.crl")
		c.ExtraExtensions = append(c.ExtraExtensions, lab.FreshestCRL(at+"/crl/auth_delta.crl"))
	}))
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	s.WantRequests("200 /crl/auth.crl", "200 /crl/cc.crl", "200 /crl/root.crl", "404 /crl/auth_delta.crl")
	side.wantStatus(trust.RevocationGood)

	base, err := x509.ParseRevocationList(s.File("/crl/auth.crl"))
	if err != nil {
		t.Fatal(err)
	}
	revoked := x509.RevocationListEntry{SerialNumber: s.Alice.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute), ReasonCode: 1}
	delta, err := s.PKI.Auth.MakeCRL(lab.CRL{
		Entries:    []x509.RevocationListEntry{revoked},
		Extensions: extensions(lab.DeltaIndicator(base.Number.Int64())),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.ServeFile("/crl/auth_delta.crl", delta)
	s.pass(backoffMin)
	side.wantStatus(trust.RevocationGood)
	side.settle()
	s.WantRequests("200 /crl/auth_delta.crl")
	_, err = side.verify()
	wire.WantCode(t, err, proto.CertificateRevoked)
}

// TestFetchRoom: the remembered addresses stay within their bound. Those in use stay.
func TestFetchRoom(t *testing.T) {
	s := newScene(t)
	f := s.open(trust.PolicyTry).Fetcher
	now := s.now()
	list := func(i int, now time.Time) *list {
		return f.listLocked(trust.CRLFetch{URL: fmt.Sprintf("http://h1.test/%d", i), Signers: []*x509.Certificate{{}}}, now)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range 2 * maxLists {
		if (list(i, now) != nil) != (i < maxLists) {
			t.Fatalf("%d lists are remembered", len(f.lists))
		}
	}
	later := now.Add(namedFor + time.Second)
	if list(0, later) == nil || list(-1, later) == nil {
		t.Error("one that nobody uses was not forgotten")
	}
	if len(f.lists) != 2 {
		t.Errorf("%d lists are remembered", len(f.lists))
	}
}

// TestFetchCacheRoom: the files in a cache stay within its bounds. Lists that do not fit their address
// go, and then those named or fetched longest ago.
func TestFetchCacheRoom(t *testing.T) {
	s := newScene(t)
	f := s.open(trust.PolicyTry).Fetcher
	c := f.crls
	c.room = 4
	write := func(name string, size int64, age time.Duration) {
		t.Helper()
		path := filepath.Join(c.dir, nameOf("http://h1.test/")+name)
		err := os.WriteFile(path, nil, 0o600)
		if err == nil {
			err = os.Truncate(path, size)
		}
		if err == nil {
			err = os.Chtimes(path, time.Time{}, s.now().Add(-age))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	kept := func(want ...string) {
		t.Helper()
		f.makeRoom(c, nil)
		var names []string
		for _, entry := range readDir(t, c.dir) {
			names = append(names, strings.TrimPrefix(entry.Name(), nameOf("http://h1.test/")))
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q are kept, not %q", names, want)
		}
	}
	third := int64(maxBytes / 3)
	write("a", third, 3*time.Hour)
	write("b", third, 2*time.Hour)
	write("c", third, time.Hour)
	kept("a", "b", "c")
	f.mu.Lock()
	f.listLocked(trust.CRLFetch{URL: "http://h1.test/a", Signers: []*x509.Certificate{{}}}, s.now())
	f.mu.Unlock()
	write("d", third, 0)
	kept("a", "c", "d")
	write("d", 1, 4*time.Hour)
	write("e", 1, 5*time.Hour)
	write("f", 1, 6*time.Hour)
	kept("a", "c", "d", "e")
	write("f#true-true-i", 1, 6*time.Hour)
	kept("a", "c", "d", "f#true-true-i")
	write("f", maxBytes-1, 0)
	kept("f", "f#true-true-i")
	c.room = 100
	var want []string
	for i := range 2 * maxOfAddress {
		name := fmt.Sprintf("f#false-true-%02d", i)
		write(name, 1, -time.Duration(i)*time.Second)
		if i > maxOfAddress {
			want = append(want, name)
		}
	}
	kept(append(want, "f#true-true-i")...)
}

// pemOf is a PEM block.
func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
