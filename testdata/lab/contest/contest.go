// Package contest has benchmarks take turns: what is compared is measured in one run,
// five times over, so that the rest of the machine's work falls on all of it. It also
// runs the benchmarks of an older commit, and the least relay there can be.
package contest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Report takes one turn's value of a figure, such as "now-ms".
type Report func(figure string, value float64)

// Measure takes five turns. It reports the median of each figure, and its range in
// the lines below.
func Measure(b *testing.B, turn func(report Report)) {
	b.Helper()
	values := map[string][]float64{}
	var figures []string
	for range 5 {
		turn(func(figure string, value float64) {
			if values[figure] == nil {
				figures = append(figures, figure)
			}
			values[figure] = append(values[figure], value)
		})
	}
	var ranges []string
	for _, figure := range figures {
		v := values[figure]
		slices.Sort(v)
		b.ReportMetric(v[len(v)/2], figure)
		ranges = append(ranges, fmt.Sprintf("%s %.4g to %.4g", figure, v[0], v[len(v)-1]))
	}
	b.ReportMetric(0, "ns/op") // of the whole, which means nothing
	b.Logf("five turns: %s", strings.Join(ranges, ", "))
}

// Then runs a benchmark as it was in the commit that `make bench BENCH_OLD=COMMIT`
// names, and returns its figures. Without such a commit it returns nil, and for one that
// has the rooms of today too: benchmarks of those names are older. It puts the file
// testdata/then_test.go, if this package has one, beside that commit's own tests.
func Then(b *testing.B, pkg, name, benchtime string) map[string]float64 {
	b.Helper()
	dir := os.Getenv("BENCH_OLD_DIR") // a worktree, from testdata/bench.sh
	if _, err := os.Stat(filepath.Join(dir, "internal")); dir == "" || err == nil {
		return nil
	}
	own, err := os.Getwd()
	if err != nil {
		b.Fatal(err)
	}
	program := filepath.Join(dir, "bench-"+filepath.Base(own)+strings.ReplaceAll(pkg, "/", "_")+".test")
	if _, err := os.Stat(program); err != nil {
		if text, err := os.ReadFile("testdata/then_test.go"); err == nil {
			if err := os.WriteFile(filepath.Join(dir, pkg, "then_test.go"), text, 0o600); err != nil {
				b.Fatal(err)
			}
		}
		build := exec.Command("go", "test", "-c", "-o", program, pkg)
		build.Dir = dir
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", build, err, out)
		}
	}
	cmd := exec.Command(program, "-test.run", "^$", "-test.bench", name, "-test.benchtime", benchtime)
	cmd.Dir = filepath.Join(dir, pkg)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return figures(out)
}

// figures reads the last line of results in a benchmark's output.
func figures(out []byte) map[string]float64 {
	found := map[string]float64{}
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			found[fields[i+1]], _ = strconv.ParseFloat(fields[i], 64)
		}
	}
	return found
}

// Processor returns the processor time that the threads of a process have taken, in
// nanoseconds.
func Processor(b *testing.B, pid int) (sum float64) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || threads == nil {
		b.Fatalf("the system does not tell the processor time of process %d", pid)
	}
	for _, thread := range threads {
		stat, _ := os.ReadFile(thread) // it may have ended
		var ran float64
		fmt.Sscan(string(stat), &ran)
		sum += ran
	}
	return sum
}

// Used returns the processor time of a process that has ended, in nanoseconds.
func Used(cmd *exec.Cmd) float64 {
	return float64(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())
}

// Own returns the processor time of this process, in nanoseconds.
func Own(b *testing.B) float64 {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return float64(use.Utime.Nano() + use.Stime.Nano())
}

// Median returns the middle of some times.
func Median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
