//go:build soak

package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab/town"
)

// soakReading is the use of resources by one process or several, at one time.
type soakReading struct {
	rss, live, goroutines, descriptors int64

	messages int64 // received until then
}

func (r soakReading) String() string {
	return fmt.Sprintf("%.1f MiB resident, %.1f MiB live heap, %d goroutines, %d descriptors",
		float64(r.rss)/(1<<20), float64(r.live)/(1<<20), r.goroutines, r.descriptors)
}

func (r soakReading) plus(o soakReading) soakReading {
	return soakReading{rss: r.rss + o.rss, live: r.live + o.live,
		goroutines: r.goroutines + o.goroutines, descriptors: r.descriptors + o.descriptors}
}

// soakMeter reads processes' use of resources. testdata/soak/count.go tells the counts that only
// they know.
type soakMeter struct{ dir string }

// newSoakMeter has the programs built with count.go as an overlay.
func newSoakMeter(t *testing.T) *soakMeter {
	t.Helper()
	dir := t.TempDir()
	count, err := filepath.Abs("testdata/soak/count.go")
	if err != nil {
		t.Fatal(err)
	}
	var over []string
	for _, command := range []string{"../../cmd/relay", "../../cmd/client"} {
		to, err := filepath.Abs(filepath.Join(command, "soakcount.go"))
		if err != nil {
			t.Fatal(err)
		}
		over = append(over, fmt.Sprintf("%q: %q", to, count))
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%s}}`, strings.Join(over, ", ")), 0o600); err != nil {
		t.Fatal(err)
	}
	town.BuildFlags = []string{"-overlay", overlay}
	t.Setenv("CHATSECURE_SOAK_COUNTS", dir)
	return &soakMeter{dir}
}

// read returns the sum for these processes. All are asked before the first answer is awaited.
func (m *soakMeter) read(pids ...int) (sum soakReading, err error) {
	for _, pid := range pids {
		os.Remove(m.answer(pid))
		if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
			return sum, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	for _, pid := range pids {
		one, err := m.readOne(pid)
		if err != nil {
			return sum, fmt.Errorf("process %d: %w", pid, err)
		}
		sum = sum.plus(one)
	}
	return sum, nil
}

func (m *soakMeter) answer(pid int) string { return filepath.Join(m.dir, strconv.Itoa(pid)) }

func (m *soakMeter) readOne(pid int) (r soakReading, err error) {
	var text []byte
	for deadline := time.Now().Add(town.Patience); ; time.Sleep(time.Millisecond) { // the file is the barrier
		if text, err = os.ReadFile(m.answer(pid)); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return r, err
		}
	}
	if _, err := fmt.Sscan(string(text), &r.goroutines, &r.live); err != nil {
		return r, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return r, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &r.rss); err != nil {
		return r, err
	}
	r.rss <<= 10
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	r.descriptors = int64(len(open))
	return r, err
}

// soakSeries is the readings of one process or group after the warm-up.
type soakSeries struct {
	what     string
	readings []soakReading
}

type soakAllowance struct {
	what     string
	of       func(soakReading) int64
	part     float64
	absolute int64
	message  int64 // for each message received between the two
}

// soakMemory counts the entries of soakAllowed about memory, which come first.
const soakMemory = 2

// soakAllowed bounds the growth of the median from the first quarter to the last: by a factor and a
// number. The number of clients varies, and a client keeps the id and place of every received
// message, some 70 bytes in a map that doubles.
var soakAllowed = []soakAllowance{
	{"bytes resident", func(r soakReading) int64 { return r.rss }, 0.10, 2 << 20, 140},
	{"bytes of live heap", func(r soakReading) int64 { return r.live }, 0.10, 1 << 20, 140},
	{"goroutines", func(r soakReading) int64 { return r.goroutines }, 0.05, 10, 0},
	{"descriptors", func(r soakReading) int64 { return r.descriptors }, 0.05, 10, 0},
}

// flat fails the test unless the last quarter is like the first.
func (s *soakSeries) flat(t *testing.T, allowed []soakAllowance) {
	t.Helper()
	quarter := len(s.readings) / 4
	if quarter < 2 {
		t.Fatalf("%s: only %d readings", s.what, len(s.readings))
	}
	begin, end := s.readings[:quarter], s.readings[len(s.readings)-quarter:]
	messages := end[quarter/2].messages - begin[quarter/2].messages
	for _, a := range allowed {
		first, last := soakMedian(begin, a.of), soakMedian(end, a.of)
		most := first + int64(float64(first)*a.part) + a.absolute + a.message*messages
		t.Logf("%s: %s: %d in the first quarter, %d in the last, %d allowed", s.what, a.what, first, last, most)
		if last > most {
			t.Errorf("%s: %s are not flat", s.what, a.what)
		}
	}
}

func soakMedian(readings []soakReading, of func(soakReading) int64) int64 {
	values := make([]int64, len(readings))
	for i, r := range readings {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
