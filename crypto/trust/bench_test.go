package trust

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"chatsecure/testdata/lab"
)

func BenchmarkVerify(b *testing.B) {
	p := testLab(b)
	bundle := delegate(b, issue(b, p, "Ana"))
	trust := trustOf(b, p.Root.Cert)
	b.Run("cached", func(b *testing.B) {
		v := verifierAt(trust, nil, PolicyTry, labNow)
		for b.Loop() {
			if _, err := v.Verify(bundle, "Ana"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) { // for every peer, every few seconds
		now := labNow
		v := NewVerifier(VerifierConfig{Trust: trust, Policy: PolicyTry, Now: func() time.Time { now = now.Add(cacheFor); return now }})
		for b.Loop() {
			if now.Sub(labNow) > time.Hour/4 {
				now = labNow
				clear(v.known)
			}
			if _, err := v.Verify(bundle, "Ana"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("uncached", func(b *testing.B) {
		v := verifierAt(trust, nil, PolicyTry, labNow)
		for b.Loop() {
			clear(v.known)
			held.of = nil
			if _, err := v.Verify(bundle, "Ana"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("refused", func(b *testing.B) { // the cost of a stranger's good signature and bad chain
		v := verifierAt(trust, nil, PolicyTry, labNow)
		stranger := delegate(b, issue(b, p, "Ana", lab.Untrusted))
		for b.Loop() {
			clear(v.refused)
			if _, err := v.Verify(stranger, "Ana"); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}

// BenchmarkNewTrust is in every start of a client.
func BenchmarkNewTrust(b *testing.B) {
	text := mozillaPEM(b)
	for b.Loop() {
		if _, err := NewStore(text); err != nil {
			b.Fatal(err)
		}
	}
}

// bigCRL writes a list of n entries with random serials of 16 bytes and a reason each, as a citizen
// authority's. It returns the file, its issuer and a serial on it.
func bigCRL(tb testing.TB, n int) (path string, issuer *x509.Certificate, listed []byte) {
	tb.Helper()
	key := ecKey(tb, elliptic.P384())
	issuer = asIssuer(key)
	r := newRawCRL()
	r.algorithm = []byte(ecdsaSHA384)
	r.outer = r.algorithm
	random := mathrand.NewChaCha8([32]byte{1})
	reason := der(derSequence, rawExtension(idReasonCode, false, der(derEnumerated, []byte{4})))
	entries := make([]byte, 0, 60*n)
	serial := make([]byte, 16)
	for range n {
		random.Read(serial)
		serial[0] = serial[0]&0x7f | 0x40
		entries = append(entries, rawEntry(serial, reason)...)
	}
	r.entries = der(derSequence, entries)
	signed := der(derSequence, r.version, r.algorithm, r.issuer, r.this, r.next, r.entries, r.extensions)
	digest := sha512.Sum384(signed)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA384)
	if err != nil {
		tb.Fatal(err)
	}
	list := der(derSequence, signed, r.outer, der(derBitString, []byte{0}, signature))
	path = filepath.Join(tb.TempDir(), "big.crl")
	if err := os.WriteFile(path, list, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path, issuer, serial
}

// peak runs load and returns the peak of the resident memory of the process in MiB, or 0 if the
// system does not tell.
func peak(load func()) float64 {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		load()
		return 0
	}
	load()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, _ := strconv.Atoi(strings.Fields(rest)[0])
	return float64(kib) / 1024
}

// BenchmarkCRL reads a list of a million entries from a file and looks certificates up in it, and
// measures crypto/x509 with the same file.
func BenchmarkCRL(b *testing.B) {
	path, issuer, listed := bigCRL(b, 1_000_000)
	load := func() *crl {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		lists, err := readList(f)
		if err != nil {
			b.Fatal(err)
		}
		if err := signedByOne(lists[0], issuer); err != nil {
			b.Fatal(err)
		}
		lists[0].entries.finish()
		return lists[0]
	}
	b.Run("load", func(b *testing.B) {
		var most float64
		for b.Loop() {
			most = max(most, peak(func() { load() }))
		}
		b.ReportMetric(most, "MiB-peak")
	})
	list := load()
	b.Run("find", func(b *testing.B) {
		random := mathrand.NewChaCha8([32]byte{2})
		serial := make([]byte, 16)
		for b.Loop() {
			random.Read(serial)
			serial[0] = serial[0]&0x7f | 0x40
			list.entries.find(serial)
		}
		if _, ok := list.entries.find(listed); !ok {
			b.Fatal("not found")
		}
	})
	list = nil
	// The standard library does the same: reads the list, verifies its signature and looks one
	// certificate up.
	b.Run("openssl", func(b *testing.B) {
		dir := b.TempDir()
		write := func(name, typ string, der []byte) string {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
				b.Fatal(err)
			}
			return file
		}
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		crlFile, ca := write("crl.pem", "X509 CRL", data), write("ca.pem", "CERTIFICATE", issuer.Raw)
		var most float64
		for b.Loop() {
			cmd := exec.Command("openssl", "verify", "-crl_check", "-partial_chain", "-CAfile", ca, "-CRLfile", crlFile, ca)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				b.Fatalf("openssl is needed for comparison: %v %s", err, out)
			}
			most = max(most, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
		}
		b.ReportMetric(most, "MiB-peak")
	})
	b.Run("x509", func(b *testing.B) {
		var most float64
		for b.Loop() {
			most = max(most, peak(func() {
				data, err := os.ReadFile(path)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := x509.ParseRevocationList(data); err != nil {
					b.Fatal(err)
				}
			}))
		}
		b.ReportMetric(most, "MiB-peak")
	})
}

// A large list takes little more memory than its entries.
func TestCRLIsCompact(t *testing.T) {
	const n = 100_000
	path, issuer, listed := bigCRL(t, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lists, err := readList(f)
	if err != nil {
		t.Fatal(err)
	}
	lists[0].entries.finish()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := float64(after.HeapAlloc-before.HeapAlloc) / n; each > 2*float64(unsafe.Sizeof(crlEntry{})) {
		t.Errorf("%.0f bytes an entry", each)
	}
	if err := signedByOne(lists[0], issuer); err != nil {
		t.Error(err)
	}
	if _, ok := lists[0].entries.find(listed); !ok || lists[0].entries.count != n {
		t.Errorf("%d entries; the last is found: %v", lists[0].entries.count, ok)
	}
}
