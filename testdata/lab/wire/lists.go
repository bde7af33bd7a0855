package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// Lists is a lab, the web server that its certificates name, and a holder whose
// revocation lists and issuers are fetched there.
type Lists struct {
	T     testing.TB
	Dir   string // the lab is written to its "lab"; tests put the rest beside that
	PKI   *lab.PKI
	Alice *lab.Holder
	Trust *trust.Store // the lab's root
	Web   *httptest.Server

	mu     sync.Mutex // guards the fields below
	files  map[string][]byte
	answer map[string]http.HandlerFunc // by path, instead of a file
	asked  []string                    // "200 /crl/auth.crl", as they were answered
}

// NewLists makes a lab and Alice's card in it, and starts the server with
// current lists.
func NewLists(t testing.TB, alice ...lab.IssueOption) *Lists {
	t.Helper()
	s := &Lists{T: t, Dir: t.TempDir(), answer: make(map[string]http.HandlerFunc)}
	s.Web = httptest.NewServer(s)
	t.Cleanup(s.Web.Close)
	var err error
	if s.PKI, err = lab.New(lab.Options{BaseURL: s.Web.URL}); err != nil {
		t.Fatal(err)
	}
	if s.Alice, err = s.PKI.Issue("alice", alice...); err != nil {
		t.Fatal(err)
	}
	if err := s.PKI.Write(filepath.Join(s.Dir, "lab")); err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(filepath.Join(s.Dir, "lab", "ca-bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Trust, err = trust.NewStore(nil, root); err != nil {
		t.Fatal(err)
	}
	s.Publish()
	return s
}

// Publish puts new lists of all authorities on the server.
func (s *Lists) Publish() {
	s.T.Helper()
	files, err := s.PKI.Served()
	if err != nil {
		s.T.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = files
}

// Serve has one path answered in another way; nil serves its file again.
func (s *Lists) Serve(path string, answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer[path] = answer
}

// ServeFile puts another file at a path.
func (s *Lists) ServeFile(path string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = data
}

// File returns the file at a path.
func (s *Lists) File(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[path]
}

// ServeHTTP is the authority's server. It knows ETags.
func (s *Lists) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer := s.answer[r.URL.Path]
	data, ok := s.files[r.URL.Path]
	s.mu.Unlock()
	said := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	switch {
	case answer != nil:
		answer(said, r)
	case !ok:
		http.NotFound(said, r)
	default:
		sum := sha256.Sum256(data)
		said.Header().Set("ETag", `"`+hex.EncodeToString(sum[:4])+`"`)
		http.ServeContent(said, r, "", time.Time{}, bytes.NewReader(data))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf("%d %s", said.status, r.URL.Path))
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

// Requests returns the requests since the last call, in the order of paths.
func (s *Lists) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	slices.Sort(asked)
	return asked
}

// WantRequests checks the requests since the last call.
func (s *Lists) WantRequests(want ...string) {
	s.T.Helper()
	if got := s.Requests(); !slices.Equal(got, want) {
		s.T.Errorf("the server was asked %q, not %q", got, want)
	}
}

// WantCode checks an error's code, and that its sentence contains all words.
func WantCode(t testing.TB, err error, code proto.Code, words ...string) {
	t.Helper()
	if err == nil || fail.AsError(err).Code != code {
		t.Fatalf("the error is %v, and its code should be %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in the error %q", w, err)
		}
	}
}
