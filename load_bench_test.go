package chatsecure

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/testdata/lab"
)

// loadSamples is how many messages a round of a probe times.
const loadSamples = 1000

// BenchmarkLoad has two people talk through the built relay while others, in a
// process of their own, put a load on it. p95-times is the 95th percentile of
// their time from Send until READ under the load, over that without it, from
// rounds with and without in turn. It is to be at most 2. The others get what
// the two people and the relay leave over: they have machines of their own, and
// what they compute is not to be taken from the two, only what the relay
// computes for them. How much they get done is reported, for a load that does
// nothing proves nothing.
func BenchmarkLoad(b *testing.B) {
	for _, load := range loads {
		b.Run(load.name, func(b *testing.B) {
			town, pid := loadTown(b)
			alice, bob := town.client("alice", quiet), town.client("bob", quiet)
			_ = bob
			probe := func() (times []time.Duration) {
				ctx := context.Background()
				for range loadSamples {
					start := time.Now()
					if _, err := alice.Send(ctx, []string{"bob"}, strings.Repeat("x", relayBenchText)); err != nil {
						b.Fatal(err)
					}
					if out := alice.Wait(ctx, StatusRead); len(out.Failed) > 0 {
						b.Fatal(out.Failed)
					}
					times = append(times, time.Since(start))
				}
				return times
			}
			probe() // warm
			var without, with []time.Duration
			var rss int64
			done, took := 0, time.Duration(0)
			for range b.N {
				for range load.rounds {
					without = append(without, probe()...)
					generator := startLoad(b, town, load.name)
					start := time.Now()
					with = append(with, probe()...)
					took += time.Since(start)
					rss = max(rss, relayBenchRSS(b, pid))
					done += generator.stop(b)
				}
			}
			p95, p95with := percentile(without, 95), percentile(with, 95)
			b.ReportMetric(p95, "p95-us")
			b.ReportMetric(p95with, "loaded-p95-us")
			b.ReportMetric(p95with/p95, "p95-times")
			b.ReportMetric(percentile(with, 50)/percentile(without, 50), "p50-times")
			b.ReportMetric(float64(rss)/(1<<20), "relay-MiB")
			b.ReportMetric(float64(done)/took.Seconds(), load.counts+"/s")
		})
	}
}

// loadTown is a town whose relay is the built program, with cards for the two
// of the probe and for those of the load.
func loadTown(b *testing.B) (town *testTown, pid int) {
	b.Helper()
	names := []string{"alice", "bob"}
	for i := range loadNames {
		names = append(names, loadName(i))
	}
	for _, name := range names {
		relayTestPerson(b, name, lab.P256)
	}
	town = &testTown{t: b, dir: b.TempDir(), pki: relayTestLab()}
	if err := town.pki.Write(filepath.Join(town.dir, "lab")); err != nil {
		b.Fatal(err)
	}
	town.addr, pid = relayBenchProgram(b)
	return town, pid
}

// loadProcess is this program again, putting a load on a relay.
type loadProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

// startLoad returns when the load is there.
func startLoad(b *testing.B, town *testTown, name string) *loadProcess {
	b.Helper()
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	// Beside a process at nice 10 a wake-up of somebody's at the usual priority
	// still waits for the end of a time slice, one of some milliseconds; beside
	// one of the idle class it does not.
	lower := []string{"chrt", "--idle", "0"}
	if _, err := exec.LookPath(lower[0]); err != nil {
		fmt.Fprintf(os.Stderr, "*** %v: the load is only made nice, and its own time slices are in p95-times ***\n", err)
		lower = []string{"nice", "-n", "19"}
	}
	p := &loadProcess{cmd: exec.Command(lower[0], append(lower[1:], program)...)}
	p.cmd.Env = append(os.Environ(), loadEnv+"="+name, loadEnv+"_RELAY="+town.addr, loadEnv+"_CARDS="+filepath.Join(town.dir, "lab"))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	p.line(b, loadReady)
	return p
}

// line reads a word that the load says, and a number.
func (p *loadProcess) line(b *testing.B, word string) (n int) {
	b.Helper()
	line, err := p.out.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, word+" %d\n", &n)
	}
	if err != nil {
		b.Fatalf("the load says %q: %v", line, err)
	}
	return n
}

// stop ends the load and returns how much it did.
func (p *loadProcess) stop(b *testing.B) int {
	b.Helper()
	p.stdin.Close()
	done := p.line(b, loadDone)
	if err := p.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return done
}
